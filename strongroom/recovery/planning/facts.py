"""What a plan is made of: wishes, the policy, the recovery points there are, what live holds, what was measured. Pure.

facts = PlanFacts(source="quantforge", wishes=Wishes(), manifest=manifest, live=counts, history=(), random=token)
plan = plan_recovery("data_corruption", catalog, facts, policy, now)
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from strongroom.format.documents import BackupClass, Finding, Manifest
from strongroom.format.records import DrillRecord, RecoveryRecord, VerificationRecord
from strongroom.format.recovery_plans import RollbackStrategy
from strongroom.operations.recovery_messages import Wishes
from strongroom.retention.facts import BackupFacts, Proof

Place = Literal["in-place", "empty"]


@dataclass(frozen=True)
class RecoveryPolicy:
    """What the settings say of recoveries. `schedule_interval` is the objective of the recovery lag."""

    min_recovery_point_age: dt.timedelta = dt.timedelta(hours=24)
    max_data_loss_percent: float = 5.0
    max_recovery_time: dt.timedelta = dt.timedelta(minutes=30)
    schedule_interval: dt.timedelta = dt.timedelta(hours=6)
    rollback_strategy: RollbackStrategy = "immediate"


@dataclass(frozen=True)
class RecoveryPoint:
    """An instant that can be rebuilt: a listed backup, and the level at which a good copy of it is proven.

    `proven` is empty where no verification has passed, or where one has failed since, of whatever level.
    """

    backup: str
    source: str
    at: dt.datetime
    backup_class: BackupClass = "scheduled"
    proven: Proof = ""
    proven_at: dt.datetime | None = None

    @classmethod
    def of(cls, facts: BackupFacts, verifications: Sequence[VerificationRecord]) -> "RecoveryPoint":
        """Make the recovery point of a listed backup and its verifications, which the catalog has weighed."""
        proven: Proof = facts.proven if facts.is_proven() else ""
        nearest = facts.locations[0] if facts.locations else ""
        passed = [
            record.at
            for record in verifications
            if record.passed and record.level == proven and facts.is_good_at(record.location or nearest)
        ]
        return cls(
            backup=facts.id,
            source=facts.source,
            at=facts.taken_at,
            backup_class=facts.backup_class,
            proven=proven,
            proven_at=max(passed, default=None),
        )


@dataclass(frozen=True)
class LiveCount:
    """Rows of a live table. Not exact: the planner's statistics, because counting took too long."""

    rows: int
    is_exact: bool = True


@dataclass(frozen=True)
class Measured:
    """An earlier recovery: the rows in its scope, how long it took, and how long writers waited."""

    at: dt.datetime
    place: Place
    rows: int
    seconds: float
    lock_seconds: float = 0.0

    @classmethod
    def of_recovery(cls, record: RecoveryRecord) -> "Measured | None":
        """Return what a recovery that ended well has measured, None for any other."""
        rows = sum(max(0, estimate.rows) for estimate in record.plan.estimates)
        if record.outcome != "recovered" or record.seconds <= 0 or rows == 0:
            return None
        place: Place = "empty" if record.plan.strategy == "empty" else "in-place"
        return cls(record.at, place, rows, record.seconds, record.lock_seconds)

    @classmethod
    def of_drill(cls, record: DrillRecord) -> "Measured | None":
        """Return what a drill that passed has measured, None for any other."""
        rows = sum(table.rows for table in record.tables)
        if not record.passed or record.recovery_duration_seconds <= 0 or rows == 0:
            return None
        return cls(record.at, "empty", rows, record.recovery_duration_seconds)


@dataclass(frozen=True)
class PlanFacts:
    """What is known when a plan is made.

    `manifest` is that of the recovery point that `choose_point` chooses from the same catalog. `live` holds the
    tables that could be counted, by label; `live_unknown` says why there are none. `random` names the run.
    """

    source: str
    wishes: Wishes
    manifest: Manifest
    random: bytes
    live: Mapping[str, LiveCount] = field(default_factory=dict)
    live_unknown: str = ""
    history: tuple[Measured, ...] = ()
    findings: tuple[Finding, ...] = ()
