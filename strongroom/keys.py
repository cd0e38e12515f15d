"""Key files: making them, and loading those that are there into a keyring.

    operator.key   secret   opens manifests, table documents, row maps
    signing.key    secret   signs manifests and audit entries
    signing.pub    public   checks those signatures
    recovery.pub   public   data keys are sealed to it (more recipients: recovery-<anything>.pub)
    recovery.pem   secret   opens data keys, encrypted with a passphrase: take it away to a safe place

A rotation brings a second pair, recovery-<name>.pub and recovery-<name>.pem. Of the private halves in the directory
(recovery.pem first, then recovery-*.pem by name) all are loaded that the passphrase opens; it takes one at least.
So a restore needs just the file that fits, under whichever of these names.

Secret files are readable by their owner only, and refused when they are not. Nothing is ever overwritten.
What the keys mean is `strongroom.crypto`.
"""

import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.operator_key import OperatorKey
from strongroom.crypto.recovery_keys import RecoveryPrivateKey, RecoveryPublicKey, stated_key_id
from strongroom.crypto.signing_key import SigningKey, SigningPublicKey
from strongroom.errors import (
    BadKeyName,
    EmptyPassphrase,
    ExposedKey,
    KeysDisagree,
    KeysExist,
    MissingKey,
    NoKeyDirectory,
    NotAnOperatorKey,
    UnreadableKey,
    WrongPassphrase,
)
from strongroom.ids import KeyId

Key = TypeVar("Key")

OPERATOR_FILE = "operator.key"
SIGNING_FILE = "signing.key"
SIGNING_PUBLIC_FILE = "signing.pub"
RECOVERY_PUBLIC_FILE = "recovery.pub"
RECOVERY_FILE = "recovery.pem"

_FULL_SET = (OPERATOR_FILE, SIGNING_FILE, SIGNING_PUBLIC_FILE, RECOVERY_PUBLIC_FILE, RECOVERY_FILE)
_FURTHER_PUBLIC = "recovery-*.pub"
_FURTHER_PRIVATE = "recovery-*.pem"
_KEY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")

_SECRET_MODE = 0o600
_PUBLIC_MODE = 0o644
_DIRECTORY_MODE = 0o700


@dataclass(frozen=True, slots=True)
class CreatedKeys:
    """What was made, and where: nothing in it is secret."""

    directory: Path
    operator_id: KeyId
    signing_id: KeyId
    recovery_id: KeyId
    take_away: Path
    """The file that belongs to a safe place, away from the machine that backs up."""


@dataclass(frozen=True, slots=True)
class CreatedRecoveryKey:
    """A further recovery key, and its two files: nothing in it is secret."""

    key_id: KeyId
    public: Path
    take_away: Path
    """The private half, which belongs to a safe place."""


@dataclass(frozen=True, slots=True)
class RecoveryFile:
    """A recovery key file as it names itself; a private half was not opened."""

    path: Path
    key_id: KeyId | None
    is_private: bool


def create_keys(directory: str | Path, passphrase: bytes, random: Callable[[int], bytes]) -> CreatedKeys:
    """Make a full set of keys in `directory`; `random` is `os.urandom`.

    All files or none appear. Raises `KeysExist`, `EmptyPassphrase`, `ExposedKey`, `UnreadableKey`.
    """
    place = Path(directory).expanduser().absolute()
    if not passphrase:
        raise EmptyPassphrase
    with _translated(place):
        _refuse_existing(place)
        _make_directory(place)
    operator = OperatorKey.generate(random)
    signing = SigningKey.generate(random)
    recovery = RecoveryPrivateKey.generate(random)
    contents = {
        RECOVERY_FILE: (recovery.to_pem(passphrase, random), _SECRET_MODE),
        RECOVERY_PUBLIC_FILE: (recovery.public().to_pem(), _PUBLIC_MODE),
        OPERATOR_FILE: (operator.to_text().encode(), _SECRET_MODE),
        SIGNING_FILE: (signing.to_pem(), _SECRET_MODE),
        SIGNING_PUBLIC_FILE: (signing.public().to_pem(), _PUBLIC_MODE),
    }
    with _translated(place):
        _write_all(place, contents)
    return CreatedKeys(place, operator.key_id, signing.key_id, recovery.key_id, place / RECOVERY_FILE)


