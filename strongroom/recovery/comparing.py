"""Comparing live tables with the staging tables, at one instant, and writing down which rows differ.

One transaction looks at one snapshot: live is only read, and in the recovery's own schema the tables
`differences_<n>` (see `comparison`) and `comparison` are made anew. The latter has a row for each table: how much
differs, and what is needed to tell later, under a lock, that nothing has changed since (see `unchanged`). All are
unlogged: they say where rows lie in unlogged staging tables, and must vanish together with these.

    matched = match_tables(connection, manifest, plan)
    compared = compare_tables(connection, plan, owner, matched, lock_timeout=3.0)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import errors as pg

from strongroom.errors import LockNotObtained, PlanUnfit, StagingIncomplete
from strongroom.format.documents import Manifest
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.recovery_messages import TableDifferences
from strongroom.postgres.connection import Connection, abandon, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.applied import COMMITTED
from strongroom.recovery.comparison import (
    Matched,
    find_differences,
    in_order_of_place,
    key_columns,
    pull_wanted,
)
from strongroom.recovery.mapping import MappedTable
from strongroom.recovery.matching import equality_operators, find_colliding_columns
from strongroom.recovery.run_journal import Run, read_run, require_owner
from strongroom.recovery.scope import read_scope
from strongroom.recovery.staging_names import (
    RUN_SCHEMA,
    found_differences,
    needs_whole,
    schema_of,
    staged_rows,
    whole_rows,
)
from strongroom.recovery.unchanged import UNCOUNTED, Witness, file_node_of, observe

CHEAP_ROWS = 100_000
"""So few rows are compared once more under the lock as quickly as anybody could tell that they did not change."""

_SPARSE = 5
"""If fewer than one row in so many differs, rows are looked up by their places, one by one."""

# A hosted project may have 1 GB of memory for everything.
_SETTINGS = ("SET LOCAL work_mem = '64MB'", "SET LOCAL max_parallel_workers_per_gather = 2")

_IDENTITY = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       (SELECT oid::int8 FROM pg_database WHERE datname = current_database())
"""

_COUNTS = """
SELECT count(*) FILTER (WHERE kind = 'i'), count(*) FILTER (WHERE kind = 'u'), count(*) FILTER (WHERE kind = 'r'),
       count(*) FILTER (WHERE kind = 'd'), count(*) FILTER (WHERE kind = 'd' AND since),
       count(*) FILTER (WHERE kind = 'k'), count(*) FILTER (WHERE staged_tid IS NULL)
FROM {table}
"""


@dataclass(frozen=True)
class Compared:
    """What one table's comparison found. `snapshot` is when, `xid` the transaction that wrote it down."""

    number: int
    snapshot: str
    xid: int
    witness: Witness
    inserts: int
    updates: int
    replacements: int
    deletes: int
    since: int
    kept: int
    surplus: int
    rows_staged: int

    @property
    def total(self) -> int:
        """How many rows are going to be touched."""
        return self.inserts + self.updates + self.replacements + self.deletes

    @property
    def is_sparse(self) -> bool:
        """Whether so few rows differ that each is better looked up by its place than found by reading all."""
        rows_live = self.rows_staged - self.inserts + self.surplus
        return _SPARSE * self.total < max(self.rows_staged, rows_live)

    def differences(self, mapped: MappedTable) -> TableDifferences:
        """Return what is reported."""
        return TableDifferences(
            table=mapped.label,
            inserts=self.inserts,
            changes=self.updates + self.replacements,
            deletes=self.deletes,
            deletes_written_since=self.since,
            kept=self.kept,
            rows_staged=self.rows_staged,
            rows_live=self.rows_staged - self.inserts + self.surplus,
        )


# ------------------------------------------------------------------------------------------- matching


