"""Damage and forgery of stored objects: each is noticed, and what noticed it names the object."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import psycopg
import pytest

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.operator_key import OperatorKey
from strongroom.crypto.pack_cipher import PackCipher
from strongroom.crypto.recovery_keys import RecoveryPrivateKey
from strongroom.crypto.signing_key import SigningKey, sign
from strongroom.errors import (
    ForgedSignature,
    FormatError,
    KeyringError,
    MissingKey,
    NewerFormat,
    NotARecipient,
    RepositoryError,
    StrongroomError,
    UnknownBackup,
    WrongRepositoryKey,
)
from strongroom.format.documents import FORMAT
from strongroom.format.packs import read_header
from strongroom.keys import load_keyring
from strongroom.repository import layout
from strongroom.repository.repository import Repository
from strongroom.stores.memory import MemoryStore
from tests.databases import Database
from tests.row_backups import Keys, RowBackups, small_extents

MARKER = "a row that nobody else may ever read"
_ROOMS = (layout.KEYS, layout.PACKS, layout.UNIT_DOCUMENTS, layout.ROW_MAPS, layout.MANIFESTS)


@pytest.fixture
def backups(
    empty_database: Database, tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> RowBackups:
    """Make a repository of two backups, the second an incremental, stored as it is: nothing hides in zstd."""
    small_extents(monkeypatch)
    with psycopg.connect(empty_database.dsn(), autocommit=True) as writer:
        writer.execute(
            "CREATE TABLE t AS SELECT g AS id, %s || g AS note FROM generate_series(1, 600) g", [MARKER]
        )
        made = RowBackups.make(empty_database.dsn(), tmp_path, keys, monkeypatch)
        object.__setattr__(made.settings.backup, "compression_threshold", 1 << 40)
        made.back_up("full")
        writer.execute("UPDATE t SET note = note || '!' WHERE id % 9 = 0")
        made.back_up("incremental")
    return made


def _memory(backups: RowBackups) -> MemoryStore:
    assert isinstance(backups.store, MemoryStore)
    return backups.store


def _noticed(backups: RowBackups, name: str) -> bool:
    """Tell whether verifying the newest backup, without the recovery key, names the object."""
    backup = max(backups.remembered)
    try:
        report = backups.verify(backup, "structure")
    except StrongroomError as error:
        return name in str(error) or (name == layout.manifest_name(backup) and backup in str(error))
    assert report.passed == (not report.findings)
    return any(name in finding.object for finding in report.findings)


def _reached(backups: RowBackups, room: str) -> list[str]:
    """Return the objects of a room that the newest backup reaches."""
    manifest = backups.manifest(max(backups.remembered))
    named = {r.name for r in (*manifest.packs, *manifest.row_maps, *manifest.documents)}
    named |= {layout.key_name(key) for key in manifest.data_keys} | {layout.manifest_name(manifest.id)}
    return sorted(name for name in named if name.startswith(room))


def _flip(place: float) -> Callable[[bytes], bytes]:
    def flip(data: bytes) -> bytes:
        at = min(len(data) - 1, int(len(data) * place))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return flip


@pytest.mark.parametrize("room", _ROOMS)
def test_a_flipped_bit_is_noticed_in_every_kind_of_object(
    backups: RowBackups, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    """At the beginning, in the middle, at the end: structural verification names the object."""
    pristine = _memory(backups)
    for name in _reached(backups, room)[:2]:
        for place in (0.0, 0.02, 0.3, 0.7, 1.0):
            damaged = pristine.copy()
            damaged.tamper(name, _flip(place))
            backups.use(monkeypatch, damaged)
            assert _noticed(backups, name), f"{name} at {place}"
            backups.use(monkeypatch, pristine)


@pytest.mark.parametrize("room", _ROOMS)
def test_a_lost_or_shortened_object_is_noticed(
    backups: RowBackups, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    """Deleted, cut in half, emptied, or longer by a byte: structural verification names the object."""
    pristine = _memory(backups)
    name = _reached(backups, room)[-1]
    for change in (lambda data: data[: len(data) // 2], lambda _: b"", lambda data: data + b"\0", None):
        damaged = pristine.copy()
        if change is None:
            damaged.delete(name)
        else:
            damaged.tamper(name, change)
        backups.use(monkeypatch, damaged)
        assert _noticed(backups, name), name


@pytest.mark.parametrize("room", _ROOMS)
def test_two_objects_that_changed_places_are_noticed(
    backups: RowBackups, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    """Bytes that are genuine, under another object's name, are as good as damaged."""
    store = _memory(backups).copy()
    second = _reached(backups, room)[-1]
    first = next(stored.name for stored in store.list(room) if stored.name != second)
    one, other = store.get(first), store.get(second)
    store.tamper(first, lambda _: other)
    store.tamper(second, lambda _: one)
    backups.use(monkeypatch, store)
    assert _noticed(backups, second)


