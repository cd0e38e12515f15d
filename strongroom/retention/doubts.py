"""When nothing may be deleted because the present instant cannot be believed. Pure.

Every age is a difference to `now`. A clock that is a year ahead would expire everything but what slots keep, and
nobody would see a fault in it, so it is compared with what has been seen before any plan is made.
"""

import datetime as dt

from strongroom.errors import BackupFromFuture, ClockJumped, ClockWentBackwards
from strongroom.retention.facts import LastSeen, RetentionCatalog
from strongroom.retention.reasons import moment

TOLERANCE = dt.timedelta(minutes=5)
"""By how much the clocks of two machines may differ without anybody being wrong."""


def refuse_doubtful_clock(
    catalog: RetentionCatalog, now: dt.datetime, last_seen: LastSeen | None, max_silence: dt.timedelta
) -> None:
    """Compare `now` with the backups and with what an earlier run saw.

    Raises `ClockWentBackwards`, `BackupFromFuture`, and `ClockJumped` where the newest thing seen is further
    back than `max_silence`.
    """
    if last_seen and last_seen.at - now > TOLERANCE:
        raise ClockWentBackwards(now=moment(now), seen=moment(last_seen.at), what=last_seen.what)
    newest = catalog.backups[-1] if catalog.backups else None
    if newest and newest.taken_at - now > TOLERANCE:
        raise BackupFromFuture(backup=newest.id, taken=moment(newest.taken_at), now=moment(now))
    seen = [last_seen] if last_seen else []
    if newest:
        seen.append(LastSeen(newest.taken_at, f"backup {newest.id} was taken"))
    if not seen:
        return
    latest = max(seen, key=lambda event: event.at)
    if now - latest.at > max_silence:
        days = (now - latest.at).days
        raise ClockJumped(now=moment(now), days=days, seen=moment(latest.at), what=latest.what)
