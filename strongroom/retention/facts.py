"""What retention knows of the backups: small facts, and which stored objects each of them reaches. Pure.

Nothing here reads a store: whoever lists the locations says where a backup is and what was proven of it.
Reach is kept as indices into one table of objects, so that a million packs cost megabytes. For example:

    objects = ObjectTable()
    facts = [describe(manifest, objects, locations=("local", "archive")) for manifest in manifests]
    catalog = RetentionCatalog.of(facts, objects.sizes())
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from strongroom.format.documents import BackupClass, Kind, Manifest, ObjectRef

Indices = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]

Proof = Literal["", "structure", "content", "restore"]
"""The best level at which a backup was verified without a finding; empty where none was, or the last failed."""
PROOFS: tuple[Proof, ...] = ("structure", "content", "restore")


def no_indices() -> Indices:
    """Return the reach of a backup that holds nothing."""
    return np.empty(0, np.int32)


def no_counts() -> Counts:
    """Return the rows of no table."""
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """A listed backup: `locations` list it, `damaged_at` are those of them whose copy is known to be damaged.

    `reach` are the indices of all objects that its manifest names. `table_rows` are the rows of `tables`, in
    that order. Byte counts and `rows_read` are what this capture itself moved, not what it took over.
    """

    id: str
    kind: Kind
    backup_class: BackupClass
    source: str
    taken_at: dt.datetime
    locations: tuple[str, ...]
    reach: Indices = field(default_factory=no_indices, repr=False, compare=False)
    proven: Proof = ""
    damaged_at: tuple[str, ...] = ()
    parent: str = ""
    rows: int = 0
    rows_read: int = 0
    bytes_raw: int = 0
    bytes_stored: int = 0
    tables: tuple[str, ...] = ()
    table_rows: Counts = field(default_factory=no_counts, repr=False, compare=False)

    def is_good_at(self, location: str) -> bool:
        """Tell whether the location lists it and nothing is known against that copy."""
        return location in self.locations and location not in self.damaged_at

    def is_proven(self, level: Proof = "structure") -> bool:
        """Tell whether it was verified at this level or a higher one, and a copy of it is still good."""
        return (
            self.proven != ""
            and PROOFS.index(self.proven) >= PROOFS.index(level)
            and any(location not in self.damaged_at for location in self.locations)
        )


@dataclass(frozen=True)
class RetentionCatalog:
    """All listed backups of all sources, oldest first, and the sizes of the objects that they reach."""

    backups: tuple[BackupFacts, ...]
    sizes: Counts = field(repr=False, compare=False)

    @classmethod
    def of(cls, backups: Iterable[BackupFacts], sizes: Counts) -> Self:
        """Make the catalog of these backups in whatever order they come.

        Instants become UTC; reach becomes ascending. Raises `ValueError` for what no listing can hold: an id
        twice, an instant without a zone, an index outside the table of objects.
        """
        names: dict[tuple[str, ...], tuple[str, ...]] = {}
        put = [_put_straight(backup, len(sizes), names) for backup in backups]
        if len({backup.id for backup in put}) < len(put):
            raise ValueError("a backup is given twice")
        return cls(tuple(sorted(put, key=lambda b: (b.taken_at, b.id))), sizes)

    def by_source(self) -> dict[str, tuple[BackupFacts, ...]]:
        """Return the backups of each source, oldest first; sources in the order of their names."""
        found: dict[str, list[BackupFacts]] = {}
        for backup in self.backups:
            found.setdefault(backup.source, []).append(backup)
        return {source: tuple(found[source]) for source in sorted(found)}


def _put_straight(
    backup: BackupFacts, objects: int, names: dict[tuple[str, ...], tuple[str, ...]]
) -> BackupFacts:
    """Return the backup in UTC and with an ascending reach; equal lists of tables become one list."""
    if backup.taken_at.tzinfo is None:
        raise ValueError(f"backup {backup.id} has an instant without a zone")
    reach = np.asarray(backup.reach, np.int32)
    if len(reach) > 1 and not bool((reach[1:] > reach[:-1]).all()):
        reach = np.unique(reach)
    if len(reach) and not 0 <= int(reach[0]) <= int(reach[-1]) < objects:
        raise ValueError(f"backup {backup.id} reaches an object that is not in the table")
    return replace(
        backup,
        taken_at=backup.taken_at.astimezone(dt.UTC),
        reach=reach,
        tables=names.setdefault(backup.tables, backup.tables),
    )


class ObjectTable:
    """Numbers the objects that manifests name, in the order in which they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._sizes: list[int] = []

    def reach(self, objects: Iterable[ObjectRef]) -> Indices:
        """Return the indices of these objects, ascending."""
        return np.unique(np.fromiter((self._number(o.name, o.size) for o in objects), np.int32))

    def number_of(self, name: str) -> int | None:
        """Return the index of an object, None if no manifest named it."""
        return self._numbers.get(name)

    def sizes(self) -> Counts:
        """Return the sizes of all objects seen so far, by index."""
        return np.array(self._sizes, np.int64)

    def _number(self, name: str, size: int) -> int:
        number = self._numbers.setdefault(name, len(self._sizes))
        if number == len(self._sizes):
            self._sizes.append(size)
        return number


def describe(
    manifest: Manifest,
    objects: ObjectTable,
    *,
    locations: Iterable[str],
    proven: Proof = "",
    damaged_at: Iterable[str] = (),
) -> BackupFacts:
    """Return the facts of a manifest. Data keys, a kilobyte each, are left out: it does not tell their size."""
    totals = manifest.totals
    return BackupFacts(
        id=manifest.id,
        kind=manifest.kind,
        backup_class=manifest.backup_class,
        source=manifest.source,
        taken_at=manifest.snapshot.taken_at,
        locations=tuple(locations),
        reach=objects.reach((*manifest.packs, *manifest.row_maps, *manifest.documents)),
        proven=proven,
        damaged_at=tuple(damaged_at),
        parent=manifest.parent,
        rows=totals.rows,
        rows_read=totals.rows_read,
        bytes_raw=totals.bytes_raw,
        bytes_stored=totals.bytes_stored,
        tables=tuple(f"{entry.facts.schema}.{entry.facts.name}" for entry in manifest.tables),
        table_rows=np.array([entry.rows for entry in manifest.tables], np.int64),
    )


@dataclass(frozen=True)
class Hold:
    """Somebody's wish to keep a backup whatever the policy says, until an instant or for ever (None)."""

    backup: str
    until: dt.datetime | None = None
    reason: str = ""

    def lasts(self, now: dt.datetime) -> bool:
        """Tell whether it still holds; at `until` itself it has ended."""
        return self.until is None or now < self.until


@dataclass(frozen=True)
class LastSeen:
    """The newest instant that an earlier run saw, and what happened then, such as "retention last ran"."""

    at: dt.datetime
    what: str
