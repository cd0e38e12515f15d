"""Facts about rolling back a run that has ended: its rows go back to what they were, and no others do.

Which rows it touched is found out again from the repository: its own backup, compared with its emergency backup.
"""

from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from strongroom.errors import (
    NothingToRollBack,
    RecoveryInterrupted,
    RecoveryOwnerLost,
    ReferencesWouldBreak,
    StagingIncomplete,
)
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import (
    CleanRecovery,
    CleanReport,
    CompareLive,
    DifferencesReport,
    FinishStaging,
    NoteEmergencyBackup,
    PlanRollback,
    ReadRecoveries,
    RecallTouched,
    RecoveriesReport,
    RecoveryPlanReport,
    RunReport,
)
from strongroom.recovery.staging_names import RUN_SCHEMA, SCHEMAS
from strongroom.repository.layout import manifest_name
from tests.recoveries import Recoveries

KEYED, LOOSE = "public.keyed", "public.loose"

DAMAGE = (
    "UPDATE public.keyed SET note = 'damaged' WHERE id % 7 = 0",
    "UPDATE public.keyed SET owner = 'nobody' WHERE id IN (3, 13)",
    "DELETE FROM public.keyed WHERE id % 11 = 0",
    "INSERT INTO public.keyed VALUES (1001, 'o3', 'invented'), (1002, 'o4', 'invented')",
)
SINCE = (
    "UPDATE public.keyed SET note = 'since' WHERE id = 1",
    "INSERT INTO public.keyed VALUES (2001, 'o3', 'since'), (2002, 'o4', 'since')",
    "DELETE FROM public.keyed WHERE id = 2",
)
"""What the application writes after the recovery, to rows that it has not touched."""
WRITTEN = Counter({b"1\to1\tsince\n": 1, b"2001\to3\tsince\n": 1, b"2002\to4\tsince\n": 1})
GONE = Counter({b"1\to1\tgood\n": 1, b"2\to2\tgood\n": 1})


STEPS = ("hold", "stage", "load", "prove", "recall", "compare", "apply", "confirm", "finish")


class _CutOffError(Exception):
    """Stands for the end of the process."""


def _go_on(_: str) -> None:
    """Look on, and do nothing."""


@pytest.fixture
def recoveries(recoveries: Recoveries) -> Recoveries:
    """Make a database with two tables, of which one has no key, and a backup of it."""
    recoveries.execute("CREATE TABLE public.keyed (id int PRIMARY KEY, owner text, note text)")
    recoveries.execute(
        "INSERT INTO public.keyed SELECT g, 'o' || g % 5, 'good' FROM generate_series(1, 200) g"
    )
    recoveries.execute("CREATE TABLE public.loose (owner text, note text)")
    recoveries.execute("INSERT INTO public.loose SELECT 'o' || g % 5, 'good' FROM generate_series(1, 20) g")
    recoveries.backups.back_up("full")
    return recoveries


def run_all(recoveries: Recoveries, statements: tuple[str, ...]) -> None:
    """Run statements as the user."""
    for statement in statements:
        recoveries.execute(statement)


def recover(recoveries: Recoveries, plan: RecoveryPlan, *, end: bool = True) -> str:
    """Carry a plan out as the flow does; return its emergency backup. Without an end it is cut off after its commit."""
    recoveries.backups.clock.step()
    emergency = recoveries.backups.back_up("incremental")
    recoveries.backups.clock.step()
    with recoveries.hold(plan) as run:
        note = NoteEmergencyBackup(plan=plan, owner=run.owner, backup=emergency)
        recoveries.run("note_emergency_backup", note, RunReport)
        recoveries.compare(plan, run.owner)
        applied = recoveries.apply(plan, run.owner)
        if end:
            assert recoveries.confirm(plan).passed
            recoveries.finish(plan, run.owner, "recovered", applied)
    return emergency


def plan_rollback(recoveries: Recoveries, run: str) -> RecoveryPlan:
    """Plan the rollback of a run."""
    return recoveries.run("plan_rollback", PlanRollback(run=run), RecoveryPlanReport).plan


