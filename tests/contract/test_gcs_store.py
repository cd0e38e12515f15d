"""The store on Google Cloud Storage keeps the contract, on our own emulator and on a network that misbehaves.

No real Google Cloud Storage can run here: `tests.servers.gcs` is written from the documentation. That the
service itself behaves like it is NOT PROVEN here; `strongroom check` runs the same contract on a real bucket.
"""

import datetime as dt
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import (
    BadStoreUrl,
    BucketMissing,
    BucketSuspect,
    CredentialsMissing,
    ObjectConflict,
    ObjectDamaged,
    ObjectLocked,
    ObjectMissing,
    OptionUnfit,
    StoreLoginRefused,
    StoreNotTrusted,
    StoreThrottled,
    StoreUnavailable,
    TransferCut,
)
from strongroom.stores.capabilities import ObjectLock
from strongroom.stores.contract import run_contract
from strongroom.stores.gcs import FOREVER, GcsStore, open_gcs
from strongroom.stores.gcs_upload import ONE_REQUEST_BYTES, PIECE_BYTES, RESUMPTIONS
from strongroom.stores.open import open_store
from strongroom.stores.options import StoreOptions
from strongroom.stores.retrying import RetryingStore
from tests.servers.fault_proxy import FaultProxy, Rule
from tests.servers.gcs import FakeGcs
from tests.servers.gcs_buckets import Bucket
from tests.tls_server import issue, make_authority

_numbers = itertools.count(1)
KMS_KEY = "projects/p/locations/eu/keyRings/r/cryptoKeys/k"


@pytest.fixture(scope="module")
def gcs() -> Iterator[FakeGcs]:
    """Run the emulator."""
    with FakeGcs() as server:
        yield server


@pytest.fixture
def bucket(gcs: FakeGcs) -> Bucket:
    """Make a bucket for one test."""
    return gcs.make_bucket(f"bucket-{next(_numbers)}")


@dataclass
class Opener:
    """Opens stores, and closes them after the test."""

    endpoint: str
    opened: list[GcsStore] = field(default_factory=list)

    def __call__(self, bucket: Bucket | str, prefix: str = "", **options: Any) -> GcsStore:
        """Open a store that does not wait between its tries."""
        name = bucket if isinstance(bucket, str) else bucket.name
        made = StoreOptions(**{"endpoint": self.endpoint, "read_timeout": 10.0, **options})
        self.opened.append(GcsStore(name, prefix, made, pause=lambda _: None))
        return self.opened[-1]


@pytest.fixture
def opened(gcs: FakeGcs) -> Iterator[Opener]:
    """Open stores on the emulator."""
    opener = Opener(gcs.url)
    yield opener
    for store in opener.opened:
        store.close()


@pytest.fixture
def proxy(gcs: FakeGcs) -> Iterator[FaultProxy]:
    """Put the fault proxy before the emulator."""
    with FaultProxy(gcs.address) as made:
        yield made


def digest(data: bytes) -> str:
    """Return the SHA-256 in hex."""
    return sha256(data).hexdigest()


def put(store: GcsStore, name: str, data: bytes) -> None:
    """Store bytes with their right SHA-256."""
    store.put(name, data, digest(data))


@dataclass
class Parts:
    """Bytes that are handed out piece by piece, and a note of what was asked for."""

    data: bytes
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        """Return some of them."""
        self.asked.append((start, length))
        return self.data[start : start + length]


LARGE = os.urandom(1 << 20) * 36 + b"and a rest"

# ---------------------------------------------------------------- the contract


def test_the_contract_is_kept(bucket: Bucket, opened: Opener) -> None:
    """Every rule holds on the emulator, below a prefix, beside what others have in the bucket."""
    put(opened(bucket), "already/there", b"x")
    findings = run_contract(opened(bucket, "below/here/"), "scratch", os.urandom, many=1200)
    assert [] == [finding for finding in findings if not finding.held]
    assert ["already/there"] == [found.name for found in opened(bucket).list()]


def test_the_contract_is_kept_with_versions(gcs: FakeGcs, opened: Opener) -> None:
    """It holds in a bucket with versions too, and no version is left behind."""
    versioned = gcs.make_bucket("versioned", versioning=True)
    findings = run_contract(opened(versioned), "scratch", os.urandom, many=60)
    assert [] == [finding for finding in findings if not finding.held]
    assert {} == versioned.objects


