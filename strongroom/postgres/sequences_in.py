"""Setting sequences at a destination to exactly where they stood.

For example:

    findings = set_sequences(connection, manifest.sequences)
"""

from collections.abc import Sequence

from strongroom.format.documents import Finding, SequenceState
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier, quote_literal
from strongroom.postgres.statements import Statement, attempt_all, run_all

_PRESENT = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'
"""


def set_sequences(connection: Connection, sequences: Sequence[SequenceState]) -> tuple[Finding, ...]:
    """Set every sequence; the platform's may be missing or refused there, which is a finding.

    Raises `StatementRefused` for a sequence of the user.
    """
    with translated("sequences"):
        present = {(schema, name) for schema, name in connection.execute(_PRESENT)}
    run_all(connection, [_statement(s) for s in sequences if not s.managed])
    managed = [s for s in sequences if s.managed and (s.schema, s.name) in present]
    findings = attempt_all(connection, [_statement(s) for s in managed], code="sequence-not-set")
    gone = [s for s in sequences if s.managed and (s.schema, s.name) not in present]
    return findings + tuple(_missing(s) for s in gone)


def _statement(state: SequenceState) -> Statement:
    name = f"{quote_identifier(state.schema)}.{quote_identifier(state.name)}"
    position = f"{state.last_value}, {str(state.is_called).lower()}"
    return Statement(
        f"sequence {state.schema}.{state.name}", f"SELECT setval({quote_literal(name)}::regclass, {position})"
    )


def _missing(state: SequenceState) -> Finding:
    return Finding(
        severity="info",
        code="sequence-missing",
        object=f"{state.schema}.{state.name}",
        expected=f"last value {state.last_value}",
        observed="the platform has no such sequence at the destination",
        advice="Nothing needs to be done unless your own code used it.",
    )
