"""The command `drill`: its words. What it does is `deployments.drill_commands`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from deployments.location_command_line import Config, Debug, Json, PassphraseFile, Runner
from strongroom.errors import CommandMisused
from strongroom.terminal import Answer, check_backup_name, destination_variable, find_settings

_TO_HELP = (
    "The empty database to drill into; otherwise a throw-away server on this machine. - reads the address from "
    "standard input, so that no password is in an argument."
)


def register_drill(app: typer.Typer, run: Runner, use_passphrase_file: Callable[[Path | None], None]) -> None:
    """Add the command to the command line; `run` carries it out."""

    @app.command()
    def drill(
        *,
        backup: Annotated[
            str,
            typer.Option("--backup", metavar="ID", help="Otherwise the one that a recovery would choose."),
        ] = "",
        mutation: Annotated[
            bool,
            typer.Option("--mutation", help="Also damage copies, and prove that each damage is noticed."),
        ] = False,
        to: Annotated[
            str | None, typer.Option("--to", metavar="DSN", help=_TO_HELP, show_default=False)
        ] = None,
        listing: Annotated[
            bool, typer.Option("--list", help="List the drills whose evidence is stored, and drill nothing.")
        ] = False,
        passphrase_file: PassphraseFile = None,
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Rehearse a recovery, measure it, and keep signed evidence."""

        def work(answer: Answer) -> None:
            from deployments import drill_commands

            if listing:
                drill_commands.list_drills(answer, find_settings(config, os.environ))
                return
            if mutation and to is not None:
                problem = (
                    "--mutation damages what was restored, and only in a server of its own: leave out --to."
                )
                raise CommandMisused(problem=problem, command="strongroom drill")
            use_passphrase_file(passphrase_file)
            os.environ.update(destination_variable(to))
            drill_commands.run_drill(
                answer,
                config,
                check_backup_name(backup) if backup else "",
                mutation=mutation,
                into_own_server=to is None,
                debug=debug,
            )

        return run(work, as_json=as_json, debug=debug)
