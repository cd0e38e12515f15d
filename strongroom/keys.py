"""Key files: making them, and loading those that are there into a keyring.

    operator.key   secret   opens manifests, table documents, row maps
    signing.key    secret   signs manifests and audit entries
    signing.pub    public   checks those signatures
    recovery.pub   public   data keys are sealed to it (more recipients: recovery-<anything>.pub)
    recovery.pem   secret   opens data keys, encrypted with a passphrase: take it away to a safe place

Secret files are readable by their owner only, and refused when they are not. Nothing is ever overwritten.
What the keys mean is `strongroom.crypto`.
"""

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.operator_key import OperatorKey
from strongroom.crypto.recovery_keys import RecoveryPrivateKey, RecoveryPublicKey
from strongroom.crypto.signing_key import SigningKey, SigningPublicKey
from strongroom.errors import (
    EmptyPassphrase,
    ExposedKey,
    KeysDisagree,
    KeysExist,
    MissingKey,
    NoKeyDirectory,
    NotAnOperatorKey,
    UnreadableKey,
)
from strongroom.ids import KeyId

Key = TypeVar("Key")

OPERATOR_FILE = "operator.key"
SIGNING_FILE = "signing.key"
SIGNING_PUBLIC_FILE = "signing.pub"
RECOVERY_PUBLIC_FILE = "recovery.pub"
RECOVERY_FILE = "recovery.pem"

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


def load_keyring(directory: str | Path, *, passphrase: Callable[[], bytes] | None = None) -> Keyring:
    """Load the keys that are in `directory`; what is not there stays out of the keyring.

    recovery.pem is opened only if `passphrase` is given, which is asked once, and only if the file is
    there. Raises `NoKeyDirectory`, `ExposedKey`, `UnreadableKey`, `KeysDisagree`, and what the key forms
    raise.
    """
    place = Path(directory).expanduser().absolute()
    with _translated(place):
        if not place.is_dir():
            raise NoKeyDirectory(directory=place)
    signing = _load_secret(place / SIGNING_FILE, SigningKey.from_pem)
    recovery_private = None
    if passphrase is not None:
        recovery_private = _load_secret(
            place / RECOVERY_FILE, lambda pem: RecoveryPrivateKey.from_pem(pem, passphrase())
        )
    return Keyring(
        operator=_load_secret(place / OPERATOR_FILE, _operator_from_bytes),
        signing=signing,
        signing_public=_load_signing_public(place, signing),
        recovery_public=_load_recovery_public(place, recovery_private),
        recovery_private=recovery_private,
    )


def load_recovery_key(path: str | Path, passphrase: bytes) -> RecoveryPrivateKey:
    """Load a recovery private key from a file of any name, such as one on a stick."""
    file = Path(path).expanduser().absolute()
    key = _load_secret(file, lambda pem: RecoveryPrivateKey.from_pem(pem, passphrase))
    if key is None:
        remedy = f"Check the path {file} and whether the medium is mounted."
        raise MissingKey(file=file.name, purpose="only it opens rows", remedy=remedy)
    return key


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


def _load_recovery_public(place: Path, private: RecoveryPrivateKey | None) -> tuple[RecoveryPublicKey, ...]:
    """Load recovery.pub and all recovery-*.pub; a private key alone stands for its public half."""
    files = [place / RECOVERY_PUBLIC_FILE, *sorted(place.glob("recovery-*.pub"))]
    contents = [content for file in files if (content := _read(file, secret=False)) is not None]
    keys = [RecoveryPublicKey.from_pem(content) for content in contents]
    if not keys and private is not None:
        keys = [private.public()]
    return tuple({key.key_id: key for key in keys}.values())


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


def _refuse_existing(place: Path) -> None:
    names = (OPERATOR_FILE, SIGNING_FILE, SIGNING_PUBLIC_FILE, RECOVERY_PUBLIC_FILE, RECOVERY_FILE)
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
