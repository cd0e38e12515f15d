"""The border to Google's libraries: what they raise becomes a coded error. Nothing else raises through it.

    with translated(Asked("gs://bucket/", "bucket", "get", "packs/3f/…")):
        session.get(…)

Four libraries speak here: `google.api_core` (answers of the service), `google.auth` (credentials), `requests`
and, where a body is read as it comes, `urllib3`. Sentences are made of the service's own words and of the kind
of an exception, never of its text: that holds URLs, and the URL of an upload session lets anybody go on with it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from strongroom.errors import (
    BucketMissing,
    ClockSkewed,
    CreationContended,
    CredentialsMissing,
    ObjectLocked,
    ObjectMissing,
    ObjectTooLarge,
    OptionUnfit,
    RequestRefused,
    StoreDenied,
    StoreError,
    StoreLoginRefused,
    StoreNotTrusted,
    StoreThrottled,
    StoreUnavailable,
    TransferCut,
)

LARGEST_OBJECT = 5 << 40
"""Bytes: what Google Cloud Storage takes."""

REMEDY = (
    "Set `credentials_file` of the location to the JSON key of a service account, or GOOGLE_APPLICATION_CREDENTIALS "
    "in the environment, or run `gcloud auth application-default login`."
)

_PERMISSIONS = {
    "put": "storage.objects.create",
    "create": "storage.objects.create",
    "list": "storage.objects.list",
    "delete": "storage.objects.delete",
    "lock": "storage.objects.update and storage.objects.setRetention",
}
# Anything else that TLS complains of, such as a record that was damaged on the way, may pass.
_NO_TLS = {
    "WRONG_VERSION_NUMBER",
    "UNSUPPORTED_PROTOCOL",
    "NO_PROTOCOLS_AVAILABLE",
    "HTTP_REQUEST",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
}
# Names of exceptions in requests and urllib3 that come of what was asked, and not of the way.
_MISUSES = (
    "BodyNotHttplibCompatible",
    "HostChangedError",
    "InvalidHeader",
    "InvalidProxyURL",
    "InvalidSchema",
    "InvalidURL",
    "LocationValueError",
    "MissingSchema",
    "ProxySchemeUnknown",
    "ResponseNotChunked",
    "StreamConsumedError",
    "TimeoutStateError",
    "TooManyRedirects",
    "URLRequired",
    "UnrewindableBodyError",
)
_LOCKED = {"retentionPolicyNotMet", "objectUnderActiveHold"}
_TOO_OFTEN = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of which bucket: the words of every error sentence."""

    store: str
    bucket: str
    operation: str
    name: str
    size: int = 0


@contextmanager
def translated(asked: Asked) -> Iterator[None]:
    """Run calls of the libraries; raise what goes wrong there as a `StoreError`.

    The cause is left out, since its text holds URLs that are as good as passwords.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        found = coded(error, asked)
        if found is None:
            raise
        raise found from None


def coded(error: Exception, asked: Asked) -> StoreError | None:
    """Return the coded error for an exception of the libraries; None if it is none of theirs."""
    from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests import RequestException
    from urllib3.exceptions import HTTPError, ProxySchemeUnsupported

    # Most special first: errors of requests, and one of google.auth, are OSErrors too.
    kinds: tuple[tuple[type[Exception], Callable[[Any, Asked], StoreError]], ...] = (
        (GoogleAPICallError, of_answer),
        (GoogleAPIError, _of_library),
        (GoogleAuthError, _of_credentials),
        (RequestException, _of_request),
        (HTTPError, _of_urllib3),
        (ProxySchemeUnsupported, _misused),
        (OSError, _of_connection),
    )
    return next((made(error, asked) for kind, made in kinds if isinstance(error, kind)), None)


# ---------------------------------------------------------------- answers of the service


def of_answer(error: Any, asked: Asked) -> StoreError:
    """Translate an answer by its status, and by the service's reason where one status means several things."""
    status, said = int(error.code or 0), _said(error)
    if status == 400:
        return _of_bad_request(said, asked)
    if status == 403:
        return _of_refusal(_reasons(error), said, asked)
    if status in {404, 410}:
        return _of_missing(said, asked)
    store, name = asked.store, asked.name
    plain: dict[int, StoreError] = {
        401: StoreLoginRefused(store=store, reason=said),
        409: CreationContended(name=name, store=store),
        413: ObjectTooLarge(name=name, store=store, size=asked.size, limit=LARGEST_OBJECT),
    }
    if status in plain:
        return plain[status]
    kind: type[StoreError] = RequestRefused
    if status in {429, 503}:
        kind = StoreThrottled
    elif status == 408 or (status >= 500 and status != 501) or (not status and _may_pass(error)):
        kind = StoreUnavailable
    return kind(store=store, operation=asked.operation, name=name, reason=said)


