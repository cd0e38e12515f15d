"""A Supabase Storage server of our own, on loopback: a stand-in, and not the service.

It was written from behaviour of the genuine service that was tried, and from the source of the service as it was
published until November 2026, where that could not be tried: the order of checks in an upload (the row is inserted
and taken back before the bytes, and inserted again after them), moves under the unique constraint, errors with HTTP
400 and the true status in the body, plain text with the true status for resumable uploads, lists in bytewise order, a
missing bucket whose list is empty, keys that are unquoted and `a//b` that becomes `a/b`, ranges that are heeded and
`If-Match` that is not.

What it cannot show: the database and the object store below the service, its content network, its gateway's limits,
how long its locks are waited for, and what of this a later version does otherwise.

    with SupabaseStorage(folder) as server:
        server.project.buckets["backups"] = Bucket("backups")
        … server.url, SERVICE_KEY …
"""

import base64
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.servers.supabase_storage_project import (
    LIST_V2_CAP,
    Bucket,
    Project,
    Refused,
    Stored,
    no_key,
    too_large,
)
from tests.servers.supabase_storage_uploads import Uploads

__all__ = ["ANON_KEY", "SERVICE_KEY", "Bucket", "Project", "Refused", "SupabaseStorage"]

_STEP_BYTES = 64 << 10
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def _key_of(role: str) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": "supabase", "ref": "test", "role": role})
    coded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*coded, f"signature-of-{role}-that-must-not-leak"))


SERVICE_KEY = _key_of("service_role")
ANON_KEY = _key_of("anon")
OTHER_KEY = _key_of("authenticated")
"""A key that the gateway lets through and that no policy allows anything."""


@dataclass
class Exchange:
    """One request and its answer, without the words of the library that carries it."""

    carrier: "_Carrier"
    verb: str
    path: str
    headers: dict[str, str]
    is_service: bool
    left: int
    is_answered: bool = False

    @property
    def may_write(self) -> bool:
        """Tell whether the key stands above the policies on rows."""
        return self.is_service

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes; less than was announced if the client goes away."""
        while self.left:
            try:
                data = self.carrier.rfile.read1(min(self.left, _STEP_BYTES))
            except OSError:
                return
            if not data:
                return
            self.left -= len(data)
            yield data

    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.pieces())

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send an answer that fits into memory."""
        self.start(status, headers, len(body))
        if self.verb != "HEAD":
            self.carrier.wfile.write(body)

    def answer_json(self, status: int, value: object) -> None:
        """Send an answer of the service's usual kind."""
        self.answer(status, json.dumps(value).encode(), {"content-type": "application/json"})

    def start(self, status: int, headers: dict[str, str], length: int) -> None:
        """Send the head of an answer, once the body of the request is out of the way."""
        for _ in self.pieces():
            pass
        self.is_answered = True
        self.carrier.send_response(status)
        for name, value in headers.items():
            self.carrier.send_header(name, value)
        if status != 204:
            self.carrier.send_header("content-length", str(length))
        self.carrier.end_headers()

    def hang_up(self) -> None:
        """Close without an answer."""
        self.is_answered = True
        self.carrier.close_connection = True


