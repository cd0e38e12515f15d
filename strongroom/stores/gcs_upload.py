"""Sending one object to Google Cloud Storage, once: in one request, or in a session that outlives cut connections.

Every upload demands that nothing is stored under the name (`ifGenerationMatch=0`), and carries the CRC32C of
what is meant, which the service compares with what arrived before the object exists. What it acknowledges is
compared again here.

    if not Upload(connection, asked, data, sha256, facts={}).send():
        ...        # the name is taken
"""

import base64
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256 as new_sha256
from typing import Any

import msgspec

from strongroom.errors import BucketSuspect, ObjectDamaged, StoreError, StoreUnavailable
from strongroom.stores.data import Buffer, Data, piece_of, pieces_of, size_of, whole
from strongroom.stores.gcs_connection import Body, GcsConnection, refusal
from strongroom.stores.gcs_errors import Asked, translated

ONE_REQUEST_BYTES = 32 << 20
"""Objects up to this size go in one request, with their description."""

PIECE_BYTES = 16 << 20
"""What a session sends in one request: a multiple of 256 KiB, as the service demands."""

RESUMPTIONS = 5
"""How often in a row a session is taken up again without getting further."""

_LOST = (404, 410)
_CRC_STEP = 1 << 20
_FIELDS = "generation,size,crc32c"


class Digests:
    """SHA-256 and CRC32C of bytes that come by in order."""

    def __init__(self) -> None:
        self._sha256 = new_sha256()
        self._crc32c = 0
        self.size = 0

    def update(self, data: Buffer) -> None:
        """Add some bytes."""
        import google_crc32c

        view = memoryview(data)
        self._sha256.update(view)
        self.size += view.nbytes
        for start in range(0, view.nbytes, _CRC_STEP):
            # The library takes immutable bytes only.
            self._crc32c = google_crc32c.extend(self._crc32c, bytes(view[start : start + _CRC_STEP]))

    @property
    def sha256(self) -> str:
        """Return the SHA-256 so far, in hex."""
        return self._sha256.hexdigest()

    @property
    def crc32c(self) -> str:
        """Return the CRC32C so far, as the service writes it."""
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()


def digests_of(data: Data) -> Digests:
    """Hash all of it, piece by piece."""
    digests = Digests()
    for piece in pieces_of(data):
        digests.update(piece)
    return digests


