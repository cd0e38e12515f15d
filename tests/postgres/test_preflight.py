"""The preflight finds what would make a bad backup, says so in sentences, and never raises for it."""

import datetime as dt
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from strongroom.clock import system_clock
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import DeadlineExceeded, SnapshotNotShared, StandbySource
from strongroom.keys import create_keys
from strongroom.operations.check_source import check_source
from strongroom.operations.context import Context
from strongroom.operations.messages import Check, CheckReport, CheckSource, VerificationReport, VerifyBackup
from strongroom.postgres import preflight, programs, source_facts, usable_source
from strongroom.postgres.connection import open_session
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.usable_source import require_usable_source
from strongroom.repository import preflight as repository_preflight
from strongroom.repository.locations import open_location
from strongroom.runners import InThisProcess
from strongroom.stores.faulty import Fault, FaultKind, FaultyStore
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store
from strongroom.whole import back_up
from tests.databases import Database, Databases, MakeDatabase
from tests.pooler import Pooler, PoolerUnavailable, run_pooler
from tests.repositories import new_repository, settings_for
from tests.roles import role_without
from tests.tls_server import TlsServer

PASSWORD = "postgres"


def ask(settings: Settings, clock: dt.timedelta = dt.timedelta(0)) -> CheckReport:
    """Run the preflight, and hold every answer to the promise of being sentences."""
    context = Context(Deadline.after(60, "the test"), clock=lambda: system_clock() + clock)
    report = check_source(settings, CheckSource(), context)
    for check in report.checks:
        assert check.observed.endswith("."), check
        assert check.passed or check.remedy.endswith("."), check
    assert len({check.name for check in report.checks}) == len(report.checks)
    return report


def failed(report: CheckReport) -> dict[str, Check]:
    """Return what did not pass, the recovery key of the test's own keys apart."""
    return {c.name: c for c in report.checks if not c.passed and c.name != "recovery key kept away"}


@contextmanager
def pooler_before(server: EmbeddedPostgres, mode: str, size: int = 5) -> Iterator[Pooler]:
    """Run a PgBouncer in front of a server, or skip and say that nothing was proven."""
    try:
        with run_pooler(server, {"postgres": PASSWORD}, pool_mode=mode, pool_size=size) as pooler:
            yield pooler
    except PoolerUnavailable as reason:
        pytest.skip(f"NOT PROVEN: {reason}")


@pytest.fixture(scope="module")
def source(
    postgres18: EmbeddedPostgres, database_templates: dict[tuple[int, bool], str]
) -> Iterator[Database]:
    """Make a database in the Supabase shape for all tests, none of which changes a row of it."""
    databases = Databases(database_templates)
    try:
        yield databases.make(postgres18, app=True)
    finally:
        databases.drop_all()


@pytest.fixture
def settings(tmp_path: Path, source: Database) -> Settings:
    """Make a repository, and settings with which a backup of the source works."""
    return new_repository(tmp_path, source)


# ---------------------------------------------------------------- what is well


def test_a_good_source_passes_within_three_seconds(settings: Settings) -> None:
    """All is well but for recovery.pem on this machine, and the location is left as it was."""
    before = [stored.name for stored in open_location(settings).store.list()]
    started = time.monotonic()
    report = ask(settings)
    assert time.monotonic() - started < 3
    assert report.passed
    assert {} == failed(report)
    assert {check.severity for check in report.checks if not check.passed} == {"warning"}
    assert before == [stored.name for stored in open_location(settings).store.list()]


def test_the_recovery_key_may_be_taken_away(settings: Settings) -> None:
    """Without recovery.pem nothing is left to be said."""
    (settings.keys.directory / "recovery.pem").unlink()
    assert all(check.passed for check in ask(settings).checks)


def test_a_deadline_ends_the_preflight(settings: Settings) -> None:
    """The one error that it raises: its time is over."""
    with pytest.raises(DeadlineExceeded):
        check_source(settings, CheckSource(), Context(Deadline(0.0, "the test", 1.0)))


# ---------------------------------------------------------------- poolers


