"""Backups while others write, migrate and drop: what is captured is one instant, exactly."""

import itertools
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from strongroom.deadline import Deadline
from strongroom.errors import CatalogUnsteady
from strongroom.operations.messages import PlanReport, WantedKind
from strongroom.postgres import snapshot
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.snapshot import hold_snapshot
from strongroom.shape.build import prepare_roles
from tests.databases import Database
from tests.row_backups import Keys, RowBackups, small_extents

_ACCOUNTS = 400
_SUM = 2 * _ACCOUNTS * 1000
_KINDS: tuple[WantedKind, ...] = (
    "full",
    "incremental",
    "incremental",
    "differential",
    "incremental",
    "incremental",
)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Make one set of keys for the whole session."""
    return Keys.make(tmp_path_factory.mktemp("keys") / "keys")


@pytest.fixture
def database(postgres18: EmbeddedPostgres) -> Iterator[Database]:
    """Make a database with two tables of accounts, whose balances have a sum that no transfer changes."""
    admin = postgres18.dsn(postgres18.superuser, "postgres")
    prepare_roles(admin)
    made = Database(postgres18, f"c{os.getpid()}_{next(_numbers)}")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER postgres").format(sql.Identifier(made.name)))
        with psycopg.connect(made.dsn(), autocommit=True) as owner:
            for name in ("a", "b"):
                owner.execute(
                    f"CREATE TABLE {name} (id int PRIMARY KEY, balance bigint, pad text DEFAULT repeat('x', 150));"
                    f" INSERT INTO {name} SELECT g, 1000 FROM generate_series(1, {_ACCOUNTS}) g".encode()
                )
        yield made
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made.name)))


@contextmanager
def _transfers(database: Database, writers: int) -> Iterator[Counter[int]]:
    """Let threads move amounts between the tables, delete and insert, until the block ends."""
    stop = threading.Event()
    done: Counter[int] = Counter()

    def work(number: int) -> None:
        chance = random.Random(number)
        with psycopg.connect(database.dsn()) as connection:
            while not stop.is_set():
                _transfer(connection, chance)
                done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _transfer(connection: psycopg.Connection[tuple[Any, ...]], chance: random.Random) -> None:
    """Move an amount; now and then by replacing the row, now and then not at all in the end."""
    amount, one, other = chance.randint(1, 9), chance.randint(1, _ACCOUNTS), chance.randint(1, _ACCOUNTS)
    connection.execute("UPDATE a SET balance = balance - %s WHERE id = %s", [amount, one])
    if chance.random() < 0.3:
        row = connection.execute("DELETE FROM b WHERE id = %s RETURNING balance", [other]).fetchone()
        if row is None:
            connection.rollback()
            return
        connection.execute("INSERT INTO b (id, balance) VALUES (%s, %s)", [other, row[0] + amount])
    elif not connection.execute(
        "UPDATE b SET balance = balance + %s WHERE id = %s", [amount, other]
    ).rowcount:
        # The row was replaced by somebody else just now, so that this statement did not find it.
        connection.rollback()
        return
    if chance.random() < 0.1:
        connection.rollback()
    else:
        connection.commit()


def _balances(backups: RowBackups, backup: str) -> int:
    rows = backups.rows_of(backup)
    lines = [*rows["public", "a"].elements(), *rows["public", "b"].elements()]
    assert 2 * _ACCOUNTS == len(lines)
    return sum(int(line.split(b"\t")[1]) for line in lines)


def test_transfers_between_tables_are_captured_whole(
    database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several units, tiny extents, writers all the time: each backup holds no half of a transfer."""
    small_extents(monkeypatch, pages=1)
    backups = RowBackups.make(database.dsn(), tmp_path, keys, monkeypatch)
    units: list[int] = []
    with _transfers(database, writers=3) as done:
        made = [backups.back_up(kind, lambda plan: units.append(len(plan.units))) for kind in _KINDS]
    assert min(done.values()) > 10
    assert min(units) > 1
    assert [_SUM] * 6 == [_balances(backups, backup) for backup in made]
    for backup in made:
        backups.assert_true(backup)


def test_nothing_can_rewrite_or_drop_a_table_while_its_snapshot_is_held(
    database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRUNCATE, ALTER and DROP wait for the end of a backup; readers and writers do not."""
    backups = RowBackups.make(database.dsn(), tmp_path, keys, monkeypatch)
    refused: list[str] = []

    def during(_: PlanReport) -> None:
        with psycopg.connect(database.dsn(), autocommit=True) as other:
            other.execute("SET lock_timeout = '50ms'")
            for statement in (
                "TRUNCATE a",
                "ALTER TABLE a ADD COLUMN c int DEFAULT 1",
                "DROP TABLE a",
                "VACUUM FULL b",
                "ALTER TABLE b RENAME TO c",
            ):
                try:
                    other.execute(statement.encode())
                except psycopg.errors.LockNotAvailable:
                    refused.append(statement)
            other.execute("UPDATE a SET balance = 0")
            other.execute("DELETE FROM b")
            other.execute("VACUUM b")

    backup = backups.back_up("full", during)
    assert 5 == len(refused)
    assert _SUM == _balances(backups, backup)
    backups.assert_true(backup)
    backups.assert_true(backups.back_up("incremental"))


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE b",
        "CREATE TABLE c AS SELECT 1 AS one",
        "ALTER TABLE a RENAME TO d",
        "DROP TABLE b; CREATE TABLE b (id int, balance bigint)",
        "TRUNCATE b",
        "ALTER TABLE a ADD COLUMN added text DEFAULT 'x'",
        "CREATE SCHEMA s; ALTER TABLE a SET SCHEMA s",
    ],
)
def test_a_change_between_listing_and_locking_is_taken_in(
    database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A table that comes, goes or changes just before the locks: the backup is of what is there afterwards."""
    backups = RowBackups.make(database.dsn(), tmp_path, keys, monkeypatch)
    backups.back_up("full")
    genuine, pending = snapshot._lock, [change]

    def lock(*arguments: Any) -> None:
        if pending:
            with psycopg.connect(database.dsn(), autocommit=True) as other:
                other.execute(pending.pop().encode())
        genuine(*arguments)

    monkeypatch.setattr(snapshot, "_lock", lock)
    for kind in _KINDS[1::-1]:
        backups.assert_true(backups.back_up(kind))
    assert [] == pending


def test_tables_that_never_come_to_rest_are_an_error_not_a_guess(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If tables come and go at every attempt, the backup says so and leaves nothing locked."""
    genuine = snapshot._lock

    def lock(*arguments: Any) -> None:
        with psycopg.connect(database.dsn(), autocommit=True) as other:
            other.execute(f"CREATE TABLE c{next(_numbers)} ()".encode())
        genuine(*arguments)

    monkeypatch.setattr(snapshot, "_lock", lock)
    with pytest.raises(CatalogUnsteady), hold_snapshot(database.conninfo(), Deadline.after(60, "test")):
        pass
    with psycopg.connect(database.dsn(), autocommit=True) as other:
        other.execute("SET lock_timeout = '2s'; DROP TABLE a")
