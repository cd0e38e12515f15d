"""Facts about recoveries in place that meet bad input, or bad luck: what is told, and what stays."""

import io
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from deployments import recovery_commands
from deployments.recovery_commands import interrupted_plan
from deployments.recovery_words import Asked, write_plan
from strongroom.config import Settings
from strongroom.errors import (
    CommandMisused,
    DestinationFull,
    IntegrityFailed,
    LiveRowsUnfit,
    LiveTableGone,
    ObjectDamaged,
    RecoveryCutOff,
    RecoveryUnderWay,
    SourceUnavailable,
    StagedRowsUnfit,
    WrongPassphrase,
)
from strongroom.format.documents import Finding
from strongroom.integrity.judge import require_passed
from strongroom.location_settings import LocationSettings
from strongroom.operations.begin_restore import warn_of_emergency
from strongroom.operations.messages import BeginRestore, IntegrityReport, RestoreStepReport
from strongroom.operations.recovery_messages import (
    CheckRecovery,
    PrepareStaging,
    RecoveryCheckReport,
    StageUnit,
    StagingReport,
)
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.recovery import staging
from strongroom.repository import layout, locations
from strongroom.stores.memory import MemoryStore
from strongroom.terminal import Answer
from tests.databases import Database
from tests.documents import manifest
from tests.recoveries import Recoveries
from tests.row_backups import Keys

TABLE = "public.mine"


