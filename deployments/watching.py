"""Watching a flow from a terminal: a moving bar where somebody looks, plain lines where nobody does.

with Watcher("backup") as watcher:
    report = run_flow(lambda: back_up("strongroom.toml"), watcher)
"""

import sys
from typing import Self, TypeVar

from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from deployments.printing import console_on, number, plain
from deployments.recovery_printing import sentence_of_recovery
from flows.wording import duration, size
from strongroom.operations.context import Progress
from strongroom.operations.location_messages import (
    CollectionReport,
    CopyReport,
    ExpiryReport,
    RepairPlanReport,
    RepairReport,
    ReplicationReport,
    RetentionPlanReport,
)
from strongroom.operations.messages import (
    BackupReport,
    CheckReport,
    IntegrityReport,
    Message,
    PlanReport,
    RestorePlanReport,
    RestoreStepReport,
    UnitReport,
    VerificationReport,
)
from strongroom.recovery.planning.wording import counted

Report = TypeVar("Report", bound=Message)

_SMALL_STEP = 1 << 20
"""What a step that moves no rows counts for in the bar, in bytes."""


class Watcher:
    """Sees the reports and the progress of a flow's tasks, shows them on standard error, and keeps the reports."""

    def __init__(self, title: str) -> None:
        self.reports: list[Message] = []
        self._title = title
        self._console = console_on(sys.stderr)
        self._interactive = self._console.is_terminal
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._interactive,
        )
        self._task: TaskID = self._bar.add_task(title, total=None)
        self._weights: dict[int, int] = {}
        self._rest: list[int] = []

    def __enter__(self) -> Self:
        self._bar.start()
        self.describe(self._title)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, seen: Message | Progress) -> None:
        """Show one report, or how far something has come."""
        if isinstance(seen, Progress):
            if seen.label:
                self._bar.update(self._task, description=plain(seen.label))
            return
        self.reports.append(seen)
        self._advance(seen)
        line = sentence(seen)
        if line:
            self._console.print("  " + line, style="dim")

    def describe(self, what: str) -> None:
        """Say what is going on now."""
        self._bar.update(self._task, description=what, total=None)
        self._console.print(what, style="bold")

    def last(self, kind: type[Report]) -> Report | None:
        """Return the newest report of a kind that was seen."""
        return next((report for report in reversed(self.reports) if isinstance(report, kind)), None)

    def _advance(self, report: Message) -> None:
        """Move the bar by the bytes that a finished step was expected to have."""
        if isinstance(report, PlanReport | RestorePlanReport):
            self._weights = {unit.number: unit.estimated_bytes + _SMALL_STEP for unit in report.units}
            self._rest = sorted(self._weights.values())
            total = sum(self._rest) + 3 * _SMALL_STEP
            self._bar.update(self._task, total=total, completed=0)
        elif isinstance(report, UnitReport):
            self._bar.advance(self._task, self._weights.get(report.unit, _SMALL_STEP))
        elif isinstance(report, RestoreStepReport) and report.rows and self._rest:
            # Units of a restore start with the largest.
            self._bar.advance(self._task, self._rest.pop())
        else:
            self._bar.advance(self._task, _SMALL_STEP)


def sentence(report: Message) -> str:
    """Say in a line what a step did; nothing for a step that goes without saying."""
    line = ""
    match report:
        case CheckReport():
            line = (
                f"checked the source: {len(report.checks)} questions, {'fit' if report.passed else 'NOT fit'}"
            )
        case PlanReport():
            line = (
                f"{report.kind} backup {report.backup} ({report.reason}): {counted(report.tables, 'table')}, "
                f"{counted(len(report.units), 'unit')}"
            )
        case UnitReport():
            totals = report.totals
            line = (
                f"captured unit {report.unit}: {counted(totals.rows, 'row')}, {size(totals.bytes_moved)} moved, "
                f"{size(totals.bytes_stored)} stored"
            )
        case BackupReport():
            line = f"sealed {report.backup}"
        case VerificationReport():
            proven = "proven" if report.passed else "NOT PROVEN"
            line = f"verified the {report.level} of {report.backup}: {proven}, score {report.score}"
        case RestorePlanReport():
            line = f"restoring {report.backup}: {counted(report.rows, 'row')} in {counted(report.tables, 'table')}"
        case RestoreStepReport():
            rows = f", {counted(report.rows, 'row')}" if report.rows else ""
            line = f"restored {plain(report.step)}{rows} in {duration(report.seconds)}"
        case IntegrityReport():
            passed = sum(suite.passed for suite in report.suites)
            line = f"judged the restored data: {passed} of {len(report.suites)} suites passed"
        case _:
            line = _sentence_of_locations(report) or sentence_of_recovery(report)
    return line


def _sentence_of_locations(report: Message) -> str:
    """Say in a line what a step of copying, repair or retention did."""
    line = ""
    match report:
        case CopyReport() if report.bytes_read:
            copied = ", ".join(f"{place.location}" for place in report.places if place.objects_copied)
            line = f"copied to {copied}: {size(report.bytes_read)} read once"
        case ReplicationReport():
            line = f"backups at {report.location}: {report.listed}, of which new: {len(report.backups)}"
        case RepairPlanReport():
            line = f"looked at {number(report.objects_looked_at)} objects, missing or damaged: {len(report.mends)}"
        case RepairReport():
            line = f"repaired {len(report.repaired)} objects, {size(report.bytes_copied)} copied"
        case RetentionPlanReport():
            line = f"planned: {len(report.keeps)} stay, {len(report.expiries)} expire, {len(report.locked)} are locked"
        case ExpiryReport() if report.expired:
            line = f"expired {len(report.expired)} backups at {report.location}"
        case CollectionReport() if report.deleted:
            line = f"freed {size(report.bytes_freed)} at {report.location}: {number(report.deleted)} objects"
    return line
