"""A reverse proxy that does to HTTP what networks and overloaded services do to it.

It runs in a thread of the test process and speaks HTTP/1.1, with TLS towards the client if it is given a
certificate. Rules say which requests are hurt, and how; a request that no rule names goes through unharmed.

    with FaultProxy(("127.0.0.1", port)) as proxy:
        proxy.set_rules([Rule(method="PUT", path="/bucket/", status=503, retry_after=1)])
        client_of(proxy.url).put(…)
        proxy.assert_all_hit()
"""

import asyncio
import json
import random
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_STEP_BYTES = 256 << 10
_LINE_LIMIT = 1 << 20
_BODILESS = {204, 304}


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests are hurt, and how. The first rule that fits is applied, alone; its faults may be combined."""

    method: str = ""
    """Regular expression for the whole method; empty: any."""
    path: str = ""
    """Regular expression, searched in path and query."""
    header: str = ""
    """Regular expression, searched in lines of the form `name: value` with small names."""
    skip: int = 0
    """How many requests that fit are let through first."""
    times: int = 1
    """How often the rule is applied; negative: always."""
    probability: float = 1.0
    seed: int = 0
    """Where the chances come from, so that a run can be repeated."""

    status: int | None = None
    """Answer with this status, without asking the server."""
    code: str = "SlowDown"
    """The error code in the body of that answer."""
    as_json: bool = False
    """Whether that body is Google's JSON; else it is S3's XML."""
    retry_after: float | None = None
    early: bool = False
    """Answer before the body of the request was read, and close."""

    reset_request_after: int | None = None
    """Pass on so many bytes of the request's body, then reset both connections: a torn upload."""
    drop_response: bool = False
    """Let the server carry it out, then reset the client's connection: a lost acknowledgement."""
    reset_response_after: int | None = None
    truncate_response_after: int | None = None
    """Close in an orderly way after so many bytes of the body, whatever length was announced."""
    corrupt_request_at: int | None = None
    """Flip a bit of this byte of the body."""
    corrupt_response_at: int | None = None
    stall_response_after: int | None = None
    stall_seconds: float = 3600.0
    latency: float = 0.0
    """Seconds to wait before anything is done."""
    bytes_per_second: int | None = None
    """The limit for each direction of this request."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came by, and the rule that it fell under."""

    method: str
    path: str
    headers: Mapping[str, str]
    rule: Rule | None


@dataclass(slots=True)
class _Counted:
    """A rule and what became of it."""

    rule: Rule
    fitting: int = 0
    hits: int = 0
    chance: random.Random = field(default_factory=random.Random)

    def applies(self, method: str, path: str, lines: str) -> bool:
        """Count a request, and tell whether it is hurt."""
        rule = self.rule
        if rule.method and not re.fullmatch(rule.method, method):
            return False
        if not re.search(rule.path, path) or not re.search(rule.header, lines, re.IGNORECASE):
            return False
        self.fitting += 1
        if self.fitting <= rule.skip or (0 <= rule.times <= self.hits):
            return False
        if rule.probability < 1.0 and self.chance.random() >= rule.probability:
            return False
        self.hits += 1
        return True


