"""The requests that a store makes of Supabase Storage: each one once, translated, and nothing of object names.

Most of them go through supabase-py. Three do not: its download holds a whole body in memory and cannot read a range;
it has no resumable uploads; and it asks for an object's facts where a wrong key is taken for a visitor, to whom the
bucket does not exist. Nothing is tried again here. Example:

    service = Service(Place(url, bucket, key), StoreOptions(), "supabase://bucket at host")
    with service.download("a/b") as body:
        for piece in body.pieces: …
"""

import re
import secrets
import ssl
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from strongroom.errors import OptionUnfit, StoreFailed, TransferCut
from strongroom.stores.data import Data
from strongroom.stores.options import StoreOptions
from strongroom.stores.supabase_errors import Call, coded, refusal_of, translated
from strongroom.stores.supabase_upload import ResumableUpload

if TYPE_CHECKING:
    import httpx
    from storage3 import SyncStorageClient
    from storage3._sync.file_api import SyncBucketProxy

READ_BYTES = 1 << 20
"""How much of a download is handed on at a time."""

PAGE_OBJECTS = 1000
"""The most that the service lists at once, whatever it is asked for."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket of a project, and the key that opens it."""

    url: str
    bucket: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What the service says of one key."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that is being received: whether it is only the range asked for, and its pieces."""

    is_range: bool
    pieces: Iterator[bytes]


