"""Two machines at work at the same locations: one stops before its nth store call, the other runs through, it goes on.

Neither threads nor luck: for every n (in steps, where there are many) the first work is run on copies of the same
locations, with the second one inside. Twice: as a moment's overlap, where rights exclude each other, and as the pause
of a process that sleeps until its rights have lapsed. Whatever either of them says, afterwards every listed backup is
whole at every location alone (I1, I2, I3), what was verified last is still listed wherever it was (I8), and one clean
run of everything converges (I7).
"""

import datetime as dt
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from strongroom.crypto.recovery_keys import RecoveryPrivateKey
from strongroom.errors import StrongroomError
from strongroom.format.documents import Manifest, ObjectRef
from strongroom.ids import new_backup_id
from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    HoldBackup,
    HoldReport,
    PlanRepair,
    Repair,
    RepairPlanReport,
    RepairReport,
    Replicate,
    ReplicationReport,
)
from strongroom.repository.leases import Lease
from strongroom.repository.repository import Repository
from strongroom.repository.rotation import execute_rotation
from strongroom.repository.rotation_plan import plan_rotation
from strongroom.repository.writing import BACKUP_RIGHT, COPY_RIGHT
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.data import Data
from strongroom.stores.memory import MemoryStore
from strongroom.stores.protocol import Store, StoredObject
from tests.places import DAY, HOUR, Places
from tests.row_backups import Keys

NAMES = ("local", "archive")
ROLES = {name: name for name in NAMES}

Work = Callable[[Places], object]
MOMENT = dt.timedelta()
"""Nothing lapses."""
SLEEP = dt.timedelta(hours=1)
"""Rights lapse."""
LONG_SLEEP = dt.timedelta(days=3)
"""Rights, grace periods and young attempts are over."""


class Turns:
    """Counts the calls to all stores together, and lets the other work run before the one of a number.

    Nobody sleeps just before a deletion, or before a manifest is put: between the last look at a right and the one call
    after it there is no help on media that know no fencing (`docs/decisions/0010`). Whoever was to sleep there sleeps
    before the next call.
    """

    def __init__(self, nth: int, other: Callable[[], object], pause: dt.timedelta) -> None:
        self.nth = nth
        self.calls = 0
        self._other = other
        self._sleeps = pause > MOMENT

    def take(self, *, has_looked: bool = False) -> None:
        """Count a call."""
        self.calls += 1
        if self.calls == self.nth and has_looked and self._sleeps:
            self.nth += 1
        elif self.calls == self.nth:
            self._other()


class Turned:
    """A store whose every call is a turn."""

    def __init__(self, inner: Store, turns: Turns) -> None:
        self._inner = inner
        self._turns = turns

    @property
    def description(self) -> str:
        """Say where this is."""
        return self._inner.description

    @property
    def capabilities(self) -> Capabilities:
        """Say what the medium can do."""
        return self._inner.capabilities

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store `data` under `name`."""
        self._turns.take(has_looked=name.startswith("manifests/"))
        self._inner.put(name, data, sha256)

    def create(self, name: str, data: bytes) -> bool:
        """Store `data` under `name` if nothing is there."""
        self._turns.take()
        return self._inner.create(name, data)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes."""
        self._turns.take()
        return self._inner.get(name, start, length)

    def stat(self, name: str) -> StoredObject:
        """Describe one object."""
        self._turns.take()
        return self._inner.stat(name)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """List objects."""
        self._turns.take()
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        """Remove one object."""
        self._turns.take(has_looked=True)
        self._inner.delete(name)


