"""Creation by announcement: whatever the order of events, a name never has two creators.

The model check runs the real code of two contenders on one medium and goes through every order of their
requests, with requests that get lost, answers that never come, and leaps of the clock; states that were seen
before are not gone through again. What it would find is tried on contenders that were made wrong on purpose.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock, Semaphore, Thread

import pytest

from strongroom.errors import (
    BadObjectName,
    BucketSuspect,
    CreationContended,
    ObjectMissing,
    StoreDenied,
    StoreUnavailable,
)
from strongroom.stores import announced
from strongroom.stores.announced import (
    CLAIM_LIFE,
    CLAIMS,
    HOLD_LIFE,
    Claim,
    create_announced,
    living_rivals,
    steady_clock,
)
from strongroom.stores.data import Data, whole

NAME = "leases/backup/000001"
BROKEN = r"two winners|bytes are gone"


class Medium:
    """A medium in memory: consistent, and without any condition on a write. `now` is its clock."""

    description = "a medium"

    def __init__(self) -> None:
        self.now = 1000.0
        self.kept: dict[str, tuple[bytes, float]] = {}
        self._lock = Lock()

    def write(self, key: str, data: Data) -> None:
        """Replace."""
        with self._lock:
            self.kept[key] = (bytes(whole(data)), self.now)

    def read(self, key: str) -> bytes:
        """Return the bytes."""
        with self._lock:
            if key not in self.kept:
                raise ObjectMissing(name=key, store=self.description)
            return self.kept[key][0]

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield keys."""
        with self._lock:
            found = [(key, at) for key, (_, at) in sorted(self.kept.items()) if key.startswith(prefix)]
        yield from found

    def remove(self, key: str) -> None:
        """Remove a key."""
        with self._lock:
            self.kept.pop(key, None)

    @property
    def claims(self) -> list[str]:
        """The claims that stand."""
        return [key for key in self.kept if key.startswith(CLAIMS)]


def no_sleep(_: float) -> None:
    """Wait for nothing."""


def create(medium: announced.ClaimMedium, data: bytes = b"me", **options: Callable[..., object]) -> bool:
    """Create the name on a medium in memory, by that medium's clock."""
    clock = lambda: medium.now if isinstance(medium, Medium) else 0.0  # noqa: E731 (one line is plainer)
    settings: dict[str, object] = {"clock": clock, "random": os.urandom, "sleep": no_sleep, **options}
    return create_announced(medium, NAME, data, **settings)  # type: ignore[arg-type]


# ---------------------------------------------------------------- one contender


def test_the_first_wins_and_the_second_does_not() -> None:
    """A name is created once, holds the first one's bytes, and no claim stays."""
    medium = Medium()
    assert [True, False] == [create(medium, b"first"), create(medium, b"second")]
    assert {NAME: b"first"} == {key: data for key, (data, _) in medium.kept.items()}


def test_a_name_that_no_store_can_hold_is_refused() -> None:
    """Claims are told from objects by their names, so a name in upper case must not come through."""
    with pytest.raises(BadObjectName):
        create_announced(Medium(), f"{CLAIMS}x", b"data")


