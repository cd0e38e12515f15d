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
from strongroom.crypto.pack_cipher import new_data_key
from strongroom.crypto.recovery_keys import SealedDataKey, open_data_key, seal_data_key
from strongroom.crypto.signing_key import check_signature, sign
from strongroom.errors import (
    DataKeyMissing,
    ForeignRecoveryKeys,
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
    RepositoryInfo,
    UnitDocument,
)
from strongroom.format.packs import PackBuilder, PackReader
from strongroom.format.row_maps import TupleIds, decode_row_maps
from strongroom.ids import BackupId
from strongroom.repository import layout
from strongroom.stores.protocol import Store

D = TypeVar("D", bound=Document)
Random = Callable[[int], bytes]

_SIGNATURE_BYTES = 64


class _SignedInfo(msgspec.Struct, frozen=True):
    """`repository.json`: the exact bytes that were signed, and the signature."""

    repository: msgspec.Raw
    signature: bytes


class Repository:
    """An opened repository. Cheap to make; keeps the data keys that it has opened."""

    def __init__(self, store: Store, keyring: Keyring, info: RepositoryInfo) -> None:
        self.store = store
        self.keyring = keyring
        self.info = info
        self._data_keys: dict[str, bytes] = {}

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
            data = store.get(layout.REPOSITORY)
        except ObjectMissing as error:
            raise NotARepository(location=store.description) from error
        try:
            signed = msgspec.json.decode(data, type=_SignedInfo)
        except msgspec.MsgspecError as error:
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
        return self._put(layout.unit_document_name(document.backup, digest), sealed, digest)

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
        return self._put(layout.row_maps_name(backup, digest), sealed, digest)

    def read_row_maps(self, ref: ObjectRef) -> list[TupleIds]:
        """Read an object of row maps."""
        name = f"{layout.ROW_MAPS}{layout.backup_of(ref.name)}"
        opened = open_document("row maps", name, self.read_object(ref), self.keyring.require_operator())
        return decode_row_maps(opened, ref.name)

    def put_plan(self, plan: BackupPlan, random: Random) -> ObjectRef:
        """Store what a backup is going to do."""
        name = layout.attempt_name(plan.id)
        sealed = self.seal("attempt", name, plan, random)
        return self._put(name, sealed, hashlib.sha256(sealed).hexdigest())

    def read_plan(self, backup: str) -> BackupPlan:
        """Read the stored plan of a backup; raise `ObjectMissing` if there is none."""
        name = layout.attempt_name(backup)
        opened = open_document("attempt", name, self.store.get(name), self.keyring.require_operator())
        return decode_document(BackupPlan, opened, name)

    # -------------------------------------------------------------------------- manifests

    def write_manifest(self, manifest: Manifest, random: Random) -> ObjectRef:
        """Make the backup exist. The caller has stored everything that the manifest names (I1)."""
        name = layout.manifest_name(manifest.id)
        sealed = self.seal("manifest", name, manifest, random)
        signed = self._signed(name, sealed)
        return self._put(name, signed, hashlib.sha256(signed).hexdigest())

    def read_manifest(self, backup: str) -> Manifest:
        """Read a manifest whose signature holds; raise `UnknownBackup`, `ForgedSignature`, `DamagedDocument`."""
        name = layout.manifest_name(backup)
        try:
            sealed = self._checked(name)
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

    # ------------------------------------------------------------------------------ packs

    def new_data_key(self, backup: str, random: Random) -> tuple[str, bytes]:
        """Make a data key, store it sealed to the recovery keys, and return its id and itself.

        Every process that captures makes its own, so that none ever crosses a process border. The keys
        sealed to are those of this worker's own directory: what lies in the store is not trusted for it.
        """
        recipients = self.keyring.require_recovery_public()
        unknown = {key.key_id for key in recipients} - set(self.info.recovery_keys)
        if unknown:
            raise ForeignRecoveryKeys(unknown=", ".join(sorted(unknown)))
        key_id = f"{backup}-{random(4).hex()}"
        data_key = new_data_key(random)
        name = layout.key_name(key_id)
        signed = self._signed(name, msgspec.json.encode(seal_data_key(data_key, recipients, key_id)))
        self._put(name, signed, hashlib.sha256(signed).hexdigest())
        return key_id, data_key

    def data_key(self, key_id: str) -> bytes:
        """Open a data key with the recovery private key."""
        if key_id not in self._data_keys:
            private = self.keyring.require_recovery_private()
            self._data_keys[key_id] = open_data_key(self.sealed_data_key(key_id), private, key_id)
        return self._data_keys[key_id]

    def sealed_data_key(self, key_id: str) -> SealedDataKey:
        """Read a data key as it is stored, sealed, and check its signature.

        Raises `DataKeyMissing`, `ForgedSignature`, `MalformedDocument`.
        """
        name = layout.key_name(key_id)
        try:
            data = self._checked(name)
        except ObjectMissing as error:
            raise DataKeyMissing(key=key_id) from error
        try:
            return msgspec.json.decode(data, type=SealedDataKey)
        except msgspec.MsgspecError as error:
            raise MalformedDocument(kind="data key", name=name, reason=str(error)) from error

    def put_pack(self, builder: PackBuilder) -> PackRef:
        """Store a finished pack."""
        pack, data = builder.finish()
        stored = self._put(layout.pack_name(pack), data, pack)
        return PackRef(name=stored.name, size=stored.size, sha256=pack, data_key=builder.data_key_id)

    def open_pack(self, ref: PackRef) -> PackReader:
        """Read a pack, compare its bytes with the reference, and return what opens its chunks."""
        return PackReader(self.read_object(ref), ref.name, self.data_key(ref.data_key))

    # ---------------------------------------------------------------------------- objects

    def read_object(self, ref: ObjectRef) -> bytes:
        """Return an object's bytes; raise `ObjectMissing`, or `ObjectDamaged` if they are not those stored."""
        data = self.store.get(ref.name)
        observed = hashlib.sha256(data).hexdigest()
        if observed != ref.sha256:
            raise ObjectDamaged(
                name=ref.name, store=self.store.description, expected=ref.sha256, observed=observed
            )
        return data

    def _signed(self, name: str, data: bytes) -> bytes:
        """Return `data` with its signature behind it, good under this name only."""
        return data + sign(self.keyring.require_signing(), name, data)

    def _checked(self, name: str) -> bytes:
        """Read a signed object and return its data if the signature holds; else raise `ForgedSignature`."""
        signed = self.store.get(name)
        data, signature = signed[:-_SIGNATURE_BYTES], signed[-_SIGNATURE_BYTES:]
        check_signature(self.keyring.require_signing_public(), name, data, signature)
        return data

    def _put(self, name: str, data: bytes | bytearray, digest: str) -> ObjectRef:
        self.store.put(name, data, digest)
        return ObjectRef(name=name, size=len(data), sha256=digest)
