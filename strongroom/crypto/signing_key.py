"""The signing key: Ed25519 signatures over manifests and audit entries. Pure.

Somebody who can write to a store still cannot forge a backup. What is signed is
`"strongroom/" + domain + NUL + data`, so that a signature made for one purpose says nothing for another.
The private key's file is unencrypted PKCS#8 PEM, because a worker signs unattended.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from strongroom.errors import ForgedSignature, NotASigningKey
from strongroom.ids import KeyId

SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class SigningPublicKey:
    """The half that checks signatures; it is no secret."""

    raw: bytes

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a SubjectPublicKeyInfo PEM block."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise NotASigningKey(part="public", reason="it is not a public key in PEM form") from None
        if not isinstance(key, Ed25519PublicKey):
            raise NotASigningKey(part="public", reason="it is a key of another kind than Ed25519")
        return cls(key.public_bytes_raw())

    def to_pem(self) -> bytes:
        """Return the file form."""
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def key_id(self) -> KeyId:
        """Name the key: the first 16 hex digits of the SHA-256 of its raw bytes."""
        return KeyId(sha256(self.raw).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The half that signs. Its secret never appears in `repr`."""

    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> Self:
        """Make a new key."""
        return cls(Ed25519PrivateKey.from_private_bytes(random(32)))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read an unencrypted PKCS#8 PEM block."""
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise NotASigningKey(part="private", reason="it is not an unencrypted key in PEM form") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise NotASigningKey(part="private", reason="it is a key of another kind than Ed25519")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the file form, which is as secret as the key."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public(self) -> SigningPublicKey:
        """Return the half that checks."""
        return SigningPublicKey(self.private.public_key().public_bytes_raw())

    @property
    def key_id(self) -> KeyId:
        """Name the pair: the id of the public half."""
        return self.public().key_id


def sign(private: SigningKey, domain: str, data: bytes) -> bytes:
    """Return the 64-byte signature of `data` for one purpose, such as "manifest"."""
    return private.private.sign(_signed_bytes(domain, data))


def check_signature(public: SigningPublicKey, domain: str, data: bytes, signature: bytes) -> None:
    """Raise `ForgedSignature` unless `signature` was made by the key's other half for this very data."""
    try:
        Ed25519PublicKey.from_public_bytes(public.raw).verify(signature, _signed_bytes(domain, data))
    except InvalidSignature as error:
        raise ForgedSignature(domain=domain, key_id=public.key_id) from error


def _signed_bytes(domain: str, data: bytes) -> bytes:
    return b"strongroom/" + domain.encode() + b"\0" + data
