"""What is particular to the store in a folder: durability, what does not belong, and the system's errors."""

import errno
import os
import resource
import stat
import tracemalloc
from hashlib import sha256
from pathlib import Path

import pytest

from strongroom.errors import (
    BadObjectName,
    BadStoreUrl,
    NoStoreRoot,
    ObjectConflict,
    ObjectDamaged,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnsuitable,
    Transient,
    UnknownStoreScheme,
)
from strongroom.stores import local
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import PIECE_BYTES
from strongroom.stores.local import LEFTOVER_SECONDS, LocalDirectoryStore
from strongroom.stores.open import open_store
from strongroom.stores.os_errors import coded
from strongroom.stores.protocol import Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Name the folder of the store; the store makes it."""
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> LocalDirectoryStore:
    """Open a store in a fresh folder."""
    return LocalDirectoryStore(root, durable=False)


def put(store: Store, name: str, data: bytes) -> None:
    """Store bytes with their right SHA-256."""
    store.put(name, data, sha256(data).hexdigest())


def names(store: Store) -> list[str]:
    """List all names."""
    return [found.name for found in store.list()]


def unfinished(root: Path) -> list[str]:
    """List what lies in the folder of unfinished files."""
    return [file.name for file in (root / "~writing").iterdir()]


def test_order_of_flushes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New folders and the file are flushed before the object has its name, its folder after (I1)."""
    (root / "packs").mkdir(parents=True)
    events: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        is_folder = stat.S_ISDIR(os.fstat(file).st_mode)
        events.append(f"flush {path.relative_to(root)}" if is_folder else "flush the file")
        real_fsync(file)

    def link(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool) -> None:
        events.append(f"link {target}")
        real_link(
            source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks
        )

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    store = LocalDirectoryStore(root)
    put(store, "packs/3f/one", b"data")
    first = ["flush .", "flush .", "flush packs", "flush the file", "link one", "flush packs/3f"]
    assert first == events
    events.clear()
    put(store, "packs/3f/two", b"data")
    assert ["flush the file", "link two", "flush packs/3f"] == events
    events.clear()
    put(store, "packs/3f/two", b"data")
    assert ["flush the file", "flush packs/3f"] == events
    events.clear()
    store.delete("packs/3f/two")
    assert ["flush packs/3f"] == events


def test_new_root_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every newly made folder on the way to the root is flushed in its parent."""
    flushed: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(Path(f"/proc/self/fd/{file}").readlink()))
    put(LocalDirectoryStore(tmp_path / "a" / "b"), "x", b"")
    assert [tmp_path, tmp_path / "a"] == flushed[:2]


def test_bytes_that_the_medium_changed(
    store: LocalDirectoryStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that arrives with one bit flipped is found by reading back, and leaves nothing (I6)."""
    real = local._write
    monkeypatch.setattr(local, "_write", lambda file, data: real(file, bytes([data[0] ^ 1]) + data[1:]))
    with pytest.raises(ObjectDamaged):
        put(store, "one", b"data")
    assert [] == names(store)
    assert [] == unfinished(root)


class Zeros:
    """Zero bytes in pieces, and the largest piece that was asked for; may end early, or change its mind."""

    def __init__(self, size: int, *, missing: int = 0) -> None:
        self.size = size
        self.largest = 0
        self._there = size - missing

    def read(self, start: int, length: int) -> bytes:
        """Return zeros."""
        self.largest = max(self.largest, length)
        return bytes(max(0, min(length, self._there - start)))


def test_pieces_are_never_whole_in_memory(store: LocalDirectoryStore) -> None:
    """An object larger than a piece is read, written and hashed a piece at a time."""
    size = 5 * PIECE_BYTES + 1
    digest = sha256(bytes(size)).hexdigest()
    tracemalloc.start()
    try:
        for _ in range(2):
            zeros = Zeros(size)
            store.put("large", zeros, digest)
            assert PIECE_BYTES == zeros.largest
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * PIECE_BYTES
    assert (size, b"\0") == (store.stat("large").size, store.get("large", size - 1))


