"""The stand-in for Supabase Storage has the quirks of the service that were tried or read, seen through supabase-py.

A store that passes on a server more polite than the genuine one would prove nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from storage3._sync.file_api import SyncBucketProxy
from storage3.exceptions import StorageApiError
from supabase import ClientOptions, create_client

from tests.servers.supabase_storage import SERVICE_KEY, Bucket, SupabaseStorage

HEADERS = {"apikey": SERVICE_KEY, "authorization": f"Bearer {SERVICE_KEY}"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SupabaseStorage]:
    """Run a stand-in with one bucket."""
    with SupabaseStorage(tmp_path) as running:
        running.project.buckets["b"] = Bucket("b")
        yield running


@pytest.fixture
def bucket(server: SupabaseStorage) -> Iterator[SyncBucketProxy]:
    """Open the bucket with the official client."""
    with httpx.Client() as http:
        options = ClientOptions(httpx_client=http, auto_refresh_token=False, persist_session=False)
        yield create_client(server.url, SERVICE_KEY, options).storage.from_("b")


def _url(server: SupabaseStorage, path: str) -> str:
    return f"{server.url}/storage/v1/object/{path}"


def test_an_upload_can_be_listed_read_moved_and_removed(bucket: SyncBucketProxy) -> None:
    """The official client finds what it expects in every answer."""
    bucket.upload("folder/a.txt", b"data")
    assert b"data" == bucket.download("folder/a.txt")
    assert (4, "text/plain;charset=UTF-8") == tuple(
        bucket.info("folder/a.txt")[fact] for fact in ("size", "content_type")
    )
    bucket.move("folder/a.txt", "folder/b.txt")
    assert not bucket.exists("folder/a.txt")
    assert ["folder/b.txt"] == [found.name for found in bucket.list_v2({}).objects]
    assert ["folder/b.txt"] == [
        gone["name"] for gone in bucket.remove(["folder/b.txt", "folder/a.txt", "folder"])
    ]


def test_a_taken_key_is_a_duplicate_with_http_status_400(
    server: SupabaseStorage, bucket: SyncBucketProxy
) -> None:
    """What is meant stands in the body; to replace must be asked for."""
    bucket.upload("a", b"1")
    with pytest.raises(StorageApiError) as raised:
        bucket.upload("a", b"2")
    assert ("Duplicate", "409") == (raised.value.code, raised.value.status)
    response = httpx.post(_url(server, "b/a"), content=b"2", headers=HEADERS)
    assert 400 == response.status_code
    assert "409" == response.json()["statusCode"]
    bucket.upload("a", b"2", {"upsert": "true"})
    assert b"2" == bucket.download("a")


def test_a_move_never_replaces(bucket: SyncBucketProxy) -> None:
    """The unique constraint refuses, and the source stays."""
    bucket.upload("a", b"1")
    bucket.upload("b", b"2")
    with pytest.raises(StorageApiError) as raised:
        bucket.move("a", "b")
    assert "409" == raised.value.status
    assert [b"1", b"2"] == [bucket.download("a"), bucket.download("b")]


@pytest.mark.parametrize("key", ["ä", "a#b", "a%b", "a~b", "a[b]", "a^b", "a{b"])
def test_other_characters_are_no_keys(server: SupabaseStorage, key: str) -> None:
    """Letters of ASCII, digits, and some marks; a path is unquoted before it is looked at."""
    response = httpx.post(_url(server, f"b/{quote(key)}"), content=b"x", headers=HEADERS)
    assert ("InvalidKey", "400") == (response.json()["code"], response.json()["statusCode"])


def test_paths_are_unquoted_and_slashes_joined(server: SupabaseStorage, bucket: SyncBucketProxy) -> None:
    """Keys must be quoted by the client; an empty part of a path is lost."""
    httpx.post(_url(server, "b/a%20b//c"), content=b"x", headers=HEADERS).raise_for_status()
    assert b"x" == bucket.download("a b/c")


def test_ranges_are_heeded_and_conditions_ignored(server: SupabaseStorage, bucket: SyncBucketProxy) -> None:
    """`If-Match` with another tag reads all the same."""
    bucket.upload("a", b"0123456789")
    url = _url(server, "authenticated/b/a")
    ranged = httpx.get(url, headers=HEADERS | {"range": "bytes=2-4"})
    assert (206, b"234", "bytes 2-4/10") == (
        ranged.status_code,
        ranged.content,
        ranged.headers["content-range"],
    )
    assert 200 == httpx.get(url, headers=HEADERS | {"if-match": '"other"'}).status_code
    assert "10" == httpx.head(url, headers=HEADERS).headers["content-length"]


def test_the_older_list_is_of_one_folder_and_capped(server: SupabaseStorage, bucket: SyncBucketProxy) -> None:
    """A hundred by default, 1,500 at most whatever is asked for; folders stand among the files."""
    bucket.upload("f/g/x", b"x")
    stored = server.project.objects["b", "f/g/x"]
    server.project.objects |= {("b", f"f/{number:05d}"): stored for number in range(1600)}
    assert 100 == len(bucket.list("f"))
    assert 1500 == len(bucket.list("f", {"limit": 5000}))
    assert ["f"] == [found["name"] for found in bucket.list()]
    assert "g" in [found["name"] for found in bucket.list("f", {"limit": 5000, "offset": 1000})]


def test_the_newer_list_is_recursive_paged_and_in_order(
    server: SupabaseStorage, bucket: SyncBucketProxy
) -> None:
    """1,000 at most, and a cursor; a missing bucket is an empty list."""
    bucket.upload("x", b"x")
    stored = server.project.objects["b", "x"]
    server.project.objects |= {("b", f"f/{number % 3}/{number:05d}"): stored for number in range(1600)}
    first = bucket.list_v2({"limit": 5000, "prefix": "f/"})
    assert (1000, True) == (len(first.objects), first.hasNext)
    second = bucket.list_v2({"limit": 5000, "prefix": "f/", "cursor": first.nextCursor or ""})
    assert (600, False) == (len(second.objects), second.hasNext)
    names = [found.name for found in (*first.objects, *second.objects)]
    assert sorted(names, key=str.encode) == names
    response = httpx.post(_url(server, "list-v2/elsewhere"), json={}, headers=HEADERS)
    assert (200, []) == (response.status_code, response.json()["objects"])


def test_too_large_is_413_in_the_body(server: SupabaseStorage, bucket: SyncBucketProxy) -> None:
    """The sentence does not tell the limit."""
    server.project.buckets["b"].size_limit = 10
    with pytest.raises(StorageApiError) as raised:
        bucket.upload("a", b"x" * 11)
    assert ("Payload too large", "413") == (raised.value.code, raised.value.status)
    assert "10" not in raised.value.message
