"""The block of a repository: where the backups are kept."""

from typing import Any, Literal

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, SecretStr


class Retention(BaseModel):
    """What a location keeps. Whatever is left empty comes from the location's role."""

    keep_within: str | None = Field(None, description="Keep every backup that is younger, such as 24 h.")
    daily: int | None = Field(None, description="Keep the newest backup of so many days.")
    weekly: int | None = Field(None, description="Keep the newest backup of so many weeks.")
    monthly: int | None = Field(None, description="Keep the newest backup of so many months.")
    emergency_days: int | None = Field(None, description="Keep emergency backups for so many days.")


class Location(BaseModel):
    """A place for backups, and the part that it plays."""

    name: str = Field("local", description="A short name in lower case.")
    role: Literal["local", "edge", "archive"] = Field("local", description="The part that the place plays.")
    url: str = Field(
        description="The address, such as file:///var/lib/strongroom or s3://bucket/prefix; without credentials."
    )
    endpoint: str | None = Field(
        None,
        description="URL of the service, if it is not the provider's own; of the project for supabase://.",
    )
    region: str | None = Field(None, description="Region of an S3 bucket.")
    access_key: str | None = Field(None, description="Id of the S3 key; empty for what the environment has.")
    secret_key: SecretStr | None = Field(
        None, description="Secret of the S3 key, or the service-role key of a Supabase project."
    )
    credentials_file: str | None = Field(None, description="Path of a Google service account's JSON file.")
    storage_class: str | None = Field(None, description="Storage class of packs, such as STANDARD_IA.")
    path_style: bool | None = Field(None, description="Whether an S3 bucket stands in the path of the URL.")
    ca_file: str | None = Field(
        None, description="Path of the authorities that its certificate is checked with."
    )
    encryption: str | None = Field(
        None, description="Encryption by the service, beside ours, such as AES256."
    )
    bandwidth_limit: str | int = Field(0, description="Bytes a second, such as 20 MiB; 0 for no limit.")
    read_only: bool = Field(False, description="Read and verified, but never written to or expired.")  # noqa: FBT003  (the default)
    retention: Retention = Field(
        default_factory=Retention, description="What is kept here; empty for what the role says."
    )

    def section(self) -> dict[str, Any]:
        """Return the entry of `repository.locations`, its secret in the clear."""
        entry = self.model_dump(exclude_none=True)
        if self.secret_key is not None:
            entry["secret_key"] = self.secret_key.get_secret_value()
        return entry


class BackupRepository(Block):
    """Where backups are kept: one or more locations. The first that takes a backup is written to first.

    Example:
        Load a repository:
        ```python
        from blocks import BackupRepository

        repository = BackupRepository.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Strongroom Repository"
    _block_type_slug = "strongroom-repository"
    _description = "The encrypted repository that Strongroom keeps backups in."
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # type: ignore[assignment]

    locations: list[Location] = Field(
        min_length=1, description="The places of the repository, in the order in which they are written to."
    )
    min_copies: int = Field(1, ge=1, description="With fewer copies than this, the run of a backup fails.")
    replication_timeout: str | float = Field(
        "30 min", description="How long copying to the other locations may take."
    )

    def section(self) -> dict[str, object]:
        """Return the `[repository]` section of the settings, its secrets in the clear."""
        return {
            "locations": [location.section() for location in self.locations],
            "min_copies": self.min_copies,
            "replication_timeout": self.replication_timeout,
        }
