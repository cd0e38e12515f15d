"""Whose a schema, table or role is: the user's, the platform's with rows to keep, or the platform's. Pure.

Judged by name alone. What a name cannot tell stays with the caller: a table that belongs to an extension
is the extension's, except that the rows of its configuration tables (`pg_extension.extconfig`) are kept.
For example:

    table_scope("public", "robots")            # "user": definition and rows are backed up
    table_scope("auth", "users")               # "managed": rows are backed up, the platform makes the table
    table_scope("realtime", "messages")        # "ignored": the platform's own
"""

import re
from typing import Literal, TypeAlias

TableScope: TypeAlias = Literal["user", "managed", "ignored"]

_PLATFORM_SCHEMAS = frozenset(
    {
        "_analytics",
        "_realtime",
        "_supavisor",
        "auth",
        "cron",
        "dbdev",
        "etl",
        "extensions",
        "graphql",
        "graphql_public",
        "information_schema",
        "net",
        "pgbouncer",
        "pgmq",
        "pgsodium",
        "pgsodium_masks",
        "pgtle",
        "realtime",
        "repack",
        "storage",
        "supabase_functions",
        "supabase_migrations",
        "tiger",
        "topology",
        "vault",
    }
)
# Ours too: what a restore or a recovery keeps in the database while it is under way is nobody's data.
_PLATFORM_SCHEMA_PATTERN = re.compile(
    r"pg_.*|_?timescaledb_.*|strongroom_(?:restore|staging|rollback)", re.DOTALL
)

# Tables with which the platform's services keep their own versions: the destination's are right for it.
_PLATFORM_VERSIONS = frozenset(
    {("auth", "schema_migrations"), ("storage", "migrations"), ("supabase_functions", "migrations")}
)
_MANAGED_SCHEMAS = frozenset({"auth", "storage", "supabase_migrations"})
_MANAGED_TABLES = frozenset({("supabase_functions", "hooks"), ("cron", "job"), ("pgmq", "meta")})
# A queue and its archive; pgmq makes one pair of tables for each queue that the user asks for.
_QUEUE_PATTERN = re.compile(r"[qa]_.+", re.DOTALL)

_PLATFORM_ROUTINES = frozenset({("public", "rls_auto_enable()")})

_RESERVED_ROLES = frozenset(
    {
        "anon",
        "authenticated",
        "authenticator",
        "dashboard_user",
        "pgbouncer",
        "pgtle_admin",
        "postgres",
        "service_role",
    }
)
_RESERVED_ROLE_PATTERN = re.compile(r"pg_.*|supabase_.*|cli_login_.*|pgsodium_key.*", re.DOTALL)


def table_scope(schema: str, table: str) -> TableScope:
    """Say whose the table is; see the module's text for what the three answers mean."""
    if not is_managed_schema(schema) or schema == "extensions":
        # The platform keeps no table in `extensions` that is not an extension's: any other is the user's.
        return "user"
    if (schema, table) in _PLATFORM_VERSIONS:
        return "ignored"
    if schema in _MANAGED_SCHEMAS or (schema, table) in _MANAGED_TABLES:
        return "managed"
    if schema == "pgmq" and _QUEUE_PATTERN.fullmatch(table):
        return "managed"
    return "ignored"


def is_managed_schema(schema: str) -> bool:
    """Tell whether the platform, an extension or Postgres itself makes what is in the schema."""
    return schema in _PLATFORM_SCHEMAS or _PLATFORM_SCHEMA_PATTERN.fullmatch(schema) is not None


def is_reserved_role(role: str) -> bool:
    """Tell whether the role comes with the platform or with Postgres, so that a restore never makes it."""
    return role in _RESERVED_ROLES or _RESERVED_ROLE_PATTERN.fullmatch(role) is not None


def is_platform_role(role: str) -> bool:
    """Tell whether what the role owns is the platform's: a reserved role, but not the user's own `postgres`."""
    return role != "postgres" and is_reserved_role(role)


def is_platform_routine(schema: str, signature: str) -> bool:
    """Tell whether new projects come with this routine, although it is in a schema of the user's."""
    return (schema, signature) in _PLATFORM_ROUTINES
