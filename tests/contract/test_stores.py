"""Every store and every wrapper keeps the store contract; the contract notices stores that do not."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Lock

import pytest

from strongroom.errors import ObjectDamaged, ObjectLocked, ObjectMissing
from strongroom.stores.announced import CLAIMS, create_announced
from strongroom.stores.bandwidth import BandwidthLimited
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.contract import RULES, ContractFinding, run_contract
from strongroom.stores.data import Data, Pieces, whole
from strongroom.stores.faulty import FaultyStore
from strongroom.stores.local import LocalDirectoryStore
from strongroom.stores.logged import LoggedStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.names import check_name
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.recording import RecordingStore
from strongroom.stores.retrying import RetryingStore
from strongroom.stores.wrapped import WrappedStore


class Announcing(MemoryStore):
    """A medium without conditional puts: the consistent memory of a store, and names won by announcement."""

    def __init__(self) -> None:
        super().__init__()
        self._lock_of_keys = Lock()
        self._keys: dict[str, tuple[bytes, float]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Say that nothing is conditional here."""
        return Capabilities(creates_once=False)

    def create(self, name: str, data: bytes) -> bool:
        """Win the name, or not."""
        return create_announced(self, name, data, exists=partial(self._is_there, name), read_back=False)

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Win the name, or find the same bytes there."""
        check_name(name)
        if _hash(data) != sha256:
            raise ObjectDamaged(name=name, store="memory", expected=sha256, observed=_hash(data))
        if not create_announced(self, name, data, exists=partial(self._is_there, name)):
            super().put(name, data, sha256)

    def write(self, key: str, data: Data) -> None:
        """Replace whatever is there, object or claim."""
        if key.startswith(CLAIMS):
            with self._lock_of_keys:
                self._keys[key] = (bytes(whole(data)), time.time())
        else:
            super().delete(key)
            super().create(key, bytes(whole(data)))

    def read(self, key: str) -> bytes:
        """Return an object."""
        return self.get(key)

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield claims."""
        with self._lock_of_keys:
            found = [(key, at) for key, (_, at) in self._keys.items() if key.startswith(prefix)]
        yield from found

    def remove(self, key: str) -> None:
        """Remove a claim."""
        with self._lock_of_keys:
            self._keys.pop(key, None)

    def _is_there(self, name: str) -> bool:
        try:
            self.stat(name)
        except ObjectMissing:
            return False
        return True


MAKERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "local": LocalDirectoryStore,
    "local, not durable": lambda path: LocalDirectoryStore(path, durable=False),
    "opened by URL": lambda path: open_store(path.as_uri()),
    "retrying": lambda _: RetryingStore(MemoryStore()),
    "wrapped": lambda path: WrappedStore(LocalDirectoryStore(path)),
    "logged": lambda _: LoggedStore(MemoryStore()),
    "bandwidth limited": lambda _: BandwidthLimited(MemoryStore(), 1 << 30),
    "created by announcement": lambda _: Announcing(),
    "recording": lambda _: RecordingStore(MemoryStore()),
    "faulty without faults": lambda _: FaultyStore(MemoryStore()),
    "all wrappers": lambda _: RetryingStore(
        BandwidthLimited(LoggedStore(FaultyStore(RecordingStore(MemoryStore()))), 1 << 30)
    ),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_contract(maker: str, tmp_path: Path) -> None:
    """The store holds every rule, beside objects that were there before, and leaves only those."""
    store = MAKERS[maker](tmp_path / "root with space")
    store.put("already/there", b"x", sha256(b"x").hexdigest())
    findings = run_contract(store, "scratch/prefix", os.urandom)
    assert [] == [finding for finding in findings if not finding.held]
    assert [rule for rule, _ in RULES] == [finding.rule for finding in findings]
    assert ["already/there"] == [found.name for found in store.list()]


class Overwriting(MemoryStore):
    """Replaces what is there, as a bucket that ignores conditions does."""

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store without looking."""
        super().delete(name)
        super().put(name, data, sha256)


class Believing(MemoryStore):
    """Does not look at the SHA-256."""

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store whatever comes."""
        super().put(name, data, _hash(data))


class Generous(MemoryStore):
    """Lets every creator win."""

    def create(self, name: str, data: bytes) -> bool:
        """Store and say yes."""
        super().create(name, data)
        return True


class OnePage(MemoryStore):
    """Lists the first thousand objects only."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Stop after a page."""
        for count, found in enumerate(super().list(prefix)):
            if count < 1000:
                yield found


class Backwards(MemoryStore):
    """Lists in another order."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Turn the order round."""
        yield from reversed([*super().list(prefix)])


class Rangeless(MemoryStore):
    """Ignores ranges."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return everything."""
        return super().get(name)


class Strict(MemoryStore):
    """Complains, outside the error tree, of deleting what is not there."""

    def delete(self, name: str) -> None:
        """Insist."""
        self.stat(name)
        if name.endswith("not-there"):
            raise KeyError(name)
        super().delete(name)


