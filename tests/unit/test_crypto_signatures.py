"""The signing key, and the keyring."""

import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.operator_key import OperatorKey
from strongroom.crypto.recovery_keys import RecoveryPrivateKey
from strongroom.crypto.signing_key import (
    SIGNATURE_BYTES,
    SigningKey,
    SigningPublicKey,
    check_signature,
    sign,
)
from strongroom.errors import ForgedSignature, MissingKey, NotASigningKey

KEY = SigningKey.generate(os.urandom)
DATA = b"the manifest"
SIGNATURE = sign(KEY, "manifest", DATA)


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_true_signature(data: bytes) -> None:
    """A signature is good for its data, purpose and key."""
    check_signature(KEY.public(), "manifest", data, sign(KEY, "manifest", data))


@settings(deadline=None)
@given(st.integers(0, SIGNATURE_BYTES * 8 - 1))
def test_changed_signature(bit: int) -> None:
    """A signature with one flipped bit is a forgery."""
    changed = bytearray(SIGNATURE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ForgedSignature):
        check_signature(KEY.public(), "manifest", DATA, bytes(changed))


def test_forgeries() -> None:
    """A signature of other data, for another purpose, by another key or of no length is a forgery."""
    stranger = SigningKey.generate(os.urandom)
    for public, domain, data, signature in (
        (KEY.public(), "manifest", DATA + b"!", SIGNATURE),
        (KEY.public(), "audit", DATA, SIGNATURE),
        (stranger.public(), "manifest", DATA, SIGNATURE),
        (KEY.public(), "manifest", DATA, b""),
        (KEY.public(), "manif", b"est\0the manifest", SIGNATURE),
    ):
        with pytest.raises(ForgedSignature):
            check_signature(public, domain, data, signature)


def test_signed_bytes() -> None:
    """What is signed is the domain, NUL and the data, so that another program can check it."""
    KEY.private.public_key().verify(SIGNATURE, b"strongroom/manifest\0the manifest")


def test_files_round_trip() -> None:
    """Both halves come back from their PEM files under the same id."""
    private, public = SigningKey.from_pem(KEY.to_pem()), SigningPublicKey.from_pem(KEY.public().to_pem())
    assert KEY.public() == private.public() == public
    assert KEY.key_id == private.key_id == public.key_id
    assert 16 == len(KEY.key_id)


def test_other_files() -> None:
    """Files that hold no Ed25519 key are refused."""
    other = X25519PrivateKey.generate()
    plain = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"nonsense", KEY.public().to_pem(), plain):
        with pytest.raises(NotASigningKey):
            SigningKey.from_pem(content)
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for content in (b"", KEY.to_pem(), public):
        with pytest.raises(NotASigningKey):
            SigningPublicKey.from_pem(content)


def test_keyring_hands_out_what_it_has() -> None:
    """A full keyring gives each key to who requires it."""
    operator, recovery = OperatorKey.generate(os.urandom), RecoveryPrivateKey.generate(os.urandom)
    keyring = Keyring(operator, KEY, KEY.public(), (recovery.public(),), recovery)
    assert operator == keyring.require_operator()
    assert KEY == keyring.require_signing()
    assert KEY.public() == keyring.require_signing_public()
    assert (recovery.public(),) == keyring.require_recovery_public()
    assert recovery == keyring.require_recovery_private()
    assert keyring.can_read_rows


@pytest.mark.parametrize(
    ("require", "file"),
    [
        (Keyring.require_operator, "operator.key"),
        (Keyring.require_signing, "signing.key"),
        (Keyring.require_signing_public, "signing.pub"),
        (Keyring.require_recovery_public, "recovery.pub"),
        (Keyring.require_recovery_private, "recovery.pem"),
    ],
)
def test_keyring_names_what_is_missing(require: Callable[[Keyring], object], file: str) -> None:
    """A key that is not there is named by its file, in message and hint."""
    with pytest.raises(MissingKey) as caught:
        require(Keyring())
    assert file in str(caught.value)
    assert file in caught.value.advice()
    assert not Keyring().can_read_rows
