"""The museum: repositories that are broken in one way each, and the kind of failure that each must give.

Exhibits are made on the fly from the golden repository, with its keys, so that each is wrong in one thing
only. An exhibit's name says what is wrong. Those in which only bytes were changed are the work of a bad
disk or of somebody who can write to the store; those in which documents were written anew and signed show
what a fault of a writer would do.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import zstandard

from strongroom.crypto.operator_key import OperatorKey, open_document, seal_document
from strongroom.crypto.pack_cipher import PackCipher
from strongroom.crypto.recovery_keys import RecoveryPrivateKey, seal_data_key
from strongroom.crypto.signing_key import SigningKey, sign
from strongroom.errors import (
    ChunkDisagrees,
    DamagedChunk,
    DamagedDocument,
    DataKeyMissing,
    ForgedSignature,
    MalformedDocument,
    MalformedPack,
    NewerDataKey,
    NewerDocument,
    NewerFormat,
    NotARecipient,
    NotARepository,
    NotASealedDocument,
    ObjectDamaged,
    ObjectMissing,
    StrongroomError,
    TamperedDataKey,
    UnknownBackup,
    WrongOperatorKey,
    WrongRepositoryKey,
)
from strongroom.format.documents import FORMAT
from tests.golden.make_golden import CountedRandom, golden_keyring, stored_repository

Kind = type[StrongroomError] | Literal["disagreement"]
Said = dict[str, Any]

_KEYS = golden_keyring()
_OTHER_SIGNING = SigningKey.generate(CountedRandom("another signing key"))
_OTHER_OPERATOR = OperatorKey.generate(CountedRandom("another operator key"))
_OTHER_RECOVERY = RecoveryPrivateKey.generate(CountedRandom("another recovery key"))
KEY_SET = "recovery-keys/0002"
"""The set of recovery keys that counts."""
_TRADES = 2
"""The unit of the incremental whose first layer is the full's, with dead rows, and the second its own."""


