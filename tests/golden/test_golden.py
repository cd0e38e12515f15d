"""The golden repository: written and read back by today's code, and read by a reader that shares none of it."""

import ast
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.deadline import Deadline
from strongroom.errors import WrongPassphrase
from strongroom.format.documents import FORMAT
from strongroom.format.packs import PackBuilder
from strongroom.format.records import (
    AcceptanceRecord,
    DrillRecord,
    HoldRecord,
    RecoveryRecord,
    VerificationRecord,
)
from strongroom.keys import load_keyring
from strongroom.postgres.database_facts import decode_facts
from strongroom.repository.collections import FACTS, read_collection
from strongroom.repository.garbage import newest_list
from strongroom.repository.repository import Repository
from strongroom.stores.local import LocalDirectoryStore
from strongroom.verification.verification import Verification
from tests.golden import make_golden
from tests.golden.afterwards import RECORDS, RECORDS_AT, happen_afterwards
from tests.golden.make_golden import (
    EXPECTED,
    FOLDER,
    KEYS,
    PASSPHRASE,
    REPOSITORY,
    expected,
    files_under,
    restored,
)
from tests.golden.reader import Keys, Reader
from tests.golden.recoveries import write_recoveries

READER = Path(__file__).parent / "reader.py"
FOLDERS = (*make_golden.EARLIER, FOLDER)
SINCE = dict(zip(RECORDS, (2, 2, 2, 2, 3, 3), strict=True))
"""The format that brought each kind of record."""
BACKUPS = sorted(path.name for path in (FOLDER / EXPECTED).iterdir())

every_backup = pytest.mark.parametrize("backup", BACKUPS)
every_format = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def open_folder(folder: Path, keys: Path) -> Repository:
    """Open a checked-in repository as the program does: a folder, key files, the passphrase."""
    shutil.copytree(folder / KEYS, keys)
    for file in keys.iterdir():
        file.chmod(0o600)
    keyring = load_keyring(keys, passphrase=lambda: PASSPHRASE)
    return Repository.open(LocalDirectoryStore(folder / REPOSITORY, make=False), keyring)


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Repository]:
    """Open the repository of each format."""
    folder: Path = request.param
    return folder, open_folder(folder, tmp_path_factory.mktemp(folder.name) / "keys")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Open the repository of today's format."""
    return open_folder(FOLDER, tmp_path_factory.mktemp("golden") / "keys")


# ---------------------------------------------------------------------------------- today's code


def test_todays_code_writes_the_golden_repository() -> None:
    """What is checked in is what the script makes: bytes, or decoded content under another zstd."""
    assert [] == make_golden.verify()


@every_format
def test_golden_files_stay_small(folder: Path) -> None:
    """They are checked in for as long as the project lives."""
    assert sum(map(len, files_under(folder).values())) < 200_000


@every_backup
def test_todays_code_reads_the_golden_repositories(opened: tuple[Path, Repository], backup: str) -> None:
    """Every table and collection of both backups, of each format, comes back byte for byte."""
    folder, repository = opened
    assert expected(folder, backup) == restored(repository, backup)


@every_backup
def test_the_golden_repositories_verify(opened: tuple[Path, Repository], backup: str) -> None:
    """Verification to the level `content` finds nothing."""
    _, repository = opened
    manifest = repository.read_manifest(backup)
    work = Verification(repository, manifest, Deadline.never(), lambda _done, _total: None)
    work.check_structure()
    work.check_content()
    assert [] == work.findings
    assert work.objects_named <= work.objects_checked


def test_the_facts_still_decode(opened: tuple[Path, Repository]) -> None:
    """The catalog facts have a format of their own; those of each format are still understood."""
    _, repository = opened
    manifest = repository.read_manifest(BACKUPS[0])
    facts = decode_facts(b"".join(read_collection(repository, manifest, FACTS)))
    assert ["trader"] == [role.name for role in facts.roles]


def test_another_row_in_an_earlier_repository_is_a_difference(
    tmp_path: Path,
) -> None:
    """Verifying notices when an earlier format no longer gives what it gave."""
    shutil.copytree(make_golden.EARLIER[0], tmp_path / "v1")
    file = tmp_path / "v1" / EXPECTED / BACKUPS[0] / "0001.copy"
    file.write_bytes(file.read_bytes().replace(b"7.25", b"7.26", 1))
    assert [f"v1/{EXPECTED}/{BACKUPS[0]}/0001.copy"] == make_golden.not_restored(tmp_path / "v1")


