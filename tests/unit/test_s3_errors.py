"""Everything that botocore raises, and every answer of a service, becomes a coded error without secrets."""

import inspect
from typing import Any

import botocore.exceptions
import pytest
import urllib3.exceptions
from botocore.exceptions import ClientError

from strongroom.errors import (
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
    Transient,
    WrongRegion,
)
from strongroom.stores.s3_errors import Declined, Request, answer_of, coded_answer, translated
from strongroom.stores.s3_multipart import MOST_PARTS, PART_BYTES, part_bytes

REQUEST = Request("s3://bucket/prefix", "bucket", "put", "packs/ab/abc", "eu-1", 17)
SECRET = "AKIASECRET"

EXCEPTIONS = [
    kind
    for _, kind in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(kind, botocore.exceptions.BotoCoreError) and kind.__module__ == "botocore.exceptions"
]


def raised_as(error: BaseException, request: Request = REQUEST) -> StoreError:
    """Raise an error inside the border and return what comes out."""
    with pytest.raises(StoreError) as raised, translated(request):
        raise error
    return raised.value


def bare(kind: type[Exception], *text: str) -> Exception:
    """Make an exception of a kind whose constructor wants what only botocore has."""
    error = kind.__new__(kind)
    Exception.__init__(error, *text)
    return error


def refusal(status: int, code: str, **details: Any) -> ClientError:
    """Make what botocore raises for an answer of the service."""
    error = {"Code": code, "Message": f"you sent {SECRET}", **details}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def test_there_are_many_exceptions() -> None:
    """The list that the next test walks through is found, so that it cannot pass for want of exceptions."""
    assert len(EXCEPTIONS) > 80


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_exception_of_botocore_is_coded(kind: type[Exception]) -> None:
    """No exception of the library gets through, and nothing of its text does."""
    error = raised_as(bare(kind, SECRET))
    assert error.code.startswith("SR-06")
    assert SECRET not in f"{error} {error.advice()} {error.document()}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EndpointConnectionError", StoreUnavailable),
        ("ConnectTimeoutError", StoreUnavailable),
        ("ReadTimeoutError", StoreUnavailable),
        ("ProxyConnectionError", StoreUnavailable),
        ("ConnectionClosedError", StoreUnavailable),
        ("HTTPClientError", StoreUnavailable),
        ("IncompleteReadError", TransferCut),
        ("ResponseStreamingError", TransferCut),
        ("NoCredentialsError", CredentialsMissing),
        ("PartialCredentialsError", CredentialsMissing),
        ("UnauthorizedSSOTokenError", CredentialsMissing),
        ("ProfileNotFound", CredentialsMissing),
        ("NoRegionError", WrongRegion),
        ("InvalidRegionError", WrongRegion),
        ("SSLError", StoreNotTrusted),
        ("ParamValidationError", StoreError),
        ("EndpointResolutionError", OptionUnfit),
        ("InvalidRetryModeError", RequestRefused),
    ],
)
def test_exceptions_by_kind(name: str, expected: type[StoreError]) -> None:
    """An exception becomes the error that says what a user can do; only what may pass is transient."""
    error = raised_as(bare(getattr(botocore.exceptions, name)))
    assert isinstance(error, expected)
    assert issubclass(expected, Transient) == isinstance(error, Transient)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unknown issuer (_ssl.c:1)",
            StoreNotTrusted,
        ),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol", StoreUnavailable),
    ],
)
def test_tls_errors(text: str, expected: type[StoreError]) -> None:
    """A certificate that is not trusted stays so; a connection that ends in the middle may be made again."""
    error = botocore.exceptions.SSLError(endpoint_url="https://s3.example.com", error=text)
    coded = raised_as(error)
    assert expected is type(coded)
    assert ("unknown issuer" in str(coded)) == (expected is StoreNotTrusted)


