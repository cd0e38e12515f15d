"""The integrity suites against real databases: what is whole passes, every kind of damage is noticed."""

import html
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from strongroom.deadline import Deadline
from strongroom.errors import (
    DataDocsNotWritten,
    DeadlineExceeded,
    IntegrityFailed,
    RoleSeesNoRows,
    SourceUnavailable,
)
from strongroom.format.documents import SequenceState, TableEntry
from strongroom.integrity.destination import open_destination
from strongroom.integrity.judge import judge, require_passed
from strongroom.operations.messages import IntegrityReport
from strongroom.postgres.connection import connect
from strongroom.postgres.digest import row_digest
from strongroom.postgres.introspection import list_sequences, list_tables
from tests.conftest import MakeDatabase
from tests.databases import Database


@dataclass(frozen=True)
class Baseline:
    """What a manifest would say of a database."""

    tables: tuple[TableEntry, ...]
    sequences: tuple[SequenceState, ...]

    def only(self, *names: str, sequences: Sequence[str] = ()) -> "Baseline":
        """Keep some tables, named `schema.table`, and some sequences."""
        tables = tuple(t for t in self.tables if f"{t.facts.schema}.{t.facts.name}" in names)
        assert len(names) == len(tables)
        return Baseline(tables, tuple(s for s in self.sequences if f"{s.schema}.{s.name}" in sequences))


def baseline(database: Database) -> Baseline:
    """Measure a database as a backup does."""
    with connect(database.conninfo(), Deadline.never()) as connection:
        tables = []
        for facts in list_tables(connection).tables:
            query = sql.SQL("SELECT count(*), coalesce(sum({}), 0)::text FROM ONLY {} AS t").format(
                sql.SQL(row_digest(facts.columns)),
                sql.Identifier(facts.schema, facts.name),
            )
            row = connection.execute(query).fetchone()
            assert row is not None
            tables.append(TableEntry(facts=facts, rows=row[0], digest=row[1], parts=()))
        return Baseline(tuple(tables), list_sequences(connection))


