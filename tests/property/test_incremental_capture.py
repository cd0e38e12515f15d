"""Whatever happens between backups, each of them gives back exactly the rows of its own snapshot.

A real Postgres 18, role `postgres`; a seed chooses schemas, changes, transactions that stay open across
snapshots, interrupted attempts and the kinds of backups. Extents, packs and units are made tiny. A failure
names the seed of its life and the steps; STRONGROOM_TEST_SEED repeats a run, `-m endurance` makes a long one.
(Hypothesis' stateful tests were tried: a server does not do the same again, so shrinking gained nothing.)
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from strongroom.operations.messages import PlanReport, WantedKind
from tests.databases import Database
from tests.property import changes
from tests.row_backups import Keys, RowBackups, small_extents

_ROW_CHANGES = [changes.insert, changes.update, changes.touch, changes.delete, changes.delete_tail]
_ONE_IN = (1, 2, 3, 10, 50)
_KINDS: tuple[WantedKind, ...] = ("incremental", "incremental", "incremental", "differential", "full")


class World:
    """What all lives of one run share: the database, the keys, and a tally of what was reached."""

    def __init__(self, database: Database, folder: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dsn = database.dsn()
        self.folder = folder
        self.keys = keys
        self.monkeypatch = monkeypatch
        self.reached: Counter[str] = Counter()
        self._until = float("inf")

    def limit(self, seconds: float) -> None:
        """Let nothing happen any more once so many seconds have passed."""
        self._until = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether the time is over: what was begun is still compared."""
        return time.monotonic() > self._until

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a writer's session, which does not wait long for locks."""
        connection = psycopg.connect(self.dsn, autocommit=True)
        connection.execute("SET lock_timeout = '50ms'")
        connection.execute("SET search_path = ''")
        return connection


