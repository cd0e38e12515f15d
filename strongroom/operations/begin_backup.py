"""Begin a backup: take the right to write, hold the snapshot, choose the kind, plan, and wait.

It is written to the first location that can be written to. What it builds on is listed at the same location, so
that its manifest names only what is there (I2). The plan is stored before anything else, so that a run which is cut
off can be taken over by a later one.
"""

import datetime as dt

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.kinds import KindChoice, choose_kind, history_obstacle
from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, ObjectMissing
from strongroom.format.documents import FORMAT, BackupPlan, Manifest, PlannedTable, PlannedUnit
from strongroom.ids import BackupId, new_backup_id
from strongroom.operations.context import Context
from strongroom.operations.messages import BeginBackup, PlanReport, UnitBrief
from strongroom.postgres.extents import count_pages
from strongroom.postgres.planning import plan_table, plan_units
from strongroom.postgres.snapshot import HeldSnapshot, hold_snapshot
from strongroom.postgres.usable_source import require_usable_source
from strongroom.repository import layout
from strongroom.repository.attempts import RESUME_WITHIN
from strongroom.repository.known import KnownRows
from strongroom.repository.opening import read_catalog
from strongroom.repository.repository import Repository
from strongroom.repository.writing import Writable, first_writable


def begin_backup(settings: Settings, request: BeginBackup, context: Context) -> PlanReport:
    """Announce the plan of a backup and hold its snapshot until released.

    Raises `LeaseHeld` if a backup is running, `ParentUnfit`, what `require_usable_source` raises, and what
    connecting and locking raise.
    """
    conninfo = settings.conninfo()
    require_usable_source(conninfo, context.deadline)
    backup = new_backup_id(context.clock(), context.random(5))
    with (
        first_writable(settings, backup, context.clock, context.random, context.deadline) as place,
        hold_snapshot(conninfo, context.deadline) as held,
    ):
        plan = _plan(settings, request, context, place, backup, held)
        place.repository.put_plan(plan, context.random)
        report = _report(plan, held.name, place.location.name)
        context.announce(report)
        context.wait_for_release()
        place.lease.check()
    return report


def _plan(
    settings: Settings,
    request: BeginBackup,
    context: Context,
    place: Writable,
    backup: BackupId,
    held: HeldSnapshot,
) -> BackupPlan:
    now, repository = context.clock(), place.repository
    catalog = read_catalog(repository)
    choice = choose_kind(catalog, request.kind, settings.source.name, held.facts, now)
    attempt = _find_attempt(repository, catalog, choice, settings.source.name, held, now)
    tables = _plan_tables(repository, held, choice.parent, attempt)
    total = sum(table.facts.size for table in tables)
    return BackupPlan(
        format=FORMAT,
        id=backup,
        kind=choice.kind,
        backup_class=request.backup_class,
        reason=choice.reason,
        source=settings.source.name,
        started_at=now,
        snapshot=held.facts,
        tables=tables,
        units=plan_units(tables),
        sequences=held.sequences,
        parent=choice.parent.id if choice.parent else "",
        base=(choice.parent.base or choice.parent.id) if choice.parent else "",
        resumes=attempt.id if attempt else "",
        compress=total >= settings.backup.compression_threshold,
        findings=(*place.findings, *held.findings),
    )


def _plan_tables(
    repository: Repository, held: HeldSnapshot, parent: Manifest | None, attempt: BackupPlan | None
) -> tuple[PlannedTable, ...]:
    """Cut every table, at the width that what it is compared with has."""
    pages = count_pages(held.connection, [table.oid for table in held.tables])
    oids = [table.oid for table in held.tables]
    earlier = {entry.facts.oid: entry.facts for entry in parent.tables} if parent else {}
    known = KnownRows.of_backup(repository, parent, oids) if parent else None
    widths = {oid: known.width(oid) for oid in oids} if known else {}
    if attempt:
        # A resumed attempt was cut for the same parent; where it has a table, its cut is the one to keep.
        tried = {table.facts.oid: table for table in attempt.tables}
        earlier |= {oid: table.facts for oid, table in tried.items()}
        widths |= {oid: table.pages_per_extent for oid, table in tried.items()}
    return tuple(
        plan_table(
            table,
            pages[table.oid],
            (earlier[table.oid], widths.get(table.oid, 0)) if table.oid in earlier else None,
            from_scratch=parent is None and attempt is None,
        )
        for table in held.tables
    )


def _find_attempt(
    repository: Repository,
    catalog: Catalog,
    choice: KindChoice,
    source: str,
    held: HeldSnapshot,
    now: dt.datetime,
) -> BackupPlan | None:
    """Return the newest interrupted attempt at the same backup, if it is recent and of the same history.

    One that is older than a listed backup of the source is over: that backup may have built on it, and two
    fulls must not share its packs.
    """
    newest = max((manifest.id for manifest in catalog.backups if manifest.source == source), default="")
    parent = choice.parent.id if choice.parent else ""
    names = [stored.name for stored in repository.store.list(layout.ATTEMPTS)]
    for name in reversed(names):
        backup = layout.backup_of(name)
        if backup <= newest:
            return None
        try:
            plan = repository.read_plan(backup)
        except (FormatError, KeyringError, ObjectMissing):
            # An attempt is only worth time: without it, everything is read from the source again.
            continue
        if now - plan.started_at > RESUME_WITHIN:
            return None
        same = (plan.kind, plan.parent, plan.source) == (choice.kind, parent, source)
        if same and not history_obstacle(plan.snapshot, held.facts):
            return plan
    return None


def _report(plan: BackupPlan, snapshot: str, location: str) -> PlanReport:
    return PlanReport(
        backup=plan.id,
        location=location,
        kind=plan.kind,
        reason=plan.reason,
        snapshot=snapshot,
        units=tuple(_brief(plan, unit) for unit in plan.units),
        tables=len(plan.tables),
        estimated_bytes=sum(unit.estimated_bytes for unit in plan.units),
        parent=plan.parent,
        resumes=plan.resumes,
        findings=plan.findings,
    )


def _brief(plan: BackupPlan, unit: PlannedUnit) -> UnitBrief:
    first = plan.tables[unit.slices[0].table]
    label = f"{first.facts.schema}.{first.facts.name}"
    if len(unit.slices) > 1:
        label += f" and {len(unit.slices) - 1} more"
    elif unit.slices[0].extents < first.extents:
        label += f" from extent {unit.slices[0].first_extent}"
    return UnitBrief(number=unit.number, label=label, estimated_bytes=unit.estimated_bytes)
