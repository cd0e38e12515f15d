"""The story of a recovery after a complete failure, into an empty destination.

Plan → verify the backup → make tables → copy rows → make the rest → judge → report. The report is published
whether the suites passed or not; if a critical expectation failed, an error follows it.
"""

import datetime as dt
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from flows.approval import Approved
from flows.artifacts import key_of, name_run, publish_recovery
from flows.limits import limited
from flows.parallel import in_parallel
from flows.progress import Board, progress_shown
from flows.recovery_run import loud_findings, require_valid
from flows.verify import prove
from strongroom.clock import system_clock
from strongroom.config import Settings
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.integrity.judge import require_passed
from strongroom.operations.messages import (
    BeginRestore,
    IntegrityReport,
    JudgeRestore,
    RecoveryReport,
    RestoreAfterRows,
    RestoreBeforeRows,
    RestorePlanReport,
    RestoreStepReport,
    RestoreUnit,
)
from strongroom.operations.recovery_messages import ValidateSystem, ValidationReport
from tasks.in_place import validate_system
from tasks.recovery import (
    begin_restore,
    judge_restore,
    restore_after_rows,
    restore_before_rows,
    restore_unit,
)
from tasks.work import Work

DATA_DOCS = "~/.local/state/strongroom/data-docs"


async def recover_into_empty(
    settings: Settings,
    backup: str,
    data_docs: str,
    planned: RecoveryPlan | None = None,
    approval: Approved | None = None,
) -> RecoveryReport:
    """Restore a backup into the empty destination of the settings, judge it, publish the report.

    With a plan, what it leaves out is left out and recorded, and the system is validated last. Raises
    `IntegrityFailed` or `SystemValidationFailed` after publishing if the result is not what it should be.
    """
    source = settings.source.name
    begun = time.monotonic()
    async with (
        limited(settings, settings.recovery.max_recovery_time, "recovery.max_recovery_time") as work,
        progress_shown(key_of("recovery-progress", source), f"The recovery of {source}") as board,
    ):
        plan = await work.do(begin_restore, BeginRestore(backup=backup))
        await name_run(f"recover {plan.backup} into {plan.destination}", source)
        if planned is None or not planned.skip_verification:
            await prove_within_recovery(work, plan.backup)
        steps = await restore(work, plan, board)
        integrity = await work.do(
            judge_restore, JudgeRestore(backup=plan.backup, data_docs=docs_folder(data_docs, plan.backup))
        )
        validation = await validate_destination(work, planned)
        report = summarise(plan, steps, integrity, time.monotonic() - begun)
        more = (*recorded(planned, approval), *(validation.findings if validation else ()))
        report = replace(report, findings=(*report.findings, *more))
        await publish_recovery(source, report)
        require_passed(integrity)
        if validation is not None:
            require_valid(validation)
    return report


async def validate_destination(work: Work, planned: RecoveryPlan | None) -> ValidationReport | None:
    """Ask the restored database as the application would, if that is planned."""
    if planned is None or all(step.name != "validate" for step in planned.steps):
        return None
    return await work.do(validate_system, ValidateSystem(destination="environment"))


def recorded(planned: RecoveryPlan | None, approval: Approved | None) -> list[Finding]:
    """Return what is written down of how the recovery was asked for: safeguards left out, and who approved it."""
    found = [] if planned is None else [*planned.findings, *loud_findings(planned)]
    return found if approval is None else [*found, approval.finding()]


async def prove_within_recovery(work: Work, backup: str) -> None:
    """Prove that every byte that will be read is there and unchanged, before anything is written."""
    limit = work.settings.recovery.verification_timeout
    await prove(work.within(limit, "recovery.verification_timeout"), backup, "structure")


async def restore(work: Work, plan: RestorePlanReport, board: Board) -> list[RestoreStepReport]:
    """Make what rows need, copy all rows, make what needs rows."""
    before = await work.do(restore_before_rows, RestoreBeforeRows(backup=plan.backup))
    rows = await in_parallel(copies(work, plan, board), work.settings.backup.parallelism)
    after = await work.do(restore_after_rows, RestoreAfterRows(backup=plan.backup))
    return [before, *rows, after]


def copies(
    work: Work, plan: RestorePlanReport, board: Board
) -> list[Callable[[], Coroutine[Any, Any, RestoreStepReport]]]:
    """Return a job for each unit, the largest first so that the last one is short."""
    jobs = []
    for brief in sorted(plan.units, key=lambda brief: -brief.estimated_bytes):
        unit = RestoreUnit(backup=plan.backup, unit=brief.number)
        jobs.append(board.watch(brief.estimated_bytes, partial(work.do, restore_unit, unit)))
    return jobs


def summarise(
    plan: RestorePlanReport, steps: list[RestoreStepReport], integrity: IntegrityReport, seconds: float
) -> RecoveryReport:
    """Put the whole recovery into one report. The lag is what was lost: the age of the restored instant."""
    lag = system_clock() - plan.snapshot_at if plan.snapshot_at else dt.timedelta(0)
    return RecoveryReport(
        backup=plan.backup,
        destination=plan.destination,
        passed=integrity.passed,
        tables=plan.tables,
        rows=sum(step.rows for step in steps),
        recovery_lag_seconds=lag.total_seconds(),
        recovery_duration_seconds=seconds,
        steps=tuple(steps),
        integrity=integrity,
        findings=(*plan.findings, *(finding for step in steps for finding in step.findings)),
    )


def docs_folder(below: str, backup: str) -> str:
    """Return a folder for the Data Docs of this recovery, which has none of an earlier one in it."""
    if not below:
        return ""
    return str(Path(below).expanduser() / f"{backup}-{system_clock():%Y%m%dT%H%M%SZ}")
