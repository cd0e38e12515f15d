"""Key files: made whole, never overwritten, refused when others could read them."""

import os
import stat
import threading
from pathlib import Path

import pytest

from strongroom.crypto.recovery_keys import RecoveryPrivateKey, open_data_key, seal_data_key
from strongroom.crypto.signing_key import SigningKey, check_signature, sign
from strongroom.errors import (
    BadKeyName,
    EmptyPassphrase,
    ExposedKey,
    KeysDisagree,
    KeysExist,
    MissingKey,
    NoKeyDirectory,
    NotAnOperatorKey,
    NotARecoveryKey,
    StrongroomError,
    UnreadableKey,
    WrongPassphrase,
)
from strongroom.keys import (
    create_keys,
    create_recovery_key,
    load_keyring,
    load_recovery_public_key,
    recovery_files,
)

PASSPHRASE = b"correct horse battery"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a full set of keys."""
    create_keys(tmp_path / "deep" / "keys", PASSPHRASE, os.urandom)
    return tmp_path / "deep" / "keys"


def test_round_trip(tmp_path: Path) -> None:
    """What was made is what is loaded, under the ids that were reported."""
    made = create_keys(tmp_path / "keys", PASSPHRASE, os.urandom)
    keyring = load_keyring(tmp_path / "keys", passphrase=lambda: PASSPHRASE)
    assert made.operator_id == keyring.require_operator().key_id
    assert made.signing_id == keyring.require_signing().key_id == keyring.require_signing_public().key_id
    assert made.recovery_id == keyring.require_recovery_private().key_id
    assert [made.recovery_id] == [key.key_id for key in keyring.require_recovery_public()]
    assert tmp_path / "keys" / "recovery.pem" == made.take_away


def test_keys_work_together(directory: Path) -> None:
    """A worker's keyring seals and signs; the recovery keyring opens and checks."""
    worker = load_keyring(directory)
    assert not worker.can_read_rows
    sealed = seal_data_key(b"k" * 32, worker.require_recovery_public(), "one")
    signature = sign(worker.require_signing(), "manifest", b"data")
    recoverer = load_keyring(directory, passphrase=lambda: PASSPHRASE)
    assert b"k" * 32 == open_data_key(sealed, recoverer.require_recovery_private(), "one")
    check_signature(recoverer.require_signing_public(), "manifest", b"data", signature)


def test_modes(tmp_path: Path) -> None:
    """Secrets are for their owner only, public halves for all to read, whatever the umask."""
    before = os.umask(0)
    try:
        create_keys(tmp_path / "open" / "keys", PASSPHRASE, os.urandom)
        os.umask(0o077)
        create_keys(tmp_path / "closed" / "keys", PASSPHRASE, os.urandom)
    finally:
        os.umask(before)
    expected = {
        "operator.key": 0o600,
        "signing.key": 0o600,
        "recovery.pem": 0o600,
        "signing.pub": 0o644,
        "recovery.pub": 0o644,
    }
    for place in (tmp_path / "open" / "keys", tmp_path / "closed" / "keys"):
        assert expected == {file.name: stat.S_IMODE(file.stat().st_mode) for file in place.iterdir()}
        assert 0o700 == stat.S_IMODE(place.stat().st_mode)


@pytest.mark.parametrize(
    "name", ["operator.key", "signing.key", "signing.pub", "recovery.pub", "recovery.pem"]
)
def test_never_overwritten(tmp_path: Path, name: str) -> None:
    """One key file that is there already stops the making of all, and stays as it was."""
    (tmp_path / name).write_text("precious")
    with pytest.raises(KeysExist) as caught:
        create_keys(tmp_path, PASSPHRASE, os.urandom)
    assert name in str(caught.value)
    assert {name: "precious"} == {file.name: file.read_text() for file in tmp_path.iterdir()}


