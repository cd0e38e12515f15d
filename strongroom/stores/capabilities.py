"""What a medium can do, as a value: conditional writes, locks, the largest object, cold tiers. Pure.

Wrappers pass on the value of the store that they wrap. What a service only claims is found out by the
contract suite; what it is known not to do is stated here by its store.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

LockMode = Literal["governance", "compliance"]


@dataclass(frozen=True, slots=True)
class Tier:
    """A storage class and what it costs in time: the wait before a read, and the shortest stay that is billed."""

    storage_class: str
    after: dt.timedelta = dt.timedelta()
    """The age at which objects are in this tier."""
    restore_delay: dt.timedelta = dt.timedelta()
    """How long after asking for it an object can be read; zero where it can be read at once."""
    minimum_stay: dt.timedelta = dt.timedelta()
    """Deleting an object earlier than this costs as much as keeping it so long."""


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """Every object that is written is locked for `days`; `compliance` binds the owner of the account too."""

    mode: LockMode
    days: int


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the store protocol leaves to the medium. The defaults are those of a folder.

    `creates_once` says that the medium itself refuses to replace (a conditional put); where it is False,
    `create` and `put` reach the same by other means, which cost more requests. `verifies_checksums` says
    that the medium compares what arrived with a checksum of ours; otherwise what was written is read back.
    """

    creates_once: bool = True
    verifies_checksums: bool = False
    largest_object: int | None = None
    """Bytes; None where nothing smaller than the medium limits it."""
    lock: ObjectLock | None = None
    tiers: tuple[Tier, ...] = ()
    """The tiers that packs go through, youngest first; empty where everything can be read at once."""
    is_remote: bool = False

    def tier_at(self, age: dt.timedelta) -> Tier | None:
        """Return the tier that a pack of this age is in, None if there are no tiers."""
        return next((tier for tier in reversed(self.tiers) if tier.after <= age), None)

    def restore_delay(self, age: dt.timedelta) -> dt.timedelta:
        """Return how long a pack of this age takes until it can be read."""
        tier = self.tier_at(age)
        return tier.restore_delay if tier else dt.timedelta()
