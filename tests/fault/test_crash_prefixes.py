"""A crash after any change to the store leaves a repository whose listed backups are whole (I1, I7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strongroom.deadline import Deadline
from strongroom.errors import CaptureIncomplete, LeaseLost, StrongroomError, Transient
from strongroom.operations.context import Context
from strongroom.operations.messages import BackupReport, BeginBackup, PlanReport, SealBackup
from strongroom.operations.seal_backup import seal_backup
from strongroom.repository import layout
from strongroom.repository.leases import LEASE_TIME
from strongroom.repository.repository import Repository
from strongroom.runners import InThisProcess
from strongroom.stores.faulty import Fault, FaultKind, FaultyStore, SimulatedCrash, draw_faults
from strongroom.stores.memory import MemoryStore
from strongroom.stores.recording import Operation, RecordingStore, replay
from tests.databases import Database
from tests.row_backups import Keys, RowBackups, read_rows, small_extents


@dataclass
class Source:
    """A small database with its writer."""

    dsn: str
    writer: psycopg.Connection[tuple[Any, ...]]

    def change(self, turn: int) -> None:
        """Change some rows of both tables."""
        self.writer.execute("UPDATE a SET note = note || %s WHERE id %% 5 = %s", [str(turn), turn % 5])
        self.writer.execute("DELETE FROM b WHERE id %% 11 = %s", [turn % 11])
        self.writer.execute("INSERT INTO b SELECT g, 'new' FROM generate_series(1, 20) g")


@pytest.fixture
def source(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """Fill a database whose tables take several units, packs and batches of row maps."""
    small_extents(monkeypatch)
    with psycopg.connect(empty_database.dsn(), autocommit=True) as writer:
        for name in ("a", "b"):
            writer.execute(
                f"CREATE TABLE {name} AS SELECT g AS id, md5(g::text) || md5((g + 1)::text) AS note"
                " FROM generate_series(1, 1500) g".encode()
            )
        yield Source(empty_database.dsn(), writer)


def _whole(backups: RowBackups, store: MemoryStore) -> list[str]:
    """Assert that every listed backup of a store reads back as it was observed; return their ids."""
    repository = Repository.open(store, backups.keys.recoverer)
    listed = [str(backup) for backup in repository.backup_ids()]
    for backup in listed:
        assert backups.remembered[backup].rows == read_rows(repository, backup)
    return listed


def _prefixes(changes: Sequence[Operation]) -> list[int]:
    """Return the lengths worth trying: all around manifests, and every third of the others."""
    near = {
        count
        for place, change in enumerate(changes, 1)
        if change.name.startswith((layout.MANIFESTS, layout.ATTEMPTS))
        for count in range(place - 3, place + 3)
    }
    return sorted(count for count in {*range(1, len(changes) + 1, 3), *near} if 1 <= count <= len(changes))


def test_after_a_crash_at_any_change_all_listed_backups_are_whole(
    source: Source, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full, an attempt and two incrementals, cut off after each change: what is listed restores (I1, I7)."""
    recording = RecordingStore(MemoryStore())
    backups = RowBackups.make(source.dsn, tmp_path, keys, monkeypatch, recording)
    backups.back_up("full")
    source.change(1)
    backups.interrupt(units=1)
    source.change(2)
    backups.back_up("incremental")
    source.change(3)
    backups.back_up("incremental")
    changes = recording.changes()
    counts = _prefixes(changes)
    listings = [_whole(backups, replay(changes, count)) for count in counts]
    assert backups.listed() == listings[-1]
    assert [1, 2, 3] == sorted({len(listing) for listing in listings} - {0})


