"""The drill, end to end: a database in the Supabase shape is backed up and recovered into a server of the drill's own.

Everything is the true engine in real child processes under the true flow. CI runs this as the drill on the demo
database.
"""

import asyncio
import json
from pathlib import Path

import psutil
import psycopg
import pytest

from flows.backup import back_up
from flows.drill import rehearse
from strongroom.children import hold_in_child
from strongroom.config import Settings, load_settings
from strongroom.deadline import Deadline
from strongroom.errors import DrillFailed, PlanUnfit
from strongroom.format.records import DrillRecord, VerificationRecord
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DrillServerReport, DrillsReport, HoldDrillServer, ListDrills
from strongroom.operations.init_repository import init_repository
from strongroom.operations.list_drills import list_drills
from strongroom.operations.messages import InitRepository
from strongroom.repository.opening import open_repository
from tests.databases import MakeDatabase
from tests.flows.conftest import write_configuration

PASSPHRASE = "open sesame"


def prepare(folder: Path, address: str) -> tuple[str, Settings]:
    """Write a configuration with a repository in a folder; return its path, and what it says."""
    path = write_configuration(folder, folder / "repository", address)
    settings = load_settings(path, {"STRONGROOM_KEYS_PASSPHRASE": PASSPHRASE})
    init_repository(settings, InitRepository(), Context(deadline=Deadline.after(60, "test")))
    return str(path), settings


def drills(settings: Settings) -> DrillsReport:
    """List the drills that are on record."""
    return list_drills(settings, ListDrills(), Context(deadline=Deadline.after(60, "test")))


def count_ticks(address: str) -> int:
    """Count a table of the source."""
    with psycopg.connect(address) as connection:
        row = connection.execute("SELECT count(*) FROM public.ticks").fetchone()
    return row[0] if row else -1


@pytest.mark.timeout(400)
def test_a_drill_proves_the_backup_and_one_of_a_damaged_backup_fails(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is measured, signed, and proves the backup. Then a pack is damaged; the second fails, with evidence."""
    monkeypatch.setenv("STRONGROOM_KEYS_PASSPHRASE", PASSPHRASE)
    source = quantforge()
    configuration, settings = prepare(tmp_path, source.dsn())
    taken = asyncio.run(back_up(configuration, kind="full"))
    with psycopg.connect(source.dsn()) as connection:
        # What the source holds by now is none of the drill's business.
        connection.execute("DELETE FROM public.ticks")

    report = asyncio.run(rehearse(configuration, data_docs=str(tmp_path / "docs")))
    record = report.evidence
    assert (True, taken.backup, 18) == (record.passed, record.backup, record.server_version // 10000)
    assert all((one.rows, one.digest) == (one.rows_expected, one.digest_expected) for one in record.tables)
    assert sum(one.rows for one in record.tables) == taken.totals.rows
    assert (record.suites, True) == (record.suites_passed, record.suites > 40)
    assert 0 < record.recovery_duration_seconds <= record.recovery_duration_objective_seconds == 1800
    assert 0 < record.recovery_lag_seconds < record.recovery_lag_objective_seconds == 6 * 3600
    assert 0 == count_ticks(source.dsn())

    repository = open_repository(settings)
    (name,) = repository.record_names(DrillRecord.FOLDER)
    stored = repository.read_record(DrillRecord, name)
    assert stored.page == Path(report.page).read_text(encoding="utf-8")
    assert (
        record.drill == json.loads(Path(report.document).read_text(encoding="utf-8"))["drill"] == stored.drill
    )
    assert Path(report.data_docs).exists()
    assert "restore" in {
        proof.level for proof in repository.read_records(VerificationRecord, taken.backup) if proof.passed
    }
    assert [(record.drill, True)] == [(brief.drill, brief.passed) for brief in drills(settings).drills]

    pack = max((tmp_path / "repository" / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
    pack.write_bytes(pack.read_bytes()[:-1])
    with pytest.raises(DrillFailed, match="SR-0880"):
        asyncio.run(rehearse(configuration, backup=taken.backup, data_docs=""))
    found = drills(settings)
    assert ([True, False], ()) == ([brief.passed for brief in found.drills], found.findings)
    assert 0 == found.drills[1].suites


def test_evidence_that_was_tampered_with_is_not_believed(tmp_path: Path, quantforge: MakeDatabase) -> None:
    """A drill on record is signed: whoever can write to the repository cannot make one pass."""
    _, settings = prepare(tmp_path, quantforge().dsn())
    folder = tmp_path / "repository" / DrillRecord.FOLDER / "20261102-030000000-0123456789"
    folder.mkdir(parents=True)
    (folder / "20261102-030000000-01234567").write_bytes(b"a drill that nobody has signed" * 9)
    report = drills(settings)
    assert ((), ["SR-0509"]) == (report.drills, [finding.code for finding in report.findings])


def test_a_mutation_drill_damages_no_database_of_somebody_else(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused before anything is opened: what it restored would be damaged."""
    address = quantforge().dsn()
    configuration, _ = prepare(tmp_path, address)
    monkeypatch.setenv("STRONGROOM_DESTINATION_URL", address)
    with pytest.raises(PlanUnfit, match="server of its own"):
        asyncio.run(rehearse(configuration, destination="environment", mutation=True, data_docs=""))


def test_a_throw_away_server_ends_with_its_holder(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the process that holds it dies: here by SIGKILL, without a chance to stop anything."""
    monkeypatch.setenv("STRONGROOM_KEYS_PASSPHRASE", PASSPHRASE)
    configuration, settings = prepare(tmp_path, quantforge().dsn())
    taken = asyncio.run(back_up(configuration, kind="full"))
    request = HoldDrillServer(backup=taken.backup)
    with (
        pytest.raises(InterruptedError),
        hold_in_child(
            "hold_drill_server", settings, request, DrillServerReport, deadline=Deadline.after(60, "test")
        ) as server,
    ):
        (holder,) = [
            child
            for child in psutil.Process().children()
            if "strongroom.child" in " ".join(child.cmdline()) and child.children()
        ]
        below = holder.children(recursive=True)
        assert any("postgres" in process.name() for process in below)
        with psycopg.connect(
            host=server.socket_directory, user=server.user, dbname=server.database
        ) as session:
            session.execute("SELECT 1")
        holder.kill()
        raise InterruptedError
    _, alive = psutil.wait_procs(below, timeout=20)
    assert [] == alive
    assert not Path(server.socket_directory).exists()