def test_what_is_looked_at_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that knows a cheaper look than a read, and a medium that checks by itself, save two reads."""
    medium = Medium()
    monkeypatch.setattr(medium, "read", pytest.fail)
    looked = lambda: NAME in medium.kept  # noqa: E731 (one line is plainer)
    arguments = {"clock": lambda: medium.now, "random": os.urandom, "sleep": no_sleep, "exists": looked}
    assert create_announced(medium, NAME, b"me", read_back=False, **arguments)  # type: ignore[arg-type]
    assert not create_announced(medium, NAME, b"you", read_back=False, **arguments)  # type: ignore[arg-type]


def test_the_claim_of_a_living_writer_is_waited_for() -> None:
    """While another claim stands nothing is written; after some rounds the caller is told to come back."""
    medium = Medium()
    medium.write(f"{CLAIMS}{NAME}/another", b"")
    slept = list[float]()
    with pytest.raises(CreationContended):
        create(medium, sleep=slept.append, random=lambda count: b"\xff" * count)
    assert NAME not in medium.kept
    assert [f"{CLAIMS}{NAME}/another"] == medium.claims
    assert announced.ROUNDS == len(slept)
    assert sorted(slept) == slept
    assert slept[0] < slept[5] < slept[-1] == 10.0


@pytest.mark.parametrize(("age", "binds"), [(0.0, True), (CLAIM_LIFE - 1, True), (CLAIM_LIFE, False)])
def test_the_claim_of_a_dead_writer_binds_for_its_life(age: float, binds: bool) -> None:
    """Ages are compared by the medium's clock alone; a local clock has no part in it."""
    medium = Medium()
    medium.write(f"{CLAIMS}{NAME}/dead", b"")
    medium.now += age
    if binds:
        with pytest.raises(CreationContended):
            create(medium, clock=lambda: 0.0)
    else:
        assert create(medium, clock=lambda: 0.0)
        assert [f"{CLAIMS}{NAME}/dead"] == medium.claims


def test_a_claim_from_the_future_binds() -> None:
    """A claim that came after ours is one of a living writer."""
    assert ["later"] == living_rivals({"own": 5000.0, "later": 9000.0}, "own")


def test_claims_that_are_long_dead_are_removed() -> None:
    """They bind nobody, whoever compares; so nothing piles up where a name is tried again."""
    medium = Medium()
    medium.write(f"{CLAIMS}{NAME}/dead", b"")
    medium.now += 2 * CLAIM_LIFE
    assert create(medium)
    assert [] == medium.claims


def test_a_claim_is_held_for_less_than_it_lives() -> None:
    """What lies between the two is the time that a request may take."""
    claim = Claim("key", 100.0)
    assert claim.is_held(100.0 + HOLD_LIFE - 1)
    assert not claim.is_held(100.0 + HOLD_LIFE)
    assert not claim.is_dead(100.0 + CLAIM_LIFE - 1)
    assert claim.is_dead(100.0 + CLAIM_LIFE)
    assert CLAIM_LIFE - HOLD_LIFE >= 300


def test_who_was_asleep_begins_again() -> None:
    """A machine that was suspended between its list and its write does not write on an old claim."""
    moments = iter([0.0, HOLD_LIFE + 1, 2000.0, 2001.0, 2002.0])
    medium = Medium()
    tokens = list[str]()
    write = medium.write

    def noted(key: str, data: Data) -> None:
        tokens.append(key)
        write(key, data)

    medium.write = noted  # type: ignore[method-assign]
    assert create(medium, clock=lambda: next(moments))
    assert 3 == len(set(tokens))
    assert NAME == tokens[-1]


def test_an_acknowledgement_that_comes_too_late_is_not_believed() -> None:
    """Another may have taken our claim for dead meanwhile: nobody is told that the name is theirs."""
    moments = iter([0.0, 1.0, CLAIM_LIFE])
    with pytest.raises(BucketSuspect, match="so late"):
        create(Medium(), clock=lambda: next(moments))


