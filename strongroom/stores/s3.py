"""A store in a bucket that speaks S3: AWS, R2, MinIO, Wasabi, Ceph, Supabase's S3 endpoint.

Options read: endpoint, region, path_style, access_key, secret_key, session_token (left out: where the AWS tools
look), ca_file, storage_class (packs only), encryption, conditional_put, lock, tiers (passed on), connect_timeout,
read_timeout, connections. Nothing is contacted before the first call. Example:

    store = open_s3("s3://bucket/prefix", StoreOptions(endpoint="https://s3.example.com", region="eu-1"))

What the service promises is found out before the first write (`strongroom.stores.s3_promises`). Where it does
not refuse to replace, `put` looks first, and `create` announces itself (`strongroom.stores.announced`); where it
does not verify checksums, what was written is read back and hashed (I1).

Nothing is retried here: errors that may pass are `Transient`, and `RetryingStore` goes around this store.
"""

import base64
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from hashlib import sha256 as sha256_of
from typing import Any

from strongroom.errors import (
    BucketSuspect,
    ObjectConflict,
    ObjectDamaged,
    ObjectFrozen,
    ObjectMissing,
    RequestRefused,
    StoreDenied,
    StoreError,
    TransferCut,
)
from strongroom.stores.announced import create_announced
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import PIECE_BYTES, Buffer, Data, size_of, whole
from strongroom.stores.locking import NEVER_LOCKED
from strongroom.stores.names import check_name, check_prefix, check_range, is_name
from strongroom.stores.options import StoreOptions
from strongroom.stores.protocol import StoredObject
from strongroom.stores.s3_claims import Claims
from strongroom.stores.s3_client import Bucket, check_options
from strongroom.stores.s3_errors import Answer, Declined, coded_answer, translated
from strongroom.stores.s3_multipart import LARGEST_OBJECT, Upload, abort_leftovers
from strongroom.stores.s3_promises import Promises, find_promises
from strongroom.stores.s3_versions import Versions
from strongroom.stores.urls import bucket_and_prefix

LARGEST_SINGLE_PUT = 32 << 20
"""Objects of more bytes are sent in parts."""
_MISSING = frozenset({404})
_MISSING_OR_BEYOND = frozenset({404, 416})
_CONDITION_FAILED = frozenset({412})


def open_s3(url: str, options: StoreOptions) -> "S3Store":
    """Open the bucket and prefix that an `s3://` URL names; contact nothing.

    Raises `BadStoreUrl`, `OptionUnfit`, and `CredentialsMissing` for half a pair of keys; that there are none
    at all comes up with the first call, since looking for them may mean asking the machine's cloud.
    """
    name, prefix = bucket_and_prefix(url)
    check_options(options)
    return S3Store(Bucket(name, prefix, options))


