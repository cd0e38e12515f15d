"""Reading rows back: the living rows of a layer, exactly, or an error."""

import os

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import ChunkDisagrees, MalformedDocument
from strongroom.format.documents import Chunk, Collection, Layer, UnitDocument
from strongroom.format.liveness import encode_dead
from strongroom.format.row_maps import TupleIds
from strongroom.repository import chunks
from strongroom.repository.chunks import ChunkReader, line_ends
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter
from tests.documents import BACKUP, memory_repository

REPOSITORY = memory_repository()


def ids(rows: int) -> TupleIds:
    """Make a row map of some rows."""
    return np.arange(1, rows + 1, dtype=np.uint64)


def written(*payloads: bytes, repository: Repository = REPOSITORY) -> tuple[list[Chunk], UnitDocument]:
    """Write chunks of rows and return them with the document that they are named in."""
    writer = UnitWriter(repository, BACKUP, 1, os.urandom)
    made = [writer.add_rows(payload, ids(payload.count(b"\n"))) for payload in payloads]
    return made, repository.read_unit_document(writer.finish(()))


def layer_of(chunk: Chunk, dead: list[int]) -> Layer:
    """Make a layer of a chunk with dead rows."""
    return Layer(chunk=chunk, dead=encode_dead(np.array(dead, np.int64)), dead_rows=len(dead))


ROWS = st.lists(st.tuples(st.binary(max_size=12).map(lambda row: row.replace(b"\n", b"?")), st.booleans()))


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_dead_rows_are_left_out(rows: list[tuple[bytes, bool]]) -> None:
    """Exactly the rows that are alive come back, in their order, whatever bytes they are made of."""
    (chunk,), document = written(b"".join(row + b"\n" for row, _ in rows))
    dead = [place for place, (_, alive) in enumerate(rows) if not alive]
    expected = b"".join(row + b"\n" for row, alive in rows if alive)
    assert (expected, len(rows) - len(dead)) == ChunkReader(REPOSITORY).rows(layer_of(chunk, dead), document)


CHUNKS, DOCUMENT = written(b"one\ntwo\nthree\n")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"rows": 2}, id="fewer rows"),
        pytest.param({"rows": 4}, id="more rows"),
        pytest.param({"raw": 13}, id="fewer bytes"),
        pytest.param({"raw": 15}, id="more bytes"),
        pytest.param({"encoding": "bytes"}, id="no rows at all"),
    ],
)
def test_a_chunk_that_is_not_what_its_document_says(changes: dict[str, object]) -> None:
    """Rows, bytes and encoding must be those that the document states."""
    chunk = msgspec.structs.replace(CHUNKS[0], **changes)
    with pytest.raises(ChunkDisagrees):
        ChunkReader(REPOSITORY).rows(Layer(chunk=chunk), DOCUMENT)


@pytest.mark.parametrize(("dead", "dead_rows"), [(b"\x00", 0), (b"\x00", 2), (b"", 1), (b"\x00\x00", 1)])
def test_dead_rows_that_were_counted_otherwise(dead: bytes, dead_rows: int) -> None:
    """The number of dead rows is stated beside their positions, and both must agree."""
    layer = Layer(chunk=CHUNKS[0], dead=dead, dead_rows=dead_rows)
    with pytest.raises(ChunkDisagrees, match="dead"):
        ChunkReader(REPOSITORY).rows(layer, DOCUMENT)


def test_dead_rows_outside_of_the_chunk() -> None:
    """A dead row that the chunk does not have is an error."""
    with pytest.raises(MalformedDocument):
        ChunkReader(REPOSITORY).rows(Layer(chunk=CHUNKS[0], dead=b"\x03", dead_rows=1), DOCUMENT)


def test_a_row_without_an_end() -> None:
    """COPY text ends with a line feed: half a row behind the last one is never handed on."""
    (chunk,), document = written(b"one\ntw")
    with pytest.raises(ChunkDisagrees):
        ChunkReader(REPOSITORY).rows(Layer(chunk=chunk), document)


def test_line_ends() -> None:
    """Each line feed ends a row; an empty row is a row."""
    assert ([], [0], [1, 2, 4]) == (
        line_ends(b"").tolist(),
        line_ends(b"\n").tolist(),
        line_ends(b"a\n\nb\n").tolist(),
    )


def test_packs_are_read_once_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that is needed again soon is not fetched again, and one that was not needed for long is let go."""
    monkeypatch.setattr("strongroom.format.packs.PACK_TARGET", 1)
    made, document = written(b"a\n", b"b\n", b"c\n", b"d\n")
    sizes = [pack.size for pack in document.packs]
    assert (4, 3) == (len(sizes), chunks._OPEN_PACKS)
    reader = ChunkReader(REPOSITORY)
    for place in (0, 1, 2, 0, 2, 3, 0):
        reader.payload(made[place], document)
    assert sum(sizes) == reader.bytes_read
    reader.payload(made[1], document)
    assert sum(sizes) + sizes[1] == reader.bytes_read


def test_collections() -> None:
    """The bytes of a collection come back chunk by chunk."""
    writer = UnitWriter(REPOSITORY, BACKUP, 1, os.urandom)
    collection = Collection(
        name="schema", chunks=tuple(writer.add_bytes(piece) for piece in (b"a\n\0", b"", b"b"))
    )
    document = REPOSITORY.read_unit_document(writer.finish((), (collection,)))
    assert [b"a\n\0", b"", b"b"] == list(ChunkReader(REPOSITORY).collection(collection, document))
