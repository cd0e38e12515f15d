"""How long a recovery takes, and how long the application waits for it: from what was measured here. Pure.

Into an empty database, the application is down for the whole of it. In place, readers never wait, and writers wait for
the one transaction: that is the downtime. Without anything measured, careful assumptions stand in and are called so.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.recovery.planning.facts import Measured, Place
from strongroom.recovery.planning.wording import counted, span

NEWEST = 5
"""How many earlier recoveries count: older ones ran on other machines and other data."""

ROWS_PER_SECOND = 50_000
BYTES_PER_SECOND = 20_000_000
DIFFERING_SHARE = 0.1
LOCKED_SECONDS_PER_ROW = 1 / 100_000
"""Assumptions for a first time: slower than a small machine, more damage than usual."""

_ALWAYS_SECONDS = 20.0
_LOCK_SECONDS = 1.0


@dataclass(frozen=True)
class Estimate:
    """Seconds of the whole and of them the application's waiting, and in a sentence what they come from."""

    seconds: float
    downtime_seconds: float
    basis: str


def estimate(place: Place, rows: int, size: int, history: Sequence[Measured]) -> Estimate:
    """Estimate a recovery of so many rows, in tables of so many bytes."""
    like = sorted((one for one in history if one.place == place and one.rows > 0), key=lambda one: one.at)
    newest = like[-NEWEST:]
    if newest:
        # Much of a small recovery is the same for every size: fewer rows than were measured take no less.
        whole = statistics.median(one.seconds * max(1.0, rows / one.rows) for one in newest)
        locked = statistics.median(one.lock_seconds * rows / one.rows for one in newest)
        what = "the last one" if len(newest) == 1 else f"the median of the last {len(newest)}"
        basis = f"Measured: {what} of its kind here, scaled to {counted(rows, 'row')}."
    else:
        whole = _ALWAYS_SECONDS + max(rows / ROWS_PER_SECOND, size / BYTES_PER_SECOND)
        locked = _LOCK_SECONDS + rows * DIFFERING_SHARE * LOCKED_SECONDS_PER_ROW
        basis = (
            "An assumption, since none like it was measured here: " + counted(ROWS_PER_SECOND, "row") + " or "
        )
        basis += f"{BYTES_PER_SECOND // 1_000_000} MB a second"
        basis += ", and one row in ten differs." if place == "in-place" else "."
    if place == "empty":
        words = f"The application is down for the whole of it, about {span(whole)}. "
        return Estimate(whole, whole, words + basis)
    words = (
        f"Writers wait about {span(max(locked, 0.1))}, readers never; the whole takes about {span(whole)}. "
    )
    return Estimate(whole, locked, words + basis)
