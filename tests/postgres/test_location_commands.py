"""The commands on locations and keys, as a user types them: one story about three folders, told in order.

Each test goes on where the one before it ended; a module's worth of processes is too dear to start afresh each time.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from strongroom.postgres.embedded import EmbeddedPostgres
from tests.commands import PASSPHRASE, Commands, Outcome
from tests.conftest import MakeDatabase
from tests.databases import Databases
from tests.postgres.test_command_line import prefect_api

__all__ = ["prefect_api"]

NAMES = ["local", "edge", "archive"]

_CONFIGURATION = """\
[source]
name = "quantforge"
[repository]
locations = [
{locations}
]
{repository}
[keys]
directory = "keys"
[backup]
max_backup_size = 0
max_retries = 0
"""


@dataclass
class Story:
    """The folder of a user with three locations, and what has happened there so far."""

    commands: Commands
    backups: list[str] = field(default_factory=list)
    last: Outcome = field(default_factory=lambda: Outcome(0, "", ""))

    def configure(self, *more: str, repository: str = "", **options: str) -> None:
        """Write the configuration: options by the name of a location, and entries of more locations."""
        entries = [self.entry(name, options.get(name, "")) for name in NAMES if options.get(name) != "gone"]
        text = _CONFIGURATION.format(locations=",\n".join([*entries, *more]), repository=repository)
        (self.commands.folder / "strongroom.toml").write_text(text)

    def entry(self, name: str, options: str = "", role: str = "") -> str:
        """Return the entry of a location in a folder of its own."""
        return (
            f'{{ name = "{name}", role = "{role or name}", url = "{self.folder(name).as_uri()}"{options} }}'
        )

    def folder(self, name: str) -> Path:
        """Return the folder of a location."""
        return self.commands.folder / name

    def run(self, *words: str) -> Outcome:
        """Run a command that has to end well."""
        done = self.commands.run(*words)
        assert (0, False) == (done.status, "Traceback" in done.err), done.err
        return done

    def ask(self, *words: str) -> Any:
        """Run a command that has to end well, and return its document."""
        return self.run(*words, "--json").document()

    def fail(self, *words: str, status: int = 1) -> dict[str, Any]:
        """Run a command that has to fail, and return its document, whose error stands on standard error too."""
        self.last = done = self.commands.run(*words, "--json")
        document: dict[str, Any] = done.document()
        error = document["error"]
        assert status == done.status, done.err
        assert [f"{error['code']} {error['message']}", error["hint"]] == done.err.splitlines()[-2:]
        assert error["hint"].endswith((".", "?"))
        return document

    def glass(self) -> Commands:
        """Return the break-glass path, which is quicker where a flow is not what is to be seen."""
        return self.commands.breaking_glass()

    def where(self) -> dict[str, list[str]]:
        """Return each listed backup and its locations."""
        return {brief["id"]: brief["locations"] for brief in self.ask("list")["backups"]}

    def packs(self, name: str, backup: str) -> list[Path]:
        """Return the packs at a location, those that were stored last at the end; a backup must be listed."""
        assert backup in self.where()
        found = [path for path in (self.folder(name) / "packs").rglob("*") if path.is_file()]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    postgres18: EmbeddedPostgres,
    database_templates: dict[tuple[int, bool], str],
    prefect_api: str,
) -> Iterator[Story]:
    """Make a database, and a folder where nothing but a configuration is."""
    databases = Databases(database_templates)
    home = tmp_path_factory.mktemp("locations")
    commands = Commands.make(home, databases.make(postgres18, app=True).dsn())
    told = Story(commands.with_variables(PREFECT_API_URL=prefect_api))
    told.configure()
    yield told
    databases.drop_all()


# ------------------------------------------------------------------------------------- three locations


def test_init_makes_the_repository_at_all_locations(story: Story) -> None:
    """It says where the repository is, and what to take away; again, it refuses."""
    done = story.run("init")
    assert "Made it at edge, archive too: each backup is copied there." in done.out
    assert f"Take away to a safe place: {story.commands.folder}/keys/recovery.pem" in done.out
    one = {name: (story.folder(name) / "repository.json").read_bytes() for name in NAMES}
    assert 1 == len(set(one.values()))
    assert "SR-0702" == story.fail("init")["error"]["code"]


def test_a_backup_says_where_it_is_listed(story: Story) -> None:
    """The backup's document and the list name all three locations; a list of one location names that one."""
    story.configure(repository="min_copies = 3")
    document = story.ask("backup", "--kind", "full")
    story.backups.append(document["backup"])
    assert NAMES == document["locations"]
    assert {document["backup"]: NAMES} == story.where()
    alone = story.ask("list", "--location", "edge")["backups"]
    assert [(document["backup"], ["edge"])] == [(brief["id"], brief["locations"]) for brief in alone]
    assert "local, edge, archive" in story.run("list").out


