"""The store in Supabase Storage keeps the contract and survives faults, on our own stand-in for the service.

The stand-in is described in `tests.servers.supabase_storage`; nothing here has spoken to the service itself.
"""

import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from strongroom import errors
from strongroom.errors import StoreError, Transient
from strongroom.stores.contract import run_contract
from strongroom.stores.data import pieces_of
from strongroom.stores.open import open_store
from strongroom.stores.options import StoreOptions
from strongroom.stores.retrying import RetryingStore
from strongroom.stores.supabase_service import Place
from strongroom.stores.supabase_storage import LEFTOVER_SECONDS, SupabaseStore, open_supabase
from strongroom.stores.supabase_upload import PIECE_BYTES, RESUMES
from tests.servers.fault_proxy import FaultProxy, Rule
from tests.servers.supabase_storage import (
    ANON_KEY,
    OTHER_KEY,
    SERVICE_KEY,
    Bucket,
    Refused,
    SupabaseStorage,
)
from tests.tls_server import issue, make_authority

MIB = 1 << 20


@dataclass(frozen=True)
class Made:
    """Data of any size that is never whole in memory."""

    size: int

    def read(self, start: int, length: int) -> bytes:
        """Make the bytes that are asked for."""
        first, last = start // 4096, (start + length) // 4096
        data = b"".join(block.to_bytes(8) * 512 for block in range(first, last + 1))
        begin = start - first * 4096
        return data[begin : begin + min(length, self.size - start)]


def digest_of(data: Made) -> str:
    """Hash without holding."""
    hasher = sha256()
    for piece in pieces_of(data):
        hasher.update(piece)
    return hasher.hexdigest()


def digest(data: bytes) -> str:
    """Hash."""
    return sha256(data).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SupabaseStorage]:
    """Run a stand-in with one bucket."""
    folder = tmp_path / "objects"
    folder.mkdir()
    with SupabaseStorage(folder, size_limit=500 * MIB) as running:
        running.project.buckets["backups"] = Bucket("backups")
        yield running


@pytest.fixture
def proxy(server: SupabaseStorage) -> Iterator[FaultProxy]:
    """Put a proxy before it that breaks things."""
    with FaultProxy(server.address) as running:
        yield running


@pytest.fixture
def open_at() -> Iterator[Callable[..., SupabaseStore]]:
    """Open stores, and close them after the test."""
    opened = []

    def open_one(url: str, at: str = "supabase://backups/main", **options: object) -> SupabaseStore:
        given = StoreOptions(endpoint=url, secret_key=SERVICE_KEY, read_timeout=10)
        store = open_supabase(at, replace(given, **options))  # type: ignore[arg-type]  # any option of its type
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


OpenAt = Callable[..., SupabaseStore]

# ---------------------------------------------------------------- the contract


@pytest.mark.parametrize(
    ("guards", "at", "many"),
    [
        # More than a page of its lists once; the rules that are worth trying twice do not need so many.
        pytest.param(True, "supabase://backups/main/prefix", 1200, id="since September 2026"),
        pytest.param(False, "supabase://backups", 50, id="before"),
    ],
)
def test_contract(server: SupabaseStorage, open_at: OpenAt, guards: bool, at: str, many: int) -> None:
    """The store holds every rule, on newer and older versions of the service, and leaves nothing behind."""
    server.project.guards_completion = guards
    store = open_at(server.url, at)
    store.put("already/there", b"x", digest(b"x"))
    findings = run_contract(store, "scratch", os.urandom, many=many)
    assert [] == [finding for finding in findings if not finding.held]
    assert ["already/there"] == [found.name for found in store.list()]
    assert 1 == len(server.project.objects)


@pytest.mark.parametrize(("guards", "winners"), [(True, 1), (False, 2)])
def test_uploads_that_do_not_replace_may_both_win(
    server: SupabaseStorage, guards: bool, winners: int
) -> None:
    """Why nothing is uploaded to its name: on older versions, two uploads that begin together both succeed."""
    server.project.guards_completion = guards
    server.project.before_completion = Barrier(2).wait
    headers = {"apikey": SERVICE_KEY, "authorization": f"Bearer {SERVICE_KEY}", "x-upsert": "false"}

    def upload(data: bytes) -> int:
        return httpx.post(
            f"{server.url}/storage/v1/object/backups/key", content=data, headers=headers
        ).status_code

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(upload, (b"one", b"two")))
    assert winners == statuses.count(200)


