"""Settings, keys and a repository for tests that back up real databases.

settings = new_repository(tmp_path, source=database, destination=platform)
back_up(InThisProcess(settings, Deadline.never()), "full")
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from strongroom.config import Settings, load_settings
from strongroom.keys import create_keys, load_keyring
from strongroom.repository.locations import open_location
from strongroom.repository.repository import Repository
from tests.databases import Database

PASSPHRASE = "a passphrase of tests"


def settings_for(folder: Path, source: Database | str, **variables: str) -> Settings:
    """Return settings for a repository in `folder`; `variables` are further settings, lower case."""
    dsn = source if isinstance(source, str) else source.dsn()
    return load_settings(
        None,
        {
            "STRONGROOM_SOURCE_NAME": "quantforge",
            "STRONGROOM_DATABASE_URL": dsn,
            "STRONGROOM_REPOSITORY_LOCATIONS": f"file://{folder}/repository",
            "STRONGROOM_KEYS_DIRECTORY": str(folder / "keys"),
            "STRONGROOM_RECOVERY_PASSPHRASE": PASSPHRASE,
            **{f"STRONGROOM_{name.upper()}": value for name, value in variables.items()},
        },
    )


def new_repository(
    folder: Path, source: Database | str, destination: Database | None = None, **variables: str
) -> Settings:
    """Make keys and a repository in `folder` and return the settings for them."""
    if destination is not None:
        variables["destination_url"] = destination.dsn()
    settings = settings_for(folder, source, **variables)
    create_keys(settings.keys.directory, PASSPHRASE.encode(), os.urandom)
    Repository.create(
        open_location(settings).store, load_keyring(settings.keys.directory), datetime.now(UTC), os.urandom
    )
    return settings
