"""Facts about the words of `strongroom recover`, and about the story of a preview."""

import datetime as dt
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from deployments.command_line import app
from deployments.recovery_words import Asked, complete, is_scenario, read_plan, write_plan
from strongroom.errors import CommandMisused, LiveTableGone, PlanUnfit, RecoveryUnderWay, SourceUnavailable
from strongroom.format.recovery_plans import ScopedTable
from strongroom.operations.messages import Message, RestoreStepReport, UnitBrief
from strongroom.operations.recovery_messages import (
    CleanReport,
    DifferencesReport,
    RecoveryCheckReport,
    RowsShown,
    RunReport,
    StagingReport,
)
from strongroom.recovery_story import is_preview, preview
from tests.unit.test_recovery_printing import PLAN

# ------------------------------------------------------------------------------------------- words


def test_options_become_a_request() -> None:
    """Dashes in a scenario are fine, negations become what is wanted."""
    asked = Asked(
        scenario="partial-loss",
        tables=("public.trades", "robots"),
        wheres=("robot_id = 7", " name = 'x' "),
        schemas=("auth",),
        at="2026-11-23T04:45+01:00",
        strategy="exact",
        no_emergency_backup=True,
        no_rollback=True,
        force=True,
    )
    request = asked.request()
    assert ("partial_loss", dt.datetime(2026, 11, 23, 3, 45, tzinfo=dt.UTC)) == (
        request.scenario,
        request.before,
    )
    assert (
        ScopedTable(schema="public", name="trades", where="robot_id = 7"),
        ScopedTable(schema="public", name="robots", where="name = 'x'"),
    ) == request.tables
    assert (False, False, True) == (request.emergency_backup, request.rollback_on_error, request.force)


def test_an_instant_without_a_zone_is_utc() -> None:
    """As everything that is printed is."""
    before = Asked(scenario="custom", at="2026-11-23 03:45").request().before
    assert dt.datetime(2026, 11, 23, 3, 45, tzinfo=dt.UTC) == before


def test_one_condition_holds_for_every_table() -> None:
    """So that one customer's rows can be named once."""
    request = Asked(scenario="custom", tables=("a", "b"), wheres=("customer = 7",)).request()
    assert ["customer = 7"] * 2 == [table.where for table in request.tables]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scenario": "fire"}, "'fire' is none of the scenarios data_corruption,"),
        ({"wheres": ("a = 1",)}, "name the table with --table"),
        ({"tables": ("a",), "wheres": ("a = 1", "a = 2")}, "several --where and not as many --table"),
        ({"tables": ("a", "b", "c"), "wheres": ("x", "y")}, "several --where and not as many --table"),
        ({"tables": ("a where b = 1",), "wheres": ("a = 1",)}, "has its condition already"),
        ({"tables": ("a.b.c",)}, "'a.b.c' is not a table"),
        ({"at": "noon"}, "'noon' is no instant such as"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], words: str) -> None:
    """With a sentence and the command whose help says more."""
    with pytest.raises(CommandMisused) as caught:
        Asked(**{"scenario": "custom", **fields}).request()
    assert words in str(caught.value)
    assert "strongroom recover plan --help" in caught.value.advice()


def test_a_plan_is_given_no_scope() -> None:
    """It has one; what makes it less careful may be added."""
    Asked(scenario="plan.json", force=True, skip_verification=True).require_no_scope()
    for fields in ({"tables": ("a",)}, {"at": "2026-11-23"}, {"strategy": "exact"}, {"backup": "latest"}):
        with pytest.raises(CommandMisused, match="go with a scenario"):
            Asked(**{"scenario": "plan.json", **fields}).require_no_scope()  # type: ignore[arg-type]


def test_the_printed_command_repeats_what_was_asked_for() -> None:
    """Quoted for a shell, and from the very backup that the plan names."""
    asked = Asked(
        scenario="partial-loss",
        tables=("public.trades where note = 'it''s'",),
        schemas=("auth",),
        strategy="exact",
        rollback_strategy="manual",
        force=True,
        no_rollback=True,
    )
    words = shlex.split(asked.command("b1", Path("my config.toml")))
    assert ["strongroom", "recover", "run", "partial_loss", "--backup", "b1"] == words[:6]
    assert "public.trades where note = 'it''s'" in words
    assert {"--force", "--no-rollback", "my config.toml", "manual"} <= set(words)
    assert Asked(scenario="complete_failure").command("b1").endswith("--to -")


