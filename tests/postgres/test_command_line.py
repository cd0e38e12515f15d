"""Facts about the command lines, run as processes against a real database: statuses, documents, secrets."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.postgres.embedded import EmbeddedPostgres
from tests.commands import BREAK_GLASS, ORCHESTRATED, PASSPHRASE, Commands
from tests.conftest import MakeDatabase
from tests.databases import Database, Databases
from tests.environment import TELEMETRY_OFF

PASSWORD = "postgres-quantforge-7391"
ANSWER_SECONDS = 120.0


@pytest.fixture(scope="module")
def database(
    postgres18: EmbeddedPostgres, database_templates: dict[tuple[int, bool], str]
) -> Iterator[Database]:
    """Make a database in the Supabase shape, with rows, that nobody changes."""
    databases = Databases(database_templates)
    yield databases.make(postgres18, app=True)
    databases.drop_all()


@pytest.fixture(scope="module")
def first_home(tmp_path_factory: pytest.TempPathFactory, database: Database) -> Path:
    """Make keys and a repository beside a configuration, once."""
    home = tmp_path_factory.mktemp("first")
    done = Commands.make(home, database.dsn()).run("init")
    assert 0 == done.status, done.err
    return home


@pytest.fixture(scope="module")
def second_home(tmp_path_factory: pytest.TempPathFactory, database: Database, first_home: Path) -> Path:
    """Make the same with one backup, through the break-glass path because it is quicker."""
    copied = tmp_path_factory.mktemp("second") / "home"
    done = _moved(first_home, copied, database).breaking_glass().run("backup")
    assert 0 == done.status, done.err
    return copied


@pytest.fixture
def commands(tmp_path: Path, database: Database, first_home: Path) -> Commands:
    """Give a test keys and a repository of its own."""
    return _moved(first_home, tmp_path / "home", database)


@pytest.fixture
def backed_up(tmp_path: Path, database: Database, second_home: Path) -> Commands:
    """Give a test keys and a repository of its own, with one backup."""
    return _moved(second_home, tmp_path / "home", database)


def _moved(home: Path, to: Path, database: Database) -> Commands:
    shutil.copytree(home, to)
    return Commands.make(to, database.dsn(), PASSWORD)


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Prefect server with a home of its own, as a user has one running."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "prefect",
                "server",
                "start",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--no-ui",
            ],
            env={"PATH": "/usr/bin:/bin", "HOME": str(home), "PREFECT_HOME": str(home), **TELEMETRY_OFF},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(f"{api}/health")
        yield api
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(url: str) -> None:
    limit = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < limit:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310  (our own server)
            return
        time.sleep(0.2)
    raise TimeoutError(url)


def backup_ids(commands: Commands) -> list[str]:
    """Return the ids that are listed, newest last."""
    return [brief["id"] for brief in commands.run("list", "--json").document()["backups"]]


# ---------------------------------------------------------------------------------------- the whole way


def test_backup_verify_and_restore_run_as_flows(
    commands: Commands, platform_database: MakeDatabase, prefect_api: str
) -> None:
    """Back up, list, show, verify to the rows, restore: each ends with 0 and answers with one document."""
    orchestrated = commands.with_variables(PREFECT_API_URL=prefect_api)
    done = orchestrated.run("backup", "--kind", "full", "--json")
    assert 0 == done.status, done.err
    backup = done.document()["backup"]
    assert [backup] == backup_ids(commands)
    shown = commands.run("show", "latest", "--json").document()
    assert (backup, 34210) == (shown["brief"]["id"], shown["brief"]["rows"])
    verified = orchestrated.run("verify", backup, "--level", "content", "--json")
    assert (0, True) == (verified.status, verified.document()["passed"]), verified.err
    destination = platform_database()
    restored = orchestrated.run("restore", backup, "--to", destination.dsn(), "--json")
    assert 0 == restored.status, restored.err
    report = restored.document()
    assert (True, 34210) == (report["passed"], report["integrity"]["rows_observed"])


def test_breaking_the_glass_needs_no_orchestrator(
    backed_up: Commands, platform_database: MakeDatabase
) -> None:
    """`python -m strongroom` does the same where Prefect, Typer and rich are not even installed."""
    shadow = backed_up.folder / "shadow"
    for name in ("prefect", "typer", "rich"):
        (shadow / name).mkdir(parents=True)
        (shadow / name / "__init__.py").write_text("raise ImportError('not installed')\n")
    alone = backed_up.breaking_glass().with_variables(PYTHONPATH=str(shadow))
    assert 0 == alone.run("list").status
    verified = alone.run("verify", "latest", "--level", "content", "--json")
    assert (0, True) == (verified.status, verified.document()["passed"]), verified.err
    restored = alone.run("restore", "latest", "--to", "-", "--json", given=platform_database().dsn() + "\n")
    assert 0 == restored.status, restored.err
    assert (True, 34210) == (restored.document()["passed"], restored.document()["rows"])


def test_what_only_looks_starts_without_prefect(backed_up: Commands) -> None:
    """List and show do not import Prefect, which alone takes longer than they do."""
    script = (
        "import sys\nfrom deployments import command_line\n"
        "sys.argv = ['strongroom', 'list']\n"
        "try:\n    command_line.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'prefect' not in sys.modules and 'great_expectations' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=backed_up.folder,
        env=backed_up.environment,
        check=False,
        capture_output=True,
    )
    assert (0, b"") == (done.returncode, done.stderr)


# ---------------------------------------------------------------------------------------- init


def test_init_says_which_file_to_take_away(tmp_path: Path, database: Database) -> None:
    """Without a configuration, init writes one without secrets, and names recovery.pem."""
    commands = Commands.make(tmp_path, database.dsn())
    (tmp_path / "strongroom.toml").unlink()
    keys = str(tmp_path / "keys")
    done = commands.with_variables(STRONGROOM_KEYS_DIRECTORY=keys).run(
        "init", "--source-name", "quantforge", "--location", str(tmp_path / "backups")
    )
    assert 0 == done.status, done.err
    assert f"Take away to a safe place: {keys}/recovery.pem" in done.out
    written = (tmp_path / "strongroom.toml").read_text()
    assert database.name not in written
    assert 0 == commands.run("list").status


def test_init_twice_harms_nothing(backed_up: Commands) -> None:
    """The second init fails with its own code, and keys and backups are what they were."""
    before = {path.name: path.read_bytes() for path in (backed_up.folder / "keys").iterdir()}
    backups = backup_ids(backed_up)
    again = backed_up.run("init", "--json")
    assert (1, "SR-0702") == (again.status, again.document()["error"]["code"])
    assert before == {path.name: path.read_bytes() for path in (backed_up.folder / "keys").iterdir()}
    assert backups == backup_ids(backed_up)


def test_init_completes_what_was_cut_off(tmp_path: Path, database: Database) -> None:
    """With keys and no repository, init makes the repository for those keys."""
    commands = Commands.make(tmp_path, database.dsn())
    assert 0 == commands.run("init").status
    shutil.rmtree(tmp_path / "repository")
    done = commands.run("init", "--json")
    assert (0, False) == (done.status, done.document()["keys_made"])


def test_init_makes_no_keys_for_a_repository_that_has_some(commands: Commands) -> None:
    """New keys would not open the repository that is there, so none are made."""
    shutil.rmtree(commands.folder / "keys")
    done = commands.run("init", "--json")
    assert (1, "SR-0710") == (done.status, done.document()["error"]["code"])
    assert not (commands.folder / "keys").exists()


def test_init_needs_a_passphrase(tmp_path: Path, database: Database) -> None:
    """With no terminal to ask at and no passphrase, nothing is made and no configuration is left."""
    commands = Commands.make(tmp_path, database.dsn()).without("STRONGROOM_RECOVERY_PASSPHRASE")
    (tmp_path / "strongroom.toml").unlink()
    done = commands.run("init", "--source-name", "quantforge", "--location", "backups", "--json")
    assert (1, "SR-0111") == (done.status, done.document()["error"]["code"])
    assert [] == [path.name for path in tmp_path.iterdir()]


def test_the_passphrase_may_come_from_a_file(tmp_path: Path, database: Database) -> None:
    """--passphrase-file stands in for the variable, in init and where rows are read."""
    commands = Commands.make(tmp_path, database.dsn()).without("STRONGROOM_RECOVERY_PASSPHRASE")
    (tmp_path / "words").write_text(PASSPHRASE + "\n")
    assert 0 == commands.run("init", "--passphrase-file", "words").status
    assert 0 == commands.breaking_glass().run("backup").status
    variable = {"STRONGROOM_RECOVERY_PASSPHRASE_FILE": str(tmp_path / "words")}
    verified = commands.breaking_glass().with_variables(**variable).run("verify", "--level", "content")
    assert 0 == verified.status, verified.err


# ---------------------------------------------------------------------------------------- looking


def test_a_damaged_manifest_hides_no_other_backup(backed_up: Commands) -> None:
    """List shows the good backups, names the bad manifest, and ends with 1."""
    assert 0 == backed_up.breaking_glass().run("backup", "--kind", "full").status
    older, newer = backup_ids(backed_up)
    manifest = backed_up.folder / "repository" / "manifests" / older
    content = bytearray(manifest.read_bytes())
    content[len(content) // 2] ^= 1
    manifest.chmod(0o600)
    manifest.write_bytes(content)
    for commands in (backed_up, backed_up.breaking_glass()):
        done = commands.run("list", "--json")
        document = done.document()
        assert (1, "SR-0881") == (done.status, document["error"]["code"])
        assert [newer] == [brief["id"] for brief in document["backups"]]
        assert [f"manifests/{older}"] == [finding["object"] for finding in document["findings"]]
        assert newer in commands.run("list").out
        assert 1 == commands.run("show", older).status


def test_show_needs_no_recovery_key(backed_up: Commands) -> None:
    """Everything about a backup can be seen where recovery.pem is not, and without a passphrase."""
    (backed_up.folder / "keys" / "recovery.pem").unlink()
    worker = backed_up.without("STRONGROOM_RECOVERY_PASSPHRASE")
    done = worker.run("show", "latest")
    assert 0 == done.status, done.err
    assert "public.robots" in done.out
    tables = {entry["table"]: entry for entry in worker.run("show", "latest", "--json").document()["tables"]}
    assert (40, 0) == (tables["public.robots"]["rows"], tables["public.robots"]["rows_reused"])


def test_show_tells_reused_rows_from_new_ones(backed_up: Commands) -> None:
    """After a second backup of an unchanged database, all rows come from the first."""
    assert 0 == backed_up.breaking_glass().run("backup", "--kind", "incremental").status
    tables = backed_up.run("show", "latest", "--json").document()["tables"]
    assert {entry["table"]: entry["rows"] for entry in tables} == {
        entry["table"]: entry["rows_reused"] for entry in tables
    }


def test_check_answers_for_a_fit_source(commands: Commands) -> None:
    """Check ends with 0 and one document."""
    done = commands.run("check", "--json")
    assert (0, True) == (done.status, done.document()["passed"]), done.err


def test_the_environment_alone_suffices(backed_up: Commands) -> None:
    """Without any configuration file, variables say everything."""
    (backed_up.folder / "strongroom.toml").unlink()
    told = backed_up.with_variables(
        STRONGROOM_SOURCE_NAME="quantforge",
        STRONGROOM_REPOSITORY_LOCATIONS=(backed_up.folder / "repository").as_uri(),
        STRONGROOM_KEYS_DIRECTORY=str(backed_up.folder / "keys"),
    )
    assert 1 == len(backup_ids(told))


# ---------------------------------------------------------------------------------------- failing


def _with_password(commands: Commands, database: Database, password: str) -> Commands:
    address = database.server.tcp_dsn("postgres", database.name, password)
    return commands.with_variables(STRONGROOM_DATABASE_URL=address)


def wrong_password(commands: Commands, database: Database) -> Commands:
    """Give another password."""
    return _with_password(commands, database, PASSWORD)


def no_server(commands: Commands, database: Database) -> Commands:
    """Point at a port where nobody listens."""
    address = f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/postgres"
    return commands.with_variables(STRONGROOM_DATABASE_URL=address)


def not_an_address(commands: Commands, database: Database) -> Commands:
    """Give something that no libpq understands, with the password in it."""
    return commands.with_variables(STRONGROOM_DATABASE_URL=f"postgresql://postgres:{PASSWORD}@[::1/x")


def broken_configuration(commands: Commands, database: Database) -> Commands:
    """Break the file's TOML, with a password in the broken line."""
    (commands.folder / "strongroom.toml").write_text(f'[source]\ndatabase_url = "{PASSWORD}\n')
    return commands


