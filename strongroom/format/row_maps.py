"""Row maps: the tuple ids (ctid) of a chunk's rows, in the chunk's order. Pure.

A tuple id is one number here, `page << 16 | offset`; the rows of a chunk are read in that order, so the
numbers ascend. The row maps of a unit are one object: for each slot a count (u32), the first number (u64),
and the distances to the next ones (u32 each), little-endian, one slot after the other, as one zstd frame.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import zstandard

from strongroom.errors import MalformedDocument

TupleIds = npt.NDArray[np.uint64]

NO_ROWS: TupleIds = np.empty(0, np.uint64)

_WIRE = np.dtype([("high", ">u2"), ("low", ">u2"), ("offset", ">u2")])
_ARRAY_HEADER_BYTES = 20


def tuple_ids_from_array(data: bytes | None) -> TupleIds:
    """Read a `tid[]` in Postgres' binary form: a 20-byte header, then length (4) and tid (6) for each."""
    if data is None or len(data) <= _ARRAY_HEADER_BYTES:
        return NO_ROWS
    rows = np.frombuffer(data, np.dtype([("length", ">u4"), ("tid", _WIRE)]), offset=_ARRAY_HEADER_BYTES)[
        "tid"
    ]
    page = rows["high"].astype(np.uint64) << np.uint64(16) | rows["low"].astype(np.uint64)
    return page << np.uint64(16) | rows["offset"].astype(np.uint64)


def encode_row_maps(maps: Sequence[TupleIds]) -> bytes:
    """Return the object that holds these row maps, not yet sealed."""
    out = bytearray()
    for ids in maps:
        out += len(ids).to_bytes(4, "little")
        if len(ids):
            out += int(ids[0]).to_bytes(8, "little")
            out += np.diff(ids).astype("<u4").tobytes()
    return zstandard.ZstdCompressor(level=3).compress(bytes(out))


def decode_row_maps(data: bytes, name: str) -> list[TupleIds]:
    """Return the row maps of an object; raise `MalformedDocument` naming it."""
    try:
        raw = zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise MalformedDocument(kind="row maps", name=name, reason="it does not decompress") from error
    maps: list[TupleIds] = []
    at = 0
    while at < len(raw):
        count = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if not count:
            maps.append(NO_ROWS)
            continue
        end = at + 8 + 4 * (count - 1)
        if end > len(raw):
            raise MalformedDocument(kind="row maps", name=name, reason="a row map is cut off")
        ids = np.empty(count, np.uint64)
        ids[0] = int.from_bytes(raw[at : at + 8], "little")
        ids[1:] = np.frombuffer(raw, "<u4", count - 1, at + 8)
        maps.append(np.cumsum(ids, dtype=np.uint64))
        at = end
    return maps
