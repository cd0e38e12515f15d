"""Identifiers: what the names of backups and stored objects look like. Pure.

A backup id sorts by time and carries 40 random bits, so that two machines never make the same one:
`20261123-034500123-9f3a61c2d4` (UTC, to the millisecond). Randomness and the clock are arguments.
"""

import datetime as dt
import re
from typing import NewType

BackupId = NewType("BackupId", str)
PackId = NewType("PackId", str)
"""Lower-case hex SHA-256 of the stored bytes of a pack."""
KeyId = NewType("KeyId", str)
"""First 16 hex digits of the SHA-256 of a public key, or the backup id of a data key."""

_BACKUP_ID = re.compile(r"\d{8}-\d{9}-[0-9a-f]{10}")


def new_backup_id(now: dt.datetime, random: bytes) -> BackupId:
    """Name a backup that starts at `now` (aware) with five bytes of randomness."""
    utc = now.astimezone(dt.UTC)
    return BackupId(f"{utc:%Y%m%d-%H%M%S}{utc.microsecond // 1000:03}-{random[:5].hex()}")


def is_backup_id(text: str) -> bool:
    """Tell whether `text` has the form of a backup id."""
    return _BACKUP_ID.fullmatch(text) is not None
