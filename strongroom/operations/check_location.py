"""Try a location: every promise of a store, on the user's own bucket or folder, and how fast it is.

    report = check_location(settings, CheckLocation(location="archive"), context)

Everything happens below `scratch/<random>/` and is deleted in the end, after a failure too. Objects are written
without the location's lock, since they could not be deleted then; one small object is written with it, to see
that the lock is there, and stays until it ends.

A remote medium is asked for more than one page of names, because one whose lists end after a page loses backups
and shows it nowhere else; races are shorter there than in the tests, and large objects smaller but for one, which
is as large as a pack: gateways have limits that small objects never meet.
"""

import datetime as dt
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from types import MappingProxyType

from msgspec import structs

from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import BucketSuspect, ObjectLocked, StoreError, UsageError
from strongroom.format.packs import PACK_TARGET
from strongroom.location_settings import LocationSettings
from strongroom.operations.checks import held, not_asked, refused, warned
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import Check, CheckLocation, CheckReport
from strongroom.quantities import size_text
from strongroom.repository import layout
from strongroom.repository.locations import find_location, options_of
from strongroom.stores.bandwidth import BandwidthLimited
from strongroom.stores.capabilities import Capabilities
from strongroom.stores.contract import RULES, ContractFinding, run_contract
from strongroom.stores.locking import LOCK_TRIALS, find_locking
from strongroom.stores.open import open_store
from strongroom.stores.options import StoreOptions
from strongroom.stores.protocol import Store
from strongroom.stores.retrying import RetryingStore
from strongroom.stores.wrapped import close_store

_FIRST_PAUSE_SECONDS = 0.5
_SMALL_TRIALS = 5
_SMALL_BYTES = 1024


@dataclass(frozen=True, slots=True)
class _Numbers:
    """How much of the contract suite is tried: what is cheap on a folder takes minutes on a bucket."""

    many: int
    large_bytes: int
    racers: int
    rounds: int


_ON_A_FOLDER = _Numbers(many=100, large_bytes=1 << 20, racers=8, rounds=12)
# Pages of all services that we know hold 1000 names.
_REMOTE = _Numbers(many=1100, large_bytes=1 << 20, racers=8, rounds=6)

_REMEDY = (
    "This place cannot hold a repository as it is. Look for a cache, a proxy or a gateway on the way that does "
    "not pass requests on unchanged, or choose another place."
)
REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "of racing creators exactly one wins": (
            "Two runs could both hold the right to write here. If this is an S3 service that does not know "
            "conditional puts, set conditional_put = false for the location and check again; else choose "
            "another place."
        ),
        "of racing writers of other bytes exactly one stays": (
            "Here a stored object can be replaced by another writer. Let a single machine write to this place, "
            "or choose one whose service refuses to replace."
        ),
        "a list is complete beyond one page": (
            "Backups would be overlooked here. Update the service or the gateway, or choose another place."
        ),
        "a list is right as soon as something was put or deleted": (
            "Lists lag behind here, so that what was just written could be taken for missing. Remove a cache on "
            "the way, or choose a place with strongly consistent lists."
        ),
    }
)
"""Rule -> what to do where it is broken, for the rules that have an answer of their own."""


def check_location(settings: Settings, request: CheckLocation, context: Context) -> CheckReport:
    """Try one location, the first if the name is empty. Raises `UnknownLocation` and `DeadlineExceeded` only."""
    place = find_location(settings, request.location)
    checks = tuple(_check(place, context))
    passed = not any(not check.passed and check.severity == "error" for check in checks)
    return CheckReport(passed=passed, checks=checks)


