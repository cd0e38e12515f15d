"""The one way rows get into a repository: chunks into packs, row maps beside them, bounded memory.

At most one open pack and one batch of row maps are in memory. Nothing counts before `finish` has stored
the unit document, which names only what was stored before it (I1).
"""

from dataclasses import dataclass, field

from strongroom.errors import BackupTooLarge
from strongroom.format.documents import (
    FORMAT,
    Chunk,
    Collection,
    Encoding,
    ObjectRef,
    PackRef,
    RowMapSlot,
    TablePart,
    UnitDocument,
)
from strongroom.format.packs import PackBuilder
from strongroom.format.row_maps import TupleIds, encode_row_maps
from strongroom.repository.repository import Random, Repository

_ROW_MAP_BATCH = 1 << 20


@dataclass
class UnitWriter:
    """Writes one unit of one backup. `stored_limit` is in bytes, 0 for none."""

    repository: Repository
    backup: str
    unit: int
    random: Random
    compress: bool = True
    stored_limit: int = 0
    bytes_stored: int = 0
    bytes_raw: int = 0
    packs_written: int = 0
    packs: list[PackRef] = field(default_factory=list)
    row_maps: list[ObjectRef] = field(default_factory=list)
    _builder: PackBuilder | None = None
    _pending_maps: list[TupleIds] = field(default_factory=list)
    _pending_ids: int = 0
    _key: tuple[str, bytes] | None = None
    _adopted_packs: dict[str, int] = field(default_factory=dict)
    _adopted_maps: dict[str, int] = field(default_factory=dict)
    _open_map_index: int | None = None
    _pack_index: int = 0

    def add_rows(self, payload: bytes, ids: TupleIds) -> Chunk:
        """Add the COPY text of some rows of an extent and their tuple ids, in the same order."""
        slot = self._add_row_map(ids)
        return self._add(payload, "copy-text", len(ids), slot)

    def add_bytes(self, payload: bytes) -> Chunk:
        """Add bytes that are no rows."""
        return self._add(payload, "bytes", 0, None)

    def adopt(self, chunk: Chunk, document: UnitDocument) -> Chunk:
        """Return a chunk of an earlier unit document, renumbered for this one."""
        pack = self._adopt_pack(document.packs[chunk.pack])
        slot = None
        if chunk.row_map is not None:
            slot = RowMapSlot(
                object=self._adopt_map(document.row_maps[chunk.row_map.object]), slot=chunk.row_map.slot
            )
        return Chunk(
            pack=pack,
            index=chunk.index,
            offset=chunk.offset,
            stored=chunk.stored,
            raw=chunk.raw,
            rows=chunk.rows,
            encoding=chunk.encoding,
            row_map=slot,
        )

    def finish(self, parts: tuple[TablePart, ...], collections: tuple[Collection, ...] = ()) -> ObjectRef:
        """Store what is pending, then the unit document, and return where it is."""
        self._flush_maps()
        self._flush_pack()
        document = UnitDocument(
            format=FORMAT,
            backup=self.backup,
            unit=self.unit,
            packs=tuple(self.packs),
            row_maps=tuple(self.row_maps),
            parts=parts,
            collections=collections,
        )
        return self._count(self.repository.put_unit_document(document, self.random))

    # ---------------------------------------------------------------------------- packs

    def _add(self, payload: bytes, encoding: Encoding, rows: int, slot: RowMapSlot | None) -> Chunk:
        builder = self._open_builder()
        pack = self._pack_index
        placed = builder.append(payload, encoding)
        self.bytes_raw += placed.raw
        if builder.is_full:
            self._flush_pack()
        return Chunk(
            pack=pack,
            index=placed.index,
            offset=placed.offset,
            stored=placed.stored,
            raw=placed.raw,
            rows=rows,
            encoding=encoding,
            row_map=slot,
        )

    def _open_builder(self) -> PackBuilder:
        if self._builder is None:
            if self._key is None:
                self._key = self.repository.new_data_key(self.backup, self.random)
            self._builder = PackBuilder(*self._key, self.random(32), compress=self.compress)
            # The place in the list is taken now: chunks name it before the pack has an id.
            self._pack_index = len(self.packs)
            self.packs.append(PackRef(name="", size=0, sha256="", data_key=""))
        return self._builder

    def _flush_pack(self) -> None:
        if self._builder is None:
            return
        self._check_limit(len(self._builder))
        stored = self.repository.put_pack(self._builder)
        self.packs[self._pack_index] = stored
        self._count(stored)
        self.packs_written += 1
        self._builder = None

    def _adopt_pack(self, pack: PackRef) -> int:
        if pack.name not in self._adopted_packs:
            self._adopted_packs[pack.name] = len(self.packs)
            self.packs.append(pack)
        return self._adopted_packs[pack.name]

    # ------------------------------------------------------------------------- row maps

    def _add_row_map(self, ids: TupleIds) -> RowMapSlot:
        if self._open_map_index is None:
            self._open_map_index = len(self.row_maps)
            self.row_maps.append(ObjectRef(name="", size=0, sha256=""))
        slot = RowMapSlot(object=self._open_map_index, slot=len(self._pending_maps))
        self._pending_maps.append(ids)
        self._pending_ids += len(ids)
        if self._pending_ids >= _ROW_MAP_BATCH:
            self._flush_maps()
        return slot

    def _flush_maps(self) -> None:
        if self._open_map_index is None:
            return
        encoded = encode_row_maps(self._pending_maps)
        stored = self.repository.put_row_maps(self.backup, encoded, self.random)
        self.row_maps[self._open_map_index] = self._count(stored)
        self._pending_maps, self._pending_ids, self._open_map_index = [], 0, None

    def _adopt_map(self, row_map: ObjectRef) -> int:
        if row_map.name not in self._adopted_maps:
            self._adopted_maps[row_map.name] = len(self.row_maps)
            self.row_maps.append(row_map)
        return self._adopted_maps[row_map.name]

    # ---------------------------------------------------------------------------- bytes

    def _count(self, stored: ObjectRef) -> ObjectRef:
        self.bytes_stored += stored.size
        return stored

    def _check_limit(self, coming: int) -> None:
        estimate = self.bytes_stored + coming
        if self.stored_limit and estimate > self.stored_limit:
            raise BackupTooLarge(estimate=estimate, limit=self.stored_limit, suggestion=2 * estimate)
