"""The flow of a recovery in place, killed as a whole by SIGKILL at a step: live is as before or as after.

The flow runs as a program of its own under the session's Prefect server, with the true engine in child processes, and
ends itself before or after one of its operations. Then the same plan is carried out again. Every statement between two
operations is the subject of tests/fault/test_killed_recoveries.py.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import psycopg
import pytest
from prefect.settings import PREFECT_API_URL

from flows.backup import back_up
from flows.recovery import recover
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable
from strongroom.operations.context import Context
from strongroom.operations.plan_recovery import plan_recovery
from strongroom.operations.recovery_messages import InPlaceReport, PlanRecovery
from tests.databases import Database, MakeDatabase
from tests.drill.test_recovery_scenarios import execute, prepare, rows

_PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
import tasks.work
from flows.recovery import recover

configuration, plan, operation, moment = sys.argv[1:]
carry = tasks.work.Work.carry

async def deadly(self, name, request, answer):
    if (name, moment) == (operation, "before"):
        os.kill(os.getpid(), signal.SIGKILL)
    report = await carry(self, name, request, answer)
    if (name, moment) == (operation, "after"):
        os.kill(os.getpid(), signal.SIGKILL)
    return report

tasks.work.Work.carry = deadly
asyncio.run(recover(configuration, plan=Path(plan).read_text(), data_docs=""))
"""

OPERATIONS = (
    "check_recovery",
    "verify_backup",
    "capture_unit",
    "seal_backup",
    "note_emergency_backup",
    "prepare_staging",
    "stage_unit",
    "finish_staging",
    "judge_staging",
    "compare_live",
    "apply_recovery",
    "confirm_recovery",
    "judge_live",
    "validate_system",
    "finish_recovery",
)
EVERY_POINT = [(operation, moment) for operation in OPERATIONS for moment in ("before", "after")]
SOME_POINTS = [("judge_staging", "before"), ("apply_recovery", "after")]

TABLES = ("public.robots", "public.trades")
DAMAGE = (
    # Postgres 18 lets nobody change a published table with a full identity and a generated column.
    "ALTER TABLE public.trades REPLICA IDENTITY DEFAULT",
    "UPDATE public.trades SET open_price = open_price * 100 WHERE id % 3 = 0",
    "UPDATE public.robots SET name = 'robot ' || left(id::text, 8)",
    "ALTER TABLE public.trades REPLICA IDENTITY FULL",
)


def plan_for(settings: Settings) -> RecoveryPlan:
    """Plan to recover the damaged tables."""
    wanted = PlanRecovery(
        scenario="data_corruption",
        tables=tuple(ScopedTable(schema="public", name=table.partition(".")[2]) for table in TABLES),
    )
    return plan_recovery(settings, wanted, Context(deadline=Deadline.after(60, "test"))).plan


def look(source: Database) -> dict[str, Counter[bytes]]:
    """Read the tables."""
    return {table: rows(source, table) for table in TABLES}


def wait_for_silence(source: Database) -> None:
    """Wait until the server has noticed that the killed flow, and its children, are gone."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name LIKE 'strongroom%'"
    )
    end = time.monotonic() + 60
    with psycopg.connect(source.dsn(), autocommit=True) as connection:
        while connection.execute(query).fetchone() != (0,):
            assert time.monotonic() < end
            time.sleep(0.05)


def _story(
    points: list[tuple[str, str]],
    folder: Path,
    source: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configuration, settings = prepare(folder, source, monkeypatch)
    asyncio.run(back_up(configuration, kind="full"))
    wanted = look(source)
    program = folder / "flow.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    states: Counter[str] = Counter()
    for operation, moment in points:
        execute(source, *DAMAGE)
        before = look(source)
        assert before != wanted
        plan = plan_for(settings)
        file = folder / "plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        command = [sys.executable, str(program), configuration, str(file), operation, moment]
        environment = {
            **os.environ,
            "PREFECT_API_URL": PREFECT_API_URL.value(),
            "PYTHONPATH": str(Path.cwd()),
        }
        ended = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=200)
        assert -signal.SIGKILL == ended.returncode, ended.stderr.decode()[-2000:]
        wait_for_silence(source)
        found = look(source)
        assert found in (before, wanted), f"between, {moment} {operation}"
        states["after" if found == wanted else "before"] += 1

        report = asyncio.run(recover(configuration, plan=file.read_text(encoding="utf-8"), data_docs=""))
        assert isinstance(report, InPlaceReport)
        assert ("recovered", wanted) == (report.outcome, look(source)), f"{moment} {operation}"
    assert states["before"] >= 1
    assert states["after"] >= 1


@pytest.mark.timeout(600)
def test_killed_at_some_steps(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with all rows staged, and right after the commit."""
    _story(SOME_POINTS, tmp_path, quantforge(), monkeypatch)


@pytest.mark.endurance
@pytest.mark.timeout(3600)
def test_killed_at_every_step(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each of 15 operations: 30 points."""
    _story(EVERY_POINT, tmp_path, quantforge(), monkeypatch)
