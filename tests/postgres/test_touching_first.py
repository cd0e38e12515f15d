"""Facts about rows that are touched before their tables are locked: what others do meanwhile is never lost on us."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from strongroom.errors import LiveMoved, LockNotObtained
from strongroom.format.recovery_plans import Strategy
from strongroom.postgres.connection import Connection
from strongroom.recovery import applying, comparing, unchanged
from strongroom.recovery.catching_up import xmin_of
from strongroom.recovery.comparison import Matched
from strongroom.recovery.locking import lock_at_once
from strongroom.recovery.touching import Touching
from strongroom.recovery_settings import RecoverySettings
from tests.databases import Database
from tests.staged import Staged, note_ways

Happens = Callable[[], object]


@pytest.fixture
def other(database: Database) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Open the application's session, which waits for nobody for long."""
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '100ms'")
        yield connection


@pytest.fixture
def mine(session: Connection) -> None:
    """Make a table of a hundred rows."""
    session.execute("CREATE TABLE public.mine (id int PRIMARY KEY, name text)")
    session.execute("INSERT INTO public.mine SELECT g, 'good' FROM generate_series(1, 100) g")


def rows(session: Connection) -> list[tuple[int, str]]:
    """Return what is in the table."""
    return session.execute("SELECT id, name FROM public.mine ORDER BY id").fetchall()


GOOD = [(number, "good") for number in range(1, 101)]


def damage(session: Connection) -> None:
    """Change nine rows, take one away, and add one."""
    session.execute("UPDATE public.mine SET name = 'bad' WHERE id < 10")
    session.execute("DELETE FROM public.mine WHERE id = 20")
    session.execute("INSERT INTO public.mine VALUES (200, 'new')")


def damaged_point(session: Connection) -> Staged:
    """Return a recovery point of the table, which is compared with what damage has made of it."""
    point = Staged.take(session, ["public.mine"])
    damage(session)
    point.compare()
    return point


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Happens) -> None:
    """Have something done once, when the rows have been touched and the tables are about to be locked."""
    todo = [act]

    def and_lock(*arguments: Any) -> None:
        for one in todo:
            one()
        todo.clear()
        lock_at_once(*arguments)

    monkeypatch.setattr(applying, "lock_at_once", and_lock)


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list in which the ways that are gone are noted."""
    ways: list[str] = []
    note_ways(monkeypatch, ways)
    return ways


# ------------------------------------------------------------------------------------------- who waits


@pytest.mark.usefixtures("mine")
def test_tables_are_locked_only_after_their_rows_are_touched(
    session: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then writers of other rows go on; both times are reported."""
    point = damaged_point(session)
    ways = watch(monkeypatch)
    seen = []

    def write() -> None:
        with other.transaction(force_rollback=True):
            other.execute("UPDATE public.mine SET name = 'later' WHERE id = 50")
            other.execute("INSERT INTO public.mine VALUES (300, 'later')")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE public.mine SET name = 'later' WHERE id = 5")
        seen.append(other.execute("SELECT count(*) FROM public.mine WHERE name = 'bad'").fetchone())
        time.sleep(0.3)

    meanwhile(monkeypatch, write)
    report = point.apply()
    assert [(9,)] == seen
    assert ["_touch_first"] == ways
    assert GOOD == rows(session)
    assert 0 < report.lock_seconds < report.rows_locked_seconds - 0.3
    assert () == report.compared_again


# ------------------------------------------------------------------------------------------- what happens


