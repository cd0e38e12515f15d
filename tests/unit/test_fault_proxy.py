"""Facts about the fault proxy: each fault does what its name says, and nothing else happens."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from ssl import SSLContext, create_default_context

import pytest

from tests.servers.fault_proxy import FaultProxy, Rule
from tests.tls_server import issue, make_authority

BODY = bytes(range(256)) * 40


class Keeper(ThreadingHTTPServer):
    """Keeps what is put, and gives it back."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Keeping)
        self.kept: dict[str, bytes] = {}
        self.torn = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that the proxy resets."""


class Keeping(BaseHTTPRequestHandler):
    """Answers one connection of the keeper."""

    protocol_version = "HTTP/1.1"
    server: Keeper

    def do_PUT(self) -> None:
        """Keep a body that came whole."""
        wanted = int(self.headers["Content-Length"])
        data = b""
        with suppress(ConnectionError):
            data = self.rfile.read(wanted)
        if len(data) < wanted:
            self.server.torn.set()
            self.close_connection = True
            return
        self.server.kept[self.path] = data
        self._answer(200, b"kept")

    def do_GET(self) -> None:
        """Give back."""
        self._answer(200, self.server.kept[self.path])

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's spelling)
        """Say nothing."""


@contextmanager
def keeping() -> Iterator[Keeper]:
    """Run a keeper."""
    with Keeper() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    """Run one keeper for all tests here."""
    with keeping() as server:
        yield server


@pytest.fixture
def proxy(keeper: Keeper) -> Iterator[FaultProxy]:
    """Put a proxy before the keeper, which holds `/body`."""
    keeper.kept.clear()
    keeper.torn.clear()
    keeper.kept["/body"] = BODY
    with FaultProxy(("127.0.0.1", keeper.server_port)) as made:
        yield made


def ask(proxy: FaultProxy, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send one request through the proxy and read all of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_what_no_rule_names_goes_through(proxy: FaultProxy) -> None:
    """Requests of one connection are carried in order, and seen."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    for number in range(3):
        connection.request("PUT", f"/{number}", BODY)
        assert b"kept" == connection.getresponse().read()
        connection.request("GET", f"/{number}")
        assert BODY == connection.getresponse().read()
    connection.close()
    assert [("PUT", "/0"), ("GET", "/0")] == [(seen.method, seen.path) for seen in proxy.log][:2]
    assert all(seen.rule is None for seen in proxy.log)


def test_an_injected_status_never_reaches_the_server(proxy: FaultProxy, keeper: Keeper) -> None:
    """The answer carries status and code, the body is drained, and the server knows of nothing."""
    proxy.set_rules([{"method": "PUT", "path": "/x", "status": 503, "code": "SlowDown"}])
    status, body = ask(proxy, "PUT", "/x", BODY)
    assert (503, True, False) == (status, b"<Code>SlowDown</Code>" in body, "/x" in keeper.kept)
    assert (200, b"kept") == ask(proxy, "PUT", "/x", BODY)
    proxy.assert_all_hit()


def test_google_errors_are_json(proxy: FaultProxy) -> None:
    """With `as_json` the body is what a Google service sends."""
    proxy.set_rules([Rule(status=429, code="rateLimitExceeded", as_json=True, retry_after=2)])
    status, body = ask(proxy, "GET", "/body")
    assert (429, True) == (status, b'"reason": "rateLimitExceeded"' in body)


def test_a_torn_upload_is_not_kept(proxy: FaultProxy, keeper: Keeper) -> None:
    """Both sides see a reset after some of the body."""
    proxy.set_rules([Rule(method="PUT", reset_request_after=1000)])
    with pytest.raises(ConnectionError):
        ask(proxy, "PUT", "/x", BODY)
    assert keeper.torn.wait(10)
    assert "/x" not in keeper.kept


def test_a_lost_acknowledgement_is_of_something_done(proxy: FaultProxy, keeper: Keeper) -> None:
    """The client sees a reset, the server has done it."""
    proxy.set_rules([Rule(method="PUT", drop_response=True)])
    with pytest.raises(ConnectionError):
        ask(proxy, "PUT", "/x", BODY)
    assert BODY == keeper.kept["/x"]


