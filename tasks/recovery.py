"""The tasks of a recovery into an empty destination."""

from prefect import task

from strongroom.operations.messages import (
    BeginRestore,
    IntegrityReport,
    JudgeRestore,
    RestoreAfterRows,
    RestoreBeforeRows,
    RestorePlanReport,
    RestoreStepReport,
    RestoreUnit,
)
from tasks.work import Work, options


@task(name="begin restore", task_run_name="check the destination and plan", **options())
async def begin_restore(work: Work, request: BeginRestore) -> RestorePlanReport:
    """Check the destination and cut the restore into units."""
    return await work.carry("begin_restore", request, RestorePlanReport)


@task(name="restore before rows", task_run_name="make roles, types and tables", **options())
async def restore_before_rows(work: Work, request: RestoreBeforeRows) -> RestoreStepReport:
    """Make roles, schemas, types, functions and tables."""
    return await work.carry("restore_before_rows", request, RestoreStepReport)


@task(name="restore unit", task_run_name="restore unit {request.unit}", **options())
async def restore_unit(work: Work, request: RestoreUnit) -> RestoreStepReport:
    """Copy one unit's rows in."""
    return await work.carry("restore_unit", request, RestoreStepReport)


@task(name="restore after rows", task_run_name="make indexes, keys and policies", **options())
async def restore_after_rows(work: Work, request: RestoreAfterRows) -> RestoreStepReport:
    """Make indexes, constraints, triggers and policies; set sequences and privileges."""
    return await work.carry("restore_after_rows", request, RestoreStepReport)


@task(name="judge restore", task_run_name="judge the restored data", **options())
async def judge_restore(work: Work, request: JudgeRestore) -> IntegrityReport:
    """Run the integrity suites on the destination against the backup's baseline."""
    return await work.carry("judge_restore", request, IntegrityReport)