@dataclass
class Broken:
    """The objects of a repository that is being broken; the incremental is what will be read."""

    objects: dict[str, bytes]
    random: CountedRandom = field(default_factory=lambda: CountedRandom("museum"))

    @property
    def full(self) -> str:
        """The id of the full."""
        return min(name for name in self.objects if name.startswith("attempts/")).partition("/")[2]

    @property
    def backup(self) -> str:
        """The id of the incremental."""
        return max(name for name in self.objects if name.startswith("attempts/")).partition("/")[2]

    @property
    def manifest_name(self) -> str:
        """The name of the incremental's manifest."""
        return f"manifests/{self.backup}"

    def flip(self, name: str, place: int = -20) -> None:
        """Turn one bit around."""
        data = bytearray(self.objects[name])
        data[place] ^= 4
        self.objects[name] = bytes(data)

    def sign(self, name: str, data: bytes, key: SigningKey | None = None) -> None:
        """Store data with a signature behind it."""
        self.objects[name] = data + sign(key or _KEYS.require_signing(), name, data)

    def seal(
        self, said: Said, name: str, kind: str = "manifest", operator: OperatorKey | None = None
    ) -> bytes:
        """Return a document as it would be stored."""
        frame = zstandard.ZstdCompressor().compress(json.dumps(said).encode())
        return seal_document(kind, name, frame, operator or _KEYS.require_operator(), self.random)

    def opened(self, kind: str, name: str, sealed: bytes) -> Said:
        """Return what a sealed document says."""
        frame = open_document(kind, name, sealed, _KEYS.require_operator())
        said: Said = json.loads(zstandard.ZstdDecompressor().decompress(frame))
        return said

    def manifest(self) -> Said:
        """Return what the incremental's manifest says."""
        return self.opened("manifest", self.manifest_name, self.objects[self.manifest_name][:-64])

    def write_manifest(self, **changes: object) -> None:
        """Write the manifest anew, with other fields."""
        said = self.manifest() | changes
        self.sign(self.manifest_name, self.seal(said, self.manifest_name))

    def unit(self, number: int = _TRADES) -> Said:
        """Return what a unit document says."""
        name = self.manifest()["documents"][number]["name"]
        return self.opened("unit", name.rpartition("/")[0], self.objects[name])

    def write_unit(self, said: Said, number: int = _TRADES) -> None:
        """Write a unit document anew, and the manifest that names it."""
        folder = f"tables/{self.backup}"
        documents = self.manifest()["documents"]
        documents[number] = self.put(folder, self.seal(said, folder, "unit"))
        packs = {p["name"]: p for p in [*self.manifest()["packs"], *said["packs"]]}
        maps = {m["name"]: m for m in [*self.manifest()["row_maps"], *said["row_maps"]]}
        self.write_manifest(documents=documents, packs=list(packs.values()), row_maps=list(maps.values()))

    def put(self, folder: str, data: bytes) -> Said:
        """Store an object under its digest and return its reference."""
        digest = hashlib.sha256(data).hexdigest()
        self.objects[f"{folder}/{digest}"] = data
        return {"name": f"{folder}/{digest}", "size": len(data), "sha256": digest}

    def change_layer(self, place: int, **changes: object) -> None:
        """Say something else of a layer of `trades`."""
        said = self.unit()
        said["parts"][0]["extents"][0]["layers"][place].update(changes)
        self.write_unit(said)

    def change_chunk(self, **changes: object) -> None:
        """Say something else of the second chunk of `trades`, which is the incremental's own."""
        said = self.unit()
        said["parts"][0]["extents"][0]["layers"][1]["chunk"].update(changes)
        self.write_unit(said)

    def pack_name(self) -> str:
        """The name of the pack that this chunk is in."""
        said = self.unit()
        name: str = said["packs"][said["parts"][0]["extents"][0]["layers"][1]["chunk"]["pack"]]["name"]
        return name

    def change_pack(self, change: Callable[[bytearray], None]) -> None:
        """Put another pack in the place of this one, properly named by digest."""
        name, said = self.pack_name(), self.unit()
        data = bytearray(self.objects[name])
        change(data)
        place = next(n for n, pack in enumerate(said["packs"]) if pack["name"] == name)
        digest = hashlib.sha256(data).hexdigest()
        said["packs"][place] |= self.put(f"packs/{digest[:2]}", bytes(data))
        self.write_unit(said)

    def seal_chunk(self, codec: int, encoding: int, length: int, body: bytes) -> None:
        """Put a pack in the place of this one whose only chunk is made of these parts."""
        data_key = stored_repository(self.objects).data_key(self.pack_data_key())

        def replace(data: bytearray) -> None:
            header = bytes(data[: 39 + data[6]])
            opened = bytes([codec, encoding]) + length.to_bytes(8, "little") + body
            sealed = PackCipher(data_key, header[-32:]).seal(0, opened, header)
            data[:] = header + len(sealed).to_bytes(4, "little") + sealed

        self.change_pack(replace)
        self.change_chunk(offset=len(self.objects[self.pack_name()]) - 26 - len(body), stored=26 + len(body))

    def pack_data_key(self) -> str:
        """The id of the data key that opens this pack."""
        name = self.pack_name()
        return next(str(pack["data_key"]) for pack in self.unit()["packs"] if pack["name"] == name)

    def forms_of(self, key_id: str) -> list[str]:
        """The names of the sealed forms of a data key, the one that counts last."""
        return sorted(name for name in self.objects if name.startswith(f"keys/{key_id}"))

    def key_id(self) -> str:
        """The id of a data key that the manifest needs: one that has its first form and a later one."""
        return next(str(key) for key in self.manifest()["data_keys"] if f"keys/{key}" in self.objects)

    def key_name(self) -> str:
        """The name of the sealed form of this data key that counts."""
        return self.forms_of(self.key_id())[-1]

    def other_key_id(self) -> str:
        """The id of another data key in the same state."""
        return next(
            str(key) for key in reversed(self.manifest()["data_keys"]) if f"keys/{key}" in self.objects
        )

    def record_name(self, folder: str) -> str:
        """The name of the newest record below a folder."""
        return max(name for name in self.objects if name.startswith(folder))

    def record(self, kind: str, folder: str) -> Said:
        """Return what this record says."""
        name = self.record_name(folder)
        return self.opened(kind, name, self.objects[name][:-64])

    def write_record(self, kind: str, folder: str, **changes: object) -> None:
        """Write this record anew, with other fields."""
        name = self.record_name(folder)
        self.sign(name, self.seal(self.record(kind, folder) | changes, name, kind))

    def write_set(self, **changes: object) -> None:
        """Sign the newest set of recovery keys anew, with other fields."""
        said = json.loads(self.objects[KEY_SET][:-64]) | changes
        self.sign(KEY_SET, json.dumps(said).encode())

    def change_repository(self, key: SigningKey | None = None, **changes: object) -> None:
        """Sign another `repository.json`."""
        info = json.loads(self.objects["repository.json"])["repository"] | changes
        raw = json.dumps(info).encode()
        signature = base64.b64encode(sign(key or _KEYS.require_signing(), "repository", raw))
        self.objects["repository.json"] = b'{"repository":' + raw + b',"signature":"' + signature + b'"}'


