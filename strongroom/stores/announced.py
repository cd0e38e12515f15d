"""Creating a name once on a medium that replaces whatever it is told to: by announcing it first.

Some services have strongly consistent reads and lists, and no conditional put. `create_announced` gives them
`create`: of all who want a name, exactly one writes it.

    won = create_announced(medium, "leases/backup/000007", document)

A contender (1) looks whether the name exists, (2) writes a claim of its own below `CLAIMS/<name>/`, which
cannot be an object's name, (3) lists all claims for the name, and (4) if there is no other, looks again whether
the name exists, and if not (5) writes it, (6) reads it back and (7) removes its claim. If there is another
claim it removes its own, waits for a random and growing time, and begins again.

Why never two of them write. Say that A and B both came to (5), and that A's list was before B's. A's claim
stood from before A's list until after A's write of the name. B's list did not show it, so it was over, and with
it A's write: B's look at the name, which follows its list, would have found it. That both withdraw is possible,
that both go on is not. `tests/unit/test_announced.py` goes through every interleaving.

Claims of the dead. A contender that is killed leaves its claim behind. A claim that is older than one's own by
`CLAIM_LIFE` is passed over; both ages come from the medium's clock. A living contender therefore relies on its
claim for `HOLD_LIFE` only (`Claim.is_held`), looked at just before (5) and measured by a clock of its own that
no suspended machine stops, from before the claim was sent. So this rests on one assumption:

    no request takes effect later than CLAIM_LIFE - HOLD_LIFE (6 minutes) after it was sent, the difference
    between the clocks of the medium's parts included.

Clients give up a request after a minute or two. A write of the name that failed without an answer may still
be under way, and therefore leaves its claim standing until it is dead; it is repeated meanwhile, since the
same bytes twice are harmless. A write that was acknowledged only after `CLAIM_LIFE` raises `BucketSuspect`.

The price: seven requests for a name that is won, one for a name that is known to be taken, and up to ten
minutes during which a name cannot be had because a contender for it was killed.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from strongroom.errors import BucketSuspect, CreationContended, ObjectMissing, StoreError, Transient
from strongroom.stores.data import Data, whole
from strongroom.stores.names import check_name

CLAIMS = "CLAIMS/"
"""Where claims are kept. Upper case: no object can have such a name, and stores do not list it."""

CLAIM_LIFE = 600.0
"""Seconds after which a claim binds nobody any more, by the medium's clock."""

HOLD_LIFE = 240.0
"""Seconds for which a contender relies on its own claim, by its own clock."""

ROUNDS = 12
"""How often a contender announces itself before it gives up for now."""

_WRITE_TRIES = 3
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
_CLAIM_BYTES = b"claim\n"


