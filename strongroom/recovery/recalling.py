"""Finding out again which rows a run has touched, after its own note of them is gone.

A run writes down what it is going to touch in tables that are dropped when it ends, and that a crash of the server
empties. But the two sides that it compared are in the repository: its backup, and its emergency backup, which is what
live held just before. Both are staged, the former where the run had staged it, the latter for the rollback; compared
under the run's own strategy and conditions they give the same rows. For example:

    recall_tables(connection, rollback, undone, owner, match_tables(…, undone), match_tables(…, rollback))

What the application wrote between the emergency backup and the run's commit is in neither: a row that was already
right by then counts as touched, and one that became wrong does not.
"""

from collections.abc import Sequence
from dataclasses import replace

from strongroom.errors import NothingToRollBack
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.comparing import (
    Compared,
    count_differences,
    current_snapshot,
    is_forgotten,
    make_comparison,
    read_compared,
    require_staged,
    store_compared,
)
from strongroom.recovery.comparison import Matched, find_differences, pull_wanted
from strongroom.recovery.run_journal import require_owner
from strongroom.recovery.staging_names import RUN_SCHEMA, found_differences
from strongroom.recovery.unchanged import UNCOUNTED, Witness

_NOT_OF_LIVE = Witness(0, UNCOUNTED, 0, "0")
"""Nobody asks later whether the staged rows are still what they were: they are not written to."""


def recall_tables(
    connection: Connection,
    plan: RecoveryPlan,
    undone: RecoveryPlan,
    owner: str,
    wanted: Sequence[Matched],
    former: Sequence[Matched],
) -> dict[int, Compared]:
    """Write down, as the run that a rollback undoes would have, what it has touched; return it by its tables' numbers.

    `wanted` are the run's tables, `former` those of the rollback. What is known already stays. Raises
    `RecoveryOwnerLost`, `StagingIncomplete`, and `NothingToRollBack` where rows cannot be told apart any more.
    """
    pairs = pair_tables(undone, wanted, former)
    with translated("the comparison"), connection.transaction():
        require_staged(require_owner(connection, plan, owner))
        run = require_owner(connection, undone, owner)
        if is_forgotten(connection, run):
            require_staged(run)
            connection.execute("SET LOCAL work_mem = '64MB'")
            make_comparison(connection, RUN_SCHEMA)
            for table in pairs:
                _recall(connection, table)
        return read_compared(connection, RUN_SCHEMA)


def pair_tables(
    undone: RecoveryPlan, wanted: Sequence[Matched], former: Sequence[Matched]
) -> tuple[Matched, ...]:
    """Return the run's tables with the emergency backup's rows standing in for live, known by the rollback's keys.

    A table that the emergency backup does not have cannot be given back, and is left out. Raises `NothingToRollBack`.
    """
    before = {table.mapped.label: table for table in former}
    return tuple(
        _pair(undone, table, before[table.mapped.label]) for table in wanted if table.mapped.label in before
    )


def _pair(undone: RecoveryPlan, wanted: Matched, former: Matched) -> Matched:
    key, known = former.mapped.key, former.mapped.columns
    if not set(key) <= set(wanted.mapped.columns) or (not key and wanted.mapped.columns != known):
        reason = (
            f"{wanted.mapped.label} has other columns now, and which of its rows it touched cannot be told"
        )
        raise NothingToRollBack(run=undone.id, reason=reason)
    columns = tuple(name for name in wanted.mapped.columns if name in known)
    return replace(
        wanted,
        mapped=replace(wanted.mapped, columns=columns, key=key),
        operators=former.operators,
        backup_xmin=None,
        stand_in=former.staged,
    )


def _recall(connection: Connection, table: Matched) -> None:
    name = found_differences(RUN_SCHEMA, table.mapped.number)
    with translated(table.mapped.label):
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        if table.whole and table.mapped.key:
            connection.execute(pull_wanted(table))
        connection.execute(f"CREATE UNLOGGED TABLE {name} AS {find_differences(table)}")
        staged = connection.execute(f"SELECT count(*) FROM {table.staged}").fetchone()
    snapshot, _, xid = current_snapshot(connection)
    found = count_differences(connection, name)
    compared = Compared(
        table.mapped.number, snapshot, xid, _NOT_OF_LIVE, *found, int(staged[0]) if staged else 0
    )
    store_compared(connection, RUN_SCHEMA, compared)