@dataclass(frozen=True)
class Exhibit:
    """A way to break a repository: its name, the kind of failure, and what does it."""

    name: str
    kind: Kind
    damage: Callable[[Broken], None]


EXHIBITS: list[Exhibit] = []


def exhibit(kind: Kind) -> Callable[[Callable[[Broken], None]], None]:
    """Add a function as an exhibit that has its name."""

    def add(damage: Callable[[Broken], None]) -> None:
        EXHIBITS.append(Exhibit(damage.__name__.strip("_").replace("_", "-"), kind, damage))

    return add


# --------------------------------------------------------------------------------- repository.json


@exhibit(NotARepository)
def _missing_repository_json(broken: Broken) -> None:
    del broken.objects["repository.json"]


@exhibit(MalformedDocument)
def _truncated_repository_json(broken: Broken) -> None:
    broken.objects["repository.json"] = broken.objects["repository.json"][:100]


@exhibit(ForgedSignature)
def _changed_repository_json(broken: Broken) -> None:
    said = json.loads(broken.objects["repository.json"])
    said["repository"]["id"] = "0" * 32
    broken.objects["repository.json"] = json.dumps(said, separators=(",", ":")).encode()


@exhibit(WrongRepositoryKey)
def _repository_of_another_signing_key(broken: Broken) -> None:
    broken.change_repository(_OTHER_SIGNING, signing_key=_OTHER_SIGNING.key_id)


@exhibit(WrongRepositoryKey)
def _repository_of_another_operator_key(broken: Broken) -> None:
    broken.change_repository(operator_key=_OTHER_OPERATOR.key_id)


@exhibit(ForgedSignature)
def _repository_json_signed_by_another_key(broken: Broken) -> None:
    broken.change_repository(_OTHER_SIGNING)


@exhibit(NewerFormat)
def _newer_format(broken: Broken) -> None:
    broken.change_repository(format=FORMAT + 1, colour="what later versions may say")


# --------------------------------------------------------------------------------------- manifests


@exhibit(UnknownBackup)
def _missing_manifest(broken: Broken) -> None:
    del broken.objects[broken.manifest_name]


@exhibit(ForgedSignature)
def _flipped_bit_in_manifest(broken: Broken) -> None:
    broken.flip(broken.manifest_name, 100)


@exhibit(ForgedSignature)
def _forged_manifest(broken: Broken) -> None:
    broken.sign(broken.manifest_name, broken.objects[broken.manifest_name][:-64], _OTHER_SIGNING)


@exhibit(ForgedSignature)
def _unsigned_manifest(broken: Broken) -> None:
    broken.objects[broken.manifest_name] = broken.objects[broken.manifest_name][:-64]


@exhibit(ForgedSignature)
def _empty_manifest(broken: Broken) -> None:
    broken.objects[broken.manifest_name] = b""


