"""Child processes: what goes in and comes out, and that none of them outlives its purpose."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from strongroom.child_process import Child, Crew
from strongroom.children import (
    HeldChild,
    await_child,
    hold_in_child,
    run_in_child,
    run_in_children,
)
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import (
    ChildDied,
    ChildFailed,
    DeadlineExceeded,
    OperationUnknown,
    SourceUnavailable,
    StrongroomError,
    Transient,
    UnknownBackup,
    WorkCancelled,
)
from strongroom.operations.context import Progress
from tests.flows.fake_operations import ROOM, Ask, Told, settings_for

ROOT = Path(__file__).parents[2]
NEVER = Deadline.never()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a password, which nothing ever uses."""
    return settings_for(tmp_path / "repository")


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Path]:
    """A folder where operations write their process ids; whoever is left at the end is killed and named."""
    folder = tmp_path / "marks"
    folder.mkdir()
    yield folder
    left = [pid for pid in pids(folder) if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def pids(folder: Path) -> list[int]:
    """Return the processes that have written themselves down."""
    return sorted(int(path.stem) for path in folder.glob("*.pid"))


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(folder: Path, seconds: float = 8) -> None:
    """Wait until no process of the folder runs."""
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids(folder)) and time.monotonic() < end:
        time.sleep(0.02)


def wait_for_pids(folder: Path, count: int, seconds: float = 20) -> None:
    """Wait until `count` processes have written themselves down."""
    end = time.monotonic() + seconds
    while len(pids(folder)) < count and time.monotonic() < end:
        time.sleep(0.02)
    assert len(pids(folder)) == count


# ---------------------------------------------------------------- answers


def test_answer_comes_back_as_its_type(settings: Settings) -> None:
    """Settings and request reach the child, its answer comes back typed, and the child is gone."""
    told = run_in_child(f"{ROOM}:echo", settings, Ask(word="hello"), Told, deadline=Deadline.after(60, "x.y"))
    assert told.word == "hello quantforge True"
    assert not alive(told.pid)


def test_without_limit_there_is_no_deadline(settings: Settings) -> None:
    """A deadline that never comes arrives as one that never comes."""
    assert run_in_child(f"{ROOM}:echo", settings, Ask(), Told, deadline=NEVER).word == " quantforge False"


def test_secrets_are_neither_in_arguments_nor_environment(settings: Settings, marks: Path) -> None:
    """Nobody who lists processes sees the password of the source."""
    with Child(f"{ROOM}:last", settings, Ask(folder=str(marks)), Told, deadline=NEVER) as child:
        child.start()
        wait_for_pids(marks, 1)
        process = psutil.Process(child.pid)
        seen = " ".join(process.cmdline()) + " ".join(process.environ().values())
    assert "hunter2secret" not in seen


def test_prints_do_not_disturb_the_answer(settings: Settings) -> None:
    """What libraries and programs print on standard output is kept apart from the answer."""
    assert run_in_child(f"{ROOM}:chatter", settings, Ask(), Told, deadline=NEVER).word == "said"


def test_progress_arrives(settings: Settings) -> None:
    """Progress arrives in order, the last of it always."""
    seen: list[Progress] = []
    run_in_child(
        f"{ROOM}:count", settings, Ask(word="rows of t"), Told, deadline=NEVER, on_progress=seen.append
    )
    assert [progress.done for progress in seen] == [1, 2, 3]
    assert seen[-1] == Progress(done=3, total=3, unit="rows", label="rows of t")


def test_large_orders_arrive(settings: Settings) -> None:
    """A request larger than a pipe's buffer arrives whole."""
    word = "x" * 1_000_000
    told = run_in_child(f"{ROOM}:echo", settings, Ask(word=word), Told, deadline=NEVER)
    assert len(told.word) == len(word) + len(" quantforge False")


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("word", "kind", "context"),
    [
        ("transient", SourceUnavailable, {"detail": "the line was cut"}),
        ("foreseen", UnknownBackup, {"backup": "b1"}),
        ("limit", DeadlineExceeded, {"setting": "backup.max_backup_duration", "limit_seconds": 1.5}),
    ],
)
def test_errors_come_back_as_their_class(
    settings: Settings, word: str, kind: type[StrongroomError], context: dict[str, object]
) -> None:
    """A coded error is the same class in the parent, with its context."""
    with pytest.raises(kind) as caught:
        run_in_child(f"{ROOM}:fail", settings, Ask(word=word), Told, deadline=NEVER)
    assert type(caught.value) is kind
    assert caught.value.context == context


