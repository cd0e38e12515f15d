"""Several machines want the same right at the same time: one has it, on every kind of store.

Each contender opens the store for itself, as another machine would, and meets the others at a barrier.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from strongroom.clock import system_clock
from strongroom.errors import LeaseHeld, Transient
from strongroom.repository.leases import Lease
from strongroom.stores.local import LocalDirectoryStore
from strongroom.stores.open import open_store
from strongroom.stores.options import StoreOptions
from strongroom.stores.protocol import Store
from strongroom.stores.retrying import RetryingStore
from strongroom.stores.wrapped import close_store
from tests.servers.gcs import FakeGcs
from tests.servers.s3 import S3Server
from tests.servers.supabase_storage import SERVICE_KEY, SupabaseStorage
from tests.servers.supabase_storage_project import Bucket

RACERS, ROUNDS = 5, 4

Opener = Callable[[], Store]


@contextmanager
def _place(name: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Opener]:
    """Give what opens the same place anew."""
    with ExitStack() as stack:
        match name:
            case "folder":
                (folder / "store").mkdir()
                yield lambda: LocalDirectoryStore(folder / "store")
            case "ministack" | "radosgw" | "rclone":
                server: S3Server = request.getfixturevalue(name)
                bucket = server.make_bucket(f"leases-{os.urandom(4).hex()}")
                yield lambda: open_store(f"s3://{bucket}/x", server.options())
            case "gcs":
                fake = stack.enter_context(FakeGcs())
                fake.make_bucket("leases")
                yield lambda: open_store("gs://leases/x", StoreOptions(endpoint=fake.url))
            case "supabase":
                (folder / "supabase").mkdir()
                storage = stack.enter_context(SupabaseStorage(folder / "supabase"))
                storage.project.buckets["leases"] = Bucket("leases")
                options = StoreOptions(endpoint=storage.url, secret_key=SERVICE_KEY)
                yield lambda: open_store("supabase://leases/x", options)


class Contest:
    """Contenders for one right; counts how many hold it at a time."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._start = threading.Barrier(RACERS)
        self._end = threading.Barrier(RACERS)
        self._lock = threading.Lock()
        self._holding = 0
        self.most = 0

    def contend(self, number: int) -> list[bool]:
        """Try for the right once in each round; hold it until all others have tried."""
        store = self._opener()
        try:
            return [self._try(store, f"{number}-{round_}") for round_ in range(ROUNDS)]
        finally:
            close_store(store)

    def _try(self, store: Store, token: str) -> bool:
        self._start.wait(60)
        with ExitStack() as stack:
            try:
                patient = RetryingStore(store, max_retries=8, delay=0.05)
                stack.enter_context(Lease(patient, "backup", token, system_clock))
            except (LeaseHeld, Transient):
                self._end.wait(60)
                return False
            with self._lock:
                self._holding += 1
                self.most = max(self.most, self._holding)
            self._end.wait(60)
            with self._lock:
                self._holding -= 1
            return True


@pytest.mark.parametrize("name", ["folder", "ministack", "radosgw", "rclone", "gcs", "supabase"])
def test_of_racing_contenders_one_has_the_right(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Never two at a time; and while all others have given up, somebody has it in every round."""
    with _place(name, request, tmp_path) as opener:
        contest = Contest(opener)
        with ThreadPoolExecutor(RACERS) as pool:
            won = list(pool.map(contest.contend, range(RACERS)))
    assert 1 == contest.most
    assert [1] * ROUNDS == [sum(row[round_] for row in won) for round_ in range(ROUNDS)]
