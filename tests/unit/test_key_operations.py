"""The operations on keys, from settings and key files to what a restore with the new key can open."""

import os
import shutil
from pathlib import Path

import pytest

from strongroom.clock import system_clock
from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import (
    BadKeyName,
    ForeignRepository,
    LeaseHeld,
    MissingKey,
    NotARecipient,
    NothingToRotate,
    RecoveryKeysRetired,
    WrongPassphrase,
)
from strongroom.keys import create_recovery_key, load_keyring
from strongroom.operations.context import Context
from strongroom.operations.key_messages import KeysReport, ListKeys, RotateKeys, RotationReport
from strongroom.operations.list_keys import list_keys
from strongroom.operations.rotate_keys import ROTATE_RIGHT, rotate_keys
from strongroom.repository import layout
from strongroom.repository.leases import Lease
from strongroom.repository.locations import open_location
from strongroom.repository.opening import open_repository, open_repository_at
from strongroom.repository.writing import COPY_RIGHT
from strongroom.stores.local import LocalDirectoryStore
from tests.documents import BACKUP
from tests.repositories import PASSPHRASE, new_repository

CONTEXT = Context(deadline=Deadline.never())
NOWHERE = "postgresql://postgres@127.0.0.1:1/postgres"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Make keys, and a repository with two data keys at the first of two locations; the second is empty."""
    first, second = (
        f"{{name = '{name}', role = 'local', url = 'file://{tmp_path}/{name}'}}"
        for name in ("repository", "second")
    )
    places = f"[{first}, {second}]"
    made = new_repository(tmp_path, NOWHERE, repository_locations=places)
    for _ in range(2):
        open_repository_at(made).new_data_key(BACKUP, os.urandom)
    return made


def add_key(settings: Settings, name: str = "new") -> str:
    """Make a further recovery key and return its id."""
    return create_recovery_key(settings.keys.directory, name, PASSPHRASE.encode(), os.urandom).key_id


def rotate(settings: Settings, *to: str, retire: bool = False) -> RotationReport:
    """Run the operation."""
    return rotate_keys(settings, RotateKeys(to=to, retire=retire), CONTEXT)


def keys_of(settings: Settings) -> KeysReport:
    """Run the other operation."""
    return list_keys(settings, ListKeys(), CONTEXT)


def keep_only(settings: Settings, name: str) -> None:
    """Take every private recovery key away but one."""
    for file in settings.keys.directory.glob("recovery*.pem"):
        if file.name != name:
            file.unlink()


def opened(settings: Settings) -> dict[str, bytes]:
    """Open all data keys with what is in the key directory."""
    repository = open_repository(settings, to_read_rows=True)
    return {key_id: repository.data_key(key_id) for key_id in repository.data_keys.forms()}


def test_from_one_recovery_key_to_the_next(settings: Settings) -> None:
    """Made, added, retired: each step says what it did, and in the end the new file alone opens everything."""
    old = keys_of(settings).recovery_keys[0].id
    held = opened(settings)
    new = add_key(settings)
    added = rotate(settings)
    assert (True, 1, (old, new), (), 2, 2, (old, new), 0, ()) == (
        added.passed,
        added.number,
        added.recovery_keys,
        added.retired,
        added.data_keys,
        added.resealed,
        added.proven,
        added.forms_deleted,
        added.findings,
    )
    (settings.keys.directory / "recovery.pub").unlink()
    retired = rotate(settings, retire=True)
    assert (True, 2, (new,), (old,), 2, 4) == (
        retired.passed,
        retired.number,
        retired.recovery_keys,
        retired.retired,
        retired.resealed,
        retired.forms_deleted,
    )
    shutil.copytree(settings.keys.directory, settings.keys.directory.with_name("old keys"))
    keep_only(settings, "recovery-new.pem")
    assert held == opened(settings)
    shutil.rmtree(settings.keys.directory)
    settings.keys.directory.with_name("old keys").rename(settings.keys.directory)
    keep_only(settings, "recovery.pem")
    with pytest.raises(NotARecipient):
        opened(settings)


def test_a_worker_whose_only_public_key_was_retired_is_refused(settings: Settings) -> None:
    """Its next backup ends before it writes a row, and says which file it lacks."""
    new = add_key(settings)
    rotate(settings, new, retire=True)
    (settings.keys.directory / "recovery-new.pub").unlink()
    with pytest.raises(RecoveryKeysRetired) as caught:
        open_repository_at(settings).new_data_key(BACKUP, os.urandom)
    assert "Copy recovery.pub" in caught.value.advice()


def test_what_the_list_says_at_each_step(settings: Settings, tmp_path: Path) -> None:
    """Which keys there are, how much is sealed to each, and what the files here do not open."""

    def briefs() -> list[tuple[str, str, int, tuple[str, ...]]]:
        return [
            (one.id, one.status, one.data_keys, one.private_files) for one in keys_of(settings).recovery_keys
        ]

    old = keys_of(settings).recovery_keys[0].id
    assert [(old, "current", 2, ("recovery.pem",))] == briefs()
    new = add_key(settings)
    assert [(old, "current", 2, ("recovery.pem",)), (new, "unknown", 0, ("recovery-new.pem",))] == briefs()
    rotate(settings)
    assert (2, 2) == ((report := keys_of(settings)).superseded, report.openable)
    rotate(settings, new, retire=True)
    assert [(new, "current", 2, ("recovery-new.pem",)), (old, "retired", 0, ("recovery.pem",))] == briefs()
    (settings.keys.directory / "recovery-new.pem").rename(tmp_path / "taken away.pem")
    report = keys_of(settings)
    assert (0, 2, 0, 2) == (report.openable, len(report.locked), report.superseded, report.number)


def test_a_damaged_data_key_is_a_finding_of_the_list(settings: Settings, tmp_path: Path) -> None:
    """It hides none of the others."""
    damaged = min((tmp_path / "repository" / "keys").iterdir())
    damaged.chmod(0o600)
    damaged.write_bytes(b"?" + damaged.read_bytes()[1:])
    report = keys_of(settings)
    assert (2, 1, [f"keys/{damaged.name}"]) == (
        report.data_keys,
        report.openable,
        [finding.object for finding in report.findings],
    )


def test_a_second_location_is_rotated_too(settings: Settings, tmp_path: Path) -> None:
    """It gets the same objects; a copy that was made before the rotation keeps nothing for the old key."""
    shutil.copytree(tmp_path / "repository", tmp_path / "second")
    report = rotate(settings, add_key(settings), retire=True)
    assert (True, 2, 4) == (report.passed, len(report.locations), report.forms_deleted)
    objects = [
        {
            file.name: file.read_bytes()
            for folder in (layout.KEYS, layout.RECOVERY_KEYS)
            for file in (tmp_path / place / folder).iterdir()
        }
        for place in ("repository", "second")
    ]
    assert objects[0] == objects[1]


def test_a_location_with_another_repository_is_left_alone_and_named(
    settings: Settings, tmp_path: Path
) -> None:
    """What it holds needs other keys, or the old one; either way somebody has to know."""
    keyring = load_keyring(settings.keys.directory)
    stranger = open_repository_at(settings)
    second = LocalDirectoryStore(tmp_path / "second")
    type(stranger).create(second, keyring, system_clock(), os.urandom)
    before = sorted((tmp_path / "second").rglob("*"))
    report = rotate(settings, add_key(settings))
    assert [ForeignRepository.code] == [finding.code for finding in report.findings]
    assert before == sorted((tmp_path / "second").rglob("*"))


def test_nothing_to_rotate_is_said(settings: Settings) -> None:
    """Neither without a new key, nor after the last step."""
    with pytest.raises(NothingToRotate):
        rotate(settings)
    new = add_key(settings)
    rotate(settings, new, retire=True)
    with pytest.raises(NothingToRotate):
        rotate(settings, new, retire=True)


def test_keys_are_named_by_file_or_by_id(settings: Settings, tmp_path: Path) -> None:
    """A public key on a stick takes part without lying in the key directory; an id without a file does not."""
    new = add_key(settings)
    (settings.keys.directory / "recovery-new.pub").rename(tmp_path / "stick.pub")
    (settings.keys.directory / "recovery-new.pem").rename(tmp_path / "stick.pem")
    with pytest.raises(MissingKey) as caught:
        rotate(settings, new)
    assert new in str(caught.value)
    report = rotate(settings, str(tmp_path / "stick.pub"))
    assert (new, False, [f"recovery key {new}"]) == (
        report.recovery_keys[1],
        new in report.proven,
        [finding.object for finding in report.findings],
    )


@pytest.mark.parametrize("right", [ROTATE_RIGHT, COPY_RIGHT])
def test_one_rotation_at_a_time_and_none_beside_copying(settings: Settings, right: str) -> None:
    """Another that rotates, copies or deletes is waited for."""
    add_key(settings)
    store = open_location(settings).store
    with Lease(store, right, "another", system_clock), pytest.raises(LeaseHeld):
        rotate(settings)
    assert 1 == rotate(settings).number


def test_without_the_old_key_nothing_is_rotated(settings: Settings, tmp_path: Path) -> None:
    """No private key, or not its passphrase: it is said before anything is written."""
    add_key(settings)
    pem = settings.keys.directory / "recovery.pem"
    before = sorted((tmp_path / "repository").rglob("*"))
    keep_only(settings, "recovery-new.pem")
    with pytest.raises(NotARecipient):
        rotate(settings)
    (settings.keys.directory / "recovery-new.pem").unlink()
    with pytest.raises(MissingKey):
        rotate(settings)
    assert not pem.exists()
    create_recovery_key(settings.keys.directory, "third", b"another passphrase", os.urandom)
    with pytest.raises(WrongPassphrase):
        rotate(settings)
    assert not (tmp_path / "repository" / "recovery-keys").exists()
    assert before == [
        path for path in sorted((tmp_path / "repository").rglob("*")) if "leases" not in str(path)
    ]


def test_a_name_is_checked_before_a_key_is_made(settings: Settings) -> None:
    """It becomes part of file names."""
    with pytest.raises(BadKeyName):
        add_key(settings, "../new")
