"""One recovery in place while it is being carried out: its plan, its steps, and what has been learned so far.

async with run_shown(settings, plan, data_docs, approval) as run:
    with run.step(work, "check") as own:
        report = await own.do(check_recovery, CheckRecovery(plan=run.plan))
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flows.approval import Approved
from flows.artifacts import key_of
from flows.progress import Board, progress_shown
from flows.recovery_artifacts import StepBoard, StepShown, publish_in_place, steps_shown
from strongroom.clock import system_clock
from strongroom.config import Settings
from strongroom.errors import StrongroomError, SystemValidationFailed
from strongroom.findings import finding_of
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan, StepName
from strongroom.operations.messages import IntegrityReport, RestoreStepReport
from strongroom.operations.recovery_messages import (
    ApplyReport,
    DifferencesReport,
    FinishRecovery,
    InPlaceReport,
    Outcome,
    RunReport,
    ValidationReport,
)
from tasks.in_place import finish_recovery
from tasks.work import Work

STEPS: tuple[tuple[str, str, StepName], ...] = (
    ("check", "check the live database", "check"),
    ("verify", "verify the backup", "verify"),
    ("emergency-backup", "take the emergency backup", "emergency-backup"),
    ("stage", "load the wanted rows beside live", "restore"),
    ("judge-staging", "judge the loaded rows", "judge-staging"),
    ("compare", "compare live with them", "reconcile"),
    ("apply", "make live agree, in one transaction", "reconcile"),
    ("confirm", "compare again", "judge"),
    ("judge-live", "judge the live rows", "judge"),
    ("validate", "ask as the application would", "validate"),
    ("finish", "remove the staging tables, store the record", "report"),
)
"""The steps in order: name, title, and the step of the plan whose budget and words for undoing they share."""


@dataclass
class RecoveryRun:
    """What is known of a run, filled in by the story as it goes. What has happened, the journal decides."""

    settings: Settings
    plan: RecoveryPlan
    board: StepBoard
    progress: Board
    data_docs: str = ""
    approval: Approved | None = None
    began_at: float = field(default_factory=time.monotonic)
    journal: RunReport | None = None
    findings: list[Finding] = field(default_factory=list)
    steps: list[RestoreStepReport] = field(default_factory=list)
    staging: IntegrityReport | None = None
    differences: DifferencesReport | None = None
    applied: ApplyReport | None = None
    integrity: IntegrityReport | None = None
    validation: ValidationReport | None = None
    rollback: ApplyReport | None = None
    is_apply_begun: bool = False
    is_proven: bool = False
    """Whether live was found to be what was wanted: from then on nothing is a reason to roll back."""
    _limits: dict[StepName, Work] = field(default_factory=dict, init=False, repr=False)

    @property
    def source(self) -> str:
        """The name of what is recovered."""
        return self.settings.source.name

    @property
    def owner(self) -> str:
        """What operations show, so that no other process can commit this run."""
        return self.journal.owner if self.journal else ""

    @property
    def emergency_backup(self) -> str:
        """The backup that the run can be rolled back to; empty if there is none (yet)."""
        return self.journal.emergency_backup if self.journal else ""

    @property
    def seconds(self) -> float:
        """How long this attempt has taken so far."""
        return time.monotonic() - self.began_at

    @contextmanager
    def step(self, work: Work, name: str) -> Iterator[Work]:
        """Show a step as it begins and ends, and give it the time that the plan has for it."""
        with self.board.step(name):
            yield self._within_budget(work, next(planned for one, _, planned in STEPS if one == name))

    def is_critical(self, planned: StepName) -> bool:
        """Tell whether the plan wants the recovery to fail if this step does; what is not planned is critical."""
        return all(step.critical for step in self.plan.steps if step.name == planned)

    def docs(self, place: str) -> str:
        """Return the folder for the Data Docs of one judgement; empty if none are kept."""
        return str(Path(self.data_docs).expanduser() / self.plan.id / place) if self.data_docs else ""

    async def finish(self, work: Work, outcome: Outcome) -> None:
        """Have the record stored and the staging tables removed. The right to recover must be held."""
        request = FinishRecovery(
            plan=self.plan,
            owner=self.owner,
            outcome=outcome,
            seconds=self.seconds,
            emergency_backup=self.emergency_backup,
            applied=self.applied,
            findings=self.told(),
            approved_by=self.approval.by if self.approval else "",
        )
        ended = await work.do(finish_recovery, request)
        self.findings += ended.findings

    async def publish(self, outcome: Outcome, error: BaseException | None = None) -> InPlaceReport:
        """Publish the report of how the run ended, and return it."""
        if error is not None and finding_of_failure(error, self.plan.id) not in self.findings:
            self.findings.append(finding_of_failure(error, self.plan.id))
        report = self.report(outcome)
        await publish_in_place(self.source, report)
        return report

    def report(self, outcome: Outcome) -> InPlaceReport:
        """Put all that is known of the run into one report."""
        lag = system_clock() - self.plan.recovery_point
        return InPlaceReport(
            run=self.plan.id,
            plan=self.plan,
            outcome=outcome,
            emergency_backup=self.emergency_backup,
            differences=self.differences,
            applied=self.applied,
            staging=self.staging,
            integrity=self.integrity,
            validation=self.validation,
            rollback=self.rollback,
            steps=tuple(self.steps),
            approved_by=self.approval.by if self.approval else "",
            recovery_lag_seconds=lag.total_seconds(),
            recovery_duration_seconds=self.seconds,
            findings=self.told(),
        )

    def told(self) -> tuple[Finding, ...]:
        """Return the findings so far, each once: what a suite says before the commit it often says after it, too."""
        return tuple(dict.fromkeys(self.findings))

    def _within_budget(self, work: Work, planned: StepName) -> Work:
        """Return the work with what is left of the budget of a planned step, which several steps may share."""
        if planned not in self._limits:
            budget = next((step.budget_seconds for step in self.plan.steps if step.name == planned), 0.0)
            self._limits[planned] = work.within(budget, f"the budget of the plan's step {planned}")
        return self._limits[planned]


@asynccontextmanager
async def run_shown(
    settings: Settings, plan: RecoveryPlan, data_docs: str, approval: Approved | None
) -> AsyncIterator[RecoveryRun]:
    """Show a run's steps and progress for as long as the block runs."""
    source = settings.source.name
    budgets = {step.name: step for step in plan.steps}
    steps = [
        StepShown(name, title, step.budget_seconds if step else 0.0, step.rollback if step else "")
        for name, title, planned in STEPS
        for step in [budgets.get(planned)]
    ]
    loud = loud_findings(plan)
    title = f"Recovering {source} from {plan.backup}"
    async with (
        steps_shown(key_of("recovery-steps", source), title, steps, [one.observed for one in loud]) as board,
        progress_shown(key_of("recovery-progress", source), title) as progress,
    ):
        run = RecoveryRun(settings, plan, board, progress, data_docs, approval)
        run.findings += [*plan.findings, *loud]
        if approval is not None:
            run.findings.append(approval.finding())
        yield run


