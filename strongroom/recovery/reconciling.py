"""The SQL that makes a live table agree: the rows of its differences, and no others. Pure.

Rows are found by where they lie, and touched only if they are the very versions that were compared: where somebody else
was quicker, fewer rows are touched than there are differences. What is deleted goes first, so that nothing stands in
the way of what comes; only the columns that the backup has are written.
"""

from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.comparison import Matched, written_columns

_DELETED = "('d', 'r')"
_SAME_VERSION = "l.ctid = d.live_tid AND l.xmin = d.live_birth"


def lock_statement(tables: list[str], mode: str) -> str:
    """Return the statement that locks tables, given as quoted SQL, each without its children."""
    return f"LOCK TABLE {', '.join(f'ONLY {name}' for name in tables)} IN {mode} MODE"


def carry_kept(table: Matched, differences: str, carried: str) -> str:
    """Return the statement that notes what replaced rows have in columns that the backup knows nothing of."""
    kept = ", ".join(f"l.{quote_identifier(name)}" for name in table.mapped.kept)
    return (
        f"CREATE UNLOGGED TABLE {carried} AS SELECT d.staged_tid, {kept}"
        f" FROM {differences} AS d JOIN ONLY {table.live} AS l ON l.ctid = d.live_tid WHERE d.kind = 'r'"
    )


def read_rows(table: Matched, differences: str) -> str:
    """Return a query that reads all that is going to be read or written, so that it is in memory when it has to be."""
    return (
        f"SELECT count(l.ctid), count(s.ctid) FROM {differences} AS d"
        f" LEFT JOIN ONLY {table.live} AS l ON l.ctid = d.live_tid"
        f" LEFT JOIN {table.staged} AS s ON s.ctid = d.staged_tid WHERE d.kind <> 'k'"
    )


def delete_rows(table: Matched, differences: str) -> str:
    """Return the statement that deletes what is to go, and the old half of what is replaced."""
    return (
        f"DELETE FROM ONLY {table.live} AS l USING {differences} AS d"
        f" WHERE {_SAME_VERSION} AND d.kind IN {_DELETED}"
    )


def update_rows(table: Matched, differences: str) -> str:
    """Return the statement that updates rows in place."""
    # The server lets nobody update an identity that it generates always; a row that differs there is replaced.
    names = [quote_identifier(c.name) for c in written_columns(table.mapped) if c.identity != "a"]
    return (
        f"UPDATE ONLY {table.live} AS l SET {', '.join(f'{name} = s.{name}' for name in names)}"
        f" FROM {differences} AS d JOIN {table.staged} AS s ON s.ctid = d.staged_tid"
        f" WHERE {_SAME_VERSION} AND d.kind = 'u'"
    )


def insert_rows(table: Matched, differences: str) -> str:
    """Return the statement that inserts what is missing."""
    return _insert(table, differences, ("i",), table.mapped.columns)


def insert_replaced(table: Matched, differences: str, carried: str = "") -> str:
    """Return the statement that inserts the new half of what is replaced, with what was carried over."""
    if not carried:
        return _insert(table, differences, ("r",), table.mapped.columns)
    join = f" JOIN {carried} AS c ON c.staged_tid = d.staged_tid"
    return _insert(table, differences, ("r",), table.mapped.columns, join, table.mapped.kept)


def _insert(
    table: Matched,
    differences: str,
    kinds: tuple[str, ...],
    columns: tuple[str, ...],
    join: str = "",
    kept: tuple[str, ...] = (),
) -> str:
    names = [*map(quote_identifier, columns), *map(quote_identifier, kept)]
    values = [
        *(f"s.{quote_identifier(name)}" for name in columns),
        *(f"c.{quote_identifier(n)}" for n in kept),
    ]
    listed = f" ({', '.join(names)}) OVERRIDING SYSTEM VALUE" if names else ""
    wanted = ", ".join(f"'{kind}'" for kind in kinds)
    return (
        f"INSERT INTO {table.live}{listed} SELECT {', '.join(values)}"
        f" FROM {differences} AS d JOIN {table.staged} AS s ON s.ctid = d.staged_tid{join} WHERE d.kind IN ({wanted})"
    )
