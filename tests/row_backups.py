"""Backups of rows only, driven in this process, and what they must give back: for tests.

The catalog unit is left out, because pg_dump costs more than everything else together. What a backup must
hold is read by other means than the engine's: plain COPY of whole tables inside the same snapshot.

    backups = RowBackups.make(database.dsn(), tmp_path, keys, monkeypatch)
    backup = backups.back_up("full")
    assert backups.rows_of(backup) == backups.remembered[backup].rows
"""

import datetime as dt
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest
from psycopg import sql

from strongroom.config import Settings, load_settings
from strongroom.crypto.keyring import Keyring
from strongroom.deadline import Deadline
from strongroom.format.documents import CaptureTotals, Collection, Column, Manifest
from strongroom.keys import create_keys, load_keyring
from strongroom.operations.context import Context
from strongroom.operations.messages import (
    BackupReport,
    BeginBackup,
    CaptureUnit,
    Level,
    PlanReport,
    SealBackup,
    UnitReport,
    VerificationReport,
    VerifyBackup,
    WantedKind,
)
from strongroom.operations.verify_backup import verify_backup
from strongroom.postgres.connection import Connection, connect, snapshot_transaction
from strongroom.postgres.digest import row_digest
from strongroom.repository import locations
from strongroom.repository.chunks import ChunkReader
from strongroom.repository.collections import COLLECTIONS
from strongroom.repository.repository import Repository
from strongroom.repository.unit_writer import UnitWriter
from strongroom.runners import InThisProcess
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store

Table: TypeAlias = tuple[str, str]
Rows: TypeAlias = dict[Table, Counter[bytes]]

PASSPHRASE = b"a passphrase for tests"


@dataclass(frozen=True)
class Keys:
    """A folder of key files, and the keyring of somebody who may read rows."""

    directory: Path
    recoverer: Keyring

    @classmethod
    def make(cls, directory: Path) -> "Keys":
        """Make a full set; opening recovery.pem is slow on purpose, so it is done once."""
        create_keys(directory, PASSPHRASE, os.urandom)
        return cls(directory, load_keyring(directory, passphrase=lambda: PASSPHRASE))


@dataclass(frozen=True)
class Observation:
    """What the database held at a snapshot: rows as COPY text, and the digest of each table."""

    rows: Rows
    digests: dict[Table, tuple[int, str]]


class SteppingClock:
    """The system's clock, set forward by hand: backups of one test never share a second."""

    def __init__(self) -> None:
        self.ahead = dt.timedelta()

    def __call__(self) -> dt.datetime:
        """Return the instant that is to be the present one."""
        return dt.datetime.now(dt.UTC) + self.ahead

    def step(self, seconds: float = 1.0) -> None:
        """Go forward."""
        self.ahead += dt.timedelta(seconds=seconds)


