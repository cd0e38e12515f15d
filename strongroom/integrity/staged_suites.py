"""What must hold of the staged rows before a recovery in place commits, and of the live tables after it. Pure.

Staged rows of a whole table are held to the manifest as strictly as a restore into an empty destination. Rows chosen
by a condition have no baseline: they are held to their keys. After the commit the application writes again, so that
counts and digests are warnings and broken keys stay critical; merged tables, and rows chosen by a condition, must
be at least as many as came in. See `suites` for the expectations themselves.
"""

import math
from collections.abc import Collection
from dataclasses import replace

import msgspec

from strongroom.format.documents import SequenceState, TableEntry
from strongroom.integrity.measurements import counted_rows, measured_rows
from strongroom.integrity.places import (
    Places,
    TableName,
    live_part,
    live_rows,
    recovered_facts,
)
from strongroom.integrity.suites import (
    PlannedExpectation,
    PlannedSuite,
    Policy,
    column_expectations,
    file_name,
    foreign_expectations,
    null_expectations,
    row_expectations,
    sequence_expectations,
    title_of,
    unique_expectations,
)
from strongroom.recovery.mapping import MappedTable

_NOTHING = "SELECT 1 AS one"
"""The batch of a suite that asks for counts only."""


def plan_staged(
    places: Places, mapped: MappedTable, entry: TableEntry, known: Collection[TableName]
) -> PlannedSuite:
    """Plan the suite of a table's staged rows; `known` are the tables in the manifest."""
    facts, source = recovered_facts(mapped), places.staged(mapped)
    schema, name = places.staged_table(mapped)
    there = msgspec.structs.replace(facts, schema=schema, name=name)
    planned = [*column_expectations(facts, "critical", there), *null_expectations(facts)]
    if not mapped.where:
        rows = row_expectations(entry, Policy(exact=True))
        planned = [*_comparable(rows, mapped), *planned]
    planned += unique_expectations(facts, source)
    planned += foreign_expectations(facts, known, places.equality, source, places.referred(facts))
    return PlannedSuite(
        name=file_name(mapped.number + 1, title_of(facts)),
        title=f"{title_of(facts)} (staged)",
        query=measured_rows(facts, source),
        expectations=tuple(planned),
        rows=0 if mapped.where else entry.rows,
    )


def plan_live(
    places: Places,
    mapped: MappedTable,
    entry: TableEntry,
    known: Collection[TableName],
    *,
    came_in: int,
    max_data_loss_percent: float,
) -> PlannedSuite:
    """Plan the suite of a live table after the commit; `came_in` rows were staged for it."""
    facts = recovered_facts(mapped)
    policy = Policy(exact=False, max_data_loss_percent=max_data_loss_percent)
    part = live_part(mapped) if mapped.where else ""
    baseline = came_in if mapped.where else entry.rows
    if mapped.where or places.strategy != "exact":
        planned = _kept(mapped, baseline, policy)
    else:
        planned = _comparable(row_expectations(entry, policy), mapped)
    # That the shape has changed since the backup was accepted before the first row was staged.
    planned += column_expectations(entry.facts, "warning")
    planned += null_expectations(facts, part)
    planned += unique_expectations(facts, part)
    planned += foreign_expectations(facts, known, places.equality, part)
    return PlannedSuite(
        name=file_name(mapped.number + 1, title_of(facts)),
        title=title_of(facts),
        query=_NOTHING if mapped.where else measured_rows(facts, live_rows(mapped)),
        expectations=tuple(planned),
        rows=baseline,
    )


def plan_sequences(places: Places, sequences: Collection[SequenceState]) -> PlannedSuite | None:
    """Plan that the sequences of the tables in scope are ahead of their columns: positions are the application's."""
    facts = {(m.facts.schema, m.facts.name): recovered_facts(m) for m in places.tables}
    planned = [
        expectation
        for sequence in sequences
        if (sequence.schema, sequence.table) in facts
        for expectation in sequence_expectations(sequence, Policy(exact=False), facts)
        if expectation.question == "sequence-ahead"
    ]
    return PlannedSuite("sequences", "sequences", _NOTHING, tuple(planned)) if planned else None


def _comparable(rows: list[PlannedExpectation], mapped: MappedTable) -> list[PlannedExpectation]:
    """Leave out the digest where rows in other columns or types cannot have it."""
    return [e for e in rows if e.question != "digest" or mapped.is_unchanged]


def _kept(mapped: MappedTable, baseline: int, policy: Policy) -> list[PlannedExpectation]:
    """Plan that a table has at least the rows that came in, and lost no more than is tolerable."""
    subject = title_of(mapped.facts)
    sql = counted_rows(live_part(mapped))
    least = math.ceil(baseline * (1 - policy.max_data_loss_percent / 100))
    kept = PlannedExpectation(
        "rows-kept",
        subject,
        f"{subject} has the {baseline} rows that came in, or more.",
        f"at least {baseline}",
        {"sql": sql, "least": baseline},
        "warning",
    )
    loss = replace(
        kept,
        question="rows-lost",
        sentence=f"{subject} has lost no more than {policy.max_data_loss_percent:g} % of the rows that came in.",
        expected=f"at least {least}",
        parameters={"sql": sql, "least": least},
        severity="critical",
    )
    return [kept, loss]