@exhibit(ForgedSignature)
def _manifest_moved_to_another_name(broken: Broken) -> None:
    broken.objects[broken.manifest_name] = broken.objects[f"manifests/{broken.full}"]


@exhibit(MalformedDocument)
def _manifest_of_another_id(broken: Broken) -> None:
    broken.write_manifest(id=broken.full)


@exhibit(NewerFormat)
def _manifest_of_newer_format(broken: Broken) -> None:
    broken.write_manifest(format=FORMAT + 1, colour="what later versions may say")


@exhibit(MalformedDocument)
def _manifest_with_unknown_field(broken: Broken) -> None:
    broken.write_manifest(colour="blue")


@exhibit(NotASealedDocument)
def _manifest_in_clear(broken: Broken) -> None:
    broken.sign(broken.manifest_name, json.dumps(broken.manifest()).encode())


@exhibit(NewerDocument)
def _manifest_of_newer_sealing(broken: Broken) -> None:
    sealed = bytearray(broken.objects[broken.manifest_name][:-64])
    sealed[5] = 2
    broken.sign(broken.manifest_name, bytes(sealed))


@exhibit(WrongOperatorKey)
def _manifest_sealed_with_another_key(broken: Broken) -> None:
    sealed = broken.seal(broken.manifest(), broken.manifest_name, operator=_OTHER_OPERATOR)
    broken.sign(broken.manifest_name, sealed)


@exhibit(DamagedDocument)
def _manifest_sealed_as_another_kind(broken: Broken) -> None:
    broken.sign(broken.manifest_name, broken.seal(broken.manifest(), broken.manifest_name, "attempt"))


@exhibit(MalformedDocument)
def _manifest_that_does_not_decompress(broken: Broken) -> None:
    name, key = broken.manifest_name, _KEYS.require_operator()
    broken.sign(name, seal_document("manifest", name, b"no frame at all", key, broken.random))


@exhibit("disagreement")
def _manifest_with_another_row_count(broken: Broken) -> None:
    tables = broken.manifest()["tables"]
    tables[1]["rows"] += 1
    broken.write_manifest(tables=tables)


# ---------------------------------------------------------------------- unit documents and row maps


@exhibit(ObjectMissing)
def _missing_unit_document(broken: Broken) -> None:
    del broken.objects[broken.manifest()["documents"][_TRADES]["name"]]


@exhibit(ObjectDamaged)
def _flipped_bit_in_unit_document(broken: Broken) -> None:
    broken.flip(broken.manifest()["documents"][_TRADES]["name"])


@exhibit(DamagedDocument)
def _unit_document_sealed_for_another_backup(broken: Broken) -> None:
    documents = broken.manifest()["documents"]
    sealed = broken.seal(broken.unit(), f"tables/{broken.full}", "unit")
    documents[_TRADES] = broken.put(f"tables/{broken.backup}", sealed)
    broken.write_manifest(documents=documents)


@exhibit(ObjectMissing)
def _missing_row_map(broken: Broken) -> None:
    del broken.objects[broken.unit()["row_maps"][0]["name"]]


@exhibit(ObjectDamaged)
def _flipped_bit_in_row_map(broken: Broken) -> None:
    broken.flip(broken.unit()["row_maps"][0]["name"])


@exhibit(ObjectDamaged)
def _truncated_row_map(broken: Broken) -> None:
    name = broken.unit()["row_maps"][0]["name"]
    broken.objects[name] = broken.objects[name][:-30]


@exhibit(MalformedDocument)
def _row_map_that_ends_too_soon(broken: Broken) -> None:
    said, folder, key = broken.unit(), f"rowmaps/{broken.backup}", _KEYS.require_operator()
    frame = zstandard.ZstdCompressor().compress((3).to_bytes(4, "little") + bytes(12))
    said["row_maps"][-1] = broken.put(folder, seal_document("row maps", folder, frame, key, broken.random))
    broken.write_unit(said)


@exhibit("disagreement")
def _row_map_of_another_chunk(broken: Broken) -> None:
    broken.change_chunk(row_map={"object": 0, "slot": 0})


