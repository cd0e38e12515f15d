"""Packs put and read by a plain client and by a location as the engine opens it, in turns.

    figures = move_packs(Place("s3", server.endpoint, "room", "key", "secret"), packs=32)
    figures["put"]["ratio"]

Both sides have a process of their own, so that each one's CPU and memory is its own, and both hash the pack
first: a plain client too has to know the checksum that it sends.
"""

import hashlib
import os
import statistics
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Protocol

from benchmarks.measuring import high_water
from strongroom.config import load_settings
from strongroom.repository.locations import open_location
from strongroom.stores.protocol import Store

PACK_BYTES = 16 << 20

_PROCESSES = get_context("spawn")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, the service that it is at, and who may use it."""

    scheme: str
    endpoint: str
    bucket: str
    access_key: str = ""
    secret_key: str = field(default="", repr=False)

    def entry(self, name: str, role: str) -> str:
        """Return it as an entry of `repository.locations`."""
        options = f'url = "{self.scheme}://{self.bucket}", endpoint = "{self.endpoint}"'
        if self.access_key:
            options += f', region = "us-east-1", access_key = "{self.access_key}"'
            options += f', secret_key = "{self.secret_key}"'
        return f'{{ name = "{name}", role = "{role}", {options} }}'


class _Mover(Protocol):
    """Whatever moves packs to a place and back."""

    def put(self, digest: str, body: bytearray) -> None:
        """Store a pack with the SHA-256 `digest`."""

    def get(self, digest: str) -> bytes:
        """Return its bytes."""
        ...

    def delete(self, digest: str) -> None:
        """Remove it."""


class _AsOpened:
    """A location of a repository."""

    def __init__(self, place: Place) -> None:
        settings = load_settings(None, settings_for(place.entry("here", "local")))
        self._store: Store = open_location(settings).store

    def put(self, digest: str, body: bytearray) -> None:
        """Store it as a unit writer does."""
        self._store.put(f"packs/{digest}", body, digest)

    def get(self, digest: str) -> bytes:
        """Read it whole."""
        return self._store.get(f"packs/{digest}")

    def delete(self, digest: str) -> None:
        """Remove it."""
        self._store.delete(f"packs/{digest}")


class _PlainS3:
    """boto3, set up as our store sets it up, but for its retries, which stay on."""

    def __init__(self, place: Place) -> None:
        import boto3
        from botocore.config import Config

        self._bucket = place.bucket
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=place.endpoint,
            region_name="us-east-1",
            aws_access_key_id=place.access_key,
            aws_secret_access_key=place.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, digest: str, body: bytearray) -> None:
        """Store it in one request, with its checksum, unless something is there."""
        checksum = b64encode(bytes.fromhex(digest)).decode()
        self._client.put_object(
            Bucket=self._bucket, Key=f"plain/{digest}", Body=body, ChecksumSHA256=checksum, IfNoneMatch="*"
        )

    def get(self, digest: str) -> bytes:
        """Read it whole."""
        answer = self._client.get_object(Bucket=self._bucket, Key=f"plain/{digest}")
        with answer["Body"] as body:
            data: bytes = body.read()
        return data

    def delete(self, digest: str) -> None:
        """Remove it."""
        self._client.delete_object(Bucket=self._bucket, Key=f"plain/{digest}")


class _PlainGoogle:
    """google-cloud-storage as it comes, but for the checksum of uploads, which it is told to send."""

    def __init__(self, place: Place) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        client: Any = Client(
            project="none", credentials=credentials, client_options={"api_endpoint": place.endpoint}
        )
        self._bucket = client.bucket(place.bucket)

    def put(self, digest: str, body: bytearray) -> None:
        """Store it in one request, with its checksum, unless something is there."""
        target = self._bucket.blob(f"plain/{digest}")
        target.upload_from_string(bytes(body), checksum="crc32c", if_generation_match=0)

    def get(self, digest: str) -> bytes:
        """Read it whole."""
        data: bytes = self._bucket.blob(f"plain/{digest}").download_as_bytes()
        return data

    def delete(self, digest: str) -> None:
        """Remove it."""
        self._bucket.blob(f"plain/{digest}").delete()


_PLAIN: dict[str, type[_PlainS3] | type[_PlainGoogle]] = {"s3": _PlainS3, "gs": _PlainGoogle}


# ---------------------------------------------------------------------------------- one side


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one call took."""

    wall: float
    cpu: float


