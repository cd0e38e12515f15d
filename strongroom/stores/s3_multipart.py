"""Objects that are too large for one request: sent in parts, whole or not at all.

A part is in memory, never the object. Parts are hashed on the way, and an object whose bytes do not have their
SHA-256 is never completed. An upload that fails is aborted; what killed writers left behind is aborted once it
is a day old, since a service bills for parts that nobody sees.
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from typing import Any

from strongroom.errors import ObjectDamaged, StoreDenied, StoreError
from strongroom.stores.data import Data, piece_of, size_of
from strongroom.stores.names import is_name
from strongroom.stores.s3_client import Bucket
from strongroom.stores.s3_errors import Declined

PART_BYTES = 16 << 20
MOST_PARTS = 10_000
LARGEST_OBJECT = 5 << 40
LEFTOVER_SECONDS = 24 * 3600
"""The age from which an upload belongs to no living writer."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One object on its way: its name, its bytes, and the SHA-256 (hex) that they must have."""

    bucket: Bucket
    name: str
    data: Data
    sha256: str

    def send(self, parameters: Mapping[str, Any], *, once: bool, is_taken: Callable[[], bool]) -> bool | None:
        """Send the object in parts. Return None if the name is taken.

        True says that the service acknowledged the SHA-256 of every part and their composite; after False the
        object has to be read back. `is_taken` is asked once more before the parts become an object, for
        services that do not look at the condition there. Raises `ObjectDamaged` if the bytes do not have the
        SHA-256; whatever is raised, the parts are gone.
        """
        answer = self._ask("create_multipart_upload", ChecksumAlgorithm="SHA256", **parameters)
        upload_id: str = answer["UploadId"]
        try:
            parts = [*self._parts(upload_id)]
            if is_taken():
                self._abort(upload_id)
                return None
            return self._complete(upload_id, parts, {"IfNoneMatch": "*"} if once else {})
        except Declined:
            self._abort(upload_id)
            return None
        except BaseException:
            self._abort(upload_id)
            raise

    def _parts(self, upload_id: str) -> Iterator[dict[str, Any]]:
        size, length, whole = size_of(self.data), part_bytes(size_of(self.data)), sha256_of()
        for number, start in enumerate(range(0, size, length), start=1):
            piece = piece_of(self.data, start, min(length, size - start))
            whole.update(piece)
            digest = base64.b64encode(sha256_of(piece).digest()).decode()
            part: dict[str, Any] = {"PartNumber": number, "ChecksumSHA256": digest}
            answer = self._ask("upload_part", UploadId=upload_id, Body=bytes(piece), **part)
            yield {**part, "ETag": answer["ETag"]}
        if whole.hexdigest() != self.sha256:
            raise ObjectDamaged(
                name=self.name,
                store=self.bucket.description,
                expected=self.sha256,
                observed=whole.hexdigest(),
            )

    def _complete(self, upload_id: str, parts: list[dict[str, Any]], condition: dict[str, str]) -> bool:
        answer = self._ask(
            "complete_multipart_upload",
            expected=frozenset({412}) if condition else frozenset(),
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
            **condition,
        )
        return bool(answer.get("ChecksumSHA256") == composite(parts))

    def _abort(self, upload_id: str) -> None:
        # The failure that led here is what counts; what stays behind is aborted a day later.
        with suppress(StoreError, Declined):
            self._ask("abort_multipart_upload", expected=frozenset({404}), UploadId=upload_id)

    def _ask(
        self, method: str, *, expected: frozenset[int] = frozenset(), **parameters: Any
    ) -> dict[str, Any]:
        return self.bucket.ask(
            "put",
            self.name,
            method,
            expected=expected,
            size=size_of(self.data),
            Key=self.bucket.key(self.name),
            **parameters,
        )


def part_bytes(size: int) -> int:
    """Return the length of the parts of an object: larger ones where there would be too many.

    >>> part_bytes(1 << 30) == PART_BYTES
    True
    """
    mebibyte = 1 << 20
    return max(PART_BYTES, -(-size // (MOST_PARTS * mebibyte)) * mebibyte)


def composite(parts: list[dict[str, Any]]) -> str:
    """Return what S3 calls the checksum of an object that came in parts: that of their checksums, and a count."""
    digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in parts)
    return f"{base64.b64encode(sha256_of(digests).digest()).decode()}-{len(parts)}"


def abort_leftovers(bucket: Bucket, clock: Callable[[], float] = time.time) -> int:
    """Abort uploads below the prefix that are more than a day old; return how many there were.

    Uploads to keys that are no names of objects are not ours, and left alone. Where we may not list uploads,
    or the service does not know how, nothing is done: a lifecycle rule of the bucket can do it.
    """
    before, count = clock() - LEFTOVER_SECONDS, 0
    with suppress(StoreDenied, Declined):
        for upload in _uploads(bucket):
            name = upload["Key"].removeprefix(bucket.prefix)
            if is_name(name) and upload["Initiated"].timestamp() < before:
                with suppress(Declined):
                    bucket.ask(
                        "delete",
                        name,
                        "abort_multipart_upload",
                        expected=frozenset({404}),
                        Key=upload["Key"],
                        UploadId=upload["UploadId"],
                    )
                    count += 1
    return count


def _uploads(bucket: Bucket) -> Iterator[dict[str, Any]]:
    marker: dict[str, Any] = {}
    while True:
        page = bucket.ask(
            "list",
            "",
            "list_multipart_uploads",
            # A gateway may know neither of the two ways to say that there is none.
            expected=frozenset({400, 404, 405, 501}),
            Prefix=bucket.prefix,
            **marker,
        )
        yield from page.get("Uploads", ())
        onward = {"KeyMarker": page.get("NextKeyMarker"), "UploadIdMarker": page.get("NextUploadIdMarker")}
        if not page.get("IsTruncated") or onward == marker or not onward["KeyMarker"]:
            return
        marker = {part: value for part, value in onward.items() if value}
