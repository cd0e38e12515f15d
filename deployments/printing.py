"""How reports look on a terminal: tables and sentences. Knows nothing of how they came about.

Names come out of somebody's database, so markup in them is not obeyed and control characters are shown.
"""

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

from flows.wording import duration, ratio, size
from strongroom.format.documents import CaptureTotals, Finding
from strongroom.operations.messages import (
    BackupReport,
    CheckReport,
    InitReport,
    IntegrityReport,
    ListReport,
    RecoveryReport,
    ShowReport,
    VerificationReport,
)

_WIDTH_OF_PIPES = 220
"""Columns where nobody looks at the output, so that no id is cut."""

_STYLES = {"critical": "bold red", "error": "red", "warning": "yellow", "info": "dim"}


def console_on(stream: IO[str] | None = None) -> Console:
    """Return a console on a stream, by default standard error."""
    stream = stream or sys.stderr
    width = None if stream.isatty() else _WIDTH_OF_PIPES
    return Console(file=stream, markup=False, emoji=False, highlight=False, width=width)


def plain(text: object) -> str:
    """Return text without what could steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def instant(moment: dt.datetime) -> str:
    """Word an instant, to the second."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def number(count: int) -> str:
    """Word a count with its thousands apart."""
    return f"{count:,}".replace(",", " ")


# ------------------------------------------------------------------------------------------ reports


def print_init(console: Console, report: InitReport) -> None:
    """Say what was made, and which file belongs elsewhere."""
    known = [name for name in report.locations if name not in report.joined]
    if known:
        console.print(f"Repository {report.repository} was at {', '.join(known)} already.")
        console.print(
            f"It is at {', '.join(report.joined)} now, too: `strongroom replicate` copies the backups."
        )
    else:
        console.print(f"Made repository {report.repository} at {report.location}.")
        if report.joined[1:]:
            console.print(f"Made it at {', '.join(report.joined[1:])} too: each backup is copied there.")
    print_findings(console, report.findings)
    made = "Made its keys in" if report.keys_made else "It uses the keys that were already in"
    console.print(f"{made} {report.keys}.")
    console.print()
    if report.take_away:
        _print_take_away(console, report)
    console.print(f"Must stay here, for backups: {', '.join(report.stay)}", style="bold")


def _print_take_away(console: Console, report: InitReport) -> None:
    console.print(f"Take away to a safe place: {report.take_away}", style="bold yellow")
    console.print(
        "It opens every backup, together with its passphrase; without both, nobody ever reads a row again. Copy it, "
        "with its passphrase and with copies of operator.key and signing.pub, to where neither a thief of "
        "this machine nor a fire reaches it. Then delete it here: backups do not need it.",
        soft_wrap=True,
    )


def print_check(console: Console, report: CheckReport) -> None:
    """Show every question of the preflight with its answer, and what to do where it is no."""
    table = new_table("", "check", "observed", "remedy")
    for check in report.checks:
        failed = "[!]" if check.severity == "warning" else "[no]"
        style = None if check.passed else _STYLES[check.severity]
        table.add_row(
            "[ok]" if check.passed else failed,
            plain(check.name),
            plain(check.observed),
            "" if check.passed else plain(check.remedy),
            style=style,
        )
    console.print(table)


def print_list(console: Console, report: ListReport) -> None:
    """Show the backups, newest last."""
    table = new_table(
        "id", "kind", "class", "source", "taken", "stored", "rows", "parent", "reason", "at", "held"
    )
    for name in ("id", "taken"):
        _column(table, name).no_wrap = True
    for name in ("stored", "rows"):
        _column(table, name).justify = "right"
    for brief in report.backups:
        table.add_row(
            brief.id,
            brief.kind,
            brief.backup_class,
            plain(brief.source),
            instant(brief.snapshot_at),
            size(brief.bytes_stored),
            number(brief.rows),
            brief.parent or "–",
            plain(brief.reason),
            ", ".join(brief.locations),
            plain(brief.held),
        )
    if not report.backups:
        console.print("The repository lists no backup.")
    elif _natural_width(console, table) <= console.width:
        console.print(table)
    else:
        _print_list_narrowly(console, report)
    print_findings(console, report.findings)


def _print_list_narrowly(console: Console, report: ListReport) -> None:
    """Show each backup in two lines, so that nothing is cut or folded into slivers."""
    for brief in report.backups:
        console.print(
            f"{brief.id}  {brief.kind:<12} {instant(brief.snapshot_at)} {size(brief.bytes_stored):>10} "
            f"{number(brief.rows):>12} rows",
            soft_wrap=True,
        )
        parent = f", parent {brief.parent}" if brief.parent else ""
        held = f"; held {plain(brief.held)}" if brief.held else ""
        console.print(
            f"    {brief.backup_class} backup of {plain(brief.source)}{parent}: {plain(brief.reason)}; "
            f"at {', '.join(brief.locations)}{held}",
            style="dim",
            soft_wrap=True,
        )


