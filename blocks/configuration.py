"""From the words that a flow is given to the settings of the engine.

A configuration is `block:<name>` (a `StrongroomSettings` block), the path of a configuration file, or
`environment`: the variables alone, without a file. A
destination is `block:<name>` (a `DestinationDatabase` block), or `environment`: what the file or the variable
`STRONGROOM_DESTINATION_URL` says.
"""

import os
from pathlib import Path
from typing import TypeVar

from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound

from blocks.destination import DestinationDatabase
from blocks.settings import StrongroomSettings
from strongroom.config import DestinationSettings, Settings, load_settings
from strongroom.errors import BlockUnknown

BLOCK = "block:"
ENVIRONMENT = "environment"

_Kind = TypeVar("_Kind", bound=Block)


async def load_settings_of(configuration: str) -> Settings:
    """Return the settings of a block or a file; the environment overrides those of a file.

    Raises `BlockUnknown`, and what `load_settings` raises.
    """
    if configuration.startswith(BLOCK):
        return (await _load(StrongroomSettings, configuration)).settings()
    return _read_file(configuration)


async def load_settings_for(configuration: str, destination: str) -> Settings:
    """Return the settings of a configuration, with the destination that a recovery writes to."""
    settings = await load_settings_of(configuration)
    if destination.startswith(BLOCK):
        section = (await _load(DestinationDatabase, destination)).section()
    elif destination == ENVIRONMENT and "STRONGROOM_DESTINATION_URL" in os.environ:
        section = {"database_url": os.environ["STRONGROOM_DESTINATION_URL"]}
    elif destination == ENVIRONMENT:
        return settings
    else:
        raise BlockUnknown(kind="Strongroom Destination", name=_without_address(destination))
    return settings.model_copy(update={"destination": DestinationSettings.model_validate(section)})


def _without_address(name: str) -> str:
    """Return what can be shown of a name: somebody may have given an address, with its password."""
    return name.partition(":")[0] + ":…" if ":" in name or "=" in name else name


def _read_file(path: str) -> Settings:
    return load_settings(None if path == ENVIRONMENT else Path(path).expanduser(), os.environ)


async def _load(kind: type[_Kind], reference: str) -> _Kind:
    """Load a block by its reference."""
    name = reference.removeprefix(BLOCK)
    try:
        return await kind.aload(name)
    except ValueError as error:
        if not isinstance(error.__cause__, ObjectNotFound):
            raise
        raise BlockUnknown(kind=kind.get_block_type_slug(), name=name) from None
