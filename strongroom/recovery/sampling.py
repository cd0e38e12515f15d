"""Some of the rows that differ, column by column, for somebody who is about to decide. For terminals only.

Of every kind some are shown, the kinds in turn. Values are cut: whether a column differs is told by the whole of it.
"""

from typing import Any

from strongroom.operations.recovery_messages import RowDifference
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.comparison import Matched, column_differs, written_columns
from strongroom.recovery.staging_names import found_differences

SHOWN_CHARACTERS = 200


def sample_rows(connection: Connection, schema: str, table: Matched, most: int) -> tuple[RowDifference, ...]:
    """Return at most so many rows of what the last comparison found, as texts before and after."""
    columns = written_columns(table.mapped)
    before, after, differs = [], [], []
    for column in columns:
        name = quote_identifier(column.name)
        before.append(f"left(l.{name}::text, {SHOWN_CHARACTERS})")
        after.append(f"left(s.{name}::text, {SHOWN_CHARACTERS})")
        differs.append(f"({column_differs(column)})")
    with translated(table.mapped.label):
        rows = connection.execute(
            f"SELECT d.kind::text, {_array(before, 'text')}, {_array(after, 'text')}, {_array(differs, 'bool')}"
            " FROM (SELECT *, row_number() OVER (PARTITION BY kind) AS place"
            f" FROM {found_differences(schema, table.mapped.number)} WHERE kind <> 'k') AS d"
            f" LEFT JOIN ONLY {table.live} AS l ON l.ctid = d.live_tid"
            f" LEFT JOIN {table.staged} AS s ON s.ctid = d.staged_tid"
            f" ORDER BY d.place, d.kind LIMIT {int(most)}"
        ).fetchall()
    return tuple(_row(table, row) for row in rows)


def _row(table: Matched, row: tuple[Any, ...]) -> RowDifference:
    kind, before, after, differs = row
    names = [column.name for column in written_columns(table.mapped)]
    texts = list(zip(names, before, after, differs, strict=True))
    present = {name: (new if kind == "i" else old) for name, old, new, _ in texts}
    key = ", ".join(f"{name}={present[name]}" for name in table.mapped.key)
    if kind == "i":
        return RowDifference(kind="insert", key=key, columns=tuple((n, None, new) for n, _, new, _ in texts))
    if kind == "d":
        return RowDifference(kind="delete", key=key, columns=tuple((n, old, None) for n, old, _, _ in texts))
    return RowDifference(
        kind="change", key=key, columns=tuple((n, old, new) for n, old, new, differ in texts if differ)
    )


def _array(values: list[str], kind: str) -> str:
    # An array of nothing has no type of its own.
    return f"ARRAY[{', '.join(values)}]::{kind}[]"