def test_a_url_opens_it(gcs: FakeGcs, bucket: Bucket) -> None:
    """`gs://bucket/prefix` with an endpoint is this store; its description is the URL."""
    store = open_store(f"gs://{bucket.name}/some/prefix", StoreOptions(endpoint=gcs.url))
    assert isinstance(store, GcsStore)
    with store:
        assert f"gs://{bucket.name}/some/prefix/" == store.description
        put(store, "a/b", b"x")
    assert ["some/prefix/a/b"] == list(bucket.objects)


def test_two_prefixes_do_not_see_each_other(bucket: Bucket, opened: Opener) -> None:
    """Nor does one whose name begins like the other's."""
    one, two = opened(bucket, "a/"), opened(bucket, "ab/")
    put(one, "x", b"one")
    put(two, "x", b"two")
    two.delete("x")
    assert (["x"], []) == ([found.name for found in one.list()], [found.name for found in two.list()])


def test_what_is_no_object_is_not_listed(bucket: Bucket, opened: Opener) -> None:
    """Names that Strongroom could not have given are somebody else's: left alone, and not shown."""
    for name in ("p/", "p/Upper", "p/a//b", "p/ok"):
        bucket.store(name, b"x", {}, {}, {})
    assert ["ok"] == [found.name for found in opened(bucket, "p/").list()]


def test_a_store_serves_many_threads(bucket: Bucket, opened: Opener) -> None:
    """Threads share one store, which is opened by whichever comes first."""
    store = opened(bucket)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: put(store, f"n/{number}", bytes([number])), range(60)))
        assert [bytes([number]) for number in range(60)] == list(
            pool.map(store.get, (f"n/{n}" for n in range(60)))
        )


def test_one_call_is_one_request(bucket: Bucket, proxy: FaultProxy) -> None:
    """Nothing is read back, and the library asks for nothing on its own."""
    with Opener(proxy.url)(bucket) as store:
        for expected, call in (
            ("POST", lambda: put(store, "x", b"x")),
            ("POST", lambda: store.create("y", b"y")),
            ("GET", lambda: store.get("x")),
            ("GET", lambda: store.stat("x")),
            ("GET", lambda: list(store.list())),
        ):
            proxy.set_rules([])
            call()
            assert [expected] == [seen.method for seen in proxy.log]


def test_a_closed_store_opens_again(bucket: Bucket, opened: Opener) -> None:
    """`close` gives back the connections, not the store."""
    store = opened(bucket)
    put(store, "x", b"1")
    store.close()
    assert b"1" == store.get("x")


# ---------------------------------------------------------------- large objects


def test_a_large_object_goes_in_pieces(bucket: Bucket, opened: Opener) -> None:
    """Above 32 MiB, no piece that is read is larger than what one request of a session sends."""
    parts = Parts(LARGE)
    opened(bucket).put("packs/large", parts, digest(LARGE))
    assert max(length for _, length in parts.asked) <= PIECE_BYTES < ONE_REQUEST_BYTES < len(LARGE)
    assert LARGE == bucket.objects["packs/large"][0].data
    opened(bucket).put("packs/large", parts, digest(LARGE))


