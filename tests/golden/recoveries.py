"""What the golden repository says of recoveries and drills: two runs, of which one was rolled back, and two drills.

Every field of a plan, a recovery record and a drill record is written at least once, and left out at least once where
that is allowed.
"""

import datetime as dt
from collections.abc import Callable

from strongroom.format.documents import FORMAT, Finding
from strongroom.format.records import (
    DamageOutcome,
    DrillRecord,
    DrillStep,
    DrillTable,
    RecoveredTable,
    RecoveryRecord,
)
from strongroom.format.recovery_plans import PlannedStep, RecoveryPlan, ScopedTable, TableEstimate
from strongroom.ids import new_backup_id
from strongroom.repository.repository import Repository

_MINUTE = dt.timedelta(minutes=1)
_BY = "ada (uid 1000)"
_STEPS = (
    PlannedStep(
        name="check",
        title="Ask the live database",
        phase="assess",
        critical=True,
        budget_seconds=60.0,
        rollback="nothing was changed",
    ),
    PlannedStep(
        name="reconcile",
        title="Make live agree",
        phase="recover",
        critical=True,
        budget_seconds=900.0,
        rollback="restore from the emergency backup",
    ),
    PlannedStep(
        name="report",
        title="Write it down",
        phase="validate",
        critical=False,
        budget_seconds=30.0,
        rollback="",
    ),
)


def write_recoveries(repository: Repository, at: dt.datetime, random: Callable[[int], bytes]) -> None:
    """Write a run, which began and was rolled back, one that went well, and two drills, of which the second failed."""
    full, incremental = repository.backup_ids()
    run = f"recovery-{new_backup_id(at, random(5))}"
    plan = corruption_plan(f"{run}.rollback", full, at)
    repository.put_record(
        RecoveryRecord(format=FORMAT, at=at + _MINUTE, plan=plan, outcome="begun", by=_BY), random
    )
    finding = Finding(severity="critical", code="SR-0803", object="public.trades", observed="2 orphans")
    ended = RecoveryRecord(
        format=FORMAT,
        at=at + 4 * _MINUTE,
        plan=plan,
        outcome="rolled-back",
        by=_BY,
        emergency_backup=incremental,
        approved_by="grace",
        tables=(RecoveredTable(table="public.trades", inserts=4, changes=2, deletes=1),),
        seconds=180.5,
        lock_seconds=0.25,
        findings=(finding,),
    )
    repository.put_record(ended, random)
    run = f"recovery-{new_backup_id(at + 5 * _MINUTE, random(5))}"
    plan = loss_plan(run, incremental, at + 5 * _MINUTE)
    repository.put_record(
        RecoveryRecord(format=FORMAT, at=at + 6 * _MINUTE, plan=plan, outcome="recovered", by=_BY), random
    )
    repository.put_record(
        drill_record(new_backup_id(at + 9 * _MINUTE, random(5)), full, at + 10 * _MINUTE), random
    )
    drill = new_backup_id(at + 19 * _MINUTE, random(5))
    repository.put_record(_mutation_drill(drill, incremental, at + 20 * _MINUTE), random)


def corruption_plan(run: str, backup: str, at: dt.datetime) -> RecoveryPlan:
    """Return a plan that says all that a plan can say."""
    return RecoveryPlan(
        format=FORMAT,
        id=run,
        made_at=at,
        scenario="data_corruption",
        source="quantforge",
        backup=backup,
        recovery_point=at - dt.timedelta(hours=30),
        why="the newest verified one before 2026-01-03 00:00",
        destination="source",
        strategy="exact",
        tables=(
            ScopedTable(schema="public", name="strategies"),
            ScopedTable(schema="public", name="trades", where="price = 'NaN'"),
        ),
        steps=_STEPS,
        estimates=(
            TableEstimate(table="public.strategies", rows=51),
            TableEstimate(table="public.trades", rows=640, rows_live=649),
        ),
        proven="content",
        proven_at=at - dt.timedelta(hours=1),
        estimated_downtime_seconds=0.5,
        estimate_basis="the median of 3 runs",
        risk="medium",
        risk_reason="9 rows were written after the recovery point",
        data_loss_percent=1.4,
        recovery_lag_seconds=108_000.0,
        recovery_lag_objective_seconds=21_600.0,
        recovery_duration_objective_seconds=1800.0,
        not_restored=("storage objects",),
        findings=(Finding(severity="warning", code="forced", object=backup, observed="older than 24 h"),),
        emergency_backup=False,
        rollback_on_error=False,
        rollback_strategy="graceful",
        force=True,
        skip_verification=True,
        undoes=run.removesuffix(".rollback"),
    )


def loss_plan(run: str, backup: str, at: dt.datetime) -> RecoveryPlan:
    """Return a plan that says no more than it must."""
    return RecoveryPlan(
        format=FORMAT,
        id=run,
        made_at=at,
        scenario="partial_loss",
        source="quantforge",
        backup=backup,
        recovery_point=at - dt.timedelta(hours=24),
        why="the newest",
        destination="source",
        strategy="merge_missing",
        tables=(ScopedTable(schema="public", name="trades"),),
        steps=_STEPS[:1],
    )


def drill_record(drill: str, backup: str, at: dt.datetime) -> DrillRecord:
    """Return the evidence of a drill that went well and says no more than it must."""
    return DrillRecord(
        format=FORMAT,
        at=at,
        drill=drill,
        backup=backup,
        source="quantforge",
        by=_BY,
        passed=True,
        server_version=180000,
        recovery_point=at - dt.timedelta(hours=30),
        recovery_lag_seconds=108_000.0,
        recovery_lag_objective_seconds=21_600.0,
        recovery_duration_seconds=12.5,
        recovery_duration_objective_seconds=1800.0,
    )


def _mutation_drill(drill: str, backup: str, at: dt.datetime) -> DrillRecord:
    return DrillRecord(
        format=FORMAT,
        at=at,
        drill=drill,
        backup=backup,
        source="quantforge",
        by=_BY,
        passed=False,
        server_version=160000,
        recovery_point=at - dt.timedelta(hours=24),
        recovery_lag_seconds=86_400.0,
        recovery_lag_objective_seconds=21_600.0,
        recovery_duration_seconds=13.25,
        recovery_duration_objective_seconds=1800.0,
        bytes_moved=123_456,
        suites=8,
        suites_passed=7,
        expectations=57,
        tables=(
            DrillTable(table="public.trades", rows=648, rows_expected=649, digest="-1", digest_expected="-2"),
        ),
        steps=(DrillStep(name="restore", seconds=9.75),),
        damages=(
            DamageOutcome(damage="bit flip", noticed_by="verification", observed="SR-0602"),
            DamageOutcome(damage="dropped policy"),
        ),
        findings=(Finding(severity="error", code="drill", object="dropped policy", observed="unnoticed"),),
        page="<!doctype html><title>Drill</title><p>1 of 2 noticed</p>",
    )