def test_unforeseen_errors_are_coded_and_hold_no_values(settings: Settings) -> None:
    """An unforeseen error names its kind and place; its text, which may quote a row, stays in the child."""
    with pytest.raises(ChildFailed) as caught:
        run_in_child(f"{ROOM}:fail", settings, Ask(word="?"), Told, deadline=NEVER)
    shown = str(caught.value.document())
    assert "ValueError at fake_operations.py:" in str(caught.value)
    assert "in fail" in shown
    assert "alice" not in shown
    assert not isinstance(caught.value, Transient)


def test_errors_about_code_keep_their_text(settings: Settings) -> None:
    """The text of an error about code cannot hold rows, and is kept."""
    with pytest.raises(ChildFailed, match=r"TypeError \(an int is no str\)"):
        run_in_child(f"{ROOM}:fail", settings, Ask(word="code"), Told, deadline=NEVER)


def test_passwords_are_taken_out_of_what_the_child_printed(settings: Settings) -> None:
    """Where a library prints the password, the error does not."""
    with pytest.raises(ChildFailed) as caught:
        run_in_child(f"{ROOM}:fail", settings, Ask(word="password"), Told, deadline=NEVER)
    assert "connecting with …" in str(caught.value.context["output"])


def test_a_killed_child_is_transient(settings: Settings) -> None:
    """Death by a signal that was not ours, such as out of memory, may be tried again."""
    with pytest.raises(ChildDied, match="SIGKILL") as caught:
        run_in_child(f"{ROOM}:die", settings, Ask(word="kill"), Told, deadline=NEVER)
    assert isinstance(caught.value, Transient)


def test_a_child_that_leaves_without_an_answer_failed(settings: Settings) -> None:
    """Leaving without an answer is a defect, not something that passes."""
    with pytest.raises(ChildFailed, match="status 7"):
        run_in_child(f"{ROOM}:die", settings, Ask(), Told, deadline=NEVER)


@pytest.mark.parametrize(
    "name", ["nothing_of_the_kind", "os:system", "tests:x", "../x", "tests.flows.nowhere:f"]
)
def test_only_operations_can_be_named(settings: Settings, name: str) -> None:
    """A name that is no operation is refused by its code; other modules cannot be reached."""
    with pytest.raises(OperationUnknown):
        run_in_child(name, settings, Ask(), Told, deadline=NEVER)


# ---------------------------------------------------------------- ends


def test_a_deadline_ends_an_operation_that_looks_at_it(settings: Settings, marks: Path) -> None:
    """An operation that checks its deadline ends with the coded error and has cleaned up."""
    with pytest.raises(DeadlineExceeded, match=r"within 0.7 s \(backup.max_backup_duration\)"):
        run_in_child(
            f"{ROOM}:last",
            settings,
            Ask(word="polite", folder=str(marks)),
            Told,
            deadline=Deadline.after(0.7, "backup.max_backup_duration"),
        )
    assert [path.stem for path in marks.glob("*.cleaned")] == [str(pid) for pid in pids(marks)]