@dataclass
class RowBackups:
    """A source, a store, the keys, and what was observed at each backup."""

    settings: Settings
    keys: Keys
    store: Store
    clock: SteppingClock = field(default_factory=SteppingClock)
    remembered: dict[str, Observation] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        dsn: str,
        folder: Path,
        keys: Keys,
        monkeypatch: pytest.MonkeyPatch,
        store: Store | None = None,
    ) -> "RowBackups":
        """Make a repository in `store` (by default in memory) for the database at `dsn`."""
        settings = settings_for(dsn, folder, keys)
        backups = cls(settings, keys, store if store is not None else MemoryStore())
        backups.use(monkeypatch, backups.store)
        Repository.create(backups.store, keys.recoverer, backups.clock(), os.urandom)
        return backups

    def use(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        """Make every operation of this process open `store` from now on."""
        self.store = store
        monkeypatch.setattr(locations, "open_store", lambda *_: store)

    # ------------------------------------------------------------------------------ backing up

    def back_up(
        self, kind: WantedKind = "incremental", during: Callable[[PlanReport], None] | None = None
    ) -> str:
        """Take a backup, remember what the database held, and return the backup's id.

        `during` is called while the snapshot is held, before the first unit is read.
        """
        return self.report(kind, during).backup

    def report(
        self, kind: WantedKind = "incremental", during: Callable[[PlanReport], None] | None = None
    ) -> BackupReport:
        """Take a backup and return its whole report."""
        self.clock.step()
        runner = InThisProcess(self.settings, Deadline.after(120, "test"), clock=self.clock)
        with runner.hold("begin_backup", BeginBackup(kind=kind), PlanReport) as plan:
            observed = self.observe(plan.snapshot)
            if during is not None:
                during(plan)
            units = [self.empty_catalog(plan.backup), *self.capture(runner, plan, len(plan.units))]
            report = runner.run(
                "seal_backup", SealBackup(backup=plan.backup, units=tuple(units)), BackupReport
            )
        self.remembered[plan.backup] = observed
        return report

    def interrupt(self, units: int, kind: WantedKind = "incremental") -> PlanReport:
        """Begin a backup, capture its first units, and give it up."""
        self.clock.step()
        runner = InThisProcess(self.settings, Deadline.after(120, "test"), clock=self.clock)
        with runner.hold("begin_backup", BeginBackup(kind=kind), PlanReport) as plan:
            self.capture(runner, plan, units)
        return plan

    def empty_catalog(self, backup: str) -> UnitReport:
        """Stand in for the unit of everything that is not rows."""
        writer = UnitWriter(Repository.open(self.store, self.keys.recoverer), backup, 0, os.urandom)
        collections = tuple(Collection(name=name, chunks=()) for name in sorted(COLLECTIONS))
        return UnitReport(
            backup=backup, unit=0, document=writer.finish((), collections), totals=CaptureTotals()
        )

    def capture(self, runner: InThisProcess, plan: PlanReport, units: int) -> list[UnitReport]:
        """Capture the first units of a plan."""
        requests = [
            CaptureUnit(backup=plan.backup, unit=unit.number, snapshot=plan.snapshot)
            for unit in plan.units[:units]
        ]
        return runner.run_all([("capture_unit", request) for request in requests], UnitReport)

    # ------------------------------------------------------------------------------ observing

    def observe(self, snapshot: str) -> Observation:
        """Read every table of the user inside an exported snapshot, each as a whole."""
        with (
            connect(self.settings.conninfo(), Deadline.after(120, "test")) as connection,
            snapshot_transaction(connection, snapshot),
        ):
            return observe_all(connection)

    # ------------------------------------------------------------------------------ reading back

    def repository(self) -> Repository:
        """Open the repository as somebody who may read rows."""
        return Repository.open(self.store, self.keys.recoverer)

    def manifest(self, backup: str) -> Manifest:
        """Read a backup's manifest."""
        return self.repository().read_manifest(backup)

    def listed(self) -> list[str]:
        """Return the ids of all listed backups."""
        return [str(backup) for backup in self.repository().backup_ids()]

    def rows_of(self, backup: str) -> Rows:
        """Read all rows of a backup through its layers."""
        return read_rows(self.repository(), backup)

    def baseline_of(self, backup: str) -> dict[Table, tuple[int, str]]:
        """Return number and digest of each table's rows, as the manifest says."""
        manifest = self.manifest(backup)
        return {(t.facts.schema, t.facts.name): (t.rows, t.digest) for t in manifest.tables}

    def assert_true(self, backup: str) -> None:
        """Assert that a backup gives back exactly what was observed at its snapshot."""
        expected = self.remembered[backup]
        assert expected.digests == self.baseline_of(backup)
        actual = self.rows_of(backup)
        assert sorted(expected.rows) == sorted(actual)
        for table, rows in expected.rows.items():
            assert rows == actual[table], f"{table} of {backup}: {_difference(rows, actual[table])}"

    def verify(self, backup: str, level: Level = "content") -> VerificationReport:
        """Verify a backup; content with the recovery key, which no worker has."""
        context = Context(deadline=Deadline.after(120, "test"), clock=self.clock)
        return verify_backup(self.settings, VerifyBackup(backup=backup, level=level), context)


def observe_all(connection: Connection) -> Observation:
    """Read every table of the user as a whole, and its digest."""
    tables = {table: _columns(connection, table) for table in _tables(connection)}
    return Observation(
        rows={table: _rows(connection, table, columns) for table, columns in tables.items()},
        digests={table: _digest(connection, table, columns) for table, columns in tables.items()},
    )


def settings_for(dsn: str, folder: Path, keys: Keys, **variables: str) -> Settings:
    """Return settings for a source and a repository in `folder`."""
    environment = {
        "STRONGROOM_SOURCE_NAME": "test",
        "STRONGROOM_DATABASE_URL": dsn,
        "STRONGROOM_REPOSITORY_LOCATIONS": f"file://{folder}/repository",
        "STRONGROOM_KEYS_DIRECTORY": str(keys.directory),
        "STRONGROOM_RECOVERY_PASSPHRASE": PASSPHRASE.decode(),
        "STRONGROOM_BACKUP_MAX_BACKUP_SIZE": "0",
        "STRONGROOM_BACKUP_COMPRESSION_THRESHOLD": "0",
        **variables,
    }
    return load_settings(None, environment)


def read_rows(repository: Repository, backup: str) -> Rows:
    """Read all rows of a backup through its layers."""
    manifest = repository.read_manifest(backup)
    documents = [repository.read_unit_document(reference) for reference in manifest.documents]
    reader = ChunkReader(repository)
    found: Rows = {}
    for entry in manifest.tables:
        rows: Counter[bytes] = Counter()
        for place in entry.parts:
            document = documents[place.document]
            for extent in document.parts[place.part].extents:
                for layer in extent.layers:
                    text, count = reader.rows(layer, document)
                    lines = text.split(b"\n")
                    assert (b"", count) == (lines.pop(), len(lines))
                    rows.update(lines)
        found[entry.facts.schema, entry.facts.name] = rows
    return found


def small_extents(monkeypatch: pytest.MonkeyPatch, *, pages: int = 2) -> None:
    """Make extents, blocks, packs, batches and units so small that a few rows need many of each."""
    monkeypatch.setattr("strongroom.postgres.extents.EXTENT_TARGET", pages * 8192)
    monkeypatch.setattr("strongroom.postgres.copy_out.BLOCK_TARGET", 4096)
    monkeypatch.setattr("strongroom.format.packs.PACK_TARGET", 16384)
    monkeypatch.setattr("strongroom.repository.unit_writer._ROW_MAP_BATCH", 200)
    monkeypatch.setattr("strongroom.postgres.planning.UNIT_BYTES", 192 << 10)
    monkeypatch.setattr("strongroom.postgres.extents._COUNT_BATCH", 3)


def _tables(connection: Connection) -> list[Table]:
    return [
        (schema, name)
        for schema, name in connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'"
            " AND n.nspname <> 'information_schema' ORDER BY 1, 2"
        )
    ]


