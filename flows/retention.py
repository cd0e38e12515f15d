"""The flow of retention: plan → [a dry run ends here] → expire manifests → shred keys → collect garbage → report."""

from prefect import flow

from blocks import load_settings_of
from flows.artifacts import name_run
from flows.limits import limited
from flows.location_artifacts import publish_retention, publish_retention_plan
from strongroom.errors import LeaseHeld
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    ExpireBackups,
    ExpiryReport,
    PlanRetention,
    RetentionPlanReport,
    RetentionReport,
    ShredKeys,
)
from tasks.locations import collect_garbage, expire_backups, plan_retention, shred_keys
from tasks.work import Work

_LEFT = "left for the next run: "


@flow(name="retention", flow_run_name="retention", persist_result=False)
async def clean_up(
    configuration: str = "strongroom.toml", dry_run: bool = False, accept: list[str] | None = None
) -> RetentionReport:
    """Expire what no rule keeps, and free what nothing has reached for the grace period.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        dry_run: Only plan, and show the plan.
        accept: Ids of backups whose numbers were meant, though the damage guard holds expiry because of them.
    """
    settings = await load_settings_of(configuration)
    source = settings.source.name
    async with limited(settings, settings.retention.timeout, "retention.timeout") as work:
        await name_run(f"{'plan ' if dry_run else ''}retention of {source}", source)
        plan = await work.do(plan_retention, PlanRetention(accept=tuple(accept or ())))
        await publish_retention_plan(source, plan)
        report = RetentionReport(plan=plan, dry_run=True) if dry_run else await carry_out(work, plan)
        await publish_retention(source, report)
    return report


async def carry_out(work: Work, plan: RetentionPlanReport) -> RetentionReport:
    """Expire at every location, then shred keys everywhere, then free bytes: in that order (I4).

    A location where somebody is copying is left for the next run. Another error ends the run; what was done before
    it stands, and the next run goes on from there.
    """
    locations = [one.name for one in work.settings.repository.locations if not one.read_only]
    findings: list[Finding] = []
    expired, collected = [], []
    for name in locations:
        mine = tuple(expiry for expiry in plan.expiries if expiry.location == name)
        request = ExpireBackups(location=name, expiries=mine, planned_at=plan.planned_at)
        try:
            expired.append(await work.do(expire_backups, request))
        except LeaseHeld as error:
            findings.append(finding_of(error, f"location {name}", "warning", _LEFT))
    left = {finding.object for finding in findings}
    shredded = await _shred(work, findings) if not left else None
    for name in locations:
        if f"location {name}" in left:
            continue
        try:
            collected.append(await work.do(collect_garbage, CollectGarbage(location=name)))
        except LeaseHeld as error:
            findings.append(finding_of(error, f"location {name}", "warning", _LEFT))
    return _report(plan, expired, shredded, collected, findings)


async def _shred(work: Work, findings: list[Finding]) -> CollectionReport | None:
    try:
        return await work.do(shred_keys, ShredKeys())
    except LeaseHeld as error:
        findings.append(finding_of(error, "data keys", "warning", _LEFT))
        return None


def _report(
    plan: RetentionPlanReport,
    expired: list[ExpiryReport],
    shredded: CollectionReport | None,
    collected: list[CollectionReport],
    findings: list[Finding],
) -> RetentionReport:
    return RetentionReport(
        plan=plan,
        expired=tuple(expired),
        shredded=shredded,
        collected=tuple(collected),
        findings=tuple(findings),
    )
