"""The user's own suites on real databases: the examples hold of QuantForge, and each notices what it is about."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import ExpectationsUnusable
from strongroom.integrity.destination import open_destination
from strongroom.integrity.judge import judge_suites
from strongroom.integrity.own_judging import plan_restored
from strongroom.operations.context import Context
from strongroom.operations.judge_restore import judge_restore
from strongroom.operations.messages import IntegrityReport, JudgeRestore
from tests.conftest import MakeDatabase
from tests.databases import Database
from tests.row_backups import Keys, RowBackups, settings_for

EXAMPLES = Path(__file__).resolve().parents[2] / "expectations"


class Restored:
    """A database that a backup was made of, judged as if it had been restored from that backup."""

    def __init__(self, database: Database, folder: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self._folder = folder
        self._keys = keys
        self.backups = RowBackups.make(database.dsn(), folder, keys, monkeypatch)
        self.backup = self.backups.back_up("full")

    def settings(self, expectations: Path | None) -> Settings:
        """Return settings whose destination is the database itself."""
        more = {"STRONGROOM_RECOVERY_EXPECTATIONS": str(expectations)} if expectations else {}
        dsn = self.database.dsn()
        return settings_for(dsn, self._folder, self._keys, STRONGROOM_DESTINATION_URL=dsn, **more)

    def judge(self, expectations: Path | None, data_docs: Path | None = None) -> IntegrityReport:
        """Judge the database by the backup and a folder of suites."""
        request = JudgeRestore(backup=self.backup, data_docs=str(data_docs) if data_docs else "")
        return judge_restore(self.settings(expectations), request, Context(Deadline.after(120, "test")))

    def ask(self, expectations: Path, data_docs: Path | None = None) -> IntegrityReport:
        """Run the suites of a folder without the built-in ones, which take longer than all of these together."""
        with open_destination(self.database.conninfo(), Deadline.after(120, "test")) as session:
            suites = plan_restored(session, expectations, self.backups.manifest(self.backup))
            return judge_suites(session, self.backup, suites, data_docs)

    def damage(self, *statements: str) -> None:
        """Run statements with triggers and foreign keys asleep, as a restore does."""
        with psycopg.connect(self.database.dsn(), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture
def restored(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Restored:
    """Make a database and its backup."""
    return Restored(quantforge(), tmp_path, keys, monkeypatch)


def write(folder: Path, name: str, *expectations: dict[str, Any]) -> Path:
    """Write a suite into a folder, and return the folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"name": "own", "expectations": expectations}), "utf-8")
    return folder


def rows_hold(sql: str, **more: Any) -> dict[str, Any]:
    """Make an expectation in SQL."""
    return {"type": "strongroom_rows_hold", "kwargs": {"sql": sql}, **more}


def own(report: IntegrityReport) -> list[tuple[str, str, str]]:
    """Return severity, object and observation of what the user's own suites found."""
    return [(f.severity, f.object, f.observed) for f in report.findings if f.code == "integrity-own"]


def test_examples_hold(restored: Restored) -> None:
    """Every suite of the examples passes on the application as it is, those of built-in suites beside them."""
    report = restored.judge(EXAMPLES)
    assert [] == own(report)
    assert ["integrity-policies-not-compared"] == [f.code for f in report.findings]
    assert report.passed
    run = {suite.suite: suite.expectations for suite in report.suites if suite.suite.endswith("(own)")}
    assert run == {
        "public.backtests (own)": 2,
        "public.candles (own)": 5,
        "public.profiles (own)": 2,
        "public.robots (own)": 4,
        "public.ticks (own)": 3,
        "public.trades (own)": 3,
    }


