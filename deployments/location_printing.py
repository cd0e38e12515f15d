"""How reports about locations and keys look on a terminal. As `deployments.printing`."""

from rich.console import Console

from deployments.printing import instant, new_table, number, plain, print_facts, print_findings
from flows.wording import duration, size
from strongroom.operations.key_messages import KeysReport, RotationReport
from strongroom.operations.location_messages import (
    CopiesReport,
    HoldReport,
    RepairedReport,
    RetentionPlanReport,
    RetentionReport,
)


def print_copies(console: Console, report: CopiesReport) -> None:
    """Show what was copied to each location."""
    table = new_table(
        "location", "backups copied", "lists", "objects copied", "already there", "bytes", "time"
    )
    for place in report.places:
        table.add_row(
            place.location,
            number(len(place.backups)),
            number(place.listed),
            number(place.objects_copied),
            number(place.objects_there),
            size(place.bytes_copied),
            duration(place.seconds),
        )
    console.print(table)
    print_findings(console, report.findings)
    for place in report.places:
        print_findings(console, place.findings)


def print_repair(console: Console, report: RepairedReport) -> None:
    """Show what is missing or damaged, and what was done about it."""
    plan, done = report.plan, report.done
    if plan.mends:
        table = new_table("location", "object", "is", "good copy at", "repaired")
        for one in plan.mends:
            state = "not yet" if report.dry_run else "yes" if one in done.repaired else "NO"
            table.add_row(one.location, one.name, one.problem, one.source or "no location", state)
        console.print(table)
    verb = "would be copied" if report.dry_run else "copied"
    copied = plan.bytes if report.dry_run else done.bytes_copied
    console.print(
        f"{number(plan.objects_looked_at)} objects looked at, {number(len(plan.mends))} missing or damaged, "
        f"{size(copied)} {verb}."
    )
    print_findings(console, (*plan.findings, *done.findings))


def print_retention(console: Console, report: RetentionReport) -> None:
    """Show the plan, and what was done of it."""
    _print_plan(console, report.plan)
    if report.dry_run:
        console.print("A dry run: nothing was changed.")
        print_findings(console, (*report.plan.held_by, *report.plan.findings))
        return
    for place in report.collected:
        console.print(
            f"{place.location}: {number(place.deleted)} objects deleted, {size(place.bytes_freed)} freed, "
            f"{number(place.waiting)} wait for the end of the grace period."
        )
        for lock in place.locked:
            console.print(f"{place.location}: {number(lock.objects)} are locked until {instant(lock.until)}.")
    if report.shredded is not None and report.shredded.keys_shredded:
        console.print(f"{number(report.shredded.keys_shredded)} data keys were shredded at every location.")
    found = [*report.plan.held_by, *report.plan.findings, *report.findings]
    found += [one for place in report.expired for one in place.findings]
    found += [one for place in report.collected for one in place.findings]
    print_findings(console, [*found, *(report.shredded.findings if report.shredded else ())])


def _print_plan(console: Console, plan: RetentionPlanReport) -> None:
    table = new_table("backup", "location", "", "because", "frees")
    for expiry in plan.expiries:
        table.add_row(
            expiry.backup, expiry.location, "expires", plain(expiry.reason), size(expiry.bytes_freed)
        )
    for expiry in plan.locked:
        until = instant(expiry.locked_until) if expiry.locked_until else "later"
        table.add_row(
            expiry.backup, expiry.location, f"locked until {until}", plain(expiry.reason), "", style="yellow"
        )
    for keep in plan.keeps:
        table.add_row(keep.backup, keep.location, "stays", plain("; ".join(keep.reasons)), "", style="dim")
    console.print(table)


def print_hold(console: Console, report: HoldReport) -> None:
    """Say what is held, or is not any more, and which locations know of it."""
    what = "is not held any more"
    if report.held:
        what = f"is held {'until ' + instant(report.until) if report.until else 'until it is released'}"
    console.print(f"{report.backup} {what}; written down at {', '.join(report.locations)}.")
    print_findings(console, report.findings)


def print_keys(console: Console, report: KeysReport) -> None:
    """Show the recovery keys and what is sealed to each."""
    table = new_table("recovery key", "", "public half", "private half", "data keys")
    for key in report.recovery_keys:
        table.add_row(
            key.id,
            key.status,
            ", ".join(key.public_files) or "–",
            ", ".join(key.private_files) or "not here",
            number(key.data_keys),
        )
    console.print(table)
    print_facts(
        console,
        {
            "operator key": report.operator_key,
            "signing key": report.signing_key,
            "data keys": f"{number(report.data_keys)}, of which {number(report.openable)} open with a key file here",
        },
    )
    print_findings(console, report.findings)


def print_rotation(console: Console, report: RotationReport) -> None:
    """Show what a rotation did."""
    print_facts(
        console,
        {
            "done": "yes" if report.passed else "NOT EVERYWHERE",
            "recovery keys": ", ".join(report.recovery_keys),
            "retired": ", ".join(report.retired) or "none",
            "data keys": f"{number(report.resealed)} of {number(report.data_keys)} sealed anew",
            "all opened with": ", ".join(report.proven) or "no new key: their private halves are not here",
            "old forms deleted": number(report.forms_deleted),
            "locations": ", ".join(report.locations),
            "time": duration(report.seconds),
        },
    )
    print_findings(console, report.findings)
