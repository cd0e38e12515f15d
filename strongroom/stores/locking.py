"""Object locks as a protocol of their own, beside `Store`: not every medium has them.

locking = find_locking(store)
if locking is not None:
    locking.extend_lock("manifests/20261101-…", until)

Whoever deletes meets a lock as `ObjectLocked`, whichever store it is.
"""

import datetime as dt
from typing import Protocol, runtime_checkable

from strongroom.stores.protocol import Store

NEVER_LOCKED = ("leases/", "scratch/", "garbage/")
"""What starts with these is never locked: it is meant to go within days, and a lock would keep it for weeks."""

LOCK_TRIALS = "locked/"
"""Where an object is written to see whether it is locked; it goes when its lock has ended."""


@runtime_checkable
class LockingStore(Protocol):
    """A store whose medium can keep an object from everybody, its owner included, until a date."""

    def locked_until(self, name: str) -> dt.datetime | None:
        """Return the instant until which the object can be neither deleted nor changed; None if it can be now.

        Raises `ObjectMissing`; `StoreDenied` if the medium does not let us look.
        """
        ...

    def extend_lock(self, name: str, until: dt.datetime) -> None:
        """Lock the object until `until` at least.

        A lock that lasts longer is left as it is. Raises `ObjectMissing`, `StoreDenied`, and `OptionUnfit` if
        the place has no locks.
        """
        ...


def find_locking(store: Store) -> LockingStore | None:
    """Return what can lock in a stack of wrappers, None if nothing can.

    Calls go past the wrappers: nothing is retried, recorded or made read-only by them.
    """
    layer: object = store
    while layer is not None:
        if isinstance(layer, LockingStore):
            return layer
        layer = getattr(layer, "inner", None)
    return None
