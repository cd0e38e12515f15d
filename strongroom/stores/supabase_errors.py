"""The border to Supabase Storage: what the service and the HTTP client say becomes a coded error.

The service answers most refusals with HTTP 400 and says what is meant in the body (`statusCode`, `error`, `code`,
`message`); resumable uploads are refused with the true status and a sentence of plain text; and what stands before
the service (gateways, content networks) answers as it likes. An answer that does not say that it is about an object
is never taken for a missing object: somebody might delete what needs it. Example:

    with translated(Call(store, bucket, "get", name, secret=key)):
        …requests…
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import (
    BadObjectName,
    BucketMissing,
    ObjectConflict,
    ObjectMissing,
    ObjectTooLarge,
    StoreDenied,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLoginRefused,
    StoreReadOnly,
    StoreThrottled,
    StoreUnavailable,
    StoreUnsuitable,
    TransferCut,
)

if TYPE_CHECKING:
    import httpx
    from storage3.exceptions import StorageApiError

_LONGEST_REASON = 200
_LOGIN_CODES = {
    "InvalidJWT",
    "ExpiredToken",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
}
_LOGIN_WORDS = re.compile(r"\b(jw[ts]|api key|signature|exp|token|expired)\b", re.IGNORECASE)
_OBJECT_CODES = {"NoSuchKey", "not_found", "Not found"}
_TAKEN_CODES = {"Duplicate", "KeyAlreadyExists", "ResourceAlreadyExists"}
_PASSING_CODES = {"LockTimeout", "acquiring_lock_timeout", "ResourceLocked", "TransactionError", "Aborted"}
_PASSING_STATUSES = {408, 423, 425, 460, 499}


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of the service, for the error that may come of it."""

    store: str
    bucket: str
    operation: str
    name: str
    size: int | None = None
    secret: str = field(default="", repr=False)
    """What must not show in an error even if the service repeats it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the service said: the status that it means, its code if there is one, and its sentence."""

    status: int
    code: str
    message: str

    def reason(self, secret: str) -> str:
        """Return one line for people, without the key."""
        line = " ".join(self.message.split()) or f"HTTP status {self.status}"
        return (line.replace(secret, "…") if secret else line)[:_LONGEST_REASON].rstrip(".")

    def says(self, *words: str) -> bool:
        """Tell whether any of these is in the sentence or the code."""
        text = f"{self.code} {self.message}".lower()
        return any(word in text for word in words)


