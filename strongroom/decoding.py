"""JSON to typed values, from any thread.

    line = decode_as(Line, data)

msgspec works a type out when it is first decoded, while other threads can already see the half of it: two threads that
decode a type for the first time at once end the whole process (a null pointer, in 0.22). Here each type is worked out
once, by one thread at a time.
"""

from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_one_at_a_time = Lock()


def decode_as(kind: type[T], data: bytes | str) -> T:
    """Return the value that JSON holds; raise what msgspec raises, `DecodeError` or `ValidationError`."""
    # All types, not each by itself: they share parts.
    with _one_at_a_time:
        decoder: msgspec.json.Decoder[T] | None = _decoders.get(kind)
        if decoder is None:
            decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return decoder.decode(data)
