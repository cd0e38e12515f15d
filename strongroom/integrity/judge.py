"""Judge a restored database by its backup's baseline.

For instance:

    report = judge(conninfo, manifest.id, manifest.tables, manifest.sequences, deadline=deadline,
                   max_data_loss_percent=5, data_docs=Path("reports/docs"))
    require_passed(report)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strongroom.deadline import Deadline
from strongroom.errors import IntegrityFailed, StrongroomError, SuitesNotEvaluated
from strongroom.format.documents import Finding, Manifest, SequenceState, Severity, TableEntry
from strongroom.integrity.destination import (
    DestinationSession,
    open_destination,
    read_equality,
    refuse_blind_role,
)
from strongroom.integrity.evaluation import Outcome, SuiteOutcome, evaluate
from strongroom.integrity.row_security import plan_row_security
from strongroom.integrity.suites import PlannedSuite, Policy, plan_suites
from strongroom.operations.messages import IntegrityReport, SuiteResult

_ORDER = ("", "info", "warning", "critical")
_LONGEST = 400
"""Characters of an expected or observed text that a finding keeps."""

_ADVICE = {
    "row-count": "Rows are missing or too many: restore again, or find out what wrote to the destination.",
    "data-loss": "More rows are gone than recovery.max_data_loss_percent allows: choose another backup.",
    "digest": "The number of rows may be right, but their content is not that of the backup.",
    "columns": "The table was restored with another shape: look for a migration that ran in between.",
    "column-types": "The table was restored with another shape: look for a migration that ran in between.",
    "not-null": "The constraint is gone or not valid, and a row breaks it.",
    "unique-key": "The key is gone or not valid, and several rows share a value.",
    "foreign-key": "The constraint is gone or not valid, and rows refer to nothing.",
    "sequence-position": "Set the sequence with setval() to the expected position.",
    "rows-kept": "Rows that came in are gone again: find out what deletes them.",
    "rows-lost": "Rows that came in are gone again: find out what deletes them.",
    "row-security": "Others may see or change rows that they could not: set row security and policies as expected.",
    "policy-expressions": "A policy lets in other rows than it did: compare it with the one in the backup.",
    "own": "Your own expectation does not hold of these rows: look at them, or choose another recovery point.",
    "sequence-ahead": "The next insert may collide; set the sequence with setval() beyond the largest value.",
}


@dataclass(frozen=True)
class Terms:
    """What every judgement is made under. `expectations` is the folder of the user's own suites, if there is one."""

    deadline: Deadline
    max_data_loss_percent: float
    data_docs: Path | None = None
    expectations: Path | None = None


def judge(
    conninfo: Mapping[str, str],
    backup: str,
    tables: Sequence[TableEntry],
    sequences: Sequence[SequenceState],
    *,
    deadline: Deadline,
    max_data_loss_percent: float,
    data_docs: Path | None,
    exact: bool = True,
) -> IntegrityReport:
    """Compare the database behind `conninfo` with a backup's baseline; write Data Docs into `data_docs`.

    The report passes if every critical expectation holds and every expectation could be evaluated. Raises
    `RoleSeesNoRows`, `SuitesNotEvaluated`, `DataDocsNotWritten`, `DeadlineExceeded`, and what connecting
    raises. The first use in a process imports Great Expectations, which takes seconds.
    """
    _require_tables(tables)
    policy = Policy(exact=exact, max_data_loss_percent=max_data_loss_percent)
    with open_destination(conninfo, deadline) as session:
        refuse_blind_role(session, tables)
        suites = plan_suites(tables, sequences, policy, read_equality(session))
        return judge_suites(session, backup, suites, data_docs)


def judge_restored(
    conninfo: Mapping[str, str], manifest: Manifest, terms: Terms, archive: bytes
) -> IntegrityReport:
    """Compare a database that was restored from empty with its backup: as `judge`, and more.

    What is compared as well are the policies in the schema archive (empty: nobody may read it here, which is a
    finding), and the user's own suites. Raises `ExpectationsUnusable` as well, for one that says something about a
    table which the backup does not have.
    """
    _require_tables(manifest.tables)
    findings = () if archive else (_POLICIES_NOT_COMPARED,)
    policy = Policy(exact=True, max_data_loss_percent=terms.max_data_loss_percent)
    with open_destination(conninfo, terms.deadline) as session:
        refuse_blind_role(session, manifest.tables)
        suites = [*plan_suites(manifest.tables, manifest.sequences, policy, read_equality(session))]
        if archive:
            majors = {
                manifest.snapshot.server_version // 10000,
                session.connection.info.server_version // 10000,
            }
            suites += plan_row_security(archive, same_version=len(majors) == 1)
        if terms.expectations is not None:
            # Late: it imports Great Expectations.
            from strongroom.integrity.own_judging import plan_restored

            suites += plan_restored(session, terms.expectations, manifest)
        return judge_suites(session, manifest.id, suites, terms.data_docs, findings)


