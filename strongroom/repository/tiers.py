"""Cold tiers: how long a backup takes until it can be read, and what deleting it early costs. Pure.

Where packs are moved to colder classes with age, that is the bucket's own lifecycle; the configuration says what it
does (`tiers`), and plans reckon with it.
"""

import datetime as dt
from collections.abc import Iterable, Sequence

from strongroom.format.documents import Finding, Manifest
from strongroom.repository.attempts import instant_of
from strongroom.repository.locations import Location
from strongroom.stores.capabilities import Capabilities


def restore_delay(manifest: Manifest, capabilities: Capabilities, now: dt.datetime) -> dt.timedelta:
    """Return how long the slowest pack of a backup takes until it can be read, once somebody has asked for it."""
    ages = (now - instant_of(pack.data_key) for pack in manifest.packs)
    return max((capabilities.restore_delay(age) for age in ages), default=dt.timedelta())


def find_delay(manifest: Manifest, locations: Sequence[Location], now: dt.datetime) -> tuple[Finding, ...]:
    """Return a finding if every location that lists a backup has some of its packs in a class that has to thaw."""
    delays = {one.name: restore_delay(manifest, one.store.capabilities, now) for one in locations}
    quickest = min(delays, key=lambda name: delays[name], default="")
    if not quickest or not delays[quickest]:
        return ()
    hours = delays[quickest].total_seconds() / 3600
    return (
        Finding(
            severity="warning",
            code="restore-delay",
            object=manifest.id,
            expected="a location whose packs can be read at once",
            observed=f"the quickest, {quickest}, takes up to {hours:g} h to give them",
            advice="Ask the provider to restore the objects below packs/ now, and restore when they are there.",
        ),
    )


def find_early_deletions(
    expiries: Iterable[tuple[str, int]], location: Location, now: dt.datetime
) -> tuple[Finding, ...]:
    """Return a finding for backups (id, bytes freed) whose packs are billed longer than they are kept."""
    early = [
        (backup, size)
        for backup, size in expiries
        if size and _is_early(now - instant_of(backup), location.store.capabilities)
    ]
    if not early:
        return ()
    return (
        Finding(
            severity="info",
            code="early-deletion",
            object=f"location {location.name}",
            observed=f"{sum(size for _, size in early)} bytes of {len(early)} backups go before the shortest stay "
            "of their storage class is over, and are billed until then",
            advice="Keep backups at this location longer, or its packs in a warmer class.",
        ),
    )


def _is_early(age: dt.timedelta, capabilities: Capabilities) -> bool:
    tier = capabilities.tier_at(age)
    return tier is not None and age - tier.after < tier.minimum_stay
