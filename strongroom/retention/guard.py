"""The damage guard: signs that the source, not the policy, is what went wrong. Pure.

Somebody who empties or encrypts tables in place makes backups that are perfect copies of a ruin. While there is
such a sign nothing of that source expires, until a person has looked and accepted the newest backup as the one
to compare with from then on. For example:

    guard_findings(backups_of_one_source, GuardLimits(), now, accepted="20261123-…")

Rows of the newest backup are compared with the most that any backup since the accepted one held: loss in small
steps adds up, and a ruin does not become normal by being backed up often. Encrypted bytes hardly compress, so
each backup is compared with those of its kind before it.
"""

import datetime as dt
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from strongroom.format.documents import Finding
from strongroom.retention.facts import BackupFacts

_PEERS = 20
"""Backups of one kind that a compression ratio is compared with: it may drift over a year, not in a day."""

_ADVICE = (
    "Look at the source. If this is as it should be, accept backup {backup}; nothing of the source expires "
    "until then."
)


@dataclass(frozen=True)
class GuardLimits:
    """From where on something counts as damage.

    `collapse` is the part of a table's rows, or of all rows, that went, where there were at least `least_rows`;
    `least_emptied` the rows from which on an emptied or vanished table counts. `ratio_jump` is a factor either
    way, between backups that moved at least `least_bytes`. `quiet` is for how long nothing new is plausible;
    zero switches that check off. `exempt` tables ("schema.name") may empty as they like.
    """

    collapse: float = 0.5
    least_rows: int = 1000
    least_emptied: int = 100
    ratio_jump: float = 2.0
    least_bytes: int = 4 * 1024**2
    quiet: dt.timedelta = dt.timedelta(days=3)
    exempt: frozenset[str] = frozenset()


def guard_findings(
    backups: Sequence[BackupFacts], limits: GuardLimits, now: dt.datetime, accepted: str = ""
) -> tuple[Finding, ...]:
    """Return the signs of damage in one source's backups, oldest first; those before `accepted` do not count."""
    since = _since(backups, accepted)
    if not since:
        return ()
    return (*_collapses(since, limits), *_ratio_jumps(since, limits), *_silence(since, limits, now))


def _since(backups: Sequence[BackupFacts], accepted: str) -> Sequence[BackupFacts]:
    """Return the accepted backup and all after it; once it has expired, all after its place (ids sort by time)."""
    for place, backup in enumerate(backups):
        if backup.id == accepted:
            return backups[place:]
    return [backup for backup in backups if backup.id >= accepted] if accepted else backups


# ------------------------------------------------------------------------------------------ rows


def _collapses(backups: Sequence[BackupFacts], limits: GuardLimits) -> Iterator[Finding]:
    newest = backups[-1]
    most = max(_rows_that_count(backup, limits) for backup in backups)
    there = _rows_that_count(newest, limits)
    if most >= limits.least_rows and there <= most * (1 - limits.collapse):
        yield _finding("rows-collapsed", newest, newest.source, f"{most} rows", f"{there} rows")
    present = dict(zip(newest.tables, newest.table_rows.tolist(), strict=True))
    for table, rows in sorted(_most_rows(backups).items()):
        if table in limits.exempt:
            continue
        left = present.get(table, 0)
        if left == 0 and rows >= limits.least_emptied:
            code = "table-emptied" if table in present else "table-vanished"
            yield _finding(code, newest, table, f"{rows} rows", "0 rows" if table in present else "no table")
        elif rows >= limits.least_rows and left <= rows * (1 - limits.collapse):
            yield _finding("table-collapsed", newest, table, f"{rows} rows", f"{left} rows")


def _rows_that_count(backup: BackupFacts, limits: GuardLimits) -> int:
    """Return all rows but those of exempt tables."""
    if not limits.exempt:
        return backup.rows
    exempt = [table in limits.exempt for table in backup.tables]
    return backup.rows - int(backup.table_rows[exempt].sum())


