"""The commands that run flows: backup, verify, restore, serve. Prefect is imported from here on only."""

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from deployments.printing import (
    console_on,
    print_backup,
    print_findings,
    print_integrity,
    print_recovery,
    print_verification,
)
from deployments.running import prepare_prefect, run_flow
from deployments.watching import Watcher
from strongroom.config import DEFAULT_PATH, Settings
from strongroom.errors import IntegrityFailed, VerificationFailed
from strongroom.keys import RECOVERY_FILE
from strongroom.operations.messages import (
    BackupReport,
    IntegrityReport,
    Level,
    RecoveryReport,
    VerificationReport,
    WantedKind,
)
from strongroom.terminal import Answer, find_configuration, find_settings

ENVIRONMENT = "environment"
"""What a flow is given for its configuration where there is no file."""


def run_backup(answer: Answer, config: Path | None, kind: WantedKind, *, debug: bool) -> None:
    """Run the flow of a backup."""
    find_settings(config, os.environ).conninfo()
    prepare_prefect(debug=debug)

    def start() -> Coroutine[Any, Any, BackupReport]:
        from flows.backup import back_up

        return back_up(configuration=configuration_of(config), kind=kind)

    with Watcher("starting Prefect") as watcher:
        report = run_flow(start, watcher)
    if not answer.as_json:
        print_backup(console_on(answer.stream), report)
    answer.give(report)


def run_verify(
    answer: Answer, config: Path | None, backup: str, level: Level, location: str = "", *, debug: bool
) -> None:
    """Run the flow of a verification."""
    settings = find_settings(config, os.environ)
    if level == "content":
        _provide_passphrase(settings)
    prepare_prefect(debug=debug)

    def start() -> Coroutine[Any, Any, VerificationReport]:
        from flows.verify import verify

        return verify(configuration=configuration_of(config), backup=backup, level=level, location=location)

    with Watcher("starting Prefect") as watcher:
        try:
            report = run_flow(start, watcher)
        except VerificationFailed as error:
            found = watcher.last(VerificationReport)
            if found is not None:
                print_findings(console_on(sys.stderr), found.findings)
            answer.fail(error, found)
            return
    if not answer.as_json:
        print_verification(console_on(answer.stream), report)
    answer.give(report)


def run_restore(answer: Answer, config: Path | None, backup: str, *, debug: bool) -> None:
    """Run the flow of a recovery into the empty destination that the settings name."""
    settings = find_settings(config, os.environ)
    settings.destination_conninfo()
    _provide_passphrase(settings)
    prepare_prefect(debug=debug)

    async def start() -> RecoveryReport:
        from flows.recovery import recover, restored

        return restored(await recover(configuration=configuration_of(config), backup=backup))

    with Watcher("starting Prefect") as watcher:
        try:
            report = run_flow(start, watcher)
        except VerificationFailed as error:
            found = watcher.last(VerificationReport)
            if found is not None:
                print_findings(console_on(sys.stderr), found.findings)
            answer.fail(error, found)
            return
        except IntegrityFailed as error:
            judged = watcher.last(IntegrityReport)
            if judged is not None:
                print_integrity(console_on(sys.stderr), judged)
            answer.fail(error, judged)
            return
    if not answer.as_json:
        print_recovery(console_on(answer.stream), report)
    answer.give(report)


def run_serve(answer: Answer, config: Path | None, host: str, port: int, *, debug: bool) -> None:
    """Serve until interrupted."""
    find_settings(config, os.environ)
    prepare_prefect(debug=debug)
    from deployments.serving import serve

    # Its processes read the file again, so here the environment alone is not enough.
    serve(find_configuration(config) or DEFAULT_PATH, host, port)
    answer.give({"served": True})


def configuration_of(config: Path | None) -> str:
    """Return what a flow is given: the absolute path, because its process may work elsewhere."""
    path = find_configuration(config)
    return ENVIRONMENT if path is None else str(path.absolute())


def _provide_passphrase(settings: Settings) -> None:
    """Ask for the passphrase if recovery.pem is here and nothing else gives it; the flow reads it from there."""
    from deployments.initialising import with_passphrase

    if not (settings.keys.directory / RECOVERY_FILE).exists():
        return  # The flow says better what is missing.
    passphrase = with_passphrase(settings).keys.passphrase
    if settings.keys.passphrase is None and passphrase is not None:
        os.environ["STRONGROOM_RECOVERY_PASSPHRASE"] = passphrase.get_secret_value()