def test_a_list_that_lags_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A medium that does not show what was just written cannot be used this way."""
    medium = Medium()
    monkeypatch.setattr(medium, "keys", lambda _: iter(()))
    with pytest.raises(BucketSuspect, match="did not show"):
        create(medium)
    assert {} == medium.kept


@pytest.mark.parametrize("observed", [b"other", None])
def test_what_was_written_is_read_back(observed: bytes | None) -> None:
    """Other bytes, or none, mean that the medium did not do what it acknowledged."""
    medium = Medium()
    write = medium.write

    def spoil(key: str, data: Data) -> None:
        if key != NAME:
            write(key, data)
        elif observed is not None:
            write(key, observed)

    medium.write = spoil  # type: ignore[method-assign]
    with pytest.raises(BucketSuspect, match="does not hold"):
        create(medium)


def test_claims_that_cannot_be_removed_do_no_harm() -> None:
    """A winner stays one although its claim stays: it dies by itself."""
    medium = Medium()

    def refuse(key: str) -> None:
        raise StoreDenied(store="a medium", name=key, reason="no")

    medium.remove = refuse  # type: ignore[method-assign]
    assert create(medium)
    assert not create(medium, b"other")
    assert 1 == len(medium.claims)


@pytest.mark.parametrize("has_effect", [False, True])
def test_a_write_without_an_answer_is_repeated_under_the_same_claim(has_effect: bool) -> None:
    """The same bytes twice are harmless; but the claim stays, for the first may still be under way."""
    medium = Medium()
    write, failures = medium.write, list[str]()

    def failing(key: str, data: Data) -> None:
        if key == NAME and not failures:
            failures.append(key)
            if has_effect:
                write(key, data)
            raise StoreUnavailable(store="a medium", operation="put", name=key, reason="no answer")
        write(key, data)

    medium.write = failing  # type: ignore[method-assign]
    assert create(medium)
    assert 1 == len(medium.claims)
    assert not create(medium, b"other")
    assert b"me" == medium.read(NAME)


def test_a_write_that_is_never_answered_leaves_its_claim() -> None:
    """The caller is told to try again, and nobody gets the name while the write may be under way."""
    medium = Medium()
    write = medium.write

    def failing(key: str, data: Data) -> None:
        if key == NAME:
            raise StoreUnavailable(store="a medium", operation="put", name=key, reason="no answer")
        write(key, data)

    medium.write = failing  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        create(medium)
    medium.write = write  # type: ignore[method-assign]
    with pytest.raises(CreationContended):
        create(medium, b"other")
    medium.now += CLAIM_LIFE
    assert create(medium, b"other")


def test_a_write_that_is_refused_leaves_no_claim() -> None:
    """An answer is an answer: nothing is under way."""
    medium = Medium()
    write = medium.write

    def refusing(key: str, data: Data) -> None:
        if key == NAME:
            raise StoreDenied(store="a medium", name=key, reason="no")
        write(key, data)

    medium.write = refusing  # type: ignore[method-assign]
    with pytest.raises(StoreDenied):
        create(medium)
    assert {} == medium.kept


def test_the_clock_does_not_go_backwards() -> None:
    """The clock that claims are held by counts on."""
    before = steady_clock()
    assert steady_clock() >= before


# ---------------------------------------------------------------- killed at any step


@pytest.mark.parametrize("step", range(1, 9))
def test_a_contender_that_is_killed_blocks_nobody_for_ever(step: int) -> None:
    """Whichever request was its last, ten minutes later the name has one creator, or can get one."""
    medium = Medium()
    doomed = _Doomed(medium, step)
    won = False
    try:
        won = create_announced(doomed, NAME, b"doomed", clock=lambda: medium.now, sleep=no_sleep)
    except _KilledError:
        assert doomed.calls == step
    medium.now += CLAIM_LIFE
    was_there = NAME in medium.kept
    assert create(medium, b"next") == (not was_there)
    assert medium.read(NAME) == (b"doomed" if was_there else b"next")
    assert won == (step == 8)


class _KilledError(BaseException):
    """The end of a process."""


class _Doomed:
    """Passes so many requests on, and dies with the next."""

    description = "a medium"

    def __init__(self, medium: Medium, last: int) -> None:
        self._medium = medium
        self._last = last
        self.calls = 0

    def _count(self) -> None:
        self.calls = min(self.calls + 1, self._last)
        if self.calls == self._last:
            raise _KilledError

    def write(self, key: str, data: Data) -> None:
        """Replace."""
        self._count()
        self._medium.write(key, data)

    def read(self, key: str) -> bytes:
        """Return the bytes."""
        self._count()
        return self._medium.read(key)

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield keys."""
        self._count()
        return self._medium.keys(prefix)

    def remove(self, key: str) -> None:
        """Remove a key."""
        self._count()
        self._medium.remove(key)


