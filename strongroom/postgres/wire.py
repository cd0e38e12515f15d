"""The few messages at the start of a Postgres session that the TLS bridge has to understand. No I/O.

offers = OfferFilter()
near.send(offers.feed(far.recv(65536)))
"""

import struct

TLS_REQUEST = 80877103
GSS_REQUEST = 80877104

_OFFER = 10
_BOUND_TO_TLS = b"SCRAM-SHA-256-PLUS"
_LONGEST = 30_000


def tls_request() -> bytes:
    """Return the message that asks the server for TLS; it answers with one byte, S or N."""
    return struct.pack("!II", 8, TLS_REQUEST)


def request_code(startup: bytes) -> int:
    """Return what a client's first message asks for; a protocol version means a session."""
    return int(struct.unpack_from("!I", startup, 4)[0])


def fatal_message(text: str) -> bytes:
    """Return the message that makes a client give up, with a sentence that it shows to its user."""
    fields = {"S": "FATAL", "V": "FATAL", "C": "08006", "M": text}
    body = b"".join(f"{kind}{value}".encode() + b"\0" for kind, value in fields.items()) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


class OfferFilter:
    """Takes the login mechanism that is bound to the TLS session out of what the server offers.

    The bridge ends the TLS session, so a client behind it could not use that mechanism. Everything else
    passes unchanged, and after the server's first word on the login nothing is looked at any more.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._passing = False

    def feed(self, data: bytes) -> bytes:
        """Take what came from the server; return what the client may have now."""
        return data if self._passing else self._filtered(data)

    def _filtered(self, data: bytes) -> bytes:
        self._held += data
        ready = bytearray()
        while message := self._next_message():
            ready += self._rewritten(message)
        if self._passing:
            ready += self._held
            self._held.clear()
        return bytes(ready)

    def _next_message(self) -> bytes:
        """Cut one whole message off what is held; nothing if it has not all arrived."""
        if self._passing or len(self._held) < 5:
            return b""
        size = 1 + struct.unpack_from("!I", self._held, 1)[0]
        if size > _LONGEST:
            # Nothing of a login is that long: this is not for us to judge.
            self._passing = True
            return b""
        if len(self._held) < size:
            return b""
        message = bytes(self._held[:size])
        del self._held[:size]
        return message

    def _rewritten(self, message: bytes) -> bytes:
        kind = message[:1]
        self._passing = kind in {b"R", b"E"}
        if kind != b"R" or len(message) < 9 or struct.unpack_from("!I", message, 5)[0] != _OFFER:
            return message
        names = [name for name in message[9:].split(b"\0") if name and name != _BOUND_TO_TLS]
        body = struct.pack("!I", _OFFER) + b"".join(name + b"\0" for name in names) + b"\0"
        return b"R" + struct.pack("!I", len(body) + 4) + body