class Side:
    """One side's process: does what it is asked, one call at a time, and says what that took."""

    def __init__(self, place: Place, *, plain: bool) -> None:
        self._pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(theirs, place, plain), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, call: str, number: int = 0) -> Any:
        """Have it put, get or delete the pack of this number, or tell its peak memory."""
        self._pipe.send((call, number))
        return self._pipe.recv()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, place: Place, plain: bool) -> None:
    mover: _Mover = _PLAIN[place.scheme](place) if plain else _AsOpened(place)
    random, digests = os.urandom(PACK_BYTES - 8), dict[int, str]()

    def put(number: int) -> _Taken:
        # No two packs are the same; no memory but for one of them.
        body = bytearray(number.to_bytes(8)) + random
        with _taken() as taken:
            digests[number] = hashlib.sha256(body).hexdigest()
            mover.put(digests[number], body)
        return taken[0]

    def get(number: int) -> _Taken:
        with _taken() as taken:
            data = mover.get(digests[number])
        if hashlib.sha256(data).hexdigest() != digests[number]:
            raise ValueError("other bytes came back than were put")
        return taken[0]

    calls: dict[str, Callable[[int], object]] = {
        "put": put,
        "get": get,
        "delete": lambda number: mover.delete(digests[number]),
        "peak": lambda _: high_water(os.getpid()),
    }
    try:
        while True:
            call, number = pipe.recv()
            pipe.send(calls[call](number))
    except EOFError:
        pipe.close()


@contextmanager
def _taken() -> Iterator[list[_Taken]]:
    """Measure the block; what it took is in the list afterwards."""
    found: list[_Taken] = []
    cpu, wall = time.process_time(), time.perf_counter()
    yield found
    found.append(_Taken(time.perf_counter() - wall, time.process_time() - cpu))


# ---------------------------------------------------------------------------------- both sides


def move_packs(place: Place, packs: int) -> dict[str, dict[str, float]]:
    """Move so many packs by both sides, and return the figures of `put` and `get`.

    `wall` and `cpu` are medians of one pack in seconds, `plain_…` those of the plain client. `ratio` is the
    median of our wall time by theirs, pair by pair, `cpu_ratio` that of the medians; `peak_rss` is the most that
    our process ever held.
    """
    found: dict[tuple[str, bool], list[_Taken]] = {}
    with ExitStack() as stack:
        sides = {}
        for plain in (True, False):
            sides[plain] = Side(place, plain=plain)
            stack.callback(sides[plain].close)
        # Pack 0 makes the connections, and tries out what the service promises; it is not counted.
        for number in range(packs + 1):
            order = (True, False) if number % 2 else (False, True)
            # Reading is so fast that it takes more tries to tell two sides apart.
            for call in ("put", "get", "get", "get", "delete"):
                for plain in order:
                    taken = sides[plain].ask(call, number)
                    if number and call != "delete":
                        found.setdefault((call, plain), []).append(taken)
        peaks = {plain: sides[plain].ask("peak") for plain in sides}
    return {call: _figures(found[call, False], found[call, True], peaks) for call in ("put", "get")}


def _figures(ours: list[_Taken], plain: list[_Taken], peaks: dict[bool, int]) -> dict[str, float]:
    wall, plain_wall = (statistics.median(one.wall for one in side) for side in (ours, plain))
    cpu, plain_cpu = (statistics.median(one.cpu for one in side) for side in (ours, plain))
    return {
        "wall": wall,
        "plain_wall": plain_wall,
        # Of calls that followed each other, since others may use this machine now and then.
        "ratio": statistics.median(a.wall / b.wall for a, b in zip(ours, plain, strict=True)),
        "cpu": cpu,
        "plain_cpu": plain_cpu,
        "cpu_ratio": cpu / plain_cpu,
        "peak_rss": peaks[False],
        "plain_peak_rss": peaks[True],
    }


def settings_for(*entries: str, **variables: str) -> dict[str, str]:
    """Return an environment with these locations, and a database that nobody asks."""
    return {
        "STRONGROOM_SOURCE_NAME": "benchmark",
        "STRONGROOM_DATABASE_URL": "postgresql://nobody@localhost/none",
        "STRONGROOM_REPOSITORY_LOCATIONS": f"[{', '.join(entries)}]",
        "STRONGROOM_BACKUP_MAX_BACKUP_SIZE": "0",
        **{f"STRONGROOM_{name.upper()}": value for name, value in variables.items()},
    }


# ---------------------------------------------------------------------------------- Google


@contextmanager
def run_google(bucket: str) -> Iterator[Place]:
    """Run the tests' emulator of Google Cloud Storage in a process of its own."""
    pipe, theirs = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_serve_google, args=(theirs, bucket), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Place("gs", pipe.recv(), bucket)
    finally:
        pipe.close()
        process.join()


def _serve_google(pipe: Connection, bucket: str) -> None:
    from tests.servers.gcs import FakeGcs

    with FakeGcs() as fake:
        fake.make_bucket(bucket)
        pipe.send(fake.url)
        # Until the other end is closed.
        pipe.poll(None)
