"""An emulator of Google Cloud Storage, for tests: strict, in memory, in a thread of the test process.

It is our own, written from the documented behaviour of the JSON API: no real Google Cloud Storage can run here,
and the public emulators ignore preconditions. What passes here is therefore proven against our reading of the
documentation and not against the service; only a run against a real bucket shows more.

It has buckets, generations, preconditions, CRC32C and MD5 of uploads, uploads in one request and in sessions
(which keep what arrived in multiples of 256 KiB), versions, retention, holds, listing in pages, ranges, and a token
endpoint for service accounts. It has no XML API, no batch requests, no soft delete, no permissions.

    with FakeGcs() as gcs:
        gcs.make_bucket("bucket", versioning=True)
        open_gcs("gs://bucket/prefix", StoreOptions(endpoint=gcs.url))
"""

import base64
import json
import re
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.servers.gcs_buckets import Bucket, Generation, Refused, check_conditions

_UNIT = 256 << 10
_READ_BYTES = 256 << 10
_PAGE = 1000


@dataclass(slots=True)
class _Session:
    """An upload that goes on over several requests."""

    name: str
    facts: dict[str, Any]
    query: Mapping[str, str]
    promised: dict[str, str | None]
    data: bytearray = field(default_factory=bytearray)
    done: Generation | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class FakeGcs:
    """The emulator, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.sessions: dict[str, _Session] = {}
        self.tokens: set[str] = set()
        self.accounts: set[str] = set()
        self.wants_tokens = False
        """Whether requests without a token of the token endpoint are refused."""
        self.scheme = "http"
        """Of the addresses that it gives out: `https` behind a proxy with a certificate."""
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake gcs", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        return "127.0.0.1", self._server.server_port

    @property
    def url(self) -> str:
        """Return the endpoint for clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def make_bucket(self, name: str, **properties: Any) -> Bucket:
        """Make a bucket; the properties are those of `Bucket`."""
        self.buckets[name] = Bucket(name, **properties)
        return self.buckets[name]

    def forget_sessions(self) -> None:
        """Lose all unfinished uploads."""
        self.sessions.clear()

    def write_key(self, path: Path, *, known: bool = True) -> Path:
        """Write the key file of a new service account; one that is not `known` is given no token."""
        email = f"worker-{secrets.token_hex(4)}@example.iam.gserviceaccount.com"
        if known:
            self.accounts.add(email)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        facts = {
            "type": "service_account",
            "project_id": "example",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": email,
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(facts), encoding="utf-8")
        return path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A thread that waits for the next request of a client that is gone must not hold up the end.
    block_on_close = False
    request_queue_size = 256

    def __init__(self, fake: FakeGcs) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.fake = fake

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away, which is what many tests make them do."""


class _Connection(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 20
    server: _Server

    def answer(self) -> None:
        """Answer any request: the routes know the methods."""
        parts = urlsplit(self.path)
        self.route = parts.path
        self.query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body, is_whole = self._read_body()
        if not is_whole and "upload_id" not in self.query:
            # A request that was torn is never carried out.
            self.close_connection = True
            return
        try:
            self._check_request()
            self._answer(body, is_whole=is_whole)
        except Refused as refused:
            entry = {"message": refused.message, "domain": "global", "reason": refused.reason}
            self._send(
                refused.status,
                {"error": {"code": refused.status, "message": refused.message, "errors": [entry]}},
            )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's spelling)
        """Say nothing."""

    # ------------------------------------------------------------ in and out

    def _read_body(self) -> tuple[bytes, bool]:
        """Return the body, and whether all of it came. What came before a reset is kept."""
        length = int(self.headers.get("Content-Length") or 0)
        body = bytearray()
        with suppress(ConnectionError):
            while len(body) < length:
                data = self.rfile.read1(min(_READ_BYTES, length - len(body)))
                if not data:
                    break
                body += data
        return bytes(body), len(body) == length

    def _send(
        self,
        status: int,
        document: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | memoryview | None = None,
    ) -> None:
        body = json.dumps(document).encode() if raw is None and document is not None else raw or b""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header(
                "Content-Type", "application/json" if raw is None else "application/octet-stream"
            )
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)
        self.wfile.flush()

    def _check_request(self) -> None:
        """Refuse bodies of unknown length, and callers without a token where one is wanted."""
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise Refused(411, "Length Required", "required")
        fake = self.server.fake
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if fake.wants_tokens and self.route != "/token" and token not in fake.tokens:
            raise Refused(401, "Anonymous caller does not have storage access.", "required")

    # ------------------------------------------------------------ routes

    def _answer(self, body: bytes, *, is_whole: bool) -> None:
        if self.route == "/token" and self.command == "POST":
            self._give_token(body)
            return
        match = re.fullmatch(r"/(?:upload/|download/)?storage/v1/b/([^/]+)(/o)?(?:/([^/]+))?", self.route)
        if match is None:
            raise Refused(404, "Not Found", "notFound")
        bucket = self.server.fake.buckets.get(unquote(match[1]))
        if bucket is None:
            raise Refused(404, "The specified bucket does not exist.", "notFound")
        if self.route.startswith("/upload/"):
            self._upload(bucket, body, is_whole=is_whole)
        elif match[3]:
            self._answer_for_object(bucket, unquote(match[3]), body)
        elif match[2] and self.command == "GET":
            self._list(bucket)
        elif self.command == "GET":
            self._send(200, bucket.resource())
        else:
            raise Refused(405, "Method Not Allowed", "methodNotAllowed")

    def _answer_for_object(self, bucket: Bucket, name: str, body: bytes) -> None:
        match self.command:
            case "GET" if self.query.get("alt") == "media":
                self._send_media(bucket.find(name, self.query))
            case "GET":
                self._send(200, bucket.find(name, self.query).resource())
            case "PATCH":
                self._send(200, bucket.change(name, json.loads(body), self.query).resource())
            case "DELETE":
                bucket.delete(name, self.query)
                self._send(204)
            case _:
                raise Refused(405, "Method Not Allowed", "methodNotAllowed")

    def _list(self, bucket: Bucket) -> None:
        limit = min(int(self.query.get("maxResults", _PAGE)), _PAGE)
        after = base64.urlsafe_b64decode(self.query.get("pageToken", "")).decode()
        versions = self.query.get("versions", "").lower() == "true"
        found, last = bucket.listed(self.query.get("prefix", ""), after, limit, versions=versions)
        page: dict[str, Any] = {"kind": "storage#objects", "items": [each.resource() for each in found]}
        if last:
            page["nextPageToken"] = base64.urlsafe_b64encode(last.encode()).decode()
        self._send(200, page)

    def _send_media(self, found: Generation) -> None:
        size = len(found.data)
        headers = {
            "X-Goog-Generation": str(found.number),
            "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
            "Accept-Ranges": "bytes",
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(200, raw=found.data, headers=headers)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
        if first >= size:
            raise Refused(416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable")
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._send(206, raw=memoryview(found.data)[first : last + 1], headers=headers)

    def _give_token(self, body: bytes) -> None:
        """Give a token to an account that is known by its name; signatures are not checked."""
        assertion = parse_qs(body.decode()).get("assertion", [""])[0]
        claims = assertion.split(".")[1] if assertion.count(".") == 2 else "e30"
        issuer = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("iss")
        if issuer not in self.server.fake.accounts:
            self._send(
                400, {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
            )
            return
        token = secrets.token_hex(16)
        self.server.fake.tokens.add(token)
        self._send(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    # ------------------------------------------------------------ uploads

    def _upload(self, bucket: Bucket, body: bytes, *, is_whole: bool) -> None:
        if "upload_id" in self.query:
            session = self.server.fake.sessions.get(self.query["upload_id"])
            if session is None:
                raise Refused(404, "No such upload session", "notFound")
            with session.lock:
                self._continue(bucket, session, body, is_whole=is_whole)
        elif self.query.get("uploadType") == "resumable":
            self._begin(bucket, json.loads(body or b"{}"))
        elif self.query.get("uploadType") == "multipart":
            facts, data = _take_apart(self.headers["Content-Type"], body)
            name = self.query.get("name") or facts.get("name", "")
            self._send(200, bucket.store(name, data, facts, self.query, self._promised(facts)).resource())
        else:
            raise Refused(400, "Uploads are multipart or resumable here.")

    def _promised(self, facts: Mapping[str, Any]) -> dict[str, str | None]:
        """Return the checksums that the writer says the data has."""
        promised = {"crc32c": facts.get("crc32c"), "md5": facts.get("md5Hash")}
        for part in self.headers.get("X-Goog-Hash", "").split(","):
            kind, _, value = part.strip().partition("=")
            if value:
                promised[kind] = value
        return promised

    def _begin(self, bucket: Bucket, facts: dict[str, Any]) -> None:
        name = self.query.get("name") or facts.get("name", "")
        check_conditions(bucket.living(name), self.query)
        number = secrets.token_hex(16)
        session = _Session(name, facts, dict(self.query), self._promised(facts))
        self.server.fake.sessions[number] = session
        # As the client named us, which may be a proxy that speaks TLS.
        base = f"{self.server.fake.scheme}://{self.headers['Host']}{self.route}"
        self._send(200, {}, headers={"Location": f"{base}?uploadType=resumable&upload_id={number}"})

    def _continue(self, bucket: Bucket, session: _Session, body: bytes, *, is_whole: bool) -> None:
        if self.command == "DELETE":
            self.server.fake.sessions.pop(self.query["upload_id"], None)
            self._send(499)
            return
        if session.done:
            self._send(200, session.done.resource())
            return
        content = re.fullmatch(
            r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", "bytes */*")
        )
        if content is None:
            raise Refused(400, "Failed to parse Content-Range header.")
        if content[1] is not None:
            if int(content[1]) > len(session.data):
                raise Refused(503, "Invalid request. There were bytes missing before it.", "backendError")
            session.data += body[len(session.data) - int(content[1]) :]
        session.promised.update({kind: value for kind, value in self._promised({}).items() if value})
        if is_whole and content[3] == str(len(session.data)):
            data = bytes(session.data)
            session.done = bucket.store(session.name, data, session.facts, session.query, session.promised)
            session.data.clear()
            self._send(200, session.done.resource())
            return
        del session.data[len(session.data) // _UNIT * _UNIT :]
        if is_whole:
            reached = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            self._send(308, headers=reached)
        else:
            self.close_connection = True


def _take_apart(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return description and data of a multipart upload."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if boundary is None:
        raise Refused(400, "Missing multipart boundary.")
    mark = b"--" + boundary[1].encode()
    start = body.index(b"\r\n\r\n", body.index(mark)) + 4
    end = body.index(b"\r\n" + mark, start)
    data_start = body.index(b"\r\n\r\n", end + len(mark) + 2) + 4
    return json.loads(body[start:end]), body[data_start : body.rindex(b"\r\n" + mark + b"--")]