@pytest.mark.parametrize("guards", [True, False])
def test_of_creators_that_begin_together_one_wins(
    server: SupabaseStorage, open_at: OpenAt, guards: bool
) -> None:
    """Even where uploads both win: the move decides, and the loser leaves nothing behind."""
    store = open_at(server.url)
    store.put("other", b"x", digest(b"x"))
    server.project.guards_completion = guards
    server.project.before_completion = Barrier(8).wait
    offers = [os.urandom(100) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda offer: store.create("lease", offer), offers))
    assert 1 == won.count(True)
    assert offers[won.index(True)] == store.get("lease")
    assert {("backups", "main/lease"), ("backups", "main/other")} == set(server.project.objects)


def test_a_store_is_opened_by_its_url(server: SupabaseStorage) -> None:
    """The table of schemes leads here, and what the medium can do is told before anything is contacted."""
    store = open_store("supabase://backups/main", StoreOptions(endpoint=server.url, secret_key=SERVICE_KEY))
    assert isinstance(store, SupabaseStore)
    assert store.capabilities.creates_once
    assert store.capabilities.is_remote
    assert not store.capabilities.verifies_checksums
    assert [] == server.requests
    assert f"supabase://backups/main at 127.0.0.1:{server.address[1]}" == store.description


def test_a_closed_store_connects_again(server: SupabaseStorage, open_at: OpenAt) -> None:
    """Closing ends connections, not the store."""
    store = open_at(server.url)
    store.put("a", b"1", digest(b"1"))
    store.close()
    store.close()
    assert b"1" == store.get("a")


def test_threads_may_open_a_store_together(server: SupabaseStorage, open_at: OpenAt) -> None:
    """The first requests of a store come from several threads, which share one client."""
    store = open_at(server.url)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store.create(f"{number % 4}", bytes([number])), range(8)))
    assert 4 == won.count(True)
    assert 4 == len(list(store.list()))


def test_time_is_that_of_the_service(server: SupabaseStorage, open_at: OpenAt) -> None:
    """A list and a look at one object tell the same moment, to the millisecond."""
    before = time.time()
    store = open_at(server.url)
    store.put("a", b"x", digest(b"x"))
    assert [store.stat("a")] == list(store.list())
    assert before - 0.001 <= store.stat("a").modified <= time.time()


def test_no_download_can_come_from_a_cache(server: SupabaseStorage, open_at: OpenAt) -> None:
    """Content networks keep what was deleted and written anew; each download asks for another address."""
    store = open_at(server.url)
    store.put("a", b"x", digest(b"x"))
    for _ in range(3):
        store.get("a")
    asked = [path for verb, path in server.requests if verb == "GET" and "/object/authenticated/" in path]
    assert 4 == len(set(asked))
    assert all("cacheNonce=" in path for path in asked)


# ---------------------------------------------------------------- large objects


def test_a_large_object_is_sent_in_pieces_with_little_memory(
    server: SupabaseStorage, open_at: OpenAt
) -> None:
    """96 MiB go through less than 40 MiB of memory, in pieces of 6 MiB; reading ranges of it takes little too."""
    data = Made(96 * MIB + 5)
    store, expected = open_at(server.url), digest_of(data)
    store.put("warm", b"x", digest(b"x"))
    tracemalloc.start()
    store.put("large", data, expected)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [PIECE_BYTES] * 16 + [5] == server.uploads.piece_sizes
    assert data.read(50 * MIB, 1000) == store.get("large", 50 * MIB, 1000)
    assert data.size == store.stat("large").size
    assert peak < 40 * MIB


def test_what_is_stored_is_not_sent_again(server: SupabaseStorage, open_at: OpenAt) -> None:
    """A repeated put of a large object compares what is there, and refuses other bytes."""
    data, other = Made(7 * MIB), Made(7 * MIB + 1)
    store = open_at(server.url)
    for _ in range(2):
        store.put("large", data, digest_of(data))
    assert 2 == len(server.uploads.piece_sizes)
    with pytest.raises(errors.ObjectConflict):
        store.put("large", other, digest_of(other))
    with pytest.raises(errors.ObjectDamaged):
        store.put("large", data, digest_of(other))


