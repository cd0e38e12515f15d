"""A database with any past comes back whole: lives as in `test_incremental_capture`, restored elsewhere."""

from pathlib import Path
from random import Random

import pytest

from strongroom.deadline import Deadline
from strongroom.postgres.connection import connect
from strongroom.runners import InThisProcess
from strongroom.whole import back_up, restore
from tests.databases import Database, MakeDatabase
from tests.property.test_incremental_capture import Life, World, live
from tests.row_backups import Keys, Observation, observe_all, settings_for, small_extents


def _observe(database: Database) -> Observation:
    with connect(database.conninfo(), Deadline.after(60, "test")) as connection:
        return observe_all(connection)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_database_with_any_past_is_restored_to_the_row(
    empty_database: Database,
    platform_database: MakeDatabase,
    tmp_path: Path,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Odd names, types, partitions, dropped columns and layers of many backups arrive as they were."""
    small_extents(monkeypatch)
    destination = platform_database()
    life = Life(World(empty_database, tmp_path, keys, monkeypatch))
    live(life, Random(seed), steps=25)
    life.end()
    variables = {"STRONGROOM_DESTINATION_URL": destination.dsn()}
    runner = InThisProcess(
        settings_for(empty_database.dsn(), tmp_path, keys, **variables),
        Deadline.after(120, "test"),
        clock=life.backups.clock,
    )
    life.backups.clock.step()
    before = _observe(empty_database)
    report = back_up(runner, "incremental")
    restore(runner, report.backup)

    after = _observe(destination)
    assert {name: after.rows.get(name) for name in before.rows} == before.rows
    assert {name: after.digests.get(name) for name in before.digests} == before.digests
    assert len(before.rows) > 3
