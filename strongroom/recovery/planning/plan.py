"""The plan of a recovery, put together from what the other modules of this room decide. Pure.

plan = plan_recovery("partial_loss", catalog, facts, policy, now)
msgspec.json.encode(plan)       # a document: printed, kept, carried out later
"""

import datetime as dt
from collections.abc import Sequence

from msgspec.structs import replace

from strongroom.errors import PlanUnfit
from strongroom.format.documents import FORMAT, Manifest
from strongroom.format.recovery_plans import RecoveryPlan, Scenario, ScopedTable, TableEstimate
from strongroom.ids import new_backup_id
from strongroom.recovery.planning.choosing import choose_point
from strongroom.recovery.planning.estimates import estimate
from strongroom.recovery.planning.facts import Place, PlanFacts, RecoveryPoint, RecoveryPolicy
from strongroom.recovery.planning.remarks import findings_of_plan, findings_of_wishes, not_restored
from strongroom.recovery.planning.risk import assess_loss
from strongroom.recovery.planning.scenarios import (
    choose_strategy,
    destination_of,
    steps_of,
    steps_of_rollback,
    takes_emergency_backup,
)
from strongroom.recovery.planning.scope import choose_scope, label

RUN_PREFIX = "recovery-"


def plan_recovery(
    scenario: Scenario,
    catalog: Sequence[RecoveryPoint],
    facts: PlanFacts,
    policy: RecoveryPolicy,
    now: dt.datetime,
) -> RecoveryPlan:
    """Return the plan of a recovery: the same arguments, the same plan.

    Raises `NoRecoveryPoint`, `OnlyUnverified`, `RecoveryPointTooOld`, `NothingInScope`, `StrategyUnfit`, `PlanUnfit`,
    `EmergencyBackupNeeded`; and `ValueError` if the manifest in `facts` is not that of the recovery point.
    """
    wishes, manifest = facts.wishes, facts.manifest
    strategy = choose_strategy(scenario, wishes.strategy)
    emergency = takes_emergency_backup(scenario, wishes)
    choice = choose_point(catalog, facts.source, wishes, policy, now)
    if choice.point.backup != manifest.id:
        raise ValueError(f"chosen is {choice.point.backup}, the manifest is that of {manifest.id}")
    tables = choose_scope(scenario, wishes, manifest)
    estimates = estimate_tables(tables, facts)
    lag = max(now - manifest.snapshot.taken_at, dt.timedelta()).total_seconds()
    loss = assess_loss(scenario, strategy, tables, estimates, lag, policy)
    place: Place = "empty" if strategy == "empty" else "in-place"
    taking = estimate(place, sum(one.rows for one in estimates), _size(tables, manifest), facts.history)
    told = (*choice.findings, *findings_of_plan(scenario, tables, facts, policy, taking), *facts.findings)
    return RecoveryPlan(
        format=FORMAT,
        id=RUN_PREFIX + new_backup_id(now, facts.random),
        made_at=now,
        scenario=scenario,
        source=facts.source,
        backup=manifest.id,
        recovery_point=manifest.snapshot.taken_at,
        why=choice.why,
        destination=destination_of(scenario),
        strategy=strategy,
        tables=tables,
        steps=steps_of(scenario, emergency_backup=emergency, verification=not wishes.skip_verification),
        estimates=estimates,
        proven=choice.point.proven,
        proven_at=choice.point.proven_at,
        estimated_downtime_seconds=round(taking.downtime_seconds, 1),
        estimate_basis=taking.basis,
        risk=loss.risk,
        risk_reason=loss.reason,
        data_loss_percent=loss.percent,
        recovery_lag_seconds=round(lag, 1),
        recovery_lag_objective_seconds=policy.schedule_interval.total_seconds(),
        recovery_duration_objective_seconds=policy.max_recovery_time.total_seconds(),
        not_restored=not_restored(scenario, strategy, tables, manifest),
        findings=(*findings_of_wishes(scenario, wishes), *told),
        emergency_backup=emergency,
        rollback_on_error=wishes.rollback_on_error and scenario != "complete_failure",
        rollback_strategy=wishes.rollback_strategy or policy.rollback_strategy,
        force=wishes.force,
        skip_verification=wishes.skip_verification,
    )


def plan_rollback(
    undone: RecoveryPlan, manifest: Manifest, policy: RecoveryPolicy, why: str = ""
) -> RecoveryPlan:
    """Return the plan that gives back what a run has changed, from the emergency backup of this manifest.

    It is the same whenever it is made, so that a rollback that was cut off is continued by planning it again.
    Raises `PlanUnfit` for a run that was not in place, or that is a rollback itself.
    """
    if undone.destination != "source" or undone.undoes:
        raise PlanUnfit(plan=undone.id, reason="only a recovery in place is rolled back, and no rollback is")
    point = manifest.snapshot.taken_at
    held = {label(entry.facts): entry.rows for entry in manifest.tables}
    # Whole: a row outside the condition now may be one that the run has brought inside.
    tables = tuple(replace(t, where="") for t in undone.tables if t.label in held)
    rows = sum(held[table.label] for table in tables)
    taking = estimate("in-place", rows, _size(tables, manifest), ())
    return RecoveryPlan(
        format=FORMAT,
        id=f"{undone.id}.rollback",
        made_at=manifest.finished_at,
        scenario="custom",
        source=undone.source,
        backup=manifest.id,
        recovery_point=point,
        why=why or f"It is the emergency backup of {undone.id}: what live held before that recovery.",
        destination="source",
        strategy="exact",
        tables=tables,
        steps=steps_of_rollback(),
        estimates=tuple(TableEstimate(table=table.label, rows=held[table.label]) for table in tables),
        estimated_downtime_seconds=round(taking.downtime_seconds, 1),
        estimate_basis=taking.basis,
        risk="low",
        risk_reason="Only rows that the recovery has touched are set back; what was written to them since is lost.",
        recovery_lag_objective_seconds=policy.schedule_interval.total_seconds(),
        recovery_duration_objective_seconds=policy.max_recovery_time.total_seconds(),
        not_restored=("what was written since the recovery to the very rows that it has touched",),
        emergency_backup=False,
        rollback_on_error=False,
        rollback_strategy=policy.rollback_strategy,
        undoes=undone.id,
    )


def estimate_tables(tables: Sequence[ScopedTable], facts: PlanFacts) -> tuple[TableEstimate, ...]:
    """Return the rows of each table in the backup, and live if it was counted."""
    held = {label(entry.facts): entry.rows for entry in facts.manifest.tables}
    return tuple(
        TableEstimate(
            table=table.label,
            rows=held[table.label],
            rows_live=facts.live[table.label].rows if table.label in facts.live else -1,
        )
        for table in tables
    )


def _size(tables: Sequence[ScopedTable], manifest: Manifest) -> int:
    scope = {table.label for table in tables}
    return sum(entry.facts.size for entry in manifest.tables if label(entry.facts) in scope)