@exhibit(ObjectMissing)
def _missing_plan(broken: Broken) -> None:
    broken.objects["attempts/" + "0" * 8] = broken.objects.pop(f"attempts/{broken.backup}")


@exhibit(DamagedDocument)
def _flipped_bit_in_plan(broken: Broken) -> None:
    broken.flip(f"attempts/{broken.backup}")


# --------------------------------------------------------------------------------------- data keys


@exhibit(DataKeyMissing)
def _missing_data_key(broken: Broken) -> None:
    for name in broken.forms_of(broken.key_id()):
        del broken.objects[name]


def _only_form(broken: Broken, key_id: str = "") -> str:
    """Take all forms of a data key away but the highest, which is named: a good one would stand in for it."""
    *others, kept = broken.forms_of(key_id or broken.key_id())
    for name in others:
        del broken.objects[name]
    return kept


@exhibit(ForgedSignature)
def _flipped_bit_in_data_key(broken: Broken) -> None:
    broken.flip(_only_form(broken), 200)


@exhibit(ForgedSignature)
def _data_key_moved_to_another_name(broken: Broken) -> None:
    other = broken.objects[broken.forms_of(broken.other_key_id())[-1]]
    broken.objects[_only_form(broken)] = other


@exhibit(ForgedSignature)
def _data_key_whose_first_form_was_made_the_newest(broken: Broken) -> None:
    key_id = broken.key_id()
    broken.objects[f"keys/{key_id}.0009"] = broken.objects[f"keys/{key_id}"]
    _only_form(broken, key_id)


@exhibit(ForgedSignature)
def _data_key_whose_newest_form_is_forged(broken: Broken) -> None:
    content, key_id = broken.objects[broken.key_name()][:-64], broken.key_id()
    broken.sign(f"keys/{key_id}.0009", content, _OTHER_SIGNING)
    _only_form(broken, key_id)


def _change_key(broken: Broken, **changes: object) -> None:
    name = _only_form(broken)
    said = json.loads(broken.objects[name][:-64]) | changes
    broken.sign(name, json.dumps(said).encode())


@exhibit(TamperedDataKey)
def _data_key_of_another_id(broken: Broken) -> None:
    _change_key(broken, id=broken.other_key_id())


@exhibit(TamperedDataKey)
def _data_key_sealed_under_another_id(broken: Broken) -> None:
    other = json.loads(broken.objects[broken.forms_of(broken.other_key_id())[-1]][:-64])
    _change_key(broken, recipients=other["recipients"])


@exhibit(NewerDataKey)
def _data_key_of_newer_format(broken: Broken) -> None:
    _change_key(broken, format=2, colour="what later versions may say")


@exhibit(MalformedDocument)
def _data_key_with_unknown_field(broken: Broken) -> None:
    _change_key(broken, colour="blue")


@exhibit(NotARecipient)
def _data_key_sealed_to_others(broken: Broken) -> None:
    sealed = seal_data_key(bytes(32), [_OTHER_RECOVERY.public()], broken.key_id())
    _change_key(broken, recipients={k: base64.b64encode(v).decode() for k, v in sealed.recipients.items()})


@exhibit(DamagedChunk)
def _data_key_exchanged_for_another(broken: Broken) -> None:
    key_id = broken.pack_data_key()
    sealed = seal_data_key(bytes(32), _KEYS.require_recovery_public(), key_id)
    recipients = {k: base64.b64encode(v).decode() for k, v in sealed.recipients.items()}
    said = {"format": 1, "id": key_id, "recipients": recipients}
    broken.sign(broken.forms_of(key_id)[-1], json.dumps(said).encode())


# --------------------------------------------------------------------------- sets of recovery keys


@exhibit(ForgedSignature)
def _flipped_bit_in_recovery_keys(broken: Broken) -> None:
    broken.flip(KEY_SET, 30)


@exhibit(ForgedSignature)
def _forged_recovery_keys(broken: Broken) -> None:
    broken.sign(KEY_SET, broken.objects[KEY_SET][:-64], _OTHER_SIGNING)


