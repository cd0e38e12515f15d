"""Comparing two databases: what was changed is named, and nothing else."""

from strongroom.postgres.schema_comparison import compare
from strongroom.postgres.schema_description import describe_schema
from tests.conftest import MakeDatabase
from tests.postgres.schema_cycle import differences, session

CHANGES = {
    "ALTER TABLE public.robots ADD COLUMN extra int": ["definition-unexpected column public.robots.extra"],
    "ALTER TABLE public.robots ALTER COLUMN state DROP DEFAULT": [
        "definition-differs column public.robots.state"
    ],
    "ALTER TABLE public.trades ENABLE TRIGGER trades_audit": [
        "definition-differs trigger public.trades.trades_audit"
    ],
    "DROP POLICY robots_admin ON public.robots": [
        "definition-missing comment policy robots_admin on public.robots",
        "definition-missing policy public.robots.robots_admin",
    ],
    "ALTER POLICY robots_admin ON public.robots USING (true)": [
        "definition-differs policy public.robots.robots_admin"
    ],
    "DROP INDEX public.trades_magic_hash": ["definition-missing index public.trades_magic_hash"],
    "ALTER TABLE public.symbols DROP CONSTRAINT symbols_digits_check": [
        "definition-missing constraint public.symbols.symbols_digits_check"
    ],
    "GRANT SELECT ON public.trades TO anon": ["definition-differs access to table public.trades"],
    "GRANT UPDATE (username) ON public.profiles TO authenticated": [
        "definition-unexpected access to column public.profiles.username"
    ],
    "REVOKE SELECT ON public.robots FROM anon": ["definition-differs access to table public.robots"],
    "GRANT EXECUTE ON FUNCTION private.is_admin() TO anon": [
        "definition-differs access to function private.is_admin()"
    ],
    "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA analytics GRANT INSERT ON TABLES TO anon": [
        "definition-differs default access to tables of postgres in analytics"
    ],
    "CREATE OR REPLACE FUNCTION private.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN old; END'": [
        "definition-differs routine private.touch()"
    ],
    "ALTER TYPE public.order_side ADD VALUE 'short'": ["definition-differs type public.order_side"],
    "ALTER SEQUENCE public.ticket_seq INCREMENT 8": ["definition-differs sequence public.ticket_seq"],
    "REFRESH MATERIALIZED VIEW analytics.robot_totals WITH NO DATA": [
        "definition-differs relation analytics.robot_totals"
    ],
    "ALTER TABLE public.trades REPLICA IDENTITY DEFAULT": ["definition-differs relation public.trades"],
    "ALTER TABLE public.robots DISABLE ROW LEVEL SECURITY": ["definition-differs relation public.robots"],
    "ALTER TABLE public.trades RESET (fillfactor)": ["definition-differs relation public.trades"],
    "ALTER TABLE public.robot_versions ALTER COLUMN compiled_ex5 SET STORAGE EXTENDED": [
        "definition-differs column public.robot_versions.compiled_ex5"
    ],
    "ALTER PUBLICATION supabase_realtime DROP TABLE public.trades": [
        "definition-differs publication supabase_realtime"
    ],
    "ALTER PUBLICATION quant_live SET TABLE public.trades": ["definition-differs publication quant_live"],
    "COMMENT ON COLUMN public.trades.magic IS 'other'": [
        "definition-differs comment table column public.trades.magic"
    ],
    "DROP TRIGGER on_auth_user_created ON auth.users": [
        "definition-missing trigger auth.users.on_auth_user_created"
    ],
    "DROP STATISTICS public.backtests_stx": ["definition-missing statistics public.backtests_stx"],
    "DROP RULE live_quotes_no_delete ON public.live_quotes": [
        "definition-missing rule public.live_quotes.live_quotes_no_delete"
    ],
    "ALTER TEXT SEARCH CONFIGURATION public.quant DROP MAPPING FOR int": [
        "definition-differs text search configuration public.quant"
    ],
    "ALTER TABLE public.trades ALTER COLUMN symbol SET STATISTICS -1": [
        "definition-differs column public.trades.symbol"
    ],
    "CREATE SCHEMA more": [
        "definition-unexpected access to schema more",
        "definition-unexpected schema more",
    ],
}


def test_two_copies_are_equal(quantforge: MakeDatabase) -> None:
    """Two databases made alike have no difference, although their oids differ."""
    assert differences(quantforge(), quantforge()) == []


def test_each_change_is_named(quantforge: MakeDatabase) -> None:
    """A change of any kind is found, and nothing else with it."""
    named = {}
    database = quantforge()
    # Only the platform's own roles may drop the trigger on auth.users.
    with session(database, database.server.superuser) as connection:
        base = describe_schema(connection)
        for statement in CHANGES:
            with connection.transaction(force_rollback=True):
                connection.execute(statement.encode())
                found = compare(base, describe_schema(connection))
            named[statement] = [f"{finding.code} {finding.object}" for finding in found]
        assert compare(base, describe_schema(connection)) == []
    assert named == CHANGES
