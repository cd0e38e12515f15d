"""Row security after a restore: policies and switches are those of the backup, or it is noticed."""

import psycopg
import pytest

from strongroom.deadline import Deadline
from strongroom.errors import ArchiveUnreadable
from strongroom.integrity.destination import open_destination
from strongroom.integrity.judge import judge_suites
from strongroom.integrity.row_security import plan_row_security, read_row_security
from strongroom.operations.messages import IntegrityReport
from strongroom.postgres.archive_toc import TocEntry
from strongroom.postgres.connection import connect
from strongroom.postgres.schema_archive import dump_schema
from tests.conftest import MakeDatabase
from tests.databases import Database


def archive_of(database: Database) -> bytes:
    """Dump the schema, as a backup does."""
    never = Deadline.never()
    with connect(database.conninfo(), never) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        major = connection.info.server_version // 10000
        return dump_schema(database.conninfo(), str(row[0] if row else ""), never, major).content


def judged(database: Database, archive: bytes, *, same_version: bool = True) -> IntegrityReport:
    """Judge the row security of a database by an archive."""
    with open_destination(database.conninfo(), Deadline.after(60, "test")) as session:
        suites = plan_row_security(archive, same_version=same_version)
        return judge_suites(session, "backup", suites, None)


def found(report: IntegrityReport) -> set[tuple[str, str, str]]:
    """Return severity, code and object of what was found."""
    return {(f.severity, f.code.removeprefix("integrity-"), f.object) for f in report.findings}


ROBOTS = "public.robots"
DAMAGES = {
    "a policy dropped": (
        "DROP POLICY robots_select ON public.robots",
        {("row-security", ROBOTS), ("policy-expressions", ROBOTS)},
    ),
    "a policy too many": (
        "CREATE POLICY more ON public.robots USING (true)",
        {("row-security", ROBOTS)},
    ),
    "row security off": (
        "ALTER TABLE public.robots DISABLE ROW LEVEL SECURITY",
        {("row-security", ROBOTS)},
    ),
    "no longer forced": (
        "ALTER TABLE public.trades NO FORCE ROW LEVEL SECURITY",
        {("row-security", "public.trades")},
    ),
    "off where there is no policy": (
        "ALTER TABLE private.api_keys DISABLE ROW LEVEL SECURITY",
        {("row-security", "private.api_keys")},
    ),
    "for others": (
        "ALTER POLICY robots_write ON public.robots TO anon",
        {("row-security", ROBOTS)},
    ),
    "with another expression": (
        "ALTER POLICY robots_select ON public.robots USING (true)",
        {("policy-expressions", ROBOTS)},
    ),
    "permissive": (
        """DROP POLICY robots_no_retired_edits ON public.robots;
        CREATE POLICY robots_no_retired_edits ON public.robots FOR UPDATE TO authenticated
        USING (state <> 'it''s "retired"')""",
        {("row-security", ROBOTS)},
    ),
    "for another command": (
        """DROP POLICY "Own profile: update" ON public.profiles;
        CREATE POLICY "Own profile: update" ON public.profiles TO authenticated
        USING (auth.uid() = id) WITH CHECK (auth.uid() = id)""",
        {("row-security", "public.profiles")},
    ),
}


@pytest.mark.parametrize("server", ["postgres18", "postgres16"])
def test_row_security_is_compared(
    server: str, quantforge: MakeDatabase, request: pytest.FixtureRequest
) -> None:
    """What is as in the backup passes; every way in which policies can be others is noticed, on its table."""
    database = quantforge(request.getfixturevalue(server))
    archive = archive_of(database)
    whole = judged(database, archive)
    assert whole.findings == ()
    assert whole.suites[0].expectations >= 12
    for damage, (statement, noticed) in DAMAGES.items():
        damaged = quantforge(request.getfixturevalue(server))
        with psycopg.connect(damaged.dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())
        report = judged(damaged, archive)
        assert {("critical", *what) for what in noticed} == found(report), damage
        assert not report.passed


def test_policies_of_the_platform_are_warnings(quantforge: MakeDatabase) -> None:
    """A hosted project may refuse policies on its own tables: a restore without them is reported and passes."""
    database = quantforge()
    archive = archive_of(database)
    with psycopg.connect(database.dsn(database.server.superuser), autocommit=True) as connection:
        connection.execute('DROP POLICY "Avatars readable" ON storage.objects')
        connection.execute("CREATE POLICY platform ON storage.objects USING (false)")
    report = judged(database, archive)
    assert found(report) == {
        ("warning", "row-security", "storage.objects"),
        ("warning", "policy-expressions", "storage.objects"),
    }
    assert report.passed


def test_other_versions_may_print_otherwise(quantforge: MakeDatabase) -> None:
    """Between major versions an expression that reads otherwise is a warning."""
    database = quantforge()
    archive = archive_of(database)
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        connection.execute("ALTER POLICY robots_select ON public.robots USING (true)")
    report = judged(database, archive, same_version=False)
    assert found(report) == {("warning", "policy-expressions", ROBOTS)}
    assert report.passed


def entry(description: str, definition: str) -> TocEntry:
    """Make an entry of an archive."""
    return TocEntry(1, 1, 1, "t", description, "post-data", definition, "public", "postgres", ())


def test_unknown_spellings_are_not_guessed() -> None:
    """A policy that cannot be read is an error: it must not look as if it had been compared."""
    with pytest.raises(ArchiveUnreadable):
        read_row_security([entry("POLICY", "CREATE OR REPLACE POLICY p ON public.t;")])


def test_odd_names_are_read() -> None:
    """Names and roles in quotes, with line ends, commas and the words of the grammar in them."""
    written = (
        'CREATE POLICY "a ON b"" USING (" ON "S t"."T.\nx" AS RESTRICTIVE FOR DELETE TO anon, "R, ole"'
        " USING ((a = 'WITH CHECK ('::text)) WITH CHECK (true);\n"
    )
    (table,) = read_row_security([entry("POLICY", written)])
    (policy,) = table.policies
    assert ("S t", "T.\nx") == (table.schema, table.name)
    assert policy.row == ['policy a ON b" USING (', "restrictive", "DELETE", "R, ole, anon"]
    assert policy.expressions == " USING ((a = 'WITH CHECK ('::text)) WITH CHECK (true)"
