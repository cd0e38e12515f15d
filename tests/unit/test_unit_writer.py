"""Writing a unit: bounded memory, nothing named before it is stored, chunks of earlier units renumbered."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import BackupTooLarge, MalformedDocument
from strongroom.format.documents import Chunk, Extent, Layer, RowMapSlot, TablePart, UnitDocument
from strongroom.format.row_maps import TupleIds
from strongroom.repository.chunks import ChunkReader
from strongroom.repository.known import KnownRows
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter
from strongroom.stores.memory import MemoryStore
from strongroom.stores.recording import RecordingStore
from tests.documents import BACKUP, manifest, memory_repository, table

LATER = "20261124-034500000-0000000000"


def writer_of(repository: Repository, backup: str = BACKUP, stored_limit: int = 0) -> UnitWriter:
    """Begin a unit whose chunks are stored as they are, so that sizes can be foretold."""
    return UnitWriter(repository, backup, 1, os.urandom, compress=False, stored_limit=stored_limit)


def ids(rows: int, first: int = 1) -> TupleIds:
    """Make a row map of some rows."""
    return np.arange(first, first + rows, dtype=np.uint64)


def payload(chunk: Chunk, document: UnitDocument, repository: Repository) -> bytes:
    """Read a chunk."""
    return ChunkReader(repository).payload(chunk, document)


def row_map(chunk: Chunk, document: UnitDocument, repository: Repository) -> list[int]:
    """Read a chunk's row map, as the next capture would."""
    assert chunk.row_map is not None
    reference = document.row_maps[chunk.row_map.object]
    return list(map(int, repository.read_row_maps(reference)[chunk.row_map.slot]))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 400), st.integers(1, 60))
def test_what_was_written_is_found(rows: list[int], pack_target: int, row_map_batch: int) -> None:
    """Wherever packs and row maps are closed, each chunk is found with its own rows and row map."""
    repository = memory_repository()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("strongroom.format.packs.PACK_TARGET", pack_target)
        patch.setattr("strongroom.repository.unit_writer._ROW_MAP_BATCH", row_map_batch)
        writer = writer_of(repository)
        texts = [b"".join(b"%d-%d\n" % (number, row) for row in range(n)) for number, n in enumerate(rows)]
        made = [
            writer.add_rows(text, ids(n, number * 1000))
            for number, (text, n) in enumerate(zip(texts, rows, strict=True))
        ]
        document = repository.read_unit_document(writer.finish(()))
    assert texts == [payload(chunk, document, repository) for chunk in made]
    expected = [ids(n, number * 1000).tolist() for number, n in enumerate(rows)]
    assert expected == [row_map(chunk, document, repository) for chunk in made]
    assert (sum(map(len, texts)), len(document.packs)) == (writer.bytes_raw, writer.packs_written)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most one pack that is not full, and one batch of row maps, are held, however much is written."""
    monkeypatch.setattr("strongroom.format.packs.PACK_TARGET", 10_000)
    monkeypatch.setattr("strongroom.repository.unit_writer._ROW_MAP_BATCH", 100)
    writer = writer_of(memory_repository())
    for _ in range(100):
        writer.add_rows(b"x" * 999 + b"\n", ids(40))
        held = writer._builder
        assert held is None or len(held) < 10_000
        assert writer._pending_ids < 100
    writer.finish(())
    assert (10, 34) == (writer.packs_written, len(writer.row_maps))


def test_nothing_is_named_before_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data key comes first, then packs and row maps, and the document that names them last of all (I1)."""
    monkeypatch.setattr("strongroom.format.packs.PACK_TARGET", 1)
    store = RecordingStore(MemoryStore())
    repository = memory_repository(store)
    writer = writer_of(repository)
    for _ in range(3):
        writer.add_rows(b"a\n", ids(1))
    writer.finish(())
    written = [stored.name.partition("/")[0] for stored in store.list()]
    assert sorted(["repository.json", "keys", "packs", "packs", "packs", "rowmaps", "tables"]) == sorted(
        written
    )
    order = [change.name.partition("/")[0] for change in store.changes() if change.kind == "put"]
    assert ["keys", "packs", "packs", "packs", "rowmaps", "tables"] == order


def test_a_unit_without_rows() -> None:
    """A unit that found nothing stores its document and nothing else, not even a key."""
    repository = memory_repository()
    document = repository.read_unit_document(writer_of(repository).finish(()))
    assert ((), ()) == (document.packs, document.row_maps)
    assert [] == list(repository.store.list("keys/"))


def test_bytes_have_no_row_map() -> None:
    """What is no rows has none."""
    chunk = writer_of(memory_repository()).add_bytes(b"schema")
    assert (None, 0, "bytes") == (chunk.row_map, chunk.rows, chunk.encoding)


# ---------------------------------------------------------------------------- adopting


