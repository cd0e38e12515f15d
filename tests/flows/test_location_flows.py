"""The flows that work on several locations: copying within a backup, copying alone, retention, repair.

Operations are those of `tests.flows.fake_backup`, except in the last test, which has the true engine and folders.
"""

import asyncio
import json
import time
from pathlib import Path

import psycopg
import pytest

from flows.backup import back_up
from flows.repair import mend
from flows.replication import copy_backups
from flows.retention import clean_up
from strongroom.config import Settings, load_settings
from strongroom.deadline import Deadline
from strongroom.errors import (
    CopiesMissing,
    CopyDamaged,
    DeadlineExceeded,
    EmptyPolicy,
    StrongroomError,
    TooFewCopies,
    UnknownBackup,
)
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.list_backups import list_backups
from strongroom.operations.messages import InitRepository, ListBackups
from tests.conftest import MakeDatabase
from tests.flows.conftest import FakeSource, write_configuration
from tests.flows.fake_backup import BACKUP, OLD
from tests.flows.test_backup_flow import artifacts

OTHERS = {"edge": "", "archive": ""}
NAMES = ("local", "edge", "archive")
EXPIRY = [f"expire_backups at {name}" for name in NAMES]
COLLECTION = [f"collect_garbage at {name}" for name in NAMES]


@pytest.fixture
def places(source: FakeSource) -> FakeSource:
    """Give the source two more locations."""
    return configured(source)


def configured(source: FakeSource, others: dict[str, str] | None = None, **limits: str) -> FakeSource:
    """Configure the source with more locations and other limits."""
    path = write_configuration(source.folder.parent, source.folder, others=others or OTHERS, **limits)
    assert str(path) == source.configuration
    return source


def table(key: str) -> list[dict[str, str]]:
    """Return the rows of the newest artifact of a key."""
    rows: list[dict[str, str]] = json.loads(str(artifacts(key)[0].data))
    return rows


# -------------------------------------------------------------------------------------- backup, copying


def test_a_backup_is_copied_after_it_was_verified(places: FakeSource) -> None:
    """Objects are read once for all locations, then each location is a task of its own; report and table say so."""
    report = asyncio.run(back_up(places.configuration))
    calls = places.calls()
    assert calls[-6:-3] == ["seal_backup", "verify_backup", "copy_objects"]
    assert sorted(calls[-3:]) == ["replicate at archive", "replicate at edge", "replicate at local"]
    assert (report.locations, report.findings) == (("local", "edge", "archive"), ())
    rows = {row["location"]: row for row in table("copies-quantforge")}
    assert list(rows) == ["local", "edge", "archive"]
    shown = ("backups copied", "objects copied", "already there", "bytes copied", "newest")
    # What was read once for all counts with each location.
    assert [rows["edge"][name] for name in shown] == [1, 3, 0, "3.0 KiB", BACKUP]
    assert "No findings." in str(artifacts("copies-findings-quantforge")[0].data)
    assert artifacts("replication-progress-quantforge")[0].data == 100.0


def test_one_other_location_reads_for_itself(source: FakeSource) -> None:
    """With two locations nothing can be read once for several, so that step is left out."""
    configured(source, {"archive": ""})
    asyncio.run(copy_backups(source.configuration))
    assert sorted(source.calls()) == ["replicate at archive", "replicate at local"]


def test_a_location_that_fails_is_a_finding(places: FakeSource) -> None:
    """With min_copies of 1 the run passes, says what went wrong where, and the other location has its copy."""
    places.script(**{"replicate at edge": "denied"})
    report = asyncio.run(back_up(places.configuration))
    assert report.locations == ("local", "archive")
    assert [(found.object, found.severity) for found in report.findings] == [("location edge", "error")]
    assert "the key may only read" in str(artifacts("copies-findings-quantforge")[0].data)
    places.script()
    assert [place.location for place in asyncio.run(copy_backups(places.configuration)).places] == list(NAMES)
    assert "No findings." in str(artifacts("copies-findings-quantforge")[0].data)


def test_too_few_copies_fail_the_run(source: FakeSource) -> None:
    """With min_copies not reached the run fails after the backup was sealed, verified, copied and published."""
    configured(source, repository_min_copies="3")
    source.script(**{"replicate at edge": "denied"})
    with pytest.raises(TooFewCopies, match=r"at 2 locations, and repository.min_copies is 3: location edge"):
        asyncio.run(back_up(source.configuration))
    assert "verify_backup" in source.calls()
    assert "replicate at archive" in source.calls()
    assert BACKUP in str(artifacts("backup-quantforge")[0].data)
    assert [row["location"] for row in table("copies-quantforge")] == ["local", "archive"]


