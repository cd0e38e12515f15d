"""What Supabase Storage and its HTTP client can say becomes a coded error, and only what passes is retried."""

import json

import httpx
import pytest
from storage3.exceptions import StorageApiError

from strongroom import errors
from strongroom.errors import StoreError, Transient
from strongroom.stores.supabase_errors import Call, Refusal, coded, coded_transport, refusal_of, translated

SECRET = "eyJhbGciOi.eyJyb2xlIjoi.c2lnbmF0dXJl"
CALL = Call("supabase://b at host", "b", "get", "packs/aa", 7, SECRET)

REFUSALS: list[tuple[int, str, str, type[StoreError]]] = [
    (404, "NoSuchKey", "Object not found", errors.ObjectMissing),
    (404, "not_found", "Object not found", errors.ObjectMissing),
    (404, "Not found", "The resource was not found", errors.ObjectMissing),
    (404, "NoSuchBucket", "Bucket not found", errors.BucketMissing),
    (404, "", "Bucket not found", errors.BucketMissing),
    (404, "InvalidRequest", "The related resource does not exist", errors.BucketMissing),
    (404, "", "no Route matched with those values", errors.StoreFailed),
    (404, "", "<html>404 page not found</html>", errors.StoreFailed),
    (409, "KeyAlreadyExists", "The resource already exists", errors.ObjectConflict),
    (409, "Duplicate", "The resource already exists", errors.ObjectConflict),
    (409, "", "The resource already exists", errors.ObjectConflict),
    (409, "TransactionError", "could not serialize access", errors.StoreUnavailable),
    (409, "FeatureNotEnabled", "The feature is not enabled", errors.StoreFailed),
    (413, "EntityTooLarge", "The object exceeded the maximum allowed size", errors.ObjectTooLarge),
    (413, "", "Maximum size exceeded\n", errors.ObjectTooLarge),
    (415, "InvalidMimeType", "mime type a/b is not supported", errors.StoreUnsuitable),
    (400, "InvalidKey", "Invalid key: ä", errors.BadObjectName),
    (400, "InvalidJWT", "Invalid JWT", errors.StoreLoginRefused),
    (403, "AccessDenied", "Invalid Compact JWS", errors.StoreLoginRefused),
    (403, "AccessDenied", "signature verification failed", errors.StoreLoginRefused),
    (403, "Unauthorized", '"exp" claim timestamp check failed', errors.StoreLoginRefused),
    (401, "", "Invalid API key", errors.StoreLoginRefused),
    (403, "AccessDenied", "new row violates row-level security policy", errors.StoreDenied),
    (403, "", "Forbidden", errors.StoreDenied),
    (402, "", "Service for this project is restricted: exceed_egress", errors.StoreDenied),
    (402, "", "Service is restricted: exceed_storage_size_quota", errors.StoreFull),
    (507, "", "Insufficient Storage", errors.StoreFull),
    (503, "DatabaseReadOnly", "The database is in read-only mode", errors.StoreReadOnly),
    (429, "SlowDown", "Too many connections issued to the database", errors.StoreThrottled),
    (429, "", "rate limit", errors.StoreThrottled),
    (503, "SlowDown", "Please reduce your request rate", errors.StoreThrottled),
    (503, "LockTimeout", "acquiring lock timeout", errors.StoreUnavailable),
    (423, "ResourceLocked", "The resource is locked", errors.StoreUnavailable),
    (400, "", "Request aborted due to lock acquired", errors.StoreUnavailable),
    (500, "InternalError", "Internal server error", errors.StoreUnavailable),
    (502, "", "Bad gateway", errors.StoreUnavailable),
    (504, "", "", errors.StoreUnavailable),
    (540, "", "Project paused", errors.StoreUnavailable),
    (544, "DatabaseTimeout", "The connection to the database timed out", errors.StoreUnavailable),
    (400, "InvalidRequest", "body must have required property", errors.StoreFailed),
    (301, "", "Moved", errors.StoreFailed),
    (418, "", "teapot", errors.StoreFailed),
]


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    REFUSALS,
    ids=[f"{row[0]} {row[1]} {row[2][:20]}" for row in REFUSALS],
)
def test_a_refusal_has_its_error(status: int, code: str, message: str, kind: type[StoreError]) -> None:
    """Each refusal that the service knows is told apart, with a sentence whose blanks are filled in."""
    error = coded(CALL, Refusal(status, code, message))
    assert kind is type(error)
    assert "{" not in error.render() + error.advice()


def test_only_the_services_own_words_make_an_object_missing() -> None:
    """A 404 of a gateway, or of the wrong address, is not taken for a missing object."""
    missing = {row[1:3] for row in REFUSALS if row[3] is errors.ObjectMissing}
    assert all(code or "Object" in message for code, message in missing)
    assert not isinstance(coded(CALL, Refusal(404, "", "")), errors.ObjectMissing)


def _kinds(base: type[Exception]) -> set[type[Exception]]:
    return {base}.union(*(_kinds(kind) for kind in base.__subclasses__()))


