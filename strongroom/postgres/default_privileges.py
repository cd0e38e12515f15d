"""Default privileges: neutral while a restore makes objects, exact afterwards. Planning only, pure.

Neutral means that new objects are their owner's alone, so that nobody reads a half-restored database. An
entry for a schema adds to what everywhere applies; an entry for everywhere replaces Postgres's default. For
example:

    statements, findings = default_statements(facts, current, restoring_role="postgres", …)
"""

from collections.abc import Iterable
from typing import TypeAlias

from strongroom.format.documents import Finding
from strongroom.postgres.database_facts import DatabaseFacts, DefaultAccess
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.privileges import Held, grant_changes, held, with_maintain
from strongroom.postgres.statements import Statement
from strongroom.supabase.scope import is_managed_schema, is_platform_role

Key: TypeAlias = tuple[str, str, str]

_OWNERS = {
    "TABLES": ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"),
    "SEQUENCES": ("SELECT", "USAGE", "UPDATE"),
    "FUNCTIONS": ("EXECUTE",),
    "TYPES": ("USAGE",),
    "SCHEMAS": ("USAGE", "CREATE"),
    "LARGE OBJECTS": ("SELECT", "UPDATE"),
}
_PUBLICS = {"FUNCTIONS": "EXECUTE", "TYPES": "USAGE"}
_NEUTRAL_KINDS = ("TABLES", "SEQUENCES", "FUNCTIONS")


def neutral_statements(
    current: Iterable[DefaultAccess], role: str, *, destination_major: int
) -> list[Statement]:
    """Plan that what `role` makes from now on is its own alone."""
    present = {_key(d): held(d.grants) for d in current if d.role == role and not is_managed_schema(d.schema)}
    keys = present.keys() | {(role, "", kind) for kind in _NEUTRAL_KINDS}
    statements: list[Statement] = []
    for key in sorted(keys):
        have = present.get(key) or _usual(key, destination_major)
        owner = {role: _usual(key, destination_major)[role]} if not key[1] else {}
        statements += _changes(key, have, owner)
    return statements


def default_statements(
    facts: DatabaseFacts,
    current: Iterable[DefaultAccess],
    *,
    restoring_role: str,
    destination_major: int,
    roles: frozenset[str],
) -> tuple[list[Statement], tuple[Finding, ...]]:
    """Plan the backup's default privileges; those of the platform's roles are only compared."""
    source_major = facts.server_version // 10000
    present = {_key(d): held(d.grants) for d in current}
    wanted = {
        _key(d): with_maintain(held(d.grants), source_major=source_major, destination_major=destination_major)
        if d.kind == "TABLES"
        else held(d.grants)
        for d in facts.default_access
        if d.role in roles
    }
    statements: list[Statement] = []
    findings: list[Finding] = []
    for key in sorted(present.keys() | wanted.keys()):
        if is_managed_schema(key[1]):
            continue
        have = present.get(key) or _usual(key, destination_major)
        want = wanted.get(key) or _usual(key, destination_major)
        want = {
            grantee: privileges for grantee, privileges in want.items() if grantee in roles or not grantee
        }
        changes = _changes(key, have, want)
        if changes and is_platform_role(key[0]) and key[0] != restoring_role:
            findings.append(_not_ours(key, changes))
        else:
            statements += changes
    return statements, tuple(findings)


def _key(access: DefaultAccess) -> Key:
    return (access.role, access.schema, access.kind)


def _usual(key: Key, major: int) -> Held:
    """Return what applies without an entry: nothing is added in a schema, Postgres's default everywhere."""
    role, schema, kind = key
    if schema:
        return {}
    found: Held = {role: dict.fromkeys(_OWNERS[kind], False)}
    if kind == "TABLES":
        found = with_maintain(found, source_major=0, destination_major=major)
    if kind in _PUBLICS:
        found[""] = {_PUBLICS[kind]: False}
    return found


def _changes(key: Key, have: Held, want: Held) -> list[Statement]:
    role, schema, kind = key
    where = f" IN SCHEMA {quote_identifier(schema)}" if schema else ""
    prefix = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quote_identifier(role)}{where} "
    name = f"default privileges of {role} on {kind.lower()}" + (f" in schema {schema}" if schema else "")
    return [
        Statement(name, sql)
        for sql in grant_changes(have, want, lambda privileges: ", ".join(sorted(privileges)), kind, prefix)
    ]


def _not_ours(key: Key, changes: list[Statement]) -> Finding:
    return Finding(
        severity="warning",
        code="default-privileges-differ",
        object=changes[0].object,
        expected="as in the backup",
        observed=f"the destination's own; {key[0]} is a role of the platform, which others may not alter",
        advice="Objects that this role will make get other privileges than at the source: "
        + "; ".join(statement.sql for statement in changes),
    )
