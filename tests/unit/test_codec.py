"""Documents to bytes and back, and everything that is no document."""

import msgspec
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.errors import FormatError, MalformedDocument, NewerFormat
from strongroom.format import codec
from strongroom.format.codec import decode_document, decode_json, encode_document
from strongroom.format.documents import FORMAT, Chunk, Extent, Layer, Manifest, TablePart, UnitDocument
from strongroom.format.frames import open_frame
from tests.documents import BACKUP, manifest, planned, table
from tests.documents import plan as plan_of

DOCUMENT = UnitDocument(
    format=FORMAT,
    backup=BACKUP,
    unit=3,
    packs=(),
    parts=(
        TablePart(
            table_oid=1,
            pages_per_extent=8,
            extents=(
                Extent(
                    page=0,
                    live=1,
                    digest="-17",
                    layers=(
                        Layer(
                            chunk=Chunk(pack=0, index=0, offset=0, stored=1, raw=1, rows=2),
                            dead=b"\0\xff",
                            dead_rows=1,
                        ),
                    ),
                ),
            ),
        ),
    ),
)


def compressed(raw: bytes) -> bytes:
    """Compress as the writer does."""
    return zstandard.ZstdCompressor().compress(raw)


def test_round_trip() -> None:
    """Unit documents, manifests and plans come back equal, bytes and instants included."""
    assert decode_document(UnitDocument, encode_document(DOCUMENT), "a name") == DOCUMENT
    assert decode_document(Manifest, encode_document(manifest()), "a name") == manifest()
    made = plan_of(planned(table(), 3))
    assert decode_document(type(made), encode_document(made), "a name") == made


@settings(deadline=None)
@given(st.integers(FORMAT + 1, 1 << 70), st.dictionaries(st.text(), st.integers(0, 9)))
def test_a_newer_format_is_told_apart(version: int, unknown: dict[str, int]) -> None:
    """A document of a later format is named as such, whatever else is in it."""
    raw = msgspec.json.encode({**unknown, "format": FORMAT}).replace(
        f'"format":{FORMAT}'.encode(), f'"format":{version}'.encode()
    )
    with pytest.raises(NewerFormat, match=str(version)):
        decode_json(UnitDocument, raw, "a name")


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"{}")
@example(b'{"format":"1"}')
@example(b'{"format":1}')
@example(b'{"format":1,"backup":"\xff","unit":1,"packs":[]}')
@example(b"[" * 100_000)
@example(b'{"format":1,"packs":' + b"[" * 100_000)
def test_garbage_is_malformed(raw: bytes) -> None:
    """Bytes that are no document raise a coded error that names them, never anything else."""
    with pytest.raises(MalformedDocument, match="a name"):
        decode_json(UnitDocument, raw, "a name")
    with pytest.raises(MalformedDocument, match="a name"):
        decode_document(UnitDocument, compressed(raw), "a name")


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_garbage_instead_of_a_frame(data: bytes) -> None:
    """Bytes that are no zstd frame raise a coded error too."""
    with pytest.raises(MalformedDocument, match="a name"):
        decode_document(UnitDocument, data, "a name")


ENCODED = encode_document(DOCUMENT)


@settings(deadline=None)
@given(st.integers(0, len(ENCODED) * 8 - 1))
def test_a_flipped_bit_is_another_document_or_an_error(bit: int) -> None:
    """Compression has no checksum (the seal has): a flip that decodes is at least a document."""
    damaged = bytearray(ENCODED)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        found = decode_document(UnitDocument, bytes(damaged), "a name")
    except FormatError:
        return
    assert isinstance(found, UnitDocument)


@settings(deadline=None)
@given(st.integers(0, len(ENCODED) - 1))
def test_cut_short(size: int) -> None:
    """A document that was cut anywhere is malformed."""
    with pytest.raises(MalformedDocument):
        decode_document(UnitDocument, ENCODED[:size], "a name")


def test_unknown_fields_are_refused() -> None:
    """A field that this format does not have is never ignored."""
    raw = msgspec.json.encode(DOCUMENT)[:-1] + b',"future":1}'
    with pytest.raises(MalformedDocument, match="future"):
        decode_json(UnitDocument, raw, "a name")


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that would become more than any document are not decompressed at all."""
    monkeypatch.setattr(codec, "_LARGEST_DOCUMENT", 1 << 20)
    bomb = compressed(bytes((1 << 20) + 1))
    assert len(bomb) < 1000
    with pytest.raises(MalformedDocument, match="decompress"):
        decode_document(UnitDocument, bomb, "a name")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(compressed(b"abcd"), id="more than is allowed"),
        pytest.param(compressed(b"ab") + b"c", id="something behind it"),
        pytest.param(
            zstandard.ZstdCompressor(write_content_size=False).compress(b"abc"), id="no size stated"
        ),
        pytest.param(b"", id="nothing"),
    ],
)
def test_frames_that_are_refused(data: bytes) -> None:
    """A frame states its size, which is allowed, and is alone."""
    with pytest.raises(zstandard.ZstdError):
        open_frame(data, 3)


def test_frames_at_the_limit() -> None:
    """What just fits is opened, nothing included."""
    assert (b"abc", b"") == (open_frame(compressed(b"abc"), 3), open_frame(compressed(b""), 0))