def test_after_a_crash_the_next_run_converges(
    source: Source, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off wherever it may be, a second run completes, and everything listed verifies (I7)."""
    recording = RecordingStore(MemoryStore())
    backups = RowBackups.make(source.dsn, tmp_path, keys, monkeypatch, recording)
    backups.back_up("full")
    source.change(1)
    backups.back_up("incremental")
    changes = recording.changes()
    for count in range(2, len(changes) + 1, max(1, len(changes) // 12)):
        store = replay(changes, count)
        backups.use(monkeypatch, store)
        # The lease of the dead run is over, whoever held it.
        backups.clock.step(600)
        kind = "incremental" if backups.listed() else "full"
        backup = backups.back_up("incremental" if kind == "incremental" else "full")
        assert backup in _whole(backups, store)
        assert () == backups.verify(backup, "structure").findings


@pytest.mark.parametrize("kind", [FaultKind.CRASH_BEFORE, FaultKind.CRASH_AFTER])
def test_a_crash_at_a_call_leaves_what_is_listed_whole(
    source: Source, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, kind: FaultKind
) -> None:
    """The process ends at every single put of an incremental: before it took effect, or just after."""
    inner = MemoryStore()
    backups = RowBackups.make(source.dsn, tmp_path, keys, monkeypatch, inner)
    backups.back_up("full")
    source.change(1)
    for nth in range(1, 30):
        store = inner.copy()
        faulty = FaultyStore(store, [Fault("put", nth, kind)])
        backups.use(monkeypatch, faulty)
        try:
            backups.back_up("incremental")
        except SimulatedCrash:
            faulty.assert_all_hit()
        else:
            break
        remembered = [
            b
            for b in backups.remembered
            if b in [str(x.name).split("/")[1] for x in store.list("manifests/")]
        ]
        backups.use(monkeypatch, store)
        listed = backups.listed()
        for backup in set(listed) & set(remembered):
            backups.assert_true(backup)
        for backup in listed:
            assert () == backups.verify(backup, "structure").findings
    else:
        pytest.fail("the backup never came to its end")
    assert nth > 5


@pytest.mark.parametrize("seed", range(6))
def test_a_faulty_store_fails_a_run_and_no_backup(
    source: Source, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Lost acknowledgements, errors and flipped bits end a run; the next ones converge, and what is listed verifies."""
    inner = MemoryStore()
    backups = RowBackups.make(source.dsn, tmp_path, keys, monkeypatch, inner)
    backups.back_up("full")
    kinds = (FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER, FaultKind.FULL, FaultKind.CORRUPT_READ)
    faulty = FaultyStore(inner, draw_faults(seed, 6, 12, ("put", "get", "list", "create"), kinds))
    print(f"seed {seed}: {faulty._plan}")  # noqa: T201 - shown when it fails
    outcomes: list[str] = []
    for turn in range(40):
        source.change(turn)
        backups.use(monkeypatch, faulty)
        backups.clock.step(600)
        try:
            backups.back_up("incremental")
            outcomes.append("listed")
        except StrongroomError as error:
            outcomes.append(error.code)
        if all(faulty._hit) and outcomes[-1] == "listed":
            break
    faulty.assert_all_hit()
    backups.use(monkeypatch, inner)
    assert "listed" == outcomes[-1]
    for backup in backups.listed():
        if backup in backups.remembered:
            backups.assert_true(backup)
        assert () == backups.verify(backup, "structure").findings


def test_a_lost_acknowledgement_of_the_manifest_does_not_fail_the_backup_that_is_listed(
    source: Source, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealing again what was sealed already gives the report of the backup that is there (safe to run twice)."""
    inner = MemoryStore()
    backups = RowBackups.make(source.dsn, tmp_path, keys, monkeypatch, inner)
    runner = InThisProcess(backups.settings, Deadline.never(), clock=backups.clock)
    with runner.hold("begin_backup", BeginBackup(kind="full"), PlanReport) as plan:
        captured = backups.capture(runner, plan, len(plan.units))
        units = (backups.empty_catalog(plan.backup), *captured)
        request = SealBackup(backup=plan.backup, units=units)
        faulty = FaultyStore(inner, [Fault("put", 1, FaultKind.ERROR_AFTER, prefix="manifests/")])
        backups.use(monkeypatch, faulty)
        with pytest.raises(Transient):
            seal_backup(backups.settings, request, Context(deadline=Deadline.never()))
        report = seal_backup(backups.settings, request, Context(deadline=Deadline.never()))
        faulty.assert_all_hit()
    assert [report.backup] == backups.listed()


def test_a_backup_that_lost_its_right_or_has_no_definitions_is_not_listed(
    source: Source, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealing is refused without the catalog's unit, and once the lease has run out (I7)."""
    backups = RowBackups.make(source.dsn, tmp_path, keys, monkeypatch)
    runner = InThisProcess(backups.settings, Deadline.never(), clock=backups.clock)
    late = Context(
        deadline=Deadline.never(), clock=lambda: backups.clock() + LEASE_TIME + timedelta(seconds=1)
    )
    with runner.hold("begin_backup", BeginBackup(kind="full"), PlanReport) as plan:
        rows = tuple(backups.capture(runner, plan, len(plan.units)))
        whole = (backups.empty_catalog(plan.backup), *rows)
        with pytest.raises(CaptureIncomplete):
            runner.run("seal_backup", SealBackup(backup=plan.backup, units=rows), BackupReport)
        with pytest.raises(LeaseLost):
            seal_backup(backups.settings, SealBackup(backup=plan.backup, units=whole), late)
        assert backups.listed() == []
        runner.run("seal_backup", SealBackup(backup=plan.backup, units=whole), BackupReport)
    assert backups.listed() == [plan.backup]
