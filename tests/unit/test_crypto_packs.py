"""The sealing of chunks."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto.operator_key import OperatorKey, seal_document
from strongroom.crypto.pack_cipher import TAG_BYTES, PackCipher, new_data_key
from strongroom.errors import BadKeyMaterial, DamagedChunk, RepeatedNonce

DATA_KEY = bytes(range(32))
SALT = b"s" * 32
AAD = b"the pack header"
PLAINTEXT = b"1\tAda\n2\tGrace\n"
SEALED = PackCipher(DATA_KEY, SALT).seal(3, PLAINTEXT, AAD)


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 2**40), st.binary(max_size=50))
def test_round_trip(plaintext: bytes, index: int, aad: bytes) -> None:
    """A chunk opens at its index with its associated data, from any buffer."""
    sealed = PackCipher(DATA_KEY, SALT).seal(index, bytearray(plaintext), aad)
    assert len(plaintext) + TAG_BYTES == len(sealed)
    assert plaintext == PackCipher(DATA_KEY, SALT).open(index, memoryview(sealed), aad)


@settings(deadline=None)
@given(st.integers(0, len(SEALED) * 8 - 1))
def test_every_bit_counts(bit: int) -> None:
    """One flipped bit anywhere in a sealed chunk is an error."""
    damaged = bytearray(SEALED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedChunk):
        PackCipher(DATA_KEY, SALT).open(3, damaged, AAD)


@settings(deadline=None)
@given(st.integers(0, len(SEALED) - 1))
def test_cut_short(size: int) -> None:
    """A chunk that was cut anywhere does not open, not even an empty one."""
    with pytest.raises(DamagedChunk):
        PackCipher(DATA_KEY, SALT).open(3, SEALED[:size], AAD)


def test_place_and_pack() -> None:
    """A chunk does not open at another index, under another header, salt or data key."""
    for cipher, index, aad in (
        (PackCipher(DATA_KEY, SALT), 2, AAD),
        (PackCipher(DATA_KEY, SALT), 3, AAD + b"!"),
        (PackCipher(DATA_KEY, b"t" * 32), 3, AAD),
        (PackCipher(b"k" * 32, SALT), 3, AAD),
    ):
        with pytest.raises(DamagedChunk):
            cipher.open(index, SEALED, aad)


def test_each_index_once() -> None:
    """The cipher refuses to use a nonce twice."""
    cipher = PackCipher(DATA_KEY, SALT)
    cipher.seal(0, b"a", AAD)
    cipher.seal(1, b"b", AAD)
    with pytest.raises(RepeatedNonce):
        cipher.seal(0, b"c", AAD)


def test_stolen_operator_key_opens_no_chunk() -> None:
    """Whoever has the operator key, and takes it for a data key, reads no row."""
    operator = OperatorKey(os.urandom(32))
    sealed = PackCipher(new_data_key(os.urandom), SALT).seal(0, PLAINTEXT, AAD)
    with pytest.raises(DamagedChunk):
        PackCipher(operator.secret, SALT).open(0, sealed, AAD)
    # Nor is a document under the operator key a chunk in disguise: the derivations differ.
    document = seal_document("pack", "", PLAINTEXT, operator, lambda count: SALT[:count])
    with pytest.raises(DamagedChunk):
        PackCipher(operator.secret, SALT).open(0, document[46:], document[:46] + b"pack\0")


def test_lengths() -> None:
    """Keys and salts of another length are refused, so that no truncated one is ever used."""
    assert 32 == len(new_data_key(os.urandom))
    for data_key, salt in ((b"k" * 31, SALT), (DATA_KEY, b"")):
        with pytest.raises(BadKeyMaterial):
            PackCipher(data_key, salt)