TRANSPORT = {
    httpx.ConnectTimeout: errors.StoreUnavailable,
    httpx.PoolTimeout: errors.StoreUnavailable,
    httpx.ReadTimeout: errors.TransferCut,
    httpx.WriteTimeout: errors.TransferCut,
    httpx.TimeoutException: errors.TransferCut,
    httpx.ConnectError: errors.StoreUnavailable,
    httpx.ReadError: errors.TransferCut,
    httpx.WriteError: errors.TransferCut,
    httpx.CloseError: errors.TransferCut,
    httpx.NetworkError: errors.TransferCut,
    httpx.ProxyError: errors.StoreUnavailable,
    httpx.RemoteProtocolError: errors.TransferCut,
    httpx.LocalProtocolError: errors.StoreFailed,
    httpx.ProtocolError: errors.StoreFailed,
    httpx.UnsupportedProtocol: errors.StoreFailed,
    httpx.DecodingError: errors.StoreFailed,
    httpx.TooManyRedirects: errors.StoreFailed,
    httpx.TransportError: errors.StoreFailed,
    httpx.RequestError: errors.StoreFailed,
    httpx.HTTPError: errors.StoreFailed,
    httpx.InvalidURL: errors.StoreFailed,
    httpx.CookieConflict: errors.StoreFailed,
    httpx.StreamError: errors.StoreFailed,
    httpx.StreamConsumed: errors.StoreFailed,
    httpx.StreamClosed: errors.StoreFailed,
    httpx.ResponseNotRead: errors.StoreFailed,
    httpx.RequestNotRead: errors.StoreFailed,
}


def test_every_exception_of_the_http_client_is_listed() -> None:
    """A new release of httpx with another exception fails here, and not in a backup."""
    known = set().union(
        *map(_kinds, (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError))
    )
    named = {kind for name in dir(httpx) if isinstance(kind := getattr(httpx, name), type)}
    public = {kind for kind in named if issubclass(kind, Exception)}
    # An answer with a bad status is no fault of the way: it is read as a refusal.
    assert set(TRANSPORT) | {httpx.HTTPStatusError} == known & public
    assert public == known & public


@pytest.mark.parametrize("kind", TRANSPORT, ids=lambda kind: kind.__name__)
def test_an_exception_of_the_http_client_has_its_error(kind: type[Exception]) -> None:
    """It is translated at the border, its text is not repeated, and a text with the key is not even its cause."""
    made = _made(kind, f"Illegal header value b'Bearer {SECRET}'")
    with pytest.raises(StoreError) as raised, translated(CALL):
        raise made
    assert TRANSPORT[kind] is type(raised.value)
    assert SECRET not in json.dumps(raised.value.document()) + repr(raised.value)
    assert SECRET not in str(raised.value.__cause__)
    is_passing = issubclass(TRANSPORT[kind], Transient)
    assert is_passing == isinstance(coded_transport(CALL, made), Transient)


def _made(kind: type[Exception], text: str) -> Exception:
    if kind in {httpx.StreamConsumed, httpx.StreamClosed, httpx.ResponseNotRead, httpx.RequestNotRead}:
        return kind()
    return kind(text)


def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    """It does not mend itself."""
    error = httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed")
    assert errors.StoreFailed is type(coded_transport(CALL, error))


@pytest.mark.parametrize("error", [ValueError("no JSON"), KeyError("size"), TypeError("None")], ids=repr)
def test_an_answer_that_cannot_be_read_is_an_error_of_the_store(error: Exception) -> None:
    """Whatever the libraries raise over an answer that is not what it should be."""
    with pytest.raises(errors.StoreFailed), translated(CALL):
        raise error


def test_errors_of_the_tree_go_through_the_border() -> None:
    """A coded error is not coded again."""
    with pytest.raises(errors.ObjectDamaged), translated(CALL):
        raise errors.ObjectDamaged(name="a", store="b", expected="c", observed="d")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"statusCode":"404","error":"not_found","code":"NoSuchKey","message":"Object not found"}',
            Refusal(404, "NoSuchKey", "Object not found"),
        ),
        (
            b'{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}',
            Refusal(409, "Duplicate", "The resource already exists"),
        ),
        (b'{"message":"Invalid API key"}', Refusal(400, "", "Invalid API key")),
        (b'{"msg":"gone"}', Refusal(400, "", "gone")),
        (b'["x"]', Refusal(400, "", '["x"]')),
        (b"Maximum size exceeded\n", Refusal(400, "", "Maximum size exceeded\n")),
        (b"", Refusal(400, "", "")),
    ],
    ids=["newer", "older", "gateway", "msg", "list", "text", "nothing"],
)
def test_a_refusal_is_read_from_whatever_was_answered(body: bytes, expected: Refusal) -> None:
    """The status in the body is what is meant; without one it is that of the answer."""
    assert expected == refusal_of(httpx.Response(400, content=body))


def test_the_librarys_error_is_read_from_the_answer_itself() -> None:
    """The library keeps one of two codes; without the answer, its own fields have to do."""
    with pytest.raises(errors.ObjectMissing), translated(CALL):
        raise StorageApiError("Object not found", "not_found", "404")
    response = httpx.Response(
        400,
        json={"statusCode": "503", "error": "x", "code": "DatabaseReadOnly", "message": "m"},
        request=httpx.Request("GET", "http://host"),
    )
    with pytest.raises(errors.StoreReadOnly), translated(CALL):
        raise StorageApiError("m", "x", "503") from httpx.HTTPStatusError(
            "bad", request=response.request, response=response
        )


def test_a_key_that_the_service_repeats_is_left_out() -> None:
    """Neither message nor context nor cause carries it."""
    with pytest.raises(errors.StoreLoginRefused) as raised, translated(CALL):
        raise StorageApiError(f"unknown key {SECRET}", "Unauthorized", 401)
    assert SECRET not in json.dumps(raised.value.document()) + repr(raised.value) + repr(CALL)
    assert raised.value.__cause__ is None
