"""The block that a flow is given: source, repository and keys together, and the limits of the work."""

from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field

from blocks.keys import RepositoryKeys
from blocks.repository import BackupRepository
from blocks.source import SupabaseSource
from strongroom.config import (
    BackupSettings,
    RetentionSettings,
    Settings,
    VerificationSettings,
    parse_settings,
)
from strongroom.recovery_settings import RecoverySettings


class StrongroomSettings(Block):
    """Everything that a flow needs to know: what is protected, where backups are kept, keys and limits.

    Example:
        Load settings:
        ```python
        from blocks import StrongroomSettings

        settings = StrongroomSettings.load("BLOCK_NAME").settings()
        ```
    """

    _block_type_name = "Strongroom Settings"
    _block_type_slug = "strongroom-settings"
    _description = "What Strongroom protects, where it keeps backups, and within which limits it works."
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # type: ignore[assignment]

    source: SupabaseSource
    repository: BackupRepository
    repository_keys: RepositoryKeys
    backup: BackupSettings = Field(
        default_factory=BackupSettings,
        description="How often, how much and how long a backup may be.",
    )
    recovery: RecoverySettings = Field(
        default_factory=RecoverySettings, description="The objectives that a recovery is held to."
    )
    verification: VerificationSettings = Field(
        default_factory=VerificationSettings,
        description="How often and how long backups are verified.",
    )
    retention: RetentionSettings = Field(
        default_factory=RetentionSettings,
        description="When what no rule keeps is deleted, and what holds that back.",
    )

    def settings(self) -> Settings:
        """Return the settings that the engine works with. Raises `ConfigInvalid`."""
        document = {
            "source": self.source.section(),
            "repository": self.repository.section(),
            "keys": self.repository_keys.section(),
            "backup": self.backup.model_dump(),
            "recovery": self.recovery.model_dump(),
            "verification": self.verification.model_dump(),
            "retention": self.retention.model_dump(),
        }
        return parse_settings(document, Path.cwd())
