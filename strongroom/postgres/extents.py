"""Extents: how a table is cut, and the queries that count, digest and name the rows of one.

A live tuple version is named by (relfilenode, ctid, xmin). Within one snapshot's session, `age(xmin)`
compared with the age of the parent snapshot's xmin tells new tuples from old ones, see design 4.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from strongroom.deadline import Deadline
from strongroom.format.documents import TableFacts
from strongroom.format.row_maps import NO_ROWS, TupleIds, tuple_ids_from_array
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import captured_columns, quote_identifier, row_digest

EXTENT_TARGET = 8 << 20
"""Bytes of table, TOAST included, that an extent is cut for."""

_LAST_PAGE = 4294967295
_TID_ARRAY_OID = 1010
_COUNT_BATCH = 512


class _Undecoded(Loader):
    """Hands a `tid[]` on as the bytes that came: numpy reads it, a Python object a row would be slow."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        """Return the value's bytes."""
        return bytes(data)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The heap pages [first, end) of an extent; `end` is None for the last one, which is open."""

    first: int
    end: int | None

    @property
    def condition(self) -> str:
        """The condition that a TID range scan serves."""
        end = _LAST_PAGE if self.end is None else self.end
        return f"t.ctid >= '({self.first},0)'::tid AND t.ctid < '({end},0)'::tid"


@dataclass(frozen=True, slots=True)
class ExtentCount:
    """How many live rows of an extent are older than the parent's xmin, and how many are not."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class ExtentRows:
    """Live rows of an extent: their number, their digest, and the tuple ids that were asked for."""

    live: int
    digest: str
    new: TupleIds
    old: TupleIds


def choose_pages(pages: int, table_size: int) -> int:
    """Return how many heap pages make an extent of about `EXTENT_TARGET` bytes, TOAST included."""
    if pages <= 0:
        return 1024
    return max(1, min(32768, EXTENT_TARGET * pages // max(table_size, 1)))


def bounds_of(number: int, pages_per_extent: int, extents: int) -> Bounds:
    """Return the bounds of the extent `number` of a table that has `extents` of them."""
    first = number * pages_per_extent
    return Bounds(first, None if number == extents - 1 else first + pages_per_extent)


def qualified(table: TableFacts) -> str:
    """Return the table's name, quoted, with its schema."""
    return f"{quote_identifier(table.schema)}.{quote_identifier(table.name)}"


def copy_query(table: TableFacts, bounds: Bounds, *, newer_than: int | None = None) -> str:
    """Return the COPY of an extent's live rows, or of those at least as new as a transaction id."""
    columns = ", ".join("t." + quote_identifier(c.name) for c in captured_columns(table.columns))
    newer = "" if newer_than is None else f" AND {_is_new(newer_than)}"
    return (
        f"COPY (SELECT {columns} FROM ONLY {qualified(table)} AS t WHERE {bounds.condition}{newer}) TO STDOUT"
    )


def count_pages(connection: Connection, tables: Sequence[int]) -> dict[int, int]:
    """Return the number of heap pages of each table (by oid), as of now: no visible row lies beyond."""
    with translated("table sizes"):
        rows = connection.execute(
            "SELECT oid, pg_relation_size(oid) / current_setting('block_size')::int"
            " FROM unnest(%s::oid[]) AS o (oid)",
            [list(tables)],
        ).fetchall()
    return {oid: pages or 0 for oid, pages in rows}


def count_extents(
    connection: Connection, table: TableFacts, bounds: Sequence[Bounds], newer_than: int, deadline: Deadline
) -> list[ExtentCount]:
    """Count old and new live rows of many extents, in one statement for some hundred of them."""
    found: list[ExtentCount] = []
    is_new = _is_new(newer_than)
    # In a statement with arguments a percent sign of a name would be read as the place of one.
    name = qualified(table).replace("%", "%%")
    query = (
        f"SELECT (SELECT ARRAY[count(*) FILTER (WHERE NOT {is_new}), count(*) FILTER (WHERE {is_new})]"
        f" FROM ONLY {name} AS t WHERE t.ctid >= e.low AND t.ctid < e.high)"
        " FROM unnest(%s::tid[], %s::tid[]) WITH ORDINALITY AS e (low, high, place) ORDER BY e.place"
    )
    for at in range(0, len(bounds), _COUNT_BATCH):
        deadline.check()
        batch = bounds[at : at + _COUNT_BATCH]
        lows = [f"({b.first},0)" for b in batch]
        highs = [f"({_LAST_PAGE if b.end is None else b.end},0)" for b in batch]
        with translated(f"{table.schema}.{table.name}"):
            rows = connection.execute(query, [lows, highs]).fetchall()
        found += [ExtentCount(old, new) for ((old, new),) in rows]
    return found


def read_names(
    connection: Connection, table: TableFacts, bounds: Bounds, *, newer_than: int | None, with_old: bool
) -> ExtentRows:
    """Count and digest the live rows of an extent, and fetch tuple ids: of the new rows, and of the old.

    Without `newer_than` every row counts as new. One message, 10 bytes a tuple id.
    """
    is_new = "true" if newer_than is None else _is_new(newer_than)
    old = f"array_agg(t.ctid) FILTER (WHERE NOT ({is_new}))" if with_old else "NULL::tid[]"
    query = (
        f"SELECT count(*), coalesce(sum({row_digest(table.columns)}), 0)::text,"
        f" array_agg(t.ctid) FILTER (WHERE {is_new}), {old}"
        f" FROM ONLY {qualified(table)} AS t WHERE {bounds.condition}"
    )
    with translated(f"{table.schema}.{table.name}"), connection.cursor(binary=True) as cursor:
        cursor.adapters.register_loader(_TID_ARRAY_OID, _Undecoded)
        row = cursor.execute(query).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY returns one row
    new_ids = tuple_ids_from_array(row[2])
    old_ids = tuple_ids_from_array(row[3]) if with_old else NO_ROWS
    return ExtentRows(live=row[0], digest=row[1], new=new_ids, old=old_ids)


def read_digest(connection: Connection, table: TableFacts, bounds: Bounds) -> tuple[int, str]:
    """Return number and digest of the live rows of an extent."""
    query = (
        f"SELECT count(*), coalesce(sum({row_digest(table.columns)}), 0)::text"
        f" FROM ONLY {qualified(table)} AS t WHERE {bounds.condition}"
    )
    with translated(f"{table.schema}.{table.name}"):
        row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY returns one row
    return row[0], row[1]


def _is_new(newer_than: int) -> str:
    """Return the test whether a tuple is at least as new as a 64-bit transaction id."""
    return f"age(t.xmin) <= age('{newer_than & 0xFFFFFFFF}'::xid)"
