"""Packs: many sealed chunks in one stored object. Pure.

A pack, byte by byte:

    offset   bytes  what
    0        5      "SRPAK"
    5        1      format version, 1
    6        1      n, the length of the data key's id
    7        n      id of the data key (the backup that made it), ASCII
    7+n      32     salt, random for each pack
    39+n     …      chunks, one after the other: length (u32 little-endian), then that many sealed bytes

The sealed bytes of chunk i are AES-256-GCM under the pack key (see `crypto.pack_cipher`) with the pack's
header, all of it before the first chunk, as associated data. What is sealed is:

    0        1      codec: 0 as it is, 1 one zstd frame
    1        1      encoding: 0 bytes, 1 COPY text
    2        8      length of the payload (u64 little-endian)
    10       …      the payload, encoded by the codec

The id of a pack is the SHA-256 of all its bytes.
"""

import hashlib
from dataclasses import dataclass

import zstandard

from strongroom.crypto.pack_cipher import PackCipher
from strongroom.errors import FormatError, MalformedPack, PackNotFaithful
from strongroom.format.documents import Encoding
from strongroom.format.frames import open_frame
from strongroom.ids import PackId

MAGIC = b"SRPAK"
VERSION = 1
PACK_TARGET = 16 << 20
"""Bytes from which a pack is closed; a pack is larger only by its last chunk."""

_ENCODINGS: tuple[Encoding, ...] = ("bytes", "copy-text")
_STORED, _ZSTD = 0, 1
_PREFIX_BYTES = 10


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """Where a chunk came to lie in its pack."""

    index: int
    offset: int
    stored: int
    raw: int


class PackBuilder:
    """Collects sealed chunks in memory; each is opened again and compared before it counts (I6)."""

    def __init__(self, data_key_id: str, data_key: bytes, salt: bytes, *, compress: bool) -> None:
        key_id = data_key_id.encode("ascii")
        self.data_key_id = data_key_id
        self._header = MAGIC + bytes([VERSION, len(key_id)]) + key_id + salt
        self._cipher = PackCipher(data_key, salt)
        self._buffer = bytearray(self._header)
        self._compressor = zstandard.ZstdCompressor(level=1) if compress else None
        self._count = 0

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def is_full(self) -> bool:
        """Whether the pack has reached the size at which it is closed."""
        return len(self._buffer) >= PACK_TARGET

    @property
    def is_empty(self) -> bool:
        """Whether the pack holds no chunk yet."""
        return self._count == 0

    def append(self, payload: bytes, encoding: Encoding) -> PlacedChunk:
        """Compress, seal and add one payload; raise `PackNotFaithful` if it does not come back equal."""
        codec = _ZSTD if self._compressor else _STORED
        body = self._compressor.compress(payload) if self._compressor else payload
        if len(body) >= len(payload):
            codec, body = _STORED, payload
        prefix = bytes([codec, _ENCODINGS.index(encoding)]) + len(payload).to_bytes(8, "little")
        sealed = self._cipher.seal(self._count, prefix + body, self._header)
        del body
        self._buffer += len(sealed).to_bytes(4, "little")
        placed = PlacedChunk(self._count, len(self._buffer), len(sealed), len(payload))
        self._buffer += sealed
        del sealed
        self._prove(placed, payload, encoding)
        self._count += 1
        return placed

    def finish(self) -> tuple[PackId, bytearray]:
        """Return the pack's id and its bytes."""
        return PackId(hashlib.sha256(self._buffer).hexdigest()), self._buffer

    def _prove(self, placed: PlacedChunk, payload: bytes, encoding: Encoding) -> None:
        """Decode the chunk from the very bytes that will be stored and compare it (I6)."""
        sealed = bytes(memoryview(self._buffer)[placed.offset : placed.offset + placed.stored])
        try:
            opened = _unwrap(self._cipher.open(placed.index, sealed, self._header), "a new pack")
        except FormatError as error:
            raise PackNotFaithful(index=placed.index) from error
        if opened != (encoding, payload):
            raise PackNotFaithful(index=placed.index)


class PackReader:
    """Opens the chunks of one stored pack."""

    def __init__(self, data: bytes, name: str, data_key: bytes) -> None:
        self._data = memoryview(data)
        self._name = name
        key_id, self._header = read_header(data, name)
        self.data_key_id = key_id
        self._cipher = PackCipher(data_key, self._header[-32:])

    def open(self, index: int, offset: int, stored: int) -> tuple[Encoding, bytes]:
        """Return encoding and payload of the chunk at this place; raise `MalformedPack`, `DamagedChunk`."""
        if index < 0 or stored < 0 or offset < len(self._header) or offset + stored > len(self._data):
            raise MalformedPack(name=self._name, reason=f"chunk {index} lies outside of it")
        sealed = bytes(self._data[offset : offset + stored])
        return _unwrap(self._cipher.open(index, sealed, self._header), self._name)


def read_header(data: bytes, name: str) -> tuple[str, bytes]:
    """Return the id of the data key and the header's bytes."""
    if len(data) < 7 or data[:5] != MAGIC:
        raise MalformedPack(name=name, reason="it does not begin like a pack")
    if data[5] != VERSION:
        raise MalformedPack(name=name, reason=f"its version is {data[5]}, this program knows {VERSION}")
    end = 7 + data[6] + 32
    if len(data) < end:
        raise MalformedPack(name=name, reason="its header is cut off")
    return bytes(data[7 : 7 + data[6]]).decode("ascii", "replace"), bytes(data[:end])


def _unwrap(opened: bytes, name: str) -> tuple[Encoding, bytes]:
    """Take the prefix off an opened chunk and decode its payload."""
    if len(opened) < _PREFIX_BYTES or opened[0] not in {_STORED, _ZSTD} or opened[1] >= len(_ENCODINGS):
        raise MalformedPack(name=name, reason="a chunk's prefix makes no sense")
    length = int.from_bytes(opened[2:10], "little")
    body = memoryview(opened)[_PREFIX_BYTES:]
    if opened[0] == _ZSTD:
        try:
            payload = open_frame(body, length)
        except zstandard.ZstdError as error:
            raise MalformedPack(name=name, reason="a chunk does not decompress") from error
    else:
        payload = bytes(body)
    if len(payload) != length:
        raise MalformedPack(name=name, reason="a chunk has another length than it says")
    return _ENCODINGS[opened[1]], payload
