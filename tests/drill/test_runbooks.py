"""The runbooks, whose commands are run as they stand, block by block, against a damaged database.

What a person fills in is in variables: the instant, the customer, the run, the new project.
"""

import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from tests.databases import Database, MakeDatabase
from tests.drill.test_recovery_scenarios import CORRUPTION, PASSPHRASE, execute, prepare, rows

RUNBOOKS = Path(__file__).resolve().parents[2] / "docs/runbooks"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^strongroom (.*)$", re.MULTILINE)
CUSTOMER = "md5('user12')::uuid"


def blocks(name: str) -> list[str]:
    """Return the blocks of commands of a runbook."""
    return BLOCK.findall((RUNBOOKS / name).read_text(encoding="utf-8"))


class Terminal:
    """A shell in a folder with a configuration, in which `strongroom` is the installed one."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self._folder = folder
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "STRONGROOM_KEYS_PASSPHRASE": PASSPHRASE,
            **variables,
        }

    def run(self, block: str) -> str:
        """Run a block as somebody types it, and return what it says."""
        done = subprocess.run(
            ["bash", "-euc", block],
            cwd=self._folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert 0 == done.returncode, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def find_run(self) -> str:
        """Return the id of the last recovery, as a person finds it in `recover status`."""
        return str(json.loads(self.run("strongroom recover status --json"))["earlier"][-1]["run"])


@pytest.fixture
def terminal(
    tmp_path: Path, quantforge: MakeDatabase, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> tuple[Terminal, Database]:
    """Open a terminal where a trading platform is backed up."""
    source = quantforge()
    prepare(tmp_path, source, monkeypatch, backup_max_backup_size="0")
    made = Terminal(tmp_path)
    made.run("strongroom backup")
    return made, source


@pytest.mark.parametrize("name", ["data-corruption.md", "partial-loss.md", "complete-failure.md"])
def test_there_is_something_to_run(name: str) -> None:
    """Each runbook has commands, and each of its commands exists."""
    from deployments.command_line import app

    found = [command for block in blocks(name) for command in COMMAND.findall(block)]
    assert len(found) >= 4
    for command in found:
        words = re.match(r"[a-z ]+", command)
        assert words is not None
        names = [word for word in words[0].split() if not word.endswith(("_corruption", "_loss", "_failure"))]
        known = (
            {entry.name for entry in app.registered_commands}
            | {
                (entry.callback.__name__.rstrip("_") if entry.callback else "")
                for entry in app.registered_commands
            }
            | {group.name for group in app.registered_groups}
        )
        assert names[0] in known


@pytest.mark.endurance
@pytest.mark.timeout(1200)
def test_the_runbook_of_wrong_rows(terminal: tuple[Terminal, Database]) -> None:
    """Followed from top to bottom, it gives back the rows; its last block takes the recovery back."""
    shell, source = terminal
    wanted = rows(source, "public.trades")
    shell.variables["LAST_GOOD"] = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    time.sleep(1)
    execute(source, *CORRUPTION)
    damaged = rows(source, "public.trades")
    *recovering, taking_back = blocks("data-corruption.md")
    for block in recovering:
        shell.run(block)
    assert wanted == rows(source, "public.trades")
    shell.variables["RUN"] = shell.find_run()
    shell.run(taking_back)
    assert damaged == rows(source, "public.trades")


@pytest.mark.endurance
@pytest.mark.timeout(1200)
def test_the_runbook_of_lost_rows(terminal: tuple[Terminal, Database]) -> None:
    """Followed from top to bottom, it gives the customer back; its last block takes the recovery back."""
    shell, source = terminal
    wanted = {table: rows(source, table) for table in ("auth.users", "public.profiles", "public.robots")}
    (customer,) = rows(source, f"SELECT {CUSTOMER}")
    shell.variables["CUSTOMER"] = customer.decode().strip()
    execute(
        source,
        "ALTER TABLE public.trades REPLICA IDENTITY DEFAULT",
        "DELETE FROM public.backtests WHERE robot_version_id IN (SELECT v.id FROM public.robot_versions v"
        f" JOIN public.robots r ON r.id = v.robot_id WHERE r.owner_id = {CUSTOMER})",
        f"DELETE FROM auth.users WHERE id = {CUSTOMER}",
        "ALTER TABLE public.trades REPLICA IDENTITY FULL",
    )
    lost = rows(source, "auth.users")
    assert wanted["auth.users"] != lost
    *recovering, taking_back = blocks("partial-loss.md")
    for block in recovering:
        shell.run(block)
    for table in ("auth.users", "public.profiles"):
        assert wanted[table] == rows(source, table)
    assert len(wanted["public.robots"]) == len(rows(source, "public.robots"))
    shell.variables["RUN"] = shell.find_run()
    shell.run(taking_back)
    assert lost == rows(source, "auth.users")


@pytest.mark.endurance
@pytest.mark.timeout(1200)
def test_the_runbook_of_a_dead_project(
    terminal: tuple[Terminal, Database], platform_database: MakeDatabase, tmp_path: Path
) -> None:
    """Followed from top to bottom, a new project has every row, and is backed up."""
    shell, source = terminal
    destination = platform_database()
    wanted = {table: rows(source, table) for table in ("auth.users", "public.robots", "public.trades")}
    file = tmp_path / "strongroom.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(source.name, "gone_for_good"), encoding="utf-8")
    assess, prepare_, recover_, *after = blocks("complete-failure.md")
    shell.variables["NEW_PROJECT"] = destination.dsn()
    shell.run(assess)
    shell.run(prepare_ + recover_)
    assert wanted == {table: rows(destination, table) for table in wanted}
    file.write_text(
        file.read_text(encoding="utf-8").replace("gone_for_good", destination.name), encoding="utf-8"
    )
    for block in after:
        shell.run(block)
    listed = json.loads(shell.run("strongroom list --json"))["backups"]
    assert "full" == listed[-1]["kind"]