class Life:
    """One database's life between its backups."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.writer = world.connect()
        self.others = [world.connect(), world.connect()]
        self.open_since: dict[int, int] = {}
        changes.clear(self.writer)
        self.backups = RowBackups.make(world.dsn, world.folder, world.keys, world.monkeypatch)
        self.tables = 0

    # ------------------------------------------------------------------------------ tables and rows

    def begin(self, shapes: list[int], number: int) -> None:
        """Make some tables with rows and a full backup of them."""
        for place, shape in enumerate(shapes):
            self.create(
                shape, [changes.TYPES[(number + 7 * place + i) % len(changes.TYPES)] for i in range(3)]
            )
        for place in range(len(changes.present_tables(self.writer))):
            self.change(changes.insert, place, 1, number, 150)
        self.back_up("full", [])

    def create(self, shape: int, types: list[str]) -> None:
        """Make a table."""
        self.tables += 1
        self._run(self.writer, changes.create_table(self.tables, shape, types), "create")

    def change(self, change: Any, table: int, one_in: int, r: int, rows: int) -> None:
        """Insert, update or delete rows of one table."""
        present = changes.present_tables(self.writer)
        if present:
            size = rows if change is changes.insert else one_in
            self._run(self.writer, change(present[table % len(present)], size, r), change.__name__)

    def migrate(self, name: str, table: int, r: int) -> None:
        """Alter, rename, truncate, rewrite or vacuum one table or type."""
        present = changes.present_tables(self.writer)
        if present:
            self._run(self.writer, changes.MIGRATIONS[name](present[table % len(present)], r), name)

    # ------------------------------------------------------------------------------ other transactions

    def write_elsewhere(
        self, other: int, change: Any, table: int, one_in: int, r: int, savepoint: bool
    ) -> None:
        """Write in a transaction that stays open, over however many backups."""
        present = changes.present_tables(self.writer)
        if not present:
            return
        connection = self.others[other]
        if other not in self.open_since:
            connection.execute("BEGIN")
            self.open_since[other] = len(self.backups.remembered)
        connection.execute("SAVEPOINT s")
        statements = change(present[table % len(present)], 5 if change is changes.insert else one_in, r)
        self._run(connection, statements, "elsewhere", in_transaction=True)
        if not savepoint and connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            connection.execute("RELEASE s")

    def finish_elsewhere(self, other: int, commit: bool) -> None:
        """Commit or roll back a transaction that was open."""
        began = self.open_since.pop(other, None)
        if began is None:
            return
        self.others[other].execute("COMMIT" if commit else "ROLLBACK")
        if commit and began < len(self.backups.remembered):
            self.world.reached["a transaction open at a snapshot committed later"] += 1

    # ------------------------------------------------------------------------------ backups

    def back_up(self, kind: WantedKind, meanwhile: Sequence[tuple[Any, int, int]]) -> None:
        """Take a backup while others write and commit."""

        def during(_: PlanReport) -> None:
            for change, table, r in meanwhile:
                self.change(change, table, 3, r, 10)
            if meanwhile:
                self.finish_elsewhere(meanwhile[0][1] % 2, commit=True)

        report = self.backups.report(kind, during)
        assert self.backups.remembered[report.backup].digests == self.backups.baseline_of(report.backup)
        self.world.reached["extents reused"] += report.totals.extents_reused
        # An extent that its layers do not explain is read again, rightly; within one history that never happens.
        assert report.findings == ()

    def give_up(self, units: int, kind: WantedKind) -> None:
        """Begin a backup and leave it after some units: the next one may build on them."""
        if not self.backups.remembered:
            return
        self.backups.interrupt(units, kind)
        self.world.reached["attempts given up"] += 1

    # ------------------------------------------------------------------------------ the end

    def end(self) -> None:
        """Read every backup and compare it with what was observed in its snapshot."""
        for connection in (self.writer, *self.others):
            connection.close()
        for backup in self.backups.listed():
            self.backups.assert_true(backup)
        self._assert_fulls_stand_alone()
        self._tally()
        for backup in list(self.backups.remembered)[-1:]:
            assert self.backups.verify(backup).findings == ()

    def _assert_fulls_stand_alone(self) -> None:
        """A full shares no pack with an earlier backup."""
        earlier: set[str] = set()
        for backup in self.backups.listed():
            manifest = self.backups.manifest(backup)
            packs = {pack.name for pack in manifest.packs}
            assert manifest.kind != "full" or not packs & earlier, (
                f"{backup} shares packs with an earlier backup"
            )
            earlier |= packs

    def _tally(self) -> None:
        repository = self.backups.repository()
        for backup in self.backups.listed():
            for reference in self.backups.manifest(backup).documents:
                for part in repository.read_unit_document(reference).parts:
                    for extent in part.extents:
                        self.world.reached["extents of several layers"] += len(extent.layers) > 1
                        self.world.reached["layers with dead rows"] += any(x.dead_rows for x in extent.layers)

    def _run(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        statements: Sequence[str],
        name: str,
        *,
        in_transaction: bool = False,
    ) -> None:
        """Carry out statements one by one; the first that is refused ends them."""
        for statement in statements:
            try:
                connection.execute(statement.encode())
            except psycopg.Error as error:
                connection.execute("ROLLBACK TO s" if in_transaction else "ROLLBACK")
                self.world.reached[f"refused: {name}: {error.sqlstate}"] += 1
                return
        self.world.reached[name] += 1


_REACHED = (
    "insert",
    "update",
    "delete",
    "extents reused",
    "extents of several layers",
    "layers with dead rows",
    "attempts given up",
    "a transaction open at a snapshot committed later",
)


def _step(life: Life, random: Random) -> str:
    """Take one step of a life and say what it was."""
    number, r, one_in = random.randrange(1000), random.randrange(1000), random.choice(_ONE_IN)
    action = random.choices(
        ["create", "change", "migrate", "elsewhere", "finish", "back up", "give up"], [1, 5, 4, 3, 2, 4, 1]
    )[0]
    change = random.choice(_ROW_CHANGES)
    name = random.choice(sorted(changes.MIGRATIONS))
    if action == "create" and life.tables < 5:
        life.create(random.randrange(9), random.sample(changes.TYPES, random.randrange(6)))
    elif action == "change":
        life.change(change, number, one_in, r, random.choice([1, 10, 200]))
    elif action == "migrate":
        life.migrate(name, number, r)
    elif action == "elsewhere":
        life.write_elsewhere(number % 2, random.choice(_ROW_CHANGES[:4]), number, one_in, r, r % 2 == 0)
    elif action == "finish":
        life.finish_elsewhere(number % 2, r % 3 > 0)
    elif action == "back up":
        meanwhile = [(random.choice(_ROW_CHANGES[:4]), number + n, r + n) for n in range(random.randrange(3))]
        life.back_up(random.choice(_KINDS), meanwhile)
    elif action == "give up":
        life.give_up(random.randrange(4), random.choice(_KINDS))
    return f"{action} {change.__name__} {name} table={number} one_in={one_in} r={r}"


def live(life: Life, random: Random, steps: int) -> None:
    """Begin a life and take its steps, as long as there is time."""
    life.begin([random.randrange(9) for _ in range(3)], random.randrange(1000))
    for _ in range(steps):
        if life.world.is_over:
            break
        print(_step(life, random))  # noqa: T201 - shown if it fails


def _explore(world: World, lives: int, steps: int, seconds: float) -> None:
    """Live some lives, and fail if they never reached what they are there to try."""
    world.limit(seconds)
    first = int(os.environ.get("STRONGROOM_TEST_SEED") or Random().randrange(1 << 32))
    for seed in range(first, first + lives):
        life = Life(world)
        print(f"STRONGROOM_TEST_SEED={seed}")  # noqa: T201 - shown if it fails
        live(life, Random(seed), steps)
        life.end()
        if world.is_over:
            break
    print("\n".join(f"{count:6} {name}" for name, count in sorted(world.reached.items())))  # noqa: T201 - shown if it fails
    assert [] == [name for name in _REACHED if not world.reached[name]]


@pytest.fixture
def world(empty_database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> World:
    """Make extents tiny and share one database among the lives."""
    small_extents(monkeypatch, pages=2)
    # Which unchanged extents are digested again depends on the backup's id: here it is all of them.
    monkeypatch.setattr("strongroom.postgres.capture._RECHECK_ONE_IN", 1)
    return World(empty_database, tmp_path, keys, monkeypatch)


def test_each_backup_gives_back_the_rows_of_its_snapshot(world: World) -> None:
    """Whatever changed in between, a backup holds every row of its snapshot once, and no other."""
    _explore(world, lives=30, steps=40, seconds=45)


@pytest.mark.endurance
@pytest.mark.timeout(3600)
def test_each_backup_gives_back_the_rows_of_its_snapshot_for_long(world: World) -> None:
    """The same, over many more lives of a database."""
    _explore(world, lives=10_000, steps=60, seconds=3000)
