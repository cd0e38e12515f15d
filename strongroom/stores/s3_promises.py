"""What a service that speaks S3 really does, found out by trying: before a process's first write, once.

Whether a conditional put is refused when it must be, and whether a wrong checksum is, is not told by any answer:
services that know neither ignore both. Objects of the trial have capitals in their keys, as no object's name has.
A race between creators is not tried here; the contract suite does that.
"""

import base64
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from typing import Any

from strongroom.errors import ObjectDamaged, ObjectLocked, OptionUnfit, RequestRefused, StoreDenied
from strongroom.stores.s3_client import Bucket
from strongroom.stores.s3_errors import Declined, coded_answer
from strongroom.stores.s3_versions import Versions

PROBES = "PROBE/"
_BODY = b"strongroom looks what this service does; this object can be deleted"
_WRONG = base64.b64encode(sha256_of(b"other bytes").digest()).decode()


@dataclass(frozen=True, slots=True)
class Promises:
    """What was found: the service refuses to replace, and compares what arrived with its checksum."""

    creates_once: bool
    verifies_checksums: bool


def find_promises(bucket: Bucket, versions: Versions, parameters: Mapping[str, Any]) -> Promises:
    """Try the service. `parameters` go with every put, as they do with real ones.

    Raises `OptionUnfit` if objects are to be locked and the bucket cannot lock.
    """
    if bucket.options.lock is not None:
        _check_lock(bucket)
    given = bucket.options.conditional_put
    creates_once = _refuses_to_replace(bucket, versions, parameters) if given is None else given
    return Promises(creates_once, _refuses_wrong_checksum(bucket, versions, parameters))


def _refuses_to_replace(bucket: Bucket, versions: Versions, parameters: Mapping[str, Any]) -> bool:
    name = PROBES + secrets.token_hex(8)
    try:
        for expected in (frozenset({400, 501}), frozenset({400, 412, 501})):
            bucket.ask(
                "put",
                name,
                "put_object",
                expected=expected,
                Key=bucket.key(name),
                Body=_BODY,
                IfNoneMatch="*",
                **parameters,
            )
    except Declined as declined:
        # Anything but 412 is a service that does not know the condition, or does not want to.
        return declined.answer.status == 412 or not _is_about_request(bucket, name, declined)
    finally:
        _remove(bucket, versions, name)
    return False


def _refuses_wrong_checksum(bucket: Bucket, versions: Versions, parameters: Mapping[str, Any]) -> bool:
    name = PROBES + secrets.token_hex(8)
    try:
        bucket.ask(
            "put",
            name,
            "put_object",
            expected=frozenset({400, 501}),
            Key=bucket.key(name),
            Body=_BODY,
            ChecksumSHA256=_WRONG,
            **parameters,
        )
    except Declined as declined:
        return _is_about_request(bucket, name, declined) and declined.answer.status == 400
    _remove(bucket, versions, name)
    return False


def _is_about_request(bucket: Bucket, name: str, declined: Declined) -> bool:
    """Tell whether an answer is about what was sent; raise it if it is about who sent it, where, or when."""
    error = coded_answer(declined.answer, bucket.request("put", name))
    if not isinstance(error, ObjectDamaged | RequestRefused):
        raise error from None
    return True


def _remove(bucket: Bucket, versions: Versions, name: str) -> None:
    # Where nothing can be deleted, by right or by a default lock, some bytes a process are left behind.
    with suppress(StoreDenied, ObjectLocked):
        versions.delete(name, bucket.key(name))


def _check_lock(bucket: Bucket) -> None:
    try:
        answer = bucket.ask("lock", "", "get_object_lock_configuration")
    except StoreDenied:
        # Whether it can lock will be seen by the first write, which fails if it cannot.
        return
    if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
        raise OptionUnfit(
            option="object_lock", scheme="s3", reason="the bucket has no object lock switched on"
        )
