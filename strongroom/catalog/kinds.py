"""Which kind of backup is due, and what it reuses from. Pure: facts and the present instant are arguments.

`auto` is: full if there is none or the last is `FULL_EVERY` old; else differential if the last backup is
`DIFFERENTIAL_EVERY` old; else incremental. A parent from another history of the server never serves.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from strongroom.catalog.catalog import Catalog
from strongroom.errors import ParentUnfit
from strongroom.format.documents import Kind, Manifest, SnapshotFacts

FULL_EVERY = dt.timedelta(days=7)
DIFFERENTIAL_EVERY = dt.timedelta(days=1)

_OLDEST_PARENT = 1 << 30
"""Transactions; beyond, comparing ages of 32-bit transaction ids is not safe any more."""


@dataclass(frozen=True)
class KindChoice:
    """The kind of a backup that starts now, why, and its parent (None for a full)."""

    kind: Kind
    reason: str
    parent: Manifest | None


def choose_kind(
    catalog: Catalog,
    wanted: Literal["auto", "full", "differential", "incremental"],
    source: str,
    snapshot: SnapshotFacts,
    now: dt.datetime,
) -> KindChoice:
    """Choose kind and parent; raise `ParentUnfit` if the kind asked for has no parent that fits."""
    if wanted == "full":
        return KindChoice("full", "asked for", None)
    full = catalog.latest_full(source)
    if wanted == "auto":
        return _choose_automatically(catalog, full, source, snapshot, now)
    last = catalog.latest(source) if full else None
    parent = full if wanted == "differential" else last
    if parent is None:
        raise ParentUnfit(kind=wanted, detail="no full backup is listed")
    obstacle = history_obstacle(parent.snapshot, snapshot)
    if obstacle:
        raise ParentUnfit(kind=wanted, detail=obstacle)
    return KindChoice(wanted, "asked for", parent)


def _choose_automatically(
    catalog: Catalog, full: Manifest | None, source: str, snapshot: SnapshotFacts, now: dt.datetime
) -> KindChoice:
    if full is None:
        return KindChoice("full", "there is no full backup yet", None)
    if now - full.snapshot.taken_at >= FULL_EVERY:
        return KindChoice("full", f"the last full is {FULL_EVERY.days} days old or more", None)
    last = catalog.latest(source)
    obstacle = history_obstacle(last.snapshot, snapshot) or history_obstacle(full.snapshot, snapshot)
    if obstacle:
        return KindChoice("full", f"nothing earlier can be built on: {obstacle}", None)
    if now - last.snapshot.taken_at >= DIFFERENTIAL_EVERY:
        return KindChoice("differential", "the last backup is a day old or more", full)
    return KindChoice("incremental", "the last backup is less than a day old", last)


def history_obstacle(earlier: SnapshotFacts, present: SnapshotFacts) -> str:
    """Return why the earlier snapshot does not lie in the past of the present one; empty if it does.

    Transaction ids repeat when a server is put back to an earlier state, so a parent is believed only if
    the server, its timeline, its database and its counters all say that it lies in the same past.
    """
    if earlier.system_identifier != present.system_identifier:
        return "it was taken from another server (system identifier)"
    if earlier.timeline != present.timeline:
        return "the server was restored or failed over since (timeline)"
    if earlier.database_oid != present.database_oid:
        return "the database was dropped and made again since"
    if earlier.xmin > present.xmin or _position(earlier.wal_lsn) > _position(present.wal_lsn):
        return "the server is at an earlier position than it was then"
    if present.xmax - earlier.xmin > _OLDEST_PARENT:
        return "more than 2^30 transactions lie between"
    return ""


def _position(lsn: str) -> int:
    """Return a WAL position as a number of bytes."""
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)
