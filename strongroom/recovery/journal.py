"""The journal of a restore, in the destination itself: which units are in.

A unit's rows and its entry are committed together, so that a unit which is run twice is copied once, however
its first run ended. The schema is removed when the restore is complete.
"""

from strongroom.postgres.connection import Connection, translated

SCHEMA = "strongroom_restore"


def open_journal(connection: Connection) -> None:
    """Make the journal if it is not there."""
    with translated("the restore's journal"):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.finished_units"
            " (backup text NOT NULL, unit int NOT NULL, PRIMARY KEY (backup, unit))"
        )


def is_finished(connection: Connection, backup: str, unit: int) -> bool:
    """Tell whether a unit's rows are in."""
    row = connection.execute(
        f"SELECT FROM {SCHEMA}.finished_units WHERE backup = %s AND unit = %s", [backup, unit]
    ).fetchone()
    return row is not None


def finish_unit(connection: Connection, backup: str, unit: int) -> None:
    """Enter a unit, in the transaction that copied its rows."""
    connection.execute(f"INSERT INTO {SCHEMA}.finished_units VALUES (%s, %s)", [backup, unit])


def close_journal(connection: Connection) -> None:
    """Remove the journal."""
    with translated("the restore's journal"):
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
