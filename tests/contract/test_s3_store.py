"""The S3 store on real and emulated services: AWS's emulator, Ceph, and services that keep fewer promises.

`radosgw` is a real service; `ministack`, `moto` and `rclone` are emulators and gateways, and what is shown on
them is shown of them: AWS itself is not reached by these tests.
"""

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import (
    BucketMissing,
    ClockSkewed,
    CreationContended,
    CredentialsMissing,
    ObjectConflict,
    ObjectDamaged,
    ObjectFrozen,
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
from strongroom.stores.contract import RULES, run_contract
from strongroom.stores.locking import find_locking
from strongroom.stores.open import open_store
from strongroom.stores.options import StoreOptions
from strongroom.stores.retrying import RetryingStore
from strongroom.stores.s3 import LARGEST_SINGLE_PUT, S3Store, open_s3
from strongroom.stores.s3_client import Bucket
from tests.servers.fault_proxy import FaultProxy, Rule
from tests.servers.s3 import S3Server
from tests.tls_server import issue, make_authority

_numbers = count(1)


def bucket_on(server: S3Server, **kind: bool) -> str:
    """Make a bucket that no other test uses."""
    return server.make_bucket(f"room-{next(_numbers)}", **kind)


@contextmanager
def opened(server: S3Server, bucket: str, prefix: str = "some/prefix", **options: Any) -> Iterator[S3Store]:
    """Open a store in a bucket, and close its connections in the end."""
    with closing(open_s3(f"s3://{bucket}/{prefix}", server.options(**options))) as store:
        yield store


def put(store: Any, name: str, data: bytes) -> None:
    """Store bytes with their right SHA-256."""
    store.put(name, data, sha256(data).hexdigest())


def keys_in(server: S3Server, bucket: str) -> list[str]:
    """List every key of a bucket, whoever wrote it."""
    with server.client() as client:
        return [found["Key"] for found in client.list_objects_v2(Bucket=bucket).get("Contents", ())]


# ---------------------------------------------------------------- the contract


@pytest.mark.parametrize(
    ("name", "creates_once", "verifies", "page"),
    [
        ("ministack", True, True, 1000),
        ("radosgw", True, False, 50),
        ("moto", True, False, 100),
        ("rclone", False, False, 100),
    ],
)
def test_contract(
    name: str, creates_once: bool, verifies: bool, page: int, request: pytest.FixtureRequest
) -> None:
    """The service holds every rule, beside other keys, and is known afterwards for what it does.

    rclone speaks for a file system: told to delete `a/b` where `a` is an object, it deletes `a`. No name of a
    repository begins with another one and a slash, so this harms nobody.
    """
    forgiven = {"deleting what is not there is no error"} if name == "rclone" else set()
    server: S3Server = request.getfixturevalue(name)
    bucket = bucket_on(server)
    with server.client() as client:
        for other in ("some/prefix/UPPER", "elsewhere", "some/prefixed"):
            client.put_object(Bucket=bucket, Key=other, Body=b"x")
    inner = S3Store(Bucket(bucket, "some/prefix/", server.options()), keys_per_page=page)
    with closing(inner):
        findings = run_contract(inner, "scratch", os.urandom, many=page + 50, rounds=3, racers=6)
        broken = [finding for finding in findings if not finding.held and finding.rule not in forgiven]
        assert [] == broken
        assert [rule for rule, _ in RULES] == [finding.rule for finding in findings]
        found = inner.capabilities
        assert (creates_once, verifies) == (found.creates_once, found.verifies_checksums)
        assert [] == list(inner.list())
    assert ["elsewhere", "some/prefix/UPPER", "some/prefixed"] == keys_in(server, bucket)


def test_contract_without_a_prefix_and_announced(ministack: S3Server) -> None:
    """Told that conditions are not honoured, the store never relies on them, and keeps its promises."""
    server, bucket = ministack, bucket_on(ministack)
    with opened(server, bucket, prefix="", conditional_put=False) as store:
        findings = run_contract(store, "scratch", os.urandom, many=20, rounds=2, racers=4)
        assert [] == [finding for finding in findings if not finding.held]
        assert not store.capabilities.creates_once
    assert [] == keys_in(server, bucket)


def test_nothing_is_contacted_before_the_first_call() -> None:
    """Opening, describing and asking for capabilities reach no server: there is none at this address."""
    options = StoreOptions(endpoint="http://127.0.0.1:9", access_key="a", secret_key="b")
    store = open_store("s3://bucket/prefix", options)
    assert "s3://bucket/prefix at 127.0.0.1:9" == store.description
    assert store.capabilities.is_remote
    assert not store.capabilities.creates_once
    with pytest.raises(StoreUnavailable):
        store.stat("x")


# ---------------------------------------------------------------- large objects


class Made:
    """Pieces of an object that is nowhere whole: every mebibyte is its own number."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.largest_read = 0

    def read(self, start: int, length: int) -> bytes:
        """Make up the bytes asked for."""
        self.largest_read = max(self.largest_read, length)
        first, end = start >> 20, (start + length - 1 >> 20) + 1
        made = b"".join((number.to_bytes(8) * (1 << 17)) for number in range(first, end))
        return made[start - (first << 20) :][: max(0, min(length, self.size - start))]

    def digest(self) -> str:
        """Hash all of them."""
        whole = sha256()
        for start in range(0, self.size, 1 << 20):
            whole.update(self.read(start, 1 << 20))
        return whole.hexdigest()


@pytest.mark.parametrize("name", ["ministack", "radosgw", "moto", "rclone"])
def test_large_objects_are_sent_in_parts(name: str, request: pytest.FixtureRequest) -> None:
    """An object above the threshold is stored from pieces, read back, and refused where other bytes are."""
    server: S3Server = request.getfixturevalue(name)
    bucket, data = bucket_on(server), Made(LARGEST_SINGLE_PUT + 5_000_001)
    digest = data.digest()
    data.largest_read = 0
    with opened(server, bucket) as store:
        store.put("packs/large", data, digest)
        assert data.largest_read <= 16 << 20
        assert data.size == store.stat("packs/large").size
        assert data.read(33_000_000, 70_000) == store.get("packs/large", 33_000_000, 70_000)
        store.put("packs/large", data, digest)
        other = Made(data.size - 1)
        with pytest.raises(ObjectConflict):
            store.put("packs/large", other, other.digest())
        store.delete("packs/large")
    assert [] == uploads_in(server, bucket)


def test_memory_does_not_grow_with_the_object(ministack: S3Server) -> None:
    """A hundred mebibytes in parts cost this process a few parts of memory."""
    data = Made(96 << 20)
    digest = data.digest()
    with opened(ministack, bucket_on(ministack)) as store:
        put(store, "warm", b"x")
        # From here on the kernel counts the peak anew.
        Path("/proc/self/clear_refs").write_text("5")
        before = resident_kib("VmRSS")
        store.put("packs/large", data, digest)
        grown = resident_kib("VmHWM") - before
        store.delete("packs/large")
    assert grown < 80 << 10


def resident_kib(what: str) -> int:
    """Return how much memory this process has (`VmRSS`), or had at most (`VmHWM`)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1])


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_large_object_with_another_digest_is_not_stored(name: str, request: pytest.FixtureRequest) -> None:
    """Bytes that do not hash as they should leave neither an object nor an upload."""
    server: S3Server = request.getfixturevalue(name)
    bucket, data = bucket_on(server), Made(LARGEST_SINGLE_PUT + 1)
    with opened(server, bucket) as store, pytest.raises(ObjectDamaged):
        store.put("packs/large", data, sha256(b"other").hexdigest())
    assert ([], []) == (keys_in(server, bucket), uploads_in(server, bucket))


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_uploads_of_dead_writers_are_aborted(name: str, request: pytest.FixtureRequest) -> None:
    """The first large write aborts uploads of objects here that are a day old, and no others."""
    server: S3Server = request.getfixturevalue(name)
    bucket = bucket_on(server)
    with server.client() as client:
        for key in ("some/prefix/packs/dead", "some/prefix/UPPER", "elsewhere/packs/dead"):
            client.create_multipart_upload(Bucket=bucket, Key=key)
    with opened(server, bucket) as store:
        assert 0 == store.abort_leftovers()
    tomorrow = time.time() + 24 * 3600 + 60
    store = S3Store(Bucket(bucket, "some/prefix/", server.options()), clock=lambda: tomorrow)
    data = Made(LARGEST_SINGLE_PUT + 1)
    with closing(store):
        store.put("packs/large", data, data.digest())
    assert ["elsewhere/packs/dead", "some/prefix/UPPER"] == uploads_in(server, bucket)