def _check(place: LocationSettings, context: Context) -> list[Check]:
    reachable, promises = (f"location {place.name}: {what}" for what in ("reachable", "promises of a store"))
    try:
        options = options_of(place)
        with _opened(place, replace(options, lock=None), context.deadline) as store:
            any(True for _ in store.list(layout.REPOSITORY))
            found = [held(reachable, f"{store.description} can be listed.")]
            if place.read_only:
                reason = "the location is configured as read_only, and trying it means writing"
                return [*found, not_asked(promises, reason)]
            trial = _Trial(place, options, store, context, f"scratch/{context.random(8).hex()}")
            try:
                found += trial.run()
            finally:
                left = trial.sweep()
            return [*found, left]
    except (StoreError, UsageError) as error:
        return [refused(reachable, error), not_asked(promises, "the location cannot be read")]


@contextmanager
def _opened(place: LocationSettings, options: StoreOptions, deadline: Deadline) -> Iterator[Store]:
    """Open the location as operations do, but for the log: what is provoked here would fill it with warnings."""
    store = opened = open_store(place.url, options)
    if store.capabilities.is_remote:
        store = RetryingStore(store, delay=_FIRST_PAUSE_SECONDS, deadline=deadline)
    if place.bandwidth_limit:
        store = BandwidthLimited(store, place.bandwidth_limit)
    try:
        yield store
    finally:
        close_store(opened)


@dataclass
class _Trial:
    """The trial of one location that can be reached."""

    place: LocationSettings
    options: StoreOptions
    store: Store
    context: Context
    prefix: str

    def run(self) -> Iterator[Check]:
        """Yield the answers: what cannot be written to is not asked for its promises."""
        small = self._check("small objects", self._small)
        yield small
        if not small.passed:
            yield not_asked(self._name("promises of a store"), "nothing could be written and read there")
            return
        if self._is_locked_by_default():
            yield structs.replace(
                not_asked(
                    self._name("promises of a store"),
                    "the bucket locks whatever is written, so that a thousand objects of the trial would stay",
                ),
                remedy="Try a bucket of the same service without a default lock, or take it off for the trial: "
                "Strongroom locks by itself what is to be locked (object_lock of the location).",
            )
        else:
            yield self._check("an object as large as a pack", self._large)
            yield from self._promises()
        yield held(self._name("capabilities"), capability_text(self.store.capabilities))
        yield self._check("object lock", self._lock)

    def _name(self, what: str) -> str:
        return f"location {self.place.name}: {what}"

    def _check(self, what: str, ask: Callable[[str], Check]) -> Check:
        self.context.deadline.check()
        try:
            return ask(self._name(what))
        except StoreError as error:
            return refused(self._name(what), error)

    def _small(self, name: str) -> Check:
        times = [self._put_and_get(f"small-{number}", _SMALL_BYTES) for number in range(_SMALL_TRIALS)]
        put, get = (statistics.median(seconds) * 1000 for seconds in zip(*times, strict=True))
        return held(name, f"Storing {size_text(_SMALL_BYTES)} takes {put:.1f} ms, reading them {get:.1f} ms.")

    def _is_locked_by_default(self) -> bool:
        """Delete one of the small objects, all of which were written without a lock of ours."""
        try:
            self.store.delete(f"{self.prefix}/small-0")
        except ObjectLocked:
            return True
        except StoreError:
            # The contract has a rule for that.
            pass
        return False

    def _large(self, name: str) -> Check:
        put, get = self._put_and_get("large", PACK_TARGET)
        size = size_text(PACK_TARGET)
        return held(name, f"Storing {size} takes {put:.2f} s, reading them {get:.2f} s.")

    def _put_and_get(self, suffix: str, size: int) -> tuple[float, float]:
        """Store and read an object; return how many seconds each took."""
        object_name, data = f"{self.prefix}/{suffix}", self.context.random(size)
        started = time.monotonic()
        self.store.put(object_name, data, sha256(data).hexdigest())
        stored = time.monotonic()
        observed = self.store.get(object_name)
        read = time.monotonic()
        if observed != data:
            reason = f"an object of {size} bytes came back with {len(observed)} bytes, not the same"
            raise BucketSuspect(store=self.store.description, reason=reason)
        return stored - started, read - stored

    def _promises(self) -> Iterator[Check]:
        numbers = _REMOTE if self.store.capabilities.is_remote else _ON_A_FOLDER
        tried: list[str] = []

        def before_rule(rule: str) -> None:
            self.context.deadline.check()
            self.context.progress(Progress(len(tried), len(RULES), "rules", rule))
            tried.append(rule)

        findings = run_contract(
            self.store,
            f"{self.prefix}/rules",
            self.context.random,
            before_rule=before_rule,
            **asdict(numbers),
        )
        yield from (_answer(self._name(finding.rule), finding) for finding in findings)

    def _lock(self, name: str) -> Check:
        """Ask whether what is written is locked, where the location says that it is to be."""
        wanted = self.place.object_lock
        if wanted is None:
            return held(name, "None is configured: whoever holds the credentials can delete backups.")
        # Not below the scratch prefix, which is never locked.
        probe, data = f"{LOCK_TRIALS}{self.context.random(8).hex()}", self.context.random(16)
        with _opened(self.place, self.options, self.context.deadline) as store:
            store.put(probe, data, sha256(data).hexdigest())
            locking = find_locking(store)
            until = locking.locked_until(probe) if locking else None
        if until is None:
            return Check(
                name=name,
                passed=False,
                observed=f"A lock of {wanted.days} days is configured, and what was just written has none.",
                remedy="Switch on object lock (S3) or object retention (Google Cloud) for the bucket.",
            )
        return held(
            name,
            f"What is written now can be deleted from {until:%Y-%m-%d %H:%M} UTC on; a retention run after that "
            "takes the small object away that showed it.",
        )

    def sweep(self) -> Check:
        """Delete whatever is left below the prefix, and say what could not be."""
        name = self._name("nothing left behind")
        kept: list[StoreError] = []
        try:
            for found in list(self.store.list(f"{self.prefix}/")):
                try:
                    self.store.delete(found.name)
                except StoreError as error:
                    kept.append(error)
        except StoreError as error:
            return refused(name, error, "warning")
        if not kept:
            return held(name, "Everything that was written to try the location is deleted.")
        remedy = f"They are small and do no harm. Delete what is below {self.prefix}/ by hand"
        remedy += ", once the lock has ended." if isinstance(kept[0], ObjectLocked) else "."
        observed = f"{len(kept)} objects below {self.prefix}/ could not be deleted: {kept[0].render()}"
        return warned(name, observed, remedy)