def test_a_location_that_is_only_read_is_no_copy(source: FakeSource) -> None:
    """Nothing is copied to it, and the error says why copies are too few."""
    configured(source, {"archive": ", read_only = true"}, repository_min_copies="2")
    with pytest.raises(TooFewCopies, match=r"location archive is read_only\.$"):
        asyncio.run(back_up(source.configuration))
    assert "replicate at archive" not in source.calls()


def test_without_the_shared_read_each_location_reads_for_itself(places: FakeSource) -> None:
    """Copying objects once for all only saves reads: if it fails, that is a warning and every copy is made."""
    places.script(copy_objects="denied")
    report = asyncio.run(copy_backups(places.configuration))
    assert [place.location for place in report.places] == ["local", "edge", "archive"]
    assert [(found.object, found.severity) for found in report.findings] == [("all locations", "warning")]


@pytest.mark.parametrize(("word", "error"), [("empty", EmptyPolicy), ("lasting", UnknownBackup)])
def test_what_is_the_fault_of_no_location_is_said_once(
    places: FakeSource, word: str, error: type[StrongroomError]
) -> None:
    """A policy that keeps nothing, or the id of no backup, ends copying at once."""
    places.script(copy_objects=word)
    with pytest.raises(error):
        asyncio.run(copy_backups(places.configuration, backup="20200101-000000000-0123456789"))
    assert places.calls() == ["copy_objects"]


def test_copying_alone_fails_for_a_location_that_fails(places: FakeSource) -> None:
    """The flow of copying tries a passing error again, and fails for a lasting one after publishing the rest."""
    places.script(**{"replicate at edge": "transient 2", "replicate at archive": "denied"})
    with pytest.raises(CopiesMissing, match="wrong 1 times, and right at 2 locations: location archive"):
        asyncio.run(copy_backups(places.configuration))
    assert places.calls().count("replicate at edge") == 3
    assert places.calls().count("replicate at archive") == 1
    assert [row["location"] for row in table("copies-quantforge")] == ["local", "edge"]


