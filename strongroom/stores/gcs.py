"""A store in a bucket of Google Cloud Storage: `gs://bucket/prefix`.

    store = open_gcs("gs://bucket/prefix", StoreOptions(credentials_file=Path("key.json")))

Of the options it reads `credentials_file` (the JSON key of a service account; else what the environment gives),
`endpoint` (any other than Google's own is asked without credentials, unless there is a file), `ca_file`,
`storage_class` (of packs alone), `encryption` (the resource name of a KMS key), `lock` (object retention; the
bucket must have been made for it), `tiers`, the timeouts and `connections`.

The service refuses to replace by itself, and compares a checksum before an object exists, so that nothing
needs to be read back. In a bucket with versions, `delete` deletes all of them; where soft delete is on, the
bytes still stay, and cost, for as long as the bucket says. An object name takes one write a second: more are
answered by 429, which is tried again.
"""

import datetime as dt
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256 as new_sha256
from typing import Any, Self
from urllib.parse import urlsplit

from strongroom.errors import (
    BucketSuspect,
    CredentialsMissing,
    ObjectConflict,
    ObjectDamaged,
    ObjectLocked,
    ObjectMissing,
    ObjectTooLarge,
    OptionUnfit,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    TransferCut,
)
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import PIECE_BYTES, Data, size_of
from strongroom.stores.gcs_connection import GcsConnection
from strongroom.stores.gcs_errors import LARGEST_OBJECT, REMEDY, translated
from strongroom.stores.gcs_upload import Upload, digests_of
from strongroom.stores.locking import NEVER_LOCKED
from strongroom.stores.names import check_name, check_prefix, check_range, is_name
from strongroom.stores.options import StoreOptions
from strongroom.stores.protocol import StoredObject
from strongroom.stores.urls import bucket_and_prefix

_MODES = {"governance": "Unlocked", "compliance": "Locked"}
_KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_LISTED = "items(name,size,timeCreated,generation),nextPageToken"
FOREVER = dt.datetime.max.replace(tzinfo=dt.UTC)
"""Until when an object is locked that somebody holds: until that person lets go of it."""


def open_gcs(url: str, options: StoreOptions) -> "GcsStore":
    """Open the store that a `gs://` URL names; nothing is contacted yet.

    Raises `BadStoreUrl`, `OptionUnfit`, and `CredentialsMissing` if there is no file of credentials where one
    is said to be.
    """
    bucket, prefix = bucket_and_prefix(url)
    _check(options)
    if options.credentials_file is not None and not options.credentials_file.is_file():
        remedy = f"There is no file {options.credentials_file}. {REMEDY}"
        raise CredentialsMissing(store=f"gs://{bucket}/{prefix}", remedy=remedy)
    return GcsStore(bucket, prefix, options)


def _check(options: StoreOptions) -> None:
    """Refuse options that would be ignored. Raises `OptionUnfit`."""
    keys = "access goes by service accounts; set credentials_file"
    unfit = {
        "access_key": (options.access_key, keys),
        "secret_key": (options.secret_key, keys),
        "session_token": (options.session_token, keys),
        "region": (options.region, "a bucket's name says where it is"),
        "path_style": (options.path_style is not None, "the bucket always stands in the path"),
        "conditional_put": (options.conditional_put is False, "the service always refuses to replace"),
        "encryption": (
            options.encryption and not _KMS_KEY.fullmatch(options.encryption),
            "it is the name of a key, projects/…/locations/…/keyRings/…/cryptoKeys/…; without one, Google's are used",
        ),
        "endpoint": (
            options.endpoint and urlsplit(options.endpoint).scheme not in {"http", "https"},
            "it is no http or https URL",
        ),
    }
    for option, (is_unfit, reason) in unfit.items():
        if is_unfit:
            raise OptionUnfit(option=option, scheme="gs", reason=reason)