def roll_back(recoveries: Recoveries, run: str, note: Callable[[str], None] = _go_on) -> None:
    """Roll a run back as the flow does; `note` hears what is over."""
    plan = plan_rollback(recoveries, run)
    with recoveries.hold(plan) as begun:
        note("hold")
        if begun.state in {"begun", "staged"}:
            recoveries.stage(plan, begun.owner)
            note("stage")
            if begun.forgotten is not None:
                undone = begun.forgotten
                recoveries.load(undone, begun.owner)
                note("load")
                finish = FinishStaging(plan=undone, owner=begun.owner)
                recoveries.run("finish_staging", finish, RestoreStepReport)
                note("prove")
                recoveries.run(
                    "recall_touched",
                    RecallTouched(plan=plan, undone=undone, owner=begun.owner),
                    DifferencesReport,
                )
                note("recall")
            compare = CompareLive(plan=plan, owner=begun.owner)
            found = recoveries.run("compare_live", compare, DifferencesReport)
            assert "rollback-of-all" not in [finding.code for finding in found.findings]
            note("compare")
        applied = recoveries.apply(plan, begun.owner)
        note("apply")
        assert recoveries.confirm(plan).passed
        note("confirm")
        recoveries.finish(plan, begun.owner, "rolled-back", applied)
        note("finish")


def lose_unlogged_tables(recoveries: Recoveries) -> None:
    """Empty what a crash of the server empties."""
    found = recoveries.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ANY (%s) AND c.relkind = 'r' AND c.relpersistence = 'u'",
        list(SCHEMAS),
    )
    for (name,) in found:
        recoveries.execute(f"TRUNCATE {name}")


def outcomes(recoveries: Recoveries, run: str) -> list[str]:
    """Return what a run's records say, the newest last."""
    return [record.outcome for record in recoveries.records(run)]


# ---------------------------------------------------------------- what goes back, and what stays


@pytest.mark.parametrize("strategy", ["exact", "merge_missing", "merge_overwrite"])
@pytest.mark.parametrize("where", ["", "owner = 'o3'"])
def test_the_damage_is_back_and_what_was_written_since_is_still_there(
    recoveries: Recoveries, strategy: str, where: str
) -> None:
    """Row for row, whatever the strategy and the condition were; the record says that it was rolled back."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED, strategy=strategy, where=where)  # type: ignore[arg-type]
    recover(recoveries, plan)
    assert damaged != recoveries.rows(KEYED)
    assert [] == recoveries.schemas()
    run_all(recoveries, SINCE)
    roll_back(recoveries, plan.id)
    assert damaged - GONE + WRITTEN == recoveries.rows(KEYED)
    assert ([], ["begun", "recovered", "rolled-back"]) == (
        recoveries.schemas(),
        outcomes(recoveries, plan.id),
    )


@pytest.mark.parametrize("strategy", ["exact", "merge_missing"])
def test_rows_without_a_key_are_given_back_by_their_number(recoveries: Recoveries, strategy: str) -> None:
    """Equal rows are counted; those that the application has added since stay."""
    recoveries.execute("DELETE FROM public.loose WHERE owner = 'o2'")
    recoveries.execute("INSERT INTO public.loose VALUES ('o1', 'invented')")
    damaged = recoveries.rows(LOOSE)
    plan = recoveries.plan(LOOSE, strategy=strategy)  # type: ignore[arg-type]
    recover(recoveries, plan)
    recoveries.execute("INSERT INTO public.loose VALUES ('o7', 'since')")
    roll_back(recoveries, plan.id)
    assert damaged + Counter({b"o7\tsince\n": 1}) == recoveries.rows(LOOSE)


def test_a_run_of_several_tables_is_rolled_back_as_a_whole(recoveries: Recoveries) -> None:
    """Tables are matched by their names, and one that the emergency backup does not have is left alone."""
    recoveries.execute("DELETE FROM public.loose")
    run_all(recoveries, DAMAGE)
    before = {table: recoveries.rows(table) for table in (KEYED, LOOSE)}
    plan = recoveries.plan(LOOSE, KEYED)
    recover(recoveries, plan)
    roll_back(recoveries, plan.id)
    assert before == {table: recoveries.rows(table) for table in (KEYED, LOOSE)}


def test_a_column_that_came_since_keeps_its_values(recoveries: Recoveries) -> None:
    """Rows are compared by what both backups have, as the run did."""
    recoveries.execute("ALTER TABLE public.keyed ADD COLUMN extra int DEFAULT 5")
    run_all(recoveries, DAMAGE[:3])
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan)
    recoveries.execute("UPDATE public.keyed SET extra = 6 WHERE id = 1")
    roll_back(recoveries, plan.id)
    assert damaged - Counter({b"1\to1\tgood\t5\n": 1}) + Counter({b"1\to1\tgood\t6\n": 1}) == recoveries.rows(
        KEYED
    )


def test_rows_that_cannot_be_told_apart_any_more_are_left_alone(recoveries: Recoveries) -> None:
    """Without a key rows are known by all that is in them, and the run's backup knows other columns: refused."""
    recoveries.execute("ALTER TABLE public.loose ADD COLUMN extra int DEFAULT 5")
    recoveries.execute("DELETE FROM public.loose WHERE owner = 'o2'")
    plan = recoveries.plan(LOOSE)
    recover(recoveries, plan)
    before = recoveries.rows(LOOSE)
    with pytest.raises(NothingToRollBack, match="other columns"):
        roll_back(recoveries, plan.id)
    assert before == recoveries.rows(LOOSE)
    assert RUN_SCHEMA in recoveries.run("clean_recovery", CleanRecovery(), CleanReport).removed
    assert ["begun", "recovered"] == outcomes(recoveries, plan.id)