def match_tables(connection: Connection, manifest: Manifest, plan: RecoveryPlan) -> tuple[Matched, ...]:
    """Return the tables in scope, and how rows are matched; for a session outside a transaction.

    Raises what `read_scope` raises, and `PlanUnfit` for a strategy that is not for recoveries in place.
    """
    if plan.strategy == "empty":
        raise PlanUnfit(plan=plan.id, reason="its strategy is for an empty destination")
    tables = read_scope(connection, manifest, plan)
    with translated("the live database"):
        row = connection.execute(_IDENTITY).fetchone()
        operators = equality_operators(connection, tables)
        colliding = find_colliding_columns(connection, tables)
    source = (manifest.snapshot.system_identifier, manifest.snapshot.database_oid)
    return tuple(
        Matched(
            mapped=table,
            staged=staged_rows(schema_of(plan), table.number),
            strategy=plan.strategy,
            operators=operators[table.number],
            colliding=colliding[table.number],
            backup_xmin=manifest.snapshot.xmin if row == source else None,
            whole=whole_rows(schema_of(plan), table.number) if needs_whole(plan, table) else "",
        )
        for table in tables
    )


def touched_rows(
    connection: Connection, plan: RecoveryPlan, tables: Sequence[MappedTable]
) -> Mapping[int, str]:
    """Return, by table, the keys that the run which a rollback undoes has touched, as relations in quoted SQL.

    A table is missing where that cannot be known: the journal is another's, or other columns tell its rows apart now.
    Raises `PlanUnfit` for a rollback with conditions: what they leave out would look like rows to be deleted.
    """
    if not plan.undoes:
        return {}
    limited = next((table for table in tables if table.where), None)
    if limited is not None:
        raise PlanUnfit(plan=plan.id, reason=f"a rollback takes no condition, and has one on {limited.label}")
    run = read_run(connection, RUN_SCHEMA)
    if run is None or run.id != plan.undoes:
        return {}
    numbers = {(table.schema, table.name): number for number, table in enumerate(run.plan.tables)}
    compared = read_compared(connection, RUN_SCHEMA)
    found = {}
    for table in tables:
        number = numbers.get((table.facts.schema, table.facts.name), -1)
        names = key_columns(table)
        if number in compared and _tells_apart(connection, number, table, names):
            listed = ", ".join(names)
            source = found_differences(RUN_SCHEMA, number)
            found[table.number] = f"(SELECT DISTINCT {listed} FROM {source} WHERE kind <> 'k')"
    return found


def is_forgotten(connection: Connection, undone: Run) -> bool:
    """Tell whether a run is being rolled back, and which rows it touched is not known any more (see `recalling`)."""
    return undone.state == "rolling-back" and not read_compared(connection, RUN_SCHEMA)


def _tells_apart(connection: Connection, number: int, table: MappedTable, keys: tuple[str, ...]) -> bool:
    """Tell whether the differences of the run that is undone name rows by what this table's rows are known by."""
    names = _columns_of(connection, found_differences(RUN_SCHEMA, number))
    if tuple(name for name in names if re.fullmatch(r"k\d+", name)) != keys:
        return False
    # A digest of other columns is that of no row here.
    return bool(table.key) or _columns_of(connection, staged_rows(RUN_SCHEMA, number)) == table.columns


def _columns_of(connection: Connection, table: str) -> tuple[str, ...]:
    """Return the names of the columns of a table, given as quoted SQL."""
    with translated("the differences"):
        rows = connection.execute(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0"
            " AND NOT attisdropped ORDER BY attnum",
            [table],
        ).fetchall()
    return tuple(name for (name,) in rows)


# ------------------------------------------------------------------------------------------- comparing


def compare_tables(
    connection: Connection, plan: RecoveryPlan, owner: str, tables: Sequence[Matched], *, lock_timeout: float
) -> tuple[Compared, ...]:
    """Compare all tables in one snapshot, and write down what differs, as the run's `owner`.

    Tables are locked against being emptied or rewritten before the snapshot is taken: both would be invisible to it.
    Raises `RecoveryOwnerLost`, `PlanUnfit` for a run that was committed, `StagingIncomplete` if the staging tables were
    not proven, a crash has emptied them since, or what a rollback goes by is not there, and `LockNotObtained` if a
    table stays locked by a migration.
    """
    schema = schema_of(plan)
    only = touched_rows(connection, plan, [table.mapped for table in tables])
    try:
        begin_snapshot(connection, tables, lock_timeout=lock_timeout)
        run = require_owner(connection, plan, owner)
        _require_uncommitted(run)
        require_staged(run)
        _require_recalled(connection, plan)
        make_comparison(connection, schema)
        compared = tuple(
            compare_table(connection, schema, table, only.get(table.mapped.number, "")) for table in tables
        )
        with translated("the comparison"):
            connection.execute("COMMIT")
    except BaseException:
        abandon(connection)
        raise
    return compared


