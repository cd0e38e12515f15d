"""Whatever is wrong with what a backup is given: a coded error, nothing listed, nothing lost, no secret told."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import (
    BackupTooLarge,
    CatalogUnsteady,
    ConfigInvalid,
    ExposedKey,
    ForeignRecoveryKeys,
    KeysDisagree,
    LeaseHeld,
    LimitError,
    LoginRefused,
    MissingKey,
    MissingRight,
    NoKeyDirectory,
    NotARepository,
    ParentUnfit,
    ProgramMissing,
    RowSecurityActive,
    SnapshotLost,
    SourceUnavailable,
    StoreFull,
    StrongroomError,
    TransactionPooler,
    Transient,
    UnknownBackup,
    WrongRepositoryKey,
)
from strongroom.keys import create_keys
from strongroom.operations.context import Progress
from strongroom.operations.messages import (
    BackupReport,
    BeginBackup,
    PlanReport,
    VerificationReport,
    VerifyBackup,
    WantedKind,
)
from strongroom.postgres import programs, snapshot
from strongroom.postgres.connection import Connection
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.repository import locations
from strongroom.repository.opening import open_repository
from strongroom.runners import InThisProcess, OnProgress
from strongroom.stores.faulty import Fault, FaultKind, FaultyStore
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store
from strongroom.whole import back_up
from tests.databases import Database, Databases
from tests.pooler import PoolerUnavailable, run_pooler
from tests.repositories import PASSPHRASE, new_repository, settings_for
from tests.roles import role_without

PASSWORD = "postgres"
SECRET = "gr8-secret"


def limit() -> Deadline:
    """Return a deadline for work that is not meant to meet it."""
    return Deadline.after(120, "the test")


@dataclass(frozen=True)
class Scene:
    """A source with a repository that holds one full backup of it, and a safe copy of the keys."""

    folder: Path
    database: Database
    first: str

    @property
    def settings(self) -> Settings:
        """Return the settings of a backup that works."""
        return self.change()

    def change(self, source: Database | str | None = None, **variables: str) -> Settings:
        """Return the same settings but for what is given."""
        return settings_for(self.folder, source or self.database, **variables)

    @property
    def keys(self) -> Path:
        """Return the key directory that the settings name."""
        return self.folder / "keys"

    def execute(self, statement: str, user: str = "postgres") -> None:
        """Run a statement on the source in a session of its own."""
        with psycopg.connect(self.database.dsn(user), autocommit=True) as connection:
            connection.execute(statement)

    def backups(self) -> list[str]:
        """Return the ids of the listed backups, by the safe copy of the keys."""
        return list(open_repository(self._safe()).backup_ids())

    def assert_intact(self, *more: str) -> None:
        """The first backup and `more` are listed, no other is, and the newest proves to be readable."""
        assert [self.first, *more] == self.backups()
        for backup in (self.first, *more):
            assert verify(self._safe(), backup).passed

    def _safe(self) -> Settings:
        return self.change(keys_directory=str(self.folder / "safe"))


@pytest.fixture(scope="module")
def original(
    postgres18: EmbeddedPostgres,
    database_templates: dict[tuple[int, bool], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """Make one source and back it up once; every test copies the repository."""
    databases = Databases(database_templates)
    try:
        database = databases.make(postgres18, app=True)
        folder = tmp_path_factory.mktemp("original")
        settings = new_repository(folder, database)
        shutil.copytree(folder / "keys", folder / "safe")
        yield Scene(folder, database, back_up(InThisProcess(settings, limit()), "full").backup)
    finally:
        databases.drop_all()


@pytest.fixture
def scene(original: Scene, tmp_path: Path) -> Scene:
    """Return the scene with a repository and keys of this test's own."""
    shutil.copytree(original.folder, tmp_path / "scene")
    return replace(original, folder=tmp_path / "scene")


def run(
    settings: Settings,
    kind: WantedKind = "incremental",
    deadline: Deadline | None = None,
    on_progress: OnProgress | None = None,
) -> BackupReport:
    """Take a backup in this process."""
    runner = InThisProcess(settings, deadline or limit(), on_progress or (lambda _: None))
    return back_up(runner, kind)


def verify(settings: Settings, backup: str) -> VerificationReport:
    """Verify a backup to its rows."""
    request = VerifyBackup(backup=backup, level="content")
    return InThisProcess(settings, limit()).run("verify_backup", request, VerificationReport)


