"""What follows when a recovery in place fails: nothing, if it had changed nothing; else its rollback.

A rollback is a recovery of its own, from the emergency backup, of the rows that the run has touched. It has its own
limit, its own journal, and is confirmed in the same way.
"""

import time
from dataclasses import dataclass
from typing import NoReturn

from prefect.logging import get_run_logger

from flows.approval import ask_whether_to_roll_back
from flows.limits import limited
from flows.progress import Board
from flows.recovery_artifacts import StepBoard, StepShown
from flows.recovery_run import RecoveryRun, finding_of_failure, reason_of
from flows.staging import confirm, stage, take_hold
from strongroom.config import Settings
from strongroom.errors import RecoveryOwnerLost, RecoveryRolledBack, RollbackFailed
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import (
    ApplyRecovery,
    ApplyReport,
    CompareLive,
    DifferencesReport,
    FinishRecovery,
    HoldRecovery,
    Outcome,
    PlanRollback,
    RecallTouched,
    RunReport,
)
from tasks.in_place import apply_recovery, compare_live, finish_recovery, plan_rollback, recall_touched
from tasks.work import Work

UNDOING = (
    StepShown("undo-plan", "plan the rollback"),
    StepShown("undo-stage", "load the rows of the emergency backup beside live"),
    StepShown("undo-compare", "compare the touched rows"),
    StepShown("undo-apply", "give them back, in one transaction"),
    StepShown("undo-confirm", "compare again"),
    StepShown("undo-finish", "remove both sets of staging tables, store the record"),
)

_RECALLING = StepShown("undo-recall", "load the run's own rows once more: which of them did it touch?")
"""What is to be done besides of a run that has ended."""

CHANGED = ("committed", "rolling-back", "rolled-back", "finished")
"""The states of a run in which it has changed live."""


@dataclass
class Undoing:
    """A rollback while it is carried out."""

    settings: Settings
    run: str
    board: StepBoard
    progress: Board
    differences: DifferencesReport | None = None
    applied: ApplyReport | None = None
    steps: tuple[RestoreStepReport, ...] = ()


async def answer_failure(run: RecoveryRun, error: Exception) -> NoReturn:
    """Do what a failure calls for, and raise: the error itself, `RecoveryRolledBack` or `RollbackFailed`.

    What has happened is asked of the journal, not of this process: a commit may have outlived whoever asked for it.
    """
    if run.journal is None or isinstance(error, RecoveryOwnerLost):
        # Either nothing was begun, or it is somebody else's by now.
        raise error
    if run.is_proven:
        # Live is what was wanted, and only the ending failed: the same plan, carried out again, ends it.
        await run.publish("recovered", error)
        raise error
    if run.applied is None and not await _has_changed_live(run, error):
        raise error
    if not run.plan.rollback_on_error or not run.emergency_backup:
        why = "as was asked for" if run.emergency_backup else "there is no emergency backup to go back to"
        await _leave(run, error, why)
        raise error
    if run.plan.rollback_strategy == "manual":
        await _ask(run, error)
    await roll_back_after(run, error, reason_of(error))


async def roll_back_after(run: RecoveryRun, error: Exception | None, reason: str) -> NoReturn:
    """Roll a run back. Raises `RecoveryRolledBack` once live is confirmed to be what it was, else `RollbackFailed`."""
    undoing = Undoing(run.settings, run.plan.id, run.board, run.progress)
    try:
        await undo(undoing)
    except Exception as second:
        run.board.remark(f"ROLLING BACK FAILED: {reason_of(second)}")
        run.findings.append(finding_of_failure(second, f"{run.plan.id}.rollback"))
        await run.publish("left", error)
        raise RollbackFailed(
            run=run.plan.id, reason=reason, rollback=reason_of(second), backup=run.emergency_backup
        ) from second
    run.rollback = undoing.applied
    run.board.remark("ROLLED BACK: live is what it was before")
    await run.publish("rolled-back", error)
    raise RecoveryRolledBack(run=run.plan.id, backup=run.emergency_backup, reason=reason) from error


async def undo(undoing: Undoing) -> RecoveryPlan:
    """Roll a run back within recovery.rollback_timeout, or go on with a rollback that was cut off; return its plan.

    Raises what its operations raise, `RecoveryNotConfirmed` and `DeadlineExceeded` among it; then the journals
    stay, and the rollback can be asked for again.
    """
    settings = undoing.settings
    undoing.board.add(UNDOING, f"ROLLING BACK the run {undoing.run}")
    limit = settings.recovery.rollback_timeout
    async with limited(settings, limit, "recovery.rollback_timeout") as work:
        with undoing.board.step("undo-plan"):
            plan = (await work.do(plan_rollback, PlanRollback(run=undoing.run))).plan
        async with work.hold("hold_recovery", HoldRecovery(plan=plan), RunReport) as held:
            begun = await take_hold(work, held, plan)
            await held.during(_give_back(work, undoing, plan, begun))
            await held.release()
    return plan


