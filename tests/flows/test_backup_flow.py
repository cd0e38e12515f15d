"""The flow of a backup, with operations that stand for the engine's: its order, its limits, its ends."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from flows.backup import back_up
from flows.verify import verify
from strongroom.errors import (
    CheckFailed,
    ChildDied,
    DeadlineExceeded,
    SourceUnavailable,
    UnknownBackup,
    VerificationFailed,
)
from strongroom.operations.messages import BackupReport
from tests.conftest import MakeDatabase
from tests.flows.conftest import FakeSource, write_configuration
from tests.flows.fake_backup import BACKUP


def artifacts(key: str) -> list[Artifact]:
    """Return the artifacts of a key, the newest first."""

    async def read() -> list[Artifact]:
        async with get_client() as client:
            return await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            )

    return sorted(asyncio.run(read()), key=lambda artifact: str(artifact.created), reverse=True)


def test_a_backup_is_told_in_order(source: FakeSource) -> None:
    """Check, snapshot, catalog and units, seal, let the snapshot go, verify: in this order."""
    report = asyncio.run(back_up(source.configuration, kind="full"))
    calls = source.calls()
    assert calls[:2] == ["check_source", "begin_backup"]
    assert sorted(calls[2:6]) == ["capture_catalog", "capture_unit", "capture_unit", "capture_unit"]
    assert calls[6:] == ["seal_backup", "verify_backup"]
    assert (report.backup, report.totals.rows, report.totals.bytes_stored) == (BACKUP, 60, 3072)
    assert (source.folder / "released").exists()


def test_a_backup_leaves_artifacts_without_secrets(source: FakeSource) -> None:
    """Summary, check, units and progress are published; the password of the source is in none of them."""
    asyncio.run(back_up(source.configuration))
    keys = ["backup-quantforge", "check-quantforge", "units-quantforge", "verification-quantforge"]
    published = [artifacts(key)[0] for key in keys]
    assert "proven present and whole" in str(published[0].data)
    assert "public.t3" in str(published[2].data)
    assert artifacts("backup-progress-quantforge")[0].data == 100.0
    assert "hunter2secret" not in str(published)


def test_reports_can_be_persisted(source: FakeSource, tmp_path: Path) -> None:
    """Prefect can store a flow's report and read it back, and there is no secret in what it stores."""

    async def story() -> tuple[BackupReport, str]:
        state = await back_up.with_options(persist_result=True)(source.configuration, return_state=True)
        record = getattr(state.data, "metadata", state.data)
        return await state.aresult(), str(record.storage_key)

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}):
        report, place = asyncio.run(story())
    stored = Path(place).read_bytes()
    assert (report.backup, report.totals.rows) == (BACKUP, 60)
    assert b"hunter2secret" not in stored


def test_a_passing_error_is_tried_again(source: FakeSource) -> None:
    """A unit that fails twice for a passing reason is captured at the third attempt."""
    source.script(seal_backup="transient 2")
    assert asyncio.run(back_up(source.configuration)).backup == BACKUP
    assert source.calls().count("seal_backup") == 3


def test_a_passing_error_is_not_tried_for_ever(source: FakeSource) -> None:
    """After max_retries the error is raised as what it is."""
    source.script(check_source="transient 9")
    with pytest.raises(SourceUnavailable):
        asyncio.run(back_up(source.configuration))
    assert source.calls() == ["check_source"] * 4


def test_a_lasting_error_is_not_tried_again(source: FakeSource) -> None:
    """An error that does not pass ends the flow at once, with its class, and the snapshot with it."""
    source.script(capture_catalog="lasting", capture_unit="last")
    with pytest.raises(UnknownBackup):
        asyncio.run(back_up(source.configuration))
    assert source.calls().count("capture_catalog") == 1
    assert "seal_backup" not in source.calls()
    assert source.left() == []


def test_a_failed_check_begins_nothing(source: FakeSource) -> None:
    """The flow ends with the remedy of the check, before a snapshot is taken."""
    source.script(check_source="refuse")
    with pytest.raises(CheckFailed, match="clock: 4 h away") as caught:
        asyncio.run(back_up(source.configuration))
    assert caught.value.advice() == "Set the clock."
    assert source.calls() == ["check_source"]


