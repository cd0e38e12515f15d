"""Facts: what retention makes of manifests and listings."""

import datetime as dt

import numpy as np
import pytest

from strongroom.format.documents import (
    CaptureTotals,
    Manifest,
    ObjectRef,
    PackRef,
    TableEntry,
)
from strongroom.retention.facts import (
    PROOFS,
    BackupFacts,
    Hold,
    ObjectTable,
    RetentionCatalog,
    describe,
)
from tests.documents import BACKUP, NOON, SNAPSHOT, table

SIZES = np.array([10, 20, 30], np.int64)


def facts(name: str = "a", taken_at: dt.datetime = NOON, **more: object) -> BackupFacts:
    """Return a scheduled full at `disk`."""
    given: dict[str, object] = {"locations": ("disk",)} | more
    return BackupFacts(name, "full", "scheduled", "main", taken_at, **given)  # type: ignore[arg-type]


def manifest(*packs: str) -> Manifest:
    """Return a manifest of one table that names these packs, a document and a row map."""
    return Manifest(
        format=1,
        id=BACKUP,
        kind="differential",
        backup_class="emergency",
        reason="asked for",
        source="quant",
        started_at=NOON,
        finished_at=NOON,
        snapshot=SNAPSHOT,
        tables=(TableEntry(facts=table(), rows=7, digest="0", parts=()),),
        sequences=(),
        collections=(),
        documents=(ObjectRef(name="tables/1", size=5, sha256=""),),
        packs=tuple(PackRef(name=name, size=100, sha256="", data_key="k") for name in packs),
        row_maps=(ObjectRef(name="rowmaps/1", size=6, sha256=""),),
        data_keys=("k",),
        totals=CaptureTotals(rows=7, rows_read=3, bytes_raw=300, bytes_stored=100),
        parent="20261122-034500000-9f3a61c2d4",
    )


def test_a_manifest_is_described_with_all_that_it_reaches() -> None:
    """Packs, row maps and unit documents are reached; shared ones have one number and one size."""
    objects = ObjectTable()
    first = describe(manifest("p1", "p2"), objects, locations=["disk", "s3"], proven="content")
    second = describe(manifest("p2", "p3"), objects, locations=["s3"], damaged_at=["s3"])
    assert [0, 1, 2, 3] == first.reach.tolist()
    assert [1, 2, 3, 4] == second.reach.tolist()
    assert [100, 100, 6, 5, 100] == objects.sizes().tolist()
    assert ("differential", "emergency", "quant", NOON) == (
        first.kind,
        first.backup_class,
        first.source,
        first.taken_at,
    )
    assert (7, 3, 300, 100) == (first.rows, first.rows_read, first.bytes_raw, first.bytes_stored)
    assert {"public.trades": 7} == dict(zip(first.tables, first.table_rows.tolist(), strict=True))
    assert first.is_proven("content")
    assert not second.is_proven()


def test_a_level_proves_those_below_it() -> None:
    """Who restored a backup has read it; who has only compared sums has not."""
    assert [True, True, False] == [facts(proven="content").is_proven(level) for level in PROOFS]
    assert [False] * 3 == [facts().is_proven(level) for level in PROOFS]


def test_a_proof_is_worth_nothing_when_every_copy_is_damaged() -> None:
    """What was good yesterday and is damaged at each location today is not good."""
    both = ("disk", "s3")
    assert facts(locations=both, proven="restore", damaged_at=("disk",)).is_proven()
    assert not facts(locations=both, proven="restore", damaged_at=both).is_proven()


def test_a_catalog_is_in_order_of_time() -> None:
    """Instants of other zones are turned into UTC; equal ones are ordered by id."""
    berlin = dt.timezone(dt.timedelta(hours=1))
    backups = [
        facts("c", NOON),
        facts("b", NOON),
        facts("a", dt.datetime(2026, 11, 23, 12, 30, tzinfo=berlin)),
    ]
    catalog = RetentionCatalog.of(backups, SIZES)
    assert ["a", "b", "c"] == [backup.id for backup in catalog.backups]
    assert dt.UTC == catalog.backups[0].taken_at.tzinfo


def test_reach_becomes_ascending_and_unique() -> None:
    """An object that a manifest names twice is freed once."""
    unordered = facts(reach=np.array([2, 0, 2], np.int32))
    assert [0, 2] == RetentionCatalog.of([unordered], SIZES).backups[0].reach.tolist()


@pytest.mark.parametrize(
    "backups",
    [
        pytest.param([facts(), facts()], id="an id twice"),
        pytest.param([facts(taken_at=dt.datetime(2026, 11, 23))], id="no zone"),  # noqa: DTZ001 - that is the case
        pytest.param([facts(reach=np.array([3], np.int32))], id="an object that is not there"),
        pytest.param([facts(reach=np.array([-1, 0], np.int32))], id="a negative index"),
    ],
)
def test_what_no_listing_can_hold_is_refused(backups: list[BackupFacts]) -> None:
    """A wrong catalog would free the wrong bytes."""
    with pytest.raises(ValueError, match="backup"):
        RetentionCatalog.of(backups, SIZES)


def test_a_hold_ends_at_its_instant() -> None:
    """A hold without an end lasts for ever."""
    second = dt.timedelta(seconds=1)
    assert [True, False, True] == [
        Hold("a", NOON + second).lasts(NOON),
        Hold("a", NOON).lasts(NOON),
        Hold("a").lasts(NOON + 10**6 * second),
    ]
