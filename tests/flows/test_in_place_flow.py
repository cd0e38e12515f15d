"""The flow of a recovery in place, with operations that stand for the engine's: order, gates, rollback, resuming."""

import asyncio
import os
import signal
from typing import Any

import msgspec
import pytest

from flows.recovery import recover, roll_back
from strongroom.errors import (
    CheckFailed,
    ChildDied,
    DeadlineExceeded,
    EmergencyBackupNeeded,
    LiveRowsUnfit,
    LockNotObtained,
    NothingToRollBack,
    PlanUnfit,
    RecoveryInterrupted,
    RecoveryNotConfirmed,
    RecoveryRolledBack,
    RecoveryUnderWay,
    RollbackFailed,
    StagedRowsUnfit,
    StrongroomError,
    SystemValidationFailed,
    UnknownBackup,
    VerificationFailed,
)
from strongroom.operations.recovery_messages import InPlaceReport
from tests.flows import fake_recovery
from tests.flows.conftest import FakeSource, write_configuration
from tests.flows.fake_backup import BACKUP
from tests.flows.fake_recovery import RUN, Journal, journal_of, make_plan, record_of, write_journal
from tests.flows.test_backup_flow import artifacts
from tests.flows.thread_children import ThreadChild

BEFORE = ["hold_recovery", "check_recovery", "verify_backup"]
STAGED = ["prepare_staging", "stage_unit", "stage_unit", "finish_staging", "judge_staging", "compare_live"]
COMMITTED = ["apply_recovery", "confirm_recovery", "judge_live", "validate_system"]
UNDONE = ["plan_rollback"] + [
    f"{operation} of rollback"
    for operation in (
        "hold_recovery",
        "prepare_staging",
        "stage_unit",
        "stage_unit",
        "finish_staging",
        "compare_live",
        "apply_recovery",
        "confirm_recovery",
        "finish_recovery",
    )
]
"""What a rollback calls, in order."""


@pytest.fixture
def real(source: FakeSource, monkeypatch: pytest.MonkeyPatch) -> FakeSource:
    """A source whose operations are those of `fake_recovery`, in processes of their own."""
    monkeypatch.setattr("tasks.work.OPERATIONS", fake_recovery.ROOM)
    return source


@pytest.fixture
def live(real: FakeSource, monkeypatch: pytest.MonkeyPatch) -> FakeSource:
    """The same, in threads: what the flow makes of answers does not depend on where they come from."""
    monkeypatch.setattr("strongroom.children.Child", ThreadChild)
    return real


def run(live: FakeSource, configuration: str = "", **plan: Any) -> InPlaceReport:
    """Carry a plan out."""
    text = msgspec.json.encode(make_plan(**plan)).decode()
    report = asyncio.run(recover(configuration or live.configuration, plan=text, data_docs=""))
    assert isinstance(report, InPlaceReport)
    return report


def backup_calls(calls: list[str]) -> list[str]:
    """Return what the emergency backup called."""
    names = {"check_source", "begin_backup", "capture_catalog", "capture_unit", "seal_backup"}
    return [call for call in calls if call in names]


def without_backup(calls: list[str]) -> list[str]:
    """Return all calls but those of the emergency backup and its verification."""
    kept = [call for call in calls if call not in set(backup_calls(calls))]
    if "check_source" in calls and kept.count("verify_backup") == 2:
        kept.reverse()
        kept.remove("verify_backup")
        kept.reverse()
    return kept


# ---------------------------------------------------------------- the whole


def test_a_recovery_in_place_is_told_in_order(real: FakeSource) -> None:
    """Hold, check, verify, emergency backup, stage, judge, compare, apply, confirm, judge, validate, finish."""
    report = run(real)
    calls = real.calls()
    assert [*BEFORE, "note_emergency_backup", *STAGED, *COMMITTED, "finish_recovery"] == without_backup(calls)
    assert calls.index("seal_backup") < calls.index("note_emergency_backup") < calls.index("prepare_staging")
    assert (report.outcome, report.emergency_backup, report.run) == ("recovered", BACKUP, RUN)
    assert report.applied is not None
    assert report.applied.tables[0].total == 6
    assert report.recovery_lag_seconds > 0
    assert {"lock-held"} == {finding.code for finding in report.findings}
    assert record_of(real.folder).outcome == "recovered"
    assert journal_of(real.folder) is None


