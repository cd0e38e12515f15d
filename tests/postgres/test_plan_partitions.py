"""Facts about plans for partitioned tables: asked for by the name of the whole, recovered partition by partition."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.deadline import Deadline
from strongroom.errors import LiveTableGone, NothingInScope
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable
from strongroom.operations.recovery_messages import (
    CheckRecovery,
    PlanRecovery,
    RecoveryCheckReport,
    RecoveryPlanReport,
)
from strongroom.runners import InThisProcess
from strongroom.whole import back_up
from tests.conftest import MakeDatabase
from tests.recoveries import Recoveries
from tests.row_backups import Keys

TREE = """
CREATE TABLE public."Mixed Ticks" (id int, at date, note text) PARTITION BY RANGE (at);
CREATE TABLE public.mixed_old PARTITION OF public."Mixed Ticks" FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE public.mixed_new PARTITION OF public."Mixed Ticks" FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')
    PARTITION BY LIST (id);
CREATE SCHEMA cold;
CREATE TABLE cold."mixed one" PARTITION OF public.mixed_new FOR VALUES IN (1);
CREATE TABLE cold.mixed_other PARTITION OF public.mixed_new DEFAULT;
INSERT INTO public."Mixed Ticks" SELECT n % 3, date '2026-01-01' + n, 'note ' || n FROM generate_series(0, 50) n;
"""


@pytest.fixture
def recoveries(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recoveries]:
    """Make a table with partitions of partitions beside the application's, and a backup with its definitions."""
    made = Recoveries.make(quantforge().dsn(), tmp_path, keys, monkeypatch)
    made.execute(TREE)
    back_up(
        InThisProcess(made.backups.settings, Deadline.after(240, "test"), clock=made.backups.clock), "full"
    )
    yield made
    made.execute('DROP TABLE public."Mixed Ticks"; DROP SCHEMA cold CASCADE')


def plan(recoveries: Recoveries, *tables: ScopedTable) -> RecoveryPlan:
    """Plan to recover some tables."""
    wanted = PlanRecovery(scenario="partial_loss", tables=tables, force=True, skip_verification=True)
    return recoveries.run("plan_recovery", wanted, RecoveryPlanReport).plan


def test_a_partitioned_table_is_taken_for_its_partitions(recoveries: Recoveries) -> None:
    """Whatever their schemas and depth; the condition holds for each. What was lost comes back to where it was."""
    before = recoveries.rows('public."Mixed Ticks"')
    wanted = ScopedTable(schema="public", name="Mixed Ticks", where="id < 2")
    made = plan(recoveries, wanted, ScopedTable(schema="public", name="symbols"))
    assert {
        ("public.mixed_old", "id < 2"),
        ("cold.mixed one", "id < 2"),
        ("cold.mixed_other", "id < 2"),
        ("public.symbols", ""),
    } == {(table.label, table.where) for table in made.tables}
    recoveries.execute('DELETE FROM public."Mixed Ticks" WHERE id = 1')
    with recoveries.hold(made) as run:
        recoveries.compare(made, run.owner)
        recoveries.apply(made, run.owner)
        recoveries.finish(made, run.owner, "recovered")
    assert before == recoveries.rows('public."Mixed Ticks"')


def test_the_partitions_of_the_application_are_found(recoveries: Recoveries) -> None:
    """As somebody would ask for them."""
    made = plan(recoveries, ScopedTable(schema="public", name="ticks"))
    listed = recoveries.execute(
        "SELECT relid::regclass::text FROM pg_partition_tree('public.ticks') WHERE isleaf"
    )
    assert {name if "." in name else f"public.{name}" for (name,) in listed} == {t.label for t in made.tables}


def test_a_partition_that_is_lost_is_not_left_out(recoveries: Recoveries) -> None:
    """The backup says which there were; that live has it no more is told, and by what it can be made."""
    recoveries.execute('DROP TABLE cold."mixed one"')
    made = plan(recoveries, ScopedTable(schema="public", name="Mixed Ticks"))
    assert "cold.mixed one" in {table.label for table in made.tables}
    with pytest.raises(LiveTableGone, match="mixed one"):
        recoveries.run("check_recovery", CheckRecovery(plan=made), RecoveryCheckReport)


def test_what_is_no_table_at_all_is_refused(recoveries: Recoveries) -> None:
    """A name that the backup does not know, as itself or as a whole of others."""
    with pytest.raises(NothingInScope, match=r"public\.tickz"):
        plan(recoveries, ScopedTable(schema="public", name="tickz"))
