"""The repository: sealed documents and packs in a store, with the ordering invariants kept.

Who holds which keys decides what works: the operator key reads and writes documents, the recovery public
keys suffice to write rows, the recovery private key is needed to read them. Example:

    repository = Repository.open(store, keyring)
    manifest = repository.read_manifest(backup_id)
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from strongroom.crypto.keyring import Keyring
from strongroom.crypto.operator_key import open_document, seal_document
from strongroom.crypto.recovery_keys import SealedDataKey
from strongroom.crypto.signing_key import check_signature, sign
from strongroom.decoding import decode_as
from strongroom.errors import (
    MalformedDocument,
    NotARepository,
    ObjectDamaged,
    ObjectMissing,
    RepositoryExists,
    UnknownBackup,
    WrongRepositoryKey,
)
from strongroom.format.codec import decode_document, decode_json, encode_document
from strongroom.format.documents import (
    FORMAT,
    BackupPlan,
    Document,
    Manifest,
    ObjectRef,
    PackRef,
    RecoveryKeySet,
    RepositoryInfo,
    UnitDocument,
)
from strongroom.format.packs import PackBuilder, PackReader
from strongroom.format.records import (
    Record,
)
from strongroom.format.row_maps import TupleIds, decode_row_maps
from strongroom.ids import BackupId
from strongroom.repository import layout
from strongroom.repository.data_keys import DataKeys
from strongroom.repository.signed import read_signed, store_bytes, store_signed
from strongroom.stores.nearest import read_good
from strongroom.stores.protocol import Store

D = TypeVar("D", bound=Document)
R = TypeVar("R", bound=Record)
Random = Callable[[int], bytes]


class _SignedInfo(msgspec.Struct, frozen=True):
    """`repository.json`: the exact bytes that were signed, and the signature."""

    repository: msgspec.Raw
    signature: bytes


class Repository:
    """An opened repository. Cheap to make; keeps the data keys that it has opened.

    Over several locations (`strongroom.stores.nearest`) it reads each object from the first that has a good copy.
    """

    def __init__(self, store: Store, keyring: Keyring, info: RepositoryInfo) -> None:
        self.store = store
        self.keyring = keyring
        self.info = info
        self.data_keys = DataKeys(store, keyring, info)

    # ------------------------------------------------------------------------------ whole

    @classmethod
    def create(cls, store: Store, keyring: Keyring, now: dt.datetime, random: Random) -> "Repository":
        """Make a repository in an empty store; raise `RepositoryExists` if there is one."""
        info = RepositoryInfo(
            format=FORMAT,
            id=random(16).hex(),
            created_at=now,
            operator_key=keyring.require_operator().key_id,
            signing_key=keyring.require_signing().key_id,
            recovery_keys=tuple(key.key_id for key in keyring.require_recovery_public()),
        )
        raw = msgspec.json.encode(info)
        signature = sign(keyring.require_signing(), "repository", raw)
        signed = _SignedInfo(repository=msgspec.Raw(raw), signature=signature)
        if not store.create(layout.REPOSITORY, msgspec.json.encode(signed)):
            raise RepositoryExists(location=store.description)
        return cls(store, keyring, info)

    @classmethod
    def open(cls, store: Store, keyring: Keyring) -> "Repository":
        """Open the repository of a store.

        Raises `NotARepository`, `NewerFormat`, `ForgedSignature`, `WrongRepositoryKey`.
        """
        try:
            info = read_good(store, layout.REPOSITORY, lambda data: read_description(data, keyring))
        except ObjectMissing as error:
            raise NotARepository(location=store.description) from error
        return cls(store, keyring, info)

    # -------------------------------------------------------------------------- documents

    def seal(self, kind: str, name: str, document: Document, random: Random) -> bytes:
        """Return the sealed bytes of a document that is going to be known as `name`."""
        key = self.keyring.require_operator()
        return seal_document(kind, name, encode_document(document), key, random)

    def put_unit_document(self, document: UnitDocument, random: Random) -> ObjectRef:
        """Store a unit document under the digest of its sealed bytes."""
        sealed = self.seal("unit", f"{layout.UNIT_DOCUMENTS}{document.backup}", document, random)
        digest = hashlib.sha256(sealed).hexdigest()
        return store_bytes(self.store, layout.unit_document_name(document.backup, digest), sealed, digest)

    def read_unit_document(self, ref: ObjectRef) -> UnitDocument:
        """Read a unit document; its bytes are compared with the reference first."""
        name = f"{layout.UNIT_DOCUMENTS}{layout.backup_of(ref.name)}"
        opened = open_document("unit", name, self.read_object(ref), self.keyring.require_operator())
        return decode_document(UnitDocument, opened, ref.name)

    def put_row_maps(self, backup: str, encoded: bytes, random: Random) -> ObjectRef:
        """Store an object of row maps under the digest of its sealed bytes."""
        key = self.keyring.require_operator()
        sealed = seal_document("row maps", f"{layout.ROW_MAPS}{backup}", encoded, key, random)
        digest = hashlib.sha256(sealed).hexdigest()
        return store_bytes(self.store, layout.row_maps_name(backup, digest), sealed, digest)

    def read_row_maps(self, ref: ObjectRef) -> list[TupleIds]:
        """Read an object of row maps."""
        name = f"{layout.ROW_MAPS}{layout.backup_of(ref.name)}"
        opened = open_document("row maps", name, self.read_object(ref), self.keyring.require_operator())
        return decode_row_maps(opened, ref.name)

    def put_plan(self, plan: BackupPlan, random: Random) -> ObjectRef:
        """Store what a backup is going to do."""
        name = layout.attempt_name(plan.id)
        sealed = self.seal("attempt", name, plan, random)
        return store_bytes(self.store, name, sealed)

    def read_plan(self, backup: str) -> BackupPlan:
        """Read the stored plan of a backup; raise `ObjectMissing` if there is none."""
        name = layout.attempt_name(backup)
        key = self.keyring.require_operator()
        opened = read_good(self.store, name, lambda data: open_document("attempt", name, data, key))
        return decode_document(BackupPlan, opened, name)

    # -------------------------------------------------------------------------- manifests

    def write_manifest(self, manifest: Manifest, random: Random) -> ObjectRef:
        """Make the backup exist. The caller has stored everything that the manifest names (I1)."""
        name = layout.manifest_name(manifest.id)
        sealed = self.seal("manifest", name, manifest, random)
        return store_signed(self.store, self.keyring, name, sealed)

    def read_manifest(self, backup: str) -> Manifest:
        """Read a manifest whose signature holds; raise `UnknownBackup`, `ForgedSignature`, `DamagedDocument`."""
        name = layout.manifest_name(backup)
        try:
            sealed = read_signed(self.store, self.keyring, name)
        except ObjectMissing as error:
            raise UnknownBackup(backup=backup) from error
        opened = open_document("manifest", name, sealed, self.keyring.require_operator())
        manifest = decode_document(Manifest, opened, name)
        if manifest.id != backup:
            raise MalformedDocument(kind="manifest", name=name, reason=f"it is that of {manifest.id}")
        return manifest

    def backup_ids(self) -> Iterator[BackupId]:
        """Yield the ids of all listed backups, oldest first."""
        for stored in self.store.list(layout.MANIFESTS):
            yield layout.backup_of(stored.name)

    # ---------------------------------------------------------------------------- records

    def put_record(self, record: Record, random: Random) -> ObjectRef:
        """Store a record, sealed and signed, under its instant and some randomness."""
        name = layout.record_name(record.folder, record.at, random(4).hex())
        return store_signed(self.store, self.keyring, name, self.seal(record.KIND, name, record, random))

    def read_record(self, kind: type[R], name: str) -> R:
        """Read one record.

        Raises `ObjectMissing`, `ForgedSignature`, `DamagedDocument`, `NewerFormat`, and `MalformedDocument` if it
        is not the one that its name says.
        """
        sealed = read_signed(self.store, self.keyring, name)
        opened = open_document(kind.KIND, name, sealed, self.keyring.require_operator())
        record = decode_document(kind, opened, name)
        if name.rpartition("-")[0] != f"{record.folder}{layout.stamp(record.at)}":
            reason = f"it is one of {record.folder}, made at {record.at.isoformat()}"
            raise MalformedDocument(kind=kind.KIND, name=name, reason=reason)
        return record

    def record_names(self, folder: str) -> list[str]:
        """Return the names of the records in a folder and below, sorted: in one folder, the newest is the last."""
        return [stored.name for stored in self.store.list(folder) if layout.is_record_name(stored.name)]

    def read_records(self, kind: type[R], of: str = "") -> Iterator[R]:
        """Yield the records of a kind, or those `of` one backup, run or drill: by these, the newest last.

        The first that cannot be believed raises as `read_record` does; who would rather go on reads one by one.
        """
        for name in self.record_names(kind.FOLDER + (f"{of}/" if of else "")):
            try:
                record = self.read_record(kind, name)
            except ObjectMissing:
                continue  # It expired between listing and reading.
            yield record

    # ------------------------------------------------------------------------------ packs

    def recovery_key_set(self) -> RecoveryKeySet:
        """Return the recovery keys that the repository seals to now; see `DataKeys.recovery_key_set`."""
        return self.data_keys.recovery_key_set()

    def new_data_key(self, backup: str, random: Random) -> tuple[str, bytes]:
        """Make a data key, store it sealed to the recovery keys, and return its id and itself.

        Every process that captures makes its own, so that none ever crosses a process border. The keys
        sealed to are those of this worker's own directory: what lies in the store is not trusted for it.
        Raises `ForeignRecoveryKeys`, `RecoveryKeysRetired`.
        """
        return self.data_keys.make(backup, random)

    def data_key(self, key_id: str) -> bytes:
        """Open a data key with a recovery private key; raise what `DataKeys.open` raises."""
        return self.data_keys.open(key_id)

    def sealed_data_key(self, key_id: str) -> SealedDataKey:
        """Read the sealed form of a data key that counts, and check its signature.

        Raises `DataKeyMissing`, `ForgedSignature`, `MalformedDocument`, `NewerDataKey`, `TamperedDataKey`.
        """
        return self.data_keys.newest(key_id)

    def put_pack(self, builder: PackBuilder) -> PackRef:
        """Store a finished pack."""
        pack, data = builder.finish()
        stored = store_bytes(self.store, layout.pack_name(pack), data, pack)
        return PackRef(name=stored.name, size=stored.size, sha256=pack, data_key=builder.data_key_id)

    def open_pack(self, ref: PackRef) -> PackReader:
        """Read a pack, compare its bytes with the reference, and return what opens its chunks."""
        return PackReader(self.read_object(ref), ref.name, self.data_key(ref.data_key))

    # ---------------------------------------------------------------------------- objects

    def read_object(self, ref: ObjectRef) -> bytes:
        """Return an object's bytes; raise `ObjectMissing`, or `ObjectDamaged` if they are not those stored."""
        return read_good(self.store, ref.name, lambda data: self._compared(ref, data))

    def _compared(self, ref: ObjectRef, data: bytes) -> bytes:
        observed = hashlib.sha256(data).hexdigest()
        if observed != ref.sha256:
            raise ObjectDamaged(
                name=ref.name, store=self.store.description, expected=ref.sha256, observed=observed
            )
        return data


def read_description(data: bytes, keyring: Keyring) -> RepositoryInfo:
    """Return what `repository.json` says, if it is signed by the key at hand and is this repository's."""
    try:
        signed = decode_as(_SignedInfo, data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedDocument(kind="repository", name=layout.REPOSITORY, reason=str(error)) from error
    raw = bytes(signed.repository)
    info = decode_json(RepositoryInfo, raw, layout.REPOSITORY)
    public = keyring.require_signing_public()
    if info.signing_key != public.key_id:
        raise WrongRepositoryKey(what="signing", wanted=info.signing_key, present=public.key_id)
    check_signature(public, "repository", raw, signed.signature)
    operator = keyring.operator
    if operator is not None and info.operator_key != operator.key_id:
        raise WrongRepositoryKey(what="operator", wanted=info.operator_key, present=operator.key_id)
    return info
