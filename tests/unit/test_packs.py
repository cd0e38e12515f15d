"""Packs: what goes in comes out, and whatever was changed does not."""

import hashlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto.pack_cipher import PackCipher
from strongroom.errors import DamagedChunk, FormatError, MalformedPack, PackNotFaithful
from strongroom.format import packs
from strongroom.format.documents import Encoding
from strongroom.format.packs import PackBuilder, PackReader, PlacedChunk, read_header

KEY_ID = "20261123-034500000-9f3a61c2d4-00ff00ff"
DATA_KEY = bytes(range(32))
SALT = b"s" * 32
PAYLOADS: list[tuple[bytes, Encoding]] = [(b"1\tAda\n2\tGrace\n" * 40, "copy-text"), (b"\x00\xff", "bytes")]


def built(
    payloads: list[tuple[bytes, Encoding]], *, compress: bool = True
) -> tuple[bytes, list[PlacedChunk]]:
    """Build a pack and return its bytes and where its chunks are."""
    builder = PackBuilder(KEY_ID, DATA_KEY, SALT, compress=compress)
    placed = [builder.append(payload, encoding) for payload, encoding in payloads]
    return bytes(builder.finish()[1]), placed


PACK, PLACED = built(PAYLOADS)
HEADER_BYTES = 7 + len(KEY_ID) + 32


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=500), st.sampled_from(["bytes", "copy-text"])), max_size=6),
    st.booleans(),
)
def test_round_trip(payloads: list[tuple[bytes, Encoding]], compress: bool) -> None:
    """Chunks open at their places, in any order, with the encoding they were given."""
    data, placed = built(payloads, compress=compress)
    reader = PackReader(data, "a pack", DATA_KEY)
    opened = [reader.open(chunk.index, chunk.offset, chunk.stored) for chunk in reversed(placed)]
    assert [(encoding, payload) for payload, encoding in reversed(payloads)] == opened
    assert [len(payload) for payload, _ in payloads] == [chunk.raw for chunk in placed]


def test_what_compression_makes_larger_is_stored_as_it_is() -> None:
    """A chunk never takes more than its payload, prefix, and tag."""
    _, placed = built(PAYLOADS)
    assert placed[0].stored < placed[0].raw
    assert placed[1].raw + 10 + 16 == placed[1].stored


def test_the_id_is_the_digest_of_all_bytes() -> None:
    """Whoever has the pack can compute its name."""
    builder = PackBuilder(KEY_ID, DATA_KEY, SALT, compress=True)
    builder.append(b"row\n", "copy-text")
    pack, data = builder.finish()
    assert hashlib.sha256(data).hexdigest() == pack


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(PACK) * 8 - 1))
def test_every_bit_counts(bit: int) -> None:
    """One flipped bit is noticed by the chunk that it lies in; in the header, by every chunk.

    A bit of the lengths between chunks changes nothing that is read: places come from the unit document.
    """
    damaged = bytearray(PACK)
    damaged[bit // 8] ^= 1 << bit % 8
    concerned = [
        chunk
        for chunk in PLACED
        if bit // 8 < HEADER_BYTES or chunk.offset <= bit // 8 < chunk.offset + chunk.stored
    ]
    data = bytes(damaged)
    for chunk in PLACED:
        if chunk in concerned:
            with pytest.raises(FormatError):
                PackReader(data, "a pack", DATA_KEY).open(chunk.index, chunk.offset, chunk.stored)
        else:
            opened = PackReader(data, "a pack", DATA_KEY).open(chunk.index, chunk.offset, chunk.stored)
            assert PAYLOADS[chunk.index] == opened[::-1]


@settings(deadline=None)
@given(st.integers(0, len(PACK) - 1))
def test_cut_short(size: int) -> None:
    """The last chunk of a pack that was cut anywhere does not open."""
    with pytest.raises(MalformedPack):
        PackReader(PACK[:size], "a pack", DATA_KEY).open(
            PLACED[-1].index, PLACED[-1].offset, PLACED[-1].stored
        )


@pytest.mark.parametrize(
    ("index", "offset", "stored"),
    [
        (0, len(PACK), 1),
        (0, 0, 50),
        (0, HEADER_BYTES - 1, 20),
        (0, HEADER_BYTES + 4, -1),
        (-1, HEADER_BYTES, 20),
    ],
)
def test_places_outside_of_the_chunks(index: int, offset: int, stored: int) -> None:
    """A place beyond the end, in the header, or negative is no place of a chunk."""
    with pytest.raises(MalformedPack, match="outside"):
        PackReader(PACK, "a pack", DATA_KEY).open(index, offset, stored)


def test_a_chunk_belongs_to_its_index_and_its_header() -> None:
    """A chunk opens neither under another index nor behind the header of another pack."""
    first = PLACED[0]
    with pytest.raises(DamagedChunk):
        PackReader(PACK, "a pack", DATA_KEY).open(1, first.offset, first.stored)
    other_id = PACK.replace(KEY_ID.encode(), KEY_ID[::-1].encode())
    other_salt = PACK.replace(SALT, b"t" * 32)
    for moved in (other_id, other_salt):
        assert len(moved) == len(PACK)
        with pytest.raises(DamagedChunk):
            PackReader(moved, "a pack", DATA_KEY).open(first.index, first.offset, first.stored)


def test_the_header_names_the_data_key() -> None:
    """Which key opens a pack can be read without any key."""
    assert (KEY_ID, PACK[:HEADER_BYTES]) == read_header(PACK, "a pack")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin"),
        (b"SRPAC" + PACK[5:], "does not begin"),
        (b"SRPAK\x02" + PACK[6:], "version is 2"),
        (PACK[: HEADER_BYTES - 1], "cut off"),
    ],
)
def test_other_headers(data: bytes, reason: str) -> None:
    """What is no pack, a pack of another version, or only a part of a header is refused."""
    with pytest.raises(MalformedPack, match=reason):
        PackReader(data, "a pack", DATA_KEY)


