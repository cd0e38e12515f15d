"""Attempts: backups that were begun. What a running one reuses from, and what a later one may take over, stays.

An attempt younger than `YOUNG` may still be running, or be resumed: its own objects count as reached though no
manifest names them, and what it builds on does not expire.
"""

import datetime as dt
from collections.abc import Collection, Iterator

from strongroom.errors import FormatError, KeyringError, ObjectMissing
from strongroom.format.documents import BackupPlan
from strongroom.ids import is_backup_id
from strongroom.repository import layout
from strongroom.repository.known import attempt_documents
from strongroom.repository.repository import Repository

RESUME_WITHIN = dt.timedelta(hours=24)
"""How long after its start an attempt is taken over by a later backup."""

YOUNG = 2 * RESUME_WITHIN
"""How long an attempt counts: one that resumes it at the last moment takes its time as well."""


LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)
"""When whatever began whose name tells no instant."""


def instant_of(backup: str) -> dt.datetime:
    """Return when the backup, or whoever took a token of that form, began: ids begin with the instant.

    `LONG_AGO` for what is no instant: names and tokens in a store are what anybody wrote there.
    """
    try:
        return dt.datetime.strptime(backup[:18], "%Y%m%d-%H%M%S%f").replace(tzinfo=dt.UTC)
    except ValueError:
        return LONG_AGO


def young_attempts(repository: Repository, listed: Collection[str], now: dt.datetime) -> Iterator[str]:
    """Yield the ids of unlisted attempts that may be running or be resumed, newest first."""
    for stored in reversed(list(repository.store.list(layout.ATTEMPTS))):
        backup = str(layout.backup_of(stored.name))
        began = instant_of(backup)
        if not is_backup_id(backup) or began == LONG_AGO:
            continue
        if now - began > YOUNG:
            return
        if backup not in listed:
            yield backup


def parents_in_use(repository: Repository, listed: Collection[str], now: dt.datetime) -> frozenset[str]:
    """Return the backups that attempts build on. An attempt whose plan cannot be read cannot be resumed either."""
    found: set[str] = set()
    for backup in young_attempts(repository, listed, now):
        try:
            plan: BackupPlan = repository.read_plan(backup)
        except (FormatError, KeyringError, ObjectMissing):
            continue
        found |= {plan.parent, plan.base} - {""}
    return frozenset(found)


def names_of_attempt(repository: Repository, backup: str) -> Iterator[str]:
    """Yield the names of what an attempt has stored so far: plan, documents, and what those name."""
    yield layout.attempt_name(backup)
    for folder in (
        f"{layout.UNIT_DOCUMENTS}{backup}/",
        f"{layout.ROW_MAPS}{backup}/",
        layout.key_name(backup),
    ):
        for stored in repository.store.list(folder):
            yield stored.name
    for document in attempt_documents(repository, backup):
        for reference in (*document.packs, *document.row_maps):
            yield reference.name
        for pack in document.packs:
            yield layout.key_name(pack.data_key)
