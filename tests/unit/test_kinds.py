"""Which kind of backup is due, and which earlier snapshots lie in the past of the present one."""

import datetime as dt
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.kinds import choose_kind, history_obstacle
from strongroom.errors import ParentUnfit
from strongroom.format.documents import Kind, Manifest, SnapshotFacts
from tests.documents import NOON, SNAPSHOT, manifest

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
NEXT = msgspec.structs.replace(SNAPSHOT, xmin=2000, xmax=2010, wal_lsn="1/0")


def taken(ago: dt.timedelta, kind: Kind, source: str = "quantforge", **facts: Any) -> Manifest:
    """Make the manifest of a backup that was taken some time before noon."""
    snapshot = msgspec.structs.replace(SNAPSHOT, taken_at=NOON - ago, **facts)
    return manifest(f"{kind}-{ago}", kind=kind, source=source, snapshot=snapshot)


FULL = taken(3 * DAY, "full")
DIFFERENTIAL = taken(2 * DAY, "differential")
LATE = taken(DAY, "incremental")
FRESH = taken(DAY - HOUR, "incremental")
OTHER = taken(HOUR, "full", "other")


def chosen(
    manifests: list[Manifest], wanted: Literal["auto", "full", "differential", "incremental"] = "auto"
) -> tuple[Kind, Manifest | None]:
    """Choose at noon and return kind and parent."""
    choice = choose_kind(Catalog.of(manifests), wanted, "quantforge", NEXT, NOON)
    return choice.kind, choice.parent


@pytest.mark.parametrize(
    ("manifests", "expected"),
    [
        pytest.param([], ("full", None), id="nothing yet"),
        pytest.param([OTHER], ("full", None), id="only another source"),
        pytest.param([LATE, FRESH], ("full", None), id="a full that is gone"),
        pytest.param([taken(7 * DAY, "full"), FRESH], ("full", None), id="a full of seven days"),
        pytest.param(
            [taken(7 * DAY - HOUR, "full")], ("differential", taken(7 * DAY - HOUR, "full")), id="almost"
        ),
        pytest.param([FULL], ("differential", FULL), id="a full of three days"),
        pytest.param([FULL, DIFFERENTIAL, LATE], ("differential", FULL), id="the last of a day"),
        pytest.param([FULL, DIFFERENTIAL, LATE, FRESH], ("incremental", FRESH), id="the last of less"),
        pytest.param([FULL, FRESH, OTHER], ("incremental", FRESH), id="other sources do not count"),
        pytest.param([taken(HOUR, "full")], ("incremental", taken(HOUR, "full")), id="on a fresh full"),
        pytest.param([taken(-HOUR, "full")], ("incremental", taken(-HOUR, "full")), id="from the future"),
        pytest.param([taken(HOUR, "full", timeline=2)], ("full", None), id="another past"),
        pytest.param([taken(DAY, "full", timeline=2), FRESH], ("full", None), id="a full of another past"),
        pytest.param(
            [FULL, taken(HOUR, "incremental", xmin=9999)], ("full", None), id="a last of another past"
        ),
    ],
)
def test_auto(manifests: list[Manifest], expected: tuple[Kind, Manifest | None]) -> None:
    """Full weekly or without a past; differential daily, on the full; else incremental, on the last."""
    assert expected == chosen(manifests)


def test_what_was_asked_for() -> None:
    """A full needs nothing; a differential has the last full as parent, an incremental the last of any kind."""
    assert ("full", None) == chosen([FULL, FRESH], "full") == chosen([], "full")
    assert ("differential", FULL) == chosen([FULL, FRESH, OTHER], "differential")
    assert ("incremental", FRESH) == chosen([FULL, FRESH, OTHER], "incremental")