class Service:
    """One bucket of one project. Connects at the first request; may be used from several threads."""

    def __init__(self, place: Place, options: StoreOptions, store: str) -> None:
        self._place = place
        self._options = options
        self._store = store
        self._lock = Lock()
        self._http: httpx.Client | None = None
        self._storage: SyncStorageClient | None = None

    def close(self) -> None:
        """End all connections. The next request makes new ones."""
        with self._lock:
            http, self._http, self._storage = self._http, None, None
        if http is not None:
            http.close()

    # ------------------------------------------------------------ objects

    def upload(self, key: str, data: bytes, call: Call) -> None:
        """Send a small object at once; raises `ObjectConflict` if the key is taken."""
        options = {"content-type": "application/octet-stream", "x-upsert": "false", "cache-control": "0"}
        with translated(call):
            self._bucket().upload(key, data, options)  # type: ignore[arg-type]  # a TypedDict with all keys optional

    def upload_resumable(self, key: str, data: Data, sha256: str, call: Call) -> None:
        """Send a large object in pieces; raises `ObjectDamaged` before the last one if they are not the right ones."""
        endpoint = f"{self._base()}/upload/resumable"
        ResumableUpload(self._client(), endpoint, key, call).send(data, sha256)

    def move(self, source: str, destination: str, call: Call) -> None:
        """Give an object another key; raises `ObjectConflict` if that is taken.

        The database's unique constraint on bucket and name decides between several that want the same key.
        """
        with translated(call):
            self._bucket().move(source, destination)

    def remove(self, keys: list[str], call: Call) -> int:
        """Delete objects and return how many there were. Keys that are not there are no error."""
        with translated(call):
            return len(self._bucket().remove(keys))

    def facts(self, key: str, call: Call) -> Found:
        """Describe an object; raises `ObjectMissing`."""
        url = f"{self._base()}/object/info/authenticated/{self._path(key)}"
        with translated(call):
            response = self._client().get(url)
            response.raise_for_status()
            body = response.json()
            # `last_modified` is left out by some versions.
            return Found(key, int(body["size"]), datetime.fromisoformat(body["created_at"]).timestamp())

    @contextmanager
    def download(
        self, key: str, call: Call, start: int = 0, length: int | None = None
    ) -> Iterator[Body | None]:
        """Receive an object or a range of it; None if the range lies behind the end of the object.

        Raises `TransferCut` if fewer bytes come than were announced, at the end of the pieces.
        """
        url = f"{self._base()}/object/authenticated/{self._path(key)}"
        # Content networks before the service keep what was deleted and written anew for up to a minute.
        params = {"cacheNonce": secrets.token_hex(8)}
        headers = {"accept-encoding": "identity", "cache-control": "no-cache"}
        if start or length is not None:
            headers["range"] = f"bytes={start}-" + ("" if length is None else str(start + length - 1))
        with translated(call), self._client().stream("GET", url, params=params, headers=headers) as response:
            if response.status_code not in {200, 206}:
                response.read()
                self._raise_unless_behind(response, key, call, start, is_ranged="range" in headers)
                yield None
            else:
                yield Body(response.status_code == 206, self._received(response, call))

    def page(self, prefix: str, cursor: str | None, call: Call) -> tuple[list[Found], str | None]:
        """List up to 1,000 keys that start with `prefix`, and return the cursor of the next page, if there is one."""
        options: dict[str, Any] = {"prefix": prefix, "limit": PAGE_OBJECTS, "with_delimiter": False}
        if cursor:
            options["cursor"] = cursor
        with translated(call):
            answer = self._bucket().list_v2(options)  # type: ignore[arg-type]  # a TypedDict with all keys optional
            found = [
                Found(item.name, int((item.metadata or {})["size"]), item.created_at.timestamp())
                for item in answer.objects
            ]
        if answer.hasNext and not answer.nextCursor:
            raise self._failed(call, "it says that its list goes on, but not where")
        return found, answer.nextCursor if answer.hasNext else None

    def size_limit(self, call: Call) -> int | None:
        """Return the largest object that the bucket takes, if it has a limit of its own; `BucketMissing` if none."""
        with translated(call):
            return self._library().get_bucket(self._place.bucket).file_size_limit

    # ------------------------------------------------------------ answers

    def _raise_unless_behind(
        self, response: "httpx.Response", key: str, call: Call, start: int, *, is_ranged: bool
    ) -> None:
        """Tell a range behind the end, for which there are several answers, from a refusal."""
        refusal = refusal_of(response)
        may_be_behind = refusal.status in {416, 500} or refusal.code in {"InvalidRange", "invalid_range"}
        if is_ranged and may_be_behind and start >= self.facts(key, call).size:
            return
        raise coded(call, refusal)

    def _received(self, response: "httpx.Response", call: Call) -> Iterator[bytes]:
        """Yield the pieces of a body, and see that it is whole."""
        announced = _announced(response)
        came = 0
        for piece in response.iter_raw(READ_BYTES):
            came += len(piece)
            yield piece
        if announced is not None and came != announced:
            reason = f"{came} of {announced} bytes came"
            raise TransferCut(store=call.store, operation=call.operation, name=call.name, reason=reason)

    def _failed(self, call: Call, reason: str) -> StoreFailed:
        return StoreFailed(store=call.store, operation=call.operation, name=call.name, reason=reason)

    # ------------------------------------------------------------ connections

    def _base(self) -> str:
        return f"{self._place.url}/storage/v1"

    def _path(self, key: str) -> str:
        return f"{quote(self._place.bucket, safe='')}/{quote(key)}"

    def _client(self) -> "httpx.Client":
        with self._lock:
            return self._connected()

    def _library(self) -> "SyncStorageClient":
        with self._lock:
            if self._storage is None:
                self._storage = self._opened(self._connected())
            return self._storage

    def _bucket(self) -> "SyncBucketProxy":
        return self._library().from_(self._place.bucket)

    def _connected(self) -> "httpx.Client":
        if self._http is None:
            import httpx

            self._http = httpx.Client(
                headers={"apikey": self._place.key, "authorization": f"Bearer {self._place.key}"},
                timeout=httpx.Timeout(self._options.read_timeout, connect=self._options.connect_timeout),
                limits=httpx.Limits(max_connections=self._options.connections),
                verify=self._authorities(),
                # A redirect would take the key to another host.
                follow_redirects=False,
            )
            # Whoever opens a store by URL cannot close it: the protocol has no such call.
            weakref.finalize(self, self._http.close)
        return self._http

    def _opened(self, http: "httpx.Client") -> "SyncStorageClient":
        from supabase import ClientOptions, create_client

        options = ClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        return create_client(self._place.url, self._place.key, options).storage

    def _authorities(self) -> ssl.SSLContext | bool:
        if self._options.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=str(self._options.ca_file))
        except (OSError, ssl.SSLError):
            reason = "it is no file of certificates that can be read"
            raise OptionUnfit(option="ca_file", scheme="supabase", reason=reason) from None


def _announced(response: "httpx.Response") -> int | None:
    """Return the number of bytes that the headers promise, if they do."""
    if match := _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "")):
        return int(match[2]) - int(match[1]) + 1
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None
