"""Facts about comparing live tables with staged rows on a real server, as role `postgres`."""

import psycopg
import pytest

from strongroom.errors import LockNotObtained, PlanUnfit, RecoveryOwnerLost, StagingIncomplete
from strongroom.operations.recovery_messages import TableDifferences
from strongroom.postgres.connection import Connection
from strongroom.recovery import comparing
from strongroom.recovery.comparing import compare_tables
from strongroom.recovery.run_journal import set_state
from tests.databases import Database
from tests.staged import OWNER, Staged


def kinds(session: Connection, number: int = 0) -> dict[str, int]:
    """Return how many rows of each kind the differences hold."""
    query = f"SELECT kind::text, count(*) FROM strongroom_staging.differences_{number} GROUP BY 1"
    return dict(session.execute(query).fetchall())


@pytest.mark.parametrize(
    "type_and_values",
    [
        ("numeric", "'1.0'", "'1.00'"),
        ("float8", "'0'", "'-0'"),
        ("json", """'{"a":1}'""", """'{"a": 1}'"""),
        ("jsonb", """'{"a":1.0}'""", """'{"a":1.00}'"""),
        ("interval", "'1 mon'", "'30 days'"),
        ("int[]", "'[0:0]={1}'", "'{1}'"),
        ("text", "NULL", "''"),
        ("text COLLATE public.blind", "'Word'", "'word'"),
        ("point", "'(1,1)'", "'(1,1.0000001)'"),
        ("bytea", r"'\x00'", r"'\x0000'"),
        ("inet", "'10.0.0.1/32'", "'10.0.0.1/24'"),
        ("char(5)", "'a'", "'b'"),
    ],
    ids=lambda value: value[0],
)
def test_what_has_another_text_differs(session: Connection, type_and_values: tuple[str, str, str]) -> None:
    """Though `=` finds the values equal, or is not there: both ways are seen, and the same value is not."""
    kind, first, second = type_and_values
    if "blind" in kind:
        try:
            session.execute(
                "CREATE COLLATION public.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            )
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("NOT PROVEN: this build of Postgres has no ICU, so no collation is blind to case")
    session.execute(f"CREATE TABLE public.odd (id int PRIMARY KEY, value {kind})")
    session.execute(f"INSERT INTO public.odd VALUES (1, {first}), (2, {second}), (3, {first}), (4, {second})")
    point = Staged.take(session, ["public.odd"])
    session.execute(f"UPDATE public.odd SET value = {second} WHERE id = 1")
    session.execute(f"UPDATE public.odd SET value = {first} WHERE id = 2")
    session.execute("UPDATE public.odd SET value = value WHERE id = 3")
    point.compare()
    assert {"u": 2} == kinds(session)


def test_every_type_of_the_zoo_is_compared(session: Connection) -> None:
    """A table of 50 types equals its own copy, and differs where all of a row is gone."""
    point = Staged.take(session, ["public.type_zoo"])
    assert 0 == point.compare()["public.type_zoo"].total
    session.execute(
        "UPDATE public.type_zoo SET c_numeric = c_numeric * 1.00, c_json = '[1,  2]', c_bit = B'10101',"
        " c_comp = ROW(1, 1, true) WHERE id = (SELECT min(id) FROM public.type_zoo)"
    )
    assert 1 == point.compare()["public.type_zoo"].updates


def test_counts_are_what_will_happen(session: Connection) -> None:
    """Inserts, changes, deletes, and rows on either side; what is deleted is newer than the recovery point."""
    point = Staged.take(session, ["public.symbols", "public.candles"])
    rows = session.execute("SELECT count(*) FROM public.symbols").fetchone()
    assert rows is not None
    first = "(SELECT min(code::text) FROM public.symbols)"
    session.execute(f"DELETE FROM public.symbols WHERE code::text = {first}")
    session.execute(f"UPDATE public.symbols SET digits = digits + 1 WHERE code::text = {first}")
    session.execute("INSERT INTO public.symbols (code, class) VALUES ('NEW1', 'forex'), ('NEW2', 'forex')")
    found = point.compare()["public.symbols"]
    assert TableDifferences(
        table="public.symbols",
        inserts=1,
        changes=1,
        deletes=2,
        deletes_written_since=2,
        rows_staged=rows[0],
        rows_live=rows[0] + 1,
    ) == found.differences(point.matched()[0].mapped)


@pytest.mark.parametrize("strategy", ["merge_missing", "merge_overwrite"])
def test_merging_keeps_what_only_live_has(session: Connection, strategy: str) -> None:
    """It is counted, and left alone."""
    point = Staged.take(session, ["public.symbols"], strategy=strategy)  # type: ignore[arg-type]
    session.execute("INSERT INTO public.symbols (code, class) VALUES ('NEW1', 'forex')")
    session.execute("UPDATE public.symbols SET digits = 7 WHERE code <> 'NEW1'")
    found = point.compare()["public.symbols"]
    assert (0, 0) == (found.inserts, found.deletes)
    assert found.kept == (1 if strategy == "merge_overwrite" else found.rows_staged + 1)


def test_a_row_whose_condition_was_damaged_is_found_by_its_key(session: Connection) -> None:
    """It is changed back, not inserted beside itself; rows that do not meet the condition are out of scope."""
    robot = session.execute(
        "SELECT robot_id::text FROM public.signals WHERE robot_id IS NOT NULL LIMIT 1"
    ).fetchone()
    if robot is None:
        session.execute("INSERT INTO public.signals (robot_id) SELECT id FROM public.robots")
        robot = session.execute("SELECT id::text FROM public.robots LIMIT 1").fetchone()
    assert robot is not None
    condition = f"robot_id = '{robot[0]}'"
    session.execute(f"INSERT INTO public.signals (robot_id) VALUES ('{robot[0]}'), ('{robot[0]}')")
    point = Staged.take(session, ["public.signals"], where={"public.signals": condition})
    session.execute(
        f"UPDATE public.signals SET robot_id = NULL WHERE id = (SELECT max(id) FROM public.signals WHERE {condition})"
    )
    session.execute(
        f"DELETE FROM public.signals WHERE id = (SELECT max(id) FROM public.signals WHERE {condition})"
    )
    session.execute(f"INSERT INTO public.signals (robot_id) VALUES ('{robot[0]}')")
    session.execute(f"UPDATE public.signals SET payload = '1' WHERE NOT {condition} AND robot_id IS NOT NULL")
    point.compare()
    assert {"u": 1, "i": 1, "d": 1} == kinds(session)


def test_rows_without_a_key_are_counted(session: Connection) -> None:
    """Of three equal rows one may be too much, and of a table without columns some may be missing."""
    session.execute("INSERT INTO public.no_pk VALUES (1, 'x'), (1, 'x'), (2, NULL)")
    session.execute("INSERT INTO public.zero_columns SELECT FROM generate_series(1, 3)")
    point = Staged.take(session, ["public.no_pk", "public.zero_columns"])
    session.execute("INSERT INTO public.no_pk VALUES (1, 'x'), (2, NULL)")
    session.execute("DELETE FROM public.zero_columns")
    point.compare()
    assert {"d": 2} == kinds(session)
    inserts = kinds(session, 1)["i"]
    assert inserts >= 3


def test_swapped_unique_values_are_replaced(session: Connection) -> None:
    """Updating one row after the other would collide half-way; where nothing can collide, rows are updated."""
    session.execute("CREATE TABLE public.places (id int PRIMARY KEY, place int UNIQUE, name text)")
    session.execute("INSERT INTO public.places SELECT g, g, 'a' FROM generate_series(1, 4) g")
    point = Staged.take(session, ["public.places"])
    session.execute("UPDATE public.places SET place = -place WHERE id < 3")
    session.execute("UPDATE public.places SET place = 3 + place WHERE id < 3")
    session.execute("UPDATE public.places SET name = 'b' WHERE id = 4")
    point.compare()
    assert {"r": 2, "u": 1} == kinds(session)


def test_an_index_predicate_counts_as_well(session: Connection) -> None:
    """`trades_open_once` holds for open trades only: closing one can make room, so closed_at may collide."""
    point = Staged.take(session, ["public.trades", "public.robots"])
    trades, robots = (table.colliding for table in point.matched())
    assert {"robot_id", "symbol", "magic", "closed_at", "backtest_id", "ticket"} <= trades
    # robots_owner_slug_key is over a column that the server makes of the name.
    assert {"owner_id", "name"} <= robots
    assert "comment" not in trades


# ------------------------------------------------------------------------------------------- refusals


def test_without_proven_staging_tables_nothing_is_compared(session: Connection) -> None:
    """A crash of the server empties unlogged tables: every live row would look superfluous."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("TRUNCATE strongroom_staging.staged, strongroom_staging.rows_0")
    with pytest.raises(StagingIncomplete):
        point.compare()


def test_a_committed_run_is_not_compared_again(session: Connection) -> None:
    """What it has touched must not be forgotten: a rollback goes by it."""
    point = Staged.take(session, ["public.symbols"])
    session.execute("UPDATE public.symbols SET digits = 7")
    point.compare()
    point.apply()
    before = kinds(session)
    with pytest.raises(PlanUnfit):
        point.compare()
    assert before == kinds(session)


def test_only_the_owner_compares(session: Connection) -> None:
    """A process that was cut off must not write over what the next one has found."""
    point = Staged.take(session, ["public.symbols"])
    with pytest.raises(RecoveryOwnerLost):
        compare_tables(session, point.plan, "another", point.matched(), lock_timeout=1)
    compare_tables(session, point.plan, OWNER, point.matched(), lock_timeout=1)


def test_a_migration_that_holds_the_table_is_not_waited_for(database: Database, session: Connection) -> None:
    """Reading would wait as well; the error says which table, and nothing was written."""
    point = Staged.take(session, ["public.symbols"])
    with psycopg.connect(database.dsn()) as other:
        other.execute("LOCK TABLE public.symbols IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LockNotObtained, match=r"public\.symbols"):
            compare_tables(session, point.plan, OWNER, point.matched(), lock_timeout=0.1)
        other.rollback()
    assert 0 == point.compare()["public.symbols"].total


def test_all_tables_are_seen_at_one_instant(
    database: Database, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed between the comparisons of two tables is in neither."""
    point = Staged.take(session, ["public.symbols", "public.nothing_in_it"])
    compare_table = comparing.compare_table

    def and_write(*arguments: object) -> comparing.Compared:
        found = compare_table(*arguments)  # type: ignore[arg-type]
        with psycopg.connect(database.dsn(), autocommit=True) as other:
            other.execute("INSERT INTO public.nothing_in_it VALUES (1)")
        monkeypatch.undo()
        return found

    monkeypatch.setattr(comparing, "compare_table", and_write)
    assert 0 == point.compare()["public.nothing_in_it"].total
    assert 1 == point.compare()["public.nothing_in_it"].deletes


def test_a_rollback_looks_only_at_what_the_run_touched(session: Connection) -> None:
    """Rows that the application has written since to other keys stay as they are."""
    session.execute("CREATE TABLE public.mine (id int PRIMARY KEY, name text)")
    session.execute("INSERT INTO public.mine SELECT g, 'good' FROM generate_series(1, 10) g")
    run = Staged.take(session, ["public.mine"])
    session.execute("UPDATE public.mine SET name = 'bad' WHERE id < 4")
    session.execute("INSERT INTO public.mine VALUES (11, 'new')")
    run.compare()
    # The emergency backup, taken before anything is changed.
    session.execute("CREATE TABLE public.kept AS SELECT * FROM public.mine")
    run.apply()
    session.execute("UPDATE public.mine SET name = 'since' WHERE id = 8")
    session.execute("BEGIN; ALTER TABLE public.mine RENAME TO hidden; ALTER TABLE public.kept RENAME TO mine")
    session.execute("ALTER TABLE public.mine ADD PRIMARY KEY (id); COMMIT")
    rollback = Staged.take(session, ["public.mine"], undoes=run.plan.id)
    session.execute(
        "BEGIN; ALTER TABLE public.mine RENAME TO kept; ALTER TABLE public.hidden RENAME TO mine; COMMIT"
    )
    found = rollback.compare()["public.mine"]
    assert (3, 1, 0) == (found.updates, found.inserts, found.deletes)
    rollback.apply()
    rows = session.execute("SELECT id, name FROM public.mine ORDER BY id").fetchall()
    names = ["bad"] * 3 + ["good"] * 4 + ["since"] + ["good"] * 2 + ["new"]
    assert list(enumerate(names, 1)) == rows
    assert 0 == rollback.confirm()["public.mine"].differing


def test_a_rollback_takes_no_condition(session: Connection) -> None:
    """What a condition leaves out of the staging table would look like rows to be deleted."""
    run = Staged.take(session, ["public.symbols"])
    run.compare()
    run.apply()
    rollback = Staged.take(
        session, ["public.symbols"], undoes=run.plan.id, where={"public.symbols": "digits > 3"}
    )
    with pytest.raises(PlanUnfit):
        rollback.compare()


def test_states_do_not_matter_to_a_first_comparison(session: Connection) -> None:
    """A run may be compared again as long as it is not committed."""
    point = Staged.take(session, ["public.symbols"])
    set_state(session, point.plan, "staged")
    assert point.compare().keys() == point.compare().keys()
