"""Bringing a comparison up to date under the lock, where the application has written since it was made.

Of a table with a key only those rows are compared again of which something is new:

- keys of live rows from X on (see `unchanged`): whatever was inserted or updated since is among them;
- keys of differences whose live row from before X is not where it was;
- if any row version has vanished, keys of staged rows that live does not have: they may have been deleted since.

A live row that equalled its staged row and is gone is in the first or the last list; one that differed is in the
second. More keys than needed do no harm.
"""

from dataclasses import replace

from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.comparing import (
    Compared,
    compare_table,
    count_differences,
    current_snapshot,
    store_compared,
)
from strongroom.recovery.comparison import Matched, find_differences, listed_key, same_key, same_listed
from strongroom.recovery.staging_names import found_differences
from strongroom.recovery.unchanged import Witness, age_of, observe


def xmin_of(snapshot: str) -> int:
    """Return the oldest transaction that a snapshot saw running, from its text."""
    return int(snapshot.partition(":")[0])


def is_costly(compared: Compared, now: Witness) -> bool:
    """Tell whether so much has changed that comparing again without the lock keeps writers waiting for less time."""
    return now.file_node != compared.witness.file_node or now.recent_rows > max(200_000, now.old_rows // 10)


def catch_up(
    connection: Connection, schema: str, table: Matched, compared: Compared, now: Witness
) -> Compared:
    """Compare again what has changed, in a transaction that keeps writers away from the table."""
    if not table.mapped.key or not now.is_counted or now.file_node != compared.witness.file_node:
        return compare_table(connection, schema, table)
    changed = f"{quote_identifier(schema)}.changed_{table.mapped.number}"
    differences = found_differences(schema, table.mapped.number)
    xmin = xmin_of(compared.snapshot)
    age = age_of(connection, xmin)
    has_vanished = now.old_rows < compared.witness.old_rows or (
        compared.witness.recent_rows > 0 and now.recent_digest != compared.witness.recent_digest
    )
    with translated(table.mapped.label):
        connection.execute(f"DROP TABLE IF EXISTS {changed}")
        connection.execute(
            f"CREATE UNLOGGED TABLE {changed} AS {_changed_keys(table, differences, age, has_vanished=has_vanished)}"
        )
        connection.execute(f"ANALYZE {changed}")
        connection.execute(
            f"DELETE FROM {differences} AS d USING {changed} AS o WHERE {same_listed(table, 'd', 'o')}"
        )
        connection.execute(f"INSERT INTO {differences} {find_differences(table, changed)}")
        connection.execute(f"DROP TABLE {changed}")
    found = count_differences(connection, differences)
    snapshot, now_xmin, xid = current_snapshot(connection)
    inserts, updates, replacements, deletes, since, kept, surplus = found
    again = replace(
        compared,
        snapshot=snapshot,
        xid=xid,
        witness=observe(connection, table, now_xmin),
        inserts=inserts,
        updates=updates,
        replacements=replacements,
        deletes=deletes,
        since=since,
        kept=kept,
        surplus=surplus,
    )
    store_compared(connection, schema, again)
    return again


def _changed_keys(table: Matched, differences: str, age: int, *, has_vanished: bool) -> str:
    keys = ", ".join(table.keys)
    live = ", ".join(
        f"l.{quote_identifier(n)} AS {k}" for n, k in zip(table.mapped.key, table.keys, strict=True)
    )
    listed = ", ".join(f"d.{key}" for key in table.keys)
    same_place = f"SELECT FROM ONLY {table.live} AS l WHERE l.ctid = d.live_tid AND age(l.xmin) > {age}"
    parts = [
        f"SELECT {live} FROM ONLY {table.live} AS l WHERE age(l.xmin) <= {age}",
        f"SELECT {listed} FROM {differences} AS d WHERE d.live_tid IS NOT NULL AND NOT EXISTS ({same_place})",
    ]
    if has_vanished:
        staged = ", ".join(f"s.{quote_identifier(name)}" for name in table.mapped.key)
        parts.append(
            f"SELECT {staged} FROM {table.staged} AS s"
            f" WHERE NOT EXISTS (SELECT FROM ONLY {table.live} AS l WHERE {same_key(table, 'l', 's')})"
            f" AND NOT EXISTS (SELECT FROM {differences} AS d WHERE {listed_key(table, 'd', 's')} AND d.kind = 'i')"
        )
    return f"SELECT DISTINCT {keys} FROM ({' UNION ALL '.join(parts)}) AS o ({keys})"
