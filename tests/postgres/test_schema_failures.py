"""What happens when definitions cannot be read or made: nothing is lost silently, nothing half made stays."""

import os
import tempfile
from collections.abc import Iterator

import pytest

from strongroom.deadline import Deadline
from strongroom.errors import (
    DeadlineExceeded,
    DestinationNotEmpty,
    SchemaDumpFailed,
    SchemaRestoreFailed,
    StatementRefused,
)
from strongroom.postgres.archive_selection import select_entries
from strongroom.postgres.archive_toc import read_toc
from strongroom.postgres.connection import connect
from strongroom.postgres.facts_reading import read_facts
from strongroom.postgres.schema_archive import SchemaArchive, dump_schema
from strongroom.recovery.empty_destination import restore_before_rows
from tests.conftest import MakeDatabase
from tests.databases import Database
from tests.postgres.schema_cycle import after, before, capture, copy_rows, differences, session, value


@pytest.fixture
def weak(quantforge: MakeDatabase) -> Iterator[tuple[Database, str]]:
    """Make a database, and a role that reads all of it but two tables."""
    database = quantforge()
    role = f"weak_{database.name}"
    admin = database.server.superuser
    with session(database, admin) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN BYPASSRLS".encode())
        connection.execute(f"GRANT CREATE ON DATABASE {database.name} TO {role}".encode())
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'").fetchall()
        for (schema,) in rows:
            connection.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO {role}'.encode())
            connection.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO {role}'.encode())
        connection.execute(
            f"REVOKE ALL ON public.nothing_in_it, realtime.schema_migrations FROM {role}".encode()
        )
    yield database, role
    with session(database, admin) as connection:
        connection.execute(f"DROP OWNED BY {role}".encode())
        connection.execute(f"DROP ROLE {role}".encode())


def _dump_as(database: Database, role: str) -> SchemaArchive:
    never = Deadline.never()
    with connect(database.conninfo(role), never) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        return dump_schema(database.conninfo(role), str(row[0] if row else ""), never, 18)


def test_tables_that_cannot_be_read_are_left_out_and_named(weak: tuple[Database, str]) -> None:
    """The definitions of all other tables are dumped; what is missing is a finding, graver if it is the user's."""
    database, role = weak
    archive = _dump_as(database, role)
    assert [(f.severity, f.object) for f in archive.findings] == [
        ("error", "public.nothing_in_it"),
        ("info", "realtime.schema_migrations"),
    ]
    tables = {(e.schema, e.tag) for e in read_toc(archive.content) if e.description == "TABLE"}
    assert ("public", "robots") in tables
    assert ("public", "nothing_in_it") not in tables


def test_the_platforms_daily_partitions_are_not_dumped(quantforge: MakeDatabase) -> None:
    """Partitions that the platform drops at any moment do not make pg_dump fail, and are nobody's finding."""
    archive = _dump_as(quantforge(), "postgres")
    names = {e.tag for e in read_toc(archive.content) if e.schema == "realtime" and e.description == "TABLE"}
    assert names == {"messages", "schema_migrations", "subscription"}
    assert archive.findings == ()


def test_a_snapshot_that_is_gone_is_an_error(quantforge: MakeDatabase) -> None:
    """A dump outside the snapshot is refused, not made of another instant."""
    with pytest.raises(Exception, match=r"snapshot|dropped") as raised:
        dump_schema(quantforge().conninfo(), "00000003-0000001B-1", Deadline.never(), 18)
    assert not isinstance(raised.value, SchemaDumpFailed)


def test_a_deadline_ends_a_dump(quantforge: MakeDatabase) -> None:
    """A dump that waits for a lock ends at its deadline."""
    database = quantforge()
    with session(database) as blocker, session(database) as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = holder.execute("SELECT pg_export_snapshot()").fetchone()
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE public.robots IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DeadlineExceeded):
            dump_schema(database.conninfo(), str(row[0] if row else ""), Deadline.after(3, "test"), 18)


