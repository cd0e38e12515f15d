"""The commands of recoveries that run no flow, as a user types them: one story about one database, told in order."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from strongroom.postgres.embedded import EmbeddedPostgres
from tests.commands import Commands, Outcome
from tests.databases import Databases

RUN = "recovery-20260101-000000000-0000000000"


@dataclass
class Story:
    """The folder of a user with one database, and its backups so far."""

    commands: Commands
    dsn: str
    backups: list[str] = field(default_factory=list)

    def run(self, *words: str, given: str = "") -> Outcome:
        """Run a command that has to end well."""
        done = self.commands.run(*words, given=given)
        assert (0, False) == (done.status, "Traceback" in done.err), done.err
        return done

    def fail(self, *words: str, status: int = 1) -> dict[str, Any]:
        """Run a command that has to fail, and return its error, which stands on standard error too."""
        done = self.commands.run(*words, "--json")
        error: dict[str, Any] = done.document()["error"]
        assert status == done.status, done.err
        assert [f"{error['code']} {error['message']}", error["hint"]] == done.err.splitlines()[-2:]
        return error

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def back_up(self) -> str:
        """Take a backup without an orchestrator, which does not verify it."""
        done = self.commands.breaking_glass().run("backup", "--json")
        assert 0 == done.status, done.err
        self.backups.append(done.document()["backup"])
        return self.backups[-1]


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    postgres18: EmbeddedPostgres,
    database_templates: dict[tuple[int, bool], str],
) -> Iterator[Story]:
    """Make a database with an application, and a repository without backups."""
    databases = Databases(database_templates)
    database = databases.make(postgres18, app=True)
    told = Story(Commands.make(tmp_path_factory.mktemp("recoveries"), database.dsn()), database.dsn())
    told.run("init")
    yield told
    databases.drop_all()


def test_without_a_backup_there_is_nothing_to_plan(story: Story) -> None:
    """The error says of which source."""
    assert "No backup of quantforge is listed." == story.fail("recover", "plan", "data-corruption")["message"]


def test_an_unverified_backup_is_not_planned_with(story: Story) -> None:
    """By force it is, and the plan says so in red words."""
    backup = story.back_up()
    error = story.fail("recover", "plan", "data_corruption")
    assert ("SR-1402", True) == (error["code"], f"strongroom verify {backup}" in error["hint"])
    shown = story.run("recover", "plan", "data_corruption", "--force").out
    assert f"{backup} (NOT PROVEN)" in shown
    assert "warning forced --force" in shown


def test_a_plan_is_one_document_that_can_be_kept(story: Story) -> None:
    """The JSON on standard output, the file of --out, and what is shown of it later are one plan."""
    assert 0 == story.commands.breaking_glass().run("verify", "latest").status
    story.sql("DELETE FROM ONLY public.signals WHERE id % 10 = 0")
    done = story.run("recover", "plan", "data-corruption", "--out", "plan.json", "--json")
    plan = done.document()
    assert plan == json.loads((story.commands.folder / "plan.json").read_text())
    assert plan == story.run("show", "--plan", "plan.json", "--json").document()
    assert plan == story.run("show", "--plan", "-", "--json", given=done.out).document()
    assert (story.backups[-1], "exact", "source", "structure") == (
        plan["backup"],
        plan["strategy"],
        plan["destination"],
        plan["proven"],
    )
    labels = [f"{table['schema']}.{table['name']}" for table in plan["tables"]]
    assert labels.index("public.profiles") < labels.index("public.robots") < labels.index("public.signals")
    assert not [label for label in labels if label.startswith(("auth.", "storage."))]


def test_live_tables_are_counted(story: Story) -> None:
    """Each table's rows then and now stand in the plan."""
    document = story.run("recover", "plan", "partial_loss", "--table", "public.signals", "--json").document()
    (live,) = story.sql("SELECT count(*) FROM ONLY public.signals")
    assert [("public.signals", live[0])] == [
        (estimate["table"], estimate["rows_live"]) for estimate in document["estimates"]
    ]
    assert document["estimates"][0]["rows"] > live[0]


