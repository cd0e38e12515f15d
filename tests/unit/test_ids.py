"""Identifiers: what the order of their names says."""

from datetime import UTC, datetime, timedelta, timezone

from strongroom.ids import is_backup_id, new_backup_id

_NOW = datetime(2026, 11, 23, 3, 45, 0, 123456, UTC)


def test_ids_sort_by_time_to_the_millisecond() -> None:
    """Of two backups in one second the later one is the later name, whatever their random parts are."""
    earlier = new_backup_id(_NOW, b"\xff" * 5)
    later = new_backup_id(_NOW + timedelta(milliseconds=1), bytes(5))
    assert [earlier, later] == sorted([later, earlier])


def test_ids_are_in_utc_and_known_as_ids() -> None:
    """The same instant in another zone has the same name, which has the form of an id."""
    there = _NOW.astimezone(timezone(timedelta(hours=9)))
    assert new_backup_id(_NOW, bytes(5)) == new_backup_id(there, bytes(5)) == "20261123-034500123-0000000000"
    assert is_backup_id("20261123-034500123-0000000000")
    assert not is_backup_id("20261123-034500-0000000000")
