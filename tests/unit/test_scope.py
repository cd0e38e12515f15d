"""Whose a schema, a table, or a role is."""

import pytest

from strongroom.supabase.scope import (
    TableScope,
    is_managed_schema,
    is_platform_role,
    is_platform_routine,
    is_reserved_role,
    table_scope,
)


@pytest.mark.parametrize(
    ("schema", "table", "scope"),
    [
        ("public", "robots", "user"),
        ("Public", "users", "user"),
        ("auth ", "users", "user"),
        ("auth_custom", "users", "user"),
        ('odd "name"\n', "t", "user"),
        ("pgmq_public", "t", "user"),
        ("tiger_data", "us_edges", "user"),
        ("extensions", "of_the_user", "user"),
        ("auth", "users", "managed"),
        ("auth", "made_tomorrow", "managed"),
        ("auth", "schema_migrations", "ignored"),
        ("storage", "objects", "managed"),
        ("storage", "migrations", "ignored"),
        ("supabase_functions", "hooks", "managed"),
        ("supabase_functions", "migrations", "ignored"),
        ("supabase_migrations", "schema_migrations", "managed"),
        ("cron", "job", "managed"),
        ("cron", "job_run_details", "ignored"),
        ("pgmq", "q_orders", "managed"),
        ("pgmq", "a_orders", "managed"),
        ("pgmq", "meta", "managed"),
        ("pgmq", "notify_insert_throttle", "ignored"),
        ("realtime", "messages", "ignored"),
        ("realtime", "messages_2026_11_21", "ignored"),
        ("vault", "secrets", "ignored"),
        ("net", "_http_response", "ignored"),
        ("_analytics", "t", "ignored"),
        ("_timescaledb_catalog", "hypertable", "ignored"),
        ("timescaledb_information", "jobs", "ignored"),
        ("pg_temp_3", "t", "ignored"),
        ("information_schema", "sql_parts", "ignored"),
        ("strongroom_staging", "rows_0", "ignored"),
        ("strongroom_rollback", "run", "ignored"),
        ("strongroom_restore", "restores", "ignored"),
        ("strongroom_app", "of_the_user", "user"),
    ],
)
def test_every_table_has_one_scope(schema: str, table: str, scope: TableScope) -> None:
    """Odd and similar names are the user's; the platform's tables are kept or ignored one by one."""
    assert table_scope(schema, table) == scope


def test_a_schema_of_the_user_is_not_managed() -> None:
    """Only exact names and the reserved prefixes are the platform's."""
    assert [is_managed_schema(s) for s in ("public", "vaults", "authx", "pg_toast", "vault")] == [
        False,
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("role", "reserved", "platforms"),
    [
        ("postgres", True, False),
        ("anon", True, True),
        ("supabase_admin", True, True),
        ("cli_login_postgres", True, True),
        ("pg_read_all_data", True, True),
        ("pgsodium_keyiduser", True, True),
        ("quant_worker", False, False),
        ("supabase", False, False),
        ("anonymous", False, False),
    ],
)
def test_a_role_is_reserved_by_name(role: str, reserved: bool, platforms: bool) -> None:
    """`postgres` is reserved, but what it owns is the user's."""
    assert (is_reserved_role(role), is_platform_role(role)) == (reserved, platforms)


def test_one_routine_of_schema_public_is_the_platforms() -> None:
    """New projects come with one function in a schema of the user's."""
    assert is_platform_routine("public", "rls_auto_enable()")
    assert not is_platform_routine("public", "rls_auto_enable(integer)")