def loud_findings(plan: RecoveryPlan) -> list[Finding]:
    """Return a warning for each safeguard that the plan leaves out; none of them may pass unnoticed.

    An empty destination has nothing that a backup could save or a rollback give back: there nobody left these out.
    """
    is_in_place = plan.destination == "source"
    said = {
        "force": (plan.force, "FORCED: what the planner would have refused was accepted"),
        "skip-verification": (
            plan.skip_verification,
            "NOT VERIFIED: the backup's objects are not tested before use",
        ),
        "no-emergency-backup": (
            is_in_place and not plan.emergency_backup,
            "NO WAY BACK: no emergency backup is taken",
        ),
        "no-rollback": (
            is_in_place and not plan.rollback_on_error,
            "NO ROLLBACK: what fails after the commit is left as it is",
        ),
    }
    return [
        Finding(severity="warning", code=f"option-{name}", object=plan.id, observed=words)
        for name, (is_chosen, words) in said.items()
        if is_chosen
    ]


def finding_of_failure(error: BaseException, name: str) -> Finding:
    """Turn what ended a step into a finding; of an unforeseen error only its kind, since its text may hold values."""
    if isinstance(error, StrongroomError):
        return finding_of(error, name)
    return Finding(severity="error", code="SR-0000", object=name, observed=type(error).__name__)


def reason_of(error: BaseException) -> str:
    """Say in a sentence what ended a run."""
    return f"{error.code}: {error}" if isinstance(error, StrongroomError) else type(error).__name__


def require_valid(report: ValidationReport) -> None:
    """Raise `SystemValidationFailed` unless the report passed."""
    if not report.passed:
        failed = [check for check in report.checks if not check.passed and check.severity == "error"]
        first = f"{failed[0].name}: {failed[0].observed}" if failed else "a check could not be asked"
        raise SystemValidationFailed(failed=max(1, len(failed)), checks=len(report.checks), first=first)
