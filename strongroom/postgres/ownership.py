"""Giving objects to their owners. Planning only, pure; run by `recovery.empty_destination`.

A restore makes everything as its own role; what belonged to another is handed over afterwards. For example:

    statements = ownership_statements(facts, read_access(connection), roles, "postgres")
"""

from collections.abc import Iterable

from strongroom.postgres.database_facts import Access, DatabaseFacts
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.privileges import access_key
from strongroom.postgres.statements import Statement

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
# The owner of a schema last: until then the role that restores may make and change objects in it.
_ORDER = (*(kind for kind in _KEYWORDS if kind != "schema"), "schema")


def ownership_statements(
    facts: DatabaseFacts, current: Iterable[Access], *, kinds: Iterable[str] = _ORDER
) -> list[Statement]:
    """Plan to hand over what has another owner than in the backup.

    Sequences that belong to a column follow their table: plan them apart, when the tables are done.
    """
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
