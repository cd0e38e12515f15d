"""Cold tiers: plans say how long packs take to thaw, and what goes before its shortest stay is over."""

import datetime as dt
from pathlib import Path

import pytest

from strongroom.repository.locations import Location, options_of
from strongroom.repository.tiers import find_delay, find_early_deletions, restore_delay
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.memory import MemoryStore
from strongroom.stores.storage_classes import tier
from tests.documents import manifest
from tests.places import DAY, HOUR, START, settings_for
from tests.row_backups import Keys

COLD = Capabilities(tiers=(tier("STANDARD_IA"), tier("GLACIER", 30 * DAY), tier("DEEP_ARCHIVE", 90 * DAY)))


class Cold(MemoryStore):
    """A bucket whose packs freeze with age."""

    @property
    def capabilities(self) -> Capabilities:
        """Tell of the tiers."""
        return COLD


@pytest.fixture
def archive(tmp_path: Path, keys: Keys) -> Location:
    """Make a location with cold tiers."""
    settings = settings_for(tmp_path, keys, {"archive": "archive"})
    return Location(settings.repository.locations[0], Cold())


def backup_of(day: dt.datetime) -> str:
    """Return the id of a backup of a day."""
    return f"{day:%Y%m%d}-030000000-0123456789"


@pytest.mark.parametrize(("age", "delay"), [(0, 0), (29, 0), (30, 12), (89, 12), (90, 48), (400, 48)])
def test_the_slowest_pack_decides(age: int, delay: int) -> None:
    """A backup that reuses packs of an old full waits for those."""
    from strongroom.format.documents import PackRef

    now = dt.datetime(2027, 6, 1, 3, tzinfo=dt.UTC)
    packs = tuple(
        PackRef(
            name=f"packs/aa/{days}", size=1, sha256="", data_key=f"{backup_of(now - days * DAY)}-00000000"
        )
        for days in (0, age)
    )
    assert delay * HOUR == restore_delay(manifest(packs=packs), COLD, now)


def test_a_plan_says_so_only_if_no_location_is_quicker(archive: Location) -> None:
    """With a warm copy anywhere there is nothing to wait for."""
    from dataclasses import replace

    from strongroom.format.documents import PackRef

    old = PackRef(name="packs/aa/x", size=1, sha256="", data_key=f"{backup_of(START - 40 * DAY)}-00000000")
    backup = manifest(packs=(old,))
    warm = replace(archive, store=MemoryStore())
    assert ["restore-delay"] == [finding.code for finding in find_delay(backup, [archive], START)]
    assert () == find_delay(backup, [archive, warm], START)
    assert () == find_delay(backup, [], START)


def test_deleting_before_the_shortest_stay_is_named(archive: Location) -> None:
    """What is billed longer than it is kept is worth knowing; what frees nothing costs nothing."""
    young, old = backup_of(START - 40 * DAY), backup_of(START - 400 * DAY)
    found = find_early_deletions([(young, 1000), (old, 1000), (young, 0)], archive, START)
    assert ["early-deletion"] == [finding.code for finding in found]
    assert "1000 bytes of 1 backups" in found[0].observed
    assert () == find_early_deletions([(old, 1000)], archive, START)


def test_tiers_come_from_the_configuration(tmp_path: Path, keys: Keys) -> None:
    """The class that packs are written in is the first tier; those that the bucket moves them to follow."""
    settings = settings_for(tmp_path, keys, {"archive": "archive"})
    location = settings.repository.locations[0].model_copy(
        update={
            "storage_class": "STANDARD_IA",
            "tiers": (settings_tier("GLACIER", 30 * 86400.0),),
        }
    )
    tiers = options_of(location).tiers
    assert [("STANDARD_IA", 0 * DAY, 0 * HOUR), ("GLACIER", 30 * DAY, 12 * HOUR)] == [
        (one.storage_class, one.after, one.restore_delay) for one in tiers
    ]


def settings_tier(storage_class: str, after: float) -> object:
    """Return an entry of `tiers`."""
    from strongroom.location_settings import TierSettings

    return TierSettings(storage_class=storage_class, after=after)
