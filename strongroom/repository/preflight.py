"""The preflight of keys and locations: whether what a backup writes can be sealed, signed and stored.

Answers are data and nothing is raised for a bad one. What is written to try a location is deleted again, and
no folder is made where there is none. Example:

    keyring, checks = check_keys(settings.keys.directory)
    checks += check_locations(settings.repository.locations, keyring, 0, os.urandom)
"""

import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

from msgspec import structs

from strongroom.crypto.keyring import Keyring
from strongroom.errors import (
    ExposedKey,
    KeyringError,
    NoStoreRoot,
    NotARepository,
    ObjectDamaged,
    StoreError,
    StrongroomError,
)
from strongroom.keys import RECOVERY_FILE, load_keyring
from strongroom.location_settings import LocationSettings
from strongroom.operations.checks import held, not_asked, refused, warned
from strongroom.operations.messages import Check
from strongroom.quantities import size_text
from strongroom.repository import layout
from strongroom.repository.locations import options_of
from strongroom.repository.repository import Repository
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store
from strongroom.stores.wrapped import close_store

Random = Callable[[int], bytes]

_ROOM_FACTOR = 2
"""Free space should hold the estimate twice: an estimate is one, and an interrupted attempt stays a while."""

_REPLICATION = "Replication makes it, together with the first backup that is copied there."

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


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one location answered. `reaches` is false if its answers are about the way to it, not about it."""

    reaches: bool
    repository: Check
    writable: Check
    room: tuple[Check, ...]

    def for_the_first(self) -> tuple[Check, ...]:
        """Return the answers of the location that a backup is going to be written to."""
        return (self.repository, self.writable, *self.room)

    def for_another(self) -> tuple[Check, ...]:
        """Return the answers of a location that copies go to: what is wrong there keeps no backup from being taken."""
        repository = self.repository
        if repository.code == NotARepository.code:
            repository = _softened(structs.replace(repository, remedy=_REPLICATION))
        elif not self.reaches or repository.code.startswith(StoreError.code[:5]):
            repository = _softened(repository)
        return (repository, _softened(self.writable), *map(_softened, self.room))


def check_locations(
    locations: Sequence[LocationSettings],
    keyring: Keyring | None,
    estimated_bytes: int | None,
    random: Random,
) -> tuple[Check, ...]:
    """Try every location.

    A backup is written to the first one that takes it, so that only this one has to hold a repository, and room:
    replication makes the others, and one of them being out of reach is a warning. If none can be written to, what
    is wrong with each is an error.
    """
    answers = [_ask(location, keyring, estimated_bytes, random) for location in locations]
    first = next(
        (place for place, answer in enumerate(answers) if _takes_backups(answer, locations[place])), None
    )
    checks: list[Check] = []
    for place, answer in enumerate(answers):
        is_wanted = place == first or first is None
        checks += answer.for_the_first() if is_wanted else answer.for_another()
    return tuple(checks)


def _takes_backups(answer: _Answers, location: LocationSettings) -> bool:
    return answer.reaches and answer.writable.passed and not location.read_only


def _softened(check: Check) -> Check:
    return check if check.passed else structs.replace(check, severity="warning")


def _ask(
    location: LocationSettings, keyring: Keyring | None, estimated_bytes: int | None, random: Random
) -> _Answers:
    repository, writable, room = (
        f"location {location.name}: {what}" for what in ("repository", "writable", "free space")
    )
    try:
        store = open_store(location.url, options_of(location))
        try:
            any(True for _ in store.list(layout.REPOSITORY))
            return _Answers(
                reaches=True,
                repository=_check_repository(repository, store, keyring),
                writable=_check_read_only(writable)
                if location.read_only
                else _check_writable(writable, store, random),
                room=tuple(_check_room(room, location.url, estimated_bytes)),
            )
        finally:
            close_store(store)
    except StrongroomError as error:
        # Writing would make a missing folder, perhaps below a mount point where nothing is mounted.
        lacks_folder = isinstance(error, NoStoreRoot)
        reason = "the location's folder is not there" if lacks_folder else "the location cannot be read"
        return _Answers(
            reaches=False,
            repository=refused(repository, error),
            writable=not_asked(writable, reason),
            room=(not_asked(room, reason),) if _folder_of(location.url) else (),
        )


def _check_repository(name: str, store: Store, keyring: Keyring | None) -> Check:
    if keyring is None:
        return not_asked(name, "the keys do not load")
    try:
        opened = Repository.open(store, keyring)
    except StrongroomError as error:
        return refused(name, error)
    return held(name, f"{store.description} holds a repository of format {opened.info.format}.")


def _check_read_only(name: str) -> Check:
    return held(name, "It is configured as read_only: backups are read from it, and never written to it.")


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
