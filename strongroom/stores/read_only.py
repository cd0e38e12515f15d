"""A wrapper that refuses to change anything: for verification and for looking at somebody's bucket."""

from typing import NoReturn

from strongroom.errors import StoreReadOnly
from strongroom.stores.data import Data
from strongroom.stores.wrapped import WrappedStore


class ReadOnlyStore(WrappedStore):
    """Passes reads on; `put`, `create` and `delete` raise `StoreReadOnly`."""

    def put(self, name: str, data: Data, sha256: str) -> NoReturn:  # noqa: ARG002 (it is not stored)
        """Refuse."""
        self._refuse("put", name)

    def create(self, name: str, data: bytes) -> NoReturn:  # noqa: ARG002 (it is not stored)
        """Refuse."""
        self._refuse("create", name)

    def delete(self, name: str) -> NoReturn:
        """Refuse."""
        self._refuse("delete", name)

    def _refuse(self, operation: str, name: str) -> NoReturn:
        raise StoreReadOnly(store=self.description, operation=operation, name=name)
