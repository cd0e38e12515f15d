"""The trial of one location, and the preflight of several: what is asked, what is answered, what stays behind."""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.config import Settings, load_settings
from strongroom.crypto.keyring import Keyring
from strongroom.deadline import Deadline
from strongroom.errors import DeadlineExceeded, ObjectLocked, StoreUnavailable, UnknownLocation
from strongroom.keys import create_keys, load_keyring
from strongroom.operations import check_location as operation
from strongroom.operations.check_location import REMEDIES, capability_text, check_location
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import Check, CheckLocation, CheckReport
from strongroom.repository import preflight
from strongroom.repository.preflight import check_locations
from strongroom.repository.repository import Repository
from strongroom.stores.capabilities import Capabilities, Tier
from strongroom.stores.contract import RULES
from strongroom.stores.data import Data
from strongroom.stores.faulty import Fault, FaultKind, FaultyStore
from strongroom.stores.local import LocalDirectoryStore
from strongroom.stores.memory import MemoryStore
from strongroom.stores.names import check_name
from strongroom.stores.open import open_store
from strongroom.stores.protocol import Store, StoredObject
from tests.servers.gcs import FakeGcs

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


def settings_for(folder: Path, locations: str) -> Settings:
    """Return settings with these locations, in TOML."""
    return load_settings(
        None,
        {
            "STRONGROOM_SOURCE_NAME": "quantforge",
            "STRONGROOM_DATABASE_URL": "postgresql://localhost/nothing",
            "STRONGROOM_REPOSITORY_LOCATIONS": f"[{locations}]",
            "STRONGROOM_KEYS_DIRECTORY": str(folder / "keys"),
        },
    )


def entry(name: str, url: str, more: str = "") -> str:
    """Return one location in TOML."""
    return f'{{name = "{name}", role = "local", url = "{url}"{more}}}'


def ask(settings: Settings, name: str = "near", context: Context | None = None) -> CheckReport:
    """Try a location."""
    return check_location(settings, CheckLocation(location=name), context or Context(Deadline.never()))


def answers(report: CheckReport) -> dict[str, Check]:
    """Return the answers by what was asked."""
    return {check.name.partition(": ")[2]: check for check in report.checks}


def failed(report: CheckReport) -> dict[str, Check]:
    """Return the answers that are no."""
    return {name: check for name, check in answers(report).items() if not check.passed}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder of a location."""
    made = tmp_path / "near"
    made.mkdir()
    return made


@pytest.fixture
def near(tmp_path: Path, folder: Path) -> Settings:
    """Return settings with one location in a folder."""
    return settings_for(tmp_path, entry("near", folder.as_uri()))


@pytest.fixture
def over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Store, str], Settings]:
    """Return settings whose only location, in a bucket, is the store given."""

    def put_over(store: Store, more: str = "") -> Settings:
        monkeypatch.setattr(operation, "open_store", lambda *_: store)
        return settings_for(tmp_path, entry("near", "s3://bucket/prefix", more))

    return put_over


# ---------------------------------------------------------------- one location


def test_a_good_folder_passes_and_is_left_as_it_was(near: Settings, folder: Path) -> None:
    """Every rule is an answer; beside them stand the speed, what the medium can do, and that nothing stays."""
    LocalDirectoryStore(folder).create("repository.json", b"{}")
    heard: list[Progress] = []
    report = ask(near, context=Context(Deadline.never(), progress=heard.append))
    assert report.passed
    assert {} == failed(report)
    expected = [
        "reachable",
        "small objects",
        "an object as large as a pack",
        *(rule for rule, _ in RULES),
        "capabilities",
        "object lock",
        "nothing left behind",
    ]
    assert expected == list(answers(report))
    assert answers(report)["small objects"].observed.startswith("Storing 1.0 KiB takes ")
    assert ["repository.json"] == [found.name for found in LocalDirectoryStore(folder).list()]
    assert [rule for rule, _ in RULES] == [progress.label for progress in heard]
    assert all(check.name.startswith("location near: ") for check in report.checks)


class Generous(MemoryStore):
    """Lets every creator win."""

    def create(self, name: str, data: bytes) -> bool:
        """Store and say yes."""
        super().create(name, data)
        return True


class OnePage(MemoryStore):
    """Is far away, and lists the first thousand objects only."""

    @property
    def capabilities(self) -> Capabilities:
        """Say that it is far away."""
        return Capabilities(is_remote=True)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Stop after a page."""
        for count, found in enumerate(super().list(prefix)):
            if count < 1000:
                yield found


