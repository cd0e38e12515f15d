"""What flows that work on locations leave in Prefect for people to look at. As in `flows.artifacts`."""

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from flows.artifacts import key_of
from flows.wording import duration, facts, findings, sections, size
from strongroom.operations.location_messages import (
    CollectionReport,
    CopiesReport,
    RepairedReport,
    RetentionPlanReport,
    RetentionReport,
)


async def publish_replication(source: str, report: CopiesReport) -> None:
    """Publish what was copied where, and what kept a location from being copied to."""
    rows = [
        {
            "location": place.location,
            "backups copied": len(place.backups),
            "lists": place.listed,
            "newest": place.newest or "none",
            "objects copied": place.objects_copied,
            "already there": place.objects_there,
            "bytes copied": size(place.bytes_copied),
            "time": duration(place.seconds),
        }
        for place in report.places
    ]
    await acreate_table_artifact(rows, key=key_of("copies", source), description=f"Copies of {source}")
    every = (*report.findings, *(found for place in report.places for found in place.findings))
    # A run without findings says so too: the last artifact of a key is what its page shows.
    parts = [(f"# Copies of {source}", findings(every))]
    await acreate_markdown_artifact(sections(parts), key=key_of("copies-findings", source))


async def publish_retention_plan(source: str, plan: RetentionPlanReport) -> None:
    """Publish what a retention run is going to do: every backup at every location, and why."""
    rows = [
        {
            "backup": expiry.backup,
            "location": expiry.location,
            "what": "expires" if expiry in plan.expiries else f"locked until {expiry.locked_until}",
            "why": expiry.reason,
            "frees": size(expiry.bytes_freed),
        }
        for expiry in (*plan.expiries, *plan.locked)
    ]
    rows += [
        {
            "backup": keep.backup,
            "location": keep.location,
            "what": "stays",
            "why": "; ".join(keep.reasons),
            "frees": "",
        }
        for keep in plan.keeps
    ]
    await acreate_table_artifact(
        rows, key=key_of("retention-plan", source), description=f"What stays of {source}, and why"
    )


async def publish_retention(source: str, report: RetentionReport) -> None:
    """Publish the summary of a retention run."""
    plan = report.plan
    summary = {
        "dry run": "yes" if report.dry_run else "no",
        "stay": len(plan.keeps),
        "expire": len(plan.expiries),
        "kept by a lock": len(plan.locked),
        "expired": sum(len(place.expired) for place in report.expired),
        "data keys shredded": report.shredded.keys_shredded if report.shredded else 0,
        **{f"freed at {place.location}": _freed(place) for place in report.collected},
    }
    parts = [(f"# Retention of {source}", facts(summary))]
    if plan.held_by:
        parts.append(("## Nothing expires: the source looks damaged", findings(plan.held_by)))
    every = [*plan.findings, *report.findings]
    every += [found for place in report.expired for found in place.findings]
    every += [found for place in report.collected for found in place.findings]
    every += report.shredded.findings if report.shredded else ()
    parts.append(("## Findings", findings(every)))
    await acreate_markdown_artifact(sections(parts), key=key_of("retention", source))


async def publish_repair(source: str, report: RepairedReport) -> None:
    """Publish what was missing or damaged, and what became of it."""
    rows = [
        {
            "location": one.location,
            "object": one.name,
            "is": one.problem,
            "good copy at": one.source or "no location",
            "repaired": "yes" if one in report.done.repaired else "no",
        }
        for one in report.plan.mends
    ]
    await acreate_table_artifact(rows, key=key_of("repair", source), description=f"Repair of {source}")
    every = (*report.plan.findings, *report.done.findings)
    summary = {
        "objects looked at": report.plan.objects_looked_at,
        "missing or damaged": len(report.plan.mends),
        "repaired": len(report.done.repaired),
        "bytes copied": size(report.done.bytes_copied),
    }
    parts = [(f"# Repair of {source}", facts(summary)), ("## Findings", findings(every))]
    await acreate_markdown_artifact(sections(parts), key=key_of("repair-summary", source))


def _freed(place: CollectionReport) -> str:
    locked = sum(one.objects for one in place.locked)
    waiting = f"{place.waiting} objects wait for the end of the grace period"
    return f"{place.deleted} objects, {size(place.bytes_freed)}; {waiting}; {locked} are locked"
