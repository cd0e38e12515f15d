"""What the operations of recoveries in place, and of drills, are asked and what they answer.

The same promise as in `messages`: ids, counts and findings only. The one exception is `RowsShown`, which is for a
terminal: it is asked for without an orchestrator, and nothing stores it.
"""

import datetime as dt
from typing import Literal

from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan, RollbackStrategy, Scenario, ScopedTable, Strategy
from strongroom.operations.messages import Check, IntegrityReport, Message, RestoreStepReport, UnitBrief

RunState = Literal["begun", "staged", "committed", "rolling-back", "rolled-back", "finished"]
"""Where a run stands, as its journal in the destination says. Nothing is changed before `committed`."""

Outcome = Literal["recovered", "rolled-back", "failed", "left"]
"""How a run ended. `failed`: before anything was changed; `left`: changed, and left so on purpose."""


# ------------------------------------------------------------------------------------------- planning


class Wishes(Message):
    """What somebody asks of a recovery. `backup` is an id, `latest`, or empty to have one chosen.

    `before` asks for the last recovery point at or before an instant (aware). `tables` may carry conditions; with
    neither tables nor schemas the scenario says what is in scope.
    """

    backup: str = ""
    before: dt.datetime | None = None
    tables: tuple[ScopedTable, ...] = ()
    schemas: tuple[str, ...] = ()
    strategy: Strategy | None = None
    emergency_backup: bool = True
    rollback_on_error: bool = True
    rollback_strategy: RollbackStrategy | None = None
    force: bool = False
    skip_verification: bool = False


class PlanRecovery(Wishes, kw_only=True):
    """Make a plan."""

    scenario: Scenario


class PlanRollback(Message):
    """Make the plan that rolls a run back from its emergency backup."""

    run: str


class RecoveryPlanReport(Message):
    """A plan; nothing was written anywhere."""

    plan: RecoveryPlan


# ------------------------------------------------------------------------------------------- the run


class HoldRecovery(Message):
    """Take the right to recover this database, open the run's journal there, and hold the right until released."""

    plan: RecoveryPlan


class RunReport(Message):
    """A run as its journal says. `owner` is what the operations of this holder show, so that no other can commit."""

    run: str
    state: RunState
    owner: str = ""
    resumed: bool = False
    emergency_backup: str = ""
    findings: tuple[Finding, ...] = ()
    forgotten: RecoveryPlan | None = None
    """Of a rollback: the plan of the run that it undoes, if which rows that has touched has to be found out again.
    Its rows are then staged as well, and `RecallTouched` is asked. The `owner` is that of both."""


class CheckRecovery(Message):
    """Ask everything that can be known before anything is written: tables, columns, rights, who holds locks."""

    plan: RecoveryPlan


class MappedBrief(Message):
    """How one table's columns are matched by name, and by what its rows are."""

    table: str
    columns: int
    left_out: tuple[str, ...] = ()
    """Columns of the backup that live does not have."""
    kept: tuple[str, ...] = ()
    """Columns of live that the backup does not have: they keep their values, or get their default."""
    key: tuple[str, ...] = ()
    """The key that rows are matched by; empty if rows are matched by all that is in them."""


class RecoveryCheckReport(Message):
    """What was found before the first write. What makes the recovery impossible is raised instead."""

    tables: tuple[MappedBrief, ...]
    triggers: Literal["replica", "disabled"] = "replica"
    """What keeps triggers and foreign keys from acting: session_replication_role, or triggers disabled meanwhile."""
    findings: tuple[Finding, ...] = ()


class NoteEmergencyBackup(Message):
    """Write down in the run's journal which backup it can be rolled back to. Answered by `RunReport`."""

    plan: RecoveryPlan
    owner: str
    backup: str


class PrepareStaging(Message):
    """Make the staging tables, and cut the loading into units. What an earlier attempt loaded stays."""

    plan: RecoveryPlan
    owner: str


class StagingReport(Message):
    """What is going to be loaded, in units that may run in parallel and in any order."""

    tables: int
    rows: int
    units: tuple[UnitBrief, ...]
    findings: tuple[Finding, ...] = ()


class StageUnit(Message):
    """Load one unit's rows into the staging tables. Safe to run twice. Answered by `RestoreStepReport`."""

    plan: RecoveryPlan
    unit: int


class FinishStaging(Message):
    """Prove that all wanted rows are in, index them, and take statistics. Answered by `RestoreStepReport`."""

    plan: RecoveryPlan
    owner: str


class RecallTouched(Message):
    """Find out which rows a run has touched, for its rollback, from the rows that both have staged. Live is not read.

    Answered by `DifferencesReport`, of the run's own tables.
    """

    plan: RecoveryPlan
    """The rollback."""
    undone: RecoveryPlan
    owner: str


class JudgeStaging(Message):
    """Run the integrity suites on the staging tables. Answered by `IntegrityReport`."""

    plan: RecoveryPlan
    data_docs: str = ""


class CompareLive(Message):
    """Find what differs between live and the staging tables, and write down which rows. Live is only read."""

    plan: RecoveryPlan
    owner: str


