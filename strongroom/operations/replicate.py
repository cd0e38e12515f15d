"""Make one location list backups that others have: what it still lacks, the keys, then the manifests (I1, I2).

Resumable: what is there is not copied again, and a run that was cut off has listed nothing that is not whole.
"""

import time
from contextlib import suppress

from strongroom.config import Settings
from strongroom.errors import (
    FormatError,
    KeyringError,
    NotReplicable,
    ObjectDamaged,
    ObjectMissing,
    StoreError,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.ids import new_backup_id
from strongroom.keys import load_keyring
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import Replicate, ReplicationReport
from strongroom.operations.retention_policy import policy_of
from strongroom.repository.inventory import Inventory, take_inventory
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location, nearest, open_location, open_locations
from strongroom.repository.replication import CopyCounts, Copying, ReplicationPlan
from strongroom.repository.repository import Repository
from strongroom.repository.shortfall import join_repository, missing_records, plan_for
from strongroom.repository.writing import COPY_RIGHT, require_apart

_RECENT = 100


def replicate(settings: Settings, request: Replicate, context: Context) -> ReplicationReport:
    """Copy to one location the backups named, or whatever its rules want and it does not list.

    Raises `LeaseHeld` if somebody else is copying or collecting garbage there, `ForeignRepository`, `SamePlace`,
    `NotReplicable` if no good copy of something is left, and what the location's store raises.
    """
    started = time.monotonic()
    now = context.clock()
    location = open_location(settings, request.location, context.deadline)
    # The location itself comes first: if it is out of reach, nothing else is worth asking.
    any(True for _ in location.store.list("repository.json"))
    locations = open_locations(settings, context.deadline)
    repository = Repository.open(nearest(locations), load_keyring(settings.keys.directory))
    # Before the right is taken: not even a lease is written where another repository is.
    join_repository(repository, location)
    token = new_backup_id(now, context.random(5))
    with Lease(location.store, COPY_RIGHT, token, context.clock) as lease:
        # Only now nothing can be deleted there: what is listed tells what is there (I2).
        inventory = take_inventory(settings, context.deadline, now, strict=False)
        join_repository(inventory.repository, location)
        with suppress(StoreError, FormatError):
            # Of one that does not answer nothing is known, and copying to this one does no harm.
            require_apart(location, inventory.locations, token, context.clock)
        copying = _copying(settings, inventory, location, context)
        plan = plan_for(inventory, location, policy_of(settings), now, request.backups)
        findings = _copy(copying, location, plan, lease)
        findings += copying.copy_names(location, missing_records(inventory, location))
    return _report(location, plan, inventory, copying, findings, time.monotonic() - started)


def _copying(settings: Settings, inventory: Inventory, location: Location, context: Context) -> Copying:
    return Copying(
        inventory.repository.store,
        inventory.repository.keyring,
        settings.repository.parallel_copies,
        context.deadline,
        lambda done, total: context.progress(Progress(done, total, "bytes", location.name)),
    )


def _copy(copying: Copying, location: Location, plan: ReplicationPlan, lease: Lease) -> tuple[Finding, ...]:
    """Complete one backup after the other; one that is not whole anywhere must not keep the others away."""
    findings: list[Finding] = []
    last: NotReplicable | None = None
    for missing in plan.backups:
        try:
            copying.complete(location, ReplicationPlan(plan.location, (missing,)), lease.check)
        except (ObjectMissing, ObjectDamaged, FormatError, KeyringError) as error:
            last = NotReplicable(backup=missing.backup, location=location.name, reason=error.render())
            findings.append(finding_of(last, missing.backup))
    if last is not None and len(findings) == len(plan.backups):
        raise last
    return tuple(findings)


def _report(
    location: Location,
    plan: ReplicationPlan,
    inventory: Inventory,
    copying: Copying,
    findings: tuple[Finding, ...],
    seconds: float,
) -> ReplicationReport:
    refused = {finding.object for finding in findings}
    copied = tuple(missing.backup for missing in plan.backups if missing.backup not in refused)
    listed = (inventory.listed.get(location.name, frozenset()) | set(copied)) - refused
    counts = copying.counts.get(location.name, CopyCounts())
    return ReplicationReport(
        location=location.name,
        backups=copied,
        listed=len(listed),
        newest=max(listed, default=""),
        recent=tuple(sorted(listed)[-_RECENT:]),
        objects_copied=counts.objects_copied,
        objects_there=counts.objects_there,
        bytes_copied=counts.bytes_copied,
        bytes_read=copying.bytes_read,
        seconds=round(seconds, 3),
        findings=(*inventory.findings, *findings),
    )
