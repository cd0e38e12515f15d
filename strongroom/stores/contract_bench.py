"""Where one rule of the store contract is tried: a prefix of its own, racing threads, and what a trial says.

A trial takes a `Bench`, does something to its store, and raises `Broken` for what is not as the rule says:

    def round_trip(bench: Bench) -> None:
        bench.put(bench.name("one"), b"data")
        equal("the bytes", b"data", bench.store.get(bench.name("one")))
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256 as sha256_of
from typing import TypeVar

from strongroom.errors import StrongroomError
from strongroom.stores.data import Data, whole
from strongroom.stores.protocol import Store

Item = TypeVar("Item")
Result = TypeVar("Result")


class Broken(Exception):
    """A store did something else than the rule says."""

    def __init__(self, expected: str, observed: str) -> None:
        super().__init__(expected, observed)
        self.expected = expected
        self.observed = observed


@dataclass(frozen=True, slots=True)
class BytesInPieces:
    """Bytes that a store can have only piece by piece."""

    data: bytes

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer only at the end."""
        return self.data[start : start + length]


@dataclass(frozen=True)
class Bench:
    """One rule's place to work: a prefix of its own on the store under test."""

    store: Store
    prefix: str
    random: Callable[[int], bytes]
    many: int
    large_bytes: int
    racers: int
    rounds: int
    touched: set[str] = field(default_factory=set)

    def name(self, suffix: str) -> str:
        """Name an object of this rule; it is deleted in the end."""
        name = f"{self.prefix}/{suffix}"
        self.touched.add(name)
        return name

    def put(self, name: str, data: Data) -> None:
        """Store bytes with their right SHA-256."""
        self.store.put(name, data, sha256_of(whole(data)).hexdigest())

    def names(self, prefix: str) -> list[str]:
        """List the names below a prefix."""
        return [found.name for found in self.store.list(prefix)]

    def at_once(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Do something for each item in racing threads and return the results in order."""
        with ThreadPoolExecutor(self.racers) as pool:
            return list(pool.map(work, items))

    def pause(self) -> None:
        """Wait for up to 8 ms, so that racers meet at other points each time."""
        time.sleep(self.random(1)[0] / 32_000)


def equal(what: str, expected: object, observed: object) -> None:
    """Raise `Broken` unless the store did what was expected."""
    if expected != observed:
        raise Broken(f"{what}: {_shortened(expected)}", _shortened(observed))


def refused(what: str, error: type[StrongroomError], call: Callable[..., object], *args: object) -> None:
    """Raise `Broken` unless the call raises this error."""
    try:
        result = call(*args)
    except error:
        return
    except StrongroomError as other:
        raise Broken(f"{what}: {error.__name__}", f"{type(other).__name__}: {other}") from other
    raise Broken(f"{what}: {error.__name__}", f"no error, but {_shortened(result)}")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:100]} … {text[-60:]} ({len(text)} characters)"