class S3Store:
    """Keeps objects under their names below a prefix of one bucket."""

    def __init__(
        self, bucket: Bucket, *, clock: Callable[[], float] = time.time, keys_per_page: int = 1000
    ) -> None:
        self._bucket = bucket
        self._keys_per_page = keys_per_page
        self._clock = clock
        self._versions = Versions(bucket)
        self._promises: Promises | None = None
        self._swept = False
        self._finding_out = threading.Lock()

    @property
    def description(self) -> str:
        """Say where this is."""
        return self._bucket.description

    @property
    def capabilities(self) -> Capabilities:
        """Say what the service can do, as far as it is known: before the first write, less than it may prove."""
        options, found = self._bucket.options, self._promises
        return Capabilities(
            creates_once=found.creates_once if found else bool(options.conditional_put),
            verifies_checksums=found is not None and found.verifies_checksums,
            largest_object=LARGEST_OBJECT,
            lock=options.lock,
            tiers=options.tiers,
            is_remote=True,
        )

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`; the same bytes again are no error."""
        check_name(name)
        if size_of(data) > LARGEST_SINGLE_PUT:
            self._put_in_parts(name, data, sha256)
            return
        body = whole(data)
        promises = self._found_promises()
        if not (promises.creates_once and promises.verifies_checksums):
            self._check(name, body, sha256)
        if promises.creates_once:
            stored = self._put_once(name, body, sha256)
        else:
            stored = self._put_unconditionally(name, body, sha256)
        if not stored:
            # That the name is taken may have been found out before the bytes were looked at.
            self._check(name, body, sha256)
            self._confirm(name, size_of(body), sha256)
        elif not promises.verifies_checksums:
            self._read_back(name, size_of(body), sha256)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is."""
        check_name(name)
        promises = self._found_promises()
        if not promises.creates_once:
            return self._announce(name, data)
        digest = sha256_of(data).hexdigest()
        if not self._place(name, data, digest, once=True):
            return False
        if not promises.verifies_checksums:
            self._read_back(name, len(data), digest)
        return True

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        check_name(name)
        check_range(name, start, length)
        if length == 0:
            self.stat(name)
            return b""
        wanted: dict[str, Any] = {}
        if start or length is not None:
            wanted = {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"}
        try:
            answer = self._bucket.ask(
                "get", name, "get_object", expected=_MISSING_OR_BEYOND, Key=self._bucket.key(name), **wanted
            )
        except Declined as declined:
            if declined.answer.status == 416:
                return b""
            raise self._missing(name, "get", declined.answer) from None
        data = self._body(name, answer)
        if wanted and "ContentRange" not in answer:
            # The service did not look at the range and sent everything, as HTTP allows.
            return data[start:] if length is None else data[start : start + length]
        return data

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        check_name(name)
        try:
            answer = self._bucket.ask(
                "stat", name, "head_object", expected=_MISSING, Key=self._bucket.key(name)
            )
        except Declined as declined:
            raise self._missing(name, "stat", declined.answer) from None
        return StoredObject(name, int(answer["ContentLength"]), answer["LastModified"].timestamp())

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names."""
        check_prefix(prefix)
        last = ""
        for entry in self._entries(prefix):
            name = entry["Key"].removeprefix(self._bucket.prefix)
            if not is_name(name):
                continue
            if name <= last:
                raise BucketSuspect(store=self.description, reason="its lists are not in bytewise order")
            last = name
            yield StoredObject(name, int(entry["Size"]), entry["LastModified"].timestamp())

    def delete(self, name: str) -> None:
        """Remove one object, with all its versions; a name that is not there is no error.

        Raises `ObjectLocked` if an object lock forbids it.
        """
        check_name(name)
        self._versions.delete(name, self._bucket.key(name))

    def locked_until(self, name: str) -> dt.datetime | None:
        """Return the instant at which the object's lock ends; None if none is in force."""
        check_name(name)
        return self._versions.locked_until(name, self._bucket.key(name))

    def extend_lock(self, name: str, until: dt.datetime) -> None:
        """Lock the object until `until` at least; a lock that lasts longer is left as it is."""
        check_name(name)
        lock = self._bucket.options.lock
        mode = lock.mode if lock else "governance"
        self._versions.extend_lock(name, self._bucket.key(name), until, mode)

    def abort_leftovers(self) -> int:
        """Abort uploads that killed writers left behind more than a day ago; return how many there were.

        The first large write of a process does so by itself.
        """
        return abort_leftovers(self._bucket, self._clock)

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._bucket.close()

    # ------------------------------------------------------------ writing

    def _found_promises(self) -> Promises:
        with self._finding_out:
            if self._promises is None:
                self._promises = find_promises(self._bucket, self._versions, self._encryption())
            return self._promises

    def _place(self, name: str, body: Buffer, sha256: str, *, once: bool) -> bool:
        """Store with one request; return False if the service says that the name is taken."""
        try:
            self._bucket.ask(
                "put",
                name,
                "put_object",
                expected=_CONDITION_FAILED if once else frozenset(),
                size=size_of(body),
                Key=self._bucket.key(name),
                # A bytearray, such as packs are, is sent as it is; of bytes botocore makes a file.
                Body=body if isinstance(body, bytes | bytearray) else bytes(body),
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                **({"IfNoneMatch": "*"} if once else {}),
                **self._parameters(name),
            )
        except Declined:
            return False
        return True

    def _check(self, name: str, body: Buffer, sha256: str) -> None:
        """Raise `ObjectDamaged` if the bytes at hand are not those that are meant."""
        observed = sha256_of(body).hexdigest()
        if observed != sha256:
            raise ObjectDamaged(name=name, store=self.description, expected=sha256, observed=observed)

    def _put_once(self, name: str, body: Buffer, sha256: str) -> bool:
        """Store where the service refuses to replace; return False if the name is taken.

        A service that verifies checksums hashes what arrives. Hashing it here as well would take a third of all
        our CPU time, and is done only if the bytes were refused.
        """
        try:
            return self._place(name, body, sha256, once=True)
        except RequestRefused:
            # Not every service says that it is the checksum which it does not like.
            self._check(name, body, sha256)
            raise

    def _put_unconditionally(self, name: str, body: Buffer, sha256: str) -> bool:
        """Store where the service would replace; return False if the name is taken."""
        if sha256 not in name:
            return self._announce(name, body)
        # The name says what it holds: whoever else writes it writes the same.
        return not self._is_there(name) and self._place(name, body, sha256, once=False)

    def _announce(self, name: str, data: Buffer) -> bool:
        claims = Claims(self._bucket, self._versions, self._parameters)
        return create_announced(claims, name, data, exists=lambda: self._is_there(name))

    def _put_in_parts(self, name: str, data: Data, sha256: str) -> None:
        promises = self._found_promises()
        self._sweep_once()
        if not self._is_there(name):
            upload = Upload(self._bucket, name, data, sha256)
            acknowledged = upload.send(
                self._parameters(name), once=promises.creates_once, is_taken=lambda: self._is_there(name)
            )
            if acknowledged is not None:
                if not (acknowledged and promises.verifies_checksums):
                    self._read_back(name, size_of(data), sha256)
                return
        self._confirm(name, size_of(data), sha256)

    def _sweep_once(self) -> None:
        with self._finding_out:
            if not self._swept:
                self._swept = True
                self.abort_leftovers()

    def _confirm(self, name: str, size: int, sha256: str) -> None:
        """Acknowledge a put of a name that is taken: the bytes must be the same."""
        if self.stat(name).size != size:
            raise ObjectConflict(name=name, store=self.description)
        try:
            same = self._digest(name, size) == sha256
        except ObjectFrozen:
            known = self._known_digest(name)
            if known is None:
                raise
            same = known == sha256
        if not same:
            raise ObjectConflict(name=name, store=self.description)

    def _read_back(self, name: str, size: int, sha256: str) -> None:
        """Hash what the service holds of an object that we have just written (I1)."""
        observed = ""
        # Another writer of the same bytes may have been told by now that they are there, so they are taken
        # back only if two readings say that they are damaged: one may have been hurt on its way to us.
        for _ in range(2):
            try:
                observed = self._digest(name, size)
            except ObjectMissing:
                reason = f"{name!r} was not there right after it had been written"
                raise BucketSuspect(store=self.description, reason=reason) from None
            if observed == sha256:
                return
        # Without a condition it may be another writer's by now, unless its name says what it must hold.
        if self._found_promises().creates_once or sha256 in name:
            with suppress(StoreError):
                self.delete(name)
        raise ObjectDamaged(name=name, store=self.description, expected=sha256, observed=observed)

    def _digest(self, name: str, size: int) -> str:
        """Hash an object's bytes piece by piece; one more byte than expected is asked for, and would show."""
        digest = sha256_of()
        for start in range(0, size + 1, PIECE_BYTES):
            digest.update(self.get(name, start, min(PIECE_BYTES, size + 1 - start)))
        return digest.hexdigest()

    def _known_digest(self, name: str) -> str | None:
        """Return the SHA-256 that the service itself compared when the object arrived, None without one."""
        promises = self._found_promises()
        answer = self._bucket.ask(
            "stat", name, "head_object", Key=self._bucket.key(name), ChecksumMode="ENABLED"
        )
        # The checksum of an object that came in parts is one of checksums, and has a count behind it.
        known = str(answer.get("ChecksumSHA256") or "")
        return base64.b64decode(known).hex() if promises.verifies_checksums and len(known) == 44 else None

    def _parameters(self, name: str) -> dict[str, Any]:
        """Return what goes with a put of this name, or of a key that is no object's."""
        options, parameters = self._bucket.options, self._encryption()
        if options.storage_class and name.startswith("packs/"):
            parameters["StorageClass"] = options.storage_class
        # Leases end soon and are deleted; keys of our own devices likewise.
        if options.lock is not None and is_name(name) and not name.startswith(NEVER_LOCKED):
            now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
            parameters["ObjectLockMode"] = options.lock.mode.upper()
            parameters["ObjectLockRetainUntilDate"] = now + dt.timedelta(days=options.lock.days)
        return parameters

    def _encryption(self) -> dict[str, Any]:
        kind, _, key_id = self._bucket.options.encryption.partition("aws:kms:")
        if key_id:
            return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key_id}
        return {"ServerSideEncryption": kind} if kind else {}

    # ------------------------------------------------------------ reading

    def _is_there(self, name: str) -> bool:
        try:
            self.stat(name)
        except ObjectMissing:
            return False
        return True

    def _body(self, name: str, answer: dict[str, Any]) -> bytes:
        """Read the body of an answer to its end. Raises `TransferCut` if the end comes too early."""
        announced = answer.get("ContentLength")
        with translated(self._bucket.request("get", name)), closing(answer["Body"]) as body:
            # In one call, which makes room once and receives into it: steps would cost as much again.
            data: bytes = body.read()
        if announced is not None and len(data) < announced:
            reason = f"{len(data)} of {announced} bytes came"
            raise TransferCut(name=name, store=self.description, reason=reason)
        return data

    def _missing(self, name: str, operation: str, answer: Answer) -> StoreError:
        """Return the error for a 404, which may mean the bucket where the service does not say."""
        if not answer.code and not self._bucket.seen:
            # Without the right to list, nothing more can be known.
            with suppress(StoreDenied):
                self._bucket.ask("list", name, "list_objects_v2", MaxKeys=1, Prefix=self._bucket.prefix)
        return coded_answer(answer, self._bucket.request(operation, name))

    def _entries(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield what the service lists, page by page."""
        asked: dict[str, Any] = {"Prefix": self._bucket.key(prefix), "MaxKeys": self._keys_per_page}
        token: dict[str, Any] = {}
        while True:
            page = self._bucket.ask("list", prefix, "list_objects_v2", **asked, **token)
            yield from page.get("Contents", ())
            if not page.get("IsTruncated"):
                return
            onward = page.get("NextContinuationToken")
            if not onward or onward == token.get("ContinuationToken"):
                raise BucketSuspect(store=self.description, reason="a page of its list leads nowhere")
            token = {"ContinuationToken": onward}
