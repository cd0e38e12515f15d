"""Running a flow in this process: Prefect's server found or started, its noise turned down, cancelling it.

With PREFECT_API_URL (or a Prefect profile that has one) the run is recorded there; otherwise Prefect starts a
temporary server for the time of the command.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from deployments.watching import Watcher
from strongroom.errors import OrchestratorUnavailable

Value = TypeVar("Value")

TELEMETRY_OFF = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "False",
}

_QUIET = {
    # What a flow logs still reaches its server. On the terminal we speak ourselves.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}

_TEMPORARY_SERVER = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    # A first start makes its database, which takes 10 seconds and more on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}

_HEALTH_SECONDS = 10.0


def prepare_prefect(*, debug: bool) -> None:
    """Set what Prefect reads when it is imported; what the user has set stays."""
    for name, value in {**TELEMETRY_OFF, **_TEMPORARY_SERVER, **({} if debug else _QUIET)}.items():
        os.environ.setdefault(name, value)


def run_flow(start: Callable[[], Coroutine[Any, Any, Value]], watcher: Watcher) -> Value:
    """Run the flow that `start` begins, with the watcher looking on; raise what the flow raises.

    `start` is called once Prefect is ready, and imports the flow. Raises `OrchestratorUnavailable`.
    """
    from prefect.exceptions import TerminationSignal

    require_server()
    try:
        return asyncio.run(_watched(start, watcher))
    except (TerminationSignal, asyncio.CancelledError) as error:
        # While a flow runs, Prefect takes SIGTERM itself and makes this of it.
        raise KeyboardInterrupt from error


def pages_address() -> str:
    """Return where Prefect's pages are while a flow runs: those of its server, or of the temporary one."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    api = settings.api.url or SubprocessASGIServer().api_url
    return settings.ui_url or str(api).removesuffix("/").removesuffix("/api")


def stop_temporary_server() -> None:
    """Stop the server that `run_flow` has started, if it has; the end of the process stops it too."""
    if "prefect.server.api.server" in sys.modules:
        from prefect.server.api.server import SubprocessASGIServer

        # What was logged is sent in batches, and the last one needs the server.
        for outlet in logging.getLogger("prefect.flow_runs").handlers:
            outlet.flush()
        SubprocessASGIServer().stop()


async def _watched(start: Callable[[], Coroutine[Any, Any, Value]], watcher: Watcher) -> Value:
    from tasks.work import onlooker

    onlooker.set(watcher)
    return await start()


def require_server() -> None:
    """See that Prefect's server answers, or start a temporary one. Raises `OrchestratorUnavailable`."""
    import httpx
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    address = get_current_settings().api.url
    if address is None:
        try:
            SubprocessASGIServer().start()
        except RuntimeError as error:
            raise OrchestratorUnavailable(address="a temporary one on this machine") from error
        return
    try:
        httpx.get(f"{address}/health", timeout=_HEALTH_SECONDS)
    except httpx.HTTPError as error:
        host = httpx.URL(address).host
        raise OrchestratorUnavailable(address=host) from error