# ---------------------------------------------------------------- cut off, and carried on


@pytest.mark.parametrize(
    ("after", "crash"),
    [
        *((step, False) for step in STEPS),
        # After the commit there is nothing left to compare with.
        *((step, True) for step in STEPS[: STEPS.index("apply")]),
    ],
)
def test_one_that_was_cut_off_goes_on_with_the_same_command(
    recoveries: Recoveries, *, after: str, crash: bool
) -> None:
    """Killed anywhere, with or without a crash of the server; the status shows the run, and nobody else recovers."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan, other = recoveries.plan(KEYED, where="owner <> 'o4'"), recoveries.plan(KEYED)
    recover(recoveries, plan)
    recovered = recoveries.rows(KEYED)

    def cut_off(over: str) -> None:
        if over == after:
            raise _CutOffError

    with pytest.raises(_CutOffError):
        roll_back(recoveries, plan.id, cut_off)
    if after == "finish":
        assert ([], damaged) == (recoveries.schemas(), recoveries.rows(KEYED))
        return
    report = recoveries.run("read_recoveries", ReadRecoveries(), RecoveriesReport)
    assert report.under_way is not None
    assert (plan.id, "rolling-back") == (report.under_way.run, report.under_way.state)
    with pytest.raises(RecoveryInterrupted), recoveries.hold(other):
        pass
    assert (damaged if after in {"apply", "confirm"} else recovered) == recoveries.rows(KEYED)
    if crash:
        lose_unlogged_tables(recoveries)
    roll_back(recoveries, plan.id)
    assert ([], damaged) == (recoveries.schemas(), recoveries.rows(KEYED))


def test_a_crash_of_the_server_does_not_make_a_rollback_take_all_rows(recoveries: Recoveries) -> None:
    """The list of a run that was cut off after its commit is unlogged: it is made again."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan, end=False)
    run_all(recoveries, SINCE)
    lose_unlogged_tables(recoveries)
    roll_back(recoveries, plan.id)
    assert damaged - GONE + WRITTEN == recoveries.rows(KEYED)


def test_without_the_list_nothing_is_compared(recoveries: Recoveries) -> None:
    """Or every row written since the emergency backup would be taken for one that the run has touched."""
    recoveries.execute("DELETE FROM public.keyed WHERE id = 5")
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan)
    undoing = plan_rollback(recoveries, plan.id)
    with recoveries.hold(undoing) as begun:
        assert plan == begun.forgotten
        with pytest.raises(StagingIncomplete, match="no list of the rows"):
            recoveries.compare(undoing, begun.owner)


def test_a_rollback_takes_its_run_away_from_whoever_had_it(recoveries: Recoveries) -> None:
    """What a process that was cut off had ordered is refused."""
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan, end=False)
    with recoveries.hold(plan) as run:
        former = run.owner
    with recoveries.hold(plan_rollback(recoveries, plan.id)), pytest.raises(RecoveryOwnerLost):
        recoveries.finish(plan, former, "recovered")


def test_a_run_with_a_condition_is_rolled_back_while_its_journal_is_there(recoveries: Recoveries) -> None:
    """The emergency backup is staged whole, and only the touched rows of it are given back."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED, where="owner = 'o3'")
    recover(recoveries, plan, end=False)
    run_all(recoveries, SINCE)
    roll_back(recoveries, plan.id)
    assert damaged - GONE + WRITTEN == recoveries.rows(KEYED)


def test_an_end_that_was_cut_off_does_not_stand_in_the_way(recoveries: Recoveries) -> None:
    """The journal says finished, and is still there with its list."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan, end=False)
    recoveries.execute("UPDATE strongroom_staging.run SET state = 'finished'")
    roll_back(recoveries, plan.id)
    assert damaged == recoveries.rows(KEYED)


