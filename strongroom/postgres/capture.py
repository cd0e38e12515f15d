"""Capture of a table's extents: whole, or to the row against what an earlier backup holds.

The rules are those of design 4.3. What is reused is named by (relfilenode, ctid, xmin); what is not named
for certain is read again: a doubt costs time, never rows.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from strongroom.deadline import Deadline
from strongroom.errors import HistoryDiverged, RowsInconsistent
from strongroom.format.documents import Chunk, Extent, Layer, TableFacts, TablePart
from strongroom.format.liveness import alive_mask, encode_dead
from strongroom.format.row_maps import TupleIds
from strongroom.postgres.connection import Connection
from strongroom.postgres.copy_out import copy_out
from strongroom.postgres.extents import (
    Bounds,
    ExtentCount,
    ExtentRows,
    bounds_of,
    copy_query,
    count_extents,
    read_digest,
    read_names,
)
from strongroom.repository.known import KnownExtent, KnownTable
from strongroom.repository.unit_writer import UnitWriter

_RECHECK_ONE_IN = 32
"""Of so many unchanged extents one is digested again."""

_MOST_LAYERS = 8
"""An extent with more layers than this is read again as a whole: restore opens a chunk for each."""


@dataclass
class CaptureCounts:
    """What reading cost: rows and bytes that moved, heap bytes that the server scanned, extents."""

    rows: int = 0
    rows_read: int = 0
    extents: int = 0
    extents_reused: int = 0
    bytes_moved: int = 0
    bytes_scanned: int = 0
    rereads: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TableCapture:
    """The capture of one table in one session: where rows come from and where they go."""

    connection: Connection
    table: TableFacts
    pages_per_extent: int
    extents: int
    writer: UnitWriter
    deadline: Deadline
    counts: CaptureCounts
    progress: Callable[[int], None]
    block_size: int = 8192

    @property
    def _label(self) -> str:
        return f"{self.table.schema}.{self.table.name}"

    def run(self, first: int, extents: int, known: KnownTable | None) -> TablePart:
        """Capture extents [first, first + extents) and return the part that describes them."""
        numbers = range(first, first + extents)
        captured = (
            self._compared(numbers, known) if known else (self._fresh(self._bounds(n)) for n in numbers)
        )
        found: list[Extent] = []
        for extent in captured:
            self.deadline.check()
            found.append(extent)
            self.counts.rows += extent.live
            self.counts.extents += 1
            self.progress(self._extent_bytes)
        return TablePart(
            table_oid=self.table.oid, pages_per_extent=self.pages_per_extent, extents=tuple(found)
        )

    @property
    def _extent_bytes(self) -> int:
        """About how many heap bytes the server scans for one extent."""
        return min(self.pages_per_extent * self.block_size, max(self.table.size, self.block_size))

    def _bounds(self, number: int) -> Bounds:
        return bounds_of(number, self.pages_per_extent, self.extents)

    # ------------------------------------------------------------------------------ whole

    def _fresh(self, bounds: Bounds) -> Extent:
        """Read every live row of an extent."""
        names = self._names(bounds, None, with_old=False)
        layers = tuple(Layer(chunk=c) for c in self._copy(bounds, None, names.new))
        return Extent(page=bounds.first, live=names.live, digest=names.digest, layers=layers)

    def _copy(self, bounds: Bounds, newer_than: int | None, ids: TupleIds) -> Iterator[Chunk]:
        """Copy rows out and hand them, with their tuple ids, to the writer, a chunk a block."""
        delivered = 0
        if len(ids) == 0:
            return
        query = copy_query(self.table, bounds, newer_than=newer_than)
        for payload, rows in copy_out(self.connection, query, self.deadline, self._label):
            if delivered + rows > len(ids):
                break
            yield self.writer.add_rows(payload, ids[delivered : delivered + rows])
            delivered += rows
            self.counts.bytes_moved += len(payload)
        self.counts.rows_read += delivered
        self.counts.bytes_scanned += self._extent_bytes
        if delivered != len(ids):
            raise RowsInconsistent(object=self._label, counted=len(ids), delivered=delivered)

    def _names(self, bounds: Bounds, newer_than: int | None, *, with_old: bool) -> ExtentRows:
        names = read_names(self.connection, self.table, bounds, newer_than=newer_than, with_old=with_old)
        self.counts.bytes_moved += 10 * (len(names.new) + len(names.old))
        for ids in (names.new, names.old):
            if len(ids) > 1 and not bool((ids[1:] > ids[:-1]).all()):
                # Rows and ids are paired by order; a scan that is not in page order would pair them wrongly.
                raise RowsInconsistent(object=self._label, counted=len(ids), delivered=0)
        return names

    # --------------------------------------------------------------------------- compared

    def _compared(self, numbers: range, known: KnownTable) -> Iterator[Extent]:
        """Count first, then read only extents that differ from what is known."""
        bounds = [self._bounds(n) for n in numbers]
        counts = count_extents(self.connection, self.table, bounds, known.xmin, self.deadline)
        self.counts.bytes_scanned += len(bounds) * self._extent_bytes
        for place, count in zip(bounds, counts, strict=True):
            before = known.extents.get(place.first)
            if before is None:
                yield self._fresh(place)
            elif count.new == 0 and count.old == before.extent.live:
                self.counts.extents_reused += 1
                self._recheck(place, before.extent)
                yield self._as_it_was(before)
            else:
                yield self._merged(place, count, before, known)

    def _recheck(self, bounds: Bounds, extent: Extent) -> None:
        """Digest a few of the unchanged extents again: a past that only looks the same is found out.

        Copying a server's disk back leaves identifiers and timeline as they were, and transaction ids
        begin to repeat. Which extents are chosen changes with every backup.
        """
        if zlib.crc32(f"{self.writer.backup}/{self.table.oid}/{bounds.first}".encode()) % _RECHECK_ONE_IN:
            return
        if read_digest(self.connection, self.table, bounds) != (extent.live, extent.digest):
            raise HistoryDiverged(object=self._label)

    def _as_it_was(self, before: KnownExtent) -> Extent:
        """Return an unchanged extent with its chunks named in this unit's document."""
        extent = before.extent
        layers = tuple(
            Layer(chunk=self.writer.adopt(x.chunk, before.document), dead=x.dead, dead_rows=x.dead_rows)
            for x in extent.layers
        )
        return Extent(page=extent.page, live=extent.live, digest=extent.digest, layers=layers)

    def _merged(self, bounds: Bounds, count: ExtentCount, before: KnownExtent, known: KnownTable) -> Extent:
        """Keep the old layers' surviving rows and add the new rows as layers of their own."""
        if self._worn_out(count, before.extent):
            return self._fresh(bounds)
        with_old = count.old != before.extent.live
        names = self._names(bounds, known.xmin, with_old=with_old)
        survivors = names.old if with_old else None
        kept: list[Layer] = []
        for layer in before.extent.layers:
            ids = known.read_row_map(before.document, layer.chunk)
            kept += self._survivors(layer, before, ids, names.new, survivors)
        if sum(x.chunk.rows - x.dead_rows for x in kept) != count.old:
            # What is known does not explain what is there. Reading again is always right.
            self.counts.rereads.append(f"{self._label} page {bounds.first}")
            return self._fresh(bounds)
        added = [Layer(chunk=c) for c in self._copy(bounds, known.xmin, names.new)]
        return Extent(page=bounds.first, live=names.live, digest=names.digest, layers=(*kept, *added))

    def _worn_out(self, count: ExtentCount, extent: Extent) -> bool:
        """Tell whether an extent's layers are so many or so dead that it is better read again."""
        stored = sum(x.chunk.rows for x in extent.layers)
        return len(extent.layers) >= _MOST_LAYERS or stored + count.new > 2 * (count.old + count.new)

    def _survivors(
        self, layer: Layer, before: KnownExtent, ids: TupleIds, new: TupleIds, old: TupleIds | None
    ) -> list[Layer]:
        """Return the layer with its dead rows added, or nothing if none is left alive."""
        alive = alive_mask(layer.dead, layer.chunk.rows)
        # A tuple that the parent had already, committed after its xmin, counts as new and comes again.
        alive &= ~np.isin(ids, new, assume_unique=True)
        if old is not None:
            alive &= np.isin(ids, old, assume_unique=True)
        dead = np.flatnonzero(~alive)
        if len(dead) == layer.chunk.rows:
            return []
        chunk = self.writer.adopt(layer.chunk, before.document)
        return [Layer(chunk=chunk, dead=encode_dead(dead), dead_rows=len(dead))]
