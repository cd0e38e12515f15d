"""Row maps: the tuple ids (ctid) of a chunk's rows, in the chunk's order. Pure.

A tuple id is one number here, `page << 16 | offset`; the rows of a chunk are read in that order, so the
numbers ascend. The row maps of a unit are one object: for each slot a count (u32), the first number (u64),
and the distances to the next ones (u32 each), little-endian, one slot after the other, as one zstd frame.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import zstandard

from strongroom.errors import MalformedDocument, NotAscending
from strongroom.format.frames import open_frame

TupleIds = npt.NDArray[np.uint64]

NO_ROWS: TupleIds = np.empty(0, np.uint64)

_WIRE = np.dtype([("high", ">u2"), ("low", ">u2"), ("offset", ">u2")])
_ARRAY_HEADER_BYTES = 20
_LARGEST_OBJECT = 1 << 30
_LARGEST_GAP = (1 << 32) - 1
_LARGEST_TUPLE_ID = (1 << 48) - 1


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
    """Return the object that holds these row maps, not yet sealed; raise `NotAscending` if one is no row map."""
    out = bytearray()
    for ids in maps:
        out += len(ids).to_bytes(4, "little")
        if len(ids):
            out += int(ids[0]).to_bytes(8, "little")
            out += _gaps(ids).astype("<u4").tobytes()
    return zstandard.ZstdCompressor(level=3).compress(bytes(out))


def decode_row_maps(data: bytes, name: str) -> list[TupleIds]:
    """Return the row maps of an object; raise `MalformedDocument` naming it."""
    try:
        raw = open_frame(data, _LARGEST_OBJECT)
    except zstandard.ZstdError as error:
        raise MalformedDocument(kind="row maps", name=name, reason="it does not decompress") from error
    maps: list[TupleIds] = []
    at = 0
    while at < len(raw):
        count = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if not count and at <= len(raw):
            maps.append(NO_ROWS)
            continue
        end = at + 8 + 4 * (count - 1)
        if end > len(raw):
            raise MalformedDocument(kind="row maps", name=name, reason="a row map is cut off")
        maps.append(_ids(raw[at:end], count, name))
        at = end
    return maps


def _gaps(ids: TupleIds) -> TupleIds:
    """Return the distances between ids; one that is zero, negative or too large would read back otherwise."""
    gaps = np.diff(ids)
    # A negative distance has wrapped around and is huge.
    if len(gaps) and (int(gaps.min()) == 0 or int(gaps.max()) > _LARGEST_GAP):
        raise NotAscending(what="row map")
    if int(ids[-1]) > _LARGEST_TUPLE_ID:
        raise NotAscending(what="row map")
    return gaps


def _ids(raw: bytes, count: int, name: str) -> TupleIds:
    """Return the ids of one row map, given its first number and its distances."""
    ids = np.empty(count, np.uint64)
    ids[0] = first = int.from_bytes(raw[:8], "little")
    ids[1:] = np.frombuffer(raw, "<u4", count - 1, 8)
    # The sum of so few distances cannot wrap around once the first number is known to be small.
    if first > _LARGEST_TUPLE_ID or not ids[1:].all() or int(ids.sum()) > _LARGEST_TUPLE_ID:
        raise MalformedDocument(kind="row maps", name=name, reason="its tuple ids are none, or do not ascend")
    return np.cumsum(ids, dtype=np.uint64)
