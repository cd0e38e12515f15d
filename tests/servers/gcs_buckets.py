"""The buckets of our emulator of Google Cloud Storage: generations, conditions, checksums, protection. No HTTP.

Written from the documented behaviour of the service; see `tests.servers.gcs` for what that is worth.
"""

import base64
import datetime as dt
import hashlib
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import google_crc32c

SETTABLE = {
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentType",
    "customTime",
    "eventBasedHold",
    "metadata",
    "retention",
    "storageClass",
    "temporaryHold",
}
"""What a writer may say of an object."""

Query = Mapping[str, str]


class Refused(Exception):
    """An answer that is an error: status, message, and Google's word for the reason."""

    def __init__(self, status: int, message: str, reason: str = "invalid") -> None:
        super().__init__(status, message, reason)
        self.status = status
        self.message = message
        self.reason = reason


def now() -> dt.datetime:
    """Return the time; the emulator has the machine's."""
    return dt.datetime.now(dt.UTC)


def shown(instant: dt.datetime) -> str:
    """Write a time as the service does."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def crc32c_of(data: bytes) -> str:
    """Return the CRC32C as the service writes it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def md5_of(data: bytes) -> str:
    """Return the MD5 as the service writes it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@dataclass(slots=True)
class Generation:
    """One version of one object."""

    bucket: "Bucket"
    name: str
    data: bytes
    facts: dict[str, Any]
    number: int
    created: dt.datetime = field(default_factory=now)
    changes: int = 1
    deleted: dt.datetime | None = None
    crc32c: str = ""
    md5: str = ""

    def __post_init__(self) -> None:
        self.crc32c = crc32c_of(self.data)
        self.md5 = md5_of(self.data)

    @property
    def retained_until(self) -> dt.datetime | None:
        """Return the later end of the bucket's policy and of the object's own retention."""
        ends = []
        if self.bucket.retention_seconds:
            ends.append(self.created + dt.timedelta(seconds=self.bucket.retention_seconds))
        if retention := self.facts.get("retention"):
            ends.append(dt.datetime.fromisoformat(retention["retainUntilTime"]))
        return max(ends, default=None)

    def resource(self) -> dict[str, Any]:
        """Return what the service says of it."""
        described: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket.name}/{self.name}/{self.number}",
            "name": self.name,
            "bucket": self.bucket.name,
            "generation": str(self.number),
            "metageneration": str(self.changes),
            "size": str(len(self.data)),
            "crc32c": self.crc32c,
            "md5Hash": self.md5,
            "timeCreated": shown(self.created),
            "updated": shown(self.created),
            "storageClass": "STANDARD",
            "contentType": "application/octet-stream",
            **self.facts,
        }
        if self.retained_until:
            described["retentionExpirationTime"] = shown(self.retained_until)
        if self.deleted:
            described["timeDeleted"] = shown(self.deleted)
        return described

    def check_unprotected(self) -> None:
        """Refuse to delete or replace what is held or retained."""
        for hold, kind in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
            if self.facts.get(hold):
                raise Refused(
                    403,
                    f"Object '{self.bucket.name}/{self.name}' is under active {kind} hold and cannot be deleted, "
                    "overwritten or archived until hold is removed.",
                    "objectUnderActiveHold",
                )
        if self.retained_until and self.retained_until > now():
            raise Refused(
                403,
                f"Object '{self.bucket.name}/{self.name}' is subject to bucket's retention policy or object "
                f"retention and cannot be deleted or overwritten until {shown(self.retained_until)}",
                "retentionPolicyNotMet",
            )


@dataclass(slots=True)
class Bucket:
    """A bucket and all generations of its objects, the oldest first."""

    name: str
    versioning: bool = False
    retention_seconds: int = 0
    object_retention: bool = False
    one_write_a_second: bool = False
    """Whether to refuse, as the service does, a second write to a name within a second."""
    objects: dict[str, list[Generation]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time() * 1e6)))
    _written: dict[str, float] = field(default_factory=dict)

    def resource(self) -> dict[str, Any]:
        """Return what the service says of it."""
        described: dict[str, Any] = {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "metageneration": "1",
            "storageClass": "STANDARD",
            "location": "US",
            "versioning": {"enabled": self.versioning},
        }
        if self.retention_seconds:
            described["retentionPolicy"] = {"retentionPeriod": str(self.retention_seconds)}
        if self.object_retention:
            described["objectRetention"] = {"mode": "Enabled"}
        return described

    def living(self, name: str) -> Generation | None:
        """Return what is stored under a name now."""
        with self._lock:
            generations = self.objects.get(name)
            return generations[-1] if generations and not generations[-1].deleted else None

    def find(self, name: str, query: Query) -> Generation:
        """Return the generation that a request names, else the living one."""
        with self._lock:
            found = self.living(name)
            if "generation" in query:
                wanted = int(query["generation"])
                found = next((each for each in self.objects.get(name, []) if each.number == wanted), None)
            if found is None:
                raise Refused(404, f"No such object: {self.name}/{name}", "notFound")
            check_conditions(found, query)
            return found

    def store(
        self,
        name: str,
        data: bytes,
        facts: Mapping[str, Any],
        query: Query,
        promised: Mapping[str, str | None],
    ) -> Generation:
        """Make a new generation, if the checksums that the writer `promised` are right."""
        for kind, observed in (("crc32c", crc32c_of(data)), ("md5", md5_of(data))):
            expected = promised.get(kind)
            if expected and expected != observed:
                raise Refused(
                    400,
                    f'Provided {kind} hash "{expected}" doesn\'t match calculated {kind} hash "{observed}".',
                )
        if not name or len(name.encode()) > 1024:
            raise Refused(400, "The specified object name is not valid.")
        kept = {key: value for key, value in facts.items() if key in SETTABLE and value is not None}
        self._check_retention(kept)
        with self._lock:
            present = self.living(name)
            check_conditions(present, query)
            self._check_rate(name)
            if present:
                present.check_unprotected()
                self._retire(present)
            made = Generation(self, name, data, kept, next(self._numbers))
            self.objects.setdefault(name, []).append(made)
            return made

    def delete(self, name: str, query: Query) -> None:
        """Delete a generation; the living one becomes a noncurrent one in a bucket with versions."""
        with self._lock:
            found = self.find(name, query)
            if "generation" in query or not self.versioning:
                found.check_unprotected()
                self._remove(found)
            else:
                self._retire(found)

    def change(self, name: str, changes: Mapping[str, Any], query: Query) -> Generation:
        """Change what is said of an object; a retention only becomes longer."""
        with self._lock:
            found = self.find(name, query)
            if "retention" in changes:
                self._check_retention(changes)
                _check_longer(found.facts.get("retention"), changes["retention"])
            found.facts.update({key: value for key, value in changes.items() if key in SETTABLE})
            found.changes += 1
            return found

    def listed(self, prefix: str, after: str, limit: int, *, versions: bool) -> tuple[list[Generation], str]:
        """Return a page of generations behind the name `after`, and the last name if there is more."""
        found: list[Generation] = []
        last = ""
        with self._lock:
            for name in sorted(self.objects, key=str.encode):
                if not name.startswith(prefix) or (after and name <= after):
                    continue
                if len(found) >= limit:
                    return found, last
                found += [each for each in self.objects[name] if versions or not each.deleted]
                last = name
        return found, ""

    def tamper(self, name: str, data: bytes) -> None:
        """Change stored bytes behind the service's back; what it says of them stays as it was."""
        found = self.living(name)
        assert found is not None
        found.data = data

    def _retire(self, generation: Generation) -> None:
        if self.versioning:
            generation.deleted = now()
        else:
            self._remove(generation)

    def _remove(self, generation: Generation) -> None:
        self.objects[generation.name].remove(generation)
        if not self.objects[generation.name]:
            del self.objects[generation.name]

    def _check_retention(self, facts: Mapping[str, Any]) -> None:
        retention = facts.get("retention")
        if retention is None:
            return
        if not self.object_retention:
            raise Refused(400, "The bucket does not have object retention enabled.")
        until = dt.datetime.fromisoformat(retention["retainUntilTime"])
        if retention.get("mode") not in {"Locked", "Unlocked"} or until <= now():
            raise Refused(400, "Object retention needs a mode and a time in the future.")

    def _check_rate(self, name: str) -> None:
        began = time.monotonic()
        if self.one_write_a_second and began - self._written.get(name, 0.0) < 1:
            message = "The object exceeded the rate limit for object mutation operations (create, update, and delete)."
            raise Refused(429, message, "rateLimitExceeded")
        self._written[name] = began


def check_conditions(found: Generation | None, query: Query) -> None:
    """Refuse a request whose conditions do not hold; 0 stands for no object."""
    number, changes = (found.number, found.changes) if found else (0, 0)
    holds = (
        query.get("ifGenerationMatch", str(number)) == str(number)
        and query.get("ifGenerationNotMatch") != str(number)
        and query.get("ifMetagenerationMatch", str(changes)) == str(changes)
    )
    if not holds:
        raise Refused(
            412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet"
        )


def _check_longer(present: Mapping[str, str] | None, wanted: Mapping[str, str] | None) -> None:
    if not present or dt.datetime.fromisoformat(present["retainUntilTime"]) <= now():
        return
    if (
        not wanted
        or dt.datetime.fromisoformat(wanted["retainUntilTime"])
        < dt.datetime.fromisoformat(present["retainUntilTime"])
        or (present["mode"] == "Locked" and wanted["mode"] != "Locked")
    ):
        raise Refused(403, "Object retention cannot be reduced.", "forbidden")
