"""The tasks of a backup."""

from prefect import task

from strongroom.children import HeldChild
from strongroom.errors import SourceNotReady
from strongroom.operations.messages import (
    BackupReport,
    CaptureCatalog,
    CaptureUnit,
    CheckReport,
    CheckSource,
    PlanReport,
    SealBackup,
    UnitReport,
)
from tasks.work import Work, options


@task(name="check source", task_run_name="check the source", **options())
async def check_source(work: Work, request: CheckSource) -> CheckReport:
    """Ask whether the source, the keys and the locations allow a backup; ask again if that may pass."""
    report = await work.carry("check_source", request, CheckReport)
    if report.may_pass:
        raise SourceNotReady(failed="; ".join(f"{check.name}: {check.observed}" for check in report.failed))
    return report


@task(name="begin backup", task_run_name="open the snapshot and plan", **options())
async def begin_backup(work: Work, request: HeldChild[PlanReport]) -> PlanReport:  # noqa: ARG001  (as all tasks)
    """Open the snapshot and plan; whoever made the held child keeps the snapshot, and lets go of it."""
    return await request.begin()


@task(name="capture catalog", task_run_name="capture the catalog", **options())
async def capture_catalog(work: Work, request: CaptureCatalog) -> UnitReport:
    """Capture everything that is not a table's rows."""
    return await work.carry("capture_catalog", request, UnitReport)


@task(name="capture unit", task_run_name="capture unit {request.unit}", **options())
async def capture_unit(work: Work, request: CaptureUnit) -> UnitReport:
    """Capture one unit of the plan."""
    return await work.carry("capture_unit", request, UnitReport)


@task(name="seal backup", task_run_name="seal {request.backup}", **options())
async def seal_backup(work: Work, request: SealBackup) -> BackupReport:
    """Write the manifest, which makes the backup exist."""
    return await work.carry("seal_backup", request, BackupReport)