def unknown_setting(commands: Commands, database: Database) -> Commands:
    """Misspell a setting."""
    with (commands.folder / "strongroom.toml").open("a") as file:
        file.write("[recovery]\nmax_recovery_tim = 3\n")
    return commands


def other_keys(commands: Commands, database: Database) -> Commands:
    """Put the keys of another repository into the key directory."""
    other = Commands.make(commands.folder / "other", database.dsn())
    assert 0 == other.run("init").status
    shutil.rmtree(commands.folder / "keys")
    shutil.copytree(commands.folder / "other" / "keys", commands.folder / "keys")
    return commands


def no_keys(commands: Commands, database: Database) -> Commands:
    """Take the key directory away."""
    shutil.rmtree(commands.folder / "keys")
    return commands


def exposed_keys(commands: Commands, database: Database) -> Commands:
    """Let everybody read the operator key."""
    (commands.folder / "keys" / "operator.key").chmod(0o644)
    return commands


def no_repository(commands: Commands, database: Database) -> Commands:
    """Take the repository away."""
    shutil.rmtree(commands.folder / "repository")
    return commands


def wrong_passphrase(commands: Commands, database: Database) -> Commands:
    """Give another passphrase."""
    return commands.with_variables(STRONGROOM_RECOVERY_PASSPHRASE=PASSWORD)