def test_copying_has_a_time_of_its_own(source: FakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locations that are not done when replication_timeout is over are findings, and their work ends in seconds."""
    monkeypatch.setattr("strongroom.child_process.GRACE_SECONDS", 0.5)
    configured(source, repository_replication_timeout="6 s", backup_max_backup_duration="5 min")
    source.script(**{"replicate at edge": "stubborn", "replicate at archive": "last"})
    begun = time.monotonic()
    with pytest.raises(CopiesMissing, match=r"within 6 s \(repository.replication_timeout\)"):
        asyncio.run(copy_backups(source.configuration))
    assert time.monotonic() - begun < 14
    assert [row["location"] for row in table("copies-quantforge")] == ["local"]
    assert source.left() == []


def test_cancelled_copying_leaves_no_process(places: FakeSource) -> None:
    """Cancelling the flow while it copies ends the children within seconds."""
    places.script(**{"replicate at edge": "last"})

    async def story() -> float:
        work = asyncio.ensure_future(copy_backups(places.configuration))
        await asyncio.to_thread(places.wait_for, "replicate at edge")
        begun = time.monotonic()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return time.monotonic() - begun

    assert asyncio.run(story()) < 4
    assert places.left() == []


# -------------------------------------------------------------------------------------------- retention


def test_retention_is_told_in_order(places: FakeSource) -> None:
    """Plan, expire at each location, shred keys everywhere, collect at each location: in this order (I4)."""
    report = asyncio.run(clean_up(places.configuration))
    assert places.calls() == ["plan_retention", *EXPIRY, "shred_keys", *COLLECTION]
    assert [place.expired for place in report.expired] == [(OLD,), (OLD,), ()]
    assert report.shredded is not None
    assert (report.shredded.keys_shredded, len(report.collected), report.findings) == (1, 3, ())


def test_a_dry_run_ends_with_the_plan(places: FakeSource) -> None:
    """Nothing but the plan is made, and it is published with its reasons."""
    report = asyncio.run(clean_up(places.configuration, dry_run=True))
    assert places.calls() == ["plan_retention"]
    assert (report.dry_run, report.expired, report.shredded, report.collected) == (True, (), None, ())
    rows = table("retention-plan-quantforge")
    assert [(row["backup"], row["location"], row["what"]) for row in rows] == [
        (OLD, "local", "expires"),
        (OLD, "edge", "expires"),
        (BACKUP, "local", "stays"),
        (BACKUP, "edge", "stays"),
        (BACKUP, "archive", "stays"),
    ]
    assert (rows[0]["why"], rows[0]["frees"]) == ("no rule keeps it", "2.0 KiB")
    assert "| dry run | yes |" in str(artifacts("retention-quantforge")[0].data)


def test_what_retention_did_is_published(places: FakeSource) -> None:
    """The summary counts manifests, keys and bytes, location by location."""
    asyncio.run(clean_up(places.configuration))
    summary = str(artifacts("retention-quantforge")[0].data)
    assert "| expired | 2 |" in summary
    assert "| data keys shredded | 1 |" in summary
    assert "| freed at archive | 2 objects, 2.0 KiB; 5 objects wait" in summary


def test_accepted_backups_reach_the_plan(places: FakeSource) -> None:
    """What somebody accepts is given to planning."""
    report = asyncio.run(clean_up(places.configuration, accept=[BACKUP]))
    assert report.plan.keeps[0].reasons == ("newest: accepted",)


def test_a_location_in_use_is_left_for_the_next_run(places: FakeSource) -> None:
    """LeaseHeld at one location is a finding; no key is shredded then, and the other locations are done."""
    places.script(**{"expire_backups at edge": "held"})
    report = asyncio.run(clean_up(places.configuration))
    assert [place.location for place in report.expired] == ["local", "archive"]
    assert [place.location for place in report.collected] == ["local", "archive"]
    assert report.shredded is None
    assert [(found.code, found.severity, found.object) for found in report.findings] == [
        ("SR-0707", "warning", "location edge")
    ]
    assert "left for the next run" in str(artifacts("retention-quantforge")[0].data)


@pytest.mark.parametrize(
    ("operation", "left"),
    [("shred_keys", "data keys"), ("collect_garbage at edge", "location edge")],
    ids=["keys", "garbage"],
)
def test_work_that_others_hold_up_is_a_finding(places: FakeSource, operation: str, left: str) -> None:
    """So is LeaseHeld while shredding or collecting; the rest is done."""
    places.script(**{operation: "held"})
    report = asyncio.run(clean_up(places.configuration))
    assert [found.object for found in report.findings] == [left]
    assert places.calls()[-1] == "collect_garbage at archive"


def test_retention_tries_a_passing_error_again(places: FakeSource) -> None:
    """A location that cannot be seen for a moment is asked again; nothing is done twice."""
    places.script(plan_retention="transient 2", shred_keys="transient 1")
    asyncio.run(clean_up(places.configuration))
    assert places.calls().count("plan_retention") == 3
    assert places.calls().count("shred_keys") == 2
    assert places.calls().count("expire_backups at local") == 1


def test_a_lasting_error_ends_retention(places: FakeSource) -> None:
    """Nothing is shredded or collected after an expiry that failed."""
    places.script(**{"expire_backups at edge": "lasting"})
    with pytest.raises(UnknownBackup):
        asyncio.run(clean_up(places.configuration))
    assert places.calls() == ["plan_retention", *EXPIRY[:2]]


def test_nothing_expires_where_it_is_only_read(source: FakeSource) -> None:
    """A location with read_only is left out of every step."""
    configured(source, {"edge": "", "archive": ", read_only = true"})
    asyncio.run(clean_up(source.configuration))
    assert source.calls() == ["plan_retention", *EXPIRY[:2], "shred_keys", *COLLECTION[:2]]


def test_retention_has_a_time_of_its_own(source: FakeSource) -> None:
    """When retention.timeout is over, the run ends and no process is left."""
    configured(source, retention_timeout="10 s")
    source.script(**{"collect_garbage at local": "last"})
    with pytest.raises(DeadlineExceeded, match=r"within 10 s \(retention.timeout\)"):
        asyncio.run(clean_up(source.configuration))
    assert "shred_keys" in source.calls()
    assert source.left() == []


# ----------------------------------------------------------------------------------------------- repair


def test_repair_plans_and_mends(places: FakeSource) -> None:
    """What another location has is copied; the artifact names object, place and source."""
    places.script(plan_repair="broken")
    report = asyncio.run(mend(places.configuration))
    assert places.calls() == ["plan_repair", "repair"]
    assert report.done.repaired == report.plan.mends
    assert table("repair-quantforge") == [
        {
            "location": "edge",
            "object": "packs/ab/abc",
            "is": "missing",
            "good copy at": "archive",
            "repaired": "yes",
        }
    ]
    assert "| bytes copied | 1.0 KiB |" in str(artifacts("repair-summary-quantforge")[0].data)


@pytest.mark.parametrize(("word", "dry_run"), [("broken", True), ("", False)], ids=["a dry run", "all whole"])
def test_repair_ends_with_the_plan(places: FakeSource, word: str, dry_run: bool) -> None:
    """A dry run copies nothing, and neither does a run that finds everything whole."""
    places.script(plan_repair=word)
    report = asyncio.run(mend(places.configuration, dry_run=dry_run))
    assert places.calls() == ["plan_repair"]
    assert report.done.repaired == ()


def test_what_no_location_has_fails_the_repair(places: FakeSource) -> None:
    """An object without a good copy fails the run after publishing; a dry run only shows it."""
    places.script(plan_repair="hopeless")
    with pytest.raises(CopyDamaged, match="packs/ab/abc at edge"):
        asyncio.run(mend(places.configuration))
    assert table("repair-quantforge")[0]["good copy at"] == "no location"
    report = asyncio.run(mend(places.configuration, dry_run=True))
    assert [found.severity for found in report.plan.findings] == ["critical"]
    assert "repair" not in places.calls()


def test_repair_has_the_time_of_copying(source: FakeSource) -> None:
    """Repair ends with replication_timeout."""
    configured(source, repository_replication_timeout="3 s")
    source.script(plan_repair="broken", repair="last")
    with pytest.raises(DeadlineExceeded, match=r"repository.replication_timeout"):
        asyncio.run(mend(source.configuration))
    assert source.left() == []


def test_no_artifact_holds_a_secret(places: FakeSource) -> None:
    """The password of the source stands in no artifact of any flow on locations."""
    places.script(plan_repair="broken", **{"replicate at edge": "denied"})
    with pytest.raises(CopiesMissing):
        asyncio.run(copy_backups(places.configuration))
    asyncio.run(clean_up(places.configuration))
    asyncio.run(mend(places.configuration))
    keys = ("copies", "copies-findings", "retention-plan", "retention", "repair", "repair-summary")
    shown = [artifacts(f"{key}-quantforge")[0] for key in keys]
    assert "hunter2secret" not in str(shown)


# ------------------------------------------------------------------------------------- the true engine


def listed(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return each listed backup and the locations that list it."""
    report = list_backups(settings, ListBackups(), Context(Deadline.after(60, "test")))
    assert report.findings == ()
    return {brief.id: brief.locations for brief in report.backups}


@pytest.mark.endurance
def test_three_folders_from_backup_to_retention(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backups are listed at three folders; a lost folder catches up; retention leaves what the rules keep."""
    monkeypatch.setenv("STRONGROOM_KEYS_PASSPHRASE", "open sesame")
    source = quantforge()
    others = {"edge": ', retention = { keep_within = "1 s" }', "archive": ""}
    configuration = write_configuration(
        tmp_path, tmp_path / "repository", source.dsn(), others, repository_min_copies="2"
    )
    settings = load_settings(configuration, {"STRONGROOM_KEYS_PASSPHRASE": "open sesame"})
    init_repository(settings, InitRepository(), Context(deadline=Deadline.after(60, "test")))

    full = asyncio.run(back_up(str(configuration), kind="full"))
    assert full.locations == ("local", "edge", "archive")
    with psycopg.connect(source.dsn()) as connection:
        connection.execute("CREATE TABLE public.later AS SELECT n FROM generate_series(1, 100) AS n")
    (tmp_path / "edge").rename(tmp_path / "away")
    second = asyncio.run(back_up(str(configuration), kind="incremental"))
    assert second.locations == ("local", "archive")
    assert "location edge" in {found.object for found in second.findings}
    (tmp_path / "away").rename(tmp_path / "edge")
    third = asyncio.run(back_up(str(configuration), kind="incremental"))
    everywhere = ("local", "edge", "archive")
    # What the edge did not get, its rules do not want any more: it is the first and the last that it needs.
    assert listed(settings) == {
        full.backup: everywhere,
        second.backup: ("local", "archive"),
        third.backup: everywhere,
    }

    report = asyncio.run(clean_up(str(configuration)))
    assert [(one.backup, one.location) for one in report.plan.expiries] == [(second.backup, "archive")]
    assert [place.expired for place in report.expired] == [(), (), (second.backup,)]
    assert sum(place.waiting for place in report.collected) > 0
    assert listed(settings) == {
        full.backup: everywhere,
        second.backup: ("local",),
        third.backup: everywhere,
    }
    assert [(), (), ()] == [place.backups for place in asyncio.run(copy_backups(str(configuration))).places]