def test_a_large_object_needs_little_memory(gcs: FakeGcs, bucket: Bucket) -> None:
    """A process that uploads 256 MiB grows by a few pieces, not by the object."""
    script = f"""
import resource, hashlib
from strongroom.stores.gcs import GcsStore
from strongroom.stores.options import StoreOptions
class Zeros:
    size = 256 << 20
    def read(self, start, length):
        return bytes(min(length, self.size - start))
hashed = hashlib.sha256()
for start in range(0, Zeros.size, 1 << 20):
    hashed.update(bytes(1 << 20))
with GcsStore({bucket.name!r}, "", StoreOptions(endpoint={gcs.url!r})) as store:
    store.put("small", b"x", hashlib.sha256(b"x").hexdigest())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store.put("large", Zeros(), hashed.hexdigest())
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    grown = int(done.stdout)
    assert 256 << 20 == len(bucket.objects.pop("large")[0].data)
    assert grown < 96, f"{grown} MiB"


def test_the_last_piece_of_a_wrong_object_is_never_sent(gcs: FakeGcs, bucket: Bucket, opened: Opener) -> None:
    """Data that turns out to have another SHA-256 is refused at its end; nothing is stored, no session is left."""
    parts = Parts(LARGE)
    with pytest.raises(ObjectDamaged):
        opened(bucket).put("large", parts, digest(LARGE + b"!"))
    assert ({}, []) == (bucket.objects, [each for each in gcs.sessions.values() if not each.done])


def test_data_that_ends_early_is_refused(bucket: Bucket, opened: Opener) -> None:
    """So are pieces that are fewer bytes than they said."""
    parts = Parts(LARGE)
    parts.read = lambda start, length: LARGE[start : start + length - 1]  # type: ignore[method-assign]
    with pytest.raises(ObjectDamaged):
        opened(bucket).put("large", parts, digest(LARGE))
    assert {} == bucket.objects


@pytest.mark.parametrize(
    "fault",
    [
        Rule(reset_request_after=5 << 20),
        Rule(drop_response=True),
        Rule(status=503, as_json=True, code="backendError"),
        Rule(status=429, as_json=True, code="rateLimitExceeded"),
        Rule(reset_response_after=0),
    ],
    ids=["torn", "lost acknowledgement", "503", "429", "answer cut"],
)
@pytest.mark.parametrize("piece", [0, 1, 2], ids=["first piece", "second piece", "last piece"])
def test_an_upload_that_is_cut_goes_on(bucket: Bucket, proxy: FaultProxy, fault: Rule, piece: int) -> None:
    """Whatever happens to a piece, the session is asked where it stands, and the rest is sent."""
    opener = Opener(proxy.url)
    store = opener(bucket)
    if fault.reset_request_after and piece == 2:
        fault = replace(fault, reset_request_after=1 << 20)
    proxy.set_rules([replace(fault, method="PUT", skip=piece)])
    parts = Parts(LARGE)
    store.put("packs/large", parts, digest(LARGE))
    store.close()
    proxy.assert_all_hit()
    assert LARGE == bucket.objects["packs/large"][0].data
    sent = [seen for seen in proxy.log if seen.method == "PUT"]
    assert len(sent) <= 3 + 2
    assert all(length <= PIECE_BYTES for _, length in parts.asked)


def test_an_upload_whose_session_is_lost_starts_again(gcs: FakeGcs, bucket: Bucket, opened: Opener) -> None:
    """A session that the service no longer knows is replaced by a new one."""
    parts = Parts(LARGE)
    reading = parts.read

    def read(start: int, length: int) -> bytes:
        if start == PIECE_BYTES and len(parts.asked) == 1:
            gcs.forget_sessions()
        return reading(start, length)

    parts.read = read  # type: ignore[method-assign]
    opened(bucket).put("large", parts, digest(LARGE))
    assert LARGE == bucket.objects["large"][0].data


def test_an_upload_is_not_taken_up_for_ever(bucket: Bucket, proxy: FaultProxy) -> None:
    """When nothing gets through any more, the caller hears of it."""
    store = Opener(proxy.url)(bucket)
    proxy.set_rules([Rule(method="PUT", skip=1, times=-1, reset_request_after=0)])
    with store, pytest.raises(StoreUnavailable):
        store.put("large", Parts(LARGE), digest(LARGE))
    assert len([seen for seen in proxy.log if seen.method == "PUT"]) <= 2 + RESUMPTIONS
    assert {} == bucket.objects


def test_a_large_object_that_is_there_is_compared(bucket: Bucket, opened: Opener) -> None:
    """The same bytes are fine, others are a conflict, and a wrong SHA-256 stays damage."""
    store = opened(bucket)
    store.put("large", Parts(LARGE), digest(LARGE))
    store.put("large", Parts(LARGE), digest(LARGE))
    other = LARGE[:-1] + b"T"
    with pytest.raises(ObjectConflict):
        store.put("large", Parts(other), digest(other))
    with pytest.raises(ObjectDamaged):
        store.put("large", Parts(LARGE), digest(other))


# ---------------------------------------------------------------- a bad network


def test_a_lost_acknowledgement_is_no_conflict(bucket: Bucket, proxy: FaultProxy) -> None:
    """What was stored though nobody heard of it is found to be ours; racing creators are told apart."""
    with Opener(proxy.url)(bucket) as store:
        retrying = RetryingStore(store, sleep=lambda _: None)
        proxy.set_rules([Rule(method="POST", path="/upload/", drop_response=True, times=2)])
        retrying.put("packs/a", b"ours", digest(b"ours"))
        assert retrying.create("leases/a", b"ours")
        proxy.assert_all_hit()
        assert not retrying.create("leases/a", b"other")
        with pytest.raises(ObjectConflict):
            retrying.put("packs/a", b"else", digest(b"else"))


def test_of_racing_creators_one_wins_though_acknowledgements_are_lost(
    bucket: Bucket, proxy: FaultProxy
) -> None:
    """The winner is the one whose bytes are stored."""
    proxy.set_rules(
        [Rule(method="POST", path="/upload/", drop_response=True, probability=0.5, seed=3, times=6)]
    )
    with Opener(proxy.url)(bucket) as store:
        retrying = RetryingStore(store, sleep=lambda _: None, max_retries=10)
        offers = [os.urandom(100) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda offer: retrying.create("lease", offer), offers))
    proxy.assert_all_hit()
    assert 1 == won.count(True)
    assert offers[won.index(True)] == bucket.objects["lease"][0].data


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "rateLimitExceeded"), (503, "backendError"), (403, "rateLimitExceeded")]
)
def test_throttling_passes(bucket: Bucket, proxy: FaultProxy, status: int, reason: str) -> None:
    """Each call says that it was throttled, which is tried again."""
    with Opener(proxy.url)(bucket) as store:
        put(store, "x", b"x")
        calls: list[Callable[[], object]] = [
            lambda: put(store, "y", b"y"),
            lambda: store.create("z", b"z"),
            lambda: store.get("x"),
            lambda: store.stat("x"),
            lambda: list(store.list()),
            lambda: store.delete("x"),
        ]
        for call in calls:
            proxy.set_rules([Rule(status=status, code=reason, as_json=True)])
            with pytest.raises(StoreThrottled):
                call()
            proxy.assert_all_hit()
            call()


def test_the_contract_is_kept_on_a_bad_network(bucket: Bucket, proxy: FaultProxy) -> None:
    """With retries around it the store holds every rule while answers are cut and uploads are torn, seeded."""
    always: dict[str, Any] = {"probability": 0.03, "times": -1}
    rules = [
        Rule(status=503, as_json=True, code="backendError", seed=1, **always),
        Rule(method="GET", truncate_response_after=1, seed=2, **always),
        Rule(method="GET", reset_response_after=0, seed=3, **always),
        Rule(method="POST", reset_request_after=100, seed=4, **always),
        Rule(method="DELETE", drop_response=True, seed=5, **always),
    ]
    proxy.set_rules(rules)
    with Opener(proxy.url)(bucket) as store:
        retrying = RetryingStore(store, sleep=lambda _: None, max_retries=8)
        findings = run_contract(retrying, "scratch", os.urandom, many=100, large_bytes=1 << 20)
    # That rule creates the same bytes twice: after a failure, `RetryingStore` must take them for its own.
    broken = [finding for finding in findings if not finding.held]
    assert [] == [finding for finding in broken if finding.rule != "create never replaces"]
    proxy.assert_all_hit()


def test_one_name_takes_one_write_a_second(gcs: FakeGcs, opened: Opener) -> None:
    """A second write within a second is transient trouble, as documented, and no conflict."""
    hasty = gcs.make_bucket("hasty", one_write_a_second=True)
    store = opened(hasty)
    store.create("lease", b"1")
    store.delete("lease")
    with pytest.raises(StoreThrottled):
        store.create("lease", b"2")


@pytest.mark.parametrize(
    "fault",
    [
        Rule(truncate_response_after=70_000),
        Rule(reset_response_after=70_000),
        Rule(truncate_response_after=0),
    ],
    ids=["truncated", "reset", "empty"],
)
@pytest.mark.parametrize("start", [0, 5])
def test_a_short_body_is_never_returned(bucket: Bucket, proxy: FaultProxy, fault: Rule, start: int) -> None:
    """A download that ends early is cut, whole or in ranges; the next one is whole."""
    data = os.urandom(200_000)
    with Opener(proxy.url)(bucket) as store:
        put(store, "x", data)
        proxy.set_rules([fault])
        with pytest.raises(TransferCut):
            store.get("x", start)
        proxy.assert_all_hit()
        assert data[start:] == store.get("x", start)


@pytest.mark.parametrize("size", [100_000, len(LARGE)], ids=["one request", "session"])
def test_a_flipped_bit_in_an_upload_is_refused(bucket: Bucket, proxy: FaultProxy, size: int) -> None:
    """The service compares its checksum with ours; nothing is stored, and trying again helps."""
    data = LARGE[:size]
    with Opener(proxy.url)(bucket) as store:
        method = "POST" if size < ONE_REQUEST_BYTES else "PUT"
        proxy.set_rules([Rule(method=method, path="/upload/", corrupt_request_at=50_000)])
        with pytest.raises(StoreUnavailable):
            put(store, "x", data)
        proxy.assert_all_hit()
        assert {} == bucket.objects
        put(store, "x", data)
    assert data == bucket.objects["x"][0].data


def test_a_stalled_service_is_given_up(bucket: Bucket, proxy: FaultProxy) -> None:
    """After `read_timeout` without a byte the call ends."""
    with Opener(proxy.url)(bucket, read_timeout=0.3) as store:
        put(store, "x", bytes(5000))
        proxy.set_rules([Rule(stall_response_after=1000), Rule(latency=3600)])
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                store.get("x")
        proxy.assert_all_hit()


def test_a_service_that_is_not_there_is_unavailable() -> None:
    """A refused connection is transient."""
    with FakeGcs() as gone:
        endpoint = gone.url
    with Opener(endpoint)("bucket") as store, pytest.raises(StoreUnavailable, match="refused"):
        store.get("x")


def test_an_acknowledgement_of_other_bytes_is_not_believed(
    bucket: Bucket, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that says that it stored something else is suspect, and what it stored is taken back."""
    monkeypatch.setattr("tests.servers.gcs_buckets.crc32c_of", lambda _: "AAAAAA==")
    monkeypatch.setattr("tests.servers.gcs._Connection._promised", lambda *_: {})
    with pytest.raises(BucketSuspect):
        put(opened(bucket), "x", b"data")
    assert {} == bucket.objects