def test_too_few_copies_fail_a_backup_that_is_listed(story: Story) -> None:
    """With a location out of reach the backup ends with 1 and is listed; the list says what it could not see."""
    story.folder("edge").rename(story.folder("away"))
    error = story.fail("backup")["error"]
    assert "SR-0714" == error["code"]
    assert "location edge: There is no folder" in error["message"]
    assert ".." not in error["message"]
    document = story.fail("list")
    assert "SR-0715" == document["error"]["code"]
    assert [["local", "archive"]] * 2 == [brief["locations"] for brief in document["backups"]]
    assert "SR-0715" == story.fail("expire")["error"]["code"], (
        "whoever does not see everything deletes nothing"
    )
    story.backups.append(document["backups"][-1]["id"])


def test_replicate_catches_up(story: Story) -> None:
    """Copying fails while a location is away; once it is back, it gets what it lacks."""
    assert "SR-0725" == story.fail("replicate")["error"]["code"]
    story.folder("away").rename(story.folder("edge"))
    places = {place["location"]: place for place in story.ask("replicate")["places"]}
    assert [[], [story.backups[1]], []] == [places[name]["backups"] for name in NAMES]
    assert places["edge"]["objects_copied"] > 0
    assert dict.fromkeys(story.backups, NAMES) == story.where()


# --------------------------------------------------------------------------------------------- repair


def damage(file: Path) -> bytes:
    """Change the last byte of a stored object, and return what it was."""
    good = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    return good


def test_repair_mends_what_is_missing_and_what_is_damaged(story: Story) -> None:
    """A dry run changes nothing; what only reading can find takes --read-everything."""
    missing, damaged = (story.packs(name, story.backups[0])[0] for name in ("edge", "archive"))
    missing.unlink()
    good = damage(damaged)
    plan = story.ask("repair", "--dry-run")["plan"]
    assert [("edge", "missing", "local")] == [
        (one["location"], one["problem"], one["source"]) for one in plan["mends"]
    ]
    assert not missing.exists()
    shown = story.run("repair", "--read-everything").out
    assert "2 missing or damaged" in shown
    assert missing.exists()
    assert good == damaged.read_bytes()


def test_a_verification_mends_the_copy_that_it_looks_at(story: Story) -> None:
    """Verify of the nearest copy names what was damaged there and fetched from another, and then proves the copy."""
    damaged = story.packs("local", story.backups[0])[0]
    good = damage(damaged)
    words = ("verify", story.backups[0], "--json")
    verified = story.glass().run(*words).document()
    assert (True, "local") == (verified["passed"], verified["location"])
    assert ["repaired"] == [found["code"] for found in verified["findings"]]
    assert good == damaged.read_bytes()
    assert [] == story.glass().run(*words).document()["findings"]


def test_what_no_location_has_is_a_failure(story: Story) -> None:
    """An object that is gone everywhere ends a repair with 1, and the document names it."""
    lost = story.packs("local", story.backups[1])[-1].relative_to(story.folder("local"))
    kept = (story.folder("local") / lost).read_bytes()
    for name in NAMES:
        (story.folder(name) / lost).unlink()
    document = story.fail("repair")
    assert "SR-0716" == document["error"]["code"]
    assert {str(lost)} == {one["name"] for one in document["mends"]}
    for name in NAMES:
        (story.folder(name) / lost).write_bytes(kept)


# ------------------------------------------------------------------------------------------ retention


