"""Read a backup without Strongroom: a second reader, written from docs/format.md (cited by section).

    python reader.py REPOSITORY KEYS [BACKUP]               SQL for psql on standard output: COPY of every table
    python reader.py REPOSITORY KEYS [BACKUP] --to FOLDER   files: NNNN.copy, tables.json, collection-<name>

REPOSITORY and KEYS are folders; KEYS has operator.key, signing.pub and recovery.pem (or one recovery-NAME.pem), whose
passphrase is asked for, or taken from STRONGROOM_RECOVERY_PASSPHRASE. Without BACKUP the newest is read. It needs
Python 3.11, `cryptography` and `zstandard`. It reads the formats 1 to 3. Whatever it cannot prove it refuses.
Collections hold secrets in clear.
"""

import argparse
import base64
import getpass
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

NEWEST = 3
# The folder of each kind of record, and which field a folder below it is named by.
RECORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hold": ("holds/", ("backup",)),
    "acceptance": ("accepted/", ()),
    "verification": ("reports/verification/", ("backup",)),
    "garbage": ("garbage/", ()),
    "recovery": ("recoveries/", ("plan", "id")),
    "drill": ("reports/drills/", ("drill",)),
}
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Refused(Exception):
    """Something is not as docs/format.md says; the message says what."""


def require(condition: bool, complaint: str) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(complaint)


def derive(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    """Return HKDF-SHA256, 32 bytes."""
    return HKDF(SHA256(), 32, salt, info).derive(key)


def unframe(frame: bytes, most: int) -> bytes:
    """Return what a zstd frame holds; it states its size, and nothing follows it."""
    if not 0 <= zstandard.frame_content_size(frame) <= most:
        raise zstandard.ZstdError("it states no size, or another")
    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)


def short_id(data: bytes) -> str:
    """Return the key id made of these bytes (section 2)."""
    return hashlib.sha256(data).hexdigest()[:16]


@dataclass(frozen=True)
class Keys:
    """The keys that reading takes (section 2)."""

    operator: bytes
    operator_id: str
    signing: Ed25519PublicKey
    signing_id: str
    recovery: hpke.MLKEM768X25519PrivateKey
    recovery_id: str

    @classmethod
    def load(cls, folder: Path, passphrase: bytes) -> "Keys":
        """Read and check the key files."""
        prefix, operator_id, encoded = (folder / "operator.key").read_text("ascii").strip().split(":")
        operator = base64.b64decode(encoded, validate=True)
        derived = derive(operator, None, b"strongroom/operator key id")
        signing = load_pem_public_key((folder / "signing.pub").read_bytes())
        files = [folder / "recovery.pem", *sorted(folder.glob("recovery-*.pem"))]
        pem = next((file for file in files if file.exists()), files[0]).read_bytes()
        blocks = re.findall(rb"-----BEGIN E.*?-----END ENCRYPTED PRIVATE KEY-----\n", pem, re.DOTALL)
        mlkem, x25519 = (load_pem_private_key(block, passphrase) for block in blocks)
        require(prefix == "strongroom-operator-key-v1" and short_id(derived) == operator_id, "operator.key")
        require(isinstance(signing, Ed25519PublicKey), "signing.pub is no Ed25519 key")
        require(
            isinstance(mlkem, MLKEM768PrivateKey) and isinstance(x25519, X25519PrivateKey), "recovery.pem"
        )
        assert isinstance(signing, Ed25519PublicKey)
        assert isinstance(mlkem, MLKEM768PrivateKey)
        assert isinstance(x25519, X25519PrivateKey)
        der = [
            key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for key in (mlkem, x25519)
        ]
        recovery_id = short_id(b"".join(der))
        require(f"recovery private key {recovery_id}\n".encode() in pem, "recovery.pem has another key's id")
        pair = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        return cls(operator, operator_id, signing, short_id(signing.public_bytes_raw()), pair, recovery_id)


