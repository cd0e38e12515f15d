"""One zstd frame to the bytes that it holds, never more than the caller allows. Pure."""

import zstandard

_LARGEST = 1 << 32
"""No frame holds more: a row of Postgres has at most 2 GiB of text."""


def open_frame(data: bytes | memoryview, most: int) -> bytes:
    """Return what a frame holds; raise `ZstdError` if it is none, is not alone, or holds more than `most`.

    The size that the frame itself states is looked at first: the library believes it, whatever limit it is
    given. Everything that this format writes states its size.
    """
    size = zstandard.frame_content_size(data)
    if not 0 <= size <= min(most, _LARGEST):
        raise zstandard.ZstdError("the frame does not state a size that is allowed")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