def refused(
    kind_of_error: type[StrongroomError], scene: Scene, work: Callable[[], object], *, transient: bool = False
) -> StrongroomError:
    """Run `work`, see it refused by exactly this error with a hint and without a secret, and nothing changed."""
    with pytest.raises(StrongroomError) as caught:
        work()
    problem = caught.value
    assert kind_of_error is type(problem), problem
    assert transient == isinstance(problem, Transient)
    assert problem.advice().endswith((".", "`"))
    said = json.dumps(problem.document())
    assert not [secret for secret in (SECRET, PASSPHRASE, "BEGIN PRIVATE") if secret in said]
    scene.assert_intact()
    return problem


# ---------------------------------------------------------------- the way to the source


def test_an_address_that_is_none_is_refused(scene: Scene) -> None:
    """The setting is named, the address is not repeated."""
    settings = scene.change(f"host=x password={SECRET} and more")
    problem = refused(ConfigInvalid, scene, lambda: run(settings))
    assert "source.database_url" in str(problem)


def test_a_server_that_is_down_may_come_back(scene: Scene) -> None:
    """Nobody listens at the port: worth trying again."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        settings = scene.change(f"host=127.0.0.1 port={port} user=postgres dbname=x password={SECRET}")
        refused(SourceUnavailable, scene, lambda: run(settings), transient=True)


def test_a_wrong_password_is_refused(scene: Scene, postgres18: EmbeddedPostgres) -> None:
    """A refused login is no passing trouble."""
    settings = scene.change(postgres18.tcp_dsn("postgres", scene.database.name, SECRET))
    problem = refused(LoginRefused, scene, lambda: run(settings))
    assert "password" in str(problem)


def test_a_wrong_database_is_refused(scene: Scene, postgres18: EmbeddedPostgres) -> None:
    """Nor is a database that is not there."""
    settings = scene.change(postgres18.tcp_dsn("postgres", "nowhere", PASSWORD))
    problem = refused(LoginRefused, scene, lambda: run(settings))
    assert '"nowhere" does not exist' in str(problem)


def test_a_server_newer_than_every_pg_dump_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its definitions could not be read, so nothing is begun."""
    monkeypatch.setattr(programs, "_installed_paths", lambda _: iter(()))
    monkeypatch.setattr(programs, "_FOLDERS", {16: "pginstall"})
    problem = refused(ProgramMissing, scene, lambda: run(scene.settings))
    assert "version 18 or newer" in problem.advice()


def test_a_transaction_pooler_is_refused(scene: Scene, postgres18: EmbeddedPostgres) -> None:
    """Before anything is begun, with the port to use."""
    try:
        with run_pooler(postgres18, {"postgres": PASSWORD}, pool_mode="transaction") as pooler:
            settings = scene.change(pooler.dsn("postgres", scene.database.name, PASSWORD))
            problem = refused(TransactionPooler, scene, lambda: run(settings))
    except PoolerUnavailable as reason:
        pytest.skip(f"NOT PROVEN: {reason}")
    assert "5432" in problem.advice()


# ---------------------------------------------------------------- the role


def test_a_table_that_may_not_be_read_is_refused(scene: Scene) -> None:
    """A table of the user's is never left out in silence."""
    with role_without(scene.database, "SELECT ON public.candles") as role:
        settings = scene.change(scene.database.dsn(role))
        problem = refused(MissingRight, scene, lambda: run(settings))
    assert "candles" in str(problem)


def test_row_level_security_that_hides_rows_is_refused(scene: Scene) -> None:
    """Fewer rows than there are would look like a good backup."""
    with role_without(scene.database, attributes="") as role:
        settings = scene.change(scene.database.dsn(role))
        problem = refused(RowSecurityActive, scene, lambda: run(settings))
    assert "BYPASSRLS" in problem.advice()


# ---------------------------------------------------------------- repository and keys


@pytest.mark.parametrize("exists", [True, False])
def test_a_missing_repository_is_refused(scene: Scene, tmp_path: Path, exists: bool) -> None:
    """An empty folder is no repository, and one that is not there is not made."""
    place = tmp_path / "elsewhere"
    if exists:
        place.mkdir()
    settings = scene.change(repository_locations=f"file://{place}")
    problem = refused(NotARepository, scene, lambda: run(settings))
    assert "strongroom init" in problem.advice()
    assert exists == place.exists()
    assert not exists or [] == list(place.iterdir())


def foreign_keys(scene: Scene) -> Path:
    """Make keys that the repository does not know."""
    place = scene.folder / "foreign"
    create_keys(place, PASSPHRASE.encode(), os.urandom)
    return place


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (["operator.key"], WrongRepositoryKey),
        (["signing.key", "signing.pub"], WrongRepositoryKey),
        (["signing.key"], KeysDisagree),
        (["recovery.pub"], ForeignRecoveryKeys),
    ],
    ids=["operator", "signing pair", "signing", "recovery.pub"],
)
def test_foreign_keys_are_refused(scene: Scene, files: list[str], error: type[StrongroomError]) -> None:
    """Nothing is sealed, signed or encrypted with a key that the repository was not made with."""
    foreign = foreign_keys(scene)
    for name in files:
        shutil.copy(foreign / name, scene.keys / name)
    refused(error, scene, lambda: run(scene.settings, "full"))