class Undeleting(MemoryStore):
    """Keeps everything for ever."""

    def delete(self, name: str) -> None:
        """Do nothing."""


class FirstPiece(MemoryStore):
    """Keeps only the beginning of what comes in pieces."""

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Forget to go on reading."""
        if isinstance(data, Pieces):
            data = data.read(0, min(data.size, 500))
            sha256 = _hash(data)
        super().put(name, data, sha256)


class BelievingPieces(MemoryStore):
    """Checks buffers, and believes what is said of pieces."""

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store whatever comes."""
        super().put(name, data, _hash(data) if isinstance(data, Pieces) else sha256)


class Leaving(MemoryStore):
    """Notices that pieces are wrong once they are stored, and leaves them there."""

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store first."""
        if isinstance(data, Pieces) and data.size > 500:
            super().put(name, data, _hash(data))
        super().put(name, data, sha256)


class Lagging(MemoryStore):
    """Shows the last deletion, and every seventh object, only in the list after the next."""

    def __init__(self) -> None:
        super().__init__()
        self._before: list[StoredObject] = []

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """List what there was at the list before."""
        now = list(super().list(prefix))
        shown = self._before if len(now) > 5 and self._before else now
        self._before = now
        yield from shown


class LateLooking(MemoryStore):
    """Looks, and writes a moment later: a bucket whose conditions are a matter of luck."""

    def create(self, name: str, data: bytes) -> bool:
        """Look, wait, store."""
        if self._has(name):
            return False
        time.sleep(0.001)
        super().delete(name)
        return super().create(name, data)

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Look, wait, store."""
        if not self._has(name):
            time.sleep(0.001)
            super().delete(name)
        super().put(name, data, sha256)

    def _has(self, name: str) -> bool:
        return any(found.name == name for found in super().list(name))


class Shortened(MemoryStore):
    """Serves ranges well in the first 500 bytes, and one byte off behind them."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Be off by one."""
        return super().get(name, start + (start >= 500), length)


class Silent(MemoryStore):
    """Says nothing of what it can do."""

    capabilities = None  # type: ignore[assignment]


class Small(MemoryStore):
    """Says that it takes small objects only."""

    @property
    def capabilities(self) -> Capabilities:
        """Say so."""
        return Capabilities(largest_object=999)


def _hash(data: Data) -> str:
    return sha256(whole(data)).hexdigest()


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Overwriting, "other bytes under a taken name are refused"),
        (Believing, "bytes that do not have the SHA-256 are refused"),
        (Generous, "of racing creators exactly one wins"),
        (OnePage, "a list is complete beyond one page"),
        (Backwards, "a list is in bytewise order and its prefix is text"),
        (Rangeless, "ranges are cut at the end of the object"),
        (Strict, "deleting what is not there is no error"),
        (FirstPiece, "an object that comes in pieces is stored whole"),
        (BelievingPieces, "pieces that do not have the SHA-256 leave nothing"),
        (Leaving, "pieces that do not have the SHA-256 leave nothing"),
        (Lagging, "a list is right as soon as something was put or deleted"),
        (LateLooking, "of racing creators exactly one wins"),
        (LateLooking, "of racing writers of other bytes exactly one stays"),
        (Shortened, "a range of a large object is that range"),
        (Silent, "what the medium can do is told"),
        (Small, "what the medium can do is told"),
        (Undeleting, "what is put can be read, described, listed and deleted"),
    ],
)
def test_contract_notices(broken: type[MemoryStore], rule: str) -> None:
    """A store that breaks a promise is found out by the rule that states it, with what it did."""
    findings = run_contract(broken(), "scratch", os.urandom, large_bytes=1000)
    found: dict[str, ContractFinding] = {finding.rule: finding for finding in findings}
    assert not found[rule].held
    assert found[rule].expected
    assert found[rule].observed


class Locking(MemoryStore):
    """Locks every object for a day."""

    def delete(self, name: str) -> None:
        """Refuse."""
        check_name(name)
        if any(found.name == name for found in self.list(name)):
            raise ObjectLocked(name=name, store="memory", until="tomorrow")


def test_a_lock_breaks_no_promise() -> None:
    """Rules that delete are answered with the lock's code, all others are held, and what was written stays."""
    store = Locking()
    findings = run_contract(store, "scratch", os.urandom, many=20, large_bytes=1000)
    assert {ObjectLocked.code} == {finding.code for finding in findings if not finding.held}
    held = {finding.rule for finding in findings if finding.held}
    assert {"of racing creators exactly one wins", "no invalid name can be used"} < held
    assert [] != list(store.list("scratch/"))


def test_rules_are_announced_and_can_be_ended() -> None:
    """Whoever runs the contract hears of each rule before it, and may end it there; nothing is left then."""
    store, told = MemoryStore(), list[str]()

    def tell(rule: str) -> None:
        told.append(rule)
        if len(told) == 5:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        run_contract(store, "scratch", os.urandom, large_bytes=1000, before_rule=tell)
    assert [rule for rule, _ in RULES[:5]] == told
    assert [] == list(store.list())
