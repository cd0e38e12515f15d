"""The evidence of a drill as one HTML page: for people, for print, for the file of an auditor. Pure.

The page is complete in itself and loads nothing: no script, no font, no picture, no address. All that comes out of a
database, names of tables above all, is escaped.
"""

import html
from collections.abc import Iterable, Sequence

from strongroom.drill.evidence import detection_percent, is_equal, undetected
from strongroom.format.documents import Finding
from strongroom.format.records import DrillRecord, DrillTable

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2.5rem auto; max-width: 62rem; padding: 0 1rem; color: #1c2024; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.verdict { display: inline-block; padding: .25rem .8rem; border-radius: .3rem; font-weight: 600; border: 2px solid; }
.good { color: #14643a; } .bad { color: #9d1c1c; } .quiet { color: #5b636b; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d5d9dd; vertical-align: top; }
th { font-weight: 600; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .85em; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; }
  tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""

_RANK = {"critical": 0, "error": 1, "warning": 2, "info": 3}


def render_page(record: DrillRecord) -> str:
    """Return the page of a drill."""
    title = f"Drill {record.drill} of {record.source}"
    verdict = ("good", "PASSED") if record.passed else ("bad", "FAILED")
    parts = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="verdict {verdict[0]}">{verdict[1]}</p>',
        _facts(record),
        _section("Objectives", _objectives(record)),
        _section("Steps", _steps(record)),
        _section("Damage that was done to a copy", _damages(record)) if record.damages else "",
        _section("Findings", _findings(record.findings)),
        _section("Tables, beside the backup's baseline", _tables(record.tables)),
        _FOOT,
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


_FOOT = (
    '<p class="quiet">This page is part of a record that is signed and kept in the repository. A copy of it proves '
    "nothing by itself: <code>strongroom drill --list</code> checks the signatures.</p>"
)


def _facts(record: DrillRecord) -> str:
    major, minor = divmod(record.server_version, 10_000)
    return _table(
        (),
        [
            ("source", _text(record.source)),
            ("backup", f"<code>{_text(record.backup)}</code>"),
            ("recovery point", _text(f"{record.recovery_point:%Y-%m-%d %H:%M:%S} UTC")),
            ("drilled", _text(f"{record.at:%Y-%m-%d %H:%M:%S} UTC, by {record.by}")),
            ("into", f"Postgres {major}.{minor}" if record.server_version else "no server"),
            (
                "suites",
                f"{record.suites_passed} of {record.suites} passed, {record.expectations} expectations",
            ),
            ("tables", f"{_equal(record.tables)} of {len(record.tables)} equal the baseline, row for row"),
        ],
    )


def _objectives(record: DrillRecord) -> str:
    rows = [
        _objective(
            "recovery lag (what would have been lost)",
            record.recovery_lag_seconds,
            record.recovery_lag_objective_seconds,
        ),
        _objective(
            "recovery duration",
            record.recovery_duration_seconds,
            record.recovery_duration_objective_seconds,
        ),
    ]
    return _table(("", "measured", "objective", ""), rows)


def _objective(name: str, measured: float, objective: float) -> tuple[str, str, str, str]:
    if not objective:
        return name, _seconds(measured), "none", ""
    kept = measured <= objective
    return name, _seconds(measured), _seconds(objective), _mark(kept, "kept" if kept else "missed")


def _steps(record: DrillRecord) -> str:
    return _table(("step", "#time"), [(_text(step.name), _seconds(step.seconds)) for step in record.steps])


def _damages(record: DrillRecord) -> str:
    rows = [
        (
            _text(outcome.damage),
            _mark(bool(outcome.noticed_by), outcome.noticed_by or "NOT NOTICED"),
            _text(outcome.observed),
        )
        for outcome in record.damages
    ]
    noticed = len(record.damages) - len(undetected(record))
    rate = f"<p>{noticed} of {len(record.damages)} noticed: {detection_percent(record):g} %.</p>"
    return rate + _table(("damage", "noticed by", "what was done"), rows)


def _tables(tables: Sequence[DrillTable]) -> str:
    rows = []
    for table in tables:
        same = is_equal(table)
        seen = "not measured" if table.rows < 0 else str(table.rows)
        digest = f"<code>{_text(table.digest)}</code>"
        if not same:
            digest += f"<br>expected <code>{_text(table.digest_expected)}</code>"
        rows.append(
            (
                _text(table.table),
                str(table.rows_expected),
                seen,
                digest,
                _mark(same, "equal" if same else "DIFFERS"),
            )
        )
    return _table(("table", "#rows in the backup", "#rows restored", "digest", ""), rows)


def _findings(findings: Sequence[Finding]) -> str:
    ordered = sorted(findings, key=lambda finding: _RANK[finding.severity])
    rows = [
        (
            _mark(finding.severity in {"info", "warning"}, finding.severity),
            f"<code>{_text(finding.code)}</code>",
            _text(finding.object),
            (f"expected {_text(finding.expected)}; " if finding.expected else "") + _text(finding.observed),
            _text(finding.advice),
        )
        for finding in ordered
    ]
    return _table(("", "code", "object", "observed", "advice"), rows)


# --------------------------------------------------------------------------------------- pieces of HTML


def _section(title: str, body: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{body}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are HTML already; a head that begins with # is that of numbers."""
    lines = list(rows)
    if not lines:
        return '<p class="quiet">None.</p>'
    numbers = [head.startswith("#") for head in heads]
    top = "".join(
        f"<th{_class(is_number)}>{_text(head.lstrip('#'))}</th>"
        for head, is_number in zip(heads, numbers, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_class(numbers[place] if place < len(numbers) else False)}>{cell}</td>"
            for place, cell in enumerate(line)
        )
        + "</tr>\n"
        for line in lines
    )
    return "<table>\n" + (f"<tr>{top}</tr>\n" if heads else "") + body + "</table>"


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _mark(is_good: bool, text: str) -> str:
    return f'<span class="{"good" if is_good else "bad"}">{_text(text)}</span>'


def _text(value: object) -> str:
    return html.escape(str(value))


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _equal(tables: Sequence[DrillTable]) -> int:
    return sum(map(is_equal, tables))
