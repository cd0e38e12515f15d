"""Planning exact privileges: the statements that turn what a destination grants into what the backup says.

Nothing is assumed about what is there: for each object the two sets of (grantee, privilege, grantable) are
compared and only the difference is revoked and granted. The owner grants everything, also what others had
granted in turn. Pure. For example:

    statements = access_statements(facts, read_access(connection), destination_major=18, roles=roles)
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from strongroom.postgres.database_facts import Access, DatabaseFacts, Grant
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.statements import Statement
from strongroom.supabase.scope import is_platform_role

Key: TypeAlias = tuple[str, str, str]
Held: TypeAlias = dict[str, dict[str, bool]]
"""By grantee, the privileges held, and whether each may be granted on."""
Listing: TypeAlias = Callable[[Iterable[str]], str]

_KEYWORDS = {
    "database": "DATABASE",
    "schema": "SCHEMA",
    "table": "TABLE",
    "column": "TABLE",
    "sequence": "SEQUENCE",
    "function": "ROUTINE",
    "type": "TYPE",
    "language": "LANGUAGE",
    "foreign data wrapper": "FOREIGN DATA WRAPPER",
    "foreign server": "FOREIGN SERVER",
    "large object": "LARGE OBJECT",
}
_ALL_ON_TABLES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"})
# Postgres 17 split maintenance off ownership: who held everything on an older server holds this too.
_MAINTAIN_SINCE = 17


def access_key(access: Access) -> Key:
    """Return what names the object in both databases."""
    return (access.kind, access.identity, access.column)


def held(grants: Iterable[Grant]) -> Held:
    """Return who holds what, whoever granted it."""
    found: Held = {}
    for grant in grants:
        privileges = found.setdefault(grant.grantee, {})
        privileges[grant.privilege] = privileges.get(grant.privilege, False) or grant.grantable
    return found


def with_maintain(by_grantee: Held, *, source_major: int, destination_major: int) -> Held:
    """Add MAINTAIN for who held all that there was on a table, if the destination is the first to know it."""
    if source_major >= _MAINTAIN_SINCE or destination_major < _MAINTAIN_SINCE:
        return by_grantee
    return {
        grantee: (
            {**privileges, "MAINTAIN": all(privileges.values())}
            if privileges.keys() >= _ALL_ON_TABLES
            else privileges
        )
        for grantee, privileges in by_grantee.items()
    }


def access_statements(
    facts: DatabaseFacts,
    current: Iterable[Access],
    *,
    destination_major: int,
    roles: frozenset[str],
    columns: bool,
) -> list[Statement]:
    """Plan the exact privileges on the user's objects, columns apart: revoking from a table reaches them.

    Objects that the destination lacks and grantees that it has no role for are left out; who compares the
    two databases afterwards finds them.
    """
    present = {access_key(a): a for a in current if not a.managed and (a.kind == "column") == columns}
    wanted = {access_key(a): a for a in facts.access if not a.managed and (a.kind == "column") == columns}
    tables = {a.identity for a in facts.access if not a.managed and a.kind == "table"}
    statements: list[Statement] = []
    for key in sorted(wanted.keys() | present.keys()):
        want, have = wanted.get(key), present.get(key)
        if want is None and (not columns or key[1] not in tables):
            continue
        if have is None and not columns:
            continue
        holders = _holders(want, have, facts, destination_major) if want else {}
        holders = {grantee: p for grantee, p in holders.items() if grantee in roles or not grantee}
        statements += changes(key, held(have.grants) if have else {}, holders)
    return statements


def _holders(want: Access, have: Access | None, facts: DatabaseFacts, destination_major: int) -> Held:
    """Return who should hold what; an owner that could not be set is stood for by the one that is there."""
    holders = held(want.grants)
    if want.kind == "table":
        holders = with_maintain(
            holders, source_major=facts.server_version // 10000, destination_major=destination_major
        )
    if have is not None and have.owner != want.owner:
        holders[have.owner] = holders.pop(want.owner, {}) | holders.get(have.owner, {})
    return holders


def managed_statements(
    facts: DatabaseFacts, current: Iterable[Access], *, roles: frozenset[str], database: str
) -> list[Statement]:
    """Plan what the user granted on the platform's objects and the destination lacks; each may be refused.

    Nothing is revoked there, except from PUBLIC on the database itself.
    """
    present = {access_key(a): held(a.grants) for a in current}
    statements: list[Statement] = []
    for want in facts.access:
        key = access_key(want)
        if not want.managed or (key not in present and want.kind != "column"):
            continue
        have = present.get(key, {})
        mine = held(grant for grant in want.grants if is_users_grant(want, grant))
        lacking = {
            grantee: {p: may for p, may in privileges.items() if p not in have.get(grantee, {})}
            for grantee, privileges in mine.items()
            if grantee in roles or not grantee
        }
        surplus: Held = {}
        if want.kind == "database":
            key = (want.kind, quote_identifier(database), "")
            surplus = {"": {p: may for p, may in have.get("", {}).items() if p not in mine.get("", {})}}
        statements += changes(key, surplus, lacking)
    return statements


def is_users_grant(access: Access, grant: Grant) -> bool:
    """Tell whether the user, not the platform, granted it."""
    return not is_platform_role(grant.grantor or access.owner)


def changes(key: Key, have: Held, want: Held) -> list[Statement]:
    """Return the statements that turn `have` into `want` on one object."""
    kind, identity, column = key
    name = f"{kind} {identity}" + (f".{column}" if column else "")
    place = f"{_KEYWORDS[kind]} {identity}"
    part = f" ({quote_identifier(column)})" if column else ""
    return [
        Statement(f"privileges on {name}", sql)
        for sql in grant_changes(have, want, lambda privileges: _privileges(privileges, part), place, "")
    ]


def _privileges(privileges: Iterable[str], part: str) -> str:
    return ", ".join(f"{privilege}{part}" for privilege in sorted(privileges))


def grant_changes(have: Held, want: Held, listed: Listing, place: str, prefix: str) -> list[str]:
    """Return REVOKE and GRANT for each grantee whose privileges differ; `prefix` goes in front of both."""
    found: list[str] = []
    for grantee in sorted(have.keys() | want.keys()):
        old, new = have.get(grantee, {}), want.get(grantee, {})
        role = quote_identifier(grantee) if grantee else "PUBLIC"
        # Taking away only the right to grant on is done by taking away and giving again.
        lost = [p for p in old if p not in new or (old[p] and not new[p])]
        if lost:
            found.append(f"{prefix}REVOKE {listed(lost)} ON {place} FROM {role} CASCADE")
        for grantable in (False, True):
            gained = [p for p in new if new[p] is grantable and (p in lost or old.get(p) is not grantable)]
            if gained:
                option = " WITH GRANT OPTION" if grantable else ""
                found.append(f"{prefix}GRANT {listed(gained)} ON {place} TO {role}{option}")
    return found