@pytest.mark.parametrize("wanted", ["differential", "incremental"])
@pytest.mark.parametrize(
    ("manifests", "detail"),
    [
        ([], "no full"),
        ([OTHER], "no full"),
        ([FRESH], "no full"),
        ([taken(HOUR, "full", system_identifier="7")], "another server"),
        ([taken(HOUR, "full", timeline=2)], "timeline"),
        ([taken(HOUR, "full", wal_lsn="2/0")], "earlier position"),
    ],
)
def test_no_parent_that_fits(
    wanted: Literal["differential", "incremental"], manifests: list[Manifest], detail: str
) -> None:
    """What was asked for by name is refused, with the reason, rather than made into something else."""
    with pytest.raises(ParentUnfit, match=detail):
        chosen(manifests, wanted)


@pytest.mark.parametrize("manifests", [[], [FULL], [FULL, LATE], [FULL, FRESH], [taken(9 * DAY, "full")]])
def test_reasons(manifests: list[Manifest]) -> None:
    """Every choice says why."""
    assert choose_kind(Catalog.of(manifests), "auto", "quantforge", NEXT, NOON).reason


@pytest.mark.parametrize(
    ("earlier", "obstacle"),
    [
        ({}, ""),
        ({"xmin": 2000, "wal_lsn": "1/0"}, ""),
        ({"database": "renamed", "server_version": 170000}, ""),
        ({"system_identifier": "7"}, "another server"),
        ({"timeline": 2}, "timeline"),
        ({"database_oid": 6}, "dropped and made again"),
        ({"xmin": 2001}, "earlier position"),
        ({"wal_lsn": "1/1"}, "earlier position"),
        ({"wal_lsn": "10/0"}, "earlier position"),
        ({"wal_lsn": "0/FFFFFFFF"}, ""),
    ],
)
def test_obstacles(earlier: dict[str, Any], obstacle: str) -> None:
    """Server, timeline, database and both counters must all say that the past is the same."""
    found = history_obstacle(msgspec.structs.replace(SNAPSHOT, **earlier), NEXT)
    assert (bool(obstacle), True) == (bool(found), obstacle in found)


@pytest.mark.parametrize(
    ("distance", "obstacle"),
    [(1 << 30, ""), ((1 << 30) + 1, "2^30"), (1 << 32, "2^30"), ((1 << 32) + 5, "2^30")],
)
def test_too_many_transactions(distance: int, obstacle: str) -> None:
    """Beyond 2^30 transactions, 32-bit ages cannot be compared; a whole turn of the counter is not missed."""
    present = msgspec.structs.replace(SNAPSHOT, xmin=SNAPSHOT.xmin + distance, xmax=SNAPSHOT.xmin + distance)
    found = history_obstacle(SNAPSHOT, present)
    assert (bool(obstacle), True) == (bool(found), obstacle in found)


def test_across_the_turn_of_the_counter() -> None:
    """64-bit ids make no difference of the moment at which the 32-bit counter begins again."""
    before = msgspec.structs.replace(SNAPSHOT, xmin=(5 << 32) - 10, xmax=(5 << 32) - 5)
    after = msgspec.structs.replace(SNAPSHOT, xmin=(5 << 32) + 10, xmax=(5 << 32) + 20)
    assert ("", "the server is at an earlier position than it was then") == (
        history_obstacle(before, after),
        history_obstacle(after, before),
    )


COUNTERS = st.tuples(st.integers(3, 1 << 62), st.integers(0, (1 << 64) - 1))


def at(xid: int, lsn: int) -> SnapshotFacts:
    """Describe a snapshot of a server whose counters stand here."""
    return msgspec.structs.replace(
        SNAPSHOT, xmin=xid, xmax=xid, wal_lsn=f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
    )


@settings(deadline=None, max_examples=60)
@given(COUNTERS, COUNTERS)
def test_never_both_ways(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Of two snapshots with different counters, at most one lies in the past of the other."""
    ways = [history_obstacle(at(*one), at(*other)), history_obstacle(at(*other), at(*one))]
    assert ways.count("") <= (2 if one == other else 1)
