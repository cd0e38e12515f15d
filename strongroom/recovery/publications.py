"""Publications at a destination: the user's are made, and the platform's gets the user's tables. Pure.

Schema-wide publications and those for all tables need a superuser, so every statement is tried apart. For
example:

    findings = attempt_all(connection, publication_statements(decisions, present, role), code="…")
"""

from collections.abc import Iterable

from strongroom.postgres.archive_selection import Decision, Identity, identity
from strongroom.postgres.archive_toc import entry_name
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.statements import Statement
from strongroom.supabase.scope import is_platform_role

_KINDS = ("PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA")


def publication_statements(
    decisions: Iterable[Decision], present: frozenset[Identity], restoring_role: str
) -> list[Statement]:
    """Plan the publications and their tables that are not there yet, in the archive's order."""
    statements = []
    for entry in (d.entry for d in decisions):
        is_comment = entry.description == "COMMENT" and entry.tag.startswith("PUBLICATION ")
        if entry.description not in _KINDS and not is_comment:
            continue
        if is_platform_role(entry.owner) or identity(entry) in present:
            continue
        statements.append(Statement(entry_name(entry), entry.definition.strip().rstrip(";")))
        if entry.description == "PUBLICATION" and entry.owner != restoring_role:
            handed = (
                f"ALTER PUBLICATION {quote_identifier(entry.tag)} OWNER TO {quote_identifier(entry.owner)}"
            )
            statements.append(Statement(f"owner of {entry_name(entry)}", handed))
    return statements
