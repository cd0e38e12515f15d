"""Row maps: tuple ids from the wire, into an object, and back."""

import struct

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.errors import MalformedDocument, NotAscending
from strongroom.format.row_maps import decode_row_maps, encode_row_maps, tuple_ids_from_array
from tests.documents import tuple_ids

LARGEST = (1 << 48) - 1
MAPS = st.lists(
    st.tuples(st.integers(0, 1 << 47), st.lists(st.integers(1, (1 << 32) - 1), max_size=30)).map(
        lambda drawn: np.cumsum([drawn[0], *drawn[1]], dtype=np.uint64)
    )
    | st.just(tuple_ids()),
    max_size=8,
)


def compressed(raw: bytes) -> bytes:
    """Compress as the writer does."""
    return zstandard.ZstdCompressor().compress(raw)


@settings(deadline=None)
@given(MAPS)
@example([tuple_ids(LARGEST)])
@example([tuple_ids(0, (1 << 32) - 1)])
@example([tuple_ids(), tuple_ids(), tuple_ids(7)])
def test_round_trip(maps: list[np.ndarray[tuple[int], np.dtype[np.uint64]]]) -> None:
    """Row maps come back in their order, empty ones too."""
    decoded = decode_row_maps(encode_row_maps(maps), "a name")
    assert [ids.tolist() for ids in maps] == [ids.tolist() for ids in decoded]


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param((5, 5 + (1 << 32)), id="a gap of 33 bits"),
        pytest.param((5, 5 + (1 << 33) + 1), id="a gap that would wrap to 1"),
        pytest.param((9, 8), id="descending"),
        pytest.param((9, 9), id="twice the same"),
        pytest.param((1, 2, (1 << 40), 3), id="descending after a large gap"),
        pytest.param((LARGEST + 1,), id="a page of 33 bits"),
    ],
)
def test_what_does_not_fit_is_refused(ids: tuple[int, ...]) -> None:
    """A distance that the form cannot hold is an error, never another distance."""
    with pytest.raises(NotAscending):
        encode_row_maps([tuple_ids(1, 2), tuple_ids(*ids)])


@settings(deadline=None)
@given(MAPS.filter(bool), st.data())
def test_a_cut_off_object_is_refused(
    maps: list[np.ndarray[tuple[int], np.dtype[np.uint64]]], data: st.DataObject
) -> None:
    """Cut anywhere inside a row map, the object is malformed; between two, it holds fewer."""
    raw = zstandard.ZstdDecompressor().decompress(encode_row_maps(maps))
    ends = np.cumsum([4 + (8 + 4 * (len(ids) - 1) if len(ids) else 0) for ids in maps]).tolist()
    size = data.draw(st.integers(0, len(raw) - 1))
    if size in {0, *ends}:
        assert len([end for end in ends if end <= size]) == len(
            decode_row_maps(compressed(raw[:size]), "a name")
        )
    else:
        with pytest.raises(MalformedDocument, match="cut off"):
            decode_row_maps(compressed(raw[:size]), "a name")


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\x01\x00\x00\x00" + b"\xff" * 8)
@example(b"\x02\x00\x00\x00" + b"\x01" + b"\x00" * 11)
@example(b"\xff\xff\xff\xff" + b"\x00" * 60)
def test_any_bytes_are_row_maps_or_refused(raw: bytes) -> None:
    """Whatever decodes is what a writer could have written: it encodes to the same bytes."""
    try:
        maps = decode_row_maps(compressed(raw), "a name")
    except MalformedDocument:
        return
    assert raw == zstandard.ZstdDecompressor().decompress(encode_row_maps(maps))


@pytest.mark.parametrize("data", [b"", b"no frame at all", encode_row_maps([tuple_ids(1, 2, 3)])[:-1]])
def test_what_does_not_decompress_is_named(data: bytes) -> None:
    """The error names the object."""
    with pytest.raises(MalformedDocument, match="rowmaps/a"):
        decode_row_maps(data, "rowmaps/a")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 16) - 1)), max_size=50))
def test_the_wire_form_of_tid_arrays(pairs: list[tuple[int, int]]) -> None:
    """An array of ctids, in binary as Postgres sends it, gives page and offset as one number each."""
    header = struct.pack(">iiIii", 1, 0, 27, len(pairs), 1)
    body = b"".join(struct.pack(">iIH", 6, page, offset) for page, offset in pairs)
    expected = [page << 16 | offset for page, offset in pairs]
    assert expected == tuple_ids_from_array(header + body).tolist()


def test_no_rows_on_the_wire() -> None:
    """A null (array_agg of nothing) and an array without dimensions hold no ids."""
    assert [] == tuple_ids_from_array(None).tolist()
    assert [] == tuple_ids_from_array(struct.pack(">iiI", 0, 0, 27)).tolist()
