"""Real processes killed at random moments, and two that want to back up at once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from strongroom.deadline import Deadline
from strongroom.errors import LeaseHeld
from strongroom.operations.messages import BeginBackup, PlanReport
from strongroom.repository import layout
from strongroom.repository.locations import open_location
from strongroom.repository.repository import Repository
from strongroom.runners import InChildren, InThisProcess
from strongroom.whole import back_up
from tests.databases import Database
from tests.row_backups import Keys, RowBackups, read_rows, settings_for

_PROGRAM = """
import sys
from pathlib import Path
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.runners import InChildren
from strongroom.whole import back_up

if __name__ == "__main__":
    settings = Settings.from_child(Path(sys.argv[1]).read_bytes())
    back_up(InChildren(settings, Deadline.after(120, "test")), sys.argv[2])
"""


@pytest.fixture
def backups(empty_database: Database, tmp_path: Path, keys: Keys) -> RowBackups:
    """Make a repository in a folder, for a database of several tables that each make a unit."""
    settings = settings_for(empty_database.dsn(), tmp_path, keys)
    store = open_location(settings).store
    made = RowBackups(settings, keys, store)
    Repository.create(store, keys.recoverer, made.clock(), os.urandom)
    with psycopg.connect(empty_database.dsn(), autocommit=True) as writer:
        for number in range(2):
            writer.execute(
                f"CREATE TABLE t{number} AS SELECT g AS id, md5(g::text) AS note"
                " FROM generate_series(1, 100000) g".encode()
            )
    return made


def _start(backups: RowBackups, folder: Path, kind: str) -> subprocess.Popen[bytes]:
    """Start a backup as a program of its own, with children of its own."""
    settings = folder / "settings"
    settings.write_bytes(backups.settings.to_child())
    program = folder / "program.py"
    program.write_text(_PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(program), str(settings), kind],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program with SIGKILL: it can tidy up nothing."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def _await(backups: RowBackups, prefix: str, known: set[str], seconds: float = 60) -> None:
    """Wait until an object that was not known has come."""
    limit = time.monotonic() + seconds
    while {stored.name for stored in backups.store.list(prefix)} <= known:
        assert time.monotonic() < limit, f"nothing new under {prefix}"
        time.sleep(0.01)


def _rows_now(backups: RowBackups) -> dict[str, object]:
    """Read what the database holds at present; nobody is writing."""
    with psycopg.connect(str(backups.settings.source.database_url.get_secret_value())) as connection:  # type: ignore[union-attr]
        found: dict[str, object] = {}
        for name in ("t0", "t1"):
            with connection.cursor().copy(f"COPY {name} TO STDOUT".encode()) as copy:
                found[name] = sorted(b"".join(bytes(block) for block in copy).split(b"\n")[:-1])
        return found


def _rows_of(backups: RowBackups, backup: str) -> dict[str, object]:
    rows = read_rows(backups.repository(), backup)
    return {name: sorted(rows["public", name].elements()) for name in ("t0", "t1")}


def test_a_killed_backup_is_taken_over_at_once_and_its_work_is_used(
    backups: RowBackups, tmp_path: Path
) -> None:
    """The lease of a dead process stops nobody, and what it stored is not read again."""
    process = _start(backups, tmp_path, "full")
    try:
        _await(backups, layout.ATTEMPTS, set())
        _await(backups, layout.UNIT_DOCUMENTS, set())
        attempt = next(backups.store.list(layout.UNIT_DOCUMENTS)).name.split("/")[1]
    finally:
        _kill(process)
    assert [] == backups.listed()
    assert _units_of(backups, attempt) > 0
    _release_connections(backups)
    resumed: list[str] = []
    backup = backups.report("full", lambda plan: resumed.append(plan.resumes))
    assert [attempt] == resumed
    assert backup.totals.rows == 200000
    backups.assert_true(backup.backup)


def test_a_backup_that_resumes_stores_less(
    backups: RowBackups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that an interrupted attempt finished are named, not stored again."""
    monkeypatch.setattr("strongroom.postgres.planning.UNIT_BYTES", 1 << 20)
    whole = backups.report("full").totals
    plan = backups.interrupt(units=99, kind="full")
    report = backups.report("full", lambda new: _same(plan.backup, new.resumes))
    assert 0 == report.totals.rows_read
    assert whole.bytes_stored > 20 * report.totals.bytes_stored
    backups.assert_true(report.backup)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_a_random_moment_earlier_backups_stay_and_the_next_run_completes(
    backups: RowBackups, tmp_path: Path, seed: int
) -> None:
    """Whenever SIGKILL comes, what was listed restores and a repeated run converges (I7)."""
    expected: dict[str, dict[str, object]] = {backups.back_up("full"): _rows_now(backups)}
    with psycopg.connect(backups.settings.source.database_url.get_secret_value(), autocommit=True) as writer:  # type: ignore[union-attr]
        writer.execute("UPDATE t0 SET note = note || 'x' WHERE id % 3 = 0")
    process = _start(backups, tmp_path, "incremental")
    try:
        process.wait(random.Random(seed).uniform(0.5, 4.0))
    except subprocess.TimeoutExpired:
        pass
    finally:
        _kill(process)
    _release_connections(backups)
    expected[backups.back_up("incremental")] = _rows_now(backups)
    for backup, rows in expected.items():
        assert rows == _rows_of(backups, backup)
    for backup in backups.listed():
        assert () == backups.verify(backup, "structure").findings


def test_of_two_backups_at_once_one_is_refused(backups: RowBackups) -> None:
    """Whoever holds the lease finishes; the other is told who does."""
    holder = InChildren(backups.settings, Deadline.after(60, "test"))
    with holder.hold("begin_backup", BeginBackup(kind="full"), PlanReport) as plan:
        with pytest.raises(LeaseHeld) as refused:
            back_up(InChildren(backups.settings, Deadline.after(60, "test")), "full")
        with (
            pytest.raises(LeaseHeld),
            InThisProcess(backups.settings, Deadline.never()).hold("begin_backup", BeginBackup(), PlanReport),
        ):
            pass
    assert "process" in str(refused.value.context["holder"])
    assert plan.backup not in backups.listed()
    assert backups.back_up("full") in backups.listed()


def _same(expected: str, actual: str) -> None:
    assert expected == actual


def _units_of(backups: RowBackups, attempt: str) -> int:
    return len(list(backups.store.list(f"{layout.UNIT_DOCUMENTS}{attempt}/")))


def _release_connections(backups: RowBackups) -> None:
    """Wait until no child of the killed program holds the lease of its own: children end with their parent."""
    limit = time.monotonic() + 20
    while True:
        with psycopg.connect(backups.settings.source.database_url.get_secret_value()) as connection:  # type: ignore[union-attr]
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE 'strongroom%'"
            ).fetchone()
        if row == (0,):
            return
        assert time.monotonic() < limit, "children outlive the program that was killed"
        time.sleep(0.05)
