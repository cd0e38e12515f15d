"""A store in a folder of this machine.

Each object is a file under its own name. A file is written under a temporary name in `~writing/` (no object
can be called that), flushed to the medium, read back and hashed (I1, I6), and only then linked to its
name, so that readers see all of it or nothing and two writers can never both win. Folders are flushed
after every change in them, newly made ones included.

Every name is walked folder by folder without following symbolic links, so that no name and no link leads
out of the root. Files that are no objects (other names, links, pipes) are not listed and not touched.

What a killed writer leaves in `~writing/` is removed by the first write of a later process once it is a
day old; it is never listed. Folders that become empty stay: removing them would race with writers.
"""

import errno
import os
import secrets
import stat as stat_modes
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from hashlib import sha256 as sha256_of
from pathlib import Path

from strongroom.errors import (
    BadObjectName,
    NoStoreRoot,
    ObjectConflict,
    ObjectDamaged,
    ObjectMissing,
)
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data, pieces_of, size_of
from strongroom.stores.names import check_name, check_prefix, check_range, is_name
from strongroom.stores.os_errors import translated
from strongroom.stores.protocol import StoredObject

LEFTOVER_SECONDS = 24 * 3600
"""The age from which a file in `~writing/` belongs to no living writer."""

_WRITING = "~writing"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: opening a pipe that somebody put there must not wait for its other end.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER_MODE = 0o750
_FILE_MODE = 0o640


