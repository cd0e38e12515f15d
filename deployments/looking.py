"""The commands that only look: check, list, show. They run one operation in this process, without Prefect."""

import sys

from deployments.printing import console_on, print_check, print_list, print_show
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import CheckFailed
from strongroom.operations.context import Context
from strongroom.operations.messages import CheckLocation, CheckReport, CheckSource, ListBackups, ShowBackup
from strongroom.terminal import Answer


def check_source(answer: Answer, settings: Settings) -> None:
    """Ask everything that a backup needs to know; a failed question is a failure."""
    from strongroom.operations.check_source import check_source as ask

    limit = Deadline.after(settings.backup.max_backup_duration, "backup.max_backup_duration")
    _answer_checks(answer, ask(settings, CheckSource(), Context(limit)))


def _answer_checks(answer: Answer, report: CheckReport) -> None:
    if not answer.as_json:
        print_check(console_on(answer.stream), report)
    if report.passed:
        answer.give(report)
        return
    failed = [check for check in report.checks if not check.passed and check.severity == "error"]
    answer.fail(
        CheckFailed(
            failed="; ".join(f"{check.name}: {check.observed}" for check in failed),
            remedy=" ".join(check.remedy for check in failed),
        ),
        report,
    )


def check_location(answer: Answer, settings: Settings, location: str) -> None:
    """Try on one location everything that a store promises; what it does not guarantee is a failure."""
    from strongroom.operations.check_location import check_location as ask

    limit = Deadline.after(settings.backup.max_backup_duration, "backup.max_backup_duration")
    _answer_checks(answer, ask(settings, CheckLocation(location=location), Context(limit)))


def list_backups(answer: Answer, settings: Settings, location: str = "") -> None:
    """List what is there; a manifest not believed or a location out of reach is a failure, and hides no backup."""
    from strongroom.operations.list_backups import failure_of
    from strongroom.operations.list_backups import list_backups as read

    report = read(settings, ListBackups(location=location), Context(Deadline.never()))
    if not answer.as_json:
        print_list(console_on(answer.stream), report)
    error = failure_of(report)
    if error is None:
        answer.give(report)
        return
    sys.stdout.flush()
    answer.fail(error, report)


def show_backup(answer: Answer, settings: Settings, backup: str) -> None:
    """Show one backup."""
    from strongroom.operations.show_backup import show_backup as read

    report = read(settings, ShowBackup(backup=backup), Context(Deadline.never()))
    if not answer.as_json:
        print_show(console_on(answer.stream), report)
    answer.give(report)