def test_a_missing_key_directory_is_refused(scene: Scene) -> None:
    """The folder is named, and what makes one."""
    shutil.rmtree(scene.keys)
    refused(NoKeyDirectory, scene, lambda: run(scene.settings))


@pytest.mark.parametrize("name", ["operator.key", "signing.key", "recovery.pub"])
def test_a_missing_key_is_refused(scene: Scene, name: str) -> None:
    """A full backup needs all three."""
    (scene.keys / name).unlink()
    problem = refused(MissingKey, scene, lambda: run(scene.settings, "full"))
    assert name in str(problem)


@pytest.mark.parametrize("name", ["operator.key", "signing.key"])
def test_a_key_that_others_may_read_is_refused(scene: Scene, name: str) -> None:
    """The hint is the command that mends it."""
    (scene.keys / name).chmod(0o644)
    problem = refused(ExposedKey, scene, lambda: run(scene.settings))
    assert f"chmod 600 {scene.keys / name}" in problem.advice()


# ---------------------------------------------------------------- a store without room


@pytest.mark.parametrize(
    "fault",
    [
        Fault("create", 1, FaultKind.FULL, "leases/"),
        Fault("put", 1, FaultKind.FULL, "attempts/"),
        Fault("put", 1, FaultKind.FULL, "keys/"),
        Fault("put", 1, FaultKind.FULL, "packs/"),
        Fault("put", 2, FaultKind.FULL, "packs/"),
        Fault("put", 1, FaultKind.FULL, "rowmaps/"),
        Fault("put", 1, FaultKind.FULL, "tables/"),
        Fault("put", 2, FaultKind.FULL, "tables/"),
        Fault("put", 1, FaultKind.FULL, "manifests/"),
    ],
    ids=lambda fault: f"{fault.prefix}{fault.nth}",
)
def test_a_full_disk_loses_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """Wherever the room ends, nothing is listed; with room again the same command succeeds."""
    stores: list[FaultyStore] = []

    def faulty(url: str, *_: object) -> Store:
        stores[:] = stores or [FaultyStore(open_store(url), [fault])]
        return stores[0]

    with monkeypatch.context() as patch:
        patch.setattr(locations, "open_store", faulty)
        with pytest.raises(StoreFull) as caught:
            run(scene.settings, "full")
    assert "SR-0604" == caught.value.code
    stores[0].assert_all_hit()
    scene.assert_intact()
    scene.assert_intact(run(scene.settings, "full").backup)


# ---------------------------------------------------------------- two at once, and others at work


def test_two_backups_at_once_are_one(scene: Scene) -> None:
    """The second is told who holds the right; the first is not disturbed."""
    runner = InThisProcess(scene.settings, limit())
    with runner.hold("begin_backup", BeginBackup(kind="incremental"), PlanReport):
        problem = refused(LeaseHeld, scene, lambda: run(scene.settings))
    assert str(os.getpid()) in str(problem)
    scene.assert_intact(run(scene.settings).backup)


def test_a_migration_waits_until_the_rows_are_read(scene: Scene) -> None:
    """DROP, TRUNCATE and ALTER wait for the backup's locks; writing does not."""
    runner = InThisProcess(scene.settings, limit())
    with runner.hold("begin_backup", BeginBackup(kind="full"), PlanReport):
        for statement in ("DROP TABLE", "TRUNCATE", "ALTER TABLE"):
            more = " ADD COLUMN c int" if statement == "ALTER TABLE" else ""
            with pytest.raises(psycopg.errors.LockNotAvailable):
                scene.execute(f"SET lock_timeout = '100ms'; {statement} public.candles{more}")
        scene.execute("DELETE FROM public.candles WHERE false")


def test_a_table_dropped_between_listing_and_locking_is_not_missed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is made anew; the backup is of what is there."""
    scene.execute("CREATE TABLE public.passing (id int)")
    lock = snapshot._lock
    attempts: list[int] = []

    def drop_first(connection: Connection, tables: list[tuple[str, str]]) -> None:
        attempts.append(len(tables))
        if len(attempts) == 1:
            scene.execute("DROP TABLE public.passing")
        lock(connection, tables)

    monkeypatch.setattr(snapshot, "_lock", drop_first)
    report = run(scene.settings)
    assert [attempts[0], attempts[0] - 1] == attempts
    scene.assert_intact(report.backup)


def test_tables_that_never_stand_still_end_the_backup(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts it gives up, and says that it may be tried again."""
    lock = snapshot._lock
    made: list[str] = []

    def make_one_more(connection: Connection, tables: list[tuple[str, str]]) -> None:
        made.append(f"public.restless_{len(made)}")
        scene.execute(f"CREATE TABLE {made[-1]} (id int)")
        lock(connection, tables)

    monkeypatch.setattr(snapshot, "_lock", make_one_more)
    try:
        refused(CatalogUnsteady, scene, lambda: run(scene.settings), transient=True)
    finally:
        scene.execute(f"DROP TABLE {', '.join(made)}")


