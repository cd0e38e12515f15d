"""Operations that stand for the engine's in the tests of recoveries in place: `tests.flows.fake_recovery:<operation>`.

Like those of `fake_backup`, which are here as well, they do what the script says. The journals of the run and of its
rollback are files in the repository's folder, and so is the lock, so that killed runs are resumed as they would be
with the engine. Operations of a rollback are called `<operation> of rollback`; further words are "failing" for what
judges, "lost" for an apply that commits and then fails, and "forgotten" for a rollback whose run has lost its list.
"""

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from strongroom.config import Settings
from strongroom.errors import (
    LockNotObtained,
    NothingToRollBack,
    RecoveryInterrupted,
    RecoveryOwnerLost,
    RecoveryUnderWay,
    StoreDenied,
)
from strongroom.format.documents import FORMAT, Finding
from strongroom.format.recovery_plans import PlannedStep, RecoveryPlan, ScopedTable, StepName
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import Check, IntegrityReport, RestoreStepReport, SuiteResult, UnitBrief
from strongroom.operations.recovery_messages import (
    ApplyRecovery,
    ApplyReport,
    CheckRecovery,
    CompareLive,
    ConfirmRecovery,
    ConfirmReport,
    DifferencesReport,
    FinishRecovery,
    FinishStaging,
    HoldRecovery,
    JudgeLive,
    JudgeStaging,
    MappedBrief,
    NoteEmergencyBackup,
    PlanRecovery,
    PlanRollback,
    PrepareStaging,
    RecallTouched,
    RecoveryCheckReport,
    RecoveryPlanReport,
    RunReport,
    RunState,
    StageUnit,
    StagingReport,
    TableDifferences,
    ValidateSystem,
    ValidationReport,
)
from tests.flows import fake_backup
from tests.flows.fake_backup import BACKUP, INSTANT, _begin, folder_of

ROOM = "tests.flows.fake_recovery:"
RUN = "20261101T130000Z-run"
_STEPS: tuple[StepName, ...] = (
    "check",
    "verify",
    "emergency-backup",
    "restore",
    "judge-staging",
    "reconcile",
    "judge",
    "validate",
    "report",
)


def __getattr__(name: str) -> object:
    """Find the operations of a backup and of a restore in their own module."""
    return getattr(fake_backup, name)


class Journal(msgspec.Struct):
    """A run's journal, in a file."""

    run: str
    state: RunState
    owner: str
    emergency_backup: str = ""


def make_plan(scenario: str = "data_corruption", **more: object) -> RecoveryPlan:
    """Make a plan of the fake backup; steps have a minute each."""
    steps = tuple(
        PlannedStep(
            name=name,
            title=name,
            phase="assess",
            critical=True,
            budget_seconds=60,
            rollback="nothing to undo",
        )
        for name in _STEPS
    )
    words = {
        "format": FORMAT,
        "id": RUN,
        "made_at": INSTANT,
        "scenario": scenario,
        "source": "quantforge",
        "backup": BACKUP,
        "recovery_point": INSTANT,
        "why": "the newest proven one",
        "destination": "environment" if scenario == "complete_failure" else "source",
        "strategy": "empty" if scenario == "complete_failure" else "exact",
        "tables": (ScopedTable(schema="public", name="trades"),),
        "steps": steps,
        "not_restored": ("rows written since",),
    }
    return msgspec.convert({**msgspec.to_builtins(words), **msgspec.to_builtins(more)}, RecoveryPlan)


def journal_of(folder: Path, *, of_rollback: bool = False) -> Journal | None:
    """Read a journal."""
    path = folder / ("rollback.journal" if of_rollback else "run.journal")
    return msgspec.json.decode(path.read_bytes(), type=Journal) if path.exists() else None


def write_journal(folder: Path, journal: Journal, *, of_rollback: bool = False) -> None:
    """Write a journal."""
    path = folder / ("rollback.journal" if of_rollback else "run.journal")
    path.write_bytes(msgspec.json.encode(journal))


def record_of(folder: Path) -> FinishRecovery:
    """Read what the last run that ended was recorded with."""
    return msgspec.json.decode((folder / "record.json").read_bytes(), type=FinishRecovery)


def _called(settings: Settings, operation: str, plan: RecoveryPlan, context: Context) -> str:
    return _begin(settings, f"{operation} of rollback" if plan.undoes else operation, context)


