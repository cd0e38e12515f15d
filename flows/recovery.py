"""The flow of a recovery after a complete failure, into an empty destination.

Plan → verify the backup → make tables → copy rows → make the rest → judge → report. The report is published
whether the suites passed or not; if a critical expectation failed, the run fails after it.
"""

import datetime as dt
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from blocks import load_settings_for
from flows.artifacts import key_of, name_run, publish_recovery
from flows.limits import limited
from flows.parallel import in_parallel
from flows.progress import Board, progress_shown
from flows.verify import prove
from strongroom.clock import system_clock
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
from tasks.recovery import (
    begin_restore,
    judge_restore,
    restore_after_rows,
    restore_before_rows,
    restore_unit,
)
from tasks.work import Work

DATA_DOCS = "~/.local/state/strongroom/data-docs"


@flow(name="recovery", flow_run_name="recover {backup}", persist_result=False)
async def recover(
    configuration: str = "strongroom.toml",
    backup: str = "latest",
    destination: str = "environment",
    data_docs: str = DATA_DOCS,
) -> RecoveryReport:
    """Recover a backup into an empty destination, and judge the result against the backup's baseline.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        backup: The id of a backup, or latest.
        destination: The name environment for what STRONGROOM_DESTINATION_URL says, or block:NAME for a
            Strongroom Destination block. The database must be empty.
        data_docs: The folder below which the pages of Great Expectations are kept; empty to keep none.
    """
    settings = await load_settings_for(configuration, destination)
    source = settings.source.name
    begun = time.monotonic()
    async with (
        limited(settings, settings.recovery.max_recovery_time, "recovery.max_recovery_time") as work,
        progress_shown(key_of("recovery-progress", source), f"The recovery of {source}") as board,
    ):
        plan = await work.do(begin_restore, BeginRestore(backup=backup))
        await name_run(f"recover {plan.backup} into {plan.destination}", source)
        await prove_within_recovery(work, plan)
        steps = await restore(work, plan, board)
        integrity = await work.do(
            judge_restore, JudgeRestore(backup=plan.backup, data_docs=docs_folder(data_docs, plan.backup))
        )
        report = summarise(plan, steps, integrity, time.monotonic() - begun)
        await publish_recovery(source, report)
        require_passed(integrity)
    return report


async def prove_within_recovery(work: Work, plan: RestorePlanReport) -> None:
    """Prove that every byte that will be read is there and unchanged, before anything is written."""
    limit = work.settings.recovery.verification_timeout
    await prove(work.within(limit, "recovery.verification_timeout"), plan.backup, "structure")


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
