"""Running Strongroom's command lines as a user does: a process, its words, its exit status, its output.

commands = Commands.make(folder, dsn)
assert 0 == commands.run("list").status

Whatever is run, nothing that is secret may be in its output: `run` sees to it every time.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.environment import TELEMETRY_OFF

PASSPHRASE = "tulip-gravel-9-passphrase"
ORCHESTRATED = ("deployments.command_line",)
BREAK_GLASS = ("strongroom",)

_CONFIGURATION = """\
[source]
name = "quantforge"
[repository]
locations = [{{ name = "local", role = "local", url = "{url}" }}]
[keys]
directory = "keys"
[backup]
max_backup_size = 0
max_retries = 0
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    status: int
    out: str
    err: str

    def document(self) -> Any:
        """Return the one JSON document that standard output consists of."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Commands:
    """A folder with a configuration, and the environment in which commands run there."""

    folder: Path
    environment: dict[str, str]
    secrets: tuple[str, ...] = (PASSPHRASE,)
    program: tuple[str, ...] = field(default=ORCHESTRATED)

    @classmethod
    def make(cls, folder: Path, dsn: str, *secrets: str) -> "Commands":
        """Write a configuration; keys and repository are for `init` to make."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "strongroom.toml").write_text(_CONFIGURATION.format(url=(folder / "repository").as_uri()))
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("STRONGROOM_", "PREFECT_", "PG"))
        } | {
            "HOME": str(folder),
            "PREFECT_HOME": str(folder / "prefect"),
            "STRONGROOM_DATABASE_URL": dsn,
            "STRONGROOM_RECOVERY_PASSPHRASE": PASSPHRASE,
            **TELEMETRY_OFF,
        }
        return cls(folder, environment, (PASSPHRASE, *secrets))

    def with_variables(self, **variables: str) -> "Commands":
        """Return the same with other variables."""
        return replace(self, environment=self.environment | variables)

    def without(self, *names: str) -> "Commands":
        """Return the same with fewer variables."""
        left = {name: value for name, value in self.environment.items() if name not in names}
        return replace(self, environment=left)

    def breaking_glass(self) -> "Commands":
        """Return the same through `python -m strongroom`."""
        return replace(self, program=BREAK_GLASS)

    def run(self, *words: str, given: str = "") -> Outcome:
        """Run one command to its end, and see that it gives no secret away."""
        done = subprocess.run(
            [sys.executable, "-m", *self.program, *words],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        for secret in self.secrets:
            assert secret not in done.stdout + done.stderr, f"{words} gave a secret away"
        return Outcome(done.returncode, done.stdout, done.stderr)