def _owned(settings: Settings, plan: RecoveryPlan, owner: str) -> Journal:
    journal = journal_of(folder_of(settings), of_rollback=bool(plan.undoes))
    if journal is None or journal.owner != owner:
        raise RecoveryOwnerLost(run=plan.id)
    return journal


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the right to recover for the length of the block."""
    with (folder / "right").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryUnderWay(run=RUN) from None
        yield


def plan_recovery(settings: Settings, request: PlanRecovery, context: Context) -> RecoveryPlanReport:
    """Make a plan whose id is new each time."""
    _begin(settings, "plan_recovery", context)
    plan = make_plan(
        request.scenario,
        id=f"{RUN}-{secrets.token_hex(2)}",
        tables=request.tables or (ScopedTable(schema="public", name="trades"),),
        force=request.force,
        skip_verification=request.skip_verification,
        emergency_backup=request.emergency_backup,
        rollback_on_error=request.rollback_on_error,
        rollback_strategy=request.rollback_strategy or settings.recovery.rollback_strategy,
    )
    return RecoveryPlanReport(plan=plan)


def plan_rollback(settings: Settings, request: PlanRollback, context: Context) -> RecoveryPlanReport:
    """Plan from the backup that the journal names."""
    _begin(settings, "plan_rollback", context)
    journal = journal_of(folder_of(settings))
    if journal is None or not journal.emergency_backup:
        raise NothingToRollBack(run=request.run, reason="it has no emergency backup")
    return RecoveryPlanReport(
        plan=make_plan(
            "custom", id=f"{request.run}.rollback", undoes=request.run, backup=journal.emergency_backup
        )
    )


def hold_recovery(settings: Settings, request: HoldRecovery, context: Context) -> RunReport:
    """Take the lock, open the journal or go on with it, and wait."""
    word = _called(settings, "hold_recovery", request.plan, context)
    folder, plan = folder_of(settings), request.plan
    with locked(folder):
        main = journal_of(folder)
        if main is not None and main.run not in {plan.id, plan.undoes}:
            raise RecoveryInterrupted(run=main.run, state=main.state)
        owner = secrets.token_hex(4)
        if plan.undoes and main is not None:
            write_journal(folder, msgspec.structs.replace(main, state="rolling-back", owner=owner))
        found = journal_of(folder, of_rollback=bool(plan.undoes))
        journal = (
            Journal(plan.id, "begun", owner) if found is None else msgspec.structs.replace(found, owner=owner)
        )
        write_journal(folder, journal, of_rollback=bool(plan.undoes))
        report = RunReport(
            run=plan.id,
            state=journal.state,
            owner=owner,
            resumed=found is not None,
            emergency_backup=journal.emergency_backup,
            forgotten=make_plan(id=plan.undoes) if word == "forgotten" else None,
        )
        context.announce(report)
        context.wait_for_release()
    return report


def check_recovery(settings: Settings, request: CheckRecovery, context: Context) -> RecoveryCheckReport:
    """Find a table, and a session that holds a lock on it."""
    _called(settings, "check_recovery", request.plan, context)
    return RecoveryCheckReport(
        tables=(MappedBrief(table="public.trades", columns=3, key=("id",)),),
        findings=(Finding(severity="warning", code="lock-held", object="public.trades", observed="by 42"),),
    )


def note_emergency_backup(settings: Settings, request: NoteEmergencyBackup, context: Context) -> RunReport:
    """Write the backup into the journal."""
    _called(settings, "note_emergency_backup", request.plan, context)
    journal = _owned(settings, request.plan, request.owner)
    journal.emergency_backup = request.backup
    write_journal(folder_of(settings), journal)
    return _told(journal)


def prepare_staging(settings: Settings, request: PrepareStaging, context: Context) -> StagingReport:
    """Cut into two units."""
    _called(settings, "prepare_staging", request.plan, context)
    _owned(settings, request.plan, request.owner)
    units = tuple(UnitBrief(number=n, label="public.trades", estimated_bytes=1000 * n) for n in (1, 2))
    return StagingReport(tables=1, rows=20, units=units)


def stage_unit(settings: Settings, request: StageUnit, context: Context) -> RestoreStepReport:
    """Load nothing."""
    _called(settings, "stage_unit", request.plan, context)
    context.progress(Progress(done=5, total=10, unit="rows", label="public.trades"))
    return RestoreStepReport(step=f"unit {request.unit}", rows=10)


def finish_staging(settings: Settings, request: FinishStaging, context: Context) -> RestoreStepReport:
    """Enter that all is staged."""
    _called(settings, "finish_staging", request.plan, context)
    journal = _owned(settings, request.plan, request.owner)
    journal.state = "staged"
    write_journal(folder_of(settings), journal, of_rollback=bool(request.plan.undoes))
    return RestoreStepReport(step="staged")


def recall_touched(settings: Settings, request: RecallTouched, context: Context) -> DifferencesReport:
    """Find six rows, for whoever holds both runs."""
    _called(settings, "recall_touched", request.plan, context)
    _owned(settings, request.plan, request.owner)
    _owned(settings, request.undone, request.owner)
    return DifferencesReport(tables=(_differences(),))


def judge_staging(settings: Settings, request: JudgeStaging, context: Context) -> IntegrityReport:
    """Find the suites passed, or one failing."""
    return _judged(_called(settings, "judge_staging", request.plan, context), request.data_docs)


def compare_live(settings: Settings, request: CompareLive, context: Context) -> DifferencesReport:
    """Find six rows."""
    _called(settings, "compare_live", request.plan, context)
    _owned(settings, request.plan, request.owner)
    return DifferencesReport(tables=(_differences(),))


def apply_recovery(settings: Settings, request: ApplyRecovery, context: Context) -> ApplyReport:
    """Enter that it is committed, or answer that it was; fail before, after, or for want of a lock."""
    word = _called(settings, "apply_recovery", request.plan, context)
    journal = _owned(settings, request.plan, request.owner)
    if word == "locked":
        raise LockNotObtained(object="public.trades", attempts=20, seconds=3, holders=" (42)")
    before = journal.state
    if before in {"begun", "staged"}:
        journal.state = "committed"
        write_journal(folder_of(settings), journal, of_rollback=bool(request.plan.undoes))
    if word == "lost":
        raise StoreDenied(store="the bucket", name="x", reason="the answer was lost")
    return ApplyReport(
        tables=(_differences(),),
        committed_at=INSTANT,
        lock_seconds=0.2,
        sequences_moved=("public.trades_id_seq",),
        already_done=before not in {"begun", "staged"},
    )


def confirm_recovery(settings: Settings, request: ConfirmRecovery, context: Context) -> ConfirmReport:
    """Find no row that differs, or three."""
    failing = _called(settings, "confirm_recovery", request.plan, context) == "failing"
    found = Finding(severity="critical", code="differs", object="public.trades", observed="3 rows")
    return ConfirmReport(
        passed=not failing,
        differing=3 if failing else 0,
        written_since=1,
        rows_compared=20,
        findings=(found,) if failing else (),
    )


def judge_live(settings: Settings, request: JudgeLive, context: Context) -> IntegrityReport:
    """Find the suites passed, or one failing."""
    return _judged(_called(settings, "judge_live", request.plan, context), request.data_docs)


def validate_system(settings: Settings, request: ValidateSystem, context: Context) -> ValidationReport:
    """Find the system well, or the API not answering."""
    failing = _begin(settings, "validate_system", context) == "failing"
    return ValidationReport(
        passed=not failing,
        checks=(
            Check(name="as anon", passed=True, observed="reads"),
            Check(name="health", passed=not failing, observed="503" if failing else "200"),
        ),
    )


def finish_recovery(settings: Settings, request: FinishRecovery, context: Context) -> RunReport:
    """Write the record and remove the journals."""
    _called(settings, "finish_recovery", request.plan, context)
    journal = _owned(settings, request.plan, request.owner)
    folder = folder_of(settings)
    (folder / "record.json").write_bytes(msgspec.json.encode(request))
    for name in ("rollback.journal", "run.journal"):
        if name == "run.journal" or request.plan.undoes:
            (folder / name).unlink(missing_ok=True)
    journal.state = "finished"
    return _told(journal)


def _told(journal: Journal) -> RunReport:
    return RunReport(
        run=journal.run,
        state=journal.state,
        owner=journal.owner,
        emergency_backup=journal.emergency_backup,
    )


def _differences() -> TableDifferences:
    return TableDifferences(
        table="public.trades",
        inserts=1,
        changes=2,
        deletes=3,
        deletes_written_since=1,
        rows_staged=20,
        rows_live=22,
    )


def _judged(word: str, data_docs: str) -> IntegrityReport:
    failing = word == "failing"
    return IntegrityReport(
        backup=BACKUP,
        passed=not failing,
        suites=(
            SuiteResult(
                suite="public.trades",
                passed=not failing,
                expectations=5,
                failed=int(failing),
                worst="critical" if failing else "",
            ),
        ),
        rows_expected=20,
        rows_observed=20,
        data_loss_percent=0.0,
        data_docs=data_docs,
    )
