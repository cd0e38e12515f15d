"""Judge a recovery in place: the staged rows before it commits, the live tables after it.

report = judge_staged(conninfo, manifest, plan, terms)
report = judge_recovered(conninfo, manifest, plan, terms)
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import msgspec

from strongroom.errors import SuitesNotEvaluated
from strongroom.format.documents import Finding, Manifest, TableEntry
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.integrity.destination import (
    DestinationSession,
    open_destination,
    read_equality,
    refuse_blind_role,
)
from strongroom.integrity.judge import Terms, judge_suites
from strongroom.integrity.places import Places, TableName
from strongroom.integrity.staged_suites import plan_live, plan_sequences, plan_staged
from strongroom.integrity.suites import PlannedSuite
from strongroom.operations.messages import IntegrityReport
from strongroom.postgres.connection import translated
from strongroom.recovery.mapping import MappedTable
from strongroom.recovery.scope import read_scope
from strongroom.recovery.staging_names import schema_of

# A root is no ancestor of itself here, and what is no partition has none.
_ANCESTORS = """
SELECT wanted.oid::int8, n.nspname::text, c.relname::text
FROM unnest(%s::oid[]) AS wanted (oid)
CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(wanted.oid) AS a (oid)
JOIN pg_catalog.pg_class AS c ON c.oid = a.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.oid <> wanted.oid
"""
_COLUMNS = """
SELECT n.nspname::text, c.relname::text, array_agg(a.attname::text)
FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY 1, 2
"""
_SEQUENCES = """
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'S'
"""


@dataclass(frozen=True)
class _Scope:
    """What is judged: the places of the rows, the entries of the tables in scope, all tables of the backup."""

    session: DestinationSession
    places: Places
    entries: Mapping[TableName, TableEntry]
    findings: tuple[Finding, ...]

    def entry(self, mapped: MappedTable) -> TableEntry:
        """Return what the manifest says of a table."""
        return self.entries[mapped.facts.schema, mapped.facts.name]


def judge_staged(
    conninfo: Mapping[str, str], manifest: Manifest, plan: RecoveryPlan, terms: Terms
) -> IntegrityReport:
    """Judge the staged rows of a run. Raises what `judge` and `read_scope` raise, and `ExpectationsUnusable`."""
    with _scope(conninfo, manifest, plan, terms) as scope:
        suites = [
            plan_staged(scope.places, mapped, scope.entry(mapped), scope.entries)
            for mapped in scope.places.tables
        ]
        findings = scope.findings
        if terms.expectations is not None:
            # Late: it imports Great Expectations.
            from strongroom.integrity.own_judging import plan_staged_own
            from strongroom.integrity.own_suites import load_suites

            own, found = plan_staged_own(scope.places, load_suites(terms.expectations))
            suites += own
            findings += found
        return judge_suites(scope.session, manifest.id, suites, terms.data_docs, findings)


def judge_recovered(
    conninfo: Mapping[str, str], manifest: Manifest, plan: RecoveryPlan, terms: Terms
) -> IntegrityReport:
    """Judge the live tables in scope after the commit, while the application writes again. Raises the same."""
    with _scope(conninfo, manifest, plan, terms) as scope:
        suites = [_live_suite(scope, mapped, terms) for mapped in scope.places.tables]
        present = _present_sequences(scope.session)
        sequences = plan_sequences(
            scope.places, [s for s in manifest.sequences if (s.schema, s.name) in present]
        )
        suites += [sequences] if sequences else []
        findings = scope.findings
        if terms.expectations is not None:
            # Late: it imports Great Expectations.
            from strongroom.integrity.own_judging import plan_live_own
            from strongroom.integrity.own_suites import load_suites

            own, found = plan_live_own(scope.places, load_suites(terms.expectations))
            suites += own
            findings += found
        return judge_suites(scope.session, manifest.id, suites, terms.data_docs, findings)


@contextmanager
def _scope(
    conninfo: Mapping[str, str], manifest: Manifest, plan: RecoveryPlan, terms: Terms
) -> Iterator[_Scope]:
    """Open the session and find out where the rows are."""
    if not plan.tables:
        raise SuitesNotEvaluated(reason="the plan has no tables, so there is nothing to judge")
    entries = {(entry.facts.schema, entry.facts.name): entry for entry in manifest.tables}
    with open_destination(conninfo, terms.deadline) as session:
        tables, findings = _without_lost_keys(session, read_scope(session.connection, manifest, plan))
        places = Places(
            schema=schema_of(plan),
            strategy=plan.strategy,
            tables=tables,
            roots=_roots(session, tables),
            equality=read_equality(session),
        )
        refuse_blind_role(session, [entries[m.facts.schema, m.facts.name] for m in tables])
        yield _Scope(session, places, entries, findings)


def _live_suite(scope: _Scope, mapped: MappedTable, terms: Terms) -> PlannedSuite:
    came_in = 0
    if mapped.where:
        with translated(mapped.label):
            row = scope.session.connection.execute(
                f"SELECT count(*) FROM {scope.places.staged(mapped)}"
            ).fetchone()
        came_in = row[0] if row else 0
    return plan_live(
        scope.places,
        mapped,
        scope.entry(mapped),
        scope.entries,
        came_in=came_in,
        max_data_loss_percent=terms.max_data_loss_percent,
    )


def _roots(session: DestinationSession, tables: Sequence[MappedTable]) -> dict[TableName, list[MappedTable]]:
    """Return the partitions in scope by each table that they are partitions of."""
    by_oid = {mapped.live.oid: mapped for mapped in tables}
    roots: defaultdict[TableName, list[MappedTable]] = defaultdict(list)
    with translated("partitions"):
        for oid, schema, name in session.connection.execute(_ANCESTORS, [list(by_oid)]):
            roots[schema, name].append(by_oid[oid])
    return dict(roots)


def _without_lost_keys(
    session: DestinationSession, tables: Sequence[MappedTable]
) -> tuple[tuple[MappedTable, ...], tuple[Finding, ...]]:
    """Leave out the foreign keys of the backup that lead to what live does not have any more, and say so."""
    keys = [key for mapped in tables for key in mapped.facts.foreign_keys]
    with translated("the referenced tables"):
        rows = session.connection.execute(
            _COLUMNS, [[key.to_schema for key in keys], [key.to_table for key in keys]]
        ).fetchall()
    columns = {(schema, name): set(names) for schema, name, names in rows}
    kept, findings = [], []
    for mapped in tables:
        good = tuple(
            key
            for key in mapped.facts.foreign_keys
            if columns.get((key.to_schema, key.to_table), set()) >= set(key.to_columns)
        )
        kept.append(replace(mapped, facts=msgspec.structs.replace(mapped.facts, foreign_keys=good)))
        findings += [
            Finding(
                severity="info",
                code="integrity-key-gone",
                object=f"{mapped.label} ({key.name})",
                expected=f"{key.to_schema}.{key.to_table} ({', '.join(key.to_columns)})",
                observed="live does not have it any more",
                advice="The foreign key of the backup is not judged.",
            )
            for key in mapped.facts.foreign_keys
            if key not in good
        ]
    return tuple(kept), tuple(findings)


def _present_sequences(session: DestinationSession) -> set[tuple[str, str]]:
    with translated("the sequences"):
        return {(schema, name) for schema, name in session.connection.execute(_SEQUENCES)}