def begin_snapshot(connection: Connection, tables: Sequence[Matched], *, lock_timeout: float) -> None:
    """Begin a transaction that sees one instant of tables that stay what they are until it ends."""
    names = ", ".join(f"ONLY {table.live}" for table in tables)
    with translated("the comparison"):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SET LOCAL lock_timeout = {int(lock_timeout * 1000)}")
        for setting in _SETTINGS:
            connection.execute(setting)
        try:
            if names:
                connection.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
        except pg.LockNotAvailable as error:
            labels = ", ".join(table.mapped.label for table in tables[:5])
            raise LockNotObtained(object=labels, attempts=1, seconds=lock_timeout, holders="") from error
        # The id first: `age` counts from it for the rest of the transaction.
        connection.execute("SELECT pg_current_xact_id()")


def compare_table(connection: Connection, schema: str, table: Matched, only: str = "") -> Compared:
    """Compare one table in the caller's transaction, and write down what differs.

    `only` limits it to a relation of keys. Where the whole table is in scope, or many rows, its rows are counted by
    age, so that `unchanged` can tell; few rows are quicker compared again.
    """
    number = table.mapped.number
    name = found_differences(schema, number)
    with translated(table.mapped.label):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        if table.whole and table.mapped.key:
            connection.execute(pull_wanted(table))
        connection.execute(
            f"CREATE UNLOGGED TABLE {name} AS {in_order_of_place(find_differences(table, only))}"
        )
        snapshot, xmin, xid = current_snapshot(connection)
        staged = connection.execute(f"SELECT count(*) FROM {table.staged}").fetchone()
    rows_staged = int(staged[0]) if staged else 0
    found = count_differences(connection, name)
    is_limited = bool(only or table.mapped.where)
    if is_limited and rows_staged + sum(found[:4]) <= CHEAP_ROWS:
        witness = Witness(file_node_of(connection, table), UNCOUNTED, 0, "0")
    else:
        witness = observe(connection, table, xmin)
    compared = Compared(number, snapshot, xid, witness, *found, rows_staged)
    store_compared(connection, schema, compared)
    return compared


def finds_the_same(
    connection: Connection, schema: str, table: Matched, only: str = "", *, is_applied: bool = False
) -> bool:
    """Tell whether comparing now, in the caller's transaction, would find just the differences that are written down.

    Once they are applied, what is kept is all that is left of them. Nothing is written down.
    """
    kept = " WHERE kind = 'k'" if is_applied else ""
    # A version of a row has one name, so no two of these are alike.
    names = "kind, live_tid, live_birth, staged_tid"
    with translated(table.mapped.label):
        if table.whole and table.mapped.key:
            connection.execute(pull_wanted(table))
        row = connection.execute(
            f"WITH found AS MATERIALIZED (SELECT {names} FROM ({find_differences(table, only)}) AS f),"
            f" known AS MATERIALIZED (SELECT {names} FROM {found_differences(schema, table.mapped.number)}{kept})"
            " SELECT NOT EXISTS (TABLE found EXCEPT TABLE known) AND NOT EXISTS (TABLE known EXCEPT TABLE found)"
        ).fetchone()
    return row == (True,)


def count_differences(connection: Connection, name: str) -> tuple[int, int, int, int, int, int, int]:
    """Return how many rows of each kind there are, in the order of the fields of `Compared`; take statistics."""
    with translated("the differences"):
        connection.execute(f"ANALYZE {name}")
        row = connection.execute(_COUNTS.format(table=name)).fetchone()
    inserts, updates, replacements, deletes, since, kept, surplus = row or (0,) * 7
    return inserts, updates, replacements, deletes, since, kept, surplus


