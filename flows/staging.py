"""Loading the wanted rows beside live, and asking whether live agrees: what recoveries and rollbacks share."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from flows.parallel import in_parallel
from flows.progress import Board
from strongroom.child import GRACE_SECONDS
from strongroom.children import HeldChild
from strongroom.errors import RecoveryNotConfirmed, RecoveryUnderWay
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import (
    ConfirmRecovery,
    ConfirmReport,
    FinishStaging,
    PrepareStaging,
    RunReport,
    StageUnit,
    StagingReport,
)
from tasks.in_place import confirm_recovery, finish_staging, hold_recovery, prepare_staging, stage_unit
from tasks.work import Work

_PATIENCE_SECONDS = 4 * GRACE_SECONDS
"""How long a holder of the same run, which was killed or is just ending, may take to let go."""
_PAUSE_SECONDS = 0.5


async def take_hold(work: Work, held: HeldChild[RunReport], plan: RecoveryPlan) -> RunReport:
    """Take the right to recover. Raises `RecoveryUnderWay` at once if another run has it.

    The same run may be held for a moment by a process that is ending: it is waited for.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await work.do(hold_recovery, held)
        except RecoveryUnderWay as error:
            if error.context.get("run") not in {plan.id, plan.undoes} or time.monotonic() > end:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def stage(work: Work, plan: RecoveryPlan, owner: str, board: Board) -> list[RestoreStepReport]:
    """Load all wanted rows into the staging tables, and prove that they are in."""
    staging = await work.do(prepare_staging, PrepareStaging(plan=plan, owner=owner))
    loaded = await in_parallel(loads(work, plan, staging, board), work.settings.backup.parallelism)
    proven = await work.do(finish_staging, FinishStaging(plan=plan, owner=owner))
    return [RestoreStepReport(step="staging tables", findings=staging.findings), *loaded, proven]


def loads(
    work: Work, plan: RecoveryPlan, staging: StagingReport, board: Board
) -> list[Callable[[], Coroutine[Any, Any, RestoreStepReport]]]:
    """Return a job for each unit, the largest first so that the last one is short."""
    return [
        board.watch(
            brief.estimated_bytes, partial(work.do, stage_unit, StageUnit(plan=plan, unit=brief.number))
        )
        for brief in sorted(staging.units, key=lambda brief: -brief.estimated_bytes)
    ]


async def confirm(work: Work, plan: RecoveryPlan) -> ConfirmReport:
    """Compare live with the staged rows again. Raises `RecoveryNotConfirmed`."""
    report = await work.do(confirm_recovery, ConfirmRecovery(plan=plan))
    if not report.passed:
        objects = sorted({finding.object for finding in report.findings if finding.severity != "info"})
        raise RecoveryNotConfirmed(
            differing=report.differing, objects=", ".join(objects) or "see the findings"
        )
    return report