def test_pieces_that_are_not_what_they_say(store: LocalDirectoryStore, root: Path) -> None:
    """Pieces with another SHA-256, or that end early, are damaged; nothing of them stays, and none replaces."""
    digest = sha256(bytes(1000)).hexdigest()
    for zeros in (Zeros(1001), Zeros(1000, missing=1)):
        with pytest.raises(ObjectDamaged):
            store.put("one", zeros, digest)
        assert [] == names(store)
        assert [] == unfinished(root)
    put(store, "one", bytes(1000))
    with pytest.raises(ObjectDamaged):
        store.put("one", Zeros(1000, missing=1), digest)
    with pytest.raises(ObjectConflict):
        store.put("one", Zeros(999), sha256(bytes(999)).hexdigest())
    store.put("one", Zeros(1000), digest)
    assert bytes(1000) == store.get("one")


def test_what_a_folder_can_do(store: LocalDirectoryStore) -> None:
    """Links are made once and what was written is read back: said before the folder exists."""
    assert Capabilities(creates_once=True, verifies_checksums=True) == store.capabilities


def test_object_damaged_on_disk(store: LocalDirectoryStore, root: Path) -> None:
    """Putting the same bytes again does not acknowledge a copy that was damaged meanwhile."""
    put(store, "one", b"data")
    (root / "one").write_bytes(b"dat!")
    with pytest.raises(ObjectConflict):
        put(store, "one", b"data")


def test_link_that_was_made_twice(store: LocalDirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network mount that repeats a request and then says "exists" does not make a winner a loser."""
    real = os.link

    def repeated(
        source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int, follow_symlinks: bool
    ) -> None:
        for _ in range(2):
            real(
                source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks
            )

    monkeypatch.setattr(os, "link", repeated)
    assert store.create("lease", b"me")
    assert not store.create("lease", b"me")
    put(store, "one", b"x")
    assert ["lease", "one"] == names(store)


def test_full_disk(store: LocalDirectoryStore, root: Path) -> None:
    """When the medium takes no more, the error says so and nothing half-written stays."""
    put(store, "small", b"x")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StoreFull) as caught:
            put(store, "large", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "'large'" in str(caught.value)
    assert ["small"] == names(store)
    assert [] == unfinished(root)
    put(store, "large", bytes(200_000))


def test_links_lead_nowhere(store: LocalDirectoryStore, root: Path, tmp_path: Path) -> None:
    """Symbolic links in the folder are not followed: nothing beyond it is read, written or deleted."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "nothing")
    for name in ("folder/secret", "file", "dangling"):
        with pytest.raises(ObjectMissing):
            store.get(name)
        with pytest.raises(ObjectMissing):
            store.stat(name)
        store.delete(name)
    assert [] == names(store)
    assert [] == [found.name for found in store.list("folder/")]
    with pytest.raises(BadObjectName):
        put(store, "folder/new", b"x")
    for name in ("file", "dangling"):
        with pytest.raises(ObjectConflict):
            put(store, name, b"secret")
        assert not store.create(name, b"x")
    assert {"secret": b"secret"} == {file.name: file.read_bytes() for file in outside.iterdir()}


def test_files_that_are_no_objects(store: LocalDirectoryStore, root: Path) -> None:
    """Files with other names and pipes are neither listed nor waited for."""
    put(store, "one", b"x")
    (root / "README.TXT").write_text("not ours")
    (root / "Upper").mkdir()
    os.mkfifo(root / "pipe")
    assert ["one"] == names(store)
    with pytest.raises(ObjectMissing):
        store.get("pipe")


def test_object_and_folder_of_one_name(store: LocalDirectoryStore) -> None:
    """A name that would need an object to be a folder, or a folder an object, is refused."""
    put(store, "a", b"x")
    with pytest.raises(BadObjectName):
        put(store, "a/b", b"x")
    put(store, "c/d", b"x")
    with pytest.raises(ObjectConflict):
        put(store, "c", b"x")
    assert not store.create("c", b"x")
    assert ["a", "c/d"] == names(store)


def test_leftovers(store: LocalDirectoryStore, root: Path) -> None:
    """What killed writers left is never listed, and goes a day later without its object."""
    put(store, "one", b"x")
    young, old, linked = (root / "~writing" / name for name in ("young", "old", "linked"))
    young.write_bytes(b"")
    old.write_bytes(b"")
    # Killed between giving the name and taking the temporary one away.
    linked.hardlink_to(root / "one")
    past = young.stat().st_mtime - LEFTOVER_SECONDS - 1
    for file in (old, linked):
        os.utime(file, (past, past))
    assert ["one"] == names(store)
    again = LocalDirectoryStore(root, durable=False)
    assert ["one"] == names(again)
    assert {"young", "old", "linked"} == set(unfinished(root))
    put(again, "two", b"y")
    assert ["young"] == unfinished(root)
    assert b"x" == again.get("one")


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """A store whose folder is missing says so, makes nothing by reading, and holds no object."""
    store = LocalDirectoryStore(tmp_path / "unmounted")
    with pytest.raises(NoStoreRoot):
        list(store.list())
    with pytest.raises(ObjectMissing):
        store.get("one")
    with pytest.raises(ObjectMissing):
        store.stat("one")
    store.delete("one")
    careful = LocalDirectoryStore(tmp_path / "unmounted", make=False)
    with pytest.raises(NoStoreRoot):
        put(careful, "one", b"x")
    assert [] == list(tmp_path.iterdir())
    put(store, "one", b"x")
    assert b"x" == careful.get("one")


def test_root_that_is_a_file(tmp_path: Path) -> None:
    """A file in place of the folder is an error, and stays."""
    (tmp_path / "file").write_text("precious")
    store = LocalDirectoryStore(tmp_path / "file")
    with pytest.raises(StoreError):
        put(store, "one", b"x")
    with pytest.raises(NoStoreRoot):
        list(store.list())
    assert "precious" == (tmp_path / "file").read_text()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EPERM, StoreDenied),
        (errno.EROFS, StoreReadOnly),
        (errno.EOPNOTSUPP, StoreUnsuitable),
        (errno.ESTALE, StoreUnavailable),
        (errno.ETIMEDOUT, StoreUnavailable),
        (errno.EIO, StoreFailed),
        (errno.ENOTDIR, StoreFailed),
    ],
)
def test_system_errors(number: int, expected: type[StoreError]) -> None:
    """Each error of the system has its coded one, which names store and object; few of them may pass."""
    error = coded(OSError(number, "text of the library"), "the store", "put", "packs/one")
    assert expected is type(error)
    assert "the store" in str(error)
    assert "packs/one" in str(error)
    assert isinstance(error, Transient) == (expected is StoreUnavailable)


