"""How plans and recoveries look on a terminal, for somebody who was woken up. As `deployments.printing`."""

from collections.abc import Iterable, Sequence

from rich.console import Console

from deployments.printing import (
    instant,
    new_table,
    number,
    plain,
    print_facts,
    print_findings,
    print_integrity,
)
from flows.wording import duration, writers_waited
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable, TableEstimate
from strongroom.operations.messages import Message
from strongroom.operations.recovery_messages import (
    ApplyReport,
    CleanReport,
    ConfirmReport,
    DifferencesReport,
    InPlaceReport,
    RecoveriesReport,
    RecoveryCheckReport,
    RowDifference,
    RowsShown,
    StagingReport,
    TableDifferences,
    ValidationReport,
)
from strongroom.recovery.planning.wording import counted, span

_RISKS = {"low": "green", "medium": "yellow", "high": "bold red"}
_DESTINATIONS = {
    "source": "in place, in the live database",
    "environment": "into the empty database of the destination settings",
    "throw-away": "into a throw-away server",
}
_MOST_TABLES = 12


def print_plan(console: Console, plan: RecoveryPlan, command: str = "") -> None:
    """Show a plan: what matters most first, the command that carries it out last."""
    console.print(
        f"Plan {plan.id} for {plan.scenario.replace('_', ' ')}; nothing was done yet.", style="bold"
    )
    print_facts(console, _facts(plan))
    console.print(
        f"risk {plan.risk.upper()}: {plain(plan.risk_reason)}", style=_RISKS[plan.risk], soft_wrap=True
    )
    _print_steps(console, plan)
    _print_tables(console, plan)
    if plan.not_restored:
        console.print("Not restored:", style="bold")
        for what in plan.not_restored:
            console.print(f"  – {plain(what)}", soft_wrap=True)
    print_findings(console, plan.findings)
    if command:
        console.print()
        console.print("To carry it out:", style="bold")
        console.print(f"  {plain(command)}", soft_wrap=True)


def _facts(plan: RecoveryPlan) -> dict[str, str]:
    lag, objective = plan.recovery_lag_seconds, plan.recovery_lag_objective_seconds
    missed = ", MISSED" if objective and lag > objective else ""
    limit = plan.recovery_duration_objective_seconds
    return {
        "source": plain(plan.source),
        "recovery point": instant(plan.recovery_point),
        "backup": f"{plan.backup} ({'proven' if plan.proven else 'NOT PROVEN'})",
        "because": plain(plan.why),
        "how": f"{plan.strategy}, {_DESTINATIONS[plan.destination]}",
        "downtime": plain(plan.estimate_basis) or f"about {span(plan.estimated_downtime_seconds)}",
        "recovery lag": f"{span(lag)} (objective {span(objective)}{missed})",
        "time limit": span(limit) if limit else "none",
        "way back": _way_back(plan),
    }


def _way_back(plan: RecoveryPlan) -> str:
    if plan.undoes:
        return f"this is the way back from {plan.undoes}"
    if plan.destination != "source":
        return "the source is not touched"
    if not plan.emergency_backup:
        return "NONE: no emergency backup is taken"
    if not plan.rollback_on_error:
        return "an emergency backup, to be recovered from by hand"
    return f"an emergency backup, rolled back to by itself ({plan.rollback_strategy})"


def _print_steps(console: Console, plan: RecoveryPlan) -> None:
    table = new_table("minutes", "phase", "step", "", "what undoes it")
    begin = 0.0
    for step in plan.steps:
        end = begin + step.budget_seconds
        table.add_row(
            f"{begin / 60:g}–{end / 60:g}",
            step.phase,
            plain(step.title),
            "critical" if step.critical else "",
            plain(step.rollback),
        )
        begin = end
    console.print(table)


