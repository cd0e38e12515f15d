"""The command `init`: keys, repository, and a configuration file if there is none."""

import getpass
import os
import sys
from pathlib import Path

from pydantic import SecretStr

from deployments.first_configuration import location_url, write_configuration
from deployments.printing import console_on, print_init
from strongroom.config import DEFAULT_PATH, Settings, load_settings
from strongroom.deadline import Deadline
from strongroom.errors import CommandMisused, EmptyPassphrase, PassphraseMissing, PassphrasesDiffer
from strongroom.operations.context import Context
from strongroom.operations.init_repository import has_key_files, init_repository
from strongroom.operations.messages import InitRepository
from strongroom.terminal import Answer


def initialise(answer: Answer, config: Path | None, source_name: str | None, location: str | None) -> None:
    """Make everything that is not there; overwrite nothing."""
    path = config or DEFAULT_PATH
    is_new = not path.exists()
    if not is_new and (source_name or location):
        problem = f"There is a configuration, {path}: --source-name and --location are for a new one."
        raise CommandMisused(problem=problem, command="strongroom init")
    settings = load_settings(None if is_new else path, _environment(source_name, location))
    if not has_key_files(settings):
        settings = with_passphrase(settings, twice=True)
    if is_new:
        write_configuration(
            path,
            source=settings.source.name,
            location=settings.repository.locations[0].url,
            keys=settings.keys.directory,
        )
    try:
        report = init_repository(settings, InitRepository(), Context(Deadline.never()))
    except BaseException:
        if is_new:
            path.unlink(missing_ok=True)
        raise
    if not answer.as_json:
        console = console_on(answer.stream)
        print_init(console, report)
        if is_new:
            console.print(f"Wrote {path}; the database's address belongs in STRONGROOM_DATABASE_URL.")
    answer.give(report)


def with_passphrase(settings: Settings, *, twice: bool = False) -> Settings:
    """Return settings that can give the passphrase, asking for it at the terminal if they cannot yet.

    Raises `PassphraseMissing`, `EmptyPassphrase`, `PassphrasesDiffer`.
    """
    if settings.keys.passphrase is not None or settings.keys.passphrase_file is not None:
        return settings
    if not sys.stdin.isatty():
        raise PassphraseMissing
    passphrase = getpass.getpass("Passphrase of the recovery key: ")
    if not passphrase:
        raise EmptyPassphrase
    if twice and getpass.getpass("The same again: ") != passphrase:
        raise PassphrasesDiffer
    keys = settings.keys.model_copy(update={"passphrase": SecretStr(passphrase)})
    return settings.model_copy(update={"keys": keys})


def _environment(source_name: str | None, location: str | None) -> dict[str, str]:
    given = {}
    if source_name:
        given["STRONGROOM_SOURCE_NAME"] = source_name
    if location:
        given["STRONGROOM_REPOSITORY_LOCATIONS"] = location_url(location)
    return dict(os.environ) | given
