"""Facts about the border to Google's libraries: whatever they raise is translated, and nothing secret gets through."""

import inspect
import ssl
from types import ModuleType

import google.api_core.exceptions
import google.auth.exceptions
import pytest
import requests.exceptions
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, from_http_status

from strongroom import errors
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
    StoreFailed,
    StoreLoginRefused,
    StoreNotTrusted,
    StoreThrottled,
    StoreUnavailable,
    TransferCut,
    Transient,
)
from strongroom.stores.gcs_errors import Asked, coded, translated

ASKED = Asked("gs://bucket/", "bucket", "get", "packs/x", 7)

# What becomes of each exception, by library. Everything that a library has and that is not named here fails a test.
EXPECTED: dict[str, dict[str, str]] = {
    "google.api_core.exceptions": {
        "CreationContended": "Aborted AlreadyExists Conflict",
        "ObjectMissing": "NotFound",
        "RequestRefused": """BadRequest Cancelled ClientError DataLoss DuplicateCredentialArgs FailedPrecondition
            GoogleAPICallError InvalidArgument LengthRequired MethodNotAllowed MethodNotImplemented
            MovedPermanently NotModified OutOfRange PreconditionFailed Redirection RequestRangeNotSatisfiable
            ResumeIncomplete TemporaryRedirect UnseekableStreamError UploadCancelledError""",
        "StoreDenied": "Forbidden PermissionDenied",
        "StoreLoginRefused": "Unauthenticated Unauthorized",
        "StoreThrottled": "ResourceExhausted ServiceUnavailable TooManyRequests",
        "StoreUnavailable": """BadGateway DeadlineExceeded GatewayTimeout GoogleAPIError InternalServerError
            MissingStatusHeaderError ResumableTransferError RetryError ServerError TransferStalledError Unknown""",
        # Raised for an argument of another interface of the library: a fault of the program, and shown as one.
        "": "AsyncRestUnsupportedParameterError",
    },
    "google.auth.exceptions": {
        "CredentialsMissing": """DefaultCredentialsError InvalidOperation InvalidResource InvalidType InvalidValue
            MalformedError OSError""",
        "StoreLoginRefused": """ClientCertError GoogleAuthError MutualTLSChannelError OAuthError ReauthFailError
            ReauthSamlChallengeFailError RefreshError UserAccessTokenError""",
        "StoreUnavailable": "ResponseError TimeoutError TransportError",
    },
    "requests.exceptions": {
        "RequestRefused": """InvalidHeader InvalidProxyURL InvalidSchema InvalidURL MissingSchema
            StreamConsumedError TooManyRedirects URLRequired UnrewindableBodyError""",
        "StoreUnavailable": """ConnectTimeout ConnectionError ContentDecodingError HTTPError InvalidJSONError
            JSONDecodeError ProxyError ReadTimeout RequestException RetryError SSLError Timeout""",
        "TransferCut": "ChunkedEncodingError",
    },
    "urllib3.exceptions": {
        "RequestRefused": """BodyNotHttplibCompatible HostChangedError InvalidHeader LocationParseError
            LocationValueError ProxySchemeUnknown ProxySchemeUnsupported ResponseNotChunked TimeoutStateError
            URLSchemeUnknown UnrewindableBodyError""",
        "StoreUnavailable": """ClosedPoolError ConnectTimeoutError DecodeError EmptyPoolError FullPoolError
            HTTPError HeaderParsingError MaxRetryError NameResolutionError NewConnectionError PoolError ProxyError
            ReadTimeoutError RequestError ResponseError SSLError TimeoutError""",
        "TransferCut": "ConnectionError IncompleteRead InvalidChunkLength ProtocolError",
    },
}
MODULES = [google.api_core.exceptions, google.auth.exceptions, requests.exceptions, urllib3.exceptions]


def exceptions_of(module: ModuleType) -> dict[str, type[Exception]]:
    """Return the exceptions that a module defines, by the names under which it has them."""
    return {
        name: kind
        for name, kind in vars(module).items()
        if inspect.isclass(kind)
        and issubclass(kind, Exception)
        and not issubclass(kind, Warning)
        and kind.__module__ == module.__name__
    }