@pytest.mark.parametrize("size", [1, 5])
def test_a_transaction_pooler_is_refused(
    tmp_path: Path, source: Database, postgres18: EmbeddedPostgres, size: int
) -> None:
    """It is found by trying, whatever its port; the remedy names the port to use."""
    with pooler_before(postgres18, "transaction", size) as pooler:
        settings = new_repository(tmp_path, pooler.dsn("postgres", source.name, PASSWORD))
        report = ask(settings)
    assert not report.passed
    assert ["own sessions"] == list(failed(report))
    check = failed(report)["own sessions"]
    assert (check.code, check.transient) == ("SR-0207", False)
    assert "transaction pooler" in check.observed
    assert "use port 5432" in check.remedy
    assert "not port 6543" in check.remedy


def test_the_preflight_changes_no_session_of_a_transaction_pooler(
    tmp_path: Path, source: Database, postgres18: EmbeddedPostgres
) -> None:
    """What it would set stayed with the sessions that the application goes on to use."""
    # PgBouncer carries a client's application_name to the server by itself.
    shown = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name <> 'application_name'"
    with pooler_before(postgres18, "transaction", 2) as pooler:
        dsn = pooler.dsn("postgres", source.name, PASSWORD)
        settings = new_repository(tmp_path, dsn)
        with psycopg.connect(dsn) as connection:
            before = connection.execute(shown).fetchall()
        ask(settings)
        with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
            after = [connection.execute(shown).fetchall() for connection in (one, other)]
    assert [before, before] == after


def test_a_session_pooler_serves_a_backup(
    tmp_path: Path, source: Database, postgres18: EmbeddedPostgres
) -> None:
    """With a session for each connection all is well, and what is backed up can be read."""
    with pooler_before(postgres18, "session", 8) as pooler:
        settings = new_repository(tmp_path, pooler.dsn("postgres", source.name, PASSWORD))
        assert {} == failed(ask(settings))
        runner = InThisProcess(settings, Deadline.after(120, "the test"))
        report = back_up(runner, "full")
    request = VerifyBackup(backup=report.backup, level="content")
    verification = runner.run("verify_backup", request, VerificationReport)
    assert verification.passed
    assert verification.rows_checked > 1000


