"""Recovery keys, and data keys sealed to them."""

import os
import shutil
import subprocess
from functools import cache

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto.pkcs8 import encrypt_private_key
from strongroom.crypto.recovery_keys import (
    RecoveryPrivateKey,
    RecoveryPublicKey,
    SealedDataKey,
    open_data_key,
    seal_data_key,
)
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

BACKUP = "20261123T034500Z-9f3a61c2d4"
DATA_KEY = bytes(range(32))
ADA = RecoveryPrivateKey.generate(os.urandom)
GRACE = RecoveryPrivateKey.generate(os.urandom)
SEALED = seal_data_key(DATA_KEY, [ADA.public(), GRACE.public()], BACKUP)


@cache
def ada_pem() -> bytes:
    """Return Ada's key file; made once, because the passphrase is stretched on purpose."""
    return ADA.to_pem(b"correct horse", os.urandom)


def test_each_recipient_opens() -> None:
    """Every recovery key that a data key is sealed to opens it."""
    assert [DATA_KEY, DATA_KEY] == [open_data_key(SEALED, key, BACKUP) for key in (ADA, GRACE)]
    assert {ADA.key_id, GRACE.key_id} == set(SEALED.recipients)


def test_survives_encoding() -> None:
    """A sealed data key is a plain document, and opens after it was stored and read."""
    stored = msgspec.json.encode(SEALED)
    assert DATA_KEY == open_data_key(msgspec.json.decode(stored, type=SealedDataKey), ADA, BACKUP)