class FaultProxy:
    """Stands between a client and the server at `upstream`, from `__enter__` to `__exit__`.

    `tls` is the certificate and the key that it shows to clients; the server is asked in plain HTTP.
    """

    def __init__(self, upstream: tuple[str, int], tls: tuple[Path, Path] | None = None) -> None:
        self._upstream = upstream
        self._tls = tls
        self._rules: list[_Counted] = []
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self._port: Future[int] = Future()
        self._stop: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._port.result(timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)
        if self._thread.is_alive():
            raise TimeoutError("the fault proxy does not stop")

    @property
    def port(self) -> int:
        """Say where it listens on 127.0.0.1."""
        return self._port.result(timeout=10)

    @property
    def url(self) -> str:
        """Return the address for clients, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> list[Seen]:
        """Return the requests that came by since the rules were set."""
        with self._lock:
            return list(self._seen)

    def set_rules(self, rules: Iterable[Rule | Mapping[str, Any]]) -> None:
        """Replace the rules, and forget what was seen. A mapping is turned into a `Rule`."""
        made = [rule if isinstance(rule, Rule) else Rule(**rule) for rule in rules]
        counted = [_Counted(rule, chance=random.Random(rule.seed)) for rule in made]
        with self._lock:
            self._rules = counted
            self._seen.clear()

    def assert_all_hit(self) -> None:
        """Fail if a rule was never applied: a test whose fault did not happen proves nothing."""
        with self._lock:
            idle = [counted.rule for counted in self._rules if not counted.hits]
        assert [] == idle, f"faults that were never hit: {idle}"

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._port.done():
                raise
            self._port.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context, limit=_LINE_LIMIT)
        self._port.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        connection = _Connection(self, _Side(reader, writer), self._upstream)
        try:
            await connection.carry()
        except asyncio.CancelledError:
            # The proxy stops. asyncio would log it if the task of a connection ended like this.
            return
        finally:
            self._connections.discard(task)

    def pick(self, head: "_Head") -> Rule | None:
        """Note a request, and return the rule that it falls under."""
        lines = "\n".join(f"{name}: {value}" for name, value in head.headers.items())
        with self._lock:
            applied = (counted.rule for counted in self._rules if counted.applies(*head.request, lines))
            rule = next(applied, None)
            self._seen.append(Seen(*head.request, head.headers, rule))
        return rule


# ---------------------------------------------------------------- one connection


class _Reset(Exception):
    """The connection is to end here, in an orderly way or not."""

    def __init__(self, *, orderly: bool) -> None:
        self.orderly = orderly


class _Side:
    """One of the two connections: towards the client, or towards the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        # What was drained has then left this process, and a reset takes nothing of it back.
        # (With 0 as the upper limit, asyncio's TLS never goes on.)
        writer.transport.set_write_buffer_limits(high=1, low=0)

    async def send(self, data: bytes | bytearray) -> None:
        """Write and wait until it is on its way."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End with a TCP reset."""
        connection: socket.socket | None = self.writer.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """End in an orderly way, if it has not ended."""
        self.writer.close()
        with suppress(OSError, TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self.writer.wait_closed(), 1)
        self.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class _Head:
    """The first lines of a request or of an answer, as they came and taken apart."""

    raw: bytes
    first: str
    headers: Mapping[str, str]

    @property
    def request(self) -> tuple[str, str]:
        """Return method and path of a request."""
        method, path, _ = self.first.split(" ", 2)
        return method, path

    @property
    def status(self) -> int:
        """Return the status of an answer."""
        return int(self.first.split(" ")[1])

    @property
    def is_last(self) -> bool:
        """Tell whether whoever sent this closes afterwards."""
        return self.headers.get("connection", "").lower() == "close"

    @property
    def has_length(self) -> bool:
        """Tell whether the body's end can be told without the end of the connection."""
        return "content-length" in self.headers or self.is_chunked

    @property
    def is_chunked(self) -> bool:
        """Tell whether the body comes in pieces that announce their size."""
        return self.headers.get("transfer-encoding", "").lower().endswith("chunked")


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return _Head(raw, first, {name.strip().lower(): value.strip() for name, _, value in pairs})


class _Connection:
    """Carries the requests of one client's connection, one after the other."""

    def __init__(self, proxy: FaultProxy, client: _Side, upstream: tuple[str, int]) -> None:
        self._proxy = proxy
        self._client = client
        self._upstream = upstream
        self._server: _Side | None = None

    async def carry(self) -> None:
        """Carry requests until one side has enough."""
        try:
            while (head := await _read_head(self._client.reader)) is not None:
                if not await self._carry_one(head, self._proxy.pick(head) or Rule()):
                    break
        except _Reset as reset:
            if not reset.orderly:
                self._client.reset()
            if self._server:
                self._server.reset()
        except (OSError, asyncio.IncompleteReadError):
            self._client.reset()
        finally:
            for side in (self._client, self._server):
                if side is not None:
                    await side.close()

    async def _carry_one(self, head: _Head, rule: Rule) -> bool:
        """Carry one request; tell whether another one may follow."""
        if rule.latency:
            await asyncio.sleep(rule.latency)
        if rule.status is not None:
            return await self._answer(head, rule, rule.status)
        server = await self._server_side()
        await server.send(head.raw)
        answer = await self._read_answer(server) if _expects_continue(head) else None
        if answer is not None and answer.status == 100:
            await self._client.send(answer.raw)
            answer = None
        is_whole = answer is None
        if answer is None:
            is_whole = await self._send_body(head, server, rule)
            answer = await self._read_answer(server)
            while answer.status == 100:
                answer = await self._read_answer(server)
        await self._return(head, answer, server, rule)
        ends = head.is_last or answer.is_last or not (_is_bodiless(head, answer) or answer.has_length)
        return is_whole and not ends

    async def _send_body(self, head: _Head, server: _Side, rule: Rule) -> bool:
        """Pass the request's body on; return False if the server did not want all of it."""
        flow = _Flow(rule, rule.reset_request_after, None, rule.corrupt_request_at, None)
        try:
            await flow.copy(self._client.reader, server, head)
        except ConnectionError:
            # It may have answered before the end, as services do that refuse a large body.
            return False
        return True

    async def _return(self, head: _Head, answer: _Head, server: _Side, rule: Rule) -> None:
        """Pass the answer on to the client."""
        is_bodiless = _is_bodiless(head, answer)
        if rule.drop_response:
            if not is_bodiless:
                await _Flow(Rule()).copy(server.reader, None, answer, until_end=True)
            raise _Reset(orderly=False)
        await self._client.send(answer.raw)
        if is_bodiless:
            return
        flow = _Flow(
            rule,
            rule.reset_response_after,
            rule.truncate_response_after,
            rule.corrupt_response_at,
            rule.stall_response_after,
        )
        await flow.copy(server.reader, self._client, answer, until_end=True)

    async def _answer(self, head: _Head, rule: Rule, status: int) -> bool:
        """Answer in the server's place."""
        if not rule.early:
            if _expects_continue(head):
                await self._client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await _Flow(Rule()).copy(self._client.reader, None, head)
        body = _error_body(rule, status)
        lines = [
            f"HTTP/1.1 {status} Injected",
            f"Content-Type: application/{'json' if rule.as_json else 'xml'}",
            f"Content-Length: {len(body)}",
            f"Connection: {'close' if rule.early else 'keep-alive'}",
        ]
        if rule.retry_after is not None:
            lines.append(f"Retry-After: {rule.retry_after:g}")
        await self._client.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        if head.request[0] != "HEAD":
            await self._client.send(body)
        return not rule.early and not head.is_last

    async def _server_side(self) -> _Side:
        if self._server is None or self._server.writer.is_closing() or self._server.reader.at_eof():
            if self._server is not None:
                await self._server.close()
            self._server = _Side(*await asyncio.open_connection(*self._upstream, limit=_LINE_LIMIT))
        return self._server

    async def _read_answer(self, server: _Side) -> _Head:
        answer = await _read_head(server.reader)
        if answer is None:
            raise ConnectionError("the server went away")
        return answer