def _may_pass(error: Any) -> bool:
    """Tell of an error without a status whether it may pass: these come of gRPC and of the library's own uploads."""
    from google.api_core import exceptions

    lasting = (exceptions.DataLoss, exceptions.UnseekableStreamError, exceptions.UploadCancelledError)
    passing = (exceptions.ServerError, exceptions.ResumableTransferError)
    return isinstance(error, passing) and not isinstance(error, lasting)


def _of_missing(said: str, asked: Asked) -> StoreError:
    # An upload misses nothing but the bucket, and so does a list.
    if asked.operation in {"list", "put", "create"} or "bucket does not exist" in said:
        return BucketMissing(bucket=asked.bucket, store=asked.store)
    return ObjectMissing(name=asked.name, store=asked.store)


def _of_bad_request(said: str, asked: Asked) -> StoreError:
    if re.search(r"hash|checksum", said, re.IGNORECASE):
        # What arrived was not what was sent; it was not stored.
        reason = f"the service got other bytes than were sent ({said})"
        return StoreUnavailable(store=asked.store, operation=asked.operation, name=asked.name, reason=reason)
    if re.search(r"retention", said, re.IGNORECASE):
        return OptionUnfit(option="object_lock", scheme="gs", reason=f"the bucket does not allow it ({said})")
    return RequestRefused(store=asked.store, operation=asked.operation, name=asked.name, reason=said)


def _of_refusal(reasons: set[str], said: str, asked: Asked) -> StoreError:
    if reasons & _LOCKED or re.search(r"retention policy|active .*hold|object retention", said):
        return ObjectLocked(name=asked.name, store=asked.store, until="a date that the bucket keeps")
    if reasons & _TOO_OFTEN:
        return StoreThrottled(store=asked.store, operation=asked.operation, name=asked.name, reason=said)
    if re.search(r"billing", said, re.IGNORECASE) or reasons & {"accountDisabled", "billingNotEnabled"}:
        return StoreDenied(
            store=asked.store, name=asked.name, reason=f"billing of the project is off ({said})"
        )
    permission = _PERMISSIONS.get(asked.operation, "storage.objects.get")
    reason = f"{said} (it takes the permission {permission})"
    return StoreDenied(store=asked.store, name=asked.name, reason=reason)


def _reasons(error: Any) -> set[str]:
    entries = (entry for entry in error.errors or () if isinstance(entry, dict))
    return {str(entry.get("reason", "")) for entry in entries}


def _said(error: Any) -> str:
    """Return the service's own sentence, without the method and URL that the library puts before it."""
    text = re.sub(r"^[A-Z]+ https?://\S+: ", "", str(error.message or ""))
    text = re.sub(r"https?://\S+", "…", " ".join(text.split())).strip().rstrip(".")
    return f"{error.code}: {text[:200]}" if text else str(error.code)


