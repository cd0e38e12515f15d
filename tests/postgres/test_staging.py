"""Staging: the wanted rows in the live database, all of them, only them, and out of everybody's sight.

As role `postgres`, which is no superuser.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from strongroom.errors import (
    ConditionInvalid,
    LiveTableGone,
    NothingInScope,
    PlanChanged,
    RecoveryOwnerLost,
    RecoveryRightMissing,
    SchemaDrifted,
    StagingIncomplete,
)
from strongroom.format.recovery_plans import RecoveryPlan, Strategy
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import (
    CheckRecovery,
    FinishStaging,
    PrepareStaging,
    RecoveryCheckReport,
    RunReport,
    StageUnit,
    StagingReport,
)
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.recovery.live import read_live_table, read_live_tables, read_references
from strongroom.recovery.run_journal import read_run
from strongroom.recovery.staging_names import RUN_SCHEMA
from tests.conftest import MakeDatabase
from tests.recoveries import Recoveries, quoted
from tests.row_backups import Keys

TRADES = "public.trades"
_WRITTEN = (
    "id, ticket, backtest_id, robot_id, symbol, side, volume, open_price, close_price, opened_at, closed_at, swap,"
    " commission, magic, comment"
)
"""All columns of public.trades but the generated one."""


@pytest.fixture
def recoveries(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Recoveries:
    """Make a project with one full backup, cut so small that its largest tables need several units."""
    monkeypatch.setattr("strongroom.postgres.extents.EXTENT_TARGET", 32 * 8192)
    monkeypatch.setattr("strongroom.recovery.units.UNIT_RAW_BYTES", 512 << 10)
    made = Recoveries.make(quantforge().dsn(), tmp_path, keys, monkeypatch)
    # Postgres 18 refuses every UPDATE of this table as the application has it.
    made.execute("ALTER TABLE public.trades REPLICA IDENTITY DEFAULT")
    made.execute("TRUNCATE public.ticks, public.candles")
    made.backups.back_up("full")
    return made


def check(recoveries: Recoveries, plan: RecoveryPlan) -> RecoveryCheckReport:
    """Run the check of a recovery."""
    return recoveries.run("check_recovery", CheckRecovery(plan=plan), RecoveryCheckReport)


def findings(report: RecoveryCheckReport) -> list[tuple[str, str]]:
    """Return code and object of what a check has found."""
    return [(finding.code, finding.object) for finding in report.findings]


def prepare(recoveries: Recoveries, plan: RecoveryPlan, run: RunReport) -> StagingReport:
    """Make the staging tables."""
    return recoveries.run("prepare_staging", PrepareStaging(plan=plan, owner=run.owner), StagingReport)


def stage_unit(recoveries: Recoveries, plan: RecoveryPlan, unit: int) -> RestoreStepReport:
    """Load one unit."""
    return recoveries.run("stage_unit", StageUnit(plan=plan, unit=unit), RestoreStepReport)


def finish_staging(recoveries: Recoveries, plan: RecoveryPlan, run: RunReport) -> RestoreStepReport:
    """Prove what was loaded."""
    return recoveries.run("finish_staging", FinishStaging(plan=plan, owner=run.owner), RestoreStepReport)


def state(recoveries: Recoveries) -> str:
    """Return how far the run has come, as its journal says."""
    with recoveries.session() as connection:
        run = read_run(connection, RUN_SCHEMA)
    return run.state if run else ""


# ---------------------------------------------------------------- what is loaded


def test_every_table_is_staged_as_it_was(recoveries: Recoveries) -> None:
    """All tables of the project, of every odd type and name, hold in staging what was observed at the snapshot."""
    (backup,) = recoveries.backups.listed()
    tables = [
        f"{entry.facts.schema}.{entry.facts.name}" for entry in recoveries.backups.manifest(backup).tables
    ]
    recoveries.execute("UPDATE public.trades SET volume = volume + 1, comment = 'damaged'")
    recoveries.execute("DELETE FROM public.type_zoo")
    plan = recoveries.plan(*tables)
    with recoveries.hold(plan) as run:
        report = recoveries.stage(plan, run.owner)
        assert len(report.units) > 2
        assert "staged" == state(recoveries)
        observed = recoveries.backups.remembered[backup].rows
        for number, table in enumerate(plan.tables):
            staged = Counter({row[:-1]: n for row, n in recoveries.staged(plan, number).items()})
            assert observed[table.schema, table.name] == staged, table.label


_TOLD: dict[Strategy, list[str]] = {"exact": ["condition-after-loading"], "merge_missing": []}


def test_a_condition_takes_only_the_rows_that_met_it_in_the_backup(recoveries: Recoveries) -> None:
    """What live says of the row by now does not matter."""
    wanted = recoveries.rows(f"{TRADES} WHERE side = 'buy' AND symbol LIKE '%U%'", _WRITTEN)
    recoveries.execute("UPDATE public.trades SET side = 'sell'")
    # Before anything is deleted it has to be known of all rows whether the backup has them.
    for strategy, told in _TOLD.items():
        plan = recoveries.plan(
            TRADES, where="side = 'buy' AND symbol LIKE '%U%' -- only these", strategy=strategy
        )
        with recoveries.hold(plan) as run:
            report = recoveries.stage(plan, run.owner)
            assert told == [finding.code for finding in report.findings]
            assert 0 < wanted.total() < report.rows
            assert wanted == recoveries.staged(plan)
            recoveries.finish(plan, run.owner, "failed")


_NOT_FOR_COPY = (
    "robot_id IN (SELECT id FROM public.robots WHERE name < 'Robot 27')",
    "t.side = 'buy' AND t.volume > 1",
    "EXISTS (SELECT FROM public.robots r WHERE r.id = robot_id AND r.name < 'Robot 27')",
)


def test_a_condition_that_copy_refuses_is_tested_afterwards(recoveries: Recoveries) -> None:
    """A subquery, or the alias: everything is loaded, then what does not meet it goes; that it was so is told."""
    for where in _NOT_FOR_COPY:
        wanted = recoveries.rows(f"{TRADES} AS t WHERE {where}", _WRITTEN)
        plan = recoveries.plan(TRADES, where=where)
        with recoveries.hold(plan) as run:
            report = recoveries.stage(plan, run.owner)
            assert ["condition-after-loading"] == [finding.code for finding in report.findings], where
            assert 0 < wanted.total() < report.rows, where
            assert wanted == recoveries.staged(plan), where
            recoveries.finish(plan, run.owner, "failed")


_NOT_ONE_CONDITION = {
    "pips > 0": "pips",
    "no_such_column = 1": "no_such_column",
    "volume": "boolean",
    "side = 'neither'": "enum",
    "true; DROP TABLE public.trades": "syntax",
    "true) OR (true": "syntax",
    "true] OR ARRAY[true": "syntax",
    "true /*": "comment",
    "true, true": "boolean",
    "SELECT true": "syntax",
    "true) AS x; COMMIT; DROP TABLE public.trades; --": "syntax",
    "true UNION SELECT": "syntax",
    "count(*) > 1": "aggregate",
    " ": "syntax",
}
"""Conditions, and what the server says of each."""


def test_what_is_not_one_condition_is_refused(recoveries: Recoveries) -> None:
    """Whatever closes a parenthesis, ends the statement or is over other columns never gets further than the check."""
    before = recoveries.rows(TRADES, _WRITTEN)
    for where, says in _NOT_ONE_CONDITION.items():
        with pytest.raises(ConditionInvalid) as caught:
            check(recoveries, recoveries.plan(TRADES, where=where))
        assert f"The condition on {TRADES} cannot be used" in caught.value.render(), where
        assert says in caught.value.render(), where
    assert before == recoveries.rows(TRADES, _WRITTEN)


def test_a_condition_writes_nothing_while_it_is_checked(recoveries: Recoveries) -> None:
    """It is only planned, and that in a transaction that reads: even a function that writes does nothing."""
    recoveries.execute(
        "CREATE FUNCTION public.spoil() RETURNS bool LANGUAGE sql IMMUTABLE"
        " BEGIN ATOMIC SELECT nextval('public.ticket_seq') > 0; END"
    )
    ((before,),) = recoveries.execute("SELECT last_value FROM public.ticket_seq")
    plan = recoveries.plan(TRADES, where="public.spoil()")
    with pytest.raises(ConditionInvalid) as caught:
        check(recoveries, plan)
    assert "read-only" in caught.value.render()
    assert [(before,)] == recoveries.execute("SELECT last_value FROM public.ticket_seq")


# ---------------------------------------------------------------- again, and in between


def test_a_unit_that_is_run_twice_is_loaded_once(recoveries: Recoveries) -> None:
    """The second time it says that it has loaded nothing."""
    plan = recoveries.plan(TRADES)
    with recoveries.hold(plan) as run:
        units = prepare(recoveries, plan, run).units
        first = [stage_unit(recoveries, plan, unit.number).rows for unit in units]
        again = [stage_unit(recoveries, plan, unit.number).rows for unit in units]
        finish_staging(recoveries, plan, run)
        finish_staging(recoveries, plan, run)
    assert len(units) > 1
    assert [recoveries.rows(TRADES).total(), 0] == [sum(first), sum(again)]
    assert recoveries.rows(TRADES, _WRITTEN) == recoveries.staged(plan)


def test_what_was_loaded_before_the_process_died_stays(recoveries: Recoveries) -> None:
    """The same plan, carried out again, makes no table anew, and loads the other units only."""
    plan = recoveries.plan(TRADES)
    with recoveries.hold(plan) as run:
        units = prepare(recoveries, plan, run).units
        stage_unit(recoveries, plan, units[0].number)
        loaded = recoveries.staged(plan).total()
    with recoveries.hold(plan) as run:
        assert (True, "begun") == (run.resumed, run.state)
        assert units == prepare(recoveries, plan, run).units
        assert loaded == recoveries.staged(plan).total()
        assert [0] == [stage_unit(recoveries, plan, unit.number).rows for unit in units[:1]]
        with pytest.raises(StagingIncomplete):
            finish_staging(recoveries, plan, run)
        recoveries.stage(plan, run.owner)
    assert recoveries.rows(TRADES, _WRITTEN) == recoveries.staged(plan)


def test_a_unit_that_fails_leaves_nothing(recoveries: Recoveries, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows and its entry are one transaction: a connection that breaks before its end has loaded nothing."""
    plan = recoveries.plan(TRADES)
    with recoveries.hold(plan) as run:
        units = prepare(recoveries, plan, run).units
        with monkeypatch.context() as patch:
            patch.setattr("strongroom.operations.stage_unit.enter_unit", _break)
            with pytest.raises(_BrokenError):
                stage_unit(recoveries, plan, units[0].number)
        assert 0 == recoveries.staged(plan).total()
        recoveries.stage(plan, run.owner)
    assert recoveries.rows(TRADES, _WRITTEN) == recoveries.staged(plan)


