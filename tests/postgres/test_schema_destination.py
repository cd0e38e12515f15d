"""A destination that cannot take a backup is refused before anything is written, with the reason."""

import datetime as dt

import msgspec
import pytest

from strongroom.deadline import Deadline
from strongroom.errors import (
    DestinationIsSource,
    DestinationNotEmpty,
    DestinationOlder,
    DestinationReadOnly,
    DestinationRightMissing,
    ExtensionMissing,
    PlatformMissing,
    StrongroomError,
)
from strongroom.format.documents import CaptureTotals, Manifest, TableEntry
from strongroom.postgres.connection import connect
from strongroom.postgres.database_facts import Extension
from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.postgres.introspection import read_snapshot_facts
from strongroom.recovery.destination import check_destination
from tests.conftest import MakeDatabase
from tests.databases import Database
from tests.postgres.schema_cycle import Captured, capture, session

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def _manifest(source: Database, captured: Captured) -> Manifest:
    """Make the manifest of a backup of which only what the check reads is filled in."""
    with session(source) as connection:
        snapshot = read_snapshot_facts(connection)
    return Manifest(
        format=1,
        id="b",
        kind="full",
        backup_class="scheduled",
        reason="",
        source="quantforge",
        started_at=NOW,
        finished_at=NOW,
        snapshot=snapshot,
        tables=tuple(TableEntry(facts=t, rows=1, digest="0", parts=()) for t in captured.tables),
        sequences=captured.sequences,
        collections=(),
        documents=(),
        packs=(),
        row_maps=(),
        data_keys=(),
        totals=CaptureTotals(),
    )


def _check(source: Database, destination: Database, **changes: object) -> tuple[str, ...]:
    """Check a destination for the backup of a source; return the codes of the findings."""
    captured = capture(source)
    facts = msgspec.structs.replace(captured.facts, **changes)
    with session(destination) as connection:
        found = check_destination(connection, _manifest(source, captured), facts)
    return tuple(finding.code for finding in found)


def _spoil(destination: Database, statement: str, user: str = "postgres") -> None:
    with session(destination, user) as connection:
        connection.execute(statement.encode())


def test_a_fresh_project_is_taken(quantforge: MakeDatabase, platform_database: MakeDatabase) -> None:
    """A fresh project on the same server takes the backup; roles that are there already are named."""
    assert _check(quantforge(), platform_database()) == ("role-exists", "role-exists")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE TABLE public.left_over (id int)", "relation public.left_over"),
        (
            "CREATE FUNCTION public.left_over() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function public.left_over()",
        ),
        ("CREATE TYPE public.left_over AS ENUM ('a')", "type public.left_over"),
        ("SELECT lo_from_bytea(4711, 'x')", "large object 4711"),
        ("INSERT INTO auth.users (id) VALUES (gen_random_uuid())", "rows in auth.users"),
        ("INSERT INTO storage.buckets (id, name) VALUES ('b', 'b')", "rows in storage.buckets"),
    ],
)
def test_a_destination_that_holds_something_is_refused(
    quantforge: MakeDatabase, platform_database: MakeDatabase, statement: str, named: str
) -> None:
    """Anything of the user's, and rows of the platform's tables, make a destination not empty."""
    destination = platform_database()
    _spoil(destination, statement)
    with pytest.raises(DestinationNotEmpty) as raised:
        _check(quantforge(), destination)
    assert raised.value.context["objects"] == named


def test_what_new_projects_come_with_is_not_the_users(
    quantforge: MakeDatabase, platform_database: MakeDatabase
) -> None:
    """The function that new projects have in schema public does not make them not empty."""
    destination = platform_database()
    _spoil(
        destination,
        "CREATE FUNCTION public.rls_auto_enable() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    )
    assert _check(quantforge(), destination) == ("role-exists", "role-exists")


def test_the_source_itself_is_refused(quantforge: MakeDatabase) -> None:
    """A restore never writes to the database that the backup was taken of."""
    source = quantforge()
    with pytest.raises(DestinationIsSource):
        _check(source, source)


def test_an_older_server_is_refused(
    quantforge: MakeDatabase, platform_database: MakeDatabase, postgres16: EmbeddedPostgres
) -> None:
    """A backup of 18 does not go into 16."""
    with pytest.raises(DestinationOlder) as raised:
        _check(quantforge(), platform_database(postgres16))
    assert raised.value.context == {"source": 18, "destination": 16}


def test_an_extension_that_the_server_lacks_is_named(
    quantforge: MakeDatabase, platform_database: MakeDatabase
) -> None:
    """Extensions that cannot be made are named before anything is written."""
    extensions = (Extension(name="postgis", version="3", schema="extensions"),)
    with pytest.raises(ExtensionMissing) as raised:
        _check(quantforge(), platform_database(), extensions=extensions)
    assert raised.value.context["extensions"] == "postgis"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DROP TABLE auth.mfa_amr_claims", "auth.mfa_amr_claims"),
        ("ALTER TABLE auth.users DROP COLUMN is_anonymous", "auth.users.is_anonymous"),
        ("DROP FUNCTION auth.uid() CASCADE", "function auth.uid()"),
        ("DROP SCHEMA supabase_functions CASCADE", "function supabase_functions.http_request()"),
    ],
)
def test_what_the_platform_lacks_is_named(
    quantforge: MakeDatabase, platform_database: MakeDatabase, statement: str, named: str
) -> None:
    """Platform tables, columns and functions that the backup needs and the destination lacks are named."""
    destination = platform_database()
    _spoil(destination, statement, destination.server.superuser)
    with pytest.raises(PlatformMissing) as raised:
        _check(quantforge(), destination)
    assert named in str(raised.value.context["objects"])


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("ALTER ROLE {role} SET default_transaction_read_only = on", DestinationReadOnly),
        ("REVOKE SET ON PARAMETER session_replication_role FROM {role}", DestinationRightMissing),
    ],
)
def test_a_role_that_cannot_restore_is_refused(
    quantforge: MakeDatabase,
    platform_database: MakeDatabase,
    statement: str,
    kind: type[StrongroomError],
) -> None:
    """A read-only session and a missing right are found before anything is written."""
    source, destination = quantforge(), platform_database()
    captured = capture(source)
    role = f"weak_{destination.name}"
    admin = destination.server.superuser
    _spoil(destination, f"CREATE ROLE {role} LOGIN IN ROLE supabase_privileged_role", admin)
    _spoil(destination, f"GRANT ALL ON DATABASE {destination.name} TO {role}", admin)
    _spoil(destination, f"GRANT SET ON PARAMETER session_replication_role TO {role}", admin)
    _spoil(destination, statement.format(role=role), admin)
    try:
        with (
            pytest.raises(kind),
            connect(destination.conninfo(role), Deadline.never()) as connection,
        ):
            check_destination(connection, _manifest(source, captured), captured.facts)
    finally:
        _spoil(destination, f"DROP OWNED BY {role}", admin)
        _spoil(destination, f"DROP ROLE {role}", admin)
