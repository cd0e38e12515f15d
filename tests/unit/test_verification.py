"""Verification of a backup in memory: what is damaged, missing, or does not fit together is found and named."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from strongroom.deadline import Deadline
from strongroom.errors import DeadlineExceeded, StoreUnavailable
from strongroom.format.documents import (
    Collection,
    CollectionRef,
    Extent,
    Layer,
    Manifest,
    ObjectRef,
    PackRef,
    PartRef,
    RowMapSlot,
    TableEntry,
    TablePart,
    UnitDocument,
)
from strongroom.format.liveness import encode_dead
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter
from strongroom.stores.faulty import Fault, FaultKind, FaultyStore
from strongroom.stores.memory import MemoryStore
from strongroom.verification.verification import Verification
from tests.documents import BACKUP, manifest, memory_repository, table, tuple_ids

TRADES, ROBOTS = table(16400, "trades"), table(16500, "robots")


@dataclass
class Backup:
    """A backup in memory, its parts within reach."""

    store: MemoryStore
    repository: Repository
    manifest: Manifest
    document: UnitDocument

    def verify(self, manifest: Manifest | None = None, *, content: bool = True) -> Verification:
        """Verify the backup, or another manifest in its place."""
        work = Verification(self.repository, manifest or self.manifest, Deadline.never(), lambda *_: None)
        work.check_structure()
        if content:
            work.check_content()
        return work

    def with_document(self, document: UnitDocument) -> Manifest:
        """Store another unit document and return the manifest that names it instead."""
        return replace(self.manifest, documents=(self.repository.put_unit_document(document, os.urandom),))


def backup_of(store: MemoryStore) -> Backup:
    """Make a backup of two tables and a collection: three extents, five chunks, a few dead rows."""
    repository = memory_repository(store)
    writer = UnitWriter(repository, BACKUP, 1, os.urandom)

    def layer(payload: bytes, first: int, dead: tuple[int, ...] = ()) -> Layer:
        rows = payload.count(b"\n")
        chunk = writer.add_rows(payload, tuple_ids(*range(first, first + rows)))
        return Layer(chunk=chunk, dead=encode_dead(np.array(dead, np.int64)), dead_rows=len(dead))

    parts = (
        TablePart(
            table_oid=TRADES.oid,
            pages_per_extent=8,
            extents=(
                Extent(page=0, live=3, digest="-5", layers=(layer(b"1\n2\n3\n", 1, (1,)), layer(b"4\n", 9))),
                Extent(page=8, live=1, digest="12", layers=(layer(b"5\n", 1),)),
            ),
        ),
        TablePart(
            table_oid=ROBOTS.oid,
            pages_per_extent=8,
            extents=(Extent(page=0, live=2, digest="3", layers=(layer(b"a\nb\n", 1),)),),
        ),
    )
    collection = Collection(name="schema", chunks=(writer.add_bytes(b"no rows\n"),))
    reference = writer.finish(parts, (collection,))
    document = repository.read_unit_document(reference)
    made = manifest(
        tables=(
            TableEntry(facts=TRADES, rows=4, digest="7", parts=(PartRef(document=0, part=0),)),
            TableEntry(facts=ROBOTS, rows=2, digest="3", parts=(PartRef(document=0, part=1),)),
        ),
        collections=(CollectionRef(name="schema", document=0, index=0),),
        documents=(reference,),
        packs=document.packs,
        row_maps=document.row_maps,
        data_keys=tuple(sorted({pack.data_key for pack in document.packs})),
    )
    return Backup(store, repository, made, document)


@pytest.fixture
def backup() -> Backup:
    """Make a sound backup."""
    return backup_of(MemoryStore())


def sayings(work: Verification) -> str:
    """Return all that the findings say, as one text."""
    return "\n".join(f"{f.code} {f.object}: {f.expected} / {f.observed}" for f in work.findings)


def test_a_sound_backup(backup: Backup) -> None:
    """Nothing is found, and everything was looked at: objects, chunks and rows."""
    work = backup.verify()
    assert [] == work.findings
    # One manifest, document, row map, pack and key; five chunks.
    assert (5, 5 + 5) == (work.objects_named, work.objects_checked)
    assert 7 == work.rows_checked


def test_structure_needs_no_recovery_key(backup: Backup) -> None:
    """Whoever cannot read rows can still tell that a backup is whole."""
    worker = dataclasses.replace(backup.repository.keyring, recovery_private=None)
    backup.repository = Repository.open(backup.store, worker)
    assert [] == backup.verify(content=False).findings
    # Without the key no chunk opens, which is a finding each, and never a pass.
    assert {"SR-0501"} == {finding.code for finding in backup.verify().findings}


# --------------------------------------------------------------------- what is stored


def objects(backup: Backup) -> dict[str, str]:
    """Return the names of the objects that a manifest reaches, by their room."""
    names = [f"keys/{backup.manifest.data_keys[0]}"]
    names += [
        backup.manifest.documents[0].name,
        backup.manifest.packs[0].name,
        backup.manifest.row_maps[0].name,
    ]
    return {name.partition("/")[0]: name for name in names}


@pytest.mark.parametrize("room", ["keys", "tables", "packs", "rowmaps"])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-1], id="cut"),
        pytest.param(lambda data: data + b"\0", id="longer"),
        pytest.param(lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], id="flipped"),
        pytest.param(lambda _: b"", id="emptied"),
        pytest.param(None, id="gone"),
    ],
)
def test_every_object_that_was_changed_is_named(
    backup: Backup, room: str, change: Callable[[bytes], bytes] | None
) -> None:
    """Structure finds it, as critical, with advice; and verification goes on to the other objects."""
    name = objects(backup)[room]
    if change is None:
        backup.store.delete(name)
    else:
        backup.store.tamper(name, change)
    work = backup.verify(content=False)
    assert [name] == [finding.object for finding in work.findings]
    assert ("critical", True) == (work.findings[0].severity, bool(work.findings[0].advice))
    assert work.objects_named - 1 == work.objects_checked


def test_a_document_that_does_not_open_leaves_no_hole(backup: Backup) -> None:
    """Its chunks cannot be checked; that is one finding, not none and not two."""
    backup.store.tamper(objects(backup)["tables"], lambda data: data[::-1])
    work = backup.verify()
    assert (1, 0) == (len(work.findings), work.rows_checked)


def test_a_store_that_is_out_of_reach_is_no_damage(backup: Backup) -> None:
    """What may pass is raised, so that it can be tried again, and is not reported as damage."""
    faulty = FaultyStore(backup.store, [Fault("get", 3, FaultKind.ERROR_BEFORE)])
    backup.repository = Repository(faulty, backup.repository.keyring, backup.repository.info)
    with pytest.raises(StoreUnavailable):
        backup.verify()
    faulty.assert_all_hit()


def test_a_deadline_ends_it(backup: Backup) -> None:
    """Verification looks at its deadline before each object."""
    work = Verification(
        backup.repository, backup.manifest, Deadline(0.0, "verification.timeout", 1.0), lambda *_: None
    )
    with pytest.raises(DeadlineExceeded):
        work.check_structure()


# ------------------------------------------------------------- what the manifest says


def with_entry(**changes: Any) -> Callable[[Backup], Manifest]:
    """Change what the manifest says of the first table."""

    def change(backup: Backup) -> Manifest:
        first, *others = backup.manifest.tables
        return replace(backup.manifest, tables=(replace(first, **changes), *others))

    return change


def with_pack(**changes: Any) -> Callable[[Backup], Manifest]:
    """Change what the manifest says of its pack."""
    return lambda b: replace(b.manifest, packs=(replace(b.manifest.packs[0], **changes),))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(with_entry(rows=5), "5 rows, digest 7 / 4 rows", id="rows"),
        pytest.param(with_entry(digest="8"), "digest 8 / 4 rows, digest 7", id="digest"),
        pytest.param(with_entry(parts=()), "0 rows", id="a table without its part"),
        pytest.param(
            with_entry(parts=(PartRef(document=0, part=2),)), "not there", id="a part beyond the end"
        ),
        pytest.param(with_entry(parts=(PartRef(document=0, part=-1),)), "not there", id="a negative part"),
        pytest.param(with_entry(parts=(PartRef(document=1, part=0),)), "not there", id="a document too many"),
        pytest.param(
            with_entry(parts=(PartRef(document=0, part=1),)), "a part of 16500", id="another table's"
        ),
        pytest.param(with_entry(parts=(PartRef(document=0, part=0),) * 2), "it is in 2", id="a part twice"),
        pytest.param(with_entry(facts=replace(TRADES, oid=7)), "parts of table 7", id="another table"),
        pytest.param(
            lambda b: replace(b.manifest, tables=b.manifest.tables[:1]), "it is in 0", id="a table too few"
        ),
        pytest.param(lambda b: replace(b.manifest, packs=()), "manifest names / packs/", id="no packs"),
        pytest.param(
            lambda b: replace(b.manifest, row_maps=()), "manifest names / rowmaps/", id="no row maps"
        ),
        pytest.param(
            lambda b: replace(b.manifest, data_keys=()), "a data key that the manifest names", id="no keys"
        ),
        pytest.param(with_pack(size=1), "1 bytes / ", id="a pack's size"),
        pytest.param(with_pack(size=1), "something else", id="a pack's size, as documents say it"),
        pytest.param(with_pack(data_key="another"), "another / ", id="a pack's key"),
        pytest.param(
            lambda b: replace(b.manifest, data_keys=("another", *b.manifest.data_keys)), "SR-0706", id="a key"
        ),
        pytest.param(
            lambda b: replace(b.manifest, collections=(CollectionRef(name="facts", document=0, index=0),)),
            "facts: a collection",
            id="a collection's name",
        ),
        pytest.param(
            lambda b: replace(b.manifest, collections=(CollectionRef(name="schema", document=0, index=1),)),
            "schema: a collection",
            id="a collection's index",
        ),
        pytest.param(
            lambda b: replace(b.manifest, collections=(CollectionRef(name="schema", document=3, index=0),)),
            "schema: a collection",
            id="a collection's document",
        ),
    ],
)
def test_a_manifest_that_says_something_else(
    backup: Backup, change: Callable[[Backup], Manifest], told: str
) -> None:
    """Whatever the manifest says that its objects do not bear out is found without the recovery key."""
    assert told in sayings(backup.verify(change(backup), content=False))


# -------------------------------------------------------------- what a document says


def with_extent(**changes: Any) -> Callable[[UnitDocument], UnitDocument]:
    """Change the first extent of the first table."""

    def change(document: UnitDocument) -> UnitDocument:
        part, *others = document.parts
        extents = (replace(part.extents[0], **changes), *part.extents[1:])
        return replace(document, parts=(replace(part, extents=extents), *others))

    return change


def with_layer(**changes: Any) -> Callable[[UnitDocument], UnitDocument]:
    """Change the first layer of the first extent."""

    def change(document: UnitDocument) -> UnitDocument:
        layers = document.parts[0].extents[0].layers
        return with_extent(layers=(replace(layers[0], **changes), *layers[1:]))(document)

    return change


def with_chunk(**changes: Any) -> Callable[[UnitDocument], UnitDocument]:
    """Change the first chunk of the first extent."""

    def change(document: UnitDocument) -> UnitDocument:
        chunk = document.parts[0].extents[0].layers[0].chunk
        return with_layer(chunk=replace(chunk, **changes))(document)

    return change


def with_part(**changes: Any) -> Callable[[UnitDocument], UnitDocument]:
    """Change the first part."""
    return lambda document: replace(
        document, parts=(replace(document.parts[0], **changes), *document.parts[1:])
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(with_extent(live=4), "4 living rows / 3", id="living rows of an extent"),
        pytest.param(with_extent(live=4), "4 rows, digest 7 / 5 rows", id="living rows of the table"),
        pytest.param(with_extent(digest="-4"), "digest 7 / 4 rows, digest 8", id="digest of an extent"),
        pytest.param(with_extent(digest="x"), "no number", id="a digest that is none"),
        pytest.param(with_extent(page=16), "in page order", id="a page"),
        pytest.param(with_extent(layers=()), "3 living rows / 0", id="no layers"),
        pytest.param(with_part(pages_per_extent=16), "in page order", id="the width of extents"),
        pytest.param(with_part(table_oid=7), "a part of 7", id="the table of a part"),
        pytest.param(with_layer(dead=b""), "1 dead rows / 0", id="dead rows"),
        pytest.param(with_layer(dead_rows=2), "2 dead rows / 1", id="the number of dead rows"),
        pytest.param(with_layer(dead=b"\x03"), "outside the chunk", id="dead rows outside"),
        pytest.param(with_layer(dead=b"\x80"), "cut off", id="dead rows cut off"),
        pytest.param(with_chunk(rows=4), "4 rows for chunk 0 / 3 tuple ids", id="rows of a chunk"),
        pytest.param(with_chunk(row_map=None), "a row map for chunk 0 / none", id="no row map"),
        pytest.param(
            with_chunk(row_map=RowMapSlot(object=0, slot=1)),
            "3 rows for chunk 0 / 1 tuple",
            id="another slot",
        ),
        pytest.param(with_chunk(row_map=RowMapSlot(object=0, slot=9)), "chunk 0 / none", id="no such slot"),
        pytest.param(with_chunk(row_map=RowMapSlot(object=9, slot=0)), "chunk 0 / none", id="no such object"),
        pytest.param(with_chunk(pack=1), "one of 1 packs / pack 1", id="no such pack"),
        pytest.param(with_chunk(pack=-1), "one of 1 packs / pack -1", id="a negative pack"),
        pytest.param(with_chunk(offset=1 << 30), "within its pack", id="beyond its pack"),
        pytest.param(with_chunk(stored=-1), "within its pack", id="a negative length"),
        pytest.param(
            lambda d: replace(d, packs=(*d.packs, PackRef(name="packs/x", size=1, sha256="", data_key=""))),
            "objects that the manifest names / packs/x",
            id="a pack of its own",
        ),
        pytest.param(
            lambda d: replace(d, row_maps=(*d.row_maps, ObjectRef(name="rowmaps/x", size=1, sha256=""))),
            "objects that the manifest names / rowmaps/x",
            id="a row map of its own",
        ),
        pytest.param(
            lambda d: replace(d, packs=(replace(d.packs[0], size=1 << 20),)),
            "something else",
            id="a pack's size",
        ),
        pytest.param(lambda d: replace(d, parts=d.parts[:1]), "robots: its parts", id="a part too few"),
        pytest.param(lambda d: replace(d, parts=(*d.parts, d.parts[0])), "it is in 0", id="a part too many"),
        pytest.param(lambda d: replace(d, collections=()), "schema: a collection", id="a collection too few"),
    ],
)
def test_a_document_that_says_something_else(
    backup: Backup, change: Callable[[UnitDocument], UnitDocument], told: str
) -> None:
    """Whatever a unit document says that does not fit is a finding, at both levels, and never a crash."""
    changed = backup.with_document(change(backup.document))
    assert told in sayings(backup.verify(changed, content=False))
    assert told in sayings(backup.verify(changed))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(with_chunk(raw=7), "form or length", id="bytes"),
        pytest.param(with_chunk(encoding="bytes"), "form or length", id="encoding"),
        pytest.param(with_chunk(index=1), "SR-0404", id="another chunk's index"),
        pytest.param(with_chunk(offset=120), "SR-0404", id="another place"),
        pytest.param(with_chunk(rows=4), "4 / 3", id="rows"),
    ],
)
def test_what_only_the_recovery_key_tells(
    backup: Backup, change: Callable[[UnitDocument], UnitDocument], told: str
) -> None:
    """Every chunk is opened and compared with what its document says of it."""
    work = backup.verify(backup.with_document(change(backup.document)))
    named = [f for f in work.findings if f.object.startswith("packs/") and "chunk" in f.object]
    assert 1 == len(named)
    assert told in sayings(work)


def test_two_documents_that_disagree_about_a_chunk(backup: Backup) -> None:
    """A chunk that several documents name is opened for each thing that is said of it, not only for the first."""
    wrong = with_chunk(rows=9)(backup.document)
    other = backup.repository.put_unit_document(replace(wrong, unit=2), os.urandom)
    both = replace(backup.manifest, documents=(*backup.manifest.documents, other))
    assert "chunk 0: 9 / 3" in sayings(backup.verify(both))


def test_a_chunk_that_many_documents_name_is_opened_once(backup: Backup) -> None:
    """Reuse makes documents name the same chunks; nothing is opened twice for it."""
    other = backup.repository.put_unit_document(replace(backup.document, unit=2), os.urandom)
    both = replace(backup.manifest, documents=(*backup.manifest.documents, other))
    work = backup.verify(both)
    assert 7 == work.rows_checked


def test_half_a_row(backup: Backup) -> None:
    """Rows that are followed by a part of another one are found, although their number is right."""
    writer = UnitWriter(backup.repository, BACKUP, 2, os.urandom)
    chunk = writer.add_rows(b"1\n2\n3", tuple_ids(1, 2))
    extent = Extent(page=0, live=2, digest="0", layers=(Layer(chunk=chunk),))
    part = TablePart(table_oid=TRADES.oid, pages_per_extent=8, extents=(extent,))
    reference = writer.finish((part,))
    document = backup.repository.read_unit_document(reference)
    entry = TableEntry(facts=TRADES, rows=2, digest="0", parts=(PartRef(document=0, part=0),))
    made = manifest(
        tables=(entry,),
        documents=(reference,),
        packs=document.packs,
        row_maps=document.row_maps,
        data_keys=(document.packs[0].data_key,),
    )
    assert [] == backup.verify(made, content=False).findings
    assert "whole rows / half a row" in sayings(backup.verify(made))
