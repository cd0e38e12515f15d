"""A database's definitions as plain values, without oids, so that two databases can be compared.

Everything that is the user's is described: relations, columns, constraints, indexes, triggers, policies,
rules, routines, types, operators, sequences, statistics, publications, comments, and more; from the
database facts come privileges, roles, memberships and settings. For example:

    describe_schema(connection)["column public.robots.name"]["type"] == "text"
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.database_facts import DatabaseFacts, Grant
from strongroom.postgres.description_queries import MANAGED_TOO, QUERIES
from strongroom.postgres.facts_reading import read_facts
from strongroom.postgres.privileges import is_users_grant
from strongroom.supabase.scope import is_managed_schema, is_platform_role

Description: TypeAlias = dict[str, dict[str, Any]]

SERVER = "server"
"""The key under which the server's major version stands."""


def describe_schema(connection: Connection) -> Description:
    """Describe all objects of the user, by kind and qualified name."""
    found: Description = {SERVER: {"major": connection.info.server_version // 10000}}
    with translated("the catalog"):
        for kind, query in QUERIES.items():
            for schema, name, is_platforms, properties in connection.execute(query):
                is_managed = is_managed_schema(schema) or is_platforms
                if not is_managed or (kind in MANAGED_TOO and not is_platforms):
                    found[f"{kind} {name}"] = properties
    found |= _describe_facts(read_facts(connection))
    return found


def _describe_facts(facts: DatabaseFacts) -> Description:
    found = _describe_access(facts)
    for role in facts.roles:
        found[f"role {role.name}"] = {name: getattr(role, name) for name in role.__struct_fields__}
    for m in facts.memberships:
        found[f"membership of {m.member} in {m.role}"] = {
            "admin": m.admin,
            "inherit": m.inherit,
            "set": m.set_role,
        }
    for s in facts.settings:
        if not is_platform_role(s.role) or s.role in {
            "anon",
            "authenticated",
            "authenticator",
            "service_role",
        }:
            name = f"setting {s.name} of {s.role or 'everybody'}" + (
                " in this database" if s.in_database else ""
            )
            found[name] = {"value": s.value}
    for extension in facts.extensions:
        found[f"extension {extension.name}"] = {"schema": extension.schema}
    return found


def _describe_access(facts: DatabaseFacts) -> Description:
    found: Description = {}
    custom = {role.name for role in facts.roles}
    for access in facts.access:
        name = f"access to {access.kind} {access.identity}" + (f".{access.column}" if access.column else "")
        if not access.managed:
            found[name] = {"owner": access.owner, "grants": _grants(access.grants)}
        elif by_user := [
            g for g in access.grants if is_users_grant(access, g) and (g.grantor or g.grantee in custom)
        ]:
            found[name] = {"grants": _grants(by_user)}
    for default in facts.default_access:
        if not is_managed_schema(default.schema) and not is_platform_role(default.role):
            name = f"default access to {default.kind.lower()} of {default.role} in {default.schema or 'all schemas'}"
            found[name] = {"grants": _grants(default.grants)}
    return found


def _grants(grants: Iterable[Grant]) -> list[tuple[str, str, bool]]:
    """Return who may do what, whoever granted it."""
    return sorted({(grant.grantee, grant.privilege, grant.grantable) for grant in grants})
