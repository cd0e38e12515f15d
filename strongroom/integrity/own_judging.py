"""The user's own suites in each kind of judgement: restored, staged, live. Imports Great Expectations: import late.

suites = plan_restored(session, Path("expectations"), manifest)
suites, findings = plan_staged_own(places, own)
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from strongroom.errors import ExpectationsUnusable
from strongroom.format.documents import Finding, Manifest
from strongroom.integrity.destination import DestinationSession
from strongroom.integrity.measurements import relation
from strongroom.integrity.own_planning import OwnPlace, StagedPart, not_in_scope, plan_own
from strongroom.integrity.own_suites import OwnSuite, load_suites
from strongroom.integrity.places import Places, absent_columns
from strongroom.integrity.suites import PlannedSuite
from strongroom.postgres.connection import translated

_ROOTS = """
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'p'
"""


def plan_restored(session: DestinationSession, folder: Path, manifest: Manifest) -> list[PlannedSuite]:
    """Plan all suites of the folder on a restored database.

    Raises `ExpectationsUnusable` also for a table that the backup does not have: most likely a misspelt one.
    """
    known = {(entry.facts.schema, entry.facts.name) for entry in manifest.tables}
    with translated("partitioned tables"):
        known |= {(schema, name) for schema, name in session.connection.execute(_ROOTS)}
    planned = []
    for number, suite in enumerate(load_suites(folder), 1):
        if (suite.schema, suite.name) not in known:
            raise ExpectationsUnusable(
                path=suite.path, problem=f"the backup has no table {suite.schema}.{suite.name}"
            )
        planned += _planned(plan_own(suite, number, _in_place(suite)))
    return planned


def plan_staged_own(
    places: Places, suites: Iterable[OwnSuite]
) -> tuple[list[PlannedSuite], tuple[Finding, ...]]:
    """Plan the suites of tables in scope on their staged rows, and say which are not run, or later."""
    planned: list[PlannedSuite] = []
    findings: tuple[Finding, ...] = ()
    for number, suite in enumerate(suites, 1):
        mapped = places.mapped(suite.schema, suite.name)
        if mapped is None:
            # The rows of a root are staged by partition; the root as a whole is judged after the commit.
            later = (suite.schema, suite.name) in places.roots
            findings += () if later else (not_in_scope(suite),)
            continue
        place = OwnPlace(
            table=places.staged_table(mapped),
            source=places.staged(mapped),
            find=places.after,
            staged=StagedPart(absent=absent_columns(mapped), is_part=bool(mapped.where)),
        )
        one, found = plan_own(suite, number, place)
        planned += [one] if one else []
        findings += found
    return planned, findings


def plan_live_own(
    places: Places, suites: Sequence[OwnSuite]
) -> tuple[list[PlannedSuite], tuple[Finding, ...]]:
    """Plan the suites of tables in scope, and of the roots of partitions in scope, on the live tables."""
    in_scope = {(m.facts.schema, m.facts.name) for m in places.tables} | set(places.roots)
    planned = [
        one
        for number, suite in enumerate(suites, 1)
        if (suite.schema, suite.name) in in_scope
        for one in _planned(plan_own(suite, number, _in_place(suite)))
    ]
    out_of_scope = [suite for suite in suites if (suite.schema, suite.name) not in in_scope]
    return planned, tuple(map(not_in_scope, out_of_scope))


def _in_place(suite: OwnSuite) -> OwnPlace:
    """Return that rows are in their tables, children and partitions included, as the application sees them."""
    return OwnPlace(
        table=(suite.schema, suite.name), source=relation(suite.schema, suite.name), find=relation
    )


def _planned(plan: tuple[PlannedSuite | None, tuple[Finding, ...]]) -> list[PlannedSuite]:
    return [plan[0]] if plan[0] else []
