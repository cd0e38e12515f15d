"""The story of a recovery in place: live is only read until one transaction makes it agree with the backup.

Hold the right to recover → check → verify the backup → take the emergency backup → stage → judge the staged rows →
compare → apply → confirm → judge live → validate the system → report. Before `apply` has committed nothing has
happened; what fails after it is rolled back. The journal in the destination says how far a run is, so that a run
that was killed anywhere is continued by carrying the same plan out again.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from flows.approval import Approved
from flows.artifacts import name_run
from flows.emergency_backup import take_emergency_backup
from flows.limits import limited
from flows.recovery_artifacts import publish_differences, unless_prefect_is_away
from flows.recovery_run import RecoveryRun, require_valid, run_shown
from flows.rolling_back import answer_failure, roll_back_after
from flows.staging import confirm, stage, take_hold
from flows.verify import prove
from strongroom.config import Settings
from strongroom.errors import LiveRowsUnfit, StagedRowsUnfit, StrongroomError
from strongroom.findings import finding_of
from strongroom.format.recovery_plans import RecoveryPlan, StepName
from strongroom.integrity.judge import require_passed
from strongroom.operations.recovery_messages import (
    ApplyRecovery,
    CheckRecovery,
    CompareLive,
    HoldRecovery,
    InPlaceReport,
    JudgeLive,
    JudgeStaging,
    NoteEmergencyBackup,
    RunReport,
    ValidateSystem,
)
from tasks.in_place import (
    apply_recovery,
    check_recovery,
    compare_live,
    judge_live,
    judge_staging,
    note_emergency_backup,
    validate_system,
)
from tasks.work import Work

Gate: TypeAlias = Callable[[Work, RecoveryRun], Awaitable[None]]

ROLLING = ("rolling-back", "rolled-back")


async def recover_in_place(
    settings: Settings, plan: RecoveryPlan, data_docs: str = "", approval: Approved | None = None
) -> InPlaceReport:
    """Carry a plan out in the live database, or go on with it where an earlier attempt was cut off.

    Raises the error that ended it before anything was changed; after the commit `RecoveryRolledBack`,
    `RollbackFailed`, or, if nobody wanted a rollback, the error itself.
    """
    limit = settings.recovery.max_recovery_time
    async with run_shown(settings, plan, data_docs, approval) as run:
        try:
            async with (
                limited(settings, limit, "recovery.max_recovery_time") as work,
                work.hold("hold_recovery", HoldRecovery(plan=plan), RunReport) as held,
            ):
                run.journal = await take_hold(work, held, plan)
                with unless_prefect_is_away():
                    await name_run(f"recover {run.source} from {plan.backup}, {plan.strategy}", run.source)
                await held.during(go_on(work, run, run.journal))
                await held.release()
        # Cancelled is not failed: the journal stays, and the same plan goes on from there.
        except Exception as error:  # noqa: BLE001  (whatever it is, live must not be left in doubt; it is raised again)
            await answer_failure(run, error)
        if run.journal.state in ROLLING:
            await roll_back_after(run, None, "it was cut off while being rolled back")
        return await run.publish("recovered")


async def go_on(work: Work, run: RecoveryRun, found: RunReport) -> None:
    """Do what the journal says is left to do."""
    run.findings += found.findings
    if found.resumed:
        run.board.remark(f"RESUMED: an earlier attempt got as far as {found.state!r}")
    if found.state in ROLLING:
        return
    if found.state in {"begun", "staged"}:
        await prepare(work, run)
        await bring_in(work, run)
    if found.state != "finished":
        await commit(work, run)
        await prove_live(work, run)
    run.is_proven = True
    try:
        with run.step(work, "finish") as own:
            await run.finish(own, "recovered")
    except StrongroomError as error:
        if run.is_critical("report"):
            raise
        run.findings.append(finding_of(error, run.plan.id))


# ---------------------------------------------------------------- before the commit


async def prepare(work: Work, run: RecoveryRun) -> None:
    """Check live, prove the backup, and see that there is a way back."""
    with run.step(work, "check") as own:
        report = await own.do(check_recovery, CheckRecovery(plan=run.plan))
        run.findings += report.findings
    if run.plan.skip_verification:
        run.board.settle("verify", "**left out**")
    else:
        with run.step(work, "verify") as own:
            limit = run.settings.recovery.verification_timeout
            proof = await prove(
                own.within(limit, "recovery.verification_timeout"), run.plan.backup, "structure"
            )
            run.findings += proof.findings
    await secure_way_back(work, run)


async def secure_way_back(work: Work, run: RecoveryRun) -> None:
    """Take the emergency backup and note it in the journal; one that an earlier attempt has noted serves."""
    if not run.plan.emergency_backup:
        run.board.settle("emergency-backup", "**left out**")
        return
    if run.emergency_backup:
        run.board.settle("emergency-backup", f"taken before: {run.emergency_backup}")
        return
    with run.step(work, "emergency-backup") as own:
        report = await take_emergency_backup(own, run.progress)
        note = NoteEmergencyBackup(plan=run.plan, owner=run.owner, backup=report.backup)
        run.journal = await own.do(note_emergency_backup, note)
        run.findings += report.findings


async def bring_in(work: Work, run: RecoveryRun) -> None:
    """Load the wanted rows, judge them, and find out what differs. Raises `StagedRowsUnfit`; live is only read."""
    with run.step(work, "stage") as own:
        steps = await stage(own, run.plan, run.owner, run.progress)
        run.steps += steps
        run.findings += [finding for step in steps for finding in step.findings]
    with run.step(work, "judge-staging") as own:
        judge = JudgeStaging(plan=run.plan, data_docs=run.docs("staging"))
        run.staging = await own.do(judge_staging, judge)
        run.findings += run.staging.findings
        require_passed(run.staging, StagedRowsUnfit)
    with run.step(work, "compare") as own:
        run.differences = await own.do(compare_live, CompareLive(plan=run.plan, owner=run.owner))
        run.findings += run.differences.findings
        await publish_differences(run.source, run.plan.id, run.differences)


async def commit(work: Work, run: RecoveryRun) -> None:
    """Make live agree; of a run that has committed before, this reads back what it did."""
    with run.step(work, "apply") as own:
        run.is_apply_begun = True
        run.applied = await own.do(apply_recovery, ApplyRecovery(plan=run.plan, owner=run.owner))
        run.findings += run.applied.findings


# ---------------------------------------------------------------- after the commit


async def prove_live(work: Work, run: RecoveryRun) -> None:
    """Confirm, judge and validate what was committed; raise the first failure.

    With the strategy `immediate` the first failure ends it at once. Otherwise the gates that remain are asked as well:
    whoever looks at it later, or has to decide, sees all of it.
    """
    at_once = run.plan.rollback_on_error and run.plan.rollback_strategy == "immediate"
    gates: tuple[tuple[Gate, StepName | None], ...] = (
        (confirm_commit, None),
        (judge, "judge"),
        (validate, "validate"),
    )
    failures: list[StrongroomError] = []
    for gate, planned in gates:
        try:
            await gate(work, run)
        except StrongroomError as error:
            run.findings.append(finding_of(error, run.plan.id))
            # That live holds what was wanted is never optional; the rest is, if the plan says so.
            if planned is not None and not run.is_critical(planned):
                continue
            if at_once:
                raise
            failures.append(error)
    if failures:
        raise failures[0]


async def confirm_commit(work: Work, run: RecoveryRun) -> None:
    """See that no row differs that nobody has written since. Raises `RecoveryNotConfirmed`."""
    with run.step(work, "confirm") as own:
        report = await confirm(own, run.plan)
        run.findings += report.findings


async def judge(work: Work, run: RecoveryRun) -> None:
    """Run the suites on live. Raises `LiveRowsUnfit`."""
    with run.step(work, "judge-live") as own:
        request = JudgeLive(plan=run.plan, data_docs=run.docs("live"))
        run.integrity = await own.do(judge_live, request)
        run.findings += run.integrity.findings
        require_passed(run.integrity, LiveRowsUnfit)


async def validate(work: Work, run: RecoveryRun) -> None:
    """Ask as the application would. Raises `SystemValidationFailed`."""
    with run.step(work, "validate") as own:
        run.validation = await own.do(validate_system, ValidateSystem(destination="source"))
        run.findings += run.validation.findings
        require_valid(run.validation)
