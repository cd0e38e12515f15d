"""What must hold of a restored database, planned from the manifest: one suite a table, one of sequences.

Pure: expectations are named and given their parameters here; `evaluation` hands them to Great
Expectations. What fails how badly is decided here and nowhere else:

- `exact` (a restore into an empty destination): whatever differs from the manifest is wrong, so every
  difference in rows, columns, keys and sequences is critical.
- not `exact` (live data went on, or was merged): a count or digest that differs is a warning, and losing more
  than `max_data_loss_percent` of a table's rows is critical; broken keys stay critical.
- Tables and sequences that the platform owns get rows only, and their shape follows the platform's version:
  their columns and positions are warnings.
- A sequence that lags behind its column is a warning: if its position equals the manifest's, it lagged in
  the source already.
"""

import html
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from strongroom.format.documents import ForeignKey, SequenceState, TableEntry, TableFacts
from strongroom.integrity.measurements import (
    Equality,
    duplicated_keys,
    listed_columns,
    measured_rows,
    not_null_flag,
    null_rows,
    orphaned_rows,
    sequence_behind,
    sequence_position,
)

Weight = Literal["info", "warning", "critical"]
Question = Literal[
    "row-count",
    "data-loss",
    "digest",
    "columns",
    "column-types",
    "not-null",
    "unique-key",
    "foreign-key",
    "sequence-position",
    "sequence-ahead",
    "rows-kept",
    "rows-lost",
    "row-security",
    "policy-expressions",
    "own",
]

_INTEGERS = frozenset({20, 21, 23})
"""Type oids whose largest value can be compared with a sequence."""

_ALL_SEQUENCES = "SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relkind = 'S'"


@dataclass(frozen=True)
class Policy:
    """How strictly a restored database is judged."""

    exact: bool = True
    max_data_loss_percent: float = 0.0

    def of_rows(self) -> Weight:
        """Return how bad it is that rows differ from the manifest's."""
        return "critical" if self.exact else "warning"


@dataclass(frozen=True)
class PlannedExpectation:
    """One thing that must hold: the question, its parameters, and a sentence for people."""

    question: Question
    subject: str
    sentence: str
    expected: str
    parameters: Mapping[str, object]
    severity: Weight = "critical"
    own: Any = None
    """The user's own expectation, made by the user's suite; `parameters` then replace some of its fields."""


def markup(text: str) -> str:
    """Return a text as Data Docs must be given it: they escape nothing."""
    return html.escape(text)


@dataclass(frozen=True)
class PlannedSuite:
    """The expectations of one batch. `name` is fit for a file name, `title` is what the batch is called."""

    name: str
    title: str
    query: str
    expectations: tuple[PlannedExpectation, ...]
    rows: int = 0
    table: tuple[str, str] | None = None
    """Schema and name of the table that is the batch instead of the query: for expectations of the user's."""


def plan_suites(
    tables: Sequence[TableEntry],
    sequences: Sequence[SequenceState],
    policy: Policy,
    equality: Equality | None = None,
) -> tuple[PlannedSuite, ...]:
    """Plan every suite for a restored backup; `equality` comes from the destination's catalog."""
    known = {(entry.facts.schema, entry.facts.name): entry.facts for entry in tables}
    suites = [
        PlannedSuite(
            name=file_name(number, title_of(entry.facts)),
            title=title_of(entry.facts),
            query=measured_rows(entry.facts),
            expectations=_table_expectations(entry, policy, known, equality or {}),
            rows=entry.rows,
        )
        for number, entry in enumerate(tables, 1)
    ]
    if sequences:
        planned = tuple(e for sequence in sequences for e in sequence_expectations(sequence, policy, known))
        suites.append(PlannedSuite("sequences", "sequences", _ALL_SEQUENCES, planned))
    return tuple(suites)


def title_of(table: TableFacts) -> str:
    """Return what the suite of a table is called."""
    return f"{table.schema}.{table.name}"


def file_name(number: int, title: str) -> str:
    """Return a name that is unique by its number, whatever the file system thinks of the title."""
    return f"{number:04d}-" + re.sub(r"[^A-Za-z0-9_]+", "-", title)[:80].strip("-")


def _table_expectations(
    entry: TableEntry, policy: Policy, known: Collection[tuple[str, str]], equality: Equality
) -> tuple[PlannedExpectation, ...]:
    shape: Weight = "warning" if entry.facts.managed else "critical"
    return (
        *row_expectations(entry, policy),
        *column_expectations(entry.facts, shape),
        *null_expectations(entry.facts),
        *unique_expectations(entry.facts),
        *foreign_expectations(entry.facts, known, equality),
    )