@pytest.mark.parametrize(
    ("store", "rule"),
    [
        (Generous(), "of racing creators exactly one wins"),
        (OnePage(), "a list is complete beyond one page"),
    ],
)
def test_a_broken_promise_is_named(over: Callable[..., Settings], store: MemoryStore, rule: str) -> None:
    """The answer says what was expected, what was seen, and what to do; nothing of the trial stays."""
    report = ask(over(store))
    assert not report.passed
    answer = failed(report)[rule]
    assert answer.observed.startswith("Expected was: ")
    assert "Observed was: " in answer.observed
    assert REMEDIES[rule] == answer.remedy
    assert "SR-0627" == answer.code
    assert [] == list(store.list())


def test_remedies_are_those_of_rules() -> None:
    """A remedy whose rule was renamed would never be shown."""
    assert set(REMEDIES) <= {rule for rule, _ in RULES}


def test_an_unknown_location_is_a_mistake_of_the_caller(near: Settings) -> None:
    """The names that there are stand in the error."""
    with pytest.raises(UnknownLocation, match="near"):
        ask(near, "far")


def test_a_missing_folder_is_not_made(near: Settings, folder: Path) -> None:
    """It may be the place of a disk that is not mounted."""
    folder.rmdir()
    report = ask(near)
    assert not report.passed
    assert {"reachable": "SR-0614", "promises of a store": ""} == {
        n: c.code for n, c in failed(report).items()
    }
    assert not folder.exists()


def test_a_read_only_location_is_not_tried(tmp_path: Path, folder: Path) -> None:
    """What cannot be tried is not shown as kept; nothing is written."""
    report = ask(settings_for(tmp_path, entry("near", folder.as_uri(), ", read_only = true")))
    assert not report.passed
    assert ["promises of a store"] == list(failed(report))
    assert [] == list(folder.iterdir())


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("put", 1, FaultKind.FULL), "SR-0604"),
        (Fault("put", 3, FaultKind.ERROR_BEFORE), "SR-0607"),
        (Fault("get", 1, FaultKind.CORRUPT_READ), "SR-0627"),
        (Fault("get", 1, FaultKind.SHORT_READ), "SR-0627"),
    ],
)
def test_what_takes_no_object_is_asked_for_no_promise(
    over: Callable[..., Settings], fault: Fault, code: str
) -> None:
    """The first thing that fails is the answer; what was stored before it is deleted."""
    inner = MemoryStore()
    store = FaultyStore(inner, [fault])
    report = ask(over(store))
    assert ["small objects", "promises of a store"] == list(failed(report))
    assert code == failed(report)["small objects"].code
    assert (code == "SR-0607") == failed(report)["small objects"].transient
    assert [] == list(inner.list())
    store.assert_all_hit()


def test_the_deadline_ends_the_trial(near: Settings, folder: Path) -> None:
    """It is looked at before every rule; nothing stays."""
    deadline = Deadline.never()

    def expire(progress: Progress) -> None:
        if progress.done == 3:
            object.__setattr__(deadline, "at", 0.0)

    with pytest.raises(DeadlineExceeded):
        ask(near, context=Context(deadline, progress=expire))
    assert [] == list(LocalDirectoryStore(folder).list())


class Stubborn(MemoryStore):
    """Fails at deleting some of what is there, with an error of its own making."""

    def delete(self, name: str) -> None:
        """Refuse what holds a 3."""
        check_name(name)
        if name.endswith("small-3"):
            raise StoreUnavailable(store="memory", operation="delete", name=name, reason="no answer")
        super().delete(name)


def test_what_cannot_be_deleted_is_said(over: Callable[..., Settings]) -> None:
    """The rest is deleted all the same, and where it lies is told."""
    store = Stubborn()
    report = ask(over(store))
    assert report.passed
    answer = failed(report)["nothing left behind"]
    assert "warning" == answer.severity
    assert answer.observed.startswith("1 objects below scratch/")
    assert "by hand" in answer.remedy
    assert 1 == len(list(store.list()))


class DefaultLocked(MemoryStore):
    """Is in a bucket that locks whatever is written."""

    def delete(self, name: str) -> None:
        """Refuse what is there."""
        check_name(name)
        if any(found.name == name for found in self.list(name)):
            raise ObjectLocked(name=name, store="memory", until="tomorrow")


def test_a_bucket_that_locks_everything_is_not_filled(over: Callable[..., Settings]) -> None:
    """Its promises cannot be tried without leaving a thousand objects behind: that is said, and is no pass."""
    store = DefaultLocked()
    report = ask(over(store))
    assert not report.passed
    assert ["promises of a store", "nothing left behind"] == list(failed(report))
    assert "locks whatever is written" in failed(report)["promises of a store"].observed
    assert failed(report)["nothing left behind"].remedy.endswith("once the lock has ended.")
    assert 5 == len(list(store.list()))