def test_the_records_of_the_second_format_read_as_they_did() -> None:
    """Each kind that there was then is there, says so, and means the same as one of today."""
    earlier = make_golden.stored_repository(files_under(make_golden.EARLIER[1] / REPOSITORY))
    today = make_golden.stored_repository(files_under(FOLDER / REPOSITORY))
    for kind in RECORDS[:4]:
        found = list(earlier.read_records(kind))
        assert {2} == {one.format for one in found}
        assert [msgspec.structs.replace(one, format=FORMAT) for one in found] == list(
            today.read_records(kind)
        )


def test_a_repository_of_the_second_format_is_gone_on_with() -> None:
    """Recoveries and drills of today are written beside what it holds, which stays byte for byte."""
    objects = files_under(make_golden.EARLIER[1] / REPOSITORY)
    repository = make_golden.stored_repository(objects)
    write_recoveries(repository, RECORDS_AT, os.urandom)
    assert (3, 2) == (
        len(list(repository.read_records(RecoveryRecord))),
        len(list(repository.read_records(DrillRecord))),
    )
    assert objects == {name: repository.store.get(name) for name in objects}
    assert expected(make_golden.EARLIER[1], BACKUPS[1]) == restored(repository, BACKUPS[1])


def test_a_repository_of_the_first_format_is_gone_on_with() -> None:
    """A rotation and records of today go into it; what it held still restores, and its repository.json stays."""
    earlier = make_golden.EARLIER[0]
    objects = files_under(earlier / REPOSITORY)
    repository = make_golden.stored_repository(objects)
    happen_afterwards(repository, os.urandom)
    assert (1, 2) == (repository.info.format, repository.recovery_key_set().number)
    assert objects["repository.json"] == repository.store.get("repository.json")
    assert expected(earlier, BACKUPS[1]) == restored(repository, BACKUPS[1])


@pytest.mark.parametrize("name", ["recovery.pem", "recovery-second.pem"])
def test_either_recovery_key_alone_restores(tmp_path: Path, name: str) -> None:
    """The rotation was cut off: both keys open everything, the second one under whichever name it comes."""
    keys = tmp_path / "keys"
    shutil.copytree(FOLDER / KEYS, keys)
    kept = (keys / name).read_bytes()
    for file in keys.glob("recovery*"):
        file.unlink()
    (keys / "recovery.pem").write_bytes(kept)
    for file in keys.iterdir():
        file.chmod(0o600)
    keyring = load_keyring(keys, passphrase=lambda: PASSPHRASE)
    repository = Repository.open(LocalDirectoryStore(FOLDER / REPOSITORY, make=False), keyring)
    for backup in BACKUPS:
        assert expected(FOLDER, backup) == restored(repository, backup)


def test_the_golden_repository_shows_every_record(repository: Repository) -> None:
    """Each kind, with and without what may be left out, reads as it was written."""
    first, second, third = repository.read_records(HoldRecord)
    assert ("hold", "release", "hold") == (first.action, second.action, third.action)
    assert (None, BACKUPS[0]) == (first.until, third.backup)
    assert third.until is not None
    assert ["old ticks were archived"] == [one.reason for one in repository.read_records(AcceptanceRecord)]
    assert [(True, 0), (False, 1)] == [
        (one.passed, len(one.findings)) for one in repository.read_records(VerificationRecord)
    ]
    assert [BACKUPS[1]] == [one.backup for one in repository.read_records(VerificationRecord, BACKUPS[1])]
    newest = newest_list(repository)
    assert newest is not None
    assert ["packs/00/00", "packs/00/01"] == [one.name for one in newest.unreachable]
    ends = [
        (one.outcome, one.plan.strategy, len(one.tables)) for one in repository.read_records(RecoveryRecord)
    ]
    assert [("begun", "exact", 0), ("rolled-back", "exact", 1), ("recovered", "merge_missing", 0)] == ends
    assert [(True, 0), (False, 2)] == [
        (one.passed, len(one.damages)) for one in repository.read_records(DrillRecord)
    ]