def test_the_last_piece_of_wrong_data_is_withheld(server: SupabaseStorage, open_at: OpenAt) -> None:
    """Data that does not hash to what it should is known before the upload ends, which is then undone."""
    store = open_at(server.url)
    with pytest.raises(errors.ObjectDamaged):
        store.put("large", Made(13 * MIB), digest(b"something else"))
    assert [PIECE_BYTES] * 2 == server.uploads.piece_sizes
    assert {} == server.uploads.by_id
    assert {} == server.project.objects


@pytest.mark.parametrize("cut_at", [0, 100, 3 * MIB, PIECE_BYTES - 1])
@pytest.mark.parametrize("piece", [0, 1, 2])
def test_a_cut_upload_goes_on_where_it_got_to(
    server: SupabaseStorage, proxy: FaultProxy, open_at: OpenAt, piece: int, cut_at: int
) -> None:
    """After a reset in mid-piece the service is asked for the offset, and no earlier piece is sent again."""
    data = Made(3 * PIECE_BYTES)
    proxy.set_rules([Rule(method="PATCH", skip=piece, reset_request_after=cut_at)])
    open_at(proxy.url).put("large", data, digest_of(data))
    proxy.assert_all_hit()
    asked = [seen.method for seen in proxy.log if "resumable" in seen.path]
    assert ["POST", *["PATCH"] * (piece + 1), "HEAD", *["PATCH"] * (3 - piece)] == asked


def test_an_upload_that_is_cut_again_and_again_is_given_up(proxy: FaultProxy, open_at: OpenAt) -> None:
    """Nothing is tried without end: the error passes to whoever retries the whole, and nothing has a name."""
    data = Made(7 * MIB)
    proxy.set_rules([Rule(method="PATCH", reset_request_after=10, times=-1)])
    store = open_at(proxy.url)
    with pytest.raises(errors.TransferCut):
        store.put("large", data, digest_of(data))
    assert RESUMES + 1 == [seen.method for seen in proxy.log].count("PATCH")
    proxy.set_rules([])
    assert [] == list(store.list())
    store.put("large", data, digest_of(data))


@pytest.mark.parametrize("forgets", [False, True], ids=["remembers", "forgets"])
@pytest.mark.parametrize("piece", [0, 1])
def test_a_piece_whose_acknowledgement_is_lost_is_not_sent_again(
    server: SupabaseStorage, proxy: FaultProxy, open_at: OpenAt, piece: int, forgets: bool
) -> None:
    """The offset says that it arrived; of a finished upload, the read back does."""
    data = Made(2 * PIECE_BYTES)
    server.uploads.forgets_finished = forgets
    proxy.set_rules([Rule(method="PATCH", skip=piece, drop_response=True)])
    open_at(proxy.url).put("large", data, digest_of(data))
    proxy.assert_all_hit()
    assert [PIECE_BYTES] * 2 == server.uploads.piece_sizes


# ---------------------------------------------------------------- faults on the way


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/object/backups/"), ("GET", "/object/auth"), ("POST", "/move"), ("GET", "/info/")],
    ids=["upload", "read back", "move", "look"],
)
def test_a_lost_acknowledgement_is_made_good_by_trying_again(
    server: SupabaseStorage, proxy: FaultProxy, open_at: OpenAt, method: str, path: str
) -> None:
    """Whichever answer of a put or a create gets lost, the next try finds it done or does it."""
    for verb in ("put", "create"):
        store = RetryingStore(open_at(proxy.url), delay=0, sleep=lambda _: None)
        proxy.set_rules([Rule(method=method, path=path, drop_response=True)])
        if verb == "put":
            store.put("put", b"data", digest(b"data"))
        else:
            assert store.create("create", b"data")
        proxy.assert_all_hit()
        assert b"data" == store.get(verb)
    assert ["create", "put"] == [found.name for found in open_at(server.url).list()]