def test_a_backup_that_cannot_be_proven_fails(source: FakeSource) -> None:
    """A sealed backup that does not verify makes the flow fail, after its report was published."""
    source.script(verify_backup="unproven")
    with pytest.raises(VerificationFailed, match="packs/ab/abc"):
        asyncio.run(back_up(source.configuration))
    assert "packs/ab/abc" in str(artifacts("verification-quantforge")[0].data)


def test_verify_fails_after_its_report(source: FakeSource) -> None:
    """So does a verification of its own."""
    source.script(verify_backup="unproven")
    with pytest.raises(VerificationFailed, match="to the level content"):
        asyncio.run(verify(source.configuration, level="content"))


def test_the_limit_of_a_backup_ends_all_its_work(source: FakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """When max_backup_duration is over, even children that ignore SIGTERM are gone within seconds."""
    monkeypatch.setattr("strongroom.child_process.GRACE_SECONDS", 0.5)
    source.script(capture_unit="stubborn", capture_catalog="last")
    configuration = write_configuration(
        source.folder.parent, source.folder, backup_max_backup_duration="10 s"
    )
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"within 10 s \(backup.max_backup_duration\)"):
        asyncio.run(back_up(str(configuration)))
    assert time.monotonic() - begun < 16
    assert source.calls()[2:] in (["capture_catalog", "capture_unit"], ["capture_unit", "capture_catalog"])
    assert source.left() == []


def test_prefects_own_timeout_ends_all_work(source: FakeSource) -> None:
    """A flow timeout set in Prefect cancels the flow, and with it the children."""
    source.script(capture_unit="last", capture_catalog="last")
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(back_up.with_options(timeout_seconds=8)(source.configuration))
    assert time.monotonic() - begun < 14
    assert "capture_catalog" in source.calls()
    assert source.left() == []


def test_a_cancelled_flow_leaves_no_process(source: FakeSource) -> None:
    """Cancelling the flow's coroutine, as Ctrl-C does, ends all children within seconds."""
    source.script(capture_unit="last", capture_catalog="last")

    async def story() -> float:
        work = asyncio.ensure_future(back_up(source.configuration))
        await asyncio.to_thread(source.wait_for, "capture_unit")
        begun = time.monotonic()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return time.monotonic() - begun

    assert asyncio.run(story()) < 4
    assert source.left() == []


def test_a_lost_snapshot_ends_the_backup(source: FakeSource) -> None:
    """When the process that holds the snapshot dies, captures end at once and nothing is sealed."""
    source.script(capture_unit="last", capture_catalog="last")

    async def story() -> None:
        work = asyncio.ensure_future(back_up(source.configuration))
        await asyncio.to_thread(source.wait_for, "capture_unit")
        holder = next(source.folder.glob("*.begin_backup.*.pid"))
        os.kill(int(holder.name.split(".")[2]), signal.SIGKILL)
        await work

    with pytest.raises(ChildDied, match="begin_backup"):
        asyncio.run(story())
    assert source.left() == []
    assert "seal_backup" not in source.calls()


def test_a_cancelled_flow_leaves_no_query(source: FakeSource, quantforge: MakeDatabase) -> None:
    """A query that runs in the server for a child is cancelled there too when the flow is cancelled."""
    database = quantforge()
    configuration = write_configuration(source.folder.parent, source.folder, database.dsn())
    source.script(capture_unit="query strongroom-left")

    def queries() -> int:
        with psycopg.connect(database.dsn(), autocommit=True) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom-left'"
            ).fetchone()
        return int(found[0]) if found else 0

    async def story() -> None:
        work = asyncio.ensure_future(back_up(str(configuration)))
        end = time.monotonic() + 60
        while queries() == 0 and time.monotonic() < end:  # noqa: ASYNC110  (the server has no event for us)
            await asyncio.sleep(0.1)
        assert queries() > 0
        work.cancel()
        await asyncio.wait({work})

    asyncio.run(story())
    end = time.monotonic() + 8
    while queries() and time.monotonic() < end:
        time.sleep(0.1)
    assert queries() == 0
