"""What the commands of recoveries do: plan, preview, run, look, undo, clean. Prefect only where a flow is run."""

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from rich.console import Console

from deployments.flow_commands import configuration_of
from deployments.initialising import with_passphrase
from deployments.printing import (
    console_on,
    print_findings,
    print_integrity,
    print_recovery,
    print_verification,
)
from deployments.recovery_printing import (
    print_clean,
    print_differences,
    print_in_place,
    print_plan,
    print_recoveries,
    print_rows,
    print_validation,
)
from deployments.recovery_words import Asked, complete, is_scenario, read_plan, write_plan
from deployments.running import pages_address, prepare_prefect, run_flow
from deployments.watching import Watcher
from flows.wording import duration
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import CommandMisused, RecoveryCutOff, RecoveryUnderWay, StrongroomError
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.keys import RECOVERY_FILE
from strongroom.operations.context import Context
from strongroom.operations.messages import IntegrityReport, Message, RecoveryReport, VerificationReport
from strongroom.operations.recovery_messages import (
    CleanRecovery,
    DifferencesReport,
    InPlaceReport,
    PlanRecovery,
    ReadRecoveries,
    ValidationReport,
)
from strongroom.recovery_story import is_preview, preview
from strongroom.runners import InChildren
from strongroom.terminal import Answer, check_backup_name, destination_variable, find_settings

Judged: TypeAlias = VerificationReport | IntegrityReport | ValidationReport

_RUN = "strongroom recover run"

_PICTURES: dict[type[Judged], Callable[[Console, Any], None]] = {
    VerificationReport: print_verification,
    IntegrityReport: print_integrity,
    ValidationReport: print_validation,
}
"""What is shown of a recovery that failed, beside its error: of each kind the newest report, if it did not pass."""


class PreviewReport(Message):
    """The document of `recover plan --preview`: counts only, for rows are shown to nobody but a terminal."""

    plan: RecoveryPlan
    differences: DifferencesReport


# ------------------------------------------------------------------------------------------ planning


def plan(
    answer: Answer, config: Path | None, asked: Asked, *, to: str | None, out: Path | None, with_preview: bool
) -> None:
    """Make a plan, show it, and keep it in a file if one is named; with a preview, show what it would do."""
    require_fit_address(asked, to)
    settings = find_settings(config, os.environ)
    made = _make_plan(settings, asked.request())
    if out is not None:
        write_plan(made, out)
    command = f"{_RUN} {out}" if out else asked.command(made.backup, config)
    if not answer.as_json:
        print_plan(console_on(answer.stream), made, command)
    if with_preview:
        _preview(answer, settings, made)
    else:
        answer.give(complete(made))


def _make_plan(settings: Settings, request: PlanRecovery) -> RecoveryPlan:
    from strongroom.operations.plan_recovery import plan_recovery

    return plan_recovery(settings, request, Context(_limit(settings))).plan


def _preview(answer: Answer, settings: Settings, made: RecoveryPlan) -> None:
    if made.destination != "source":
        raise CommandMisused(
            problem="There is nothing to preview: this plan fills an empty database.",
            command="strongroom recover plan",
        )
    with Watcher("comparing the recovery point with live; no live row is touched") as watcher:
        seen = preview(InChildren(_opening_rows(settings), _limit(settings), watcher), made)
    if answer.as_json:
        answer.give(complete(PreviewReport(plan=made, differences=seen.differences)))
        return
    console = console_on(answer.stream)
    console.print()
    console.print("If it were carried out now:", style="bold")
    print_differences(console, seen.differences.tables)
    print_rows(console, seen.rows)
    print_findings(console, (*seen.check.findings, *seen.differences.findings))


def show_plan(answer: Answer, config: Path | None, name: str) -> None:
    """Show the plan in a file, or the one that a complete failure would follow from a backup."""
    asked = Asked(scenario="complete_failure", backup=name, force=True)
    # A file may be called like neither a scenario nor a backup, and a backup is never a file.
    if Path(name).exists() or name == "-":
        made, command = read_plan(name), f"{_RUN} {name}"
    else:
        check_backup_name(name)
        made = _make_plan(find_settings(config, os.environ), asked.request())
        command = asked.command(made.backup, config)
    if not answer.as_json:
        print_plan(console_on(answer.stream), made, command)
    answer.give(complete(made))


# ------------------------------------------------------------------------------------------ flows


def run(
    answer: Answer, config: Path | None, asked: Asked, *, to: str | None, approve: bool, debug: bool
) -> None:
    """Carry out the plan of a file or of a scenario; without either, go on with what was cut off."""
    settings = find_settings(config, os.environ)
    made = _plan_to_run(settings, asked, to)
    if made.destination == "environment":
        os.environ.update(destination_variable(to))
        find_settings(config, os.environ).destination_conninfo()
    _provide_passphrase(settings)
    if not answer.as_json:
        print_plan(console_on(sys.stderr), made)
    prepare_prefect(debug=debug)

    def start() -> Coroutine[Any, Any, InPlaceReport | RecoveryReport]:
        from flows.recovery import recover

        if approve:
            _say_where_to_approve(settings)
        return recover(
            configuration=configuration_of(config),
            scenario=made.scenario,
            plan=msgspec.json.encode(made).decode(),
            approval=approve,
            force=asked.force,
            skip_verification=asked.skip_verification,
            emergency_backup=not asked.no_emergency_backup,
            rollback_on_error=not asked.no_rollback,
            rollback_strategy=asked.rollback_strategy or "",
        )

    _tell(answer, start)


