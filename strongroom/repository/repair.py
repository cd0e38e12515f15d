"""Repair: what a location should hold and does not, or holds damaged, and the copying of it from another one.

    faults = find_faults(inventory, location, deadline, read_everything=False)
    mended = Repairing(others, location, keyring).mend(fault)

Finding looks at sizes in the location's lists, and at what verifications found; reading everything finds all. A
damaged object is replaced only with a good copy in hand: it is deleted and put anew, never changed (I5).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from strongroom.crypto.keyring import Keyring
from strongroom.deadline import Deadline
from strongroom.errors import (
    CopyDamaged,
    FormatError,
    KeyringError,
    ObjectDamaged,
    ObjectMissing,
    StoreError,
    StrongroomError,
    Transient,
    UnknownBackup,
)
from strongroom.format.documents import Manifest, ObjectRef
from strongroom.repository import layout
from strongroom.repository.inventory import Inventory
from strongroom.repository.locations import Location
from strongroom.repository.reach import reached_objects
from strongroom.repository.repository import read_description
from strongroom.repository.signed import check_signed, store_bytes
from strongroom.stores.nearest import read_good
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.spool import spooled

Problem = Literal["missing", "damaged"]

_FOLDERS = (layout.PACKS, layout.UNIT_DOCUMENTS, layout.ROW_MAPS, layout.MANIFESTS)


@dataclass(frozen=True, slots=True)
class Fault:
    """An object that is not as it should be at a location. Signed objects have no digest: their signature tells."""

    name: str
    size: int
    sha256: str
    problem: Problem


@dataclass(frozen=True)
class Looked:
    """What was looked at, and what is wrong with it."""

    faults: tuple[Fault, ...]
    objects: int


def find_faults(
    inventory: Inventory, location: Location, deadline: Deadline, *, read_everything: bool
) -> Looked:
    """Compare what the backups listed at a location reach with what is there. Raises what its lists raise."""
    needed = dict(_needed(inventory, location, deadline))
    there = _present(location.store)
    suspects = frozenset(_suspects(inventory, location))
    unread = {finding.object for finding in inventory.findings} | {layout.REPOSITORY}
    faults = []
    for name, reference in needed.items():
        found = there.get(name)
        if found is None:
            faults.append(Fault(name, reference.size, reference.sha256, "missing"))
        elif reference.sha256 and found.size != reference.size:
            faults.append(Fault(name, reference.size, reference.sha256, "damaged"))
        elif read_everything or found.name in suspects or name in unread:
            deadline.check()
            if _is_damaged(location.store, found.name, reference, inventory.repository.keyring):
                faults.append(Fault(found.name, found.size, reference.sha256, "damaged"))
    return Looked(tuple(faults), len(needed))


class Repairing:
    """Mends objects of one location from the others. Counts the bytes that it copies."""

    def __init__(self, source: Store, location: Location, keyring: Keyring) -> None:
        self._source = source
        self._location = location
        self._keyring = keyring
        self.bytes_copied = 0

    def mend(self, fault: Fault) -> None:
        """Put a good copy where the fault is. Raises `CopyDamaged` if no other location has one."""
        try:
            if fault.sha256:
                with spooled(self._source, fault.name, fault.size, fault.sha256) as data:
                    self._clear(fault)
                    self._location.store.put(fault.name, data, fault.sha256)
            else:
                self._mend_signed(fault)
        except (ObjectMissing, ObjectDamaged, FormatError, KeyringError) as error:
            raise CopyDamaged(name=fault.name, reasons=error.render()) from error
        self.bytes_copied += fault.size

    def _mend_signed(self, fault: Fault) -> None:
        worst: StrongroomError = ObjectMissing(name=fault.name, store=self._source.description)
        for name in _forms(self._source, fault.name):
            try:
                good = read_good(self._source, name, partial(judge_signed, self._keyring, name))
            except (FormatError, KeyringError, ObjectMissing) as error:
                worst = error if isinstance(worst, ObjectMissing) else worst
                continue
            self._clear(fault)
            store_bytes(self._location.store, name, good)
            return
        raise worst

    def _clear(self, fault: Fault) -> None:
        if fault.problem == "damaged":
            self._location.store.delete(fault.name)


def _needed(inventory: Inventory, location: Location, deadline: Deadline) -> Iterator[tuple[str, ObjectRef]]:
    """Yield what the location's backups reach, each name once; keys and manifests without a digest."""
    if inventory.listed[location.name]:
        yield layout.REPOSITORY, ObjectRef(name=layout.REPOSITORY, size=0, sha256="")
    seen: set[str] = set()
    for backup in sorted(inventory.listed[location.name], reverse=True):
        deadline.check()
        try:
            manifest = inventory.manifest(backup)
        except UnknownBackup:
            continue  # It expired meanwhile.
        except (FormatError, KeyringError):
            # No location has a good copy of the manifest. That is said, and keeps nothing else from being mended.
            name = layout.manifest_name(backup)
            yield name, ObjectRef(name=name, size=0, sha256="")
            continue
        for reference in (*reached_objects(manifest), *_signed_ones(manifest)):
            if reference.name not in seen:
                seen.add(reference.name)
                yield reference.name, reference