def _most_rows(backups: Sequence[BackupFacts]) -> dict[str, int]:
    """Return the most rows that each table ever had. The tables are nearly always those of the backup before."""
    found: dict[str, int] = {}
    names, most = backups[0].tables, backups[0].table_rows
    for backup in backups[1:]:
        if backup.tables is names or backup.tables == names:
            most = np.maximum(most, backup.table_rows)
        else:
            _raise_to(found, names, most.tolist())
            names, most = backup.tables, backup.table_rows
    _raise_to(found, names, most.tolist())
    return found


def _raise_to(found: dict[str, int], names: Sequence[str], rows: Sequence[int]) -> None:
    for name, count in zip(names, rows, strict=True):
        found[name] = max(count, found.get(name, 0))


# ----------------------------------------------------------------------------------- compression


def _ratio_jumps(backups: Sequence[BackupFacts], limits: GuardLimits) -> Iterator[Finding]:
    """Yield the first jump of each kind: what comes after an encryption is like it, and no news."""
    for kind in ("full", "differential", "incremental"):
        peers: list[float] = []
        for backup in backups:
            if backup.kind != kind or backup.bytes_raw < limits.least_bytes:
                continue
            ratio = backup.bytes_raw / max(1, backup.bytes_stored)
            usual = statistics.median(peers[-_PEERS:]) if peers else ratio
            if max(ratio / usual, usual / ratio) >= limits.ratio_jump:
                yield _finding(
                    "compression-jumped",
                    backup,
                    f"{kind} backups",
                    f"about {usual:.1f} : 1",
                    f"{ratio:.1f} : 1",
                )
                break
            peers.append(ratio)


# --------------------------------------------------------------------------------------- silence


def _silence(backups: Sequence[BackupFacts], limits: GuardLimits, now: dt.datetime) -> Iterator[Finding]:
    """Yield a finding where the last backup with anything new in it is too old, if it is not the newest itself."""
    if limits.quiet <= dt.timedelta(0):
        return
    newest_change = next(_with_news_newest_first(backups))
    if now - newest_change.taken_at > limits.quiet:
        yield _finding(
            "nothing-new",
            backups[-1],
            backups[-1].source,
            f"something new within {limits.quiet.days} days",
            f"nothing since {newest_change.taken_at:%Y-%m-%d %H:%M} UTC",
        )


def _with_news_newest_first(backups: Sequence[BackupFacts]) -> Iterator[BackupFacts]:
    """Yield the backups that hold something that the ones before did not; the first of all always does."""
    for place in range(len(backups) - 1, 0, -1):
        if _has_news(backups[place], backups[:place]):
            yield backups[place]
    yield backups[0]


def _has_news(backup: BackupFacts, earlier: Sequence[BackupFacts]) -> bool:
    """Tell whether a backup shows a change of the source.

    An incremental says so itself. A differential reads again what changed since its parent, and a full
    everything: they are compared with the one of their kind (and parent) before.
    """
    before = earlier[-1]
    if backup.rows != before.rows or not np.array_equal(backup.table_rows, before.table_rows):
        return True
    if backup.kind == "incremental":
        return backup.rows_read > 0
    peers = (b for b in reversed(earlier) if b.kind == backup.kind and b.parent == backup.parent)
    peer = next(peers, None)
    if peer is None:
        return backup.kind == "full" or backup.rows_read > 0
    return (backup.rows_read, backup.bytes_raw) != (peer.rows_read, peer.bytes_raw)


def _finding(code: str, backup: BackupFacts, what: str, expected: str, observed: str) -> Finding:
    return Finding(
        severity="critical" if code != "nothing-new" else "warning",
        code=code,
        object=what,
        expected=expected,
        observed=f"{observed}, in backup {backup.id}",
        advice=_ADVICE.format(backup=backup.id),
    )
