"""The flow of a verification: verify one backup to a level → report → fail if anything is not proven."""

from prefect import flow

from blocks import load_settings_of
from flows.artifacts import name_run, publish_verification
from flows.limits import limited
from strongroom.errors import VerificationFailed
from strongroom.operations.messages import Level, VerificationReport, VerifyBackup
from tasks.verification import verify_backup
from tasks.work import Work


@flow(name="verify", flow_run_name="verify the {level} of {backup}", persist_result=False)
async def verify(
    configuration: str = "strongroom.toml",
    backup: str = "latest",
    level: Level = "structure",
    location: str = "",
) -> VerificationReport:
    """Verify a stored backup. Whatever could not be proven makes the run fail.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        backup: The id of a backup, or latest.
        level: Structure tests that everything is present and unchanged; content also opens and counts the
            rows, for which the recovery key is needed.
        location: The location whose copy is verified; empty for the nearest one that lists the backup.
    """
    settings = await load_settings_of(configuration)
    async with limited(settings, settings.verification.timeout, "verification.timeout") as work:
        await name_run(f"verify the {level} of {backup} of {settings.source.name}", settings.source.name)
        return await prove(work, backup, level, location)


async def prove(work: Work, backup: str, level: Level, location: str = "") -> VerificationReport:
    """Verify a backup and publish what was found. Raises `VerificationFailed` after publishing."""
    limits = work.settings.verification
    report = await work.within(limits.timeout, "verification.timeout").do(
        verify_backup, VerifyBackup(backup=backup, level=level, location=location)
    )
    await publish_verification(work.settings.source.name, report)
    if not report.passed:
        first = next((f"{found.code} {found.object}" for found in report.findings), "no finding was given")
        raise VerificationFailed(
            backup=report.backup, level=level, findings=len(report.findings), first=first
        )
    return report