class TableDifferences(Message):
    """What a recovery would do, or did, to one table.

    `deletes_written_since` of the deletes are newer than the recovery point: most likely the application's own work.
    """

    table: str
    inserts: int = 0
    changes: int = 0
    deletes: int = 0
    deletes_written_since: int = 0
    kept: int = 0
    """Rows that differ from the backup and that the strategy leaves alone."""
    rows_staged: int = 0
    rows_live: int = 0

    @property
    def total(self) -> int:
        """How many rows are touched."""
        return self.inserts + self.changes + self.deletes


class DifferencesReport(Message):
    """The differences of all tables in scope at one instant."""

    tables: tuple[TableDifferences, ...]
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()

    @property
    def total(self) -> int:
        """How many rows are touched."""
        return sum(table.total for table in self.tables)


class ShowRows(Message):
    """Show some of the rows that differ, as they are and as they will be. For a terminal; see `RowsShown`."""

    plan: RecoveryPlan
    most: int = 5


class RowDifference(Message):
    """A row that differs: its key, and each column that does, as text before and after; None where there is none."""

    kind: Literal["insert", "change", "delete"]
    key: str
    columns: tuple[tuple[str, str | None, str | None], ...] = ()


class TableRowsShown(Message):
    """Some rows of one table."""

    table: str
    rows: tuple[RowDifference, ...]


class RowsShown(Message):
    """Rows of the user's: never stored, logged, or put into a task's result."""

    tables: tuple[TableRowsShown, ...]


class ApplyRecovery(Message):
    """Make live agree with the staging tables, in one transaction; or raise, and have changed nothing."""

    plan: RecoveryPlan
    owner: str


class ApplyReport(Message):
    """What was committed. `lock_seconds` is how long writers of the tables in scope were kept waiting at most.

    `rows_locked_seconds` is how long those of the rows that differed were: it includes the former.
    `compared_again` are the tables that were written to while they were being compared, so that they were compared
    once more under the lock.
    """

    tables: tuple[TableDifferences, ...]
    committed_at: dt.datetime
    lock_seconds: float
    rows_locked_seconds: float = 0.0
    lock_attempts: int = 1
    compared_again: tuple[str, ...] = ()
    sequences_moved: tuple[str, ...] = ()
    already_done: bool = False
    """Whether an earlier attempt of the same run had committed it."""
    findings: tuple[Finding, ...] = ()


class ConfirmRecovery(Message):
    """Compare live with the staging tables again, after the commit: no row differs that was not written since."""

    plan: RecoveryPlan


class ConfirmReport(Message):
    """Whether live is what the plan wanted. `written_since` rows are newer than the commit, and nobody's fault."""

    passed: bool
    differing: int
    written_since: int
    rows_compared: int
    findings: tuple[Finding, ...] = ()


class JudgeLive(Message):
    """Run the integrity suites on the live tables in scope, after the commit. Answered by `IntegrityReport`."""

    plan: RecoveryPlan
    data_docs: str = ""


class ValidateSystem(Message):
    """Ask as the application would: as each API role, the configured SQL checks, the configured health addresses."""

    destination: Literal["source", "environment"] = "source"


class ValidationReport(Message):
    """The answers; `passed` only if every check of severity error could be asked and held."""

    passed: bool
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...] = ()


class FinishRecovery(Message):
    """Remove the staging tables and the journal of a run, and store signed what became of it.

    Answered by `RunReport`, with the state that the outcome stands for.
    """

    plan: RecoveryPlan
    owner: str
    outcome: Outcome
    seconds: float
    emergency_backup: str = ""
    applied: ApplyReport | None = None
    findings: tuple[Finding, ...] = ()
    approved_by: str = ""


class CleanRecovery(Message):
    """Remove what a run that is no longer under way has left in the database."""


class CleanReport(Message):
    """What was removed; `changed` tells whether that run had committed its changes."""

    removed: tuple[str, ...]
    run: str = ""
    changed: bool = False
    findings: tuple[Finding, ...] = ()


class ReadRecoveries(Message):
    """Tell which recovery is under way in the database, and how earlier ones ended."""


class RecoveryBrief(Message):
    """A recovery in a line."""

    run: str
    at: dt.datetime
    outcome: str
    scenario: Scenario
    backup: str
    strategy: Strategy
    emergency_backup: str = ""
    by: str = ""
    rows: int = 0
    seconds: float = 0.0


class RecoveriesReport(Message):
    """What is under way, if anything, and what was, the newest last."""

    under_way: RunReport | None = None
    plan: RecoveryPlan | None = None
    is_held: bool = False
    """Whether a process holds the right to recover at this moment."""
    earlier: tuple[RecoveryBrief, ...] = ()
    findings: tuple[Finding, ...] = ()


class InPlaceReport(Message):
    """A whole recovery in place in brief."""

    run: str
    plan: RecoveryPlan
    outcome: Outcome
    emergency_backup: str
    differences: DifferencesReport | None = None
    applied: ApplyReport | None = None
    staging: IntegrityReport | None = None
    integrity: IntegrityReport | None = None
    validation: ValidationReport | None = None
    rollback: ApplyReport | None = None
    steps: tuple[RestoreStepReport, ...] = ()
    approved_by: str = ""
    recovery_lag_seconds: float = 0.0
    recovery_duration_seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
