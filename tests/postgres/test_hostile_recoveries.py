"""Facts about recoveries in place beside everything that a live database may do to them. As role `postgres`."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from msgspec.structs import replace

from strongroom.deadline import Deadline
from strongroom.errors import (
    LockNotObtained,
    PlanUnfit,
    ReferencesWouldBreak,
    ValueTaken,
)
from strongroom.format.recovery_plans import Strategy
from strongroom.operations.recovery_messages import CompareLive, DifferencesReport
from strongroom.postgres.connection import Connection
from strongroom.recovery.run_journal import require_owner, set_state
from strongroom.recovery.sessions import connect_live
from strongroom.recovery_settings import RecoverySettings
from tests.databases import Database
from tests.recoveries import Recoveries
from tests.staged import OWNER, Staged, tables_first

IMPATIENT = RecoverySettings(lock_timeout=0.2, lock_attempts=2)


@pytest.fixture
def session(recoveries: Recoveries) -> Iterator[Connection]:
    """Open a session as the operations do."""
    with connect_live(recoveries.backups.settings, None, Deadline.after(120, "test")) as connection:
        yield connection


def content(session: Connection, table: str) -> list[str]:
    """Return all rows of a table as texts, in a fixed order."""
    rows = session.execute(f'SELECT t::text COLLATE "C" FROM ONLY {table} AS t ORDER BY 1').fetchall()
    return [row for (row,) in rows]


@pytest.mark.parametrize("touches_first", [False, True])
@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_the_isolation_that_a_role_prefers_does_not_blind_the_lock(
    recoveries: Recoveries, level: str, touches_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the application commits between our first look and the lock is seen all the same."""
    recoveries.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    recoveries.execute("INSERT INTO public.t SELECT n, 'row ' || n FROM generate_series(1, 50) n")
    recoveries.execute(f"ALTER ROLE postgres SET default_transaction_isolation = '{level}'")
    try:
        settings = recoveries.backups.settings
        with connect_live(settings, None, Deadline.after(120, "test")) as session:
            before = content(session, "public.t")
            point = Staged.take(session, ["public.t"])
            session.execute("UPDATE public.t SET note = 'bad' WHERE id = 7")
            point.compare()
            if not touches_first:
                tables_first(monkeypatch)
            applying = point.applying()
            begin = applying._begin

            def late() -> object:
                done = begin()
                recoveries.execute("DELETE FROM public.t WHERE id = 9")
                recoveries.execute("INSERT INTO public.t VALUES (99, 'late') ON CONFLICT DO NOTHING")
                return done

            monkeypatch.setattr(applying, "_begin", late)
            applying.run()
            assert before == content(session, "public.t")
    finally:
        recoveries.execute("ALTER ROLE postgres RESET default_transaction_isolation")


@pytest.mark.parametrize("strategy", ["merge_missing", "merge_overwrite"])
@pytest.mark.parametrize("kind", ["PRIMARY KEY (id)", "UNIQUE (id)"])
def test_a_key_that_is_checked_late_is_not_doubled(
    session: Connection, strategy: Strategy, kind: str
) -> None:
    """The server checks it by a trigger, which does not act in a replica's session."""
    session.execute(f"CREATE TABLE public.t (id int, note text, {kind} DEFERRABLE INITIALLY DEFERRED)")
    session.execute("INSERT INTO public.t SELECT n, 'good' FROM generate_series(1, 5) n")
    point = Staged.take(session, ["public.t"], strategy=strategy)
    session.execute("UPDATE public.t SET note = 'changed' WHERE id = 2")
    before = content(session, "public.t")
    point.compare()
    with pytest.raises(ValueTaken):
        point.apply()
    assert before == content(session, "public.t")


