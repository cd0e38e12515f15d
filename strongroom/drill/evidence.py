"""The evidence of a drill: from what was observed to the record that is signed, and its verdict. Pure.

    observed = Observed(drill=…, plan=plan, …)
    record = evidence_of(observed, now, by)
    reason = reasons(record)                     # empty for a drill that passed

A drill passes if everything that it set out to prove was proven: each table equals the baseline, the suites passed, it
took no longer than allowed, and each damage was noticed. What was not looked at is not proven.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from strongroom.format.documents import FORMAT, Finding
from strongroom.format.records import DamageOutcome, DrillRecord, DrillStep, DrillTable
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.drill_messages import DamageReport, DrillMeasures
from strongroom.operations.messages import IntegrityReport, VerificationReport

GRAVE = frozenset({"error", "critical"})

INTERRUPTED = "drill-interrupted"
DURATION = "drill-duration"
LAG = "drill-lag"
DIFFERENCE = "drill-difference"
UNDETECTED = "drill-undetected"
CONTROL = "drill-control"
UNPROVEN = "drill-unproven"

_VERDICTS = (INTERRUPTED, CONTROL, UNPROVEN, DIFFERENCE, DURATION, UNDETECTED)


@dataclass
class Observed:
    """What a drill has seen so far; filled as it goes on, so that a drill that ends early has evidence as well."""

    drill: str
    plan: RecoveryPlan
    begun: dt.datetime
    lag_objective: float
    duration_objective: float
    wants_damage: bool = False
    server_version: int = 0
    recovery_seconds: float = 0.0
    bytes_moved: int = 0
    verification: VerificationReport | None = None
    integrity: IntegrityReport | None = None
    measures: DrillMeasures | None = None
    control: DamageReport | None = None
    damages: list[DamageReport] = field(default_factory=list)
    steps: list[DrillStep] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    data_docs: str = ""

    @property
    def lag_seconds(self) -> float:
        """What would have been lost: the age of the recovery point when the drill began."""
        return (self.begun - self.plan.recovery_point).total_seconds()


def evidence_of(observed: Observed, now: dt.datetime, by: str) -> DrillRecord:
    """Return the record of a drill; its findings hold the verdicts, and it passes if none of them is grave."""
    verdicts = (
        *_interrupted(observed),
        *_unproven(observed),
        *_differences(observed.measures),
        *_missed(observed),
        *_undetected(observed),
    )
    integrity, measures = observed.integrity, observed.measures
    found = integrity.findings if integrity else ()
    measured = measures.findings if measures else ()
    return DrillRecord(
        format=FORMAT,
        at=now,
        drill=observed.drill,
        backup=observed.plan.backup,
        source=observed.plan.source,
        by=by,
        passed=not any(finding.severity in GRAVE for finding in verdicts),
        server_version=observed.server_version,
        recovery_point=observed.plan.recovery_point,
        recovery_lag_seconds=round(observed.lag_seconds, 3),
        recovery_lag_objective_seconds=observed.lag_objective,
        recovery_duration_seconds=round(observed.recovery_seconds, 3),
        recovery_duration_objective_seconds=observed.duration_objective,
        bytes_moved=observed.bytes_moved,
        suites=len(integrity.suites) if integrity else 0,
        suites_passed=sum(suite.passed for suite in integrity.suites) if integrity else 0,
        expectations=sum(suite.expectations for suite in integrity.suites) if integrity else 0,
        tables=measures.tables if measures else (),
        steps=tuple(observed.steps),
        damages=outcomes(observed.damages),
        findings=(*verdicts, *measured, *found, *_of_verification(observed), *_on_the_way(observed)),
    )


def reasons(record: DrillRecord) -> str:
    """Say in a line why a drill failed; empty if it passed."""
    grave = [found for found in record.findings if found.code in _VERDICTS and found.severity in GRAVE]
    ordered = sorted(grave, key=lambda found: _VERDICTS.index(found.code))
    more = f"; and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return "; ".join(f"{found.object}: {found.observed.rstrip('.')}" for found in ordered[:3]) + more


def outcomes(damages: Sequence[DamageReport]) -> tuple[DamageOutcome, ...]:
    """Return what became of each damage that could be done."""
    return tuple(report.outcome for report in damages if report.level)


def is_equal(table: DrillTable) -> bool:
    """Tell whether a table is what the backup says, by rows and digest."""
    return (table.rows, table.digest) == (table.rows_expected, table.digest_expected)


def undetected(record: DrillRecord) -> tuple[str, ...]:
    """Return the names of the damages that nothing noticed for what they are."""
    return tuple(outcome.damage for outcome in record.damages if not outcome.noticed_by)


def detection_percent(record: DrillRecord) -> float:
    """Return the share of damages that were noticed, 0 to 100; 0 where none was done."""
    done = len(record.damages)
    return round(100 * (done - len(undetected(record))) / done, 1) if done else 0.0


def failed_only_to_notice(record: DrillRecord) -> bool:
    """Tell whether a drill failed for nothing but damage that went through."""
    grave = {found.code for found in record.findings if found.code in _VERDICTS and found.severity in GRAVE}
    return grave == {UNDETECTED}


# ------------------------------------------------------------------------------------------ verdicts


def _interrupted(observed: Observed) -> list[Finding]:
    return [finding for finding in observed.findings if finding.code == INTERRUPTED]


def _unproven(observed: Observed) -> list[Finding]:
    """Return a verdict for each thing that was not proven, whether it failed or was not reached."""
    found = []
    verification, integrity, measures = observed.verification, observed.integrity, observed.measures
    if verification is None or not verification.passed:
        seen = f"score {verification.score} of 100" if verification else "it was not verified"
        found.append(_verdict(UNPROVEN, "the stored bytes", "proven whole", seen))
    if integrity is None or not integrity.passed or not integrity.suites:
        failed = sum(not suite.passed for suite in integrity.suites) if integrity else 0
        seen = f"{failed} of {len(integrity.suites)} failed" if integrity else "they did not run"
        found.append(_verdict(UNPROVEN, "the integrity suites", "passed", seen))
    if measures is None or not measures.tables:
        found.append(_verdict(UNPROVEN, "the tables", "compared with the baseline", "they were not measured"))
    if observed.wants_damage:
        found += _unproven_damage(observed)
    return found


def _unproven_damage(observed: Observed) -> list[Finding]:
    if observed.control is None:
        return [_verdict(CONTROL, "the undamaged copy", "verified and passed", "it was not verified")]
    if not observed.control.noticed:
        seen = observed.control.outcome.observed
        return [_verdict(CONTROL, "the undamaged copy", "verified and passed", f"it failed: {seen}")]
    if not outcomes(observed.damages):
        return [_verdict(CONTROL, "damage", "done to a copy", "none was done")]
    return []


def _differences(measures: DrillMeasures | None) -> list[Finding]:
    """Return a verdict for each table that is not what the backup says."""
    return [
        _verdict(DIFFERENCE, table.table, _sum(table.rows_expected, table.digest_expected), _seen(table))
        for table in (measures.tables if measures else ())
        if not is_equal(table)
    ]


def _seen(table: DrillTable) -> str:
    return "could not be measured" if table.rows < 0 else _sum(table.rows, table.digest)


def _sum(rows: int, digest: str) -> str:
    return f"{rows} rows, digest {digest}"


def _missed(observed: Observed) -> list[Finding]:
    """Return what was missed of the objectives: too slow fails the drill, too old a recovery point is a warning."""
    found = []
    allowed, lag = observed.duration_objective, observed.lag_objective
    if allowed and observed.recovery_seconds > allowed:
        seen = f"it took {observed.recovery_seconds:.1f} s"
        found.append(_verdict(DURATION, "the recovery", f"within {allowed:g} s", seen))
    if lag and observed.lag_seconds > lag:
        found.append(
            Finding(
                severity="warning",
                code=LAG,
                object="the recovery point",
                expected=f"at most {lag:g} s old",
                observed=f"it is {observed.lag_seconds:.0f} s old",
                advice="Look at the schedule of backups: in a disaster, all that was written since would be lost.",
            )
        )
    return found


def _undetected(observed: Observed) -> list[Finding]:
    return [
        _verdict(UNDETECTED, outcome.damage, "noticed", f"not noticed: {outcome.observed}")
        for outcome in outcomes(observed.damages)
        if not outcome.noticed_by
    ]


def _verdict(code: str, subject: str, expected: str, observed: str) -> Finding:
    return Finding(
        severity="critical",
        code=code,
        object=subject,
        expected=expected,
        observed=observed,
        advice=_ADVICE[code],
    )


_ADVICE = {
    CONTROL: "Without an undamaged copy that passes, no damage that is noticed proves anything.",
    UNPROVEN: "See the findings below; a recovery from this backup cannot be counted on.",
    DIFFERENCE: "Run `strongroom verify --level content`; restore another backup, and compare.",
    DURATION: "Raise recovery.max_recovery_time, or make the recovery quicker: backup.parallelism, a nearer location.",
    UNDETECTED: "Verification has a hole. Do not count on it until this passes; please report it.",
}


# ---------------------------------------------------------------------------------- other findings


def _of_verification(observed: Observed) -> tuple[Finding, ...]:
    return observed.verification.findings if observed.verification else ()


def _on_the_way(observed: Observed) -> list[Finding]:
    """Return what was found on the way, and which damages could not be done for want of something to damage."""
    left = [
        Finding(
            severity="info",
            code="drill-not-applicable",
            object=report.outcome.damage,
            observed=report.outcome.observed,
        )
        for report in observed.damages
        if not report.level
    ]
    return [*(finding for finding in observed.findings if finding.code != INTERRUPTED), *left]