def made(kind: type[Exception]) -> Exception:
    """Make an exception, whatever its arguments are."""
    try:
        return kind("secret words")
    except TypeError:
        bare = kind.__new__(kind)
        Exception.__init__(bare, "secret words")
        return bare


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_exception_of_the_library_is_translated(module: ModuleType) -> None:
    """Each becomes what the table says; an exception that a new release brings is missed here, not in an outage."""
    expected = {name: kind for kind, names in EXPECTED[module.__name__].items() for name in names.split()}
    found = {name: coded(made(kind), ASKED) for name, kind in exceptions_of(module).items()}
    assert expected == {name: type(error).__name__ if error else "" for name, error in found.items()}


@pytest.mark.parametrize("module", MODULES[1:], ids=lambda module: module.__name__)
def test_the_text_of_a_library_is_not_repeated(module: ModuleType) -> None:
    """It holds URLs and answers of the token service; only answers of the store itself are quoted."""
    found = [coded(made(kind), ASKED) for kind in exceptions_of(module).values()]
    assert [] == [error for error in found if error and "secret words" in str(error.document())]


def answer(status: int, message: str = "said so", reason: str = "") -> GoogleAPICallError:
    """Make what the library makes of an answer."""
    url = "https://storage.googleapis.com/upload/storage/v1/b/bucket/o?upload_id=capability"
    reasons = [{"reason": reason, "message": message}] if reason else []
    error = from_http_status(status, f"PUT {url}: {message}", errors=reasons)  # type: ignore[no-untyped-call]
    assert isinstance(error, GoogleAPICallError)
    return error


HASH = 'Provided crc32c hash "AAAAAA==" doesn\'t match calculated crc32c hash "BBBBBB==".'
ANSWERS: list[tuple[type[StoreError], int, str, str]] = [
    (StoreUnavailable, 400, HASH, "invalid"),
    (OptionUnfit, 400, "The bucket does not have object retention enabled.", "invalid"),
    (RequestRefused, 400, "Invalid argument.", "invalid"),
    (StoreLoginRefused, 401, "Anonymous caller does not have storage.objects.get access.", "required"),
    (StoreDenied, 403, "worker@x does not have storage.objects.get access to the object.", "forbidden"),
    (
        StoreDenied,
        403,
        "The billing account for the owning project is disabled in state absent",
        "accountDisabled",
    ),
    (StoreDenied, 403, "Access denied", "billingNotEnabled"),
    (ObjectLocked, 403, "Object 'b/x' is under active Temporary hold", "objectUnderActiveHold"),
    (ObjectLocked, 403, "Object 'b/x' is subject to bucket's retention policy", "retentionPolicyNotMet"),
    (StoreThrottled, 403, "User Rate Limit Exceeded", "userRateLimitExceeded"),
    (StoreThrottled, 403, "Rate Limit Exceeded", "rateLimitExceeded"),
    (StoreThrottled, 403, "The quota for your project has been exceeded", "quotaExceeded"),
    (BucketMissing, 404, "The specified bucket does not exist.", "notFound"),
    (ObjectMissing, 404, "No such object: bucket/packs/x", "notFound"),
    (StoreUnavailable, 408, "Request timeout", ""),
    (CreationContended, 409, "A conflicting conditional request is running", "conflict"),
    (ObjectTooLarge, 413, "Too large", "uploadTooLarge"),
    (
        StoreThrottled,
        429,
        "The object exceeded the rate limit for object mutation operations",
        "rateLimitExceeded",
    ),
    (StoreUnavailable, 500, "Internal error", "backendError"),
    (StoreUnavailable, 502, "Bad gateway", ""),
    (StoreThrottled, 503, "Try again", "backendError"),
    (StoreUnavailable, 504, "Too slow", ""),
    (RequestRefused, 501, "No such thing", ""),
]


@pytest.mark.parametrize(("kind", "status", "message", "reason"), ANSWERS)
def test_an_answer_is_told_apart_by_its_reason(
    kind: type[StoreError], status: int, message: str, reason: str
) -> None:
    """One status means several things; what the service says in words is kept, its URL is not."""
    error = coded(answer(status, message, reason), ASKED)
    assert error is not None
    assert kind is type(error)
    assert "capability" not in str(error.document())


