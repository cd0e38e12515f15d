"""A location is lost for good, and everything comes back from another one: on object-store servers, end to end.

Backups run in real child processes against a real Postgres; objects travel over HTTP to Ceph's gateway (the genuine
service), and to stand-ins for AWS, Google Cloud Storage and Supabase Storage, which cannot run here.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import NotARecipient
from strongroom.keys import create_recovery_key
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.key_messages import RotateKeys, RotationReport
from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    ExpireBackups,
    ExpiryReport,
    PlanRepair,
    PlanRetention,
    RepairPlanReport,
    RetentionPlanReport,
)
from strongroom.operations.messages import (
    InitRepository,
    IntegrityReport,
    JudgeRestore,
    VerificationReport,
    VerifyBackup,
)
from strongroom.repository.locations import open_location
from strongroom.runners import InChildren
from strongroom.whole import back_up, copy_to, restore
from tests.databases import MakeDatabase
from tests.postgres.test_round_trip import differing_tables
from tests.repositories import PASSPHRASE, settings_for
from tests.servers.gcs import FakeGcs
from tests.servers.s3 import S3Server
from tests.servers.supabase_storage import SERVICE_KEY, SupabaseStorage
from tests.servers.supabase_storage_project import Bucket

_CHANGES = (
    "DELETE FROM public.ticks WHERE volume % 50 = 7",
    "UPDATE public.candles SET v = v + 1 WHERE v % 10 = 3",
)


@pytest.fixture
def gcs() -> Iterator[FakeGcs]:
    """Run the stand-in for Google Cloud Storage."""
    with FakeGcs() as fake:
        yield fake


@pytest.fixture
def supabase_storage(tmp_path: Path) -> Iterator[SupabaseStorage]:
    """Run the stand-in for Supabase Storage."""
    (tmp_path / "supabase").mkdir()
    with SupabaseStorage(tmp_path / "supabase") as server:
        yield server


def s3(server: S3Server, name: str, role: str) -> str:
    """Return the entry of a location on an S3 server, in a bucket of its own."""
    bucket = server.make_bucket(f"{name}-{os.urandom(3).hex()}")
    return (
        f'{{ name = "{name}", role = "{role}", url = "s3://{bucket}/strongroom", endpoint = "{server.endpoint}", '
        f'region = "us-east-1", access_key = "{server.access_key}", secret_key = "{server.secret_key}" }}'
    )


def tell(settings: Settings, source: str) -> tuple[InChildren, list[str]]:
    """Make the repository, take a full and an incremental, copy both, and return the runner and their ids."""
    init_repository(settings, InitRepository(), Context(Deadline.never()))
    runner = InChildren(settings, Deadline.after(240, "test"))
    names = [location.name for location in settings.repository.locations]
    backups = [back_up(runner, "full").backup]
    with psycopg.connect(source, autocommit=True) as connection:
        for statement in _CHANGES:
            connection.execute(statement.encode())
    incremental = back_up(runner, "incremental")
    assert incremental.totals.extents_reused > 0
    backups.append(incremental.backup)
    copies = copy_to(runner, names)
    assert () == copies.findings
    assert dict.fromkeys(names, 2) == {place.location: place.listed for place in copies.places}
    return runner, backups


def recover(runner: InChildren, backup: str) -> None:
    """Restore from whatever location is left, and have the suites judge it."""
    restore(runner, backup)
    judged = runner.run("judge_restore", JudgeRestore(backup=backup), IntegrityReport)
    assert judged.passed


@pytest.mark.timeout(280)
def test_with_the_local_location_lost_the_archive_gives_everything_back(
    quantforge: MakeDatabase,
    platform_database: MakeDatabase,
    tmp_path: Path,
    ministack: S3Server,
    radosgw: S3Server,
) -> None:
    """Local disk and the edge's bucket gone, Ceph gives back every row; the next backup goes where one is taken."""
    source, destination = quantforge(), platform_database()
    local = f'{{ name = "local", role = "local", url = "file://{tmp_path}/repository" }}'
    places = f"[{local}, {s3(ministack, 'edge', 'edge')}, {s3(radosgw, 'archive', 'archive')}]"
    settings = settings_for(
        tmp_path,
        source,
        destination_url=destination.dsn(),
        repository_locations=places,
        backup_max_backup_size="0",
    )
    runner, backups = tell(settings, source.dsn())

    shutil.rmtree(tmp_path / "repository")
    edge = open_location(settings, "edge").store
    for stored in list(edge.list()):
        edge.delete(stored.name)

    recover(runner, backups[1])
    assert {} == differing_tables(source, destination)
    for backup in backups:
        report = runner.run("verify_backup", VerifyBackup(backup=backup, level="content"), VerificationReport)
        assert (True, "archive") == (report.passed, report.location)

    third = back_up(runner, "auto")
    assert "incremental" == third.kind
    assert {"SR-0701"} == {
        finding.code for finding in third.findings if finding.object.startswith("location")
    }
    # A folder that is not there may be a disk that is not mounted: only somebody who says so makes it anew.
    assert {"SR-0614"} == {finding.code for finding in copy_to(runner, ["local"]).findings}
    rejoined = init_repository(settings, InitRepository(), Context(Deadline.never()))
    assert ("local", "edge", "archive") == rejoined.locations
    copies = copy_to(runner, ["local", "edge", "archive"])
    assert () == copies.findings
    assert {third.backup} == {place.newest for place in copies.places}
    assert () == runner.run("plan_repair", PlanRepair(read_everything=True), RepairPlanReport).mends


