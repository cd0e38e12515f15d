"""The flows of a recovery, and of rolling one back: which story is told, and who has to agree first.

A complete failure is recovered from into an empty destination (`flows.empty_destination`), everything else in place
(`flows.in_place`).
"""

import time
from typing import Literal

import msgspec
from prefect import flow
from prefect.input.actions import acreate_flow_run_input, aread_flow_run_input

from blocks import load_settings_for, load_settings_of
from flows.approval import ask_approval
from flows.artifacts import key_of
from flows.empty_destination import DATA_DOCS, recover_into_empty
from flows.in_place import recover_in_place
from flows.limits import limited
from flows.progress import progress_shown
from flows.recovery_artifacts import publish_in_place, publish_plan, steps_shown
from flows.recovery_wishes import instant, require_way_back, scoped_tables, stored_plan
from flows.rolling_back import Undoing, undo
from strongroom.config import Settings
from strongroom.errors import PlanUnfit
from strongroom.format.codec import decode_json
from strongroom.format.recovery_plans import RecoveryPlan, Scenario
from strongroom.operations.messages import RecoveryReport
from strongroom.operations.recovery_messages import InPlaceReport, PlanRecovery
from tasks.in_place import plan_recovery

_PLAN = "recovery-plan"
"""Under which key a run keeps its plan with Prefect, so that a resumed run carries out the plan that was approved."""


@flow(name="recovery", flow_run_name="recovery, {scenario}", persist_result=False)
async def recover(  # noqa: PLR0913  (a form: each is one of its fields)
    configuration: str = "strongroom.toml",
    backup: str = "latest",
    *,
    scenario: Scenario = "complete_failure",
    before: str = "",
    tables: tuple[str, ...] = (),
    schemas: tuple[str, ...] = (),
    strategy: Literal["", "exact", "merge_missing", "merge_overwrite", "empty"] = "",
    plan: str = "",
    destination: str = "environment",
    data_docs: str = DATA_DOCS,
    approval: bool = False,
    force: bool = False,
    skip_verification: bool = False,
    emergency_backup: bool = True,
    rollback_on_error: bool = True,
    rollback_strategy: Literal["", "immediate", "graceful", "manual"] = "",
) -> RecoveryReport | InPlaceReport:
    """Recover the source: into an empty destination after a complete failure, otherwise in place.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        backup: The id of a backup; empty has a plan made, from the newest proven one that fits. With latest or an id
            alone, a complete failure is restored from without a plan: the newest, proven or not.
        scenario: What has happened. All but complete_failure are recovered from in the live database.
        before: An instant such as 2026-11-01T12:00Z: the last recovery point before it is taken.
        tables: Tables to recover, each as schema.table or schema.table where CONDITION.
        schemas: Schemas to recover whole.
        strategy: How live is made to agree; empty for what suits the scenario.
        plan: A plan as JSON, from `strongroom recover plan --json`; it stands for the fields above.
        destination: The name environment for what STRONGROOM_DESTINATION_URL says, or block:NAME for a
            Strongroom Destination block; for a complete failure. The database must be empty.
        data_docs: The folder below which the pages of Great Expectations are kept; empty to keep none.
        approval: Whether somebody has to approve the plan, in a form, before anything is touched.
        force: Accept what the planner refuses. It is recorded.
        skip_verification: Do not verify the backup first. It is recorded.
        emergency_backup: Whether to take a backup first, as the way back; not to needs force.
        rollback_on_error: Whether what fails after the commit is rolled back.
        rollback_strategy: When: immediate, graceful (after the remaining checks), manual (after asking).
    """
    settings = await load_settings_for(configuration, destination)
    wanted = PlanRecovery(
        scenario=scenario,
        backup="" if backup == "latest" else backup,
        before=instant(before),
        tables=scoped_tables(tables),
        schemas=tuple(schemas),
        strategy=strategy or None,
        emergency_backup=emergency_backup,
        rollback_on_error=rollback_on_error,
        rollback_strategy=rollback_strategy or None,
        force=force,
        skip_verification=skip_verification,
    )
    is_planned = plan or approval or before or tables or schemas or strategy or skip_verification
    if scenario == "complete_failure" and backup and not is_planned:
        return await recover_into_empty(settings, backup, data_docs)
    return await carry_out(settings, await plan_of_run(settings, plan, wanted), data_docs, approval=approval)


@flow(name="rollback", flow_run_name="roll back {run}", persist_result=False)
async def roll_back(configuration: str = "strongroom.toml", run: str = "") -> InPlaceReport:
    """Roll a recovery in place back from its emergency backup, or go on with a rollback that was cut off.

    Args:
        configuration: Path of a configuration file, or block:NAME for a Strongroom Settings block.
        run: The id of the recovery, as `strongroom recover status` shows it.
    """
    return await undo_run(await load_settings_of(configuration), run)


async def plan_of_run(settings: Settings, text: str, wanted: PlanRecovery) -> RecoveryPlan:
    """Return the plan of this flow run: the given one, else the one that it has made before, else a new one.

    A run that was suspended begins again from the start; it must not plan anew then, since somebody has approved the
    plan that it had.
    """
    if text:
        return stored_plan(settings, text, wanted)
    kept: object = await aread_flow_run_input(_PLAN)
    if isinstance(kept, str):
        return decode_json(RecoveryPlan, kept.encode(), "the plan that this run has kept")
    limit = settings.recovery.max_recovery_time
    async with limited(settings, limit, "recovery.max_recovery_time") as work:
        plan = (await work.do(plan_recovery, wanted)).plan
    await acreate_flow_run_input(_PLAN, msgspec.json.encode(plan).decode())
    return plan


async def carry_out(
    settings: Settings, plan: RecoveryPlan, data_docs: str, *, approval: bool
) -> RecoveryReport | InPlaceReport:
    """Show a plan, have it approved if that is wanted, and tell the story that it is for."""
    require_way_back(plan)
    await publish_plan(settings.source.name, plan)
    approved = await ask_approval(settings, plan) if approval else None
    if plan.undoes:
        return await undo_run(settings, plan.undoes)
    match plan.destination:
        case "source":
            return await recover_in_place(settings, plan, data_docs, approved)
        case "environment":
            return await recover_into_empty(settings, plan.backup, data_docs, plan, approved)
        case _:
            raise PlanUnfit(plan=plan.id, reason=f"its destination is {plan.destination}, which is a drill's")


async def undo_run(settings: Settings, run: str) -> InPlaceReport:
    """Roll a run back, with its steps and its report shown."""
    source, begun = settings.source.name, time.monotonic()
    title = f"Rolling back {run}"
    async with (
        steps_shown(key_of("recovery-steps", source), title, ()) as board,
        progress_shown(key_of("recovery-progress", source), title) as progress,
    ):
        undoing = Undoing(settings, run, board, progress)
        plan = await undo(undoing)
    report = InPlaceReport(
        run=run,
        plan=plan,
        outcome="rolled-back",
        emergency_backup=plan.backup,
        differences=undoing.differences,
        rollback=undoing.applied,
        steps=undoing.steps,
        recovery_duration_seconds=time.monotonic() - begun,
        findings=plan.findings,
    )
    await publish_in_place(source, report)
    return report


def restored(report: RecoveryReport | InPlaceReport) -> RecoveryReport:
    """Return the report of a recovery that was asked to go into an empty destination."""
    if not isinstance(report, RecoveryReport):
        raise TypeError("this recovery was in place")
    return report