def _signed_ones(manifest: Manifest) -> Iterator[ObjectRef]:
    yield ObjectRef(name=layout.manifest_name(manifest.id), size=0, sha256="")
    for key in manifest.data_keys:
        yield ObjectRef(name=layout.key_name(key), size=0, sha256="")


def _present(store: Store) -> dict[str, StoredObject]:
    """Return what is there by name; the newest form of each data key under the name of the first."""
    found = {
        stored.name: stored for folder in (layout.REPOSITORY, *_FOLDERS) for stored in store.list(folder)
    }
    newest: dict[str, StoredObject] = {}
    for stored in store.list(layout.KEYS):
        form = layout.key_form(stored.name)
        if form is not None:
            # Forms come in the order of their numbers.
            newest[layout.key_name(form.data_key)] = stored
    return found | newest


def _suspects(inventory: Inventory, location: Location) -> Iterable[str]:
    """Yield the names that the last failed verification of each backup at the location found something about."""
    for records in inventory.proofs.values():
        mine = [record for record in records if record.location == location.name]
        if mine and not mine[-1].passed:
            yield from (finding.object.split(" ")[0] for finding in mine[-1].findings)


def _is_damaged(store: Store, name: str, reference: ObjectRef, keyring: Keyring) -> bool:
    try:
        if reference.sha256:
            with spooled(store, name, reference.size, reference.sha256):
                return False
        judge_signed(keyring, name, store.get(name))
    except (StoreError, KeyringError, FormatError) as error:
        if isinstance(error, Transient):
            raise
        return True
    return False


def judge_signed(keyring: Keyring, name: str, stored: bytes) -> bytes:
    """Return the bytes of a signed object if they are what was signed under its name. Raises what is wrong."""
    if name == layout.REPOSITORY:
        read_description(stored, keyring)
    else:
        check_signed(keyring, name, stored)
    return stored


def newest_form(store: Store, name: str) -> str:
    """Return the name of the newest form of a data key, other names as they are. Raises `ObjectMissing`."""
    forms = _forms(store, name)
    if not forms:
        raise ObjectMissing(name=name, store=store.description)
    return forms[0]


def _forms(store: Store, name: str) -> list[str]:
    """Return the names of the forms of a data key that a store has, the newest first; other names as they are."""
    form = layout.key_form(name) if name.startswith(layout.KEYS) else None
    if form is None:
        return [name]
    listed = (layout.key_form(found.name) for found in store.list(layout.key_name(form.data_key)))
    forms = [other for other in listed if other is not None and other.data_key == form.data_key]
    return [other.name for other in sorted(forms, reverse=True)]
