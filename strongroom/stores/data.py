"""What is put into a store: bytes at hand, or bytes that are fetched piece by piece.

    put(name, b"…", sha256)
    put(name, pieces, sha256)        # anything with `size` and `read(start, length)`

An object that is larger than memory should be is never whole in memory: backends send `Pieces` part by part,
and hash them on the way.
"""

from collections.abc import Iterator
from typing import Protocol, TypeAlias, runtime_checkable

Buffer: TypeAlias = bytes | bytearray | memoryview

PIECE_BYTES = 8 << 20
"""How much of an object is in memory at a time where it is handled piece by piece."""


@runtime_checkable
class Pieces(Protocol):
    """Bytes of a known size that can be read from any place, more than once: a part may be sent again."""

    @property
    def size(self) -> int:
        """The number of bytes."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer only at the end."""
        ...


Data: TypeAlias = Buffer | Pieces


def size_of(data: Data) -> int:
    """Return the number of bytes."""
    return data.size if isinstance(data, Pieces) else memoryview(data).nbytes


def piece_of(data: Data, start: int, length: int) -> bytes | memoryview:
    """Return `length` bytes from `start`, without copying what is in memory already."""
    return data.read(start, length) if isinstance(data, Pieces) else memoryview(data)[start : start + length]


def pieces_of(data: Data, length: int = PIECE_BYTES) -> Iterator[bytes | memoryview]:
    """Yield all bytes in order, `length` at a time; nothing for no bytes."""
    for start in range(0, size_of(data), length):
        yield piece_of(data, start, length)


def whole(data: Data) -> Buffer:
    """Return all bytes at once: for what is known to be small, and for buffers, which are returned as they are."""
    return data.read(0, data.size) if isinstance(data, Pieces) else data
