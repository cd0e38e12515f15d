"""The commands on locations and keys: their words. What they do is `deployments.location_commands`.

`register` adds them to the command line, which brings the options that all commands share.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Protocol

import typer

from strongroom.terminal import Answer, check_backup_name, find_settings

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration file; strongroom.toml here if it is there.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on standard output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack of an error.")]
Backup = Annotated[str, typer.Argument(metavar="ID|latest", help="A backup from `strongroom list`.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", metavar="FILE", help="Holds the recovery passphrase.", show_default=False
    ),
]


class Runner(Protocol):
    """What carries a command out: with its answer, as JSON or not, with stacks or not; returns the status."""

    def __call__(self, work: Callable[[Answer], None], *, as_json: bool, debug: bool) -> int:
        """Run it."""
        ...


def register(app: typer.Typer, run: Runner, use_passphrase_file: Callable[[Path | None], None]) -> None:
    """Add the commands to the command line; `run` carries each of them out."""
    _register_copying(app, run)
    _register_retention(app, run)
    _register_keys(app, run, use_passphrase_file)


def _register_copying(app: typer.Typer, run: Runner) -> None:
    @app.command()
    def replicate(
        backup: Annotated[
            str,
            typer.Argument(metavar="[ID]", help="One backup; otherwise whatever the locations' rules want."),
        ] = "",
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Copy backups to the locations that should have them and do not."""

        def work(answer: Answer) -> None:
            from deployments.location_commands import run_replicate

            run_replicate(answer, config, check_backup_name(backup) if backup else "", debug=debug)

        return run(work, as_json=as_json, debug=debug)

    @app.command()
    def repair(
        location: Annotated[
            str, typer.Option("--location", metavar="NAME", help="One location; otherwise all.")
        ] = "",
        read_everything: Annotated[
            bool, typer.Option("--read-everything", help="Read and compare every object.")
        ] = False,
        dry_run: DryRun = False,
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Fetch what is missing or damaged at a location from another one."""

        def work(answer: Answer) -> None:
            from deployments.location_commands import run_repair

            run_repair(
                answer, config, location, read_everything=read_everything, dry_run=dry_run, debug=debug
            )

        return run(work, as_json=as_json, debug=debug)


def _register_retention(app: typer.Typer, run: Runner) -> None:
    @app.command()
    def expire(
        dry_run: DryRun = False,
        accept: Annotated[
            list[str] | None,
            typer.Option(
                "--accept", metavar="ID", help="A backup whose numbers were meant: the damage guard lets go."
            ),
        ] = None,
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Expire what no rule keeps, and free its bytes after the grace period."""

        def work(answer: Answer) -> None:
            from deployments.location_commands import run_expire

            named = [check_backup_name(backup) for backup in accept or []]
            run_expire(answer, config, named, dry_run=dry_run, debug=debug)

        return run(work, as_json=as_json, debug=debug)

    @app.command()
    def hold(
        backup: Backup,
        until: Annotated[
            str | None, typer.Option("--until", metavar="DATE", help="The last day; otherwise for good.")
        ] = None,
        reason: Annotated[str, typer.Option("--reason", help="Why, for those who read it later.")] = "",
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Keep a backup whatever the policy says."""

        def work(answer: Answer) -> None:
            from deployments import location_commands

            settings = find_settings(config, os.environ)
            location_commands.hold(answer, settings, check_backup_name(backup), until, reason)

        return run(work, as_json=as_json, debug=debug)

    @app.command()
    def release(backup: Backup, config: Config = None, as_json: Json = False, debug: Debug = False) -> int:
        """Let the policy decide about a held backup again."""

        def work(answer: Answer) -> None:
            from deployments import location_commands

            location_commands.release(answer, find_settings(config, os.environ), check_backup_name(backup))

        return run(work, as_json=as_json, debug=debug)


def _register_keys(app: typer.Typer, run: Runner, use_passphrase_file: Callable[[Path | None], None]) -> None:
    keys = typer.Typer(help="List and rotate recovery keys.", no_args_is_help=True)
    app.add_typer(keys, name="keys")

    @keys.command("list")
    def list_keys(config: Config = None, as_json: Json = False, debug: Debug = False) -> int:
        """List the recovery keys, and how many data keys are sealed to each."""

        def work(answer: Answer) -> None:
            from deployments import location_commands

            location_commands.list_keys(answer, find_settings(config, os.environ))

        return run(work, as_json=as_json, debug=debug)

    @keys.command("rotate")
    def rotate_keys(
        *,
        to: Annotated[
            list[str] | None,
            typer.Option(
                "--to", metavar="KEY", help="A public key, by file or id; otherwise those of the directory."
            ),
        ] = None,
        new: Annotated[
            str | None,
            typer.Option("--new", metavar="NAME", help="Make a new recovery key of this name first."),
        ] = None,
        retire: Annotated[
            bool, typer.Option("--retire", help="The old recovery keys stop opening anything.")
        ] = False,
        passphrase_file: PassphraseFile = None,
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Seal every data key to other recovery keys; no row is touched."""

        def work(answer: Answer) -> None:
            from deployments import location_commands

            use_passphrase_file(passphrase_file)
            settings = find_settings(config, os.environ)
            location_commands.rotate_keys(answer, settings, to or [], new, retire=retire)

        return run(work, as_json=as_json, debug=debug)
