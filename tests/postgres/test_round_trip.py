"""A database in the Supabase shape, backed up and restored as `postgres`, is the same database."""

from collections import Counter
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from strongroom.deadline import Deadline
from strongroom.operations.messages import VerificationReport, VerifyBackup
from strongroom.postgres.connection import Connection, connect
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.extents import qualified
from strongroom.postgres.introspection import list_sequences, list_tables
from strongroom.postgres.schema_comparison import compare
from strongroom.postgres.schema_description import describe_schema
from strongroom.runners import InChildren, InThisProcess
from strongroom.whole import back_up, restore
from tests.databases import Database, MakeDatabase
from tests.repositories import new_repository
from tests.tls_server import TlsServer

_CHANGES = """
UPDATE public.backtests SET net_profit = net_profit + 1 WHERE id % 3 = 0;
UPDATE public.ticks SET bid = bid / 2 WHERE volume % 50 = 0;
DELETE FROM public.ticks WHERE seq = 0 AND volume % 97 = 0;
INSERT INTO public.no_pk VALUES (7, E'new\\tand \\\\ odd', now());
UPDATE auth.users SET last_sign_in_at = now() WHERE email LIKE 'user1%';
SELECT nextval('public.ticket_seq');
ALTER TYPE public.asset_class RENAME VALUE 'index' TO 'indices';
ALTER TABLE public.candles ADD COLUMN quality int NOT NULL DEFAULT 5;
TRUNCATE public.maintenance_windows;
SELECT lo_put(900001, 3, 'changed'::bytea);
REVOKE SELECT ON public.symbols FROM anon;
"""

_FORBIDDEN_BY_THE_PLATFORM = {
    "POLICY realtime.messages own channel",
    "POLICY storage.objects Avatars readable",
    "POLICY storage.objects Robot files: owner",
    "EVENT TRIGGER ensure_rls",
}
"""What `postgres` may make on hosted Supabase by supautils only, which no plain server has."""

_MISSING_THEREFORE = {
    'policy realtime.messages."own channel"',
    'policy storage.objects."Avatars readable"',
    'policy storage.objects."Robot files: owner"',
    "event trigger ensure_rls",
}
"""The same objects as the comparison of the two schemas calls them: all that differs."""


def rows_of(database: Database) -> dict[str, list[str]]:
    """Return the text of every row of every table in scope, sorted, generated columns included."""
    with connect(database.conninfo(), Deadline.never()) as connection:
        return {
            f"{t.schema}.{t.name}": sorted(_rows(connection, qualified(t)))
            for t in list_tables(connection).tables
        }


def differing_tables(source: Database, destination: Database) -> dict[str, tuple[list[str], list[str]]]:
    """Return, by table, the rows that only the source and only the destination has."""
    one, other = rows_of(source), rows_of(destination)
    return {
        name: (
            list((Counter(one.get(name, [])) - Counter(other.get(name, []))).elements())[:3],
            list((Counter(other.get(name, [])) - Counter(one.get(name, []))).elements())[:3],
        )
        for name in one.keys() | other.keys()
        if one.get(name) != other.get(name)
    }


def _rows(connection: Connection, table: str) -> list[str]:
    return [row for (row,) in connection.execute(f"SELECT t::text FROM ONLY {table} AS t")]


@pytest.mark.parametrize("server", ["postgres18", "postgres16"])
def test_every_row_and_definition_of_the_supabase_shape_comes_back(
    server: str,
    request: pytest.FixtureRequest,
    quantforge: MakeDatabase,
    platform_database: MakeDatabase,
    tmp_path: Path,
) -> None:
    """A full and an incremental give back rows, sequences and schema; what cannot be is named."""
    cluster: EmbeddedPostgres = request.getfixturevalue(server)
    source, destination = quantforge(cluster), platform_database(cluster)
    settings = new_repository(tmp_path, source, destination)
    runner = InThisProcess(settings, Deadline.never())
    back_up(runner, "full")
    with connect(source.conninfo(), Deadline.never()) as connection:
        for statement in _CHANGES.strip().splitlines():
            connection.execute(statement)
    incremental = back_up(runner, "incremental")
    assert incremental.totals.extents_reused > 0

    _, steps = restore(runner)

    assert differing_tables(source, destination) == {}
    with (
        connect(source.conninfo(), Deadline.never()) as one,
        connect(destination.conninfo(), Deadline.never()) as other,
    ):
        assert list_sequences(one) == list_sequences(other)
        differing = {finding.object for finding in compare(describe_schema(one), describe_schema(other))}
        objects = [
            c.execute("SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata").fetchall()
            for c in (one, other)
        ]
        secrets = [
            c.execute("SELECT name, decrypted_secret FROM vault.decrypted_secrets").fetchall()
            for c in (one, other)
        ]
    assert objects[0] == objects[1]
    assert secrets[0] == secrets[1]
    refused = {f.object for step in steps for f in step.findings if f.code == "refused-by-platform"}
    assert refused == _FORBIDDEN_BY_THE_PLATFORM
    assert differing == _MISSING_THEREFORE


def test_the_same_in_child_processes_over_the_whole_story(
    quantforge: MakeDatabase, platform_database: MakeDatabase, tmp_path: Path
) -> None:
    """Children do what one process does: back up, verify the content, restore, row for row."""
    source, destination = quantforge(), platform_database()
    settings = new_repository(tmp_path, source, destination)
    runner = InChildren(settings, Deadline.after(120, "test"))

    report = back_up(runner)
    verified = runner.run("verify_backup", VerifyBackup(level="content"), VerificationReport)
    restore(runner, report.backup)

    assert report.kind == "full"
    assert verified.passed
    assert verified.rows_checked == report.totals.rows
    assert differing_tables(source, destination) == {}


def test_a_tls_only_server_is_backed_up_and_restored_with_the_embedded_programs_alone(
    tls_postgres17: TlsServer, quantforge: MakeDatabase, platform_database: MakeDatabase, tmp_path: Path
) -> None:
    """A Postgres 17 that refuses plain connections goes through verified TLS both ways, password and all."""
    source, destination = quantforge(tls_postgres17.server), platform_database(tls_postgres17.server)
    settings = new_repository(
        tmp_path,
        make_conninfo(**tls_postgres17.conninfo(source.name)),
        destination_url=make_conninfo(**tls_postgres17.conninfo(destination.name)),
    )
    runner = InChildren(settings, Deadline.after(120, "test"))

    back_up(runner)
    restore(runner)

    assert differing_tables(source, destination) == {}
