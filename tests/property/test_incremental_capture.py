"""Whatever happens between backups, each of them gives back exactly the rows of its own snapshot.

A real Postgres 18, role `postgres`; Hypothesis chooses schemas, changes, transactions that stay open across
snapshots, interrupted attempts and the kinds of backups. Extents, packs and units are made tiny. Run with
`--hypothesis-seed` to repeat a run, with `-m endurance` for a long one.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from strongroom.operations.messages import PlanReport, WantedKind
from tests.databases import Database
from tests.property import changes
from tests.row_backups import Keys, RowBackups, small_extents

_NUMBER = st.integers(0, 999)
_ROW_CHANGES = [changes.insert, changes.update, changes.touch, changes.delete, changes.delete_tail]
_ONE_IN = st.sampled_from([1, 2, 3, 10, 50])


class World:
    """What all examples of one run share: the database, the keys, and a tally of what was reached."""

    def __init__(self, database: Database, folder: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dsn = database.dsn()
        self.folder = folder
        self.keys = keys
        self.monkeypatch = monkeypatch
        self.reached: Counter[str] = Counter()

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a writer's session, which does not wait long for locks."""
        connection = psycopg.connect(self.dsn, autocommit=True)
        connection.execute("SET lock_timeout = '50ms'")
        connection.execute("SET search_path = ''")
        return connection


class Machine(RuleBasedStateMachine):
    """One database's life between its backups."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.writer = world.connect()
        self.others = [world.connect(), world.connect()]
        self.open_since: dict[int, int] = {}
        changes.clear(self.writer)
        self.backups = RowBackups.make(world.dsn, world.folder, world.keys, world.monkeypatch)
        self.tables = 0

    # ------------------------------------------------------------------------------ tables and rows

    @initialize(shapes=st.lists(st.integers(0, 8), min_size=1, max_size=3), number=_NUMBER)
    def begin(self, shapes: list[int], number: int) -> None:
        """Make some tables with rows and a full backup of them."""
        for place, shape in enumerate(shapes):
            self.create(shape, [changes.TYPES[(number + 7 * place + i) % len(changes.TYPES)] for i in range(3)])
        for place in range(len(changes.present_tables(self.writer))):
            self.change(changes.insert, place, 1, number, 150)
        self.back_up("full", [])

    @precondition(lambda self: self.tables < 5)
    @rule(shape=st.integers(0, 8), types=st.lists(st.sampled_from(changes.TYPES), max_size=5))
    def create(self, shape: int, types: list[str]) -> None:
        """Make a table."""
        self.tables += 1
        self._run(self.writer, changes.create_table(self.tables, shape, types), "create")

    @rule(
        change=st.sampled_from(_ROW_CHANGES),
        table=_NUMBER,
        one_in=_ONE_IN,
        r=_NUMBER,
        rows=st.sampled_from([1, 10, 200]),
    )
    def change(self, change: Any, table: int, one_in: int, r: int, rows: int) -> None:
        """Insert, update or delete rows of one table."""
        present = changes.present_tables(self.writer)
        if present:
            size = rows if change is changes.insert else one_in
            self._run(self.writer, change(present[table % len(present)], size, r), change.__name__)

    @rule(name=st.sampled_from(sorted(changes.MIGRATIONS)), table=_NUMBER, r=_NUMBER)
    def migrate(self, name: str, table: int, r: int) -> None:
        """Alter, rename, truncate, rewrite or vacuum one table or type."""
        present = changes.present_tables(self.writer)
        if present:
            self._run(self.writer, changes.MIGRATIONS[name](present[table % len(present)], r), name)

    # ------------------------------------------------------------------------------ other transactions

    @rule(
        other=st.integers(0, 1),
        change=st.sampled_from(_ROW_CHANGES[:4]),
        table=_NUMBER,
        one_in=_ONE_IN,
        r=_NUMBER,
        savepoint=st.booleans(),
    )
    def write_elsewhere(self, other: int, change: Any, table: int, one_in: int, r: int, savepoint: bool) -> None:
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

    @rule(other=st.integers(0, 1), commit=st.booleans())
    def finish_elsewhere(self, other: int, commit: bool) -> None:
        """Commit or roll back a transaction that was open."""
        began = self.open_since.pop(other, None)
        if began is None:
            return
        self.others[other].execute("COMMIT" if commit else "ROLLBACK")
        if commit and began < len(self.backups.remembered):
            self.world.reached["a transaction open at a snapshot committed later"] += 1

    # ------------------------------------------------------------------------------ backups

    @rule(
        kind=st.sampled_from(["incremental", "incremental", "incremental", "differential", "full"]),
        meanwhile=st.lists(st.tuples(st.sampled_from(_ROW_CHANGES[:4]), _NUMBER, _NUMBER), max_size=3),
    )
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
        self.world.reached["rows read again"] += len(report.findings)

    @rule(units=st.integers(0, 4), kind=st.sampled_from(["incremental", "differential", "full"]))
    def give_up(self, units: int, kind: WantedKind) -> None:
        """Begin a backup and leave it after some units: the next one may build on them."""
        self.backups.interrupt(units, kind)
        self.world.reached["attempts given up"] += 1

    # ------------------------------------------------------------------------------ the end

    def teardown(self) -> None:
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
            assert manifest.kind != "full" or not packs & earlier, f"{backup} shares packs with an earlier backup"
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


def _explore(world: World, examples: int, steps: int) -> None:
    """Run the machine, and fail if it never reached what it is there to try."""
    run_state_machine_as_test(
        lambda: Machine(world),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            verbosity=Verbosity.normal,
            # Shrinking takes minutes, and needs a server that does the same again: by hand, if at all.
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    print("\n".join(f"{count:6} {name}" for name, count in sorted(world.reached.items())))  # noqa: T201 - shown if it fails
    assert [] == [name for name in _REACHED if not world.reached[name]]


@pytest.fixture
def world(
    empty_database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> World:
    """Make extents tiny and share one database among the examples."""
    small_extents(monkeypatch, pages=2)
    # Which unchanged extents are digested again depends on the backup's id: here it is all of them.
    monkeypatch.setattr("strongroom.postgres.capture._RECHECK_ONE_IN", 1)
    return World(empty_database, tmp_path, keys, monkeypatch)


def test_each_backup_gives_back_the_rows_of_its_snapshot(world: World) -> None:
    """Whatever changed in between, a backup holds every row of its snapshot once, and no other."""
    _explore(world, examples=12, steps=30)


@pytest.mark.endurance
@pytest.mark.timeout(3600)
def test_each_backup_gives_back_the_rows_of_its_snapshot_for_long(world: World) -> None:
    """The same, over many more lives of a database."""
    _explore(world, examples=600, steps=60)
