"""The way to one bucket of Google Cloud Storage: credentials, connections, and single requests.

Nothing is opened before the first request, since the library alone takes half a second to import. The library's
own retries are off: what may pass is tried again by `RetryingStore`, which knows the deadline.

    connection = GcsConnection("bucket", "prefix/", StoreOptions())
    with translated(connection.asked("stat", name)):
        connection.object_of(name).reload(**connection.call_options)
"""

import threading
import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from strongroom.errors import CredentialsMissing, StoreError, StoreLoginRefused
from strongroom.stores.data import Buffer
from strongroom.stores.gcs_errors import REMEDY, Asked, of_answer, translated
from strongroom.stores.options import StoreOptions

ENDPOINT = "https://storage.googleapis.com"
_SCOPES = ("https://www.googleapis.com/auth/devstorage.full_control",)
_STEP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is there once the first request was made."""

    client: Any
    session: Any


class Body:
    """Some buffers as the body of a request, sent in their order without being joined. Can be sent again."""

    def __init__(self, *parts: Buffer) -> None:
        self._parts = [memoryview(part) for part in parts]

    def __len__(self) -> int:
        return sum(part.nbytes for part in self._parts)

    def __iter__(self) -> Iterator[memoryview]:
        for part in self._parts:
            for start in range(0, part.nbytes, _STEP_BYTES):
                yield part[start : start + _STEP_BYTES]


class GcsConnection:
    """A bucket, the prefix that all names get, and how it is talked to. Thread-safe."""

    def __init__(self, bucket: str, prefix: str, options: StoreOptions) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.description = f"gs://{bucket}/{prefix}"
        self._options = options
        self._endpoint = (options.endpoint or ENDPOINT).rstrip("/")
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    @property
    def call_options(self) -> dict[str, Any]:
        """Return what every call of the library is given: our timeouts, no retries."""
        return {"timeout": self._timeout, "retry": None}

    @property
    def _timeout(self) -> tuple[float, float]:
        return self._options.connect_timeout, self._options.read_timeout

    def asked(self, operation: str, name: str, size: int = 0) -> Asked:
        """Return the words for the errors of an operation."""
        return Asked(self.description, self.bucket, operation, name, size)

    @property
    def client(self) -> Any:
        """Return the library's client. Call it inside `translated`."""
        return self._open().client

    def object_of(self, name: str, generation: int | None = None) -> Any:
        """Return the library's object of a name, without asking the service."""
        return self.client.bucket(self.bucket).blob(self.prefix + name, generation=generation)

    def upload_url(self) -> str:
        """Return where uploads begin."""
        return f"{self._endpoint}/upload/storage/v1/b/{quote(self.bucket, safe='')}/o"

    def media_url(self, name: str) -> str:
        """Return where the bytes of an object are."""
        path = f"b/{quote(self.bucket, safe='')}/o/{quote(self.prefix + name, safe='')}"
        return f"{self._endpoint}/download/storage/v1/{path}"

    def request(
        self,
        asked: Asked,
        method: str,
        url: str,
        *,
        accepted: Collection[int],
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        stream: bool = False,
    ) -> Any:
        """Make one request and return the answer, if its status is accepted. Raises `StoreError`."""
        with translated(asked):
            answer = self._open().session.request(
                method,
                url,
                params=params,
                headers=dict(headers or {}),
                data=body,
                stream=stream,
                timeout=self._timeout,
                allow_redirects=False,
            )
            if answer.status_code not in accepted:
                raise refusal(asked, answer)
            return answer

    def close(self) -> None:
        """Close the connections. The next request opens new ones."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.session.close()

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._opened = self._make()
            return self._opened

    def _make(self) -> _Opened:
        from google.auth.transport.requests import AuthorizedSession
        from google.cloud.storage import Client
        from requests.adapters import HTTPAdapter

        credentials = self._credentials()
        session: Any = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=self._options.connections))
        if self._options.ca_file is not None:
            # At each request: a REQUESTS_CA_BUNDLE in the environment outweighs what a session has.
            session.request = partial(session.request, verify=str(self._options.ca_file))
        try:
            client = Client(
                # The project is asked for buckets that are made or listed, and we do neither.
                project=None,
                credentials=credentials,
                client_options={"api_endpoint": self._endpoint},
                _http=session,
            )
        except ValueError:
            session.close()
            reason = "they are for another cloud than googleapis.com"
            raise StoreLoginRefused(store=self.description, reason=reason) from None
        # Version 3.17 looks the bucket up in a thread of its own, with retries of two minutes, to describe it to
        # OpenTelemetry, whether that is in use or not.
        client._bucket_metadata_cache = None  # noqa: SLF001 (there is no public switch but the environment)
        # Whoever drops a store without closing it leaves no socket to the collector.
        weakref.finalize(self, session.close)
        return _Opened(client, session)

    def _credentials(self) -> Any:
        """Return credentials: of the file, of the environment, or none for a service that is not Google's."""
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        if self._options.credentials_file is not None:
            return self._from_file(self._options.credentials_file)
        host = urlsplit(self._endpoint).hostname or ""
        if not host.endswith("googleapis.com"):
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        return google.auth.default(scopes=_SCOPES)[0]

    def _from_file(self, path: Path) -> Any:
        from google.oauth2.service_account import Credentials

        try:
            return Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
                str(path), scopes=_SCOPES
            )
        except (OSError, ValueError, AttributeError, TypeError):
            # The text of these may quote the file; the last two come of JSON that is no object.
            remedy = f"The file {path} cannot be read or is no JSON key of a service account. {REMEDY}"
            raise CredentialsMissing(store=self.description, remedy=remedy) from None


def refusal(asked: Asked, answer: Any) -> StoreError:
    """Return the error that an answer stands for, and give its connection back."""
    from google.api_core.exceptions import from_http_response

    with answer:
        error = from_http_response(answer)  # type: ignore[no-untyped-call]
    return of_answer(error, asked)
