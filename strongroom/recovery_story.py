"""What a recovery in place would do, found out without an orchestrator and without touching a live row.

    seen = preview(InChildren(settings, deadline), plan)
    seen.differences.total      # rows that would be inserted, changed or deleted

The wanted rows are loaded into staging tables and compared with live, as a recovery does; then they are removed. Only
the schema of the staging tables is written to, and while it is there no recovery can begin.
"""

from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from strongroom.errors import StrongroomError
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import (
    CheckRecovery,
    CleanRecovery,
    CleanReport,
    CompareLive,
    DifferencesReport,
    FinishStaging,
    HoldRecovery,
    PrepareStaging,
    RecoveryCheckReport,
    RowsShown,
    RunReport,
    ShowRows,
    StageUnit,
    StagingReport,
)
from strongroom.runners import Runner

_PREVIEW = ".preview"


@dataclass(frozen=True)
class Preview:
    """What would happen. `rows` are the user's own: for a terminal, and nowhere else."""

    check: RecoveryCheckReport
    differences: DifferencesReport
    rows: RowsShown


def preview(runner: Runner, plan: RecoveryPlan, most: int = 5) -> Preview:
    """Carry a plan out up to the comparison, under a name of its own, and remove what that took.

    Raises what the steps raise: `RecoveryUnderWay`, `LiveTableGone`, `SchemaDrifted` and the like.
    """
    trial = replace(plan, id=plan.id + _PREVIEW)
    is_open = False
    try:
        with runner.hold("hold_recovery", HoldRecovery(plan=trial), RunReport) as run:
            is_open = True
            seen = _compare(runner, trial, run.owner, most)
    except BaseException:
        # Not what somebody else has left: only if the journal is this preview's own.
        if is_open:
            # Why it failed is what matters; what could not be removed, `recover clean` removes.
            with suppress(StrongroomError):
                runner.run("clean_recovery", CleanRecovery(), CleanReport)
        raise
    runner.run("clean_recovery", CleanRecovery(), CleanReport)
    return seen


def is_preview(run: str) -> bool:
    """Tell whether a run is a preview that was cut off: it must never be carried on as a recovery."""
    return run.endswith(_PREVIEW)


def _compare(runner: Runner, plan: RecoveryPlan, owner: str, most: int) -> Preview:
    check = runner.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport)
    staging = runner.run("prepare_staging", PrepareStaging(plan=plan, owner=owner), StagingReport)
    units = [("stage_unit", StageUnit(plan=plan, unit=unit.number)) for unit in staging.units]
    runner.run_all(units, RestoreStepReport)
    runner.run("finish_staging", FinishStaging(plan=plan, owner=owner), RestoreStepReport)
    differences = runner.run("compare_live", CompareLive(plan=plan, owner=owner), DifferencesReport)
    rows = runner.run("show_rows", ShowRows(plan=plan, most=most), RowsShown)
    return Preview(check, differences, rows)