def test_a_condition_deletes_no_row_that_the_backup_has(recoveries: Recoveries) -> None:
    """A row that has come to meet it since goes back to what it was; one that only time made meet it stays."""
    recoveries.execute("CREATE TABLE public.t (id int PRIMARY KEY, owner text, note text)")
    recoveries.execute(
        "INSERT INTO public.t SELECT n, 'o' || n %% 3, 'n' FROM generate_series(1, 30) n".replace("%%", "%")
    )
    recoveries.backups.back_up("full")
    before = recoveries.rows("public.t")
    recoveries.execute("UPDATE public.t SET owner = 'o1' WHERE id IN (2, 3)")
    recoveries.execute("UPDATE public.t SET owner = 'o2' WHERE id = 4")
    recoveries.execute("DELETE FROM public.t WHERE id = 7")
    recoveries.execute("INSERT INTO public.t VALUES (100, 'o1', 'new')")
    plan = recoveries.plan("public.t", where="owner = 'o1'")
    applied = recoveries.carry_out(plan)
    assert before == recoveries.rows("public.t")
    assert (1, 3, 1) == (applied.tables[0].inserts, applied.tables[0].changes, applied.tables[0].deletes)


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
def test_a_condition_that_reads_other_tables_deletes_nothing_that_was_there(
    recoveries: Recoveries, key: str
) -> None:
    """What it reads may change while rows are staged, so that rows which are what they were meet it only later."""
    recoveries.execute("CREATE TABLE public.robots (id int PRIMARY KEY, owner text)")
    recoveries.execute("INSERT INTO public.robots VALUES (1, 'a'), (2, 'b')")
    recoveries.execute(f"CREATE TABLE public.t (id int {key}, robot int)")
    recoveries.execute("INSERT INTO public.t SELECT n, 1 + n % 2 FROM generate_series(1, 20) n")
    recoveries.backups.back_up("full")
    before = recoveries.rows("public.t")
    plan = recoveries.plan(
        "public.t", where="robot IN (SELECT r.id FROM public.robots AS r WHERE owner = 'a')"
    )
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        recoveries.execute("UPDATE public.robots SET owner = 'a'")
        report = recoveries.run("compare_live", CompareLive(plan=plan, owner=run.owner), DifferencesReport)
        assert 0 == report.tables[0].deletes
        recoveries.apply(plan, run.owner)
        assert recoveries.confirm(plan).passed
        recoveries.finish(plan, run.owner, "recovered")
    assert before == recoveries.rows("public.t")


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_replacing_a_row_does_not_take_along_what_refers_to_it(session: Connection, action: str) -> None:
    """Where foreign keys cannot be kept from acting, a row that others refer to is not deleted, not for a moment."""
    session.execute("CREATE TABLE public.p (id int PRIMARY KEY, place int UNIQUE)")
    session.execute(
        f"CREATE TABLE public.c (id int PRIMARY KEY, p int DEFAULT 1 REFERENCES public.p ON DELETE {action})"
    )
    session.execute("INSERT INTO public.p SELECT n, n FROM generate_series(1, 4) n")
    session.execute("INSERT INTO public.c SELECT n, n FROM generate_series(2, 4) n")
    point = Staged.take(session, ["public.p"])
    session.execute("UPDATE public.p SET place = -place WHERE id > 2")
    session.execute("SET session_replication_role = origin")
    before = content(session, "public.p"), content(session, "public.c")
    point.compare()
    with pytest.raises(ReferencesWouldBreak):
        point.apply()
    assert before == (content(session, "public.p"), content(session, "public.c"))


def test_a_publication_of_all_tables_is_no_obstacle(session: Connection, empty_database: Database) -> None:
    """The journal's own tables are published then as well, and have to have a key."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    session.execute("INSERT INTO public.t SELECT n, 'good' FROM generate_series(1, 5) n")
    with psycopg.connect(empty_database.dsn("supabase_admin"), autocommit=True) as admin:
        admin.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    before = content(session, "public.t")
    point = Staged.take(session, ["public.t"])
    session.execute("UPDATE public.t SET note = 'bad'")
    point.compare()
    point.apply()
    assert before == content(session, "public.t")


def test_a_run_that_is_being_undone_is_not_carried_out_again(session: Connection) -> None:
    """Its journal may have been opened again from its record, without what it had committed."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    session.execute("INSERT INTO public.t SELECT n, 'good' FROM generate_series(1, 5) n")
    point = Staged.take(session, ["public.t"])
    session.execute("UPDATE public.t SET note = 'bad'")
    before = content(session, "public.t")
    point.compare()
    with session.transaction():
        require_owner(session, point.plan, OWNER)
        set_state(session, point.plan, "rolling-back")
    with pytest.raises(PlanUnfit):
        point.apply()
    assert before == content(session, "public.t")