def test_a_plan_is_shown_to_a_tired_person(story: Story) -> None:
    """What to recover, the risk, the minutes, what is not restored, and the command to type."""
    words = ["--table", "public.signals", "--where", "robot_id IS NOT NULL"]
    shown = story.run("recover", "plan", "partial-loss", *words).out
    where = "--where 'robot_id IS NOT NULL'"
    for expected in (
        "for partial loss; nothing was done yet.",
        "merge_missing, in place, in the live database",
        "risk LOW:",
        "15–17",
        "Not restored:",
        "robot_id IS NOT NULL",
        " ".join(
            [
                "strongroom recover run partial_loss --backup",
                story.backups[-1],
                "--table public.signals",
                where,
            ]
        ),
    ):
        assert expected in shown


def test_a_plan_of_a_complete_failure_needs_no_source(story: Story) -> None:
    """Planning works while the database is away; show --plan makes the same from one backup."""
    away = story.commands.with_variables(STRONGROOM_DATABASE_URL="postgresql://postgres@127.0.0.1:1/gone")
    done = away.run("recover", "plan", "complete_failure", "--json")
    assert 0 == done.status, done.err
    plan, shown = done.document(), away.run("show", story.backups[-1], "--plan", "--json").document()
    assert ("environment", "empty") == (plan["destination"], plan["strategy"])
    assert plan["tables"] == shown["tables"]
    text = away.run("show", "latest", "--plan").out
    assert f"strongroom recover run complete_failure --backup {story.backups[-1]} --force --to -" in text


def test_a_plan_in_place_without_its_source_says_so(story: Story) -> None:
    """Nothing is counted, so nothing is called low."""
    away = story.commands.with_variables(STRONGROOM_DATABASE_URL="postgresql://postgres@127.0.0.1:1/gone")
    plan = away.run("recover", "plan", "custom", "--json").document()
    assert ("medium", {-1}) == (
        plan["risk"],
        {estimate.get("rows_live", -1) for estimate in plan["estimates"]},
    )
    assert "live-not-counted" in [finding["code"] for finding in plan["findings"]]


MISUSED = [
    ["recover", "plan", "fire"],
    ["recover", "plan", "custom", "--table", "a.b.c"],
    ["recover", "plan", "custom", "--where", "id = 1"],
    ["recover", "plan", "custom", "--table", "trades", "--where", "id = 1", "--where", "id = 2"],
    ["recover", "plan", "custom", "--table", "trades where id = 1", "--where", "id = 2"],
    ["recover", "plan", "custom", "--at", "yesterday"],
    ["recover", "plan", "custom", "--to", "postgresql://localhost/x"],
    ["recover", "plan", "custom", "--strategy", "hope"],
    ["recover", "plan", "custom", "--out", "no/such/folder/plan.json"],
    ["recover", "plan", "complete_failure", "--preview"],
    ["recover", "run", "nothing.json"],
    ["recover", "run", "plan.json", "--table", "public.trades"],
    ["recover", "run", "plan.json", "--to", "postgresql://localhost/x"],
    ["recover", "run", "custom", "--to", "postgresql://localhost/x"],
    ["recover", "rollback"],
]


@pytest.mark.parametrize("words", MISUSED, ids=" ".join)
def test_words_that_cannot_be_meant_are_refused(story: Story, words: list[str]) -> None:
    """Each with status 2 and a sentence."""
    assert "SR-0110" == story.fail(*words, status=2)["code"]


FAILURES = [
    (["recover", "plan", "custom", "--table", "public.trade"], "SR-1404"),
    (["recover", "plan", "custom", "--schema", "nowhere"], "SR-1404"),
    (["recover", "plan", "custom", "--at", "2020-01-01"], "SR-1401"),
    (["recover", "plan", "custom", "--backup", "20200101-000000000-0123456789"], "SR-1401"),
    (["recover", "plan", "custom", "--backup", "../x"], "SR-0101"),
    (["recover", "plan", "custom", "--no-emergency-backup"], "SR-1422"),
    (["recover", "plan", "complete_failure", "--table", "trades"], "SR-1421"),
    (["recover", "plan", "complete_failure", "--strategy", "exact"], "SR-1429"),
    (["recover", "plan", "data_corruption", "--strategy", "merge_missing"], "SR-1429"),
    (["recover", "run", "strongroom.toml"], "SR-1421"),
    (["recover", "rollback", RUN], "SR-1412"),
    (["recover", "rollback", "../../etc"], "SR-1412"),
    (["show", "--plan", "strongroom.toml"], "SR-1421"),
    (["show", "--plan", "nothing.json"], "SR-0101"),
]