class _BrokenError(Exception):
    """Stands for the end of the process."""


def _break(*_: object) -> None:
    raise _BrokenError


def test_a_migration_in_between_makes_staging_begin_anew(recoveries: Recoveries) -> None:
    """Units of the earlier shape are refused, and what they had loaded is gone."""
    plan = recoveries.plan(TRADES)
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        recoveries.execute("ALTER TABLE public.trades DROP COLUMN comment")
        with pytest.raises(PlanChanged):
            stage_unit(recoveries, plan, 1)
        prepare(recoveries, plan, run)
        assert ("begun", 0) == (state(recoveries), recoveries.staged(plan).total())
        recoveries.stage(plan, run.owner)
    assert recoveries.rows(TRADES, _WRITTEN.removesuffix(", comment")) == recoveries.staged(plan)


def test_a_run_without_staging_tables_refuses_units(recoveries: Recoveries) -> None:
    """Nothing is loaded into what was not prepared."""
    plan = recoveries.plan(TRADES)
    with pytest.raises(PlanChanged):
        stage_unit(recoveries, plan, 1)
    with recoveries.hold(plan), pytest.raises(PlanChanged):
        stage_unit(recoveries, plan, 1)


def test_rows_that_nobody_loaded_are_noticed(recoveries: Recoveries) -> None:
    """A row that is missing, one too many, or another one: what was loaded is not what was backed up."""
    for damage in (
        "DELETE FROM {} WHERE id = (SELECT min(id) FROM {})",
        "INSERT INTO {} SELECT * FROM {} LIMIT 1",
        "UPDATE {} SET volume = volume + 1 WHERE id = (SELECT min(id) FROM {})",
    ):
        plan = recoveries.plan(TRADES)
        with recoveries.hold(plan) as run:
            recoveries.load(plan, run.owner)
            recoveries.execute(damage.replace("{}", f"{RUN_SCHEMA}.rows_0"))
            with pytest.raises(StagingIncomplete) as caught:
                finish_staging(recoveries, plan, run)
            assert TRADES in caught.value.render()
            assert "begun" == state(recoveries)
            recoveries.finish(plan, run.owner, "failed")