class GcsStore:
    """Keeps objects in a bucket, all below one prefix. Opened by the first call; thread-safe."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        options: StoreOptions | None = None,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options or StoreOptions()
        self._connection = GcsConnection(bucket, prefix, self._options)
        self._clock = clock
        self._pause = pause
        self._keeps_versions: bool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._connection.close()

    @property
    def description(self) -> str:
        """Say where this is."""
        return self._connection.description

    @property
    def capabilities(self) -> Capabilities:
        """Say what the service can do."""
        return Capabilities(
            creates_once=True,
            verifies_checksums=True,
            largest_object=LARGEST_OBJECT,
            lock=self._options.lock,
            tiers=self._options.tiers,
            is_remote=True,
        )

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`; the same bytes again are no error."""
        check_name(name)
        if not self._upload("put", name, data, sha256):
            self._confirm(name, data, sha256)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is."""
        check_name(name)
        return self._upload("create", name, data, new_sha256(data).hexdigest())

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        check_name(name)
        check_range(name, start, length)
        if length == 0:
            # No range says "nothing"; whether the object is there is to be found out all the same.
            self.stat(name)
            return b""
        return self._read(name, start, length)

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        check_name(name)
        found = self._look_up("stat", name)
        return StoredObject(name, found.size, found.time_created.timestamp())

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names."""
        check_prefix(prefix)
        skipped = len(self._connection.prefix)
        for found in self._listed("list", prefix):
            name = found.name[skipped:]
            if is_name(name):
                yield StoredObject(name, found.size, found.time_created.timestamp())

    def delete(self, name: str) -> None:
        """Remove one object, with all its versions; a name that is not there is no error.

        Raises `ObjectLocked` with the date until which a version is locked.
        """
        check_name(name)
        try:
            for generation in self._generations(name):
                with suppress(ObjectMissing), translated(self._connection.asked("delete", name)):
                    found = self._connection.object_of(name, generation)
                    found.delete(**self._connection.call_options)
        except ObjectLocked:
            raise ObjectLocked(name=name, store=self.description, until=self._shown_lock(name)) from None

    # ------------------------------------------------------------ locks

    def locked_until(self, name: str) -> dt.datetime | None:
        """Return until when the object can be neither deleted nor changed; None if it can be now.

        An object that somebody holds is locked until `FOREVER`. Raises `ObjectMissing`.
        """
        check_name(name)
        found = self._look_up("stat", name)
        if found.temporary_hold or found.event_based_hold:
            return FOREVER
        dates = [found.retention_expiration_time, found.retention.retain_until_time]
        until: dt.datetime | None = max((date for date in dates if date is not None), default=None)
        now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        return until if until is not None and until > now else None

    def extend_lock(self, name: str, until: dt.datetime) -> None:
        """Lock the object until `until` at least; a longer lock stays as it is.

        Raises `ObjectMissing`, and `OptionUnfit` if the bucket was made without object retention.
        """
        check_name(name)
        found = self._look_up("lock", name)
        present = found.retention.retain_until_time
        if present is not None and present >= until:
            return
        lock = self._options.lock
        with translated(self._connection.asked("lock", name)):
            retention = found.retention
            retention.mode = retention.mode or _MODES[lock.mode if lock else "governance"]
            retention.retain_until_time = until.astimezone(dt.UTC)
            found.patch(if_generation_match=found.generation, **self._connection.call_options)

    def _shown_lock(self, name: str) -> str:
        """Say for people until when an object is locked."""
        try:
            until = self.locked_until(name)
        except StoreError:
            until = None
        if until is None:
            return "a date that the bucket keeps"
        return "somebody releases its hold" if until == FOREVER else until.isoformat(timespec="seconds")

    # ------------------------------------------------------------ writing

    def _upload(self, operation: str, name: str, data: Data, sha256: str) -> bool:
        size = size_of(data)
        if size > LARGEST_OBJECT:
            raise ObjectTooLarge(name=name, store=self.description, size=size, limit=LARGEST_OBJECT)
        upload = Upload(
            self._connection,
            self._connection.asked(operation, name, size),
            data,
            sha256,
            facts=self._facts(name),
            kms_key=self._options.encryption,
            pause=self._pause,
        )
        return upload.send()

    def _facts(self, name: str) -> dict[str, Any]:
        """Return what an object is given on its way: storage class and lock."""
        facts: dict[str, Any] = {}
        if self._options.storage_class and name.startswith("packs/"):
            facts["storageClass"] = self._options.storage_class
        # Leases are released by deleting them.
        if self._options.lock is not None and not name.startswith(NEVER_LOCKED):
            now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
            until = now + dt.timedelta(days=self._options.lock.days)
            mode = _MODES[self._options.lock.mode]
            facts["retention"] = {"mode": mode, "retainUntilTime": until.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return facts

    def _confirm(self, name: str, data: Data, sha256: str) -> None:
        """Acknowledge a put of an object that is there: it must be the same, byte for byte."""
        ours = digests_of(data)
        if ours.sha256 != sha256:
            raise ObjectDamaged(name=name, store=self.description, expected=sha256, observed=ours.sha256)
        try:
            found = self._look_up("stat", name)
            is_same = (found.size, found.crc32c) == (ours.size, ours.crc32c)
            if not is_same or self._stored_sha256(name, found) != sha256:
                raise ObjectConflict(name=name, store=self.description)
        except ObjectMissing:
            reason = "the service says that the name is taken, and that nothing is there"
            raise StoreUnavailable(
                store=self.description, operation="put", name=name, reason=reason
            ) from None

    def _stored_sha256(self, name: str, found: Any) -> str:
        """Read back one generation, piece by piece, and hash it."""
        observed = new_sha256()
        for start in range(0, found.size, PIECE_BYTES):
            observed.update(self._read(name, start, PIECE_BYTES, generation=found.generation))
        return observed.hexdigest()

    # ------------------------------------------------------------ finding and reading

    def _look_up(self, operation: str, name: str) -> Any:
        """Return the library's object with what the service says of it. Raises `ObjectMissing`."""
        with translated(self._connection.asked(operation, name)):
            found = self._connection.object_of(name)
            found.reload(**self._connection.call_options)
            return found

    def _listed(self, operation: str, prefix: str, *, versions: bool = False) -> Iterator[Any]:
        """Yield what the service lists, page by page."""
        asked = self._connection.asked(operation, prefix)
        with translated(asked):
            pages = self._connection.client.list_blobs(
                self._connection.bucket,
                prefix=self._connection.prefix + prefix,
                versions=versions,
                fields=_LISTED,
                **self._connection.call_options,
            ).pages
        while True:
            with translated(asked):
                page = next(pages, None)
                found = [] if page is None else [*page]
            if page is None:
                return
            yield from found

    def _generations(self, name: str) -> Iterator[int | None]:
        """Yield what is to be deleted for a name to be gone: every version, the living one last.

        Were the living one first, a run that ends between them would leave versions that nobody looks for.
        """
        if not self._has_versions():
            yield None
            return
        full = self._connection.prefix + name
        for found in self._listed("list", name, versions=True):
            if found.name != full:
                # Names are listed in order, and longer ones come after.
                return
            yield found.generation

    def _has_versions(self) -> bool:
        """Tell whether the bucket keeps versions; if that is secret, act as if it did."""
        if self._keeps_versions is None:
            try:
                with translated(self._connection.asked("list", "")):
                    bucket = self._connection.client.bucket(self._connection.bucket)
                    bucket.reload(**self._connection.call_options)
                    # Versions that were written before versioning was suspended are still there, and rare.
                    self._keeps_versions = bool(bucket.versioning_enabled)
            except StoreDenied:
                self._keeps_versions = True
        return self._keeps_versions

    def _read(self, name: str, start: int, length: int | None, generation: int | None = None) -> bytes:
        asked = self._connection.asked("get", name)
        is_range = start > 0 or length is not None
        # Compressed on the way, a body would have another length than the object.
        headers = {"Accept-Encoding": "identity"}
        if is_range:
            headers["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        params: dict[str, str | int] = {"alt": "media"}
        if generation is not None:
            params["generation"] = generation
        answer = self._connection.request(
            asked,
            "GET",
            self._connection.media_url(name),
            params=params,
            headers=headers,
            stream=True,
            accepted=(206, 416) if is_range else (200,),
        )
        with answer, translated(asked):
            if answer.status_code == 416:
                return b""
            if not answer.headers.get("Content-Range", f"bytes {start}-").startswith(f"bytes {start}-"):
                raise BucketSuspect(
                    store=self.description, reason="it sends another range than it was asked for"
                )
            return _body_of(answer, name, self.description)


def _body_of(answer: Any, name: str, store: str) -> bytes:
    """Read the body as it was sent, in one run, and see that it is as long as announced."""
    if "Content-Length" not in answer.headers:
        # Sent in chunks, by something on the way: these say themselves where they end.
        unmeasured: bytes = answer.raw.read(decode_content=False)
        return unmeasured
    announced = int(answer.headers["Content-Length"])
    # Of a known length it is read straight into its place; the library's own downloads go by 8 KiB.
    body: bytes = answer.raw.read(announced, decode_content=False)
    if len(body) != announced:
        raise TransferCut(name=name, store=store, reason=f"{len(body)} of {announced} bytes came")
    return body