@pytest.fixture
def places(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Make two locations with a week behind them: something to expire, to collect, to shred and to copy."""
    places = Places.make(tmp_path, keys, monkeypatch, ROLES, repository_parallel_copies="1")
    monkeypatch.setattr(Repository, "write_manifest", _checked(Repository.write_manifest))
    for day in range(10):
        places.back_up("full" if day % 3 == 0 else "incremental", rows=10_000 + day)
        places.replicate("archive")
        places.verify()
        places.wait(DAY)
        if day == 6:
            places.expire()
    places.wait(HOUR)
    places.back_up(rows=10_010)
    places.verify()
    return places


_rights: list[Lease] = []


def _checked(
    write: Callable[[Repository, Manifest, Callable[[int], bytes]], ObjectRef],
) -> Callable[[Repository, Manifest, Callable[[int], bytes]], ObjectRef]:
    """Have a manifest written only with the right to, as sealing does."""

    def write_with_right(
        repository: Repository, manifest: Manifest, random: Callable[[int], bytes]
    ) -> ObjectRef:
        for right in _rights:
            right.check()
        return write(repository, manifest, random)

    return write_with_right


# ---------------------------------------------------------------- the works


def back_up(places: Places) -> None:
    """Take an incremental backup at the first location, with the right to."""
    token = new_backup_id(places.clock(), os.urandom(5))
    with Lease(places.stores["local"], BACKUP_RIGHT, token, places.clock) as right:
        _rights.append(right)
        try:
            places.back_up(rows=10_011)
        finally:
            _rights.remove(right)


def replicate(places: Places) -> None:
    """Copy to the archive."""
    places.replicate("archive")


def retain(places: Places) -> None:
    """Run the whole of retention."""
    places.expire()


def bring_back(places: Places) -> None:
    """Copy a backup back to the first location, where it has expired and its objects wait to be collected."""
    oldest = places.listed("archive")[0]
    request = Replicate(location="local", backups=(oldest,))
    places.run("replicate", request, ReplicationReport)


def collect(places: Places) -> None:
    """Collect garbage at both locations."""
    for name in NAMES:
        places.run("collect_garbage", CollectGarbage(location=name), CollectionReport)


def repair(places: Places) -> None:
    """Read everything and mend it."""
    found = places.run("plan_repair", PlanRepair(read_everything=True), RepairPlanReport)
    places.run("repair", Repair(mends=found.mends), RepairReport)


def rotate(places: Places) -> None:
    """Seal every data key anew beside another recovery key, and delete the forms before."""
    repositories = [places.repository(name) for name in NAMES]
    keyring = places.keys.recoverer
    own = (*keyring.require_recovery_public(), RecoveryPrivateKey.generate(os.urandom).public())
    leases = [Lease(places.stores[name], COPY_RIGHT, os.urandom(8).hex(), places.clock) for name in NAMES]
    with leases[0], leases[1]:
        plan = plan_rotation(repositories, own, retire=True)

        def check() -> None:
            for one in leases:
                one.check()

        execute_rotation(plan, repositories, places.clock(), check)


def hold(places: Places) -> None:
    """Hold the oldest backup of the first location."""
    places.run("hold_backup", HoldBackup(backup=places.listed("local")[0]), HoldReport)


# ---------------------------------------------------------------- the race


def race(places: Places, first: Work, second: Work, pause: dt.timedelta, *, step: int) -> int:
    """Run the first work with the second one before its call 1, 1 + step, …; return how many there were."""
    before = {name: store for name, store in places.stores.items() if isinstance(store, MemoryStore)}
    begun, proven = places.now, places.listed("local")[-1]
    where = [name for name in NAMES if proven in places.listed(name)]
    for turn, nth in enumerate(range(1, 100_000, step)):
        plain: dict[str, Store] = {name: store.copy() for name, store in before.items()}
        places.now = begun
        reached = _one_race(places, plain, first, second, nth, pause)
        places.stores = plain
        for name in NAMES:
            places.assert_whole(name)
        assert all(proven in places.listed(name) for name in where), f"I8, before call {nth}"
        if turn % 3 == 0:
            _converge(places)
        if not reached:
            return nth
    raise AssertionError("the work never came to its end")


def _converge(places: Places) -> None:
    """Run everything once, when no right of before lasts: it works, and leaves everything whole (I7)."""
    places.wait(HOUR)
    places.replicate()
    places.expire()
    for name in NAMES:
        places.assert_whole(name)


def _one_race(
    places: Places, plain: dict[str, Store], first: Work, second: Work, nth: int, pause: dt.timedelta
) -> bool:
    """Return whether the first work came as far as its nth call."""
    came = []

    def interrupt() -> None:
        came.append(nth)
        turned, places.stores = places.stores, plain
        places.wait(pause)
        _carry_on(places, second)
        places.stores = turned

    turns = Turns(nth, interrupt, pause)
    places.stores = {name: Turned(store, turns) for name, store in plain.items()}
    _carry_on(places, first)
    return bool(came)


def _carry_on(places: Places, work: Work) -> None:
    """Do some work; that it is refused, or notices that it lost its right, is as it should be."""
    refused: StrongroomError | None = None
    try:
        work(places)
    except StrongroomError as error:
        refused = error
    assert refused is None or refused.code in REFUSALS, refused


REFUSALS: Sequence[str] = (
    "SR-0707",  # LeaseHeld
    "SR-0709",  # LeaseLost
    "SR-0717",  # NotReplicable: what was to be copied expired meanwhile
    "SR-0721",  # RecoveryKeysRetired
    "SR-0704",  # ForeignRecoveryKeys
    "SR-0101",  # UnknownBackup: what was asked for by name expired meanwhile
    "SR-1306",  # PlanOutdated
    "SR-1302",  # ClockWentBackwards
    "SR-1304",  # BackupFromFuture: whoever slept is in the past
)

PAIRS: Sequence[tuple[Work, Work, int]] = (
    (replicate, retain, 17),
    (retain, replicate, 61),
    (retain, retain, 97),
    (replicate, replicate, 23),
    (bring_back, collect, 7),
    (bring_back, retain, 13),
    (collect, bring_back, 13),
    (retain, bring_back, 61),
    (back_up, retain, 5),
    (retain, back_up, 71),
    (replicate, rotate, 19),
    (rotate, replicate, 17),
    (retain, rotate, 97),
    (rotate, retain, 17),
    (rotate, back_up, 13),
    (back_up, rotate, 5),
    (repair, collect, 37),
    (collect, repair, 37),
    (repair, retain, 53),
    (retain, hold, 71),
)


CASES = [
    pytest.param(a, b, step, pause, id=f"{a.__name__}-{b.__name__}-{name}")
    for a, b, step in PAIRS
    for name, pause in (("overlap", MOMENT), ("sleep", SLEEP), ("long-sleep", LONG_SLEEP))
    # What an hour does beyond three days matters to who writes manifests.
    if name != "sleep" or a in {replicate, bring_back, back_up}
]


@pytest.mark.parametrize(("first", "second", "step", "pause"), CASES)
def test_two_works_at_once_leave_everything_whole(
    places: Places, first: Work, second: Work, step: int, pause: dt.timedelta
) -> None:
    """Whatever comes between any two calls of the one: every listed backup gives back what it must."""
    assert race(places, first, second, pause, step=step) > step