@exhibit(ForgedSignature)
def _recovery_keys_moved_to_another_number(broken: Broken) -> None:
    broken.objects["recovery-keys/0003"] = broken.objects["recovery-keys/0001"]


@exhibit(MalformedDocument)
def _recovery_keys_of_another_number(broken: Broken) -> None:
    broken.write_set(number=1)


@exhibit(MalformedDocument)
def _recovery_keys_without_a_key(broken: Broken) -> None:
    broken.write_set(recovery_keys=[])


@exhibit(NewerFormat)
def _recovery_keys_of_newer_format(broken: Broken) -> None:
    broken.write_set(format=FORMAT + 1, colour="what later versions may say")


@exhibit(MalformedDocument)
def _recovery_keys_with_unknown_field(broken: Broken) -> None:
    broken.write_set(colour="blue")


# ----------------------------------------------------------------------------------------- records


@exhibit(ForgedSignature)
def _flipped_bit_in_hold(broken: Broken) -> None:
    broken.flip(broken.record_name("holds/"), 80)


@exhibit(ForgedSignature)
def _forged_hold(broken: Broken) -> None:
    name = broken.record_name("holds/")
    broken.sign(name, broken.objects[name][:-64], _OTHER_SIGNING)


@exhibit(ForgedSignature)
def _hold_moved_to_another_backup(broken: Broken) -> None:
    name = broken.record_name("holds/")
    broken.objects[name.replace(broken.full, broken.backup)] = broken.objects[name]


@exhibit(MalformedDocument)
def _hold_of_another_backup(broken: Broken) -> None:
    broken.write_record("hold", "holds/", backup=broken.backup)


@exhibit(MalformedDocument)
def _hold_of_another_instant(broken: Broken) -> None:
    broken.write_record("hold", "holds/", at="2026-01-09T11:02:00.123456Z")


@exhibit(MalformedDocument)
def _hold_of_unknown_action(broken: Broken) -> None:
    broken.write_record("hold", "holds/", action="pin")


@exhibit(NewerFormat)
def _hold_of_newer_format(broken: Broken) -> None:
    broken.write_record("hold", "holds/", format=FORMAT + 1, colour="what later versions may say")


@exhibit(MalformedDocument)
def _hold_with_unknown_field(broken: Broken) -> None:
    broken.write_record("hold", "holds/", colour="blue")


@exhibit(DamagedDocument)
def _hold_sealed_as_another_kind(broken: Broken) -> None:
    name = broken.record_name("holds/")
    broken.sign(name, broken.seal(broken.record("hold", "holds/"), name, "garbage"))


@exhibit(ForgedSignature)
def _acceptance_moved_to_another_instant(broken: Broken) -> None:
    name = broken.record_name("accepted/")
    broken.objects["accepted/20260109-110200123-00000000"] = broken.objects.pop(name)


@exhibit(MalformedDocument)
def _verification_of_another_backup(broken: Broken) -> None:
    broken.write_record("verification", "reports/verification/", backup=broken.full)


@exhibit(ForgedSignature)
def _verification_without_signature(broken: Broken) -> None:
    name = broken.record_name("reports/verification/")
    broken.objects[name] = broken.objects[name][:-64]


@exhibit(MalformedDocument)
def _garbage_with_half_an_entry(broken: Broken) -> None:
    broken.write_record("garbage", "garbage/", unreachable=[["packs/00/00"]])


@exhibit(ForgedSignature)
def _flipped_bit_in_garbage(broken: Broken) -> None:
    broken.flip(broken.record_name("garbage/"), 100)


@exhibit(ForgedSignature)
def _forged_recovery(broken: Broken) -> None:
    name = broken.record_name("recoveries/")
    broken.sign(name, broken.objects[name][:-64], _OTHER_SIGNING)


@exhibit(ForgedSignature)
def _recovery_moved_to_another_run(broken: Broken) -> None:
    first, *_, last = sorted(name for name in broken.objects if name.startswith("recoveries/"))
    broken.objects[f"{first.rpartition('/')[0]}/{last.rpartition('/')[2]}"] = broken.objects[last]


