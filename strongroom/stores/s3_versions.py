"""Deleting for good where a bucket keeps versions, and object locks.

A plain DELETE in a versioned bucket only hides an object and frees nothing: every version is deleted by its id,
versions before the markers that hide them, so that a lock leaves things as they were.
"""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from strongroom.errors import (
    BucketMissing,
    ObjectLocked,
    ObjectMissing,
    OptionUnfit,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from strongroom.stores.s3_client import Bucket
from strongroom.stores.s3_errors import Declined, coded_answer

_JUDGED = frozenset({400, 403, 404, 500})
_NO_LOCKS = frozenset(
    {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"}
)


class Versions:
    """The versions of keys in one bucket; whether it keeps any is asked once."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._keeps_versions: bool | None = None
        self._lock = threading.Lock()

    def are_kept(self) -> bool:
        """Tell whether the bucket keeps versions; no, if we may not ask or the service does not know them."""
        with self._lock:
            if self._keeps_versions is None:
                self._keeps_versions = self._find_out()
            return self._keeps_versions

    def delete(self, name: str, key: str) -> None:
        """Remove every version of a key; none there is no error. Raises `ObjectLocked`, `StoreDenied`."""
        if not self.are_kept():
            self._delete_one(name, key, {})
            return
        for version in self._of(name, key):
            self._delete_one(name, key, {"VersionId": version})

    def locked_until(self, name: str, key: str, version: dict[str, Any] | None = None) -> dt.datetime | None:
        """Return when the lock of a version, or of the newest, ends; None if there is none in force."""
        retention = self._retention(name, key, version or {})
        until: dt.datetime | None = retention.get("RetainUntilDate")
        return until if until is not None and until > dt.datetime.now(dt.UTC) else None

    def extend_lock(self, name: str, key: str, until: dt.datetime, mode: str) -> None:
        """Lock the newest version until `until` at least, in the mode that it has, else in `mode`."""
        retention = self._retention(name, key, {})
        present = retention.get("RetainUntilDate")
        if present is not None and present >= until:
            return
        wanted = {"Mode": retention.get("Mode") or mode.upper(), "RetainUntilDate": until}
        try:
            self._bucket.ask(
                "lock", name, "put_object_retention", expected=frozenset({400}), Key=key, Retention=wanted
            )
        except Declined as declined:
            raise self._judged(name, declined) from None

    def _find_out(self) -> bool:
        try:
            answer = self._bucket.ask(
                "list", "", "get_bucket_versioning", expected=frozenset({400, 405, 501})
            )
        except (Declined, StoreDenied):
            return False
        return answer.get("Status") in {"Enabled", "Suspended"}

    def _of(self, name: str, key: str) -> list[str]:
        """List the ids of a key's versions, those of delete markers last."""
        versions: list[str] = []
        markers: list[str] = []
        for page in self._pages(name, key):
            versions += [each["VersionId"] for each in page.get("Versions", ()) if each["Key"] == key]
            markers += [each["VersionId"] for each in page.get("DeleteMarkers", ()) if each["Key"] == key]
        return versions + markers

    def _pages(self, name: str, key: str) -> Iterator[dict[str, Any]]:
        marker: dict[str, Any] = {}
        while True:
            page = self._bucket.ask("list", name, "list_object_versions", Prefix=key, **marker)
            yield page
            # The key itself comes before all that only start with it.
            if not page.get("IsTruncated") or page.get("NextKeyMarker", "") > key:
                return
            found = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker")}
            if found == marker:
                raise StoreUnavailable(
                    store=self._bucket.description,
                    operation="list",
                    name=name,
                    reason="its list of versions does not go on",
                )
            marker = {part: value for part, value in found.items() if value is not None}

    def _delete_one(self, name: str, key: str, version: dict[str, Any]) -> None:
        try:
            self._bucket.ask("delete", name, "delete_object", expected=_JUDGED, Key=key, **version)
        except Declined as declined:
            error = coded_answer(declined.answer, self._bucket.request("delete", name))
            if declined.answer.status == 500 and not version and self._is_absent(name, key):
                # What a gateway to a file system says of a folder that has the name.
                return
            if declined.answer.status == 404:
                if declined.answer.code == "NoSuchBucket":
                    raise error from None
                return
            # A lock is answered like a missing right.
            locked = self._lock_of(name, key, version) if declined.answer.status != 500 else None
            raise locked or error from None

    def _is_absent(self, name: str, key: str) -> bool:
        try:
            self._bucket.ask("stat", name, "head_object", expected=frozenset({404}), Key=key)
        except Declined:
            return True
        return False

    def _lock_of(self, name: str, key: str, version: dict[str, Any]) -> ObjectLocked | None:
        """Return the error that names the lock, if it is a lock that forbids."""
        until: str | None = None
        # What cannot be asked here leaves the first answer as it is.
        with suppress(StoreError):
            found = self.locked_until(name, key, version)
            until = found.isoformat(timespec="seconds") if found else None
        with suppress(StoreError, Declined):
            if until is None:
                answer = self._bucket.ask(
                    "lock",
                    name,
                    "get_object_legal_hold",
                    expected=frozenset({400, 404, 405, 501}),
                    Key=key,
                    **version,
                )
                held = answer.get("LegalHold", {}).get("Status") == "ON"
                until = "its legal hold is lifted" if held else None
        return ObjectLocked(name=name, store=self._bucket.description, until=until) if until else None

    def _retention(self, name: str, key: str, version: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._bucket.ask(
                "lock",
                name,
                "get_object_retention",
                expected=frozenset({400, 404, 405, 501}),
                Key=key,
                **version,
            )
        except Declined as declined:
            if declined.answer.status in {405, 501} or declined.answer.code in _NO_LOCKS:
                return {}
            raise self._judged(name, declined) from None
        retention: dict[str, Any] = answer.get("Retention", {})
        return retention

    def _judged(self, name: str, declined: Declined) -> StoreError:
        error = coded_answer(declined.answer, self._bucket.request("lock", name))
        if isinstance(error, ObjectMissing | BucketMissing) or declined.answer.code not in _NO_LOCKS:
            return error
        return OptionUnfit(
            option="object_lock", scheme="s3", reason="the bucket has no object lock switched on"
        )
