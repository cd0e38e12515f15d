"""Facts about making live agree with staged rows on a real Postgres 18, as role `postgres`, beside an application."""

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from strongroom.deadline import Deadline
from strongroom.errors import (
    LiveMoved,
    LockNotObtained,
    RecoveryOwnerLost,
    ReferencesWouldBreak,
    SchemaDrifted,
    StrategyUnfit,
    StrongroomError,
    ValueTaken,
)
from strongroom.format.recovery_plans import Strategy
from strongroom.postgres.connection import Connection, connect
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.recovery import applying, proving
from strongroom.recovery.applied import store_applied
from strongroom.recovery.run_journal import open_run
from strongroom.recovery.unchanged import Witness, observe
from strongroom.recovery_settings import RecoverySettings
from tests.conftest import MakeDatabase
from tests.databases import Database
from tests.staged import Staged, tables_first

NEW_ROBOT = """
INSERT INTO public.robots (id, owner_id, name) SELECT gen_random_uuid(), id, 'new' FROM public.profiles LIMIT 1
"""
IMPATIENT = RecoverySettings(lock_timeout=0.1, lock_attempts=2)


@pytest.fixture(autouse=True, params=["rows first", "tables first"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way it goes, the outcome is the same."""
    if request.param == "tables first":
        tables_first(monkeypatch)


@pytest.fixture
def application(database: Database) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Open a session in which triggers and foreign keys act."""
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '5s'")
        yield connection


def ask(session: Connection, query: str) -> Any:
    """Return the first value that a query gives."""
    row = session.execute(query.encode()).fetchone()
    return row[0] if row else None


def content(session: Connection, table: str) -> list[str]:
    """Return all rows of a table as texts, generated columns included, in a fixed order."""
    rows = session.execute(f'SELECT t::text COLLATE "C" FROM ONLY {table} AS t ORDER BY 1').fetchall()
    return [row for (row,) in rows]


# ------------------------------------------------------------------------------------------- what is touched


def test_only_rows_that_differ_are_touched(session: Connection) -> None:
    """All others are the very same row versions, so indexes, caches and replicas have nothing to do."""
    point = Staged.take(session, ["public.candles", "public.symbols"])
    session.execute("CREATE TABLE public.wide (id int PRIMARY KEY, name text)")
    session.execute("INSERT INTO public.wide SELECT g, 'good' FROM generate_series(1, 1000) g")
    point = Staged.take(session, ["public.wide"])
    session.execute("UPDATE public.wide SET name = 'bad' WHERE id % 100 = 0")
    session.execute("DELETE FROM public.wide WHERE id = 7")
    session.execute("INSERT INTO public.wide VALUES (1001, 'new')")
    before = set(session.execute("SELECT id, ctid::text, xmin::text FROM public.wide").fetchall())
    point.compare()
    report = point.apply()
    after = set(session.execute("SELECT id, ctid::text, xmin::text FROM public.wide").fetchall())
    assert {7, *range(100, 1001, 100)} == {row[0] for row in after - before}
    assert (1, 10, 1) == (report.tables[0].inserts, report.tables[0].changes, report.tables[0].deletes)
    assert 1000 == ask(session, "SELECT count(*) FROM public.wide WHERE name = 'good'")


@pytest.mark.parametrize("table", ["public.trades", "public.no_pk", "public.robots"])
def test_published_tables_that_nobody_may_update_are_recovered(session: Connection, table: str) -> None:
    """Their identity is lent for the transaction and given back; the finding says that readers waited, too."""
    session.execute("ALTER PUBLICATION supabase_realtime ADD TABLE public.no_pk")
    session.execute("INSERT INTO public.no_pk VALUES (1, 'x'), (2, 'y')")
    identity = f"SELECT relreplident::text FROM pg_class WHERE oid = '{table}'::regclass"
    before, kind = content(session, table), ask(session, identity)
    point = Staged.take(session, [table])
    _damage_published(session, table)
    assert before != content(session, table)
    point.compare()
    report = point.apply()
    assert before == content(session, table)
    assert kind == ask(session, identity)
    is_refused = table != "public.robots"
    assert (["readers-waited"] if is_refused else []) == [one.code for one in report.findings]


def _damage_published(session: Connection, table: str) -> None:
    """Delete and change rows, which takes an identity that the server accepts."""
    kind = {"public.trades": ("FULL", "DEFAULT"), "public.no_pk": ("DEFAULT", "FULL")}.get(table)
    if kind:
        session.execute(f"ALTER TABLE {table} REPLICA IDENTITY {kind[1]}")
    column = {"public.trades": "comment", "public.no_pk": "b", "public.robots": "description"}[table]
    session.execute(f"DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table})")
    session.execute(f"UPDATE {table} SET {column} = 'damaged' WHERE ctid = (SELECT max(ctid) FROM {table})")
    if kind:
        session.execute(f"ALTER TABLE {table} REPLICA IDENTITY {kind[0]}")


def test_neither_triggers_nor_rules_act(session: Connection, application: Connection) -> None:
    """No audit row, no touched timestamp, and a rule that forbids deleting is not asked."""
    tables = ["public.robots", "public.live_quotes"]
    before = [content(session, table) for table in tables]
    point = Staged.take(session, tables)
    application.execute("UPDATE public.robots SET params = '{\"x\": 1}'")
    application.execute("INSERT INTO public.live_quotes (symbol, bid) VALUES ('NEW', 1)")
    audited = ask(session, "SELECT count(*) FROM private.audit_log")
    point.compare()
    point.apply()
    assert before == [content(session, table) for table in tables]
    assert audited == ask(session, "SELECT count(*) FROM private.audit_log")


def test_without_the_right_to_be_a_replica_triggers_are_disabled_meanwhile(session: Connection) -> None:
    """What was enabled is enabled again, what was disabled stays so, and foreign keys see a good order."""
    tables = ["public.robots", "public.robot_versions", "public.backtests", "public.live_quotes"]
    session.execute("ALTER TABLE public.trades REPLICA IDENTITY DEFAULT")
    states = (
        "SELECT array_agg((tgname, tgenabled)::text ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal"
    )
    modes = ask(session, states)
    before = [content(session, table) for table in tables]
    point = Staged.take(session, tables)
    session.execute("DELETE FROM public.backtests")
    session.execute("UPDATE public.robots SET current_version_id = NULL, description = 'x'")
    session.execute("INSERT INTO public.live_quotes (symbol, bid) VALUES ('NEW', 1)")
    session.execute("SET session_replication_role = origin")
    audited = ask(session, "SELECT count(*) FROM private.audit_log")
    point.compare()
    point.apply()
    assert before == [content(session, table) for table in tables]
    assert modes == ask(session, states)
    assert audited == ask(session, "SELECT count(*) FROM private.audit_log")


def test_without_that_right_no_key_cascades(session: Connection) -> None:
    """Deleting a robot would set its trades' robot to null, out of scope: refused, and nothing was changed."""
    point = Staged.take(session, ["public.robots"])
    session.execute(NEW_ROBOT)
    session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots WHERE name = 'new'")
    session.execute("SET session_replication_role = origin")
    before = content(session, "public.robots"), content(session, "public.signals")
    point.compare()
    with pytest.raises(ReferencesWouldBreak, match=r"public\.signals"):
        point.apply()
    assert before == (content(session, "public.robots"), content(session, "public.signals"))


def test_a_new_column_keeps_its_values(session: Connection) -> None:
    """Updated and replaced rows keep them, rows that come back get the default."""
    session.execute("CREATE TABLE public.mine (id int PRIMARY KEY, place int UNIQUE, name text)")
    session.execute("INSERT INTO public.mine SELECT g, g, 'good' FROM generate_series(1, 5) g")
    point = Staged.take(session, ["public.mine"])
    session.execute("ALTER TABLE public.mine ADD COLUMN added text DEFAULT 'default'")
    session.execute("UPDATE public.mine SET added = 'mine', name = 'bad'")
    session.execute("UPDATE public.mine SET place = -place WHERE id < 3")
    session.execute("UPDATE public.mine SET place = 3 + place WHERE id < 3")
    session.execute("DELETE FROM public.mine WHERE id = 5")
    point.compare()
    point.apply()
    expected = [(g, g, "good", "mine" if g < 5 else "default") for g in range(1, 6)]
    assert expected == session.execute("SELECT * FROM public.mine ORDER BY id").fetchall()


@pytest.mark.parametrize(
    "table", ["public.ticks_2026_10_p0", "public.signals", "public.type_zoo", "private.api_keys"]
)
def test_tables_of_many_kinds_come_back(session: Connection, table: str) -> None:
    """A partition, a parent by inheritance, a table of every type, a table of another schema."""
    before = content(session, table)
    point = Staged.take(session, [table])
    session.execute(f"DELETE FROM ONLY {table}")
    point.compare()
    point.apply()
    assert before == content(session, table)
    assert 0 == point.confirm()[table].differing


def test_managed_tables_come_back_as_role_postgres(session: Connection) -> None:
    """Rows of auth.users by a condition, and storage.objects, whose rows the platform lets nobody delete by SQL."""
    user = ask(session, "SELECT id::text FROM auth.users ORDER BY id LIMIT 1")
    tables = ["auth.users", "storage.objects"]
    before = [content(session, table) for table in tables]
    point = Staged.take(session, tables, where={"auth.users": f"id = '{user}'"})
    session.execute(f"UPDATE auth.users SET email = 'stolen@example.com' WHERE id = '{user}'")
    session.execute(
        "INSERT INTO storage.objects (bucket_id, name) SELECT id, 'planted' FROM storage.buckets LIMIT 1"
    )
    point.compare()
    report = point.apply()
    assert before == [content(session, table) for table in tables]
    assert [1, 1] == [table.total for table in report.tables]


# ------------------------------------------------------------------------------------------- foreign keys


def test_a_row_that_is_referred_to_from_outside_is_not_deleted(session: Connection) -> None:
    """The error names the table to take into the scope; nothing was changed."""
    point = Staged.take(session, ["public.robots"])
    session.execute(NEW_ROBOT)
    session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots WHERE name = 'new'")
    before = content(session, "public.robots")
    point.compare()
    with pytest.raises(ReferencesWouldBreak) as caught:
        point.apply()
    assert (1, "public.signals") == (caught.value.context["rows"], caught.value.context["other"])
    assert before == content(session, "public.robots")


@pytest.mark.parametrize("strategy", ["exact", "merge_missing", "merge_overwrite"])
def test_a_row_does_not_come_back_without_what_it_refers_to(session: Connection, strategy: Strategy) -> None:
    """The error names the table that it refers to, which the scope lacks."""
    session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots")
    before = content(session, "public.signals")
    alone = Staged.take(session, ["public.signals"], strategy=strategy)
    gone = session.execute("DELETE FROM public.signals; DELETE FROM public.robots WHERE parent_id IS NULL")
    assert gone.rowcount
    alone.compare()
    with pytest.raises(ReferencesWouldBreak) as caught:
        alone.apply()
    assert "public.robots" == caught.value.context["other"]
    assert [] == content(session, "public.signals")
    assert before


@pytest.mark.parametrize("strategy", ["exact", "merge_missing", "merge_overwrite"])
def test_rows_come_back_together_with_what_they_refer_to(session: Connection, strategy: Strategy) -> None:
    """A child before its parent in the plan, and robots that refer to robots and to versions that refer to them."""
    session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots")
    tables = ["public.signals", "public.robots", "public.robot_versions"]
    before = [content(session, table) for table in tables]
    point = Staged.take(session, tables, strategy=strategy)
    for table in tables:
        session.execute(f"DELETE FROM {table}")
    point.compare()
    point.apply()
    assert before == [content(session, table) for table in tables]


def test_orphans_that_were_there_before_are_nobodys_failure(session: Connection) -> None:
    """Neither those in rows that are not touched, nor, with both tables in scope, those of the backup."""
    session.execute("INSERT INTO public.signals (robot_id) VALUES (gen_random_uuid())")
    session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots")
    alone = Staged.take(session, ["public.signals"])
    session.execute(
        "UPDATE public.signals SET payload = '1' WHERE robot_id IN (SELECT id FROM public.robots)"
    )
    alone.compare()
    assert () == alone.apply().findings
    both = Staged.take(session, ["public.signals", "public.robots"])
    before = content(session, "public.signals")
    session.execute("DELETE FROM public.signals")
    both.compare()
    assert ["orphans-in-backup"] == [one.code for one in both.apply().findings]
    assert before == content(session, "public.signals")


def test_who_refers_to_a_row_meanwhile_is_waited_for(session: Connection, database: Database) -> None:
    """A row that is being inserted elsewhere holds what it refers to; once it is there, it is seen."""
    point = Staged.take(session, ["public.robots"])
    point.limits = IMPATIENT
    session.execute(NEW_ROBOT)
    point.compare()
    with psycopg.connect(database.dsn()) as other:
        other.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots WHERE name = 'new'")
        with pytest.raises(LockNotObtained):
            point.apply()
        other.commit()
    with pytest.raises(ReferencesWouldBreak):
        point.apply()
    assert 1 == ask(session, "SELECT count(*) FROM public.robots WHERE name = 'new'")


def test_what_a_row_refers_to_is_held_until_the_commit(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody deletes it in between, as nobody could with foreign keys that check."""
    session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots")
    point = Staged.take(session, ["public.signals"])
    session.execute("DELETE FROM public.signals")
    point.compare()
    tried = []

    def delete() -> None:
        with psycopg.connect(database.dsn()) as other:
            other.execute("SET lock_timeout = '100ms'; SET session_replication_role = replica")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(
                    "DELETE FROM public.robots WHERE id IN (SELECT robot_id FROM strongroom_staging.rows_0)"
                )
            tried.append(True)
            other.rollback()

    _before_commit(monkeypatch, delete)
    point.apply()
    assert [True] == tried


# ------------------------------------------------------------------------------------------- beside others


def _before_commit(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Have something done when all is written and nothing is committed."""

    def and_act(*arguments: Any) -> None:
        store_applied(*arguments)
        act()

    monkeypatch.setattr(applying, "store_applied", and_act)


def test_readers_see_the_old_state_and_writers_wait(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the commit nothing of the recovery is visible, and nobody waits but writers of these tables."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("UPDATE public.symbols SET digits = 0")
    point.compare()
    seen = []

    def look() -> None:
        with psycopg.connect(database.dsn(), autocommit=True) as other:
            other.execute("SET lock_timeout = '100ms'")
            seen.append(ask(other, "SELECT max(digits) FROM public.symbols"))
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("UPDATE public.symbols SET digits = 1")
            other.execute("INSERT INTO public.nothing_in_it VALUES (1)")

    _before_commit(monkeypatch, look)
    report = point.apply()
    assert [0] == seen
    assert ask(session, "SELECT max(digits) FROM public.symbols") > 0
    assert 0.1 < report.lock_seconds < 10


def test_a_held_lock_is_named_and_nothing_is_changed(session: Connection, database: Database) -> None:
    """The error says who holds it; when it is let go, the same comparison is applied."""
    point = Staged.take(session, ["public.symbols", "public.candles"])
    point.limits = IMPATIENT
    session.execute("UPDATE public.symbols SET digits = 0")
    point.compare()
    with psycopg.connect(database.dsn(), application_name="the night job") as other:
        other.execute("INSERT INTO public.symbols (code, class) VALUES ('OTHER', 'forex')")
        with pytest.raises(
            LockNotObtained, match=rf"2 attempts .*pid {other.info.backend_pid} \(the night job"
        ):
            point.apply()
        other.rollback()
    assert 0 == ask(session, "SELECT max(digits) FROM public.symbols")
    assert 1 == point.apply().lock_attempts


def test_an_attempt_that_met_a_lock_is_repeated(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between attempts others go on; the report says how many it took."""
    point = Staged.take(session, ["public.symbols"])
    point.limits = RecoverySettings(lock_timeout=0.1, lock_attempts=50)
    session.execute("UPDATE public.symbols SET digits = 0")
    point.compare()
    with psycopg.connect(database.dsn()) as other:
        other.execute("UPDATE public.symbols SET digits = 3")
        monkeypatch.setattr(applying.Applying, "_pause", lambda *_: other.commit())
        report = point.apply()
    assert 2 == report.lock_attempts
    assert ("public.symbols",) == report.compared_again
    assert 0 == point.confirm()["public.symbols"].differing


@pytest.mark.parametrize(
    "happens",
    [
        "UPDATE public.mine SET name = 'later' WHERE id = 50",
        "DELETE FROM public.mine WHERE id = 50",
        "DELETE FROM public.mine WHERE id = 50; INSERT INTO public.mine VALUES (1234, 'later')",
        "UPDATE public.mine SET id = 5000 WHERE id = 50",
        "DELETE FROM public.mine WHERE id = 1",
        "DELETE FROM public.mine WHERE id = 200",
        "UPDATE public.mine SET name = 'later' WHERE id = 200",
        "UPDATE public.mine SET name = 'good' WHERE id = 1",
        "TRUNCATE public.mine",
        'ALTER TABLE public.mine ALTER COLUMN name TYPE text COLLATE "POSIX"',
        "CLUSTER public.mine USING mine_pkey",
    ],
)
@pytest.mark.parametrize("rounds", [0, 2])
def test_what_happens_after_the_comparison_is_seen(
    session: Connection, application: Connection, monkeypatch: pytest.MonkeyPatch, happens: str, rounds: int
) -> None:
    """Whether it is compared again under the lock or without it, the recovery point is what comes out."""
    monkeypatch.setattr(applying, "_ROUNDS", rounds)
    session.execute("CREATE TABLE public.mine (id int PRIMARY KEY, name text)")
    session.execute("INSERT INTO public.mine SELECT g, 'good' FROM generate_series(1, 100) g")
    point = Staged.take(session, ["public.mine"])
    session.execute("UPDATE public.mine SET name = 'bad' WHERE id < 10")
    session.execute("INSERT INTO public.mine VALUES (200, 'new')")
    point.compare()
    application.execute(happens.encode())
    point.apply()
    expected = [(g, "good") for g in range(1, 101)]
    assert expected == session.execute("SELECT id, name FROM public.mine ORDER BY id").fetchall()


def test_in_a_quiet_cluster_nothing_is_read_twice(
    session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no transaction but ours has had an id since, nothing can have changed; the server may have work of its own."""
    scans: list[Any] = []

    def and_count(*given: Any) -> Witness:
        scans.append(given)
        return observe(*given)

    monkeypatch.setattr(proving, "observe", and_count)
    for attempt in range(1, 6):
        point = Staged.take(session, ["public.symbols"])
        session.execute("UPDATE public.symbols SET digits = 0")
        point.compare()
        point.apply()
        if len(scans) < attempt:
            return
    pytest.fail("every comparison was looked at again")


def test_it_is_the_same_on_an_older_server(quantforge: MakeDatabase, postgres16: EmbeddedPostgres) -> None:
    """Postgres 16, with an application that writes between comparing and applying."""
    with connect(quantforge(postgres16).conninfo(), Deadline.after(120, "test")) as session:
        session.execute("SET session_replication_role = replica")
        tables = ["public.trades", "public.robots", "public.no_pk"]
        before = [content(session, table) for table in tables]
        point = Staged.take(session, tables)
        session.execute("UPDATE public.trades SET comment = 'damaged' WHERE id % 3 = 0")
        session.execute("DELETE FROM public.robots")
        session.execute("INSERT INTO public.no_pk VALUES (1, 'x')")
        point.compare()
        session.execute("UPDATE public.trades SET comment = 'again' WHERE id % 5 = 0")
        report = point.apply()
        assert before == [content(session, table) for table in tables]
        assert ("public.trades",) == report.compared_again
        assert 0 == sum(one.differing for one in point.confirm().values())


def test_other_transactions_alone_are_no_reason_to_compare_again(
    session: Connection, application: Connection
) -> None:
    """What is written elsewhere, or is rolled back, changes nothing here."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("UPDATE public.symbols SET digits = 0")
    point.compare()
    application.execute("INSERT INTO public.nothing_in_it VALUES (1)")
    with pytest.raises(psycopg.errors.DivisionByZero):
        application.execute("BEGIN; UPDATE public.symbols SET digits = 5; SELECT 1 / 0")
    application.execute("ROLLBACK")
    assert () == point.apply().compared_again


def test_an_application_that_never_stops_is_no_obstacle(session: Connection, database: Database) -> None:
    """Writers beside it all the time: what comes out is the recovery point and what was written after the commit."""
    session.execute("CREATE TABLE public.mine (id serial PRIMARY KEY, name text)")
    session.execute("INSERT INTO public.mine (name) SELECT 'good' FROM generate_series(1, 2000)")
    point = Staged.take(session, ["public.mine"])
    session.execute("UPDATE public.mine SET name = 'bad' WHERE id % 3 = 0")
    stop = threading.Event()

    def write(number: int) -> None:
        with psycopg.connect(database.dsn(), autocommit=True) as other:
            while not stop.is_set():
                other.execute("INSERT INTO public.mine (name) VALUES ('new')")
                other.execute("UPDATE public.mine SET name = 'touched' WHERE id = 1 + %s", [number])
                other.execute("DELETE FROM public.mine WHERE id = 100 + %s", [number])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        point.compare()
        point.apply()
        confirmed = point.confirm()["public.mine"]
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert 0 == confirmed.differing
    assert 0 == ask(session, "SELECT count(*) FROM public.mine WHERE name = 'bad'")


# ------------------------------------------------------------------------------------------- refusals


def test_a_process_that_was_cut_off_commits_nothing(session: Connection) -> None:
    """Another owner is in the journal by now."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("UPDATE public.symbols SET digits = 0")
    point.compare()
    open_run(session, point.plan, "another", "tests")
    with pytest.raises(RecoveryOwnerLost):
        point.apply()
    assert 0 == ask(session, "SELECT max(digits) FROM public.symbols")


def test_what_was_committed_is_not_committed_again(session: Connection) -> None:
    """The second time the report of the first is returned, though somebody has written since."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("UPDATE public.symbols SET digits = 0")
    point.compare()
    first = point.apply()
    session.execute("UPDATE public.symbols SET digits = 1")
    second = point.apply()
    assert (False, True) == (first.already_done, second.already_done)
    assert first.tables == second.tables
    assert 1 == ask(session, "SELECT max(digits) FROM public.symbols")


@pytest.mark.parametrize("strategy", ["merge_missing", "merge_overwrite"])
def test_a_unique_value_that_is_taken_is_named_without_the_value(
    session: Connection, strategy: Strategy
) -> None:
    """Somebody has registered the name of a profile that was deleted."""
    point = Staged.take(session, ["public.profiles"], strategy=strategy)
    name = ask(session, "SELECT username FROM public.profiles ORDER BY id LIMIT 1")
    session.execute("UPDATE public.profiles SET id = gen_random_uuid() WHERE username = %s", [name])
    before = content(session, "public.profiles")
    point.compare()
    with pytest.raises(ValueTaken, match="profiles_username_key") as caught:
        point.apply()
    assert name not in str(caught.value)
    assert before == content(session, "public.profiles")


def test_a_constraint_that_is_new_is_named(session: Connection) -> None:
    """Rows of the backup break it: a drift, not a failure of the server."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("DELETE FROM public.symbols")
    session.execute("ALTER TABLE public.symbols ADD CONSTRAINT no_digits CHECK (digits < 0)")
    point.compare()
    with pytest.raises(SchemaDrifted, match="no_digits"):
        point.apply()
    assert [] == content(session, "public.symbols")


def test_a_trigger_that_swallows_rows_ends_it(session: Connection) -> None:
    """Fewer rows were written than should have been: nothing is committed."""
    point = Staged.take(session, ["public.symbols"])
    session.execute(
        "CREATE FUNCTION public.swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    session.execute("UPDATE public.symbols SET digits = 0")
    session.execute(
        "CREATE TRIGGER s BEFORE UPDATE ON public.symbols FOR EACH ROW EXECUTE FUNCTION public.swallow()"
    )
    session.execute("ALTER TABLE public.symbols ENABLE ALWAYS TRIGGER s")
    point.compare()
    with pytest.raises(LiveMoved, match="0 rows were written"):
        point.apply()
    assert 0 == ask(session, "SELECT max(digits) FROM public.symbols")


def test_a_published_table_of_somebody_else_is_refused(session: Connection, database: Database) -> None:
    """Its identity cannot be lent; the hint says what to do."""
    with psycopg.connect(database.dsn(database.server.superuser), autocommit=True) as admin:
        admin.execute("CREATE TABLE public.theirs (a int, b text)")
        admin.execute("INSERT INTO public.theirs VALUES (1, 'x')")
        admin.execute("GRANT ALL ON public.theirs TO postgres")
    point = Staged.take(session, ["public.theirs"])
    session.execute("DELETE FROM public.theirs")
    session.execute("INSERT INTO public.theirs VALUES (2, 'y')")
    with psycopg.connect(database.dsn(database.server.superuser), autocommit=True) as admin:
        admin.execute("CREATE PUBLICATION theirs FOR TABLE public.theirs")
    point.compare()
    with pytest.raises(StrategyUnfit, match="does not own it"):
        point.apply()
    assert ["(2,y)"] == content(session, "public.theirs")


@pytest.mark.parametrize(
    "step",
    ["lock_against_upkeep", "lock_tables", "running_now", "move_sequences", "store_applied", "set_state"],
)
def test_a_failure_anywhere_leaves_everything_as_it_was(
    session: Connection, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Half of it is never there."""
    if step == "lock_tables":
        tables_first(monkeypatch)
    point = Staged.take(session, ["public.symbols", "public.robots"])
    session.execute("UPDATE public.symbols SET digits = 0")
    session.execute("UPDATE public.robots SET description = 'damaged'")
    before = content(session, "public.symbols"), content(session, "public.robots")
    point.compare()
    act = getattr(applying, step)

    def fail(*arguments: Any, **named: Any) -> None:
        act(*arguments, **named)
        raise StrongroomError

    monkeypatch.setattr(applying, step, fail)
    with pytest.raises(StrongroomError):
        point.apply()
    assert before == (content(session, "public.symbols"), content(session, "public.robots"))
    monkeypatch.undo()
    assert not point.apply().already_done


# ------------------------------------------------------------------------------------------- sequences


def test_sequences_move_forward_only(session: Connection) -> None:
    """Behind the backup they go to it, ahead of it they stay; one that counts down goes down."""
    session.execute("CREATE TABLE public.mine (id serial PRIMARY KEY, down int)")
    session.execute("CREATE SEQUENCE public.counts_down INCREMENT -1 OWNED BY public.mine.down")
    session.execute("INSERT INTO public.mine (id, down) VALUES (40, -40)")
    session.execute("SELECT setval('public.mine_id_seq', 50), setval('public.counts_down', -30)")
    point = Staged.take(session, ["public.mine"])
    session.execute("DELETE FROM public.mine")
    session.execute("SELECT setval('public.mine_id_seq', 1, false), setval('public.counts_down', -1, false)")
    point.compare()
    assert ("public.counts_down", "public.mine_id_seq") == tuple(sorted(point.apply().sequences_moved))
    assert (51, -41) == (
        ask(session, "SELECT nextval('public.mine_id_seq')"),
        ask(session, "SELECT nextval('public.counts_down')"),
    )


def test_a_sequence_that_is_ahead_stays(session: Connection) -> None:
    """Going back would give out numbers twice."""
    session.execute("CREATE TABLE public.mine (id serial PRIMARY KEY)")
    session.execute("SELECT setval('public.mine_id_seq', 50)")
    point = Staged.take(session, ["public.mine"])
    session.execute("SELECT setval('public.mine_id_seq', 500)")
    session.execute("INSERT INTO public.mine VALUES (500)")
    point.compare()
    assert () == point.apply().sequences_moved
    assert 501 == ask(session, "SELECT nextval('public.mine_id_seq')")


# ------------------------------------------------------------------------------------------- confirming


def test_what_was_written_since_is_told_apart(session: Connection, application: Connection) -> None:
    """Rows that the application inserts, changes and deletes after the commit do not fail the confirmation."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("UPDATE public.symbols SET digits = 0")
    point.compare()
    point.apply()
    session.execute("INSERT INTO public.symbols (code, class) VALUES ('LATER', 'forex')")
    session.execute(
        "UPDATE public.symbols SET digits = 1 WHERE code = (SELECT min(code::text) FROM public.symbols)"
    )
    session.execute("DELETE FROM public.symbols WHERE code = (SELECT max(code::text) FROM public.symbols)")
    found = point.confirm()["public.symbols"]
    assert (0, 3) == (found.differing, found.written_since)


def test_a_row_that_is_missing_without_anybody_having_written_differs(session: Connection) -> None:
    """If nothing was committed since, nobody can have deleted it; nor is that believed where a trigger acts."""
    point = Staged.take(session, ["public.symbols"])
    point.compare()
    point.apply()
    session.execute("INSERT INTO strongroom_staging.rows_0 (code, class) VALUES ('GHOST', 'forex')")
    session.execute("UPDATE strongroom_staging.applied SET is_certain = false")
    assert 1 == point.confirm()["public.symbols"].differing
