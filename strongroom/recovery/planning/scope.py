"""Which tables, with which conditions, in which order. Pure.

tables = choose_scope("data_corruption", Wishes(schemas=("public",)), manifest)     # parents first
read_scoped_table("public.trades where robot_id = 7")
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from strongroom.errors import NothingInScope, PlanUnfit
from strongroom.format.documents import Manifest, TableEntry, TableFacts
from strongroom.format.recovery_plans import Scenario, ScopedTable
from strongroom.operations.recovery_messages import Wishes

_PART = r'("(?:[^"]|"")+"|[^\s."]+)'
_NAME = re.compile(rf"\s*(?:{_PART}\.)?{_PART}\s*")
_PLAIN = re.compile(r'[^\s."]+')
_WHERE = re.compile(r"\s+where\s+", re.IGNORECASE)


def label(facts: TableFacts) -> str:
    """Return a table's name for people, the same as `ScopedTable.label`."""
    return f"{facts.schema}.{facts.name}"


def read_scoped_table(text: str) -> ScopedTable:
    """Read a table as people write it: `trades`, `public.trades`, `"My Schema".trades where robot_id = 7`.

    Names are taken as written, not folded; without a schema it is public. Raises `ValueError` with a sentence.
    """
    name, where = text, ""
    divided = _WHERE.split(text, maxsplit=1)
    if len(divided) == 2:
        name, where = divided[0], divided[1].strip()
    match = _NAME.fullmatch(name)
    if match is None or (len(divided) == 2 and not where):
        raise ValueError(
            f"{text!r} is not a table such as public.trades, with a condition after WHERE or without."
        )
    return ScopedTable(schema=_unquoted(match[1] or "public"), name=_unquoted(match[2]), where=where)


def write_scoped_table(table: ScopedTable) -> str:
    """Return what `read_scoped_table` reads as this table."""
    name = f"{_quoted(table.schema)}.{_quoted(table.name)}"
    return f"{name} where {table.where}" if table.where else name


def _quoted(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"'


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def choose_scope(scenario: Scenario, wishes: Wishes, manifest: Manifest) -> tuple[ScopedTable, ...]:
    """Return the tables that are recovered, in the order of their foreign keys, parents first.

    A complete failure takes everything. Otherwise the tables and schemas that were asked for, a table's condition
    counting though its whole schema was asked for too; if none were, all tables of the user's own schemas. Raises
    `NothingInScope`, `PlanUnfit`.
    """
    entries = {label(entry.facts): entry for entry in manifest.tables}
    if scenario == "complete_failure":
        if wishes.tables or wishes.schemas:
            raise PlanUnfit(
                plan="of a complete failure",
                reason="it fills an empty database with everything; single tables and schemas are recovered in place, "
                "with the scenario partial_loss, data_corruption or custom",
            )
        return _in_order(dict.fromkeys(entries, ""), entries)
    wanted: dict[str, str] = {}
    for schema in wishes.schemas:
        wanted |= {label(entry.facts): "" for entry in _of_schema(schema, manifest)}
    if not wishes.tables and not wishes.schemas:
        wanted = {name: "" for name, entry in entries.items() if not entry.facts.managed}
        if not wanted:
            raise NothingInScope(backup=manifest.id, object="table in a schema of the user's")
    named = set()
    for table in wishes.tables:
        if table.label in named:
            raise PlanUnfit(
                plan="as asked for",
                reason=f"{table.label} is named twice; join its conditions by OR in one --where",
            )
        if table.label not in entries:
            raise NothingInScope(
                backup=manifest.id, object=f"table {table.label}{_similar(table.label, entries)}"
            )
        named.add(table.label)
        wanted[table.label] = table.where
    return _in_order(wanted, entries)


def references_left_out(tables: Sequence[ScopedTable], manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Return the tables that rows in scope refer to and that are not in scope, each with who refers to it."""
    scope = {table.label for table in tables}
    found: dict[str, set[str]] = {}
    for entry in manifest.tables:
        for parent in parents(entry.facts) if label(entry.facts) in scope else ():
            if parent not in scope:
                found.setdefault(parent, set()).add(label(entry.facts))
    return {parent: tuple(sorted(found[parent])) for parent in sorted(found)}


def parents(facts: TableFacts) -> list[str]:
    """Return the labels of the tables that a table refers to, sorted, itself left out."""
    names = {f"{key.to_schema}.{key.to_table}" for key in facts.foreign_keys}
    return sorted(names - {label(facts)})


def _of_schema(schema: str, manifest: Manifest) -> list[TableEntry]:
    found = [entry for entry in manifest.tables if entry.facts.schema == schema]
    if not found:
        schemas = sorted({entry.facts.schema for entry in manifest.tables})
        raise NothingInScope(backup=manifest.id, object=f"schema {schema}{_similar(schema, schemas)}")
    return found


def _similar(name: str, names: Iterable[str]) -> str:
    known = {one.casefold(): one for one in sorted(names, reverse=True)}
    close = difflib.get_close_matches(name.casefold(), sorted(known), n=1)
    return f" (it has {known[close[0]]})" if close else ""


def _in_order(wanted: Mapping[str, str], entries: Mapping[str, TableEntry]) -> tuple[ScopedTable, ...]:
    """Put tables after those that they refer to; within a cycle, and else, they stand by their names.

    A walk with a list of its own instead of recursion: chains of references may be longer than the stack.
    """
    done: dict[str, None] = {}
    entered: set[str] = set()
    for first in sorted(wanted):
        open_tables = [first]
        while open_tables:
            name = open_tables[-1]
            if name not in entered:
                entered.add(name)
                # Reversed, since the one put on top is visited first.
                waiting = [parent for parent in parents(entries[name].facts) if parent in wanted]
                open_tables += [parent for parent in reversed(waiting) if parent not in entered]
            else:
                done.setdefault(open_tables.pop(), None)
    return tuple(
        ScopedTable(schema=entries[name].facts.schema, name=entries[name].facts.name, where=wanted[name])
        for name in done
    )