@exhibit(MalformedDocument)
def _recovery_of_another_run(broken: Broken) -> None:
    plan = broken.record("recovery", "recoveries/")["plan"]
    broken.write_record("recovery", "recoveries/", plan=plan | {"id": broken.full})


@exhibit(MalformedDocument)
def _recovery_with_unknown_field(broken: Broken) -> None:
    broken.write_record("recovery", "recoveries/", colour="blue")


@exhibit(MalformedDocument)
def _recovery_with_unknown_field_in_its_plan(broken: Broken) -> None:
    plan = broken.record("recovery", "recoveries/")["plan"]
    broken.write_record("recovery", "recoveries/", plan=plan | {"colour": "blue"})


@exhibit(MalformedDocument)
def _recovery_with_unknown_outcome(broken: Broken) -> None:
    broken.write_record("recovery", "recoveries/", outcome="abandoned")


@exhibit(MalformedDocument)
def _recovery_by_unknown_strategy(broken: Broken) -> None:
    plan = broken.record("recovery", "recoveries/")["plan"]
    broken.write_record("recovery", "recoveries/", plan=plan | {"strategy": "truncate"})


@exhibit(NewerFormat)
def _recovery_of_newer_format(broken: Broken) -> None:
    broken.write_record("recovery", "recoveries/", format=FORMAT + 1, colour="what later versions may say")


@exhibit(DamagedDocument)
def _recovery_sealed_as_another_kind(broken: Broken) -> None:
    name = broken.record_name("recoveries/")
    broken.sign(name, broken.seal(broken.record("recovery", "recoveries/"), name, "drill"))


@exhibit(ForgedSignature)
def _flipped_bit_in_drill(broken: Broken) -> None:
    broken.flip(broken.record_name("reports/drills/"), 100)


@exhibit(MalformedDocument)
def _drill_of_another_name(broken: Broken) -> None:
    broken.write_record("drill", "reports/drills/", drill=broken.full)


@exhibit(MalformedDocument)
def _drill_of_another_instant(broken: Broken) -> None:
    broken.write_record("drill", "reports/drills/", at="2026-01-09T11:02:00.123456Z")


@exhibit(MalformedDocument)
def _drill_with_unknown_field(broken: Broken) -> None:
    broken.write_record("drill", "reports/drills/", colour="blue")


# ------------------------------------------------------------------------------- packs and chunks


@exhibit(ObjectMissing)
def _missing_pack(broken: Broken) -> None:
    del broken.objects[broken.pack_name()]


@exhibit(ObjectDamaged)
def _flipped_bit_in_pack(broken: Broken) -> None:
    broken.flip(broken.pack_name())


@exhibit(ObjectDamaged)
def _truncated_pack(broken: Broken) -> None:
    broken.objects[broken.pack_name()] = broken.objects[broken.pack_name()][:-1]


@exhibit(ObjectDamaged)
def _pack_exchanged_for_another(broken: Broken) -> None:
    packs = sorted(name for name in broken.objects if name.startswith("packs/"))
    broken.objects[broken.pack_name()] = broken.objects[next(p for p in packs if p != broken.pack_name())]


@exhibit(DamagedChunk)
def _flipped_bit_in_pack_that_is_named_so(broken: Broken) -> None:
    def flip(data: bytearray) -> None:
        data[-20] ^= 4

    broken.change_pack(flip)


@exhibit(DamagedChunk)
def _flipped_bit_in_pack_header(broken: Broken) -> None:
    def flip(data: bytearray) -> None:
        data[7 + data[6]] ^= 1

    broken.change_pack(flip)


@exhibit(MalformedPack)
def _pack_of_newer_version(broken: Broken) -> None:
    def renumber(data: bytearray) -> None:
        data[5] = 2

    broken.change_pack(renumber)


@exhibit(MalformedPack)
def _pack_that_is_none(broken: Broken) -> None:
    def overwrite(data: bytearray) -> None:
        data[:5] = b"SPOOF"

    broken.change_pack(overwrite)