class SupabaseStorage:
    """The server, from `__enter__` to `__exit__`. `project` is what it serves; tests change it as they like."""

    def __init__(self, folder: Path, **project: Any) -> None:
        self.project = Project(folder, **project)
        self.uploads = Uploads(self.project)
        self.requests: list[tuple[str, str]] = []
        self._server = _Listener(("127.0.0.1", 0), _Carrier)
        self._server.storage = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def address(self) -> tuple[str, int]:
        """Say where it listens."""
        return "127.0.0.1", self._server.server_address[1]

    @property
    def url(self) -> str:
        """Return the project's URL."""
        return f"http://127.0.0.1:{self.address[1]}"

    def serve(self, exchange: Exchange) -> None:
        """Answer one request: the gateway first, then the service."""
        self.requests.append((exchange.verb, exchange.path))
        if exchange.headers.get("apikey") not in {SERVICE_KEY, ANON_KEY, OTHER_KEY}:
            # The gateway's own answer; it has no `error` and no `statusCode`.
            exchange.answer_json(401, {"message": "Invalid API key", "hint": "Double check your API key."})
            return
        if exchange.headers.get("authorization") != f"Bearer {exchange.headers['apikey']}":
            exchange.answer_json(
                400, Refused(403, "AccessDenied", "Unauthorized", "Invalid Compact JWS").body()
            )
            return
        try:
            self._route(exchange)
        except Refused as refused:
            exchange.answer_json(refused.http_status, refused.body())

    def _route(self, exchange: Exchange) -> None:
        path = urlsplit(exchange.path).path.removeprefix("/storage/v1/")
        if path.startswith("upload/resumable"):
            self.uploads.answer(exchange, path.removeprefix("upload/resumable").strip("/"))
            return
        for verb, pattern, serve in self._routes():
            match = re.fullmatch(pattern, path)
            if verb == exchange.verb and match:
                serve(exchange, *(re.sub("/{2,}", "/", unquote(part)) for part in match.groups()))
                return
        exchange.answer_json(404, {"message": f"Route {exchange.verb}:{path} not found", "statusCode": "404"})

    def _routes(self) -> tuple[tuple[str, str, Callable[..., None]], ...]:
        return (
            ("GET", r"bucket/([^/]+)", self._bucket),
            ("POST", r"object/move", self._move),
            ("POST", r"object/list/([^/]+)", self._list_v1),
            ("POST", r"object/list-v2/([^/]+)", self._list_v2),
            ("GET", r"object/info/(?:authenticated/)?([^/]+)/(.+)", self._info),
            ("GET", r"object/(?:authenticated/)?([^/]+)/(.+)", self._download),
            ("HEAD", r"object/(?:authenticated/)?([^/]+)/(.+)", self._head),
            ("POST", r"object/([^/]+)/(.+)", self._upload),
            ("DELETE", r"object/([^/]+)", self._remove),
        )

    # ------------------------------------------------------------ routes

    def _bucket(self, exchange: Exchange, name: str) -> None:
        bucket = self.project.bucket(name if exchange.is_service else "")
        moment = "2026-11-01T00:00:00.000Z"
        exchange.answer_json(
            200,
            {
                "id": name,
                "name": name,
                "owner": "",
                "public": False,
                "created_at": moment,
                "updated_at": moment,
                "file_size_limit": bucket.size_limit,
                "allowed_mime_types": bucket.mime_types,
            },
        )

    def _upload(self, exchange: Exchange, bucket_name: str, key: str) -> None:
        bucket = self.project.bucket(bucket_name)
        upsert = exchange.headers.get("x-upsert") == "true"
        mime, data = _file_of(exchange)
        self.project.check_upload(bucket, key, mime, upsert=upsert, may_write=exchange.may_write)
        if len(data) > self.project.limit_of(bucket):
            raise too_large()
        path = self.project.new_file()
        path.write_bytes(data)
        stored = self.project.complete_upload(bucket.name, key, path, mime, upsert=upsert)
        exchange.answer_json(200, {"Id": stored.row, "Key": f"{bucket.name}/{key}"})

    def _move(self, exchange: Exchange) -> None:
        asked = json.loads(exchange.body())
        if not exchange.is_service:
            raise no_key()
        self.project.move(asked["bucketId"], asked["sourceKey"], asked["destinationKey"])
        exchange.answer_json(200, {"message": "Successfully moved"})

    def _remove(self, exchange: Exchange, bucket: str) -> None:
        keys = json.loads(exchange.body())["prefixes"]
        # Policies on rows make rows invisible; they raise nothing.
        exchange.answer_json(200, self.project.remove(bucket, keys if exchange.is_service else []))

    def _info(self, exchange: Exchange, bucket: str, key: str) -> None:
        stored = self._visible(exchange, bucket, key)
        exchange.answer_json(
            200,
            {
                "id": stored.row,
                "name": key,
                "version": stored.path.name,
                "bucket_id": bucket,
                "size": stored.size,
                "content_type": stored.mime,
                "cache_control": "max-age=0",
                "etag": f'"{stored.path.name}"',
                "metadata": None,
                "created_at": _written(stored.created),
            },
        )

    def _head(self, exchange: Exchange, bucket: str, key: str) -> None:
        stored = self._visible(exchange, bucket, key)
        exchange.start(200, {"content-type": stored.mime}, stored.size)

    def _download(self, exchange: Exchange, bucket: str, key: str) -> None:
        stored = self._visible(exchange, bucket, key)
        start, end, status, headers = 0, stored.size, 200, {"content-type": stored.mime}
        if match := _RANGE.fullmatch(exchange.headers.get("range", "")):
            start = int(match[1])
            end = min(int(match[2]) + 1, stored.size) if match[2] else stored.size
            if start >= stored.size:
                raise Refused(416, "InvalidRange", "invalid_range", "invalid range provided")
            status, headers["content-range"] = 206, f"bytes {start}-{end - 1}/{stored.size}"
        exchange.start(status, headers, end - start)
        with stored.path.open("rb") as file:
            file.seek(start)
            while start < end and (data := file.read(min(_STEP_BYTES, end - start))):
                exchange.carrier.wfile.write(data)
                start += len(data)

    def _list_v2(self, exchange: Exchange, bucket: str) -> None:
        asked = json.loads(exchange.body())
        cursor = asked.get("cursor") or ""
        after = base64.b64decode(cursor).decode().removeprefix("l:") if cursor else ""
        limit = min(asked.get("limit") or LIST_V2_CAP, LIST_V2_CAP)
        keys, has_next = self.project.list_v2(bucket, asked.get("prefix") or "", limit, after)
        answer: dict[str, Any] = {"hasNext": has_next, "folders": [], "objects": []}
        for key in keys if exchange.is_service else []:
            # It may have been deleted since.
            if (stored := self.project.objects.get((bucket, key))) is not None:
                answer["objects"].append(_listed(key, stored))
        if has_next:
            answer["nextCursor"] = base64.b64encode(f"l:{keys[-1]}".encode()).decode()
        exchange.answer_json(200, answer)

    def _list_v1(self, exchange: Exchange, bucket: str) -> None:
        asked = json.loads(exchange.body())
        names = self.project.list_v1(
            bucket, asked.get("prefix", ""), asked.get("limit", 100), asked.get("offset", 0)
        )
        exchange.answer_json(200, [{"name": name.rstrip("/")} for name in names if exchange.is_service])

    def _visible(self, exchange: Exchange, bucket: str, key: str) -> Stored:
        self.project.bucket(bucket)
        if not exchange.is_service:
            raise no_key()
        return self.project.find(bucket, key)