def kill(scene: Scene, application: str) -> int:
    """End the sessions of this name on the source, as an administrator or a restart does."""
    with psycopg.connect(scene.database.dsn("supabase_admin"), autocommit=True) as connection:
        killed = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            [application],
        ).fetchone()
    return int(killed[0]) if killed else 0


def test_a_capture_that_is_cut_may_be_tried_again(scene: Scene) -> None:
    """The session that reads rows is killed between two tables."""
    killed: list[int] = []

    def cut(progress: Progress) -> None:
        if not killed:
            killed.append(kill(scene, "strongroom capture"))

    refused(SourceUnavailable, scene, lambda: run(scene.settings, "full", on_progress=cut), transient=True)
    assert [1] == killed
    scene.assert_intact(run(scene.settings, "full").backup)


def test_rows_read_after_the_locks_are_gone_do_not_count(scene: Scene) -> None:
    """The session that holds snapshot and locks is killed, a table is emptied: its rows are not just missing."""
    scene.execute("CREATE TABLE public.zz_last AS SELECT g AS id FROM generate_series(1, 1000) AS g")
    killed: list[int] = []

    def cut(progress: Progress) -> None:
        if not killed:
            killed.append(kill(scene, "strongroom snapshot"))
            scene.execute("TRUNCATE public.zz_last")

    try:
        refused(SnapshotLost, scene, lambda: run(scene.settings, "full", on_progress=cut), transient=True)
        assert [1] == killed
    finally:
        scene.execute("DROP TABLE public.zz_last")


# ---------------------------------------------------------------- limits


def test_a_backup_over_its_size_names_what_to_set(scene: Scene) -> None:
    """Estimate, setting and a value that suits; the value then works."""
    problem = refused(
        BackupTooLarge, scene, lambda: run(scene.change(backup_max_backup_size="50 kB"), "full")
    )
    assert "backup.max_backup_size = 50000" in str(problem)
    assert "or to 0 for no limit" in problem.advice()
    assert int(str(problem.context["estimate"])) > 50_000
    report = run(scene.change(backup_max_backup_size="0"), "full")
    scene.assert_intact(report.backup)


def test_a_backup_that_waits_for_a_lock_ends_in_time(scene: Scene) -> None:
    """A migration that holds a table for longer than the limit ends the backup, not the other way round."""
    deadline = Deadline.after(1.5, "backup.max_backup_duration")
    with psycopg.connect(scene.database.dsn()) as connection:
        connection.execute("LOCK TABLE public.candles IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LimitError) as caught:
            run(scene.settings, "full", deadline)
        assert -5 < deadline.remaining() < 0.1
    assert "backup.max_backup_duration" in str(caught.value) + caught.value.advice()
    scene.assert_intact()


def test_a_backup_that_reads_for_too_long_ends_in_time(scene: Scene) -> None:
    """The deadline is looked at between extents."""
    deadline = [limit()]

    def slow(progress: Progress) -> None:
        object.__setattr__(deadline[0], "at", 0.0)
        object.__setattr__(deadline[0], "setting", "backup.max_backup_duration")

    with pytest.raises(LimitError, match=r"backup\.max_backup_duration"):
        run(scene.settings, "full", deadline[0], slow)
    scene.assert_intact()


# ---------------------------------------------------------------- what was asked for


@pytest.mark.parametrize("kind", ["incremental", "differential"])
def test_a_kind_that_needs_a_parent_is_refused_without_one(
    scene: Scene, tmp_path: Path, kind: WantedKind
) -> None:
    """An empty repository has nothing to build on; auto takes a full."""
    settings = new_repository(tmp_path / "new", scene.database)
    problem = refused(ParentUnfit, scene, lambda: run(settings, kind))
    assert "--kind full" in problem.advice()
    assert "full" == run(settings, "auto").kind


def test_an_unknown_backup_cannot_be_verified(scene: Scene) -> None:
    """The id is repeated, and where to find one is said."""
    problem = refused(UnknownBackup, scene, lambda: verify(scene.settings, "20200101-000000-0123456789"))
    assert "20200101-000000-0123456789" in str(problem)
    assert "strongroom list" in problem.advice()
