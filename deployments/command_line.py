"""The command line, `strongroom`: words in, one engine operation or one flow, a report out.

Every command takes `--config FILE`, `--json` for exactly one JSON document on standard output, and `--debug`.
Exit status 0: done; 1: failed, with a coded error and a hint; 2: the words could not be parsed. Prefect is
imported only by the commands that run a flow, so that the others start at once.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from deployments.drill_command_line import register_drill
from deployments.location_command_line import Backup, Config, Debug, Json, PassphraseFile, register
from deployments.recovery_command_line import register as register_recoveries
from strongroom.errors import CommandMisused
from strongroom.terminal import (
    DONE,
    MISUSED,
    TO_HELP,
    Answer,
    answering,
    check_backup_name,
    destination_variable,
    find_settings,
)

app = typer.Typer(
    name="strongroom",
    help="Back up a Supabase project, prove that the backup can be restored, and restore it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

KindWord = Literal["auto", "full", "differential", "incremental"]
LevelWord = Literal["structure", "content"]
OneLocation = Annotated[
    str, typer.Option("--location", metavar="NAME", help="One location; otherwise the nearest.")
]


def main() -> None:
    """Run the command line, and exit with its status."""
    try:
        status = app(standalone_mode=False)
    except _CLICK_ERROR as error:
        sys.exit(_misused(error))
    except typer.Abort:
        # Somebody ended a prompt.
        sys.exit(MISUSED)
    sys.exit(status or DONE)


# ------------------------------------------------------------------------------------------ commands


@app.command()
def init(
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
    source_name: Annotated[
        str | None,
        typer.Option("--source-name", help="What the source is called, if there is no configuration."),
    ] = None,
    location: Annotated[
        str | None,
        typer.Option("--location", help="Folder or URL for backups, if there is no configuration."),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Make the keys and the repository, and a configuration file if there is none."""

    def work(answer: Answer) -> None:
        from deployments.initialising import initialise

        _use_passphrase_file(passphrase_file)
        initialise(answer, config, source_name, location)

    return _run(work, as_json=as_json, debug=debug)


@app.command()
def check(
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
    location: Annotated[
        str | None,
        typer.Option(
            "--location",
            metavar="NAME",
            help="Try on this location everything that a store must promise, below a scratch prefix.",
        ),
    ] = None,
) -> int:
    """Ask the source, the keys and the locations whether a backup would work."""

    def work(answer: Answer) -> None:
        from deployments import looking

        settings = find_settings(config, os.environ)
        if location is None:
            looking.check_source(answer, settings)
        else:
            looking.check_location(answer, settings, location)

    return _run(work, as_json=as_json, debug=debug)


@app.command()
def backup(
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
    kind: Annotated[
        KindWord, typer.Option("--kind", help="What to read again; auto decides by age.")
    ] = "auto",
) -> int:
    """Take a backup and verify that it is stored."""

    def work(answer: Answer) -> None:
        from deployments.flow_commands import run_backup

        run_backup(answer, config, kind, debug=debug)

    return _run(work, as_json=as_json, debug=debug)


@app.command("list")
def list_(
    config: Config = None, as_json: Json = False, debug: Debug = False, location: OneLocation = ""
) -> int:
    """List all backups, newest last, and where they are."""

    def work(answer: Answer) -> None:
        from deployments.looking import list_backups

        list_backups(answer, find_settings(config, os.environ), location)

    return _run(work, as_json=as_json, debug=debug)


@app.command()
def show(
    backup: Annotated[
        str,
        typer.Argument(metavar="ID|latest|FILE", help="A backup from `strongroom list`, or a plan's file."),
    ],
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="The plan in this file, or the one of a complete failure from this backup."
        ),
    ] = False,
) -> int:
    """Show everything about one backup, or a recovery plan; the recovery key is not needed."""

    def work(answer: Answer) -> None:
        from deployments.looking import show_backup

        if plan:
            from deployments.recovery_commands import show_plan

            show_plan(answer, config, backup)
            return
        show_backup(answer, find_settings(config, os.environ), check_backup_name(backup))

    return _run(work, as_json=as_json, debug=debug)


