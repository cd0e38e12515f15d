"""From the settings to the policy that retention plans by."""

import datetime as dt

from strongroom.config import Settings
from strongroom.location_settings import LocationSettings
from strongroom.retention.guard import GuardLimits
from strongroom.retention.policy import LocationPolicy, RetentionPolicy, Rules, default_rules


def policy_of(settings: Settings) -> RetentionPolicy:
    """Return the policy: each location's own rules where it has any, else those of its role.

    A location that is only read has no part in it: nothing expires there, nothing is copied there, and the others
    do not wait for it; if it is the archive, the last of the others keeps what an archive keeps.
    """
    every = settings.repository.locations
    locations = tuple(one for one in every if not one.read_only) or every
    no_archive = all(location.role != "archive" for location in locations)
    limits = settings.retention
    return RetentionPolicy(
        locations=tuple(
            LocationPolicy(
                location.name,
                location.role,
                _rules(location, is_last=no_archive and place == len(locations)),
            )
            for place, location in enumerate(locations, 1)
        ),
        retention_days=settings.backup.retention_days,
        grace=dt.timedelta(seconds=limits.grace),
        guard=GuardLimits(
            collapse=limits.guard_rows_percent / 100,
            ratio_jump=limits.guard_compression_factor,
            quiet=dt.timedelta(seconds=limits.guard_silence),
        ),
        max_silence=dt.timedelta(seconds=limits.max_silence),
    )


def _rules(location: LocationSettings, *, is_last: bool) -> Rules:
    own, role = location.retention, default_rules(location.role, is_last=is_last)
    within, emergency = own.keep_within, own.emergency_days
    return Rules(
        keep_within=role.keep_within if within is None else dt.timedelta(seconds=within),
        daily=role.daily if own.daily is None else own.daily,
        weekly=role.weekly if own.weekly is None else own.weekly,
        monthly=role.monthly if own.monthly is None else own.monthly,
        emergency=role.emergency if emergency is None else dt.timedelta(days=emergency),
    )