def test_a_hold_keeps_a_backup_until_its_last_day(story: Story) -> None:
    """Hold and release are written down everywhere, and the list shows the hold with its reason."""
    held = story.ask("hold", story.backups[1], "--until", "2099-03-31", "--reason", "before the release")
    assert (True, "2099-04-01T00:00:00Z", NAMES) == (held["held"], held["until"], held["locations"])
    briefs = {brief["id"]: brief["held"] for brief in story.ask("list")["backups"]}
    assert "until 2099-04-01 00:00+00:00: before the release" == briefs[story.backups[1]]
    assert "before the release" in story.run("list").out
    for words in (["--until", "tomorrow"], ["--until", "2020-01-01"]):
        assert "SR-0110" == story.fail("hold", "latest", *words, status=2)["error"]["code"]
    assert "SR-0101" == story.fail("hold", "20200101-000000000-0123456789")["error"]["code"]


def test_expire_follows_the_rules_of_each_location(story: Story) -> None:
    """A held backup stays; once released it goes where no rule keeps it, and its bytes wait for the grace period."""
    done = story.glass().run("backup", "--json")
    assert 0 == done.status, done.err
    story.backups.append(done.document()["backup"])
    # As long as the newest backup is not proven, the one before it is the last good one, and stays (I8).
    assert 0 == story.glass().run("verify").status
    story.configure(local=', retention = { keep_within = "1 s" }')
    shown = story.run("expire", "--dry-run").out
    assert "hold: held until 2099-04-01 00:00:00 UTC: before the release" in shown
    assert "A dry run: nothing was changed." in shown
    story.run("release", story.backups[1])
    assert "SR-0718" == story.fail("release", story.backups[1])["error"]["code"]
    assert NAMES == story.where()[story.backups[1]]
    document = story.ask("expire")
    gone = {place["location"]: place["expired"] for place in document["expired"]}
    assert {"local": [story.backups[1]], "edge": [], "archive": [story.backups[1]]} == gone
    assert all(place["deleted"] == 0 for place in document["collected"])
    assert any(place["waiting"] > 0 for place in document["collected"])
    assert ["edge"] == story.where()[story.backups[1]]


def test_a_policy_that_keeps_nothing_is_refused(story: Story) -> None:
    """Expire deletes nothing, and says which location it is."""
    story.configure(local=", retention = { keep_within = 0 }")
    error = story.fail("expire")["error"]
    story.configure()
    assert ("SR-1301", "local") == (error["code"], error["context"]["location"])


# ---------------------------------------------------------------------------------- other configurations


def test_a_location_added_later_joins(story: Story) -> None:
    """It is asked for until init makes the repository there, and then gets what its rules want."""
    story.configure(story.entry("second", role="archive"))
    assert "SR-0715" == story.fail("list")["error"]["code"]
    done = story.run("init")
    assert "was at local, edge, archive already" in done.out
    assert "It is at second now, too" in done.out
    places = {place["location"]: place for place in story.ask("replicate")["places"]}
    assert {story.backups[0], story.backups[2]} == set(places["second"]["backups"])
    assert places["second"]["objects_copied"] > 0
    listed = story.ask("list", "--location", "second")["backups"]
    assert [story.backups[0], story.backups[2]] == [brief["id"] for brief in listed]


def test_a_location_that_is_only_read_is_left_alone(story: Story) -> None:
    """Nothing is written there or expected there: it is listed, and the others do not wait for it."""
    story.configure(archive=", read_only = true")
    before = sorted(path for path in story.folder("archive").rglob("*") if path.is_file())
    plan = story.ask("expire", "--dry-run")["plan"]
    assert "archive" not in {one["location"] for one in (*plan["keeps"], *plan["expiries"])}
    assert ["location-without-rules"] == [found["code"] for found in plan["findings"]]
    assert ["local", "edge"] == story.ask("hold", "latest")["locations"]
    story.ask("release", "latest")
    assert before == sorted(path for path in story.folder("archive").rglob("*") if path.is_file())


