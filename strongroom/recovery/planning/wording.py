"""How plans word instants, durations and counts. Pure."""

import datetime as dt


def instant(moment: dt.datetime) -> str:
    """Word an instant, to the second."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(time: dt.timedelta | float) -> str:
    """Word a length of time (seconds, if it is a number): "4 s", "3 min 20 s", "6 h", "2 days 4 h"."""
    total = time.total_seconds() if isinstance(time, dt.timedelta) else time
    if total < 10:
        return f"{round(total, 1):g} s"
    seconds = round(total)
    for unit, size, lesser, part in (("day", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            name = "days" if unit == "day" and whole > 1 else unit
            return f"{whole} {name}" + (f" {rest // part} {lesser}" if rest >= part else "")
    return f"{seconds} s"


def counted(number: int, noun: str) -> str:
    """Word a count with its noun: "1 row", "12 000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", " ")


def listed(names: list[str], most: int = 5) -> str:
    """Word a list of names, the first few of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