# A server refuses updates of a table that is published with its old rows, and has generated columns.
UNPUBLISHED = "ALTER TABLE public.trades REPLICA IDENTITY DEFAULT"
FIRST = "ctid = (SELECT min(ctid) FROM {})"
DAMAGES: dict[str, tuple[list[str], str, str]] = {
    "a robot without a name": (
        [
            "ALTER TABLE public.robots ALTER COLUMN name DROP NOT NULL",
            f"UPDATE public.robots SET name = NULL WHERE {FIRST.format('public.robots')}",
        ],
        "public.robots",
        "Every robot has a name.",
    ),
    "a robot with a blank name": (
        [f"UPDATE public.robots SET name = ' ' WHERE {FIRST.format('public.robots')}"],
        "public.robots",
        "Every robot's name has something in it that can be read.",
    ),
    "a robot without code": (
        [
            "UPDATE public.robot_versions SET source_mql5 = '' WHERE robot_id = (SELECT id FROM public.robots LIMIT 1)"
        ],
        "public.robots",
        "Every robot has code: a version whose source is not empty.",
    ),
    "a robot of nobody": (
        [f"UPDATE public.robots SET owner_id = gen_random_uuid() WHERE {FIRST.format('public.robots')}"],
        "public.robots",
        "Every robot's owner exists in auth.users.",
    ),
    "a profile of nobody": (
        ["DELETE FROM auth.users WHERE id = (SELECT id FROM public.profiles ORDER BY id LIMIT 1)"],
        "public.profiles",
        "Every profile's owner exists in auth.users.",
    ),
    "an orphaned back-test": (
        ["DELETE FROM public.robot_versions WHERE id = (SELECT min(robot_version_id) FROM public.backtests)"],
        "public.backtests",
        "No back-test is an orphan: its robot's version and its robot are there.",
    ),
    "a back-test without money": (
        [f"UPDATE public.backtests SET initial_deposit = 0 WHERE {FIRST.format('public.backtests')}"],
        "public.backtests",
        "Back-tests begin with money.",
    ),
    "a price of nothing": (
        [UNPUBLISHED, f"UPDATE public.trades SET open_price = 0 WHERE {FIRST.format('public.trades')}"],
        "public.trades",
        "Opening prices are positive.",
    ),
    "a negative price": (
        [UNPUBLISHED, f"UPDATE public.trades SET close_price = -1 WHERE {FIRST.format('public.trades')}"],
        "public.trades",
        "Closing prices are positive; an open trade has none yet.",
    ),
    "a trade that closed before it opened": (
        [
            UNPUBLISHED,
            "ALTER TABLE public.trades DROP CONSTRAINT trades_closed_after_open",
            (
                "UPDATE public.trades SET closed_at = opened_at - interval '1 s'"
                " WHERE id = (SELECT min(id) FROM public.trades WHERE closed_at IS NOT NULL)"
            ),
        ],
        "public.trades",
        "Trades close after they open; an open trade has not closed yet.",
    ),
    "a candle that is upside down": (
        [f"UPDATE public.candles SET h = l / 2 WHERE {FIRST.format('public.candles')}"],
        "public.candles",
        "The high of a candle is not below its low.",
    ),
    "a free candle": (
        [f"UPDATE public.candles SET o = 0, l = 0 WHERE {FIRST.format('public.candles')}"],
        "public.candles",
        "Prices in o are positive.",
    ),
    "a free tick": (
        [
            "UPDATE public.ticks SET bid = 0 WHERE (symbol, ts, seq) = (SELECT symbol, ts, seq FROM ticks LIMIT 1)"
        ],
        "public.ticks",
        "Prices in bid are positive.",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_examples_notice(damage: str, restored: Restored) -> None:
    """Each of the examples fails on a row that it is about."""
    statements, table, description = DAMAGES[damage]
    restored.damage(*statements)
    report = restored.ask(EXAMPLES)
    assert not report.passed
    found = {(f.object.partition(" ")[0], f.expected) for f in report.findings if f.code == "integrity-own"}
    assert (table, description) in found


def test_severity_decides(restored: Restored, tmp_path: Path) -> None:
    """Critical stops, a warning and an info report; the severity is the user's."""
    bad = "SELECT count(*) FROM {table} AS t WHERE t.name <> ''"
    for severity, passes in [("critical", False), ("warning", True), ("info", True)]:
        folder = write(tmp_path / "own", "public.robots.json", rows_hold(bad, severity=severity))
        report = restored.ask(folder)
        assert passes == report.passed
        assert [(severity, "public.robots", "40")] == own(report)


UNANSWERED = {
    "no such column": rows_hold("SELECT count(*) FROM {table} AS t WHERE t.nmae = ''"),
    "no such table": rows_hold("SELECT count(*) FROM {table} AS t, {public.robot} AS r"),
    "no number": rows_hold("SELECT name FROM {table} LIMIT 1"),
    "whether and not how many": rows_hold("SELECT count(*) = 0 FROM {table}"),
    "no answer": rows_hold("SELECT sum(0)::int FROM {table} WHERE false"),
    "several answers": rows_hold("SELECT 0 FROM {table}"),
    "two statements": rows_hold("SELECT count(*) FROM {table} WHERE false; SELECT 0"),
    "a column that is not there": {
        "type": "expect_column_values_to_not_be_null",
        "kwargs": {"column": "nmae"},
    },
    "a type that cannot be compared": {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "params", "min_value": 3},
    },
}


@pytest.mark.parametrize("fault", UNANSWERED)
def test_what_cannot_be_evaluated_fails(fault: str, restored: Restored, tmp_path: Path) -> None:
    """An expectation without an answer is a failure, whatever severity it has if it was ever evaluated."""
    folder = write(tmp_path / "own", "public.robots.json", {**UNANSWERED[fault], "severity": "critical"})
    report = restored.ask(folder)
    assert not report.passed
    assert len(own(report)) == 1


def test_sql_may_hold_anything(restored: Restored, tmp_path: Path) -> None:
    """Colons, per cent signs, braces, casts, comments and a semicolon at the end mean what they mean to Postgres."""
    folder = write(
        tmp_path / "own",
        "public.robots.json",
        rows_hold(
            "SELECT count(*) FROM {table} AS t WHERE t.name LIKE '%:zzz%' OR t.params @> '{\"a\": {}}'::jsonb;"
        ),
        rows_hold("SELECT count(*) FROM {table} AS t WHERE ' :x %(y)s %s' = t.id::text -- and that is all"),
        rows_hold(
            'SELECT count(*) FROM {public."Weird Table-Name"} AS w, {table} AS t WHERE w."quote""inside" = \':\''
        ),
        rows_hold("SELECT count(*) FROM {table} AS t WHERE t.tags = '{x,y}' AND t.name ~ '^a{2}\\:b$'"),
    )
    report = restored.ask(folder)
    assert own(report) == []
    assert report.passed


def test_misspelt_table_is_refused(restored: Restored, tmp_path: Path) -> None:
    """A suite for a table that the backup does not have is an error: it would never be run."""
    folder = write(tmp_path / "own", "public.robotts.json", rows_hold("SELECT count(*) FROM {table}"))
    with pytest.raises(ExpectationsUnusable, match=r"no table public\.robotts"):
        restored.judge(folder)


def test_odd_names_have_suites(restored: Restored, tmp_path: Path) -> None:
    """Tables and columns whose names need quotes are found."""
    folder = write(
        tmp_path / "own",
        "public.Weird Table-Name.json",
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "Mixed Case"}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "Mixed Case"}},
    )
    report = restored.ask(folder)
    assert own(report) == []
    assert report.passed