def test_what_fails_before_the_rows_leaves_nothing(
    quantforge: MakeDatabase, platform_database: MakeDatabase
) -> None:
    """If one definition cannot be made, none stays, the error names it, and a retry without the cause works."""
    source, destination = quantforge(), platform_database()
    captured = capture(source)
    with session(destination, destination.server.superuser) as connection:
        connection.execute("ALTER FUNCTION auth.uid() RENAME TO uid_away")
    with pytest.raises(SchemaRestoreFailed) as raised:
        before(captured, destination)
    assert raised.value.context["object"] == "TABLE private.audit_log"
    assert (
        value(destination, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0
    )
    with session(destination, destination.server.superuser) as connection:
        connection.execute("ALTER FUNCTION auth.uid_away() RENAME TO uid")
    before(captured, destination)
    copy_rows(captured.tables, source, destination)
    after(captured, destination)
    assert [d for d in differences(source, destination) if "policy" not in d and "event" not in d] == []


def test_rows_that_break_a_foreign_key_fail_the_restore(
    quantforge: MakeDatabase, platform_database: MakeDatabase
) -> None:
    """A missing row is found when its foreign key is made; the error names the key, and no value of a row."""
    source, destination = quantforge(), platform_database()
    captured = capture(source)
    before(captured, destination)
    copy_rows(captured.tables, source, destination)
    with session(destination) as connection:
        connection.execute("DELETE FROM public.symbols WHERE code = 'EURUSD'")
    with pytest.raises(SchemaRestoreFailed) as raised:
        after(captured, destination)
    assert str(raised.value.context["object"]).startswith("FK CONSTRAINT public.")
    assert "EURUSD" not in f"{raised.value} {raised.value.context}"
    with session(destination) as connection:
        connection.execute("INSERT INTO public.symbols (code, class) VALUES ('EURUSD', 'forex')")
    after(captured, destination)
    assert [d for d in differences(source, destination) if "policy" not in d and "event" not in d] == []


def test_a_sequence_that_is_missing_fails_the_restore(
    quantforge: MakeDatabase, platform_database: MakeDatabase
) -> None:
    """A sequence of the user that cannot be set is an error, not a silence."""
    source, destination = quantforge(), platform_database()
    captured = capture(source)
    before(captured, destination)
    copy_rows(captured.tables, source, destination)
    with session(destination) as connection:
        connection.execute("DROP SEQUENCE public.ticket_seq CASCADE")
    with pytest.raises(StatementRefused) as raised:
        after(captured, destination)
    assert raised.value.context["object"] == "sequence public.ticket_seq"


def test_a_destination_with_some_of_the_objects_is_refused(
    quantforge: MakeDatabase, platform_database: MakeDatabase
) -> None:
    """What a restore of ours does not leave behind is not taken for the user's own."""
    captured = capture(quantforge())
    destination = platform_database()
    with session(destination) as connection:
        connection.execute("CREATE TABLE public.robots (id int)")
    with pytest.raises(DestinationNotEmpty) as raised:
        before(captured, destination)
    assert raised.value.context["objects"] == "TABLE public.robots"


def test_no_archive_is_written_to_a_disk(
    quantforge: MakeDatabase, platform_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive reaches pg_restore through memory: a temporary file is never asked for."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("NOT PROVEN: this system has no files in memory")
    captured = capture(quantforge())

    def refuse(**_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    destination = platform_database()
    before(captured, destination)
    after(captured, destination)
    assert value(destination, "SELECT count(*) FROM pg_trigger WHERE tgname = 'robots_audit'") == 1


def test_without_files_in_memory_a_private_file_is_used(
    quantforge: MakeDatabase, platform_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no files in memory, the same is restored."""
    captured = capture(quantforge())
    monkeypatch.delattr(os, "memfd_create", raising=False)
    destination = platform_database()
    restore_before_rows(destination.conninfo(), captured.archive, captured.facts, Deadline.never())
    assert value(destination, "SELECT to_regclass('public.robots') IS NOT NULL") is True


def test_every_entry_has_a_reason(quantforge: MakeDatabase) -> None:
    """Nothing in an archive is passed over without a word."""
    source = quantforge()
    captured = capture(source)
    with session(source) as connection:
        facts = read_facts(connection)
    decisions = select_entries(read_toc(captured.archive), facts, frozenset())
    assert len(decisions) == len(read_toc(captured.archive))
    assert all(decision.reason for decision in decisions)
    attempted = [d.entry.tag for d in decisions if d.action == "attempt"]
    assert attempted == [
        "users on_auth_user_created",
        "messages own channel",
        "objects Avatars readable",
        "objects Robot files: owner",
        "ensure_rls",
    ]
