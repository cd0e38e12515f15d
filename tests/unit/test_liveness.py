"""Which rows of a chunk are dead: the encoding of positions, and what is refused."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.errors import MalformedDocument, NotAscending
from strongroom.format.liveness import alive_mask, decode_dead, encode_dead

POSITIONS = st.sets(st.integers(0, 1 << 22), max_size=300).map(sorted)


@settings(deadline=None)
@given(POSITIONS)
@example([127])
@example([128, 129, 16_512])
def test_round_trip(positions: list[int]) -> None:
    """Positions come back as they were, in a chunk that just holds the last one."""
    encoded = encode_dead(np.array(positions, np.int64))
    rows = positions[-1] + 1 if positions else 0
    assert positions == decode_dead(encoded, rows).tolist()


@settings(deadline=None)
@given(POSITIONS.filter(bool))
def test_a_chunk_that_is_too_short_is_refused(positions: list[int]) -> None:
    """The last position must lie inside the chunk."""
    encoded = encode_dead(np.array(positions, np.int64))
    with pytest.raises(MalformedDocument):
        decode_dead(encoded, positions[-1])


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 1000))
@example(b"\xff" * 8 + b"\x7f\x00", 1000)
@example(b"\xff" * 9 + b"\x01", 1000)
@example(b"\xff" * 200 + b"\x01", 1000)
def test_any_bytes_decode_inside_the_chunk_or_are_refused(encoded: bytes, rows: int) -> None:
    """Whatever the bytes are, no position lies outside the chunk, and none wraps around to a negative one."""
    try:
        positions = decode_dead(encoded, rows).tolist()
    except MalformedDocument:
        return
    assert sorted(set(positions)) == positions
    assert all(0 <= position < rows for position in positions)


@pytest.mark.parametrize("encoded", [b"\x80", b"\x01\xff", b"\x05\x81\x80"])
def test_a_number_that_is_cut_off_is_refused(encoded: bytes) -> None:
    """The last byte of a number must say that it is the last."""
    with pytest.raises(MalformedDocument, match="cut off"):
        decode_dead(encoded, 1 << 30)


@pytest.mark.parametrize("positions", [[3, 3], [5, 4], [-2, 7], [0, 1000, 999]])
def test_positions_that_do_not_ascend_are_not_written(positions: list[int]) -> None:
    """They would come back as others."""
    with pytest.raises(NotAscending):
        encode_dead(np.array(positions, np.int64))


def test_one_dead_row_in_a_hundred_costs_a_byte() -> None:
    """Gaps below 128 take one byte each."""
    assert 100 == len(encode_dead(np.arange(99, 10_000, 100)))


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=400))
def test_the_mask_is_the_complement(alive: list[bool]) -> None:
    """What was encoded as dead is not alive, and everything else is."""
    dead = np.flatnonzero(~np.array(alive, np.bool_))
    assert alive == alive_mask(encode_dead(dead), len(alive)).tolist()
