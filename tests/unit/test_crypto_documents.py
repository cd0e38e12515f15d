"""The operator key and the documents that it seals."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.crypto.operator_key import (
    OVERHEAD_BYTES,
    OperatorKey,
    open_document,
    seal_document,
    sealing_key_id,
)
from strongroom.errors import (
    BadKeyMaterial,
    DamagedDocument,
    FormatError,
    KeyringError,
    NewerDocument,
    NotAnOperatorKey,
    NotASealedDocument,
    WrongOperatorKey,
)

KEY = OperatorKey(bytes(range(32)))
SEALED = seal_document("manifest", "manifests/one", b"who, what, when", KEY, os.urandom)


@settings(deadline=None)
@given(st.binary(max_size=2000), st.text(max_size=20), st.text(max_size=40))
def test_round_trip(plaintext: bytes, kind: str, name: str) -> None:
    """A document opens with the key, kind and name that it was sealed with."""
    sealed = seal_document(kind, name, plaintext, KEY, os.urandom)
    assert plaintext == open_document(kind, name, sealed, KEY)
    assert len(plaintext) + OVERHEAD_BYTES == len(sealed)


@settings(deadline=None)
@given(st.integers(0, len(SEALED) * 8 - 1))
def test_every_bit_counts(bit: int) -> None:
    """One flipped bit, wherever it is, is an error and never a plaintext."""
    damaged = bytearray(SEALED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((FormatError, WrongOperatorKey)):
        open_document("manifest", "manifests/one", bytes(damaged), KEY)


@settings(deadline=None)
@given(st.integers(0, len(SEALED) - 1))
def test_cut_short(size: int) -> None:
    """A document that was cut anywhere does not open."""
    with pytest.raises((NotASealedDocument, DamagedDocument)):
        open_document("manifest", "manifests/one", SEALED[:size], KEY)


def test_layout() -> None:
    """The bytes are laid out as the module's table says."""
    sealed = seal_document("k", "n", b"abc", KEY, lambda count: b"s" * count)
    assert b"SRDOC" == sealed[:5]
    assert 1 == sealed[5]
    assert bytes.fromhex(KEY.key_id) == sealed[6:14]
    assert b"s" * 32 == sealed[14:46]
    assert 46 + 3 + 16 == len(sealed)
    assert KEY.key_id == sealing_key_id(sealed)


def test_another_name_or_kind() -> None:
    """A document that was moved to another name, or is taken for another kind, does not open."""
    for kind, name in (
        ("manifest", "manifests/two"),
        ("table", "manifests/one"),
        ("manifestm", "anifests/one"),
    ):
        with pytest.raises(DamagedDocument):
            open_document(kind, name, SEALED, KEY)


def test_wrong_key_names_the_right_one() -> None:
    """With another operator key the error names the key that is wanted and the one at hand."""
    other = OperatorKey(b"o" * 32)
    with pytest.raises(WrongOperatorKey) as caught:
        open_document("manifest", "manifests/one", SEALED, other)
    assert KEY.key_id in str(caught.value)
    assert other.key_id in str(caught.value)
    assert KEY.key_id in caught.value.advice()


def test_newer_version() -> None:
    """A later sealing version is told apart from damage."""
    with pytest.raises(NewerDocument):
        open_document("manifest", "manifests/one", SEALED[:5] + b"\x02" + SEALED[6:], KEY)


def test_same_document_twice() -> None:
    """Sealing the same document again gives other bytes."""
    assert SEALED != seal_document("manifest", "manifests/one", b"who, what, when", KEY, os.urandom)


def test_key_file_round_trip() -> None:
    """A key comes back from its one line, whatever white space surrounds it."""
    assert 1 == KEY.to_text().count("\n")
    assert KEY == OperatorKey.from_text(KEY.to_text())
    assert KEY == OperatorKey.from_text("  " + KEY.to_text() + "\r\n")


@settings(deadline=None)
@given(st.integers(0, len(KEY.to_text()) - 2), st.characters(min_codepoint=33, max_codepoint=126))
def test_changed_key_line(place: int, character: str) -> None:
    """A mistyped character in a key file is noticed when it is loaded."""
    text = KEY.to_text()
    changed = text[:place] + character + text[place + 1 :]
    if changed == text:
        assert KEY == OperatorKey.from_text(changed)
        return
    with pytest.raises(NotAnOperatorKey):
        OperatorKey.from_text(changed)


def test_secrets_stay_out_of_sight() -> None:
    """Neither the key's repr, nor its id, nor an error shows any of its secret."""
    assert KEY.secret.hex() not in repr(KEY)
    assert str(KEY.secret) not in repr(KEY)
    assert KEY.key_id not in KEY.secret.hex()
    with pytest.raises(NotAnOperatorKey) as caught:
        OperatorKey.from_text(KEY.to_text()[:-5])
    assert KEY.to_text()[50:70] not in str(caught.value.document())


def test_short_secret() -> None:
    """A key has 32 bytes."""
    with pytest.raises(BadKeyMaterial):
        OperatorKey(b"short")
    assert issubclass(BadKeyMaterial, KeyringError)