def test_only_the_owner_prepares_and_proves(recoveries: Recoveries) -> None:
    """Who shows the token of an earlier holder changes nothing."""
    plan = recoveries.plan(TRADES)
    with recoveries.hold(plan) as earlier:
        pass
    with recoveries.hold(plan) as run:
        recoveries.load(plan, run.owner)
        for work in (prepare, finish_staging):
            with pytest.raises(RecoveryOwnerLost):
                work(recoveries, plan, earlier)


# ---------------------------------------------------------------- a crash of the server


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """Run a server of the test's own, to be crashed."""
    with EmbeddedPostgres(major=18) as server:
        yield server


def test_a_crash_of_the_server_empties_rows_and_journal_alike(
    own_server: EmbeddedPostgres,
    tmp_path: Path,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that was `staged` is `begun` again by itself: empty tables never pass for what is wanted."""
    dsn = own_server.dsn(own_server.superuser, "postgres")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
        connection.execute("INSERT INTO t SELECT generate_series(1, 100)")
    recoveries = Recoveries.make(dsn, tmp_path, keys, monkeypatch)
    recoveries.backups.back_up("full")
    plan = recoveries.plan("public.t")
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        assert ("staged", 100) == (state(recoveries), recoveries.staged(plan).total())
    _crash(own_server, dsn)
    assert ("begun", 0) == (state(recoveries), recoveries.staged(plan).total())
    with recoveries.hold(plan) as run:
        assert ("begun", True) == (run.state, run.resumed)
        with pytest.raises(StagingIncomplete):
            finish_staging(recoveries, plan, run)
        with pytest.raises(PlanChanged):
            stage_unit(recoveries, plan, 1)
        recoveries.stage(plan, run.owner)
    assert ("staged", 100) == (state(recoveries), recoveries.staged(plan).total())


def _crash(server: EmbeddedPostgres, dsn: str) -> None:
    """Kill one server process, upon which the server ends all others and recovers, and wait until it answers."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        victim = connection.info.backend_pid
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            while True:
                connection.execute("SELECT 1")
    end = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            assert time.monotonic() < end, "the server did not come back"
        else:
            return


# ---------------------------------------------------------------- who can look


def test_nobody_else_sees_the_rows(recoveries: Recoveries) -> None:
    """Not even where default privileges give every role everything in whatever `postgres` makes."""
    for kind in ("SCHEMAS", "TABLES"):
        recoveries.execute(
            f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO PUBLIC, anon, authenticated, service_role"
        )
    plan = recoveries.plan("auth.users", TRADES)
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        for role in ("anon", "authenticated", "service_role", "authenticator", "quant_worker"):
            rights = f"has_schema_privilege('{role}', '{RUN_SCHEMA}', 'USAGE, CREATE')"
            assert [(False,)] == recoveries.execute(f"SELECT {rights}"), role
        for role in ("anon", "authenticated", "service_role"):
            for table in ("rows_0", "rows_1", "run", "units"):
                with (
                    psycopg.connect(recoveries.dsn, autocommit=True) as connection,
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                ):
                    connection.execute(f"SET ROLE {role}")
                    connection.execute(f"SELECT FROM {RUN_SCHEMA}.{table}")


# ---------------------------------------------------------------- what has changed in live


def test_a_table_that_is_gone_is_named_with_one_like_it(recoveries: Recoveries) -> None:
    """Renamed, or moved to another schema, it is told where it may be; dropped, there is nothing to tell."""
    recoveries.execute("ALTER TABLE public.no_pk RENAME TO with_another_name")
    with pytest.raises(LiveTableGone) as caught:
        check(recoveries, recoveries.plan("public.no_pk"))
    assert "no table public.no_pk" in caught.value.render()
    assert "similar one: public.with_another_name" in caught.value.render()
    recoveries.execute("ALTER TABLE public.candles SET SCHEMA private")
    with pytest.raises(LiveTableGone) as caught:
        check(recoveries, recoveries.plan("public.candles"))
    assert "similar one: private.candles" in caught.value.render()
    recoveries.execute("DROP TABLE public.type_zoo")
    with pytest.raises(LiveTableGone) as caught:
        check(recoveries, recoveries.plan("public.type_zoo"))
    assert "similar" not in caught.value.render()


def test_a_table_that_the_backup_does_not_have_is_refused(recoveries: Recoveries) -> None:
    """Before anything else is asked."""
    recoveries.execute("CREATE TABLE public.later (id int)")
    with pytest.raises(NothingInScope):
        check(recoveries, recoveries.plan("public.later"))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("ALTER TABLE public.no_pk DROP COLUMN b", "column-left-out"),
        ("ALTER TABLE public.no_pk ADD COLUMN z int DEFAULT 7", "column-kept"),
        (
            (
                "ALTER TABLE public.no_pk DROP COLUMN a;"
                " ALTER TABLE public.no_pk ADD COLUMN a int GENERATED ALWAYS AS (length(b)) STORED"
            ),
            "column-generated-now",
        ),
        (
            (
                "CREATE TRIGGER always_on BEFORE UPDATE ON public.no_pk FOR EACH ROW EXECUTE FUNCTION private.touch();"
                " ALTER TABLE public.no_pk ENABLE ALWAYS TRIGGER always_on"
            ),
            "always-trigger",
        ),
        (
            (
                "CREATE RULE kept AS ON DELETE TO public.no_pk DO INSTEAD NOTHING;"
                " ALTER TABLE public.no_pk ENABLE ALWAYS RULE kept"
            ),
            "always-rule",
        ),
    ],
)
def test_what_has_changed_harmlessly_is_told(recoveries: Recoveries, change: str, code: str) -> None:
    """The recovery goes on, and the rows that fit are staged."""
    for statement in change.split(";"):
        recoveries.execute(statement)
    plan = recoveries.plan("public.no_pk")
    assert [code] == [found for found, _ in findings(check(recoveries, plan))]
    with recoveries.hold(plan) as run:
        assert recoveries.stage(plan, run.owner).rows > 0


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE public.no_pk ALTER COLUMN b TYPE varchar(100)",
        (
            "ALTER TABLE public.no_pk ADD COLUMN z int; UPDATE public.no_pk SET z = 1;"
            " ALTER TABLE public.no_pk ALTER COLUMN z SET NOT NULL"
        ),
        (
            "ALTER TABLE public.no_pk RENAME COLUMN a TO a1; ALTER TABLE public.no_pk RENAME COLUMN b TO b1;"
            " ALTER TABLE public.no_pk RENAME COLUMN c TO c1"
        ),
        (
            "ALTER TABLE public.no_pk RENAME TO old; CREATE TABLE public.no_pk (a int, b text, c timestamptz)"
            " PARTITION BY RANGE (a)"
        ),
    ],
    ids=["narrower", "wants a value", "renamed", "partitioned"],
)
def test_what_cannot_be_safe_is_refused(recoveries: Recoveries, change: str) -> None:
    """With what has changed, and before anything is written."""
    for statement in change.split(";"):
        recoveries.execute(statement)
    with pytest.raises(SchemaDrifted):
        check(recoveries, recoveries.plan("public.no_pk"))


