"""The break-glass command line, `python -m strongroom`: list, show, verify, restore, backup, replicate, no Prefect.

A recovery must not wait for an orchestrator, so this needs the engine and the standard library only. It
reads the same configuration as `strongroom` and ends with the same exit statuses and errors. For example:

    STRONGROOM_DESTINATION_URL=postgresql://… python -m strongroom restore latest
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from strongroom.clock import system_clock
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import (
    CommandMisused,
    CopiesMissing,
    IntegrityFailed,
    VerificationFailed,
)
from strongroom.format.documents import Finding
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import CopiesReport
from strongroom.operations.messages import (
    BackupReport,
    IntegrityReport,
    JudgeRestore,
    Level,
    ListBackups,
    ListReport,
    RecoveryReport,
    ShowBackup,
    VerificationReport,
    VerifyBackup,
)
from strongroom.terminal import (
    TO_HELP,
    Answer,
    answering,
    check_backup_name,
    destination_variable,
    find_settings,
)

_NOW = Deadline.never
_PROGRESS_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with answering(as_json="--json" in words, debug="--debug" in words) as answer:
        options = _parser().parse_args(words)
        environ = dict(os.environ) | destination_variable(getattr(options, "to", None))
        _COMMANDS[options.command](find_settings(options.config, environ), options, answer)
    return answer.status


# ------------------------------------------------------------------------------------------ commands


def _list(settings: Settings, _options: argparse.Namespace, answer: Answer) -> None:
    from strongroom.operations.list_backups import failure_of, list_backups

    report = list_backups(settings, ListBackups(), Context(_NOW()))
    if not answer.as_json:
        _lines(answer, [_brief_line(report)])
        _tell(report.findings)
    error = failure_of(report)
    if error is not None:
        answer.fail(error, report)
    else:
        answer.give(report)


def _show(settings: Settings, options: argparse.Namespace, answer: Answer) -> None:
    from strongroom.operations.show_backup import show_backup

    report = show_backup(settings, ShowBackup(backup=check_backup_name(options.backup)), Context(_NOW()))
    if not answer.as_json:
        facts = [
            ("id", report.brief.id),
            ("kind", f"{report.brief.kind} ({report.brief.reason})"),
            ("parent", report.brief.parent),
            ("source", report.brief.source),
            ("instant", report.brief.snapshot_at.isoformat()),
            ("stored bytes", report.brief.bytes_stored),
            ("bytes to restore", report.bytes_reached),
        ]
        _lines(answer, [f"{name}: {value}" for name, value in facts])
        _lines(answer, [f"{table.rows:>12}  {_plain(table.table)}" for table in report.tables])
        _tell(report.findings)
    answer.give(report)


def _verify(settings: Settings, options: argparse.Namespace, answer: Answer) -> None:
    report = _proof(settings, check_backup_name(options.backup), options.level)
    if not report.passed:
        _tell(report.findings)
        answer.fail(_not_proven(report), report)
        return
    if not answer.as_json:
        proven = f"{report.objects_checked} objects, {report.rows_checked} rows"
        _lines(answer, [f"{report.backup} is proven to the level {report.level}: {proven}"])
    answer.give(report)


def _backup(settings: Settings, options: argparse.Namespace, answer: Answer) -> None:
    from strongroom.whole import back_up

    deadline = Deadline.after(settings.backup.max_backup_duration, "backup.max_backup_duration")
    report: BackupReport = back_up(_runner(settings, deadline), kind=options.kind)
    if not answer.as_json:
        stored = f"{report.totals.rows} rows, {report.totals.bytes_stored} bytes stored"
        _lines(answer, [f"{report.backup} is listed: {report.kind} ({report.reason}), {stored}"])
        _tell(report.findings)
    if len(settings.repository.locations) > 1:
        _tell(_copies(settings).findings)
    answer.give(report)


def _copies(settings: Settings) -> CopiesReport:
    """Copy to every location; one that cannot be copied to is told, and fails no backup that is listed."""
    from strongroom.whole import copy_to

    limit = settings.repository.replication_timeout
    runner = _runner(settings, Deadline.after(limit, "repository.replication_timeout"))
    return copy_to(runner, [one.name for one in settings.repository.locations if not one.read_only])


def _replicate(settings: Settings, _options: argparse.Namespace, answer: Answer) -> None:
    report = _copies(settings)
    _tell(report.findings)
    if report.findings:
        reasons = "; ".join(f"{found.object}: {found.observed}" for found in report.findings)
        failed, right = len(report.findings), len(report.places)
        answer.fail(CopiesMissing(failed=failed, locations=right, reasons=reasons), report)
        return
    if not answer.as_json:
        copied = [
            f"{one.location} lists {one.listed}, {len(one.backups)} of them new" for one in report.places
        ]
        _lines(answer, copied)
    answer.give(report)


def _restore(settings: Settings, options: argparse.Namespace, answer: Answer) -> None:
    from strongroom.whole import restore

    backup = check_backup_name(options.backup)
    started = time.monotonic()
    deadline = Deadline.after(settings.recovery.max_recovery_time, "recovery.max_recovery_time")
    settings.destination_conninfo()
    proof = _proof(settings, backup, "structure")
    if not proof.passed:
        _tell(proof.findings)
        answer.fail(_not_proven(proof), proof)
        return
    runner = _runner(settings, deadline)
    plan, steps = restore(runner, proof.backup)
    _say("judging the restored data")
    integrity = runner.run("judge_restore", JudgeRestore(backup=plan.backup), IntegrityReport)
    report = RecoveryReport(
        backup=plan.backup,
        destination=plan.destination,
        passed=integrity.passed,
        tables=plan.tables,
        rows=sum(step.rows for step in steps),
        recovery_lag_seconds=(system_clock() - plan.snapshot_at).total_seconds() if plan.snapshot_at else 0.0,
        recovery_duration_seconds=time.monotonic() - started,
        steps=steps,
        integrity=integrity,
        findings=(*plan.findings, *(finding for step in steps for finding in step.findings)),
    )
    _tell((*report.findings, *integrity.findings))
    if not report.passed:
        answer.fail(_not_equal(integrity), report)
        return
    if not answer.as_json:
        _lines(
            answer,
            [f"{report.backup} is restored into {report.destination}: {report.rows} rows, judged equal"],
        )
    answer.give(report)


_COMMANDS = {
    "list": _list,
    "show": _show,
    "verify": _verify,
    "backup": _backup,
    "replicate": _replicate,
    "restore": _restore,
}


# ------------------------------------------------------------------------------------------ words


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints leave as coded errors."""

    def error(self, message: str) -> NoReturn:
        raise CommandMisused(problem=f"{message[:1].upper()}{message[1:]}.", command=self.prog)


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="the configuration (strongroom.toml)")
    shared.add_argument("--json", action="store_true", help="answer with one JSON document")
    shared.add_argument("--debug", action="store_true", help="show the stack of an error")
    parser = _Parser(prog="python -m strongroom", description="Strongroom without Prefect.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, explanation: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=explanation, description=explanation, parents=[shared])

    add("list", "List all backups, newest last.")
    add("show", "Show one backup.").add_argument("backup", nargs="?", default="latest", metavar="ID|latest")
    verify = add("verify", "Verify one backup.")
    verify.add_argument("backup", nargs="?", default="latest", metavar="ID|latest")
    verify.add_argument("--level", choices=("structure", "content"), default="structure")
    backup = add("backup", "Take a backup.")
    backup.add_argument("--kind", choices=("auto", "full", "differential", "incremental"), default="auto")
    add("replicate", "Copy backups to the locations that should have them and do not.")
    restore = add("restore", "Restore a backup into an empty database.")
    restore.add_argument("backup", metavar="ID|latest")
    restore.add_argument("--to", metavar="DSN", help=TO_HELP)
    return parser


def _runner(settings: Settings, deadline: Deadline) -> Any:
    from strongroom.runners import InChildren

    told = [0.0]

    def tell(progress: Progress) -> None:
        if time.monotonic() - told[0] >= _PROGRESS_SECONDS:
            told[0] = time.monotonic()
            _say(f"{_plain(progress.label)}: {progress.done} of {progress.total} {progress.unit}")

    return InChildren(settings, deadline, tell)


def _proof(settings: Settings, backup: str, level: Level) -> VerificationReport:
    deadline = Deadline.after(settings.verification.timeout, "verification.timeout")
    request = VerifyBackup(backup=backup, level=level)
    report: VerificationReport = _runner(settings, deadline).run("verify_backup", request, VerificationReport)
    return report


def _not_proven(report: VerificationReport) -> VerificationFailed:
    first = (
        f"{report.findings[0].code} {report.findings[0].object}" if report.findings else "no finding given"
    )
    return VerificationFailed(
        backup=report.backup, level=report.level, findings=len(report.findings), first=first
    )


def _not_equal(report: IntegrityReport) -> IntegrityFailed:
    return IntegrityFailed(
        backup=report.backup,
        failed=sum(suite.failed for suite in report.suites),
        expectations=sum(suite.expectations for suite in report.suites),
        first=f"{report.findings[0].code} {report.findings[0].object}" if report.findings else "none given",
    )


def _brief_line(report: ListReport) -> str:
    rows = [("ID", "KIND", "SOURCE", "TAKEN", "STORED BYTES", "ROWS", "PARENT", "REASON")]
    rows += [
        (
            brief.id,
            brief.kind,
            brief.source,
            brief.snapshot_at.isoformat(" ", "seconds"),
            str(brief.bytes_stored),
            str(brief.rows),
            brief.parent or "-",
            brief.reason,
        )
        for brief in report.backups
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _lines(answer: Answer, lines: Sequence[str]) -> None:
    answer.stream.write("".join(f"{line}\n" for line in lines))
    answer.stream.flush()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _tell(findings: Sequence[Finding]) -> None:
    for finding in findings:
        seen = (
            f"expected {finding.expected}, observed {finding.observed}"
            if finding.expected
            else finding.observed
        )
        _say(f"{finding.severity} {finding.code} {_plain(finding.object)}: {_plain(seen)} {finding.advice}")


def _plain(name: str) -> str:
    """Return a name without what could steer a terminal: the source's names hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


if __name__ == "__main__":
    sys.exit(main())
