"""Runs of recoveries: who may recover, who goes on after a crash, what is written down, and what is left behind.

As role `postgres`, which is no superuser. Nothing is compared or applied here: a commit is played by the state that it
leaves in the journal.
"""

import datetime as dt
import threading
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from strongroom.config import DestinationSettings
from strongroom.deadline import Deadline
from strongroom.errors import (
    DestinationReadOnly,
    NothingToRollBack,
    PlanUnfit,
    RecoveryInterrupted,
    RecoveryOwnerLost,
    RecoveryRightMissing,
    RecoveryUnderWay,
    SourceUnavailable,
    UnknownRun,
)
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.context import Context
from strongroom.operations.hold_recovery import hold_recovery
from strongroom.operations.location_messages import HoldBackup, HoldReport
from strongroom.operations.messages import Message
from strongroom.operations.recovery_messages import (
    ApplyReport,
    CheckRecovery,
    CleanRecovery,
    CleanReport,
    HoldRecovery,
    NoteEmergencyBackup,
    ReadRecoveries,
    RecoveriesReport,
    RecoveryCheckReport,
    RunReport,
    RunState,
    TableDifferences,
)
from strongroom.recovery.run_journal import is_right_taken, read_run, require_owner, set_state
from strongroom.recovery.sessions import triggers_are_off
from strongroom.recovery.staging_names import ROLLBACK_SCHEMA, RUN_SCHEMA
from strongroom.repository.inventory import read_holds
from strongroom.repository.opening import open_repository
from strongroom.runners import InThisProcess
from strongroom.whole import back_up, restore
from tests.conftest import MakeDatabase
from tests.databases import Database
from tests.recoveries import Recoveries
from tests.row_backups import Keys

TABLE = "public.t"


@pytest.fixture
def recoveries(recoveries: Recoveries) -> Recoveries:
    """Make a database with one table, and one backup of it."""
    recoveries.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    recoveries.execute("INSERT INTO public.t SELECT n, 'row ' || n FROM generate_series(1, 50) n")
    recoveries.backups.back_up("full")
    return recoveries


def play_commit(
    recoveries: Recoveries, plan: RecoveryPlan, owner: str, state: RunState = "committed"
) -> None:
    """Leave in the journal what a commit leaves there."""
    with recoveries.session(plan) as connection, connection.transaction():
        require_owner(connection, plan, owner)
        set_state(connection, plan, state)


def journal(recoveries: Recoveries, schema: str = RUN_SCHEMA) -> tuple[str, str] | None:
    """Return id and state of the run whose journal is in a schema."""
    with recoveries.session() as connection:
        run = read_run(connection, schema)
    return (run.id, run.state) if run else None


def outcomes(recoveries: Recoveries, plan: RecoveryPlan) -> list[str]:
    """Return what the records of a run say, in their order."""
    return [record.outcome for record in recoveries.records(plan.id)]


def read_all(recoveries: Recoveries) -> RecoveriesReport:
    """Ask what is under way and what was."""
    return recoveries.run("read_recoveries", ReadRecoveries(), RecoveriesReport)


def clean(recoveries: Recoveries) -> CleanReport:
    """Remove what is left."""
    return recoveries.run("clean_recovery", CleanRecovery(), CleanReport)


# ---------------------------------------------------------------- the right to recover


def test_a_second_recovery_at_the_same_time_is_refused(recoveries: Recoveries) -> None:
    """Of the same plan or another, and cleaning up as well; afterwards the right is free at once."""
    plan, other = recoveries.plan(TABLE), recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        assert ("begun", False, 32) == (run.state, run.resumed, len(run.owner))
        for refused in (plan, other):
            with pytest.raises(RecoveryUnderWay) as caught, recoveries.hold(refused):
                pass
            assert plan.id in caught.value.render()
        with pytest.raises(RecoveryUnderWay):
            clean(recoveries)
        assert read_all(recoveries).is_held
    assert not read_all(recoveries).is_held
    with recoveries.session() as connection:
        assert not is_right_taken(connection)


def holding(recoveries: Recoveries, plan: RecoveryPlan, when_held: str = "SELECT") -> None:
    """Hold a recovery in this very thread, never to be released; once it is held, run a statement."""
    released = threading.Event()

    def announced(_: Message) -> None:
        recoveries.execute(when_held)

    context = Context(
        deadline=Deadline.after(60, "test"), announce=announced, wait_for_release=lambda: _wait(released)
    )
    try:
        hold_recovery(recoveries.backups.settings, HoldRecovery(plan=plan), context)
    finally:
        released.set()