def test_a_recovery_shows_its_steps_and_its_counts(live: FakeSource) -> None:
    """The steps end as done with their budget, the plan and the differences are published, and no secret is in any."""
    run(live)
    steps = artifacts("recovery-steps-quantforge")[0]
    assert str(steps.data).count("| done |") == 11
    assert "1 min 0 s" in str(steps.data)
    differences = artifacts("recovery-differences-quantforge")[0]
    assert "written since" in str(differences.data)
    plan, summary = artifacts("recovery-plan-quantforge")[0], artifacts("recovery-quantforge")[0]
    assert "rows written since" in str(plan.data)
    assert "recovered" in str(summary.data)
    assert "hunter2secret" not in str([steps, differences, plan, summary])


def test_without_a_plan_one_is_made(live: FakeSource) -> None:
    """A scenario and its words become a plan, which is carried out."""
    report = asyncio.run(
        recover(
            live.configuration,
            scenario="partial_loss",
            tables=("public.trades where robot_id = 'r1'",),
            data_docs="",
        )
    )
    assert isinstance(report, InPlaceReport)
    assert live.calls()[:2] == ["plan_recovery", "hold_recovery"]
    assert [("public", "trades", "robot_id = 'r1'")] == [
        (table.schema, table.name, table.where) for table in report.plan.tables
    ]


def test_a_complete_failure_can_be_planned(live: FakeSource) -> None:
    """With a plan, the restore into an empty destination is validated as the application would."""
    text = msgspec.json.encode(make_plan("complete_failure", force=True)).decode()
    report = asyncio.run(recover(live.configuration, plan=text, data_docs=""))
    assert live.calls()[-2:] == ["judge_restore", "validate_system"]
    assert "option-force" in {finding.code for finding in report.findings}


def test_the_plan_of_another_source_is_refused(live: FakeSource) -> None:
    """A plan says whose it is."""
    with pytest.raises(PlanUnfit, match="made for other"):
        run(live, source="other")
    assert live.calls() == []


def test_options_that_leave_a_safeguard_out_are_loud(live: FakeSource) -> None:
    """They stand in bold above the steps, and in the signed record and the report as warnings."""
    report = run(live, force=True, skip_verification=True, emergency_backup=False, rollback_on_error=False)
    calls = live.calls()
    assert [] == backup_calls(calls)
    assert "verify_backup" not in calls
    codes = {"option-force", "option-skip-verification", "option-no-emergency-backup", "option-no-rollback"}
    assert codes <= {finding.code for finding in report.findings if finding.severity == "warning"}
    assert codes <= {finding.code for finding in record_of(live.folder).findings}
    steps = str(artifacts("recovery-steps-quantforge")[0].data)
    for words in ("**FORCED", "**NOT VERIFIED", "**NO WAY BACK", "**NO ROLLBACK"):
        assert words in steps


def test_no_way_back_needs_force(live: FakeSource) -> None:
    """Without an emergency backup and without force nothing begins."""
    with pytest.raises(EmergencyBackupNeeded):
        run(live, emergency_backup=False)
    assert live.calls() == []


def test_a_second_recovery_is_refused(live: FakeSource) -> None:
    """While a recovery is held, another one ends before it has touched anything."""
    with fake_recovery.locked(live.folder), pytest.raises(RecoveryUnderWay):
        run(live, id="20261101T140000Z-other")
    assert live.calls() == ["hold_recovery"]


def test_another_runs_leftovers_are_refused(live: FakeSource) -> None:
    """A run that was cut off is continued, rolled back or cleaned first."""
    write_journal(live.folder, Journal("another", "committed", "o"))
    with pytest.raises(RecoveryInterrupted):
        run(live)
    assert live.calls() == ["hold_recovery"]


# ---------------------------------------------------------------- before the commit


