"""The inventory: which backups are listed where, and what was said of them. What retention and copying decide on.

    inventory = take_inventory(settings, deadline)
    plan = plan_retention(inventory.catalog, policy, now, holds=inventory.holds, …)

A manifest is read once, from the nearest location that has it. With `strict` (before anything is deleted) a
location out of reach, or a manifest, hold or acceptance that cannot be read, is an error: whoever does not see
everything deletes nothing. Otherwise these are findings, so that damage keeps nobody from copying and repairing.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from strongroom.config import Settings
from strongroom.crypto.keyring import Keyring
from strongroom.deadline import Deadline
from strongroom.errors import (
    ForeignRepository,
    FormatError,
    KeyringError,
    LocationUnreachable,
    ObjectMissing,
    StoreError,
    StrongroomError,
    Transient,
    UnknownBackup,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Finding, Manifest
from strongroom.format.records import AcceptanceRecord, HoldRecord, VerificationRecord
from strongroom.keys import load_keyring
from strongroom.repository import layout
from strongroom.repository.attempts import parents_in_use
from strongroom.repository.garbage import newest_list
from strongroom.repository.locations import Location, by_nearness, nearest, open_locations
from strongroom.repository.opening import identify
from strongroom.repository.read_ahead import read_ahead, width_for
from strongroom.repository.repository import Repository
from strongroom.retention.facts import Hold, LastSeen, ObjectTable, Proof, RetentionCatalog, describe
from strongroom.stores.nearest import NearestStore

Said = TypeVar("Said")

_NOT_BELIEVED = (FormatError, KeyringError)
_NOT_READ = (*_NOT_BELIEVED, StoreError)


@dataclass(frozen=True)
class Inventory:
    """What is listed where, and what was said of it."""

    repository: Repository
    """For reading: the nearest good copy of each object."""
    locations: tuple[Location, ...]
    """Those that could be listed, in the order of the configuration."""
    listed: Mapping[str, frozenset[str]]
    """Name of a location -> ids of the backups that it lists."""
    catalog: RetentionCatalog
    objects: ObjectTable
    data_keys: Mapping[str, frozenset[str]]
    """Backup -> the ids of the data keys that it needs."""
    proofs: Mapping[str, tuple[VerificationRecord, ...]]
    """Backup -> its verifications, oldest first."""
    holds: tuple[Hold, ...]
    accepted: Mapping[str, str]
    """Source -> the newest backup whose numbers somebody has accepted."""
    in_use: frozenset[str]
    last_seen: LastSeen | None
    findings: tuple[Finding, ...]

    def manifest(self, backup: str) -> Manifest:
        """Read a manifest."""
        return self.repository.read_manifest(backup)

    def named_at(self, location: str) -> Callable[[str], bool]:
        """Return what tells whether a manifest listed at a location names an object (a key by its first form)."""
        named = np.zeros(len(self.catalog.sizes), np.bool_)
        keys: set[str] = set()
        for backup in self.catalog.backups:
            if location in backup.locations:
                named[backup.reach] = True
                keys |= {layout.key_name(key) for key in self.data_keys[backup.id]}

        def is_named(name: str) -> bool:
            number = self.objects.number_of(name)
            return name in keys if number is None else bool(named[number])

        return is_named

    def is_empty(self, location: Location) -> bool:
        """Tell whether a location holds nothing of the repository yet, as one that was added later."""
        return not self.listed[location.name] and not any(
            True for _ in location.store.list(layout.REPOSITORY)
        )


def take_inventory(settings: Settings, deadline: Deadline, now: dt.datetime, *, strict: bool) -> Inventory:
    """List every location and read every manifest once.

    Raises `LocationUnreachable`, `ForeignRepository` and what reading a manifest or a record raises if `strict`;
    otherwise these become findings, and an error is raised only if no location can be read.
    """
    keyring = load_keyring(settings.keys.directory)
    findings: list[Finding] = []
    listed = _list_all(open_locations(settings, deadline), findings, strict=strict)
    listed = _of_one_repository(listed, keyring, findings, strict=strict)
    places = [location for location, _ in listed]
    repository = Repository.open(nearest(places), keyring)
    where: dict[str, list[str]] = {}
    ids = {location.name: found for location, found in listed}
    for location in by_nearness(places):
        for backup in ids[location.name]:
            where.setdefault(backup, []).append(location.name)
    proofs = _read_proofs(repository, where)
    objects = ObjectTable()
    described = []
    data_keys: dict[str, frozenset[str]] = {}
    for manifest in _read_manifests(repository, where, findings, strict=strict):
        deadline.check()
        listed_at = where[manifest.id]
        data_keys[manifest.id] = frozenset(manifest.data_keys)
        proven, damaged = _proof_of(proofs.get(manifest.id, ()), listed_at)
        described.append(describe(manifest, objects, locations=listed_at, proven=proven, damaged_at=damaged))

    def believed(name: str, read: Callable[[], Said], otherwise: Said) -> Said:
        try:
            return read()
        except _NOT_BELIEVED as error:
            if strict:
                raise
            findings.append(finding_of(error, name))
            return otherwise

    no_hold: tuple[Hold, ...] = ()
    holds = believed(layout.HOLDS, lambda: read_holds(repository), no_hold)
    accepted = believed(layout.ACCEPTED, lambda: _read_accepted(repository), dict[str, str]())
    in_use = parents_in_use(repository, frozenset(where), now)
    last_seen = _last_seen(repository, proofs)
    require_all_answered(repository, findings, strict=strict)
    return Inventory(
        repository=repository,
        locations=tuple(places),
        listed=ids,
        catalog=RetentionCatalog.of(described, objects.sizes()),
        objects=objects,
        data_keys=data_keys,
        proofs={backup: tuple(records) for backup, records in proofs.items()},
        holds=holds,
        accepted=accepted,
        in_use=in_use,
        last_seen=last_seen,
        findings=tuple(findings),
    )


def _read_manifests(
    repository: Repository, where: Mapping[str, list[str]], findings: list[Finding], *, strict: bool
) -> Iterator[Manifest]:
    width = width_for(repository.store)
    for backup, result in read_ahead(sorted(where), repository.read_manifest, width):
        try:
            yield result()
        except UnknownBackup:
            continue  # It expired everywhere between listing and reading.
        except _NOT_READ as error:
            if strict or isinstance(error, Transient):
                raise
            findings.append(finding_of(error, layout.manifest_name(backup)))


def require_all_answered(repository: Repository, findings: list[Finding], *, strict: bool) -> None:
    """See that every location answered whatever was asked of all of them up to now.

    A hold that is known only where the list failed would be missed. Raises `LocationUnreachable` if `strict`.
    """
    store = repository.store
    for name, error in store.out_of_reach.items() if isinstance(store, NearestStore) else ():
        if strict:
            raise LocationUnreachable(location=name, reason=error.render()) from error
        findings.append(finding_of(error, f"location {name}"))


def read_holds(repository: Repository, backup: str = "") -> tuple[Hold, ...]:
    """Return the holds in force, of one backup or all: the newest word on each counts.

    Raises what a damaged record raises.
    """
    newest: dict[str, HoldRecord] = {}
    for record in repository.read_records(HoldRecord, backup):
        if record.backup not in newest or newest[record.backup].at <= record.at:
            newest[record.backup] = record
    return tuple(
        Hold(record.backup, record.until, record.reason)
        for _, record in sorted(newest.items())
        if record.action == "hold"
    )


def is_held_now(inventory: Inventory, backup: str, now: dt.datetime) -> bool:
    """Look again whether a backup is held: somebody may have said so since the inventory was taken.

    Raises `LocationUnreachable` if a location does not answer, and what a damaged record raises.
    """
    held = any(hold.lasts(now) for hold in read_holds(inventory.repository, backup))
    require_all_answered(inventory.repository, [], strict=True)
    return held


def find_doubtful_copy(inventory: Inventory, backup: str, location: Location) -> Finding | None:
    """Return a finding if a manifest that another location lists does not read there, where it may be relied upon.

    The inventory reads each manifest from one location only, which may be the very one that is to go.
    """
    for other in inventory.locations:
        if other.name == location.name or backup not in inventory.listed[other.name]:
            continue
        try:
            Repository(other.store, inventory.repository.keyring, inventory.repository.info).read_manifest(
                backup
            )
        except (*_NOT_READ, UnknownBackup) as error:
            return Finding(
                severity="error",
                code=error.code,
                object=backup,
                expected=f"a good manifest at {other.name}",
                observed=f"it stays at {location.name}: {error.render()}",
                advice="Run `strongroom repair`; the next retention run goes on from there.",
            )
    return None


def _read_accepted(repository: Repository) -> dict[str, str]:
    return {record.source: record.backup for record in repository.read_records(AcceptanceRecord)}


def _list_all(
    locations: Iterable[Location], findings: list[Finding], *, strict: bool
) -> list[tuple[Location, frozenset[str]]]:
    """Return the locations that can be listed, with the backups that each lists."""
    found = []
    failed: list[tuple[Location, StrongroomError]] = []
    for location in locations:
        try:
            names = [one.name for one in location.store.list(layout.MANIFESTS)]
        except StoreError as error:
            if strict:
                raise LocationUnreachable(location=location.name, reason=error.render()) from error
            failed.append((location, error))
            continue
        found.append((location, frozenset(str(layout.backup_of(name)) for name in names)))
    if not found:
        raise failed[0][1]
    findings += [finding_of(error, f"location {location.name}") for location, error in failed]
    return found


def _of_one_repository(
    listed: list[tuple[Location, frozenset[str]]],
    keyring: Keyring,
    findings: list[Finding],
    *,
    strict: bool,
) -> list[tuple[Location, frozenset[str]]]:
    """Leave out the locations that hold another repository than the first one that holds any.

    One whose `repository.json` is damaged stays: what else it holds may be what others are mended from.
    """
    found: list[tuple[Location, frozenset[str]]] = []
    failed: list[StrongroomError] = []
    wanted = ""
    for location, backups in listed:
        try:
            wanted = identify(location, keyring, wanted)
        except (StoreError, ForeignRepository) as error:
            if strict and isinstance(error, StoreError):
                raise LocationUnreachable(location=location.name, reason=error.render()) from error
            if strict:
                raise
            failed.append(error)
            findings.append(finding_of(error, f"location {location.name}"))
            continue
        except _NOT_BELIEVED as error:
            if strict:
                raise
            findings.append(finding_of(error, f"location {location.name}"))
        found.append((location, backups))
    if not found:
        raise failed[0]
    return found


def _read_proofs(
    repository: Repository, where: Mapping[str, list[str]]
) -> dict[str, list[VerificationRecord]]:
    """Return the verifications of each listed backup, oldest first; one that cannot be believed proves nothing."""
    found: dict[str, list[VerificationRecord]] = {}
    names = [
        stored.name
        for stored in repository.store.list(layout.VERIFICATIONS)
        if stored.name.split("/")[2] in where
    ]
    read = partial(repository.read_record, VerificationRecord)
    for name, result in read_ahead(names, read, width_for(repository.store)):
        try:
            record = result()
        except (FormatError, KeyringError, ObjectMissing):
            continue
        found.setdefault(name.split("/")[2], []).append(record)
    return {backup: sorted(records, key=lambda record: record.at) for backup, records in found.items()}


def _proof_of(records: Iterable[VerificationRecord], listed_at: list[str]) -> tuple[Proof, tuple[str, ...]]:
    """Return the best level at which a copy is still proven, and the locations whose copy failed last."""
    levels: dict[str, Proof] = {}
    damaged: set[str] = set()
    for record in records:
        place = record.location or listed_at[0]
        if not record.passed:
            levels.pop(place, None)
            damaged.add(place)
        else:
            damaged.discard(place)
            if _rank(record.level) > _rank(levels.get(place, "")):
                levels[place] = record.level
    here: list[Proof] = [level for place, level in levels.items() if place in listed_at]
    best: Proof = max(here, key=_rank) if here else ""
    return best, tuple(place for place in listed_at if place in damaged)


def _rank(level: Proof) -> int:
    return ("", "structure", "content", "restore").index(level)


def _last_seen(repository: Repository, proofs: Mapping[str, list[VerificationRecord]]) -> LastSeen | None:
    """Return the newest instant that a retention run or a verification has written down."""
    seen = [LastSeen(record.at, "a backup was verified") for records in proofs.values() for record in records]
    garbage = newest_list(repository)
    if garbage is not None:
        seen.append(LastSeen(garbage.at, "retention last ran"))
    return max(seen, key=lambda one: one.at, default=None)