def _columns(connection: Connection, table: Table) -> list[Column]:
    found = connection.execute(
        "SELECT attname, attnum, atttypid FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
        " JOIN pg_namespace n ON n.oid = relnamespace WHERE (nspname, relname) = (%s, %s) AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        table,
    ).fetchall()
    return [
        Column(name=name, number=number, type="", type_oid=oid, type_modifier=-1)
        for name, number, oid in found
    ]


def _rows(connection: Connection, table: Table, columns: list[Column]) -> Counter[bytes]:
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    query = sql.SQL("COPY (SELECT {} FROM ONLY {}) TO STDOUT").format(names, sql.Identifier(*table))
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        return Counter(bytes(row)[:-1] for row in copy)


def _digest(connection: Connection, table: Table, columns: list[Column]) -> tuple[int, str]:
    query = sql.SQL("SELECT count(*), coalesce(sum({}), 0)::text FROM ONLY {} AS t").format(
        sql.SQL(row_digest(columns)),
        sql.Identifier(*table),
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0], row[1]


def _difference(expected: Counter[bytes], actual: Counter[bytes]) -> str:
    missing, extra = expected - actual, actual - expected
    return f"missing {[m[:80] for m in list(missing)[:5]]}, too many {[e[:80] for e in list(extra)[:5]]}"