@pytest.fixture
def recoveries(
    empty_database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Recoveries:
    """Make a table, a full backup of it, and damage."""
    made = Recoveries.make(empty_database.dsn(), tmp_path, keys, monkeypatch)
    made.execute("CREATE TABLE public.mine (id int PRIMARY KEY, note text)")
    made.execute("INSERT INTO public.mine SELECT g, md5(g::text) FROM generate_series(1, 20000) g")
    made.backups.back_up("full")
    made.execute("UPDATE public.mine SET note = 'bad' WHERE id % 100 = 0")
    return made


@pytest.fixture
def damaged(recoveries: Recoveries) -> Iterator[Counter[bytes]]:
    """Give the live rows as they are; whatever the test does, they have to be the same afterwards."""
    before = recoveries.rows(TABLE)
    yield before
    assert before == recoveries.rows(TABLE)


# ---------------------------------------------------------------------------------------- packs


@pytest.fixture
def second(recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """Keep a copy of everything at a second location, behind the first."""
    first, copy = recoveries.backups.store, MemoryStore()
    for stored in first.list():
        copy.create(stored.name, first.get(stored.name))
    repository = recoveries.backups.settings.repository
    place = LocationSettings(name="edge", role="edge", url="file:///somewhere/edge")
    two = repository.model_copy(update={"locations": (*repository.locations, place)})
    recoveries.backups.settings = recoveries.backups.settings.model_copy(update={"repository": two})
    monkeypatch.setattr(locations, "open_store", lambda url, *_: copy if url.endswith("/edge") else first)
    return copy


def damage_packs(store: object) -> None:
    """Turn one bit round in the middle of every pack."""
    assert isinstance(store, MemoryStore)
    for stored in list(store.list(layout.PACKS)):
        middle = stored.size // 2
        turned = bytes([store.get(stored.name, middle, 1)[0] ^ 1])
        whole = store.get(stored.name)
        store.tamper(stored.name, partial(_instead, whole[:middle] + turned + whole[middle + 1 :]))


def _instead(new: bytes, _old: bytes) -> bytes:
    return new


def test_another_location_takes_over_for_a_damaged_pack(recoveries: Recoveries, second: MemoryStore) -> None:
    """It is found while rows are loaded; the recovery goes on, and its report says where the damage is."""
    assert list(second.list(layout.PACKS))
    damage_packs(recoveries.backups.store)
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        staged = recoveries.run("prepare_staging", PrepareStaging(plan=plan, owner=run.owner), StagingReport)
        steps = [
            recoveries.run("stage_unit", StageUnit(plan=plan, unit=unit.number), RestoreStepReport)
            for unit in staged.units
        ]
        recoveries.compare(plan, run.owner)
        recoveries.apply(plan, run.owner)
        assert recoveries.confirm(plan).passed
        recoveries.finish(plan, run.owner, "recovered")
    assert [] == recoveries.execute("SELECT 1 FROM public.mine WHERE note <> md5(id::text)")
    told = {(finding.severity, finding.code) for step in steps for finding in step.findings}
    assert {("warning", ObjectDamaged.code)} == told


@pytest.mark.usefixtures("damaged")
def test_damage_at_every_location_stops_it_before_the_commit(
    recoveries: Recoveries, second: MemoryStore
) -> None:
    """Nothing of the unit is staged, and the journal says that nothing was committed."""
    damage_packs(recoveries.backups.store)
    damage_packs(second)
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        with pytest.raises(ObjectDamaged):
            recoveries.load(plan, run.owner)
        assert Counter() == recoveries.staged(plan)
        recoveries.finish(plan, run.owner, "failed")
    assert ["begun", "failed"] == [record.outcome for record in recoveries.records(plan.id)]
    assert [] == recoveries.schemas()


# ---------------------------------------------------------------------------------------- keys, tables


@pytest.mark.usefixtures("damaged")
def test_a_wrong_passphrase_is_told_by_the_first_step(recoveries: Recoveries) -> None:
    """Before an emergency backup is taken, and before anything is written."""
    plan = recoveries.plan(TABLE)
    wrong = recoveries.backups.settings.keys.model_copy(update={"passphrase": SecretStr("no")})
    recoveries.backups.settings = recoveries.backups.settings.model_copy(update={"keys": wrong})
    with pytest.raises(WrongPassphrase):
        recoveries.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport)
    assert [] == recoveries.schemas()


def test_a_renamed_table_is_named_as_it_is_called_now(recoveries: Recoveries) -> None:
    """A recovery in place makes no table; the first step says which one is like it."""
    recoveries.execute("ALTER TABLE public.mine RENAME TO mine_old")
    with pytest.raises(LiveTableGone, match=r"similar one: public\.mine_old"):
        recoveries.run("check_recovery", CheckRecovery(plan=recoveries.plan(TABLE)), RecoveryCheckReport)


# ---------------------------------------------------------------------------------------- the server


def test_a_session_that_is_ended_while_rows_are_loaded(
    recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator ends it in the middle: the error may pass, and the same plan goes on."""
    damaged, plan = recoveries.rows(TABLE), recoveries.plan(TABLE)
    enter = staging.enter_unit

    def killed(connection: psycopg.Connection[object], *words: object) -> None:
        recoveries.execute("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
        enter(connection, *words)  # type: ignore[arg-type]

    with recoveries.hold(plan) as run:
        with monkeypatch.context() as patch:
            patch.setattr("strongroom.operations.stage_unit.enter_unit", killed)
            with pytest.raises(SourceUnavailable):
                recoveries.load(plan, run.owner)
        assert Counter() == recoveries.staged(plan)
        assert damaged == recoveries.rows(TABLE)
        recoveries.compare(plan, run.owner)
        recoveries.apply(plan, run.owner)
        recoveries.finish(plan, run.owner, "recovered")
    assert [] == recoveries.execute("SELECT 1 FROM public.mine WHERE note <> md5(id::text)")


@contextmanager
def small_disk(server: EmbeddedPostgres, database: str, *, is_default: bool = True) -> Iterator[None]:
    """Offer a tablespace `small` of 256 KiB, by default for all that `postgres` makes; skip if there is none."""
    reason = "NOT PROVEN: what a full disk does, since this user may mount no small file system."
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="strongroom-small-"))
    owner = server.data_directory.stat().st_uid
    options = f"size=256k,uid={owner},mode=0700"
    if subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False).returncode:
        folder.rmdir()
        pytest.skip(reason)
    role = sql.SQL("ALTER ROLE postgres IN DATABASE {}").format(sql.Identifier(database))
    with psycopg.connect(server.dsn(server.superuser, "postgres"), autocommit=True) as admin:
        try:
            admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(folder))))
            admin.execute("GRANT CREATE ON TABLESPACE small TO postgres")
            if is_default:
                admin.execute(role + sql.SQL(" SET default_tablespace = small"))
            yield
        finally:
            admin.execute(role + sql.SQL(" RESET default_tablespace"))
            admin.execute("DROP TABLESPACE IF EXISTS small")
            subprocess.run(["umount", folder], check=True)
            folder.rmdir()


@pytest.mark.usefixtures("damaged")
def test_a_full_disk_changes_nothing(recoveries: Recoveries, empty_database: Database) -> None:
    """The server has no room for the staged rows: it is said so, and nothing is left behind."""
    plan = recoveries.plan(TABLE)
    with small_disk(empty_database.server, empty_database.name), recoveries.hold(plan) as run:
        with pytest.raises(DestinationFull):
            recoveries.stage(plan, run.owner)
        recoveries.finish(plan, run.owner, "failed")
        assert [] == recoveries.schemas()


def test_a_disk_that_is_full_in_mid_commit_changes_nothing(
    recoveries: Recoveries, empty_database: Database
) -> None:
    """The rows do not fit into the live table: all of them are taken back, and with more room the plan goes on."""
    recoveries.execute("TRUNCATE public.mine")
    recoveries.execute("INSERT INTO public.mine VALUES (-1, 'later')")
    damaged, plan = recoveries.rows(TABLE), recoveries.plan(TABLE)
    with (
        small_disk(empty_database.server, empty_database.name, is_default=False),
        recoveries.hold(plan) as run,
    ):
        recoveries.execute("ALTER TABLE public.mine SET TABLESPACE small")
        recoveries.compare(plan, run.owner)
        with pytest.raises(DestinationFull):
            recoveries.apply(plan, run.owner)
        assert damaged == recoveries.rows(TABLE)
        recoveries.execute("ALTER TABLE public.mine SET TABLESPACE pg_default")
        recoveries.compare(plan, run.owner)
        recoveries.apply(plan, run.owner)
        recoveries.finish(plan, run.owner, "recovered")
    assert [] == recoveries.execute("SELECT 1 FROM public.mine WHERE note <> md5(id::text)")
    assert [(20000,)] == recoveries.execute("SELECT count(*) FROM public.mine")


# ---------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("failure", [IntegrityFailed, StagedRowsUnfit, LiveRowsUnfit])
def test_a_judgement_says_of_which_rows_it_is(failure: type[IntegrityFailed]) -> None:
    """Rows that were only staged are no restored database; and what is only for information is no reason."""
    report = IntegrityReport(
        backup="b",
        passed=False,
        suites=(),
        rows_expected=1,
        rows_observed=1,
        data_loss_percent=0.0,
        data_docs="",
        findings=(
            Finding(severity="error", code="integrity-own", object="public.mine", observed="1"),
            Finding(severity="info", code="own-suite-not-run", object="public.other", observed="none"),
        ),
    )
    with pytest.raises(failure, match=r"\(public\.mine: integrity-own\)") as caught:
        require_passed(report, failure)
    assert (failure is StagedRowsUnfit) == ("Nothing was changed." in caught.value.advice())


def test_only_what_was_cut_off_is_gone_on_with(recoveries: Recoveries) -> None:
    """`recover run` alone: nothing there, somebody at it, and what a killed process has left."""
    settings: Settings = recoveries.backups.settings
    with pytest.raises(CommandMisused, match="No recovery was cut off"):
        interrupted_plan(settings)
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan), pytest.raises(RecoveryUnderWay, match=plan.id):
        interrupted_plan(settings)
    assert plan == interrupted_plan(settings)


def test_ctrl_c_says_how_to_go_on(
    recoveries: Recoveries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted recovery is no unlisted backup: its error leads to `recover status`, with exit status 1."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "plan.json"
    write_plan(recoveries.plan(TABLE), file)
    monkeypatch.setattr(recovery_commands, "find_settings", lambda *_: recoveries.backups.settings)
    monkeypatch.setattr(recovery_commands, "prepare_prefect", lambda **_: None)
    monkeypatch.setattr(recovery_commands, "run_flow", interrupted)
    asked = Asked(scenario=str(file), subcommand="run")
    with pytest.raises(RecoveryCutOff) as caught:
        recovery_commands.run(
            Answer(io.StringIO(), as_json=True), None, asked, to=None, approve=False, debug=False
        )
    assert "strongroom recover status" in caught.value.advice()


def test_the_newest_backup_may_hold_the_damage() -> None:
    """After a recovery in place it is the emergency backup, which `restore latest` had better not take unseen."""
    emergency = msgspec.structs.replace(manifest(), backup_class="emergency")
    assert () == warn_of_emergency(BeginRestore(backup=emergency.id), emergency)
    assert () == warn_of_emergency(BeginRestore(), manifest())
    assert ["latest-is-emergency"] == [one.code for one in warn_of_emergency(BeginRestore(), emergency)]