# ---------------------------------------------------------------- threads


class _Slow(Medium):
    """Takes a random moment before and after each request has its effect."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    def _pause(self) -> None:
        time.sleep(self._random.random() * 0.002)

    def write(self, key: str, data: Data) -> None:
        """Replace, sometime."""
        self._pause()
        super().write(key, data)
        self._pause()

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield keys as they were in between."""
        self._pause()
        found = list(super().keys(prefix))
        self._pause()
        return iter(found)

    def remove(self, key: str) -> None:
        """Remove, sometime."""
        self._pause()
        super().remove(key)


@pytest.mark.parametrize("seed", range(8))
def test_racing_threads_have_one_winner(seed: int) -> None:
    """Six at once: one wins, its bytes stay, and all others are told so; nobody is left waiting."""
    medium = _Slow(seed)
    offers = [f"contender {number}".encode() for number in range(6)]

    def contend(offer: bytes) -> bool:
        return create_announced(medium, NAME, offer, sleep=lambda seconds: time.sleep(seconds / 10))

    with ThreadPoolExecutor(len(offers)) as pool:
        won = list(pool.map(contend, offers))
    assert 1 == won.count(True)
    assert offers[won.index(True)] == medium.read(NAME)
    assert [] == medium.claims


# ---------------------------------------------------------------- every interleaving


class _AbandonedError(BaseException):
    """The end of a run that shows nothing new."""


@dataclass(frozen=True)
class _Choice:
    """What happens next: `run` the request of an actor, `lose` it or its answer, `land` a lost one, `leap`."""

    kind: str
    actor: int = 0


