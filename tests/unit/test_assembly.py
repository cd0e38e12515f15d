"""From unit documents to a manifest: every planned extent exactly once, or no backup."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import CaptureIncomplete
from strongroom.format.documents import (
    FORMAT,
    CaptureTotals,
    Collection,
    CollectionRef,
    Extent,
    Finding,
    Manifest,
    ObjectRef,
    PackRef,
    PartRef,
    TablePart,
    UnitDocument,
)
from strongroom.repository.assembly import assemble_manifest, sum_totals
from tests.documents import BACKUP, NOON, plan, planned, table

WIDTH = 8
TRADES, ROBOTS = table(16400, "trades"), table(16500, "robots")


def part(first: int, extents: int, oid: int = 16400, width: int = WIDTH) -> TablePart:
    """Make a part of consecutive extents; each has as many rows as its number plus one."""
    return TablePart(
        table_oid=oid,
        pages_per_extent=width,
        extents=tuple(
            Extent(page=n * width, live=n + 1, digest=str(10**19 * (-1) ** n + n))
            for n in range(first, first + extents)
        ),
    )


def unit(
    number: int,
    *parts: TablePart,
    packs: Sequence[str] = (),
    row_maps: Sequence[str] = (),
    collections: Sequence[str] = (),
) -> tuple[ObjectRef, UnitDocument]:
    """Make a unit document; the data key of a pack is the pack's first letter."""
    document = UnitDocument(
        format=FORMAT,
        backup=BACKUP,
        unit=number,
        packs=tuple(PackRef(name=name, size=1, sha256=name, data_key=name[0]) for name in packs),
        row_maps=tuple(ObjectRef(name=name, size=1, sha256=name) for name in row_maps),
        parts=parts,
        collections=tuple(Collection(name=name, chunks=()) for name in collections),
    )
    return ObjectRef(name=f"unit-{number}", size=1, sha256="00"), document


def assembled(
    *documents: tuple[ObjectRef, UnitDocument], extents: int = 4, findings: tuple[Finding, ...] = ()
) -> Manifest:
    """Assemble a plan of one table with some extents, and an empty one."""
    made = plan(planned(TRADES, extents, WIDTH), planned(ROBOTS, 0, WIDTH), parent="p", base="b")
    return assemble_manifest(made, documents, CaptureTotals(tables=2), findings, NOON)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_parts_in_any_order(data: st.DataObject) -> None:
    """However a table was cut into parts, and whichever unit came first, its extents are joined in page order."""
    extents = data.draw(st.integers(1, 30))
    cuts = sorted(data.draw(st.sets(st.integers(1, 30).filter(lambda cut: cut < extents))))
    pieces = [part(a, b - a) for a, b in zip([0, *cuts], [*cuts, extents], strict=True)]
    documents = [unit(n, piece) for n, piece in enumerate(data.draw(st.permutations(pieces)))]
    entry = assembled(*documents, extents=extents).tables[0]
    joined = [extent for ref in entry.parts for extent in documents[ref.document][1].parts[ref.part].extents]
    assert [n * WIDTH for n in range(extents)] == [extent.page for extent in joined]
    assert (sum(range(1, extents + 1)), str(sum(int(extent.digest) for extent in joined))) == (
        entry.rows,
        entry.digest,
    )


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([part(0, 3)], id="the last is missing"),
        pytest.param([part(1, 3)], id="the first is missing"),
        pytest.param([part(0, 1), part(2, 2)], id="one between is missing"),
        pytest.param([], id="all are missing"),
        pytest.param([part(0, 4), part(0, 4)], id="the whole twice"),
        pytest.param([part(0, 4), part(1, 1)], id="one twice"),
        pytest.param([part(0, 3), part(2, 2)], id="an overlap"),
        pytest.param([part(0, 2), part(1, 2)], id="an overlap, and one missing: the number is right"),
        pytest.param([part(0, 5)], id="one too many"),
        pytest.param([part(0, 4, oid=99)], id="another table's"),
        pytest.param([part(0, 4, width=16)], id="wider ones"),
        pytest.param([part(0, 8, width=4)], id="narrower ones"),
    ],
)
def test_no_backup_without_every_extent_once(parts: list[TablePart]) -> None:
    """An extent that is missing, doubled, or of another width ends the backup, which names the table."""
    with pytest.raises(CaptureIncomplete, match=r"public\.trades"):
        assembled(*(unit(n, piece) for n, piece in enumerate(parts)))


def test_one_extent_of_another_width() -> None:
    """The width counts even where the pages alone would not tell: the next backup compares by it."""
    with pytest.raises(CaptureIncomplete):
        assembled(unit(1, part(0, 1, width=16)), extents=1)


def test_an_unplanned_extent_of_an_empty_table() -> None:
    """A table that was planned without extents has none."""
    with pytest.raises(CaptureIncomplete, match=r"public\.robots"):
        assembled(unit(1, part(0, 4), part(0, 1, oid=16500)))


def test_an_empty_table() -> None:
    """A table without extents is in the manifest all the same, with no rows and digest 0."""
    entry = assembled(unit(1, part(0, 4))).tables[1]
    assert (ROBOTS, 0, "0", ()) == (entry.facts, entry.rows, entry.digest, entry.parts)


def test_what_the_manifest_reaches() -> None:
    """It names every pack, row map, data key and document once, wherever they are used, and collections' places."""
    made = assembled(
        unit(1, part(0, 2), packs=["b1", "a1"], row_maps=["m2", "m1"], collections=["schema", "facts"]),
        unit(2, part(2, 2), packs=["a1", "a2"], row_maps=["m1"], collections=["large-objects"]),
    )
    assert ["a1", "a2", "b1"] == [pack.name for pack in made.packs]
    assert ["m1", "m2"] == [row_map.name for row_map in made.row_maps]
    assert ("a", "b") == made.data_keys
    assert ["unit-1", "unit-2"] == [document.name for document in made.documents]
    assert made.collections == (
        CollectionRef(name="schema", document=0, index=0),
        CollectionRef(name="facts", document=0, index=1),
        CollectionRef(name="large-objects", document=1, index=0),
    )
    assert (PartRef(document=0, part=0), PartRef(document=1, part=0)) == made.tables[0].parts


def test_what_the_plan_says_is_kept() -> None:
    """Identity, parentage and findings go over into the manifest."""
    finding = Finding(severity="info", code="something", object="public.trades")
    made = assembled(unit(1, part(0, 4)), findings=(finding,))
    assert (BACKUP, "full", "p", "b", NOON, (finding,)) == (
        made.id,
        made.kind,
        made.parent,
        made.base,
        made.finished_at,
        made.findings,
    )


def test_totals() -> None:
    """What units cost is added up, but for the wall time, which they share."""
    one = CaptureTotals(rows=1, rows_read=2, extents=3, extents_reused=4, bytes_scanned=5, cpu_seconds=0.1)
    other = CaptureTotals(
        bytes_moved=6, bytes_raw=7, bytes_stored=8, packs=9, cpu_seconds=0.2, wall_seconds=5
    )
    expected = CaptureTotals(
        tables=11,
        rows=2,
        rows_read=4,
        extents=6,
        extents_reused=8,
        bytes_scanned=10,
        bytes_moved=6,
        bytes_raw=7,
        bytes_stored=8,
        packs=9,
        cpu_seconds=0.4,
        wall_seconds=1.235,
    )
    assert expected == sum_totals(iter([one, one, other]), tables=11, wall_seconds=1.23456)
