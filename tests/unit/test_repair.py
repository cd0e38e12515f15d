"""Repair: what is missing or damaged at one location comes back from another, and nothing is overwritten blindly."""

from pathlib import Path

import pytest

from strongroom.operations.location_messages import (
    PlanRepair,
    Repair,
    RepairPlanReport,
    RepairReport,
)
from strongroom.repository import layout
from strongroom.stores.memory import MemoryStore
from tests.places import Places
from tests.row_backups import Keys


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make a repository with two locations that hold two backups each."""
    places = Places.make(tmp_path, keys, monkeypatch, {"local": "local", "archive": "archive"})
    places.back_up("full")
    places.back_up()
    places.replicate("archive")
    return places


def memory(places: Places, name: str) -> MemoryStore:
    """Return the store of a location, to damage it."""
    store = places.stores[name]
    assert isinstance(store, MemoryStore)
    return store


def flip(data: bytes) -> bytes:
    """Return the bytes with one bit wrong."""
    return bytes([data[0] ^ 1]) + data[1:]


def names(places: Places, prefix: str, location: str = "local") -> list[str]:
    """Return the names below a prefix at a location."""
    return [found.name for found in places.stores[location].list(prefix)]


def plan(places: Places, *, read_everything: bool = False) -> RepairPlanReport:
    """Look for faults."""
    return places.run("plan_repair", PlanRepair(read_everything=read_everything), RepairPlanReport)


def repair(places: Places, found: RepairPlanReport) -> RepairReport:
    """Mend what was found."""
    return places.run("repair", Repair(mends=found.mends), RepairReport)


@pytest.mark.parametrize("prefix", ["packs/", "tables/", "keys/", "manifests/"])
def test_what_is_missing_comes_back(places: Places, prefix: str) -> None:
    """A deleted object of any kind is found by the lists alone, and copied from the other location."""
    gone = names(places, prefix)[0]
    places.stores["local"].delete(gone)
    found = plan(places)
    if prefix == layout.MANIFESTS:
        # A backup that a location does not list is for copying to bring back.
        assert () == found.mends
        places.replicate("local")
    else:
        assert [("local", gone, "missing", "archive")] == [
            (one.location, one.name, one.problem, one.source) for one in found.mends
        ]
        assert found.mends == repair(places, found).repaired
    places.assert_whole("local")
    assert () == plan(places, read_everything=True).mends


@pytest.mark.parametrize("prefix", ["packs/", "tables/", "keys/", "manifests/"])
def test_what_is_damaged_is_replaced(places: Places, prefix: str) -> None:
    """A flipped bit is found by reading everything; the damaged object goes only with a good one in hand."""
    bad = names(places, prefix)[0]
    memory(places, "local").tamper(bad, flip)
    found = plan(places, read_everything=True)
    assert [("local", bad, "damaged")] == [(one.location, one.name, one.problem) for one in found.mends]
    assert found.mends == repair(places, found).repaired
    places.assert_whole("local")


def test_what_no_location_has_is_said_and_left(places: Places) -> None:
    """Damage at every location cannot be mended: a critical finding, and the bytes stay for somebody to look at."""
    bad = names(places, "packs/")[0]
    for name in ("local", "archive"):
        memory(places, name).tamper(bad, flip)
    found = plan(places, read_everything=True)
    done = repair(places, found)
    assert () == done.repaired
    assert {"SR-0716"} == {finding.code for finding in done.findings}
    assert bad in names(places, "packs/")


def test_a_verification_mends_on_the_way(places: Places) -> None:
    """Damage at the verified location is replaced, proven again, and stays in the report as a warning."""
    bad = names(places, "packs/")[0]
    memory(places, "local").tamper(bad, flip)
    report = places.verify(location="local", level="content")
    assert (True, 100) == (report.passed, report.score)
    assert [("warning", "repaired", bad)] == [(f.severity, f.code, f.object) for f in report.findings]
    assert () == places.verify(location="local").findings


def test_a_verification_of_one_location_does_not_borrow_from_another(places: Places) -> None:
    """What is proven is the copy that was asked about: with nothing to mend it from, damage fails it."""
    bad = names(places, "packs/")[0]
    for name in ("local", "archive"):
        memory(places, name).tamper(bad, flip)
    assert not places.verify(location="local").passed
    assert not places.verify(location="archive").passed


def test_a_failed_verification_tells_repair_where_to_look(places: Places) -> None:
    """Without reading everything, repair reads what the last failed verification named."""
    bad = names(places, "packs/")[0]
    good = places.stores["archive"].get(bad)
    for name in ("local", "archive"):
        memory(places, name).tamper(bad, flip)
    places.verify(location="local")
    memory(places, "archive").tamper(bad, lambda _: good)
    found = plan(places)
    assert [("local", bad)] == [(one.location, one.name) for one in found.mends]
    assert found.mends == repair(places, found).repaired
    places.assert_whole("local")


def test_reading_falls_back_on_a_good_copy(places: Places) -> None:
    """A backup whose nearest copy is damaged or gone is read whole, and what was damaged is named."""
    from strongroom.repository.collections import read_collection
    from strongroom.repository.locations import damage_noticed
    from strongroom.repository.opening import open_repository

    packs = names(places, "packs/")
    memory(places, "local").tamper(packs[0], flip)
    places.stores["local"].delete(packs[1])
    repository = open_repository(places.settings, to_read_rows=True)
    for backup in places.listed("archive"):
        manifest = repository.read_manifest(backup)
        for one in manifest.collections:
            content = b"".join(read_collection(repository, manifest, one.name))
            assert places.held[backup][one.name] == content
    assert {f"{packs[0]} at memory"} == {finding.object for finding in damage_noticed(repository.store)}
