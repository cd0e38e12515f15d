"""A Prefect server for the session, and sources whose engine is `tests.flows.fake_backup`."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from tests.flows import fake_backup


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run Prefect's test server with an empty database, and with results in a folder of its own."""
    results = {PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results")}
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(results):
        yield


@dataclass(frozen=True)
class FakeSource:
    """A configuration file whose repository is a folder with the script and the marks of fake operations."""

    folder: Path
    configuration: str

    def script(self, **words: str) -> None:
        """Say what operations do."""
        (self.folder / "script.json").write_text(json.dumps(words))

    def calls(self) -> list[str]:
        """Return the operations in the order in which they began."""
        return fake_backup.calls(self.folder)

    def wait_for(self, operation: str, count: int = 1, seconds: float = 60) -> None:
        """Wait until an operation has begun so many times."""
        end = time.monotonic() + seconds
        while self.calls().count(operation) < count and time.monotonic() < end:
            time.sleep(0.05)
        assert self.calls().count(operation) >= count

    def left(self, seconds: float = 8) -> list[int]:
        """Return the processes that still run after at most so many seconds."""
        end = time.monotonic() + seconds
        while True:
            running = [pid for pid in fake_backup.pids(self.folder) if pid != os.getpid() and _runs(pid)]
            if not running or time.monotonic() > end:
                return running
            time.sleep(0.05)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None) -> Iterator[FakeSource]:
    """Make a source whose operations are fakes; no process of it may be left at the end of the test."""
    monkeypatch.setattr("tasks.work.OPERATIONS", fake_backup.ROOM)
    folder = tmp_path / "repository"
    folder.mkdir()
    made = FakeSource(folder, str(write_configuration(tmp_path, folder)))
    yield made
    left = made.left()
    for pid in left:
        psutil.Process(pid).kill()
    assert left == []


def write_configuration(
    where: Path,
    repository: Path,
    address: str = "postgresql://postgres:hunter2secret@db/x",
    others: Mapping[str, str] = MappingProxyType({}),
    **limits: str,
) -> Path:
    """Write a configuration file, with settings such as `backup_max_backup_duration="1 s"`.

    `others` are further locations, name -> more of its entry; the role is the name's.
    """
    places = [f'{{ name = "local", role = "local", url = "file://{repository}" }}']
    places += [
        f'{{ name = "{name}", role = "{name}", url = "file://{where / name}"{more} }}'
        for name, more in others.items()
    ]
    lines = ["[source]", 'name = "quantforge"', f'database_url = "{address}"']
    lines += ["[keys]", f'directory = "{where / "keys"}"']
    for section in ("repository", "backup", "recovery", "verification", "retention"):
        own = {k.removeprefix(f"{section}_"): v for k, v in limits.items() if k.startswith(f"{section}_")}
        lines += [f"[{section}]", *(f'{key} = "{value}"' for key, value in own.items())]
        if section == "repository":
            lines.append(f"locations = [{', '.join(places)}]")
        if section == "backup" and "retry_delay" not in own:
            lines.append("retry_delay = 0")
    path = where / "strongroom.toml"
    path.write_text("\n".join(lines))
    return path


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
