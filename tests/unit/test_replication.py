"""Copying backups to other locations: whole, once, and never before all that they name is there (I1, I2)."""

from pathlib import Path

import pytest

from strongroom.operations.location_messages import CopyObjects, CopyReport
from tests.places import Places
from tests.row_backups import Keys


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make a repository with three locations."""
    return Places.make(tmp_path, keys, monkeypatch)


def test_every_location_gives_back_every_backup_alone(places: Places) -> None:
    """A full and two incrementals are restorable from each location without the others."""
    backups = [places.back_up("full"), places.back_up(), places.back_up()]
    places.replicate("edge", "archive")
    for location in ("edge", "archive"):
        assert [] != places.listed(location)
        places.assert_whole(location)
    assert backups == places.listed("edge")


def test_a_second_run_copies_nothing(places: Places) -> None:
    """Copying converges: what is there is not copied again."""
    places.back_up("full")
    places.replicate("archive")
    again = places.replicate("archive")[0]
    assert ((), 0, 0) == (again.backups, again.objects_copied, again.bytes_read)


def test_two_locations_cost_one_read(places: Places) -> None:
    """Objects are read once for all locations; what is left for each is to ask whether they are there."""
    places.back_up("full")
    places.back_up()
    report = places.run("copy_objects", CopyObjects(), CopyReport)
    copied = {place.location: (place.objects_copied, place.bytes_copied) for place in report.places}
    assert copied["edge"] == copied["archive"]
    assert report.bytes_read == copied["edge"][1] > 0
    reports = places.replicate("edge", "archive")
    assert [0, 0] == [one.bytes_read for one in reports]
    places.assert_whole("archive")