def test_a_changed_object_is_a_conflict_though_its_checksum_is_kept(bucket: Bucket, opened: Opener) -> None:
    """A put of what is there reads it back: the service's word for its own bytes is not enough."""
    store = opened(bucket)
    put(store, "x", b"0123456789")
    bucket.tamper("x", b"0123456780")
    with pytest.raises(ObjectConflict):
        put(store, "x", b"0123456789")


# ---------------------------------------------------------------- locks and versions


def test_deleting_leaves_no_version(gcs: FakeGcs, opened: Opener) -> None:
    """Versions that others made are deleted with the object, and those of other names are not."""
    versioned = gcs.make_bucket("with-versions", versioning=True)
    store = opened(versioned)
    for _ in range(3):
        versioned.store("x", os.urandom(10), {}, {}, {})
    put(store, "x-y", b"kept")
    store.delete("x")
    store.delete("x")
    assert ["x-y"] == list(versioned.objects)


def test_deleting_leaves_no_version_where_the_bucket_is_secret(gcs: FakeGcs, proxy: FaultProxy) -> None:
    """An account that may not describe the bucket deletes as if it kept versions."""
    versioned = gcs.make_bucket("secretive", versioning=True)
    proxy.set_rules([Rule(path=r"/b/secretive\?", status=403, as_json=True, code="forbidden", times=-1)])
    for _ in range(2):
        versioned.store("x", b"x", {}, {}, {})
    with Opener(proxy.url)(versioned) as store:
        store.delete("x")
    proxy.assert_all_hit()
    assert {} == versioned.objects