def nothing(commands: Commands, database: Database) -> Commands:
    """Change nothing."""
    return commands


FAILURES = [
    (wrong_password, ["backup"], "SR-0202"),
    (no_server, ["backup"], "SR-0201"),
    (not_an_address, ["backup"], "SR-0103"),
    (nothing, ["show", "20200101-000000000-0123456789"], "SR-0101"),
    (nothing, ["verify", "../../etc/passwd"], "SR-0101"),
    (nothing, ["list", "--config", "elsewhere.toml"], "SR-0105"),
    (broken_configuration, ["list"], "SR-0105"),
    (unknown_setting, ["list"], "SR-0104"),
    (other_keys, ["list"], "SR-0703"),
    (no_keys, ["list"], "SR-0502"),
    (exposed_keys, ["list"], "SR-0504"),
    (no_repository, ["list"], "SR-0701"),
    (wrong_passphrase, ["verify", "--level", "content"], "SR-0512"),
    (nothing, ["restore", "latest"], "SR-0102"),
]


@pytest.mark.parametrize(
    ("prepare", "words", "code"), FAILURES, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_each_bad_input_has_its_code(
    backed_up: Commands,
    database: Database,
    prepare: Callable[[Commands, Database], Commands],
    words: list[str],
    code: str,
) -> None:
    """It ends with 1, a coded error with a hint, no traceback, and no secret (which `run` sees to)."""
    commands = prepare(backed_up, database).breaking_glass()
    done = commands.run(*words, "--json")
    error = done.document()["error"]
    assert (1, code) == (done.status, error["code"])
    assert [f"{code} {error['message']}", error["hint"]] == done.err.splitlines()[-2:]
    assert error["hint"]
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("prepare", "words", "code"),
    [
        (wrong_password, ["check"], "SR-0270"),
        (no_server, ["check"], "SR-0270"),
        (other_keys, ["list"], "SR-0703"),
        (not_an_address, ["backup"], "SR-0103"),
        (nothing, ["show", "nonsense"], "SR-0101"),
        (nothing, ["restore", "latest"], "SR-0102"),
        (broken_configuration, ["serve"], "SR-0105"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_both_command_lines_fail_alike(
    commands: Commands,
    database: Database,
    prepare: Callable[[Commands, Database], Commands],
    words: list[str],
    code: str,
) -> None:
    """`strongroom` gives the same statuses and documents as the break-glass path."""
    done = prepare(commands, database).run(*words, "--json")
    assert (1, code) == (done.status, done.document()["error"]["code"])
    assert "Traceback" not in done.err


@pytest.mark.parametrize("prepare", [wrong_password, no_server], ids=lambda value: value.__name__)
def test_a_failing_flow_gives_a_coded_error(
    commands: Commands,
    database: Database,
    prefect_api: str,
    prepare: Callable[[Commands, Database], Commands],
) -> None:
    """An error inside a flow reaches the terminal as itself, without Prefect's own words around it."""
    done = prepare(commands, database).with_variables(PREFECT_API_URL=prefect_api).run("backup", "--json")
    assert (1, "SR-0270") == (done.status, done.document()["error"]["code"])
    assert "Traceback" not in done.err
    assert "prefect" not in done.err.replace("starting Prefect", "").lower()


def test_a_destination_with_rows_is_refused(
    backed_up: Commands, quantforge: MakeDatabase, prefect_api: str
) -> None:
    """Restore writes nothing where something is, whichever way it is run."""
    full = quantforge()
    for commands in (backed_up.breaking_glass(), backed_up.with_variables(PREFECT_API_URL=prefect_api)):
        done = commands.run("restore", "latest", "--to", full.dsn(), "--json")
        assert (1, "SR-0911") == (done.status, done.document()["error"]["code"]), done.err


def test_damage_is_reported_with_its_findings(backed_up: Commands, prefect_api: str) -> None:
    """Verify of a damaged backup ends with 1; the document holds the error and the findings."""
    packs = sorted(path for path in (backed_up.folder / "repository" / "packs").rglob("*") if path.is_file())
    packs[0].chmod(0o600)
    packs[0].write_bytes(packs[0].read_bytes()[:-1] + b"\0")
    name = packs[0].relative_to(backed_up.folder / "repository").as_posix()
    for commands in (backed_up.breaking_glass(), backed_up.with_variables(PREFECT_API_URL=prefect_api)):
        done = commands.run("verify", "--json")
        document = done.document()
        assert (1, "SR-0880", False) == (done.status, document["error"]["code"], document["passed"])
        assert name in {finding["object"] for finding in document["findings"]}


def test_an_absent_prefect_server_is_named(commands: Commands) -> None:
    """With PREFECT_API_URL set and nobody there, backup fails at once and names the way around it."""
    done = commands.with_variables(PREFECT_API_URL="http://127.0.0.1:1/api").run("backup", "--json")
    error = done.document()["error"]
    assert (1, "SR-1205") == (done.status, error["code"])
    assert "python -m strongroom" in error["hint"]


@pytest.mark.parametrize("glass", [False, True], ids=["strongroom", "python -m strongroom"])
@pytest.mark.parametrize(
    "words", [["frobnicate"], ["list", "--bogus"], ["verify", "--level", "deep"], ["restore"]], ids=" ".join
)
def test_bad_use_ends_with_two(tmp_path: Path, words: list[str], glass: bool) -> None:
    """Words that cannot be parsed end with 2, and with --json the document says why."""
    commands = Commands.make(tmp_path, "")
    commands = commands.breaking_glass() if glass else commands
    done = commands.run(*words, "--json")
    assert (2, "SR-0110") == (done.status, done.document()["error"]["code"])
    plain = commands.run(*words)
    assert (2, "") == (plain.status, plain.out)


def test_a_traceback_is_only_for_debug(commands: Commands) -> None:
    """--debug shows where an error arose, besides the error itself."""
    done = commands.run("show", "nonsense", "--debug")
    assert 1 == done.status
    assert "Traceback" in done.err
    assert "SR-0101" in done.err


def test_help_goes_to_standard_output(tmp_path: Path) -> None:
    """Asking for help is no misuse, and every command has one."""
    commands = Commands.make(tmp_path, "")
    for word in ("init", "check", "backup", "list", "show", "verify", "restore", "serve", "demo"):
        done = commands.run(word, "--help")
        assert (0, "") == (done.status, done.err)
        assert "--json" in done.out
        assert "--config" in done.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("program", [ORCHESTRATED, BREAK_GLASS], ids=" ".join)
def test_an_interrupted_backup_ends_with_one(
    commands: Commands, prefect_api: str, program: tuple[str, ...], number: signal.Signals
) -> None:
    """SIGTERM and Ctrl-C end the children too, and the error says that the work was cancelled."""
    with subprocess.Popen(
        [sys.executable, "-m", *program, "backup", "--json"],
        cwd=commands.folder,
        env=commands.environment | {"PREFECT_API_URL": prefect_api},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        _wait_for_lease(commands.folder / "repository" / "leases", process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (1, "SR-1180") == (process.returncode, json.loads(out)["error"]["code"]), err
    assert "Traceback" not in err
    assert [] == backup_ids(commands)


def _wait_for_lease(folder: Path, process: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + 60
    while not folder.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