@pytest.mark.parametrize(
    ("operation", "word", "kind"),
    [
        ("check_recovery", "lasting", UnknownBackup),
        ("verify_backup", "unproven", VerificationFailed),
        ("check_source", "refuse", CheckFailed),
        ("seal_backup", "lasting", UnknownBackup),
        ("note_emergency_backup", "lasting", UnknownBackup),
        ("prepare_staging", "lasting", UnknownBackup),
        ("stage_unit", "lasting", UnknownBackup),
        ("finish_staging", "lasting", UnknownBackup),
        ("judge_staging", "failing", StagedRowsUnfit),
        ("compare_live", "lasting", UnknownBackup),
        ("apply_recovery", "locked", LockNotObtained),
    ],
)
def test_a_gate_before_the_commit_ends_it(
    live: FakeSource, operation: str, word: str, kind: type[StrongroomError]
) -> None:
    """Whatever fails before the commit: nothing is committed or rolled back, the run is recorded as failed and gone."""
    live.script(**{operation: word})
    configuration = write_configuration(live.folder.parent, live.folder, backup_max_retries="1")
    with pytest.raises(kind):
        run(live, str(configuration))
    calls = live.calls()
    assert "confirm_recovery" not in calls
    assert "plan_rollback" not in calls
    # A child of a fake is a thread: one that was ended may still say that it begins.
    ended = [call for call in calls if call != "stage_unit"]
    assert ended[-2:] == ["hold_recovery", "finish_recovery"]
    assert record_of(live.folder).outcome == "failed"
    assert journal_of(live.folder) is None
    assert "**failed**" in str(artifacts("recovery-steps-quantforge")[0].data)


def test_passing_errors_are_tried_again(live: FakeSource) -> None:
    """A cut line in any step costs an attempt, not the recovery."""
    live.script(
        hold_recovery="transient 1",
        check_recovery="transient 1",
        stage_unit="transient 2",
        apply_recovery="transient 1",
        confirm_recovery="transient 1",
    )
    assert run(live).outcome == "recovered"


def test_a_step_has_the_budget_of_the_plan(real: FakeSource) -> None:
    """A step that takes longer than the plan allows ends the recovery, with the step's name."""
    real.script(check_recovery="last")
    plan = make_plan()
    steps = [msgspec.structs.replace(step, budget_seconds=1) for step in plan.steps]
    with pytest.raises(DeadlineExceeded, match=r"within 1 s \(the budget of the plan's step check\)"):
        run(real, steps=steps)
    assert record_of(real.folder).outcome == "failed"


def test_the_whole_has_its_limit(real: FakeSource) -> None:
    """When max_recovery_time is over before the commit, nothing has happened and nothing runs."""
    real.script(stage_unit="last")
    configuration = write_configuration(real.folder.parent, real.folder, recovery_max_recovery_time="6 s")
    with pytest.raises(DeadlineExceeded, match=r"recovery.max_recovery_time"):
        run(real, str(configuration))
    assert record_of(real.folder).outcome == "failed"
    assert real.left() == []


def test_a_run_that_cannot_be_ended_keeps_its_journal(live: FakeSource) -> None:
    """If the database is away when a failed run is to be ended, the first error is told and the journal stays."""
    live.script(stage_unit="lasting", finish_recovery="transient 9")
    with pytest.raises(UnknownBackup):
        run(live)
    left = journal_of(live.folder)
    assert left is not None
    assert left.state == "begun"


def test_cancelling_leaves_the_journal(real: FakeSource) -> None:
    """A cancelled flow ends its processes within seconds and touches nothing: the plan goes on from there."""
    real.script(stage_unit="last")

    async def story() -> None:
        text = msgspec.json.encode(make_plan()).decode()
        work = asyncio.ensure_future(recover(real.configuration, plan=text, data_docs=""))
        await asyncio.to_thread(real.wait_for, "stage_unit")
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(story())
    assert real.left() == []
    left = journal_of(real.folder)
    assert left is not None
    assert (left.state, left.emergency_backup) == ("begun", BACKUP)
    real.script()
    begun = len(real.calls())
    assert run(real).outcome == "recovered"
    assert [] == backup_calls(real.calls()[begun:])


# ---------------------------------------------------------------- after the commit


@pytest.mark.parametrize(
    ("operation", "word", "cause"),
    [
        ("confirm_recovery", "failing", RecoveryNotConfirmed),
        ("judge_live", "failing", LiveRowsUnfit),
        ("validate_system", "failing", SystemValidationFailed),
        ("validate_system", "lasting", UnknownBackup),
    ],
)
def test_a_gate_after_the_commit_rolls_back(
    live: FakeSource, operation: str, word: str, cause: type[StrongroomError]
) -> None:
    """What fails after the commit is rolled back from the emergency backup, and that is confirmed."""
    live.script(**{operation: word})
    with pytest.raises(RecoveryRolledBack, match=BACKUP) as caught:
        run(live)
    assert isinstance(caught.value.__cause__, cause)
    calls = live.calls()
    assert UNDONE == calls[-len(UNDONE) :]
    assert calls[-len(UNDONE) - 1] == operation
    record = record_of(live.folder)
    assert (record.outcome, record.plan.undoes) == ("rolled-back", RUN)
    assert journal_of(live.folder) is None
    assert journal_of(live.folder, of_rollback=True) is None
    assert "**rolled-back**" in str(artifacts("recovery-quantforge")[0].data)