def refusal_of(response: "httpx.Response") -> Refusal:
    """Read a refusal, whose body must have been received: JSON of the service, or text of whoever answered."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return Refusal(response.status_code, "", response.text)
    said = str(body.get("statusCode", ""))
    error = str(body.get("error", ""))
    return Refusal(
        int(said) if said.isdecimal() else response.status_code,
        str(body.get("code") or error),
        str(body.get("message") or body.get("msg") or error),
    )


@contextmanager
def translated(call: Call) -> Iterator[None]:
    """Run requests for one object; raise what goes wrong there as a `StoreError`.

    Only calls of the libraries belong in the block: a `ValueError` in it is an answer that they cannot read.
    """
    import httpx
    from storage3.exceptions import StorageApiError

    outside = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
    try:
        yield
    except StorageApiError as error:
        raise coded(call, _refusal_of_library(error)) from _safe(error, call)
    except httpx.HTTPStatusError as error:
        raise coded(call, refusal_of(error.response)) from _safe(error, call)
    except outside as error:
        raise coded_transport(call, error) from _safe(error, call)
    except (ValueError, KeyError, TypeError) as error:
        raise _failed(call, "its answer cannot be read") from _safe(error, call)


def coded(call: Call, refusal: Refusal) -> StoreError:
    """Return the coded error for a refusal."""
    for judge in _JUDGES:
        if (error := judge(call, refusal)) is not None:
            return error
    return _failed(call, f"it answered {refusal.status}: {refusal.reason(call.secret)}")


def coded_transport(call: Call, error: Exception) -> StoreError:
    """Return the coded error for an exception of httpx that is no answer."""
    import httpx

    kinds: tuple[tuple[type[Exception], Callable[[], StoreError]], ...] = (
        (httpx.ConnectTimeout, lambda: _unavailable(call, "no connection was made in time")),
        (httpx.PoolTimeout, lambda: _unavailable(call, "all connections were in use for too long")),
        (httpx.TimeoutException, lambda: _cut(call, "nothing moved for too long")),
        (httpx.ConnectError, lambda: _not_connected(call, error)),
        (httpx.NetworkError, lambda: _cut(call, "the connection broke")),
        (httpx.RemoteProtocolError, lambda: _cut(call, "the other side closed the connection")),
        (httpx.ProxyError, lambda: _unavailable(call, "the proxy on the way refused the connection")),
        (httpx.UnsupportedProtocol, lambda: _failed(call, "its endpoint is no http or https URL")),
        (httpx.InvalidURL, lambda: _failed(call, "its endpoint is no URL")),
    )
    for kind, make in kinds:
        if isinstance(error, kind):
            return make()
    # The text of the others may quote headers, and with them the key.
    return _failed(call, f"the request could not be made ({type(error).__name__})")


# ---------------------------------------------------------------- one judge for each kind of refusal


def _room(call: Call, refusal: Refusal) -> StoreError | None:
    if refusal.status == 413 or refusal.code == "EntityTooLarge":
        limit = "fewer bytes by its settings, which it did not tell,"
        return ObjectTooLarge(name=call.name, size=call.size, store=call.store, limit=limit)
    if refusal.status == 507 or refusal.says("quota", "exceed_storage"):
        return StoreFull(store=call.store, name=call.name)
    if refusal.code == "DatabaseReadOnly" or refusal.says("in read-only mode"):
        return StoreReadOnly(store=call.store, operation=call.operation, name=call.name)
    return None


def _access(call: Call, refusal: Refusal) -> StoreError | None:
    reason = refusal.reason(call.secret)
    is_denial = refusal.status in {400, 403} and (
        refusal.status == 403 or refusal.code in {"AccessDenied", "Unauthorized"}
    )
    by_login = refusal.status == 401 or refusal.code in _LOGIN_CODES
    if by_login or (is_denial and _LOGIN_WORDS.search(refusal.message)):
        return StoreLoginRefused(store=call.store, reason=reason)
    if is_denial or refusal.status == 402:
        return StoreDenied(store=call.store, name=call.name, reason=reason)
    return None


def _absence(call: Call, refusal: Refusal) -> StoreError | None:
    if refusal.status != 404 and refusal.code not in {"NoSuchBucket", "NoSuchKey"}:
        return None
    if refusal.says("nosuchbucket", "bucket not found", "related resource"):
        return BucketMissing(bucket=call.bucket, store=call.store)
    if refusal.code in _OBJECT_CODES or refusal.says("object not found"):
        return ObjectMissing(name=call.name, store=call.store)
    reason = (
        f"something answers at its endpoint, but not as the storage service: {refusal.reason(call.secret)}"
    )
    return _failed(call, reason)


def _unfit(call: Call, refusal: Refusal) -> StoreError | None:
    if refusal.status == 409 and (refusal.code in _TAKEN_CODES or refusal.says("already exists")):
        return ObjectConflict(name=call.name, store=call.store)
    if refusal.status == 415 or refusal.code in {"InvalidMimeType", "invalid_mime_type"}:
        reason = "its bucket takes some media types only, and application/octet-stream is not among them"
        return StoreUnsuitable(store=call.store, reason=reason)
    if refusal.code == "InvalidKey":
        return BadObjectName(name=call.name, reason=refusal.reason(call.secret))
    return None


def _passing(call: Call, refusal: Refusal) -> StoreError | None:
    reason = f"it answered {refusal.status}: {refusal.reason(call.secret)}"
    if refusal.status == 429 or refusal.code in {"SlowDown", "too_many_connections"}:
        return StoreThrottled(store=call.store, operation=call.operation, name=call.name, reason=reason)
    passes = refusal.status >= 500 or refusal.status in _PASSING_STATUSES or refusal.code in _PASSING_CODES
    # A resumable upload whose lock somebody else takes over is told so with status 400.
    if passes or refusal.says("lock acquired"):
        return _unavailable(call, reason)
    return None


_JUDGES = (_room, _access, _absence, _unfit, _passing)


def _not_connected(call: Call, error: Exception) -> StoreError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return _failed(call, "its certificate is not trusted (see ca_file)")
    return _unavailable(call, "no connection can be made")


def _unavailable(call: Call, reason: str) -> StoreError:
    return StoreUnavailable(store=call.store, operation=call.operation, name=call.name, reason=reason)


def _cut(call: Call, reason: str) -> StoreError:
    return TransferCut(store=call.store, operation=call.operation, name=call.name, reason=reason)


def _failed(call: Call, reason: str) -> StoreError:
    return StoreFailed(store=call.store, operation=call.operation, name=call.name, reason=reason)


def _refusal_of_library(error: "StorageApiError") -> Refusal:
    import httpx

    # The library keeps the older of the two codes only; the answer itself says more.
    if isinstance(error.__cause__, httpx.HTTPStatusError):
        return refusal_of(error.__cause__.response)
    status = str(error.status)
    return Refusal(int(status) if status.isdecimal() else 0, error.code, error.message)


def _safe(error: Exception, call: Call) -> Exception | None:
    """Keep the cause of an error only if its text does not give the key away."""
    return None if call.secret and call.secret in f"{error} {error!r}" else error