class _Actor:
    """A contender in a thread that stops before every request until it is let go on."""

    def __init__(self, number: int, world: "_World") -> None:
        self.number = number
        self.description = "a medium"
        self.world = world
        self.data = f"contender {number}".encode()
        self.pending: tuple[str, str] | None = None
        self.outcome: object = None
        self.seen: list[object] = []
        self._tokens = 0
        self._go, self._arrived = Semaphore(0), Semaphore(0)
        self._order = "run"
        self._thread = Thread(target=self._contend, daemon=True)

    def start(self) -> None:
        """Run to the first request."""
        self._thread.start()
        self._arrived.acquire()

    def go_on(self, order: str) -> None:
        """Let the pending request happen, and run to the next one."""
        self._order = order
        self._go.release()
        self._arrived.acquire()

    def end(self) -> None:
        """Leave."""
        while self._thread.is_alive() and self.pending is not None:
            self.go_on("abandon")
        self._thread.join()

    def _contend(self) -> None:
        try:
            self.outcome = create_announced(
                self,
                NAME,
                self.data,
                clock=self._clock,
                random=self._random,
                sleep=no_sleep,
            )
        except (CreationContended, StoreUnavailable, BucketSuspect) as error:
            self.outcome = type(error).__name__
        except _AbandonedError:
            self.outcome = "abandoned"
        finally:
            self.pending = None
            self._arrived.release()

    def _clock(self) -> float:
        self.seen.append(self.world.medium.now)
        return self.world.medium.now

    def _random(self, count: int) -> bytes:
        self._tokens += 1
        return bytes([self.number, self._tokens]).ljust(count, b"\0")

    def _stop(self, operation: str, key: str) -> str:
        self.pending = (operation, key)
        self._arrived.release()
        self._go.acquire()
        if self._order == "abandon":
            raise _AbandonedError
        return self._order

    def write(self, key: str, data: Data) -> None:
        """Replace, or get lost."""
        order = self._stop("write", key)
        if order == "lose":
            self.world.lost.append((key, bytes(whole(data)), self.number))
        else:
            self.world.medium.write(key, data)
        self.seen.append((order, key))
        if order in {"lose", "mute"}:
            raise StoreUnavailable(store="a medium", operation="put", name=key, reason="no answer")

    def read(self, key: str) -> bytes:
        """Return the bytes."""
        self._stop("read", key)
        found = self.world.medium.kept.get(key)
        self.seen.append(found)
        if found is None:
            raise ObjectMissing(name=key, store="a medium")
        return found[0]

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield keys."""
        self._stop("keys", prefix)
        found = self.world.shown(prefix, self.number)
        self.seen.append(tuple(found))
        return iter(found)

    def remove(self, key: str) -> None:
        """Remove a key."""
        self._stop("remove", key)
        self.world.medium.remove(key)
        self.seen.append(key)


@dataclass
class _World:
    """Contenders, their medium, and what is under way; `leaps` and `losses` are how many may happen."""

    leaps: int = 0
    losses: int = 0
    is_lagging: bool = False
    contenders: int = 2
    medium: Medium = field(default_factory=Medium)
    lost: list[tuple[str, bytes, int]] = field(default_factory=list)
    actors: list[_Actor] = field(default_factory=list)
    winners: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.actors = [_Actor(number, self) for number in range(self.contenders)]
        for actor in self.actors:
            actor.start()

    def shown(self, prefix: str, actor: int) -> list[tuple[str, float]]:
        """List keys; a lagging medium shows to each only what it wrote itself."""
        own = f"{prefix}{actor:02x}" if self.is_lagging else prefix
        return list(self.medium.keys(own))

    def choices(self) -> list[_Choice]:
        """Return what may happen next."""
        found = []
        name_is_under_way = any(key == NAME for key, _, _ in self.lost)
        for actor in self.actors:
            if actor.pending is None:
                continue
            found.append(_Choice("run", actor.number))
            if actor.pending == ("write", NAME):
                name_is_under_way = True
                if self.losses:
                    found += [_Choice("lose", actor.number), _Choice("mute", actor.number)]
        found += [_Choice("land", place) for place in range(len(self.lost))]
        # The assumption: no request has effect so late.
        if self.leaps and not name_is_under_way:
            found.append(_Choice("leap"))
        return found

    def make(self, choice: _Choice) -> None:
        """Let it happen, and hold the world to its promise."""
        if choice.kind == "leap":
            self.leaps -= 1
            self.medium.now += CLAIM_LIFE
        elif choice.kind == "land":
            key, data, _ = self.lost.pop(choice.actor)
            self.medium.write(key, data)
        else:
            self.losses -= choice.kind != "run"
            self.actors[choice.actor].go_on(choice.kind)
        self.winners = [actor.number for actor in self.actors if actor.outcome is True]
        assert len(self.winners) <= 1, "two winners"
        for winner in self.winners:
            assert self.actors[winner].data == self.medium.kept[NAME][0], "a winner's bytes are gone"

    def state(self) -> object:
        """Return everything that the future depends on."""
        kept = tuple(sorted(self.medium.kept.items()))
        actors = tuple((tuple(actor.seen), actor.pending, actor.outcome) for actor in self.actors)
        return (kept, self.medium.now, tuple(self.lost), self.leaps, self.losses, actors)

    def end(self) -> None:
        """Stop all threads."""
        for actor in self.actors:
            actor.end()


@dataclass
class _Tally:
    """What was gone through."""

    states: set[object] = field(default_factory=set)
    ends: int = 0
    outcomes: set[tuple[str, ...]] = field(default_factory=set)


def explore(make_world: Callable[[], _World]) -> _Tally:
    """Go through every order of events; raise `AssertionError` for one that breaks the promise."""
    tally = _Tally()
    open_ends: list[tuple[_Choice, ...]] = [()]
    while open_ends:
        path = open_ends.pop()
        world = make_world()
        try:
            for choice in path:
                world.make(choice)
            _follow(world, path, open_ends, tally)
        finally:
            world.end()
    return tally


def _follow(
    world: _World, path: tuple[_Choice, ...], open_ends: list[tuple[_Choice, ...]], tally: _Tally
) -> None:
    while (state := world.state()) not in tally.states:
        tally.states.add(state)
        choices = world.choices()
        if all(actor.pending is None for actor in world.actors) and not world.lost:
            tally.ends += 1
            tally.outcomes.add(tuple(str(actor.outcome) for actor in world.actors))
            return
        open_ends += [(*path, choice) for choice in choices[1:]]
        path = (*path, choices[0])
        world.make(choices[0])


def test_no_interleaving_has_two_winners(monkeypatch: pytest.MonkeyPatch) -> None:
    """All orders of two contenders' requests, two rounds each: never two winners, and each can be the one."""
    monkeypatch.setattr(announced, "ROUNDS", 2)
    tally = explore(_World)
    assert {("True", "False"), ("False", "True")} < tally.outcomes
    assert ("True", "True") not in tally.outcomes
    assert len(tally.states) > 100