@settings(deadline=None)
@given(st.integers(0, len(SEALED.recipients[ADA.key_id]) * 8 - 1))
def test_every_bit_counts(bit: int) -> None:
    """One flipped bit anywhere in a sealed data key is an error."""
    damaged = bytearray(SEALED.recipients[ADA.key_id])
    damaged[bit // 8] ^= 1 << bit % 8
    changed = msgspec.structs.replace(SEALED, recipients={ADA.key_id: bytes(damaged)})
    with pytest.raises(TamperedDataKey):
        open_data_key(changed, ADA, BACKUP)


@settings(deadline=None)
@given(st.integers(0, 1167))
def test_cut_short(size: int) -> None:
    """A sealed data key that was cut anywhere does not open."""
    cut = SEALED.recipients[ADA.key_id][:size]
    with pytest.raises(TamperedDataKey):
        open_data_key(msgspec.structs.replace(SEALED, recipients={ADA.key_id: cut}), ADA, BACKUP)


def test_another_backup() -> None:
    """A data key that is passed off as another backup's does not open, whatever its document says."""
    other = "20261124T034500Z-0000000000"
    with pytest.raises(TamperedDataKey):
        open_data_key(SEALED, ADA, other)
    with pytest.raises(TamperedDataKey):
        open_data_key(msgspec.structs.replace(SEALED, id=other), ADA, other)


def test_no_recipient() -> None:
    """A key that is no recipient is told which keys are."""
    eve = RecoveryPrivateKey.generate(os.urandom)
    with pytest.raises(NotARecipient) as caught:
        open_data_key(SEALED, eve, BACKUP)
    for key in (ADA, GRACE, eve):
        assert key.key_id in str(caught.value)


def test_relabelled_recipient() -> None:
    """Another recipient's sealing under one's own key id does not open."""
    swapped = msgspec.structs.replace(SEALED, recipients={ADA.key_id: SEALED.recipients[GRACE.key_id]})
    with pytest.raises(TamperedDataKey):
        open_data_key(swapped, ADA, BACKUP)


def test_refusals_of_sealing() -> None:
    """Nothing is sealed to nobody, no other length than a data key's is sealed, no newer format is read."""
    with pytest.raises(NoRecipients):
        seal_data_key(DATA_KEY, [], BACKUP)
    with pytest.raises(BadKeyMaterial):
        seal_data_key(b"short", [ADA.public()], BACKUP)
    with pytest.raises(NewerDataKey):
        open_data_key(msgspec.structs.replace(SEALED, format=2), ADA, BACKUP)


def test_private_file_round_trip() -> None:
    """A recovery key comes back from its file, and opens what was sealed before."""
    loaded = RecoveryPrivateKey.from_pem(ada_pem(), b"correct horse")
    assert ADA.key_id == loaded.key_id
    assert DATA_KEY == open_data_key(SEALED, loaded, BACKUP)


def test_line_breaks_of_another_system() -> None:
    """A key file that travelled through a mail or a Windows editor still opens."""
    assert (
        ADA.key_id == RecoveryPrivateKey.from_pem(ada_pem().replace(b"\n", b"\r\n"), b"correct horse").key_id
    )


def test_wrong_passphrase() -> None:
    """A wrong or empty passphrase is named as such and appears nowhere."""
    for passphrase in (b"correct horsf", b""):
        with pytest.raises(WrongPassphrase) as caught:
            RecoveryPrivateKey.from_pem(ada_pem(), passphrase)
        assert "horsf" not in str(caught.value.document())


def test_empty_passphrase() -> None:
    """A recovery key is never stored without protection."""
    with pytest.raises(EmptyPassphrase):
        ADA.to_pem(b"", os.urandom)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_damaged_private_file(place: int) -> None:
    """A changed character of the file never yields another key than the right one."""
    pem = bytearray(ada_pem())
    place %= len(pem)
    pem[place] = ord("B") if pem[place] == ord("A") else ord("A")
    try:
        key = RecoveryPrivateKey.from_pem(bytes(pem), b"correct horse")
    except (NotARecoveryKey, WrongPassphrase):
        return
    # Base64 has spare bits at the end of a block: not every changed character changes a byte.
    assert ADA.key_id == key.key_id


def test_mixed_files() -> None:
    """Halves of two keys in one file are noticed."""
    ours, theirs = ada_pem(), GRACE.to_pem(b"correct horse", os.urandom)
    end = b"-----END ENCRYPTED PRIVATE KEY-----\n"
    mixed = end.join([ours.split(end)[0], theirs.split(end)[1], b""])
    with pytest.raises(NotARecoveryKey):
        RecoveryPrivateKey.from_pem(mixed, b"correct horse")


def test_other_files() -> None:
    """Files that are no recovery key are refused with what is wrong about them."""
    ed25519 = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    block = encrypt_private_key(ed25519, b"p", os.urandom, rounds=1000)
    line = b"strongroom recovery private key 0123456789abcdef\n"
    for content in (b"", b"\xff\xfe", line, line + block, line + block + block, ADA.public().to_pem()):
        with pytest.raises(NotARecoveryKey):
            RecoveryPrivateKey.from_pem(content, b"p")
    public = ADA.public().to_pem()
    for content in (b"", public[:-40], public.replace(b"M", b"N", 1), ada_pem()):
        with pytest.raises(NotARecoveryKey):
            RecoveryPublicKey.from_pem(content)


def test_public_file_round_trip() -> None:
    """A public key comes back from its file and seals to the same private key."""
    public = RecoveryPublicKey.from_pem(ADA.public().to_pem())
    assert ADA.public() == public
    assert DATA_KEY == open_data_key(seal_data_key(DATA_KEY, [public], BACKUP), ADA, BACKUP)


def test_secrets_stay_out_of_sight() -> None:
    """The repr of a private key shows none of it."""
    assert "RecoveryPrivateKey()" == repr(ADA)


@pytest.mark.parametrize("size", [1, 47, 48, 100, 200, 5000])
def test_standard_form(size: int) -> None:
    """The encrypted form has right lengths whatever is in it: the library finds the padding and the key."""
    ed25519 = Ed25519PrivateKey.from_private_bytes(size.to_bytes(32, "big"))
    plain = ed25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pem = encrypt_private_key(plain, b"p" * size, os.urandom, rounds=size)
    loaded = load_pem_private_key(pem, b"p" * size)
    assert plain == loaded.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_openssl_reads_it() -> None:
    """The key file needs no Strongroom to be opened: openssl shows the same X25519 key."""
    block = b"-----BEGIN" + ada_pem().rpartition(b"-----BEGIN")[2]
    argv = ["openssl", "pkey", "-passin", "env:P", "-outform", "DER"]
    environment = {"P": "correct horse", "PATH": os.environ["PATH"]}
    shown = subprocess.run(argv, input=block, capture_output=True, check=True, env=environment)
    assert ADA.x25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) == shown.stdout
