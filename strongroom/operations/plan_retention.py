"""Plan what expires where: look at every location, apply its rules, ask the locks. Changes nothing.

Whoever does not see every location plans nothing: a location out of reach, or a manifest that cannot be read, is an
error. Example:

    report = plan_retention(settings, PlanRetention(), context)
    [(one.backup, one.location, one.reason) for one in report.expiries]
"""

import datetime as dt
from collections.abc import Sequence

from strongroom.config import Settings
from strongroom.errors import UnknownBackup
from strongroom.format.documents import FORMAT, Finding
from strongroom.format.records import AcceptanceRecord
from strongroom.identity import current_user
from strongroom.operations.context import Context
from strongroom.operations.location_messages import (
    ExpiringBackup,
    KeptBackup,
    PlanRetention,
    RetentionPlanReport,
)
from strongroom.operations.retention_policy import policy_of
from strongroom.repository import layout
from strongroom.repository.inventory import Inventory, take_inventory
from strongroom.repository.records import write_everywhere
from strongroom.repository.tiers import find_early_deletions
from strongroom.retention import plan as planning
from strongroom.retention.plan import Expiry, RetentionPlan
from strongroom.stores.locking import find_locking


def plan_retention(settings: Settings, request: PlanRetention, context: Context) -> RetentionPlanReport:
    """Return the plan. Raises `LocationUnreachable`, and the refusals of `strongroom.retention.plan`.

    Backups that are accepted are written down as such at every location first, since that outlives this run.
    """
    now = context.clock()
    inventory = take_inventory(settings, context.deadline, now, strict=True)
    if request.accept:
        _accept(inventory, request.accept, context, now)
        inventory = take_inventory(settings, context.deadline, now, strict=True)
    plan = make_plan(settings, inventory, now)
    kinds = {backup.id: backup.kind for backup in inventory.catalog.backups}
    has_lock = {one.name: one.store.capabilities.lock is not None for one in inventory.locations}
    expiries: list[ExpiringBackup] = []
    locked: list[ExpiringBackup] = []
    for expiry in plan.expiries:
        until = _locked_until(inventory, expiry)
        found = ExpiringBackup(
            backup=expiry.backup,
            location=expiry.location,
            kind=kinds[expiry.backup],
            reason=expiry.reason.text,
            # Where there are locks, which of the packs are still locked is known when they are deleted.
            bytes_freed=0 if has_lock[expiry.location] else expiry.bytes_freed,
            locked_until=until,
        )
        (locked if until is not None and until > now else expiries).append(found)
    return RetentionPlanReport(
        planned_at=now,
        keeps=tuple(
            KeptBackup(
                backup=keep.backup,
                location=keep.location,
                reasons=tuple(f"{reason.rule}: {reason.text}" for reason in keep.reasons),
            )
            for keep in plan.keeps
        ),
        expiries=tuple(expiries),
        locked=tuple(locked),
        held_by=tuple(finding for hold in plan.held_by for finding in hold.findings),
        findings=(*inventory.findings, *plan.findings, *_early_deletions(inventory, expiries, now)),
    )


def _early_deletions(
    inventory: Inventory, expiries: Sequence[ExpiringBackup], now: dt.datetime
) -> tuple[Finding, ...]:
    return tuple(
        finding
        for location in inventory.locations
        for finding in find_early_deletions(
            ((one.backup, one.bytes_freed) for one in expiries if one.location == location.name),
            location,
            now,
        )
    )


def make_plan(settings: Settings, inventory: Inventory, now: dt.datetime) -> RetentionPlan:
    """Return the pure plan of what an inventory holds."""
    return planning.plan_retention(
        inventory.catalog,
        policy_of(settings),
        now,
        holds=inventory.holds,
        last_seen=inventory.last_seen,
        in_use=inventory.in_use,
        accepted=inventory.accepted,
    )


def _locked_until(inventory: Inventory, expiry: Expiry) -> dt.datetime | None:
    """Return until when a lock keeps a manifest, None if none does: plans never promise what a lock forbids."""
    location = next(one for one in inventory.locations if one.name == expiry.location)
    locking = find_locking(location.store)
    return locking.locked_until(layout.manifest_name(expiry.backup)) if locking else None


def _accept(inventory: Inventory, backups: tuple[str, ...], context: Context, now: dt.datetime) -> None:
    sources = {backup.id: backup.source for backup in inventory.catalog.backups}
    for backup in backups:
        if backup not in sources:
            raise UnknownBackup(backup=backup)
        record = AcceptanceRecord(
            format=FORMAT,
            at=now,
            source=sources[backup],
            backup=backup,
            reason="accepted on the command line or in the flow's parameters",
            by=current_user(),
        )
        write_everywhere(inventory.locations, inventory.repository.keyring, record, context.random)
