"""Resumable uploads to Supabase Storage: the TUS protocol, as far as the service speaks it.

An upload is created with its size, then filled with pieces of exactly 6 MiB (the last may be shorter), each at the
offset where the one before it ended. After a cut the service is asked how far it got, and the rest of the piece is
sent. Nothing of this can be seen in the bucket until the last piece has arrived; it is held back until the SHA-256
of all of them is known to be right. What is never finished is removed by the service after a day.

The address of an upload is made from the last part of the one that the service returns: behind gateways the rest of
it is often wrong, and the key must go to no other host.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING

from strongroom.errors import ObjectDamaged, StoreError, StoreFailed, TransferCut
from strongroom.stores.data import Data, piece_of, size_of
from strongroom.stores.supabase_errors import Call, coded, refusal_of, translated

if TYPE_CHECKING:
    import httpx

PIECE_BYTES = 6 << 20
"""The service takes pieces of this size only, except for the last."""

RESUMES = 3
"""How often one piece may be cut before the upload is given up (and tried again as a whole, by whoever retries)."""

_STEP_BYTES = 256 << 10
_VERSION = {"tus-resumable": "1.0.0"}
# Without it on each request, the service would replace an object of that key.
_KEEP = {"x-upsert": "false"}
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_.~=-]+")


class ResumableUpload:
    """One upload of one key. `http` carries the credentials; `endpoint` is where uploads are created."""

    def __init__(self, http: "httpx.Client", endpoint: str, key: str, call: Call) -> None:
        self._http = http
        self._endpoint = endpoint
        self._key = key
        self._call = call

    def send(self, data: Data, sha256: str) -> None:
        """Send everything; raise `ObjectDamaged`, with the upload undone, if it does not hash to `sha256`."""
        size, hasher = size_of(data), sha256_of()
        url = self._begin(size)
        for start in range(0, size, PIECE_BYTES):
            length = min(PIECE_BYTES, size - start)
            piece = memoryview(piece_of(data, start, length))
            hasher.update(piece)
            is_wrong = start + length == size and hasher.hexdigest() != sha256
            if is_wrong or len(piece) != length:
                self._abandon(url)
                raise ObjectDamaged(
                    name=self._call.name,
                    store=self._call.store,
                    expected=sha256,
                    observed=hasher.hexdigest(),
                )
            self._send_piece(url, start, piece, size)

    def _begin(self, size: int) -> str:
        """Create the upload and return its address."""
        facts = {
            "bucketName": self._call.bucket,
            "objectName": self._key,
            "contentType": "application/octet-stream",
            "cacheControl": "0",
        }
        described = ",".join(f"{name} {b64encode(value.encode()).decode()}" for name, value in facts.items())
        headers = _VERSION | _KEEP | {"upload-length": str(size), "upload-metadata": described}
        with translated(self._call):
            response = self._http.post(self._endpoint, headers=headers)
        self._expect(response, 201)
        upload_id = response.headers.get("location", "").rstrip("/").rpartition("/")[2]
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise self._failed("it names no address for a resumable upload")
        return f"{self._endpoint}/{upload_id}"

    def _send_piece(self, url: str, start: int, piece: memoryview, size: int) -> None:
        """Send one piece, going on where the service got to when the connection breaks."""
        offset, end, cuts = start, start + len(piece), 0
        while offset < end:
            try:
                offset = self._patch(url, offset, piece[offset - start :], end)
            except TransferCut:
                cuts += 1
                if cuts > RESUMES:
                    raise
                offset = self._ask_offset(url, start, end, size)

    def _patch(self, url: str, offset: int, rest: memoryview, end: int) -> int:
        facts = {
            "upload-offset": str(offset),
            "content-type": "application/offset+octet-stream",
            "content-length": str(len(rest)),
        }
        with translated(self._call):
            response = self._http.patch(url, headers=_VERSION | _KEEP | facts, content=_in_steps(rest))
        if response.status_code in {404, 409, 410}:
            # It is further than we know, finished, or gone: it is asked which.
            raise self._cut(f"it did not go on at {offset}: {refusal_of(response).reason(self._call.secret)}")
        self._expect(response, 204)
        reached = _number(response, "upload-offset")
        if reached is None or not offset < reached <= end:
            raise self._failed(f"it says that it has {reached} bytes when it was given {end}")
        return reached

    def _ask_offset(self, url: str, start: int, end: int, size: int) -> int:
        with translated(self._call):
            response = self._http.head(url, headers=_VERSION)
        if response.status_code in {404, 410} and end == size:
            # A finished upload may be forgotten. Whether it is there is found out by reading it back.
            return end
        if response.status_code in {404, 410}:
            raise self._cut("it has forgotten the upload")
        self._expect(response, 200)
        offset = _number(response, "upload-offset")
        if offset is None or not start <= offset <= end:
            raise self._cut(f"it got to {offset}, which is outside the piece from {start} to {end}")
        return offset

    def _abandon(self, url: str) -> None:
        """Remove what was sent, if that is possible; else the service does it after a day."""
        with suppress(StoreError), translated(self._call):
            self._http.delete(url, headers=_VERSION | _KEEP)

    def _expect(self, response: "httpx.Response", status: int) -> None:
        if response.status_code != status:
            raise coded(self._call, refusal_of(response))

    def _cut(self, reason: str) -> StoreError:
        call = self._call
        return TransferCut(store=call.store, operation=call.operation, name=call.name, reason=reason)

    def _failed(self, reason: str) -> StoreError:
        call = self._call
        return StoreFailed(store=call.store, operation=call.operation, name=call.name, reason=reason)


def _in_steps(rest: memoryview) -> Iterator[bytes]:
    """Yield bytes little by little: whole pieces would stay in memory with the client's answers until a collection."""
    for start in range(0, len(rest), _STEP_BYTES):
        yield bytes(rest[start : start + _STEP_BYTES])


def _number(response: "httpx.Response", header: str) -> int | None:
    text = response.headers.get(header, "")
    return int(text) if text.isdecimal() else None
