"""What `strongroom serve` runs: Prefect's server with its pages, and beside it the process that runs flows.

    serve(Path("strongroom.toml"), host="127.0.0.1", port=4200, home=Path("~/.local/state/strongroom/prefect"))

One tree of processes: this one starts the server and the runner (`python -m deployments.serving FILE`), and
ends both, flows first. With `PREFECT_API_URL` set there is a server already, and only the runner is started.
The server keeps its state in a SQLite file in `home`; for more than one machine run it on a Postgres of its
own, never on the one that is backed up.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from strongroom.config import Settings, load_settings
from strongroom.errors import ServerNotStarted

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.deployments.runner import RunnerDeployment

HOME = Path("~/.local/state/strongroom/prefect")
"""Where the server keeps its state unless told otherwise."""

_START_SECONDS = 120.0
_FLOWS_SECONDS = 30.0
"""How long running flows may take to cancel their work."""
_SERVER_SECONDS = 10.0

PREFECT_SETTINGS: Mapping[str, str] = {
    # Nothing is told to anyone.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # In memory, a restart of the server would crash running flows of deployments with a limit.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # Task states are written in batches: a third of the server's time.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}


def serve(configuration: Path, host: str = "127.0.0.1", port: int = 4200, *, home: Path = HOME) -> None:
    """Serve until SIGTERM or SIGINT; then end running flows, the runner and the server.

    Raises `ServerNotStarted`, and what loading the configuration raises.
    """
    load_settings(configuration, os.environ)
    environment = _environment(host, port, home.expanduser())
    with _stopping() as stop, ExitStack() as stack:
        if "PREFECT_API_URL" not in os.environ:
            server = stack.enter_context(_running(_server_command(host, port), environment, _SERVER_SECONDS))
            _wait_for_server(server, environment["PREFECT_API_URL"], stop)
        command = [sys.executable, "-m", "deployments.serving", str(configuration.absolute())]
        runner = stack.enter_context(_running(command, environment, _FLOWS_SECONDS))
        while not stop and runner.poll() is None:
            time.sleep(0.2)


def deployments(settings: Settings, configuration: str) -> "list[RunnerDeployment]":
    """Describe what is deployed: when, with which parameters, and never twice at the same time."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.types.entrypoint import EntrypointType

    from flows.backup import back_up
    from flows.drill import rehearse
    from flows.recovery import recover, roll_back
    from flows.repair import mend
    from flows.replication import copy_backups
    from flows.retention import clean_up
    from flows.verify import verify

    # After a downtime all late runs start at once: one is enough.
    once = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    module = EntrypointType.MODULE_PATH
    every = timedelta(seconds=settings.backup.schedule_interval)
    schedules: tuple[tuple[Flow[..., Any], str, timedelta | None, dict[str, Any]], ...] = (
        (back_up, "backup", every, {"kind": "auto"}),
        (verify, "verify", timedelta(seconds=settings.verification.interval), {}),
        (clean_up, "retention", timedelta(days=1), {"dry_run": False}),
        (copy_backups, "replication", None, {}),
        (mend, "repair", None, {"dry_run": False}),
        (recover, "recovery", None, {"backup": ""}),
        (roll_back, "rollback", None, {}),
        (rehearse, "drill", timedelta(days=30), {"mutation": True}),
    )
    described = [
        flow.to_deployment(
            name=name,
            interval=interval,
            parameters={"configuration": configuration, **parameters},
            tags=["strongroom"],
            concurrency_limit=once,
            entrypoint_type=module,
        )
        for flow, name, interval, parameters in schedules
    ]
    # Within an event loop these would be awaitables; there is none here.
    return [one for one in described if isinstance(one, RunnerDeployment)]


def run_flows(configuration: Path) -> None:
    """Register the blocks and the deployments, and run flows until told to stop. The runner's process."""
    import prefect

    import blocks

    for kind in blocks.ALL:
        kind.register_type_and_schema()
    described = deployments(load_settings(configuration, os.environ), str(configuration))
    prefect.serve(*described, print_starting_message=False)


# ---------------------------------------------------------------- processes


@contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block; end it with SIGTERM, and after so many seconds with SIGKILL."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509  (this process has no threads)
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _die_with_parent() -> None:
    """Have Linux end the process when this one is killed. Runs in the child, before its program."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGTERM))


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT in the list that is given to the block."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _wait_for_server(server: subprocess.Popen[bytes], api: str, stop: list[int]) -> None:
    end = time.monotonic() + _START_SECONDS
    while not stop:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"{api}/health", timeout=2).close()  # noqa: S310  (our own http address)
            return
        if server.poll() is not None:
            raise ServerNotStarted(address=api, reason=f"it ended with status {server.returncode}")
        if time.monotonic() > end:
            raise ServerNotStarted(address=api, reason=f"it did not answer within {_START_SECONDS:g} s")
        time.sleep(0.2)


def _server_command(host: str, port: int) -> list[str]:
    return [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]


# ---------------------------------------------------------------- settings of Prefect


def _environment(host: str, port: int, home: Path) -> dict[str, str]:
    """Return the environment of both processes; what somebody has set already stays."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    reachable = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  (compared, not bound)
    ours = {
        **PREFECT_SETTINGS,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://{reachable}:{port}/api",
        "PREFECT_SERVER_ENCRYPTION_KEY": _encryption_key(home / "blocks.key"),
        # One sys.path for the runner and the flows that it starts.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    return {**ours, **os.environ, "PYTHONPATH": ours["PYTHONPATH"]}


def _encryption_key(path: Path) -> str:
    """Return the key for the secrets of blocks, made at first: by default it would lie beside them."""
    from cryptography.fernet import Fernet

    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
    return path.read_text(encoding="ascii")


if __name__ == "__main__":
    run_flows(Path(sys.argv[1]))
