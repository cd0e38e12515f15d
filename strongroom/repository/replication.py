"""Copying backups to other locations: packs, row maps, documents, then keys, then the manifest (I1 at each).

    plan = plan_replication("archive", wanted, listed)
    copying = Copying(source, keyring, parallelism=4, deadline=deadline)
    copying.copy_objects([(archive, plan), (edge, plan)])       # each object is read once for both
    copying.complete(archive, plan, lease.check)                # what is still missing, keys, the manifest

Objects that a listed manifest of the location reaches are there (I2); others are asked for one by one and copied
only if they are not. What is copied is compared with its digest on the way, and every store acknowledges what
arrived. A run that was cut off goes on where it was (I7).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from strongroom.crypto.keyring import Keyring
from strongroom.deadline import Deadline
from strongroom.errors import (
    FormatError,
    KeyringError,
    ObjectConflict,
    ObjectMissing,
    StoreError,
    StrongroomError,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Finding, Manifest, ObjectRef
from strongroom.repository import layout
from strongroom.repository.locations import Location
from strongroom.repository.reach import reached_names, reached_objects
from strongroom.repository.signed import check_signed, store_bytes
from strongroom.stores.data import Data
from strongroom.stores.nearest import read_good
from strongroom.stores.protocol import Store
from strongroom.stores.spool import spooled

_TRIES = 3


@dataclass(frozen=True)
class MissingBackup:
    """A backup that a location does not list, and what of it is not known to be there."""

    backup: str
    objects: tuple[ObjectRef, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class ReplicationPlan:
    """What a location lacks, the newest backup first: that one is worth most."""

    location: str
    backups: tuple[MissingBackup, ...]

    @property
    def objects(self) -> tuple[ObjectRef, ...]:
        """Every object that may have to be copied, each once."""
        return tuple(reference for missing in self.backups for reference in missing.objects)

    @property
    def bytes(self) -> int:
        """How many bytes that is, if none of it is there."""
        return sum(reference.size for reference in self.objects)


def plan_replication(
    location: str, wanted: Iterable[Manifest], listed: Iterable[frozenset[str]]
) -> ReplicationPlan:
    """Plan which of the `wanted` backups, and what of each, has to be copied. Pure.

    `listed` are the names that each backup listed at the location reaches.
    """
    there: set[str] = set()
    for names in listed:
        there |= names
    missing = []
    for manifest in sorted(wanted, key=lambda one: one.id, reverse=True):
        objects = tuple({r.name: r for r in reached_objects(manifest) if r.name not in there}.values())
        missing.append(MissingBackup(manifest.id, objects, tuple(manifest.data_keys)))
        there |= reached_names(manifest)
    return ReplicationPlan(location, tuple(missing))


@dataclass
class CopyCounts:
    """What copying to one location came to, and the error that ended it, if one did."""

    objects_copied: int = 0
    objects_there: int = 0
    bytes_copied: int = 0
    error: StrongroomError | None = None


@dataclass
class Copying:
    """Copies from one store, which may stand for several, to others. Counts what it reads and writes."""

    source: Store
    keyring: Keyring
    parallelism: int
    deadline: Deadline
    progress: Callable[[int, int], None]
    bytes_read: int = 0
    counts: dict[str, CopyCounts] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def copy_objects(self, places: Sequence[tuple[Location, ReplicationPlan]]) -> None:
        """Copy what each location lacks, reading every object once.

        An error of a location ends the copying to it and stands in its counts; the others go on. Raises what
        reading raises, and `DeadlineExceeded`.
        """
        wanting: dict[str, tuple[ObjectRef, list[Location]]] = {}
        for location, plan in places:
            self.counts.setdefault(location.name, CopyCounts())
            for reference in plan.objects:
                wanting.setdefault(reference.name, (reference, []))[1].append(location)
        total, done = sum(reference.size for reference, _ in wanting.values()), 0
        with ThreadPoolExecutor(self.parallelism, thread_name_prefix="copy") as pool:
            running = [pool.submit(self._copy, *one) for one in wanting.values()]
            try:
                for future in running:
                    done += future.result()
                    self.progress(done, total)
            finally:
                for future in running:
                    future.cancel()

    def complete(self, location: Location, plan: ReplicationPlan, check_right: Callable[[], None]) -> None:
        """Copy what is still missing at a location, the keys, and each manifest once all it names is there.

        `check_right` is called before a manifest is written; it raises if the right to copy was lost.
        """
        for missing in plan.backups:
            self.copy_objects([(location, ReplicationPlan(plan.location, (missing,)))])
            error = self.counts[location.name].error
            if error is not None:
                raise error
            for key in missing.keys:
                self._copy_key(location, key)
            name = layout.manifest_name(missing.backup)
            check_right()
            self._copy_signed(location, name)

    def copy_names(self, location: Location, names: Iterable[str]) -> tuple[Finding, ...]:
        """Copy small signed objects, such as holds and reports, as they are.

        One that cannot be believed, or has other bytes there, is a finding and keeps no other away.
        """
        findings: list[Finding] = []
        for name in names:
            self.deadline.check()
            try:
                self._copy_signed(location, name)
            except ObjectMissing:
                continue  # It expired between listing and reading.
            except (FormatError, KeyringError, ObjectConflict) as error:
                findings.append(finding_of(error, name))
        return tuple(findings)

    # ------------------------------------------------------------------------- one object

    def _copy(self, reference: ObjectRef, locations: list[Location]) -> int:
        """Copy one object to every location that lacks it; return its size."""
        self.deadline.check()
        lacking = [location for location in locations if self._lacks(location, reference)]
        if lacking:
            with spooled(self.source, reference.name, reference.size, reference.sha256) as data:
                with self._lock:
                    self.bytes_read += reference.size
                for location in lacking:
                    self._put(location, reference, data)
        return reference.size

    def _lacks(self, location: Location, reference: ObjectRef) -> bool:
        counts = self.counts[location.name]
        if counts.error is not None:
            return False
        try:
            there = location.store.stat(reference.name).size == reference.size
        except ObjectMissing:
            return True
        except StoreError as error:
            counts.error = error
            return False
        with self._lock:
            counts.objects_there += there
        return not there

    def _put(self, location: Location, reference: ObjectRef, data: Data) -> None:
        counts = self.counts[location.name]
        if counts.error is not None:
            return
        try:
            try:
                location.store.put(reference.name, data, reference.sha256)
            except ObjectConflict:
                # The name is the digest of the bytes, so other bytes are damage, and good ones are at hand.
                location.store.delete(reference.name)
                location.store.put(reference.name, data, reference.sha256)
        except StoreError as error:
            counts.error = error
            return
        with self._lock:
            counts.objects_copied += 1
            counts.bytes_copied += reference.size

    # ------------------------------------------------------------------------ signed objects

    def _copy_key(self, location: Location, key: str) -> None:
        """Copy the newest sealed form of a data key that is good: the forms before it may have been retired."""
        first = layout.key_name(key)
        worst: StrongroomError = ObjectMissing(name=first, store=self.source.description)
        for _ in range(_TRIES):
            # A rotation may delete what was listed, once it has stored another form.
            forms = [form for one in self.source.list(first) if (form := layout.key_form(one.name))]
            for form in sorted((form for form in forms if form.data_key == key), reverse=True):
                try:
                    self._copy_signed(location, form.name)
                except (FormatError, KeyringError, ObjectMissing) as error:
                    worst = error if isinstance(worst, ObjectMissing) else worst
                else:
                    return
            if not isinstance(worst, ObjectMissing):
                break
        raise worst

    def _copy_signed(self, location: Location, name: str) -> None:
        """Copy an object whose signature holds under its name; of several copies, the first good one."""
        good = read_good(self.source, name, lambda data: self._judged(name, data))
        try:
            store_bytes(location.store, name, good)
        except ObjectConflict:
            if self._is_good(location.store, name):
                raise
            # What is there is damaged, or was planted under this name.
            location.store.delete(name)
            store_bytes(location.store, name, good)

    def _is_good(self, store: Store, name: str) -> bool:
        try:
            self._judged(name, store.get(name))
        except (FormatError, KeyringError):
            return False
        return True

    def _judged(self, name: str, data: bytes) -> bytes:
        check_signed(self.keyring, name, data)
        return data