def _is_bodiless(head: _Head, answer: _Head) -> bool:
    return head.request[0] == "HEAD" or answer.status in _BODILESS


def _expects_continue(head: _Head) -> bool:
    return head.headers.get("expect", "").lower() == "100-continue"


def _error_body(rule: Rule, status: int) -> bytes:
    if rule.as_json:
        reasons = [{"reason": rule.code, "message": "injected", "domain": "global"}]
        return json.dumps({"error": {"code": status, "message": "injected", "errors": reasons}}).encode()
    text = f"<Error><Code>{rule.code}</Code><Message>injected</Message></Error>"
    return f'<?xml version="1.0"?>{text}'.encode()


# ---------------------------------------------------------------- bodies


class _Flow:
    """Copies one body and hurts it on the way. Counts bytes of content, not those that frame it."""

    def __init__(
        self,
        rule: Rule,
        reset_after: int | None = None,
        close_after: int | None = None,
        corrupt_at: int | None = None,
        stall_after: int | None = None,
    ) -> None:
        cuts = [(reset_after, False), (close_after, True)]
        self._cut = min(((after, orderly) for after, orderly in cuts if after is not None), default=None)
        self._corrupt_at = corrupt_at
        self._stall_after = stall_after
        self._rule = rule
        self._passed = 0
        self._began = time.monotonic()
        limit = rule.bytes_per_second
        self._step = min(_STEP_BYTES, limit // 10 + 1) if limit else _STEP_BYTES

    async def copy(
        self, reader: asyncio.StreamReader, side: _Side | None, head: _Head, *, until_end: bool = False
    ) -> None:
        """Copy the body that `head` announces to `side`, or to nowhere."""
        if head.is_chunked:
            await self._copy_chunks(reader, side)
        elif "content-length" in head.headers:
            await self._copy_bytes(reader, side, int(head.headers["content-length"]))
        elif until_end:
            while data := await reader.read(self._step):
                await self._pass(data, side)

    async def _copy_bytes(self, reader: asyncio.StreamReader, side: _Side | None, count: int) -> None:
        if not count:
            await self._pass(b"", side)
        while count:
            data = await reader.read(min(count, self._step))
            if not data:
                raise asyncio.IncompleteReadError(b"", count)
            count -= len(data)
            await self._pass(data, side)

    async def _copy_chunks(self, reader: asyncio.StreamReader, side: _Side | None) -> None:
        async def frame(line: bytes) -> bytes:
            if side is not None:
                await side.send(line)
            return line

        while size := int((await frame(await reader.readuntil(b"\r\n"))).split(b";")[0], 16):
            await self._copy_bytes(reader, side, size)
            await frame(await reader.readexactly(2))
        while await frame(await reader.readuntil(b"\r\n")) != b"\r\n":
            pass

    async def _pass(self, data: bytes, side: _Side | None) -> None:
        """Pass some bytes on, with whatever happens to them."""
        start, end = self._passed, self._passed + len(data)
        if self._corrupt_at is not None and start <= self._corrupt_at < end:
            flipped = bytearray(data)
            flipped[self._corrupt_at - start] ^= 1
            data = bytes(flipped)
        is_cut = self._cut is not None and end >= self._cut[0]
        if self._cut is not None and is_cut:
            data = data[: self._cut[0] - start]
        if self._stall_after is not None and end >= self._stall_after:
            await self._send(data[: self._stall_after - start], side)
            data = data[self._stall_after - start :]
            self._stall_after = None
            await asyncio.sleep(self._rule.stall_seconds)
        await self._send(data, side)
        if self._cut is not None and is_cut:
            raise _Reset(orderly=self._cut[1])
        if self._rule.bytes_per_second:
            due = self._passed / self._rule.bytes_per_second
            await asyncio.sleep(max(0.0, due - (time.monotonic() - self._began)))

    async def _send(self, data: bytes, side: _Side | None) -> None:
        self._passed += len(data)
        if side is not None and data:
            await side.send(data)