def current_snapshot(connection: Connection) -> tuple[str, int, int]:
    """Return the snapshot's text, the oldest transaction that it saw running, and the id of this transaction."""
    with translated("the snapshot"):
        row = connection.execute(
            "SELECT s::text, pg_snapshot_xmin(s)::text::int8, pg_current_xact_id()::text::int8"
            " FROM pg_current_snapshot() s"
        ).fetchone()
    assert row is not None  # noqa: S101 - a query without FROM anything has one row
    return row[0], row[1], row[2]


def _require_uncommitted(run: Run) -> None:
    if run.state in COMMITTED:
        # What it has touched is what a rollback goes by.
        raise PlanUnfit(plan=run.id, reason="it has been committed, and is not compared again")


def _require_recalled(connection: Connection, plan: RecoveryPlan) -> None:
    """Raise `StagingIncomplete` for a rollback that would take all rows for those that its run has touched."""
    undone = read_run(connection, RUN_SCHEMA) if plan.undoes else None
    if undone is not None and undone.id == plan.undoes and is_forgotten(connection, undone):
        raise StagingIncomplete(
            object=f"the recovery {undone.id}",
            observed="no list of the rows that it has touched",
            expected="which they are",
            backup=undone.plan.backup,
        )


def require_staged(run: Run) -> None:
    """Raise `StagingIncomplete` unless the staging tables hold what was proven to be the backup's rows."""
    if not run.is_staged:
        # A crash of the server empties unlogged tables; compared with nothing, every live row would be too much.
        raise StagingIncomplete(
            object="the recovery",
            observed="rows that nobody has proven",
            expected="proven rows",
            backup=run.plan.backup,
        )


# ------------------------------------------------------------------------------------------- the table


_FIELDS = (
    "number, snapshot, xid, file_node, old_rows, recent_rows, recent_digest, inserts, updates, replacements,"
    " deletes, since, kept, surplus, rows_staged"
)


def make_comparison(connection: Connection, schema: str) -> None:
    """Make the table of what was found anew, in the caller's transaction."""
    name = f"{quote_identifier(schema)}.comparison"
    with translated("the comparison"):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(
            f"CREATE UNLOGGED TABLE {name} (number int PRIMARY KEY, snapshot text NOT NULL, xid int8 NOT NULL,"
            " file_node int8 NOT NULL, old_rows int8 NOT NULL, recent_rows int8 NOT NULL, recent_digest text NOT NULL,"
            " inserts int8 NOT NULL, updates int8 NOT NULL, replacements int8 NOT NULL, deletes int8 NOT NULL,"
            " since int8 NOT NULL, kept int8 NOT NULL, surplus int8 NOT NULL, rows_staged int8 NOT NULL)"
        )


def store_compared(connection: Connection, schema: str, found: Compared) -> None:
    """Write one table's row, instead of the one that is there."""
    name = f"{quote_identifier(schema)}.comparison"
    with translated("the comparison"):
        connection.execute(f"DELETE FROM {name} WHERE number = %s", [found.number])
        connection.execute(
            f"INSERT INTO {name} ({_FIELDS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                found.number,
                found.snapshot,
                found.xid,
                found.witness.file_node,
                found.witness.old_rows,
                found.witness.recent_rows,
                found.witness.recent_digest,
                found.inserts,
                found.updates,
                found.replacements,
                found.deletes,
                found.since,
                found.kept,
                found.surplus,
                found.rows_staged,
            ],
        )


def read_compared(connection: Connection, schema: str) -> dict[int, Compared]:
    """Return what the last comparison found, by the tables' numbers; nothing if there was none, or a crash since."""
    name = f"{quote_identifier(schema)}.comparison"
    with translated("the comparison"):
        there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
        if there != (True,):
            return {}
        rows = connection.execute(f"SELECT {_FIELDS} FROM {name}").fetchall()
    return {row[0]: Compared(row[0], row[1], row[2], Witness(*row[3:7]), *row[7:]) for row in rows}
