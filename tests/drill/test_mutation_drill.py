"""The mutation drill, end to end: every kind of damage is done to a copy, and each is noticed for what it is."""

import asyncio
from pathlib import Path

import pytest

from flows.backup import back_up
from flows.drill import rehearse
from strongroom.config import load_settings
from strongroom.deadline import Deadline
from strongroom.drill.damage import DAMAGES
from strongroom.drill.database_damage import DATABASE_DAMAGES
from strongroom.drill.evidence import detection_percent
from strongroom.format.records import DrillRecord
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.messages import InitRepository
from strongroom.repository.opening import open_repository
from tests.databases import MakeDatabase
from tests.flows.conftest import write_configuration

PASSPHRASE = "open sesame"


def objects_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but for reports and what writers leave."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in {"reports", "~writing"}
    }


@pytest.mark.timeout(400)
def test_the_mutation_drill_notices_every_damage(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage to bytes, to the manifest, by the wrong key, and in what was restored: 100 %, and nothing is changed."""
    monkeypatch.setenv("STRONGROOM_KEYS_PASSPHRASE", PASSPHRASE)
    address = quantforge().dsn()
    configuration = write_configuration(tmp_path, tmp_path / "repository", address)
    settings = load_settings(configuration, {"STRONGROOM_KEYS_PASSPHRASE": PASSPHRASE})
    init_repository(settings, InitRepository(), Context(deadline=Deadline.after(60, "test")))
    asyncio.run(back_up(str(configuration), kind="full"))
    before = objects_of(tmp_path / "repository")

    report = asyncio.run(rehearse(str(configuration), mutation=True, data_docs=""))
    record = report.evidence
    wanted = [damage.name for damage in DAMAGES] + [damage.name for damage in DATABASE_DAMAGES]
    assert wanted == [outcome.damage for outcome in record.damages]
    assert [] == [outcome for outcome in record.damages if not outcome.noticed_by]
    assert (True, 100.0) == (record.passed, detection_percent(record))
    assert before == objects_of(tmp_path / "repository")
    repository = open_repository(settings)
    (name,) = repository.record_names(DrillRecord.FOLDER)
    assert f"{len(wanted)} of {len(wanted)} noticed: 100 %" in repository.read_record(DrillRecord, name).page
