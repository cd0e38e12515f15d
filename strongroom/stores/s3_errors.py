"""The border to botocore: everything that it raises becomes a coded error. The only such place.

An answer of the service is judged by its code, and where there is none (answers to HEAD, Supabase's endpoint)
by its HTTP status. What a service says in words is not repeated: it may echo what was sent.

    with translated(Request("s3://bucket/prefix", "bucket", "put", "packs/3f/3f9a…")):
        client.put_object(…)
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from strongroom.errors import (
    BadStoreUrl,
    BucketMissing,
    ClockSkewed,
    CreationContended,
    CredentialsMissing,
    ObjectDamaged,
    ObjectFrozen,
    ObjectMissing,
    ObjectTooLarge,
    OptionUnfit,
    RequestRefused,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreLoginRefused,
    StoreNotTrusted,
    StoreThrottled,
    StoreUnavailable,
    TransferCut,
    WrongRegion,
)

REMEDY = (
    "Set access_key and secret_key of the location, or give them where the AWS tools look: the variables "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the role of the machine."
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked of the service: all that an error may say of it."""

    store: str
    bucket: str
    operation: str
    name: str
    region: str = ""
    size: int | None = None
    """The number of bytes that were sent, where the request sends any."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered instead of doing it; `code` is empty where it gave none."""

    status: int
    code: str
    details: Mapping[str, Any]


class Declined(Exception):
    """An answer that the caller said it expects, such as 412 to a conditional put. Never leaves the store."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status, answer.code)
        self.answer = answer


@contextmanager
def translated(request: Request, expected: frozenset[int] = frozenset()) -> Iterator[None]:
    """Run calls of botocore; raise what goes wrong there as a coded error.

    Answers with an HTTP status in `expected` raise `Declined`, for the caller to judge.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        answer = answer_of(error.response)
        if answer.status in expected:
            raise Declined(answer) from None
        raise coded_answer(answer, request) from error
    except BotoCoreError as error:
        raise coded_failure(error, request) from error
    except (HTTPError, OSError) as error:
        # Not wrapped by botocore: they come up while the body of an answer is read.
        raise _cut(error, request) from error
    except ValueError as error:
        # What botocore makes of endpoints that it cannot parse; its text repeats them.
        raise OptionUnfit(option="endpoint", scheme="s3", reason="it is no URL of a service") from error


