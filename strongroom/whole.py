"""The whole stories without an orchestrator: back up, restore. What flows do, and break-glass does.

For example: `back_up(InChildren(settings, Deadline.after(600, "backup.max_backup_duration")), kind="auto")`.
"""

from strongroom.operations.messages import (
    BackupReport,
    BeginBackup,
    BeginRestore,
    CaptureCatalog,
    CaptureUnit,
    PlanReport,
    RestoreAfterRows,
    RestoreBeforeRows,
    RestorePlanReport,
    RestoreStepReport,
    RestoreUnit,
    SealBackup,
    UnitReport,
    WantedKind,
)
from strongroom.runners import Runner


def back_up(runner: Runner, kind: WantedKind = "auto") -> BackupReport:
    """Take one backup: plan and hold the snapshot, capture everything, write the manifest."""
    with runner.hold("begin_backup", BeginBackup(kind=kind), PlanReport) as plan:
        catalog = CaptureCatalog(backup=plan.backup, snapshot=plan.snapshot)
        units = [
            CaptureUnit(backup=plan.backup, unit=unit.number, snapshot=plan.snapshot) for unit in plan.units
        ]
        orders = [("capture_catalog", catalog), *(("capture_unit", unit) for unit in units)]
        captured = runner.run_all(orders, UnitReport)
        return runner.run("seal_backup", SealBackup(backup=plan.backup, units=tuple(captured)), BackupReport)


def restore(
    runner: Runner, backup: str = "latest"
) -> tuple[RestorePlanReport, tuple[RestoreStepReport, ...]]:
    """Restore a backup into the empty destination of the settings. The caller judges the result."""
    plan = runner.run("begin_restore", BeginRestore(backup=backup), RestorePlanReport)
    before = runner.run("restore_before_rows", RestoreBeforeRows(backup=plan.backup), RestoreStepReport)
    units = runner.run_all(
        [("restore_unit", RestoreUnit(backup=plan.backup, unit=unit.number)) for unit in plan.units],
        RestoreStepReport,
    )
    after = runner.run("restore_after_rows", RestoreAfterRows(backup=plan.backup), RestoreStepReport)
    return plan, (before, *units, after)
