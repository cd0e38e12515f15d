"""Copying rows into a destination whose table has other columns: which are sent, which are told of."""

from collections.abc import Sequence
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import DestinationLacksTable
from strongroom.format.documents import Column
from strongroom.postgres.connection import Connection
from strongroom.postgres.copy_in import TableFiller
from tests.documents import column, table


class Destination:
    """Stands for a connection to a database that has one table; keeps what is copied in."""

    def __init__(self, columns: Sequence[str] | None) -> None:
        self._columns = columns
        self._answer: list[tuple[str, ...]] = []
        self.statement = ""
        self.received = b""
        self.rowcount = 0

    def execute(self, query: str, arguments: list[str]) -> "Destination":
        """Answer what is asked of the catalog."""
        assert ["public", "trades"] == arguments
        if "attname" in query:
            self._answer = [(name,) for name in self._columns or ()]
        else:
            self._answer = [] if self._columns is None else [()]
        return self

    def fetchall(self) -> list[tuple[str, ...]]:
        """Return all rows."""
        return self._answer

    def fetchone(self) -> tuple[str, ...] | None:
        """Return the first row."""
        return next(iter(self._answer), None)

    def cursor(self) -> "Destination":
        """Stand for a cursor as well."""
        return self

    def copy(self, statement: str) -> "Destination":
        """Stand for a COPY as well."""
        self.statement = statement
        return self

    def write(self, data: bytes) -> None:
        """Receive a block."""
        self.received += data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def filler(destination: Destination, columns: Sequence[Column]) -> TableFiller:
    """Prepare to fill the destination's table with rows of these columns."""
    connection: Connection = destination  # type: ignore[assignment]
    return TableFiller(connection, table(columns=tuple(columns)))


def columns_of(names: Sequence[str]) -> list[Column]:
    """Describe columns."""
    return [column(name, number=number) for number, name in enumerate(names, 1)]


ROWS = b"1\tAda\tx\n2\t\\N\ty\n3\ta\\tb\tz\n"


def test_the_same_columns() -> None:
    """Rows go in as they are, under their columns' names, whatever order the destination's have."""
    destination = Destination(["c", "a", "b"])
    made = filler(destination, columns_of(["a", "b", "c"]))
    assert len(ROWS) * 2 == made.fill([ROWS, ROWS])
    assert 'COPY "public"."trades" ("a", "b", "c") FROM STDIN' == destination.statement
    assert ROWS * 2 == destination.received
    assert [] == made.findings()


@pytest.mark.parametrize(
    ("present", "listed", "received"),
    [
        (["a", "b"], '"a", "b"', b"1\tAda\n2\t\\N\n3\ta\\tb\n"),
        (["c", "a"], '"a", "c"', b"1\tx\n2\ty\n3\tz\n"),
        (["b", "c"], '"b", "c"', b"Ada\tx\n\\N\ty\na\\tb\tz\n"),
        (["b"], '"b"', b"Ada\n\\N\na\\tb\n"),
    ],
)
def test_a_column_that_only_the_backup_has(present: list[str], listed: str, received: bytes) -> None:
    """It is left out of every row, and told of; escaped tabs and nulls stay what they are."""
    destination = Destination(present)
    made = filler(destination, columns_of(["a", "b", "c"]))
    assert len(received) == made.fill([ROWS])
    assert f'COPY "public"."trades" ({listed}) FROM STDIN' == destination.statement
    assert received == destination.received
    told = [(f.severity, f.code, f.object) for f in made.findings()]
    missing = sorted({"a", "b", "c"} - set(present))
    assert [("warning", "column-left-out", f"public.trades.{name}") for name in missing] == told


def test_a_column_that_only_the_destination_has() -> None:
    """It is not named, so that it keeps its default; nothing of the backup is lost, and nothing is told."""
    destination = Destination(["a", "b", "c", "added"])
    made = filler(destination, columns_of(["a", "b", "c"]))
    made.fill([ROWS])
    assert 'COPY "public"."trades" ("a", "b", "c") FROM STDIN' == destination.statement
    assert ([], ROWS) == (made.findings(), destination.received)


def test_generated_columns() -> None:
    """They were not captured, so they are neither sent nor missing."""
    destination = Destination(["a"])
    made = filler(destination, [column("a"), column("twice", number=2, generated="s")])
    made.fill([b"1\n"])
    assert ('COPY "public"."trades" ("a") FROM STDIN', []) == (destination.statement, made.findings())


def test_a_table_without_columns() -> None:
    """Its rows are empty lines, and no columns are named."""
    destination = Destination([])
    filler(destination, []).fill([b"\n\n"])
    assert ('COPY "public"."trades" FROM STDIN', b"\n\n") == (destination.statement, destination.received)


def test_odd_names() -> None:
    """Column names are quoted."""
    destination = Destination(['a"b', "select"])
    filler(destination, columns_of(['a"b', "select"])).fill([])
    assert 'COPY "public"."trades" ("a""b", "select") FROM STDIN' == destination.statement


def test_a_table_that_is_not_there() -> None:
    """A missing table is an error that names it, before any row is read."""
    with pytest.raises(DestinationLacksTable, match=r"public\.trades"):
        filler(Destination(None), columns_of(["a"]))


VALUES = st.binary(max_size=5).map(lambda value: value.replace(b"\t", b"?").replace(b"\n", b"?"))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n))), st.data())
def test_every_row_is_sent_with_the_columns_that_remain(rows: list[list[bytes]], data: st.DataObject) -> None:
    """Whatever the values are, each row arrives, in its place, with exactly the columns that are left."""
    names = [f"c{n}" for n in range(len(rows[0]) if rows else 3)]
    present = sorted(data.draw(st.sets(st.sampled_from(names), min_size=1)))
    destination = Destination(present)
    filler(destination, columns_of(names)).fill(b"\t".join(row) + b"\n" for row in rows)
    kept = [names.index(name) for name in present]
    assert b"".join(b"\t".join(row[n] for n in kept) + b"\n" for row in rows) == destination.received
