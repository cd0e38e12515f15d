"""The sealing of chunks: one AES-256-GCM key for each pack, one counter nonce for each chunk. Pure.

    pack key = HKDF-SHA256(data key, salt = the pack's 32 random bytes, info = "strongroom/pack")
    chunk    = AES-256-GCM(pack key, nonce = the chunk's index as 12 bytes big-endian, AAD = what the caller
               says the chunk belongs to: the pack header), ciphertext followed by the 16-byte tag

A data key belongs to one process that captured for one backup, and has an id of its own. Example:

    cipher = PackCipher(new_data_key(os.urandom), salt)
    sealed = cipher.seal(0, frame, aad=header)
    frame = cipher.open(0, sealed, aad=header)
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import BadKeyMaterial, DamagedChunk, RepeatedNonce

DATA_KEY_BYTES = 32
SALT_BYTES = 32
TAG_BYTES = 16
"""How much longer a sealed chunk is than what went into it."""


def new_data_key(random: Callable[[int], bytes]) -> bytes:
    """Make a data key."""
    return random(DATA_KEY_BYTES)


class PackCipher:
    """Seals and opens the chunks of one pack.

    The salt must be fresh for each pack that is written; then no two chunks ever share key and nonce.
    """

    __slots__ = ("_aead", "_sealed")

    def __init__(self, data_key: bytes, salt: bytes) -> None:
        _check_length("data key", data_key, DATA_KEY_BYTES)
        _check_length("pack salt", salt, SALT_BYTES)
        key = HKDF(SHA256(), 32, salt, b"strongroom/pack").derive(data_key)
        self._aead = AESGCM(key)
        self._sealed: set[int] = set()

    def seal(self, index: int, plaintext: bytes | bytearray | memoryview, aad: bytes) -> bytes:
        """Seal the chunk at `index` (0 or more); the result is 16 bytes longer.

        Each index once: a second seal under the same number raises `RepeatedNonce`.
        """
        if index in self._sealed:
            raise RepeatedNonce(index=index)
        self._sealed.add(index)
        return self._aead.encrypt(_nonce(index), plaintext, aad)

    def open(self, index: int, ciphertext: bytes | bytearray | memoryview, aad: bytes) -> bytes:
        """Return what was sealed at `index`; raise `DamagedChunk` if anything about it was changed."""
        try:
            return self._aead.decrypt(_nonce(index), ciphertext, aad)
        except InvalidTag as error:
            raise DamagedChunk(index=index) from error


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


def _check_length(what: str, value: bytes, expected: int) -> None:
    if len(value) != expected:
        raise BadKeyMaterial(what=what, expected=expected, observed=len(value))