@exhibit(MalformedPack)
def _chunk_outside_its_pack(broken: Broken) -> None:
    broken.change_chunk(offset=len(broken.objects[broken.pack_name()]) - 10)


@exhibit(DamagedChunk)
def _chunk_with_another_index(broken: Broken) -> None:
    broken.change_chunk(index=1)


@exhibit(ChunkDisagrees)
def _chunk_with_another_length(broken: Broken) -> None:
    broken.change_chunk(raw=1)


@exhibit(ChunkDisagrees)
def _chunk_with_another_encoding(broken: Broken) -> None:
    broken.change_chunk(encoding="bytes")


@exhibit(ChunkDisagrees)
def _chunk_with_more_rows_than_it_holds(broken: Broken) -> None:
    broken.change_chunk(rows=4)


@exhibit("disagreement")
def _chunk_in_no_pack(broken: Broken) -> None:
    broken.change_chunk(pack=99)


@exhibit("disagreement")
def _pack_that_the_manifest_does_not_name(broken: Broken) -> None:
    packs = [pack for pack in broken.manifest()["packs"] if pack["name"] != broken.pack_name()]
    broken.write_manifest(packs=packs)


@exhibit("disagreement")
def _data_key_that_the_manifest_does_not_name(broken: Broken) -> None:
    keys = [key for key in broken.manifest()["data_keys"] if key != broken.pack_data_key()]
    broken.write_manifest(data_keys=keys)


# The chunk holds three rows of 25 bytes together; what follows are fitting ones but for one thing.
_ROWS = b"5\t185.6\n700\tNaN\n701\t-0.0\n"


@exhibit(ChunkDisagrees)
def _chunk_without_its_last_line_feed(broken: Broken) -> None:
    broken.seal_chunk(0, 1, len(_ROWS), _ROWS[:4] + b"\n" + _ROWS[5:-1] + b"0")


@exhibit(MalformedPack)
def _chunk_of_unknown_codec(broken: Broken) -> None:
    broken.seal_chunk(2, 1, len(_ROWS), _ROWS)


@exhibit(MalformedPack)
def _chunk_of_unknown_encoding(broken: Broken) -> None:
    broken.seal_chunk(0, 2, len(_ROWS), _ROWS)


@exhibit(MalformedPack)
def _chunk_that_does_not_decompress(broken: Broken) -> None:
    broken.seal_chunk(1, 1, len(_ROWS), _ROWS)


@exhibit(MalformedPack)
def _chunk_with_bytes_after_its_frame(broken: Broken) -> None:
    broken.seal_chunk(1, 1, len(_ROWS), zstandard.ZstdCompressor().compress(_ROWS) + b"more")


@exhibit(MalformedPack)
def _chunk_shorter_than_it_says(broken: Broken) -> None:
    broken.seal_chunk(0, 1, len(_ROWS) + 1, _ROWS)


# ------------------------------------------------------------------------------------------ layers


@exhibit(MalformedDocument)
def _dead_row_outside_its_chunk(broken: Broken) -> None:
    broken.change_layer(1, dead=base64.b64encode(bytes([3])).decode(), dead_rows=1)


@exhibit(MalformedDocument)
def _dead_rows_cut_off(broken: Broken) -> None:
    broken.change_layer(0, dead=base64.b64encode(bytes([5, 0, 0xC1])).decode(), dead_rows=3)


@exhibit(ChunkDisagrees)
def _layer_with_another_count_of_dead_rows(broken: Broken) -> None:
    broken.change_layer(0, dead_rows=5)


@exhibit("disagreement")
def _layer_that_says_too_little_is_dead(broken: Broken) -> None:
    broken.change_layer(0, dead=base64.b64encode(bytes([5, 0])).decode(), dead_rows=2)


@exhibit("disagreement")
def _missing_layer(broken: Broken) -> None:
    said = broken.unit()
    said["parts"][0]["extents"][0]["layers"].pop()
    broken.write_unit(said)


@exhibit("disagreement")
def _missing_extent(broken: Broken) -> None:
    said = broken.unit()
    said["parts"][0]["extents"].pop()
    broken.write_unit(said)