class Reader:
    """Reads one backup; `get` returns the bytes of an object by name, or raises OSError; `names` is what there is."""

    def __init__(self, get: Callable[[str], bytes], names: Iterable[str], keys: Keys, backup: str) -> None:
        self.get = get
        self.names = sorted(names)
        self.keys = keys
        self._data_keys: dict[str, bytes] = {}
        self._pack: tuple[str, bytes] = ("", b"")
        self._check_repository()
        name = f"manifests/{backup}"
        self.manifest = self.document("manifest", name, self.signed(name))
        require(self.manifest["id"] == backup, f"{name} is that of another backup")
        self.documents = [self._unit(reference) for reference in self.manifest["documents"]]

    # -------------------------------------------------- sections 3 and 4

    def verify(self, domain: str, data: bytes, signature: bytes) -> None:
        """Check a signature."""
        try:
            self.keys.signing.verify(signature, b"strongroom/" + domain.encode() + b"\0" + data)
        except InvalidSignature:
            raise Refused(f"{domain}: forged signature") from None

    def signed(self, name: str) -> bytes:
        """Return what a signed object holds."""
        data = self.get(name)
        self.verify(name, data[:-64], data[-64:])
        return data[:-64]

    def document(self, kind: str, name: str, sealed: bytes) -> Any:
        """Open a sealed JSON document."""
        require(sealed[:5] == b"SRDOC" and len(sealed) >= 62, f"{name} is no sealed document")
        require(sealed[5] == 1, f"{name} has a newer sealing")
        require(sealed[6:14].hex() == self.keys.operator_id, f"{name} needs another operator key")
        key = derive(self.keys.operator, sealed[14:46], b"strongroom/document/" + kind.encode())
        aad = sealed[:46] + kind.encode() + b"\0" + name.encode()
        try:
            found = json.loads(unframe(AESGCM(key).decrypt(bytes(12), sealed[46:], aad), 1 << 30))
        except (InvalidTag, zstandard.ZstdError, ValueError):
            raise Refused(f"{name} is damaged") from None
        require(found["format"] <= NEWEST, f"{name} is of a newer format")
        return found

    def _check_repository(self) -> None:
        text = self.get("repository.json").decode()
        try:
            start = text.index('{"repository":') + len('{"repository":')
            _, end = json.JSONDecoder().raw_decode(text, start)
            whole = json.loads(text)
            self.verify("repository", text[start:end].encode(), base64.b64decode(whole["signature"]))
        except (ValueError, KeyError):
            raise Refused("repository.json is malformed") from None
        info = whole["repository"]
        require(info["format"] <= NEWEST, "the repository is of a newer format")
        require(info["signing_key"] == self.keys.signing_id, "the repository has another signing key")
        require(info["operator_key"] == self.keys.operator_id, "the repository has another operator key")

    def _unit(self, reference: dict[str, Any]) -> Any:
        name, manifest = reference["name"], self.manifest
        document = self.document("unit", name.rpartition("/")[0], self.named(reference))
        named = all(
            p in manifest["packs"] and p["data_key"] in manifest["data_keys"] for p in document["packs"]
        )
        require(named, f"{name} names packs or data keys that its manifest does not")
        return document

    def named(self, reference: dict[str, Any]) -> bytes:
        """Return the bytes of an object that a document names."""
        data = self.get(reference["name"])
        require(hashlib.sha256(data).hexdigest() == reference["sha256"], f"{reference['name']} is damaged")
        return data

    def data_key(self, key_id: str) -> bytes:
        """Open a data key: the highest of its good sealed forms that is sealed to the recovery key at hand (4)."""
        if key_id not in self._data_keys:
            form = re.compile(rf"keys/{re.escape(key_id)}(\.(?!0000)[0-9]{{4}})?")
            forms = [name for name in self.names if form.fullmatch(name)]
            require(bool(forms), f"keys/{key_id} is missing")
            refusals = []
            for name in reversed(forms):
                try:
                    recipients = self._recipients(name, key_id)
                    if self.keys.recovery_id in recipients:
                        self._data_keys[key_id] = self._open(name, key_id, recipients[self.keys.recovery_id])
                        break
                except Refused as refused:
                    refusals.append(refused)
            if key_id not in self._data_keys:
                raise refusals[0] if refusals else Refused(f"keys/{key_id} is not for this recovery key")
        return self._data_keys[key_id]

    def _recipients(self, name: str, key_id: str) -> dict[str, str]:
        try:
            sealed = json.loads(self.signed(name))
            require(sealed["format"] == 1, f"{name} is of a newer format")
            require(sealed["id"] == key_id, f"{name} is another data key")
            recipients: dict[str, str] = sealed["recipients"]
        except (ValueError, KeyError) as error:
            raise Refused(f"{name} is malformed") from error
        return recipients

    def _open(self, name: str, key_id: str, sealed: str) -> bytes:
        info = b"strongroom data key\0" + key_id.encode()
        try:
            return SUITE.decrypt(base64.b64decode(sealed), self.keys.recovery, info=info)
        except (InvalidTag, ValueError) as error:
            raise Refused(f"{name} is damaged") from error

    # -------------------------------------------------- sections 4 and 9

    def recovery_keys(self) -> list[str]:
        """Return the ids of the recovery keys that the repository seals to now."""
        sets = [name for name in self.names if re.fullmatch(r"recovery-keys/(?!0000)[0-9]{4}", name)]
        if not sets:
            ids: list[str] = json.loads(self.get("repository.json"))["repository"]["recovery_keys"]
            return ids
        try:
            said = json.loads(self.signed(sets[-1]))
            require(said["format"] <= NEWEST, f"{sets[-1]} is of a newer format")
            require(said["number"] == int(sets[-1][-4:]), f"{sets[-1]} is another set")
            ids = said["recovery_keys"]
        except (ValueError, KeyError) as error:
            raise Refused(f"{sets[-1]} is malformed") from error
        require(bool(ids), f"{sets[-1]} holds no key")
        return ids

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return all records of a kind, in the order of their names."""
        folder, about = RECORDS[kind]
        below = r"([a-z0-9._-]+)/" if about else "()"
        named = re.compile(re.escape(folder) + below + r"([0-9]{8}-[0-9]{9})-[0-9a-f]{8}")
        found = []
        for match in filter(None, map(named.fullmatch, self.names)):
            said = self.document(kind, match[0], self.signed(match[0]))
            at = datetime.fromisoformat(said["at"]).astimezone(UTC)
            require(
                f"{at:%Y%m%d-%H%M%S}{at.microsecond // 1000:03}" == match[2], f"{match[0]}: not made then"
            )
            whose = said
            for part in about:
                whose = whose[part]
            require(not about or match[1] == whose, f"{match[0]} is about another one")
            found.append(said)
        return found

    # -------------------------------------------------- section 5

    def payload(self, chunk: dict[str, Any], document: dict[str, Any]) -> bytes:
        """Return the payload of a chunk."""
        require(0 <= chunk["pack"] < len(document["packs"]), "a chunk is in no pack")
        reference = document["packs"][chunk["pack"]]
        name, place = reference["name"], f"chunk {chunk['index']} of {reference['name']}"
        if self._pack[0] != name:
            self._pack = (name, self.named(reference))
        pack = self._pack[1]
        require(pack[:5] == b"SRPAK" and pack[5] == 1, f"{name} is no pack of version 1")
        header = pack[: 39 + pack[6]]
        require(
            header[7:-32].decode("ascii", "replace") == reference["data_key"], f"{name}: another data key"
        )
        start, end = chunk["offset"], chunk["offset"] + chunk["stored"]
        require(len(header) <= start and end <= len(pack), f"{place} lies outside of it")
        key = derive(self.data_key(reference["data_key"]), header[-32:], b"strongroom/pack")
        try:
            opened = AESGCM(key).decrypt(chunk["index"].to_bytes(12, "big"), pack[start:end], header)
            require(len(opened) >= 10 and max(opened[:2]) <= 1, f"{place} has an unknown form")
            length = int.from_bytes(opened[2:10], "little")
            body = unframe(opened[10:], length) if opened[0] else opened[10:]
        except (InvalidTag, zstandard.ZstdError):
            raise Refused(f"{place} is damaged") from None
        encoding = ("bytes", "copy-text")[opened[1]]
        said = chunk.get("encoding", "copy-text"), chunk["raw"], chunk["raw"]
        require((encoding, length, len(body)) == said, f"{place} is not what its document says")
        return body

    # -------------------------------------------------- section 7

    def rows(self, entry: dict[str, Any]) -> Iterator[bytes]:
        """Yield the COPY text of the living rows of a table, layer by layer."""
        parts = [(self.documents[p["document"]], p["part"]) for p in entry["parts"]]
        extents = [(document, e) for document, part in parts for e in document["parts"][part]["extents"]]
        sums = sum(e["live"] for _, e in extents), str(sum(int(e["digest"]) for _, e in extents))
        label = f"{entry['facts']['schema']}.{entry['facts']['name']}"
        require(sums == (entry["rows"], entry["digest"]), f"{label}: its extents do not add up")
        for document, extent in extents:
            living = 0
            for layer in extent.get("layers", []):
                lines = self._living(layer, document)
                living += len(lines)
                yield b"".join(lines)
            require(living == extent["live"], f"{label} page {extent['page']}: {living} rows")

    def _living(self, layer: dict[str, Any], document: dict[str, Any]) -> list[bytes]:
        payload = self.payload(layer["chunk"], document)
        lines = [row + b"\n" for row in payload.split(b"\n")]
        require(
            lines.pop() == b"\n" and len(lines) == layer["chunk"].get("rows", 0), "a chunk has other rows"
        )
        dead = list(positions(base64.b64decode(layer.get("dead", ""))))
        require(len(dead) == layer.get("dead_rows", 0), "a layer has other dead rows")
        require(not dead or dead[-1] < len(lines), "a dead row lies outside its chunk")
        gone = set(dead)
        return [row for place, row in enumerate(lines) if place not in gone]

    def collection(self, reference: dict[str, Any]) -> bytes:
        """Return the bytes of a collection."""
        document = self.documents[reference["document"]]
        chunks = document["collections"][reference["index"]]["chunks"]
        return b"".join(self.payload(chunk, document) for chunk in chunks)


def positions(encoded: bytes) -> Iterator[int]:
    """Yield the positions that gaps in LEB128 stand for."""
    position, gap, shift = -1, 0, 0
    for byte in encoded:
        gap |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            position += gap + 1
            yield position
            gap = shift = 0
    require(shift == 0, "the last dead row is cut off")


def columns_of(entry: dict[str, Any]) -> list[str]:
    """Return the names of the columns that are in the COPY text."""
    return [column["name"] for column in entry["facts"]["columns"] if not column.get("generated")]


def write_files(reader: Reader, folder: Path) -> None:
    """Write every table and collection to a new folder."""
    folder.mkdir(mode=0o700, parents=True)
    index = []
    for number, entry in enumerate(reader.manifest["tables"]):
        facts, name = entry["facts"], f"{number:04d}.copy"
        with (folder / name).open("wb") as file:
            file.writelines(reader.rows(entry))
        named = {"schema": facts["schema"], "name": facts["name"], "columns": columns_of(entry)}
        index.append({**named, "rows": entry["rows"], "file": name})
    for reference in reader.manifest["collections"]:
        (folder / f"collection-{reference['name']}").write_bytes(reader.collection(reference))
    listing = json.dumps(index, indent=1, ensure_ascii=False)
    (folder / "tables.json").write_text(listing + "\n", "utf-8", newline="\n")


def quote(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def write_sql(reader: Reader) -> None:
    """Write a script for psql to standard output."""
    out = sys.stdout.buffer
    for entry in reader.manifest["tables"]:
        columns = ", ".join(map(quote, columns_of(entry)))
        table = f"{quote(entry['facts']['schema'])}.{quote(entry['facts']['name'])}"
        out.write(f"COPY {table}{f' ({columns})' if columns else ''} FROM stdin;\n".encode())
        out.writelines(reader.rows(entry))
        out.write(b"\\.\n\n")


def main() -> None:
    """Read the arguments, then the backup."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("keys", type=Path)
    parser.add_argument("backup", nargs="?", help="the id; the newest if left out")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="write files to this new folder")
    given = parser.parse_args()
    passphrase = os.environ.get("STRONGROOM_RECOVERY_PASSPHRASE") or getpass.getpass("Recovery passphrase: ")
    try:
        backup = given.backup or max(path.name for path in (given.repository / "manifests").iterdir())
        keys = Keys.load(given.keys, passphrase.encode())
        files = (path for path in given.repository.rglob("*") if path.is_file())
        names = (path.relative_to(given.repository).as_posix() for path in files)
        reader = Reader(lambda name: (given.repository / name).read_bytes(), names, keys, backup)
        write_files(reader, given.to) if given.to else write_sql(reader)
    except (Refused, OSError, ValueError) as refusal:
        sys.exit(f"reader: refused: {refusal}")


if __name__ == "__main__":
    main()
