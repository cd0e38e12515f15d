"""Why a backup stays: the rules of a location, each as a function from backups to reasons. Pure.

All calendars are UTC, so that no day has 23 or 25 hours. For example: `kept_by_rules(backups, "archive", rules,
now)["20261123-…"]` is `[Reason("daily", "2026-11-23", "the newest of day 2026-11-23")]`.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from strongroom.retention.facts import PROOFS, BackupFacts, Hold
from strongroom.retention.policy import Rules

Rule = Literal[
    "within",
    "daily",
    "weekly",
    "monthly",
    "emergency",
    "newest",
    "newest-full",
    "last-good",
    "hold",
    "in-use",
    "not-yet-at",
    "unproven",
    "guard",
    "expired",
]


@dataclass(frozen=True, order=True)
class Reason:
    """A rule, what it speaks of (a day, a level, a location; empty for most), and both as people say it."""

    rule: Rule
    slot: str
    text: str


Reasons = dict[str, list[Reason]]
"""By backup id."""


def day_of(instant: dt.datetime) -> str:
    """Name the day of an instant, in UTC."""
    return instant.date().isoformat()


def week_of(instant: dt.datetime) -> str:
    """Name the ISO week of an instant, in UTC; its year is that of the week's Thursday."""
    year, week, _ = instant.isocalendar()
    return f"{year:04}-W{week:02}"


def month_of(instant: dt.datetime) -> str:
    """Name the month of an instant, in UTC."""
    return instant.date().isoformat()[:7]


_CALENDAR: tuple[tuple[Literal["daily", "weekly", "monthly"], str, Callable[[dt.datetime], str]], ...] = (
    ("daily", "day", day_of),
    ("weekly", "week", week_of),
    ("monthly", "month", month_of),
)


def kept_by_rules(backups: Sequence[BackupFacts], location: str, rules: Rules, now: dt.datetime) -> Reasons:
    """Return what the rules of a location keep of one source's backups (oldest first), wherever they are."""
    found: Reasons = defaultdict(list)
    scheduled = [backup for backup in backups if backup.backup_class == "scheduled"]
    for backup in backups:
        rule: Literal["within", "emergency"] = "within"
        age = rules.keep_within
        if backup.backup_class == "emergency":
            rule, age = "emergency", rules.emergency
        if now - backup.taken_at < age:
            found[backup.id].append(Reason(rule, "", f"younger than {span(age)}"))
    for period, word, name in _CALENDAR:
        _keep_slots(found, scheduled, location, getattr(rules, period), (period, word, name))
    return found


def _keep_slots(
    found: Reasons,
    scheduled: Sequence[BackupFacts],
    location: str,
    count: int,
    calendar: tuple[Rule, str, Callable[[dt.datetime], str]],
) -> None:
    """Keep the newest backup of each of the newest `count` slots that have any.

    Where it is not proven, the newest proven one of the slot stays beside it: what is newer is worth more only
    if it restores.
    """
    rule, word, name = calendar
    settled: dict[str, bool] = {}
    for backup in reversed(scheduled):
        slot = name(backup.taken_at)
        proven = backup.is_proven() and location not in backup.damaged_at
        if slot not in settled:
            if len(settled) >= count:
                break
            settled[slot] = proven
            found[backup.id].append(Reason(rule, slot, f"the newest of {word} {slot}"))
        elif proven and not settled[slot]:
            settled[slot] = True
            found[backup.id].append(Reason(rule, slot, f"the newest proven one of {word} {slot}"))


def kept_always(
    source: Sequence[BackupFacts], here: Sequence[BackupFacts], location: str
) -> Iterable[tuple[BackupFacts, Reason]]:
    """Yield what no policy can give up of one source: `here` are its backups at the location, oldest first.

    The newest; the newest full, on which the next differential is built; and for each level the newest backup
    proven at it (I8), the one of this location and the one of all.
    """
    if not here:
        return
    yield here[-1], Reason("newest", "", "the newest at this location")
    full = next((backup for backup in reversed(here) if backup.kind == "full"), None)
    if full:
        yield full, Reason("newest-full", "", "the newest full at this location")
    for level in PROOFS:
        good = next((b for b in reversed(source) if b.is_proven(level)), None)
        if good and location in good.locations:
            yield good, Reason("last-good", level, f"the newest proven at level {level}")
        mine = next((b for b in reversed(here) if b.is_proven(level) and b.is_good_at(location)), None)
        if mine and mine is not good:
            yield mine, Reason("last-good", level, f"the newest at this location proven at level {level}")


def kept_on_request(holds: Iterable[Hold], in_use: frozenset[str], now: dt.datetime) -> Reasons:
    """Return what somebody holds, and what running attempts reuse from."""
    found: Reasons = defaultdict(list)
    for hold in sorted(holds, key=lambda h: (h.backup, h.reason, str(h.until))):
        if hold.lasts(now):
            until = f"until {moment(hold.until)}" if hold.until else "for ever"
            because = f": {hold.reason}" if hold.reason else ""
            found[hold.backup].append(Reason("hold", "", f"held {until}{because}"))
    for backup in sorted(in_use):
        found[backup].append(Reason("in-use", "", "a running attempt reuses from it"))
    return found


def span(length: dt.timedelta) -> str:
    """Write a length of time for people: "30 days", "24 h", "90 min"."""
    seconds = int(length.total_seconds())
    if seconds % 86400 == 0 and seconds > 86400:
        return f"{seconds // 86400} days"
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds / 60:g} min"


def moment(instant: dt.datetime) -> str:
    """Write an instant for people, in UTC."""
    return f"{instant.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