@pytest.mark.parametrize("place", [0.01, 0.2, 0.5, 0.8])
def test_a_flipped_bit_of_repository_json_is_noticed(backups: RowBackups, place: float) -> None:
    """What a repository says of itself is signed."""
    store = _memory(backups).copy()
    store.tamper(layout.REPOSITORY, _flip(place))
    with pytest.raises((FormatError, KeyringError, RepositoryError)):
        Repository.open(store, backups.keys.recoverer)


def test_an_older_manifest_under_a_newer_name_is_no_backup(backups: RowBackups) -> None:
    """A signature is good under one name only: nobody passes off last week's backup as today's."""
    store = _memory(backups).copy()
    old = backups.listed()[0]
    data = store.get(layout.manifest_name(old))
    newer = layout.manifest_name("99991231-235959-0000000000")
    store.put(newer, data, hashlib.sha256(data).hexdigest())
    with pytest.raises(ForgedSignature):
        Repository.open(store, backups.keys.recoverer).read_manifest("99991231-235959-0000000000")


def test_a_manifest_signed_with_another_key_is_no_backup(backups: RowBackups) -> None:
    """Who has the operator key and can write to the store can still not forge a backup."""
    store = _memory(backups).copy()
    forger = replace(backups.keys.recoverer, signing=SigningKey.generate(os.urandom))
    repository = Repository(store, forger, backups.repository().info)
    manifest = msgspec.structs.replace(backups.manifest(backups.listed()[0]), id="99991231-235959-0000000000")
    repository.write_manifest(manifest, os.urandom)
    with pytest.raises(ForgedSignature):
        Repository.open(store, backups.keys.recoverer).read_manifest(manifest.id)


def test_a_sealed_data_key_of_a_forger_is_refused(backups: RowBackups) -> None:
    """A data key that somebody else sealed, to know the rows or to exchange them, is not opened."""
    store = _memory(backups).copy()
    name = _reached(backups, layout.KEYS)[0]
    forged = store.get(name)[:-64]
    store.tamper(name, lambda _: forged + sign(SigningKey.generate(os.urandom), name, forged))
    with pytest.raises(ForgedSignature):
        Repository.open(store, backups.keys.recoverer).data_key(name.removeprefix(layout.KEYS))


def test_a_repository_of_a_newer_format_is_left_alone(backups: RowBackups) -> None:
    """A later version's repository is named as such, before anything else is looked at."""
    store = _memory(backups).copy()
    signing = backups.keys.recoverer.require_signing()
    info = msgspec.json.decode(store.get(layout.REPOSITORY))["repository"] | {
        "format": FORMAT + 1,
        "what": "is new",
    }
    raw = msgspec.json.encode(info)
    document = {"repository": info, "signature": sign(signing, "repository", raw)}
    store.tamper(layout.REPOSITORY, lambda _: msgspec.json.encode(document))
    with pytest.raises(NewerFormat):
        Repository.open(store, backups.keys.recoverer)


def test_a_wrong_key_is_named(backups: RowBackups) -> None:
    """Another operator key, another signing key, another recovery key: each has an error of its own."""
    store, right = _memory(backups), backups.keys.recoverer
    with pytest.raises(WrongRepositoryKey):
        Repository.open(store, replace(right, operator=OperatorKey.generate(os.urandom)))
    with pytest.raises(WrongRepositoryKey):
        Repository.open(store, replace(right, signing_public=SigningKey.generate(os.urandom).public()))
    other = replace(right, recovery_private=RecoveryPrivateKey.generate(os.urandom))
    key = backups.manifest(backups.listed()[0]).data_keys[0]
    with pytest.raises(NotARecipient):
        Repository.open(store, other).data_key(key)


