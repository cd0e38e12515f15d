"""Signed objects: data with an Ed25519 signature behind it, good under the object's own name only.

For example:

    store_signed(store, keyring, name, data)
    data = read_signed(store, keyring, name)
"""

import hashlib

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.signing_key import SIGNATURE_BYTES, check_signature, sign
from strongroom.format.documents import ObjectRef
from strongroom.stores.nearest import read_good
from strongroom.stores.protocol import Store


def signed(keyring: Keyring, name: str, data: bytes) -> bytes:
    """Return `data` with its signature behind it; raise `MissingKey` if there is no signing key."""
    return data + sign(keyring.require_signing(), name, data)


def check_signed(keyring: Keyring, name: str, stored: bytes) -> bytes:
    """Return the data of a signed object if its signature holds; else raise `ForgedSignature`."""
    data, signature = stored[:-SIGNATURE_BYTES], stored[-SIGNATURE_BYTES:]
    check_signature(keyring.require_signing_public(), name, data, signature)
    return data


def store_signed(store: Store, keyring: Keyring, name: str, data: bytes) -> ObjectRef:
    """Sign and store; return the reference of what is stored."""
    return store_bytes(store, name, signed(keyring, name, data))


def read_signed(store: Store, keyring: Keyring, name: str) -> bytes:
    """Read a signed object and return its data; raise `ObjectMissing` or `ForgedSignature`."""
    return read_good(store, name, lambda stored: check_signed(keyring, name, stored))


def store_bytes(store: Store, name: str, data: bytes | bytearray, digest: str = "") -> ObjectRef:
    """Store bytes, whose SHA-256 may be known already, and return their reference."""
    sha256 = digest or hashlib.sha256(data).hexdigest()
    store.put(name, data, sha256)
    return ObjectRef(name=name, size=len(data), sha256=sha256)