def test_a_type_whose_values_mean_something_else_is_refused(recoveries: Recoveries) -> None:
    """Two labels of an enum that were swapped: the old text would load, and be wrong."""
    for old, new in (("buy", "x"), ("sell", "buy"), ("x", "sell")):
        recoveries.execute(f"ALTER TYPE public.order_side RENAME VALUE '{old}' TO '{new}'")
    with pytest.raises(SchemaDrifted) as caught:
        check(recoveries, recoveries.plan(TRADES))
    assert "no longer holds" in caught.value.render()
    recoveries.execute("ALTER TYPE public.asset_class ADD VALUE 'bond'")
    assert check(recoveries, recoveries.plan("public.symbols")).tables


def test_a_wider_column_is_staged_in_the_type_of_today(recoveries: Recoveries) -> None:
    """The rows are the same; the digest of another type cannot be compared, and the count still is."""
    recoveries.execute("ALTER TABLE public.no_pk ALTER COLUMN a TYPE bigint")
    plan = recoveries.plan("public.no_pk")
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
    assert recoveries.rows("public.no_pk") == recoveries.staged(plan)


def test_duplicates_of_what_is_a_key_now_are_refused(recoveries: Recoveries) -> None:
    """Rows could not be told apart by it."""
    recoveries.execute("CREATE TABLE public.twice (id int NOT NULL)")
    recoveries.execute("INSERT INTO public.twice VALUES (1), (1)")
    recoveries.backups.back_up()
    plan = recoveries.plan("public.twice")
    recoveries.execute("DELETE FROM public.twice")
    recoveries.execute("ALTER TABLE public.twice ADD PRIMARY KEY (id)")
    with recoveries.hold(plan) as run, pytest.raises(SchemaDrifted) as caught:
        recoveries.stage(plan, run.owner)
    assert "public.twice" in caught.value.render()


