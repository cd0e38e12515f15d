"""Making live agree with the staging tables, in one transaction that is as short as it can be.

    applying = Applying(connection, plan, owner, manifest, tables, settings.recovery, context)
    report = applying.run()

Exactly the rows that differ are touched, foreign keys are looked at, sequences move forward, and the journal says
`committed`. All of it is committed, or none. There are two ways. First the rows are touched, and then the tables locked
against writers, for as long as it takes to prove that nothing else has changed since they were compared. If something
has, or the lock is not to be had at once, everything is undone and the tables are locked first: what was written to is
compared again, and then the rows are touched. A row count that is not what was compared ends either.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
import psycopg

from strongroom.errors import (
    LiveMoved,
    LockNotObtained,
    PlanUnfit,
    ReferencesWouldBreak,
    StrongroomError,
    ValueTaken,
)
from strongroom.format.documents import Finding, Manifest
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import ApplyReport
from strongroom.postgres.connection import Connection, abandon, translate, translated
from strongroom.recovery import reconciling
from strongroom.recovery.applied import COMMITTED, Applied, read_applied, store_applied
from strongroom.recovery.comparing import (
    Compared,
    compare_tables,
    current_snapshot,
    read_compared,
    require_staged,
)
from strongroom.recovery.comparison import Matched
from strongroom.recovery.locking import (
    describe_holders,
    is_busy,
    lock_against_upkeep,
    lock_at_once,
    lock_tables,
    pause_seconds,
    require_free,
)
from strongroom.recovery.proving import CompareAgain, HasChanged, Proof
from strongroom.recovery.replica_identity import refused_tables
from strongroom.recovery.run_journal import require_owner, set_state
from strongroom.recovery.sequences_forward import move_sequences
from strongroom.recovery.staging_names import found_differences, schema_of
from strongroom.recovery.touching import Touching, looked_up_by_place
from strongroom.recovery.unchanged import running_now
from strongroom.recovery_settings import RecoverySettings

_ROUNDS = 2
"""How often a table that was written to is compared again without the lock before that is done under it."""

_AT_ONCE_MS = 1
"""For how long a row is waited for while others may wait for us: the shortest that the server knows."""

_SETTINGS = (
    "SET LOCAL work_mem = '64MB'",
    "SET LOCAL max_parallel_workers_per_gather = 2",
    # The platform's own guard against deleting rows of storage.objects.
    "SET LOCAL storage.allow_delete_query = 'true'",
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
)


class CommitUnknown(Exception):
    """The connection was lost while the commit was under way: only the journal knows."""


class _LockFirst(Exception):
    """Rows cannot be touched before the tables are locked."""


@dataclass(frozen=True)
class _Done:
    """What an attempt has done before its commit; `touched_at` and `locked_at` in seconds of the monotonic clock.

    `in_vain` is for how many seconds an attempt that was undone held rows before.
    """

    touching: Touching
    touched_at: float
    locked_at: float
    snapshot: str
    xid: int
    refused: tuple[Finding, ...]
    again: tuple[str, ...] = ()
    in_vain: float = 0.0

    def waited(self) -> tuple[float, float]:
        """Return for how many seconds until now others may have waited for the tables, and for the rows."""
        now = time.monotonic()
        return round(now - self.locked_at, 4), round(now - self.touched_at + self.in_vain, 4)


@dataclass
class Applying:
    """One run's application of its differences; `own` are transaction ids of this process."""

    connection: Connection
    plan: RecoveryPlan
    owner: str
    manifest: Manifest
    tables: Sequence[Matched]
    limits: RecoverySettings
    context: Context
    own: set[int] = field(default_factory=set)
    _has_touched: bool = False
    _moved: set[str] = field(default_factory=set)
    _seconds_in_vain: float = 0.0

    @property
    def schema(self) -> str:
        """The schema of the run."""
        return schema_of(self.plan)

    @property
    def _proof(self) -> Proof:
        return Proof(self.connection, self.plan, self.tables, self.own)

    # ---------------------------------------------------------------------------------- attempts

    def run(self) -> ApplyReport:
        """Try until it is committed.

        Raises `LockNotObtained`, `LiveMoved`, `ReferencesWouldBreak`, `ValueTaken`, `SchemaDrifted`, `StrategyUnfit`,
        `RecoveryOwnerLost`, `StagingIncomplete`, and `CommitUnknown`.
        """
        rounds, attempt = 0, 1
        while True:
            self.context.deadline.check()
            compared = self._compared()
            in_question = self._in_question(compared)
            wholly = self._published_unfit(in_question, compared)
            if attempt == 1:
                self._read_ahead(in_question, compared)
            if not self._has_touched:
                self._has_touched = True
                report = self._rows_first(in_question, wholly)
                if report is not None:
                    return report
            change = partial(self._lock_first, in_question, wholly, may_wait=rounds < _ROUNDS)
            try:
                return self._attempt(change, attempt)
            except (CompareAgain, LiveMoved):
                # The latter against all that was made sure of: the comparison is not to be believed.
                if rounds >= _ROUNDS:
                    raise
                rounds += 1
                self._compare()
            except StrongroomError as error:
                if not is_busy(error):
                    raise
                if attempt >= self.limits.lock_attempts:
                    raise self._not_obtained(in_question, wholly, attempt) from error
                self._pause(attempt)
                attempt += 1

    def _rows_first(self, tables: Sequence[Matched], wholly: frozenset[str]) -> ApplyReport | None:
        """Try what keeps writers waiting the least; None if it does not do, and nothing has changed."""
        try:
            return self._attempt(partial(self._touch_first, tables, wholly), attempt=1)
        except (_LockFirst, HasChanged, LiveMoved, ReferencesWouldBreak, ValueTaken):
            # Under a lock it is found out what has become of the rows, and whether that is an error.
            return None
        except StrongroomError as error:
            if is_busy(error):
                return None
            raise

    def _attempt(self, change: Callable[[], _Done], attempt: int) -> ApplyReport:
        connection = self.connection
        with translated("the recovery"):
            # Whatever the role prefers: what is committed until the lock is ours must be seen after it.
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        try:
            before = self._begin()
            if before is not None:
                abandon(connection)
                return msgspec.structs.replace(before.report, already_done=True)
            done = change()
            report = self._report(done, attempt)
            store_applied(
                connection, self.plan, Applied(report, done.snapshot, done.xid, done.touching.is_certain)
            )
            set_state(connection, self.plan, "committed")
            self._commit()
        except BaseException:
            abandon(connection)
            raise
        # The commit itself is part of what others have waited for.
        tables, rows = done.waited()
        return msgspec.structs.replace(report, lock_seconds=tables, rows_locked_seconds=rows)

    def _report(self, done: _Done, attempt: int) -> ApplyReport:
        compared = done.touching.compared
        tables, rows = done.waited()
        return ApplyReport(
            tables=tuple(compared[t.mapped.number].differences(t.mapped) for t in self.tables),
            committed_at=self.context.clock(),
            lock_seconds=tables,
            rows_locked_seconds=rows,
            lock_attempts=attempt,
            compared_again=done.again,
            # They stay where they are if an attempt is undone.
            sequences_moved=tuple(sorted(self._moved)),
            findings=(*done.touching.findings, *done.refused),
        )

    def _begin(self) -> Applied | None:
        """Set the transaction up, make sure that the run is ours, and return what it has committed before."""
        connection = self.connection
        with translated("the recovery"):
            connection.execute(f"SET LOCAL lock_timeout = {int(self.limits.lock_timeout * 1000)}")
            for setting in _SETTINGS:
                connection.execute(setting)
        run = require_owner(connection, self.plan, self.owner)
        if run.state in COMMITTED:
            done = read_applied(connection, self.plan)
            if done is None:
                # Its journal was opened again from its record, to be rolled back.
                raise PlanUnfit(plan=self.plan.id, reason=f"it is {run.state}, and is not carried out again")
            return done
        require_staged(run)
        self.own.add(current_snapshot(connection)[2])
        return None

    def _commit(self) -> None:
        try:
            self.connection.execute("COMMIT")
        except psycopg.OperationalError as error:
            if self.connection.closed or self.connection.broken:
                raise CommitUnknown from error
            raise translate(error, "the commit") from error
        except psycopg.Error as error:
            raise translate(error, "the commit") from error

    def _pause(self, attempt: int) -> None:
        seconds = pause_seconds(attempt, self.context.random(1)[0] / 255)
        time.sleep(max(0.0, min(seconds, self.context.deadline.remaining())))

    def _not_obtained(
        self, tables: Sequence[Matched], wholly: frozenset[str], attempts: int
    ) -> LockNotObtained:
        return LockNotObtained(
            object=", ".join(table.mapped.label for table in tables[:5]),
            attempts=attempts,
            seconds=self.limits.lock_timeout,
            holders=describe_holders(self.connection, tables, wholly=wholly),
        )

    # ---------------------------------------------------------------------------------- comparing

    def _compare(self) -> None:
        compared = compare_tables(
            self.connection, self.plan, self.owner, self.tables, lock_timeout=self.limits.lock_timeout
        )
        self.own |= {one.xid for one in compared}

    def _compared(self) -> dict[int, Compared]:
        """Return what was compared; compare if that was lost, or never done."""
        found = read_compared(self.connection, self.schema)
        if any(table.mapped.number not in found for table in self.tables):
            self._compare()
            found = read_compared(self.connection, self.schema)
        self.own |= {one.xid for one in found.values()}
        return found

    def _read_ahead(self, tables: Sequence[Matched], compared: dict[int, Compared]) -> None:
        """Have the server read, while nobody waits, what it is going to need while everybody does."""
        for table in tables:
            if compared[table.mapped.number].total:
                differences = found_differences(self.schema, table.mapped.number)
                found = compared[table.mapped.number]
                with (
                    translated(table.mapped.label),
                    self.connection.transaction(),
                    looked_up_by_place(self.connection, found),
                ):
                    self.connection.execute(reconciling.read_rows(table, differences))

    def _in_question(self, compared: dict[int, Compared]) -> list[Matched]:
        """Return the tables to lock: all in scope if live is to become the backup, else those with something to do."""
        if self.plan.strategy == "exact":
            return list(self.tables)
        return [table for table in self.tables if compared[table.mapped.number].total]

    def _published_unfit(self, tables: Sequence[Matched], compared: dict[int, Compared]) -> frozenset[str]:
        """Return the labels of tables that the server lets nobody update or delete from, and that need it."""
        touched = []
        for table in tables:
            found = compared[table.mapped.number]
            if found.updates + found.replacements + found.deletes:
                touched.append(table)
        return frozenset(table.mapped.label for table in refused_tables(self.connection, touched))

    # ---------------------------------------------------------------------------------- the lock first

    def _lock_first(self, tables: Sequence[Matched], wholly: frozenset[str], *, may_wait: bool) -> _Done:
        connection = self.connection
        lock_against_upkeep(connection, tables)
        # From here on writers queue behind us, though we may not have the lock yet.
        locked_at = time.monotonic()
        lock_tables(connection, tables, wholly=wholly)
        snapshot, xid = running_now(connection), current_snapshot(connection)[2]
        compared, again = self._proof.make_sure(tables, may_wait=may_wait)
        locked = frozenset(table.mapped.label for table in tables)
        touching = Touching(connection, self.plan, tables, compared, locked, wholly)
        touching.prepare()
        touching.touch()
        touching.require_keys()
        refused = move_sequences(connection, self.schema, self.manifest, self.tables, self._moved)
        return _Done(
            touching, locked_at, locked_at, snapshot, xid, refused, again, in_vain=self._seconds_in_vain
        )

    # ---------------------------------------------------------------------------------- the rows first

    def _touch_first(self, tables: Sequence[Matched], wholly: frozenset[str]) -> _Done:
        """Touch the rows, then lock the tables and prove that nothing else has changed.

        Raises `_LockFirst` and `HasChanged`.
        """
        connection = self.connection
        compared = read_compared(connection, self.schema)
        lock_against_upkeep(connection, tables)
        touching = Touching(connection, self.plan, tables, compared, frozenset(), wholly)
        touching.prepare()
        if touching.needs_locks:
            raise _LockFirst
        expected = self._proof.expect(tables, compared)
        # Beside a transaction that stays open all would be in vain, over and over.
        require_free(connection, tables)
        with translated("the recovery"):
            connection.execute(f"SET LOCAL lock_timeout = {_AT_ONCE_MS}")
        touched_at = time.monotonic()
        try:
            touching.touch()
            refused = move_sequences(connection, self.schema, self.manifest, self.tables, self._moved)
            lock_at_once(connection, tables)
            locked_at = time.monotonic()
            snapshot, xid = running_now(connection), current_snapshot(connection)[2]
            self._proof.require_unchanged(tables, compared, expected)
            touching.require_keys()
        except BaseException:
            self._seconds_in_vain = time.monotonic() - touched_at
            raise
        return _Done(touching, touched_at, locked_at, snapshot, xid, refused)
