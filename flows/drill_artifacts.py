"""What a drill leaves in Prefect for people to look at: the verdict, the steps, and the damage that was noticed."""

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from flows.artifacts import key_of
from flows.drill_wording import beside, damage_noticed, equal_tables
from flows.wording import duration, facts, findings, sections, size
from strongroom.operations.drill_messages import DrillReport


async def publish_drill(source: str, report: DrillReport) -> None:
    """Publish the evidence of a drill, passed or not."""
    record = report.evidence
    summary = {
        "drill": record.drill,
        "backup": record.backup,
        "passed": "yes" if record.passed else "**no**",
        "recovery lag": beside(record.recovery_lag_seconds, record.recovery_lag_objective_seconds),
        "recovery duration": beside(
            record.recovery_duration_seconds, record.recovery_duration_objective_seconds
        ),
        "moved": size(record.bytes_moved),
        "suites": f"{record.suites_passed} of {record.suites} passed, {record.expectations} expectations",
        "tables": equal_tables(record),
        **({"damage noticed": damage_noticed(record)} if record.damages else {}),
        "evidence": ", ".join(report.locations) or "nowhere",
        "page": report.page or "none",
        "Data Docs": report.data_docs or "none",
    }
    parts = [
        (f"# Drill of {source}", facts(summary)),
        ("## Findings", findings((*record.findings, *report.findings))),
    ]
    await acreate_markdown_artifact(sections(parts), key=key_of("drill", source), description=record.backup)
    steps = [{"step": step.name, "time": duration(step.seconds)} for step in record.steps]
    await acreate_table_artifact(steps, key=key_of("drill-steps", source), description=record.drill)
    if record.damages:
        rows = [
            {
                "damage": one.damage,
                "noticed by": one.noticed_by or "NOT NOTICED",
                "what was done": one.observed,
            }
            for one in record.damages
        ]
        await acreate_table_artifact(rows, key=key_of("drill-damage", source), description=record.drill)