def uploads_in(server: S3Server, bucket: str) -> list[str]:
    """List the keys of uploads that are neither completed nor aborted."""
    with server.client() as client:
        return sorted(
            found["Key"] for found in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        )


# ---------------------------------------------------------------- versions and locks


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_deleting_removes_every_version(name: str, request: pytest.FixtureRequest) -> None:
    """In a bucket with versions nothing of an object is left, neither versions nor markers; others stay."""
    server: S3Server = request.getfixturevalue(name)
    bucket = bucket_on(server, versioned=True)
    with opened(server, bucket) as store:
        put(store, "a", b"1")
        put(store, "a-longer-name", b"2")
        with server.client() as client:
            client.delete_object(Bucket=bucket, Key="some/prefix/a")
            client.put_object(Bucket=bucket, Key="some/prefix/a", Body=b"damage")
        store.delete("a")
        with pytest.raises(ObjectMissing):
            store.stat("a")
        store.delete("a")
    with server.client() as client:
        page = client.list_object_versions(Bucket=bucket)
    assert ["some/prefix/a-longer-name"] == [version["Key"] for version in page["Versions"]]
    assert [] == page.get("DeleteMarkers", [])


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
@pytest.mark.parametrize("mode", ["compliance", "governance"])
def test_locked_objects_cannot_be_deleted(name: str, mode: Any, request: pytest.FixtureRequest) -> None:
    """With a lock every object is kept until its date, which can be put off and not brought forward."""
    server: S3Server = request.getfixturevalue(name)
    bucket = bucket_on(server, lockable=True)
    with opened(server, bucket, lock=ObjectLock(mode, days=3)) as store:
        put(store, "manifests/one", b"kept")
        locking = find_locking(RetryingStore(store))
        assert locking is not None
        until = locking.locked_until("manifests/one")
        assert until is not None
        assert abs(until - dt.datetime.now(dt.UTC) - dt.timedelta(days=3)) < dt.timedelta(minutes=5)
        with pytest.raises(ObjectLocked) as raised:
            store.delete("manifests/one")
        assert until.isoformat(timespec="seconds") == raised.value.context["until"]
        assert b"kept" == store.get("manifests/one")
        locking.extend_lock("manifests/one", until - dt.timedelta(days=1))
        assert until == locking.locked_until("manifests/one")
        locking.extend_lock("manifests/one", until + dt.timedelta(days=1))
        assert until + dt.timedelta(days=1) == locking.locked_until("manifests/one")
        put(store, "manifests/one", b"kept")


