"""The commands of recoveries, `strongroom recover …`: their words. What they do is `deployments.recovery_commands`.

`register` adds them to the command line, which brings the options that all commands share.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from deployments.location_command_line import Config, Debug, Json, PassphraseFile, Runner
from strongroom.terminal import TO_HELP, Answer, find_settings

StrategyWord = Literal["exact", "merge_missing", "merge_overwrite", "empty"]
RollbackWord = Literal["immediate", "graceful", "manual"]

Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        metavar="TABLE",
        help="A table, as public.trades or 'public.trades where CONDITION'. May repeat.",
    ),
]
Wheres = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Which rows: SQL over the table's columns. The first belongs to the first --table, and so on; a single "
        "one holds for every table.",
    ),
]
Schemas = Annotated[
    list[str] | None, typer.Option("--schema", metavar="SCHEMA", help="All tables of a schema. May repeat.")
]
At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="TIME",
        help="The last recovery point at or before this instant, such as 2026-11-23T03:45Z; UTC without a zone.",
    ),
]
FromBackup = Annotated[
    str, typer.Option("--backup", metavar="ID|latest", help="This backup; otherwise the newest proven one.")
]
Strategies = Annotated[
    StrategyWord | None,
    typer.Option(
        "--strategy",
        help="exact: live becomes the backup; merge_missing: rows that are gone come back; merge_overwrite: "
        "changed ones too.",
        show_default=False,
    ),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="DSN", help=f"Only for complete_failure. {TO_HELP}", show_default=False),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Take a recovery point that is unproven or too old; it is written down."),
]
SkipVerification = Annotated[
    bool, typer.Option("--skip-verification", help="Do not verify the backup first; it is written down.")
]
NoEmergencyBackup = Annotated[
    bool, typer.Option("--no-emergency-backup", help="Leave yourself no way back; only with --force.")
]
NoRollback = Annotated[
    bool, typer.Option("--no-rollback", help="Leave live as it is if something fails after the commit.")
]
RollbackStrategies = Annotated[
    RollbackWord | None,
    typer.Option(
        "--rollback-strategy",
        help="immediate; graceful: after all checks were made; manual: ask. Otherwise what the settings say.",
        show_default=False,
    ),
]


def register(app: typer.Typer, run: Runner, use_passphrase_file: Callable[[Path | None], None]) -> None:
    """Add the commands to the command line; `run` carries each of them out."""
    recover = typer.Typer(
        help="Plan a recovery, carry it out, look at it, undo it.",
        no_args_is_help=True,
    )
    app.add_typer(recover, name="recover")
    _register_plan(recover, run, use_passphrase_file)
    _register_run(recover, run, use_passphrase_file)
    _register_others(recover, run, use_passphrase_file)


def _register_plan(
    recover: typer.Typer, run: Runner, use_passphrase_file: Callable[[Path | None], None]
) -> None:
    @recover.command("plan")
    def plan_(  # noqa: PLR0913  (each option of a command is an argument: Typer reads them)
        scenario: Annotated[
            str,
            typer.Argument(
                metavar="SCENARIO", help="data_corruption, complete_failure, partial_loss or custom."
            ),
        ],
        *,
        table: Tables = None,
        where: Wheres = None,
        schema: Schemas = None,
        at: At = "",
        backup: FromBackup = "",
        strategy: Strategies = None,
        to: To = None,
        force: Force = False,
        skip_verification: SkipVerification = False,
        no_emergency_backup: NoEmergencyBackup = False,
        no_rollback: NoRollback = False,
        rollback_strategy: RollbackStrategies = None,
        out: Annotated[
            Path | None,
            typer.Option("--out", metavar="FILE", help="Keep the plan in a file.", show_default=False),
        ] = None,
        preview: Annotated[
            bool, typer.Option("--preview", help="Show which rows would change; no live row is touched.")
        ] = False,
        passphrase_file: PassphraseFile = None,
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Plan a recovery: recovery point, steps, times, risks. Changes nothing."""

        def work(answer: Answer) -> None:
            from deployments import recovery_commands
            from deployments.recovery_words import Asked

            asked = Asked(
                scenario=scenario,
                tables=tuple(table or ()),
                wheres=tuple(where or ()),
                schemas=tuple(schema or ()),
                at=at,
                backup=backup,
                strategy=strategy,
                force=force,
                skip_verification=skip_verification,
                no_emergency_backup=no_emergency_backup,
                no_rollback=no_rollback,
                rollback_strategy=rollback_strategy,
            )
            use_passphrase_file(passphrase_file)
            recovery_commands.plan(answer, config, asked, to=to, out=out, with_preview=preview)

        return run(work, as_json=as_json, debug=debug)


