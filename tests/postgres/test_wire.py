"""The start of a Postgres session as the TLS bridge understands it: pure, without a server."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.postgres.wire import TLS_REQUEST, OfferFilter, fatal_message, request_code, tls_request


def message(kind: bytes, body: bytes) -> bytes:
    """Return a message as a server sends it."""
    return kind + struct.pack("!I", len(body) + 4) + body


def offer(*names: bytes) -> bytes:
    """Return the server's offer of login mechanisms."""
    return message(b"R", struct.pack("!I", 10) + b"".join(name + b"\0" for name in names) + b"\0")


NOTICE = message(b"N", b"SNOTICE\0Mhello\0\0")
LATER = message(b"R", struct.pack("!I", 11) + b"SCRAM-SHA-256-PLUS") + b"anything at all"


@given(cuts=st.lists(st.integers(min_value=1, max_value=30), min_size=1))
def test_bound_mechanism_is_taken_out(cuts: list[int]) -> None:
    """However the bytes arrive, only the mechanism bound to TLS is missing, and only from the offer."""
    sent = NOTICE + offer(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256") + LATER
    offers, received, position = OfferFilter(), b"", 0
    for size in cuts * len(sent):
        received += offers.feed(sent[position : position + size])
        position += size
    assert received == NOTICE + offer(b"SCRAM-SHA-256") + LATER


@pytest.mark.parametrize(
    "sent",
    [
        offer(b"SCRAM-SHA-256") + b"x",
        message(b"R", struct.pack("!I", 0)) + LATER,
        message(b"R", struct.pack("!I", 5) + b"salt") + b"x",
        fatal_message("no") + b"x",
        b"E" + struct.pack("!I", 2**31) + b"not a message of a login at all",
    ],
    ids=["no bound mechanism", "trusted", "md5", "refused", "absurd length"],
)
def test_everything_else_passes_unchanged(sent: bytes) -> None:
    """What is no offer of the bound mechanism arrives as it was sent."""
    offers = OfferFilter()
    assert b"".join(offers.feed(sent[i : i + 1]) for i in range(len(sent))) == sent


def test_request_for_tls() -> None:
    """The request for TLS is the eight bytes of the protocol."""
    assert tls_request() == bytes.fromhex("00000008 04d2162f")
    assert request_code(tls_request()) == TLS_REQUEST