class Upload:
    """One object on its way. `facts` are further properties that it gets: storage class, retention."""

    def __init__(
        self,
        connection: GcsConnection,
        asked: Asked,
        data: Data,
        sha256: str,
        *,
        facts: dict[str, Any],
        kms_key: str = "",
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._asked = asked
        self._data = data
        self._size = size_of(data)
        self._sha256 = sha256
        self._facts = {"name": connection.prefix + asked.name, **facts}
        self._params: dict[str, str | int] = {"ifGenerationMatch": 0, "fields": _FIELDS}
        if kms_key:
            self._params["kmsKeyName"] = kms_key
        self._pause = pause
        self._digests = Digests()
        # The URL of the session, and how much it has; None: that has to be asked for.
        self._session = ""
        self._offset: int | None = None

    def send(self) -> bool:
        """Store the object; return False if something is stored under its name.

        Raises `StoreError`: `ObjectDamaged` if the data has another SHA-256 (nothing is stored then), and
        `BucketSuspect` if the service acknowledges other bytes (what it stored is deleted).
        """
        is_small = self._size <= ONE_REQUEST_BYTES
        answer = self._send_at_once() if is_small else self._send_in_session()
        if answer.status_code == 412:
            return False
        if answer.status_code == 400:
            # No session gets over this: most likely other bytes arrived than were sent.
            raise refusal(self._asked, answer)
        self._compare(answer)
        return True

    def _compare(self, answer: Any) -> None:
        """See that the service acknowledges what was sent (I1)."""
        try:
            stored = answer.json()
            acknowledged = int(stored["size"]), stored["crc32c"]
        except (ValueError, KeyError, TypeError):
            reason = "its acknowledgement names no size or no CRC32C of what it stored"
            raise BucketSuspect(store=self._asked.store, reason=reason) from None
        if acknowledged != (self._size, self._digests.crc32c):
            with suppress(StoreError):
                self._withdraw(stored.get("generation"))
            reason = f"it acknowledged other bytes of {self._asked.name!r} than were sent"
            raise BucketSuspect(store=self._asked.store, reason=reason)

    def _withdraw(self, generation: str | None) -> None:
        """Delete what was stored wrongly, and nothing else."""
        if generation is not None:
            with translated(self._asked):
                stored = self._connection.object_of(self._asked.name, int(generation))
                stored.delete(**self._connection.call_options)

    def _check_sha256(self) -> None:
        observed = self._digests.sha256
        if observed != self._sha256 or self._digests.size != self._size:
            raise ObjectDamaged(
                name=self._asked.name, store=self._asked.store, expected=self._sha256, observed=observed
            )

    # ------------------------------------------------------------ in one request

    def _send_at_once(self) -> Any:
        data = whole(self._data)
        self._digests.update(data)
        self._check_sha256()
        boundary = secrets.token_hex(16)
        facts = msgspec.json.encode({**self._facts, "crc32c": self._digests.crc32c})
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
            + facts
            + f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        )
        return self._connection.request(
            self._asked,
            "POST",
            self._connection.upload_url(),
            params={"uploadType": "multipart", **self._params},
            headers={"Content-Type": f'multipart/related; boundary="{boundary}"'},
            body=Body(head, data, f"\r\n--{boundary}--\r\n".encode()),
            accepted=(200, 201, 412),
        )

    # ------------------------------------------------------------ in a session

    def _send_in_session(self) -> Any:
        """Send piece after piece; after a failure ask the session where it stands, and go on from there."""
        failures, furthest = 0, 0
        while True:
            try:
                answer = self._step()
            except StoreUnavailable:
                failures += 1
                if failures > RESUMPTIONS:
                    raise
                self._offset = None
                self._pause(0.1 * 2**failures)
                continue
            if answer is not None:
                return answer
            if self._offset is not None and self._offset > furthest:
                failures, furthest = 0, self._offset

    def _step(self) -> Any | None:
        """Make the next request of a session; return the last answer, None before."""
        if not self._session:
            answer = self._start_session()
            self._session, self._offset = answer.headers.get("Location", ""), 0
            return answer if answer.status_code == 412 else None
        before = self._offset
        answer = self._ask() if before is None or before >= self._size else self._send_piece(before)
        if answer.status_code in _LOST:
            # What it had is lost with it.
            self._session = ""
            raise self._unavailable("the upload session is gone")
        if answer.status_code != 308:
            return answer
        self._offset = _offset_of(answer)
        if self._offset > self._digests.size:
            raise BucketSuspect(
                store=self._asked.store, reason="it has more bytes of an upload than it was sent"
            )
        if before is not None and self._offset <= before:
            raise self._unavailable("the upload session gets no further")
        return None

    def _start_session(self) -> Any:
        answer = self._connection.request(
            self._asked,
            "POST",
            self._connection.upload_url(),
            params={"uploadType": "resumable", **self._params},
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "X-Upload-Content-Type": "application/octet-stream",
                "X-Upload-Content-Length": str(self._size),
            },
            body=msgspec.json.encode(self._facts),
            accepted=(200, 201, 412),
        )
        if answer.status_code != 412 and "Location" not in answer.headers:
            raise BucketSuspect(
                store=self._asked.store, reason="it begins an upload session and does not say where"
            )
        return answer

    def _ask(self) -> Any:
        """Ask where the session stands."""
        return self._in_session("PUT", {"Content-Range": f"bytes */{self._size}"})

    def _send_piece(self, start: int) -> Any:
        """Send the next piece; the last one only if the whole has the SHA-256 that it must have."""
        length = min(PIECE_BYTES, self._size - start)
        piece = piece_of(self._data, start, length)
        end = start + len(piece)
        if len(piece) == length:
            # Of a piece that is sent again, what was hashed already is not hashed twice.
            self._digests.update(memoryview(piece)[self._digests.size - start :])
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{self._size}"}
        if len(piece) < length or end == self._size:
            try:
                self._check_sha256()
            except ObjectDamaged:
                with suppress(StoreError):
                    self._in_session("DELETE", {})
                raise
            headers["X-Goog-Hash"] = f"crc32c={self._digests.crc32c}"
        return self._in_session("PUT", headers, Body(piece))

    def _in_session(self, method: str, headers: dict[str, str], body: Body | bytes = b"") -> Any:
        return self._connection.request(
            self._asked,
            method,
            self._session,
            headers=headers,
            body=body,
            accepted=(200, 201, 308, 400, 412, 499, *_LOST),
        )

    def _unavailable(self, reason: str) -> StoreUnavailable:
        asked = self._asked
        return StoreUnavailable(store=asked.store, operation=asked.operation, name=asked.name, reason=reason)


def _offset_of(answer: Any) -> int:
    """Return how many bytes a session has; without a `Range` it has none."""
    match = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
    return int(match[1]) + 1 if match else 0
