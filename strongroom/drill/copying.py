"""A copy of what one backup reaches, in a folder of this machine, to be damaged.

    copied = copy_reached(repository, manifest, folder, parallelism=2, deadline=deadline, progress=show)
    with damageable(folder, "flipped-pack") as place:
        ...                                      # a state of its own; the copy and the other states stay as they are

It is read through the store protocol from whatever kind of location. Each damage gets a state of its own, whose files
are links to those of the copy: stores never write into a file that is there, so what is damaged becomes another file.
"""

import datetime as dt
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.recovery_keys import RecoveryPrivateKey
from strongroom.deadline import Deadline
from strongroom.errors import UnreadableKey
from strongroom.format.documents import Manifest
from strongroom.keys import OPERATOR_FILE, RECOVERY_FILE, SIGNING_PUBLIC_FILE
from strongroom.location_settings import LocationSettings
from strongroom.repository import layout
from strongroom.repository.locations import Location
from strongroom.repository.replication import CopyCounts, Copying, plan_replication
from strongroom.repository.repository import Repository
from strongroom.repository.shortfall import join_repository
from strongroom.stores.local import LocalDirectoryStore

PRISTINE = "pristine"
OTHER_KEYS = "other-keys"
_NAME = "copy"
_ZEROS = "0" * 10

Random = Callable[[int], bytes]


@dataclass(frozen=True)
class Copied:
    """What was copied, and whose manifest may take the place of the backup's."""

    objects: int
    bytes_copied: int
    older: str
    is_made_up: bool


def place_at(folder: Path) -> Location:
    """Return a folder as a location. Nothing in it has to survive a power cut."""
    settings = LocationSettings(name=_NAME, role="local", url=folder.as_uri())
    return Location(settings, LocalDirectoryStore(folder, durable=False))


def copy_reached(
    repository: Repository,
    manifest: Manifest,
    folder: Path,
    *,
    random: Random,
    parallelism: int,
    deadline: Deadline,
    progress: Callable[[int, int], None],
) -> Copied:
    """Copy a backup into `folder`/pristine: what it reaches, its keys, its manifest, and an older manifest.

    Raises what reading from the repository raises, `ObjectDamaged` among it, and what the disk says.
    """
    place = place_at(folder / PRISTINE)
    join_repository(repository, place)
    plan = plan_replication(place.name, [manifest], [])
    copying = Copying(repository.store, repository.keyring, parallelism, deadline, progress)
    copying.complete(place, plan, deadline.check)
    sets = [stored.name for stored in repository.store.list(layout.RECOVERY_KEYS)]
    copying.copy_names(place, sets)
    older = _older(repository, manifest)
    # One that is damaged itself could not pass for another.
    is_made_up = not older or bool(copying.copy_names(place, [layout.manifest_name(older)]))
    if is_made_up:
        older = _make_older(repository, manifest, place, random)
    counts = copying.counts.get(place.name, CopyCounts())
    return Copied(counts.objects_copied, counts.bytes_copied, older, is_made_up)


def _older(repository: Repository, manifest: Manifest) -> str:
    """Return the parent, else the newest backup before, else any other that is listed; empty if there is none."""
    listed = [str(backup) for backup in repository.backup_ids() if backup != manifest.id]
    if manifest.parent in listed:
        return manifest.parent
    return max((backup for backup in listed if backup < manifest.id), default=max(listed, default=""))


def _make_older(repository: Repository, manifest: Manifest, place: Location, random: Random) -> str:
    """Write, into the copy only, a good manifest of a day before, as the repository has no other; return its id."""
    older = f"{layout.stamp(manifest.started_at - dt.timedelta(days=1))}-{_ZEROS}"
    there = Repository(place.store, repository.keyring, repository.info)
    there.write_manifest(msgspec.structs.replace(manifest, id=older), random)
    return older


def make_other_keys(
    folder: Path, directory: Path, keyring: Keyring, passphrase: bytes, random: Random
) -> None:
    """Make in `folder`/other-keys the keys of somebody who has another recovery key, and all else that verifies.

    Raises `UnreadableKey`.
    """
    place = folder / OTHER_KEYS
    recovery = RecoveryPrivateKey.generate(random)
    contents = {
        RECOVERY_FILE: recovery.to_pem(passphrase, random),
        SIGNING_PUBLIC_FILE: keyring.require_signing_public().to_pem(),
    }
    try:
        place.mkdir(mode=0o700)
        # A link, so that the secret stays where it is.
        (place / OPERATOR_FILE).symlink_to(directory.expanduser().absolute() / OPERATOR_FILE)
        for name, content in contents.items():
            descriptor = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        raise UnreadableKey(path=place, reason=error.strerror or "the system refused") from error


@contextmanager
def damageable(folder: Path, name: str) -> Iterator[Location]:
    """Give a state of the copy that may be damaged; it is gone afterwards."""
    state = folder / name
    # What a killed attempt has left is no state to begin with.
    shutil.rmtree(state, ignore_errors=True)
    try:
        shutil.copytree(folder / PRISTINE, state, copy_function=_link)
        yield place_at(state)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        # Not every file system links.
        shutil.copy2(source, destination)