def print_show(console: Console, report: ShowReport) -> None:
    """Show everything about one backup."""
    brief, snapshot = report.brief, report.snapshot
    print_facts(
        console,
        {
            "backup": brief.id,
            "kind": f"{brief.kind} ({plain(brief.reason)})",
            "class": brief.backup_class,
            "parent": brief.parent or "none",
            "base": report.base or "none",
            "source": f"{plain(brief.source)}, database {plain(snapshot.database)}",
            "server": f"Postgres {snapshot.server_version // 10000}.{snapshot.server_version % 10000}, "
            f"system {snapshot.system_identifier}, timeline {snapshot.timeline}",
            "instant": f"{instant(brief.snapshot_at)}, at {snapshot.wal_lsn}, "
            f"transactions {snapshot.xmin} to {snapshot.xmax}",
            "ran": f"{instant(report.started_at)} to {instant(report.finished_at)}",
            **_totals(report.totals),
            "restore reads": f"{size(report.bytes_reached)} in {number(report.objects)} objects",
            "also holds": ", ".join([f"{report.sequences} sequences", *report.collections]),
        },
    )
    table = new_table("table", "rows", "reused", "read from scratch because", "digest")
    _column(table, "rows").justify = _column(table, "reused").justify = "right"
    for entry in report.tables:
        reused = "unknown" if entry.rows_reused is None else number(entry.rows_reused)
        name = plain(entry.table) + (" (managed)" if entry.managed else "")
        table.add_row(name, number(entry.rows), reused, plain(entry.scratch_reason), entry.digest)
    console.print(table)
    print_findings(console, report.findings)


def print_backup(console: Console, report: BackupReport) -> None:
    """Show what a backup cost and kept."""
    print_facts(
        console,
        {
            "backup": report.backup,
            "kind": f"{report.kind} ({plain(report.reason)})",
            "parent": report.parent or "none",
            "instant": instant(report.snapshot_at),
            **_totals(report.totals),
            **({"listed at": ", ".join(report.locations)} if report.locations else {}),
        },
    )
    print_findings(console, report.findings)


def print_verification(console: Console, report: VerificationReport) -> None:
    """Show what was verified, and what was found."""
    print_facts(
        console,
        {
            "backup": report.backup,
            "level": report.level,
            "proven": "yes" if report.passed else "NO",
            "score": f"{report.score} of 100",
            "objects": f"{number(report.objects_checked)} ({size(report.bytes_checked)})",
            **({"rows": number(report.rows_checked)} if report.level == "content" else {}),
            "time": duration(report.seconds),
        },
    )
    print_findings(console, report.findings)


def print_recovery(console: Console, report: RecoveryReport) -> None:
    """Show what was restored, how long it took, and how it was judged."""
    print_facts(
        console,
        {
            "backup": report.backup,
            "destination": plain(report.destination),
            "restored": f"{number(report.rows)} rows in {number(report.tables)} tables",
            "recovery lag": duration(report.recovery_lag_seconds),
            "recovery duration": duration(report.recovery_duration_seconds),
        },
    )
    print_findings(console, report.findings)
    if report.integrity is not None:
        print_integrity(console, report.integrity)


def print_integrity(console: Console, report: IntegrityReport) -> None:
    """Show how the suites ended."""
    failed = [suite.suite for suite in report.suites if not suite.passed]
    print_facts(
        console,
        {
            "suites": f"{len(report.suites) - len(failed)} of {len(report.suites)} passed, "
            f"{sum(suite.expectations for suite in report.suites)} expectations",
            "rows": f"{number(report.rows_observed)} of {number(report.rows_expected)} "
            f"(data loss {report.data_loss_percent:g} %)",
            **({"failed": plain(", ".join(failed))} if failed else {}),
            **({"Data Docs": report.data_docs} if report.data_docs else {}),
        },
    )
    print_findings(console, report.findings)


# ------------------------------------------------------------------------------------------ parts


def print_facts(console: Console, facts: Mapping[str, str]) -> None:
    """Show names and values in two columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Show findings, the worst first."""
    for finding in sorted(findings, key=lambda finding: list(_STYLES).index(finding.severity)):
        seen = f"expected {plain(finding.expected)}, observed " if finding.expected else ""
        console.print(
            f"{finding.severity} {finding.code} {plain(finding.object)}: {_sentence(seen + plain(finding.observed))} "
            f"{plain(finding.advice)}".rstrip(),
            style=_STYLES[finding.severity],
            soft_wrap=True,
        )


def _sentence(text: str) -> str:
    """End text with a full stop, unless it has an end: what follows is another sentence."""
    return text if not text or text[-1] in ".!?:" else f"{text}."


def _totals(totals: CaptureTotals) -> dict[str, str]:
    return {
        "tables": number(totals.tables),
        "rows": f"{number(totals.rows)}, of which {number(totals.rows_read)} were read",
        "extents": f"{number(totals.extents_reused)} of {number(totals.extents)} reused",
        "bytes": f"{size(totals.bytes_scanned)} scanned, {size(totals.bytes_moved)} moved, "
        f"{size(totals.bytes_stored)} stored ({ratio(totals.bytes_raw, totals.bytes_stored)} smaller)",
        "time": f"{duration(totals.wall_seconds)} ({duration(totals.cpu_seconds)} of processor)",
    }


def new_table(*columns: str) -> Table:
    """Make a table with these headings."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _natural_width(console: Console, table: Table) -> int:
    """Return how wide a table is if nothing in it is folded."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def _column(table: Table, header: str) -> Column:
    return next(column for column in table.columns if column.header == header)
