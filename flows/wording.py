"""How reports are worded for people: sizes, durations, tables, findings."""

from collections.abc import Iterable, Mapping, Sequence

from strongroom.format.documents import Finding
from strongroom.operations.recovery_messages import ApplyReport

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(number: float) -> str:
    """Word a number of bytes: "12 B", "1.5 MiB"."""
    for unit in _UNITS[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"


def duration(seconds: float) -> str:
    """Word a duration: "0.4 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"


def writers_waited(applied: ApplyReport) -> str:
    """Word for how long writers of the tables waited, and of the rows that differed if that was longer."""
    tables, rows = duration(applied.lock_seconds), duration(applied.rows_locked_seconds)
    is_longer = applied.rows_locked_seconds > applied.lock_seconds and rows != tables
    return f"{tables}, for the rows that differed {rows}" if is_longer else tables


def ratio(whole: float, part: float) -> str:
    """Word how many times smaller the part is than the whole: "4.2 ×"."""
    return f"{whole / part:.1f} ×" if part else "–"


def facts(pairs: Mapping[str, object]) -> str:
    """Word facts as a Markdown table of two columns."""
    lines = [f"| {cell(name)} | {cell(value)} |" for name, value in pairs.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def findings(found: Sequence[Finding], most: int = 50) -> str:
    """Word findings as a Markdown list, the worst first."""
    if not found:
        return "No findings."
    rank = {"critical": 0, "error": 1, "warning": 2, "info": 3}
    ordered = sorted(found, key=lambda finding: rank[finding.severity])
    lines = [
        f"- **{f.severity}** `{f.code}` {cell(f.object)}: {_difference(f)} {f.advice}" for f in ordered[:most]
    ]
    if len(found) > most:
        lines.append(f"- … and {len(found) - most} more")
    return "\n".join(lines)


def sections(parts: Iterable[tuple[str, str]]) -> str:
    """Join headed parts to one Markdown document."""
    return "\n\n".join(f"{heading}\n\n{body}" for heading, body in parts)


def cell(value: object) -> str:
    """Word a value so that it does not break a Markdown table: names may hold anything."""
    return str(value).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _difference(finding: Finding) -> str:
    if finding.expected:
        return f"expected {cell(finding.expected)}, observed {cell(finding.observed)}."
    return f"{cell(finding.observed)}." if finding.observed else ""