_POLICIES_NOT_COMPARED = Finding(
    severity="info",
    code="integrity-policies-not-compared",
    object="row security",
    observed="the schema of the backup cannot be read here, or is not in it",
    advice="Judge where recovery.pem and its passphrase are, to have policies compared as well.",
)


def _require_tables(tables: Sequence[TableEntry]) -> None:
    if not tables:
        raise SuitesNotEvaluated(reason="the backup has no tables, so there is nothing to judge by")


def judge_suites(
    session: DestinationSession,
    backup: str,
    suites: Sequence[PlannedSuite],
    data_docs: Path | None,
    findings: Sequence[Finding] = (),
) -> IntegrityReport:
    """Evaluate planned suites in a session and sum up; `findings` of the planning are added to the report."""
    outcomes = evaluate(session, suites, data_docs)
    return _report(backup, outcomes, session.failures, data_docs, findings)


def require_passed(report: IntegrityReport, failure: type[IntegrityFailed] = IntegrityFailed) -> None:
    """Raise `IntegrityFailed`, or what stands for it where the rows are not a restored database's, unless it passed.

    Its message names the gravest findings; what is only for information is no reason.
    """
    if not report.passed:
        grave = [finding for finding in report.findings if finding.severity != "info"]
        raise failure(
            backup=report.backup,
            failed=sum(suite.failed for suite in report.suites),
            expectations=sum(suite.expectations for suite in report.suites),
            first="; ".join(f"{finding.object}: {finding.code}" for finding in grave[:3]),
        )


def _report(
    backup: str,
    outcomes: Sequence[SuiteOutcome],
    failures: Sequence[StrongroomError],
    data_docs: Path | None,
    planning: Sequence[Finding],
) -> IntegrityReport:
    findings = [*_findings(outcomes), *_refusals(failures), *planning]
    suites = tuple(_suite_result(outcome) for outcome in outcomes)
    expected, observed, lost = _rows(outcomes)
    return IntegrityReport(
        backup=backup,
        passed=all(suite.passed for suite in suites),
        suites=suites,
        rows_expected=expected,
        rows_observed=observed,
        data_loss_percent=round(100 * lost / expected, 6) if expected else 0.0,
        data_docs=str(data_docs / "index.html") if data_docs else "",
        findings=tuple(sorted(findings, key=lambda f: _RANK[f.severity])),
    )


def _suite_result(outcome: SuiteOutcome) -> SuiteResult:
    """Sum up a suite: it passes if nothing critical failed and nothing was left unevaluated."""
    failed = [o for o in outcome.outcomes if not o.passed]
    worst = max((_weight(o) for o in failed), key=_ORDER.index, default="")
    return SuiteResult(
        suite=outcome.suite.title,
        passed=worst != "critical",
        expectations=len(outcome.outcomes),
        failed=len(failed),
        worst=worst,  # type: ignore[arg-type]
    )


def _weight(outcome: Outcome) -> str:
    """Return how bad a failure is: what could not be evaluated is critical, whatever it was about."""
    return "critical" if outcome.raised else outcome.planned.severity


def _rows(outcomes: Sequence[SuiteOutcome]) -> tuple[int, int, int]:
    """Return the rows of the baseline, those that were counted, and those that are missing.

    Rows of a table that could not be counted are missing; too many rows in one table make up for nothing.
    """
    expected = observed = lost = 0
    for outcome in outcomes:
        for answer in outcome.outcomes:
            if answer.planned.question in {"row-count", "rows-kept"}:
                counted = answer.observed if isinstance(answer.observed, int) else 0
                expected += outcome.suite.rows
                observed += counted
                lost += max(0, outcome.suite.rows - counted)
    return expected, observed, lost


_RANK: Mapping[str, int] = {"critical": 0, "error": 1, "warning": 2, "info": 3}


def _findings(outcomes: Sequence[SuiteOutcome]) -> Iterator[Finding]:
    for outcome in outcomes:
        for answer in outcome.outcomes:
            if not answer.passed:
                yield _finding(answer)


def _refusals(failures: Sequence[StrongroomError]) -> Iterator[Finding]:
    """Say once what the server refused: the reason why expectations could not be evaluated."""
    for sentence in dict.fromkeys(str(f.context.get("detail") or f.render()) for f in failures):
        yield Finding(
            severity="critical",
            code="integrity-refused",
            object="the restored database",
            observed=sentence[:_LONGEST],
            advice="The server refused a statement of the suites: this is why some were not evaluated.",
        )


def _finding(outcome: Outcome) -> Finding:
    planned = outcome.planned
    severity: Severity = "critical" if outcome.raised else planned.severity
    return Finding(
        severity=severity,
        code=f"integrity-{planned.question}",
        object=planned.subject,
        expected=planned.expected[:_LONGEST],
        observed="could not be evaluated" if outcome.raised else str(outcome.observed)[:_LONGEST],
        advice=_ADVICE[planned.question],
    )
