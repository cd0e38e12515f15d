"""The block of a repository: where the backups are kept."""

from typing import Literal

from prefect.blocks.core import Block
from pydantic import BaseModel, Field


class Location(BaseModel):
    """A place for backups, and the part that it plays."""

    name: str = Field("local", description="A short name in lower case.")
    role: Literal["local", "edge", "archive"] = Field("local", description="The part that the place plays.")
    url: str = Field(description="The address, such as file:///var/lib/strongroom; without credentials.")


class BackupRepository(Block):
    """Where backups are kept: one or more locations, the first of which is written first.

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
        min_length=1, description="The places of the repository; the first one is written first."
    )

    def section(self) -> dict[str, object]:
        """Return the `[repository]` section of the settings."""
        return {"locations": [location.model_dump() for location in self.locations]}
