"""Objects on their way from one store to others: small ones in memory, large ones in a file without a name.

    with spooled(store, name, size, sha256) as data:
        other.put(name, data, sha256)

Stored objects are sealed, so no plaintext reaches the disk. The file has no name in any folder and ends with
the process.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

from strongroom.errors import ObjectDamaged, StoreError
from strongroom.stores.data import PIECE_BYTES, Data
from strongroom.stores.nearest import NearestStore, read_good
from strongroom.stores.os_errors import translated
from strongroom.stores.protocol import Store

LARGE_BYTES = 32 << 20
"""Objects above this size are not held in memory whole."""

_PLACE = "the folder for temporary files"


@dataclass(frozen=True, slots=True)
class FilePieces:
    """The bytes of an open file."""

    file: IO[bytes]
    size: int

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; from several threads at once, if need be."""
        return os.pread(self.file.fileno(), length, start)


@contextmanager
def spooled(store: Store, name: str, size: int, sha256: str) -> Iterator[Data]:
    """Give an object's bytes to the block, read once and compared with their digest.

    Of several copies, the first good one. Raises `ObjectMissing`, `ObjectDamaged`.
    """
    if size <= LARGE_BYTES:
        yield read_good(store, name, lambda data: _judged(store, name, sha256, data))
        return
    with ExitStack() as stack:
        with translated(_PLACE, "put", name):
            file = stack.enter_context(tempfile.TemporaryFile(prefix="strongroom-"))
        _fetch(store, name, size, sha256, file)
        yield FilePieces(file, size)


def _judged(store: Store, name: str, sha256: str, data: bytes) -> bytes:
    observed = hashlib.sha256(data).hexdigest()
    if observed != sha256:
        raise ObjectDamaged(name=name, store=store.description, expected=sha256, observed=observed)
    return data


def _fetch(store: Store, name: str, size: int, sha256: str, file: IO[bytes]) -> None:
    """Write a large object into the file, from the first copy that is good."""
    *others, last = store.stores if isinstance(store, NearestStore) else (store,)
    for one in others:
        try:
            _fetch_from(one, name, size, sha256, file)
        except StoreError:
            file.seek(0)
            file.truncate()
        else:
            return
    _fetch_from(last, name, size, sha256, file)


def _fetch_from(store: Store, name: str, size: int, sha256: str, file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    for start in range(0, size, PIECE_BYTES):
        piece = store.get(name, start, min(PIECE_BYTES, size - start))
        digest.update(piece)
        with translated(_PLACE, "put", name):
            file.write(piece)
    with translated(_PLACE, "put", name):
        file.flush()
    if digest.hexdigest() != sha256:
        raise ObjectDamaged(name=name, store=store.description, expected=sha256, observed=digest.hexdigest())
