"""What a Supabase project knows of its buckets and objects, for our own storage server; no HTTP here.

Bytes lie in files of a folder, so that tests can measure the memory of the client in the same process. `Refused` is
an error as the service words it. See `tests.servers.supabase_storage` for where the behaviour was taken from.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

KEY = re.compile(r"(?:\w|[/!\-.*'() &$@=;:+,?])+", re.ASCII)
LIST_V1_CAP = 1500
LIST_V2_CAP = 1000


class Refused(Exception):
    """The service says no: the status that it means, its codes, and its sentence."""

    def __init__(self, status: int, code: str, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.error = error
        self.message = message

    @property
    def http_status(self) -> int:
        """Return the status that goes over the wire for anything but resumable uploads."""
        return self.status if self.status in {401, 402, 429, 500, 503, 544} else 400

    def body(self) -> dict[str, str]:
        """Return the JSON that the service answers with."""
        return {
            "statusCode": str(self.status),
            "error": self.error,
            "code": self.code,
            "message": self.message,
        }


def no_bucket() -> Refused:
    """Say that there is no such bucket, or none that this key may see."""
    return Refused(404, "NoSuchBucket", "Bucket not found", "Bucket not found")


def no_key() -> Refused:
    """Say that there is no such object, or none that this key may see."""
    return Refused(404, "NoSuchKey", "not_found", "Object not found")


def taken() -> Refused:
    """Say that the key is taken."""
    return Refused(409, "KeyAlreadyExists", "Duplicate", "The resource already exists")


def too_large() -> Refused:
    """Say that the object is too large; the service does not say what the limit is."""
    return Refused(413, "EntityTooLarge", "Payload too large", "The object exceeded the maximum allowed size")


def denied() -> Refused:
    """Say that a policy on rows forbids it."""
    message = 'new row violates row-level security policy for table "objects"'
    return Refused(403, "AccessDenied", "Unauthorized", message)


@dataclass
class Bucket:
    """A bucket and its own limits."""

    name: str
    size_limit: int | None = None
    mime_types: list[str] | None = None


@dataclass(frozen=True)
class Stored:
    """One row of `storage.objects`."""

    row: str
    path: Path
    size: int
    mime: str
    updated: datetime
    created: datetime


@dataclass
class Project:
    """Buckets, objects and limits of one project. Everything is done under one lock, as in one database."""

    folder: Path
    size_limit: int = 50 << 20
    guards_completion: bool = True
    """Whether an upload is refused at its end if the key was taken meanwhile: the service does since September 2026."""
    before_completion: Callable[[], object] | None = None
    """Called between the reception of an upload and its completion, so that tests can hold several there."""
    refuse_uploads: Refused | None = None
    """What every upload is answered with: a full disk, a spent quota."""
    buckets: dict[str, Bucket] = field(default_factory=dict)
    objects: dict[tuple[str, str], Stored] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def bucket(self, name: str) -> Bucket:
        """Return a bucket or refuse."""
        if name not in self.buckets:
            raise no_bucket()
        return self.buckets[name]

    def limit_of(self, bucket: Bucket) -> int:
        """Return the largest object that the bucket takes."""
        return min(self.size_limit, bucket.size_limit or self.size_limit)

    def check_upload(self, bucket: Bucket, key: str, mime: str, *, upsert: bool, may_write: bool) -> None:
        """Do what the service does before it takes the bytes: insert the row, and take that back."""
        if not KEY.fullmatch(key):
            raise Refused(400, "InvalidKey", "InvalidKey", f"Invalid key: {key}")
        if not may_write:
            raise denied()
        if self.refuse_uploads is not None:
            raise self.refuse_uploads
        allowed = bucket.mime_types
        if allowed is not None and not {mime, re.sub("/.*", "/*", mime)} & set(allowed):
            raise Refused(415, "InvalidMimeType", "invalid_mime_type", f"mime type {mime} is not supported")
        with self.lock:
            if not upsert and (bucket.name, key) in self.objects:
                raise taken()

    def complete_upload(self, bucket: str, key: str, path: Path, mime: str, *, upsert: bool) -> Stored:
        """Insert or replace the row."""
        if self.before_completion is not None:
            self.before_completion()
        now = datetime.now(UTC)
        with self.lock:
            if self.guards_completion and not upsert and (bucket, key) in self.objects:
                raise taken()
            stored = Stored(str(uuid.uuid4()), path, path.stat().st_size, mime, now, now)
            self.objects[bucket, key] = stored
            return stored

    def new_file(self) -> Path:
        """Return the path of a file that does not exist yet."""
        return self.folder / uuid.uuid4().hex

    def move(self, bucket: str, source: str, destination: str) -> Stored:
        """Change the key in the row, under the unique constraint."""
        if not KEY.fullmatch(destination):
            raise Refused(400, "InvalidKey", "InvalidKey", f"Invalid key: {destination}")
        with self.lock:
            stored = self.objects.get((bucket, source))
            if stored is None:
                raise no_key()
            if (bucket, destination) in self.objects:
                raise taken()
            moved = Stored(
                stored.row, stored.path, stored.size, stored.mime, datetime.now(UTC), stored.created
            )
            del self.objects[bucket, source]
            self.objects[bucket, destination] = moved
            return moved

    def remove(self, bucket: str, keys: list[str]) -> list[dict[str, Any]]:
        """Delete rows by their exact keys; say which there were."""
        with self.lock:
            gone = [(key, self.objects.pop((bucket, key))) for key in keys if (bucket, key) in self.objects]
        for _, stored in gone:
            stored.path.unlink()
        return [{"name": key, "bucket_id": bucket, "id": stored.row} for key, stored in gone]

    def find(self, bucket: str, key: str) -> Stored:
        """Return a row or refuse."""
        with self.lock:
            stored = self.objects.get((bucket, key))
        if stored is None:
            raise no_key()
        return stored

    def keys(self, bucket: str) -> list[str]:
        """Return all keys of a bucket, in bytewise order."""
        with self.lock:
            return sorted(key for owner, key in self.objects if owner == bucket)

    def list_v2(self, bucket: str, prefix: str, limit: int, after: str) -> tuple[list[str], bool]:
        """Return keys behind `after`, and whether there are more. A missing bucket is an empty one."""
        found = [key for key in self.keys(bucket) if key.startswith(prefix) and key > after]
        return found[:limit], len(found) > limit

    def list_v1(self, bucket: str, folder: str, limit: int, offset: int) -> list[str]:
        """Return the names directly below a folder; folders end in a slash."""
        start = f"{folder.strip('/')}/" if folder.strip("/") else ""
        below = [key[len(start) :] for key in self.keys(bucket) if key.startswith(start)]
        names = sorted({name.split("/")[0] + ("/" if "/" in name else "") for name in below})
        return names[offset : offset + min(limit, LIST_V1_CAP)]
