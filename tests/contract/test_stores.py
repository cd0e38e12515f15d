"""Every store and every wrapper keeps the store contract; the contract notices stores that do not."""

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from strongroom.stores.contract import RULES, ContractFinding, run_contract
from strongroom.stores.faulty import FaultyStore
from strongroom.stores.local import LocalDirectoryStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store, StoredObject
from strongroom.stores.recording import RecordingStore
from strongroom.stores.retrying import RetryingStore

MAKERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "local": LocalDirectoryStore,
    "local, not durable": lambda path: LocalDirectoryStore(path, durable=False),
    "opened by URL": lambda path: open_store(path.as_uri()),
    "retrying": lambda _: RetryingStore(MemoryStore()),
    "recording": lambda _: RecordingStore(MemoryStore()),
    "faulty without faults": lambda _: FaultyStore(MemoryStore()),
    "all wrappers": lambda _: RetryingStore(FaultyStore(RecordingStore(MemoryStore()))),
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

    def put(self, name: str, data: bytes | bytearray | memoryview, sha256: str) -> None:
        """Store without looking."""
        super().delete(name)
        super().put(name, data, sha256)


class Believing(MemoryStore):
    """Does not look at the SHA-256."""

    def put(self, name: str, data: bytes | bytearray | memoryview, sha256: str) -> None:
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


def _hash(data: bytes | bytearray | memoryview) -> str:
    return sha256(data).hexdigest()


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