def _of_library(error: Any, asked: Asked) -> StoreError:
    from google.api_core.exceptions import DuplicateCredentialArgs

    if isinstance(error, DuplicateCredentialArgs):
        return _misused(error, asked)
    reason = f"the library gave up ({type(error).__name__})"
    return StoreUnavailable(store=asked.store, operation=asked.operation, name=asked.name, reason=reason)


# ---------------------------------------------------------------- credentials


def _of_credentials(error: Any, asked: Asked) -> StoreError:
    from google.auth import exceptions

    kind = type(error).__name__
    if isinstance(error, exceptions.DefaultCredentialsError):
        return CredentialsMissing(store=asked.store, remedy=REMEDY)
    passing = (exceptions.TransportError, exceptions.TimeoutError, exceptions.ResponseError)
    if isinstance(error, passing) or error.retryable:
        reason = f"the service that gives tokens cannot be reached ({kind})"
        return StoreUnavailable(store=asked.store, operation=asked.operation, name=asked.name, reason=reason)
    # Only the word by which OAuth names the problem: the text may hold what the token service sent.
    words = re.search(r"\b(invalid_\w+|unauthorized_client|access_denied|account\w*)\b", str(error))
    if re.search(r"short-lived token|\biat\b", str(error)):
        return ClockSkewed(store=asked.store, reason="the token service refuses the time of the request")
    reason = f"no token was given ({words.group() if words else kind})"
    return StoreLoginRefused(store=asked.store, reason=reason)


# ---------------------------------------------------------------- the way to the service


def _of_request(error: Any, asked: Asked) -> StoreError:
    import requests

    if isinstance(error, _misuses(requests.exceptions)):
        return _misused(error, asked)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return TransferCut(name=asked.name, store=asked.store, reason=type(error).__name__)
    return _of_connection(error, asked)


def _of_urllib3(error: Any, asked: Asked) -> StoreError:
    import urllib3

    if isinstance(error, _misuses(urllib3.exceptions)):
        return _misused(error, asked)
    return _of_connection(error, asked)


def _misuses(library: Any) -> tuple[type[Exception], ...]:
    """Return what a library raises if it is asked for what cannot be."""
    return tuple(vars(library)[name] for name in _MISUSES if name in vars(library))


def _misused(error: Exception, asked: Asked) -> StoreError:
    reason = f"the request cannot be made ({type(error).__name__})"
    return RequestRefused(store=asked.store, operation=asked.operation, name=asked.name, reason=reason)


def _of_connection(error: BaseException, asked: Asked) -> StoreError:
    """Translate what went wrong on the way by the innermost exception that says something."""
    import ssl
    from http.client import IncompleteRead

    from urllib3.exceptions import ProtocolError

    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StoreNotTrusted(store=asked.store, reason=cause.verify_message or "it cannot be verified")
        # Not every `SSLError` has a reason; those that Python's own code raises have none.
        reason = getattr(cause, "reason", "") if isinstance(cause, ssl.SSLError) else ""
        if reason in _NO_TLS:
            return StoreNotTrusted(store=asked.store, reason=reason.replace("_", " ").lower())
    reason = _reason_of(causes)
    cut = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, ProtocolError, IncompleteRead)
    if any(isinstance(cause, cut) for cause in causes):
        return TransferCut(name=asked.name, store=asked.store, reason=reason)
    return StoreUnavailable(store=asked.store, operation=asked.operation, name=asked.name, reason=reason)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that are behind it: as causes, as arguments, or as `reason` (urllib3)."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop(0)
        if not isinstance(found, BaseException) or any(found is other for other in seen):
            continue
        seen.append(found)
        yield found
        waiting += [*found.args, found.__cause__, found.__context__, getattr(found, "reason", None)]


def _reason_of(causes: list[BaseException]) -> str:
    """Return the operating system's word for what happened, else the kind of the exception."""
    words = (cause.strerror for cause in reversed(causes) if isinstance(cause, OSError) and cause.errno)
    return next((word for word in words if word), type(causes[0]).__name__)