def test_what_the_role_may_not_do_is_named(recoveries: Recoveries) -> None:
    """By the strategy: what deletes nothing needs no right to delete."""
    # It inherits what the roles of the API may.
    everybody = "postgres, anon, authenticated, service_role"
    recoveries.execute("CREATE TABLE public.ours (id int PRIMARY KEY)")
    recoveries.backups.back_up()
    recoveries.execute(f"REVOKE DELETE ON public.ours FROM {everybody}")
    with pytest.raises(RecoveryRightMissing) as caught:
        check(recoveries, recoveries.plan("public.ours", strategy="exact"))
    assert "may not DELETE" in caught.value.render()
    assert check(recoveries, recoveries.plan("public.ours", strategy="merge_overwrite")).tables
    recoveries.execute(f"REVOKE UPDATE ON public.ours FROM {everybody}")
    with pytest.raises(RecoveryRightMissing):
        check(recoveries, recoveries.plan("public.ours", strategy="merge_overwrite"))
    with pytest.raises(RecoveryRightMissing) as caught:
        check(recoveries, recoveries.plan("public.ours", strategy="merge_missing"))
    assert "lock it" in caught.value.render()
    recoveries.execute("GRANT DELETE ON public.ours TO postgres")
    assert check(recoveries, recoveries.plan("public.ours", strategy="merge_missing")).tables


