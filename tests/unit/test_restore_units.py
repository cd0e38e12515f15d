"""How the rows of a backup are cut into units of restore."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.format.documents import (
    FORMAT,
    Chunk,
    Extent,
    Layer,
    Manifest,
    PartRef,
    TableEntry,
    TablePart,
    UnitDocument,
)
from strongroom.recovery import units
from strongroom.recovery.units import MOST_UNITS, plan_restore_units
from tests.documents import BACKUP, manifest, table

# Tables, of parts, of extents, of layers' bytes of COPY text.
Sizes = list[list[list[list[int]]]]
LAYERS = st.lists(st.integers(1, 500_000), max_size=3)
SIZES = st.lists(st.lists(st.lists(LAYERS, max_size=12), max_size=3), max_size=6)


def backup_of(sizes: Sizes, *, one_document: bool = False) -> tuple[Manifest, list[UnitDocument]]:
    """Make a backup whose layers have these sizes: a document a table, or one for all."""
    parts = [
        [
            TablePart(
                table_oid=oid,
                pages_per_extent=8,
                extents=tuple(
                    Extent(page=0, live=len(layers), digest="0", layers=tuple(map(layer_of, layers)))
                    for layers in extents
                ),
            )
            for extents in table_sizes
        ]
        for oid, table_sizes in enumerate(sizes)
    ]
    held = [[part for of_table in parts for part in of_table]] if one_document else parts
    documents = [
        UnitDocument(format=FORMAT, backup=BACKUP, unit=n, packs=(), parts=tuple(of_document))
        for n, of_document in enumerate(held)
    ]
    entries: list[TableEntry] = []
    before = 0
    for oid, of_table in enumerate(parts):
        first = before if one_document else 0
        references = tuple(
            PartRef(document=0 if one_document else oid, part=first + n) for n in range(len(of_table))
        )
        entries.append(TableEntry(facts=table(oid), rows=0, digest="0", parts=references))
        before += len(of_table)
    return manifest(tables=tuple(entries)), documents


def layer_of(raw: int) -> Layer:
    """Make a layer of some bytes of COPY text."""
    return Layer(chunk=Chunk(pack=0, index=0, offset=0, stored=0, raw=raw, rows=1))


@pytest.fixture(scope="module", autouse=True)
def small_units() -> Iterator[None]:
    """Let a megabyte make a unit of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "UNIT_RAW_BYTES", 1_000_000)
        patch.setattr(units, "_TABLE_OVERHEAD", 1000)
        yield


@settings(deadline=None, max_examples=60)
@given(SIZES, st.booleans())
def test_each_extent_with_rows_is_restored_once(sizes: Sizes, one_document: bool) -> None:
    """No extent that holds rows is left out, and none is copied twice; those without rows do not matter."""
    made, documents = backup_of(sizes, one_document=one_document)
    copied = Counter(
        (piece.table, piece.part, number)
        for unit in plan_restore_units(made, documents)
        for piece in unit.slices
        for number in range(piece.first_extent, piece.first_extent + piece.extents)
    )
    every = {
        (t, p, e): layers
        for t, parts in enumerate(sizes)
        for p, extents in enumerate(parts)
        for e, layers in enumerate(extents)
    }
    assert set(copied.values()) <= {1}
    assert set(copied) <= set(every)
    assert {place for place, layers in every.items() if layers} <= set(copied)


@settings(deadline=None, max_examples=60)
@given(SIZES)
def test_the_size_of_units(sizes: Sizes) -> None:
    """A unit is over its target by no more than an extent, and says how large it is."""
    made, documents = backup_of(sizes)
    largest = max((sum(layers) for t in sizes for extents in t for layers in extents), default=0)
    planned = plan_restore_units(made, documents)
    assert list(range(1, len(planned) + 1)) == [unit.number for unit in planned]
    for unit in planned:
        assert sum(piece.raw for piece in unit.slices) == unit.raw
        assert unit.raw <= max(1_000_000, largest) + 1000


@settings(deadline=None, max_examples=20)
@given(SIZES)
def test_every_process_plans_the_same(sizes: Sizes) -> None:
    """Units are named by numbers between processes, so that the same manifest must give the same units."""
    assert plan_restore_units(*backup_of(sizes)) == plan_restore_units(*backup_of(sizes))


def test_a_large_backup_is_not_thousands_of_units() -> None:
    """Units grow with the backup: there are about two hundred at most, and twice as many if tables fit badly."""
    made, documents = backup_of([[[[400_000_000]] * 1000]])
    assert MOST_UNITS <= len(plan_restore_units(made, documents)) <= MOST_UNITS + 1
    made, documents = backup_of([[[[1_100_000_000]]] for _ in range(400)])
    assert len(plan_restore_units(made, documents)) <= 2 * MOST_UNITS


def test_a_backup_without_rows() -> None:
    """Nothing to copy is no units."""
    assert () == plan_restore_units(*backup_of([[], [[]], [[[], []]]]))
