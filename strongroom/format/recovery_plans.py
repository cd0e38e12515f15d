"""Recovery plans: what a recovery is going to do, with its reasons, before anything is done. Pure.

A plan is a document of the repository format (`docs/format.md`, since version 3): it is printed, written to a file,
carried out later, kept in the destination while it runs, and stored with what became of it. It holds no rows and no
addresses; the conditions in it are the user's own words. Seconds are seconds, instants are aware and in UTC.
"""

import datetime as dt
from typing import Literal

from strongroom.format.documents import Document, Finding

Scenario = Literal["data_corruption", "complete_failure", "partial_loss", "custom"]
Strategy = Literal["exact", "merge_missing", "merge_overwrite", "empty"]
"""How rows get in: into an empty destination, or in place. `exact`: live becomes the backup, only differing rows are
touched. `merge_missing`: what is gone is inserted. `merge_overwrite`: it also gives back rows that were changed."""

PlannedDestination = Literal["source", "environment", "throw-away"]
"""Where to: in place, the empty database that the settings name, or an embedded server of a drill's own."""

StepName = Literal[
    "check",
    "verify",
    "emergency-backup",
    "restore",
    "judge-staging",
    "reconcile",
    "judge",
    "validate",
    "report",
]
Phase = Literal["assess", "prepare", "recover", "validate"]
Risk = Literal["low", "medium", "high"]
RollbackStrategy = Literal["immediate", "graceful", "manual"]


class ScopedTable(Document):
    """A table whose rows are recovered; `where` is an SQL condition over its columns, empty for all rows."""

    schema: str
    name: str
    where: str = ""

    @property
    def label(self) -> str:
        """The table's name for people."""
        return f"{self.schema}.{self.name}"


class PlannedStep(Document):
    """A step: what it does, when it should be over, what undoes it. If a critical one fails, the recovery stops."""

    name: StepName
    title: str
    phase: Phase
    critical: bool
    budget_seconds: float
    rollback: str


class TableEstimate(Document):
    """Rows of a table in the backup and now; -1 where the live table could not be counted or is not there."""

    table: str
    rows: int
    rows_live: int = -1


class RecoveryPlan(Document):
    """What a recovery is going to do. `id` names the run, too: carrying a plan out again continues its run.

    `why` says in a sentence why this recovery point. `recovery_lag_seconds` is the age of the recovery point when the
    plan was made, beside the objective. `undoes` is the run that this plan rolls back.
    """

    format: int
    id: str
    made_at: dt.datetime
    scenario: Scenario
    source: str
    backup: str
    recovery_point: dt.datetime
    why: str
    destination: PlannedDestination
    strategy: Strategy
    tables: tuple[ScopedTable, ...]
    steps: tuple[PlannedStep, ...]
    estimates: tuple[TableEstimate, ...] = ()
    proven: str = ""
    proven_at: dt.datetime | None = None
    estimated_downtime_seconds: float = 0.0
    estimate_basis: str = ""
    risk: Risk = "low"
    risk_reason: str = ""
    data_loss_percent: float = 0.0
    recovery_lag_seconds: float = 0.0
    recovery_lag_objective_seconds: float = 0.0
    recovery_duration_objective_seconds: float = 0.0
    not_restored: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    emergency_backup: bool = True
    rollback_on_error: bool = True
    rollback_strategy: RollbackStrategy = "immediate"
    force: bool = False
    skip_verification: bool = False
    undoes: str = ""