def _print_tables(console: Console, plan: RecoveryPlan) -> None:
    table = new_table("table", "rows then", "rows now", "condition")
    wheres = {one.label: one for one in plan.tables}
    shown = _largest(plan.estimates)
    for estimate in shown:
        now = number(estimate.rows_live) if estimate.rows_live >= 0 else "not counted"
        table.add_row(plain(estimate.table), number(estimate.rows), now, _condition(wheres[estimate.table]))
    console.print(table)
    if len(shown) < len(plan.estimates):
        more = len(plan.estimates) - len(shown)
        console.print(f"and {number(more)} smaller tables; --json has them all.", style="dim")


def _largest(estimates: Sequence[TableEstimate]) -> list[TableEstimate]:
    """Return the estimates of the largest tables, in the plan's order."""
    largest = sorted(estimates, key=lambda one: -max(one.rows, one.rows_live))[:_MOST_TABLES]
    return [one for one in estimates if one in largest]


def _condition(table: ScopedTable) -> str:
    return plain(table.where) if table.where else "all rows"


# ------------------------------------------------------------------------------------------ watching


def sentence_of_recovery(report: Message) -> str:
    """Say in a line what a step of a recovery in place did; nothing for a step that goes without saying."""
    line = ""
    match report:
        case RecoveryCheckReport():
            found = f"{counted(len(report.tables), 'table')}, {counted(len(report.findings), 'finding')}"
            line = f"checked the live database: {found}"
        case StagingReport():
            line = f"staging {counted(report.rows, 'row')} of {counted(report.tables, 'table')}"
        case DifferencesReport():
            differ = "differs" if report.total == 1 else "differ"
            line = f"compared with live: {counted(report.total, 'row')} {differ}, {duration(report.seconds)}"
        case ApplyReport() if report.already_done:
            line = f"committed already, {instant(report.committed_at)}"
        case ApplyReport():
            rows = counted(sum(table.total for table in report.tables), "row")
            line = f"committed {rows}; writers waited {writers_waited(report)}"
        case ConfirmReport():
            wrong = (
                f"{counted(report.differing, 'row')} STILL {'DIFFERS' if report.differing == 1 else 'DIFFER'}"
            )
            agrees = "live is what was wanted" if report.passed else wrong
            line = f"compared again: {agrees}, {counted(report.written_since, 'row')} written since"
        case ValidationReport():
            passed = sum(check.passed for check in report.checks)
            line = f"asked as the application would: {passed} of {len(report.checks)} checks passed"
        case _:
            pass
    return line


# ------------------------------------------------------------------------------------------ preview


def print_differences(console: Console, tables: Iterable[TableDifferences], *, done: bool = False) -> None:
    """Show what would be done to each table, or was; of tables where nothing differs, how many they are."""
    verb = "" if done else "to "
    table = new_table(
        "table", f"{verb}insert", f"{verb}change", f"{verb}delete", "of these written since", "left alone"
    )
    found = list(tables)
    differing = [one for one in found if one.total or one.kept]
    for one in differing:
        table.add_row(
            plain(one.table),
            number(one.inserts),
            number(one.changes),
            number(one.deletes),
            number(one.deletes_written_since),
            number(one.kept),
            style="red" if one.deletes_written_since else None,
        )
    if differing:
        console.print(table)
    equal = len(found) - len(differing)
    if equal:
        console.print(
            f"{'and ' if differing else ''}{counted(equal, 'table')} without differences", style="dim"
        )
    newer = sum(one.deletes_written_since for one in found)
    if newer:
        verb = "was" if newer == 1 else "were"
        what = f"{verb} deleted" if done else "would be deleted; a merge strategy keeps what is new"
        console.print(
            f"{counted(newer, 'row')} {verb} written after the recovery point and {what}.", style="bold red"
        )


def print_rows(console: Console, shown: RowsShown) -> None:
    """Show some rows that differ, as they are and as they will be."""
    for table in shown.tables:
        if table.rows:
            console.print(plain(table.table), style="bold")
        for row in table.rows:
            _print_row(console, row)


def _print_row(console: Console, row: RowDifference) -> None:
    signs = {"insert": ("+", "green"), "change": ("~", "yellow"), "delete": ("-", "red")}
    sign, style = signs[row.kind]
    console.print(f"  {sign} {row.kind} {plain(row.key)}", style=style)
    for column, before, after in row.columns:
        if row.kind == "change":
            console.print(f"      {plain(column)}: {_value(before)} → {_value(after)}", soft_wrap=True)
        else:
            value = after if row.kind == "insert" else before
            console.print(f"      {plain(column)}: {_value(value)}", soft_wrap=True)