def test_a_deadline_ends_an_operation_that_does_not(
    settings: Settings, marks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation that ignores deadline and SIGTERM is killed soon after, with the same error."""
    monkeypatch.setattr("strongroom.child_process.GRACE_SECONDS", 0.3)
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        run_in_child(
            f"{ROOM}:last",
            settings,
            Ask(word="stubborn", folder=str(marks)),
            Told,
            deadline=Deadline.after(1.0, "backup.max_backup_duration"),
        )
    assert time.monotonic() - begun < 4
    assert [alive(pid) for pid in pids(marks)] == [False]


def test_the_first_error_ends_all(settings: Settings, marks: Path) -> None:
    """Of several children, the first that fails ends the others, with the programs they have started."""
    requests = [
        Ask(word="program", folder=str(marks)),
        Ask(word="fail", folder=str(marks)),
        Ask(word="never"),
    ]
    with pytest.raises(UnknownBackup):
        run_in_children(
            [(f"{ROOM}:last", request) for request in requests], settings, Told, deadline=NEVER, parallelism=2
        )
    assert [alive(pid) for pid in pids(marks)] == [False, False]


def test_many_answers_keep_their_order(settings: Settings) -> None:
    """Reports come in the order of the requests, whatever the order of their ends."""
    requests = [Ask(word=str(number)) for number in range(5)]
    told = run_in_children(
        [(f"{ROOM}:echo", request) for request in requests], settings, Told, deadline=NEVER, parallelism=2
    )
    assert [report.word.split()[0] for report in told] == ["0", "1", "2", "3", "4"]


def test_killed_children_say_that_they_were_cancelled(settings: Settings, marks: Path) -> None:
    """Ending a child from another thread ends its `run` with the coded error, twice as well as once."""
    child = Child(f"{ROOM}:last", settings, Ask(word="program", folder=str(marks)), Told, deadline=NEVER)
    child.start()
    wait_for_pids(marks, 2)
    child.end_soon()
    child.end_soon()
    with pytest.raises(WorkCancelled):
        child.run()
    child.kill()
    assert [alive(pid) for pid in pids(marks)] == [False, False]


def test_the_death_of_the_parent_ends_children_and_their_programs(marks: Path) -> None:
    """After `kill -9` of the parent, children end by themselves, cleaning up what they have started."""
    program = f"""
from pathlib import Path
from strongroom.children import run_in_children
from strongroom.deadline import Deadline
from tests.flows.fake_operations import Ask, Told, settings_for
requests = [Ask(word="program", folder={str(marks)!r})] * 2
settings = settings_for(Path("/nonexistent"))
orders = [("{ROOM}:last", request) for request in requests]
run_in_children(orders, settings, Told, deadline=Deadline.never(), parallelism=2)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.DEVNULL) as parent:
        wait_for_pids(marks, 4)
        parent.kill()
    wait_until_gone(marks)
    assert [alive(pid) for pid in pids(marks)] == [False] * 4
    assert len(list(marks.glob("*.cleaned"))) == 2


# ---------------------------------------------------------------- holding


def test_what_is_held_is_let_go_at_the_end_of_the_block(settings: Settings, marks: Path) -> None:
    """The announcement opens the block; its end releases, and waits for the operation's own end."""
    with hold_in_child(f"{ROOM}:hold", settings, Ask(folder=str(marks)), Told, deadline=NEVER) as told:
        assert told.word == "held"
        assert alive(told.pid)
        assert not (marks / "released").exists()
    assert (marks / "released").exists()
    assert not alive(told.pid)


def test_an_error_in_the_block_ends_what_is_held(settings: Settings, marks: Path) -> None:
    """An error inside the block ends the operation without a release."""
    with (
        pytest.raises(ZeroDivisionError),
        hold_in_child(f"{ROOM}:hold", settings, Ask(folder=str(marks)), Told, deadline=NEVER) as told,
    ):
        1 / 0  # noqa: B018
    assert not alive(told.pid)
    assert not (marks / "released").exists()


def test_a_refused_hold_raises_its_error(settings: Settings) -> None:
    """An operation that fails before it announces raises its own error."""
    with (
        pytest.raises(UnknownBackup),
        hold_in_child(f"{ROOM}:hold", settings, Ask(word="refuse"), Told, deadline=NEVER),
    ):
        pytest.fail("the block must not be entered")


# ---------------------------------------------------------------- asyncio


def test_awaiting_does_not_block_the_loop(settings: Settings) -> None:
    """Children run side by side with the event loop, and progress is reported in its thread."""

    async def story() -> tuple[Told, Told]:
        seen: list[Progress] = []
        first, second = await asyncio.gather(
            await_child(
                f"{ROOM}:count", settings, Ask(word="a"), Told, deadline=NEVER, on_progress=seen.append
            ),
            await_child(f"{ROOM}:echo", settings, Ask(word="b"), Told, deadline=NEVER),
        )
        assert len(seen) == 3
        return first, second

    first, second = asyncio.run(story())
    assert (first.word, second.word.split()[0]) == ("counted", "b")


def test_cancelling_the_await_ends_the_child(settings: Settings, marks: Path) -> None:
    """A cancelled await ends the process and its programs, at once and without blocking the loop."""

    async def story() -> float:
        work = asyncio.create_task(
            await_child(
                f"{ROOM}:last", settings, Ask(word="program", folder=str(marks)), Told, deadline=NEVER
            )
        )
        await asyncio.to_thread(wait_for_pids, marks, 2)
        begun = time.monotonic()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return time.monotonic() - begun

    assert asyncio.run(story()) < 0.5
    wait_until_gone(marks)
    assert [alive(pid) for pid in pids(marks)] == [False, False]


