"""A store in a bucket of Supabase Storage: `supabase://bucket/prefix`.

    store = open_store("supabase://backups/main", StoreOptions(endpoint="https://<ref>.supabase.co"))

**Nothing is ever uploaded to its name.** An upload with `x-upsert: false` asks at its beginning whether the key is
free, and until September 2026 the service did not ask again at its end: two that began together both succeeded,
and the later one replaced the earlier. Therefore each object is uploaded to a key of its own below `!writing/`
(no object can be called that), read back and hashed there, since the service keeps no checksum of ours, and then
moved: a move changes one row under the unique constraint on bucket and name, in every version of the service, so that
exactly one of several wins, and damaged bytes never get a name. The service copies the bytes for it, 5 GiB at most.
The read back is a download of all that is stored, which a hosted project is billed for.

A bucket that keeps versions would keep what was moved away as well: use one that does not.

What killed writers leave in `!writing/` is removed by the first write of a later process once it is a day old.

A list comes in pages of 1,000, in the bytewise order of the keys (the service sorts with `COLLATE "C"`); one page is
in memory at a time. A list that is not in that order is not sorted here but refused: pages would be missing.

Without rights, a key sees an empty bucket and not an error. The keys that are meant for browsers are refused at
once, and a bucket whose list is empty is asked for.
"""

import base64
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256 as sha256_of
from threading import Lock
from urllib.parse import urlsplit

from strongroom.errors import (
    BucketSuspect,
    CredentialsMissing,
    ObjectConflict,
    ObjectDamaged,
    ObjectMissing,
    ObjectTooLarge,
    OptionUnfit,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    Transient,
)
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Buffer, Data, pieces_of, size_of, whole
from strongroom.stores.names import check_name, check_prefix, check_range, is_name
from strongroom.stores.options import StoreOptions
from strongroom.stores.protocol import StoredObject
from strongroom.stores.supabase_errors import Call
from strongroom.stores.supabase_service import Found, Place, Service
from strongroom.stores.supabase_upload import PIECE_BYTES
from strongroom.stores.urls import bucket_and_prefix

LEFTOVER_SECONDS = 24 * 3600
"""The age from which a key in `!writing/` belongs to no living writer."""

LARGEST_MOVE_BYTES = 5 << 30

_WRITING = "!writing/"
_OPTIONS_OF_OTHERS = (
    "region",
    "path_style",
    "access_key",
    "session_token",
    "credentials_file",
    "storage_class",
    "encryption",
    "conditional_put",
    "lock",
    "tiers",
)


def open_supabase(
    url: str, options: StoreOptions, environment: Mapping[str, str] | None = None
) -> "SupabaseStore":
    """Open the store that a `supabase://bucket/prefix` URL names; nothing is contacted yet.

    `options.endpoint` is the project's URL, else `SUPABASE_URL`; `options.secret_key` its service-role or secret key,
    else `SUPABASE_SERVICE_ROLE_KEY`. `ca_file`, the timeouts and `connections` are heeded. Raises `BadStoreUrl`,
    `CredentialsMissing`, `OptionUnfit`.
    """
    variables = os.environ if environment is None else environment
    bucket, prefix = bucket_and_prefix(url)
    for option in _OPTIONS_OF_OTHERS:
        if getattr(options, option) not in {"", None, ()}:
            raise OptionUnfit(option=option, scheme="supabase", reason="Supabase Storage has no such thing")
    endpoint = options.endpoint or variables.get("SUPABASE_URL", "")
    key = options.secret_key or variables.get("SUPABASE_SERVICE_ROLE_KEY", "")
    named = f"supabase://{bucket}/{prefix}".rstrip("/")
    if not endpoint:
        remedy = "Set `endpoint` of the location, or SUPABASE_URL, to the project's URL (https://<ref>.supabase.co)."
        raise CredentialsMissing(store=named, remedy=remedy)
    if not key:
        remedy = (
            "Set SUPABASE_SERVICE_ROLE_KEY, or `secret_key` of the location, to a service-role or secret key of the "
            "project (Settings, API Keys)."
        )
        raise CredentialsMissing(store=named, remedy=remedy)
    return SupabaseStore(Place(_project_url(endpoint), bucket, _checked_key(key)), prefix, options)


def _project_url(endpoint: str) -> str:
    """Return a project's URL without what is often pasted behind it."""
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        reason = "it must be the project's URL, as in https://<ref>.supabase.co"
        raise OptionUnfit(option="endpoint", scheme="supabase", reason=reason)
    return endpoint.rstrip("/").removesuffix("/storage/v1")


