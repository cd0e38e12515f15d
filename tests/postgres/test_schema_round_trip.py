"""Definitions, privileges and all else that is not a row survive a backup and a restore, as role postgres.

The destination is another cluster, so that roles are made and not found.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.shape import build_platform
from tests.conftest import MakeDatabase
from tests.databases import Database
from tests.postgres.schema_cycle import Captured, after, before, capture, differences, restore, session, value

ODD_OBJECTS = Path(__file__).with_name("odd_objects.sql").read_text(encoding="utf-8")

# Plain Postgres refuses what hosted Supabase allows to role postgres through an extension of its own.
FORBIDDEN = [
    "definition-missing event trigger ensure_rls",
    'definition-missing policy realtime.messages."own channel"',
    'definition-missing policy storage.objects."Avatars readable"',
    'definition-missing policy storage.objects."Robot files: owner"',
]


@pytest.fixture(scope="module")
def other18() -> Iterator[EmbeddedPostgres]:
    """Run a second cluster of Postgres 18."""
    with EmbeddedPostgres(major=18) as server:
        yield server


@pytest.fixture(scope="module")
def other16() -> Iterator[EmbeddedPostgres]:
    """Run a second cluster of Postgres 16."""
    with EmbeddedPostgres(major=16) as server:
        yield server


@pytest.fixture
def odd(quantforge: MakeDatabase) -> Iterator[Database]:
    """Make QuantForge with odd objects; take the roles away again, which all databases share."""
    database = quantforge()
    yield from _with_odd_objects(database)


@pytest.fixture
def odd16(quantforge: MakeDatabase, postgres16: EmbeddedPostgres) -> Iterator[Database]:
    """Make the same on Postgres 16."""
    yield from _with_odd_objects(quantforge(postgres16))


def _with_odd_objects(database: Database) -> Iterator[Database]:
    with session(database) as connection:
        connection.execute("RESET search_path")
        connection.execute(ODD_OBJECTS.encode())
    yield database
    _drop_with_roles(database, ("Owner, Role", "trader"))


def _drop_with_roles(database: Database, roles: tuple[str, ...]) -> None:
    """Drop a database and then the roles that were made with it: all databases of a server share them."""
    admin = Database(database.server, "postgres")
    with session(admin, database.server.superuser) as connection:
        connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)".encode())
        connection.execute("ALTER ROLE anon SET statement_timeout = '3s'")
        for role in roles:
            connection.execute(f'DROP ROLE IF EXISTS "{role}"'.encode())


@pytest.fixture
def fresh(platform_database: MakeDatabase, other18: EmbeddedPostgres) -> Iterator[Database]:
    """Make a fresh project on the second cluster, and forget its custom roles afterwards."""
    database = platform_database(other18)
    yield database
    _drop_with_roles(database, ("Owner, Role", "trader", "quant_worker", "quant_readonly"))


@pytest.fixture
def fresh16(platform_database: MakeDatabase, other16: EmbeddedPostgres) -> Iterator[Database]:
    """Make the same on Postgres 16."""
    database = platform_database(other16)
    yield database
    _drop_with_roles(database, ("Owner, Role", "trader", "quant_worker", "quant_readonly"))


def test_quantforge_comes_back_equal_on_18(quantforge: MakeDatabase, fresh: Database) -> None:
    """Every definition of QuantForge is the same afterwards, but what the platform forbids, which is named."""
    source = quantforge()
    findings = restore(capture(source), source, fresh)
    assert differences(source, fresh) == FORBIDDEN
    assert [f"{f.code} {f.object}" for f in findings if f.severity != "info"] == [
        "role-password-missing role quant_worker",
        "refused-by-platform POLICY realtime.messages own channel",
        "refused-by-platform POLICY storage.objects Avatars readable",
        "refused-by-platform POLICY storage.objects Robot files: owner",
        "refused-by-platform EVENT TRIGGER ensure_rls",
    ]


def test_odd_objects_come_back_equal_on_18(odd: Database, fresh: Database) -> None:
    """Odd names, owners, privileges, roles, settings, aggregates and partitions are the same afterwards."""
    restore(capture(odd), odd, fresh)
    assert differences(odd, fresh) == FORBIDDEN


def test_odd_objects_come_back_equal_on_16(odd16: Database, fresh16: Database) -> None:
    """The same holds on Postgres 16, restored by newer client programs."""
    restore(capture(odd16), odd16, fresh16)
    assert differences(odd16, fresh16) == FORBIDDEN


def test_a_backup_of_16_goes_into_18(odd16: Database, fresh: Database) -> None:
    """A newer server takes the backup; who held everything on a table also holds its new privilege."""
    restore(capture(odd16), odd16, fresh)
    assert differences(odd16, fresh) == FORBIDDEN
    assert value(fresh, "SELECT has_table_privilege('authenticated', 'public.robots', 'MAINTAIN')") is True
    assert value(fresh, "SELECT has_table_privilege('anon', 'public.symbols', 'MAINTAIN')") is False


def test_what_the_official_procedure_loses_is_there(odd: Database, fresh: Database) -> None:
    """Trigger on auth.users, revoked privileges, filled views, large objects, secrets: all are there."""
    restore(capture(odd), odd, fresh)
    queries = {
        "trigger": "SELECT count(*) FROM pg_trigger WHERE tgname IN ('on_auth_user_created', 'webhook')",
        "revoked": "SELECT has_table_privilege('anon', 'public.trades', 'SELECT')",
        "column": "SELECT has_column_privilege('authenticated', 'public.profiles', 'settings', 'UPDATE')",
        "other column": "SELECT has_column_privilege('authenticated', 'public.profiles', 'username', 'UPDATE')",
        "view": "SELECT md5(array_agg(t ORDER BY robot_id)::text) FROM analytics.robot_totals t",
        "small object": "SELECT lo_get(77)",
        "large object": "SELECT md5(lo_get(78))",
        "empty object": "SELECT lo_get(79)",
        "other object": "SELECT md5(lo_get(900001))",
        "secrets": "SELECT array_agg((name, description, decrypted_secret) ORDER BY decrypted_secret)::text"
        " FROM vault.decrypted_secrets",
        "sequence": "SELECT (last_value, is_called)::text FROM public.ticket_seq",
        "uncalled sequence": "SELECT (last_value, is_called)::text FROM public.lonely",
        "auth sequence": "SELECT (last_value, is_called)::text FROM auth.refresh_tokens_id_seq",
        "granted by user": "SELECT has_table_privilege('trader', 'auth.users', 'SELECT')",
        "table among extensions": "SELECT t FROM extensions.of_the_user",
        "realtime": "SELECT array_agg(tablename ORDER BY tablename)::text FROM pg_publication_tables"
        " WHERE pubname = 'supabase_realtime'",
    }
    expected = {name: value(odd, query) for name, query in queries.items()}
    assert {name: value(fresh, query) for name, query in queries.items()} == expected
    assert expected["trigger"] == 2
    assert expected["revoked"] is False


def test_the_restored_sign_up_trigger_works(quantforge: MakeDatabase, fresh: Database) -> None:
    """A new user at the destination gets a profile, as at the source."""
    source = quantforge()
    restore(capture(source), source, fresh)
    with session(fresh) as connection:
        connection.execute(
            "INSERT INTO auth.users (id, email) VALUES ('00000000-0000-0000-0000-00000000beef', 'new@example.org')"
        )
    query = "SELECT count(*) FROM public.profiles WHERE id = '00000000-0000-0000-0000-00000000beef'"
    assert value(fresh, query) == 1


def test_policies_come_back_where_the_platform_allows_them(quantforge: MakeDatabase, fresh: Database) -> None:
    """Where role postgres may make policies on storage.objects, as on hosted Supabase, they are made."""
    source = quantforge()
    with session(fresh, fresh.server.superuser) as connection:
        connection.execute("GRANT supabase_storage_admin, supabase_realtime_admin TO postgres")
    try:
        restore(capture(source), source, fresh)
    finally:
        with session(fresh, fresh.server.superuser) as connection:
            connection.execute("REVOKE supabase_storage_admin, supabase_realtime_admin FROM postgres")
    assert differences(source, fresh) == FORBIDDEN[:1]


def test_both_halves_may_run_again(odd: Database, fresh: Database) -> None:
    """Running each half a second time changes nothing and raises nothing."""
    captured = capture(odd)
    before(captured, fresh)
    restore(captured, odd, fresh)
    before(captured, fresh)
    after(captured, fresh)
    assert differences(odd, fresh) == FORBIDDEN
    assert value(fresh, "SELECT count(*) FROM vault.secrets") == 2


def test_nobody_sees_what_is_being_restored(quantforge: MakeDatabase, fresh: Database) -> None:
    """Until privileges are made, no API role may read a restored table or call a restored function."""
    source = quantforge()
    captured = capture(source)
    before(captured, fresh)
    roles = "(VALUES ('anon'), ('authenticated'), ('service_role'), ('quant_readonly')) AS r (name)"
    tables = f"""SELECT count(*) FROM pg_class c, {roles} WHERE c.relnamespace = 'public'::regnamespace
                 AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege(r.name, c.oid, 'SELECT')"""
    functions = f"""SELECT count(*) FROM pg_proc p, {roles} WHERE p.pronamespace = 'private'::regnamespace
                    AND has_function_privilege(r.name, p.oid, 'EXECUTE')"""
    assert (value(fresh, tables), value(fresh, functions)) == (0, 0)
    assert value(source, tables) != 0


def test_no_finding_holds_a_secret(odd: Database, fresh: Database) -> None:
    """Secrets of the vault, of settings and of roles stand in no finding."""
    with session(odd, odd.server.superuser) as connection:
        connection.execute("ALTER ROLE trader SET app.token = 'setting-secret'")
    captured: Captured = capture(odd)
    findings = captured.findings + restore(captured, odd, fresh)
    said = " ".join(str(finding) for finding in findings)
    assert "setting app.token of role trader" in said
    for secret in ("hunter2", "s3cr3t", "setting-secret", "unknowable-password"):
        assert secret not in said


def test_a_newer_project_that_grants_nothing_gets_the_old_privileges(
    quantforge: MakeDatabase, other18: EmbeddedPostgres
) -> None:
    """Where new tables no longer get grants, the backup's privileges are made; what cannot be is named."""
    source = quantforge()
    destination = Database(other18, "grants_nothing")
    admin = other18.dsn(other18.superuser, "postgres")
    build_platform(admin, destination.name, settings={"auto_expose": "off"})
    try:
        findings = restore(capture(source), source, destination)
        assert differences(source, destination) == FORBIDDEN
    finally:
        _drop_with_roles(destination, ("quant_worker", "quant_readonly"))
    assert [f.object for f in findings if f.code == "default-privileges-differ"] == [
        "default privileges of supabase_admin on functions in schema public",
        "default privileges of supabase_admin on sequences in schema public",
        "default privileges of supabase_admin on tables in schema public",
    ]


