"""Fixtures for every room: real servers, one of each major per session, and databases on them."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.shape.build import prepare_roles
from tests.databases import Database, Databases, MakeDatabase
from tests.row_backups import Keys
from tests.servers.s3 import S3Server, run_ministack, run_moto, run_radosgw, run_rclone
from tests.tls_server import ServerUnavailable, TlsServer, run_tls_server

_numbers = itertools.count(1)

# Tests name the type of the fixtures below by this module too.
__all__ = ["MakeDatabase"]

_LONGEST_FIRST = ("drill", "flows", "postgres", "fault", "contract", "property", "golden", "unit")


def _room(item: pytest.Item) -> int:
    room = item.path.relative_to(Path(__file__).parent).parts[0]
    return _LONGEST_FIRST.index(room) if room in _LONGEST_FIRST else len(_LONGEST_FIRST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the rooms that take longest, so that processes that share the files end together.

    Leave out what takes long and proves nothing that others do not, unless `-m` speaks of it.
    """
    items.sort(key=_room)
    if "endurance" in str(config.getoption("markexpr")):
        return
    left_out = [item for item in items if item.get_closest_marker("endurance")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def postgres18() -> Iterator[EmbeddedPostgres]:
    """Run a Postgres 18 with socket and loopback port for the whole session."""
    with EmbeddedPostgres(major=18, tcp_port=0) as server:
        yield server


@pytest.fixture(scope="session")
def postgres16() -> Iterator[EmbeddedPostgres]:
    """Run a Postgres 16 with socket and loopback port for the whole session."""
    with EmbeddedPostgres(major=16, tcp_port=0) as server:
        yield server


@pytest.fixture(scope="session")
def database_templates() -> dict[tuple[int, bool], str]:
    """Remember the names of the template databases that were built on each server."""
    return {}


@pytest.fixture
def quantforge(
    request: pytest.FixtureRequest, database_templates: dict[tuple[int, bool], str]
) -> Iterator[MakeDatabase]:
    """Make databases in the Supabase shape with the seeded application; drop them after the test."""
    yield from _factory(request, database_templates, app=True)


@pytest.fixture
def platform_database(
    request: pytest.FixtureRequest, database_templates: dict[tuple[int, bool], str]
) -> Iterator[MakeDatabase]:
    """Make fresh Supabase projects without an application: what restores write to."""
    yield from _factory(request, database_templates, app=False)


def _factory(
    request: pytest.FixtureRequest, templates: dict[tuple[int, bool], str], *, app: bool
) -> Iterator[MakeDatabase]:
    databases = Databases(templates)

    def make(server: EmbeddedPostgres | None = None) -> Database:
        return databases.make(server or request.getfixturevalue("postgres18"), app=app)

    yield make
    databases.drop_all()


@pytest.fixture(scope="session")
def tls_postgres17(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """Run a TLS-only Postgres 17 of another build for the whole session."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(run_tls_server(tmp_path_factory.mktemp("tls")))
        except ServerUnavailable as reason:
            pytest.skip(f"NOT PROVEN: no TLS-only Postgres 17 here: {reason}")
        yield server


def _s3_server(
    run: Callable[[Path], AbstractContextManager[S3Server]], name: str, folders: pytest.TempPathFactory
) -> Iterator[S3Server]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(run(folders.mktemp("s3") / name))
        except ServerUnavailable as reason:
            pytest.skip(f"NOT PROVEN: no {name} here: {reason}")
        yield server


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run the emulator of AWS for the whole session."""
    yield from _s3_server(run_ministack, "ministack", tmp_path_factory)


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run Ceph's gateway for the whole session."""
    yield from _s3_server(run_radosgw, "radosgw", tmp_path_factory)


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run the emulator that verifies no checksum for the whole session."""
    yield from _s3_server(run_moto, "moto", tmp_path_factory)


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run the server that ignores conditions for the whole session."""
    yield from _s3_server(run_rclone, "rclone", tmp_path_factory)


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