def test_a_plan_that_was_changed_does_not_go_on_under_its_name(recoveries: Recoveries) -> None:
    """What is staged, and perhaps committed, is what the first one said."""
    recoveries.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    recoveries.execute("INSERT INTO public.t SELECT n, 'good' FROM generate_series(1, 5) n")
    recoveries.backups.back_up("full")
    plan = recoveries.plan("public.t")
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
    with pytest.raises(PlanUnfit), recoveries.hold(replace(plan, strategy="merge_missing")):
        pass
    with recoveries.hold(replace(plan, force=True)) as run:
        assert run.resumed


def test_a_rule_for_replicas_is_not_taken_for_the_application(session: Connection) -> None:
    """A rule that removes what the recovery inserts leaves it unconfirmed, whatever else goes on in the cluster."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    session.execute("INSERT INTO public.t SELECT n, 'good' FROM generate_series(1, 5) n")
    session.execute(
        "CREATE RULE gone AS ON INSERT TO public.t DO ALSO DELETE FROM public.t AS t WHERE t.id = NEW.id AND t.id = 3"
    )
    session.execute("ALTER TABLE public.t ENABLE ALWAYS RULE gone")
    point = Staged.take(session, ["public.t"])
    session.execute("DELETE FROM public.t WHERE id > 2")
    point.compare()
    report = point.apply()
    session.execute("CREATE TABLE public.other ()")
    assert 1 == point.confirm()["public.t"].differing
    assert {"triggers-acted"} == {finding.code for finding in report.findings}


def test_keys_of_other_collations_are_followed(session: Connection) -> None:
    """Neither column's collation wins by itself; the server's own check takes that of the key."""
    session.execute('CREATE TABLE public.p (id text COLLATE "C" PRIMARY KEY)')
    session.execute(
        'CREATE TABLE public.c (id int PRIMARY KEY, p text COLLATE "POSIX" REFERENCES public.p (id))'
    )
    session.execute("INSERT INTO public.p VALUES ('a'), ('b')")
    session.execute("INSERT INTO public.c VALUES (1, 'a'), (2, 'b')")
    before = content(session, "public.p"), content(session, "public.c")
    point = Staged.take(session, ["public.p", "public.c"])
    session.execute("TRUNCATE public.p, public.c")
    point.compare()
    point.apply()
    assert before == (content(session, "public.p"), content(session, "public.c"))


def test_blanks_count_where_the_type_keeps_them(session: Connection) -> None:
    """A cast to text takes them away from a `bpchar` without a length, and so would hide a difference."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, code bpchar)")
    session.execute("INSERT INTO public.t VALUES (1, 'a'), (2, 'b  ')")
    before = content(session, "public.t")
    point = Staged.take(session, ["public.t"])
    session.execute("UPDATE public.t SET code = rpad(trim(code), 5)")
    point.compare()
    point.apply()
    assert before == content(session, "public.t")


def test_a_cast_of_the_users_own_hides_nothing(session: Connection) -> None:
    """Whether rows differ is told by what COPY would write, not by what somebody's cast to text makes of it."""
    session.execute("CREATE TYPE public.mood AS ENUM ('sad', 'glad')")
    session.execute(
        "CREATE FUNCTION public.say(public.mood) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'moody' $$"
    )
    session.execute("CREATE CAST (public.mood AS text) WITH FUNCTION public.say(public.mood)")
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, mood public.mood)")
    session.execute("INSERT INTO public.t VALUES (1, 'sad'), (2, 'glad')")
    before = content(session, "public.t")
    point = Staged.take(session, ["public.t"])
    session.execute("UPDATE public.t SET mood = 'sad'")
    point.compare()
    point.apply()
    assert before == content(session, "public.t")


