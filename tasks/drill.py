"""The tasks of a drill, beside those of the recovery that it rehearses."""

from prefect import task

from strongroom.children import HeldChild
from strongroom.operations.drill_messages import (
    DamageCopyReport,
    DamageDatabase,
    DamageReport,
    DrillMeasures,
    DrillReport,
    DrillServerReport,
    MeasureDrill,
    StoreDrill,
    TryDamage,
)
from tasks.work import Work, options


@task(name="hold drill server", task_run_name="start a throw-away server", **options())
async def hold_drill_server(work: Work, request: HeldChild[DrillServerReport]) -> DrillServerReport:  # noqa: ARG001  (as all tasks)
    """Start the server; whoever made the held child keeps it, and lets go of it."""
    return await request.begin()


@task(name="measure drill", task_run_name="compare every table with the baseline", **options())
async def measure_drill(work: Work, request: MeasureDrill) -> DrillMeasures:
    """Count and digest every table."""
    return await work.carry("measure_drill", request, DrillMeasures)


@task(name="hold damage copy", task_run_name="copy what the backup reaches", **options())
async def hold_damage_copy(work: Work, request: HeldChild[DamageCopyReport]) -> DamageCopyReport:  # noqa: ARG001  (as all tasks)
    """Copy what the backup reaches; whoever made the held child keeps the copy, and lets go of it."""
    return await request.begin()


@task(name="try damage", task_run_name="damage a copy: {request.damage}", **options())
async def try_damage(work: Work, request: TryDamage) -> DamageReport:
    """Damage a copy in one way, or in none, and verify it."""
    return await work.carry("try_damage", request, DamageReport)


@task(
    name="damage database",
    task_run_name="damage the drilled database: {request.damage}",
    **options(),
)
async def damage_database(work: Work, request: DamageDatabase) -> DamageReport:
    """Damage the drilled database in one way, and judge it."""
    return await work.carry("damage_database", request, DamageReport)


@task(name="store drill", task_run_name="sign and store the evidence", **options())
async def store_drill(work: Work, request: StoreDrill) -> DrillReport:
    """Sign the evidence, and store it at every location."""
    return await work.carry("store_drill", request, DrillReport)
