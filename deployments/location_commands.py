"""What the commands on locations and keys do: one flow or one operation, a report out, an exit status."""

import datetime as dt
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from deployments.flow_commands import configuration_of
from deployments.initialising import with_passphrase
from deployments.location_printing import (
    print_copies,
    print_hold,
    print_keys,
    print_repair,
    print_retention,
    print_rotation,
)
from deployments.printing import console_on, print_findings
from deployments.running import prepare_prefect, run_flow
from deployments.watching import Watcher
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import CommandMisused, CopiesMissing, CopyDamaged, RotationIncomplete
from strongroom.keys import create_recovery_key, load_keyring
from strongroom.operations.context import Context
from strongroom.operations.key_messages import ListKeys, RotateKeys
from strongroom.operations.location_messages import (
    CopiesReport,
    HoldBackup,
    ReleaseBackup,
    RepairedReport,
    RepairPlanReport,
    RetentionReport,
)
from strongroom.operations.messages import Message
from strongroom.repository.locations import find_location
from strongroom.terminal import Answer, find_settings

Report = TypeVar("Report", bound=Message)


# ------------------------------------------------------------------------------------------ flows


def run_replicate(answer: Answer, config: Path | None, backup: str, *, debug: bool) -> None:
    """Run the flow of copying; a location that could not be copied to is a failure."""

    def start() -> Coroutine[Any, Any, CopiesReport]:
        from flows.replication import copy_backups

        return copy_backups(configuration=configuration_of(config), backup=backup)

    _run(answer, config, start, print_copies, debug=debug)


def run_expire(answer: Answer, config: Path | None, accept: list[str], *, dry_run: bool, debug: bool) -> None:
    """Run the flow of retention."""

    def start() -> Coroutine[Any, Any, RetentionReport]:
        from flows.retention import clean_up

        return clean_up(configuration=configuration_of(config), dry_run=dry_run, accept=accept)

    _run(answer, config, start, print_retention, debug=debug)


def run_repair(
    answer: Answer,
    config: Path | None,
    location: str,
    *,
    read_everything: bool,
    dry_run: bool,
    debug: bool,
) -> None:
    """Run the flow of repair; an object that no location has whole any more is a failure."""
    # A misspelt name is answered at once, not after Prefect has started.
    find_location(find_settings(config, os.environ), location)

    def start() -> Coroutine[Any, Any, RepairedReport]:
        from flows.repair import mend

        return mend(
            configuration=configuration_of(config),
            location=location,
            read_everything=read_everything,
            dry_run=dry_run,
        )

    _run(answer, config, start, print_repair, debug=debug)


def _run(
    answer: Answer,
    config: Path | None,
    start: Callable[[], Coroutine[Any, Any, Report]],
    show: Callable[[Console, Report], None],
    *,
    debug: bool,
) -> None:
    find_settings(config, os.environ)
    prepare_prefect(debug=debug)
    with Watcher("starting Prefect") as watcher:
        try:
            report = run_flow(start, watcher)
        except (CopyDamaged, CopiesMissing) as error:
            plan = watcher.last(RepairPlanReport)
            if plan is not None:
                print_findings(console_on(sys.stderr), plan.findings)
            answer.fail(error, plan)
            return
    if not answer.as_json:
        show(console_on(answer.stream), report)
    answer.give(report)


# ------------------------------------------------------------------------------------------ operations


def hold(answer: Answer, settings: Settings, backup: str, until: str | None, reason: str) -> None:
    """Hold a backup."""
    from strongroom.operations.hold_backup import hold_backup

    request = HoldBackup(backup=backup, until=_future(until), reason=reason)
    report = hold_backup(settings, request, Context(Deadline.never()))
    if not answer.as_json:
        print_hold(console_on(answer.stream), report)
    answer.give(report)


def release(answer: Answer, settings: Settings, backup: str) -> None:
    """Release a backup."""
    from strongroom.operations.release_backup import release_backup

    report = release_backup(settings, ReleaseBackup(backup=backup), Context(Deadline.never()))
    if not answer.as_json:
        print_hold(console_on(answer.stream), report)
    answer.give(report)


def list_keys(answer: Answer, settings: Settings) -> None:
    """List the recovery keys."""
    from strongroom.operations.list_keys import list_keys as read

    report = read(settings, ListKeys(), Context(Deadline.never()))
    if not answer.as_json:
        print_keys(console_on(answer.stream), report)
    answer.give(report)


def rotate_keys(answer: Answer, settings: Settings, to: list[str], new: str | None, *, retire: bool) -> None:
    """Seal every data key anew; with `new`, to a recovery key that is made first."""
    from strongroom.operations.rotate_keys import rotate_keys as rotate

    ready = with_passphrase(settings)
    made = None
    if new is not None:
        # A key that cannot be rotated to would only keep backups from running: the old one has to open first.
        load_keyring(ready.keys.directory, passphrase=ready.keys.read_passphrase).require_recovery_private()
        made = create_recovery_key(ready.keys.directory, new, ready.keys.read_passphrase(), os.urandom)
    wanted = (*to, str(made.public)) if made else tuple(to)
    report = rotate(ready, RotateKeys(to=wanted, retire=retire), Context(Deadline.never()))
    if not answer.as_json:
        console = console_on(answer.stream)
        print_rotation(console, report)
        if made is not None:
            console.print(f"Take away to a safe place: {made.take_away}", style="bold yellow")
    if report.passed:
        answer.give(report)
        return
    first = report.findings[0]
    answer.fail(
        RotationIncomplete(findings=len(report.findings), first=f"{first.object}: {first.observed}"), report
    )


def _future(text: str | None) -> dt.datetime | None:
    """Read an instant that is still to come: a hold until an earlier one would keep nothing."""
    until = _instant(text)
    if until is not None and until <= dt.datetime.now(dt.UTC):
        raise CommandMisused(
            problem=f"The hold would be over already: {text} is past.", command="strongroom hold"
        )
    return until


def _instant(text: str | None) -> dt.datetime | None:
    """Read a date, which means its end in UTC, or an instant; raise `CommandMisused`."""
    if text is None:
        return None
    try:
        read = dt.datetime.fromisoformat(text)
    except ValueError:
        problem = f"{text!r} is neither a date such as 2027-03-31 nor an instant such as 2027-03-31T12:00Z."
        raise CommandMisused(problem=problem, command="strongroom hold") from None
    if len(text) == len("2027-03-31"):
        read += dt.timedelta(days=1)
    return read if read.tzinfo else read.replace(tzinfo=dt.UTC)
