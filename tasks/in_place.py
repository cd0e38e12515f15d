"""The tasks of a recovery in place, of planning it, and of rolling it back."""

from prefect import task

from strongroom.children import HeldChild
from strongroom.operations.messages import IntegrityReport, RestoreStepReport
from strongroom.operations.recovery_messages import (
    ApplyRecovery,
    ApplyReport,
    CheckRecovery,
    CompareLive,
    ConfirmRecovery,
    ConfirmReport,
    DifferencesReport,
    FinishRecovery,
    FinishStaging,
    JudgeLive,
    JudgeStaging,
    NoteEmergencyBackup,
    PlanRecovery,
    PlanRollback,
    PrepareStaging,
    RecallTouched,
    RecoveryCheckReport,
    RecoveryPlanReport,
    RunReport,
    StageUnit,
    StagingReport,
    ValidateSystem,
    ValidationReport,
)
from tasks.work import Work, options


@task(name="plan recovery", task_run_name="plan the recovery", **options())
async def plan_recovery(work: Work, request: PlanRecovery) -> RecoveryPlanReport:
    """Choose the recovery point, the scope and the steps; nothing is written."""
    return await work.carry("plan_recovery", request, RecoveryPlanReport)


@task(name="plan rollback", task_run_name="plan the rollback", **options())
async def plan_rollback(work: Work, request: PlanRollback) -> RecoveryPlanReport:
    """Make the plan that undoes a run; nothing is written."""
    return await work.carry("plan_rollback", request, RecoveryPlanReport)


@task(name="hold recovery", task_run_name="take the right to recover", **options())
async def hold_recovery(work: Work, request: HeldChild[RunReport]) -> RunReport:  # noqa: ARG001  (as all tasks)
    """Take the right to recover and open the journal; whoever made the held child keeps it, and lets go of it."""
    return await request.begin()


@task(name="check recovery", task_run_name="check the live database", **options())
async def check_recovery(work: Work, request: CheckRecovery) -> RecoveryCheckReport:
    """Ask everything that can be known before anything is written."""
    return await work.carry("check_recovery", request, RecoveryCheckReport)


@task(name="note emergency backup", task_run_name="note the way back", **options())
async def note_emergency_backup(work: Work, request: NoteEmergencyBackup) -> RunReport:
    """Write down which backup the run can be rolled back to."""
    return await work.carry("note_emergency_backup", request, RunReport)


@task(name="prepare staging", task_run_name="make the staging tables", **options())
async def prepare_staging(work: Work, request: PrepareStaging) -> StagingReport:
    """Make the staging tables and cut the loading into units."""
    return await work.carry("prepare_staging", request, StagingReport)


@task(name="stage unit", task_run_name="stage unit {request.unit}", **options())
async def stage_unit(work: Work, request: StageUnit) -> RestoreStepReport:
    """Load one unit's rows into the staging tables."""
    return await work.carry("stage_unit", request, RestoreStepReport)


@task(name="finish staging", task_run_name="prove what was staged", **options())
async def finish_staging(work: Work, request: FinishStaging) -> RestoreStepReport:
    """Prove that all wanted rows are in, and index them."""
    return await work.carry("finish_staging", request, RestoreStepReport)


@task(name="recall touched", task_run_name="find out again which rows were touched", **options())
async def recall_touched(work: Work, request: RecallTouched) -> DifferencesReport:
    """Compare what the run wanted with what live held before it."""
    return await work.carry("recall_touched", request, DifferencesReport)


@task(name="judge staging", task_run_name="judge the staged rows", **options())
async def judge_staging(work: Work, request: JudgeStaging) -> IntegrityReport:
    """Run the integrity suites on the staging tables."""
    return await work.carry("judge_staging", request, IntegrityReport)


@task(name="compare live", task_run_name="compare live with the staged rows", **options())
async def compare_live(work: Work, request: CompareLive) -> DifferencesReport:
    """Find which rows differ; live is only read."""
    return await work.carry("compare_live", request, DifferencesReport)


@task(
    name="apply recovery",
    task_run_name="make live agree, in one transaction",
    **options(),
)
async def apply_recovery(work: Work, request: ApplyRecovery) -> ApplyReport:
    """Make live agree with the staged rows, or change nothing."""
    return await work.carry("apply_recovery", request, ApplyReport)


@task(name="confirm recovery", task_run_name="compare again", **options())
async def confirm_recovery(work: Work, request: ConfirmRecovery) -> ConfirmReport:
    """Compare live with the staged rows again, after the commit."""
    return await work.carry("confirm_recovery", request, ConfirmReport)


@task(name="judge live", task_run_name="judge the live rows", **options())
async def judge_live(work: Work, request: JudgeLive) -> IntegrityReport:
    """Run the integrity suites on the live tables in scope."""
    return await work.carry("judge_live", request, IntegrityReport)


@task(name="validate system", task_run_name="ask as the application would", **options())
async def validate_system(work: Work, request: ValidateSystem) -> ValidationReport:
    """Ask as each API role, the user's own SQL checks and health addresses."""
    return await work.carry("validate_system", request, ValidationReport)


@task(name="finish recovery", task_run_name="end the run: {request.outcome}", **options())
async def finish_recovery(work: Work, request: FinishRecovery) -> RunReport:
    """Store what became of the run, and remove its staging tables."""
    return await work.carry("finish_recovery", request, RunReport)
