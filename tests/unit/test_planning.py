"""How tables are cut into extents, and extents into units of capture."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.deadline import Deadline
from strongroom.format.documents import PlannedTable, TableFacts
from strongroom.postgres import planning
from strongroom.postgres.connection import Connection
from strongroom.postgres.extents import Bounds, bounds_of, choose_pages, count_extents
from strongroom.postgres.planning import MOST_UNITS, UNIT_BYTES, plan_table, plan_units
from tests.documents import column, table

PAGE = 8192


def cut(oid: int, pages: int, toast: int = 0) -> PlannedTable:
    """Plan a table of some pages and some bytes of TOAST."""
    return plan_table(table(oid, size=pages * PAGE + toast), pages, None, from_scratch=True)


TABLES = st.lists(
    st.tuples(st.one_of(st.integers(0, 200), st.integers(0, 1 << 22)), st.integers(0, 1 << 34)), max_size=20
).map(lambda drawn: [cut(n, pages, toast) for n, (pages, toast) in enumerate(drawn)])


@settings(deadline=None, max_examples=60)
@given(TABLES)
def test_every_extent_is_in_exactly_one_slice(tables: list[PlannedTable]) -> None:
    """No extent of any table is left out or read twice."""
    covered = Counter(
        (piece.table, number)
        for unit in plan_units(tables)
        for piece in unit.slices
        for number in range(piece.first_extent, piece.first_extent + piece.extents)
    )
    expected = Counter((index, n) for index, entry in enumerate(tables) for n in range(entry.extents))
    assert expected == covered


@settings(deadline=None, max_examples=60)
@given(TABLES)
def test_units(tables: list[PlannedTable]) -> None:
    """Units are numbered from 1, none is empty, and there are at most about twice as many as wanted.

    Twice, because two neighbours may both be just too large to share a unit.
    """
    units = plan_units(tables)
    assert list(range(1, len(units) + 1)) == [unit.number for unit in units]
    assert all(piece.extents > 0 for unit in units for piece in unit.slices)
    assert all(unit.slices for unit in units)
    assert len(units) <= 2 * MOST_UNITS + 2


@settings(deadline=None, max_examples=60)
@given(TABLES)
def test_a_unit_holds_about_what_is_wanted(tables: list[PlannedTable]) -> None:
    """A unit is larger than the target only by the one extent that is itself larger."""
    total = sum(entry.facts.size for entry in tables) + len(tables) * (64 << 10)
    target = max(UNIT_BYTES, -(-total // MOST_UNITS))
    for unit in plan_units(tables):
        if len(unit.slices) > 1 or unit.slices[0].extents > 1:
            assert unit.estimated_bytes <= target + (64 << 10)


def test_twenty_thousand_small_tables() -> None:
    """Even what holds next to nothing costs something, so that such a database is many units, not one."""
    units = plan_units([cut(n, 1) for n in range(20_000)])
    assert 4 <= len(units) <= 10


def test_a_table_of_terabytes() -> None:
    """One huge table is cut into units of equal size, which many processes read at once."""
    units = plan_units([cut(1, 1 << 28)])
    sizes = {unit.estimated_bytes for unit in units[:-1]}
    assert (1, True) == (len(sizes), MOST_UNITS <= len(units) <= MOST_UNITS + 1)


def test_nothing_to_read() -> None:
    """A table without pages has no extents, and no table no units."""
    assert (0, (), ()) == (cut(1, 0).extents, plan_units([cut(1, 0)]), plan_units([]))


# ------------------------------------------------------------------------------- extents


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 32), st.integers(0, 1 << 45))
def test_widths(pages: int, toast: int) -> None:
    """An extent has at least one page and at most 32768: two rows of one are less than 2^32 tuple ids apart."""
    assert 1 <= choose_pages(pages, pages * PAGE + toast) <= 32768


def test_an_extent_is_about_eight_megabytes() -> None:
    """Of a plain table 1024 pages; of one that is mostly TOAST fewer; of an empty one as of a plain one."""
    assert [1024, 102, 1024] == [
        choose_pages(10_000, 10_000 * PAGE),
        choose_pages(10_000, 100_000 * PAGE),
        choose_pages(0, 0),
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5000), st.integers(1, 2000))
def test_bounds_meet(pages: int, width: int) -> None:
    """Extents follow each other without gaps, and the last one is open."""
    extents = -(-pages // width)
    bounds = [bounds_of(number, width, extents) for number in range(extents)]
    assert [0, *(b.end for b in bounds[:-1])] == [b.first for b in bounds]
    assert bounds[-1].end is None
    assert bounds[-1].first < pages


# ---------------------------------------------------------------------------- the parent

FACTS = table(size=100 * PAGE)


@pytest.mark.parametrize(
    ("before", "width", "from_scratch", "expected"),
    [
        pytest.param(FACTS, 7, False, (7, 15, ""), id="kept"),
        pytest.param(msgspec.structs.replace(FACTS, size=1), 7, False, (7, 15, ""), id="kept though it grew"),
        pytest.param(FACTS, 0, False, (1024, 1, ""), id="the parent's was empty"),
        pytest.param(FACTS, 7, True, (1024, 1, ""), id="a full starts anew"),
        pytest.param(
            msgspec.structs.replace(FACTS, file_node=1), 7, False, (1024, 1, "rewritten"), id="rewritten"
        ),
        pytest.param(None, 7, False, (1024, 1, "does not have it"), id="new"),
    ],
)
def test_widths_are_kept(
    before: TableFacts | None, width: int, from_scratch: bool, expected: tuple[int, int, str]
) -> None:
    """Extents keep their width as long as the table's rows can be compared, and only as long."""
    earlier = (before, width) if before else None
    made = plan_table(FACTS, 100, earlier, from_scratch=from_scratch)
    assert expected[:2] == (made.pages_per_extent, made.extents)
    assert (bool(expected[2]), True) == (bool(made.scratch_reason), expected[2] in made.scratch_reason)


# ------------------------------------------------------------------------------ statements


class Recorder:
    """Stands for a connection: keeps the statement with its arguments filled in."""

    def __init__(self) -> None:
        self.asked = ""

    def execute(self, query: str, arguments: list[list[str]]) -> "Recorder":
        """Fill in the arguments like the driver does: `%s` is a place, `%%` a percent sign."""
        self.asked = query % tuple(arguments)
        return self

    def fetchall(self) -> list[tuple[list[int]]]:
        """Return the count of one extent."""
        return [([3, 4],)]


def test_a_percent_sign_in_a_name() -> None:
    """Tables may be called anything: a percent sign of a name is no place for an argument."""
    recorder = Recorder()
    connection: Connection = recorder  # type: ignore[assignment]
    odd = table(name='100% "sure" %s', columns=(column("a"),))
    found = count_extents(connection, odd, [Bounds(0, None)], 77, Deadline.never())
    assert [(3, 4)] == [(count.old, count.new) for count in found]
    assert '"public"."100% ""sure"" %s" AS t' in recorder.asked


def test_planning_is_told_its_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least unit is one named value, which tests make small."""
    monkeypatch.setattr(planning, "UNIT_BYTES", 1 << 20)
    assert len(plan_units([cut(n, 100) for n in range(10)])) == 10