def _register_run(
    recover: typer.Typer, run: Runner, use_passphrase_file: Callable[[Path | None], None]
) -> None:
    @recover.command("run")
    def run_(  # noqa: PLR0913  (each option of a command is an argument: Typer reads them)
        what: Annotated[
            str,
            typer.Argument(
                metavar="[PLAN.json|SCENARIO]",
                help="The file of a plan (- for standard input) or a scenario; otherwise whatever was cut off.",
                show_default=False,
            ),
        ] = "",
        *,
        table: Tables = None,
        where: Wheres = None,
        schema: Schemas = None,
        at: At = "",
        backup: FromBackup = "",
        strategy: Strategies = None,
        to: To = None,
        approve: Annotated[
            bool, typer.Option("--approve", help="Wait until somebody approves the plan in Prefect.")
        ] = False,
        force: Force = False,
        skip_verification: SkipVerification = False,
        no_emergency_backup: NoEmergencyBackup = False,
        no_rollback: NoRollback = False,
        rollback_strategy: RollbackStrategies = None,
        passphrase_file: PassphraseFile = None,
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Carry a recovery out, or go on with the one that was cut off."""

        def work(answer: Answer) -> None:
            from deployments import recovery_commands
            from deployments.recovery_words import Asked

            asked = Asked(
                scenario=what,
                tables=tuple(table or ()),
                wheres=tuple(where or ()),
                schemas=tuple(schema or ()),
                at=at,
                backup=backup,
                strategy=strategy,
                force=force,
                skip_verification=skip_verification,
                no_emergency_backup=no_emergency_backup,
                no_rollback=no_rollback,
                rollback_strategy=rollback_strategy,
                subcommand="run",
            )
            use_passphrase_file(passphrase_file)
            recovery_commands.run(answer, config, asked, to=to, approve=approve, debug=debug)

        return run(work, as_json=as_json, debug=debug)


def _register_others(
    recover: typer.Typer, run: Runner, use_passphrase_file: Callable[[Path | None], None]
) -> None:
    @recover.command()
    def status(config: Config = None, as_json: Json = False, debug: Debug = False) -> int:
        """Tell which recovery is under way, and how earlier ones ended."""

        def work(answer: Answer) -> None:
            from deployments import recovery_commands

            recovery_commands.status(answer, find_settings(config, os.environ))

        return run(work, as_json=as_json, debug=debug)

    @recover.command()
    def rollback(
        run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run from `strongroom recover status`.")],
        *,
        passphrase_file: PassphraseFile = None,
        config: Config = None,
        as_json: Json = False,
        debug: Debug = False,
    ) -> int:
        """Give back what a recovery has changed, from its emergency backup."""

        def work(answer: Answer) -> None:
            from deployments import recovery_commands

            use_passphrase_file(passphrase_file)
            recovery_commands.roll_back(answer, config, run_id, debug=debug)

        return run(work, as_json=as_json, debug=debug)

    @recover.command()
    def clean(config: Config = None, as_json: Json = False, debug: Debug = False) -> int:
        """Remove what a recovery that was cut off has left in the live database."""

        def work(answer: Answer) -> None:
            from deployments import recovery_commands

            recovery_commands.clean(answer, find_settings(config, os.environ))

        return run(work, as_json=as_json, debug=debug)