def _answer(name: str, finding: ContractFinding) -> Check:
    """Return a rule of the contract as an answer."""
    if finding.held:
        return held(name, "It is kept.")
    observed = f"Expected was: {finding.expected}. Observed was: {finding.observed}"
    return Check(
        name=name,
        passed=False,
        observed=observed,
        remedy=REMEDIES.get(finding.rule, _REMEDY),
        code=finding.code or BucketSuspect.code,
    )


def capability_text(capabilities: Capabilities) -> str:
    """Say in sentences what a medium can do."""
    largest = capabilities.largest_object
    sentences = [
        "It refuses to replace by itself."
        if capabilities.creates_once
        else "It replaces what it is told to, so that names are won by announcing them first.",
        "It compares what arrives with our checksum."
        if capabilities.verifies_checksums
        else "It does not compare checksums, so that what was written is read back.",
        "Objects may have any size." if largest is None else f"Objects may have {size_text(largest)}.",
        *(
            f"Packs are in class {tier.storage_class} after {_days(tier.after.days)}"
            + (
                f" and can be read {tier.restore_delay / dt.timedelta(hours=1):g} h after asking."
                if tier.restore_delay
                else "."
            )
            for tier in capabilities.tiers
        ),
    ]
    return " ".join(sentences)


def _days(count: int) -> str:
    return f"{count} days" if count != 1 else "a day"
