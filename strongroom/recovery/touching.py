"""Touching the rows that differ, and no others, in the caller's transaction; and looking whether the keys still hold.

    touching = Touching(connection, plan, tables, compared, locked=labels, wholly=frozenset())
    touching.prepare()          # before anything is changed
    touching.touch()
    touching.require_keys()     # under locks on the tables

With the tables locked before, that is all. It can also be done before they are: rows that are touched or referred to
are locked by it one by one, as the application's own statements would lock them. What else happens in the tables until
the caller has locked them is for the caller to find out (see `unchanged`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from strongroom.errors import LiveMoved
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery import reconciling, references
from strongroom.recovery.comparing import Compared
from strongroom.recovery.comparison import Matched
from strongroom.recovery.late_keys import require_unique
from strongroom.recovery.period_keys import WatchedPeriod, require_periods, watch_periods
from strongroom.recovery.refusals import coded_refusals
from strongroom.recovery.replica_identity import lend_identities, return_identities
from strongroom.recovery.sessions import triggers_are_off
from strongroom.recovery.silencing import parents_first, silence, unsilence
from strongroom.recovery.staging_names import found_differences, schema_of


@dataclass
class Touching:
    """What one attempt touches. `locked` are the labels of tables that nobody else writes to until it ends.

    `wholly` are those from which even readers are kept away, because they have to be altered.
    """

    connection: Connection
    plan: RecoveryPlan
    in_question: Sequence[Matched]
    compared: Mapping[int, Compared]
    locked: Collection[str]
    wholly: Collection[str]
    findings: list[Finding] = field(default_factory=list)
    _is_replica: bool = False
    _watched: tuple[references.Watched, ...] = ()
    _periods: tuple[WatchedPeriod, ...] = ()

    @property
    def schema(self) -> str:
        """The schema of the run."""
        return schema_of(self.plan)

    @property
    def tables(self) -> list[Matched]:
        """The tables with something to do."""
        return [table for table in self.in_question if self.compared[table.mapped.number].total]

    @property
    def is_certain(self) -> bool:
        """Whether nothing else can have acted on the rows."""
        return self._is_replica and not any(_acting(table) for table in self.tables)

    @property
    def needs_locks(self) -> bool:
        """Whether it is only right with the tables locked before; to be asked after `prepare`."""
        labels = {table.mapped.label for table in self.in_question}
        return bool(
            # What acts on our rows may write to the tables in our name.
            not self.is_certain
            or self.wholly
            or self._periods
            # A row that is referred to is held by a lock of its own, if not by its table's.
            or any(not one.may_lock_parent and one.parent_label in labels for one in self._watched)
        )

    # ---------------------------------------------------------------------------------- steps

    def prepare(self) -> None:
        """Note, before anything is changed, what the keys are going to be judged by."""
        tables = self.tables
        self._is_replica = triggers_are_off(self.connection)
        self._watched = references.watch_references(
            self.connection, self.schema, tables, self.locked, self._whole()
        )
        self._periods = watch_periods(self.connection, tables) if self._is_replica else ()

    def touch(self) -> None:
        """Touch the rows, and require that every reference leads somewhere.

        Raises `LiveMoved` if a row is not what it was when it was compared, `ReferencesWouldBreak`, `ValueTaken`,
        `SchemaDrifted` and `StrategyUnfit`.
        """
        connection, tables = self.connection, self.tables
        lent = [table for table in tables if table.mapped.label in self.wholly]
        former = lend_identities(connection, lent)
        self.findings += [_readers_waited(table) for table in lent]
        if self._is_replica:
            self._touch(tables, tables, ())
            self.findings += references.require_references(connection, self._watched)
        else:
            undo = silence(connection, tables)
            ordered = parents_first(connection, tables)
            self._touch(ordered[::-1], ordered, self._watched)
            with coded_refusals("the foreign keys"):
                unsilence(connection, undo)
        references.drop_notes(connection, self._watched)
        return_identities(connection, former)
        self.findings += [_triggers_acted(table) for table in tables if _acting(table)]

    def require_keys(self) -> None:
        """Require what no index and no row lock sees to: keys that are checked late, and keys over periods.

        Raises `ValueTaken` and `ReferencesWouldBreak`.
        """
        require_unique(self.connection, self.tables)
        require_periods(self.connection, self._periods)

    # ---------------------------------------------------------------------------------- rows

    def _whole(self) -> frozenset[str]:
        """Return the labels of the tables that become exactly what they were in the backup."""
        if self.plan.strategy != "exact" or self.plan.undoes:
            return frozenset()
        return frozenset(table.mapped.label for table in self.in_question if not table.mapped.where)

    def _touch(
        self,
        deleting: Sequence[Matched],
        inserting: Sequence[Matched],
        watched: Sequence[references.Watched],
    ) -> None:
        """Delete, then update, then insert, each in the order given."""
        carried = {table.mapped.number: self._carry(table) for table in inserting}
        for table in deleting:
            found, differences = self._found(table)
            references.require_no_action(self.connection, watched, table, differences)
            self._execute(
                table, reconciling.delete_rows(table, differences), found.deletes + found.replacements
            )
        for table in inserting:
            found, differences = self._found(table)
            self._execute(table, reconciling.update_rows(table, differences), found.updates)
        for table in inserting:
            found, differences = self._found(table)
            self._execute(table, reconciling.insert_rows(table, differences), found.inserts)
            statement = reconciling.insert_replaced(table, differences, carried[table.mapped.number])
            self._execute(table, statement, found.replacements)
        for name in filter(None, carried.values()):
            with translated("the recovery"):
                self.connection.execute(f"DROP TABLE {name}")

    def _found(self, table: Matched) -> tuple[Compared, str]:
        number = table.mapped.number
        return self.compared[number], found_differences(self.schema, number)

    def _carry(self, table: Matched) -> str:
        """Note what replaced rows have in columns that are kept; return where, or nothing."""
        found, differences = self._found(table)
        if not (found.replacements and table.mapped.kept):
            return ""
        name = f"{quote_identifier(self.schema)}.carried_{table.mapped.number}"
        with translated(table.mapped.label):
            self.connection.execute(f"DROP TABLE IF EXISTS {name}")
            self.connection.execute(reconciling.carry_kept(table, differences, name))
        return name

    def _execute(self, table: Matched, statement: str, expected: int) -> None:
        if not expected:
            return
        found, _ = self._found(table)
        with looked_up_by_place(self.connection, found), coded_refusals(table.mapped.label, table.strategy):
            rows = self.connection.execute(statement).rowcount
        if rows != expected:
            raise LiveMoved(
                object=table.mapped.label,
                detail=f"{rows} rows were written where {expected} should have been",
            )


@contextmanager
def looked_up_by_place(connection: Connection, found: Compared) -> Iterator[None]:
    """Have the server look rows up by their places; the planner would rather read both tables whole, twice."""
    if not found.is_sparse:
        yield
        return
    for way in ("hashjoin", "mergejoin"):
        connection.execute(f"SET LOCAL enable_{way} = off")
    yield
    for way in ("hashjoin", "mergejoin"):
        connection.execute(f"SET LOCAL enable_{way} TO DEFAULT")


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