def test_leases_are_not_locked(ministack: S3Server) -> None:
    """A lease is deleted though other objects are locked; what the trial of the service wrote is gone too."""
    bucket = bucket_on(ministack, lockable=True)
    with opened(ministack, bucket, lock=ObjectLock("compliance", days=3)) as store:
        assert store.create("leases/backup/1", b"mine")
        assert store.locked_until("leases/backup/1") is None
        store.delete("leases/backup/1")
    with ministack.client() as client:
        assert "Versions" not in client.list_object_versions(Bucket=bucket)


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_lock_on_a_bucket_without_locks_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    """A lock that would not be kept is an error before anything is written."""
    server: S3Server = request.getfixturevalue(name)
    bucket = bucket_on(server)
    with opened(server, bucket, lock=ObjectLock("compliance", days=3)) as store, pytest.raises(OptionUnfit):
        put(store, "manifests/one", b"kept")
    with opened(server, bucket) as store:
        put(store, "manifests/one", b"kept")
        assert store.locked_until("manifests/one") is None
        with pytest.raises(OptionUnfit):
            store.extend_lock("manifests/one", dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
        with pytest.raises(ObjectMissing):
            store.locked_until("manifests/two")
    assert ["some/prefix/manifests/one"] == keys_in(server, bucket)


def test_packs_alone_get_the_storage_class(ministack: S3Server) -> None:
    """Packs go into the class of the location with its encryption, everything else into the default class."""
    bucket = bucket_on(ministack)
    with opened(ministack, bucket, storage_class="STANDARD_IA", encryption="AES256") as store:
        put(store, "packs/ab/abc", b"pack")
        put(store, "manifests/one", b"manifest")
    with ministack.client() as client:
        heads = [client.head_object(Bucket=bucket, Key=key) for key in keys_in(ministack, bucket)]
    assert [None, "STANDARD_IA"] == [head.get("StorageClass") for head in heads]
    assert ["AES256", "AES256"] == [head["ServerSideEncryption"] for head in heads]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_missing_bucket_is_named(name: str, request: pytest.FixtureRequest) -> None:
    """A bucket that is not there is never taken for one without objects, whatever is asked first."""
    server: S3Server = request.getfixturevalue(name)
    calls: list[Callable[[S3Store], object]] = [
        lambda store: put(store, "a", b"x"),
        lambda store: store.create("a", b"x"),
        lambda store: store.get("a"),
        lambda store: store.stat("a"),
        lambda store: list(store.list()),
        lambda store: store.delete("a"),
    ]
    for call in calls:
        with opened(server, "no-such-bucket") as store, pytest.raises(BucketMissing):
            call(store)


@pytest.mark.parametrize("keys", [{"access_key": "stranger"}, {"secret_key": "wrong"}])
@pytest.mark.parametrize("name", ["radosgw", "rclone"])
def test_wrong_credentials_are_refused(
    name: str, keys: dict[str, str], request: pytest.FixtureRequest
) -> None:
    """Neither a strange key nor a wrong signature is taken for a missing right; ministack takes any key."""
    server: S3Server = request.getfixturevalue(name)
    bucket = bucket_on(server)
    with opened(server, bucket, **keys) as store, pytest.raises(StoreLoginRefused) as raised:
        list(store.list())
    assert server.secret_key not in str(raised.value.document())
    assert "stranger" not in str(raised.value.document())


def test_no_credentials_anywhere(radosgw: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without keys in the options, and none where the AWS tools look, the first call says so."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    with opened(radosgw, "bucket", access_key="", secret_key="") as store, pytest.raises(CredentialsMissing):
        store.stat("a")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", radosgw.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", radosgw.secret_key)
    with opened(radosgw, bucket_on(radosgw), access_key="", secret_key="") as store:
        assert [] == list(store.list())


def test_wrong_clock_is_named(radosgw: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is signed an hour ahead is refused for the clock, not for the key."""
    import botocore.auth

    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    bucket = bucket_on(radosgw)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: ahead.replace(tzinfo=None))
    with opened(radosgw, bucket) as store, pytest.raises(ClockSkewed):
        list(store.list())


@pytest.mark.parametrize(
    "options",
    [
        {"credentials_file": Path("key.json")},
        {"endpoint": "s3.example.com"},
        {"endpoint": "https://user:word@s3.example.com"},
        {"encryption": "rot13"},
        {"encryption": "aws:kms:"},
        {"ca_file": Path("no-such-file.pem")},
    ],
    ids=str,
)
def test_unfit_options_are_refused_at_once(options: dict[str, Any]) -> None:
    """Options that no S3 service could work with are errors of opening."""
    with pytest.raises(OptionUnfit) as raised:
        open_s3("s3://bucket", StoreOptions(access_key="a", secret_key="b", **options))
    assert "word" not in str(raised.value)


def test_half_a_pair_of_keys_is_refused() -> None:
    """An access key without its secret is not completed from somewhere else."""
    with pytest.raises(CredentialsMissing):
        open_s3("s3://bucket", StoreOptions(access_key="a"))


# ---------------------------------------------------------------- a bad network


@contextmanager
def hurt(
    server: S3Server, bucket: str, rules: list[Rule], **options: Any
) -> Iterator[tuple[S3Store, RetryingStore]]:
    """Open a store through a proxy, alone and with retries; every rule must have been applied in the end."""
    with FaultProxy(("127.0.0.1", server.port)) as proxy:
        with opened(server, bucket, endpoint=proxy.url, conditional_put=True, **options) as store:
            # Looked at before anything is hurt, so that rules count from the first call of the test.
            put(store, "warm", b"x")
            proxy.set_rules(rules)
            yield store, RetryingStore(store, delay=0.01)
        proxy.assert_all_hit()


OBJECT = "/some/prefix/packs/"


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(method="PUT", path=OBJECT, status=503), StoreThrottled),
        (Rule(method="PUT", path=OBJECT, status=429, code=""), StoreThrottled),
        (Rule(method="PUT", path=OBJECT, status=500, code="InternalError"), StoreUnavailable),
        (Rule(method="PUT", path=OBJECT, status=409, code="ConditionalRequestConflict"), CreationContended),
        (Rule(method="PUT", path=OBJECT, reset_request_after=70_000), StoreUnavailable),
        (Rule(method="PUT", path=OBJECT, drop_response=True), StoreUnavailable),
    ],
    ids=["slow down", "429", "500", "409", "torn upload", "lost acknowledgement"],
)
def test_puts_are_repeated(
    name: str, rule: Rule, error: type[Exception], request: pytest.FixtureRequest
) -> None:
    """A put that the network or the service spoils is a transient error, and the next try makes it good."""
    server: S3Server = request.getfixturevalue(name)
    bucket, data = bucket_on(server), os.urandom(200_000)
    with hurt(server, bucket, [rule]) as (store, _), pytest.raises(error):
        put(store, "packs/a", data)
    with hurt(server, bucket, [rule]) as (_, retrying):
        put(retrying, "packs/b", data)
        assert data == retrying.get("packs/b")


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(method="GET", path=OBJECT, reset_response_after=150_000), TransferCut),
        (Rule(method="GET", path=OBJECT, truncate_response_after=150_000), TransferCut),
        (Rule(method="GET", path=OBJECT, stall_response_after=150_000, stall_seconds=5), StoreUnavailable),
        (Rule(method="GET", path=OBJECT, status=503), StoreThrottled),
    ],
    ids=["reset", "truncated", "stalled", "slow down"],
)
def test_gets_are_repeated(
    name: str, rule: Rule, error: type[Exception], request: pytest.FixtureRequest
) -> None:
    """A body that ends too early is never handed on: it is a transient error, and is fetched again."""
    server: S3Server = request.getfixturevalue(name)
    bucket, data = bucket_on(server), os.urandom(200_000)
    with opened(server, bucket) as store:
        put(store, "packs/a", data)
    with hurt(server, bucket, [rule], read_timeout=1.0) as (store, _), pytest.raises(error):
        store.get("packs/a")
    with hurt(server, bucket, [rule], read_timeout=1.0) as (_, retrying):
        assert data == retrying.get("packs/a")


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_lost_acknowledgement_of_a_create(name: str, request: pytest.FixtureRequest) -> None:
    """A creator whose acknowledgement was lost recognises its own object when it tries again."""
    server: S3Server = request.getfixturevalue(name)
    rule = Rule(method="PUT", path="/leases/", drop_response=True)
    with hurt(server, bucket_on(server), [rule]) as (store, retrying):
        assert retrying.create("leases/backup/1", b"mine")
        assert not store.create("leases/backup/1", b"other")


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_damage_on_the_way_there_is_noticed(name: str, request: pytest.FixtureRequest) -> None:
    """A bit that flips in an upload never becomes an object: checksum or signature do not fit."""
    server: S3Server = request.getfixturevalue(name)
    bucket = bucket_on(server)
    rule = Rule(method="PUT", path=OBJECT, corrupt_request_at=100)
    with hurt(server, bucket, [rule]) as (store, _):
        with pytest.raises(ObjectDamaged):
            put(store, "packs/a", os.urandom(1000))
        with pytest.raises(ObjectMissing):
            store.stat("packs/a")


def test_damage_at_the_service_is_noticed(moto: S3Server) -> None:
    """Where the service checks nothing, what was written is read back, and taken back if it is damaged."""
    rule = Rule(method="PUT", path=OBJECT, corrupt_request_at=100)
    with hurt(moto, bucket_on(moto), [rule]) as (store, _):
        with pytest.raises(ObjectDamaged):
            put(store, "packs/a", os.urandom(1000))
        with pytest.raises(ObjectMissing):
            store.stat("packs/a")


def test_damage_on_the_way_back_does_not_lose_the_object(moto: S3Server) -> None:
    """A reading that was hurt on its way is made again before the object is given up."""
    data = os.urandom(1000)
    rule = Rule(method="GET", path=OBJECT, corrupt_response_at=100)
    with hurt(moto, bucket_on(moto), [rule]) as (store, _):
        put(store, "packs/a", data)
        assert data == store.get("packs/a")


@pytest.mark.parametrize("name", ["ministack", "radosgw"])
def test_large_writes_are_repeated(name: str, request: pytest.FixtureRequest) -> None:
    """A torn part, and a completion whose acknowledgement was lost, leave one object and no upload."""
    server: S3Server = request.getfixturevalue(name)
    bucket, data = bucket_on(server), Made(LARGEST_SINGLE_PUT + 1)
    rules = [
        Rule(method="PUT", path="partNumber=2", reset_request_after=1_000_000),
        Rule(method="POST", path="uploadId=", drop_response=True),
    ]
    with hurt(server, bucket, rules) as (_, retrying):
        retrying.put("packs/large", data, data.digest())
        assert data.size == retrying.stat("packs/large").size
    assert [] == uploads_in(server, bucket)


def test_frozen_objects(ministack: S3Server) -> None:
    """A pack in a cold tier says so when read; the same bytes again are still no error, by its checksum.

    No server here freezes objects: the proxy answers as AWS does.
    """
    bucket, data = bucket_on(ministack), os.urandom(1000)
    with opened(ministack, bucket) as store:
        put(store, "packs/a", data)
    frozen = Rule(method="GET", path=OBJECT, status=403, code="InvalidObjectState", times=-1)
    with hurt(ministack, bucket, [frozen]) as (store, _):
        with pytest.raises(ObjectFrozen):
            store.get("packs/a")
        put(store, "packs/a", data)
        with pytest.raises(ObjectConflict):
            put(store, "packs/a", os.urandom(1000))


def test_over_tls(ministack: S3Server, tmp_path: Path) -> None:
    """Over TLS the body is not signed but its checksum is sent; a strange authority is refused as such."""
    authority, stranger = make_authority("store authority"), make_authority("somebody else")
    certificate = issue(authority, ["localhost"], tmp_path, "proxy")
    trusted, strange = authority.write(tmp_path / "ca.crt"), stranger.write(tmp_path / "strange.crt")
    data = Made(LARGEST_SINGLE_PUT + 1)
    with FaultProxy(("127.0.0.1", ministack.port), tls=certificate) as proxy:
        endpoint = f"https://localhost:{proxy.port}"
        with opened(ministack, bucket_on(ministack), endpoint=endpoint, ca_file=trusted) as store:
            put(store, "packs/a", b"x" * 100_000)
            store.put("packs/large", data, data.digest())
            assert b"x" * 100_000 == store.get("packs/a")
            proxy.set_rules([Rule(method="PUT", path=OBJECT, corrupt_request_at=100)])
            with pytest.raises(ObjectDamaged):
                put(store, "packs/b", b"y" * 1000)
        strangers = opened(ministack, "bucket", endpoint=endpoint, ca_file=strange)
        with strangers as store, pytest.raises(StoreNotTrusted):
            store.stat("a")