@pytest.mark.parametrize(
    "error", [urllib3.exceptions.ProtocolError("x"), ConnectionResetError(), TimeoutError()]
)
def test_bodies_that_break_off(error: Exception) -> None:
    """What comes up raw while a body is read is a cut transfer."""
    assert isinstance(raised_as(error), TransferCut)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "InvalidAccessKeyId", StoreLoginRefused),
        (403, "SignatureDoesNotMatch", StoreLoginRefused),
        (400, "ExpiredToken", StoreLoginRefused),
        (401, "", StoreLoginRefused),
        (403, "AccessDenied", StoreDenied),
        (403, "", StoreDenied),
        (404, "NoSuchBucket", BucketMissing),
        (404, "", BucketMissing),
        (301, "PermanentRedirect", WrongRegion),
        (301, "", WrongRegion),
        (400, "AuthorizationHeaderMalformed", WrongRegion),
        (400, "IllegalLocationConstraintException", WrongRegion),
        (403, "RequestTimeTooSkewed", ClockSkewed),
        (503, "SlowDown", StoreThrottled),
        (503, "", StoreThrottled),
        (429, "", StoreThrottled),
        (500, "InternalError", StoreUnavailable),
        (500, "", StoreUnavailable),
        (502, "", StoreUnavailable),
        (504, "", StoreUnavailable),
        (400, "RequestTimeout", StoreUnavailable),
        (404, "NoSuchUpload", StoreUnavailable),
        (200, "InternalError", StoreUnavailable),
        (400, "EntityTooLarge", ObjectTooLarge),
        (413, "", ObjectTooLarge),
        (507, "", StoreFull),
        (403, "QuotaExceeded", StoreFull),
        (507, "XMinioStorageFull", StoreFull),
        (400, "BadDigest", ObjectDamaged),
        (400, "XAmzContentSHA256Mismatch", ObjectDamaged),
        (409, "ConditionalRequestConflict", CreationContended),
        (409, "", CreationContended),
        (403, "InvalidObjectState", ObjectFrozen),
        (400, "SomethingNew", RequestRefused),
        (418, "", RequestRefused),
    ],
)
def test_answers(status: int, code: str, expected: type[StoreError]) -> None:
    """An answer is judged by its code and, where there is none, by its status; its words are not repeated."""
    error = raised_as(refusal(status, code))
    assert expected is type(error)
    assert SECRET not in f"{error} {error.advice()} {error.document()}"
    assert "{" not in f"{error} {error.advice()}"


def test_codes_that_repeat_the_status_are_none() -> None:
    """What botocore makes up for an answer to HEAD counts as no code."""
    assert "" == answer_of(refusal(404, "404").response).code
    assert 404 == answer_of({"Error": {"Code": "404"}}).status


@pytest.mark.parametrize(("operation", "expected"), [("get", ObjectMissing), ("list", BucketMissing)])
def test_404_is_about_an_object_or_a_bucket(operation: str, expected: type[StoreError]) -> None:
    """Reading one object misses the object; everything else can only miss the bucket."""
    request = Request("s3://bucket", "bucket", operation, "packs/ab/abc")
    assert expected is type(raised_as(refusal(404, ""), request))


def test_expected_answers_are_handed_to_the_caller() -> None:
    """An answer that the caller expects is no error yet, and can become one later."""
    with pytest.raises(Declined) as declined, translated(REQUEST, frozenset({412})):
        raise refusal(412, "PreconditionFailed")
    assert (412, "PreconditionFailed") == (declined.value.answer.status, declined.value.answer.code)
    assert isinstance(coded_answer(declined.value.answer, REQUEST), CreationContended)


def test_details_that_help_are_kept() -> None:
    """The right region, the limit of sizes and the class of a frozen object are worth saying."""
    region = raised_as(refusal(400, "AuthorizationHeaderMalformed", Region="eu-2"))
    assert "eu-2" in str(region)
    large = raised_as(refusal(400, "EntityTooLarge", MaxSizeAllowed="16"))
    assert "17 bytes" in str(large)
    assert "16" in str(large)
    assert "GLACIER" in str(raised_as(refusal(403, "InvalidObjectState", StorageClass="GLACIER")))


@pytest.mark.parametrize("size", [1, PART_BYTES * MOST_PARTS, PART_BYTES * MOST_PARTS + 1, 5 << 40])
def test_parts_are_never_too_many(size: int) -> None:
    """Parts grow with the object, so that the largest one that S3 allows still fits into 10,000."""
    assert -(-size // part_bytes(size)) <= MOST_PARTS
    assert part_bytes(size) >= PART_BYTES