def test_losing_what_is_held_ends_the_work(settings: Settings) -> None:
    """Work that needs what is held ends as soon as that is lost, with the reason."""

    async def story() -> None:
        async with HeldChild(f"{ROOM}:hold", settings, Ask(), Told, deadline=NEVER) as held:
            told = await held.begin()
            os.kill(told.pid, signal.SIGKILL)
            await held.during(asyncio.sleep(60))

    with pytest.raises(ChildDied):
        asyncio.run(story())


def test_a_held_child_can_be_begun_again_and_released(settings: Settings) -> None:
    """Beginning again replaces the process; work goes on beside it; a release ends it with its report."""

    async def story() -> tuple[Told, Told, str, Told]:
        async with HeldChild(f"{ROOM}:hold", settings, Ask(), Told, deadline=NEVER) as held:
            first = await held.begin()
            second = await held.begin()
            value = await held.during(asyncio.sleep(0.01, "done"))
            return first, second, value, await held.release()

    first, second, value, end = asyncio.run(story())
    assert first.pid != second.pid
    assert (value, end.word) == ("done", "let go")
    assert [alive(first.pid), alive(second.pid)] == [False, False]


def test_an_unheld_child_ends_with_its_block(settings: Settings) -> None:
    """Leaving the block without a release ends the process."""

    async def story() -> Told:
        async with HeldChild(f"{ROOM}:hold", settings, Ask(), Told, deadline=NEVER) as held:
            return await held.begin()

    told = asyncio.run(story())
    end = time.monotonic() + 5
    while alive(told.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not alive(told.pid)


# ---------------------------------------------------------------- crews


def test_a_crew_keeps_processes_for_the_next_operation(settings: Settings) -> None:
    """With a crew, one process answers several orders one after the other, and ends with the crew."""
    with Crew() as crew:
        told = [
            Child(f"{ROOM}:echo", settings, Ask(word=word), Told, deadline=limit, crew=crew).run()
            for word, limit in [("a", Deadline.after(60, "x.y")), ("b", NEVER)]
        ]
        assert [report.word for report in told] == ["a quantforge True", "b quantforge False"]
        assert told[0].pid == told[1].pid
        assert alive(told[0].pid)
    end = time.monotonic() + 5
    while alive(told[0].pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not alive(told[0].pid)


def test_a_crew_drops_processes_that_failed_or_died(settings: Settings) -> None:
    """After an error, and after a death while idle, the next operation gets a process of its own."""
    with Crew() as crew:

        def run(operation: str, word: str = "") -> Told:
            return Child(
                f"{ROOM}:{operation}", settings, Ask(word=word), Told, deadline=NEVER, crew=crew
            ).run()

        first = run("echo")
        with pytest.raises(UnknownBackup):
            run("fail", "foreseen")
        second = run("echo")
        os.kill(second.pid, signal.SIGKILL)
        # Not `alive`: a process whose threads still end looks dead before it can be waited for.
        while crew._idle[-1].runs():
            time.sleep(0.02)
        third = run("echo")
    assert len({first.pid, second.pid, third.pid}) == 3


def test_ending_a_finished_child_leaves_its_process_to_the_next(settings: Settings) -> None:
    """Once a process was given back, the child that had it can no longer end it."""
    with Crew() as crew:
        first = Child(f"{ROOM}:echo", settings, Ask(), Told, deadline=NEVER, crew=crew)
        told = first.run()
        first.kill()
        first.end_soon()
        assert alive(told.pid)


def test_held_things_are_released_in_each_order_anew(settings: Settings) -> None:
    """A release belongs to one order: the next one in the same process waits for its own."""
    with Crew() as crew:
        for _ in range(2):
            held = Child(f"{ROOM}:hold", settings, Ask(), Told, deadline=NEVER, crew=crew)
            assert held.wait_announcement().word == "held"
            held.release()
            assert held.run().word == "let go"
        late = Child(f"{ROOM}:hold", settings, Ask(), Told, deadline=Deadline.after(0.5, "x.y"), crew=crew)
        late.wait_announcement()
        with pytest.raises(DeadlineExceeded):
            late.run()