@pytest.mark.parametrize(
    ("words", "code"), FAILURES, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_each_bad_input_has_its_code(story: Story, words: list[str], code: str) -> None:
    """Whatever was asked for and cannot be had."""
    assert code == story.fail(*words)["code"]


def test_an_old_recovery_point_needs_force(story: Story) -> None:
    """The limit is a setting, and what was accepted stands in the plan."""
    strict = story.commands.with_variables(STRONGROOM_RECOVERY_MIN_RECOVERY_POINT_AGE="1 ms")
    refused = strict.run("recover", "plan", "custom", "--json")
    assert (1, "SR-1403") == (refused.status, refused.document()["error"]["code"])
    forced = strict.run("recover", "plan", "custom", "--force", "--json").document()
    assert {"forced", "recovery-point-old"} <= {finding["code"] for finding in forced["findings"]}


def test_a_damaged_backup_is_passed_over(story: Story) -> None:
    """A newer backup whose verification has failed since is no recovery point; the older one is."""
    older, newer = story.backups[-1], story.back_up()
    assert 0 == story.commands.breaking_glass().run("verify", newer).status
    assert newer == story.run("recover", "plan", "custom", "--json").document()["backup"]
    packs = [path for path in (story.commands.folder / "repository" / "packs").rglob("*") if path.is_file()]
    newest = max(packs, key=lambda path: path.stat().st_mtime_ns)
    held = newest.read_bytes()
    newest.chmod(0o600)
    newest.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    try:
        assert 1 == story.commands.breaking_glass().run("verify", newer).status
        plan = story.run("recover", "plan", "custom", "--json").document()
        assert older == plan["backup"]
        assert ("newer-backups-unproven", newer) in [(one["code"], one["object"]) for one in plan["findings"]]
    finally:
        newest.write_bytes(held)
    assert 0 == story.commands.breaking_glass().run("verify", newer).status


def test_planning_starts_without_prefect_and_changes_nothing(story: Story) -> None:
    """Whoever plans at night should not wait for a server, nor leave anything behind."""
    before = sorted(path for path in (story.commands.folder / "repository").rglob("*") if path.is_file())
    story.run("recover", "plan", "custom")
    assert before == sorted(
        path for path in (story.commands.folder / "repository").rglob("*") if path.is_file()
    )
    assert [] == story.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'strongroom%'")
    assert not (story.commands.folder / "prefect").exists()


def test_status_and_clean_of_a_quiet_database(story: Story) -> None:
    """There is nothing under way and nothing to remove, which is no failure."""
    assert "No recovery is under way." in story.run("recover", "status").out
    assert [] == story.run("recover", "clean", "--json").document()["removed"]
    assert "SR-0110" == story.fail("recover", "run", status=2)["code"]


def test_a_preview_shows_rows_and_changes_none(story: Story) -> None:
    """Inserts, changes and deletes by table, some of the rows on the terminal, none in the document."""
    everything = "SELECT md5(string_agg(t::text, '' ORDER BY t.id)) FROM public.signals t"
    story.sql("UPDATE ONLY public.signals SET payload = '[7]' WHERE id % 10 = 1")
    story.sql("DELETE FROM ONLY public.signals WHERE id % 10 = 2")
    before = story.sql(everything)
    shown = story.run("recover", "plan", "data_corruption", "--table", "public.signals", "--preview")
    assert "If it were carried out now:" in shown.out
    assert "~ change" in shown.out
    document = story.run(
        "recover", "plan", "data_corruption", "--table", "public.signals", "--preview", "--json"
    ).document()
    (found,) = document["differences"]["tables"]
    assert (True, True, 0) == (found["inserts"] > 0, found["changes"] > 0, found["deletes"])
    assert {"plan", "differences"} == set(document)
    assert before == story.sql(everything)
    assert [] == story.sql("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'strongroom%'")