class ClaimMedium(Protocol):
    """What is asked of a medium: what one request wrote or removed, every later read and list shows."""

    @property
    def description(self) -> str:
        """Say where this is."""
        ...

    def write(self, key: str, data: Data) -> None:
        """Store `data` under `key`, whatever was there.

        A client that repeats a request by itself does no harm, unless the name is deleted and created anew
        while an earlier try is still under way.
        """
        ...

    def read(self, key: str) -> bytes:
        """Return what is stored under `key`. Raises `ObjectMissing`."""
        ...

    def keys(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield each key that starts with `prefix`, and when it was written (the medium's clock, epoch s)."""
        ...

    def remove(self, key: str) -> None:
        """Remove a key; one that is not there is no error."""
        ...


def steady_clock() -> float:
    """Return seconds that go on while the machine is suspended, where the system has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


@dataclass(frozen=True, slots=True)
class Claim:
    """An announcement of our own: its key, and when we began to send it (our clock)."""

    key: str
    sent_at: float

    def is_held(self, now: float) -> bool:
        """Tell whether nobody can have passed this claim over yet, nor will before a request of now has effect."""
        return now - self.sent_at < HOLD_LIFE

    def is_dead(self, now: float) -> bool:
        """Tell whether somebody may have passed this claim over."""
        return now - self.sent_at >= CLAIM_LIFE


def living_rivals(claims: Mapping[str, float], own: str) -> list[str]:
    """Return the other claims that bind us: all but those that are older than `own` by `CLAIM_LIFE`."""
    return [key for key, at in claims.items() if key != own and claims[own] - at < CLAIM_LIFE]


class _Verdict(Enum):
    """What a contender makes of what it saw."""

    ALONE = auto()
    CONTENDED = auto()
    TAKEN = auto()


def create_announced(
    medium: ClaimMedium,
    name: str,
    data: Data,
    *,
    clock: Callable[[], float] = steady_clock,
    random: Callable[[int], bytes] = os.urandom,
    sleep: Callable[[float], None] = time.sleep,
    exists: Callable[[], bool] | None = None,
    read_back: bool = True,
) -> bool:
    """Write `data` under `name` if nothing is there; return False if something is.

    Of racing callers exactly one gets True. Before: `name` is written by this function only. On failure:
    nothing or all of `data` is stored. Give `exists` where it is cheaper to look whether the name is there than
    to read it, and `read_back=False` where `medium.write` makes sure of what arrived. Raises
    `CreationContended` (transient) if others wanted the name in every round, `BucketSuspect` if the medium
    does not show what was just written.
    """
    check_name(name)
    contender = _Contender(medium, name, data, clock, random, exists, read_back=read_back)
    for attempt in range(ROUNDS):
        if contender.exists():
            return False
        verdict = contender.attempt(sleep)
        if verdict is not _Verdict.CONTENDED:
            return verdict is _Verdict.ALONE
        sleep(_growing_wait(attempt, random))
    raise CreationContended(name=name, store=medium.description)


def _growing_wait(attempt: int, random: Callable[[int], bytes]) -> float:
    share = int.from_bytes(random(4)) / 0xFFFFFFFF
    return share * min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt)


class _Contender:
    """One caller of `create_announced`: what it wants, and the steps towards it."""

    def __init__(
        self,
        medium: ClaimMedium,
        name: str,
        data: Data,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        exists: Callable[[], bool] | None,
        *,
        read_back: bool,
    ) -> None:
        self._medium = medium
        self._name = name
        self._data = data
        self._clock = clock
        self._random = random
        self._read_back = read_back
        self.exists = exists or self._can_be_read

    def attempt(self, sleep: Callable[[float], None]) -> _Verdict:
        """Announce, judge, and write if nobody else is there; ALONE means that it is written."""
        # A token is used once: a removal that comes late must not take a later claim away.
        claim = Claim(f"{CLAIMS}{self._name}/{self._random(16).hex()}", self._clock())
        verdict = _Verdict.CONTENDED
        try:
            self._medium.write(claim.key, _CLAIM_BYTES)
            verdict = self._judge(claim)
        finally:
            if verdict is not _Verdict.ALONE:
                self._remove(claim.key)
        if verdict is _Verdict.ALONE:
            self._write(claim, sleep)
        return verdict

    def _judge(self, claim: Claim) -> _Verdict:
        """Say whether we may write. The order counts: claims, then the name, then our own time."""
        claims = dict(self._medium.keys(f"{CLAIMS}{self._name}/"))
        if claim.key not in claims:
            reason = "a list did not show an object that had just been written"
            raise BucketSuspect(store=self._medium.description, reason=reason)
        if living_rivals(claims, claim.key):
            return _Verdict.CONTENDED
        self._sweep(claims, claim.key)
        if self.exists():
            return _Verdict.TAKEN
        return _Verdict.ALONE if claim.is_held(self._clock()) else _Verdict.CONTENDED

    def _write(self, claim: Claim, sleep: Callable[[float], None]) -> None:
        """Write the name, make sure of it, and remove the claim unless something may still be under way."""
        try:
            is_settled = self._write_name(claim, sleep)
        except Transient:
            raise
        except StoreError:
            # The medium has answered: nothing is under way.
            self._remove(claim.key)
            raise
        if claim.is_dead(self._clock()):
            reason = f"{self._name!r} was acknowledged so late that another writer may have had it meanwhile"
            raise BucketSuspect(store=self._medium.description, reason=reason)
        if self._read_back:
            self._compare()
        if is_settled:
            self._remove(claim.key)

    def _write_name(self, claim: Claim, sleep: Callable[[float], None]) -> bool:
        """Write the name; return whether every write of it has been answered."""
        failures = 0
        while True:
            try:
                self._medium.write(self._name, self._data)
                return failures == 0
            except Transient:
                failures += 1
                if failures == _WRITE_TRIES:
                    raise
                sleep(_growing_wait(failures, self._random))
                if not claim.is_held(self._clock()):
                    raise

    def _compare(self) -> None:
        try:
            observed: bytes | None = self._medium.read(self._name)
        except ObjectMissing:
            observed = None
        if observed is None or observed != whole(self._data):
            reason = f"{self._name!r} does not hold what had just been written to it"
            raise BucketSuspect(store=self._medium.description, reason=reason)

    def _sweep(self, claims: Mapping[str, float], own: str) -> None:
        """Remove what nobody can take for alive, whoever compares it with what."""
        for key, at in claims.items():
            if claims[own] - at >= 2 * CLAIM_LIFE:
                self._remove(key)

    def _remove(self, key: str) -> None:
        try:
            self._medium.remove(key)
        except StoreError:
            # A claim that cannot be removed dies by itself, and must not turn a success into a failure.
            return

    def _can_be_read(self) -> bool:
        try:
            self._medium.read(self._name)
        except ObjectMissing:
            return False
        return True