def create_recovery_key(
    directory: str | Path, name: str, passphrase: bytes, random: Callable[[int], bytes]
) -> CreatedRecoveryKey:
    """Make a further recovery key pair, recovery-<name>.pub and recovery-<name>.pem, for a rotation.

    From then on a backup that runs with this directory is refused until the repository knows the key: rotate at
    once, and open the old private key before making a new one. Raises `BadKeyName`, `KeysExist`,
    `EmptyPassphrase`, `NoKeyDirectory`, `ExposedKey`, `UnreadableKey`.
    """
    place = Path(directory).expanduser().absolute()
    if _KEY_NAME.fullmatch(name) is None:
        raise BadKeyName(name=name)
    if not passphrase:
        raise EmptyPassphrase
    public, private = f"recovery-{name}.pub", f"recovery-{name}.pem"
    with _translated(place):
        if not place.is_dir():
            raise NoKeyDirectory(directory=place)
        _refuse_existing(place, (public, private))
        _make_directory(place)
    key = RecoveryPrivateKey.generate(random)
    contents = {
        private: (key.to_pem(passphrase, random), _SECRET_MODE),
        public: (key.public().to_pem(), _PUBLIC_MODE),
    }
    with _translated(place):
        _write_all(place, contents)
    return CreatedRecoveryKey(key.key_id, place / public, place / private)


def load_keyring(directory: str | Path, *, passphrase: Callable[[], bytes] | None = None) -> Keyring:
    """Load the keys that are in `directory`; what is not there stays out of the keyring.

    Recovery private keys are opened only if `passphrase` is given, which is asked once, and only if there is a
    file of one. Of several, those that the passphrase does not open stay out; if it opens none, the error is
    that of the first. Raises `NoKeyDirectory`, `ExposedKey`, `UnreadableKey`, `KeysDisagree`, `WrongPassphrase`,
    and what the key forms raise.
    """
    place = Path(directory).expanduser().absolute()
    with _translated(place):
        if not place.is_dir():
            raise NoKeyDirectory(directory=place)
    signing = _load_secret(place / SIGNING_FILE, SigningKey.from_pem)
    private = () if passphrase is None else _load_recovery_private(place, passphrase)
    return Keyring(
        operator=_load_secret(place / OPERATOR_FILE, _operator_from_bytes),
        signing=signing,
        signing_public=_load_signing_public(place, signing),
        recovery_public=_load_recovery_public(place, private),
        recovery_private=private[0] if private else None,
        further_private=private[1:],
    )


def recovery_files(directory: str | Path) -> tuple[RecoveryFile, ...]:
    """List the recovery key files of a directory, public ones first, without opening any.

    Raises `ExposedKey`, `UnreadableKey`.
    """
    place = Path(directory).expanduser().absolute()
    found = []
    for is_private, paths in ((False, _public_paths(place)), (True, _private_paths(place))):
        for path in paths:
            content = _read(path, secret=is_private)
            if content is not None:
                found.append(RecoveryFile(path, stated_key_id(content), is_private))
    return tuple(found)


def load_recovery_public_key(path: str | Path) -> RecoveryPublicKey:
    """Load a recovery public key from a file of any name; raise `MissingKey`, `NotARecoveryKey`."""
    file = Path(path).expanduser().absolute()
    content = _read(file, secret=False)
    if content is None:
        remedy = f"Check the path {file} and whether the medium is mounted."
        raise MissingKey(file=file.name, purpose="data keys are to be sealed to it", remedy=remedy)
    return RecoveryPublicKey.from_pem(content)


# ---------------------------------------------------------------- reading


def _operator_from_bytes(content: bytes) -> OperatorKey:
    try:
        return OperatorKey.from_text(content.decode("ascii"))
    except UnicodeDecodeError:
        raise NotAnOperatorKey(reason="it is not text") from None