def test_scenarios_and_files_are_told_apart() -> None:
    """By the word alone."""
    assert (True, True, False) == (
        is_scenario("data-corruption"),
        is_scenario("custom"),
        is_scenario("custom.json"),
    )


def test_a_plan_in_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Anything else in a file is no plan, and a file that is not there is misuse."""
    write_plan(PLAN, tmp_path / "plan.json")
    assert PLAN == read_plan(str(tmp_path / "plan.json"))
    (tmp_path / "other.json").write_text('{"format": 3, "id": "x"}')
    (tmp_path / "newer.json").write_text('{"format": 99}')
    for name in ("other.json", "newer.json"):
        with pytest.raises(PlanUnfit, match=name):
            read_plan(str(tmp_path / name))
    with pytest.raises(CommandMisused, match="neither a scenario"):
        read_plan(str(tmp_path / "none.json"))
    with pytest.raises(CommandMisused, match="cannot be written"):
        write_plan(PLAN, tmp_path / "none" / "plan.json")


def test_a_plan_for_programs_leaves_nothing_out() -> None:
    """What has its default is left out of stored documents, and looked for by scripts."""
    told = msgspec.json.decode(msgspec.json.encode(complete(PLAN)))
    assert set(PLAN.__struct_fields__) == set(told)
    assert [("public.robots", -1), ("public.trades", 2110)] == [
        (estimate["table"], estimate["rows_live"]) for estimate in told["estimates"]
    ]


@pytest.mark.parametrize("command", ["plan", "run", "status", "rollback", "clean"])
def test_every_command_explains_itself(command: str) -> None:
    """With the options that all commands share."""
    told = CliRunner().invoke(app, ["recover", command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert 0 == told.exit_code
    assert all(option in told.output for option in ("--config", "--json", "--debug"))


# ----------------------------------------------------------------------------------------- preview


@dataclass
class ToldRunner:
    """Answers as the operations do, and remembers what was asked; one operation may fail."""

    fails: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)

    def run(self, operation: str, request: Message, answer: type[Any]) -> Any:
        """Answer one."""
        self.asked.append(operation)
        if operation in self.fails:
            raise self.fails[operation]
        self.runs |= {request.plan.id} if hasattr(request, "plan") else set()
        made: dict[str, Message] = {
            "check_recovery": RecoveryCheckReport(tables=()),
            "prepare_staging": StagingReport(
                tables=1, rows=1, units=(UnitBrief(number=4, label="t", estimated_bytes=1),)
            ),
            "compare_live": DifferencesReport(tables=()),
            "show_rows": RowsShown(tables=()),
            "clean_recovery": CleanReport(removed=()),
        }
        return made.get(operation, RestoreStepReport(step=operation))

    def run_all(self, orders: Sequence[tuple[str, Message]], answer: type[Any]) -> list[Any]:
        """Answer all."""
        return [self.run(operation, request, answer) for operation, request in orders]

    @contextmanager
    def hold(self, operation: str, request: Message, answer: type[Any]) -> Iterator[Any]:
        """Hold."""
        self.run(operation, request, answer)
        yield RunReport(run="r", state="begun", owner="me")
        self.asked.append("released")


def test_a_preview_compares_and_leaves_nothing() -> None:
    """It has a run of its own, which is cleaned up once the right to recover is released."""
    runner = ToldRunner()
    preview(runner, PLAN)
    assert [
        "hold_recovery",
        "check_recovery",
        "prepare_staging",
        "stage_unit",
        "finish_staging",
        "compare_live",
        "show_rows",
        "released",
        "clean_recovery",
    ] == runner.asked
    assert {"recovery-1.preview"} == runner.runs
    assert (True, False) == (is_preview("recovery-1.preview"), is_preview("recovery-1"))


def test_a_preview_that_fails_leaves_nothing_either() -> None:
    """And tells why it failed, not what went wrong while it was cleaned up."""
    gone = LiveTableGone(object="public.t", similar="")
    runner = ToldRunner(
        fails={"check_recovery": gone, "clean_recovery": SourceUnavailable(detail="", sqlstate="")}
    )
    with pytest.raises(LiveTableGone):
        preview(runner, PLAN)
    assert ["hold_recovery", "check_recovery", "clean_recovery"] == runner.asked


def test_a_preview_cleans_up_nothing_of_others() -> None:
    """If another recovery is under way, or was cut off, its staging tables stay."""
    runner = ToldRunner(fails={"hold_recovery": RecoveryUnderWay(run="recovery-0")})
    with pytest.raises(RecoveryUnderWay):
        preview(runner, PLAN)
    assert ["hold_recovery"] == runner.asked
