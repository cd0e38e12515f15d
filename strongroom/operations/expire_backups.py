"""Remove manifests from one location: what a plan says, if it still says so (I4: the manifest goes first).

What the manifests reached is not touched here; `collect_garbage` frees it after the grace period.
"""

from strongroom.config import Settings
from strongroom.errors import ObjectLocked, PlanOutdated
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.ids import new_backup_id
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import ExpireBackups, ExpiryReport
from strongroom.operations.plan_retention import make_plan
from strongroom.repository import layout
from strongroom.repository.garbage import mark, reached_at, write_marks
from strongroom.repository.inventory import (
    Inventory,
    find_doubtful_copy,
    is_held_now,
    take_inventory,
)
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location
from strongroom.repository.opening import open_own_location
from strongroom.repository.repository import Repository
from strongroom.repository.writing import COPY_RIGHT, require_apart


def expire_backups(settings: Settings, request: ExpireBackups, context: Context) -> ExpiryReport:
    """Remove manifests; first take away the marks of whatever is reached, so that the grace period begins now.

    Everything is looked at and planned again under the right to copy: what the plan does not expire any more stays.
    Raises `LeaseHeld` if somebody is copying there, `PlanOutdated` if the clock was set back since, `SamePlace`,
    `ForeignRepository`, and what planning raises.
    """
    now = context.clock()
    if now < request.planned_at:
        raise PlanOutdated(reason=f"it was made at {request.planned_at.isoformat()}, after the present time")
    location = open_own_location(settings, request.location, context.deadline)
    token = new_backup_id(now, context.random(5))
    with Lease(location.store, COPY_RIGHT, token, context.clock) as lease:
        inventory = take_inventory(settings, context.deadline, now, strict=True)
        require_apart(location, inventory.locations, token, context.clock)
        if inventory.is_empty(location):
            return ExpiryReport(location=location.name, expired=())
        still = {
            expiry.backup
            for expiry in make_plan(settings, inventory, now).expiries
            if expiry.location == location.name
        }
        _refresh_marks(inventory, location, context)
        expired: list[str] = []
        findings: list[Finding] = []
        # The newest first: it depends on the others, so an abort leaves what can be used.
        for wanted in sorted(request.expiries, key=lambda one: one.backup, reverse=True):
            if wanted.backup not in inventory.listed[location.name]:
                continue
            unplanned = wanted.location != location.name or wanted.backup not in still
            if unplanned or is_held_now(inventory, wanted.backup, context.clock()):
                findings.append(_kept(wanted.backup))
                continue
            doubtful = find_doubtful_copy(inventory, wanted.backup, location)
            if doubtful is not None:
                findings.append(doubtful)
                continue
            lease.check()
            context.deadline.check()
            try:
                location.store.delete(layout.manifest_name(wanted.backup))
            except ObjectLocked as error:
                findings.append(finding_of(error, wanted.backup, "info"))
            else:
                expired.append(wanted.backup)
            context.progress(Progress(len(expired), len(request.expiries), "backups", location.name))
    return ExpiryReport(location=location.name, expired=tuple(expired), findings=tuple(findings))


def _refresh_marks(inventory: Inventory, location: Location, context: Context) -> None:
    """Write down what nothing reaches now, so that what is reached loses the mark it may have had (I4)."""
    repository = Repository.open(location.store, inventory.repository.keyring)
    now = context.clock()
    is_reached = reached_at(
        repository, inventory.listed[location.name], inventory.named_at(location.name), now
    )
    marked = mark(repository, location.name, is_reached, now)
    write_marks(repository, location.name, marked, now, context.random)


def _kept(backup: str) -> Finding:
    return Finding(
        severity="info",
        code="kept-after-all",
        object=backup,
        observed="something has changed since the plan was made, and it is kept now",
    )