class Locking(MemoryStore):
    """Locks single objects, when asked to."""

    locks = True

    def locked_until(self, name: str) -> dt.datetime | None:
        """Return the end of the lock."""
        self.stat(name)
        return NOW if self.locks else None

    def extend_lock(self, name: str, until: dt.datetime) -> None:
        """Do nothing."""


def test_a_lock_is_seen_on_an_object(over: Callable[..., Settings]) -> None:
    """Where a lock is configured, an object that is written is looked at: no setting is taken at its word."""
    lock = ", object_lock = {days = 3}"
    report = ask(over(Locking(), lock))
    assert report.passed
    assert "can be deleted from 2026-11-01 12:00 UTC on" in answers(report)["object lock"].observed
    idle = Locking()
    idle.locks = False
    for store in (idle, MemoryStore()):
        report = ask(over(store, lock))
        assert ["object lock"] == list(failed(report))
        assert not report.passed


def test_without_a_lock_the_answer_says_what_that_means(over: Callable[..., Settings]) -> None:
    """A lock is not demanded, and its lack is not hidden."""
    assert "whoever holds the credentials" in answers(ask(over(Locking())))["object lock"].observed


class Noting(MemoryStore):
    """Notes the names of what is put."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def put(self, name: str, data: Data, sha256: str) -> None:
        """Store and note."""
        super().put(name, data, sha256)
        self.names.append(name)


def test_everything_happens_below_one_random_prefix(over: Callable[..., Settings]) -> None:
    """Two trials at once, and a repository beside them, do not meet."""
    prefixes: list[set[str]] = []
    for _ in range(2):
        store = Noting()
        ask(over(store))
        prefixes.append({"/".join(name.split("/")[:2]) for name in store.names})
    assert all(len(one) == 1 and next(iter(one)).startswith("scratch/") for one in prefixes)
    assert prefixes[0] != prefixes[1]


def test_a_bucket_is_tried_over_the_network(tmp_path: Path) -> None:
    """Options and credentials of the location are used, and nothing stays; proven on our emulator only."""
    with FakeGcs() as gcs:
        gcs.wants_tokens = True
        bucket = gcs.make_bucket("bucket")
        key = gcs.write_key(tmp_path / "key.json")
        more = f', endpoint = "{gcs.url}", credentials_file = "{key}"'
        report = ask(settings_for(tmp_path, entry("near", "gs://bucket/prefix", more)))
        assert {} == failed(report)
        assert {} == {name: found for name, found in bucket.objects.items() if found}
        key.unlink()
        report = ask(settings_for(tmp_path, entry("near", "gs://bucket/prefix", more)))
    assert ["reachable", "promises of a store"] == list(failed(report))
    assert failed(report)["reachable"].code


def test_capabilities_in_sentences() -> None:
    """Each says what a person has to know of the medium."""
    plain = Capabilities(verifies_checksums=True)
    assert (
        "It refuses to replace by itself. It compares what arrives with our checksum. "
        "Objects may have any size." == capability_text(plain)
    )
    cold = replace(
        plain,
        creates_once=False,
        verifies_checksums=False,
        largest_object=50 << 20,
        tiers=(
            Tier("STANDARD_IA", dt.timedelta(days=1)),
            Tier("GLACIER", dt.timedelta(days=30), dt.timedelta(hours=12)),
        ),
    )
    text = capability_text(cold)
    for part in (
        "by announcing them first.",
        "what was written is read back.",
        "Objects may have 50.0 MiB.",
        "Packs are in class STANDARD_IA after a day.",
        "Packs are in class GLACIER after 30 days and can be read 12 h after asking.",
    ):
        assert part in text


# ---------------------------------------------------------------- all locations


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """Make keys once."""
    folder = tmp_path_factory.mktemp("keys")
    create_keys(folder, b"a passphrase of tests", os.urandom)
    return load_keyring(folder)


def made(folder: Path, keyring: Keyring) -> Path:
    """Make a repository in a folder."""
    Repository.create(LocalDirectoryStore(folder), keyring, NOW, os.urandom)
    return folder


def preflight_of(settings: Settings, keyring: Keyring | None) -> dict[str, Check]:
    """Ask all locations."""
    checks = check_locations(settings.repository.locations, keyring, 1000, os.urandom)
    return {check.name.removeprefix("location "): check for check in checks}


def errors(found: dict[str, Check]) -> set[str]:
    """Return what keeps a backup from being taken."""
    return {name for name, check in found.items() if not check.passed and check.severity == "error"}


def warnings(found: dict[str, Check]) -> set[str]:
    """Return what is wrong, and keeps none."""
    return {name for name, check in found.items() if not check.passed and check.severity == "warning"}


def two(tmp_path: Path, more: str = "") -> Settings:
    """Return settings with two folders; `more` is said of the first."""
    first = entry("one", (tmp_path / "one").as_uri(), more)
    return settings_for(tmp_path, f"{first}, {entry('two', (tmp_path / 'two').as_uri())}")


def test_two_good_locations(tmp_path: Path, keyring: Keyring) -> None:
    """Each is asked for its repository, for a write, and for room."""
    made(tmp_path / "one", keyring)
    made(tmp_path / "two", keyring)
    found = preflight_of(two(tmp_path), keyring)
    questions = ("repository", "writable", "free space")
    assert [f"{place}: {what}" for place in ("one", "two") for what in questions] == list(found)
    assert set() == errors(found) | warnings(found)


def test_a_location_to_be_filled_is_a_warning(tmp_path: Path, keyring: Keyring) -> None:
    """Its repository is made by replication, and the answer says so."""
    made(tmp_path / "one", keyring)
    (tmp_path / "two").mkdir()
    found = preflight_of(two(tmp_path), keyring)
    assert set() == errors(found)
    assert {"two: repository"} == warnings(found)
    assert "SR-0701" == found["two: repository"].code
    assert "Replication makes it" in found["two: repository"].remedy


def test_the_first_that_can_be_written_to_has_to_hold_a_repository(tmp_path: Path, keyring: Keyring) -> None:
    """A backup would go there, wherever else a repository may be."""
    (tmp_path / "one").mkdir()
    made(tmp_path / "two", keyring)
    assert {"one: repository"} == errors(preflight_of(two(tmp_path), keyring))


def test_a_location_out_of_reach_is_a_warning_where_another_takes_backups(
    tmp_path: Path, keyring: Keyring
) -> None:
    """The backup goes to the next one; what is wrong has its code."""
    made(tmp_path / "two", keyring)
    found = preflight_of(two(tmp_path), keyring)
    assert set() == errors(found)
    assert {"one: repository", "one: writable", "one: free space"} == warnings(found)
    assert "SR-0614" == found["one: repository"].code
    assert not (tmp_path / "one").exists()


def test_no_location_that_takes_backups_is_an_error(tmp_path: Path, keyring: Keyring) -> None:
    """Then everything that is wrong with any of them is one."""
    found = preflight_of(two(tmp_path), keyring)
    assert {
        f"{place}: {what}" for place in ("one", "two") for what in ("repository", "writable", "free space")
    } == (errors(found))


def test_a_read_only_location_takes_no_backups(tmp_path: Path, keyring: Keyring) -> None:
    """It is not written to even for a trial, and the next one has to hold a repository."""
    made(tmp_path / "one", keyring)
    (tmp_path / "two").mkdir()
    found = preflight_of(two(tmp_path, ", read_only = true"), keyring)
    assert {"two: repository"} == errors(found)
    assert "read_only" in found["one: writable"].observed
    assert not (tmp_path / "one" / "scratch").exists()


def test_without_keys_nothing_is_believed(tmp_path: Path, keyring: Keyring) -> None:
    """Whether a repository is ours cannot be asked then, which is no pass."""
    made(tmp_path / "one", keyring)
    made(tmp_path / "two", keyring)
    assert {"one: repository", "two: repository"} == errors(preflight_of(two(tmp_path), None))


class Unanswering(MemoryStore):
    """Is out of reach."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Fail."""
        raise StoreUnavailable(store="s3://bucket/far", operation="list", name=prefix, reason="no answer")


@pytest.mark.parametrize("answering", [True, False])
def test_a_bucket_is_not_asked_for_free_space(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch, answering: bool
) -> None:
    """Only folders can tell; and a service that does not answer is told with its code."""
    made(tmp_path / "one", keyring)
    bucket = MemoryStore() if answering else Unanswering()

    def opened(url: str, options: object) -> Store:
        return bucket if url.startswith("s3:") else open_store(url)

    monkeypatch.setattr(preflight, "open_store", opened)
    first = entry("one", (tmp_path / "one").as_uri())
    found = preflight_of(settings_for(tmp_path, f"{first}, {entry('far', 's3://bucket/far')}"), keyring)
    assert "far: free space" not in found
    assert set() == errors(found)
    assert ("SR-0701" if answering else "SR-0607") == found["far: repository"].code
    assert (not answering) == found["far: repository"].transient
    assert answering == found["far: writable"].passed
