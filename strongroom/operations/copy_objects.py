"""Copy what the other locations lack, reading each object once for all of them.

Nothing counts before `replicate` has written the manifests, one location after the other. A location that cannot
be written to, or that somebody else is copying to, is left out here; `replicate` says so for it.
"""

import time
from contextlib import ExitStack

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, RepositoryError, StoreError
from strongroom.ids import new_backup_id
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import CopyObjects, CopyReport, PlaceCopied
from strongroom.operations.retention_policy import policy_of
from strongroom.repository.inventory import take_inventory
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location
from strongroom.repository.replication import Copying, ReplicationPlan
from strongroom.repository.shortfall import join_repository, plan_for
from strongroom.repository.writing import COPY_RIGHT


def copy_objects(settings: Settings, request: CopyObjects, context: Context) -> CopyReport:
    """Copy packs, row maps and documents to every location that lacks them.

    Raises what reading raises; what keeps a location from being written to stands in its part of the report.
    """
    started = time.monotonic()
    now = context.clock()
    inventory = take_inventory(settings, context.deadline, now, strict=False)
    token = new_backup_id(now, context.random(5))
    copying = Copying(
        inventory.repository.store,
        inventory.repository.keyring,
        settings.repository.parallel_copies,
        context.deadline,
        lambda done, total: context.progress(Progress(done, total, "bytes", "copying")),
    )
    places: list[tuple[Location, ReplicationPlan]] = []
    refused: list[PlaceCopied] = []
    with ExitStack() as rights:
        for location in inventory.locations:
            if location.settings.read_only:
                continue
            plan = plan_for(inventory, location, policy_of(settings), now, request.backups)
            if not plan.backups:
                continue
            try:
                join_repository(inventory.repository, location)
                rights.enter_context(Lease(location.store, COPY_RIGHT, token, context.clock))
            except (StoreError, RepositoryError, FormatError, KeyringError) as error:
                refused.append(PlaceCopied(location=location.name, error=f"{error.code} {error.render()}"))
            else:
                places.append((location, plan))
        copying.copy_objects(places)
    copied = [
        PlaceCopied(
            location=name,
            objects_copied=counts.objects_copied,
            objects_there=counts.objects_there,
            bytes_copied=counts.bytes_copied,
            error=f"{counts.error.code} {counts.error.render()}" if counts.error else "",
        )
        for name, counts in copying.counts.items()
    ]
    return CopyReport(
        bytes_read=copying.bytes_read,
        places=(*copied, *refused),
        seconds=round(time.monotonic() - started, 3),
    )
