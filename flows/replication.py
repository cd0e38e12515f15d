"""The flow of copying: read each object once for all locations → make each location list the backups → report.

It is a part of every backup too, and runs alone to catch up: each run copies whatever a location's rules want and
it does not have yet.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Literal

from msgspec.structs import replace
from prefect import flow

from blocks import load_settings_of
from flows.artifacts import key_of, name_run
from flows.limits import limited
from flows.location_artifacts import publish_replication
from flows.parallel import in_parallel
from flows.progress import Board, progress_shown
from strongroom.config import RepositorySettings
from strongroom.errors import (
    CopiesMissing,
    EmptyPolicy,
    StrongroomError,
    TooFewCopies,
    UnknownBackup,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.location_settings import LocationSettings
from strongroom.operations.location_messages import (
    CopiesReport,
    CopyObjects,
    CopyReport,
    Replicate,
    ReplicationReport,
)
from tasks.locations import copy_objects, replicate
from tasks.work import Work


@flow(name="replication", flow_run_name="copy to all locations", persist_result=False)
async def copy_backups(configuration: str = "strongroom.toml", backup: str = "") -> CopiesReport:
    """Copy backups to every location that should have them and does not. Raises `CopiesMissing` after publishing.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        backup: The id of a backup to copy everywhere; empty for whatever the locations' rules want.
    """
    settings = await load_settings_of(configuration)
    limit = settings.repository.replication_timeout
    async with (
        limited(settings, limit, "repository.replication_timeout") as work,
        progress_shown(key_of("replication-progress", settings.source.name), "Copying") as board,
    ):
        await name_run(f"copy the backups of {settings.source.name} to all locations", settings.source.name)
        report = await copy_to(work, board, settings.repository.locations, (backup,) if backup else ())
        await publish_replication(settings.source.name, report)
    failed = [finding for finding in report.findings if finding.severity == "error"]
    if failed:
        raise CopiesMissing(failed=len(failed), locations=len(report.places), reasons=_reasons(failed))
    return report


async def copy_to(
    work: Work, board: Board, locations: Sequence[LocationSettings], backups: tuple[str, ...] = ()
) -> CopiesReport:
    """Copy to these locations. What keeps one of them from it is a finding, and keeps no other from it.

    Raises `EmptyPolicy` and `UnknownBackup`, which are the fault of none of them.
    """
    writable = [location.name for location in locations if not location.read_only]
    findings: list[Finding] = []
    read_once = None
    if len(writable) > 1 and len(locations) > 2:
        # Alone, each location reads for itself: without this step nothing is lost but the saving.
        copying = board.watch(1.0, partial(work.do, copy_objects, CopyObjects(backups=backups)))
        read_once = await _or_finding(copying, "all locations", findings, "warning")()
    jobs = [
        _or_finding(
            board.watch(1.0, partial(work.do, replicate, Replicate(location=name, backups=backups))),
            f"location {name}",
            findings,
        )
        for name in writable
    ]
    reports = await in_parallel(jobs, work.settings.backup.parallelism)
    places = [report for report in reports if isinstance(report, ReplicationReport)]
    if isinstance(read_once, CopyReport):
        places = [_with_what_was_read_once(place, read_once) for place in places]
    return CopiesReport(places=tuple(places), findings=tuple(findings))


def findings_of(report: CopiesReport) -> tuple[Finding, ...]:
    """Return all findings of copying, each once: every location notices what is wrong with the others."""
    every = (*report.findings, *(found for place in report.places for found in place.findings))
    return tuple(found for number, found in enumerate(every) if found not in every[:number])


def require_copies(
    report: CopiesReport, backup: str, written_at: str, repository: RepositorySettings
) -> tuple[str, ...]:
    """Return the locations that list a backup, the one that it was written to among them.

    Raises `TooFewCopies` if they are fewer than `min_copies`.
    """
    listing = {place.location for place in report.places if place.lists(backup)} | {written_at}
    if len(listing) < repository.min_copies:
        failed = [found for found in report.findings if found.severity == "error"]
        closed = [f"location {one.name} is read_only" for one in repository.locations if one.read_only]
        reasons = "; ".join(filter(None, (_reasons(failed), *closed)))
        raise TooFewCopies(
            backup=backup,
            copies=len(listing),
            wanted=repository.min_copies,
            reasons=reasons or "another location's rules do not want it",
        )
    return tuple(location.name for location in repository.locations if location.name in listing)


def _reasons(findings: Sequence[Finding]) -> str:
    """Put findings into a part of a sentence."""
    return "; ".join(f"{found.object}: {found.observed.rstrip('.')}" for found in findings)


def _with_what_was_read_once(place: ReplicationReport, copied: CopyReport) -> ReplicationReport:
    """Count with a location what was copied there before its manifests, together with the other locations."""
    for before in copied.places:
        if before.location == place.location:
            return replace(
                place,
                objects_copied=place.objects_copied + before.objects_copied,
                objects_there=max(0, place.objects_there - before.objects_copied),
                bytes_copied=place.bytes_copied + before.bytes_copied,
            )
    return place


def _or_finding(
    job: Callable[[], Coroutine[Any, Any, object]],
    name: str,
    findings: list[Finding],
    severity: Literal["error", "warning"] = "error",
) -> Callable[[], Coroutine[Any, Any, object]]:
    """Return a job that does not fail: a coded error becomes a finding. Whoever counts copies judges it."""

    async def guarded() -> object:
        try:
            return await job()
        except (EmptyPolicy, UnknownBackup):
            # What was asked for is wrong, at every location alike.
            raise
        except StrongroomError as error:
            findings.append(finding_of(error, name, severity))
            return None

    return guarded
