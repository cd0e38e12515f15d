"""Sequences after a recovery in place: never behind the rows, and never moved back under a running application.

    findings = move_sequences(connection, schema, manifest, tables, moved)

Each goes to the furthest, in the direction of its increment, of where it stands, where it stood in the backup, and
what the recovered rows hold in its column. Setting a sequence is not undone with the transaction around it; a gap is
all that remains of one that is rolled back.
"""

from collections.abc import Sequence

from strongroom.format.documents import Finding, Manifest, SequenceState
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier, quote_literal
from strongroom.postgres.statements import Statement, attempt_all
from strongroom.recovery.comparison import Matched
from strongroom.recovery.staging_names import found_differences

_INTEGERS = ("smallint", "integer", "bigint")

_STATE = """
SELECT q.last_value, q.is_called, s.seqmin, s.seqmax, s.seqincrement
FROM {name} q, pg_sequence s WHERE s.seqrelid = to_regclass({literal})
"""


def move_sequences(
    connection: Connection, schema: str, manifest: Manifest, tables: Sequence[Matched], moved: set[str]
) -> tuple[Finding, ...]:
    """Move sequences forward in the caller's transaction, add each to `moved`, and return what was refused.

    In question are those of columns of the tables in scope, and, of schemas that are in scope with all their tables,
    all others.
    """
    owned = {(table.mapped.facts.schema, table.mapped.facts.name): table for table in tables}
    whole = _whole_schemas(manifest, tables)
    findings: tuple[Finding, ...] = ()
    for state in manifest.sequences:
        table = owned.get((state.schema, state.table)) if state.table else None
        if table is None and (state.table or state.schema not in whole):
            continue
        label = f"{state.schema}.{state.name}"
        statement = _statement(connection, schema, state, table)
        if statement is None:
            continue
        refused = attempt_all(connection, [statement], code="sequence-not-moved")
        findings += refused
        if not refused:
            moved.add(label)
    return findings


def _whole_schemas(manifest: Manifest, tables: Sequence[Matched]) -> frozenset[str]:
    """Return the schemas of which every table that the backup has is in scope without a condition."""
    covered = {(t.mapped.facts.schema, t.mapped.facts.name) for t in tables if not t.mapped.where}
    schemas = {schema for schema, _ in covered}
    missing = {e.facts.schema for e in manifest.tables if (e.facts.schema, e.facts.name) not in covered}
    return frozenset(schemas - missing)


def _statement(
    connection: Connection, schema: str, state: SequenceState, table: Matched | None
) -> Statement | None:
    """Return what moves a sequence, or None if it is far enough, or not there."""
    name = f"{quote_identifier(state.schema)}.{quote_identifier(state.name)}"
    literal = quote_literal(name)
    with translated(f"sequence {state.schema}.{state.name}"):
        kind = connection.execute(
            "SELECT CASE WHEN relkind = 'S' THEN has_sequence_privilege(oid, 'SELECT') END FROM pg_class"
            " WHERE oid = to_regclass(%s)",
            [name],
        ).fetchone()
        if kind != (True,):
            return None
        row = connection.execute(_STATE.format(name=name, literal=literal)).fetchone()
        if row is None:
            return None
        last, is_called, least, most, step = row
        here = _next(last, step, is_called=is_called)
        candidates = [
            (_next(state.last_value, step, is_called=state.is_called), state.last_value, state.is_called)
        ]
        extreme = _extreme(connection, schema, state, table, step) if table else None
        if extreme is not None:
            candidates.append((extreme + step, extreme, True))
    candidates = [c for c in candidates if least <= c[1] <= most]
    if not candidates:
        return None
    furthest = max(candidates) if step > 0 else min(candidates)
    if (furthest[0] <= here) if step > 0 else (furthest[0] >= here):
        return None
    # Looked at once more in the statement itself: the application may have gone on.
    further = "<" if step > 0 else ">"
    sql = (
        f"SELECT setval({literal}, {furthest[1]}, {str(furthest[2]).lower()}) FROM {name} q"
        f" WHERE q.last_value + CASE WHEN q.is_called THEN {step} ELSE 0 END {further} {furthest[0]}"
    )
    return Statement(f"sequence {state.schema}.{state.name}", sql)


def _next(last: int, step: int, *, is_called: bool) -> int:
    return last + step if is_called else last


def _extreme(
    connection: Connection, schema: str, state: SequenceState, table: Matched, step: int
) -> int | None:
    """Return what the rows that came hold in the sequence's column, the furthest of it."""
    column = next((c for c in table.mapped.live.columns if c.name == state.column), None)
    if column is None or column.name not in table.mapped.columns or column.type not in _INTEGERS:
        return None
    function = "max" if step > 0 else "min"
    row = connection.execute(
        f"SELECT {function}(s.{quote_identifier(column.name)})"
        f" FROM {found_differences(schema, table.mapped.number)} AS d"
        f" JOIN {table.staged} AS s ON s.ctid = d.staged_tid WHERE d.kind IN ('i', 'u', 'r')"
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])