@app.command()
def verify(
    backup: Backup = "latest",
    *,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
    level: Annotated[
        LevelWord, typer.Option("--level", help="structure: all bytes are right; content: all rows open too.")
    ] = "structure",
    location: OneLocation = "",
    passphrase_file: PassphraseFile = None,
) -> int:
    """Verify a stored backup; whatever cannot be proven is a failure."""

    def work(answer: Answer) -> None:
        from deployments.flow_commands import run_verify

        _use_passphrase_file(passphrase_file)
        run_verify(answer, config, check_backup_name(backup), level, location, debug=debug)

    return _run(work, as_json=as_json, debug=debug)


@app.command()
def restore(
    backup: Backup,
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
    to: Annotated[str | None, typer.Option("--to", metavar="DSN", help=TO_HELP, show_default=False)] = None,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Restore a backup into an empty database, and judge the result."""

    def work(answer: Answer) -> None:
        from deployments.flow_commands import run_restore

        _use_passphrase_file(passphrase_file)
        os.environ.update(destination_variable(to))
        run_restore(answer, config, check_backup_name(backup), debug=debug)

    return _run(work, as_json=as_json, debug=debug)


@app.command()
def serve(
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen at.")] = 4200,
) -> int:
    """Run Prefect's server and user interface here, with all schedules, until interrupted."""

    def work(answer: Answer) -> None:
        from deployments.flow_commands import run_serve

        run_serve(answer, config, host, port, debug=debug)

    return _run(work, as_json=as_json, debug=debug)


@app.command()
def demo(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Not read: the demo brings everything.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
    scale: Annotated[int, typer.Option("--scale", min=1, help="How much data; 1 is about 40 000 rows.")] = 4,
    locations: Annotated[
        bool, typer.Option("--locations", help="Keep copies at three locations, lose one and damage one.")
    ] = False,
    archive: Annotated[
        str,
        typer.Option(
            "--archive",
            metavar="URL",
            help="With three locations, an empty place in a bucket instead of a folder; emptied in the end.",
            show_default=False,
        ),
    ] = "",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the folder with repository, keys and reports.")
    ] = False,
) -> int:
    """Back up a trading platform, destroy it, get it back, and prove it equal. Needs nothing."""
    del config

    def work(answer: Answer) -> None:
        from deployments.demo import run_demo

        run_demo(answer, scale=scale, several=locations, archive=archive, keep=keep, debug=debug)

    return _run(work, as_json=as_json, debug=debug)


# ------------------------------------------------------------------------------------------ around them


_CLICK_ERROR: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""What Typer raises for words that it cannot parse; it brings its own copy of click, or not, by version."""


def _run(work: Callable[[Answer], None], *, as_json: bool, debug: bool) -> int:
    with answering(as_json=as_json, debug=debug) as answer:
        work(answer)
    return answer.status


def _misused(error: BaseException) -> int:
    """Say in our own form what Typer did not understand."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "strongroom"
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(context.get_help() + "\n" if context else "")
        return MISUSED
    problem = getattr(error, "format_message", lambda: str(error))()
    with answering(as_json="--json" in sys.argv, debug=False) as answer:
        answer.fail(CommandMisused(problem=problem, command=command))
    return answer.status


def _use_passphrase_file(file: Path | None) -> None:
    """Have the settings read the passphrase from this file; a passphrase that is set otherwise gives way."""
    if file is not None:
        os.environ.pop("STRONGROOM_RECOVERY_PASSPHRASE", None)
        os.environ["STRONGROOM_RECOVERY_PASSPHRASE_FILE"] = str(file.absolute())


register(app, _run, _use_passphrase_file)
register_recoveries(app, _run, _use_passphrase_file)
register_drill(app, _run, _use_passphrase_file)


if __name__ == "__main__":
    main()