def _plan_to_run(settings: Settings, asked: Asked, to: str | None) -> RecoveryPlan:
    if asked.scenario and is_scenario(asked.scenario):
        require_fit_address(asked, to)
        return _make_plan(settings, asked.request())
    asked.require_no_scope()
    made = read_plan(asked.scenario) if asked.scenario else interrupted_plan(settings)
    if to is not None and made.destination != "environment":
        raise _in_place_only(asked)
    return made


def interrupted_plan(settings: Settings) -> RecoveryPlan:
    """Return the plan of the run that was cut off in the live database. Raises `RecoveryUnderWay` if it was not."""
    from strongroom.operations.read_recoveries import read_recoveries

    report = read_recoveries(settings, ReadRecoveries(), Context(_limit(settings)))
    if report.is_held and report.under_way is not None:
        raise RecoveryUnderWay(run=report.under_way.run)
    if report.plan is None:
        raise CommandMisused(
            problem="No recovery was cut off in this database: name a scenario, or the file of a plan.",
            command=_RUN,
        )
    if is_preview(report.plan.id):
        raise CommandMisused(
            problem="What was cut off is a preview, and not to be carried out: `strongroom recover clean` removes it.",
            command=_RUN,
        )
    return report.plan


def _say_where_to_approve(settings: Settings) -> None:
    """Tell who has typed the command what it waits for: nothing moves until somebody else has answered."""
    limit = duration(settings.recovery.approval_timeout)
    words = f"It begins when somebody has approved it at {pages_address()}/runs (Resume), within {limit}."
    console_on(sys.stderr).print(words, style="bold", soft_wrap=True)


def roll_back(answer: Answer, config: Path | None, run_id: str, *, debug: bool) -> None:
    """Give back what a recovery has changed, from its emergency backup."""
    from strongroom.operations.plan_rollback import plan_rollback
    from strongroom.operations.recovery_messages import PlanRollback

    settings = find_settings(config, os.environ)
    # What cannot be rolled back is told at once, not after Prefect has started.
    made = plan_rollback(settings, PlanRollback(run=run_id), Context(_limit(settings))).plan
    _provide_passphrase(settings)
    if not answer.as_json:
        print_plan(console_on(sys.stderr), made)
    prepare_prefect(debug=debug)

    def start() -> Coroutine[Any, Any, InPlaceReport]:
        from flows.recovery import roll_back as undo

        return undo(configuration=configuration_of(config), run=run_id)

    _tell(answer, start)


def _tell(answer: Answer, start: Callable[[], Coroutine[Any, Any, InPlaceReport | RecoveryReport]]) -> None:
    """Run a flow, and tell how it ended; of one that failed, what was found out until then."""
    with Watcher("starting Prefect") as watcher:
        try:
            report = run_flow(start, watcher)
        except StrongroomError as error:
            for kind, show in _PICTURES.items():
                found = watcher.last(kind)
                if found is not None and not found.passed:
                    show(console_on(sys.stderr), found)
            answer.fail(error, watcher.last(InPlaceReport))
            return
        except KeyboardInterrupt as error:
            raise RecoveryCutOff from error
    if not answer.as_json:
        console = console_on(answer.stream)
        if isinstance(report, InPlaceReport):
            print_in_place(console, report)
        else:
            print_recovery(console, report)
    answer.give(report)


# ------------------------------------------------------------------------------------------ looking, cleaning


def status(answer: Answer, settings: Settings) -> None:
    """Tell what is under way, and how earlier recoveries ended."""
    from strongroom.operations.read_recoveries import read_recoveries

    report = read_recoveries(settings, ReadRecoveries(), Context(_limit(settings)))
    if not answer.as_json:
        print_recoveries(console_on(answer.stream), report)
    answer.give(report)


def clean(answer: Answer, settings: Settings) -> None:
    """Remove what a recovery that is no longer under way has left in the live database."""
    from strongroom.operations.clean_recovery import clean_recovery

    report = clean_recovery(settings, CleanRecovery(), Context(_limit(settings)))
    if not answer.as_json:
        print_clean(console_on(answer.stream), report)
    answer.give(report)


# ------------------------------------------------------------------------------------------ around them


def require_fit_address(asked: Asked, to: str | None) -> None:
    """Refuse an address for a recovery in place. Raises `CommandMisused`."""
    if to is not None and asked.read_scenario() != "complete_failure":
        raise _in_place_only(asked)


def _in_place_only(asked: Asked) -> CommandMisused:
    return CommandMisused(
        problem="--to is for complete_failure, which fills an empty database; every other scenario is recovered in "
        "place, in the source itself.",
        command=f"strongroom recover {asked.subcommand}",
    )


def _limit(settings: Settings) -> Deadline:
    return Deadline.after(settings.recovery.max_recovery_time, "recovery.max_recovery_time")


def _opening_rows(settings: Settings) -> Settings:
    """Return settings that can open rows, asking for the passphrase if recovery.pem is here."""
    if not (settings.keys.directory / RECOVERY_FILE).exists():
        return settings  # The operation says better what is missing.
    return with_passphrase(settings)


def _provide_passphrase(settings: Settings) -> None:
    """Leave the passphrase where a flow reads it, if it was typed."""
    passphrase = _opening_rows(settings).keys.passphrase
    if settings.keys.passphrase is None and passphrase is not None:
        os.environ["STRONGROOM_RECOVERY_PASSPHRASE"] = passphrase.get_secret_value()
