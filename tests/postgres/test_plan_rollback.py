"""Facts about planning the rollback of a recovery: from its journal, or from its record once it has ended."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.errors import NothingToRollBack, UnknownRun
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.recovery_messages import (
    NoteEmergencyBackup,
    PlanRollback,
    RecoveryPlanReport,
    RunReport,
)
from tests.conftest import MakeDatabase
from tests.recoveries import Recoveries
from tests.row_backups import Keys

TABLE = "public.symbols"


@pytest.fixture
def recoveries(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> Recoveries:
    """Make a database with an application, and one backup of it."""
    made = Recoveries.make(quantforge().dsn(), tmp_path, keys, monkeypatch)
    made.backups.back_up("full")
    made.execute("UPDATE public.symbols SET contract_size = contract_size + 1")
    return made


def note(recoveries: Recoveries, plan: RecoveryPlan, owner: str, backup: str) -> None:
    """Write down which backup the run can be rolled back to."""
    request = NoteEmergencyBackup(plan=plan, owner=owner, backup=backup)
    recoveries.run("note_emergency_backup", request, RunReport)


def plan_rollback(recoveries: Recoveries, run: str) -> RecoveryPlan:
    """Plan the rollback."""
    return recoveries.run("plan_rollback", PlanRollback(run=run), RecoveryPlanReport).plan


def commit(recoveries: Recoveries, plan: RecoveryPlan, emergency: str) -> None:
    """Carry a plan out up to its commit, and be cut off."""
    with recoveries.hold(plan) as run:
        if emergency:
            note(recoveries, plan, run.owner, emergency)
        recoveries.compare(plan, run.owner)
        recoveries.apply(plan, run.owner)


def test_a_run_that_was_cut_off_after_its_commit_is_rolled_back(recoveries: Recoveries) -> None:
    """The same plan each time, also while the rollback is under way; carried out, live is what it was."""
    before = recoveries.rows(TABLE)
    plan = recoveries.plan(TABLE)
    emergency = recoveries.backups.back_up("incremental")
    commit(recoveries, plan, emergency)
    assert before != recoveries.rows(TABLE)
    made = plan_rollback(recoveries, plan.id)
    assert (f"{plan.id}.rollback", plan.id, emergency, plan.tables) == (
        made.id,
        made.undoes,
        made.backup,
        made.tables,
    )
    with recoveries.hold(made):
        pass
    assert made == plan_rollback(recoveries, plan.id)
    recoveries.carry_out(made)
    assert before == recoveries.rows(TABLE)
    with pytest.raises(NothingToRollBack, match="it is rolled back already"):
        plan_rollback(recoveries, plan.id)


def test_a_run_that_has_changed_nothing_has_nothing_to_roll_back(recoveries: Recoveries) -> None:
    """Neither while it is cut off, nor once it has failed."""
    plan = recoveries.plan(TABLE)
    with recoveries.hold(plan) as run:
        note(recoveries, plan, run.owner, recoveries.backups.listed()[-1])
    with pytest.raises(NothingToRollBack, match="it has changed nothing"):
        plan_rollback(recoveries, plan.id)
    with recoveries.hold(plan) as run:
        recoveries.finish(plan, run.owner, "failed")
    with pytest.raises(NothingToRollBack, match="it has changed nothing"):
        plan_rollback(recoveries, plan.id)


def test_without_an_emergency_backup_there_is_no_way_back(recoveries: Recoveries) -> None:
    """None was taken, or it is listed no more."""
    plan = replace(recoveries.plan(TABLE), emergency_backup=False, force=True)
    commit(recoveries, plan, "")
    with pytest.raises(NothingToRollBack, match="without an emergency backup"):
        plan_rollback(recoveries, plan.id)


def test_an_emergency_backup_that_is_gone_is_no_way_back(recoveries: Recoveries) -> None:
    """The error names it."""
    plan = recoveries.plan(TABLE)
    commit(recoveries, plan, "20200101-000000000-0123456789")
    with pytest.raises(NothingToRollBack, match="20200101-000000000-0123456789 is not listed any more"):
        plan_rollback(recoveries, plan.id)


def test_a_run_that_has_ended_is_planned_from_its_record(recoveries: Recoveries) -> None:
    """The very plan that its journal would have given; without an emergency backup there is none."""
    plan = recoveries.plan(TABLE)
    commit(recoveries, plan, recoveries.backups.listed()[-1])
    made = plan_rollback(recoveries, plan.id)
    with recoveries.hold(plan) as run:
        recoveries.finish(plan, run.owner, "recovered")
    assert made == plan_rollback(recoveries, plan.id)
    without = recoveries.plan(TABLE)
    recoveries.carry_out(without)
    with pytest.raises(NothingToRollBack, match="without an emergency backup"):
        plan_rollback(recoveries, without.id)


def test_a_run_without_its_journal_that_never_ended_is_not_rolled_back(recoveries: Recoveries) -> None:
    """Whether it changed anything is not known; the error proposes how to look."""
    plan = recoveries.plan(TABLE)
    commit(recoveries, plan, recoveries.backups.listed()[-1])
    recoveries.execute("DROP SCHEMA strongroom_staging CASCADE")
    with pytest.raises(NothingToRollBack, match="how it ended is not recorded"):
        plan_rollback(recoveries, plan.id)


@pytest.mark.parametrize("run", ["recovery-0", "", "../manifests", "*"])
def test_an_unknown_run_is_not_rolled_back(recoveries: Recoveries, run: str) -> None:
    """Whatever was typed."""
    with pytest.raises(UnknownRun):
        plan_rollback(recoveries, run)