def answer_of(response: Mapping[str, Any]) -> Answer:
    """Take status and code out of a `ClientError`'s response; a code that only repeats a status is none."""
    details = response.get("Error") or {}
    code = str(details.get("Code") or "")
    status = int((response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    if code.isdigit():
        return Answer(status or int(code), "", details)
    return Answer(status, code, details)


# ---------------------------------------------------------------- answers

_Coder = Callable[[Answer, Request], StoreError]


def coded_answer(answer: Answer, request: Request) -> StoreError:
    """Return the coded error for an answer of the service."""
    by_code = _BY_CODE.get(answer.code)
    if by_code is not None:
        return by_code(answer, request)
    by_status = _BY_STATUS.get(answer.status)
    if by_status is not None:
        return by_status(answer, request)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _unavailable(answer, request)
    return _refused(answer, request)


def _said(answer: Answer) -> str:
    return f"it answered {answer.code or 'without a code'} (HTTP {answer.status})"


def _login(answer: Answer, request: Request) -> StoreError:
    return StoreLoginRefused(store=request.store, reason=_said(answer))


def _denied(answer: Answer, request: Request) -> StoreError:
    reason = f"the right to {request.operation} is not given; {_said(answer)}"
    if request.operation in {"get", "stat"}:
        reason += ", which without the right to list also stands for an object that is not there"
    return StoreDenied(store=request.store, name=request.name, reason=reason)


def _missing(_answer: Answer, request: Request) -> StoreError:
    if request.operation in {"get", "stat", "lock"}:
        return ObjectMissing(name=request.name, store=request.store)
    return _no_bucket(_answer, request)


def _no_bucket(_answer: Answer, request: Request) -> StoreError:
    return BucketMissing(bucket=request.bucket, store=request.store)


def _no_upload(answer: Answer, request: Request) -> StoreError:
    # Somebody aborted it as a leftover, or a lifecycle rule did: the whole put can be tried again.
    return _unavailable(answer, request)


def _region(answer: Answer, request: Request) -> StoreError:
    right = answer.details.get("Region")
    reason = f"the service says {right}" if right else _said(answer)
    return WrongRegion(store=request.store, region=repr(request.region), reason=reason)


def _skewed(answer: Answer, request: Request) -> StoreError:
    return ClockSkewed(store=request.store, reason=_said(answer))


def _throttled(answer: Answer, request: Request) -> StoreError:
    return StoreThrottled(
        store=request.store, operation=request.operation, name=request.name, reason=_said(answer)
    )


def _unavailable(answer: Answer, request: Request) -> StoreError:
    return StoreUnavailable(
        store=request.store, operation=request.operation, name=request.name, reason=_said(answer)
    )


def _too_large(answer: Answer, request: Request) -> StoreError:
    limit = answer.details.get("MaxSizeAllowed") or "fewer"
    size = "too many" if request.size is None else request.size
    return ObjectTooLarge(name=request.name, size=size, store=request.store, limit=limit)


def _full(_answer: Answer, request: Request) -> StoreError:
    return StoreFull(store=request.store, name=request.name)


def _damaged(answer: Answer, request: Request) -> StoreError:
    return ObjectDamaged(
        name=request.name,
        store=request.store,
        expected="the one that was announced",
        observed=f"another value ({answer.code})",
    )


def _contended(_answer: Answer, request: Request) -> StoreError:
    return CreationContended(name=request.name, store=request.store)


def _frozen(answer: Answer, request: Request) -> StoreError:
    storage_class = answer.details.get("StorageClass") or "an archive class"
    return ObjectFrozen(name=request.name, store=request.store, storage_class=storage_class)


def _bad_bucket(_answer: Answer, _request: Request) -> StoreError:
    return BadStoreUrl(reason="the service does not allow such a bucket name")


def _no_lock(_answer: Answer, _request: Request) -> StoreError:
    return OptionUnfit(option="object_lock", scheme="s3", reason="the bucket has no object lock switched on")


def _refused(answer: Answer, request: Request) -> StoreError:
    return RequestRefused(
        store=request.store, operation=request.operation, name=request.name, reason=_said(answer)
    )


def _table(*rows: tuple[_Coder, str]) -> dict[str, _Coder]:
    return {code: coder for coder, codes in rows for code in codes.split()}


_BY_CODE = _table(
    (_login, "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired"),
    (
        _login,
        "InvalidSecurity NotSignedUp AccountProblem Unauthorized ExpiredTokenException InvalidClientTokenId",
    ),
    (_denied, "AccessDenied AllAccessDisabled MethodNotAllowed AccessForbidden Forbidden UnauthorizedAccess"),
    (_missing, "NoSuchKey NotFound NoSuchVersion"),
    (_no_bucket, "NoSuchBucket"),
    (_no_upload, "NoSuchUpload"),
    (_region, "PermanentRedirect TemporaryRedirect AuthorizationHeaderMalformed IllegalLocationConstraint"),
    (_region, "IllegalLocationConstraintException IncorrectEndpoint InvalidRegion InvalidLocationConstraint"),
    (_skewed, "RequestTimeTooSkewed RequestExpired"),
    (_throttled, "SlowDown SlowDownRead SlowDownWrite Throttling ThrottlingException RequestLimitExceeded"),
    (_throttled, "TooManyRequests RequestThrottled BandwidthLimitExceeded Busy ServerBusy"),
    (_unavailable, "InternalError InternalServerError ServiceUnavailable RequestTimeout OperationAborted"),
    (_unavailable, "XMinioServerNotInitialized XMinioReadQuorum XMinioWriteQuorum IncompleteBody"),
    (_too_large, "EntityTooLarge MaxMessageLengthExceeded PayloadTooLarge"),
    (
        _full,
        "QuotaExceeded XMinioStorageFull XMinioAdminBucketQuotaExceeded InsufficientCapacity InsufficientStorage",
    ),
    (_full, "StorageQuotaExceeded StorageLimitExceeded ObjectQuotaExceeded UserQuotaExceeded"),
    (_damaged, "BadDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch InvalidDigest"),
    (_contended, "ConditionalRequestConflict PreconditionFailed"),
    (_frozen, "InvalidObjectState"),
    (_bad_bucket, "InvalidBucketName"),
    (_no_lock, "ObjectLockConfigurationNotFoundError InvalidBucketState"),
)

_BY_STATUS: dict[int, _Coder] = {
    HTTPStatus.MOVED_PERMANENTLY: _region,
    HTTPStatus.TEMPORARY_REDIRECT: _region,
    HTTPStatus.UNAUTHORIZED: _login,
    HTTPStatus.FORBIDDEN: _denied,
    HTTPStatus.NOT_FOUND: _missing,
    HTTPStatus.METHOD_NOT_ALLOWED: _denied,
    HTTPStatus.REQUEST_TIMEOUT: _unavailable,
    HTTPStatus.CONFLICT: _contended,
    HTTPStatus.PRECONDITION_FAILED: _contended,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: _too_large,
    HTTPStatus.TOO_MANY_REQUESTS: _throttled,
    HTTPStatus.NOT_IMPLEMENTED: _refused,
    HTTPStatus.SERVICE_UNAVAILABLE: _throttled,
    HTTPStatus.INSUFFICIENT_STORAGE: _full,
}


# ---------------------------------------------------------------- failures without an answer

_PASSING = (
    *("ConnectionError", "HTTPClientError", "CapacityNotAvailableError", "ReadTimeoutError"),
    *("ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError", "ConnectionClosedError"),
)
_CUT = ("ResponseStreamingError", "IncompleteReadError", "ChecksumError", "FlexibleChecksumError")
_NO_CREDENTIALS = (
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError"),
    *("TokenRetrievalError", "UnknownTokenProviderError", "UnknownCredentialError", "ProfileNotFound"),
    *("ConfigNotFound", "ConfigParseError", "MetadataRetrievalError", "InvalidIMDSEndpointError"),
    *("InvalidIMDSEndpointModeError", "SSOError", "LoginError", "RefreshWithMFAUnsupportedError"),
    *("InvalidConfigError", "InvalidSTSRegionalEndpointsConfigError"),
)
_NO_REGION = ("NoRegionError", "InvalidRegionError", "UnknownRegionError", "ServiceNotInRegionError")
_BAD_URL = ("ParamValidationError", "InvalidDNSNameError", "InvalidHostLabelError", "UnsupportedS3ArnError")
_BAD_ENDPOINT = (
    *("UnknownEndpointError", "EndpointVariantError", "EndpointProviderError", "EndpointResolutionError"),
    *("InvalidEndpointConfigurationError", "UnsupportedS3ConfigurationError", "InvalidProxiesConfigError"),
)


def coded_failure(error: Exception, request: Request) -> StoreError:
    """Return the coded error for a `BotoCoreError`: something that is no answer of the service."""
    for kind in type(error).__mro__:
        coder = _BY_KIND.get(kind.__name__)
        if coder is not None:
            return coder(error, request)
    reason = f"the client library gave up ({type(error).__name__})"
    return RequestRefused(store=request.store, operation=request.operation, name=request.name, reason=reason)


def _passing(error: Exception, request: Request) -> StoreError:
    return StoreUnavailable(
        store=request.store,
        operation=request.operation,
        name=request.name,
        reason=f"no answer ({type(error).__name__})",
    )


def _cut(error: Exception, request: Request) -> StoreError:
    return TransferCut(name=request.name, store=request.store, reason=type(error).__name__)


def _tls(error: Exception, request: Request) -> StoreError:
    text = str(error)
    if "EOF" in text or "reset" in text.lower():
        # The other side went away while TLS was agreed: an overloaded proxy, not a wrong certificate.
        return _passing(error, request)
    _, found, detail = text.partition("certificate verify failed")
    if not found:
        return StoreNotTrusted(store=request.store, reason="TLS could not be agreed")
    # What follows is OpenSSL's own sentence, as in `: unable to get local issuer certificate`.
    said = detail.partition("(_ssl")[0].rstrip()
    return StoreNotTrusted(store=request.store, reason=f"its certificate is not trusted{said}")


def _no_credentials(_error: Exception, request: Request) -> StoreError:
    return CredentialsMissing(store=request.store, remedy=REMEDY)


def _no_region(error: Exception, request: Request) -> StoreError:
    reason = f"no usable region is set ({type(error).__name__})"
    return WrongRegion(store=request.store, region=repr(request.region), reason=reason)


def _bad_url(_error: Exception, _request: Request) -> StoreError:
    return BadStoreUrl(reason="its bucket name is not one that S3 allows")


def _bad_endpoint(_error: Exception, _request: Request) -> StoreError:
    return OptionUnfit(option="endpoint", scheme="s3", reason="the client library finds no service there")


_BY_KIND: dict[str, Callable[[Exception, Request], StoreError]] = {
    "SSLError": _tls,
    **dict.fromkeys(_PASSING, _passing),
    **dict.fromkeys(_CUT, _cut),
    **dict.fromkeys(_NO_CREDENTIALS, _no_credentials),
    **dict.fromkeys(_NO_REGION, _no_region),
    **dict.fromkeys(_BAD_URL, _bad_url),
    **dict.fromkeys(_BAD_ENDPOINT, _bad_endpoint),
}
"""Name of an exception class of botocore -> what it becomes; a subclass becomes what its base does."""
