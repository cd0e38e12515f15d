"""Asking a person: to approve a recovery before anything is touched, and whether to roll a failed one back.

A run of a deployment is suspended, so that no process waits; a run of a terminal is paused. The form is answered in
Prefect's pages or over its API. Whoever answers types a name: Prefect does not know whether it is theirs, and what
is recorded says so.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TypeVar

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.flow_runs import apause_flow_run, asuspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.artifacts import key_of
from flows.recovery_artifacts import word_plan
from strongroom.config import Settings
from strongroom.errors import NotApproved
from strongroom.format.documents import Finding
from strongroom.format.recovery_plans import RecoveryPlan

POLL_SECONDS = 2
"""How often a paused run looks whether it was answered."""

_MARGIN_SECONDS = 300
"""How much later Prefect's own limit of a pause is than ours: the end of ours is told in our words."""


class Approval(RunInput):
    """The form that approves a recovery."""

    approver: str = Field(
        min_length=1, description="Who approves it. It is kept with the recovery as it is typed."
    )
    reason: str = Field(min_length=1, description="Why, in a sentence.")
    approved: bool = Field(description="Whether the recovery may begin.")


class RollbackDecision(RunInput):
    """The form that decides what becomes of a recovery that failed after its commit."""

    roll_back: bool = Field(description="Yes gives back what was there before; no leaves the recovered rows.")
    by: str = Field(min_length=1, description="Who decides it.")
    reason: str = Field(description="Why, in a sentence.")


Form = TypeVar("Form", Approval, RollbackDecision)


@dataclass(frozen=True)
class Approved:
    """Who is said to have approved a recovery, and why."""

    by: str
    reason: str

    def finding(self) -> Finding:
        """Return what is recorded of it."""
        return Finding(
            severity="info",
            code="approved",
            object=self.by,
            observed=self.reason,
            advice="The name is what somebody typed; Prefect does not know who.",
        )


async def ask_approval(settings: Settings, plan: RecoveryPlan) -> Approved:
    """Ask for approval of this very plan. Raises `NotApproved`; in a deployment's run, the process ends meanwhile.

    When a suspended run is resumed, its flow begins again from the start and comes by here with the answer. The
    pause is keyed by the plan: another plan would be asked about anew.
    """
    form = Approval.with_initial_data(description=word_plan(plan))
    key, seconds = key_of("approve", plan.id), settings.recovery.approval_timeout
    if _own_run().deployment_id is not None:
        answer: Approval | None = await asuspend_flow_run(wait_for_input=form, timeout=int(seconds), key=key)
    else:
        answer = await _pause(form, key, seconds)
    if answer is None:
        raise NotApproved(reason=f"nobody answered within {seconds:g} s (recovery.approval_timeout)")
    if not answer.approved:
        raise NotApproved(reason=f"{answer.approver} said no: {answer.reason}")
    return Approved(answer.approver, answer.reason)


async def ask_whether_to_roll_back(settings: Settings, plan: RecoveryPlan, reason: str) -> RollbackDecision:
    """Ask what to do about a recovery that failed after its commit; whatever keeps it from an answer: roll back."""
    words = f"The recovery {plan.id} has changed live, and then failed: {reason}"
    form = RollbackDecision.with_initial_data(description=words)
    seconds = settings.recovery.approval_timeout
    why = f"no answer within {seconds:g} s (recovery.approval_timeout)"
    try:
        answer = await _pause(form, key_of("roll-back", plan.id), seconds)
    except Exception as error:  # noqa: BLE001  (live must not be left in doubt because Prefect cannot be asked)
        answer, why = None, f"nobody could be asked ({type(error).__name__})"
    if answer is not None:
        return answer
    default = RollbackDecision(roll_back=True, by="nobody", reason=why)
    # Answered for them, so that Prefect takes the run for a running one again.
    with contextlib.suppress(Exception):
        async with get_client() as client:
            await client.resume_flow_run(_own_run().id, default.model_dump())
    return default


async def _pause(form: type[Form], key: str, seconds: float) -> Form | None:
    """Pause the run until the form is answered; return None when the time is over."""
    try:
        async with asyncio.timeout(seconds):
            return await apause_flow_run(
                wait_for_input=form,
                timeout=int(seconds) + _MARGIN_SECONDS,
                poll_interval=POLL_SECONDS,
                key=key,
            )
    except TimeoutError:
        return None


def _own_run() -> FlowRun:
    """Return the flow run that this code runs in."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("only a flow can ask")
    return context.flow_run