def test_a_removed_manifest_is_no_backup(backups: RowBackups, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup without a manifest does not exist, and asking for it says so."""
    store = _memory(backups).copy()
    backup = max(backups.remembered)
    store.delete(layout.manifest_name(backup))
    backups.use(monkeypatch, store)
    with pytest.raises(UnknownBackup):
        backups.verify(backup, "structure")


@pytest.mark.parametrize("place", [0.0, 0.02, 0.15, 0.5, 1.0])
def test_a_damaged_attempt_stops_no_backup(
    backups: RowBackups, monkeypatch: pytest.MonkeyPatch, place: float
) -> None:
    """What an interrupted run left is worth time only: a damaged rest is as good as none."""
    plan = backups.interrupt(units=1)
    store = _memory(backups)
    store.tamper(layout.attempt_name(plan.backup), _flip(place))
    resumed: list[str] = []
    backup = backups.back_up("incremental", lambda new: resumed.append(new.resumes))
    assert [""] == resumed
    backups.assert_true(backup)


@pytest.mark.parametrize("place", [0.0, 0.02, 0.15, 0.5, 1.0])
def test_a_damaged_plan_of_a_listed_backup_is_named_and_costs_it_nothing(
    backups: RowBackups, place: float
) -> None:
    """Nobody needs the plan any more, so the backup is proven; that something damages objects is told."""
    backup = max(backups.remembered)
    name = layout.attempt_name(backup)
    _memory(backups).tamper(name, _flip(place))
    report = backups.verify(backup, "structure")
    assert (True, 100) == (report.passed, report.score)
    assert [("warning", name)] == [(finding.severity, finding.object) for finding in report.findings]


# ----------------------------------------------------------------------------- what a worker can read


def test_a_worker_backs_up_and_verifies_but_reads_no_row(
    backups: RowBackups, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without recovery.pem everything works but reading: no key that a worker has opens a chunk."""
    worker = tmp_path / "worker"
    worker.mkdir(mode=0o700)
    for file in keys.directory.iterdir():
        if file.name != "recovery.pem":
            (worker / file.name).write_bytes(file.read_bytes())
            (worker / file.name).chmod(0o600)
    section = backups.settings.keys.model_copy(update={"directory": worker})
    backups.settings = backups.settings.model_copy(update={"keys": section})
    backup = backups.back_up("incremental")
    assert backups.verify(backup, "structure").passed
    with pytest.raises(MissingKey):
        backups.verify(backup, "content")
    _assert_opens_nothing(backups, load_keyring(worker), backup)


def _assert_opens_nothing(backups: RowBackups, keyring: Keyring, backup: str) -> None:
    """Try all 32 bytes that a worker has, or that lie in what it can open, as data key and as pack key."""
    repository = Repository.open(backups.store, keyring)
    assert not keyring.can_read_rows
    candidates = [keyring.require_operator().secret, keyring.require_signing().private.private_bytes_raw()]
    for stored in backups.store.list(layout.KEYS):
        sealed = repository.sealed_data_key(stored.name.removeprefix(layout.KEYS))
        for body in sealed.recipients.values():
            candidates += [body[at : at + 32] for at in range(0, len(body) - 31, 8)]
    manifest = repository.read_manifest(backup)
    pack = manifest.packs[0]
    data = repository.read_object(pack)
    _, header = read_header(data, pack.name)
    length = int.from_bytes(data[len(header) : len(header) + 4], "little")
    sealed_chunk = data[len(header) + 4 : len(header) + 4 + length]
    for candidate in candidates:
        with pytest.raises(FormatError):
            PackCipher(candidate, header[-32:]).open(0, sealed_chunk, header)
    with pytest.raises(MissingKey):
        repository.open_pack(pack)


def test_no_plaintext_of_a_row_lies_in_any_object_or_temporary_file(
    backups: RowBackups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the store nor the temporary folder nor the working folder ever holds a row's bytes."""
    written = tmp_path / "temporary"
    written.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(written))
    backups.back_up("full")
    store = _memory(backups)
    needles = [MARKER.encode(), MARKER.encode("utf-16-le"), MARKER.encode().hex().encode()]
    for stored in store.list():
        data = store.get(stored.name)
        assert not [needle for needle in needles if needle in data], stored.name
    for file in (f for f in tmp_path.rglob("*") if f.is_file()):
        assert not [needle for needle in needles if needle in file.read_bytes()], file
    assert MARKER in str(backups.rows_of(max(backups.remembered)))