def _load_signing_public(place: Path, signing: SigningKey | None) -> SigningPublicKey | None:
    content = _read(place / SIGNING_PUBLIC_FILE, secret=False)
    if content is None:
        return signing.public() if signing else None
    public = SigningPublicKey.from_pem(content)
    if signing is not None and signing.public() != public:
        raise KeysDisagree(
            private=SIGNING_FILE,
            private_id=signing.key_id,
            public=SIGNING_PUBLIC_FILE,
            public_id=public.key_id,
        )
    return public


def _load_recovery_public(
    place: Path, private: tuple[RecoveryPrivateKey, ...]
) -> tuple[RecoveryPublicKey, ...]:
    """Load recovery.pub and all recovery-*.pub; private keys alone stand for their public halves."""
    contents = [
        content for file in _public_paths(place) if (content := _read(file, secret=False)) is not None
    ]
    keys = [RecoveryPublicKey.from_pem(content) for content in contents]
    if not keys:
        keys = [key.public() for key in private]
    return tuple({key.key_id: key for key in keys}.values())


def _load_recovery_private(place: Path, passphrase: Callable[[], bytes]) -> tuple[RecoveryPrivateKey, ...]:
    """Load every recovery private key that the passphrase opens; a copy of one counts once."""
    contents = [
        content for file in _private_paths(place) if (content := _read(file, secret=True)) is not None
    ]
    if not contents:
        return ()
    phrase = passphrase()
    keys: dict[str, RecoveryPrivateKey] = {}
    refused: list[WrongPassphrase] = []
    for content in contents:
        try:
            key = RecoveryPrivateKey.from_pem(content, phrase)
        except WrongPassphrase as error:
            refused.append(error)
        else:
            keys.setdefault(key.key_id, key)
    if not keys:
        raise refused[0]
    return tuple(keys.values())


def _public_paths(place: Path) -> list[Path]:
    return [place / RECOVERY_PUBLIC_FILE, *sorted(place.glob(_FURTHER_PUBLIC))]


def _private_paths(place: Path) -> list[Path]:
    return [place / RECOVERY_FILE, *sorted(place.glob(_FURTHER_PRIVATE))]


def _load_secret(path: Path, decode: Callable[[bytes], Key]) -> Key | None:
    content = _read(path, secret=True)
    return None if content is None else decode(content)


def _read(path: Path, *, secret: bool) -> bytes | None:
    """Return a file's bytes, or None if there is no such file; refuse an exposed secret."""
    with _translated(path):
        try:
            with path.open("rb") as file:
                # The open file is asked, not its name: nobody can exchange it in between.
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if secret and mode & 0o077:
                    raise ExposedKey(path=path, mode=f"{mode:04o}", wanted="600")
                return file.read()
        except FileNotFoundError:
            return None


# ---------------------------------------------------------------- writing


def _refuse_existing(place: Path, names: tuple[str, ...] = _FULL_SET) -> None:
    present = [name for name in names if os.path.lexists(place / name)]
    if present:
        raise KeysExist(directory=place, files=", ".join(present))


def _make_directory(place: Path) -> None:
    """Make the directory for its owner only; refuse one in which others could exchange files."""
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(_DIRECTORY_MODE)
        _flush_directory(place.parent)
    mode = stat.S_IMODE(place.stat().st_mode)
    if mode & 0o022:
        raise ExposedKey(path=place, mode=f"{mode:04o}", wanted="700")


def _write_all(place: Path, contents: dict[str, tuple[bytes, int]]) -> None:
    """Write every file under another name, then link each to its own; take all back if one fails."""
    temporary = {name: place / f".{name}.{secrets.token_hex(6)}" for name in contents}
    linked: list[Path] = []
    try:
        for name, (content, mode) in contents.items():
            _write_new(temporary[name], content, mode)
        for name, source in temporary.items():
            # A link, unlike a rename, fails if somebody else was quicker.
            os.link(source, place / name)
            linked.append(place / name)
        _flush_directory(place)
    except FileExistsError as error:
        _remove(linked)
        raise KeysExist(directory=place, files="a key made at the same time") from error
    except BaseException:
        _remove(linked)
        raise
    finally:
        _remove(list(temporary.values()))


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _SECRET_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        # Set on the open file, because the umask takes bits from the mode at creation.
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "the system refused"
        raise UnreadableKey(path=path, reason=reason) from error