def test_columns_that_have_changed_their_names_are_compared_again(session: Connection) -> None:
    """A migration that renames columns touches no row, so the rows alone do not show it."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, a text, b text)")
    session.execute("INSERT INTO public.t SELECT n, 'a', 'b' FROM generate_series(1, 5) n")
    before = [f"({n},a,b)" for n in range(1, 6)]
    point = Staged.take(session, ["public.t"])
    session.execute("UPDATE public.t SET b = 'bad' WHERE id = 1")
    point.compare()
    session.execute("ALTER TABLE public.t RENAME a TO c")
    session.execute("ALTER TABLE public.t RENAME b TO a")
    session.execute("ALTER TABLE public.t RENAME c TO b")
    point.apply()
    named = [
        row for (row,) in session.execute("SELECT ROW(id, a, b)::text FROM public.t ORDER BY id").fetchall()
    ]
    assert before == named


def test_a_prepared_transaction_that_holds_a_lock_is_named(
    session: Connection, recoveries: Recoveries
) -> None:
    """It has no process, and nobody finds it who looks for one."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    session.execute("INSERT INTO public.t VALUES (1, 'good')")
    if session.execute("SHOW max_prepared_transactions").fetchone() == ("0",):
        pytest.skip("NOT PROVEN: the test's server takes no prepared transactions")
    point = Staged.take(session, ["public.t"])
    point.limits = IMPATIENT
    session.execute("UPDATE public.t SET note = 'bad'")
    point.compare()
    recoveries.execute("BEGIN; UPDATE public.t SET note = 'x'; PREPARE TRANSACTION 'forgotten'")
    try:
        with pytest.raises(LockNotObtained, match="prepared"):
            point.apply()
    finally:
        recoveries.execute("ROLLBACK PREPARED 'forgotten'")


def test_all_locks_together_are_waited_for_no_longer_than_one(
    session: Connection, recoveries: Recoveries
) -> None:
    """Writers of the tables that are locked already wait as well, for as long as we wait for the others."""
    names = [f"public.t{n}" for n in range(5)]
    for name in names:
        session.execute(f"CREATE TABLE {name} (id int PRIMARY KEY)")
        session.execute(f"INSERT INTO {name} VALUES (1)")
    point = Staged.take(session, names)
    point.limits = RecoverySettings(lock_timeout=0.4, lock_attempts=1)
    point.compare()
    holders = [psycopg.connect(recoveries.dsn) for _ in names]
    try:
        for holder, name in zip(holders, names, strict=True):
            holder.execute(f"DELETE FROM {name}".encode())
        releasing = [
            threading.Timer(0.3 * (place + 1), holder.rollback) for place, holder in enumerate(holders)
        ]
        for timer in releasing:
            timer.start()
        with pytest.raises(LockNotObtained):
            point.apply()
        for timer in releasing:
            timer.join()
    finally:
        for holder in holders:
            holder.close()