@pytest.mark.timeout(280)
def test_the_same_with_google_and_supabase_for_edge_and_archive(
    quantforge: MakeDatabase,
    platform_database: MakeDatabase,
    tmp_path: Path,
    gcs: FakeGcs,
    supabase_storage: SupabaseStorage,
) -> None:
    """Both are our own stand-ins, written from documented and verified behaviour; the stories end the same."""
    source, destination = quantforge(), platform_database()
    gcs.make_bucket("archive-room")
    supabase_storage.project.buckets["edge-room"] = Bucket("edge-room")
    places = (
        f'[{{ name = "local", role = "local", url = "file://{tmp_path}/repository" }}, '
        f'{{ name = "edge", role = "edge", url = "supabase://edge-room/strongroom", '
        f'endpoint = "{supabase_storage.url}", secret_key = "{SERVICE_KEY}" }}, '
        f'{{ name = "archive", role = "archive", url = "gs://archive-room/strongroom", endpoint = "{gcs.url}" }}]'
    )
    settings = settings_for(
        tmp_path,
        source,
        destination_url=destination.dsn(),
        repository_locations=places,
        backup_max_backup_size="0",
    )
    runner, backups = tell(settings, source.dsn())
    shutil.rmtree(tmp_path / "repository")
    recover(runner, backups[1])
    assert {} == differing_tables(source, destination)
    for name in ("edge", "archive"):
        request = VerifyBackup(backup=backups[0], location=name)
        assert runner.run("verify_backup", request, VerificationReport).passed


@pytest.mark.timeout(280)
def test_after_a_rotation_the_new_key_alone_recovers(
    quantforge: MakeDatabase, platform_database: MakeDatabase, tmp_path: Path, radosgw: S3Server
) -> None:
    """The old recovery key is retired at a folder and at Ceph: it opens nothing, and the new one everything."""
    source, destination = quantforge(), platform_database()
    local = f'{{ name = "local", role = "local", url = "file://{tmp_path}/repository" }}'
    settings = settings_for(
        tmp_path,
        source,
        destination_url=destination.dsn(),
        repository_locations=f"[{local}, {s3(radosgw, 'archive', 'archive')}]",
        backup_max_backup_size="0",
    )
    runner, backups = tell(settings, source.dsn())
    keys = settings.keys.directory
    create_recovery_key(keys, "second", PASSPHRASE.encode(), os.urandom)
    rotated = runner.run(
        "rotate_keys", RotateKeys(to=(str(keys / "recovery-second.pub"),), retire=True), RotationReport
    )
    assert rotated.passed, rotated.findings
    assert 2 == len(rotated.locations)
    new = (keys / "recovery-second.pem").read_bytes()
    (keys / "recovery-second.pem").unlink()
    with pytest.raises(NotARecipient):
        restore(runner, backups[1])
    (keys / "recovery.pem").unlink()
    (keys / "recovery-second.pem").touch(mode=0o600)
    (keys / "recovery-second.pem").write_bytes(new)
    shutil.rmtree(tmp_path / "repository")
    recover(runner, backups[1])
    assert {} == differing_tables(source, destination)


def test_retention_on_servers_keeps_what_it_must(
    quantforge: MakeDatabase, tmp_path: Path, ministack: S3Server, radosgw: S3Server
) -> None:
    """Plan, expiry and collection run in child processes against two servers, and leave every copy whole."""
    source = quantforge()
    places = f"[{s3(ministack, 'edge', 'edge')}, {s3(radosgw, 'archive', 'archive')}]"
    settings = settings_for(tmp_path, source, repository_locations=places, backup_max_backup_size="0")
    runner, backups = tell(settings, source.dsn())
    runner.run("verify_backup", VerifyBackup(), VerificationReport)
    plan = runner.run("plan_retention", PlanRetention(), RetentionPlanReport)
    # Two backups of the same day: the archive keeps the newest, and the full that the next one builds on.
    assert set(backups) == {keep.backup for keep in plan.keeps if keep.location == "archive"}
    for name in ("edge", "archive"):
        request = ExpireBackups(location=name, expiries=plan.expiries, planned_at=plan.planned_at)
        assert () == runner.run("expire_backups", request, ExpiryReport).expired
        collected = runner.run("collect_garbage", CollectGarbage(location=name), CollectionReport)
        assert 0 == collected.deleted
    assert () == runner.run("plan_repair", PlanRepair(read_everything=True), RepairPlanReport).mends