def test_no_value_leaves_the_database(restored: Restored, tmp_path: Path) -> None:
    """No value of any row gets into report or pages, whatever an expectation of Great Expectations observes."""
    secret = "seldom-seen-value-4711"
    restored.damage(f"UPDATE public.robots SET name = '{secret}', description = '{secret}' || id")
    folder = write(
        tmp_path / "own",
        "public.robots.json",
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "name", "regex": "^no"}},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "name", "max_value": "2020-01-01"}},
        {
            "type": "expect_column_distinct_values_to_be_in_set",
            "kwargs": {"column": "name", "value_set": ["a"]},
        },
        {
            "type": "expect_column_most_common_value_to_be_in_set",
            "kwargs": {"column": "name", "value_set": ["a"]},
        },
        {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "description", "value": 3}},
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["name", "state"]}},
        rows_hold("SELECT name::int FROM {table} LIMIT 1"),
    )
    report = restored.ask(folder, tmp_path / "docs")
    assert len(own(report)) == 7
    pages = "".join(page.read_text("utf-8") for page in (tmp_path / "docs").rglob("*.html"))
    assert "public.robots (own)" in pages
    assert secret not in str(report) + pages
    assert "Traceback" not in pages


def test_pages_are_safe(restored: Restored, tmp_path: Path) -> None:
    """What the user writes is shown as text, and the pages still fetch nothing."""
    folder = write(
        tmp_path / "own",
        "public.robots.json",
        rows_hold("SELECT count(*) FROM {table} AS t WHERE t.name = '<b id=x1>'", description="<b id=x2>"),
        {
            "type": "expect_column_values_to_not_match_regex",
            "kwargs": {"column": "name", "regex": "<b id=x3>"},
            "meta": {"notes": {"format": "markdown", "content": ["<b id=x4>"]}},
            "notes": "<b id=x5>",
        },
    )
    report = restored.ask(folder, tmp_path / "docs")
    assert own(report) == []
    pages = "".join(page.read_text("utf-8") for page in (tmp_path / "docs").rglob("*.html"))
    assert [f"<b id=x{n}>" for n in range(1, 6) if f"<b id=x{n}>" in pages] == []
