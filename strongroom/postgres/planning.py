"""How the tables of a snapshot are cut into extents and units. Pure: sizes and page counts are arguments."""

from collections.abc import Sequence

from strongroom.catalog.comparison import scratch_reason
from strongroom.format.documents import PlannedTable, PlannedUnit, TableFacts, TableSlice
from strongroom.postgres.extents import choose_pages

UNIT_BYTES = 256 << 20
"""The least table, in bytes, that makes a unit of its own."""

MOST_UNITS = 200
"""Above this many units they grow instead: a flow has a few hundred tasks at most."""

_TABLE_OVERHEAD = 64 << 10
"""What even an empty table costs, as bytes: two statements."""


def plan_table(
    table: TableFacts, pages: int, earlier: tuple[TableFacts, int] | None, *, from_scratch: bool
) -> PlannedTable:
    """Cut one table; `earlier` is what the parent says of it and its pages per extent.

    Extents keep their width as long as the table keeps its storage, or nothing could be compared.
    """
    reason = "" if from_scratch else scratch_reason(earlier[0] if earlier else None, table)
    if from_scratch or reason or earlier is None:
        width = choose_pages(pages, table.size)
    else:
        width = earlier[1] or choose_pages(pages, table.size)
    return PlannedTable(
        facts=table, pages_per_extent=width, extents=-(-pages // width), scratch_reason=reason
    )


def plan_units(tables: Sequence[PlannedTable]) -> tuple[PlannedUnit, ...]:
    """Gather tables into units, large tables into several, in the order of the tables. Numbers start at 1."""
    total = sum(_cost(table) for table in tables)
    target = max(UNIT_BYTES, -(-total // MOST_UNITS))
    units: list[PlannedUnit] = []
    slices: list[TableSlice] = []
    held = 0

    def close() -> None:
        nonlocal slices, held
        if slices:
            units.append(PlannedUnit(number=len(units) + 1, slices=tuple(slices), estimated_bytes=held))
        slices, held = [], 0

    for index, table in enumerate(tables):
        for first, count, cost in _slices(table, target):
            if held and held + cost > target:
                close()
            slices.append(TableSlice(table=index, first_extent=first, extents=count))
            held += cost
    close()
    return tuple(units)


def _cost(table: PlannedTable) -> int:
    return table.facts.size + _TABLE_OVERHEAD


def _slices(table: PlannedTable, target: int) -> list[tuple[int, int, int]]:
    """Return (first extent, extents, bytes) for the slices of a table, each at most about `target` bytes."""
    if table.extents == 0:
        return []
    each = max(1, table.facts.size // table.extents)
    most = max(1, target // each)
    return [
        (first, min(most, table.extents - first), min(most, table.extents - first) * each + _TABLE_OVERHEAD)
        for first in range(0, table.extents, most)
    ]
