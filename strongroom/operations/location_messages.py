"""What operations on locations are asked and what they answer: copying, repairing, expiring, holding.

As in `strongroom.operations.messages`: names, counts, instants and findings; no rows, keys or addresses.
"""

import datetime as dt
from typing import Literal

from strongroom.format.documents import Finding, Kind
from strongroom.operations.messages import Message

# ---------------------------------------------------------------------------------------- replication


class CopyObjects(Message):
    """Copy what the other locations lack, reading each object once for all of them."""

    backups: tuple[str, ...] = ()
    """Backups to copy; empty for whatever the locations' rules would keep there and is not there yet."""


class PlaceCopied(Message):
    """What was copied to one location; `error` is empty unless something ended the copying."""

    location: str
    objects_copied: int = 0
    objects_there: int = 0
    bytes_copied: int = 0
    error: str = ""


class CopyReport(Message):
    """What copying objects came to. Manifests are written by `Replicate`, location by location."""

    bytes_read: int
    places: tuple[PlaceCopied, ...]
    seconds: float


class Replicate(Message):
    """Make one location list the backups: copy what it still lacks, the keys, then the manifests (I1)."""

    location: str
    backups: tuple[str, ...] = ()


class ReplicationReport(Message):
    """What a location lists now that it did not before."""

    location: str
    backups: tuple[str, ...]
    listed: int
    newest: str
    """The newest backup that it lists now, empty if it lists none."""
    objects_copied: int
    objects_there: int
    bytes_copied: int
    bytes_read: int
    seconds: float
    findings: tuple[Finding, ...] = ()
    recent: tuple[str, ...] = ()
    """The newest of the backups that it lists now, a hundred at most."""

    def lists(self, backup: str) -> bool:
        """Tell whether the location lists a backup that was taken lately; a newer one there says nothing of it."""
        return backup == self.newest or backup in self.recent


class CopiesReport(Message):
    """What copying to all locations came to; a finding for each that could not be copied to."""

    places: tuple[ReplicationReport, ...]
    findings: tuple[Finding, ...] = ()


# ---------------------------------------------------------------------------------------------- repair


class PlanRepair(Message):
    """Find out what is missing or damaged at each location, and where a good copy of it is."""

    location: str = ""
    """The location to look at; empty for all."""
    read_everything: bool = False
    """Read and hash every object instead of comparing sizes and asking earlier verifications."""


class Mend(Message):
    """One object to be put right at a location; `source` is the location that has a good copy, or empty."""

    location: str
    name: str
    size: int
    sha256: str
    problem: Literal["missing", "damaged"]
    source: str = ""


class RepairPlanReport(Message):
    """What would be repaired, and what cannot be."""

    mends: tuple[Mend, ...]
    objects_looked_at: int
    bytes: int
    findings: tuple[Finding, ...] = ()


class Repair(Message):
    """Carry out a plan of repairs."""

    mends: tuple[Mend, ...]


class RepairReport(Message):
    """What was repaired, and a finding for each object that could not be."""

    repaired: tuple[Mend, ...]
    bytes_copied: int
    findings: tuple[Finding, ...] = ()


class RepairedReport(Message):
    """A whole repair: what was found, and what was done about it."""

    plan: RepairPlanReport
    done: RepairReport
    dry_run: bool = False


# ------------------------------------------------------------------------------------------- retention


class PlanRetention(Message):
    """Plan what expires where, by the rules of each location. Changes nothing."""

    accept: tuple[str, ...] = ()
    """Backups whose numbers were meant, though the damage guard holds expiry because of them."""


class KeptBackup(Message):
    """A backup that a location keeps, with every reason."""

    backup: str
    location: str
    reasons: tuple[str, ...]


class ExpiringBackup(Message):
    """A backup that expires at a location: why, what that frees, and until when a lock forbids it."""

    backup: str
    location: str
    kind: Kind
    reason: str
    bytes_freed: int
    locked_until: dt.datetime | None = None


class RetentionPlanReport(Message):
    """What a retention run would do.

    `held_by` are the damage guard's findings: while there are any, nothing of those sources expires.
    """

    planned_at: dt.datetime
    keeps: tuple[KeptBackup, ...]
    expiries: tuple[ExpiringBackup, ...]
    locked: tuple[ExpiringBackup, ...] = ()
    held_by: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()


class ExpireBackups(Message):
    """Remove the manifests of a plan from one location, after making sure that the plan still holds."""

    location: str
    expiries: tuple[ExpiringBackup, ...]
    planned_at: dt.datetime


class ExpiryReport(Message):
    """What one location does not list any more."""

    location: str
    expired: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


class ShredKeys(Message):
    """Delete the data keys that no manifest at any location reaches, at every location, after the grace period."""


class CollectGarbage(Message):
    """Delete at one location what nothing reaches, after the grace period."""

    location: str


class LockedObjects(Message):
    """Objects that a lock keeps, though nothing reaches them, and the date from which they can go."""

    until: dt.datetime
    objects: int


class CollectionReport(Message):
    """What was freed at one location, what waits for the end of the grace period, and what a lock keeps."""

    location: str
    deleted: int
    bytes_freed: int
    keys_shredded: int
    waiting: int
    bytes_waiting: int
    locked: tuple[LockedObjects, ...] = ()
    locks_extended: int = 0
    findings: tuple[Finding, ...] = ()


class RetentionReport(Message):
    """A whole retention run in brief."""

    plan: RetentionPlanReport
    expired: tuple[ExpiryReport, ...] = ()
    shredded: CollectionReport | None = None
    collected: tuple[CollectionReport, ...] = ()
    dry_run: bool = False
    findings: tuple[Finding, ...] = ()


# ------------------------------------------------------------------------------------------------ holds


class HoldBackup(Message):
    """Keep a backup whatever the policy says, until an instant or for ever."""

    backup: str
    until: dt.datetime | None = None
    reason: str = ""


class ReleaseBackup(Message):
    """Let the policy decide about a backup again."""

    backup: str


class HoldReport(Message):
    """A hold that was set or ended, and the locations that know of it."""

    backup: str
    held: bool
    until: dt.datetime | None
    reason: str
    locations: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
