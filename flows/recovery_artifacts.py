"""What a recovery leaves in Prefect for people to look at: its plan, its steps as they happen, its report.

    async with steps_shown("recovery-steps-quantforge", "Recovering quantforge", STEPS, remarks) as board:
        with board.step("check"):
            ...

Counts, names and conditions only, no rows. A server that does not take an artifact never stops a recovery: what
happened is in the destination's journal and in the repository's records.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.logging import get_run_logger

from flows.artifacts import key_of
from flows.wording import cell, duration, facts, findings, sections, writers_waited
from strongroom.errors import StrongroomError
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.messages import IntegrityReport
from strongroom.operations.recovery_messages import DifferencesReport, InPlaceReport, ValidationReport
from strongroom.recovery.planning.wording import counted

_LAST_SECONDS = 10.0
"""How long the end of a recovery waits for its last state to be shown."""


@dataclass(frozen=True)
class StepShown:
    """A step on the board: its name, what it does, its budget in seconds (0 for none), and what undoes it."""

    name: str
    title: str
    budget_seconds: float = 0.0
    undone_by: str = ""


class StepBoard:
    """The steps of a recovery and where each stands; whoever waits for `changed` shows it."""

    def __init__(self, title: str, steps: Sequence[StepShown], remarks: Sequence[str]) -> None:
        self.changed = asyncio.Event()
        self.title = title
        self._steps = list(steps)
        self._remarks = list(remarks)
        self._states: dict[str, str] = {}
        self._seconds: dict[str, float] = {}

    def add(self, steps: Sequence[StepShown], remark: str) -> None:
        """Add steps that nobody had planned for: those of a rollback."""
        self._steps += steps
        self.remark(remark)

    def remark(self, remark: str) -> None:
        """Say something above the steps, in bold."""
        self._remarks.append(remark)
        self.changed.set()

    def settle(self, name: str, state: str) -> None:
        """Say where a step stands, or why it is not going to be carried out."""
        self._states[name] = state
        self.changed.set()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step as running for as long as the block runs, and then how it ended."""
        begun = time.monotonic()
        self.settle(name, "**running**")
        state = "**cancelled**"
        try:
            yield
            state = "done"
        except Exception as error:
            code = f" `{error.code}`" if isinstance(error, StrongroomError) else ""
            state = f"**failed**{code}"
            raise
        finally:
            self._seconds[name] = time.monotonic() - begun
            self.settle(name, state)

    def markdown(self) -> str:
        """Word the board: the remarks, then a row for each step."""
        head = "| step | state | time | budget | what undoes it |\n|---|---|---|---|---|"
        rows = [
            f"| {cell(step.title)} | {self._states.get(step.name, 'waiting')} | {self._took(step)} "
            f"| {duration(step.budget_seconds) if step.budget_seconds else '–'} | {cell(step.undone_by)} |"
            for step in self._steps
        ]
        loud = [f"**{cell(remark)}**" for remark in self._remarks]
        return "\n\n".join([f"# {cell(self.title)}", *loud, "\n".join([head, *rows])])

    def _took(self, step: StepShown) -> str:
        return duration(self._seconds[step.name]) if step.name in self._seconds else ""


@asynccontextmanager
async def steps_shown(
    key: str, title: str, steps: Sequence[StepShown], remarks: Sequence[str] = ()
) -> AsyncIterator[StepBoard]:
    """Show steps as an artifact for as long as the block runs; it stays as the block left it.

    Written beside the work and never waited for: a busy server takes seconds for a write, and there are two a step.
    """
    board = StepBoard(title, steps, remarks)
    shown: list[UUID] = []
    over = asyncio.Event()

    async def show() -> None:
        board.changed.clear()
        with unless_prefect_is_away():
            if not shown:
                shown.append(
                    await acreate_markdown_artifact(board.markdown(), key=key, description=board.title)
                )
                return
            async with get_client() as client:
                await client.update_artifact(shown[0], ArtifactUpdate(data=board.markdown()))

    async def keep_showing() -> None:
        while board.changed.is_set() or not over.is_set():
            await board.changed.wait()
            await show()

    await show()
    showing = asyncio.ensure_future(keep_showing())
    try:
        yield board
    finally:
        # A write that is under way is not cut off: the server might carry it out after the last one.
        over.set()
        board.changed.set()
        await asyncio.wait({showing}, timeout=_LAST_SECONDS)
        showing.cancel()


