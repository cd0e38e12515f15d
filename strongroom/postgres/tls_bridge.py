"""A bridge for programs built without TLS: a local Unix socket on one side, TLS to the server on the other.

It asks the server for TLS as libpq would, checks the certificate as the connection's `sslmode` says, takes
the one login mechanism that is bound to the TLS session out of the server's offer, and then passes bytes.
Passwords go through it (SCRAM); it neither keeps nor logs them. With `sslmode=prefer` it goes on without
TLS where the server has none, as libpq does. Every connection has a thread of its own; requests to cancel
pass too. The socket lies in a folder that only our user may enter. For example:

    with TlsBridge({"host": "db.example", "sslmode": "verify-full", "sslrootcert": "ca.pem"}) as bridge:
        run_pg_dump(bridge.conninfo)
"""

import contextlib
import shutil
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from strongroom.errors import (
    ChannelBindingImpossible,
    SourceUnavailable,
    StrongroomError,
    TlsNotOffered,
    TlsRefused,
)
from strongroom.postgres.socket_folders import new_socket_folder
from strongroom.postgres.tls_context import make_tls_context, tls_mode, translate_tls
from strongroom.postgres.tls_session import PlainChannel, Session, TlsChannel
from strongroom.postgres.wire import (
    GSS_REQUEST,
    TLS_REQUEST,
    fatal_message,
    request_code,
    tls_request,
)

_PORT = "5432"
_CONNECT_SECONDS = 30.0
_CLOSE_SECONDS = 5.0
_LONGEST_STARTUP = 10_000
# Options whose business is the address or the TLS session, both of which the bridge takes over.
_OURS = {"hostaddr", "channel_binding", "requirepeer", "connect_timeout"}
_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class TlsBridge:
    """The bridge of one connection string, open within its `with` block."""

    def __init__(self, conninfo: Mapping[str, str]) -> None:
        """Read the settings; raises what `make_tls_context` raises, and `ChannelBindingImpossible`."""
        if conninfo.get("channel_binding") == "require":
            raise ChannelBindingImpossible(program="a program")
        self._upstream = dict(conninfo)
        self._host = conninfo.get("host") or conninfo.get("hostaddr") or "localhost"
        self._mode = tls_mode(conninfo)
        self._context = make_tls_context(conninfo)
        self._folder = Path()
        self._listener = socket.socket(socket.AF_UNIX)
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._failure: StrongroomError | None = None

    @property
    def conninfo(self) -> dict[str, str]:
        """The connection settings for the program on the near side."""
        kept = {
            name: value
            for name, value in self._upstream.items()
            if name not in _OURS and not name.startswith("ssl")
        }
        near = {"host": str(self._folder), "port": _PORT, "sslmode": "disable", "gssencmode": "disable"}
        return kept | near

    @property
    def failure(self) -> StrongroomError | None:
        """The coded error of the first connection that could not be bridged, None if all could."""
        return self._failure

    def __enter__(self) -> Self:
        """Open the socket."""
        self._folder = new_socket_folder(for_others=False)
        self._listener.bind(str(self._socket_path))
        self._listener.listen(64)
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Cut what is still connected, and remove the socket."""
        with self._lock:
            self._closing = True
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        # A connection of our own wakes the thread out of `accept`, on every system.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as waker:
            waker.connect(str(self._socket_path))
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _socket_path(self) -> Path:
        return self._folder / f".s.PGSQL.{_PORT}"

    # ------------------------------------------------------------ threads and sockets

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="tls-bridge", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            if self._closing:
                near.close()
                return
            self._spawn(self._serve, near)

    @contextlib.contextmanager
    def _kept(self, end: socket.socket) -> Iterator[socket.socket]:
        """Hold a socket where `__exit__` finds it, and close it afterwards."""
        with end:
            with self._lock:
                if self._closing:
                    raise ConnectionAbortedError
                self._ends.add(end)
            try:
                yield end
            finally:
                with self._lock:
                    self._ends.discard(end)

    def _serve(self, near: socket.socket) -> None:
        """Serve one connection of the program from its first message to its end."""
        with contextlib.suppress(OSError), self._kept(near):
            near.settimeout(_CONNECT_SECONDS)
            first = _receive_startup(near)
            try:
                self._bridge(near, first)
            except StrongroomError as failure:
                if not self._closing:
                    self._failure = self._failure or failure
                near.settimeout(_CLOSE_SECONDS)
                near.sendall(fatal_message(failure.render()))

    def _bridge(self, near: socket.socket, first: bytes) -> None:
        with self._kept(self._connect()) as far:
            channel = self._agree(far)
            try:
                Session(near, far, channel).run(first)
            except ssl.SSLError as error:
                # A server that does not like our certificate says so only after the handshake.
                raise translate_tls(error, self._host) from error

    # ------------------------------------------------------------ the far side

    def _connect(self) -> socket.socket:
        address = self._upstream.get("hostaddr") or self._host
        port = int(self._upstream.get("port") or _PORT)
        seconds = float(self._upstream.get("connect_timeout") or 0) or _CONNECT_SECONDS
        try:
            far = socket.create_connection((address, port), timeout=seconds)
        except OSError as error:
            detail = f"{self._host}, port {port}: {error.strerror or error}."
            raise SourceUnavailable(detail=detail) from error
        far.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option, value in _KEEPALIVE.items():
            if hasattr(socket, option):
                far.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return far

    def _agree(self, far: socket.socket) -> TlsChannel | PlainChannel:
        """Ask the server for TLS and shake hands on it; raises a kind of `TlsRefused`."""
        try:
            far.sendall(tls_request())
            # Exactly one byte: whatever somebody slipped in behind it goes into the handshake and spoils it.
            answer = far.recv(1)
            if answer == b"S":
                channel = TlsChannel(self._context, self._host)
                channel.shake_hands(far)
                return channel
        except ssl.SSLError as error:
            raise translate_tls(error, self._host) from error
        except OSError as error:
            raise SourceUnavailable(detail=f"{self._host}: {error.strerror or error}.") from error
        if answer == b"N" and self._mode in {"prefer", "allow"}:
            return PlainChannel()
        if answer == b"N":
            raise TlsNotOffered(host=self._host, sslmode=self._mode)
        if not answer:
            raise SourceUnavailable(detail=f"{self._host} closed the connection when asked for TLS.")
        raise TlsRefused(detail=f"{self._host} answered the request for TLS with something else.")


def _receive_startup(near: socket.socket) -> bytes:
    """Return the program's first message proper; its own requests for encryption are declined."""
    while True:
        head = _receive_exactly(near, 8)
        size = struct.unpack_from("!I", head)[0]
        if not 8 <= size <= _LONGEST_STARTUP:
            raise ConnectionAbortedError
        first = head + _receive_exactly(near, size - 8)
        if request_code(first) not in {TLS_REQUEST, GSS_REQUEST}:
            return first
        near.sendall(b"N")


def _receive_exactly(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = end.recv(size - len(data))
        if not part:
            raise ConnectionAbortedError
        data += part
    return bytes(data)
