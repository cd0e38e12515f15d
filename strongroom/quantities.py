"""Quantities as people write them: durations, sizes and percentages, read into plain numbers. Pure.

Durations become seconds, sizes bytes, percentages the number before the sign. Examples:

    duration_seconds("1 h 30 min") == 5400.0
    size_bytes("50 MiB") == 52_428_800
    percentage("2.5 %") == 2.5

What cannot be read raises `ValueError` with the rest of a sentence that starts with the setting's name;
it never repeats what was written, which may be a secret in the wrong place.
"""

import math
import re

_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "w": 604800.0,
    "week": 604800.0,
}
_BYTES = {
    "b": 1,
    "byte": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def duration_seconds(value: object) -> float:
    """Read a duration: a number of seconds, or parts such as "6 h", "1 h 30 min", "500 ms"."""
    number = _plain_number(value)
    if number is not None:
        return number
    parts = _parts(value)
    if not parts:
        raise ValueError("is not a duration")
    return math.fsum(amount * _factor(_SECONDS, unit) for amount, unit in parts)


def size_bytes(value: object) -> int:
    """Read a size: a number of bytes, or one such as "50 MiB" (1024s) or "50 MB" (1000s)."""
    number = _plain_number(value)
    if number is None:
        parts = _parts(value)
        if len(parts) != 1:
            raise ValueError("is not a size")
        amount, unit = parts[0]
        number = amount * _factor(_BYTES, unit)
    if number != int(number):
        raise ValueError("is not a whole number of bytes")
    return int(number)


def size_text(number: float) -> str:
    """Write a number of bytes for people: "12 B", "1.5 MiB"."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while number >= 1024 and step < len(units) - 1:
        number, step = number / 1024, step + 1
    return f"{number:.1f} {units[step]}" if step else f"{number:.0f} B"


def percentage(value: object) -> float:
    """Read a percentage from 0 to 100, with or without its sign."""
    number = _plain_number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    if number is None:
        raise ValueError("is not a percentage")
    if number > 100:
        raise ValueError("is more than 100 %")
    return number


def _plain_number(value: object) -> float | None:
    """Return a number that is written without a unit; None for other text."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is neither a number nor text")  # noqa: TRY004  (one kind of error for callers)
    if not math.isfinite(value):
        raise ValueError("is not a finite number")
    if value < 0:
        raise ValueError("is negative")
    return float(value)


def _parts(value: object) -> list[tuple[float, str]]:
    text = str(value).strip().lower()
    if not re.fullmatch(rf"(?:{_PART.pattern})+", text):
        return []
    return [(float(amount), unit) for amount, unit in _PART.findall(text)]


def _factor(units: dict[str, float] | dict[str, int], unit: str) -> float:
    """Look a unit up, in the plural too ("days")."""
    factor = units.get(unit) or units.get(unit.removesuffix("s"))
    if factor is None:
        raise ValueError(f"uses a unit that is none of {', '.join(units)}")
    return factor
