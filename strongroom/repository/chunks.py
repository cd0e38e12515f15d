"""Reading rows back: from a unit document's layers to the COPY text of the rows that are alive."""

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from strongroom.errors import ChunkDisagrees
from strongroom.format.documents import Chunk, Collection, Layer, UnitDocument
from strongroom.format.liveness import decode_dead
from strongroom.format.packs import PackReader
from strongroom.repository.repository import Repository

_OPEN_PACKS = 3
"""Packs kept in memory: the layers of an extent alternate between few of them."""

_LINE_FEED = 10


class ChunkReader:
    """Opens chunks, keeping the packs that were used last. Needs the recovery private key."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._packs: OrderedDict[str, PackReader] = OrderedDict()
        self.bytes_read = 0

    def payload(self, chunk: Chunk, document: UnitDocument) -> bytes:
        """Return a chunk's payload, which must be what the document says of it."""
        if not 0 <= chunk.pack < len(document.packs):
            raise ChunkDisagrees(name="a pack", index=chunk.index, reason="its document names no such pack")
        reference = document.packs[chunk.pack]
        if reference.name not in self._packs:
            while len(self._packs) >= _OPEN_PACKS:
                self._packs.popitem(last=False)
            self._packs[reference.name] = self._repository.open_pack(reference)
            self.bytes_read += reference.size
        self._packs.move_to_end(reference.name)
        encoding, payload = self._packs[reference.name].open(chunk.index, chunk.offset, chunk.stored)
        if encoding != chunk.encoding or len(payload) != chunk.raw:
            raise ChunkDisagrees(name=reference.name, index=chunk.index, reason="its form or length differs")
        return payload

    def rows(self, layer: Layer, document: UnitDocument) -> tuple[bytes, int]:
        """Return the COPY text of a layer's living rows, and how many there are."""
        payload = self.payload(layer.chunk, document)
        ends = line_ends(payload)
        name = document.packs[layer.chunk.pack].name
        if len(ends) != layer.chunk.rows or (payload and not payload.endswith(b"\n")):
            raise ChunkDisagrees(name=name, index=layer.chunk.index, reason=f"it holds {len(ends)} rows")
        dead = decode_dead(layer.dead, layer.chunk.rows)
        if len(dead) != layer.dead_rows:
            reason = f"{len(dead)} of its rows are marked as dead, not {layer.dead_rows}"
            raise ChunkDisagrees(name=name, index=layer.chunk.index, reason=reason)
        if not layer.dead:
            return payload, len(ends)
        return _without(payload, ends, dead), len(ends) - len(dead)

    def collection(self, collection: Collection, document: UnitDocument) -> Iterator[bytes]:
        """Yield the bytes of a collection, chunk by chunk."""
        for chunk in collection.chunks:
            yield self.payload(chunk, document)


def line_ends(payload: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return where each row of COPY text ends: text escapes line feeds, so each one ends a row."""
    return np.flatnonzero(np.frombuffer(payload, np.uint8) == _LINE_FEED)


def _without(
    payload: bytes,
    ends: np.ndarray[tuple[int], np.dtype[np.int64]],
    dead: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> bytes:
    """Return the COPY text without the dead rows, joined from the runs between them."""
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    kept: list[bytes] = []
    at = 0
    for start, end in zip(starts[dead].tolist(), (ends[dead] + 1).tolist(), strict=True):
        if start > at:
            kept.append(payload[at:start])
        at = end
    kept.append(payload[at:])
    return b"".join(kept)
