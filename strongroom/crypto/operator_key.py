"""The operator key: the symmetric key that seals manifests, table documents and row maps. Pure.

It is enough for incrementals, retention and structural verification; it opens no chunk.

A sealed document, byte by byte (all of it is authenticated):

    offset  bytes  what
    0       5      "SRDOC"
    5       1      sealing version, 1
    6       8      id of the operator key (the key id's 16 hex digits as bytes)
    14      32     salt, random for each document
    46      n      ciphertext, as long as the plaintext
    46+n    16     AES-256-GCM tag

    document key = HKDF-SHA256(operator key, salt, info = "strongroom/document/" + kind), 32 bytes
    nonce        = 12 zero bytes: a document key seals one document only
    AAD          = the 46 bytes of header, then kind, NUL, name (UTF-8)

Documents are compressed, if at all, before they come here. The key's file form is one line,
`strongroom-operator-key-v1:<key id>:<base64 of 32 bytes>`.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import (
    BadKeyMaterial,
    DamagedDocument,
    NewerDocument,
    NotAnOperatorKey,
    NotASealedDocument,
    WrongOperatorKey,
)
from strongroom.ids import KeyId

MAGIC = b"SRDOC"
VERSION = 1
KEY_BYTES = 32
HEADER_BYTES = 46
OVERHEAD_BYTES = HEADER_BYTES + 16
"""How much longer a sealed document is than its plaintext."""

_FILE_PREFIX = "strongroom-operator-key-v1"
_ZERO_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """An operator key. Its secret never appears in `repr`."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise BadKeyMaterial(what="operator key", expected=KEY_BYTES, observed=len(self.secret))

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> Self:
        """Make a new key."""
        return cls(random(KEY_BYTES))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the file form; a changed line raises `NotAnOperatorKey`."""
        prefix, _, rest = text.strip().partition(":")
        key_id, _, encoded = rest.partition(":")
        if prefix != _FILE_PREFIX:
            raise NotAnOperatorKey(reason=f"it does not begin with {_FILE_PREFIX}")
        try:
            secret = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise NotAnOperatorKey(reason="its key part is not base64") from None
        if len(secret) != KEY_BYTES:
            raise NotAnOperatorKey(reason=f"its key part has {len(secret)} bytes, not {KEY_BYTES}")
        key = cls(secret)
        if key.key_id != key_id:
            raise NotAnOperatorKey(reason="its key part does not match its key id")
        return key

    def to_text(self) -> str:
        """Return the file form: one line with its line break."""
        return f"{_FILE_PREFIX}:{self.key_id}:{base64.b64encode(self.secret).decode()}\n"

    @property
    def key_id(self) -> KeyId:
        """Name the key without giving anything away: 16 hex digits over a value derived from it."""
        derived = HKDF(SHA256(), 32, None, b"strongroom/operator key id").derive(self.secret)
        return KeyId(sha256(derived).hexdigest()[:16])


def seal_document(
    kind: str, name: str, plaintext: bytes, key: OperatorKey, random: Callable[[int], bytes]
) -> bytes:
    """Seal one document so that it opens only as this `kind` under this `name`."""
    salt = random(32)
    header = MAGIC + bytes([VERSION]) + bytes.fromhex(key.key_id) + salt
    return header + _cipher(key, salt, kind).encrypt(_ZERO_NONCE, plaintext, _aad(header, kind, name))


def open_document(kind: str, name: str, sealed: bytes, key: OperatorKey) -> bytes:
    """Return the plaintext of a sealed document.

    Raises `NotASealedDocument`, `NewerDocument`, `WrongOperatorKey` or `DamagedDocument`.
    """
    if len(sealed) < OVERHEAD_BYTES or not sealed.startswith(MAGIC):
        raise NotASealedDocument(kind=kind, name=name, size=len(sealed))
    if sealed[5] != VERSION:
        raise NewerDocument(kind=kind, name=name, version=sealed[5], known=VERSION)
    wanted = sealing_key_id(sealed)
    if wanted != key.key_id:
        raise WrongOperatorKey(kind=kind, name=name, wanted=wanted, present=key.key_id)
    header = bytes(sealed[:HEADER_BYTES])
    cipher = _cipher(key, header[14:], kind)
    try:
        return cipher.decrypt(_ZERO_NONCE, memoryview(sealed)[HEADER_BYTES:], _aad(header, kind, name))
    except InvalidTag as error:
        raise DamagedDocument(kind=kind, name=name) from error


def sealing_key_id(sealed: bytes) -> KeyId:
    """Read, from a sealed document's header, the id of the operator key that it was sealed with."""
    return KeyId(bytes(sealed[6:14]).hex())


def _cipher(key: OperatorKey, salt: bytes, kind: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt, b"strongroom/document/" + kind.encode()).derive(key.secret))


def _aad(header: bytes, kind: str, name: str) -> bytes:
    return header + kind.encode() + b"\0" + name.encode()
