"""`strongroom serve`: a real server, a backup triggered through its deployment, and a clean end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.flows import Flow, load_flow_from_entrypoint

from deployments.serving import deployments
from strongroom.config import load_settings
from strongroom.deadline import Deadline
from strongroom.operations.context import Context
from strongroom.operations.init_repository import init_repository
from strongroom.operations.messages import InitRepository
from tests.conftest import MakeDatabase
from tests.flows.conftest import write_configuration

ROOT = Path(__file__).parents[2]


@pytest.fixture
def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Served:
    """What is being served: the address of the API, the process, the address of the source."""

    api: str
    process: subprocess.Popen[bytes]
    address: str


@pytest.fixture
def served(tmp_path: Path, quantforge: MakeDatabase, free_port: int) -> Iterator[Served]:
    """Serve a source with a repository."""
    address = quantforge().dsn()
    configuration = write_configuration(tmp_path, tmp_path / "repository", address)
    settings = load_settings(configuration, {"STRONGROOM_KEYS_PASSPHRASE": "open sesame"})
    init_repository(settings, InitRepository(), Context(deadline=Deadline.after(60, "test")))
    program = (
        "import sys; from pathlib import Path; from deployments.serving import serve;"
        " serve(Path(sys.argv[1]), port=int(sys.argv[2]), home=Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", program, str(configuration), str(free_port), str(tmp_path / "home")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield Served(f"http://127.0.0.1:{free_port}/api", process, address)
        finally:
            process.terminate()
            process.wait(60)
            sys.stderr.write((tmp_path / "log").read_text()[-6000:])


def waiting_sessions(address: str) -> int:
    """Count the sessions of the engine that wait for a lock in the server."""
    with psycopg.connect(address) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name LIKE 'strongroom%' AND wait_event_type = 'Lock'"
        ).fetchone()
    return row[0] if row else -1


def wait_for(ask: Any, seconds: float) -> Any:
    """Ask until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if answer := ask():
                return answer
        except (httpx.HTTPError, KeyError):
            pass
        time.sleep(0.3)
    raise TimeoutError


def test_a_backup_is_triggered_through_its_deployment(served: Served, tmp_path: Path) -> None:
    """The server comes up with pages, blocks and deployments; a triggered backup completes; SIGTERM ends all."""
    with httpx.Client(base_url=served.api, timeout=10) as client:

        def find(name: str) -> Any:
            found = client.get(f"/deployments/name/{name}")
            return found.json() if found.status_code == 200 else None

        backup = wait_for(lambda: find("backup/backup"), 120)
        verify = wait_for(lambda: find("verify/verify"), 30)
        retention = wait_for(lambda: find("retention/retention"), 30)
        intervals = [made["schedules"][0]["schedule"]["interval"] for made in (backup, verify, retention)]
        assert intervals == [21600, 7200, 86400]
        on_demand = ("replication", "repair", "recovery", "rollback")
        for name in on_demand:
            assert [] == wait_for(lambda name=name: find(f"{name}/{name}"), 30)["schedules"]
        assert backup["entrypoint"] == "flows.backup.back_up"
        form = backup["parameter_openapi_schema"]["properties"]
        assert form["kind"]["enum"] == ["auto", "full", "differential", "incremental"]
        assert "Settings block" in form["configuration"]["description"]
        assert client.get("/block_types/slug/strongroom-settings").status_code == 200
        assert "<html" in httpx.get(served.api.removesuffix("/api"), follow_redirects=True).text

        def start(**parameters: str) -> str:
            # While the runner still registers what it serves, SQLite may refuse a write: it is asked again.
            made = client.post(
                f"/deployments/{backup['id']}/create_flow_run", json={"parameters": parameters}
            ).json()
            return str(made["id"])

        path = f"/flow_runs/{wait_for(lambda: start(kind='full'), 60)}"

        def ended() -> Any:
            state = client.get(path).json()["state"]
            return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

        state = wait_for(ended, 120)
        assert state["type"] == "COMPLETED", state
        assert client.get(path).json()["name"].startswith("full backup of quantforge, ")
        assert len(list((tmp_path / "repository" / "manifests").iterdir())) >= 1
        assert ((tmp_path / "home" / "blocks.key").stat().st_mode & 0o777) == 0o600
        with psycopg.connect(served.address) as blocker:
            # A backup that waits for a lock is still running when everything is told to end.
            blocker.execute("LOCK TABLE public.trades IN ACCESS EXCLUSIVE MODE")
            wait_for(start, 60)
            wait_for(lambda: waiting_sessions(served.address) > 0, 60)
            below = psutil.Process(served.process.pid).children(recursive=True)
            assert len(below) > 3
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(60) == 0
            assert [child for child in below if runs(child)] == []
            assert waiting_sessions(served.address) == 0


def runs(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that is dead and not yet waited for by its new parent does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_file_for_work_pools_says_the_same(tmp_path: Path) -> None:
    """prefect.yaml names flows that exist, with parameters that they have, on the schedules of the defaults."""
    configuration = write_configuration(tmp_path, tmp_path)
    ours = {made.name: made for made in deployments(load_settings(configuration, {}), "strongroom.toml")}
    file = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())["deployments"]
    assert [entry["name"] for entry in file] == list(ours)
    for entry in file:
        made = ours[entry["name"]]
        flow: Flow[..., object] = load_flow_from_entrypoint(entry["entrypoint"])
        assert made.entrypoint == entry["entrypoint"]
        flow.validate_parameters(entry["parameters"])
        intervals = [
            schedule.schedule.interval.total_seconds()
            for schedule in made.schedules or []
            if isinstance(schedule.schedule, IntervalSchedule)
        ]
        assert [schedule["interval"] for schedule in entry.get("schedules", [])] == intervals
