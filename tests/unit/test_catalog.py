"""The catalog: which backup is the newest, the newest full, the one of an id; and what can be built on."""

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.comparison import scratch_reason
from strongroom.errors import NoBackupYet, UnknownBackup
from strongroom.format.documents import Kind, Manifest
from tests.documents import NOON, SNAPSHOT, column, manifest, table


def taken(number: int, kind: Kind = "full", source: str = "quantforge") -> Manifest:
    """Make the manifest of a backup whose snapshot is `number` hours after noon."""
    at = NOON + dt.timedelta(hours=number)
    snapshot = msgspec.structs.replace(SNAPSHOT, taken_at=at)
    return manifest(f"backup-{number:03}", kind=kind, source=source, snapshot=snapshot)


FOUR = [taken(1), taken(2, "incremental"), taken(3, "full", "other"), taken(4, "incremental", "other")]


@settings(deadline=None, max_examples=30)
@given(st.permutations(FOUR))
def test_whatever_the_order_of_the_listing(manifests: list[Manifest]) -> None:
    """Backups are in the order of their snapshots, however they were listed."""
    assert FOUR == list(Catalog.of(manifests).backups)


def test_the_newest() -> None:
    """The newest is that of all sources, or of one."""
    catalog = Catalog.of(FOUR)
    assert FOUR[3] == catalog.latest() == catalog.latest("other")
    assert FOUR[1] == catalog.latest("quantforge")


def test_the_newest_full() -> None:
    """The newest full is that of the source, or there is none."""
    catalog = Catalog.of(FOUR)
    assert [FOUR[0], FOUR[2], None] == [catalog.latest_full(s) for s in ("quantforge", "other", "third")]


def test_finding() -> None:
    """A backup is found by its id, or by the word latest."""
    catalog = Catalog.of(FOUR)
    assert FOUR == [catalog.find(backup.id) for backup in FOUR]
    assert FOUR[3] == catalog.find("latest")
    with pytest.raises(UnknownBackup, match="backup-9"):
        catalog.find("backup-9")


def test_nothing_yet() -> None:
    """Without any backup, or any of a source, asking for the newest is an error of its own."""
    for catalog, source in ((Catalog.of([]), None), (Catalog.of(FOUR), "third")):
        with pytest.raises(NoBackupYet):
            catalog.latest(source)
    with pytest.raises(NoBackupYet):
        Catalog.of([]).find("latest")


BEFORE = table(type_facts=("enum 1: label 2 is buy",))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"name": "renamed", "schema": "moved", "size": 99, "managed": True}, ""),
        ({"type_facts": ("enum 1: label 2 is buy", "enum 1: label 3 is sell")}, ""),
        ({"type_facts": ()}, "type"),
        ({"type_facts": ("enum 1: label 2 is BUY",)}, "type"),
        ({"file_node": 17}, "rewritten"),
        ({"access_method": "columnar"}, "columnar"),
        ({"columns": BEFORE.columns[:1]}, "columns"),
        ({"columns": (*BEFORE.columns, column("more", number=3))}, "columns"),
        ({"columns": BEFORE.columns[::-1]}, "columns"),
        ({"columns": (column("id", 23), BEFORE.columns[1])}, "columns"),
        ({"columns": (column("id", 20, generated="s"), BEFORE.columns[1])}, "columns"),
    ],
)
def test_what_makes_a_table_start_from_scratch(changes: dict[str, Any], reason: str) -> None:
    """Rows are compared only with rows whose text means the same; a new name or enum label changes nothing."""
    found = scratch_reason(BEFORE, msgspec.structs.replace(BEFORE, **changes))
    assert (bool(reason), True) == (bool(found), reason in found)


def test_a_table_that_the_parent_does_not_have() -> None:
    """A new table has nothing to be compared with."""
    assert "parent does not have it" in scratch_reason(None, BEFORE)