HAPPENS = {
    "a row comes": "INSERT INTO public.mine VALUES (300, 'later')",
    "a row is changed": "UPDATE public.mine SET name = 'later' WHERE id = 50",
    "a row goes": "DELETE FROM public.mine WHERE id = 50",
    "a row goes and another comes": "DELETE FROM public.mine WHERE id = 50; INSERT INTO public.mine VALUES (50, 'x')",
    "a key is changed": "UPDATE public.mine SET id = 5000 WHERE id = 50",
    "a row is written as it was": "UPDATE public.mine SET name = name WHERE id = 50",
    "work elsewhere": "CREATE TABLE public.elsewhere (a int); INSERT INTO public.elsewhere VALUES (1)",
    "work that is undone": "BEGIN; INSERT INTO public.mine VALUES (300, 'later'); ROLLBACK",
}


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("scope", ["the whole table", "a condition", "a condition and many rows"])
@pytest.mark.parametrize("happens", HAPPENS)
def test_what_happens_meanwhile_is_undone_as_well(
    session: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch, happens: str, scope: str
) -> None:
    """What has changed since is compared again; what is written elsewhere, or rolled back, is no reason to."""
    if scope == "a condition and many rows":
        monkeypatch.setattr(comparing, "CHEAP_ROWS", 0)
    where = {} if scope == "the whole table" else {"public.mine": "id > 0"}
    point = Staged.take(session, ["public.mine"], where=where)
    damage(session)
    point.compare()
    ways = watch(monkeypatch)
    meanwhile(monkeypatch, lambda: other.execute(HAPPENS[happens].encode()))
    report = point.apply()
    assert GOOD == rows(session)
    assert 0 == point.confirm()["public.mine"].differing
    is_ours = happens.startswith(("a row", "a key"))
    # Where rows are compared and not counted, one that was written as it was is still what is wanted.
    is_seen = is_ours and not (scope == "a condition" and happens == "a row is written as it was")
    assert is_seen == ("_lock_first" in ways)
    # The attempt in vain counts.
    assert report.lock_seconds < report.rows_locked_seconds


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("strategy", ["merge_missing", "merge_overwrite"])
def test_a_row_that_comes_meanwhile_is_kept_by_merging(
    session: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    """It is nobody's business but the application's, whichever way is gone."""
    point = Staged.take(session, ["public.mine"], strategy=strategy)
    session.execute("DELETE FROM public.mine WHERE id = 20")
    point.compare()
    meanwhile(monkeypatch, lambda: other.execute("INSERT INTO public.mine VALUES (300, 'later')"))
    point.apply()
    assert [*GOOD, (300, "later")] == rows(session)


@pytest.mark.usefixtures("mine")
def test_another_row_in_the_same_place_is_not_touched(session: Connection) -> None:
    """A row version is known by who wrote it, not by its place alone, which may be another's by now."""
    point = Staged.take(session, ["public.mine"])
    session.execute("UPDATE public.mine SET name = 'bad' WHERE id = 5")
    place = session.execute("SELECT ctid::text FROM public.mine WHERE id = 5").fetchone()
    compared = point.compare()
    session.execute("DELETE FROM public.mine WHERE id = 5")
    session.execute("VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) public.mine")
    taken = None
    for number in range(300, 900):
        session.execute("INSERT INTO public.mine VALUES (%s, 'later')", [number])
        taken = session.execute(
            "SELECT id FROM public.mine WHERE ctid = %s::tid", [place and place[0]]
        ).fetchone()
        if taken is not None:
            break
    assert taken is not None
    touching = Touching(
        session, point.plan, point.matched(), {0: compared["public.mine"]}, frozenset(), frozenset()
    )
    with session.transaction(force_rollback=True):
        touching.prepare()
        with pytest.raises(LiveMoved):
            touching.touch()
    point.apply()
    assert GOOD == rows(session)


WHERE = {"public.mine": "tenant = 1"}


@pytest.fixture
def tenants(session: Connection) -> None:
    """Make a table of which only some rows are going to be in scope."""
    session.execute("CREATE TABLE public.mine (id int PRIMARY KEY, tenant int, name text)")
    session.execute("INSERT INTO public.mine SELECT g, 1, 'good' FROM generate_series(1, 10) g")


@pytest.mark.usefixtures("tenants")
def test_a_table_that_was_rewritten_is_compared_again(session: Connection, other: Connection) -> None:
    """Rows of one transaction have changed places: what lies where a surplus row lay is another tenant's."""
    point = Staged.take(session, ["public.mine"], where=WHERE)
    session.execute("INSERT INTO public.mine VALUES (20, 3, 'gone'), (21, 1, 'surplus'), (22, 2, 'another')")
    session.execute("DELETE FROM public.mine WHERE id = 20")
    point.compare()
    other.execute("VACUUM FULL public.mine")
    other.execute("DELETE FROM public.mine WHERE id = 21")
    point.apply()
    assert [(22, 2, "another")] == session.execute("SELECT * FROM public.mine WHERE id > 10").fetchall()


@pytest.mark.parametrize("strategy", ["merge_missing", "merge_overwrite"])
def test_a_row_that_is_back_already_is_not_doubled(
    session: Connection, other: Connection, strategy: Strategy
) -> None:
    """Without a key nothing but comparing again tells that it is not missing any more."""
    session.execute("CREATE TABLE public.log (tenant int, what text)")
    session.execute("INSERT INTO public.log SELECT 1, 'row ' || g FROM generate_series(1, 10) g")
    point = Staged.take(session, ["public.log"], strategy=strategy, where={"public.log": "tenant = 1"})
    session.execute("DELETE FROM public.log WHERE what = 'row 3'")
    point.compare()
    other.execute("INSERT INTO public.log VALUES (1, 'row 3')")
    point.apply()
    assert (10,) == session.execute("SELECT count(*) FROM public.log").fetchone()


@pytest.mark.usefixtures("tenants")
def test_a_row_that_is_out_of_scope_by_now_is_left_alone(session: Connection, other: Connection) -> None:
    """The condition looks at another table, in which something has changed."""
    session.execute("CREATE TABLE public.closed (tenant int PRIMARY KEY)")
    session.execute("INSERT INTO public.closed VALUES (1), (2)")
    where = {"public.mine": "tenant IN (SELECT c.tenant FROM public.closed AS c)"}
    point = Staged.take(session, ["public.mine"], where=where)
    session.execute("INSERT INTO public.mine VALUES (20, 2, 'surplus')")
    point.compare()
    other.execute("DELETE FROM public.closed WHERE tenant = 2")
    point.apply()
    assert (11,) == session.execute("SELECT count(*) FROM public.mine").fetchone()


@pytest.mark.usefixtures("tenants")
def test_what_is_kept_is_reported_as_it_is_now(session: Connection, other: Connection) -> None:
    """Of rows that came and changed since the comparison."""
    point = Staged.take(session, ["public.mine"], strategy="merge_missing", where=WHERE)
    session.execute("DELETE FROM public.mine WHERE id = 3")
    point.compare()
    other.execute("INSERT INTO public.mine VALUES (50, 1, 'later')")
    other.execute("UPDATE public.mine SET name = 'later' WHERE id = 5")
    table = point.apply().tables[0]
    assert (1, 2, 10) == (table.inserts, table.kept, table.rows_live)


def test_what_a_trigger_writes_makes_up_for_nothing(
    session: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes into a table in scope in our name: its rows are not to be counted for those that others delete."""
    session.execute("CREATE TABLE public.mine (id int PRIMARY KEY, name text)")
    session.execute(
        "CREATE TABLE public.audit (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, what text)"
    )
    session.execute("INSERT INTO public.mine SELECT g, 'good' FROM generate_series(1, 10) g")
    session.execute("INSERT INTO public.audit (what) SELECT 'old' FROM generate_series(1, 10) g")
    session.execute(
        "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO public.audit (what) VALUES ('touched'); RETURN NEW; END$$"
    )
    point = Staged.take(session, ["public.mine", "public.audit"])
    session.execute("UPDATE public.mine SET name = 'bad' WHERE id = 1")
    session.execute(
        "CREATE TRIGGER t AFTER UPDATE ON public.mine FOR EACH ROW EXECUTE FUNCTION public.note()"
    )
    session.execute("ALTER TABLE public.mine ENABLE ALWAYS TRIGGER t")
    point.compare()
    ways = watch(monkeypatch)
    # Nobody comes to do it between touching and locking, because the tables are locked first.
    meanwhile(monkeypatch, lambda: other.execute("DELETE FROM public.audit WHERE id = 1"))
    point.apply()
    assert ["_touch_first", "_lock_first"] == ways[:2]
    assert (10,) == session.execute("SELECT count(*) FROM public.audit WHERE what = 'old'").fetchone()


def test_what_a_row_refers_to_is_held_though_its_table_is_in_scope(
    session: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is not locked yet, and nobody deletes the robot of a signal that is about to come back."""
    session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots")
    point = Staged.take(session, ["public.robots", "public.signals"])
    session.execute("DELETE FROM public.signals")
    point.compare()
    ways = watch(monkeypatch)
    tried = []

    def delete() -> None:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("SET session_replication_role = replica; DELETE FROM public.robots")
        tried.append(True)

    meanwhile(monkeypatch, delete)
    point.apply()
    assert ([True], ["_touch_first"]) == (tried, ways)


# ------------------------------------------------------------------------------------------- locks


@pytest.mark.usefixtures("mine")
def test_a_lock_that_is_held_for_a_moment_is_asked_for_again(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody queues behind us meanwhile."""
    point = damaged_point(session)
    ways = watch(monkeypatch)
    with psycopg.connect(database.dsn()) as holder:
        holder.execute("INSERT INTO public.mine VALUES (300, 'later')")
        monkeypatch.setattr("strongroom.recovery.locking.time.sleep", lambda _: holder.rollback())
        point.apply()
    assert ["_touch_first"] == ways
    assert GOOD == rows(session)


def test_an_application_that_wants_our_rows_in_another_order_is_not_hurt(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds a row that we want and waits for one that we hold: we give way before its server tells a deadlock."""
    for name in ("one", "two"):
        session.execute(f"CREATE TABLE public.{name} (id int PRIMARY KEY, name text)".encode())
        session.execute(f"INSERT INTO public.{name} VALUES (1, 'good')".encode())
    point = Staged.take(session, ["public.one", "public.two"])
    for name in ("one", "two"):
        session.execute(f"UPDATE public.{name} SET name = 'bad'".encode())
    point.compare()
    ways = watch(monkeypatch)
    failed: list[BaseException] = []
    with psycopg.connect(database.dsn()) as application:
        # A row that is only held: whoever has written would be waited for before anything is touched.
        application.execute("SELECT FROM public.two FOR UPDATE")

        def go_on() -> None:
            try:
                application.execute("UPDATE public.one SET name = 'later'")
                application.execute("UPDATE public.two SET name = 'later'")
                application.commit()
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=go_on)
        touch = Touching._execute

        def and_wait(touching: Touching, table: Matched, statement: str, expected: int) -> None:
            if expected and table.mapped.label == "public.two" and not thread.ident:
                thread.start()
                # Longer than we wait for a row, and shorter than what a deadlock is told by, which is a second.
                time.sleep(0.3)
            touch(touching, table, statement, expected)

        monkeypatch.setattr(Touching, "_execute", and_wait)
        point.apply()
        thread.join()
    assert [] == failed
    assert ["_touch_first", "_lock_first"] == ways[:2]
    assert [("good", "good")] == session.execute(
        "SELECT o.name, t.name FROM public.one o, public.two t"
    ).fetchall()


@pytest.mark.usefixtures("mine")
def test_while_we_wait_for_a_vacuum_the_application_writes_on(
    session: Connection, other: Connection, database: Database
) -> None:
    """The lock that vacuum takes is waited for before the one that keeps writers away."""
    point = Staged.take(session, ["public.mine"])
    point.limits = RecoverySettings(lock_timeout=1.0, lock_attempts=1)
    damage(session)
    point.compare()
    written = []
    with psycopg.connect(database.dsn()) as vacuum:
        vacuum.execute("LOCK TABLE public.mine IN SHARE UPDATE EXCLUSIVE MODE")

        def write() -> None:
            time.sleep(0.3)
            other.execute("INSERT INTO public.mine VALUES (300, 'later')")
            written.append(True)

        thread = threading.Thread(target=write)
        thread.start()
        with pytest.raises(LockNotObtained):
            point.apply()
        thread.join()
    assert [True] == written


@pytest.mark.usefixtures("mine")
def test_a_vacuum_that_ends_is_waited_for(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no reason to lock the tables first."""
    point = damaged_point(session)
    ways = watch(monkeypatch)
    with psycopg.connect(database.dsn()) as vacuum:
        vacuum.execute("LOCK TABLE public.mine IN SHARE UPDATE EXCLUSIVE MODE")
        timer = threading.Timer(0.5, vacuum.rollback)
        timer.start()
        point.apply()
        timer.join()
    assert ["_touch_first"] == ways
    assert GOOD == rows(session)


@pytest.mark.usefixtures("mine")
def test_beside_a_transaction_that_stays_open_nothing_is_touched_over_and_over(
    session: Connection, database: Database
) -> None:
    """It is looked whether the lock could be had before live is written to: the table does not grow."""
    session.execute("ALTER TABLE public.mine SET (autovacuum_enabled = off)")
    session.execute("INSERT INTO public.mine SELECT g, 'good' FROM generate_series(1001, 9000) g")
    point = Staged.take(session, ["public.mine"])
    point.limits = RecoverySettings(lock_timeout=0.1, lock_attempts=1)
    session.execute("UPDATE public.mine SET name = 'bad'")
    point.compare()
    size = "SELECT pg_relation_size('public.mine')"
    before = session.execute(size).fetchone()
    with psycopg.connect(database.dsn()) as holder:
        holder.execute("INSERT INTO public.mine VALUES (0, 'later')")
        for _ in range(3):
            with pytest.raises(LockNotObtained):
                point.apply()
        assert before == session.execute(size).fetchone()
        holder.rollback()
    point.apply()
    assert (0,) == session.execute("SELECT count(*) FROM public.mine WHERE name <> 'good'").fetchone()


@pytest.mark.usefixtures("mine")
def test_the_time_of_an_attempt_in_vain_is_reported(
    session: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wanted one of the rows has waited for that, too."""
    point = damaged_point(session)

    def change() -> None:
        time.sleep(0.4)
        other.execute("UPDATE public.mine SET name = 'later' WHERE id = 50")

    meanwhile(monkeypatch, change)
    report = point.apply()
    assert ("public.mine",) == report.compared_again
    assert report.lock_seconds + 0.4 < report.rows_locked_seconds


def test_a_row_that_moves_to_another_partition_is_no_error(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has a code of its own for that; afterwards it is found where it is."""
    monkeypatch.setattr(applying, "_AT_ONCE_MS", 2000)
    session.execute(
        "CREATE TABLE public.p (id int, part int, name text, PRIMARY KEY (id, part)) PARTITION BY LIST (part)"
    )
    for part in (1, 2):
        session.execute(f"CREATE TABLE public.p{part} PARTITION OF public.p FOR VALUES IN ({part})".encode())
    session.execute("INSERT INTO public.p SELECT g, 1, 'good' FROM generate_series(1, 10) g")
    point = Staged.take(session, ["public.p1", "public.p2"])
    session.execute("UPDATE public.p SET name = 'bad' WHERE id < 5")
    point.compare()
    monkeypatch.setattr(applying, "require_free", lambda *_: None)
    with (
        psycopg.connect(database.dsn()) as application,
        psycopg.connect(database.dsn(), autocommit=True) as looking,
    ):
        application.execute("UPDATE public.p SET part = 2 WHERE id = 3")

        def commit() -> None:
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype <> 'relation')"
            end = time.monotonic() + 5
            while looking.execute(waiting).fetchone() != (True,) and time.monotonic() < end:
                pass
            application.commit()

        thread = threading.Thread(target=commit)
        thread.start()
        point.apply()
        thread.join()
    expected = [(number, 1, "good") for number in range(1, 11)]
    assert expected == session.execute("SELECT * FROM public.p ORDER BY id").fetchall()


def test_a_sequence_that_an_attempt_in_vain_has_moved_is_reported(
    session: Connection, database: Database
) -> None:
    """It stays where it is, and is far enough for the next attempt."""
    for name in ("one", "two"):
        session.execute(f"CREATE TABLE public.{name} (id serial PRIMARY KEY, name text)".encode())
        session.execute(
            f"INSERT INTO public.{name} (name) SELECT 'good' FROM generate_series(1, 10)".encode()
        )
    point = Staged.take(session, ["public.one", "public.two"])
    session.execute("DELETE FROM public.one; DELETE FROM public.two")
    session.execute("SELECT setval('public.one_id_seq', 1), setval('public.two_id_seq', 1)")
    point.compare()
    with psycopg.connect(database.dsn()) as migration:
        migration.execute("ALTER SEQUENCE public.two_id_seq CACHE 5")
        timer = threading.Timer(0.5, migration.rollback)
        timer.start()
        report = point.apply()
        timer.join()
    assert ("public.one_id_seq", "public.two_id_seq") == report.sequences_moved


def test_the_list_of_transactions_says_the_same_as_their_ages(
    session: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for large tables, which several processes look through at once; reading it takes its time, too."""
    session.execute("CREATE TABLE public.large (id int PRIMARY KEY, name text)")
    session.execute("INSERT INTO public.large SELECT g, repeat('x', 500) FROM generate_series(1, 3000) g")
    point = Staged.take(session, ["public.large"])
    other.execute("UPDATE public.large SET name = 'new' WHERE id % 7 = 0")
    xmin = xmin_of(point.compare()["public.large"].snapshot) - 2
    other.execute("DELETE FROM public.large WHERE id % 11 = 0")
    (table,) = point.matched()
    with session.transaction(force_rollback=True):
        session.execute("INSERT INTO public.large VALUES (-1, 'own'), (-2, 'own')")
        assert unchanged._is_recent(session, table, xmin).startswith("v.xmin = ANY")
        listed = unchanged.observe(session, table, xmin, own_rows=2)
        monkeypatch.setattr(unchanged, "_LISTED", 0)
        assert unchanged._is_recent(session, table, xmin).startswith("age(")
        assert listed == unchanged.observe(session, table, xmin, own_rows=2)
    assert 0 < listed.recent_rows < listed.old_rows


# ------------------------------------------------------------------------------------------- the other way


@pytest.mark.usefixtures("mine")
def test_where_triggers_act_the_tables_are_locked_first(
    session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triggers are disabled meanwhile, which nobody may see."""
    point = Staged.take(session, ["public.mine"])
    damage(session)
    session.execute("SET session_replication_role = origin")
    point.compare()
    ways = watch(monkeypatch)
    report = point.apply()
    assert ["_touch_first", "_lock_first"] == ways
    assert report.lock_seconds == report.rows_locked_seconds
    assert GOOD == rows(session)


@pytest.mark.parametrize("right", ["DELETE", "UPDATE (id)"])
def test_where_rows_cannot_be_held_the_tables_are_locked_first(
    session: Connection, database: Database, monkeypatch: pytest.MonkeyPatch, right: str
) -> None:
    """To hold a row takes the right to update some column; DELETE, which is enough to lock a table, is not."""
    with psycopg.connect(database.dsn(database.server.superuser), autocommit=True) as admin:
        admin.execute("CREATE TABLE public.theirs (id int PRIMARY KEY)")
        admin.execute("REVOKE ALL ON public.theirs FROM postgres, anon, authenticated, service_role")
        admin.execute(
            f"GRANT SELECT, INSERT, TRUNCATE, DELETE, REFERENCES, {right} ON public.theirs TO postgres".encode()
        )
    session.execute("CREATE TABLE public.mine (id int PRIMARY KEY REFERENCES public.theirs)")
    session.execute("INSERT INTO public.theirs VALUES (1), (2)")
    session.execute("INSERT INTO public.mine VALUES (1), (2)")
    point = Staged.take(session, ["public.theirs", "public.mine"], strategy="merge_missing")
    session.execute("TRUNCATE public.mine, public.theirs")
    session.execute("INSERT INTO public.theirs VALUES (1)")
    point.compare()
    ways = watch(monkeypatch)
    point.apply()
    assert (right == "DELETE") == ("_lock_first" in ways)
    assert [(1,), (2,)] == session.execute("SELECT id FROM public.mine ORDER BY 1").fetchall()


def test_our_own_transaction_is_not_taken_for_one_that_is_running(
    session: Connection, other: Connection
) -> None:
    """Else, once somebody has ended beside us, it would look for ever as if somebody had written since."""
    with session.transaction(force_rollback=True):
        own = session.execute("SELECT pg_current_xact_id()::text::int8").fetchone()
        other.execute("CREATE TABLE public.elsewhere (a int)")
        least, following, running = unchanged.running_now(session).split(":")
    assert own is not None
    assert "" == running
    assert own[0] < int(least) == int(following)
