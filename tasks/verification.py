"""The task of a verification."""

from prefect import task

from strongroom.operations.messages import VerificationReport, VerifyBackup
from tasks.work import Work, options


@task(
    name="verify backup",
    task_run_name="verify the {request.level} of {request.backup}",
    **options(),
)
async def verify_backup(work: Work, request: VerifyBackup) -> VerificationReport:
    """Verify one backup to a level."""
    return await work.carry("verify_backup", request, VerificationReport)