def test_a_run_that_was_cleaned_up_after_its_commit_is_rolled_back(recoveries: Recoveries) -> None:
    """Its record knows the emergency backup."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan, end=False)
    assert recoveries.run("clean_recovery", CleanRecovery(), CleanReport).changed
    roll_back(recoveries, plan.id)
    assert damaged == recoveries.rows(KEYED)
    assert ["begun", "left", "rolled-back"] == outcomes(recoveries, plan.id)


def test_a_rollback_that_was_given_up_leaves_the_run_as_it_ended(recoveries: Recoveries) -> None:
    """Cleaning up in between removes both schemas, changes no record, and the rollback can be asked for again."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan)
    with recoveries.hold(plan_rollback(recoveries, plan.id)):
        pass
    assert set(SCHEMAS) == set(recoveries.run("clean_recovery", CleanRecovery(), CleanReport).removed)
    assert ["begun", "recovered"] == outcomes(recoveries, plan.id)
    roll_back(recoveries, plan.id)
    assert damaged == recoveries.rows(KEYED)


# ---------------------------------------------------------------- what is refused


def test_a_row_that_others_refer_to_by_now_is_not_taken_away(recoveries: Recoveries) -> None:
    """Nothing is changed; once the reference is gone, the same command goes on."""
    recoveries.execute("CREATE TABLE public.child (parent int REFERENCES public.keyed)")
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan)
    recovered = recoveries.rows(KEYED)
    recoveries.execute("INSERT INTO public.child VALUES (11)")
    with pytest.raises(ReferencesWouldBreak):
        roll_back(recoveries, plan.id)
    assert recovered == recoveries.rows(KEYED)
    recoveries.execute("DELETE FROM public.child")
    roll_back(recoveries, plan.id)
    assert damaged == recoveries.rows(KEYED)


def test_a_run_is_rolled_back_once(recoveries: Recoveries) -> None:
    """Neither planning it nor carrying the same plan out goes a second time."""
    recoveries.execute("DELETE FROM public.keyed WHERE id = 5")
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan)
    undoing = plan_rollback(recoveries, plan.id)
    roll_back(recoveries, plan.id)
    with pytest.raises(NothingToRollBack, match="rolled back already"):
        plan_rollback(recoveries, plan.id)
    with pytest.raises(NothingToRollBack, match="rolled back already"), recoveries.hold(undoing):
        pass
    assert [] == recoveries.schemas()


def test_without_its_own_backup_the_rows_cannot_be_told(recoveries: Recoveries) -> None:
    """It has expired: the error says what can be done instead."""
    recoveries.execute("DELETE FROM public.keyed WHERE id = 5")
    plan = recoveries.plan(KEYED, where="owner = 'o0'")
    emergency = recover(recoveries, plan)
    recoveries.backups.store.delete(manifest_name(plan.backup))
    with pytest.raises(NothingToRollBack) as raised:
        plan_rollback(recoveries, plan.id)
    said = raised.value.render()
    assert f"the backup {plan.backup} that it recovered from" in said
    assert f"recover plan custom --preview --backup {emergency} --table" in said
    assert [] == recoveries.schemas()


def test_a_later_run_in_the_same_tables_is_rolled_back_first(recoveries: Recoveries) -> None:
    """Else live would become what it never was; one in other tables does not matter."""
    run_all(recoveries, DAMAGE)
    damaged = recoveries.rows(KEYED)
    first = recoveries.plan(KEYED, where="owner = 'o3'")
    recover(recoveries, first)
    second, elsewhere = recoveries.plan(KEYED), recoveries.plan(LOOSE)
    second = replace(second, backup=first.backup)
    recover(recoveries, second)
    recover(recoveries, replace(elsewhere, backup=first.backup))
    with pytest.raises(NothingToRollBack, match=f"{second.id} came after it"):
        plan_rollback(recoveries, first.id)
    roll_back(recoveries, second.id)
    roll_back(recoveries, first.id)
    assert damaged == recoveries.rows(KEYED)


def test_another_run_that_was_cut_off_comes_first(recoveries: Recoveries) -> None:
    """Its journal is not touched."""
    recoveries.execute("DELETE FROM public.keyed WHERE id = 5")
    plan = recoveries.plan(KEYED)
    recover(recoveries, plan)
    other = recoveries.plan(LOOSE)
    with recoveries.hold(other):
        pass
    undoing = plan_rollback(recoveries, plan.id)
    with pytest.raises(RecoveryInterrupted), recoveries.hold(undoing):
        pass
    with recoveries.hold(other) as run:
        assert ("begun", True) == (run.state, run.resumed)
