"""Making live agree with the staging tables, in one transaction that is as short as it can be.

    applying = Applying(connection, plan, owner, manifest, tables, settings.recovery, context)
    report = applying.run()

Under a lock that keeps writers away it is made sure that what was compared still holds; then exactly the rows that
differ are touched, foreign keys are looked at, sequences move forward, and the journal says `committed`. All of it is
committed, or none. A row count that is not what was compared ends it, and it is tried again from the comparison.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import msgspec
import psycopg

from strongroom.errors import (
    LiveMoved,
    LockNotObtained,
    PlanUnfit,
    StrongroomError,
)
from strongroom.format.documents import Finding, Manifest
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import ApplyReport
from strongroom.postgres.connection import Connection, abandon, translate, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery import reconciling, references
from strongroom.recovery.applied import COMMITTED, Applied, read_applied, store_applied
from strongroom.recovery.catching_up import catch_up, is_costly, xmin_of
from strongroom.recovery.comparing import (
    Compared,
    compare_table,
    compare_tables,
    current_snapshot,
    read_compared,
    require_staged,
    touched_rows,
)
from strongroom.recovery.comparison import Matched
from strongroom.recovery.late_keys import require_unique
from strongroom.recovery.locking import describe_holders, is_busy, lock_tables, pause_seconds
from strongroom.recovery.period_keys import require_periods, watch_periods
from strongroom.recovery.refusals import coded_refusals
from strongroom.recovery.replica_identity import lend_identities, refused_tables, return_identities
from strongroom.recovery.run_journal import require_owner, set_state
from strongroom.recovery.sequences_forward import move_sequences
from strongroom.recovery.sessions import triggers_are_off
from strongroom.recovery.silencing import parents_first, silence, unsilence
from strongroom.recovery.staging_names import found_differences, schema_of
from strongroom.recovery.unchanged import is_quiet, observe, running_now
from strongroom.recovery_settings import RecoverySettings

_ROUNDS = 2
"""How often a table that was written to is compared again without the lock before that is done under it."""

_SETTINGS = (
    "SET LOCAL work_mem = '64MB'",
    # The platform's own guard against deleting rows of storage.objects.
    "SET LOCAL storage.allow_delete_query = 'true'",
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
)


class CommitUnknown(Exception):
    """The connection was lost while the commit was under way: only the journal knows."""


class _CompareAgain(Exception):
    """So much has changed that it is compared again without the lock."""


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
    findings: list[Finding] = field(default_factory=list)

    @property
    def schema(self) -> str:
        """The schema of the run."""
        return schema_of(self.plan)

    # ---------------------------------------------------------------------------------- attempts

    def run(self) -> ApplyReport:
        """Try until it is committed.

        Raises `LockNotObtained`, `LiveMoved`, `ReferencesWouldBreak`, `ValueTaken`, `SchemaDrifted`, `StrategyUnfit`,
        `RecoveryOwnerLost`, `StagingIncomplete`, and `CommitUnknown`.
        """
        rounds, attempt = 0, 1
        wholly: frozenset[str] = frozenset()
        while True:
            self.context.deadline.check()
            compared = self._compared()
            in_question = self._in_question(compared)
            wholly = self._published_unfit(in_question, compared)
            if attempt == 1:
                self._read_ahead(in_question, compared)
            try:
                return self._attempt(in_question, wholly, attempt, may_wait=rounds < _ROUNDS)
            except _CompareAgain:
                rounds += 1
                self._compare()
            except LiveMoved:
                # Against all that was made sure of: the comparison is not to be believed.
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

    def _attempt(
        self, tables: Sequence[Matched], wholly: frozenset[str], attempt: int, *, may_wait: bool
    ) -> ApplyReport:
        connection = self.connection
        self.findings = []
        with translated("the recovery"):
            # Whatever the role prefers: what is committed until the lock is ours must be seen after it.
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        try:
            done = self._begin()
            if done is not None:
                abandon(connection)
                return msgspec.structs.replace(done.report, already_done=True)
            lock_tables(connection, tables, wholly=wholly)
            locked_at = time.monotonic()
            snapshot, xid = running_now(connection), current_snapshot(connection)[2]
            compared, again = self._make_sure(tables, may_wait=may_wait)
            is_certain = self._reconcile(tables, compared, wholly)
            moved, refused = move_sequences(connection, self.schema, self.manifest, self.tables)
            report = ApplyReport(
                tables=tuple(compared[t.mapped.number].differences(t.mapped) for t in self.tables),
                committed_at=self.context.clock(),
                lock_seconds=time.monotonic() - locked_at,
                lock_attempts=attempt,
                compared_again=again,
                sequences_moved=moved,
                findings=(*self.findings, *refused),
            )
            store_applied(connection, self.plan, Applied(report, snapshot, xid, is_certain))
            set_state(connection, self.plan, "committed")
            self._commit()
        except BaseException:
            abandon(connection)
            raise
        return msgspec.structs.replace(report, lock_seconds=round(time.monotonic() - locked_at, 4))

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
                    self._by_place(found),
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

    def _make_sure(
        self, tables: Sequence[Matched], *, may_wait: bool
    ) -> tuple[dict[int, Compared], tuple[str, ...]]:
        """Make sure that what was compared still holds; compare what was written to again.

        Raises `_CompareAgain` if that would take long and `may_wait`.
        """
        compared = read_compared(self.connection, self.schema)
        snapshots = {compared[table.mapped.number].snapshot for table in tables}
        own = frozenset(self.own)
        if all(is_quiet(self.connection, snapshot, own) for snapshot in snapshots):
            return compared, ()
        only = touched_rows(self.connection, self.plan, [table.mapped for table in self.tables])
        again = []
        for table in tables:
            number = table.mapped.number
            found = self._still(table, compared[number], only.get(number, ""), may_wait=may_wait)
            if found is not compared[number]:
                same = replace(found, snapshot="", xid=0, witness=compared[number].witness) == replace(
                    compared[number], snapshot="", xid=0
                )
                if compared[number].witness.is_counted or not same:
                    again.append(table.mapped.label)
                compared[number] = found
        return compared, tuple(again)

    def _still(self, table: Matched, compared: Compared, only: str, *, may_wait: bool) -> Compared:
        if not compared.witness.is_counted:
            return compare_table(self.connection, self.schema, table, only)
        now = observe(self.connection, table, xmin_of(compared.snapshot))
        if now == compared.witness:
            return compared
        is_partial = bool(only or table.mapped.where or not table.mapped.key)
        if may_wait and (is_partial or is_costly(compared, now)):
            raise _CompareAgain
        if is_partial:
            return compare_table(self.connection, self.schema, table, only)
        return catch_up(self.connection, self.schema, table, compared, now)

    # ---------------------------------------------------------------------------------- reconciling

    def _reconcile(
        self, locked: Sequence[Matched], compared: dict[int, Compared], wholly: frozenset[str]
    ) -> bool:
        """Touch the rows that differ; return whether nothing else can have acted on them."""
        connection = self.connection
        tables = [table for table in locked if compared[table.mapped.number].total]
        is_replica = triggers_are_off(connection)
        watched = references.watch_references(
            connection, self.schema, tables, {table.mapped.label for table in locked}, self._whole()
        )
        periods = watch_periods(connection, tables) if is_replica else ()
        lent = [table for table in tables if table.mapped.label in wholly]
        former = lend_identities(connection, lent)
        self.findings += [_readers_waited(table) for table in lent]
        if is_replica:
            self._touch(tables, tables, compared, ())
            self.findings += references.require_references(connection, watched)
        else:
            undo = silence(connection, tables)
            ordered = parents_first(connection, tables)
            self._touch(ordered[::-1], ordered, compared, watched)
            with coded_refusals("the foreign keys"):
                unsilence(connection, undo)
        references.drop_notes(connection, watched)
        return_identities(connection, former)
        require_unique(connection, tables)
        require_periods(connection, periods)
        acting = [table for table in tables if _acting(table)]
        self.findings += [_triggers_acted(table) for table in acting]
        return is_replica and not acting

    def _whole(self) -> frozenset[str]:
        """Return the labels of the tables that become exactly what they were in the backup."""
        if self.plan.strategy != "exact" or self.plan.undoes:
            return frozenset()
        return frozenset(table.mapped.label for table in self.tables if not table.mapped.where)

    def _touch(
        self,
        deleting: Sequence[Matched],
        inserting: Sequence[Matched],
        compared: dict[int, Compared],
        watched: Sequence[references.Watched],
    ) -> None:
        """Delete, then update, then insert, each in the order given."""
        carried = {table.mapped.number: self._carry(table, compared) for table in inserting}
        for table in deleting:
            found = compared[table.mapped.number]
            differences = found_differences(self.schema, table.mapped.number)
            references.require_no_action(self.connection, watched, table, differences)
            with self._by_place(found):
                self._execute(
                    table, reconciling.delete_rows(table, differences), found.deletes + found.replacements
                )
        for table in inserting:
            found = compared[table.mapped.number]
            differences = found_differences(self.schema, table.mapped.number)
            with self._by_place(found):
                self._execute(table, reconciling.update_rows(table, differences), found.updates)
        for table in inserting:
            found = compared[table.mapped.number]
            differences = found_differences(self.schema, table.mapped.number)
            with self._by_place(found):
                self._execute(table, reconciling.insert_rows(table, differences), found.inserts)
            statement = reconciling.insert_replaced(table, differences, carried[table.mapped.number])
            self._execute(table, statement, found.replacements)
        for name in filter(None, carried.values()):
            with translated("the recovery"):
                self.connection.execute(f"DROP TABLE {name}")

    @contextmanager
    def _by_place(self, found: Compared) -> Iterator[None]:
        """Have the server look rows up by their places; the planner would rather read both tables whole, twice."""
        if not found.is_sparse:
            yield
            return
        for way in ("hashjoin", "mergejoin"):
            self.connection.execute(f"SET LOCAL enable_{way} = off")
        yield
        for way in ("hashjoin", "mergejoin"):
            self.connection.execute(f"SET LOCAL enable_{way} TO DEFAULT")

    def _carry(self, table: Matched, compared: dict[int, Compared]) -> str:
        """Note what replaced rows have in columns that are kept; return where, or nothing."""
        if not (compared[table.mapped.number].replacements and table.mapped.kept):
            return ""
        name = f"{quote_identifier(self.schema)}.carried_{table.mapped.number}"
        differences = found_differences(self.schema, table.mapped.number)
        with translated(table.mapped.label):
            self.connection.execute(f"DROP TABLE IF EXISTS {name}")
            self.connection.execute(reconciling.carry_kept(table, differences, name))
        return name

    def _execute(self, table: Matched, statement: str, expected: int) -> None:
        if not expected:
            return
        with coded_refusals(table.mapped.label, table.strategy):
            rows = self.connection.execute(statement).rowcount
        if rows != expected:
            raise LiveMoved(
                object=table.mapped.label,
                detail=f"{rows} rows were written where {expected} should have been",
            )


def _readers_waited(table: Matched) -> Finding:
    return Finding(
        severity="warning",
        code="readers-waited",
        object=table.mapped.label,
        expected="readers go on",
        observed="readers waited as long as writers, while the table was given a replica identity",
        advice="It is published so that nobody can update or delete its rows; publish its generated columns.",
    )


def _acting(table: Matched) -> tuple[str, ...]:
    """Return what the user has attached to a table so that it acts in a replica's session, too."""
    return (*table.mapped.live.always_triggers, *table.mapped.live.always_rules)


def _triggers_acted(table: Matched) -> Finding:
    return Finding(
        severity="warning",
        code="triggers-acted",
        object=table.mapped.label,
        expected="no trigger or rule acts on what is recovered",
        observed=f"enabled for replicas: {', '.join(_acting(table))}",
        advice="Look at what they have written.",
    )
