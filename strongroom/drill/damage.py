"""The kinds of damage that a mutation drill does to a copy of a backup, and what has to notice each.

A kind is one entry of `DAMAGES`: a name, a sentence, the level of verification that has to notice, with which code
and at which object. Anything else that fails is no notice: a check that fails for another reason would have passed
the damage. For example:

    trace = damage.do(specimen)
    noticed_by = notice(damage, trace, report.findings)      # empty: the damage went through
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.signing_key import SIGNATURE_BYTES, SigningKey
from strongroom.errors import (
    DataKeyMissing,
    ForgedSignature,
    NotARecipient,
    ObjectDamaged,
    ObjectMissing,
)
from strongroom.format.documents import Finding, Manifest, ObjectRef
from strongroom.operations.messages import Level
from strongroom.repository import layout
from strongroom.repository.repository import Repository
from strongroom.repository.signed import signed, store_bytes

_GRAVE = frozenset({"error", "critical"})


@dataclass(frozen=True)
class Specimen:
    """A copy of one backup that is going to be damaged, opened with the keys of its owner.

    `older` is the backup whose manifest is there beside its own.
    """

    repository: Repository
    manifest: Manifest
    older: str
    random: Callable[[int], bytes]

    def exchange(self, name: str, data: bytes) -> None:
        """Put other bytes in the place of an object, as a bad disk or an intruder would."""
        self.repository.store.delete(name)
        store_bytes(self.repository.store, name, data)

    def choose(self, references: Sequence[ObjectRef]) -> str:
        """Return the name of any of these."""
        return references[int.from_bytes(self.random(4), "big") % len(references)].name


@dataclass(frozen=True)
class Trace:
    """What was damaged, for comparing with what is found; and how, in a few words. An empty object is any."""

    object: str
    done: str


@dataclass(frozen=True)
class Damage:
    """A kind of damage, and what has to notice it."""

    name: str
    sentence: str
    do: Callable[[Specimen], Trace]
    noticed_as: str
    level: Level = "structure"
    with_other_key: bool = False
    """Whether it is read with the keys of somebody who has another recovery key."""


def notice(damage: Damage, trace: Trace, findings: Sequence[Finding]) -> str:
    """Say which check noticed the damage for what it is; empty if none did."""
    for finding in findings:
        fits = not trace.object or finding.object.split(" ")[0] == trace.object
        if finding.severity in _GRAVE and finding.code == damage.noticed_as and fits:
            return f"verify {damage.level}: {finding.code}"
    return ""


# ---------------------------------------------------------------------------------- what is done


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _flip_somewhere(specimen: Specimen, name: str) -> Trace:
    data = specimen.repository.store.get(name)
    at = int.from_bytes(specimen.random(8), "big") % len(data)
    specimen.exchange(name, _flip(data, at))
    return Trace(name, f"a bit of byte {at} of {name} was flipped")


def _flip_pack(specimen: Specimen) -> Trace:
    return _flip_somewhere(specimen, specimen.choose(specimen.manifest.packs))


def _truncate_pack(specimen: Specimen) -> Trace:
    name = specimen.choose(specimen.manifest.packs)
    data = specimen.repository.store.get(name)
    kept = int.from_bytes(specimen.random(8), "big") % len(data)
    specimen.exchange(name, data[:kept])
    return Trace(name, f"{name} was cut from {len(data)} bytes to {kept}")


def _lose_pack(specimen: Specimen) -> Trace:
    name = specimen.choose(specimen.manifest.packs)
    specimen.repository.store.delete(name)
    return Trace(name, f"{name} was deleted")


def _flip_document(specimen: Specimen) -> Trace:
    return _flip_somewhere(specimen, specimen.choose(specimen.manifest.documents))


def _lose_key(specimen: Specimen) -> Trace:
    keys = specimen.manifest.data_keys
    key = keys[int.from_bytes(specimen.random(4), "big") % len(keys)]
    store = specimen.repository.store
    for stored in [stored.name for stored in store.list(layout.key_name(key))]:
        store.delete(stored)
    return Trace(layout.key_name(key), f"all sealed forms of the data key {key} were deleted")


def _put_older_manifest(specimen: Specimen) -> Trace:
    name = layout.manifest_name(specimen.manifest.id)
    specimen.exchange(name, specimen.repository.store.get(layout.manifest_name(specimen.older)))
    return Trace(name, f"the manifest of {specimen.older} was stored as that of {specimen.manifest.id}")


def _forged(specimen: Specimen) -> bytes:
    """Return, sealed as it should be, a manifest that tells of half the rows."""
    tables = tuple(msgspec.structs.replace(entry, rows=entry.rows // 2) for entry in specimen.manifest.tables)
    told = msgspec.structs.replace(specimen.manifest, tables=tables, reason="forged by a mutation drill")
    name = layout.manifest_name(told.id)
    return specimen.repository.seal("manifest", name, told, specimen.random)


def _forge_manifest(specimen: Specimen) -> Trace:
    name = layout.manifest_name(specimen.manifest.id)
    stranger = Keyring(signing=SigningKey.generate(specimen.random))
    specimen.exchange(name, signed(stranger, name, _forged(specimen)))
    return Trace(name, "the manifest was rewritten, and signed with another key")


def _change_manifest(specimen: Specimen) -> Trace:
    name = layout.manifest_name(specimen.manifest.id)
    signature = specimen.repository.store.get(name)[-SIGNATURE_BYTES:]
    specimen.exchange(name, _forged(specimen) + signature)
    return Trace(name, "the manifest was rewritten under its old signature")


def _use_other_key(_specimen: Specimen) -> Trace:
    return Trace("", "it was read with a recovery key that no data key is sealed to")


DAMAGES: tuple[Damage, ...] = (
    Damage("flipped-pack", "A bit of a pack is flipped.", _flip_pack, ObjectDamaged.code),
    Damage("truncated-pack", "A pack is cut short.", _truncate_pack, ObjectDamaged.code),
    Damage("missing-pack", "A pack is gone.", _lose_pack, ObjectMissing.code),
    Damage("flipped-document", "A bit of a unit document is flipped.", _flip_document, ObjectDamaged.code),
    Damage("missing-key", "A data key is gone.", _lose_key, DataKeyMissing.code),
    Damage(
        "older-manifest",
        "An older manifest stands in the place of the backup's.",
        _put_older_manifest,
        ForgedSignature.code,
    ),
    Damage(
        "forged-manifest",
        "The manifest is rewritten and signed by a stranger.",
        _forge_manifest,
        ForgedSignature.code,
    ),
    Damage(
        "changed-manifest",
        "The manifest is rewritten and not signed again.",
        _change_manifest,
        ForgedSignature.code,
    ),
    Damage(
        "wrong-key",
        "It is opened with another recovery key.",
        _use_other_key,
        NotARecipient.code,
        level="content",
        with_other_key=True,
    ),
)
"""Every kind of damage to stored bytes; the drill's report keeps their order."""


def find_damage(name: str) -> Damage:
    """Return the kind of damage of this name."""
    return next(damage for damage in DAMAGES if damage.name == name)