def test_graceful_asks_the_remaining_gates_first(live: FakeSource) -> None:
    """All checks are told before the rollback begins; the first failure is the reason."""
    live.script(confirm_recovery="failing", validate_system="failing")
    with pytest.raises(RecoveryRolledBack, match="SR-1415"):
        run(live, rollback_strategy="graceful")
    assert [*COMMITTED, *UNDONE] == live.calls()[-len(COMMITTED + UNDONE) :]
    summary = str(artifacts("recovery-quantforge")[0].data)
    assert "SR-1415" in summary
    assert "SR-1416" in summary


def test_without_rollback_the_changes_stay(live: FakeSource) -> None:
    """They are left as they are, critically loud, and the run ends as `left`."""
    live.script(validate_system="failing")
    with pytest.raises(SystemValidationFailed):
        run(live, rollback_on_error=False)
    assert "plan_rollback" not in live.calls()
    record = record_of(live.folder)
    assert record.outcome == "left"
    assert "left" in {finding.code for finding in record.findings if finding.severity == "critical"}


def test_without_a_way_back_the_changes_stay(live: FakeSource) -> None:
    """There is nothing to roll back to, and the record says why."""
    live.script(validate_system="failing")
    with pytest.raises(SystemValidationFailed):
        run(live, force=True, emergency_backup=False)
    assert record_of(live.folder).outcome == "left"
    assert "no emergency backup" in str(record_of(live.folder).findings)


def test_a_step_that_is_not_critical_warns(live: FakeSource) -> None:
    """If the plan says that validation is not critical, its failure is a finding of a recovery that stands."""
    live.script(validate_system="failing")
    steps = [msgspec.structs.replace(step, critical=step.name != "validate") for step in make_plan().steps]
    report = run(live, steps=steps)
    assert report.outcome == "recovered"
    assert "SR-1416" in {finding.code for finding in report.findings}


def test_a_rollback_that_fails_can_be_asked_for_again(live: FakeSource) -> None:
    """Both reasons are told, both journals stay, and the flow `rollback` goes on."""
    live.script(validate_system="failing", **{"confirm_recovery of rollback": "failing"})
    with pytest.raises(RollbackFailed, match=r"SR-1416.*SR-1415"):
        run(live)
    left = journal_of(live.folder, of_rollback=True)
    assert left is not None
    assert left.state == "committed"
    live.script()
    begun = len(live.calls())
    report = asyncio.run(roll_back(live.configuration, RUN))
    assert report.outcome == "rolled-back"
    assert report.rollback is not None
    assert report.rollback.already_done
    assert [UNDONE[0], UNDONE[1], *UNDONE[-3:]] == live.calls()[begun:]
    assert journal_of(live.folder) is None


def test_a_rollback_has_its_own_limit(real: FakeSource) -> None:
    """When rollback_timeout is over, the rollback has failed, whatever max_recovery_time would leave."""
    real.script(validate_system="failing", **{"stage_unit of rollback": "last"})
    configuration = write_configuration(real.folder.parent, real.folder, recovery_rollback_timeout="6 s")
    with pytest.raises(RollbackFailed, match=r"recovery.rollback_timeout"):
        run(real, str(configuration))
    assert real.left() == []


def test_a_limit_after_the_commit_rolls_back(real: FakeSource) -> None:
    """A validation that never ends is a failure once the time is over, and the rollback has time of its own."""
    real.script(validate_system="last")
    steps = [
        msgspec.structs.replace(step, budget_seconds=1.0 if step.name == "validate" else 60.0)
        for step in make_plan().steps
    ]
    with pytest.raises(RecoveryRolledBack, match="budget of the plan's step validate"):
        run(real, steps=steps)
    assert record_of(real.folder).outcome == "rolled-back"


def test_a_commit_whose_answer_was_lost_is_rolled_back(live: FakeSource) -> None:
    """If apply fails, the journal is asked whether it had committed; if so, that is a failure after the commit."""
    live.script(apply_recovery="lost")
    with pytest.raises(RecoveryRolledBack):
        run(live)
    assert UNDONE == live.calls()[-len(UNDONE) :]


