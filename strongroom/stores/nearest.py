"""Several stores read as one: the nearest that has a good copy answers.

    store = NearestStore([local, edge, archive])
    data = read_good(store, name, judge)      # `judge` raises if the bytes are not what they must be

A missing or damaged copy, or a store that is out of reach, makes the next one be asked. What was damaged is
remembered in `damaged`, so that it can be repaired. Nothing can be written through it: where a writer writes is
its own decision.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NoReturn, TypeVar

from strongroom.errors import (
    FormatError,
    KeyringError,
    ObjectMissing,
    StoreError,
    StoreReadOnly,
    StrongroomError,
    Transient,
)
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data
from strongroom.stores.protocol import Store, StoredObject

Value = TypeVar("Value")

_NOT_GOOD = (StoreError, FormatError, KeyringError)


@dataclass(frozen=True, slots=True)
class DamagedCopy:
    """A copy that another one had to stand in for: where it is, and what is wrong with it."""

    store: str
    name: str
    error: StrongroomError


class NearestStore:
    """Reads from the first of several stores that can answer, in the order given."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(stores)
        # Appending is atomic, so that threads need no lock.
        self.damaged: list[DamagedCopy] = []
        self.out_of_reach: dict[str, StrongroomError] = {}

    @property
    def description(self) -> str:
        """Say where this is: at all of them."""
        return ", ".join(store.description for store in self.stores)

    @property
    def capabilities(self) -> Capabilities:
        """Say what the nearest of them can do."""
        return self.stores[0].capabilities

    def put(self, name: str, data: Data, sha256: str) -> NoReturn:  # noqa: ARG002  (as all stores)
        """Refuse."""
        self._refuse("put", name)

    def create(self, name: str, data: bytes) -> NoReturn:  # noqa: ARG002  (as all stores)
        """Refuse."""
        self._refuse("create", name)

    def delete(self, name: str) -> NoReturn:
        """Refuse."""
        self._refuse("delete", name)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of the nearest copy, or `length` of them from `start`."""
        return self._ask(lambda store: store.get(name, start, length))

    def stat(self, name: str) -> StoredObject:
        """Describe the nearest copy of an object."""
        return self._ask(lambda store: store.stat(name))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object that any store has, once, in the order of their names.

        A store that is out of reach is passed over and noted in `out_of_reach`; if all are, its error is raised.
        """
        lists = []
        failed: list[StrongroomError] = []
        for store in self.stores:
            try:
                lists.append(list(store.list(prefix)))
            except StoreError as error:
                failed.append(error)
                if not isinstance(error, ObjectMissing):
                    self.out_of_reach[store.description] = error
        if not lists:
            raise _weightiest(failed)
        merged = heapq.merge(*lists, key=_name)
        for _, copies in groupby(merged, key=_name):
            yield next(copies)

    def read_good(self, name: str, judge: Callable[[bytes], Value]) -> Value:
        """Return what `judge` makes of the first copy that it accepts; see the function of this name."""
        errors: list[StrongroomError] = []
        for store in self.stores:
            try:
                value = judge(store.get(name))
            except _NOT_GOOD as error:
                errors.append(error)
                if not isinstance(error, ObjectMissing | Transient):
                    self.damaged.append(DamagedCopy(store.description, name, error))
            else:
                return value
        raise _weightiest(errors)

    def _ask(self, call: Callable[[Store], Value]) -> Value:
        errors: list[StrongroomError] = []
        for store in self.stores:
            try:
                return call(store)
            except StoreError as error:
                errors.append(error)
        raise _weightiest(errors)

    def _refuse(self, operation: str, name: str) -> NoReturn:
        raise StoreReadOnly(store=self.description, operation=operation, name=name)


def read_good(store: Store, name: str, judge: Callable[[bytes], Value]) -> Value:
    """Read an object and return what `judge` makes of it; of several copies, the first that it accepts.

    `judge` raises for bytes that are not what they must be. If no copy is good, the weightiest error is raised:
    one that may pass, else damage, else that there is none.
    """
    if isinstance(store, NearestStore):
        return store.read_good(name, judge)
    return judge(store.get(name))


def _name(found: StoredObject) -> str:
    return found.name


def _weightiest(errors: Sequence[StrongroomError]) -> StrongroomError:
    """Return the error that says most: what may pass hides whether there is a good copy, absence says least."""
    for kind in (Transient, FormatError, KeyringError):
        for error in errors:
            if isinstance(error, kind):
                return error
    return next((error for error in errors if not isinstance(error, ObjectMissing)), errors[0])
