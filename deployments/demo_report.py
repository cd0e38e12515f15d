"""What the demo reports: each step with its time, what it proved, and how it looks at the end."""

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from deployments.printing import number
from flows.wording import duration, ratio, size
from strongroom.operations.messages import BackupReport


class Step(msgspec.Struct, frozen=True):
    """A step of the demo and how long it took."""

    name: str
    seconds: float


class Proof(msgspec.Struct, frozen=True):
    """A claim, whether it came out true, and what was seen."""

    claim: str
    holds: bool
    observed: str


class DemoReport(msgspec.Struct, frozen=True):
    """The whole demo. `passed` is true if every claim holds."""

    passed: bool
    full: BackupReport
    incremental: BackupReport
    rows_changed: int
    steps: tuple[Step, ...]
    proofs: tuple[Proof, ...]
    seconds: float
    folder: str = ""


def print_demo(console: Console, report: DemoReport) -> None:
    """Show the report as three tables."""
    console.print()
    console.print(_backups(report))
    console.print(_steps(report))
    console.print(_proofs(report))
    if report.folder:
        console.print(f"Kept in {report.folder}")


def _backups(report: DemoReport) -> Table:
    full, incremental = report.full.totals, report.incremental.totals
    table = Table(title="QuantForge, a trading platform on Supabase", box=box.ROUNDED, title_justify="left")
    table.add_column("backed up", style="bold")
    table.add_column(report.full.kind, justify="right")
    table.add_column(f"{report.incremental.kind}, {number(report.rows_changed)} rows later", justify="right")
    table.add_column("saved", justify="right")
    lines = (
        ("tables", number(full.tables), number(incremental.tables), ""),
        ("rows restorable", number(full.rows), number(incremental.rows), ""),
        (
            "rows read",
            number(full.rows_read),
            number(incremental.rows_read),
            ratio(full.rows_read, incremental.rows_read),
        ),
        (
            "read by the server",
            size(full.bytes_scanned),
            size(incremental.bytes_scanned),
            "",
        ),
        (
            "moved to the worker",
            size(full.bytes_moved),
            size(incremental.bytes_moved),
            ratio(full.bytes_moved, incremental.bytes_moved),
        ),
        (
            "stored, sealed",
            size(full.bytes_stored),
            size(incremental.bytes_stored),
            ratio(full.bytes_stored, incremental.bytes_stored),
        ),
        (
            "compressed",
            ratio(full.bytes_raw, full.bytes_stored),
            ratio(incremental.bytes_raw, incremental.bytes_stored),
            "",
        ),
        ("time", duration(full.wall_seconds), duration(incremental.wall_seconds), ""),
    )
    for line in lines:
        table.add_row(*line)
    return table


def _steps(report: DemoReport) -> Table:
    table = Table(box=box.ROUNDED)
    table.add_column("step", style="bold")
    table.add_column("time", justify="right")
    for step in report.steps:
        table.add_row(step.name, duration(step.seconds))
    table.add_section()
    table.add_row("all of it", duration(report.seconds))
    return table


def _proofs(report: DemoReport) -> Table:
    table = Table(box=box.ROUNDED)
    table.add_column("proven")
    table.add_column("claim", style="bold", overflow="fold")
    table.add_column("seen", overflow="fold")
    for proof in report.proofs:
        style = "green" if proof.holds else "bold red"
        table.add_row("yes" if proof.holds else "NO", proof.claim, proof.observed, style=style)
    return table