def test_who_holds_locks_for_long_is_named(recoveries: Recoveries) -> None:
    """A transaction that has written and does nothing now; one that only reads is in nobody's way."""
    with psycopg.connect(recoveries.dsn, application_name="forgotten") as connection:
        connection.execute("SELECT FROM public.trades LIMIT 1")
        assert [] == findings(check(recoveries, recoveries.plan(TRADES)))
        connection.execute("UPDATE public.trades SET comment = 'held' WHERE id = 1")
        process = connection.info.backend_pid
        report = check(recoveries, recoveries.plan(TRADES))
        connection.rollback()
    assert [("table-locked", TRADES)] == findings(report)
    assert f"process {process} " in report.findings[0].observed
    assert "forgotten" in report.findings[0].observed


# ---------------------------------------------------------------- reading the catalog


def test_tables_are_read_as_they_are(recoveries: Recoveries) -> None:
    """Keys, rights, triggers, generated and identity columns, and that a table of nobody's is None."""
    with recoveries.session() as connection:
        tables = read_live_tables(
            connection, [("public", "trades"), ("auth", "users"), ("public", "ticks"), ("x", "y")]
        )
        assert read_live_table(connection, "public", "Trades") is None
    trades, users = tables["public", "trades"], tables["auth", "users"]
    assert {("public", "trades"), ("auth", "users"), ("public", "ticks")} == set(tables)
    assert ("r", "p", True, False) == (
        trades.kind,
        tables["public", "ticks"].kind,
        trades.is_owner,
        users.is_owner,
    )
    assert {
        "trades_pkey": (("id",), True, True),
        "trades_ticket_key": (("ticket",), False, True),
        "trades_open_once": (("robot_id", "symbol", "magic"), False, False),
    } == {index.name: (index.columns, index.primary, index.is_key) for index in trades.indexes}
    assert {"pips": "s"} == {c.name: c.generated for c in trades.columns if c.generated}
    assert {"id": "d"} == {c.name: c.identity for c in trades.columns if c.identity}
    assert () == trades.user_triggers
    assert ("on_auth_user_created",) == users.user_triggers
    assert (True, ()) == (users.sees_all_rows, users.missing_rights)


def test_a_key_to_a_partitioned_table_is_the_tables(recoveries: Recoveries) -> None:
    """A partition in scope is referred to through its root; the copies that Postgres keeps for it are not told."""
    recoveries.execute(
        "CREATE TABLE public.notes (symbol public.symbol_code, ts timestamptz, seq int,"
        " FOREIGN KEY (symbol, ts, seq) REFERENCES public.ticks)"
    )
    with recoveries.session() as connection:
        leaf = read_live_table(connection, "public", "ticks_2026_10_p0")
        assert leaf is not None
        (reference,) = read_references(connection, [leaf])
    assert ("public", "notes") == (reference.schema, reference.table)
    assert ("public", "ticks", ("symbol", "ts", "seq")) == (
        reference.key.to_schema,
        reference.key.to_table,
        reference.key.to_columns,
    )


def test_names_are_quoted() -> None:
    """A name with a space is one identifier."""
    assert '"public"."Weird Table-Name"' == quoted("public.Weird Table-Name")
