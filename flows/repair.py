"""The flow of repair: find what is missing or damaged → [a dry run ends here] → copy good objects → report."""

from prefect import flow

from blocks import load_settings_of
from flows.artifacts import name_run
from flows.limits import limited
from flows.location_artifacts import publish_repair
from strongroom.errors import CopyDamaged, LocationUnreachable
from strongroom.operations.location_messages import PlanRepair, Repair, RepairedReport, RepairReport
from tasks.locations import plan_repair, repair


@flow(name="repair", flow_run_name="repair", persist_result=False)
async def mend(
    configuration: str = "strongroom.toml",
    location: str = "",
    read_everything: bool = False,
    dry_run: bool = False,
) -> RepairedReport:
    """Put right what is missing or damaged at a location and good at another one.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        location: The name of one location; empty for all.
        read_everything: Read and compare every object, not only lists and what verifications found.
        dry_run: Only look, and show what would be done.
    """
    settings = await load_settings_of(configuration)
    source = settings.source.name
    limit = settings.repository.replication_timeout
    async with limited(settings, limit, "repository.replication_timeout") as work:
        await name_run(f"{'look for damage to' if dry_run else 'repair'} the backups of {source}", source)
        plan = await work.do(plan_repair, PlanRepair(location=location, read_everything=read_everything))
        mendable = tuple(one for one in plan.mends if one.source)
        done = RepairReport(repaired=(), bytes_copied=0)
        if mendable and not dry_run:
            done = await work.do(repair, Repair(mends=mendable))
        report = RepairedReport(plan=plan, done=done, dry_run=dry_run)
        await publish_repair(source, report)
    hopeless = [finding for finding in (*plan.findings, *done.findings) if finding.severity == "critical"]
    if hopeless and not dry_run:
        raise CopyDamaged(name=hopeless[0].object, reasons=hopeless[0].observed)
    unseen = [finding for finding in plan.findings if finding.severity == "error"]
    if unseen and not dry_run:
        # What could not be looked at is not whole, whatever was mended elsewhere.
        raise LocationUnreachable(
            location=unseen[0].object.removeprefix("location "), reason=unseen[0].observed
        )
    return report
