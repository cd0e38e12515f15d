"""What flows leave in Prefect for people to look at: a summary in Markdown and a table of the units.

Everything shown comes out of reports: names, counts and findings; no rows, no addresses.
"""

import re
from collections.abc import Sequence

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from flows.wording import duration, facts, findings, ratio, sections, size
from strongroom.format.documents import CaptureTotals
from strongroom.operations.messages import (
    BackupReport,
    CheckReport,
    IntegrityReport,
    PlanReport,
    RecoveryReport,
    UnitReport,
    VerificationReport,
)


def key_of(*words: str) -> str:
    """Make the key of an artifact: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


async def name_run(name: str, *tags: str) -> None:
    """Give the running flow a name that says what it turned out to do, and tags to find it by."""
    context = FlowRunContext.get()
    if context and context.flow_run:
        every = {"strongroom", *context.flow_run.tags, *tags}
        async with get_client() as client:
            await client.update_flow_run(context.flow_run.id, name=name, tags=sorted(every))


async def publish_check(source: str, report: CheckReport) -> None:
    """Publish the answers of a preflight."""
    rows = [
        {
            "check": c.name,
            "passed": c.passed,
            "observed": c.observed,
            "severity": c.severity,
            "remedy": c.remedy,
        }
        for c in report.checks
    ]
    await acreate_table_artifact(rows, key=key_of("check", source), description="The check before the backup")


async def publish_backup(source: str, report: BackupReport, verification: VerificationReport) -> None:
    """Publish the summary of a backup, and what its verification proved."""
    proven = "proven present and whole" if verification.passed else "**could not be proven**"
    summary = {
        "backup": report.backup,
        "kind": f"{report.kind} ({report.reason})",
        "class": report.backup_class,
        "parent": report.parent or "none",
        "instant": report.snapshot_at.isoformat(timespec="seconds"),
        "verification": f"{verification.level}, score {verification.score}: {proven}",
        **_totals(report.totals),
    }
    parts = [
        (f"# Backup of {source}", facts(summary)),
        ("## Findings", findings((*report.findings, *verification.findings))),
    ]
    await acreate_markdown_artifact(sections(parts), key=key_of("backup", source), description=report.backup)


async def publish_units(source: str, plan: PlanReport, units: Sequence[UnitReport]) -> None:
    """Publish what each unit of a backup moved and stored."""
    briefs = {brief.number: brief for brief in plan.units}
    rows = [
        {
            "unit": unit.unit,
            "what": briefs[unit.unit].label if unit.unit in briefs else "catalog",
            "rows": unit.totals.rows,
            "rows read": unit.totals.rows_read,
            "extents reused": f"{unit.totals.extents_reused} of {unit.totals.extents}",
            "moved": size(unit.totals.bytes_moved),
            "stored": size(unit.totals.bytes_stored),
            "time": duration(unit.totals.wall_seconds),
        }
        for unit in units
    ]
    await acreate_table_artifact(rows, key=key_of("units", source), description=f"The units of {plan.backup}")


async def publish_verification(source: str, report: VerificationReport) -> None:
    """Publish the summary of a verification."""
    summary = {
        "backup": report.backup,
        "level": report.level,
        "passed": "yes" if report.passed else "**no**",
        "score": f"{report.score} of 100",
        "objects checked": report.objects_checked,
        "bytes checked": size(report.bytes_checked),
        "rows checked": report.rows_checked,
        "time": duration(report.seconds),
    }
    parts = [(f"# Verification of {source}", facts(summary)), ("## Findings", findings(report.findings))]
    await acreate_markdown_artifact(
        sections(parts), key=key_of("verification", source), description=report.backup
    )


async def publish_recovery(source: str, report: RecoveryReport) -> None:
    """Publish the summary of a recovery, passed or not, with its steps and suites."""
    summary = {
        "backup": report.backup,
        "destination": report.destination,
        "passed": "yes" if report.passed else "**no**",
        "tables": report.tables,
        "rows": report.rows,
        "recovery lag": duration(report.recovery_lag_seconds),
        "recovery duration": duration(report.recovery_duration_seconds),
    }
    parts = [(f"# Recovery of {source}", facts(summary))]
    if report.integrity is not None:
        parts.append(("## Integrity", _integrity(report.integrity)))
    parts.append(("## Findings on the way", findings(report.findings)))
    await acreate_markdown_artifact(
        sections(parts), key=key_of("recovery", source), description=report.backup
    )
    steps = [
        {"step": s.step, "rows": s.rows, "moved": size(s.bytes_moved), "time": duration(s.seconds)}
        for s in report.steps
    ]
    await acreate_table_artifact(steps, key=key_of("recovery-steps", source), description=report.backup)


def _totals(totals: CaptureTotals) -> dict[str, object]:
    return {
        "tables": totals.tables,
        "rows": f"{totals.rows} ({totals.rows_read} read)",
        "extents reused": f"{totals.extents_reused} of {totals.extents}",
        "scanned on the server": size(totals.bytes_scanned),
        "moved": size(totals.bytes_moved),
        "stored": f"{size(totals.bytes_stored)} ({ratio(totals.bytes_raw, totals.bytes_stored)} smaller)",
        "time": f"{duration(totals.wall_seconds)} ({duration(totals.cpu_seconds)} of processor)",
    }


def _integrity(report: IntegrityReport) -> str:
    summary = {
        "passed": "yes" if report.passed else "**no**",
        "rows": f"{report.rows_observed} of {report.rows_expected}",
        "data loss": f"{report.data_loss_percent:g} %",
        "suites": f"{sum(suite.passed for suite in report.suites)} of {len(report.suites)} passed",
        "failed": ", ".join(suite.suite for suite in report.suites if not suite.passed) or "none",
        "Data Docs": report.data_docs or "none",
    }
    return facts(summary) + "\n\n" + findings(report.findings)