def change(database: Database, *statements: str, user: str = "postgres") -> None:
    """Run statements with triggers and foreign keys asleep, as a restore does."""
    with psycopg.connect(database.dsn(user), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


def judged(
    database: Database, expected: Baseline, *, deadline: Deadline | None = None, **arguments: Any
) -> IntegrityReport:
    """Judge a database by a baseline, strictly unless told otherwise."""
    return judge(
        database.conninfo(),
        "backup-1",
        expected.tables,
        expected.sequences,
        deadline=deadline or Deadline.after(120, "recovery.verification_timeout"),
        max_data_loss_percent=arguments.pop("max_data_loss_percent", 5),
        data_docs=arguments.pop("data_docs", None),
        **arguments,
    )


def codes(report: IntegrityReport) -> set[str]:
    """Return the codes of what was found, without their common prefix."""
    return {finding.code.removeprefix("integrity-") for finding in report.findings}


@pytest.mark.parametrize("server", ["postgres18", "postgres16"])
def test_whole_database_passes(
    server: str, quantforge: MakeDatabase, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    """An untouched database fulfils every expectation, and judging it prints nothing."""
    database = quantforge(request.getfixturevalue(server))
    expected = baseline(database)
    capfd.readouterr()
    report = judged(database, expected)
    assert report.findings == ()
    assert report.passed
    require_passed(report)
    assert len(report.suites) == len(expected.tables) + 1
    assert all(suite.expectations > 0 and suite.failed == 0 for suite in report.suites)
    assert report.rows_expected == report.rows_observed == sum(table.rows for table in expected.tables)
    assert report.data_loss_percent == 0.0
    assert capfd.readouterr() == ("", "")


DAMAGES = {
    "deleted row": (
        ["public.candles"],
        ["DELETE FROM public.candles WHERE ctid = (SELECT min(ctid) FROM public.candles)"],
        {"row-count", "digest"},
    ),
    "updated value": (
        ["public.candles"],
        ["UPDATE public.candles SET v = v + 1 WHERE ctid = (SELECT min(ctid) FROM public.candles)"],
        {"digest"},
    ),
    "duplicated key": (
        ["public.symbols"],
        [
            "ALTER TABLE public.symbols DROP CONSTRAINT symbols_pkey CASCADE",
            "INSERT INTO public.symbols SELECT * FROM public.symbols LIMIT 1",
        ],
        {"row-count", "digest", "unique-key"},
    ),
    "orphaned row": (
        ["public.robots", "public.profiles"],
        ["UPDATE public.robots SET owner_id = gen_random_uuid() WHERE id IN (SELECT id FROM robots LIMIT 1)"],
        {"digest", "foreign-key"},
    ),
    "orphans of a deleted row": (
        ["public.robots", "public.profiles"],
        ["DELETE FROM public.profiles WHERE id = (SELECT owner_id FROM public.robots LIMIT 1)"],
        {"row-count", "digest", "foreign-key"},
    ),
    "forbidden null": (
        ["public.robots"],
        [
            "ALTER TABLE public.robots ALTER COLUMN tags DROP NOT NULL",
            "UPDATE public.robots SET tags = NULL WHERE ctid = (SELECT min(ctid) FROM public.robots)",
        ],
        {"digest", "not-null"},
    ),
    "changed type": (
        ["public.no_pk"],
        ["ALTER TABLE public.no_pk ALTER COLUMN a TYPE bigint"],
        {"column-types"},
    ),
    "emptied table": (
        ["public.candles"],
        ["TRUNCATE public.candles"],
        {"row-count", "data-loss", "digest"},
    ),
    "row too many in a table without columns": (
        ["public.zero_columns"],
        ["INSERT INTO public.zero_columns DEFAULT VALUES"],
        # The digest of a row without columns is zero.
        {"row-count"},
    ),
    "row too many in an empty table": (
        ["public.nothing_in_it"],
        ["INSERT INTO public.nothing_in_it VALUES (1)"],
        {"row-count", "digest"},
    ),
    "changed row of every type": (
        ["public.type_zoo"],
        ["UPDATE public.type_zoo SET c_json = '[1, 2]' WHERE ctid = (SELECT min(ctid) FROM public.type_zoo)"],
        {"digest"},
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed(damage: str, quantforge: MakeDatabase) -> None:
    """Each kind of damage fails exactly the expectations that are about it, and the report with them."""
    tables, statements, noticed_by = DAMAGES[damage]
    database = quantforge()
    expected = baseline(database).only(*tables)
    assert judged(database, expected).passed
    change(database, *statements)
    report = judged(database, expected)
    assert codes(report) == noticed_by
    assert not report.passed
    assert {finding.severity for finding in report.findings} == {"critical"}
    with pytest.raises(IntegrityFailed, match="backup-1"):
        require_passed(report)


def test_loss_is_measured(quantforge: MakeDatabase) -> None:
    """The report counts the rows that are missing, and rows too many elsewhere do not make up for them."""
    database = quantforge()
    expected = baseline(database).only("public.candles", "public.nothing_in_it")
    change(
        database,
        "TRUNCATE public.candles",
        "INSERT INTO public.nothing_in_it SELECT generate_series(1, 1000)",
    )
    report = judged(database, expected)
    assert report.rows_observed == 1000
    assert report.data_loss_percent == 100.0


@pytest.mark.parametrize(
    ("statements", "observed"),
    [
        (["ALTER TABLE public.no_pk RENAME COLUMN b TO bb"], "a, bb, c"),
        (["ALTER TABLE public.no_pk DROP COLUMN a", "ALTER TABLE public.no_pk ADD COLUMN a int"], "b, c, a"),
    ],
    ids=["renamed", "reordered"],
)
def test_columns_are_compared_in_order(
    statements: list[str], observed: str, quantforge: MakeDatabase
) -> None:
    """A renamed or a reordered column fails the expectation about columns, which shows what is there."""
    database = quantforge()
    expected = baseline(database).only("public.no_pk")
    change(database, *statements)
    report = judged(database, expected)
    finding = next(f for f in report.findings if f.code == "integrity-columns")
    assert (finding.expected, finding.observed) == ("a, b, c", observed)
    assert not report.passed


def test_dropped_table_fails(quantforge: MakeDatabase) -> None:
    """Expectations about a table that is gone cannot be evaluated, and that is a failure."""
    database = quantforge()
    expected = baseline(database).only("public.candles", "public.no_pk")
    change(database, "DROP TABLE public.candles")
    report = judged(database, expected, exact=False, max_data_loss_percent=100)
    outcome = {suite.suite: (suite.passed, suite.worst) for suite in report.suites}
    assert outcome == {"public.candles": (False, "critical"), "public.no_pk": (True, "")}
    assert {f.observed for f in report.findings if f.code == "integrity-row-count"} == {
        "could not be evaluated"
    }
    assert not report.passed
    refused = [f.observed for f in report.findings if f.code == "integrity-refused"]
    assert refused == ['relation "public.candles" does not exist']
    missing = next(t.rows for t in expected.tables if t.facts.name == "candles")
    assert report.rows_expected - report.rows_observed == missing


def test_raising_expectation_fails(quantforge: MakeDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expectation that raises is a failure, even one that would only have been a warning."""
    database = quantforge()
    expected = baseline(database).only("public.no_pk")
    assert judged(database, expected).passed
    from strongroom.integrity import expectations

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(expectations.ExpectTableDigestToEqual, "_validate", fail)
    report = judged(database, expected, exact=False)
    assert codes(report) == {"digest"}
    assert not report.passed


def test_sequence_below_its_column(quantforge: MakeDatabase) -> None:
    """A sequence that was moved back fails by its position, and is seen to lag behind its column."""
    database = quantforge()
    expected = baseline(database).only("public.trades", sequences=["public.trades_id_seq"])
    assert judged(database, expected).passed
    change(database, "SELECT setval('public.trades_id_seq', 1)")
    report = judged(database, expected)
    found = {finding.code: finding.severity for finding in report.findings}
    assert found == {"integrity-sequence-position": "critical", "integrity-sequence-ahead": "warning"}
    assert not report.passed


def test_sequence_that_has_not_begun(quantforge: MakeDatabase) -> None:
    """`is_called` counts: a sequence whose next value is its largest row's lags behind."""
    database = quantforge()
    expected = baseline(database).only("public.trades", sequences=["public.trades_id_seq"])
    largest = "(SELECT max(id) FROM public.trades)"
    change(database, f"SELECT setval('public.trades_id_seq', {largest}, true)")
    assert "sequence-ahead" not in codes(judged(database, expected))
    change(database, f"SELECT setval('public.trades_id_seq', {largest}, false)")
    assert "sequence-ahead" in codes(judged(database, expected))


def test_lenient_policy_tolerates_some_loss(quantforge: MakeDatabase) -> None:
    """Unless exact, a loss within the limit is a warning; beyond the limit it is critical."""
    database = quantforge()
    expected = baseline(database).only("public.candles")
    change(database, "DELETE FROM public.candles WHERE ctid = (SELECT min(ctid) FROM public.candles)")
    lenient = judged(database, expected, exact=False, max_data_loss_percent=5)
    assert lenient.passed
    assert {(f.code, f.severity) for f in lenient.findings} == {
        ("integrity-row-count", "warning"),
        ("integrity-digest", "warning"),
    }
    strict = judged(database, expected, exact=False, max_data_loss_percent=0)
    assert not strict.passed
    assert "data-loss" in codes(strict)


ODD = 'a "b"\n:c %s {d} $e <i>&'
ODD_COLUMN = "%(x)s :y \\ 'üñí_列' <u> "


def quoted(name: str) -> str:
    """Quote a name for a statement of a test."""
    return '"' + name.replace('"', '""') + '"'


def make_oddities(database: Database) -> str:
    """Make a schema, a table and columns with names that are hard to get right; return the table's name."""
    table = f"{quoted(ODD)}.{quoted('T' + ODD)}"
    column = quoted(ODD_COLUMN)
    change(
        database,
        f"CREATE SCHEMA {quoted(ODD)}",
        f"CREATE TABLE {table} ({column} int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, {quoted(ODD)} int"
        f" REFERENCES {table}, {quoted('NN' + ODD)} text NOT NULL)",
        f"INSERT INTO {table} VALUES (DEFAULT, NULL, 'one'), (DEFAULT, 1, 'two'), (DEFAULT, 2, 'three')",
    )
    return table


def oddities(database: Database) -> Baseline:
    """Return the baseline of the odd table and its sequence."""
    everything = baseline(database)
    sequence = next(s for s in everything.sequences if s.schema == ODD)
    return everything.only(f"{ODD}.T{ODD}", sequences=[f"{ODD}.{sequence.name}"])


def test_any_name_is_judged(platform_database: MakeDatabase) -> None:
    """Quotes, newlines, colons, percent signs and markup in names do not keep a table from being judged."""
    database = platform_database()
    table = make_oddities(database)
    expected = oddities(database)
    report = judged(database, expected)
    assert report.findings == ()
    assert [suite.suite for suite in report.suites] == [f"{ODD}.T{ODD}", "sequences"]
    change(
        database,
        f"ALTER TABLE {table} ALTER COLUMN {quoted('NN' + ODD)} DROP NOT NULL",
        f"UPDATE {table} SET {quoted('NN' + ODD)} = NULL, {quoted(ODD)} = 77 WHERE {quoted(ODD)} = 1",
    )
    assert codes(judged(database, expected)) == {"digest", "not-null", "foreign-key"}
    change(database, f"ALTER TABLE {table} RENAME COLUMN {quoted(ODD)} TO other")
    assert "columns" in codes(judged(database, expected))


def test_equality_outside_the_catalog(platform_database: MakeDatabase) -> None:
    """A foreign key over a type whose `=` is in an extension's schema is judged, also under a domain."""
    database = platform_database()
    change(
        database, "CREATE EXTENSION IF NOT EXISTS vector SCHEMA extensions", user=database.server.superuser
    )
    change(
        database,
        "CREATE DOMAIN public.place AS extensions.vector(2)",
        "CREATE TABLE public.places (at public.place PRIMARY KEY)",
        "CREATE TABLE public.visits (at public.place REFERENCES public.places)",
        "INSERT INTO public.places VALUES ('[1,2]')",
        "INSERT INTO public.visits VALUES ('[1,2]'), (NULL)",
    )
    expected = baseline(database).only("public.places", "public.visits")
    assert judged(database, expected).findings == ()
    change(database, "UPDATE public.visits SET at = '[3,4]' WHERE at IS NOT NULL")
    assert codes(judged(database, expected)) == {"digest", "foreign-key"}


def test_nulls_in_keys(platform_database: MakeDatabase) -> None:
    """Nulls are distinct in a unique key unless it says otherwise, and refer to nothing in a foreign key."""
    database = platform_database()
    change(
        database,
        "CREATE TABLE public.k (a int, b int, c int, UNIQUE (a, b), UNIQUE NULLS NOT DISTINCT (c))",
        "CREATE TABLE public.f (a int, b int, FOREIGN KEY (a, b) REFERENCES public.k (a, b))",
        "INSERT INTO public.k VALUES (1, NULL, 1), (1, NULL, NULL), (1, 1, 2)",
        "INSERT INTO public.f VALUES (5, NULL), (NULL, 5), (1, 1)",
    )
    expected = baseline(database).only("public.k", "public.f")
    assert judged(database, expected).findings == ()
    change(
        database,
        "ALTER TABLE public.k DROP CONSTRAINT k_c_key",
        "UPDATE public.k SET c = NULL WHERE c = 1",
    )
    assert codes(judged(database, expected)) == {"digest", "unique-key"}


def test_composite_of_nulls_is_no_null(platform_database: MakeDatabase) -> None:
    """A composite value whose fields are all null may stand in a not-null column."""
    database = platform_database()
    change(
        database,
        "CREATE TYPE public.pair AS (a int, b int)",
        "CREATE TABLE public.c (p public.pair NOT NULL)",
        "INSERT INTO public.c VALUES (ROW(NULL, NULL))",
    )
    assert judged(database, baseline(database).only("public.c")).findings == ()


def test_children_are_judged_apart(quantforge: MakeDatabase) -> None:
    """Rows of an inheriting table do not count as rows of its parent."""
    database = quantforge()
    expected = baseline(database).only("public.signals", "public.signals_legacy")
    change(database, "INSERT INTO public.signals_legacy (id) VALUES (987654)")
    report = judged(database, expected)
    assert {f.object for f in report.findings} == {"public.signals_legacy"}


def test_keys_into_partitioned_tables(platform_database: MakeDatabase) -> None:
    """A row that refers to a partitioned table refers to the rows of its partitions."""
    database = platform_database()
    change(
        database,
        "CREATE TABLE public.r (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE public.r1 PARTITION OF public.r FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE public.c (id int REFERENCES public.r)",
        "INSERT INTO public.r VALUES (1)",
        "INSERT INTO public.c VALUES (1)",
    )
    expected = baseline(database).only("public.r1", "public.c")
    assert judged(database, expected).findings == ()
    change(database, "INSERT INTO public.c VALUES (2)")
    assert "foreign-key" in codes(judged(database, expected))


def test_role_that_sees_no_rows_is_refused(quantforge: MakeDatabase) -> None:
    """A role that row-level security applies to is refused, since hidden rows look like lost ones."""
    database = quantforge()
    expected = baseline(database).only("public.robots", "public.no_pk")
    change(
        database,
        "GRANT USAGE ON SCHEMA public TO authenticator",
        "GRANT SELECT ON public.robots, public.no_pk TO authenticator",
    )
    with pytest.raises(RoleSeesNoRows) as caught:
        judge(
            database.conninfo("authenticator"),
            "backup-1",
            expected.tables,
            (),
            deadline=Deadline.never(),
            max_data_loss_percent=5,
            data_docs=None,
        )
    assert caught.value.context == {"role": "authenticator", "tables": 1, "first": "public.robots"}


def test_session_cannot_write(quantforge: MakeDatabase) -> None:
    """The judging session refuses to change anything."""
    with (
        open_destination(quantforge().conninfo(), Deadline.never()) as session,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        session.connection.execute("INSERT INTO public.nothing_in_it VALUES (1)")


def test_deadline_ends_a_blocked_judgement(quantforge: MakeDatabase) -> None:
    """A judgement that cannot go on ends at its deadline, as an exceeded deadline and not as a verdict."""
    database = quantforge()
    expected = baseline(database).only("public.candles", "public.no_pk")
    assert judged(database, expected).passed
    with psycopg.connect(database.dsn()) as blocker:
        blocker.execute("LOCK TABLE public.candles IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DeadlineExceeded, match="verification_timeout"):
            judged(database, expected, deadline=Deadline.after(1.5, "recovery.verification_timeout"))


def test_cut_connection_is_no_verdict(quantforge: MakeDatabase) -> None:
    """A connection that is cut while judging is a transient error: nothing is said about the data."""
    database = quantforge()
    expected = baseline(database).only("public.candles")
    with (
        psycopg.connect(database.dsn(), autocommit=True) as observer,
        psycopg.connect(database.dsn()) as blocker,
    ):
        blocker.execute("LOCK TABLE public.candles IN ACCESS EXCLUSIVE MODE")
        cutting = threading.Thread(target=cut_when_waiting, args=(observer,))
        cutting.start()
        with pytest.raises(SourceUnavailable):
            judged(database, expected)
        cutting.join()


def cut_when_waiting(observer: psycopg.Connection[Any]) -> None:
    """Cut the judging session as soon as it waits for a lock."""
    while True:
        row = observer.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'strongroom judge' AND wait_event_type = 'Lock'"
        ).fetchone()
        if row is not None and row[0]:
            return


def test_data_docs_are_readable_offline(quantforge: MakeDatabase, tmp_path: Path) -> None:
    """The pages fetch nothing, their links lead somewhere, and the index names every suite."""
    database = quantforge()
    table = make_oddities(database)
    expected = baseline(database).only("public.robots", "public.no_pk", f"{ODD}.T{ODD}")
    change(
        database,
        "DROP TABLE public.no_pk",
        "UPDATE public.robots SET description = 'x'",
        f"ALTER TABLE {table} ADD COLUMN more int",
    )
    report = judged(database, expected, data_docs=tmp_path / "docs")
    index = tmp_path / "docs" / "index.html"
    assert report.data_docs == str(index)
    pages = {page: page.read_text("utf-8") for page in index.parent.rglob("*.html")}
    assert len(pages) == 1 + 2 * len(expected.tables)
    for page, text in pages.items():
        assert (
            re.findall(
                r"<script|<iframe|<link|<i>&|(?:src|href)=[\"']?(?:https?:)?//|url\(\s*['\"]?http", text
            )
            == []
        )
        for link in re.findall(r'href="([^"#]+)"', text):
            assert (page.parent / html.unescape(link)).resolve() in pages
    for suite in report.suites:
        assert html.escape(suite.suite) in pages[index]
    columns = next(f for f in report.findings if f.code == "integrity-columns")
    assert columns.observed == columns.expected + ", more"
    assert {path.suffix for path in index.parent.rglob("*") if path.is_file()} == {".html"}


def test_reports_and_pages_hold_no_rows(quantforge: MakeDatabase, tmp_path: Path) -> None:
    """No value of any row gets into the report, the pages, or an error, whatever fails."""
    database = quantforge()
    expected = baseline(database).only(
        "public.robots", "public.profiles", "public.symbols", "private.api_keys"
    )
    secret = "seldom-seen-value-4711"
    change(
        database,
        "ALTER TABLE public.robots DROP CONSTRAINT robots_owner_slug_key",
        f"UPDATE public.robots SET name = '{secret}', owner_id = (SELECT min(owner_id::text) FROM"
        " public.robots)::uuid",
        "ALTER TABLE public.profiles DROP COLUMN username CASCADE",
        f"UPDATE public.profiles SET display_name = '{secret}'",
        f"UPDATE private.api_keys SET label = '{secret}', owner_id = gen_random_uuid()",
    )
    report = judged(database, expected, data_docs=tmp_path)
    assert {"digest", "unique-key", "foreign-key", "columns"} <= codes(report)
    with psycopg.connect(database.dsn()) as connection:
        rows = connection.execute(
            "SELECT id::text FROM public.profiles UNION SELECT id::text FROM public.robots"
        )
        values = {secret, *(row[0] for row in rows)}
    written = str(report) + "".join(page.read_text("utf-8") for page in tmp_path.rglob("*.html"))
    assert "Traceback" not in written
    assert {value for value in values if value in written} == set()


def test_folders_of_others_are_left_alone(quantforge: MakeDatabase, tmp_path: Path) -> None:
    """A folder that holds anything but earlier pages is refused, and keeps what it holds."""
    database = quantforge()
    expected = baseline(database).only("public.no_pk")
    own = tmp_path / "expectations" / "mine.py"
    own.parent.mkdir()
    own.write_text("kept")
    with pytest.raises(DataDocsNotWritten, match="something else"):
        judged(database, expected, data_docs=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own]


def test_later_pages_replace_earlier_ones(quantforge: MakeDatabase, tmp_path: Path) -> None:
    """Judging again into the same folder leaves the pages of the last judgement only."""
    database = quantforge()
    expected = baseline(database)
    judged(database, expected.only("public.robots"), data_docs=tmp_path)
    judged(database, expected.only("public.no_pk"), data_docs=tmp_path)
    assert "public.robots" not in (tmp_path / "index.html").read_text("utf-8")
    assert len(list(tmp_path.rglob("*.html"))) == 3