def test_no_leap_of_the_clock_makes_two_winners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contenders that stop for ten minutes, anywhere but within a write of the name, do not win twice."""
    monkeypatch.setattr(announced, "ROUNDS", 2)
    tally = explore(lambda: _World(leaps=1))
    assert ("True", "True") not in tally.outcomes


def test_no_lost_request_makes_two_winners(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that has its effect later than its failure, or an answer that never comes, neither."""
    monkeypatch.setattr(announced, "ROUNDS", 1)
    tally = explore(lambda: _World(leaps=1, losses=1))
    assert ("True", "True") not in tally.outcomes
    assert len(tally.states) > 100


@pytest.mark.parametrize("seed", range(10))
def test_no_random_order_of_four_contenders_has_two_winners(seed: int) -> None:
    """Four are too many for every order, so that orders are drawn: forty for each seed."""
    draw = random.Random(seed)
    for _ in range(40):
        world = _World(leaps=2, losses=2, contenders=4)
        try:
            while any(actor.pending for actor in world.actors) or world.lost:
                choices = world.choices()
                # Requests are what mostly happens.
                usual = [choice for choice in choices if choice.kind == "run"]
                world.make(draw.choice(usual if usual and draw.random() < 0.8 else choices))
        finally:
            world.end()


def test_the_search_finds_a_medium_that_lags() -> None:
    """Where each sees only itself, both win: the search would have said so."""
    with pytest.raises(AssertionError, match=BROKEN):
        explore(lambda: _World(is_lagging=True))


def test_the_search_finds_a_claim_that_is_relied_on_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at its own time, a contender that slept writes over another's name."""
    monkeypatch.setattr(Claim, "is_held", lambda *_: True)
    with pytest.raises(AssertionError, match=BROKEN):
        explore(lambda: _World(leaps=1))


def test_the_search_finds_a_look_that_comes_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks at the name before the list, and not after it, may miss a winner that was just leaving."""
    monkeypatch.setattr(announced._Contender, "_judge", _judge_without_a_second_look)
    with pytest.raises(AssertionError, match=BROKEN):
        explore(_World)


def test_the_search_finds_a_claim_that_is_withdrawn_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes its claim away while a write may be under way lets that write destroy another's."""
    monkeypatch.setattr(announced._Contender, "_write", _write_and_always_withdraw)
    with pytest.raises(AssertionError, match=BROKEN):
        explore(lambda: _World(losses=1))


def _judge_without_a_second_look(contender: announced._Contender, claim: Claim) -> announced._Verdict:
    claims = dict(contender._medium.keys(f"{CLAIMS}{NAME}/"))
    is_alone = not living_rivals(claims, claim.key)
    return announced._Verdict.ALONE if is_alone else announced._Verdict.CONTENDED


def _write_and_always_withdraw(
    contender: announced._Contender, claim: Claim, sleep: Callable[[float], None]
) -> None:
    try:
        contender._medium.write(NAME, contender._data)
    finally:
        contender._remove(claim.key)