def _value(text: str | None) -> str:
    return "null" if text is None else plain(text)


# ------------------------------------------------------------------------------------------ reports


def print_in_place(console: Console, report: InPlaceReport) -> None:
    """Show how a recovery in place ended."""
    styles = {
        "recovered": "bold green",
        "rolled-back": "bold yellow",
        "failed": "bold red",
        "left": "bold red",
    }
    console.print(f"Recovery {report.run}: {report.outcome}", style=styles[report.outcome])
    applied = report.applied
    print_facts(
        console,
        {
            "recovery point": f"{instant(report.plan.recovery_point)}, backup {report.plan.backup}",
            "emergency backup": report.emergency_backup or "none",
            **({"approved by": plain(report.approved_by)} if report.approved_by else {}),
            "recovery lag": duration(report.recovery_lag_seconds),
            "recovery duration": duration(report.recovery_duration_seconds),
            **(_applied_facts(applied) if applied else {}),
        },
    )
    if applied is not None:
        print_differences(console, applied.tables, done=True)
    if report.rollback is not None:
        console.print("Given back by the rollback:", style="bold yellow")
        print_differences(console, report.rollback.tables, done=True)
    for judged in (report.staging, report.integrity):
        if judged is not None:
            print_integrity(console, judged)
    if report.validation is not None:
        print_validation(console, report.validation)
    print_findings(console, report.findings)


def _applied_facts(applied: ApplyReport) -> dict[str, str]:
    tries = f" after {applied.lock_attempts} attempts" if applied.lock_attempts > 1 else ""
    return {
        "committed": instant(applied.committed_at),
        "writers waited": f"{writers_waited(applied)}{tries}",
        **({"sequences moved": plain(", ".join(applied.sequences_moved))} if applied.sequences_moved else {}),
    }


def print_validation(console: Console, report: ValidationReport) -> None:
    """Show each question of the system validation with its answer."""
    table = new_table("", "system check", "observed")
    for check in report.checks:
        failed = "[!]" if check.severity == "warning" else "[no]"
        sign = "[ok]" if check.passed else failed
        table.add_row(sign, plain(check.name), plain(check.observed), style=None if check.passed else "red")
    console.print(table)
    print_findings(console, report.findings)


def print_recoveries(console: Console, report: RecoveriesReport) -> None:
    """Show what is under way, and how earlier recoveries ended, the newest last."""
    run = report.under_way
    if run is None:
        console.print("No recovery is under way.")
    else:
        state = "under way" if report.is_held else "cut off"
        console.print(f"Recovery {run.run} is {state}, in the state {run.state}.", style="bold yellow")
        print_facts(console, {"emergency backup": run.emergency_backup or "none yet"})
        if not report.is_held:
            console.print(f"Go on: strongroom recover run\nUndo it: strongroom recover rollback {run.run}")
            console.print("Let go of it: strongroom recover clean")
    if report.earlier:
        table = new_table("run", "ended", "outcome", "scenario", "strategy", "rows", "time", "way back", "by")
        for brief in report.earlier:
            table.add_row(
                brief.run,
                instant(brief.at),
                brief.outcome,
                brief.scenario,
                brief.strategy,
                number(brief.rows),
                duration(brief.seconds),
                brief.emergency_backup or "–",
                plain(brief.by),
            )
        console.print(table)
    print_findings(console, report.findings)


def print_clean(console: Console, report: CleanReport) -> None:
    """Say what was removed, and whether that run had changed anything."""
    if not report.removed:
        console.print("There was nothing to remove.")
        return
    console.print(f"Removed {plain(', '.join(report.removed))}, left by {report.run or 'nobody known'}.")
    if report.changed:
        console.print("That run had committed its changes: they stay.", style="bold yellow")
    else:
        console.print("That run had changed nothing.")