class LocalDirectoryStore:
    """Keeps objects as files. The folder is made by the first write, unless `make` is False.

    `durable=False` leaves out every flush to the medium: for tests, which survive no power cut.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        durable: bool = True,
        make: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = Path(root).absolute()
        self._durable = durable
        self._make = make
        self._clock = clock
        self._ready_to_write = False
        # Folders whose entry in their parent this process has seen flushed.
        self._flushed: set[str] = set()

    @property
    def description(self) -> str:
        """Say where this is."""
        return str(self._root)

    @property
    def capabilities(self) -> Capabilities:
        """Say what a folder can do: links are made once, and every write is read back and hashed."""
        return Capabilities(verifies_checksums=True)

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`; the same bytes again are no error.

        `Pieces` are written one by one and hashed on the way, so that no object is whole in memory.
        """
        check_name(name)
        with translated(self.description, "put", name):
            self._prepare()
            if self._is_taken(name):
                self._compare(name, sha256, _hashed(pieces_of(data)))
            elif self._place(name, data, sha256):
                return
            self._confirm(name, size_of(data), sha256)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is."""
        check_name(name)
        with translated(self.description, "create", name):
            self._prepare()
            return not self._is_taken(name) and self._place(name, data, sha256_of(data).hexdigest())

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        check_name(name)
        check_range(name, start, length)
        with translated(self.description, "get", name), self._opened(name) as file:
            rest = max(0, os.fstat(file).st_size - start)
            return _read(file, start, rest if length is None else min(length, rest))

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        check_name(name)
        with translated(self.description, "stat", name), self._opened(name) as file:
            facts = os.fstat(file)
        return StoredObject(name, facts.st_size, facts.st_mtime)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names."""
        check_prefix(prefix)
        if not self._root.is_dir():
            raise NoStoreRoot(path=self.description, name=prefix, store=self.description)
        yield from self._walk(prefix[: prefix.rfind("/") + 1], prefix)

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error."""
        check_name(name)
        with translated(self.description, "delete", name):
            try:
                with self._folder_of(name) as (folder, leaf):
                    # A folder or a link of this name is no object of the store.
                    if stat_modes.S_ISREG(os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mode):
                        os.unlink(leaf, dir_fd=folder)
                        self._flush(folder)
            except (FileNotFoundError, ObjectMissing):
                return

    # ------------------------------------------------------------ writing

    def _place(self, name: str, data: Data, sha256: str) -> bool:
        """Write a complete file and give it its name; return False if the name is taken."""
        with (
            self._folder_of(name, make=True) as (folder, leaf),
            self._folder((_WRITING,), make=True) as writing,
            self._temporary(writing, name, data, sha256) as temporary,
        ):
            try:
                os.link(temporary, leaf, src_dir_fd=writing, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                # On a network mount, a repeated request finds the link that its first try made.
                if not _is_same_file(temporary, writing, leaf, folder):
                    return False
            self._flush(folder)
        return True

    @contextmanager
    def _temporary(self, writing: int, name: str, data: Data, sha256: str) -> Iterator[str]:
        """Write, flush and read back a file of another name, which is gone in the end."""
        temporary = secrets.token_hex(12)
        file = os.open(temporary, _NEW, _FILE_MODE, dir_fd=writing)
        try:
            # What comes is compared before what arrived, so that the error tells which of the two was wrong.
            self._compare(name, sha256, _hashed(_written(file, pieces_of(data))))
            self._flush(file)
            self._read_back(file, name, sha256)
            yield temporary
        finally:
            os.close(file)
            os.unlink(temporary, dir_fd=writing)

    def _read_back(self, file: int, name: str, sha256: str) -> None:
        """Hash what the medium holds (I1, I6)."""
        if self._durable and hasattr(os, "posix_fadvise"):
            # Else the kernel would hand back its own memory, and a bad medium would pass.
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        self._compare(name, sha256, _digest(file))

    def _compare(self, name: str, expected: str, observed: str) -> None:
        if observed != expected:
            raise ObjectDamaged(name=name, store=self.description, expected=expected, observed=observed)

    def _confirm(self, name: str, size: int, sha256: str) -> None:
        """Acknowledge a put of an object that is there: it must be the same, and durable by now."""
        try:
            with self._opened(name) as file, self._folder_of(name, make=True) as (folder, _):
                if os.fstat(file).st_size != size or _digest(file) != sha256:
                    raise ObjectConflict(name=name, store=self.description)
                # Whoever wrote it may have been killed before it flushed.
                self._flush(file)
                self._flush(folder)
        except ObjectMissing:
            # A folder, a link or a pipe has the name.
            raise ObjectConflict(name=name, store=self.description) from None

    def _is_taken(self, name: str) -> bool:
        try:
            with self._folder_of(name) as (folder, leaf):
                os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, ObjectMissing):
            return False
        return True

    def _flush(self, file: int) -> None:
        if self._durable:
            os.fsync(file)

    def _prepare(self) -> None:
        """Before the first write: make the root, and remove what killed writers left behind."""
        if self._ready_to_write:
            return
        if self._make:
            self._make_root()
        with self._folder((_WRITING,), make=True) as writing, os.scandir(writing) as leftovers:
            for leftover in leftovers:
                _remove_if_old(leftover.name, writing, self._clock() - LEFTOVER_SECONDS)
        self._ready_to_write = True

    def _make_root(self) -> None:
        missing = [path for path in (self._root, *self._root.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(_FOLDER_MODE, exist_ok=True)
            parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._flush(parent)
            finally:
                os.close(parent)

    # ------------------------------------------------------------ finding

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """Open the file of an object for reading."""
        with self._folder_of(name) as (folder, leaf):
            try:
                file = os.open(leaf, _READ, dir_fd=folder)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
                    raise ObjectMissing(name=name, store=self.description) from None
                raise
        try:
            if not stat_modes.S_ISREG(os.fstat(file).st_mode):
                raise ObjectMissing(name=name, store=self.description)
            yield file
        finally:
            os.close(file)

    @contextmanager
    def _folder_of(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder that an object's file is in, and say what the file is called there."""
        *segments, leaf = name.split("/")
        try:
            with self._folder(tuple(segments), make=make) as folder:
                yield folder, leaf
        except _NoFolder:
            if make:
                reason = "an object or a link of this store stands where it needs a folder"
                raise BadObjectName(name=name, reason=reason) from None
            raise ObjectMissing(name=name, store=self.description) from None

    @contextmanager
    def _folder(self, segments: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """Open a folder below the root without following links; raise `_NoFolder` if it is none."""
        try:
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise NoStoreRoot(
                path=self.description, name="/".join(segments), store=self.description
            ) from None
        try:
            for depth in range(1, len(segments) + 1):
                below = self._enter(folder, segments[:depth], make=make)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)

    def _enter(self, parent: int, segments: tuple[str, ...], *, make: bool) -> int:
        """Open the last of `segments` in its parent folder."""
        try:
            if make:
                _make_folder(segments[-1], parent)
            folder = os.open(segments[-1], _FOLDER, dir_fd=parent)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                raise _NoFolder from None
            raise
        path = "/".join(segments)
        if make and path not in self._flushed:
            self._flush(parent)
            self._flushed.add(path)
        return folder

    def _walk(self, folder: str, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects below `folder` ("" or ending in a slash), in bytewise order of their names."""
        with translated(self.description, "list", prefix):
            entries = self._entries(folder)
        # A folder sorts with its slash: `a-b` before `a/b` before `a0`.
        for name, found in sorted(entries.items()):
            if found is not None:
                if name.startswith(prefix):
                    yield found
            elif name.startswith(prefix) or prefix.startswith(name):
                yield from self._walk(name, prefix)

    def _entries(self, folder: str) -> dict[str, StoredObject | None]:
        """Return what is in a folder by full name: objects, and folders (with their slash) as None."""
        found: dict[str, StoredObject | None] = {}
        try:
            with self._folder(tuple(folder.split("/")[:-1])) as opened, os.scandir(opened) as entries:
                for entry in entries:
                    name = folder + entry.name
                    if not is_name(name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        found[name + "/"] = None
                    elif entry.is_file(follow_symlinks=False):
                        found.update(_described(name, entry))
        except (_NoFolder, ObjectMissing):
            # Never made, or removed while we were listing.
            return {}
        return found


class _NoFolder(Exception):
    """A segment of a path is no folder."""


def _described(name: str, entry: os.DirEntry[str]) -> dict[str, StoredObject]:
    try:
        facts = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        # Deleted while we were listing.
        return {}
    return {name: StoredObject(name, facts.st_size, facts.st_mtime)}


def _is_same_file(name: str, folder: int, other: str, other_folder: int) -> bool:
    mine = os.stat(name, dir_fd=folder, follow_symlinks=False)
    try:
        return os.path.samestat(mine, os.stat(other, dir_fd=other_folder, follow_symlinks=False))
    except FileNotFoundError:
        # Deleted since; it was not ours to delete.
        return False


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
    except FileExistsError:
        return


def _remove_if_old(name: str, folder: int, before: float) -> None:
    try:
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < before:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        # Its writer, or another process that sweeps, was quicker.
        return


def _hashed(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of bytes that come piece by piece."""
    digest = sha256_of()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _written(file: int, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yield each piece once it is written."""
    for piece in pieces:
        _write(file, piece)
        yield piece


def _write(file: int, data: bytes | memoryview) -> None:
    """Write all of `data` without copying it."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _read(file: int, start: int, length: int) -> bytes:
    """Read `length` bytes; one system call, and so no copy, for anything below 2 GiB."""
    parts = []
    while length > 0:
        part = os.pread(file, length, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _digest(file: int) -> str:
    """Return the SHA-256 of a whole file."""
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", buffering=0, closefd=False) as stream:
        return file_digest(stream, "sha256").hexdigest()
