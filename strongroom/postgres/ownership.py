"""Giving objects to their owners. Planning only, pure; run by `recovery.empty_destination`.

A restore makes everything as its own role; what belonged to another is handed over afterwards. For example:

    statements = ownership_statements(facts, read_access(connection), kinds=("table",))
"""

from collections.abc import Iterable

from strongroom.postgres.archive_toc import TocEntry, entry_name
from strongroom.postgres.database_facts import Access, DatabaseFacts
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.privileges import access_key
from strongroom.postgres.statements import Statement
from strongroom.supabase.scope import is_managed_schema

_KEYWORDS = {
    "schema": "SCHEMA",
    # Also for views of both kinds and foreign tables.
    "table": "TABLE",
    "sequence": "SEQUENCE",
    "function": "ROUTINE",
    "type": "TYPE",
    "foreign data wrapper": "FOREIGN DATA WRAPPER",
    "foreign server": "SERVER",
    "large object": "LARGE OBJECT",
}
_WITHOUT_PRIVILEGES = frozenset(
    {
        "COLLATION",
        "CONVERSION",
        "STATISTICS",
        "TEXT SEARCH CONFIGURATION",
        "TEXT SEARCH DICTIONARY",
    }
)
OWNED_IN_ORDER = (
    tuple(kind for kind in _KEYWORDS if kind not in {"sequence", "schema"}),
    ("sequence",),
    ("schema",),
)
"""Kinds that can be handed over together. Schemas last: until then the restoring role works in them."""


def ownership_statements(
    facts: DatabaseFacts, current: Iterable[Access], *, kinds: Iterable[str]
) -> list[Statement]:
    """Plan to hand over what has another owner than in the backup."""
    owners = {access_key(a): a.owner for a in current}
    places = {kind: place for place, kind in enumerate(kinds)}
    wanted = [a for a in facts.access if not a.managed and a.kind in places]
    return [
        Statement(
            f"owner of {a.kind} {a.identity}",
            f"ALTER {_KEYWORDS[a.kind]} {a.identity} OWNER TO {quote_identifier(a.owner)}",
        )
        for a in sorted(wanted, key=lambda a: (places[a.kind], a.identity))
        if owners.get(access_key(a), a.owner) != a.owner
    ]


def other_ownership_statements(entries: Iterable[TocEntry], restoring_role: str) -> list[Statement]:
    """Plan to hand over restored objects that have an owner but no privileges; each may be refused."""
    return [
        Statement(
            f"owner of {entry_name(entry)}",
            f"ALTER {entry.description} {_sql_name(entry)} OWNER TO {quote_identifier(entry.owner)}",
        )
        for entry in entries
        if entry.description in _WITHOUT_PRIVILEGES and entry.owner not in {restoring_role, ""}
    ]


def _sql_name(entry: TocEntry) -> str:
    name = quote_identifier(entry.tag)
    return f"{quote_identifier(entry.schema)}.{name}" if entry.schema else name


def admission_statements(facts: DatabaseFacts) -> list[Statement]:
    """Plan to let custom roles own objects in the user's schemas, until privileges are made exact."""
    custom = {role.name for role in facts.roles}
    owners = sorted({a.owner for a in facts.access} & custom)
    return [
        Statement(
            f"schema {schema.name}",
            f"GRANT USAGE, CREATE ON SCHEMA {quote_identifier(schema.name)} TO {quote_identifier(owner)}",
        )
        for schema in facts.schemas
        if not is_managed_schema(schema.name)
        for owner in owners
    ]