def _checked_key(key: str) -> str:
    """Refuse what is no key, and keys that see nothing of a private bucket, which would then look empty."""
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise OptionUnfit(option="secret_key", scheme="supabase", reason="it has characters that no key has")
    if key.startswith("sb_publishable_") or _role(key) == "anon":
        reason = (
            "it is the key for browsers, which does not see what is stored; the service-role key is needed"
        )
        raise OptionUnfit(option="secret_key", scheme="supabase", reason=reason)
    return key


def _role(key: str) -> object:
    """Return the role that a key of the older kind, a signed token, speaks for."""
    claims = key.split(".")[1] if key.count(".") == 2 else ""
    try:
        body = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except ValueError:
        return None
    return body.get("role") if isinstance(body, dict) else None


class SupabaseStore:
    """Keeps objects in one bucket, below one prefix. Several threads may use it."""

    def __init__(
        self, place: Place, prefix: str, options: StoreOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self._place = place
        self._prefix = prefix
        self._clock = clock
        self._service = Service(place, options, self.description)
        self._lock = Lock()
        self._is_swept = False
        self._limit = LARGEST_MOVE_BYTES

    def __repr__(self) -> str:
        return f"<SupabaseStore {self.description}>"

    @property
    def description(self) -> str:
        """Say where this is."""
        where = f"supabase://{self._place.bucket}/{self._prefix}".rstrip("/")
        return f"{where} at {urlsplit(self._place.url).netloc}"

    @property
    def capabilities(self) -> Capabilities:
        """Say what the medium can do: a move never replaces; the limit of the bucket is known once it was met."""
        return Capabilities(creates_once=True, largest_object=self._limit, is_remote=True)

    def close(self) -> None:
        """End all connections."""
        self._service.close()

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`; the same bytes again are no error.

        Large data is hashed while it is sent, so that it is read once; what arrived is read back in any case.
        """
        check_name(name)
        size = size_of(data)
        call = self._call("put", name, size)
        if size > self._limit:
            raise ObjectTooLarge(name=name, size=size, store=self.description, limit=f"{self._limit} bytes")
        if size > PIECE_BYTES and not isinstance(data, Buffer):
            if self._is_there_already(name, data, sha256, call):
                return
        else:
            data = whole(data)
            self._require(name, sha256_of(data).hexdigest(), sha256)
        if not self._place_once(name, data, sha256, call):
            self._confirm(name, size, sha256, call)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there; return False if something is."""
        check_name(name)
        return self._place_once(
            name, data, sha256_of(data).hexdigest(), self._call("create", name, len(data))
        )

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or `length` of them from `start`."""
        check_name(name)
        check_range(name, start, length)
        if length == 0:
            self.stat(name)
            return b""
        call = self._call("get", name)
        with self._service.download(self._key(name), call, start, length) as body:
            if body is None:
                return b""
            data = b"".join(body.pieces)
        if not body.is_range:
            # Something on the way ignored the range.
            data = data[start:]
        return data if length is None else data[:length]

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        check_name(name)
        found = self._service.facts(self._key(name), self._call("stat", name))
        return StoredObject(name, found.size, found.modified)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose name starts with `prefix`, in the order of their names."""
        check_prefix(prefix)
        call = self._call("list", prefix)
        is_empty = True
        for found in self._walk(self._prefix + prefix, call):
            is_empty = False
            name = found.key[len(self._prefix) :]
            # What lies in `!writing/`, and what others put there, is no object.
            if is_name(name):
                yield StoredObject(name, found.size, found.modified)
        if is_empty:
            # A bucket that does not exist has an empty list too.
            self._ask_limit(call)

    def delete(self, name: str) -> None:
        """Remove one object; a name that is not there is no error."""
        check_name(name)
        call = self._call("delete", name)
        if self._service.remove([self._key(name)], call):
            return
        # Rules on rows may keep an object from being deleted without a word.
        with suppress(ObjectMissing):
            self._service.facts(self._key(name), call)
            raise StoreDenied(store=self.description, name=name, reason="its rules keep the object")

    # ------------------------------------------------------------ writing

    def _place_once(self, name: str, data: Data, sha256: str, call: Call) -> bool:
        """Upload, read back, and give the bytes their name; return False if it is taken."""
        self._sweep()
        scratch = f"{self._prefix}{_WRITING}{secrets.token_hex(16)}"
        try:
            self._send(scratch, data, sha256, call)
            self._read_back(scratch, size_of(data), sha256, call)
            self._service.move(scratch, self._key(name), call)
        except ObjectConflict:
            self._discard(scratch, call)
            return False
        except ObjectMissing:
            reason = "what was just uploaded is not there"
            raise StoreUnavailable(
                store=self.description, operation="put", name=name, reason=reason
            ) from None
        except Transient:
            # It may be under way still. What is left of it is swept after a day.
            raise
        except StoreError:
            self._discard(scratch, call)
            raise
        self._see_it(name, size_of(data), call)
        return True

    def _send(self, key: str, data: Data, sha256: str, call: Call) -> None:
        try:
            if size_of(data) > PIECE_BYTES:
                self._service.upload_resumable(key, data, sha256, call)
            else:
                self._service.upload(key, bytes(whole(data)), call)
        except ObjectTooLarge:
            limit = self._ask_limit(call)
            told = f"{limit} bytes" if limit and limit < size_of(data) else "fewer by the project's settings"
            raise ObjectTooLarge(name=call.name, size=call.size, store=self.description, limit=told) from None

    def _read_back(self, key: str, size: int, sha256: str, call: Call) -> None:
        """Hash what the service holds (I1, I6)."""
        came, observed = self._hash(key, call)
        if (came, observed) != (size, sha256):
            raise ObjectDamaged(name=call.name, store=self.description, expected=sha256, observed=observed)

    def _see_it(self, name: str, size: int, call: Call) -> None:
        """See that the object is where it was moved to, and whole."""
        try:
            found = self._service.facts(self._key(name), call)
        except ObjectMissing:
            reason = f"{name!r} is not there although it was just moved there"
            raise BucketSuspect(store=self.description, reason=reason) from None
        if found.size != size:
            reason = f"{name!r} has {found.size} bytes, and had {size} before it was moved"
            raise BucketSuspect(store=self.description, reason=reason)

    def _is_there_already(self, name: str, data: Data, sha256: str, call: Call) -> bool:
        """Spare the upload of what is stored, which after a failed backup is most of it."""
        try:
            self._service.facts(self._key(name), call)
            self._confirm(name, size_of(data), sha256, call)
        except ObjectMissing:
            return False
        except ObjectConflict:
            hasher = sha256_of()
            for piece in pieces_of(data):
                hasher.update(piece)
            self._require(name, hasher.hexdigest(), sha256)
            raise
        return True

    def _confirm(self, name: str, size: int, sha256: str, call: Call) -> None:
        """Acknowledge a put of an object that is there: it must be the same."""
        key = self._key(name)
        try:
            is_same = self._service.facts(key, call).size == size and self._hash(key, call) == (size, sha256)
        except ObjectMissing:
            reason = "the object of that name was deleted meanwhile"
            raise StoreUnavailable(
                store=self.description, operation="put", name=name, reason=reason
            ) from None
        if not is_same:
            raise ObjectConflict(name=name, store=self.description)

    def _hash(self, key: str, call: Call) -> tuple[int, str]:
        """Return size and SHA-256 of what is stored, a piece in memory at a time."""
        hasher, size = sha256_of(), 0
        with self._service.download(key, call) as body:
            for piece in body.pieces if body else ():
                hasher.update(piece)
                size += len(piece)
        return size, hasher.hexdigest()

    def _require(self, name: str, observed: str, expected: str) -> None:
        if observed != expected:
            raise ObjectDamaged(name=name, store=self.description, expected=expected, observed=observed)

    def _discard(self, key: str, call: Call) -> None:
        # The sweep takes what this cannot remove; the error that led here says more.
        with suppress(StoreError):
            self._service.remove([key], call)

    def _sweep(self) -> None:
        """Before the first write: remove what killed writers left behind."""
        with self._lock:
            if self._is_swept:
                return
            call = self._call("sweep", _WRITING)
            before = self._clock() - LEFTOVER_SECONDS
            leftovers = [
                found.key for found in self._walk(self._prefix + _WRITING, call) if found.modified < before
            ]
            for start in range(0, len(leftovers), 100):
                self._service.remove(leftovers[start : start + 100], call)
            self._is_swept = True

    # ------------------------------------------------------------ finding

    def _walk(self, prefix: str, call: Call) -> Iterator[Found]:
        """Yield what is stored under keys that start with `prefix`, in bytewise order."""
        last, cursor = "", None
        while True:
            page, cursor = self._service.page(prefix, cursor, call)
            for found in page:
                if found.key <= last:
                    reason = f"it lists {found.key!r} after {last!r}"
                    raise BucketSuspect(store=self.description, reason=reason)
                last = found.key
                # Older versions take `_` in a prefix for any character.
                if found.key.startswith(prefix):
                    yield found
            if cursor is None:
                return

    def _ask_limit(self, call: Call) -> int | None:
        """Ask for the bucket, which must exist, and remember its limit."""
        limit = self._service.size_limit(call)
        if limit is not None:
            self._limit = min(limit, LARGEST_MOVE_BYTES)
        return limit

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _call(self, operation: str, name: str, size: int | None = None) -> Call:
        return Call(self.description, self._place.bucket, operation, name, size, self._place.key)
