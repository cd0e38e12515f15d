"""Keeping triggers and rules of tables from acting where the session cannot be a replica.

They are disabled in the transaction and put back, each in the way it was enabled, before its commit: nobody else ever
sees them disabled. The role must own the tables. Foreign keys go on acting, so order matters.
"""

from collections.abc import Iterable, Sequence

from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.comparison import Matched
from strongroom.recovery.live import read_references

_ACTING = """
SELECT 'TRIGGER', tgname::text, tgenabled::text FROM pg_trigger
WHERE tgrelid = %(oid)s AND NOT tgisinternal AND tgenabled IN ('O', 'A')
UNION ALL
SELECT 'RULE', rulename::text, ev_enabled::text FROM pg_rewrite
WHERE ev_class = %(oid)s AND ev_type <> '1' AND ev_enabled IN ('O', 'A')
"""


def silence(connection: Connection, tables: Iterable[Matched]) -> tuple[str, ...]:
    """Disable what acts, put off what can be put off, and return the statements that undo the former."""
    undo = []
    with translated("the triggers"):
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        for table in tables:
            for kind, name, mode in connection.execute(_ACTING, {"oid": table.mapped.live.oid}).fetchall():
                quoted = f"{kind} {quote_identifier(name)}"
                connection.execute(f"ALTER TABLE ONLY {table.live} DISABLE {quoted}")
                always = "ALWAYS " if mode == "A" else ""
                undo.append(f"ALTER TABLE ONLY {table.live} ENABLE {always}{quoted}")
    return tuple(undo)


def unsilence(connection: Connection, statements: Iterable[str]) -> None:
    """Have the foreign keys look at everything, and put triggers and rules back."""
    with translated("the triggers"):
        # A table with checks pending cannot be altered.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for statement in statements:
            connection.execute(statement)


def parents_first(connection: Connection, tables: Sequence[Matched]) -> tuple[Matched, ...]:
    """Order tables so that what is referred to comes first; where they refer to each other, as they are."""
    by_label = {table.mapped.label: table for table in tables}
    parents: dict[str, set[str]] = {label: set() for label in by_label}
    for reference in read_references(connection, [table.mapped.live for table in tables]):
        child = f"{reference.schema}.{reference.table}"
        parent = f"{reference.key.to_schema}.{reference.key.to_table}"
        if child in parents and parent in parents and child != parent:
            parents[child].add(parent)
    ordered: list[Matched] = []
    while parents:
        free = [label for label, above in parents.items() if not above & parents.keys()] or [
            next(iter(parents))
        ]
        for label in free:
            del parents[label]
            ordered.append(by_label[label])
    return tuple(ordered)