def test_who_was_in_a_subtransaction_meanwhile_has_written_since(
    session: Connection, recoveries: Recoveries
) -> None:
    """Its id is older than the commit, and in no snapshot; what it writes afterwards is the application's own."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    session.execute("CREATE TABLE public.other (id int)")
    session.execute("INSERT INTO public.t SELECT n, 'good' FROM generate_series(1, 5) n")
    point = Staged.take(session, ["public.t"])
    session.execute("UPDATE public.t SET note = 'bad' WHERE id = 1")
    point.compare()
    with psycopg.connect(recoveries.dsn) as application:
        application.execute("INSERT INTO public.other VALUES (1)")
        application.execute("SAVEPOINT one")
        application.execute("INSERT INTO public.other VALUES (2)")
        recoveries.execute("INSERT INTO public.other VALUES (3)")
        point.apply()
        application.execute("UPDATE public.t SET note = 'since' WHERE id = 2")
        application.commit()
    confirmed = point.confirm()["public.t"]
    assert (0, 1) == (confirmed.differing, confirmed.written_since)


def test_overwriting_needs_no_right_to_delete(session: Connection, empty_database: Database) -> None:
    """A published table is asked only for what will be done to it."""
    session.execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")
    session.execute("INSERT INTO public.t SELECT n, 'good' FROM generate_series(1, 5) n")
    before = content(session, "public.t")
    with psycopg.connect(empty_database.dsn("supabase_admin"), autocommit=True) as admin:
        admin.execute("ALTER TABLE public.t OWNER TO supabase_admin")
        admin.execute("REVOKE ALL ON public.t FROM postgres")
        admin.execute("GRANT SELECT, INSERT, UPDATE ON public.t TO postgres")
    point = Staged.take(session, ["public.t"], strategy="merge_overwrite")
    with psycopg.connect(empty_database.dsn("supabase_admin"), autocommit=True) as admin:
        admin.execute("UPDATE public.t SET note = 'bad' WHERE id < 3")
        admin.execute("DELETE FROM public.t WHERE id = 5")
    point.compare()
    point.apply()
    assert before == content(session, "public.t")


@pytest.mark.parametrize("where", ["", "owner = 'o1'"])
def test_a_rollback_gives_back_what_a_condition_had_pulled_in(recoveries: Recoveries, where: str) -> None:
    """Rows that had come to meet the condition were touched, and go back to where they had been."""
    recoveries.execute("CREATE TABLE public.t (id int PRIMARY KEY, owner text)")
    recoveries.execute("INSERT INTO public.t SELECT n, 'o' || n % 3 FROM generate_series(1, 30) n")
    first = recoveries.backups.back_up("full")
    recoveries.execute("UPDATE public.t SET owner = 'o1' WHERE id IN (2, 3)")
    recoveries.execute("UPDATE public.t SET owner = 'o2' WHERE id = 4")
    before = recoveries.rows("public.t")
    emergency = recoveries.backups.back_up("incremental")
    plan = recoveries.plan("public.t", where=where, backup=first)
    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        recoveries.apply(plan, run.owner)
        assert recoveries.confirm(plan).passed
    assert before != recoveries.rows("public.t")
    recoveries.carry_out(recoveries.plan("public.t", backup=emergency, undoes=plan.id))
    assert before == recoveries.rows("public.t")


def test_a_key_over_periods_is_not_broken_silently(session: Connection) -> None:
    """What is referred to over a time is looked at as any other reference."""
    if session.info.server_version < 180000:
        pytest.skip("NOT PROVEN: the server has no keys over periods")
    session.execute(
        "CREATE TABLE public.p (id int4range, valid daterange, PRIMARY KEY (id, valid WITHOUT OVERLAPS))"
    )
    session.execute(
        "CREATE TABLE public.c (id int PRIMARY KEY, p int4range, valid daterange,"
        " FOREIGN KEY (p, PERIOD valid) REFERENCES public.p (id, PERIOD valid))"
    )
    point = Staged.take(session, ["public.p"])
    session.execute("INSERT INTO public.p VALUES ('[1,2)', '[2020-01-01,2021-01-01)')")
    session.execute("INSERT INTO public.c VALUES (1, '[1,2)', '[2020-02-01,2020-03-01)')")
    point.compare()
    with pytest.raises(ReferencesWouldBreak):
        point.apply()


def test_rows_that_moved_to_another_partition_move_back(session: Connection) -> None:
    """Each partition is a table of its own: what is too much in one is missing in the other."""
    session.execute(
        "CREATE TABLE public.root (id int, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)"
    )
    for r in ("a", "b"):
        session.execute(f"CREATE TABLE public.root_{r} PARTITION OF public.root FOR VALUES IN ('{r}')")
    session.execute(
        "INSERT INTO public.root SELECT n, CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END, 'good'"
        " FROM generate_series(1, 10) n"
    )
    before = content(session, "public.root_a"), content(session, "public.root_b")
    point = Staged.take(session, ["public.root_a", "public.root_b"])
    session.execute("UPDATE public.root SET region = 'b' WHERE id = 2")
    session.execute("UPDATE public.root SET region = 'a' WHERE id = 3")
    point.compare()
    point.apply()
    assert before == (content(session, "public.root_a"), content(session, "public.root_b"))


def test_a_key_to_the_whole_table_takes_nothing_along_with_a_partitions_row(session: Connection) -> None:
    """Where keys act, a row of a partition is referred to through the table that it is a part of."""
    session.execute("CREATE TABLE public.root (id int PRIMARY KEY, place int) PARTITION BY RANGE (id)")
    session.execute("CREATE TABLE public.root_a PARTITION OF public.root FOR VALUES FROM (0) TO (100)")
    session.execute(
        "CREATE TABLE public.c (id int PRIMARY KEY, p int REFERENCES public.root ON DELETE CASCADE)"
    )
    session.execute("INSERT INTO public.root SELECT n, n FROM generate_series(1, 4) n")
    point = Staged.take(session, ["public.root_a"])
    session.execute("INSERT INTO public.root VALUES (5, 5)")
    session.execute("INSERT INTO public.c VALUES (5, 5)")
    session.execute("SET session_replication_role = origin")
    point.compare()
    with pytest.raises(ReferencesWouldBreak):
        point.apply()
    assert ["(5,5)"] == content(session, "public.c")


def test_an_exclusion_that_is_checked_late_is_kept(session: Connection) -> None:
    """No trigger of the server's looks at it in a replica's session; two rows that overlap would stay."""
    session.execute(
        "CREATE TABLE public.t (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&) DEFERRABLE)"
    )
    session.execute("INSERT INTO public.t VALUES (1, '[1,5)')")
    point = Staged.take(session, ["public.t"], strategy="merge_missing")
    session.execute("DELETE FROM public.t")
    session.execute("INSERT INTO public.t VALUES (2, '[2,3)')")
    point.compare()
    with pytest.raises(ValueTaken):
        point.apply()
    assert ['(2,"[2,3)")'] == content(session, "public.t")


def test_values_that_are_equal_and_not_the_same_come_back(session: Connection) -> None:
    """Scales, signs of zero, nulls within and without, bounds of arrays, blanks, and spaces in JSON."""
    session.execute("CREATE TYPE public.pair AS (a int, b text)")
    session.execute(
        "CREATE TABLE public.t (id numeric PRIMARY KEY, f float8, n numeric, p public.pair, a int[], c char(5), j json,"
        " big text)"
    )
    session.execute(
        "INSERT INTO public.t VALUES"
        " (1.0, 'NaN', 1.0, ROW(NULL, NULL), '[0:1]={1,2}', 'a', '{\"a\": 1}', repeat('x', 2000000)),"
        " (2.00, '-0', 'NaN', NULL, '{1,2}', 'b', '{\"a\":1}', 'y'), (3, 0, 1, ROW(1, NULL), NULL, NULL, NULL, NULL)"
    )
    before = content(session, "public.t")
    point = Staged.take(session, ["public.t"])
    session.execute(
        "UPDATE public.t SET id = round(id), f = 0, n = 1, p = NULL, a = '{1,2}', c = 'x', j = '{\"a\":1}'"
    )
    session.execute("UPDATE public.t SET p = ROW(NULL, NULL) WHERE id = 2")
    point.compare()
    point.apply()
    assert before == content(session, "public.t")
    assert 0 == point.confirm()["public.t"].differing


def test_rows_that_are_alike_come_back_as_often_as_they_were(session: Connection) -> None:
    """Without a key, nulls and the word NULL included, though the application has written since the comparison."""
    session.execute("CREATE TABLE public.t (note text)")
    session.execute("INSERT INTO public.t VALUES ('a'), ('a'), ('b'), (NULL), (NULL)")
    before = content(session, "public.t")
    point = Staged.take(session, ["public.t"])
    session.execute("DELETE FROM public.t WHERE ctid IN (SELECT min(ctid) FROM public.t GROUP BY note)")
    session.execute("INSERT INTO public.t VALUES ('b'), ('b'), ('NULL')")
    point.compare()
    session.execute("INSERT INTO public.t VALUES ('a'), (NULL)")
    point.apply()
    assert before == content(session, "public.t")


def test_what_a_role_prefers_changes_no_value(
    recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings of the role that sessions begin with: nulls in arrays, idle sessions, what `= NULL` means."""
    recoveries.execute("ALTER ROLE postgres SET idle_session_timeout = '2s'")
    recoveries.execute("ALTER ROLE postgres SET array_nulls = off")
    recoveries.execute("ALTER ROLE postgres SET default_transaction_deferrable = on")
    recoveries.execute("ALTER ROLE postgres SET transform_null_equals = on")
    try:
        recoveries.execute("CREATE TABLE public.t (id int PRIMARY KEY, a text[])")
        recoveries.execute(
            "SET array_nulls = on; INSERT INTO public.t VALUES (1, '{NULL,a}'), (2, '{\"NULL\",b}')"
        )
        recoveries.backups.back_up("full")
        before = recoveries.rows("public.t")
        recoveries.execute("UPDATE public.t SET a = '{}'")
        recoveries.carry_out(recoveries.plan("public.t"))
        assert before == recoveries.rows("public.t")
    finally:
        recoveries.execute("ALTER ROLE postgres RESET ALL")