def row_expectations(entry: TableEntry, policy: Policy) -> list[PlannedExpectation]:
    """Plan what must hold of a table's rows as a whole."""
    subject = title_of(entry.facts)
    least = math.ceil(entry.rows * (1 - policy.max_data_loss_percent / 100))
    return [
        PlannedExpectation(
            "row-count",
            subject,
            f"{subject} has the {entry.rows} rows of the backup.",
            str(entry.rows),
            {"value": entry.rows},
            policy.of_rows(),
        ),
        PlannedExpectation(
            "data-loss",
            subject,
            f"{subject} has lost no more than {policy.max_data_loss_percent:g} % of its rows.",
            f"at least {least}",
            {"min_value": least},
        ),
        PlannedExpectation(
            "digest",
            subject,
            f"The rows of {subject} have the digest of the backup.",
            entry.digest,
            {"value": entry.digest},
            policy.of_rows(),
        ),
    ]


def column_expectations(
    table: TableFacts, shape: Weight, place: TableFacts | None = None
) -> list[PlannedExpectation]:
    """Plan what must hold of a table's columns; `place` is where they are looked up, if elsewhere."""
    subject = title_of(table)
    names = [column.name for column in table.columns]
    types = [column.type for column in table.columns]
    listed = listed_columns(place or table)
    return [
        PlannedExpectation(
            "columns",
            subject,
            f"{subject} has the columns of the backup, in their order.",
            ", ".join(names),
            {"sql": listed, "columns": names},
            shape,
        ),
        PlannedExpectation(
            "column-types",
            subject,
            f"The columns of {subject} have the types of the backup.",
            ", ".join(types),
            {"sql": listed, "types": types},
            shape,
        ),
    ]


def null_expectations(table: TableFacts, source: str = "") -> list[PlannedExpectation]:
    """Plan that no not-null column has a null: by the batch's flags, or by counting the rows at `source`."""
    subject = title_of(table)
    return [
        PlannedExpectation(
            "not-null",
            f"{subject}.{column.name}",
            f"No row of {subject} has a null in {column.name}.",
            "0",
            {"sql": null_rows(table, column.name, source)}
            if source
            else {"flag": not_null_flag(column.number)},
        )
        for column in table.columns
        if column.not_null
    ]


def unique_expectations(table: TableFacts, source: str = "") -> list[PlannedExpectation]:
    """Plan that no two rows share a unique key."""
    subject = title_of(table)
    return [
        PlannedExpectation(
            "unique-key",
            f"{subject} ({key.name})",
            f"No two rows of {subject} have the same {', '.join(key.columns)}.",
            "0",
            {"sql": duplicated_keys(table, key, source)},
        )
        for key in table.unique_keys
    ]


def foreign_expectations(
    table: TableFacts,
    known: Collection[tuple[str, str]],
    equality: Equality,
    source: str = "",
    referred: Mapping[ForeignKey, str] | None = None,
) -> list[PlannedExpectation]:
    """Plan that every row refers to one that is there: in its table, or where `referred` says."""
    subject = title_of(table)
    planned = []
    for key in table.foreign_keys:
        # Every plain table is in the manifest, so what is not is the root of partitions.
        partitioned = (key.to_schema, key.to_table) not in known
        sql = orphaned_rows(
            table,
            key,
            partitioned=partitioned,
            equality=equality,
            source=source,
            referred=(referred or {}).get(key, ""),
        )
        sentence = f"Every {', '.join(key.columns)} of {subject} exists in {key.to_schema}.{key.to_table}."
        planned.append(
            PlannedExpectation("foreign-key", f"{subject} ({key.name})", sentence, "0", {"sql": sql})
        )
    return planned


def sequence_expectations(
    sequence: SequenceState, policy: Policy, known: Mapping[tuple[str, str], TableFacts]
) -> list[PlannedExpectation]:
    """Plan what must hold of a sequence: its position, and that it is ahead of the column it feeds."""
    subject = f"{sequence.schema}.{sequence.name}"
    planned = [
        PlannedExpectation(
            "sequence-position",
            subject,
            f"The sequence {subject} stands where it stood in the backup.",
            position(sequence.last_value, is_called=sequence.is_called),
            {
                "sql": sequence_position(sequence),
                "last_value": sequence.last_value,
                "is_called": sequence.is_called,
            },
            "warning" if sequence.managed else policy.of_rows(),
        )
    ]
    owner = known.get((sequence.schema, sequence.table))
    column = next((c for c in owner.columns if c.name == sequence.column), None) if owner else None
    if column is not None and column.type_oid in _INTEGERS:
        planned.append(
            PlannedExpectation(
                "sequence-ahead",
                subject,
                f"The next value of {subject} is beyond every {sequence.column} of {sequence.table}.",
                "0",
                {"sql": sequence_behind(sequence)},
                "warning",
            )
        )
    return planned


def position(last_value: object, *, is_called: object) -> str:
    """Describe the position of a sequence."""
    return f"{last_value}, {'called' if is_called else 'not called yet'}"