# ------------------------------------------------------------------ what is sealed, and senseless


def sealed(plaintext: bytes) -> tuple[bytes, int, int]:
    """Make a pack by hand whose only chunk holds `plaintext`, and return it with the chunk's place."""
    header = PACK[:HEADER_BYTES]
    chunk = PackCipher(DATA_KEY, SALT).seal(0, plaintext, header)
    return header + len(chunk).to_bytes(4, "little") + chunk, len(header) + 4, len(chunk)


def zstd(payload: bytes) -> bytes:
    """Compress with the library's defaults."""
    return zstandard.ZstdCompressor().compress(payload)


@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param(b"\0\0", id="shorter than the prefix"),
        pytest.param(b"\2\0" + bytes(8), id="an unknown codec"),
        pytest.param(b"\0\2" + bytes(8), id="an unknown encoding"),
        pytest.param(b"\0\0" + (3).to_bytes(8, "little") + b"four", id="longer than it says"),
        pytest.param(b"\1\0" + (3).to_bytes(8, "little") + b"abc", id="no frame"),
        pytest.param(b"\1\0" + (3).to_bytes(8, "little") + zstd(b"ab"), id="a frame of another length"),
        pytest.param(b"\1\0" + (3).to_bytes(8, "little") + zstd(b"abc") + b"d", id="something behind it"),
        pytest.param(b"\1\0" + (3).to_bytes(8, "little") + zstd(bytes(1 << 26)), id="a bomb"),
        pytest.param(b"\1\0" + b"\xff" * 8 + zstd(b"abc"), id="a length beyond all memory"),
        pytest.param(
            b"\1\0" + b"\xff" * 8 + b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + b"\x01\0\0", id="such a frame"
        ),
    ],
)
def test_a_chunk_that_makes_no_sense(plaintext: bytes) -> None:
    """A chunk that was sealed rightly and holds nonsense is refused, not guessed at."""
    data, offset, stored = sealed(plaintext)
    with pytest.raises(MalformedPack):
        PackReader(data, "a pack", DATA_KEY).open(0, offset, stored)


class BrokenCompressor:
    """Compresses something else: what a bad memory module does now and then."""

    def __init__(self, made: bytes) -> None:
        self._made = made

    def compress(self, payload: bytes) -> bytes:
        """Return what it was told to."""
        return self._made


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(zstd(b"x" * 99 + b"y"), id="other rows of the same length"),
        pytest.param(zstd(b"x" * 99), id="a row less"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param(zstd(b"x" * 100)[:-1], id="a part"),
    ],
)
def test_a_broken_compressor_is_found_before_anything_is_stored(
    monkeypatch: pytest.MonkeyPatch, made: bytes
) -> None:
    """A chunk whose sealed bytes do not decode to its rows is never counted (I6)."""
    monkeypatch.setattr("zstandard.ZstdCompressor", lambda **_: BrokenCompressor(made))
    builder = PackBuilder(KEY_ID, DATA_KEY, SALT, compress=True)
    with pytest.raises(PackNotFaithful):
        builder.append(b"x" * 100, "copy-text")
    assert builder.is_empty


def test_a_pack_is_closed_at_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack is full once it has reached the target, by its last chunk."""
    monkeypatch.setattr(packs, "PACK_TARGET", 1000)
    builder = PackBuilder(KEY_ID, DATA_KEY, SALT, compress=False)
    assert (True, False) == (builder.is_empty, builder.is_full)
    builder.append(bytes(600), "bytes")
    assert (False, False) == (builder.is_empty, builder.is_full)
    builder.append(bytes(400), "bytes")
    assert builder.is_full
    assert len(builder) == len(builder.finish()[1])