CALLS: dict[str, Callable[[SupabaseStore], object]] = {
    "put": lambda store: store.put("new", b"data", digest(b"data")),
    "put large": lambda store: store.put("new", Made(7 * MIB), digest_of(Made(7 * MIB))),
    "create": lambda store: store.create("new", b"data"),
    "get": lambda store: store.get("there"),
    "get range": lambda store: store.get("there", 1, 2),
    "stat": lambda store: store.stat("there"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("there"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Rule(status=429, retry_after=1), errors.StoreThrottled),
        (Rule(status=503), errors.StoreUnavailable),
        (Rule(status=502, as_json=True), errors.StoreUnavailable),
        (Rule(status=404), errors.StoreFailed),
        (Rule(status=301), errors.StoreFailed),
        (Rule(reset_response_after=0), errors.TransferCut),
    ],
    ids=["throttled", "unavailable", "bad gateway", "not ours", "redirected", "reset"],
)
def test_each_call_translates_what_goes_wrong(
    proxy: FaultProxy, open_at: OpenAt, call: str, fault: Rule, kind: type[StoreError]
) -> None:
    """Answers of others than the service too; a 404 that is not the service's own is never a missing object."""
    store = open_at(proxy.url)
    store.put("there", b"data", digest(b"data"))
    proxy.set_rules([replace(fault, times=-1)])
    with pytest.raises(kind) as raised:
        CALLS[call](store)
    assert not isinstance(raised.value, errors.ObjectMissing)
    assert issubclass(kind, Transient) == isinstance(raised.value, Transient)
    proxy.assert_all_hit()
    proxy.set_rules([])
    if call == "delete":
        # Its answer may have been what was lost.
        store.delete("there")
    assert call == "delete" or store.get("there") == b"data"


@pytest.mark.parametrize("fault", ["reset_response_after", "truncate_response_after"])
@pytest.mark.parametrize("length", [None, 50_000])
def test_a_cut_download_is_no_shorter_object(
    proxy: FaultProxy, open_at: OpenAt, fault: str, length: int | None
) -> None:
    """A body that is shorter than announced is an error that passes."""
    data = os.urandom(100_000)
    store = open_at(proxy.url)
    store.put("a", data, digest(data))
    proxy.set_rules([Rule(method="GET", path="/object/auth", **{fault: 1234})])  # type: ignore[arg-type]
    with pytest.raises(errors.TransferCut):
        store.get("a", 0, length)
    assert data[:length] == store.get("a", 0, length)


def test_an_answer_that_does_not_come_is_waited_for_in_vain(proxy: FaultProxy, open_at: OpenAt) -> None:
    """The read timeout of the location ends a stalled transfer."""
    store = open_at(proxy.url, read_timeout=0.3)
    store.put("a", b"x" * 1000, digest(b"x" * 1000))
    proxy.set_rules([Rule(method="GET", path="/object/auth", stall_response_after=10, stall_seconds=5)])
    with pytest.raises(errors.TransferCut):
        store.get("a")


def test_nobody_there_is_an_error_that_passes(open_at: OpenAt) -> None:
    """A port where nothing listens."""
    with pytest.raises(errors.StoreUnavailable):
        open_at("http://127.0.0.1:1").get("a")


@pytest.mark.parametrize("size", [10_000, 7 * MIB], ids=["small", "large"])
def test_a_bit_that_flips_on_the_way_there_never_gets_a_name(
    server: SupabaseStorage, proxy: FaultProxy, open_at: OpenAt, size: int
) -> None:
    """The read back notices it, and what arrived is removed; the next try is not in its way."""
    data = Made(size)
    store = open_at(proxy.url)
    method, path = ("PATCH", "resumable") if size > PIECE_BYTES else ("POST", "/object/backups/")
    proxy.set_rules([Rule(method=method, path=path, corrupt_request_at=5000)])
    with pytest.raises(errors.ObjectDamaged):
        store.put("a", data, digest_of(data))
    proxy.assert_all_hit()
    assert {} == server.project.objects
    store.put("a", data, digest_of(data))


def test_a_lease_that_is_damaged_on_the_way_is_not_created(
    server: SupabaseStorage, proxy: FaultProxy, open_at: OpenAt
) -> None:
    """Creation is read back like everything else."""
    proxy.set_rules([Rule(method="POST", path="/object/backups/", corrupt_request_at=1000)])
    with pytest.raises(errors.ObjectDamaged):
        open_at(proxy.url).create("lease", os.urandom(2000))
    proxy.assert_all_hit()
    assert {} == server.project.objects


