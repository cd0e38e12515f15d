"""Encrypted private keys in their standard file form (PKCS#8, PBES2), made to withstand guessing. Pure.

The library's own `BestAvailableEncryption` derives the key with 2,048 rounds of PBKDF2, which a stolen
recovery key file should not rely on. The same structure with 600,000 rounds is written here; the library
and the openssl program read it as usual:

    PBES2(PBKDF2(salt 16 bytes, rounds, HMAC-SHA256), AES-256-CBC(iv 16 bytes)) over the PKCS#8 key
"""

import base64
import textwrap
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7

ROUNDS = 600_000

# Object identifiers, DER-encoded with tag and length: RFC 8018 (PBES2, PBKDF2, HMAC-SHA256), NIST (AES).
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_NULL = bytes.fromhex("0500")


def encrypt_private_key(
    pkcs8: bytes, passphrase: bytes, random: Callable[[int], bytes], rounds: int = ROUNDS
) -> bytes:
    """Return a DER-encoded PKCS#8 key as an ENCRYPTED PRIVATE KEY block in PEM form."""
    salt, iv = random(16), random(16)
    key = PBKDF2HMAC(SHA256(), 32, salt, rounds).derive(passphrase)
    padder, encryptor = PKCS7(128).padder(), Cipher(AES256(key), CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(pkcs8) + padder.finalize()) + encryptor.finalize()
    derivation = _sequence(
        _PBKDF2, _sequence(_octets(salt), _integer(rounds), _sequence(_HMAC_SHA256, _NULL))
    )
    scheme = _sequence(_PBES2, _sequence(derivation, _sequence(_AES_256_CBC, _octets(iv))))
    return pem_block("ENCRYPTED PRIVATE KEY", _sequence(scheme, _octets(ciphertext)))


def pem_block(label: str, der: bytes) -> bytes:
    """Wrap DER bytes in PEM armour."""
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(*elements: bytes) -> bytes:
    return _element(0x30, b"".join(elements))


def _octets(content: bytes) -> bytes:
    return _element(0x04, content)


def _integer(value: int) -> bytes:
    # One spare bit: DER integers are signed.
    return _element(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
