"""The whole stories without an orchestrator: back up, copy, restore. What flows do, and break-glass does.

For example: `back_up(InChildren(settings, Deadline.after(600, "backup.max_backup_duration")), kind="auto")`.
"""

from collections.abc import Sequence

from strongroom.errors import EmptyPolicy, StrongroomError
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.operations.location_messages import (
    CopiesReport,
    CopyObjects,
    CopyReport,
    Replicate,
    ReplicationReport,
)
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
        catalog = CaptureCatalog(backup=plan.backup, snapshot=plan.snapshot, location=plan.location)
        units = [
            CaptureUnit(backup=plan.backup, unit=unit.number, snapshot=plan.snapshot, location=plan.location)
            for unit in plan.units
        ]
        orders = [("capture_catalog", catalog), *(("capture_unit", unit) for unit in units)]
        captured = runner.run_all(orders, UnitReport)
        seal = SealBackup(backup=plan.backup, units=tuple(captured), location=plan.location)
        return runner.run("seal_backup", seal, BackupReport)


def copy_to(runner: Runner, locations: Sequence[str]) -> CopiesReport:
    """Copy to these locations whatever their rules want; what keeps one from being copied to is a finding."""
    findings: list[Finding] = []
    places: list[ReplicationReport] = []
    if len(locations) > 2:
        try:
            runner.run("copy_objects", CopyObjects(), CopyReport)
        except StrongroomError as error:
            # Each location reads for itself then: nothing is lost but the saving.
            findings.append(finding_of(error, "all locations", "warning"))
    for name in locations:
        try:
            places.append(runner.run("replicate", Replicate(location=name), ReplicationReport))
        except EmptyPolicy:
            # It is not the fault of one location.
            raise
        except StrongroomError as error:
            findings.append(finding_of(error, f"location {name}"))
    return CopiesReport(places=tuple(places), findings=tuple(findings))


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
