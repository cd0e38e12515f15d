"""The journal of a restore, in the destination itself: of which backup, and which units are in.

A unit's rows and its entry are committed together, so that a unit which is run twice is copied once, however
its first run ended. A restore that was cut off may begin again where its own journal is, though the
destination is not empty any more. The journal is removed when everything else is done.
"""

from strongroom.postgres.connection import Connection, translated

SCHEMA = "strongroom_restore"


def open_journal(connection: Connection, backup: str) -> None:
    """Make the journal of the restore of a backup, before anything else is written; may run again."""
    with translated("the restore's journal"), connection.transaction():
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.restores (backup text PRIMARY KEY)")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.finished_units"
            " (backup text NOT NULL, unit int NOT NULL, PRIMARY KEY (backup, unit))"
        )
        connection.execute(f"INSERT INTO {SCHEMA}.restores VALUES (%s) ON CONFLICT DO NOTHING", [backup])


def is_under_way(connection: Connection, backup: str) -> bool:
    """Tell whether a restore of this backup, and of no other, was begun here and not finished."""
    with translated("the restore's journal"):
        found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{SCHEMA}.restores"]).fetchone()
        if not found or not found[0]:
            return False
        return connection.execute(f"SELECT backup FROM {SCHEMA}.restores").fetchall() == [(backup,)]


def is_finished(connection: Connection, backup: str, unit: int) -> bool:
    """Tell whether a unit's rows are in."""
    row = connection.execute(
        f"SELECT FROM {SCHEMA}.finished_units WHERE backup = %s AND unit = %s", [backup, unit]
    ).fetchone()
    return row is not None


def has_units(connection: Connection, backup: str) -> bool:
    """Tell whether any unit's rows are in."""
    query = f"SELECT FROM {SCHEMA}.finished_units WHERE backup = %s LIMIT 1"
    return connection.execute(query, [backup]).fetchone() is not None


def finish_unit(connection: Connection, backup: str, unit: int) -> None:
    """Enter a unit, in the transaction that copied its rows."""
    connection.execute(f"INSERT INTO {SCHEMA}.finished_units VALUES (%s, %s)", [backup, unit])


def close_journal(connection: Connection) -> None:
    """Remove the journal."""
    with translated("the restore's journal"):
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
