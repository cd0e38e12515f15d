"""What earlier captures hold, in the form that a comparison needs: by table and extent.

Built from a listed parent's manifest, and from the finished units of an interrupted attempt, which count as
a partial parent of their own (`docs/decisions/0004`).
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from strongroom.errors import FormatError, KeyringError, MalformedDocument, ObjectDamaged, ObjectMissing
from strongroom.format.documents import (
    BackupPlan,
    Chunk,
    Extent,
    Manifest,
    ObjectRef,
    TablePart,
    UnitDocument,
)
from strongroom.format.row_maps import TupleIds
from strongroom.repository import layout
from strongroom.repository.repository import Repository

_ROW_MAP_CACHE = 4


@dataclass(frozen=True)
class KnownExtent:
    """An extent as an earlier capture left it, and the document that its chunks are named in."""

    extent: Extent
    document: UnitDocument


@dataclass(frozen=True)
class KnownTable:
    """What an earlier capture holds of a table: extents by first page, and that capture's snapshot xmin."""

    xmin: int
    extents: dict[int, KnownExtent]
    read_row_map: Callable[[UnitDocument, Chunk], TupleIds]


class KnownRows:
    """The extents of one earlier capture by table oid, read once; row maps are read when asked for."""

    def __init__(self, repository: Repository, xmin: int) -> None:
        self._repository = repository
        self._xmin = xmin
        self._extents: dict[int, dict[int, KnownExtent]] = defaultdict(dict)
        self._widths: dict[int, int] = {}
        self._row_maps: OrderedDict[str, list[TupleIds]] = OrderedDict()
        self._references: list[tuple[UnitDocument, ObjectRef]] = []

    @classmethod
    def of_backup(cls, repository: Repository, manifest: Manifest, tables: Sequence[int]) -> "KnownRows":
        """Read what a listed backup holds of some tables."""
        known = cls(repository, manifest.snapshot.xmin)
        wanted = set(tables)
        parts: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for entry in manifest.tables:
            if entry.facts.oid in wanted:
                for part in entry.parts:
                    parts[part.document].append((part.part, entry.facts.oid))
        for index, places in parts.items():
            reference = manifest.documents[index]
            document = repository.read_unit_document(reference)
            known._references.append((document, reference))
            for place, _ in places:
                known._add(document.parts[place], document)
        return known

    @classmethod
    def of_attempt(cls, repository: Repository, plan: BackupPlan) -> "KnownRows":
        """Read what the finished units of an interrupted attempt hold."""
        known = cls(repository, plan.snapshot.xmin)
        for document in attempt_documents(repository, plan.id):
            for part in document.parts:
                known._add(part, document)
        return known

    def width(self, oid: int) -> int:
        """Return the pages per extent of a table, 0 if nothing is known of it."""
        return self._widths.get(oid, 0)

    def table(self, oid: int) -> KnownTable:
        """Return what is known of a table, possibly nothing."""
        return KnownTable(xmin=self._xmin, extents=dict(self._extents[oid]), read_row_map=self._read_row_map)

    def covers(self, oid: int, width: int, first: int, extents: int) -> bool:
        """Tell whether all extents of a slice are known at this width."""
        known = self._extents[oid]
        return self.width(oid) == width and all(n * width in known for n in range(first, first + extents))

    def document_of(self, parts: Sequence[TablePart]) -> ObjectRef | None:
        """Return the one unit document that holds exactly the extents of these parts, if there is one."""
        places = [
            (p.table_oid, p.pages_per_extent, [(e.page, e.live, e.digest) for e in p.extents]) for p in parts
        ]
        for document, reference in self._references:
            theirs = [
                (p.table_oid, p.pages_per_extent, [(e.page, e.live, e.digest) for e in p.extents])
                for p in document.parts
            ]
            if theirs == places:
                return reference
        return None

    def _add(self, part: TablePart, document: UnitDocument) -> None:
        self._widths[part.table_oid] = part.pages_per_extent
        for extent in part.extents:
            self._extents[part.table_oid][extent.page] = KnownExtent(extent, document)

    def _read_row_map(self, document: UnitDocument, chunk: Chunk) -> TupleIds:
        slot = chunk.row_map
        assert slot is not None  # noqa: S101 - chunks of table rows always have one
        reference = document.row_maps[slot.object]
        if reference.name not in self._row_maps:
            while len(self._row_maps) >= _ROW_MAP_CACHE:
                self._row_maps.popitem(last=False)
            self._row_maps[reference.name] = self._repository.read_row_maps(reference)
        self._row_maps.move_to_end(reference.name)
        maps = self._row_maps[reference.name]
        if slot.slot >= len(maps) or len(maps[slot.slot]) != chunk.rows:
            reason = f"it does not name the {chunk.rows} rows of a chunk"
            raise MalformedDocument(kind="row maps", name=reference.name, reason=reason)
        return maps[slot.slot]


def attempt_documents(repository: Repository, backup: str) -> list[UnitDocument]:
    """Read the unit documents that an attempt left; one that is damaged is as good as not there."""
    found: list[UnitDocument] = []
    for stored in repository.store.list(f"{layout.UNIT_DOCUMENTS}{backup}/"):
        reference = ObjectRef(name=stored.name, size=stored.size, sha256=stored.name.rpartition("/")[2])
        try:
            found.append(repository.read_unit_document(reference))
        except (FormatError, KeyringError, ObjectDamaged, ObjectMissing):
            # Nothing is lost: what it described is read again from the source.
            continue
    return found
