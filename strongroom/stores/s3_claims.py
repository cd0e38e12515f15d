"""Keys of a bucket as the medium of announced creations: for services that replace without asking.

create_announced(Claims(bucket, versions, parameters), "leases/write/000001", data)
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from strongroom.errors import Transient
from strongroom.stores.data import Data, whole
from strongroom.stores.s3_client import Bucket
from strongroom.stores.s3_errors import Declined, coded_answer, translated
from strongroom.stores.s3_versions import Versions

_PAUSES = (0.02, 0.1, 0.5)
"""Seconds between the tries to remove a key."""


class Claims:
    """Reads and writes raw keys below the store's prefix, unconditionally."""

    def __init__(
        self, bucket: Bucket, versions: Versions, parameters: Callable[[str], dict[str, Any]]
    ) -> None:
        self._bucket = bucket
        self._versions = versions
        self._parameters = parameters

    @property
    def description(self) -> str:
        """Say where this is."""
        return self._bucket.description

    def write(self, key: str, data: Data) -> None:
        """Store `data`, whatever is there."""
        self._bucket.ask(
            "put",
            key,
            "put_object",
            Key=self._bucket.key(key),
            Body=bytes(whole(data)),
            **self._parameters(key),
        )

    def read(self, key: str) -> bytes:
        """Return the bytes. Raises `ObjectMissing`."""
        try:
            answer = self._bucket.ask(
                "get", key, "get_object", expected=frozenset({404}), Key=self._bucket.key(key)
            )
        except Declined as declined:
            raise coded_answer(declined.answer, self._bucket.request("get", key)) from None
        with translated(self._bucket.request("get", key)), closing(answer["Body"]) as body:
            return bytes(body.read())

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield every key that starts with `prefix`, and when it was written (epoch s)."""
        token: dict[str, Any] = {}
        while True:
            page = self._bucket.ask(
                "list", prefix, "list_objects_v2", Prefix=self._bucket.key(prefix), **token
            )
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(self._bucket.prefix), entry["LastModified"].timestamp()
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def remove(self, key: str) -> None:
        """Remove the key; one that is not there is no error.

        Tried again at once, other than everything else here: a claim that stays behind keeps its name from
        everybody for minutes.
        """
        for pause in _PAUSES:
            try:
                return self._versions.delete(key, self._bucket.key(key))
            except Transient:
                time.sleep(pause)
        return self._versions.delete(key, self._bucket.key(key))