def test_adopted_chunks_are_renumbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of earlier documents are found through the new one, among new ones; each object is named once."""
    monkeypatch.setattr("strongroom.format.packs.PACK_TARGET", 1)
    monkeypatch.setattr("strongroom.repository.unit_writer._ROW_MAP_BATCH", 2)
    repository = memory_repository()
    first = writer_of(repository)
    old = [first.add_rows(b"old %d\n" % n, ids(1, n)) for n in range(4)]
    earlier = repository.read_unit_document(first.finish(()))

    second = writer_of(repository, LATER)
    made = [
        second.adopt(old[2], earlier),
        second.add_rows(b"new 0\n", ids(1, 100)),
        second.adopt(old[3], earlier),
        second.adopt(old[2], earlier),
        second.add_rows(b"new 1\n", ids(1, 101)),
        second.adopt(old[0], earlier),
    ]
    document = repository.read_unit_document(second.finish(()))
    texts = [b"old 2\n", b"new 0\n", b"old 3\n", b"old 2\n", b"new 1\n", b"old 0\n"]
    assert texts == [payload(chunk, document, repository) for chunk in made]
    assert [[2], [100], [3], [2], [101], [0]] == [row_map(chunk, document, repository) for chunk in made]
    for references in (document.packs, document.row_maps):
        assert len(references) == len({reference.name for reference in references})
    assert (5, 3) == (len(document.packs), len(document.row_maps))
    assert 2 == second.packs_written
    assert sum(pack.size for pack in document.packs if pack.data_key.startswith(LATER)) < second.bytes_stored


def test_adopting_while_a_pack_is_open() -> None:
    """The place of an open pack is taken when it is begun, so that what is adopted meanwhile does not move it."""
    repository = memory_repository()
    first = writer_of(repository)
    old = first.add_rows(b"old\n", ids(1))
    earlier = repository.read_unit_document(first.finish(()))
    second = writer_of(repository, LATER)
    made = [second.add_rows(b"1\n", ids(1)), second.adopt(old, earlier), second.add_rows(b"2\n", ids(1, 2))]
    assert [0, 1, 0] == [chunk.pack for chunk in made]
    document = repository.read_unit_document(second.finish(()))
    assert [b"1\n", b"old\n", b"2\n"] == [payload(chunk, document, repository) for chunk in made]


@pytest.mark.parametrize(("slot", "rows"), [(0, 3), (0, 1), (1, 2)])
def test_a_row_map_that_is_not_the_chunks(slot: int, rows: int) -> None:
    """A row map of another length, or one that is not there, is never paired with a chunk's rows."""
    repository = memory_repository()
    writer = writer_of(repository)
    good = writer.add_rows(b"a\nb\n", ids(2))
    wrong = Chunk(
        pack=0, index=0, offset=0, stored=1, raw=1, rows=rows, row_map=RowMapSlot(object=0, slot=slot)
    )
    document = repository.read_unit_document(writer.finish(()))
    known = KnownRows.of_backup(repository, manifest(), [table().oid]).table(table().oid)
    assert [1, 2] == known.read_row_map(document, good).tolist()
    with pytest.raises(MalformedDocument, match="rowmaps/"):
        known.read_row_map(document, wrong)


# ------------------------------------------------------------------------------- limit


def test_a_backup_that_becomes_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pack that would go over the limit is not stored; the error says what to set instead."""
    monkeypatch.setattr("strongroom.format.packs.PACK_TARGET", 1000)
    repository = memory_repository()
    writer = writer_of(repository, stored_limit=2500)
    writer.add_bytes(bytes(1000))
    writer.add_bytes(bytes(1000))
    with pytest.raises(BackupTooLarge) as raised:
        writer.add_bytes(bytes(1000))
    estimate = raised.value.context["estimate"]
    assert isinstance(estimate, int)
    assert (True, 2500, 2 * estimate) == (
        3000 < estimate < 3600,
        raised.value.context["limit"],
        raised.value.context["suggestion"],
    )
    assert 2 == len(list(repository.store.list("packs/")))
    assert [] == list(repository.store.list("tables/"))


def test_the_last_pack_counts_too() -> None:
    """What is still open when the unit ends is measured like the rest."""
    writer = writer_of(memory_repository(), stored_limit=500)
    writer.add_bytes(bytes(1000))
    with pytest.raises(BackupTooLarge):
        writer.finish(())


def test_what_is_adopted_is_not_counted() -> None:
    """Only what a backup stores itself counts against its limit."""
    repository = memory_repository()
    first = writer_of(repository)
    old = first.add_rows(b"x" * 5000 + b"\n", ids(1))
    earlier = repository.read_unit_document(first.finish(()))
    second = writer_of(repository, LATER, stored_limit=2000)
    layer = Layer(chunk=second.adopt(old, earlier))
    part = TablePart(
        table_oid=1, pages_per_extent=8, extents=(Extent(page=0, live=1, digest="1", layers=(layer,)),)
    )
    document = repository.read_unit_document(second.finish((part,)))
    assert 5001 == len(payload(document.parts[0].extents[0].layers[0].chunk, document, repository))