def test_a_pooler_without_a_second_session_is_told_apart(
    tmp_path: Path, source: Database, postgres18: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets clients wait for minutes; the preflight does not, and says that it may pass."""
    monkeypatch.setattr(usable_source, "ANSWER_SECONDS", 0.5)
    with pooler_before(postgres18, "session", 1) as pooler:
        settings = new_repository(tmp_path, pooler.dsn("postgres", source.name, PASSWORD))
        check = failed(ask(settings))["own sessions"]
    assert (check.code, check.transient) == ("SR-0212", True)
    assert "pool" in check.remedy


def test_two_servers_behind_one_address_are_refused(
    postgres18: EmbeddedPostgres, postgres16: EmbeddedPostgres
) -> None:
    """A snapshot of one is unknown to the other."""
    conninfo = [
        {"host": str(server.socket_directory), "port": str(server.port), "user": server.superuser}
        for server in (postgres18, postgres16)
    ]
    with (
        open_session({**conninfo[0], "dbname": "postgres"}, Deadline.never()) as first,
        open_session({**conninfo[1], "dbname": "postgres"}, Deadline.never()) as second,
        pytest.raises(SnapshotNotShared) as caught,
    ):
        usable_source._require_shared_snapshot(first, second, Deadline.never())
    assert "port 5432" in caught.value.advice()


def test_a_wrong_password_at_a_pooler_is_no_passing_trouble(
    tmp_path: Path, source: Database, postgres18: EmbeddedPostgres
) -> None:
    """A pooler words a refused login in its own way."""
    with pooler_before(postgres18, "session") as pooler:
        settings = new_repository(tmp_path, pooler.dsn("postgres", source.name, "wrong-secret"))
        check = failed(ask(settings))["connection"]
    assert (check.code, check.transient) == ("SR-0202", False)
    assert "wrong-secret" not in check.observed


# ---------------------------------------------------------------- the server


def test_without_a_connection_the_rest_is_not_asked(tmp_path: Path) -> None:
    """A server that is down fails the report; keys and locations are asked all the same."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        settings = new_repository(tmp_path, f"host=127.0.0.1 port={port} user=postgres dbname=quant")
        report = ask(settings)
    bad = failed(report)
    assert not report.passed
    assert (bad["connection"].code, bad["connection"].transient) == ("SR-0201", True)
    assert "Not asked, because there is no connection." == bad["own sessions"].observed
    assert {"table rights", "size", "location local: free space"} <= set(bad)
    assert next(check for check in report.checks if check.name == "location local: writable").passed


def test_an_address_that_is_none_is_an_answer_too(tmp_path: Path) -> None:
    """What libpq cannot parse is said without repeating it."""
    settings = new_repository(tmp_path, "host=x password=pa ss word")
    check = failed(ask(settings))["connection"]
    assert (check.code, check.transient) == ("SR-0103", False)
    assert "word" not in check.observed.replace("password", "")


class _Standby(EmbeddedPostgres):
    """A server that stays in recovery and answers nevertheless."""

    def _takes_connections(self) -> bool:
        status = self.data_directory / "postmaster.pid"
        return status.exists() and "standby" in status.read_text()


def test_a_standby_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server in recovery has no transaction ids of its own."""
    data = tmp_path / "data"
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest", "popen")):
            parent.chmod(0o755)
    with EmbeddedPostgres(major=18, data_directory=data):
        pass
    (data / "standby.signal").touch()
    with _Standby(major=18, data_directory=data) as server:
        dsn = server.dsn("supabase_admin", "postgres")
        check = failed(ask(new_repository(tmp_path / "r", dsn)))["primary server"]
        with pytest.raises(StandbySource):
            conninfo = {"host": str(server.socket_directory), "user": "supabase_admin", "dbname": "postgres"}
            require_usable_source(conninfo, Deadline.never())
    assert ("SR-0208", False) == (check.code, check.transient)
    assert "primary" in check.remedy


@pytest.mark.parametrize(
    ("name", "major", "code"), [("NEWEST_MAJOR", 17, "SR-0210"), ("OLDEST_MAJOR", 19, "SR-0209")]
)
def test_an_untried_version_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str, major: int, code: str
) -> None:
    """Older and newer servers are told apart, because what to do differs."""
    monkeypatch.setattr(usable_source, name, major)
    assert code == failed(ask(settings))["server version"].code


def test_an_old_pg_dump_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server newer than every pg_dump cannot be described."""
    monkeypatch.setattr(programs, "_installed_paths", lambda _: iter(()))
    monkeypatch.setattr(programs, "_FOLDERS", {16: "pginstall"})
    check = failed(ask(settings))["pg_dump"]
    assert "SR-0280" == check.code
    assert "version 18 or newer" in check.remedy


def test_tls_goes_through_the_bridge_where_pg_dump_has_none(
    tmp_path: Path, quantforge: MakeDatabase, tls_postgres17: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer about pg_dump says which it is and how it speaks TLS; the connection is encrypted."""
    monkeypatch.setattr(programs, "_installed_paths", lambda _: iter(()))
    database = quantforge(tls_postgres17.server)
    dsn = make_conninfo("", **tls_postgres17.conninfo(database.name))
    report = {check.name: check for check in ask(new_repository(tmp_path, dsn)).checks}
    assert report["pg_dump"].passed
    assert "bridge" in report["pg_dump"].observed
    assert "is encrypted" in report["encryption"].observed


def test_a_remote_server_that_nobody_verifies_is_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without verify-full somebody else may answer."""
    monkeypatch.setattr(preflight, "_is_near", lambda *_: False)
    report = ask(settings)
    assert report.passed
    assert "warning" == failed(report)["encryption"].severity
    assert "verify-full" in failed(report)["encryption"].remedy


@pytest.mark.parametrize("minutes", [-5, 5])
def test_clocks_that_disagree_are_refused(settings: Settings, minutes: int) -> None:
    """Ids and retention go by the clock of this machine."""
    check = failed(ask(settings, clock=dt.timedelta(minutes=minutes)))["clock"]
    assert "error" == check.severity
    assert ("ahead of" if minutes < 0 else "behind") in check.observed


def test_a_time_limit_of_the_role_is_lifted(settings: Settings, source: Database) -> None:
    """Hosted projects have one of two minutes; the session sets its own."""
    with psycopg.connect(source.dsn(), autocommit=True) as connection:
        database = sql.Identifier(source.name)
        connection.execute(sql.SQL("ALTER DATABASE {} SET statement_timeout = '7s'").format(database))
        try:
            report = ask(settings)
        finally:
            connection.execute(sql.SQL("ALTER DATABASE {} RESET statement_timeout").format(database))
    assert {} == failed(report)


def test_a_time_limit_that_stays_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where setting it has no effect, the limit is named."""
    monkeypatch.setattr(source_facts, "_LIMITS", ("statement_timeout", "deadlock_timeout"))
    monkeypatch.setattr(
        source_facts,
        "_LIFT",
        "SELECT set_config('strongroom.probe', name, true) FROM unnest(%s::text[]) AS n (name)",
    )
    check = failed(ask(settings))["time limits"]
    assert "error" == check.severity
    assert "statement_timeout=" in check.observed


def test_too_few_connections_are_a_warning(tmp_path: Path, source: Database) -> None:
    """A backup that waits for sessions is slow, not bad."""
    with role_without(source, attributes="BYPASSRLS CONNECTION LIMIT 3") as role:
        report = ask(new_repository(tmp_path, source.dsn(role)))
    assert report.passed
    assert ["free connections"] == list(failed(report))
    assert failed(report)["free connections"].observed.startswith("2 connections are free")


def test_extensions_that_a_drill_lacks_are_a_warning(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server carries two; what else the source has is named."""
    assert frozenset({"plpgsql", "vector"}) == preflight.embedded_extensions()
    monkeypatch.setattr(preflight, "embedded_extensions", lambda: frozenset({"plpgsql"}))
    report = ask(settings)
    assert report.passed
    assert "lacks vector" in failed(report)["extensions"].observed


def test_old_transactions_are_a_warning(
    settings: Settings, source: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They make incrementals read more; here an hour is over at once."""
    hour_over = source_facts._STATE.replace("interval '1 hour'", "interval '0'")
    assert hour_over != source_facts._STATE
    monkeypatch.setattr(source_facts, "_STATE", hour_over)
    with psycopg.connect(source.dsn()) as connection:
        connection.execute("SELECT 1")
        report = ask(settings)
    assert report.passed
    assert failed(report)["long transactions"].observed.startswith("1 transactions are older")


def test_prepared_transactions_are_a_warning(tmp_path: Path) -> None:
    """Their rows are in no backup until they are finished."""
    with EmbeddedPostgres(major=16, settings={"max_prepared_transactions": "2"}) as server:
        dsn = server.dsn("supabase_admin", "postgres")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE pending (id int)")
            connection.execute("PREPARE TRANSACTION 'left behind'")
        report = ask(new_repository(tmp_path, dsn))
    assert report.passed
    assert ["prepared transactions"] == list(failed(report))


# ---------------------------------------------------------------- the role


def test_a_table_that_may_not_be_read_is_named(tmp_path: Path, source: Database) -> None:
    """A user's table without SELECT refuses the backup."""
    with role_without(source, "SELECT ON public.candles") as role:
        report = ask(new_repository(tmp_path, source.dsn(role)))
    assert ["table rights"] == list(failed(report))
    check = failed(report)["table rights"]
    assert ("SR-0204", "error") == (check.code, check.severity)
    assert check.observed.endswith("it may not read public.candles.")


def test_row_level_security_that_hides_rows_is_refused(tmp_path: Path, source: Database) -> None:
    """A role without BYPASSRLS that is no owner would see fewer rows than there are."""
    with role_without(source, attributes="") as role:
        report = ask(new_repository(tmp_path, source.dsn(role)))
    assert ["row-level security"] == list(failed(report))
    check = failed(report)["row-level security"]
    assert ("SR-0205", "error") == (check.code, check.severity)
    assert "BYPASSRLS" in check.remedy


def test_a_database_that_outgrows_the_limit_is_a_warning(tmp_path: Path, source: Database) -> None:
    """The estimate, the setting and a value that suits are named before a backup fails over them."""
    settings = new_repository(tmp_path, source, backup_max_backup_size="100 kB")
    report = ask(settings)
    assert report.passed
    assert "backup.max_backup_size is 97.7 KiB" in failed(report)["size"].observed
    assert "Set backup.max_backup_size to " in failed(report)["size"].remedy


# ---------------------------------------------------------------- keys and locations


def test_missing_keys_are_named(settings: Settings) -> None:
    """Each key that a backup needs is asked for by itself."""
    for name in ("operator.key", "signing.key", "recovery.pub"):
        (settings.keys.directory / name).unlink()
    bad = failed(ask(settings))
    assert {"operator key", "signing key", "recovery public key"} <= set(bad)
    assert {"SR-0501"} == {bad[name].code for name in ("operator key", "signing key", "recovery public key")}


def test_no_key_directory_at_all(settings: Settings) -> None:
    """The repository is not asked then: nothing could be compared."""
    shutil.rmtree(settings.keys.directory)
    bad = failed(ask(settings))
    assert "SR-0502" == bad["keys"].code
    assert "Not asked, because the keys do not load." == bad["location local: repository"].observed


def test_keys_that_others_may_read_or_exchange_are_refused(settings: Settings) -> None:
    """Both the mode of the file and that of its folder count."""
    settings.keys.directory.chmod(0o770)
    assert "SR-0504" == failed(ask(settings))["keys"].code
    settings.keys.directory.chmod(0o700)
    (settings.keys.directory / "operator.key").chmod(0o644)
    assert "SR-0504" == failed(ask(settings))["keys"].code


def test_keys_of_another_repository_are_refused(settings: Settings) -> None:
    """The repository says which keys it was made with."""
    shutil.rmtree(settings.keys.directory)
    create_keys(settings.keys.directory, b"another", os.urandom)
    assert "SR-0703" == failed(ask(settings))["location local: repository"].code


def test_a_location_that_is_not_there_is_not_made(
    tmp_path: Path, settings: Settings, source: Database
) -> None:
    """Its disk may not be mounted: writing would fill the one below."""
    shutil.rmtree(tmp_path / "repository")
    bad = failed(ask(settings))
    assert "SR-0614" == bad["location local: repository"].code
    assert (
        "Not asked, because the location's folder is not there." == bad["location local: writable"].observed
    )
    assert not (tmp_path / "repository").exists()


def test_only_the_first_location_needs_a_repository(
    tmp_path: Path, settings: Settings, source: Database
) -> None:
    """Another is filled by replication, so its lack is a warning."""
    (tmp_path / "second").mkdir()
    locations = (
        f'[{{name = "local", role = "local", url = "file://{tmp_path}/repository"}}, '
        f'{{name = "far", role = "edge", url = "file://{tmp_path}/second"}}]'
    )
    report = ask(settings_for(tmp_path, source, repository_locations=locations))
    assert report.passed
    assert {"location far: repository": "SR-0701"} == {n: c.code for n, c in failed(report).items()}
    assert [] == list((tmp_path / "second" / "scratch").iterdir())


@pytest.mark.parametrize(
    ("fault", "code", "transient"),
    [
        (Fault("put", 1, FaultKind.FULL), "SR-0604", False),
        (Fault("put", 1, FaultKind.ERROR_BEFORE), "SR-0607", True),
        (Fault("get", 1, FaultKind.CORRUPT_READ, "scratch/"), "SR-0603", False),
        (Fault("delete", 1, FaultKind.ERROR_BEFORE), "SR-0607", True),
    ],
)
def test_a_location_that_does_not_take_an_object_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fault: Fault, code: str, transient: bool
) -> None:
    """A small object is stored, read and deleted; whatever of it fails is the answer."""
    stores: list[FaultyStore] = []

    def faulty(url: str, *_: object) -> Store:
        stores.append(FaultyStore(open_store(url), [fault]))
        return stores[-1]

    monkeypatch.setattr(repository_preflight, "open_store", faulty)
    check = failed(ask(settings))["location local: writable"]
    assert (code, transient) == (check.code, check.transient)
    stores[0].assert_all_hit()


@pytest.mark.parametrize(("share", "severity"), [(0.5, "error"), (1.5, "warning")])
def test_little_room_is_seen_before_it_is_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, share: float, severity: str
) -> None:
    """Less than one full backup refuses, less than two warns."""
    estimate = preflight.check_database(
        settings.conninfo(), Deadline.never(), system_clock, parallelism=2, size_limit=0
    ).estimated_bytes
    assert estimate is not None
    usage = shutil._ntuple_diskusage(0, 0, int(estimate * share))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert severity == failed(ask(settings))["location local: free space"].severity