def test_a_row_that_is_just_being_referred_to_is_not_deleted(
    session: Connection, recoveries: Recoveries
) -> None:
    """Neither while the other transaction is open nor after it."""
    recoveries.execute("CREATE TABLE public.p (id int PRIMARY KEY)")
    recoveries.execute("CREATE TABLE public.c (id int PRIMARY KEY, p int REFERENCES public.p)")
    recoveries.execute("INSERT INTO public.p VALUES (1)")
    point = Staged.take(session, ["public.p"])
    point.limits = IMPATIENT
    recoveries.execute("INSERT INTO public.p VALUES (2)")
    point.compare()
    with psycopg.connect(recoveries.dsn) as application:
        application.execute("INSERT INTO public.c VALUES (1, 2)")
        with pytest.raises((LockNotObtained, ReferencesWouldBreak)):
            point.apply()
        application.commit()
    with pytest.raises(ReferencesWouldBreak):
        point.apply()
    assert ["(1)", "(2)"] == content(session, "public.p")


def test_values_that_collide_only_as_computed_are_swapped(session: Connection) -> None:
    """A unique generated column, and a unique expression under a predicate."""
    session.execute(
        "CREATE TABLE public.t (id int PRIMARY KEY, a int, b int, g int GENERATED ALWAYS AS (a + 1) STORED UNIQUE)"
    )
    session.execute("CREATE UNIQUE INDEX ON public.t ((b * 2)) WHERE b > 0")
    session.execute("INSERT INTO public.t (id, a, b) SELECT n, n, n FROM generate_series(1, 6) n")
    before = content(session, "public.t")
    point = Staged.take(session, ["public.t"])
    session.execute("UPDATE public.t SET a = a + 100, b = b + 100")
    session.execute("UPDATE public.t SET a = 7 - id, b = 7 - id")
    point.compare()
    point.apply()
    assert before == content(session, "public.t")


def test_a_sequence_that_descends_goes_on_downwards(session: Connection) -> None:
    """Emptied and begun anew, it must not give out a number that has come back."""
    session.execute(
        "CREATE TABLE public.t (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY (INCREMENT -1), note text)"
    )
    session.execute("INSERT INTO public.t (note) SELECT 'x' FROM generate_series(1, 5)")
    before = content(session, "public.t")
    point = Staged.take(session, ["public.t"])
    session.execute("TRUNCATE public.t RESTART IDENTITY")
    session.execute("INSERT INTO public.t (note) VALUES ('y')")
    point.compare()
    point.apply()
    assert before == content(session, "public.t")
    session.execute("INSERT INTO public.t (note) VALUES ('z')")