def test_a_bit_that_flips_on_the_way_back_is_for_the_reader_to_notice(
    proxy: FaultProxy, open_at: OpenAt
) -> None:
    """`get` verifies nothing, as the protocol says: its caller knows the digest."""
    data = os.urandom(1000)
    store = open_at(proxy.url)
    store.put("a", data, digest(data))
    proxy.set_rules([Rule(method="GET", path="/object/auth", corrupt_response_at=500)])
    assert digest(data) != digest(store.get("a"))
    assert digest(data) == digest(store.get("a"))


@pytest.mark.parametrize("status", [416, 500])
def test_a_range_behind_the_end_is_empty_however_that_is_said(
    proxy: FaultProxy, open_at: OpenAt, status: int
) -> None:
    """Versions differ in the answer; the size decides whether it was that, or a true failure."""
    store = open_at(proxy.url)
    store.put("a", b"data", digest(b"data"))
    rule = Rule(method="GET", path="/object/auth", status=status, times=-1)
    proxy.set_rules([rule])
    assert b"" == store.get("a", 4, 10)
    with pytest.raises(StoreError):
        store.get("a", 3, 10)
    with pytest.raises(StoreError):
        store.get("a")


def test_tls_is_checked_with_the_authorities_of_the_location(
    server: SupabaseStorage, open_at: OpenAt, tmp_path: Path
) -> None:
    """Without them the certificate is not trusted, and that is not tried again."""
    authority = make_authority("test authority")
    pair = issue(authority, ["127.0.0.1"], tmp_path, "server")
    authorities = tmp_path / "authorities.crt"
    authorities.write_bytes(_pem(authority.certificate))
    with FaultProxy(server.address, tls=pair) as proxy:
        open_at(proxy.url, ca_file=authorities).put("a", b"x", digest(b"x"))
        store = open_at(proxy.url)
        with pytest.raises(errors.StoreFailed, match="not trusted"):
            store.get("a")
    with pytest.raises(errors.OptionUnfit):
        open_at("https://127.0.0.1:1", ca_file=tmp_path / "nowhere.crt").get("a")


def _pem(certificate: object) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    assert isinstance(certificate, x509.Certificate)
    return certificate.public_bytes(Encoding.PEM)


# ---------------------------------------------------------------- keys, buckets, limits


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_key_is_refused(server: SupabaseStorage, open_at: OpenAt, call: str) -> None:
    """Every call says so, and none says that something is missing."""
    store = open_at(server.url, secret_key="sb_secret_that_nobody_knows")
    with pytest.raises(errors.StoreLoginRefused) as raised:
        CALLS[call](store)
    assert "nobody" not in json.dumps(raised.value.document())


@pytest.mark.parametrize("key", [ANON_KEY, "sb_publishable_abc"])
def test_a_key_for_browsers_is_refused_at_once(key: str) -> None:
    """It would see an empty bucket, and the backups would seem to be gone."""
    with pytest.raises(errors.OptionUnfit) as raised:
        open_supabase("supabase://backups", StoreOptions(endpoint="https://x.supabase.co", secret_key=key))
    assert key not in json.dumps(raised.value.document())


def test_a_key_without_rights_is_denied(server: SupabaseStorage, open_at: OpenAt) -> None:
    """A policy on rows refuses to write; to list is to see no bucket."""
    store = open_at(server.url, secret_key=OTHER_KEY)
    with pytest.raises(errors.BucketMissing):
        list(store.list())
    with pytest.raises(errors.StoreDenied):
        store._service.upload("main/a", b"x", store._call("put", "a"))
    with pytest.raises(errors.StoreDenied):
        store.create("a", b"x")


