"""Planning the user's own suites: which of their expectations can be asked where the rows are at the moment.

    suite, findings = plan_own(own, 1, OwnPlace(("public", "trades"), '"public"."trades"', find))

`find` answers where the rows of another table are, for `{schema.table}` in an SQL expectation. Expectations that
staged rows cannot answer are left to the judgement after the commit, which a finding says. Imports Great
Expectations: import this module late.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
    MulticolumnMapExpectation,
)

from strongroom.format.documents import Finding
from strongroom.integrity.expectations import StrongroomRowsHold
from strongroom.integrity.own_suites import OwnSuite, parse_name
from strongroom.integrity.suites import PlannedExpectation, PlannedSuite, file_name

_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_PLACEHOLDER = re.compile(r"\{(table|" + _NAME + r"\." + _NAME + r")\}")
_BY_ROW = (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation)


@dataclass(frozen=True)
class StagedPart:
    """What staged rows lack: `absent` are live columns that are not staged, `is_part` that rows are missing."""

    absent: frozenset[str]
    is_part: bool


@dataclass(frozen=True)
class OwnPlace:
    """Where a suite is asked: the table for Great Expectations, the same as FROM takes it, and where others are."""

    table: tuple[str, str]
    source: str
    find: Callable[[str, str], str]
    staged: StagedPart | None = None


def plan_own(
    suite: OwnSuite, number: int, place: OwnPlace
) -> tuple[PlannedSuite | None, tuple[Finding, ...]]:
    """Plan a suite; None if none of its expectations can be asked there."""
    asked = [e for e in suite.expectations if place.staged is None or _can_be_asked(e, place.staged)]
    left = len(suite.expectations) - len(asked)
    findings = (_left_for_later(suite, left),) if left else ()
    if not asked:
        return None, findings
    planned = tuple(_planned(suite, expectation, place) for expectation in asked)
    name = f"own-{file_name(number, f'{suite.schema}.{suite.name}')}"
    return PlannedSuite(name, suite.title, "", planned, table=place.table), findings


def not_in_scope(suite: OwnSuite) -> Finding:
    """Say that a suite was not run, because its table is not being recovered."""
    return Finding(
        severity="info",
        code="own-suite-not-run",
        object=f"{suite.schema}.{suite.name}",
        observed="the table is not in the scope of this recovery",
        advice="Nothing is known of it: its rows are neither read nor changed.",
    )


def _left_for_later(suite: OwnSuite, count: int) -> Finding:
    return Finding(
        severity="info",
        code="own-suite-deferred",
        object=f"{suite.schema}.{suite.name}",
        observed=f"{count} of its {len(suite.expectations)} own expectations cannot be asked of staged rows",
        advice="They are judged after the commit; if one fails that is critical, the recovery is rolled back.",
    )


def _can_be_asked(expectation: Any, staged: StagedPart) -> bool:
    """Tell whether staged rows can answer: they have the columns, and a part of the rows is enough."""
    if isinstance(expectation, StrongroomRowsHold):
        return not expectation.after_commit
    if staged.absent & set(_columns(expectation)):
        return False
    by_row = isinstance(expectation, _BY_ROW) and getattr(expectation, "mostly", 1) == 1
    return by_row or not staged.is_part


def _columns(expectation: Any) -> list[str]:
    """Return the columns that an expectation names."""
    fields = [getattr(expectation, field, None) for field in ("column", "column_A", "column_B")]
    return [*filter(None, fields), *(getattr(expectation, "column_list", None) or ())]


def _planned(suite: OwnSuite, expectation: Any, place: OwnPlace) -> PlannedExpectation:
    columns = _columns(expectation)
    parameters = {}
    if isinstance(expectation, StrongroomRowsHold):
        parameters["sql"] = placed(expectation.sql, place)
    said = _said(expectation)
    return PlannedExpectation(
        question="own",
        subject=f"{suite.schema}.{suite.name}" + (f" ({', '.join(columns)})" if columns else ""),
        sentence=expectation.description or said,
        expected=expectation.description or said,
        parameters=parameters,
        severity=expectation.severity.value,
        own=expectation,
    )


def _said(expectation: Any) -> str:
    """Return an expectation as the user wrote it, on one line."""
    given = ", ".join(
        f"{name}={value!r}"
        for name, value in expectation.configuration.kwargs.items()
        if value is not None and name != "batch_id"
    )
    return f"{expectation.expectation_type}({given})"


def placed(sql: str, place: OwnPlace) -> str:
    """Return the query with `{table}` and `{schema.table}` replaced by where those rows are."""

    def found(match: re.Match[str]) -> str:
        if match[1] == "table":
            return place.source
        name = parse_name(match[1])
        return place.find(*name) if name else match[0]

    return _PLACEHOLDER.sub(found, sql.strip().rstrip(";"))