def test_a_download_is_reset_or_ends_early(proxy: FaultProxy) -> None:
    """A reset is an error of the connection, an orderly end a body that is too short."""
    proxy.set_rules([Rule(reset_response_after=1000), Rule(truncate_response_after=1000)])
    with pytest.raises(ConnectionError):
        ask(proxy, "GET", "/body")
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(proxy, "GET", "/body")
    assert BODY[:1000] == caught.value.partial
    proxy.assert_all_hit()


def test_one_bit_is_flipped(proxy: FaultProxy, keeper: Keeper) -> None:
    """In either direction exactly the byte named is changed."""
    proxy.set_rules([Rule(method="GET", corrupt_response_at=7), Rule(method="PUT", corrupt_request_at=9)])
    assert BODY[:7] + bytes([BODY[7] ^ 1]) + BODY[8:] == ask(proxy, "GET", "/body")[1]
    ask(proxy, "PUT", "/x", BODY)
    assert BODY[:9] + bytes([BODY[9] ^ 1]) + BODY[10:] == keeper.kept["/x"]


def test_slow_networks_are_slow(proxy: FaultProxy) -> None:
    """Latency, a stall and a limit of bytes a second each take the time that they say."""
    faults = [
        Rule(latency=0.2),
        Rule(stall_response_after=10, stall_seconds=0.2),
        Rule(bytes_per_second=40_000),
    ]
    proxy.set_rules(faults)
    for _ in faults:
        began = time.monotonic()
        assert (200, BODY) == ask(proxy, "GET", "/body")
        assert time.monotonic() - began > 0.15
    proxy.assert_all_hit()


def test_rules_count(proxy: FaultProxy) -> None:
    """A rule skips some requests and is applied a number of times; a negative number means always."""
    proxy.set_rules(
        [Rule(path="/body", skip=1, times=2, status=500), Rule(path="/body", skip=1, times=-1, status=502)]
    )
    assert [200, 500, 500, 502, 502] == [ask(proxy, "GET", "/body")[0] for _ in range(5)]


def test_chance_is_repeatable(proxy: FaultProxy) -> None:
    """The same seed hurts the same requests."""
    runs = []
    for _ in range(2):
        proxy.set_rules([Rule(probability=0.5, seed=4, times=-1, status=500)])
        runs.append([ask(proxy, "GET", "/body")[0] for _ in range(12)])
    assert runs[0] == runs[1]
    assert {200, 500} == set(runs[0])


def test_a_fault_that_never_happened_is_named(proxy: FaultProxy) -> None:
    """A test with a rule that fits nothing fails."""
    proxy.set_rules([Rule(path="/nowhere", status=500)])
    ask(proxy, "GET", "/body")
    with pytest.raises(AssertionError, match="/nowhere"):
        proxy.assert_all_hit()


def test_it_speaks_tls(keeper: Keeper, tmp_path: Path) -> None:
    """Clients see the certificate that it was given, and faults work there too."""
    keeper.kept["/body"] = BODY
    authority = make_authority("fault proxy")
    context = create_default_context(cafile=authority.write(tmp_path / "authority.crt"))
    pair = issue(authority, ["127.0.0.1"], tmp_path, "proxy")
    with FaultProxy(("127.0.0.1", keeper.server_port), tls=pair) as proxy:
        assert proxy.url == f"https://127.0.0.1:{proxy.port}"
        proxy.set_rules([Rule(skip=1, truncate_response_after=5)])
        assert [len(BODY), 5] == [_length_over_tls(proxy.port, context) for _ in range(2)]


def _length_over_tls(port: int, context: SSLContext) -> int:
    """Return how much of the body comes."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        connection.request("GET", "/body")
        return len(connection.getresponse().read())
    except http.client.IncompleteRead as error:
        return len(error.partial)
    finally:
        connection.close()


def test_it_stops_while_a_client_waits(keeper: Keeper) -> None:
    """A stalled transfer does not hold it up."""
    keeper.kept["/body"] = BODY
    began = time.monotonic()
    with FaultProxy(("127.0.0.1", keeper.server_port)) as proxy:
        proxy.set_rules([Rule(stall_response_after=10)])
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        connection.request("GET", "/body")
        assert BODY[:10] == connection.getresponse().read(10)
    connection.close()
    assert time.monotonic() - began < 8