def test_every_call_translates(store: LocalDirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `OSError` leaves the store, whichever method it comes up in."""
    put(store, "one", b"x")

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "open", refuse)
    for call in (
        lambda: put(store, "two", b"x"),
        lambda: store.create("two", b"x"),
        lambda: store.get("one"),
        lambda: store.stat("one"),
        lambda: names(store),
        lambda: store.delete("one"),
    ):
        with pytest.raises(StoreFailed):
            call()


def test_open_by_url(tmp_path: Path) -> None:
    """A file URL, with escapes, and a plain path open the same folder."""
    put(open_store(f"{tmp_path.as_uri()}/with%20space"), "one", b"x")
    assert b"x" == open_store(f"file://localhost{tmp_path}/with space").get("one")
    assert b"x" == open_store(f"FILE://{tmp_path}/with space").get("one")
    assert b"x" == open_store(str(tmp_path / "with space")).get("one")
    assert str(tmp_path / "with space") == open_store(f"{tmp_path.as_uri()}/with%20space").description


def test_urls_that_do_not_open() -> None:
    """An unknown scheme is answered with the known ones; a URL, which may hold secrets, is not repeated."""
    with pytest.raises(UnknownStoreScheme) as unknown:
        open_store("gopher://hole:password@host/path")
    assert "file://" in str(unknown.value)
    assert "password" not in str(unknown.value.document())
    for url in (
        "",
        "relative/path",
        "file://host/path",
        "file:relative",
        "file:///a?b",
        "file:///a#b",
        "file://",
    ):
        with pytest.raises(BadStoreUrl):
            open_store(url)
