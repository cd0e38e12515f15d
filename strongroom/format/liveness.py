"""Which rows of a chunk are dead: positions as gaps in LEB128. Pure.

A position is a row's place in its chunk, from 0. Positions are written in ascending order as the gap to the
one before (the first: the position itself; later ones: the distance minus one), seven bits a byte, lowest
first, the high bit set on all bytes of a number but its last. One dead row in a hundred costs about a byte.
"""

import numpy as np
import numpy.typing as npt

from strongroom.errors import MalformedDocument, NotAscending

Positions = npt.NDArray[np.int64]


def encode_dead(positions: Positions) -> bytes:
    """Return the encoding of ascending, distinct positions; raise `NotAscending` for others."""
    if len(positions) == 0:
        return b""
    gaps = np.diff(positions, prepend=-1) - 1
    if int(gaps.min()) < 0:
        raise NotAscending(what="list of dead rows")
    if int(gaps.max()) < 0x80:
        return gaps.astype(np.uint8).tobytes()
    out = bytearray()
    for gap in gaps.tolist():
        rest = gap
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def decode_dead(encoded: bytes, rows: int) -> Positions:
    """Return the positions; raise `MalformedDocument` if they do not fit a chunk of `rows` rows."""
    if not encoded:
        return np.empty(0, np.int64)
    data = np.frombuffer(encoded, np.uint8)
    if not (data & 0x80).any():
        positions = np.cumsum(data.astype(np.int64) + 1) - 1
    else:
        positions = np.cumsum(np.array(_gaps(encoded, rows), np.int64) + 1) - 1
    if int(positions[-1]) >= rows:
        raise MalformedDocument(kind="layer", name="dead rows", reason="a position lies outside the chunk")
    return positions


def _gaps(encoded: bytes, rows: int) -> list[int]:
    """Return the numbers; none may reach `rows`, so that their sum cannot wrap around into the chunk."""
    gaps: list[int] = []
    value = shift = 0
    for byte in encoded:
        value |= (byte & 0x7F) << shift
        shift += 7
        if value >= rows:
            raise MalformedDocument(
                kind="layer", name="dead rows", reason="a position lies outside the chunk"
            )
        if not byte & 0x80:
            gaps.append(value)
            value = shift = 0
    if shift:
        raise MalformedDocument(kind="layer", name="dead rows", reason="the last number is cut off")
    return gaps


def alive_mask(encoded: bytes, rows: int) -> npt.NDArray[np.bool_]:
    """Return for each row of a chunk whether it is alive."""
    mask = np.ones(rows, np.bool_)
    mask[decode_dead(encoded, rows)] = False
    return mask