def _wait(released: threading.Event) -> None:
    assert released.wait(60)


def test_a_holder_whose_session_was_ended_stops(recoveries: Recoveries) -> None:
    """It looks every second, and does not wait for somebody to let it go."""
    with pytest.raises(SourceUnavailable):
        holding(
            recoveries,
            recoveries.plan(TABLE),
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )


def test_a_holder_that_has_lost_the_right_stops(
    recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler that hands the session on, say: who cannot prove the right does not go on as if it had it."""
    monkeypatch.setattr("strongroom.operations.hold_recovery.has_right", lambda _: False)
    with pytest.raises(RecoveryOwnerLost):
        holding(recoveries, recoveries.plan(TABLE))


def test_the_next_holder_takes_the_run_over(recoveries: Recoveries) -> None:
    """The same plan goes on with another owner; what the one before it wants to write is refused."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as first:
        note(recoveries, plan, first.owner, "the-emergency-backup")
    with recoveries.hold(plan) as second:
        assert (True, "begun", "the-emergency-backup") == (
            second.resumed,
            second.state,
            second.emergency_backup,
        )
        assert first.owner != second.owner
        with pytest.raises(RecoveryOwnerLost):
            note(recoveries, plan, first.owner, "another")
        with pytest.raises(RecoveryOwnerLost):
            recoveries.finish(plan, first.owner, "failed")
    assert (plan.id, "begun") == journal(recoveries)


def note(recoveries: Recoveries, plan: RecoveryPlan, owner: str, backup: str) -> RunReport:
    """Note an emergency backup."""
    request = NoteEmergencyBackup(plan=plan, owner=owner, backup=backup)
    return recoveries.run("note_emergency_backup", request, RunReport)


def test_the_first_emergency_backup_stays(recoveries: Recoveries) -> None:
    """A later one may hold what was changed by then."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        assert "first" == note(recoveries, plan, run.owner, "first").emergency_backup
        assert "first" == note(recoveries, plan, run.owner, "second").emergency_backup


def test_a_commit_under_way_is_waited_for(recoveries: Recoveries) -> None:
    """Whoever takes over reads the state after it, though the holder that ordered it is dead."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        pass
    seen: list[RunReport] = []

    def take_over() -> None:
        with recoveries.hold(plan) as taken:
            seen.append(taken)

    with recoveries.session(plan) as connection:
        thread = threading.Thread(target=take_over)
        with connection.transaction():
            require_owner(connection, plan, run.owner)
            thread.start()
            _until_somebody_waits(recoveries)
            set_state(connection, plan, "committed")
    thread.join()
    assert ["committed"] == [taken.state for taken in seen]


def _until_somebody_waits(recoveries: Recoveries) -> None:
    deadline = Deadline.after(30, "test")
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    while not recoveries.execute(waiting):
        deadline.check()


# ---------------------------------------------------------------- another plan


def test_what_another_run_has_left_is_not_run_over(recoveries: Recoveries) -> None:
    """Not before it is carried out, undone, or let go of."""
    plan, other = recoveries.plan(TABLE), recoveries.plan(TABLE)
    with recoveries.hold(plan):
        pass
    with pytest.raises(RecoveryInterrupted) as caught, recoveries.hold(other):
        pass
    assert f"The recovery {plan.id} was cut off in the state 'begun'" in caught.value.render()
    assert (plan.id, "begun") == journal(recoveries)
    assert CleanReport(removed=(RUN_SCHEMA,), run=plan.id, changed=False) == clean(recoveries)
    with recoveries.hold(other) as run:
        assert not run.resumed
    assert ["begun", "failed"] == outcomes(recoveries, plan)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"destination": "throw-away"}, "empty destination"),
        ({"strategy": "empty"}, "empty destination"),
        ({"tables": ()}, "no tables"),
        ({"twice": True}, "a table twice"),
    ],
    ids=["throw-away", "empty", "no tables", "twice"],
)
def test_a_plan_that_is_not_one_in_place_is_refused(
    recoveries: Recoveries, change: dict[str, object], reason: str
) -> None:
    """Before a schema is made."""
    plan = recoveries.plan(TABLE)
    plan = replace(plan, tables=plan.tables * 2) if "twice" in change else replace(plan, **change)
    with pytest.raises(PlanUnfit) as caught, recoveries.hold(plan):
        pass
    assert reason in caught.value.render()
    assert [] == recoveries.schemas()