def test_the_golden_repository_shows_every_state_of_a_data_key(repository: Repository) -> None:
    """The first form alone is v1; here are a later one alone, one beside the first, and one for another key only."""
    numbers = {tuple(form.number for form in forms) for forms in repository.data_keys.forms().values()}
    assert {(1,), (0, 1), (1, 2)} == numbers
    assert 2 == repository.recovery_key_set().number


def test_the_golden_repository_shows_all_that_the_format_can_say(repository: Repository) -> None:
    """Both codecs, gaps of one to three bytes, extents of several and of no chunks, adopted packs and units."""
    full, incremental = (repository.read_manifest(backup) for backup in BACKUPS)
    documents = [repository.read_unit_document(r) for m in (full, incremental) for r in m.documents]
    extents = [extent for document in documents for part in document.parts for extent in part.extents]
    dead = [layer.dead for extent in extents for layer in extent.layers if layer.dead]
    assert {0, 1, 2, 3} <= {len(extent.layers) for extent in extents}
    assert any(b"\xc1\x01" in gaps for gaps in dead)
    assert any(gaps[-1] < 0x80 <= min(gaps[-2], gaps[-3]) for gaps in dead if len(gaps) > 3)
    assert {True, False} == {
        chunk.stored > chunk.raw for document in documents for chunk in make_golden.chunks_of(document)
    }
    assert set(full.documents) & set(incremental.documents)
    assert set(full.packs) & set(incremental.packs)
    assert set(full.row_maps) & set(incremental.row_maps)
    assert {0, 1, 2} == {len(entry.parts) for entry in incremental.tables} | {0}
    assert any(part.extents == () for document in documents for part in document.parts)


# ------------------------------------------------------------------------------------- comparing


def test_another_compression_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that compresses better changes bytes and names, and nothing that is said."""
    genuine = zstandard.ZstdCompressor
    monkeypatch.setattr(zstandard, "ZstdCompressor", lambda level: genuine(level=level + 12))
    fresh = make_golden.make_repository()
    stored = files_under(FOLDER / REPOSITORY)
    assert [] != make_golden.differences(stored, fresh, same_zstd=True)
    assert [] == make_golden.differences(stored, fresh, same_zstd=False)


def test_another_row_is_a_difference_under_any_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing what was decoded notices a payload that is not the same."""
    genuine = PackBuilder.append

    def append(self: PackBuilder, payload: bytes, encoding: object) -> object:
        return genuine(self, payload.replace(b"momentum", b"momentun"), encoding)  # type: ignore[arg-type]

    monkeypatch.setattr(PackBuilder, "append", append)
    wrong = make_golden.differences(
        files_under(FOLDER / REPOSITORY), make_golden.make_repository(), same_zstd=False
    )
    assert [f"tables/{backup}/1" for backup in BACKUPS] == wrong


def test_another_data_key_is_a_difference() -> None:
    """Sealed data keys are random; what they hold is compared all the same."""
    stored = files_under(FOLDER / REPOSITORY)
    keys = sorted(name for name in stored if name.startswith("keys/"))
    lacking = {name: data for name, data in stored.items() if name != keys[0]}
    assert [keys[0]] == make_golden.differences(lacking, make_golden.make_repository(), same_zstd=True)


# ---------------------------------------------------------------------------- the stand-alone reader


def run_reader(
    *arguments: str | Path, folder: Path = FOLDER, keys: Path | None = None, passphrase: bytes = PASSPHRASE
) -> subprocess.CompletedProcess[bytes]:
    """Run the reader as a program, without the project on its path."""
    command = [sys.executable, "-I", READER, folder / REPOSITORY, keys or folder / KEYS, *arguments]
    environment = {**os.environ, "STRONGROOM_RECOVERY_PASSPHRASE": passphrase.decode()}
    return subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)


def test_the_reader_shares_nothing_with_the_engine() -> None:
    """It imports the standard library, cryptography and zstandard."""
    imported = set()
    for node in ast.walk(ast.parse(READER.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "a relative import").partition(".")[0])
    assert {"cryptography", "zstandard"} == imported - sys.stdlib_module_names


