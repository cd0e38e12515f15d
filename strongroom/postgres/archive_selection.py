"""Deciding, entry by entry, who restores what a pg_dump archive holds. Pure.

pg_restore makes the user's objects; roles, privileges, extensions, schemas, publications and the like are
made by our own code from the database facts; the platform's objects are the destination's own. What the
user attached to the platform's objects may be refused there, so each such statement is tried apart. For
example:

    decisions = select_entries(read_toc(archive), facts, present)
    [d.entry.dump_id for d in decisions if d.action == "restore" and d.entry.phase == "pre-data"]
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from strongroom.postgres.archive_toc import TocEntry
from strongroom.postgres.database_facts import DatabaseFacts
from strongroom.supabase.scope import is_managed_schema, is_platform_role, is_platform_routine

Action: TypeAlias = Literal["restore", "attempt", "own", "platform"]
Identity: TypeAlias = tuple[str, str, str]
"""What is compared with a destination: class of object, schema, and name as pg_dump tags it."""

_CLASSES = {
    "TABLE": "RELATION",
    "VIEW": "RELATION",
    "MATERIALIZED VIEW": "RELATION",
    "FOREIGN TABLE": "RELATION",
    "SEQUENCE": "RELATION",
    "INDEX": "RELATION",
    "FUNCTION": "ROUTINE",
    "PROCEDURE": "ROUTINE",
    "AGGREGATE": "ROUTINE",
    "TYPE": "TYPE",
    "SHELL TYPE": "TYPE",
    "DOMAIN": "TYPE",
    "CONSTRAINT": "CONSTRAINT",
    "FK CONSTRAINT": "CONSTRAINT",
    "CHECK CONSTRAINT": "CONSTRAINT",
    "TRIGGER": "TRIGGER",
    "POLICY": "POLICY",
    "RULE": "RULE",
    "STATISTICS": "STATISTICS",
    "EVENT TRIGGER": "EVENT TRIGGER",
    "PUBLICATION": "PUBLICATION",
    "PUBLICATION TABLE": "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA": "PUBLICATION TABLE",
}

_OWN = {
    "ACL": "privileges are made exact afterwards",
    "DEFAULT ACL": "default privileges are made exact afterwards",
    "DATABASE": "the destination's database is there already",
    "DATABASE PROPERTIES": "settings of the database are made from the facts",
    "EXTENSION": "extensions are made from the facts",
    "SCHEMA": "schemas are made from the facts",
    "PUBLICATION": "publications are made after the rows",
    "PUBLICATION TABLE": "publications are made after the rows",
    "PUBLICATION TABLES IN SCHEMA": "publications are made after the rows",
    "SUBSCRIPTION": "a restore must not start to subscribe",
    "SUBSCRIPTION TABLE": "a restore must not start to subscribe",
    "TABLE DATA": "rows are restored apart",
    "SEQUENCE SET": "sequences are set apart",
    "BLOB": "large objects are restored apart",
    "BLOBS": "large objects are restored apart",
    "BLOB METADATA": "large objects are restored apart",
    "MATERIALIZED VIEW DATA": "materialised views are refreshed afterwards",
    "STATISTICS DATA": "statistics are gathered at the destination",
}
_OWN_COMMENTS = ("EXTENSION ", "PUBLICATION ", "EVENT TRIGGER ", "DATABASE ", "LARGE OBJECT ")

# Schemas of the platform in which role postgres may make objects, and in which users do.
_OPEN_SCHEMAS = frozenset({"extensions", "supabase_migrations"})


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with an entry, and why.

    restore: pg_restore makes it. attempt: our code runs its statement apart, and a refusal is a finding.
    own: our code does what it stands for. platform: the destination has its own.
    """

    entry: TocEntry
    action: Action
    reason: str


def select_entries(
    entries: Iterable[TocEntry], facts: DatabaseFacts, present: frozenset[Identity]
) -> tuple[Decision, ...]:
    """Decide about all entries, in order; `present` is what the destination already has."""
    attached = {(a.kind, a.schema, a.tag) for a in facts.attachments}
    actions: dict[int, Action] = {}
    decisions = []
    for entry in entries:
        # A comment, a default or the like goes the way of the object that it belongs to.
        followed = next(
            (actions[i] for i in entry.depends_on if actions.get(i) in {"restore", "attempt"}), None
        )
        decision = _decide(entry, attached, present, followed)
        actions[entry.dump_id] = decision.action
        decisions.append(decision)
    return tuple(decisions)


def identity(entry: TocEntry) -> Identity | None:
    """Return what the entry makes; None for what only changes or describes something."""
    kind = _CLASSES.get(entry.description)
    return None if kind is None else (kind, entry.schema, entry.tag)


def is_remade_safely(entry: TocEntry) -> bool:
    """Tell whether the entry's statement may run again where its object exists already."""
    made = identity(entry)
    # A trigger of a partition is made with its parent's; its own entry then only sets whether it fires.
    return made is None or (made[0] == "TRIGGER" and not entry.definition.lstrip().startswith("CREATE"))


def _decide(
    entry: TocEntry,
    attached: set[tuple[str, str, str]],
    present: frozenset[Identity],
    followed: Action | None,
) -> Decision:
    is_present = identity(entry) in present
    if (entry.description, entry.schema, entry.tag) in attached:
        if is_present:
            return Decision(entry, "platform", "the destination has one of this name")
        return Decision(entry, "attempt", "the user's, on an object of the platform")
    if entry.description == "EVENT TRIGGER":
        return Decision(entry, "platform", "an event trigger of the platform")
    if entry.description in _OWN:
        return Decision(entry, "own", _OWN[entry.description])
    if entry.description == "COMMENT" and entry.tag.startswith(_OWN_COMMENTS):
        if followed is None:
            return Decision(entry, "own", "follows what our own code makes")
        return Decision(entry, followed, "describes an object that is made")
    if entry.description == "SECURITY LABEL":
        return Decision(entry, "attempt", "its provider may be missing")
    if is_managed_schema(_schema_of(entry)):
        return _decide_managed(entry, followed, is_present=is_present)
    if is_present and is_platform_routine(entry.schema, entry.tag):
        return Decision(entry, "platform", "the platform's, though in a schema of the user")
    if not entry.schema and is_platform_role(entry.owner):
        return Decision(entry, "platform", "belongs to a role of the platform")
    return Decision(entry, "restore", "the user's")


def _decide_managed(entry: TocEntry, followed: Action | None, *, is_present: bool) -> Decision:
    """Decide about an entry in a schema of the platform."""
    if is_platform_role(entry.owner):
        if followed == "attempt":
            return Decision(entry, "attempt", "describes what the user made there")
        return Decision(entry, "platform", "belongs to a role of the platform")
    if is_present:
        return Decision(entry, "platform", "the destination has its own")
    if identity(entry) is None and followed is None:
        return Decision(entry, "platform", "describes an object of the platform")
    if entry.schema in _OPEN_SCHEMAS and followed != "attempt":
        return Decision(entry, "restore", "the user's, in a schema that is open to the user")
    return Decision(entry, "attempt", "the user's, in a schema of the platform")


def _schema_of(entry: TocEntry) -> str:
    """Return the schema that an entry is in or, for a schema's comment, about."""
    if entry.description == "COMMENT" and entry.tag.startswith("SCHEMA "):
        return entry.tag.removeprefix("SCHEMA ")
    return entry.schema