def test_a_retention_policy_keeps_objects(gcs: FakeGcs, opened: Opener) -> None:
    """What the bucket retains cannot be deleted, and the error says until when."""
    kept = gcs.make_bucket("kept", retention_seconds=3600)
    store = opened(kept)
    put(store, "x", b"x")
    until = store.locked_until("x")
    assert until is not None
    with pytest.raises(ObjectLocked, match=until.isoformat(timespec="seconds").replace("+", r"\+")):
        store.delete("x")
    assert b"x" == store.get("x")


def test_a_hold_keeps_an_object(bucket: Bucket, opened: Opener) -> None:
    """An object that somebody holds has no date."""
    store = opened(bucket)
    put(store, "x", b"x")
    assert store.locked_until("x") is None
    bucket.change("x", {"temporaryHold": True}, {})
    assert FOREVER == store.locked_until("x")
    with pytest.raises(ObjectLocked, match="releases"):
        store.delete("x")


@pytest.mark.parametrize(("mode", "expected"), [("governance", "Unlocked"), ("compliance", "Locked")])
def test_objects_are_locked_as_they_are_written(
    gcs: FakeGcs, opened: Opener, mode: Any, expected: str
) -> None:
    """With `lock`, everything but leases is retained from its first moment, in one request or in a session."""
    locking = gcs.make_bucket(f"locking-{mode}", object_retention=True)
    store = opened(locking, lock=ObjectLock(mode, 7))
    put(store, "packs/x", b"x")
    store.put("packs/large", Parts(LARGE), digest(LARGE))
    store.create("leases/x", b"x")
    store.delete("leases/x")
    week = dt.datetime.now(dt.UTC) + dt.timedelta(days=7)
    for name in ("packs/x", "packs/large"):
        assert expected == locking.objects[name][0].facts["retention"]["mode"]
        until = store.locked_until(name)
        assert until is not None
        assert abs(until - week) < dt.timedelta(minutes=1)
        with pytest.raises(ObjectLocked):
            store.delete(name)
    assert store.capabilities.lock == ObjectLock(mode, 7)