def test_what_the_platform_makes_only_when_needed_is_made(quantforge: MakeDatabase, fresh: Database) -> None:
    """A destination without the schema of migrations gets it, with its rows."""
    source = quantforge()
    with session(fresh, fresh.server.superuser) as connection:
        connection.execute("DROP SCHEMA supabase_migrations CASCADE")
    restore(capture(source), source, fresh)
    query = "SELECT array_agg(version)::text FROM supabase_migrations.schema_migrations"
    assert value(fresh, query) == value(source, query)


def test_a_database_without_supabase_comes_back(
    postgres18: EmbeddedPostgres, other18: EmbeddedPostgres
) -> None:
    """A plain database of role postgres goes into a plain database: nothing asks for the platform."""
    source, destination = Database(postgres18, "plain_source"), Database(other18, "plain_destination")
    for database in (source, destination):
        with session(Database(database.server, "postgres"), database.server.superuser) as connection:
            connection.execute(f"CREATE DATABASE {database.name} OWNER postgres".encode())
    try:
        with session(source) as connection:
            connection.execute("CREATE TABLE public.t (id int PRIMARY KEY, x text)")
            connection.execute("INSERT INTO public.t VALUES (1, 'one')")
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        findings = restore(capture(source), source, destination)
        assert differences(source, destination) == []
        assert value(destination, "SELECT x FROM public.t") == "one"
        # Roles are the server's, so those of other databases come with it.
        assert {f.code for f in findings} <= {"role-password-missing"}
    finally:
        _drop_with_roles(source, ())
        _drop_with_roles(destination, ("quant_worker", "quant_readonly"))
