"""Fixtures of this room: one set of keys, and databases without a platform, which are quick to look through."""

import itertools
import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.shape.build import prepare_roles
from tests.databases import Database
from tests.row_backups import Keys

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Make one set of keys for the whole session."""
    return Keys.make(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture
def empty_database(postgres18: EmbeddedPostgres) -> Iterator[Database]:
    """Make a database that holds nothing and belongs to `postgres`; drop it after the test."""
    admin = postgres18.dsn(postgres18.superuser, "postgres")
    database = Database(postgres18, f"e{os.getpid()}_{next(_numbers)}")
    name = sql.Identifier(database.name)
    prepare_roles(admin)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER postgres").format(name))
        yield database
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes by nature unless `-m` speaks of it."""
    if "endurance" in str(config.getoption("markexpr")):
        return
    left_out = [item for item in items if item.get_closest_marker("endurance")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
