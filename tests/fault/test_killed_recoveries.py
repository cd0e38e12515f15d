"""A recovery that is killed at any exchange with the database: live is as before or as after, and the run can go on.

The recovery runs in a forked process of its own that counts what it sends to the server, and kills itself at one
number: before an exchange, or while the server works on it. Where the numbers lie is found out by an undisturbed run.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest

from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.messages import RestoreStepReport
from strongroom.operations.recovery_messages import CompareLive, DifferencesReport, FinishStaging
from tests.conftest import MakeDatabase
from tests.recoveries import Recoveries, quoted
from tests.row_backups import Keys
from tests.staged import note_ways

State: TypeAlias = dict[str, Counter[bytes]]

TABLES = ("public.profiles", "public.robots", "public.trades", "public.robot_versions")
"""What is recovered: keys that refer to each other in a circle, generated columns, a table that is published."""

BYSTANDERS = ("auth.users", "public.symbols", "private.api_keys")
"""What is not, and must stay as it is."""

DAMAGE = (
    "ALTER TABLE public.trades REPLICA IDENTITY DEFAULT",
    "UPDATE public.trades SET volume = volume + 1 WHERE id % 3 = 0",
    "DELETE FROM public.trades WHERE id % 7 = 0",
    "UPDATE public.robots SET name = 'robot ' || left(id::text, 8)",
    "UPDATE public.profiles SET display_name = NULL",
)

SHUT = "ALTER TABLE public.trades REPLICA IDENTITY FULL"
"""Postgres 18 lets nobody change a published table with a full identity and a generated column: it is locked first."""

POINTS_BY_OPERATION = {
    "hold_recovery": 3,
    "prepare_staging": 3,
    "stage_unit": 4,
    "finish_staging": 3,
    "compare_live": 3,
    "apply_recovery": 14,
    "confirm_recovery": 2,
    "finish_recovery": 4,
}
"""How many numbers are tried while each operation runs; 36 in all."""

POINTS_OF_APPLYING = {"apply_recovery": 14}


def carry_out(
    recoveries: Recoveries, plan: RecoveryPlan, note: Callable[[str], None] = lambda _: None
) -> None:
    """Carry a plan out as the flow does, which looks at what the run's journal says; `note` hears each operation."""
    note("hold_recovery")
    with recoveries.hold(plan) as run:
        if run.state in ("begun", "staged"):
            note("prepare_staging")
            note("stage_unit")
            recoveries.load(plan, run.owner)
            note("finish_staging")
            recoveries.run("finish_staging", FinishStaging(plan=plan, owner=run.owner), RestoreStepReport)
            note("compare_live")
            recoveries.run("compare_live", CompareLive(plan=plan, owner=run.owner), DifferencesReport)
            note("apply_recovery")
            recoveries.apply(plan, run.owner)
        note("confirm_recovery")
        assert recoveries.confirm(plan).passed
        note("finish_recovery")
        recoveries.finish(plan, run.owner, "recovered")
        note("release")


class Exchanges:
    """Counts what this process exchanges with the server, and ends it at a given number."""

    def __init__(self, kill_at: int = 0, *, during: bool = False) -> None:
        self.count = 0
        self.begins: list[tuple[str, int]] = []
        self._kill_at = kill_at
        self._during = during
        self._lock = threading.Lock()

    def note(self, operation: str) -> None:
        """Note which operation begins, at which number."""
        self.begins.append((operation, self.count))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Look on at every exchange of every connection."""
        wait = psycopg.Connection.wait

        def counted(connection: Any, *arguments: Any, **named: Any) -> Any:
            with self._lock:
                self.count += 1
                is_last = self.count == self._kill_at
            if is_last and not self._during:
                os.kill(os.getpid(), signal.SIGKILL)
            if is_last:
                # The server has it by then, and has not answered yet, or just has.
                threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return wait(connection, *arguments, **named)

        patch.setattr(psycopg.Connection, "wait", counted)


def points(
    begins: list[tuple[str, int]], total: int, wanted_by_operation: Mapping[str, int]
) -> Iterator[tuple[str, int]]:
    """Yield an operation and a number of an exchange in it, spread evenly over each operation."""
    ends = [number for _, number in begins[1:]] + [total]
    spans = {name: (first, last) for (name, first), last in zip(begins, ends, strict=True)}
    # Loading follows preparing within one call of the scaffolding, so the two share a span.
    spans["prepare_staging"] = spans["stage_unit"]
    for operation, wanted in wanted_by_operation.items():
        first, last = spans[operation]
        numbers = {first + 1 + (last - first - 1) * place // max(1, wanted - 1) for place in range(wanted)}
        yield from ((operation, number) for number in sorted(numbers))


def look(recoveries: Recoveries) -> State:
    """Read what must be as before or as after."""
    return {table: recoveries.rows(quoted(table)) for table in (*TABLES, *BYSTANDERS)}


def killed(recoveries: Recoveries, plan: RecoveryPlan, number: int, *, during: bool) -> bool:
    """Carry the plan out in a process that kills itself; tell whether it came to that."""
    process = os.fork()
    if process == 0:  # pragma: no cover - the child's coverage dies with it
        with pytest.MonkeyPatch.context() as patch:
            Exchanges(number, during=during).install(patch)
            try:
                carry_out(recoveries, plan)
            except BaseException:  # noqa: BLE001  (nothing of pytest's may go on in the child)
                os._exit(1)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def wait_for_silence(recoveries: Recoveries) -> None:
    """Wait until the server has noticed that the killed process is gone."""
    end = time.monotonic() + 30
    while recoveries.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND application_name LIKE 'strongroom%'"
    ):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["rows first", "tables first"])
def test_killed_anywhere(
    quantforge: MakeDatabase, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Killed at any of 36 exchanges, live is as before or as after; carried out again, it is as after.

    Where rows are touched before tables are locked only applying is another: 14 exchanges.
    """
    is_shut = way == "tables first"
    damage = (*DAMAGE, SHUT) if is_shut else DAMAGE
    wanted_points = POINTS_BY_OPERATION if is_shut else POINTS_OF_APPLYING
    least = (20, 10, 3) if is_shut else (8, 8, 0)
    recoveries = Recoveries.make(quantforge().dsn(), tmp_path, keys, monkeypatch)
    backup = recoveries.backups.back_up("full")
    wanted = look(recoveries)

    def damaged() -> State:
        for statement in damage:
            recoveries.execute(statement)
        return look(recoveries)

    before = damaged()
    assert all(before[table] != wanted[table] for table in TABLES[:3])
    counted = Exchanges()
    ways: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        counted.install(patch)
        note_ways(patch, ways)
        carry_out(recoveries, recoveries.plan(*TABLES, backup=backup), counted.note)
    assert wanted == look(recoveries)
    assert is_shut == ("_lock_first" in ways)

    seen: Counter[str] = Counter()
    deaths = 0
    for place, (operation, number) in enumerate(points(counted.begins, counted.count, wanted_points)):
        before = damaged()
        plan = recoveries.plan(*TABLES, backup=backup)
        deaths += killed(recoveries, plan, number, during=place % 2 == 1)
        wait_for_silence(recoveries)
        found = look(recoveries)
        assert found in (before, wanted), f"between, after exchange {number} in {operation}"
        seen["after" if found == wanted else "before"] += 1
        carry_out(recoveries, plan)
        assert wanted == look(recoveries), f"not finished after exchange {number} in {operation}"
        assert [] == recoveries.schemas()
    # A run may be a few exchanges shorter than the one that was counted.
    assert deaths >= least[0]
    assert seen["before"] >= least[1]
    assert seen["after"] >= least[2]