@contextmanager
def unless_prefect_is_away() -> Iterator[None]:
    """Log whatever keeps something from being shown, and go on: a recovery does not depend on being watched."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  (nothing that is shown is worth a recovery)
        with contextlib.suppress(Exception):
            get_run_logger().warning("Prefect did not take an artifact: %s", type(error).__name__)


# ---------------------------------------------------------------- plan and report


def word_plan(plan: RecoveryPlan) -> str:
    """Word a plan in Markdown: what, from when and why, at which risk, and what will not be restored."""
    tables = [f"{table.label} where {table.where}" if table.where else table.label for table in plan.tables]
    summary: Mapping[str, object] = {
        "run": plan.id,
        "scenario": plan.scenario,
        "recovery point": f"{plan.recovery_point.isoformat(timespec='seconds')} (backup {plan.backup})",
        "why this one": plan.why,
        "destination": plan.destination,
        "strategy": plan.strategy,
        "scope": f"{counted(len(tables), 'table')}: {', '.join(tables[:20])}{', …' if len(tables) > 20 else ''}",
        "downtime": plan.estimate_basis or f"about {duration(plan.estimated_downtime_seconds)}",
        "risk of losing data": f"{plan.risk}: {plan.risk_reason}",
        "recovery lag": f"{duration(plan.recovery_lag_seconds)}, "
        f"objective {duration(plan.recovery_lag_objective_seconds)}",
        "if it fails": f"rolled back ({plan.rollback_strategy})"
        if plan.rollback_on_error
        else "**left as it is**",
    }
    parts = [("## What is going to be done", facts(summary))]
    if plan.not_restored:
        parts.append(
            ("## What is not restored", "\n".join(f"- {cell(missing)}" for missing in plan.not_restored))
        )
    parts.append(("## Findings", findings(plan.findings)))
    return sections(parts)


async def publish_plan(source: str, plan: RecoveryPlan) -> None:
    """Publish a plan before it is carried out."""
    with unless_prefect_is_away():
        await acreate_markdown_artifact(
            f"# The plan of a recovery of {cell(source)}\n\n{word_plan(plan)}",
            key=key_of("recovery-plan", source),
            description=plan.id,
        )


async def publish_differences(source: str, run: str, report: DifferencesReport) -> None:
    """Publish how many rows differ in each table, before any of them is touched."""
    rows = [
        {
            "table": table.table,
            "to insert": table.inserts,
            "to change": table.changes,
            "to delete": table.deletes,
            "of these written since the recovery point": table.deletes_written_since,
            "left alone": table.kept,
            "rows staged": table.rows_staged,
            "rows live": table.rows_live,
        }
        for table in report.tables
        if table.total or table.kept
    ]
    equal = len(report.tables) - len(rows)
    words = f"{run}; {counted(equal, 'table')} without differences" if equal else run
    with unless_prefect_is_away():
        await acreate_table_artifact(rows, key=key_of("recovery-differences", source), description=words)


async def publish_in_place(source: str, report: InPlaceReport) -> None:
    """Publish the summary of a recovery in place, however it ended."""
    applied = report.applied
    summary: dict[str, object] = {
        "run": report.run,
        "outcome": report.outcome if report.outcome == "recovered" else f"**{report.outcome}**",
        "backup": report.plan.backup,
        "emergency backup": report.emergency_backup or "**none**",
        "rows touched": sum(table.total for table in applied.tables) if applied else 0,
        "writers waited": writers_waited(applied) if applied else "not at all",
        "sequences moved": ", ".join(applied.sequences_moved) if applied else "",
        "approved by": f"{report.approved_by} (as typed; Prefect does not know who)"
        if report.approved_by
        else "",
        "recovery lag": duration(report.recovery_lag_seconds),
        "recovery duration": duration(report.recovery_duration_seconds),
    }
    parts = [(f"# Recovery of {source}", facts({name: said for name, said in summary.items() if said != ""}))]
    parts += [(f"## Suites: {where}", _suites(judged)) for where, judged in _judged(report)]
    if report.validation is not None:
        parts.append(("## The system", _validation(report.validation)))
    parts.append(("## Findings", findings(report.findings)))
    with unless_prefect_is_away():
        await acreate_markdown_artifact(
            sections(parts), key=key_of("recovery", source), description=f"{report.run}: {report.outcome}"
        )


def _judged(report: InPlaceReport) -> Iterator[tuple[str, IntegrityReport]]:
    if report.staging is not None:
        yield "before anything was changed", report.staging
    if report.integrity is not None:
        yield "live", report.integrity


def _suites(report: IntegrityReport) -> str:
    failed = ", ".join(suite.suite for suite in report.suites if not suite.passed)
    return facts(
        {
            "passed": "yes" if report.passed else "**no**",
            "suites": f"{sum(suite.passed for suite in report.suites)} of {len(report.suites)} passed",
            "failed": failed or "none",
            "Data Docs": report.data_docs or "none",
        }
    )


def _validation(report: ValidationReport) -> str:
    return facts(
        {
            check.name: f"holds: {check.observed}"
            if check.passed
            else f"**fails**: {check.observed}. {check.remedy}"
            for check in report.checks
        }
    )
