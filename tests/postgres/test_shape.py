"""The Supabase shape: what hosted projects have, and what role `postgres` may and may not do in it."""

import psycopg
import pytest

from strongroom.postgres.embedded import EmbeddedPostgres
from strongroom.shape import build_platform, build_shape
from tests.databases import Database, MakeDatabase


def ask(database: Database, query: str) -> list[object]:
    """Return the first column of a query that role `postgres` asks."""
    with psycopg.connect(database.dsn()) as connection:
        return [row[0] for row in connection.execute(query.encode())]


@pytest.mark.parametrize("major", [16, 18])
def test_customer_is_no_superuser(
    major: int, quantforge: MakeDatabase, request: pytest.FixtureRequest
) -> None:
    """Role `postgres` bypasses row security and is no superuser, as on hosted projects."""
    database = quantforge(request.getfixturevalue(f"postgres{major}"))
    assert ask(database, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [False]
    assert ask(database, "SELECT rolbypassrls FROM pg_roles WHERE rolname = current_user") == [True]
    assert ask(database, "SELECT count(*) > 10000 FROM public.trades") == [True]


def test_managed_tables_belong_to_the_platform(quantforge: MakeDatabase) -> None:
    """Role `postgres` writes rows of auth.users, and may not change the table."""
    database = quantforge()
    owner = "SELECT tableowner FROM pg_tables WHERE (schemaname, tablename) = ('auth', 'users')"
    assert ask(database, owner) == ["supabase_auth_admin"]
    with psycopg.connect(database.dsn()) as connection:
        connection.execute("UPDATE auth.users SET phone_change = ''")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER TABLE auth.users ADD COLUMN mine int")


def test_platform_has_no_application(platform_database: MakeDatabase) -> None:
    """A fresh project has the managed schemas and nothing in public."""
    database = platform_database()
    tables = "SELECT count(*)::int FROM pg_tables WHERE schemaname = '{}'"
    assert ask(database, tables.format("public")) == [0]
    assert ask(database, tables.format("auth") + " HAVING count(*) > 0") != []


def test_copy_is_like_the_original(postgres18: EmbeddedPostgres, platform_database: MakeDatabase) -> None:
    """A test's copy has the grants and the settings of a database that was built directly."""
    admin = postgres18.dsn("supabase_admin", "postgres")
    build_platform(admin, "built_directly")
    facts = (
        "SELECT (d.datacl::text, r.rolname, s.setconfig)::text FROM pg_database AS d"
        " JOIN pg_roles AS r ON r.oid = datdba LEFT JOIN pg_db_role_setting AS s ON setdatabase = d.oid"
        " WHERE datname = "
    )
    copy = platform_database()
    try:
        assert ask(copy, f"{facts}'{copy.name}'") == ask(copy, f"{facts}'built_directly'")
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("DROP DATABASE built_directly")


def test_knobs_are_taken(postgres18: EmbeddedPostgres) -> None:
    """The knob `auto_expose` decides whether new tables are open to the API's roles."""
    admin = postgres18.dsn("supabase_admin", "postgres")
    try:
        for value, expected in (("on", True), ("off", False)):
            build_shape(admin, "exposed", app=False, settings={"auto_expose": value})
            with psycopg.connect(postgres18.dsn("postgres", "exposed")) as connection:
                connection.execute("CREATE TABLE public.fresh (id int)")
                allowed = connection.execute("SELECT has_table_privilege('anon', 'public.fresh', 'SELECT')")
                assert allowed.fetchone() == (expected,)
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS exposed")