def test_a_server_that_cannot_be_written_to_is_refused(recoveries: Recoveries) -> None:
    """Before anything else, by the holder and by the check."""
    recoveries.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',"
        " current_database()); END $$"
    )
    plan = recoveries.plan(TABLE)
    with pytest.raises(DestinationReadOnly), recoveries.hold(plan):
        pass
    with pytest.raises(DestinationReadOnly):
        recoveries.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport)


def test_a_role_that_may_make_no_schema_is_refused(recoveries: Recoveries, empty_database: Database) -> None:
    """With the right that it lacks."""
    server = empty_database.server
    with psycopg.connect(server.dsn(server.superuser, empty_database.name), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{empty_database.name}" OWNER TO CURRENT_USER'.encode())
        admin.execute(f'REVOKE ALL ON DATABASE "{empty_database.name}" FROM postgres, PUBLIC'.encode())
        admin.execute(f'GRANT CONNECT ON DATABASE "{empty_database.name}" TO postgres'.encode())
    with pytest.raises(RecoveryRightMissing) as caught, recoveries.hold(recoveries.plan(TABLE)):
        pass
    assert "create a schema" in caught.value.render()


# ---------------------------------------------------------------- the end


def test_a_run_that_changed_nothing_ends_as_failed(recoveries: Recoveries) -> None:
    """Nothing is left in the database, and both records are in the repository; ending it again is no harm."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        for outcome in ("recovered", "left", "rolled-back"):
            with pytest.raises(PlanUnfit):
                recoveries.finish(plan, run.owner, outcome)
        assert "finished" == recoveries.finish(plan, run.owner, "failed").state
        assert recoveries.finish(plan, run.owner, "failed").resumed
    assert ([], ["begun", "failed"]) == (recoveries.schemas(), outcomes(recoveries, plan))
    with recoveries.hold(plan) as run:
        assert ("begun", False) == (run.state, run.resumed)
        recoveries.finish(plan, run.owner, "failed")
    assert ["begun", "failed", "begun", "failed"] == outcomes(recoveries, plan)


def test_a_run_that_changed_live_never_ends_as_failed(recoveries: Recoveries) -> None:
    """Its record says what it did, and who carried it out; carried out again, it has nothing left to do."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        note(recoveries, plan, run.owner, "the-way-back")
        applied = ApplyReport(
            tables=(TableDifferences(table=TABLE, inserts=1, changes=2, deletes=3),),
            committed_at=recoveries.backups.clock(),
            lock_seconds=0.25,
        )
        play_commit(recoveries, plan, run.owner)
        with pytest.raises(PlanUnfit):
            recoveries.finish(plan, run.owner, "failed")
        recoveries.finish(plan, run.owner, "recovered", applied)
    assert [] == recoveries.schemas()
    begun, ended = recoveries.records(plan.id)
    assert ("begun", "recovered", plan) == (begun.outcome, ended.outcome, ended.plan)
    assert ("the-way-back", 0.25, 1.0) == (ended.emergency_backup, ended.lock_seconds, ended.seconds)
    assert [(TABLE, 1, 2, 3)] == [(t.table, t.inserts, t.changes, t.deletes) for t in ended.tables]
    assert "@" in ended.by
    with recoveries.hold(plan) as run:
        assert ("finished", True) == (run.state, run.resumed)
        assert "finished" == recoveries.finish(plan, run.owner, "recovered").state
    assert ([], ["begun", "recovered"]) == (recoveries.schemas(), outcomes(recoveries, plan))


@pytest.mark.parametrize("outcome", ["recovered", "left", "failed", "cleaned"])
def test_what_a_later_rollback_reads_is_held(
    recoveries: Recoveries, outcome: Literal["recovered", "left", "failed", "cleaned"]
) -> None:
    """The run's own backup stays as long as its emergency backup; where nothing was changed nothing is held."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        note(recoveries, plan, run.owner, "the-way-back")
        if outcome != "failed":
            play_commit(recoveries, plan, run.owner)
        if outcome != "cleaned":
            recoveries.finish(plan, run.owner, outcome)
    if outcome == "cleaned":
        clean(recoveries)
    held = read_holds(open_repository(recoveries.backups.settings))
    if outcome == "failed":
        assert () == held
        return
    assert [(plan.backup, f"taking back the recovery {plan.id} needs it")] == [
        (h.backup, h.reason) for h in held
    ]
    until = held[0].until
    assert until is not None
    # The only location keeps emergency backups as an archive does.
    assert dt.timedelta(days=29) < until - recoveries.backups.clock() <= dt.timedelta(days=30)


@pytest.mark.parametrize("until", [None, dt.datetime(2099, 1, 1, tzinfo=dt.UTC)])
def test_a_longer_hold_is_not_shortened(recoveries: Recoveries, until: dt.datetime | None) -> None:
    """The last word on a hold counts, and ours is not to be it."""
    plan = recoveries.plan(TABLE)
    request = HoldBackup(backup=plan.backup, until=until, reason="evidence")
    recoveries.run("hold_backup", request, HoldReport)
    with recoveries.hold(plan) as run:
        note(recoveries, plan, run.owner, "the-way-back")
        play_commit(recoveries, plan, run.owner)
        recoveries.finish(plan, run.owner, "recovered")
    held = read_holds(open_repository(recoveries.backups.settings))
    assert [(until, "evidence")] == [(one.until, one.reason) for one in held]


def test_without_a_way_back_nothing_is_held(recoveries: Recoveries) -> None:
    """Somebody has refused the emergency backup."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        play_commit(recoveries, plan, run.owner)
        recoveries.finish(plan, run.owner, "recovered")
    assert () == read_holds(open_repository(recoveries.backups.settings))


def test_an_end_that_was_cut_off_is_ended_again(
    recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written first, and once; then the schema goes."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        play_commit(recoveries, plan, run.owner)
        with monkeypatch.context() as patch:
            patch.setattr("strongroom.operations.finish_recovery.drop_schemas", _break)
            with pytest.raises(_BrokenError):
                recoveries.finish(plan, run.owner, "recovered")
        assert (plan.id, "finished") == journal(recoveries)
    with recoveries.hold(plan) as run:
        assert "finished" == run.state
        recoveries.finish(plan, run.owner, "recovered")
    assert ([], ["begun", "recovered"]) == (recoveries.schemas(), outcomes(recoveries, plan))


class _BrokenError(Exception):
    """Stands for the end of the process."""


def _break(*_: object) -> None:
    raise _BrokenError


def test_a_run_that_was_left_is_not_carried_out_again(recoveries: Recoveries) -> None:
    """What became of it is known; another plan is needed."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        play_commit(recoveries, plan, run.owner)
        recoveries.finish(plan, run.owner, "left")
    with pytest.raises(PlanUnfit) as caught, recoveries.hold(plan):
        pass
    assert "ended as left" in caught.value.render()


def test_a_recovery_does_not_need_its_record(recoveries: Recoveries, tmp_path: Path, keys: Keys) -> None:
    """Without the signing key it cannot be written: a finding, at the beginning and at the end."""
    folder = tmp_path / "fewer-keys"
    folder.mkdir()
    for path in keys.directory.iterdir():
        if path.name != "signing.key":
            (folder / path.name).write_bytes(path.read_bytes())
            (folder / path.name).chmod(0o600)
    settings = recoveries.backups.settings
    recoveries.backups.settings = settings.model_copy(
        update={"keys": settings.keys.model_copy(update={"directory": folder})}
    )
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        play_commit(recoveries, plan, run.owner)
        report = recoveries.finish(plan, run.owner, "recovered")
    for findings in (run.findings, report.findings):
        assert [("warning", f"the record of recovery {plan.id}")] == [
            (finding.severity, finding.object) for finding in findings
        ]
    assert ([], []) == (recoveries.schemas(), outcomes(recoveries, plan))


# ---------------------------------------------------------------- rolling back


def test_a_rollback_turns_the_run_round_and_ends_it(recoveries: Recoveries) -> None:
    """It has a schema of its own beside the run's; both go together, and the record is the run's."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        play_commit(recoveries, plan, run.owner)
    undoing = recoveries.plan(TABLE, undoes=plan.id)
    with recoveries.hold(undoing) as run:
        assert ("begun", False) == (run.state, run.resumed)
        assert (plan.id, "rolling-back") == journal(recoveries)
        assert (undoing.id, "begun") == journal(recoveries, ROLLBACK_SCHEMA)
        recoveries.stage(undoing, run.owner)
        assert 50 == recoveries.staged(undoing).total()
        with pytest.raises(PlanUnfit):
            recoveries.finish(undoing, run.owner, "rolled-back")
    with recoveries.hold(plan) as run:
        assert "rolling-back" == run.state
    with recoveries.hold(undoing) as run:
        assert ("staged", True) == (run.state, run.resumed)
        play_commit(recoveries, undoing, run.owner)
        assert "rolled-back" == recoveries.finish(undoing, run.owner, "rolled-back").state
        assert "rolled-back" == recoveries.finish(undoing, run.owner, "rolled-back").state
    assert ([], ["begun", "rolled-back"]) == (recoveries.schemas(), outcomes(recoveries, plan))
    assert plan == recoveries.records(plan.id)[-1].plan
    assert [] == outcomes(recoveries, undoing)


def test_a_rollback_that_undid_nothing_leaves_the_run_as_it_was(recoveries: Recoveries) -> None:
    """It can be asked for again."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        play_commit(recoveries, plan, run.owner)
    undoing = recoveries.plan(TABLE, undoes=plan.id)
    with recoveries.hold(undoing) as run:
        recoveries.finish(undoing, run.owner, "failed")
    assert ((plan.id, "committed"), [RUN_SCHEMA]) == (journal(recoveries), recoveries.schemas())
    with recoveries.hold(undoing) as run:
        assert "begun" == run.state


def test_what_cannot_be_rolled_back_is_told(recoveries: Recoveries) -> None:
    """A run that is not there, that has changed nothing, or that is rolled back already; nothing is left behind."""
    plan = recoveries.plan(TABLE)
    undoing = recoveries.plan(TABLE, undoes=plan.id)

    def reason() -> str:
        with pytest.raises(NothingToRollBack) as caught, recoveries.hold(undoing):
            pass
        return caught.value.render()

    with pytest.raises(UnknownRun), recoveries.hold(undoing):
        pass
    assert [] == recoveries.schemas()
    with recoveries.hold(plan) as run:
        pass
    assert "it has changed nothing (it is begun)" in reason()
    with recoveries.hold(plan) as run:
        play_commit(recoveries, plan, run.owner, "rolled-back")
    assert "it is rolled back already" in reason()
    assert [RUN_SCHEMA] == recoveries.schemas()


# ---------------------------------------------------------------- cleaning up, and looking


@pytest.mark.parametrize(
    ("state", "outcome", "changed"),
    [("begun", "failed", False), ("committed", "left", True), ("rolling-back", "left", True)],
)
def test_cleaning_up_says_what_was_left(
    recoveries: Recoveries, state: RunState, outcome: str, changed: bool
) -> None:
    """The schema goes, what was committed stays, and the record says so."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        play_commit(recoveries, plan, run.owner, state)
    assert CleanReport(removed=(RUN_SCHEMA,), run=plan.id, changed=changed) == clean(recoveries)
    assert ([], ["begun", outcome]) == (recoveries.schemas(), outcomes(recoveries, plan))


def test_cleaning_up_where_nothing_is_removes_nothing(recoveries: Recoveries) -> None:
    """It may be asked for at any time."""
    assert CleanReport(removed=()) == clean(recoveries)


def test_a_preview_leaves_no_record(recoveries: Recoveries) -> None:
    """It recovers nothing, and is nobody's history."""
    plan = replace(recoveries.plan(TABLE), id="run-x.preview")
    with recoveries.hold(plan):
        pass
    assert (RUN_SCHEMA,) == clean(recoveries).removed
    assert [] == outcomes(recoveries, plan)


def test_what_is_under_way_and_what_was_are_told(recoveries: Recoveries) -> None:
    """The run in the database without its owner, and the newest record of each run."""
    done, plan = recoveries.plan(TABLE, strategy="merge_missing"), recoveries.plan(TABLE)
    with recoveries.hold(done) as run:
        recoveries.finish(done, run.owner, "failed")
    with recoveries.hold(plan):
        report = read_all(recoveries)
    assert report.under_way is not None
    assert (plan.id, "begun", "", plan, True) == (
        report.under_way.run,
        report.under_way.state,
        report.under_way.owner,
        report.plan,
        report.is_held,
    )
    assert [(done.id, "failed", "merge_missing"), (plan.id, "begun", "exact")] == [
        (brief.run, brief.outcome, brief.strategy) for brief in report.earlier
    ]


def test_one_half_that_does_not_answer_leaves_the_other(recoveries: Recoveries) -> None:
    """Without the database, history is told; that the rest is not known is a finding."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        recoveries.finish(plan, run.owner, "failed")
    settings = recoveries.backups.settings
    recoveries.backups.settings = settings.model_copy(
        update={"source": settings.source.model_copy(update={"database_url": SecretStr("host=/nowhere")})}
    )
    report = read_all(recoveries)
    assert (None, ["failed"]) == (report.under_way, [brief.outcome for brief in report.earlier])
    assert ["the live database"] == [finding.object for finding in report.findings]


# ---------------------------------------------------------------- sessions, and what backups see


def test_triggers_are_off_where_the_role_may(recoveries: Recoveries, empty_database: Database) -> None:
    """On Supabase `postgres` may be a replica; who may not has to own the tables."""
    plan = recoveries.plan(TABLE)
    with recoveries.session(plan) as connection:
        assert triggers_are_off(connection)
    server, settings = empty_database.server, recoveries.backups.settings
    modest = SecretStr(empty_database.dsn("modest"))
    recoveries.backups.settings = settings.model_copy(
        update={"source": settings.source.model_copy(update={"database_url": modest})}
    )
    with psycopg.connect(server.dsn(server.superuser, empty_database.name), autocommit=True) as admin:
        admin.execute("CREATE ROLE modest LOGIN")
        admin.execute("GRANT ALL ON SCHEMA public TO modest")
        admin.execute("GRANT ALL ON public.t TO modest")
        try:
            with recoveries.session(plan) as connection:
                assert not triggers_are_off(connection)
            with pytest.raises(RecoveryRightMissing) as caught:
                recoveries.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport)
            assert "session_replication_role" in caught.value.render()
            admin.execute("ALTER TABLE public.t OWNER TO modest")
            report = recoveries.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport)
            assert "disabled" == report.triggers
        finally:
            admin.execute("DROP OWNED BY modest")
            admin.execute("DROP ROLE modest")


def test_the_server_gives_up_for_a_process_that_was_killed(recoveries: Recoveries) -> None:
    """What it still does for one would keep the next holder waiting: it looks for its client every other second."""
    with recoveries.session(recoveries.plan(TABLE)) as connection:
        assert ("2s",) == connection.execute("SHOW client_connection_check_interval").fetchone()


def test_another_database_is_told(recoveries: Recoveries, empty_database: Database) -> None:
    """A project that was restored elsewhere is a legitimate place, and worth a word."""
    plan = recoveries.plan(TABLE)
    assert () == recoveries.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport).findings
    admin = empty_database.server.dsn(empty_database.server.superuser, "postgres")
    copy = f"{empty_database.name}_copy"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {copy} TEMPLATE {empty_database.name} OWNER postgres".encode())
        settings = recoveries.backups.settings
        elsewhere = SecretStr(empty_database.server.dsn("postgres", copy))
        recoveries.backups.settings = settings.model_copy(
            update={"source": settings.source.model_copy(update={"database_url": elsewhere})}
        )
        try:
            report = recoveries.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport)
        finally:
            connection.execute(f"DROP DATABASE {copy} WITH (FORCE)".encode())
    assert ["other-database"] == [finding.code for finding in report.findings]


def test_a_backup_taken_meanwhile_holds_nothing_of_the_recovery(
    quantforge: MakeDatabase,
    platform_database: MakeDatabase,
    tmp_path: Path,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The emergency backup is: neither rows nor definitions of the staging schema are in it, and it restores."""
    source, destination = quantforge(), platform_database()
    recoveries = Recoveries.make(source.dsn(), tmp_path, keys, monkeypatch)
    recoveries.backups.back_up("full")
    settings = recoveries.backups.settings.model_copy(
        update={"destination": DestinationSettings(database_url=SecretStr(destination.dsn()))}
    )
    runner = InThisProcess(settings, Deadline.after(240, "test"), clock=recoveries.backups.clock)
    plan = recoveries.plan("public.trades")
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        recoveries.backups.clock.step()
        backup = back_up(runner, "full").backup
    manifest = recoveries.backups.manifest(backup)
    assert not [entry for entry in manifest.tables if entry.facts.schema.startswith("strongroom_")]
    restore(runner, backup)
    with psycopg.connect(destination.dsn()) as connection:
        found = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ '^strongroom_'"
        ).fetchall()
        rows = connection.execute("SELECT count(*) FROM public.trades").fetchone()
    assert [] == found
    assert recoveries.execute("SELECT count(*) FROM public.trades") == [rows]