def test_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails in the middle, no key file and no temporary file stays behind."""
    real, calls = os.link, []

    def failing(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "link", failing)
    with pytest.raises(UnreadableKey):
        create_keys(tmp_path / "keys", PASSPHRASE, os.urandom)
    assert 4 == len(calls)
    assert [] == list((tmp_path / "keys").iterdir())


def test_two_makers(tmp_path: Path) -> None:
    """Of makers that race for one directory one wins, and the files are all its own."""
    made: list[str] = []
    refused: list[StrongroomError] = []
    place = tmp_path / "keys"
    place.mkdir(0o700)

    def make() -> None:
        try:
            made.append(create_keys(place, PASSPHRASE, os.urandom).recovery_id)
        except KeysExist as error:
            refused.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (1, 3) == (len(made), len(refused))
    keyring = load_keyring(place, passphrase=lambda: PASSPHRASE)
    assert made == [keyring.require_recovery_private().key_id]
    assert made == [key.key_id for key in keyring.recovery_public]
    assert 5 == len(list(place.iterdir()))


def test_empty_passphrase(tmp_path: Path) -> None:
    """No directory is made for keys that cannot be protected."""
    with pytest.raises(EmptyPassphrase):
        create_keys(tmp_path / "keys", b"", os.urandom)
    assert [] == list(tmp_path.iterdir())


def test_shared_directory(tmp_path: Path) -> None:
    """Keys are not made where others could exchange them."""
    place = tmp_path / "keys"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(ExposedKey) as caught:
        create_keys(place, PASSPHRASE, os.urandom)
    assert f"chmod 700 {place}" in caught.value.advice()
    assert [] == list(place.iterdir())


@pytest.mark.parametrize("name", ["operator.key", "signing.key", "recovery.pem"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_exposed_secret(directory: Path, name: str, mode: int) -> None:
    """A secret that others can read or write is refused, with the command that mends it."""
    (directory / name).chmod(mode)
    with pytest.raises(ExposedKey) as caught:
        load_keyring(directory, passphrase=lambda: PASSPHRASE)
    assert f"chmod 600 {directory / name}" in caught.value.advice()


def test_without_recovery_key(directory: Path) -> None:
    """A worker from which recovery.pem was taken away has all that a backup needs, and is never asked."""
    (directory / "recovery.pem").unlink()

    def ask() -> bytes:
        raise AssertionError("asked for a passphrase of a key that is not there")

    keyring = load_keyring(directory, passphrase=ask)
    assert 16 == len(keyring.require_operator().key_id)
    assert 16 == len(keyring.require_signing().key_id)
    assert 1 == len(keyring.require_recovery_public())
    with pytest.raises(MissingKey):
        keyring.require_recovery_private()


def test_empty_directory(tmp_path: Path) -> None:
    """Files that are not there are no error until they are needed; a directory that is not there is."""
    keyring = load_keyring(tmp_path)
    assert (None, None, None, ()) == (
        keyring.operator,
        keyring.signing,
        keyring.signing_public,
        keyring.recovery_public,
    )
    with pytest.raises(NoKeyDirectory):
        load_keyring(tmp_path / "nowhere")


def test_public_halves_follow(directory: Path) -> None:
    """A private key stands for its public half when that file is missing."""
    (directory / "signing.pub").unlink()
    (directory / "recovery.pub").unlink()
    keyring = load_keyring(directory, passphrase=lambda: PASSPHRASE)
    assert keyring.require_signing().public() == keyring.require_signing_public()
    assert (keyring.require_recovery_private().public(),) == keyring.require_recovery_public()


def test_further_recipients(directory: Path) -> None:
    """Every recovery-*.pub is a recipient too, and a copy of one counts once."""
    other = RecoveryPrivateKey.generate(os.urandom)
    (directory / "recovery-safe.pub").write_bytes(other.public().to_pem())
    (directory / "recovery-copy.pub").write_bytes(other.public().to_pem())
    keyring = load_keyring(directory)
    assert 2 == len(keyring.recovery_public)
    assert other.key_id == keyring.recovery_public[1].key_id


def test_halves_of_two_keys(directory: Path) -> None:
    """A signing.pub of another key is noticed before anything is signed."""
    (directory / "signing.pub").write_bytes(SigningKey.generate(os.urandom).public().to_pem())
    with pytest.raises(KeysDisagree):
        load_keyring(directory)


def test_damaged_files(directory: Path) -> None:
    """Wrong passphrase and damaged files are told apart, and none of their content is shown."""
    with pytest.raises(WrongPassphrase):
        load_keyring(directory, passphrase=lambda: b"wrong")
    (directory / "recovery.pub").write_bytes(b"\x00\xff")
    with pytest.raises(NotARecoveryKey):
        load_keyring(directory)
    (directory / "operator.key").write_bytes(b"\xff\xfe")
    with pytest.raises(NotAnOperatorKey):
        load_keyring(directory)
    (directory / "operator.key").unlink()
    (directory / "operator.key").mkdir()
    with pytest.raises(UnreadableKey):
        load_keyring(directory)


# ------------------------------------------------------------------------------- further recovery keys


def test_a_further_recovery_key_joins_the_others(directory: Path) -> None:
    """Its two files have its name, its public half is a recipient, and the same passphrase may open both."""
    made = create_recovery_key(directory, "2027-safe", PASSPHRASE, os.urandom)
    assert (directory / "recovery-2027-safe.pub", directory / "recovery-2027-safe.pem") == (
        made.public,
        made.take_away,
    )
    assert [0o644, 0o600] == [stat.S_IMODE(file.stat().st_mode) for file in (made.public, made.take_away)]
    keyring = load_keyring(directory, passphrase=lambda: PASSPHRASE)
    first, second = keyring.recovery_privates()
    assert made.key_id == second.key_id
    assert [first.key_id, second.key_id] == [key.key_id for key in keyring.recovery_public]


@pytest.mark.parametrize("phrase", [PASSPHRASE, b"another one"])
def test_of_several_private_keys_those_open_that_the_passphrase_fits(directory: Path, phrase: bytes) -> None:
    """Old and new pair may have passphrases of their own; the one that is given decides."""
    made = create_recovery_key(directory, "new", b"another one", os.urandom)
    (private,) = load_keyring(directory, passphrase=lambda: phrase).recovery_privates()
    assert (made.key_id == private.key_id) == (phrase == b"another one")
    with pytest.raises(WrongPassphrase):
        load_keyring(directory, passphrase=lambda: b"neither")


def test_the_new_private_key_alone_is_enough(directory: Path) -> None:
    """Whoever restores after a rotation brings just the new file, under its own name."""
    made = create_recovery_key(directory, "new", PASSPHRASE, os.urandom)
    (directory / "recovery.pem").unlink()
    assert (
        made.key_id
        == load_keyring(directory, passphrase=lambda: PASSPHRASE).require_recovery_private().key_id
    )


def test_copies_of_one_private_key_count_once(directory: Path) -> None:
    """Nor is a copy an error."""
    (directory / "recovery-copy.pem").write_bytes((directory / "recovery.pem").read_bytes())
    (directory / "recovery-copy.pem").chmod(0o600)
    assert 1 == len(load_keyring(directory, passphrase=lambda: PASSPHRASE).recovery_privates())


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "a.b", "a" * 41, "..", "ключ"])
def test_a_name_that_makes_no_file_name_is_refused(directory: Path, name: str) -> None:
    """Nothing is made under it."""
    before = sorted(directory.iterdir())
    with pytest.raises(BadKeyName):
        create_recovery_key(directory, name, PASSPHRASE, os.urandom)
    assert before == sorted(directory.iterdir())


@pytest.mark.parametrize("suffix", ["pub", "pem"])
def test_a_further_key_overwrites_nothing(directory: Path, suffix: str) -> None:
    """One of its files that is there already stops the making of both."""
    (directory / f"recovery-new.{suffix}").write_text("precious")
    before = sorted(directory.iterdir())
    with pytest.raises(KeysExist):
        create_recovery_key(directory, "new", PASSPHRASE, os.urandom)
    assert (before, "precious") == (
        sorted(directory.iterdir()),
        (directory / f"recovery-new.{suffix}").read_text(),
    )


def test_a_further_key_needs_a_directory_and_a_passphrase(tmp_path: Path, directory: Path) -> None:
    """Both are said before anything is made."""
    with pytest.raises(NoKeyDirectory):
        create_recovery_key(tmp_path / "nowhere", "new", PASSPHRASE, os.urandom)
    with pytest.raises(EmptyPassphrase):
        create_recovery_key(directory, "new", b"", os.urandom)
    assert 5 == len(list(directory.iterdir()))


def test_recovery_key_files_name_themselves(directory: Path) -> None:
    """Which key a file holds is read without a passphrase; one that does not say so has no id."""
    made = create_recovery_key(directory, "new", PASSPHRASE, os.urandom)
    (directory / "recovery-odd.pub").write_text("no key")
    found = [(file.path.name, file.key_id, file.is_private) for file in recovery_files(directory)]
    old = load_keyring_id(directory)
    assert [
        ("recovery.pub", old, False),
        ("recovery-new.pub", made.key_id, False),
        ("recovery-odd.pub", None, False),
        ("recovery.pem", old, True),
        ("recovery-new.pem", made.key_id, True),
    ] == found
    (directory / "recovery-new.pem").chmod(0o644)
    with pytest.raises(ExposedKey):
        recovery_files(directory)


def load_keyring_id(directory: Path) -> str:
    """Return the key id of recovery.pub."""
    return load_recovery_public_key(directory / "recovery.pub").key_id


def test_a_public_key_is_loaded_from_anywhere(directory: Path, tmp_path: Path) -> None:
    """A file that is not there is named."""
    (directory / "recovery.pub").rename(tmp_path / "stick.pub")
    assert 16 == len(load_recovery_public_key(tmp_path / "stick.pub").key_id)
    with pytest.raises(MissingKey):
        load_recovery_public_key(tmp_path / "unplugged.pub")
