"""What the command `drill` does: it runs the flow, and shows the evidence; or it lists what was drilled before."""

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console

from deployments.flow_commands import configuration_of
from deployments.initialising import with_passphrase
from deployments.printing import console_on, instant, new_table, plain, print_facts, print_findings
from deployments.running import prepare_prefect, run_flow
from deployments.watching import Watcher
from flows.drill_wording import beside, damage_noticed, equal_tables
from flows.wording import duration
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import DamageUndetected, DrillFailed
from strongroom.keys import RECOVERY_FILE
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DrillReport, DrillsReport, ListDrills
from strongroom.operations.list_drills import list_drills as read_drills
from strongroom.terminal import FAILED, Answer, find_settings


def run_drill(
    answer: Answer,
    config: Path | None,
    backup: str,
    *,
    mutation: bool,
    into_own_server: bool,
    debug: bool,
) -> None:
    """Run the flow of a drill; show the evidence whether it passed or not."""
    settings = find_settings(config, os.environ)
    if not into_own_server:
        settings.destination_conninfo()
    _provide_passphrase(settings)
    prepare_prefect(debug=debug)

    def start() -> Coroutine[Any, Any, DrillReport]:
        from flows.drill import THROW_AWAY, rehearse

        return rehearse(
            configuration=configuration_of(config),
            backup=backup,
            destination=THROW_AWAY if into_own_server else "environment",
            mutation=mutation,
        )

    with Watcher("starting Prefect") as watcher:
        try:
            report = run_flow(start, watcher)
        except (DrillFailed, DamageUndetected) as error:
            found = watcher.last(DrillReport)
            if found is not None:
                print_drill(console_on(sys.stderr), found)
            answer.fail(error, found)
            return
    if not answer.as_json:
        print_drill(console_on(answer.stream), report)
    answer.give(report)


def list_drills(answer: Answer, settings: Settings) -> None:
    """List the drills whose evidence is stored; evidence that cannot be believed makes the command fail."""
    report = read_drills(settings, ListDrills(), Context(Deadline.never()))
    if not answer.as_json:
        print_drills(console_on(answer.stream), report)
    answer.give(report)
    if report.findings:
        answer.status = FAILED


def _provide_passphrase(settings: Settings) -> None:
    """Leave the passphrase where the flow reads it, if somebody has to type it; the flow says what is missing."""
    if not (settings.keys.directory / RECOVERY_FILE).exists():
        return
    passphrase = with_passphrase(settings).keys.passphrase
    if settings.keys.passphrase is None and passphrase is not None:
        os.environ["STRONGROOM_RECOVERY_PASSPHRASE"] = passphrase.get_secret_value()


# ------------------------------------------------------------------------------------------ printing


def print_drill(console: Console, report: DrillReport) -> None:
    """Show the evidence of a drill: verdict, objectives, steps, differences, damage."""
    record = report.evidence
    print_facts(
        console,
        {
            "drill": record.drill,
            "backup": f"{record.backup}, taken {instant(record.recovery_point)}",
            "passed": "yes" if record.passed else "NO",
            "recovery lag": beside(record.recovery_lag_seconds, record.recovery_lag_objective_seconds),
            "recovery duration": beside(
                record.recovery_duration_seconds, record.recovery_duration_objective_seconds
            ),
            "suites": f"{record.suites_passed} of {record.suites} passed, {record.expectations} expectations",
            "tables": equal_tables(record),
            **({"damage noticed": damage_noticed(record)} if record.damages else {}),
            "evidence": ", ".join(report.locations) or "nowhere",
            **({"page": report.page} if report.page else {}),
            **({"Data Docs": report.data_docs} if report.data_docs else {}),
        },
    )
    steps = new_table("step", "time")
    for step in record.steps:
        steps.add_row(plain(step.name), f"{step.seconds:.1f} s")
    console.print(steps)
    if record.damages:
        damages = new_table("damage", "noticed by", "what was done")
        for one in record.damages:
            style = None if one.noticed_by else "bold red"
            damages.add_row(
                plain(one.damage), plain(one.noticed_by or "NOT NOTICED"), plain(one.observed), style=style
            )
        console.print(damages)
    print_findings(console, (*record.findings, *report.findings))


def print_drills(console: Console, report: DrillsReport) -> None:
    """Show the drills, the newest last."""
    table = new_table("drill", "at", "backup", "passed", "lag", "duration", "suites", "damage noticed", "by")
    for brief in report.drills:
        table.add_row(
            brief.drill,
            instant(brief.at),
            brief.backup,
            "yes" if brief.passed else "NO",
            duration(brief.recovery_lag_seconds),
            duration(brief.recovery_duration_seconds),
            f"{brief.suites_passed} of {brief.suites}",
            f"{brief.damages_noticed} of {brief.damages}" if brief.damages else "–",
            plain(brief.by),
            style=None if brief.passed else "bold red",
        )
    if report.drills:
        console.print(table)
    else:
        console.print("No drill has been kept: `strongroom drill` makes one.")
    print_findings(console, report.findings)