@every_format
@every_backup
def test_the_reader_restores_files(tmp_path: Path, folder: Path, backup: str) -> None:
    """All tables, collections and the index are what was written down by hand, in each format."""
    done = run_reader(backup, "--to", tmp_path / "out", folder=folder)
    assert (0, b"") == (done.returncode, done.stderr)
    assert files_under(folder / EXPECTED / backup) == files_under(tmp_path / "out")


def test_the_reader_takes_the_second_recovery_key_too(tmp_path: Path) -> None:
    """With recovery-second.pem alone everything is restored."""
    shutil.copytree(FOLDER / KEYS, tmp_path / "keys")
    (tmp_path / "keys" / "recovery.pem").unlink()
    done = run_reader(BACKUPS[1], "--to", tmp_path / "out", keys=tmp_path / "keys")
    assert (0, b"") == (done.returncode, done.stderr)
    assert files_under(FOLDER / EXPECTED / BACKUPS[1]) == files_under(tmp_path / "out")


def test_the_reader_reads_sets_and_records_as_the_engine_does(opened: tuple[Path, Repository]) -> None:
    """What docs/format.md says of them is enough to read them all, of each format."""
    folder, repository = opened
    objects = files_under(folder / REPOSITORY)
    reader = Reader(objects.__getitem__, objects, Keys.load(folder / KEYS, PASSPHRASE), BACKUPS[1])
    assert list(repository.recovery_key_set().recovery_keys) == reader.recovery_keys()
    for kind in RECORDS:
        engine = [json.loads(msgspec.json.encode(one)) for one in repository.read_records(kind)]
        assert engine == reader.records(kind.KIND)
        assert bool(engine) == (int(folder.name[1:]) >= SINCE[kind])


def test_the_reader_writes_sql() -> None:
    """Without a folder it writes COPY statements for psql, of the newest backup if none is named."""
    done = run_reader()
    assert (0, b"") == (done.returncode, done.stderr)
    index = json.loads((FOLDER / EXPECTED / BACKUPS[-1] / "tables.json").read_bytes())
    rows = [(FOLDER / EXPECTED / BACKUPS[-1] / table["file"]).read_bytes() for table in index]
    script = done.stdout.decode()
    assert script.startswith('COPY "public"."strategies" ("id", "name", "risk") FROM stdin;\n1\tmean rev')
    assert 'COPY "public"."marks" FROM stdin;\n\n\n\n\n\\.\n' in script
    assert 'COPY "Quant ""Forge"""."odd / ""name""\nтаблица\\.." ("say ""id""", "tab\there") FROM' in script
    assert all(content.decode() + "\\.\n" in script for content in rows)


def test_the_reader_refuses_a_wrong_passphrase() -> None:
    """It says so and writes nothing; and the engine says the same in its own words."""
    done = run_reader(passphrase=b"guess")
    assert (1, b"") == (done.returncode, done.stdout)
    assert b"reader: refused: " in done.stderr
    with pytest.raises(WrongPassphrase):
        type(make_golden.golden_keyring().require_recovery_private()).from_pem(
            (FOLDER / KEYS / "recovery.pem").read_bytes(), b"guess"
        )


def test_a_data_key_opens_by_hand(repository: Repository) -> None:
    """HPKE and X-Wing are what docs/format.md says in numbers, whatever the library calls them."""
    private = make_golden.golden_keyring().require_recovery_private()
    key_id = repository.read_manifest(BACKUPS[0]).data_keys[-1]
    box = repository.sealed_data_key(key_id).recipients[private.key_id]
    pqc, classic, sealed = box[:1088], box[1088:1120], box[1120:]
    secrets = private.mlkem.decapsulate(pqc) + private.x25519.exchange(
        X25519PublicKey.from_public_bytes(classic)
    )
    ours = private.x25519.public_key().public_bytes_raw()
    shared = hashlib.sha3_256(secrets + classic + ours + bytes.fromhex("5c2e2f2f5e5c")).digest()
    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")

    info = b"strongroom data key\0" + key_id.encode()
    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")

    def expand(label: bytes, size: int) -> bytes:
        labeled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return hmac.digest(secret, labeled + b"\1", "sha256")[:size]

    opened = AESGCM(expand(b"key", 32)).decrypt(expand(b"base_nonce", 12), sealed, b"")
    assert repository.data_key(key_id) == opened
