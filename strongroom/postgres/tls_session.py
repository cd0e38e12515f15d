"""One session of the TLS bridge: shake hands with the server, then pass bytes both ways until one side ends.

TLS runs over memory buffers, so that one thread serves both directions of a session, and so that either
side can end its direction while the other goes on. Opening sockets and reporting belong to the bridge.
"""

import contextlib
import select
import socket
import ssl

from strongroom.postgres.wire import OfferFilter

_READ = 256 * 1024
# More than this waiting for one side stops us from reading the other.
_HELD = 1024 * 1024


class TlsChannel:
    """The TLS state of one session: plaintext on our side, sealed bytes on the server's."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)

    def shake_hands(self, far: socket.socket) -> None:
        """Agree with the server on keys, and check its certificate. Raises `ssl.SSLError`, `OSError`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                far.sendall(self._out.read())
                self._arrived(far.recv(_READ))
            except ssl.SSLError:
                # The alert tells the server why.
                with contextlib.suppress(OSError):
                    far.sendall(self._out.read())
                raise
            else:
                far.sendall(self._out.read())
                return

    def seal(self, plaintext: bytes) -> bytes:
        """Return the bytes to send to the server for `plaintext`."""
        if plaintext:
            self._tls.write(plaintext)
        return self._out.read()

    def open(self, sealed: bytes) -> bytes:
        """Return the plaintext that has become readable with `sealed`; empty bytes mean the end."""
        self._arrived(sealed)
        parts = []
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError, ssl.SSLEOFError):
            while part := self._tls.read(_READ):
                parts.append(part)
        return b"".join(parts)

    def say_goodbye(self) -> bytes:
        """Return the bytes that end our direction."""
        # The server's own goodbye is still to come, which is what the exception says.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._out.read()

    def _arrived(self, sealed: bytes) -> None:
        if sealed:
            self._in.write(sealed)
        else:
            self._in.write_eof()


class PlainChannel:
    """The same surface for a session that goes on without TLS."""

    def seal(self, plaintext: bytes) -> bytes:
        """Return the bytes as they are."""
        return plaintext

    def open(self, sealed: bytes) -> bytes:
        """Return the bytes as they are."""
        return sealed

    def say_goodbye(self) -> bytes:
        """Return nothing: the end of the stream says it."""
        return b""


class Session:
    """Bytes on their way between the near program and the far server."""

    def __init__(self, near: socket.socket, far: socket.socket, channel: TlsChannel | PlainChannel) -> None:
        self._near = near
        self._far = far
        self._channel = channel
        self._offers = OfferFilter()
        self._to_far = bytearray()
        self._to_near = bytearray()
        self._near_speaks = True
        self._far_speaks = True
        self._near_listens = True

    def run(self, first: bytes) -> None:
        """Send the program's `first` message, then pass bytes until the session is over."""
        self._near.settimeout(0)
        self._far.settimeout(0)
        self._to_far += self._channel.seal(first)
        while self._is_alive():
            poll = select.poll()
            for end, events in ((self._near, self._near_events()), (self._far, self._far_events())):
                if events:
                    poll.register(end, events)
            for number, events in poll.poll():
                if number == self._near.fileno():
                    self._serve_near(events)
                else:
                    self._serve_far(events)

    def _is_alive(self) -> bool:
        if not self._far_speaks:
            return bool(self._to_near) and self._near_listens
        # A program that is gone altogether hears nothing: once its last words are out, so are we.
        return self._near_listens or bool(self._to_far)

    def _near_events(self) -> int:
        reads = self._near_speaks and self._far_speaks and len(self._to_far) < _HELD
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self._to_near else 0)

    def _far_events(self) -> int:
        reads = self._far_speaks and self._near_listens and len(self._to_near) < _HELD
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self._to_far else 0)

    def _serve_near(self, events: int) -> None:
        if events & select.POLLOUT:
            self._near_listens = _send_some(self._near, self._to_near)
            if not self._near_listens:
                self._to_near.clear()
        if not self._near_speaks or not events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            return
        data = _receive_some(self._near)
        if data:
            self._to_far += self._channel.seal(data)
        elif data is not None:
            self._near_speaks = False
            # POLLHUP: both directions are closed, not only the one that we read.
            self._near_listens = not events & select.POLLHUP
            self._to_far += self._channel.say_goodbye()
            self._end_our_direction()

    def _serve_far(self, events: int) -> None:
        if events & select.POLLOUT:
            if not _send_some(self._far, self._to_far):
                self._to_far.clear()
                self._near_speaks = False
            self._end_our_direction()
        if not self._far_speaks or not events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            return
        sealed = _receive_some(self._far)
        if sealed is None:
            return
        plaintext = self._channel.open(sealed)
        self._to_near += self._offers.feed(plaintext)
        # TLS itself may have something to say, an answer to a change of keys.
        self._to_far += self._channel.seal(b"") if sealed else b""
        self._far_speaks = bool(sealed)

    def _end_our_direction(self) -> None:
        if not self._near_speaks and not self._to_far:
            with contextlib.suppress(OSError):
                self._far.shutdown(socket.SHUT_WR)


def _send_some(end: socket.socket, held: bytearray) -> bool:
    """Send what the socket takes and drop it from `held`; False when nobody listens any more."""
    try:
        sent = end.send(held)
    except (BlockingIOError, InterruptedError):
        return True
    except OSError:
        return False
    del held[:sent]
    return True


def _receive_some(end: socket.socket) -> bytes | None:
    """Return what has arrived, empty bytes at the end, None if nothing is there yet."""
    try:
        return end.recv(_READ)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""
