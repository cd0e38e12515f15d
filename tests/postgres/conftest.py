"""Fixtures of the room: the application's database, a session as operations have it, recoveries of an empty one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.deadline import Deadline
from strongroom.postgres.connection import Connection, connect
from tests.databases import Database, MakeDatabase
from tests.recoveries import Recoveries
from tests.row_backups import Keys


@pytest.fixture
def database(quantforge: MakeDatabase) -> Database:
    """Make a database with the application."""
    return quantforge()


@pytest.fixture
def session(database: Database) -> Iterator[Connection]:
    """Open a session in the application's database in which neither triggers nor foreign keys act."""
    with connect(database.conninfo(), Deadline.after(120, "test")) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


@pytest.fixture
def recoveries(
    empty_database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Recoveries:
    """Make a repository for an empty database."""
    made = Recoveries.make(empty_database.dsn(), tmp_path, keys, monkeypatch)
    made.execute("CREATE SCHEMA IF NOT EXISTS public")
    return made
