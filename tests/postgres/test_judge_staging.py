"""Judging a recovery in place: staged rows before the commit, live tables after it, with the user's own suites."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.messages import IntegrityReport
from strongroom.operations.recovery_messages import JudgeLive, JudgeStaging
from tests.conftest import MakeDatabase
from tests.recoveries import Recoveries
from tests.row_backups import Keys

EXAMPLES = Path(__file__).resolve().parents[2] / "expectations"
OWNER = "owner_id = (SELECT owner_id FROM public.robots ORDER BY id LIMIT 1)"


@pytest.fixture
def recoveries(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Recoveries:
    """Make the application's database and a full backup of it."""
    made = Recoveries.make(quantforge().dsn(), tmp_path, keys, monkeypatch)
    made.backups.back_up("full")
    return made


def expect(recoveries: Recoveries, folder: Path | None) -> None:
    """Have the settings name a folder of suites."""
    settings = recoveries.backups.settings
    recovery = settings.recovery.model_copy(update={"expectations": folder})
    recoveries.backups.settings = settings.model_copy(update={"recovery": recovery})


def write(folder: Path, name: str, *expectations: dict[str, Any]) -> Path:
    """Write a suite into a folder, and return the folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"name": "own", "expectations": expectations}), "utf-8")
    return folder


def rows_hold(sql: str, **kwargs: Any) -> dict[str, Any]:
    """Make an expectation in SQL."""
    return {"type": "strongroom_rows_hold", "kwargs": {"sql": sql, **kwargs}}


def staged(recoveries: Recoveries, plan: RecoveryPlan) -> IntegrityReport:
    """Judge what is staged."""
    return recoveries.run("judge_staging", JudgeStaging(plan=plan), IntegrityReport)


def live(recoveries: Recoveries, plan: RecoveryPlan) -> IntegrityReport:
    """Judge the live tables."""
    return recoveries.run("judge_live", JudgeLive(plan=plan), IntegrityReport)


def asleep(recoveries: Recoveries, *statements: str) -> None:
    """Run statements with triggers and foreign keys asleep."""
    with psycopg.connect(recoveries.dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


def found(report: IntegrityReport, *, least: str = "warning") -> set[tuple[str, str, str]]:
    """Return severity, code and object of what was found, without what is only for information."""
    wanted = {"critical", "warning"} if least == "warning" else {"critical", "warning", "info"}
    return {
        (f.severity, f.code.removeprefix("integrity-"), f.object)
        for f in report.findings
        if f.severity in wanted
    }


def asked(report: IntegrityReport) -> dict[str, int]:
    """Return how many expectations each suite has."""
    return {suite.suite: suite.expectations for suite in report.suites}


def test_whole_tables_are_judged_by_the_manifest(recoveries: Recoveries) -> None:
    """Staged rows of whole tables pass as they are; a lost, a changed and a doubled row are noticed, live untouched."""
    plan = recoveries.plan("public.symbols", "public.robots", "public.candles")
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        report = staged(recoveries, plan)
        assert report.passed
        assert report.findings == ()
        assert list(asked(report)) == [f"public.{name} (staged)" for name in ("symbols", "robots", "candles")]
        assert report.rows_expected == report.rows_observed > 0
        asleep(
            recoveries,
            "DELETE FROM strongroom_staging.rows_2 WHERE ctid = (SELECT min(ctid) FROM strongroom_staging.rows_2)",
            "UPDATE strongroom_staging.rows_1 SET name = 'x' WHERE ctid = '(0,1)'",
            "UPDATE strongroom_staging.rows_0 SET code = NULL WHERE ctid = '(0,1)'",
        )
        damaged = staged(recoveries, plan)
        assert not damaged.passed
        assert found(damaged) >= {
            ("critical", "row-count", "public.candles"),
            ("critical", "digest", "public.robots"),
            ("critical", "not-null", "public.symbols.code"),
        }
        recoveries.finish(plan, run.owner, "failed")


def test_keys_lead_to_where_rows_will_be(recoveries: Recoveries) -> None:
    """A staged row refers to a staged row of a table in scope, and to a live row of one out of scope."""
    asleep(recoveries, "DELETE FROM public.robot_versions", "DELETE FROM public.robots")
    plan = recoveries.plan("public.robots", "public.robot_versions")
    with recoveries.hold(plan) as run:
        recoveries.stage(plan, run.owner)
        # The robots are gone in live, and come with the versions; the profiles are there.
        assert staged(recoveries, plan).passed
        asleep(
            recoveries,
            "DELETE FROM public.profiles WHERE id = (SELECT owner_id FROM strongroom_staging.rows_0 LIMIT 1)",
        )
        report = staged(recoveries, plan)
        assert {code for _, code, _ in found(report)} == {"foreign-key"}
        assert not report.passed
        recoveries.finish(plan, run.owner, "failed")
    alone = recoveries.plan("public.robot_versions")
    with recoveries.hold(alone) as run:
        recoveries.stage(alone, run.owner)
        assert ("critical", "foreign-key") in {(s, c) for s, c, _ in found(staged(recoveries, alone))}
        recoveries.finish(alone, run.owner, "failed")


@pytest.mark.parametrize("strategy", ["exact", "merge_missing", "merge_overwrite"])
def test_rows_by_condition_are_judged_by_their_keys(strategy: Any, recoveries: Recoveries) -> None:
    """Rows chosen by a condition have no baseline; what they refer to may be staged or stay in live."""
    robot = str(recoveries.execute("SELECT id FROM public.robots ORDER BY id LIMIT 1")[0][0])
    where = {"public.robots": f"id = '{robot}'", "public.robot_versions": f"robot_id = '{robot}' -- :x %s"}
    asleep(
        recoveries,
        f"DELETE FROM public.robot_versions WHERE robot_id = '{robot}'",
        f"DELETE FROM public.robots WHERE id = '{robot}'",
    )
    plan = recoveries.plan(*where, strategy=strategy, where=where)
    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        report = staged(recoveries, plan)
        assert report.passed
        assert report.findings == ()
        recoveries.apply(plan, run.owner)
        after = live(recoveries, plan)
        assert after.passed
        assert found(after) == set()
        # One row, and the application deletes it again.
        asleep(recoveries, f"DELETE FROM public.robots WHERE id = '{robot}'")
        gone = live(recoveries, plan)
        assert found(gone) >= {
            ("warning", "rows-kept", "public.robots"),
            ("critical", "rows-lost", "public.robots"),
            ("critical", "foreign-key", "public.robot_versions (robot_versions_robot_id_fkey)"),
        }
        recoveries.finish(plan, run.owner, "left")


def test_live_goes_on(recoveries: Recoveries) -> None:
    """After the commit a row more is a warning, a row that refers to nothing is critical, and a merge has no digest."""
    asleep(
        recoveries, "UPDATE public.candles SET v = v + 1", "DELETE FROM public.symbols WHERE class = 'metal'"
    )
    plan = recoveries.plan("public.candles", "public.robots")
    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        recoveries.apply(plan, run.owner)
        report = live(recoveries, plan)
        assert found(report) == set()
        assert report.passed
        asleep(recoveries, "INSERT INTO public.candles SELECT 'NEW', tf, ts FROM public.candles LIMIT 1")
        report = live(recoveries, plan)
        assert report.passed
        assert found(report) == {
            ("warning", "row-count", "public.candles"),
            ("warning", "digest", "public.candles"),
        }
        asleep(
            recoveries,
            "UPDATE public.robots SET owner_id = gen_random_uuid() WHERE ctid = (SELECT min(ctid) FROM public.robots)",
        )
        report = live(recoveries, plan)
        assert not report.passed
        assert "foreign-key" in {code for severity, code, _ in found(report) if severity == "critical"}
        recoveries.finish(plan, run.owner, "left")


def test_own_suites_gate_the_commit(recoveries: Recoveries, tmp_path: Path) -> None:
    """The examples are asked of staged rows in scope, wherever the rows of other tables are; others are not run."""
    expect(recoveries, EXAMPLES)
    asleep(recoveries, "DELETE FROM public.robot_versions", "DELETE FROM public.backtests")
    plan = recoveries.plan("public.robot_versions", "public.backtests", "public.ticks_2026_09")
    with recoveries.hold(plan) as run:
        recoveries.compare(plan, run.owner)
        report = staged(recoveries, plan)
        assert found(report) == set()
        assert report.passed
        own = {name for name in asked(report) if name.endswith("(own)")}
        assert own == {"public.backtests (own)"}
        not_run = {f.object for f in report.findings if f.code == "own-suite-not-run"}
        assert not_run == {f"public.{name}" for name in ("candles", "profiles", "robots", "trades")}
        recoveries.apply(plan, run.owner)
        after = live(recoveries, plan)
        assert found(after) == set()
        # A root of partitions is judged as a whole once its partition has been recovered.
        assert {name for name in asked(after) if name.endswith("(own)")} == own | {"public.ticks (own)"}
        asleep(recoveries, "DELETE FROM strongroom_staging.rows_0")
        broken = staged(recoveries, plan)
        assert ("critical", "own", "public.backtests") in found(broken)
        recoveries.finish(plan, run.owner, "left")


def test_staged_rows_are_asked_what_they_can_answer(recoveries: Recoveries, tmp_path: Path) -> None:
    """Generated columns and figures of the whole table are left to the judgement after the commit, which says so."""
    folder = write(
        tmp_path / "own",
        "public.robots.json",
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "slug"}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "name"}},
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 30}},
        {
            "type": "expect_column_values_to_not_be_null",
            "kwargs": {"column": "description", "mostly": 0.01},
        },
        rows_hold("SELECT count(*) FROM {table} AS t WHERE t.slug = ''", after_commit=True),
    )
    expect(recoveries, folder)
    for where, now in [("", 3), ("state = 'live'", 1)]:
        plan = recoveries.plan("public.robots", where=where)
        with recoveries.hold(plan) as run:
            recoveries.compare(plan, run.owner)
            report = staged(recoveries, plan)
            assert found(report) == set()
            assert asked(report)["public.robots (own)"] == now
            (deferred,) = (f.observed for f in report.findings if f.code == "own-suite-deferred")
            assert deferred.startswith(f"{5 - now} of its 5 ")
            recoveries.apply(plan, run.owner)
            after = live(recoveries, plan)
            assert found(after) == set()
            assert asked(after)["public.robots (own)"] == 5
            recoveries.finish(plan, run.owner, "recovered")
