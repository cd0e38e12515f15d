"""Recovery keys, and data keys sealed to them: what it takes to read rows. Pure.

A recovery key pair is a post-quantum hybrid: ML-KEM-768 and X25519 together, used through HPKE with
HKDF-SHA256 and AES-256-GCM. A backup worker holds only public keys: it can write, and read no row. The
files hold a line with the key id and two PEM blocks, the ML-KEM part first:

    recovery.pub   SubjectPublicKeyInfo blocks
    recovery.pem   encrypted PKCS#8 blocks (see `strongroom.crypto.pkcs8`)

The key id is the first 16 hex digits of the SHA-256 of the two SubjectPublicKeyInfo parts (DER, joined);
the line with it makes a damaged file notice itself. A data key is sealed with the HPKE info
`"strongroom data key" + NUL + data key id`, so that it opens under that id only. HPKE draws its
randomness from the cryptography library.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

import msgspec
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from strongroom.crypto.pack_cipher import DATA_KEY_BYTES
from strongroom.crypto.pkcs8 import encrypt_private_key
from strongroom.errors import (
    BadKeyMaterial,
    EmptyPassphrase,
    NewerDataKey,
    NoRecipients,
    NotARecipient,
    NotARecoveryKey,
    TamperedDataKey,
    WrongPassphrase,
)
from strongroom.ids import KeyId

SEALED_DATA_KEY_FORMAT = 1

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_KEY_ID_LINE = re.compile(rb"^strongroom recovery (public|private) key ([0-9a-f]{16})\r?$", re.MULTILINE)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----\r?\n[A-Za-z0-9+/=\r\n]+-----END \1-----\r?\n?")


class SealedDataKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A data key, sealed once to each recovery public key: the object `keys/<id>` without its signature."""

    format: int
    id: str
    recipients: dict[str, bytes]
    """Key id of the recovery key -> HPKE encapsulation and ciphertext."""


