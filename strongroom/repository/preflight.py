"""The preflight of keys and locations: whether what a backup writes can be sealed, signed and stored.

Answers are data and nothing is raised for a bad one. What is written to try a location is deleted again, and
no folder is made where there is none. Example:

    keyring, checks = check_keys(settings.keys.directory)
    checks += check_locations(settings.repository.locations, keyring, 0, os.urandom)
"""

import shutil
import stat
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

from strongroom.config import LocationSettings
from strongroom.crypto.keyring import Keyring
from strongroom.errors import (
    ExposedKey,
    KeyringError,
    NoStoreRoot,
    NotARepository,
    ObjectDamaged,
    StrongroomError,
)
from strongroom.keys import RECOVERY_FILE, load_keyring
from strongroom.operations.checks import held, not_asked, refused, warned
from strongroom.operations.messages import Check
from strongroom.quantities import size_text
from strongroom.repository import layout
from strongroom.repository.repository import Repository
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store

Random = Callable[[int], bytes]

_ROOM_FACTOR = 2
"""Free space should hold the estimate twice: an estimate is one, and an interrupted attempt stays a while."""

_WRITERS = stat.S_IWGRP | stat.S_IWOTH


# ---------------------------------------------------------------- keys


def check_keys(directory: Path) -> tuple[Keyring | None, tuple[Check, ...]]:
    """Load the keys as a backup does, and ask for each that it needs; None if they do not load."""
    try:
        keyring = load_keyring(directory)
    except StrongroomError as error:
        return None, (refused("keys", error),)
    needed: tuple[tuple[str, Callable[[], object]], ...] = (
        ("operator key", keyring.require_operator),
        ("signing key", keyring.require_signing),
        ("recovery public key", keyring.require_recovery_public),
    )
    found = tuple(_check_key(name, require) for name, require in needed)
    return keyring, (_check_directory(directory), *found, _check_recovery_away(directory))


def _check_directory(directory: Path) -> Check:
    """Ask whether others could exchange a key: files of the right mode in a folder of the wrong one."""
    try:
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as error:
        return not_asked("keys", f"the system refused to describe the key directory ({error.strerror})")
    if mode & _WRITERS:
        return refused("keys", ExposedKey(path=directory, mode=f"{mode:04o}", wanted="700"))
    return held("keys", f"The keys in {directory} load, and only their owner can change them.")


def _check_key(name: str, require: Callable[[], object]) -> Check:
    try:
        require()
    except KeyringError as error:
        return refused(name, error)
    return held(name, "It is there.")


def _check_recovery_away(directory: Path) -> Check:
    name = "recovery key kept away"
    if not (directory / RECOVERY_FILE).exists():
        return held(name, f"{RECOVERY_FILE} is not on this machine.")
    return warned(
        name,
        f"{directory / RECOVERY_FILE} is on this machine.",
        "Take it away: copy it to a safe place, test the copy, and delete it here. Backups do not need it, and "
        "whoever has it and its passphrase can read every backup.",
    )


# ---------------------------------------------------------------- locations


def check_locations(
    locations: Sequence[LocationSettings],
    keyring: Keyring | None,
    estimated_bytes: int | None,
    random: Random,
) -> tuple[Check, ...]:
    """Try every location. Only the first has to hold a repository: replication makes the others."""
    checks: list[Check] = []
    for place, location in enumerate(locations):
        checks += _check_location(location, keyring, estimated_bytes, random, is_first=place == 0)
    return tuple(checks)


def _check_location(
    location: LocationSettings,
    keyring: Keyring | None,
    estimated_bytes: int | None,
    random: Random,
    *,
    is_first: bool,
) -> list[Check]:
    repository, writable, room = (
        f"location {location.name}: {what}" for what in ("repository", "writable", "free space")
    )
    try:
        store = open_store(location.url)
        is_there = any(True for _ in store.list(layout.REPOSITORY))
    except NoStoreRoot as error:
        # Writing would make the folder, perhaps below a mount point where nothing is mounted.
        reason = "the location's folder is not there"
        return [refused(repository, error), not_asked(writable, reason), not_asked(room, reason)]
    except StrongroomError as error:
        reason = "the location cannot be read"
        return [refused(repository, error), not_asked(writable, reason), not_asked(room, reason)]
    return [
        _check_repository(repository, store, keyring, is_first=is_first or is_there),
        _check_writable(writable, store, random),
        *_check_room(room, location.url, estimated_bytes),
    ]


def _check_repository(name: str, store: Store, keyring: Keyring | None, *, is_first: bool) -> Check:
    if keyring is None:
        return not_asked(name, "the keys do not load")
    try:
        opened = Repository.open(store, keyring)
    except NotARepository as error:
        return refused(name, error, "error" if is_first else "warning")
    except StrongroomError as error:
        return refused(name, error)
    return held(name, f"{store.description} holds a repository of format {opened.info.format}.")


def _check_writable(name: str, store: Store, random: Random) -> Check:
    """Store, read and delete a small object of a name that nothing else uses."""
    scratch = f"scratch/{random(16).hex()}"
    data = random(1024)
    try:
        try:
            store.put(scratch, data, sha256(data).hexdigest())
            _compare(store, scratch, data)
        finally:
            store.delete(scratch)
    except StrongroomError as error:
        return refused(name, error)
    return held(name, f"An object could be stored in {store.description}, read and deleted.")


def _compare(store: Store, name: str, data: bytes) -> None:
    observed = store.get(name)
    if observed != data:
        raise ObjectDamaged(
            name=name,
            store=store.description,
            expected=sha256(data).hexdigest(),
            observed=sha256(observed).hexdigest(),
        )


def _check_room(name: str, url: str, estimated_bytes: int | None) -> list[Check]:
    """Ask for free space where a location can tell: only folders can."""
    folder = _folder_of(url)
    if folder is None:
        return []
    if estimated_bytes is None:
        return [not_asked(name, "the size of the database is not known")]
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return [not_asked(name, f"the system refused to tell it ({error.strerror})")]
    observed = (
        f"{size_text(free)} are free in {folder}; a full backup stores about {size_text(estimated_bytes)}."
    )
    if free >= _ROOM_FACTOR * estimated_bytes:
        return [held(name, observed)]
    remedy = "Free some space, or let the location's url name a folder on a larger disk."
    if free >= estimated_bytes:
        return [warned(name, observed, remedy)]
    return [Check(name=name, passed=False, observed=observed, remedy=remedy)]


def _folder_of(url: str) -> Path | None:
    if url.startswith(("/", "~/")):
        return Path(url).expanduser()
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
