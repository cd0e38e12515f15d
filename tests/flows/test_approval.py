"""Asking a person: before a recovery, and whether to roll one back; in a terminal's run and in a deployment's."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any
from uuid import UUID

import msgspec
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

from flows.recovery import recover
from strongroom.errors import NotApproved, RecoveryRolledBack, SystemValidationFailed
from strongroom.operations.recovery_messages import InPlaceReport
from tests.flows import fake_recovery
from tests.flows.conftest import FakeSource, write_configuration
from tests.flows.fake_recovery import make_plan, record_of
from tests.flows.thread_children import ThreadChild

YES = {"approver": "Ada", "reason": "customers see wrong prices", "approved": True}


@pytest.fixture
def live(source: FakeSource, monkeypatch: pytest.MonkeyPatch) -> FakeSource:
    """A source whose operations are those of `fake_recovery`; answers are looked for every second."""
    monkeypatch.setattr("tasks.work.OPERATIONS", fake_recovery.ROOM)
    monkeypatch.setattr("strongroom.children.Child", ThreadChild)
    monkeypatch.setattr("flows.approval.POLL_SECONDS", 1)
    return source


async def paused_run(plan: str, seconds: float = 60) -> FlowRun:
    """Wait until the run of this plan is paused and can be answered."""
    end = time.monotonic() + seconds
    async with get_client() as client:
        while time.monotonic() < end:
            for run in await client.read_flow_runs(limit=200):
                if plan in str(run.parameters.get("plan", "")) and run.state and run.state.is_paused():
                    return run
            await asyncio.sleep(0.3)
    raise TimeoutError(plan)


async def resume(run: UUID, answer: dict[str, Any], seconds: float = 30) -> None:
    """Answer the form; it is saved a moment after the run is paused."""
    end = time.monotonic() + seconds
    async with get_client() as client:
        while True:
            result = await client.resume_flow_run(run, answer)
            if result.status.value == "ACCEPT":
                return
            assert time.monotonic() < end, result
            await asyncio.sleep(0.3)


async def answered(live: FakeSource, plan: str, answer: dict[str, Any], **options: Any) -> Any:
    """Carry a plan out and answer the form that comes up."""
    text = msgspec.json.encode(make_plan(id=plan)).decode()
    running = asyncio.ensure_future(recover(live.configuration, plan=text, data_docs="", **options))
    try:
        run = await paused_run(plan)
        if options.get("approval"):
            assert live.calls() == []
        await resume(run.id, answer)
        return await running
    finally:
        running.cancel()
        await asyncio.wait({running})


def test_an_approved_recovery_begins(live: FakeSource) -> None:
    """Nothing is touched before the form is answered; who answered is kept, with a remark on what that is worth."""
    report = asyncio.run(answered(live, "run-approved", YES, approval=True))
    assert isinstance(report, InPlaceReport)
    assert (report.outcome, report.approved_by) == ("recovered", "Ada")
    record = record_of(live.folder)
    assert record.approved_by == "Ada"
    remark = next(finding for finding in record.findings if finding.code == "approved")
    assert "does not know who" in remark.advice


def test_a_refused_recovery_never_begins(live: FakeSource) -> None:
    """A no is a no, with its reason."""
    no = {**YES, "approved": False, "reason": "not now"}
    with pytest.raises(NotApproved, match="Ada said no: not now"):
        asyncio.run(answered(live, "run-refused", no, approval=True))
    assert live.calls() == []


def test_an_incomplete_answer_is_none(live: FakeSource) -> None:
    """Prefect refuses a form without a name; the run stays paused."""

    async def story() -> None:
        text = msgspec.json.encode(make_plan(id="run-nameless")).decode()
        running = asyncio.ensure_future(recover(live.configuration, plan=text, data_docs="", approval=True))
        try:
            run = await paused_run("run-nameless")
            async with get_client() as client:
                end = time.monotonic() + 20
                while await client.filter_flow_run_input(run.id, "paused-", 5, set()) == []:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.2)
                result = await client.resume_flow_run(run.id, {"reason": "x", "approved": True})
            assert result.status.value == "REJECT"
        finally:
            running.cancel()
            await asyncio.wait({running})

    asyncio.run(story())
    assert live.calls() == []


def test_nobody_there_means_no(live: FakeSource) -> None:
    """Without an answer within recovery.approval_timeout nothing happens."""
    configuration = write_configuration(live.folder.parent, live.folder, recovery_approval_timeout="2 s")
    text = msgspec.json.encode(make_plan(id="run-nobody")).decode()
    with pytest.raises(NotApproved, match=r"within 2 s \(recovery.approval_timeout\)"):
        asyncio.run(recover(str(configuration), plan=text, data_docs="", approval=True))
    assert live.calls() == []


def test_a_person_may_decide_to_leave_it(live: FakeSource) -> None:
    """With the strategy `manual` the recovered rows stay if somebody says so, and that is recorded."""
    live.script(validate_system="failing")
    answer = {"roll_back": False, "by": "Ada", "reason": "the health page is wrong"}
    with pytest.raises(SystemValidationFailed):
        asyncio.run(answered(live, "run-leave", answer, rollback_strategy="manual"))
    record = record_of(live.folder)
    assert record.outcome == "left"
    assert "the health page is wrong" in str(record.findings)
    assert "plan_rollback" not in live.calls()


def test_a_person_may_decide_to_roll_back(live: FakeSource) -> None:
    """With the strategy `manual` a yes rolls back."""
    live.script(validate_system="failing")
    answer = {"roll_back": True, "by": "Ada", "reason": "it is broken"}
    with pytest.raises(RecoveryRolledBack):
        asyncio.run(answered(live, "run-undo", answer, rollback_strategy="manual"))
    assert record_of(live.folder).outcome == "rolled-back"


def test_nobody_there_means_rolling_back(live: FakeSource) -> None:
    """A failed recovery that nobody decides about within recovery.approval_timeout is rolled back."""
    live.script(validate_system="failing")
    configuration = write_configuration(live.folder.parent, live.folder, recovery_approval_timeout="2 s")
    text = msgspec.json.encode(make_plan(id="run-undecided")).decode()
    with pytest.raises(RecoveryRolledBack):
        asyncio.run(recover(str(configuration), plan=text, data_docs="", rollback_strategy="manual"))
    assert record_of(live.folder).outcome == "rolled-back"


def test_a_deployments_run_is_suspended(live: FakeSource) -> None:
    """No process waits for the answer; the resumed run, in another process, carries out the plan that was approved.

    The plan is made anew each time that it is asked for, with another id: only one was made.
    """

    async def make() -> UUID:
        deployment = await recover.ato_deployment("approval", entrypoint_type=EntrypointType.MODULE_PATH)
        deployment.entrypoint = "tests.flows.served_recovery.recover"
        made = await deployment.aapply()
        parameters = {
            "configuration": live.configuration,
            "scenario": "data_corruption",
            "data_docs": "",
            "approval": True,
        }
        async with get_client() as client:
            return (await client.create_flow_run_from_deployment(made, parameters=parameters)).id

    async def state_of(run: UUID) -> str:
        async with get_client() as client:
            found = (await client.read_flow_run(run)).state
        return found.name if found and found.name else ""

    run = asyncio.run(make())
    carry_out(run)
    assert asyncio.run(state_of(run)) == "Suspended"
    assert live.calls() == ["plan_recovery"]

    asyncio.run(resume(run, YES))
    carry_out(run)
    assert asyncio.run(state_of(run)) == "Completed"
    assert live.calls().count("plan_recovery") == 1
    record = record_of(live.folder)
    assert (record.outcome, record.approved_by) == ("recovered", "Ada")


def carry_out(run: UUID) -> None:
    """Run a flow run in a process of its own, as a runner does."""
    environment = {
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
        "PREFECT__FLOW_RUN_ID": str(run),
        "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "prefect.engine", str(run)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
