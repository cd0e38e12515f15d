"""The flow of a backup: check → hold the snapshot → capture everything → seal → verify → replicate → report."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from msgspec.structs import replace
from prefect import flow

from blocks import load_settings_of
from flows.artifacts import key_of, name_run, publish_backup, publish_check, publish_units
from flows.limits import limited
from flows.location_artifacts import publish_replication
from flows.parallel import in_parallel
from flows.progress import Board, progress_shown
from flows.replication import copy_to, findings_of, require_copies
from flows.verify import prove
from strongroom.config import Settings
from strongroom.errors import CheckFailed
from strongroom.format.documents import BackupClass
from strongroom.operations.messages import (
    BackupReport,
    BeginBackup,
    CaptureCatalog,
    CaptureUnit,
    CheckReport,
    CheckSource,
    PlanReport,
    SealBackup,
    UnitReport,
    WantedKind,
)
from tasks.backup import begin_backup, capture_catalog, capture_unit, check_source, seal_backup
from tasks.work import Work


@flow(name="backup", flow_run_name="{kind} backup, {backup_class}", persist_result=False)
async def back_up(
    configuration: str = "strongroom.toml",
    kind: WantedKind = "auto",
    backup_class: BackupClass = "scheduled",
) -> BackupReport:
    """Back up the source at one consistent instant, verify what was stored, and copy it to the other locations.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        kind: What to read again: everything (full), what changed since the last full (differential) or
            since the last backup (incremental), or what the age of these suggests (auto).
        backup_class: Scheduled backups expire by the schedule's rules, emergency backups by their own.
    """
    settings = await load_settings_of(configuration)
    source = settings.source.name
    async with (
        limited(settings, settings.backup.max_backup_duration, "backup.max_backup_duration") as work,
        progress_shown(key_of("backup-progress", source), f"The backup of {source}") as board,
        work.hold("begin_backup", BeginBackup(kind=kind, backup_class=backup_class), PlanReport) as snapshot,
    ):
        await check(work)
        plan = await work.do(begin_backup, snapshot)
        await name_run(f"{plan.kind} backup of {source}, {plan.backup}", source, plan.kind)
        report = await snapshot.during(capture_and_seal(work, plan, board))
        await snapshot.release()
        verification = await prove(work, report.backup, "structure", plan.location)
        await publish_backup(source, report, verification)
    return await copy_elsewhere(settings, report, plan.location)


async def copy_elsewhere(settings: Settings, report: BackupReport, written_at: str) -> BackupReport:
    """Copy to the other locations, within a time of its own, and say in the report where the backup is.

    The location that it was written to is asked too: it may lack backups of the time when it was out of reach.
    Raises `TooFewCopies`; the backup is listed anyhow.
    """
    locations = settings.repository.locations
    if len(locations) == 1:
        return replace(report, locations=(written_at,))
    source, limit = settings.source.name, settings.repository.replication_timeout
    async with (
        limited(settings, limit, "repository.replication_timeout") as work,
        progress_shown(key_of("replication-progress", source), f"Copying {report.backup}") as board,
    ):
        copies = await copy_to(work, board, locations)
        await publish_replication(source, copies)
        listing = require_copies(copies, report.backup, written_at, settings.repository)
    return replace(report, locations=listing, findings=(*report.findings, *findings_of(copies)))


async def check(work: Work) -> CheckReport:
    """Check the source; nothing is begun if a backup could not work. Raises `CheckFailed`."""
    report = await work.do(check_source, CheckSource())
    await publish_check(work.settings.source.name, report)
    if not report.passed:
        raise CheckFailed(
            failed="; ".join(f"{found.name}: {found.observed}" for found in report.failed),
            remedy=" ".join(found.remedy for found in report.failed),
        )
    return report


async def capture_and_seal(work: Work, plan: PlanReport, board: Board) -> BackupReport:
    """Capture the catalog and every unit inside the held snapshot, and write the manifest."""
    units = await in_parallel(captures(work, plan, board), work.settings.backup.parallelism)
    await publish_units(work.settings.source.name, plan, units)
    request = SealBackup(backup=plan.backup, units=tuple(units), location=plan.location)
    return await work.do(seal_backup, request)


def captures(
    work: Work, plan: PlanReport, board: Board
) -> list[Callable[[], Coroutine[Any, Any, UnitReport]]]:
    """Return a job for the catalog and for each unit, the largest first so that the last one is short."""
    catalog = CaptureCatalog(backup=plan.backup, snapshot=plan.snapshot, location=plan.location)
    jobs = [board.watch(0, partial(work.do, capture_catalog, catalog))]
    for brief in sorted(plan.units, key=lambda brief: -brief.estimated_bytes):
        unit = CaptureUnit(
            backup=plan.backup, unit=brief.number, snapshot=plan.snapshot, location=plan.location
        )
        jobs.append(board.watch(brief.estimated_bytes, partial(work.do, capture_unit, unit)))
    return jobs
