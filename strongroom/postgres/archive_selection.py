"""Deciding, entry by entry, who restores what a pg_dump archive holds. Pure.

pg_restore makes the user's objects; roles, privileges, extensions, schemas, publications and the like are
made by our own code from the database facts; the platform's objects are the destination's own. What the
user attached to the platform's objects may be refused there, so each such statement is tried apart. For
example:

    decisions = select_entries(read_toc(archive), facts, present)
    [d.entry.dump_id for d in decisions if d.action == "restore" and d.entry.phase == "pre-data"]
"""

from collections.abc import Callable, Iterable, Sequence
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
    attached: set[tuple[str, str, str]] = {(a.kind, a.schema, a.tag) for a in facts.attachments}
    actions: dict[int, Action] = {}
    decisions = []
    for entry in entries:
        # A comment, a default or the like goes the way of the object that it belongs to.
        followed = next(
            (actions[i] for i in entry.depends_on if actions.get(i) in {"restore", "attempt"}), None
        )
        is_attached = (entry.description, entry.schema, entry.tag) in attached
        case = _Case(entry, is_attached, identity(entry) in present, followed)
        action, reason = next(answer for rule in _RULES if (answer := rule(case)) is not None)
        actions[entry.dump_id] = action
        decisions.append(Decision(entry, action, reason))
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


# ---------------------------------------------------------------- the rules: the first that answers decides


@dataclass(frozen=True, slots=True)
class _Case:
    """An entry, and what was found out about it."""

    entry: TocEntry
    is_attached: bool
    is_present: bool
    followed: Action | None


_Answer: TypeAlias = tuple[Action, str] | None


def _attachment(case: _Case) -> _Answer:
    """Judge what the user put on the platform's objects, and the event triggers that the user did not make."""
    if case.is_attached:
        if case.is_present:
            return "platform", "the destination has one of this name"
        return "attempt", "the user's, on an object of the platform"
    if case.entry.description == "EVENT TRIGGER":
        return "platform", "an event trigger of the platform"
    return None


def _made_by_us(case: _Case) -> _Answer:
    """Judge what our own code makes, and what describes it."""
    if case.entry.description in _OWN:
        return "own", _OWN[case.entry.description]
    if case.entry.description == "COMMENT" and case.entry.tag.startswith(_OWN_COMMENTS):
        return (case.followed, "describes what is made") if case.followed else ("own", "goes with its object")
    if case.entry.description == "SECURITY LABEL":
        return "attempt", "its provider may be missing"
    return None


def _in_managed_schema(case: _Case) -> _Answer:
    """Judge what lies in a schema of the platform."""
    entry = case.entry
    if not is_managed_schema(_schema_of(entry)):
        return None
    if is_platform_role(entry.owner) and case.followed != "attempt":
        return "platform", "belongs to a role of the platform"
    if case.is_present:
        return "platform", "the destination has its own"
    if identity(entry) is None and case.followed is None:
        return "platform", "describes an object of the platform"
    if entry.schema in _OPEN_SCHEMAS and case.followed != "attempt":
        return "restore", "the user's, in a schema that is open to the user"
    return "attempt", "the user's, in a schema of the platform"


def _anywhere_else(case: _Case) -> _Answer:
    """Judge the rest: the user's, but for few exceptions."""
    entry = case.entry
    if case.is_present and is_platform_routine(entry.schema, entry.tag):
        return "platform", "the platform's, though in a schema of the user"
    if not entry.schema and is_platform_role(entry.owner):
        return "platform", "belongs to a role of the platform"
    return "restore", "the user's"


def _schema_of(entry: TocEntry) -> str:
    """Return the schema that an entry is in or, for a schema's comment, about."""
    if entry.description == "COMMENT" and entry.tag.startswith("SCHEMA "):
        return entry.tag.removeprefix("SCHEMA ")
    return entry.schema


_RULES: tuple[Callable[[_Case], _Answer], ...] = (
    _attachment,
    _made_by_us,
    _in_managed_schema,
    _anywhere_else,
)


def stages_of_indexes(entries: Sequence[TocEntry]) -> tuple[list[TocEntry], ...]:
    """Divide what is made after the rows: what needs no index of partitions, their attachments, and the rest.

    Each partition's index is attached to that of the whole, which becomes valid with the last one. Attached by two
    sessions at once, on partitions of partitions, it may stay invalid for ever, and nobody is told: so attachments
    have a stage of their own, which is for one session. They read and write the catalog only.
    """
    attached = [entry for entry in entries if entry.description == "INDEX ATTACH"]
    awaited = {entry.dump_id for entry in attached}
    before: list[TocEntry] = []
    after: list[TocEntry] = []
    for entry in entries:
        if entry.description == "INDEX ATTACH":
            continue
        waits = not awaited.isdisjoint(entry.depends_on)
        awaited |= {entry.dump_id} if waits else set()
        (after if waits else before).append(entry)
    return before, attached, after
