"""A store that cannot be opened, and says why at every call.

So that one location without credentials keeps no other from being read: at three in the morning it is the others
that matter.
"""

from collections.abc import Iterator
from typing import NoReturn

from strongroom.errors import StoreError
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data
from strongroom.stores.protocol import StoredObject


class UnusableStore:
    """Raises its error, whatever it is asked."""

    def __init__(self, description: str, error: StoreError) -> None:
        self._description = description
        self._error = error

    @property
    def description(self) -> str:
        """Say where this would be."""
        return self._description

    @property
    def capabilities(self) -> Capabilities:
        """Say nothing in particular."""
        return Capabilities()

    def put(self, name: str, data: Data, sha256: str) -> NoReturn:  # noqa: ARG002  (as all stores)
        """Refuse."""
        raise self._error

    def create(self, name: str, data: bytes) -> NoReturn:  # noqa: ARG002  (as all stores)
        """Refuse."""
        raise self._error

    def get(self, name: str, start: int = 0, length: int | None = None) -> NoReturn:  # noqa: ARG002  (as all stores)
        """Refuse."""
        raise self._error

    def stat(self, name: str) -> NoReturn:  # noqa: ARG002  (as all stores)
        """Refuse."""
        raise self._error

    def list(self, prefix: str = "") -> Iterator[StoredObject]:  # noqa: ARG002  (as all stores)
        """Refuse."""
        raise self._error

    def delete(self, name: str) -> NoReturn:  # noqa: ARG002  (as all stores)
        """Refuse."""
        raise self._error