def test_an_object_that_rules_keep_is_not_deleted_in_silence(
    server: SupabaseStorage, open_at: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service answers with an empty list; that the object is still there is found out."""
    store = open_at(server.url)
    store.put("a", b"x", digest(b"x"))
    monkeypatch.setattr(server.project, "remove", lambda *_: [])
    with pytest.raises(errors.StoreDenied):
        store.delete("a")
    store.delete("never-there")


@pytest.mark.parametrize("call", CALLS)
def test_a_missing_bucket_is_no_missing_object(server: SupabaseStorage, open_at: OpenAt, call: str) -> None:
    """The service lists a missing bucket as empty; the store asks for it."""
    store = open_at(server.url, "supabase://elsewhere")
    with pytest.raises(errors.BucketMissing):
        CALLS[call](store)


@pytest.mark.parametrize("data", [b"x" * 4 * MIB, Made(9 * MIB)], ids=["small", "large"])
def test_an_object_over_the_buckets_limit_is_too_large(
    server: SupabaseStorage, open_at: OpenAt, data: bytes | Made
) -> None:
    """The error tells the limit, which the service itself does not; afterwards it is known beforehand."""
    server.project.buckets["backups"].size_limit = 3 * MIB
    store = open_at(server.url)
    expected = digest_of(data) if isinstance(data, Made) else digest(data)
    for _ in range(2):
        with pytest.raises(errors.ObjectTooLarge, match=str(3 * MIB)):
            store.put("a", data, expected)
    assert 3 * MIB == store.capabilities.largest_object
    assert {} == server.project.objects


def test_a_limit_of_the_project_is_not_told(server: SupabaseStorage, open_at: OpenAt) -> None:
    """Only buckets can be asked; the error names the settings instead."""
    server.project.size_limit = MIB
    with pytest.raises(errors.ObjectTooLarge, match="project's settings"):
        open_at(server.url).put("a", b"x" * 2 * MIB, digest(b"x" * 2 * MIB))


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refused(507, "", "", "Insufficient Storage"), errors.StoreFull),
        (Refused(402, "", "", "restricted: exceed_storage_size_quota"), errors.StoreFull),
        (
            Refused(503, "DatabaseReadOnly", "x", "The database is currently in read-only mode."),
            errors.StoreReadOnly,
        ),
        (Refused(429, "SlowDown", "too_many_connections", "Too many connections"), errors.StoreThrottled),
    ],
    ids=["full", "quota", "read-only", "busy"],
)
@pytest.mark.parametrize("call", ["put", "put large", "create"])
def test_what_the_service_refuses_to_store_is_told_apart(
    server: SupabaseStorage, open_at: OpenAt, call: str, refusal: Refused, kind: type[StoreError]
) -> None:
    """A full disk, a spent quota, a database that takes nothing, too much at once."""
    store = open_at(server.url)
    server.project.refuse_uploads = refusal
    with pytest.raises(kind) as raised:
        CALLS[call](store)
    # A resumable upload is refused in plain text, without a code.
    assert kind is type(raised.value)


def test_a_bucket_that_takes_other_media_types_is_unsuitable(
    server: SupabaseStorage, open_at: OpenAt
) -> None:
    """Sealed bytes are of no other type than application/octet-stream."""
    server.project.buckets["backups"].mime_types = ["image/*"]
    with pytest.raises(errors.StoreUnsuitable):
        open_at(server.url).put("a", b"x", digest(b"x"))
    server.project.buckets["backups"].mime_types = ["application/*"]
    open_at(server.url).put("a", b"x", digest(b"x"))


# ---------------------------------------------------------------- what else is in the bucket


def test_only_objects_of_the_prefix_are_listed(server: SupabaseStorage, open_at: OpenAt) -> None:
    """Neighbours, files of people, and what is being written are none."""
    store = open_at(server.url)
    neighbours = [open_at(server.url, at) for at in ("supabase://backups/main2", "supabase://backups/mai")]
    for each in (store, *neighbours):
        each.put("a", b"x", digest(b"x"))
    stored = server.project.objects["backups", "main/a"]
    for key in ("main/My File (1).txt", "main/a b&c+d@e=f;g", "main/!writing/ff", "main", "Main/a", "main/A"):
        server.project.objects["backups", key] = stored
    assert ["a"] == [found.name for found in store.list()]
    assert ["a"] == [found.name for found in neighbours[0].list("a")]


def test_leftovers_of_killed_writers_are_swept_after_a_day(server: SupabaseStorage, open_at: OpenAt) -> None:
    """The first write of a later store removes them; younger ones may belong to somebody."""
    store = open_at(server.url)
    store.put("a", b"x", digest(b"x"))
    stored = server.project.objects["backups", "main/a"]
    for number in range(250):
        server.project.objects["backups", f"main/!writing/{number}"] = replace(
            stored, path=server.project.new_file()
        )
        server.project.objects["backups", f"main/!writing/{number}"].path.touch()
    open_at(server.url).put("b", b"x", digest(b"x"))
    assert 252 == len(server.project.objects)
    place, options = Place(server.url, "backups", SERVICE_KEY), StoreOptions()
    later = SupabaseStore(place, "main/", options, clock=lambda: time.time() + LEFTOVER_SECONDS + 60)
    later.put("c", b"x", digest(b"x"))
    later.close()
    assert {"main/a", "main/b", "main/c"} == {key for _, key in server.project.objects}


def test_a_list_out_of_order_is_refused(
    server: SupabaseStorage, open_at: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a list in another order leave objects out; that must not pass for a list."""
    store = open_at(server.url)
    for name in ("a", "b"):
        store.put(name, b"x", digest(b"x"))
    monkeypatch.setattr(server.project, "keys", lambda _: ["main/b", "main/a"])
    with pytest.raises(errors.BucketSuspect):
        list(store.list())


def test_an_object_that_is_gone_after_its_move_is_noticed(
    server: SupabaseStorage, open_at: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service says that it moved the object, and did not."""
    monkeypatch.setattr(server.project, "move", lambda *_: None)
    with pytest.raises(errors.BucketSuspect):
        open_at(server.url).put("a", b"x", digest(b"x"))


# ---------------------------------------------------------------- options and secrets


def test_the_projects_url_and_key_may_come_from_the_environment() -> None:
    """As with the service's own tools; the options of the location come first."""
    environment = {
        "SUPABASE_URL": "https://abc.supabase.co/",
        "SUPABASE_SERVICE_ROLE_KEY": SERVICE_KEY + "\n",
    }
    store = open_supabase("supabase://backups/main", StoreOptions(), environment)
    assert "supabase://backups/main at abc.supabase.co" == store.description
    other = StoreOptions(endpoint="http://127.0.0.1:54321/storage/v1/")
    assert open_supabase("supabase://b", other, environment).description == "supabase://b at 127.0.0.1:54321"


@pytest.mark.parametrize("given", [{}, {"endpoint": "https://x.supabase.co"}, {"secret_key": SERVICE_KEY}])
def test_missing_credentials_are_named(given: dict[str, str]) -> None:
    """The hint says what to set, and where it is found."""
    with pytest.raises(errors.CredentialsMissing) as raised:
        open_supabase("supabase://backups/main", StoreOptions(**given), {})  # type: ignore[arg-type]
    variable = "SUPABASE_SERVICE_ROLE_KEY" if "endpoint" in given else "SUPABASE_URL"
    assert variable in raised.value.advice()


@pytest.mark.parametrize(
    "options",
    [
        {"region": "eu"},
        {"path_style": False},
        {"storage_class": "COLD"},
        {"conditional_put": True},
        {"access_key": "a"},
        {"endpoint": "abc.supabase.co"},
        {"endpoint": "https://user:password@abc.supabase.co"},
        {"secret_key": "two words"},
        {"secret_key": "schlüssel"},
        {"secret_key": "a\nb"},
    ],
    ids=str,
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object]) -> None:
    """At once, and without repeating a value, which may be a secret."""
    given = replace(StoreOptions(endpoint="https://abc.supabase.co", secret_key=SERVICE_KEY), **options)  # type: ignore[arg-type]
    with pytest.raises(errors.OptionUnfit) as raised:
        open_supabase("supabase://backups/main", given, {})
    assert next(iter(options)) == raised.value.context["option"]
    assert not any(str(value) in str(raised.value) for value in options.values() if len(str(value)) > 5)


def test_the_key_shows_nowhere(server: SupabaseStorage, proxy: FaultProxy, open_at: OpenAt) -> None:
    """Not in what the store, its parts or its errors say, nor in what caused them, whatever the service repeats."""
    store = open_at(proxy.url)
    shown = [
        repr(store),
        store.description,
        repr(store._place),
        repr(store._service),
        repr(store._call("a", "b")),
    ]
    shown.append(repr(StoreOptions(secret_key=SERVICE_KEY)))
    faults = [
        Rule(status=400, code=SERVICE_KEY),
        Rule(status=500, code=SERVICE_KEY),
        Rule(drop_response=True),
    ]
    for fault in faults:
        for call in CALLS.values():
            proxy.set_rules([replace(fault, times=-1)])
            with pytest.raises(StoreError) as raised:
                call(store)
            error: BaseException | None = raised.value
            shown.append(json.dumps(raised.value.document()))
            while error is not None:
                shown += [str(error), repr(error)]
                error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    secret = SERVICE_KEY.rpartition(".")[2]
    assert [] == [text for text in shown if secret in text]