@dataclass(frozen=True, slots=True)
class RecoveryPublicKey:
    """What data keys are sealed to; it is no secret."""

    mlkem: MLKEM768PublicKey = field(repr=False, compare=False)
    x25519: X25519PublicKey = field(repr=False, compare=False)
    key_id: KeyId

    @classmethod
    def of(cls, mlkem: MLKEM768PublicKey, x25519: X25519PublicKey) -> Self:
        """Join the two parts and name them."""
        parts = [
            part.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for part in (mlkem, x25519)
        ]
        return cls(mlkem, x25519, KeyId(sha256(b"".join(parts)).hexdigest()[:16]))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read the file form. Raises `NotARecoveryKey`."""
        key_id, blocks = _take_apart(pem, "public", b"PUBLIC KEY")
        try:
            mlkem, x25519 = (load_pem_public_key(block) for block in blocks)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise NotARecoveryKey(part="public", reason="a PEM block does not decode") from None
        if not (isinstance(mlkem, MLKEM768PublicKey) and isinstance(x25519, X25519PublicKey)):
            raise NotARecoveryKey(part="public", reason="its blocks are not ML-KEM-768 and X25519 keys")
        key = cls.of(mlkem, x25519)
        _check_key_id("public", key_id, key.key_id)
        return key

    def to_pem(self) -> bytes:
        """Return the file form."""
        line = f"strongroom recovery public key {self.key_id}\n".encode()
        parts = (self.mlkem, self.x25519)
        return line + b"".join(
            part.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for part in parts
        )


@dataclass(frozen=True, slots=True)
class RecoveryPrivateKey:
    """What opens data keys. Its secrets never appear in `repr`."""

    mlkem: MLKEM768PrivateKey = field(repr=False)
    x25519: X25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> Self:
        """Make a new pair."""
        return cls(
            MLKEM768PrivateKey.from_seed_bytes(random(64)), X25519PrivateKey.from_private_bytes(random(32))
        )

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes) -> Self:
        """Read the file form. Raises `NotARecoveryKey`, `WrongPassphrase`."""
        key_id, blocks = _take_apart(pem, "private", b"ENCRYPTED PRIVATE KEY")
        try:
            mlkem, x25519 = (load_pem_private_key(block, passphrase) for block in blocks)
        except (ValueError, TypeError):
            raise WrongPassphrase(key_id=key_id) from None
        except UnsupportedAlgorithm:
            raise NotARecoveryKey(part="private", reason="a PEM block does not decode") from None
        if not (isinstance(mlkem, MLKEM768PrivateKey) and isinstance(x25519, X25519PrivateKey)):
            raise NotARecoveryKey(part="private", reason="its blocks are not ML-KEM-768 and X25519 keys")
        key = cls(mlkem, x25519)
        _check_key_id("private", key_id, key.key_id)
        return key

    def to_pem(self, passphrase: bytes, random: Callable[[int], bytes]) -> bytes:
        """Return the file form, encrypted with the passphrase."""
        if not passphrase:
            raise EmptyPassphrase
        plain = [
            part.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            for part in (self.mlkem, self.x25519)
        ]
        line = f"strongroom recovery private key {self.key_id}\n".encode()
        return line + b"".join(encrypt_private_key(part, passphrase, random) for part in plain)

    def public(self) -> RecoveryPublicKey:
        """Return the half that data keys are sealed to."""
        return RecoveryPublicKey.of(self.mlkem.public_key(), self.x25519.public_key())

    @property
    def key_id(self) -> KeyId:
        """Name the pair: the id of the public half."""
        return self.public().key_id


def seal_data_key(
    data_key: bytes, recipients: Sequence[RecoveryPublicKey], data_key_id: str
) -> SealedDataKey:
    """Seal a data key so that each of the recipients can open it."""
    if not recipients:
        raise NoRecipients(data_key=data_key_id)
    if len(data_key) != DATA_KEY_BYTES:
        raise BadKeyMaterial(what="data key", expected=DATA_KEY_BYTES, observed=len(data_key))
    sealed = {
        str(key.key_id): _SUITE.encrypt(
            data_key, hpke.MLKEM768X25519PublicKey(key.mlkem, key.x25519), info=_info(data_key_id)
        )
        for key in recipients
    }
    return SealedDataKey(format=SEALED_DATA_KEY_FORMAT, id=data_key_id, recipients=sealed)


def open_data_key(sealed: SealedDataKey, private: RecoveryPrivateKey, data_key_id: str) -> bytes:
    """Return the data key of `data_key_id`. Raises `NotARecipient`, `TamperedDataKey`, `NewerDataKey`."""
    if sealed.format != SEALED_DATA_KEY_FORMAT:
        raise NewerDataKey(data_key=data_key_id, format=sealed.format, known=SEALED_DATA_KEY_FORMAT)
    if sealed.id != data_key_id:
        raise TamperedDataKey(data_key=data_key_id)
    key_id = private.key_id
    if key_id not in sealed.recipients:
        raise NotARecipient(
            data_key=data_key_id, key_id=key_id, recipients=", ".join(sorted(sealed.recipients))
        )
    pair = hpke.MLKEM768X25519PrivateKey(private.mlkem, private.x25519)
    try:
        return _SUITE.decrypt(sealed.recipients[key_id], pair, info=_info(data_key_id))
    except (InvalidTag, ValueError) as error:
        raise TamperedDataKey(data_key=data_key_id) from error


def stated_key_id(pem: bytes) -> KeyId | None:
    """Return the key id that a file of either half states, which takes no passphrase; None if it states none."""
    line = _KEY_ID_LINE.search(pem)
    return None if line is None else KeyId(line[2].decode())


def _info(data_key_id: str) -> bytes:
    return b"strongroom data key\0" + data_key_id.encode()


def _take_apart(pem: bytes, part: str, label: bytes) -> tuple[str, list[bytes]]:
    """Return the key id that a file states and its two PEM blocks."""
    line = _KEY_ID_LINE.search(pem)
    if line is None or line[1].decode() != part:
        raise NotARecoveryKey(part=part, reason=f"it has no line `strongroom recovery {part} key …`")
    blocks = [match[0] for match in _BLOCK.finditer(pem) if match[1] == label]
    if len(blocks) != 2:
        raise NotARecoveryKey(part=part, reason=f"it has {len(blocks)} {label.decode()} blocks, not 2")
    return line[2].decode(), blocks


def _check_key_id(part: str, stated: str, actual: str) -> None:
    if stated != actual:
        raise NotARecoveryKey(part=part, reason=f"it says key id {stated} and holds key {actual}")
