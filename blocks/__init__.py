"""Prefect blocks: typed configuration that holds its secrets, and opens as `strongroom.config.Settings`.

A flow is given the name of a block or the path of a file, never an address or a password: Prefect stores
flow parameters in plain text.
"""

from blocks.configuration import load_settings_for, load_settings_of
from blocks.destination import DestinationDatabase
from blocks.keys import RepositoryKeys
from blocks.repository import BackupRepository
from blocks.settings import StrongroomSettings
from blocks.source import SupabaseSource

ALL = (SupabaseSource, BackupRepository, RepositoryKeys, StrongroomSettings, DestinationDatabase)
"""Every block type, in the order in which they can be registered."""

__all__ = [
    "ALL",
    "BackupRepository",
    "DestinationDatabase",
    "RepositoryKeys",
    "StrongroomSettings",
    "SupabaseSource",
    "load_settings_for",
    "load_settings_of",
]
