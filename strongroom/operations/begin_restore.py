"""Begin a restore: check that the destination can take the backup, and cut the rows into units."""

from contextlib import suppress

from strongroom.config import Settings
from strongroom.errors import StoreError
from strongroom.format.documents import Finding, Manifest
from strongroom.operations.context import Context
from strongroom.operations.messages import BeginRestore, RestorePlanReport, UnitBrief
from strongroom.postgres.connection import connect
from strongroom.postgres.database_facts import decode_facts
from strongroom.recovery.destination import check_destination
from strongroom.recovery.journal import is_under_way
from strongroom.recovery.units import RestoreUnitPlan, plan_restore_units
from strongroom.repository import layout
from strongroom.repository.collections import FACTS, read_collection
from strongroom.repository.locations import open_locations
from strongroom.repository.opening import newest_backup, open_repository
from strongroom.repository.tiers import find_delay


def begin_restore(settings: Settings, request: BeginRestore, context: Context) -> RestorePlanReport:
    """Return what a restore is going to write. Raises what makes the destination unfit; writes nothing."""
    repository = open_repository(settings, to_read_rows=True)
    backup = newest_backup(repository) if request.backup == "latest" else request.backup
    manifest = repository.read_manifest(backup)
    documents = [repository.read_unit_document(reference) for reference in manifest.documents]
    facts = decode_facts(b"".join(read_collection(repository, manifest, FACTS)))
    conninfo = settings.destination_conninfo()
    with connect(conninfo, context.deadline, application_name="strongroom restore") as connection:
        resumed = is_under_way(connection, backup)
        findings = check_destination(connection, manifest, facts, is_resumed=resumed)
    return RestorePlanReport(
        backup=backup,
        snapshot_at=manifest.snapshot.taken_at,
        destination=f"{conninfo.get('dbname', '')} at {conninfo.get('host', 'this machine')}",
        tables=len(manifest.tables),
        rows=sum(entry.rows for entry in manifest.tables),
        units=tuple(_brief(manifest, unit) for unit in plan_restore_units(manifest, documents)),
        findings=(*findings, *warn_of_emergency(request, manifest), *_delay(settings, manifest, context)),
    )


def warn_of_emergency(request: BeginRestore, manifest: Manifest) -> tuple[Finding, ...]:
    """Say that the newest backup is the one which a recovery in place began with: it holds what was to be repaired."""
    if request.backup != "latest" or manifest.backup_class != "emergency":
        return ()
    return (
        Finding(
            severity="warning",
            code="latest-is-emergency",
            object=manifest.id,
            observed="the newest backup was taken before a recovery in place, and holds what that was to repair",
            advice="If the state before the damage is wanted, restore an earlier backup by its id.",
        ),
    )


def _delay(settings: Settings, manifest: Manifest, context: Context) -> tuple[Finding, ...]:
    """Say how long cold tiers take, if no location that lists the backup has it at hand."""
    listing = []
    for location in open_locations(settings, context.deadline):
        # One that does not answer has nothing at hand either.
        with suppress(StoreError):
            location.store.stat(layout.manifest_name(manifest.id))
            listing.append(location)
    return find_delay(manifest, listing, context.clock())


def _brief(manifest: Manifest, unit: RestoreUnitPlan) -> UnitBrief:
    first = manifest.tables[unit.slices[0].table].facts
    more = len(unit.slices) - 1
    label = f"{first.schema}.{first.name}" + (f" and {more} more" if more else "")
    return UnitBrief(number=unit.number, label=label, estimated_bytes=unit.raw)
