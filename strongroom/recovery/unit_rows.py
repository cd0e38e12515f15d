"""The rows of one unit of a restore, layer by layer, as the COPY text that they were captured as.

rows = UnitRows(unit, manifest, documents, ChunkReader(repository), context)
for piece in unit.slices:
    filler.fill(rows.blocks(piece))
rows.rows
"""

from collections.abc import Iterator, Sequence

from strongroom.format.documents import Extent, Manifest, UnitDocument
from strongroom.operations.context import Context, Progress
from strongroom.recovery.units import RestoreSlice, RestoreUnitPlan
from strongroom.repository.chunks import ChunkReader


class UnitRows:
    """Reads a unit's slices one after the other, and counts the living rows that it has given out."""

    def __init__(
        self,
        unit: RestoreUnitPlan,
        manifest: Manifest,
        documents: Sequence[UnitDocument],
        reader: ChunkReader,
        context: Context,
    ) -> None:
        self._unit = unit
        self._manifest = manifest
        self._documents = documents
        self._reader = reader
        self._context = context
        self._done = 0
        self.rows = 0

    def blocks(self, piece: RestoreSlice) -> Iterator[bytes]:
        """Yield the COPY text of a slice's living rows; the deadline is looked at before each chunk."""
        entry = self._manifest.tables[piece.table]
        reference = entry.parts[piece.part]
        document = self._documents[reference.document]
        extents = document.parts[reference.part].extents
        label = f"{entry.facts.schema}.{entry.facts.name}"
        for extent in extents[piece.first_extent : piece.first_extent + piece.extents]:
            yield from self._layers(extent, document, label)

    def _layers(self, extent: Extent, document: UnitDocument, label: str) -> Iterator[bytes]:
        for layer in extent.layers:
            self._context.deadline.check()
            text, rows = self._reader.rows(layer, document)
            self.rows += rows
            self._done += layer.chunk.raw
            self._context.progress(Progress(min(self._done, self._unit.raw), self._unit.raw, "bytes", label))
            yield text
