"""What a user wants to keep, location by location. Pure.

For example, what applies where nothing is configured:

    RetentionPolicy.by_default([("local", "local"), ("s3", "archive")])
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

from strongroom.errors import EmptyPolicy
from strongroom.retention.guard import GuardLimits

Role = Literal["local", "edge", "archive"]

_NOTHING = dt.timedelta(0)
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Rules:
    """What one location keeps. A rule of zero keeps nothing; a backup stays while any rule keeps it.

    `keep_within` keeps every scheduled backup that is younger. `daily`, `weekly` and `monthly` keep the newest
    of each of so many days, ISO weeks and months (UTC) in which there is a scheduled backup: an empty day does
    not count, so that nothing expires only because time goes on. `emergency` is how long emergency backups stay,
    which no other rule keeps.
    """

    keep_within: dt.timedelta = _NOTHING
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    emergency: dt.timedelta = _NOTHING

    def keep_something(self) -> bool:
        """Tell whether any rule keeps scheduled backups."""
        return self.keep_within > _NOTHING or max(self.daily, self.weekly, self.monthly) > 0

    def together_with(self, others: "Rules") -> "Rules":
        """Return the rules that keep what these or the others keep."""
        return Rules(
            keep_within=max(self.keep_within, others.keep_within),
            daily=max(self.daily, others.daily),
            weekly=max(self.weekly, others.weekly),
            monthly=max(self.monthly, others.monthly),
            emergency=max(self.emergency, others.emergency),
        )


_BY_ROLE: dict[Role, Rules] = {
    "local": Rules(keep_within=_DAY, emergency=_DAY),
    "edge": Rules(keep_within=7 * _DAY, emergency=7 * _DAY),
    "archive": Rules(daily=7, weekly=4, monthly=12, emergency=30 * _DAY),
}


def default_rules(role: Role, *, is_last: bool = False) -> Rules:
    """Return the rules of a role; of the last location where none is an archive: the archive's on top.

    A lone local location would otherwise lose everything but the newest after a day.
    """
    own = _BY_ROLE[role]
    return own.together_with(_BY_ROLE["archive"]) if is_last else own


@dataclass(frozen=True)
class LocationPolicy:
    """A location and what it keeps."""

    name: str
    role: Role
    rules: Rules


@dataclass(frozen=True)
class RetentionPolicy:
    """What is kept, where, and when not to trust what one sees.

    `retention_days` caps every `keep_within`. Freed bytes may be collected after `grace` (I4). No backup and no
    run seen for `max_silence` means that the clock may have jumped. Raises `ValueError` for a location named
    twice.
    """

    locations: tuple[LocationPolicy, ...]
    retention_days: int = 30
    grace: dt.timedelta = _DAY
    guard: GuardLimits = field(default_factory=GuardLimits)
    max_silence: dt.timedelta = 7 * _DAY

    def __post_init__(self) -> None:
        if len({location.name for location in self.locations}) < len(self.locations):
            raise ValueError("a retention policy names a location twice")

    @classmethod
    def by_default(cls, locations: Iterable[tuple[str, Role]], *, retention_days: int = 30) -> Self:
        """Give each location, by name and role, the rules of its role."""
        listed = list(locations)
        no_archive = all(role != "archive" for _, role in listed)
        return cls(
            tuple(
                LocationPolicy(name, role, default_rules(role, is_last=no_archive and place == len(listed)))
                for place, (name, role) in enumerate(listed, 1)
            ),
            retention_days=retention_days,
        )

    def rules_in_force(self) -> dict[str, Rules]:
        """Return the rules of each location by name, capped. Raises `EmptyPolicy` where one keeps nothing."""
        if not self.locations:
            raise EmptyPolicy(location="(none is given)")
        found = {location.name: self._capped(location.rules) for location in self.locations}
        for name, rules in found.items():
            if not rules.keep_something():
                raise EmptyPolicy(location=name)
        return found

    def _capped(self, rules: Rules) -> Rules:
        within = min(rules.keep_within, self.retention_days * _DAY)
        return Rules(within, rules.daily, rules.weekly, rules.monthly, rules.emergency)
