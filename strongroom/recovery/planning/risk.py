"""What a recovery may cost: rows that live has and the recovery point has not. Pure.

Counts tell the least that is lost, not all of it: an update changes no count, and a delete hides an insert. What
could not be counted is never called low. `Low` is up to half of `max_data_loss_percent`, `medium` up to all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.format.recovery_plans import Risk, Scenario, ScopedTable, Strategy, TableEstimate
from strongroom.recovery.planning.facts import RecoveryPolicy
from strongroom.recovery.planning.wording import counted, listed, span

FEW_ROWS = 100
"""Of a smaller table the share that is lost says little; it counts in the whole only."""

_RANK: tuple[Risk, ...] = ("low", "medium", "high")


@dataclass(frozen=True)
class DataLoss:
    """How much may be lost, in a word, a sentence, and percent of the live rows in scope."""

    risk: Risk
    reason: str
    percent: float = 0.0


def worse(one: Risk, other: Risk) -> Risk:
    """Return the higher of two risks."""
    return max(one, other, key=_RANK.index)


def assess_loss(
    scenario: Scenario,
    strategy: Strategy,
    tables: Sequence[ScopedTable],
    estimates: Sequence[TableEstimate],
    lag_seconds: float,
    policy: RecoveryPolicy,
) -> DataLoss:
    """Assess what a recovery with these counts would lose, `lag_seconds` after the recovery point."""
    if strategy == "merge_missing":
        return DataLoss(
            "low", "Nothing that is there is changed or deleted; rows deleted on purpose since come back."
        )
    by_lag = _by_lag(lag_seconds, policy)
    since = f"in the {span(lag_seconds)} since the recovery point"
    if scenario == "complete_failure":
        return DataLoss(
            worse("medium", by_lag),
            f"Everything written {since} is lost, and a dead source cannot be counted.",
        )
    if strategy == "merge_overwrite":
        reason = f"Nothing is deleted; rows changed {since} are set back, and --preview counts them."
        return DataLoss(worse("medium", by_lag), reason)
    return _of_exact(tables, estimates, by_lag, since, policy)


def percent_lost(estimates: Sequence[TableEstimate]) -> float:
    """Return how many percent of the live rows that were counted the recovery point has not, at least."""
    live = sum(estimate.rows_live for estimate in estimates if estimate.rows_live > 0)
    return 100 * sum(_lost(estimate) for estimate in estimates) / live if live else 0.0


def _of_exact(
    tables: Sequence[ScopedTable],
    estimates: Sequence[TableEstimate],
    by_lag: Risk,
    since: str,
    policy: RecoveryPolicy,
) -> DataLoss:
    percent = percent_lost(estimates)
    worst, worst_percent = _worst(estimates)
    risk = _by_percent(max(percent, worst_percent), policy)
    lost = sum(_lost(estimate) for estimate in estimates)
    reason = f"At least {counted(lost, 'live row')} ({percent:.2g} %) written {since} would be deleted."
    if lost == 0:
        reason = f"Live has no more rows than the recovery point; what was changed {since} is set back."
    if worst:
        reason += f" {worst} loses most: {worst_percent:.2g} % of its rows."
    unknown = [estimate.table for estimate in estimates if estimate.rows_live < 0]
    if unknown:
        risk = worse(risk, "medium")
        reason += f" Not counted: {listed(unknown)}."
    if any(table.where for table in tables):
        risk = worse(risk, "medium")
        reason += " Whole tables were counted; what meets the conditions, --preview counts."
    if by_lag == "high":
        risk = worse(risk, "medium")
        reason += f" That is longer than the objective of {span(policy.schedule_interval)}."
    return DataLoss(risk, reason, round(percent, 4))


def _worst(estimates: Sequence[TableEstimate]) -> tuple[str, float]:
    """Return the table that loses the largest share of its rows, and that share in percent; nothing if none does."""
    shares = [
        (100 * _lost(estimate) / estimate.rows_live, estimate.table)
        for estimate in estimates
        if estimate.rows_live >= FEW_ROWS and _lost(estimate)
    ]
    share, name = max(shares, default=(0.0, ""))
    return name, share


def _lost(estimate: TableEstimate) -> int:
    return max(0, estimate.rows_live - max(0, estimate.rows))


def _by_percent(percent: float, policy: RecoveryPolicy) -> Risk:
    if percent > policy.max_data_loss_percent:
        return "high"
    return "medium" if percent > policy.max_data_loss_percent / 2 else "low"


def _by_lag(lag_seconds: float, policy: RecoveryPolicy) -> Risk:
    return "high" if lag_seconds > policy.schedule_interval.total_seconds() else "low"