def test_a_run_that_only_could_not_be_ended_stands(live: FakeSource) -> None:
    """Live is proven: no rollback; carrying the plan out again ends the run without committing anew."""
    live.script(finish_recovery="lasting")
    with pytest.raises(UnknownBackup):
        run(live)
    assert "plan_rollback" not in live.calls()
    live.script()
    begun = len(live.calls())
    report = run(live)
    assert report.applied is not None
    assert report.applied.already_done
    assert ["hold_recovery", *COMMITTED, "finish_recovery"] == live.calls()[begun:]


# ---------------------------------------------------------------- resuming


def test_a_staged_run_goes_on(live: FakeSource) -> None:
    """A run that was killed while staging goes on, with the emergency backup that it had."""
    write_journal(live.folder, Journal(RUN, "staged", "gone", "20261101T125900Z-emergency"))
    report = run(live)
    assert [*BEFORE, *STAGED, *COMMITTED, "finish_recovery"] == live.calls()
    assert report.emergency_backup == "20261101T125900Z-emergency"
    assert "RESUMED" in str(artifacts("recovery-steps-quantforge")[0].data)


def test_a_committed_run_is_proven(live: FakeSource) -> None:
    """A run that was killed after its commit is confirmed, judged and validated; nothing is staged again."""
    write_journal(live.folder, Journal(RUN, "committed", "gone", BACKUP))
    assert run(live).outcome == "recovered"
    assert ["hold_recovery", *COMMITTED, "finish_recovery"] == live.calls()


def test_a_run_that_was_rolling_back_goes_on_rolling_back(live: FakeSource) -> None:
    """A run that was killed during its rollback is rolled back, and says so."""
    write_journal(live.folder, Journal(RUN, "rolling-back", "gone", BACKUP))
    with pytest.raises(RecoveryRolledBack):
        run(live)
    assert ["hold_recovery", *UNDONE] == live.calls()


def test_rolling_back_a_run_by_hand(live: FakeSource) -> None:
    """The flow `rollback` undoes a run that was committed, and reports it."""
    write_journal(live.folder, Journal(RUN, "committed", "gone", BACKUP))
    report = asyncio.run(roll_back(live.configuration, RUN))
    assert UNDONE == live.calls()
    assert (report.run, report.outcome, report.emergency_backup) == (RUN, "rolled-back", BACKUP)


def test_a_list_of_rows_that_is_gone_is_made_again(live: FakeSource) -> None:
    """The run's own rows are staged beside those of the emergency backup, and live is compared after that."""
    write_journal(live.folder, Journal(RUN, "committed", "gone", BACKUP))
    live.script(**{"hold_recovery of rollback": "forgotten"})
    report = asyncio.run(roll_back(live.configuration, RUN))
    own = ["prepare_staging", "stage_unit", "stage_unit", "finish_staging", "recall_touched of rollback"]
    place = UNDONE.index("compare_live of rollback")
    assert [*UNDONE[:place], *own, *UNDONE[place:]] == live.calls()
    assert report.outcome == "rolled-back"


def test_nothing_is_rolled_back_to_nothing(live: FakeSource) -> None:
    """A run without an emergency backup cannot be rolled back."""
    write_journal(live.folder, Journal(RUN, "committed", "gone"))
    with pytest.raises(NothingToRollBack):
        asyncio.run(roll_back(live.configuration, RUN))


def test_a_lost_hold_ends_the_recovery(real: FakeSource) -> None:
    """When the process that holds the right dies, what runs is ended, and the run is held anew to be ended."""
    real.script(stage_unit="last")

    async def story() -> None:
        text = msgspec.json.encode(make_plan()).decode()
        work = asyncio.ensure_future(recover(real.configuration, plan=text, data_docs=""))
        await asyncio.to_thread(real.wait_for, "stage_unit")
        holder = next(real.folder.glob("*.hold_recovery.*.pid"))
        os.kill(int(holder.name.split(".")[2]), signal.SIGKILL)
        await work

    with pytest.raises(ChildDied, match="hold_recovery"):
        asyncio.run(story())
    assert real.left() == []
    assert real.calls()[-2:] == ["hold_recovery", "finish_recovery"]
    assert record_of(real.folder).outcome == "failed"