def _listed(key: str, stored: Stored) -> dict[str, Any]:
    return {
        "id": stored.row,
        "name": key,
        "updated_at": _written(stored.updated),
        "created_at": _written(stored.created),
        "last_accessed_at": _written(stored.created),
        "metadata": {"size": stored.size, "contentLength": stored.size, "mimetype": stored.mime},
    }


def _written(moment: Any) -> str:
    return str(moment.isoformat(timespec="milliseconds")).replace("+00:00", "Z")


def _file_of(exchange: Exchange) -> tuple[str, bytes]:
    """Take the file out of a form, or the body as it is."""
    kind, body = exchange.headers.get("content-type", ""), exchange.body()
    if not kind.startswith("multipart/form-data"):
        return kind or "application/octet-stream", body
    boundary = b"--" + kind.partition("boundary=")[2].strip('"').encode()
    for part in body.split(boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b"filename=" in head:
            mime = re.search(rb"(?i)content-type: ([^\r\n]+)", head)
            return (mime[1].decode() if mime else "text/plain"), content.removesuffix(b"\r\n")
    raise Refused(400, "InvalidRequest", "InvalidRequest", "No content provided")


class _Listener(ThreadingHTTPServer):
    """One thread a connection; those end with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    storage: SupabaseStorage

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away: tests make them."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Carrier(BaseHTTPRequestHandler):
    """Hands requests over."""

    protocol_version = "HTTP/1.1"
    server: _Listener
    # Without it, each answer of two writes waits for the client's acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = 64 << 10

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        is_service = headers.get("apikey") == SERVICE_KEY
        left = int(headers.get("content-length", "0"))
        exchange = Exchange(self, self.command, self.path, headers, is_service, left)
        try:
            self.server.storage.serve(exchange)
            self.wfile.flush()
        except OSError:
            # The client has gone.
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815  (names that the library wants)