def test_nothing_lasting_is_tried_again() -> None:
    """Only what may pass by itself is transient: refusals, locks and missing things are not."""
    lasting = {kind for kind, *_ in ANSWERS if not issubclass(kind, Transient)}
    assert {
        BucketMissing,
        ObjectLocked,
        ObjectMissing,
        ObjectTooLarge,
        OptionUnfit,
        RequestRefused,
        StoreDenied,
        StoreLoginRefused,
    } == lasting


@pytest.mark.parametrize(
    ("operation", "permission"),
    [
        ("put", "objects.create"),
        ("create", "objects.create"),
        ("get", "objects.get"),
        ("stat", "objects.get"),
        ("list", "objects.list"),
        ("delete", "objects.delete"),
        ("lock", "setRetention"),
    ],
)
def test_a_refusal_names_the_permission_that_it_takes(operation: str, permission: str) -> None:
    """Whoever reads the sentence knows what to grant."""
    error = coded(answer(403, "no"), Asked("gs://b/", "b", operation, "x"))
    assert isinstance(error, StoreDenied)
    assert permission in str(error)


@pytest.mark.parametrize("operation", ["put", "create", "list"])
def test_writing_and_listing_miss_nothing_but_the_bucket(operation: str) -> None:
    """A 404 without a sentence is the bucket's then."""
    assert isinstance(coded(answer(404), Asked("gs://b/", "b", operation, "x")), BucketMissing)


def test_tokens_are_refused_for_several_reasons() -> None:
    """A wrong clock, a revoked account, and a token service that is down are three things."""
    refused = google.auth.exceptions.RefreshError
    skewed = (
        "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes); check your iat and exp"
    )
    cases: list[tuple[type[StoreError], Exception]] = [
        (ClockSkewed, refused(skewed)),  # type: ignore[no-untyped-call]
        (StoreLoginRefused, refused("invalid_grant: Invalid grant: account not found")),  # type: ignore[no-untyped-call]
        (StoreUnavailable, refused("internal_failure", retryable=True)),  # type: ignore[no-untyped-call]
    ]
    for expected, error in cases:
        assert expected is type(coded(error, ASKED))


def test_a_certificate_is_not_trusted_however_deep_it_lies() -> None:
    """The reason is found behind the exceptions that each layer puts around it; other trouble of TLS may pass."""
    failed = ssl.SSLCertVerificationError(1, "certificate verify failed")
    failed.verify_message = "self-signed certificate"
    outer = requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "/", failed))  # type: ignore[arg-type]
    found = coded(outer, ASKED)
    assert isinstance(found, StoreNotTrusted)
    assert "self-signed" in str(found)
    damaged = ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] bad record")
    assert isinstance(coded(requests.exceptions.SSLError(damaged), ASKED), StoreUnavailable)


def test_a_reset_is_a_cut_transfer() -> None:
    """The operating system's word for it is the reason."""
    reset = urllib3.exceptions.ProtocolError("aborted", ConnectionResetError(104, "Connection reset by peer"))
    found = coded(requests.exceptions.ConnectionError(reset), ASKED)
    assert isinstance(found, TransferCut)
    assert "reset by peer" in str(found)


def test_a_fault_of_the_program_is_not_dressed_up() -> None:
    """What none of the libraries raises goes through as it is, and coded errors stay what they are."""
    with pytest.raises(ZeroDivisionError), translated(ASKED):
        raise ZeroDivisionError
    with pytest.raises(ObjectMissing), translated(ASKED):
        raise ObjectMissing(name="x", store="y")


def test_the_cause_is_left_out() -> None:
    """A traceback of the coded error does not show the library's, whose text holds the URL of an upload."""
    with pytest.raises(StoreUnavailable) as caught, translated(ASKED):
        raise answer(500)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_every_kind_that_the_table_names_exists() -> None:
    """The table above speaks of errors of the one tree."""
    named = {kind for table in EXPECTED.values() for kind in table if kind}
    assert all(issubclass(getattr(errors, kind), StoreError) for kind in named)
    assert issubclass(RequestRefused, StoreFailed)
    assert not issubclass(CredentialsMissing, Transient)