async def _give_back(work: Work, undoing: Undoing, plan: RecoveryPlan, begun: RunReport) -> None:
    """Load, compare, give back, compare again; what an earlier attempt has committed is not done again."""
    began, board = time.monotonic(), undoing.board
    if begun.state not in CHANGED:
        with board.step("undo-stage"):
            undoing.steps = tuple(await stage(work, plan, begun.owner, undoing.progress))
        if begun.forgotten is not None:
            await _recall(work, undoing, plan, begun.forgotten, begun.owner)
        with board.step("undo-compare"):
            request = CompareLive(plan=plan, owner=begun.owner)
            undoing.differences = await work.do(compare_live, request)
    with board.step("undo-apply"):
        undoing.applied = applied = await work.do(apply_recovery, ApplyRecovery(plan=plan, owner=begun.owner))
    with board.step("undo-confirm"):
        await confirm(work, plan)
    with board.step("undo-finish"):
        request_to_finish = FinishRecovery(
            plan=plan,
            owner=begun.owner,
            outcome="rolled-back",
            seconds=time.monotonic() - began,
            emergency_backup=plan.backup,
            applied=applied,
        )
        await work.do(finish_recovery, request_to_finish)


async def _recall(work: Work, undoing: Undoing, plan: RecoveryPlan, undone: RecoveryPlan, owner: str) -> None:
    """Find out again which rows a run has touched whose end, or a crash of the server, has removed the list."""
    undoing.board.add((_RECALLING,), f"The list of rows that {undone.id} has touched is made again")
    with undoing.board.step(_RECALLING.name):
        undoing.steps += tuple(await stage(work, undone, owner, undoing.progress))
        await work.do(recall_touched, RecallTouched(plan=plan, undone=undone, owner=owner))


async def _ask(run: RecoveryRun, error: Exception) -> None:
    """Ask a person; return if the run is to be rolled back, else leave it and raise the error."""
    run.board.remark("WAITING: somebody has to decide whether this is rolled back")
    decision = await ask_whether_to_roll_back(run.settings, run.plan, reason_of(error))
    words = f"{'roll back' if decision.roll_back else 'leave it'}: {decision.reason}"
    run.findings.append(
        Finding(severity="warning", code="rollback-decided", object=decision.by, observed=words)
    )
    run.board.remark(f"DECIDED by {decision.by}: {words}")
    if not decision.roll_back:
        await _leave(run, error, f"as {decision.by} decided")
        raise error


async def _leave(run: RecoveryRun, error: Exception, why: str) -> None:
    """End a run whose changes stay although it failed, as loudly as can be."""
    words = f"LEFT AS IT IS, {why}: live holds the recovered rows, and {reason_of(error)}"
    run.findings.append(Finding(severity="critical", code="left", object=run.plan.id, observed=words))
    run.board.remark(words)
    await _end(run, "left")
    await run.publish("left", error)


async def _has_changed_live(run: RecoveryRun, error: Exception) -> bool:
    """Ask the journal whether live was changed; if not, end the run there and publish its report."""
    if run.is_apply_begun or run.journal is None:
        found = await _end(run, "failed")
        if found is None:
            run.board.remark(
                "NOT KNOWN whether live was changed: the journal does not answer. Carry the same plan out again."
            )
            return False
        if found.state in CHANGED:
            return True
    else:
        await _end(run, "failed")
    await run.publish("failed", error)
    return False


async def _end(run: RecoveryRun, outcome: Outcome) -> RunReport | None:
    """Hold the run once more and end it, as far as that is possible now; return what its journal said.

    A run that has changed live is never ended as `failed`.
    """
    settings, limit = run.settings, run.settings.recovery.rollback_timeout
    try:
        async with (
            limited(settings, limit, "recovery.rollback_timeout") as work,
            work.hold("hold_recovery", HoldRecovery(plan=run.plan), RunReport) as held,
        ):
            run.journal = found = await take_hold(work, held, run.plan)
            if outcome != "failed" or found.state not in CHANGED:
                await run.finish(work, outcome)
            await held.release()
            return found
    except Exception as second:  # noqa: BLE001  (what ended the run is what is raised; this is a finding beside it)
        run.findings.append(finding_of_failure(second, run.plan.id))
        get_run_logger().warning(
            "The run %s could not be ended (%s). Its staging tables are still there; carry the same plan out again, or"
            " remove them with `strongroom recover clean`.",
            run.plan.id,
            reason_of(second),
        )
        return None