def test_a_lock_only_grows(gcs: FakeGcs, opened: Opener) -> None:
    """`extend_lock` sets a later date and leaves a later one; in a bucket that cannot lock it says so."""
    locking = gcs.make_bucket("growing", object_retention=True)
    store = opened(locking)
    put(store, "x", b"x")
    soon, late = (dt.datetime(2100, month, 1, tzinfo=dt.UTC) for month in (1, 2))
    for asked, expected in ((soon, soon), (late, late), (soon, late)):
        store.extend_lock("x", asked)
        assert expected == store.locked_until("x")
    with pytest.raises(ObjectMissing):
        store.extend_lock("y", soon)
    with pytest.raises(ObjectMissing):
        store.locked_until("y")
    plain = opened(gcs.make_bucket("no-locks"), lock=ObjectLock("compliance", 1))
    with pytest.raises(OptionUnfit, match="lock"):
        put(plain, "x", b"x")


def test_packs_alone_get_the_storage_class(bucket: Bucket, opened: Opener) -> None:
    """What is small and read often stays in the default class."""
    store = opened(bucket, storage_class="COLDLINE")
    for name in ("packs/x", "manifests/x"):
        put(store, name, b"x")
    classes = [each[0].resource()["storageClass"] for each in bucket.objects.values()]
    assert ["COLDLINE", "STANDARD"] == classes


def test_a_kms_key_is_named_at_each_upload(bucket: Bucket, proxy: FaultProxy) -> None:
    """In one request and in a session."""
    with Opener(proxy.url)(bucket, encryption=KMS_KEY) as store:
        put(store, "x", b"x")
        store.put("large", Parts(LARGE), digest(LARGE))
    begun = [seen.path for seen in proxy.log if seen.method == "POST"]
    assert [True, True] == ["kmsKeyName=projects%2Fp" in path for path in begun]


# ---------------------------------------------------------------- getting in


def test_a_missing_bucket_is_named(opened: Opener) -> None:
    """Every call says that there is no bucket, rather than no object; none makes one."""
    store = opened("nowhere")
    calls: list[Callable[[], object]] = [
        lambda: put(store, "x", b"x"),
        lambda: store.put("x", Parts(LARGE), digest(LARGE)),
        lambda: store.create("x", b"x"),
        lambda: store.get("x"),
        lambda: store.get("x", 0, 0),
        lambda: store.stat("x"),
        lambda: list(store.list()),
        lambda: store.delete("x"),
        lambda: store.locked_until("x"),
    ]
    for call in calls:
        with pytest.raises(BucketMissing, match="nowhere"):
            call()


