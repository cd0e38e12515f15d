"""The words of `strongroom recover`: options read into a request, a request written as the command that repeats it.

asked = Asked(scenario="data-corruption", tables=("public.trades",), wheres=("robot_id = 7",))
asked.request()         # PlanRecovery
asked.command(backup)   # "strongroom recover run data_corruption --backup … --table public.trades --where …"
"""

import datetime as dt
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from strongroom.errors import CommandMisused, FormatError, PlanUnfit
from strongroom.format.codec import decode_json
from strongroom.format.recovery_plans import RecoveryPlan, RollbackStrategy, Scenario, ScopedTable, Strategy
from strongroom.operations.recovery_messages import PlanRecovery
from strongroom.recovery.planning.scope import read_scoped_table
from strongroom.terminal import check_backup_name

SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)


@dataclass(frozen=True)
class Asked:
    """What somebody typed. `wheres` belong to `tables` by their order; a single one holds for every table."""

    scenario: str
    tables: tuple[str, ...] = ()
    wheres: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    at: str = ""
    backup: str = ""
    strategy: Strategy | None = None
    force: bool = False
    skip_verification: bool = False
    no_emergency_backup: bool = False
    no_rollback: bool = False
    rollback_strategy: RollbackStrategy | None = None
    subcommand: str = "plan"

    def require_no_scope(self) -> None:
        """Refuse what only a plan can say, where a plan is given. Raises `CommandMisused`."""
        given = self.tables or self.wheres or self.schemas or self.at or self.backup or self.strategy
        if given:
            raise self._misused(
                "A plan says itself what is recovered from where: --table, --where, --schema, --at, --backup and "
                "--strategy go with a scenario."
            )

    def request(self) -> PlanRecovery:
        """Return what the engine is asked. Raises `CommandMisused`, `UnknownBackup`."""
        return PlanRecovery(
            scenario=self.read_scenario(),
            backup=check_backup_name(self.backup) if self.backup else "",
            before=self._read_instant(),
            tables=self._read_tables(),
            schemas=self.schemas,
            strategy=self.strategy,
            emergency_backup=not self.no_emergency_backup,
            rollback_on_error=not self.no_rollback,
            rollback_strategy=self.rollback_strategy,
            force=self.force,
            skip_verification=self.skip_verification,
        )

    def read_scenario(self) -> Scenario:
        """Return the scenario; dashes stand for underscores."""
        word = self.scenario.replace("-", "_")
        found = next((scenario for scenario in SCENARIOS if scenario == word), None)
        if found is None:
            raise self._misused(f"{self.scenario!r} is none of the scenarios {', '.join(SCENARIOS)}.")
        return found

    def command(self, backup: str, config: Path | None = None) -> str:
        """Return the command that carries the same out from this very backup."""
        words = ["strongroom", "recover", "run", self.scenario.replace("-", "_"), "--backup", backup]
        for option, values in (
            ("--table", self.tables),
            ("--where", self.wheres),
            ("--schema", self.schemas),
        ):
            for value in values:
                words += [option, value]
        words += ["--strategy", self.strategy] if self.strategy else []
        words += ["--rollback-strategy", self.rollback_strategy] if self.rollback_strategy else []
        for flag, is_given in (
            ("--force", self.force),
            ("--skip-verification", self.skip_verification),
            ("--no-emergency-backup", self.no_emergency_backup),
            ("--no-rollback", self.no_rollback),
        ):
            words += [flag] if is_given else []
        # The address stays out of what is shown: it may carry a password.
        words += ["--to", "-"] if self.scenario.replace("-", "_") == "complete_failure" else []
        words += ["--config", str(config)] if config else []
        return shlex.join(words)

    def _read_tables(self) -> tuple[ScopedTable, ...]:
        try:
            tables = [read_scoped_table(text) for text in self.tables]
        except ValueError as error:
            raise self._misused(str(error)) from None
        if not self.wheres:
            return tuple(tables)
        if not tables:
            raise self._misused("--where says which rows of a table: name the table with --table.")
        wheres = self.wheres * len(tables) if len(self.wheres) == 1 else self.wheres
        if len(wheres) != len(tables):
            raise self._misused(
                "There are several --where and not as many --table: write each as "
                "--table 'public.trades where robot_id = 7'."
            )
        if any(table.where for table in tables):
            raise self._misused("A table has its condition already: leave --where out.")
        return tuple(
            msgspec.structs.replace(table, where=where.strip())
            for table, where in zip(tables, wheres, strict=True)
        )

    def _read_instant(self) -> dt.datetime | None:
        if not self.at:
            return None
        try:
            read = dt.datetime.fromisoformat(self.at)
        except ValueError:
            raise self._misused(
                f"{self.at!r} is no instant such as 2026-11-23T03:45Z; without a zone it is UTC."
            ) from None
        return (read if read.tzinfo else read.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)

    def _misused(self, problem: str) -> CommandMisused:
        return CommandMisused(problem=problem, command=f"strongroom recover {self.subcommand}")


def is_scenario(word: str) -> bool:
    """Tell whether a word is a scenario, and no file of a plan."""
    return word.replace("-", "_") in SCENARIOS


def read_plan(name: str) -> RecoveryPlan:
    """Read a plan from a file, `-` being standard input. Raises `CommandMisused`, `PlanUnfit`."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandMisused(
            problem=f"{name!r} is neither a scenario ({', '.join(SCENARIOS)}) nor a file that can be read: "
            f"{error.strerror}.",
            command="strongroom recover run",
        ) from None
    try:
        return decode_json(RecoveryPlan, raw, name)
    except FormatError as error:
        raise PlanUnfit(plan=f"in {name}", reason=error.render().rstrip(".")) from error


def write_plan(plan: RecoveryPlan, path: Path) -> None:
    """Write a plan to a file. Raises `CommandMisused` if that cannot be done."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(complete(plan)), indent=2) + b"\n")
    except OSError as error:
        raise CommandMisused(
            problem=f"The plan cannot be written to {path}: {error.strerror}.",
            command="strongroom recover plan",
        ) from None


def complete(value: object) -> object:
    """Return a document for somebody else's program: what is as usual stands in it, too.

    Documents leave out what has its default, and a script that asks for the risk should find `low`.
    """
    if isinstance(value, msgspec.Struct):
        return {name: complete(getattr(value, name)) for name in value.__struct_fields__}
    return [complete(one) for one in value] if isinstance(value, tuple) else value
