"""How a table of a backup and the live table of the same name fit together. Pure.

Made once for each table in scope and used by everything that stages, compares and reconciles:

    mapped = map_table(number, entry.facts, scoped.where, live)      # raises `SchemaDrifted`
"""

import re
from dataclasses import dataclass

from strongroom.errors import SchemaDrifted
from strongroom.format.documents import ForeignKey, TableFacts
from strongroom.postgres.digest import captured_columns


@dataclass(frozen=True)
class LiveColumn:
    """A column as the live database has it; `collation` is quoted SQL, empty for the type's own."""

    name: str
    number: int
    type: str
    type_oid: int
    type_modifier: int
    not_null: bool
    has_default: bool
    generated: str = ""
    identity: str = ""
    collation: str = ""


@dataclass(frozen=True)
class LiveIndex:
    """A unique index or exclusion constraint. `columns` are plain columns; `has_expression` that there is more to it.

    `is_key` if rows can be matched by it: unique, immediate, valid, no predicate, no expression, all columns not null.
    """

    name: str
    columns: tuple[str, ...]
    primary: bool
    is_key: bool
    has_expression: bool


@dataclass(frozen=True)
class Reference:
    """A foreign key between two live tables, at least one of them in scope."""

    name: str
    schema: str
    table: str
    key: ForeignKey


@dataclass(frozen=True)
class LiveTable:
    """A live table as the catalog says it is at one moment."""

    oid: int
    schema: str
    name: str
    kind: str
    """`r`; a partition is one, the root of partitions (`p`) has no rows of its own."""
    file_node: int
    is_owner: bool
    columns: tuple[LiveColumn, ...]
    indexes: tuple[LiveIndex, ...]
    user_triggers: tuple[str, ...]
    always_triggers: tuple[str, ...]
    """Triggers that fire for replicas too (ENABLE ALWAYS or REPLICA)."""
    missing_rights: tuple[str, ...] = ()
    """Of SELECT, INSERT, UPDATE, DELETE, those that the role lacks."""
    sees_all_rows: bool = True
    always_rules: tuple[str, ...] = ()
    """Rules on writing that act for replicas too (ENABLE ALWAYS or REPLICA)."""

    @property
    def label(self) -> str:
        """The table's name for people."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class MappedTable:
    """A table in scope. `number` is its place in the plan, from 0; staging objects are named by it."""

    number: int
    facts: TableFacts
    where: str
    live: LiveTable
    columns: tuple[str, ...]
    """In both, and not generated in either: what is staged, compared and written, in the backup's order."""
    left_out: tuple[str, ...]
    """Captured, and not written: live does not have it, or generates it now."""
    kept: tuple[str, ...]
    """Live has it, the backup holds no values of it."""
    key: tuple[str, ...]
    """A key of live whose columns are all among `columns`; empty if rows are matched by all that is in them."""

    @property
    def label(self) -> str:
        """The table's name for people."""
        return f"{self.facts.schema}.{self.facts.name}"

    @property
    def is_unchanged(self) -> bool:
        """Tell whether every captured column is written, in the type that it had: rows hash as in the backup."""
        types = {column.name: column.type for column in self.live.columns}
        captured = captured_columns(self.facts.columns)
        return not self.left_out and all(types[column.name] == column.type for column in captured)


def map_table(number: int, facts: TableFacts, where: str, live: LiveTable) -> MappedTable:
    """Match the columns of a table's backup with the live table's, by name.

    Raises `SchemaDrifted` if rows of the backup could not be put in without losing or inventing something: a type has
    become narrower or another, a new column wants a value that nobody has, or no column is left.
    """
    if live.kind != "r":
        raise _drifted(facts, "it has become a partitioned table, and holds its rows in its partitions")
    wanted = {column.name: column for column in live.columns}
    captured = captured_columns(facts.columns)
    columns = tuple(c.name for c in captured if c.name in wanted and not wanted[c.name].generated)
    for column in captured:
        if column.name in columns and not keeps_values(column.type, wanted[column.name].type):
            raise _drifted(
                facts, f"column {column.name} was {column.type} and is {wanted[column.name].type} now"
            )
    kept = tuple(c.name for c in live.columns if c.name not in columns and not c.generated)
    for name in kept:
        new = wanted[name]
        if new.not_null and not new.has_default and not new.identity:
            raise _drifted(facts, f"column {name} is new, must not be null, and has no default")
    if captured and not columns:
        raise _drifted(facts, "it has none of the columns that were backed up")
    return MappedTable(
        number=number,
        facts=facts,
        where=where,
        live=live,
        columns=columns,
        left_out=tuple(c.name for c in captured if c.name not in columns),
        kept=kept,
        key=_choose_key(live, columns),
    )


def condition_sql(where: str) -> str:
    """Return a condition that was checked to be one expression as SQL that can stand anywhere in a larger one."""
    # A comment at its end must not swallow the parenthesis.
    return f"(\n{where}\n)"


def _choose_key(live: LiveTable, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the primary key, else the first other key, if all its columns are written."""
    usable = [index for index in live.indexes if index.is_key and set(index.columns) <= set(columns)]
    usable.sort(key=lambda index: not index.primary)
    return usable[0].columns if usable else ()


def _drifted(facts: TableFacts, detail: str) -> SchemaDrifted:
    return SchemaDrifted(object=f"{facts.schema}.{facts.name}", detail=detail)


# ------------------------------------------------------------------------------------------- types

_INTEGERS = ("smallint", "integer", "bigint")
_WITH_LIMITS = re.compile(r"(character varying|character|numeric)(?:\((\d+)(?:,(-?\d+))?\))?")


def keeps_values(before: str, now: str) -> bool:
    """Tell whether text of a value of the type `before` is text of the very same value for the type `now`.

    Types are named as `format_type` does. Only widening counts; what an ALTER TABLE would have computed does not:
    a real as double precision is another number, and character(8) as text has lost its blanks.
    """
    if before == now:
        return True
    if before in _INTEGERS:
        return now == "numeric" or (now in _INTEGERS and _INTEGERS.index(before) < _INTEGERS.index(now))
    if before == "text":
        return now == "character varying"
    return _is_wider(_WITH_LIMITS.fullmatch(before), now)


def _is_wider(before: re.Match[str] | None, now: str) -> bool:
    """Tell whether `now` takes all values of a type that has limits, without cutting or rounding."""
    if before is None:
        return False
    name, size, scale = before.groups()
    if name == "character varying" and now == "text":
        return True
    after = _WITH_LIMITS.fullmatch(now)
    if after is None or after[1] != name:
        return False
    if after[2] is None:
        # Plain "character" is character(1); the other two have no limits then.
        return name != "character"
    if size is None:
        return False
    more_places = int(after[3] or 0) - int(scale or 0)
    return more_places >= 0 and int(after[2]) - int(size) >= more_places