def test_a_key_file_opens_the_bucket(tmp_path: Path) -> None:
    """The account's token is fetched once and sent with every request; one that is unknown gets none."""
    with FakeGcs() as guarded:
        guarded.wants_tokens = True
        guarded.make_bucket("guarded")
        with Opener(guarded.url)(
            "guarded", credentials_file=guarded.write_key(tmp_path / "key.json")
        ) as store:
            put(store, "x", b"x")
            assert b"x" == store.get("x")
            guarded.tokens.clear()
            # The service forgot the token: a new one is fetched.
            assert ["x"] == [found.name for found in store.list()]
            assert 1 == len(guarded.tokens)
        unknown = guarded.write_key(tmp_path / "unknown.json", known=False)
        with Opener(guarded.url)("guarded", credentials_file=unknown) as store:
            with pytest.raises(StoreLoginRefused, match="invalid_grant") as caught:
                store.get("x")
            assert "PRIVATE" not in str(caught.value.document())
        with Opener(guarded.url)("guarded") as anonymous, pytest.raises(CredentialsMissing):
            anonymous.get("x")


def test_a_file_that_is_no_key_is_named(gcs: FakeGcs, tmp_path: Path) -> None:
    """A missing file is noticed at once, a wrong one at the first call; nothing of it is repeated."""
    with pytest.raises(CredentialsMissing) as caught:
        open_gcs("gs://bucket", StoreOptions(credentials_file=tmp_path / "none.json"))
    assert "none.json" in caught.value.advice()
    wrong = tmp_path / "wrong.json"
    for text in ("secret words", '{"private_key": "secret words"}', "[]"):
        wrong.write_text(text, encoding="utf-8")
        with (
            open_gcs("gs://bucket", StoreOptions(endpoint=gcs.url, credentials_file=wrong)) as store,
            pytest.raises(CredentialsMissing) as caught,
        ):
            store.get("x")
        assert "secret words" not in str(caught.value.document())


def test_a_key_for_another_cloud_is_refused(gcs: FakeGcs, tmp_path: Path) -> None:
    """Clouds that are run like Google's have keys of their own, which nothing is sent with here."""
    key = gcs.write_key(tmp_path / "key.json")
    facts = json.loads(key.read_text(encoding="utf-8"))
    key.write_text(json.dumps({**facts, "universe_domain": "example.com"}), encoding="utf-8")
    with (
        Opener(gcs.url)("bucket", credentials_file=key) as store,
        pytest.raises(StoreLoginRefused, match="cloud"),
    ):
        store.get("x")


def test_without_any_credentials_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Google's own service is never asked without credentials."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with GcsStore("bucket") as store, pytest.raises(CredentialsMissing) as caught:
        store.get("x")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.advice()


def test_tls_is_checked(gcs: FakeGcs, bucket: Bucket, tmp_path: Path) -> None:
    """A certificate of an unknown authority is not trusted; with `ca_file` it is, and everything works."""
    authority = make_authority("gcs")
    trusted = authority.write(tmp_path / "ca.crt")
    pair = issue(authority, ["127.0.0.1"], tmp_path, "server")
    with FaultProxy(gcs.address, tls=pair) as proxy:
        with Opener(proxy.url)(bucket) as store, pytest.raises(StoreNotTrusted):
            store.get("x")
        with Opener(proxy.url)(bucket, ca_file=trusted) as store:
            put(store, "x", b"x")
            assert (b"x", ["x"]) == (store.get("x"), [found.name for found in store.list()])
            gcs.scheme = "https"
            try:
                store.put("large", Parts(LARGE), digest(LARGE))
            finally:
                gcs.scheme = "http"
            proxy.set_rules([Rule(method="GET", truncate_response_after=1000)])
            with pytest.raises(TransferCut):
                store.get("large")


@pytest.mark.parametrize(
    "options",
    [
        {"access_key": "x"},
        {"secret_key": "x"},
        {"session_token": "x"},
        {"region": "eu"},
        {"path_style": True},
        {"conditional_put": False},
        {"encryption": "AES256"},
        {"endpoint": "localhost:1"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any]) -> None:
    """An option that would be ignored is named before anything happens; its value is not."""
    with pytest.raises(OptionUnfit) as caught:
        open_gcs("gs://bucket", StoreOptions(**options))
    assert next(iter(options)) == caught.value.context["option"]


@pytest.mark.parametrize("url", ["gs://", "gs:///x", "gs://bucket/UPPER", "gs://bucket/x?y=1"])
def test_bad_urls_are_refused(url: str) -> None:
    """A URL that names no bucket or a prefix that cannot be is not opened."""
    with pytest.raises(BadStoreUrl):
        open_gcs(url, StoreOptions())