def test_a_location_gone_for_good_is_taken_out(story: Story) -> None:
    """Without it in the configuration, everything goes on with what the others have."""
    story.configure()
    shutil.rmtree(story.folder("local"))
    story.configure(local="gone")
    assert [["edge", "archive"], ["edge"], ["edge", "archive"]] == list(story.where().values())
    story.ask("expire")
    # A new disk in its place gets back what its rules want.
    story.configure()
    story.run("init")
    story.run("replicate")
    assert NAMES == story.where()[story.backups[2]]


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["list", "--location", "nowhere"], 1, "SR-0712"),
        (["repair", "--location", "nowhere"], 1, "SR-0712"),
        (["check", "--location", "nowhere"], 1, "SR-0712"),
        (["hold"], 2, "SR-0110"),
        (["keys", "rotate", "--bogus"], 2, "SR-0110"),
        (["replicate", "../../etc/passwd"], 1, "SR-0101"),
        (["expire", "--accept", "nonsense"], 1, "SR-0101"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_answered_at_once(story: Story, words: list[str], status: int, code: str) -> None:
    """Unknown names end with 1, what cannot be parsed with 2; Prefect is not started for either."""
    assert code == story.fail(*words, status=status)["error"]["code"]
    assert "starting Prefect" not in story.last.err


def _region_of_a_folder(story: Story) -> None:
    story.configure(edge=', region = "eu-central-1"')


def _one_place_twice(story: Story) -> None:
    story.configure(story.entry("local").replace('"local",', '"again",', 1))


def _too_many_copies(story: Story) -> None:
    story.configure(repository="min_copies = 4")


def _secret_in_the_url(story: Story) -> None:
    story.configure(f'{{ name = "far", role = "archive", url = "s3://key:{PASSPHRASE}@bucket/x" }}')


def _no_secret_file(story: Story) -> None:
    story.configure('{ name = "far", role = "archive", url = "s3://b/x", secret_key_file = "nowhere" }')


@pytest.mark.parametrize(
    ("prepare", "code", "named"),
    [
        (_region_of_a_folder, "SR-0103", "region, which means nothing for file://"),
        (_one_place_twice, "SR-0103", "two locations at one place"),
        (_too_many_copies, "SR-0103", "min_copies above the number of locations"),
        (_secret_in_the_url, "SR-0103", "repository.locations[3].url holds a password"),
        (_no_secret_file, "SR-0715", "There are no credentials for s3://b/x"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_configuration_is_named(
    story: Story, prepare: Callable[[Story], None], code: str, named: str
) -> None:
    """Every command ends with 1 and says which setting is wrong, and nothing of a secret."""
    prepare(story)
    error = story.fail("list")["error"]
    story.configure()
    assert code == error["code"]
    assert named in error["message"]


def test_check_tries_a_location(story: Story) -> None:
    """Every promise of a store is tried on the folder, which is left as it was."""
    document = story.ask("check", "--location", "edge")
    assert document["passed"]
    assert all(check["name"].startswith("location edge: ") for check in document["checks"])
    assert len(document["checks"]) > 20
    assert [] == [path for path in (story.folder("edge") / "scratch").rglob("*") if path.is_file()]


# ----------------------------------------------------------------------------------------------- keys


def test_a_new_recovery_key_takes_over(story: Story, platform_database: MakeDatabase) -> None:
    """After keys rotate --retire everything opens with the new key alone, and nothing with the old one."""
    old = story.ask("keys", "list")["recovery_keys"]
    done = story.run("keys", "rotate", "--new", "second", "--retire")
    keys = story.commands.folder / "keys"
    assert f"Take away to a safe place: {keys}/recovery-second.pem" in done.out
    new = story.ask("keys", "list")["recovery_keys"]
    assert {"current", "retired"} == {key["status"] for key in new}
    assert old[0]["id"] == next(key["id"] for key in new if key["status"] == "retired")
    away = story.commands.folder / "away"
    away.mkdir()
    shutil.move(keys / "recovery.pem", away)
    glass = story.glass()
    verified = glass.run("verify", "latest", "--level", "content", "--json").document()
    assert (True, 34210) == (verified["passed"], verified["rows_checked"])
    restored = glass.run("restore", "latest", "--to", platform_database().dsn(), "--json")
    assert (0, 34210) == (restored.status, restored.document()["rows"]), restored.err
    shutil.move(keys / "recovery-second.pem", away)
    shutil.copy(away / "recovery.pem", keys)
    assert 1 == glass.run("verify", "latest", "--level", "content", "--json").status
