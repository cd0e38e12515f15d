"""The block of a destination: the empty database that a recovery writes to."""

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.addresses import with_root_certificate


class DestinationDatabase(Block):
    """The empty database to recover into.

    Example:
        Load a destination:
        ```python
        from blocks import DestinationDatabase

        destination = DestinationDatabase.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Strongroom Destination"
    _block_type_slug = "strongroom-destination"
    _description = "The empty database that Strongroom recovers a backup into."
    _documentation_url = "https://supabase.com/docs/guides/database/connecting-to-postgres"  # type: ignore[assignment]

    database_url: SecretStr = Field(
        description="The connection string, with a role like Supabase's postgres."
    )
    sslrootcert: str | None = Field(
        None, description="The path of the CA file that the server's certificate is checked with."
    )

    def section(self) -> dict[str, object]:
        """Return the `[destination]` section of the settings, its address in the clear."""
        return {"database_url": with_root_certificate(self.database_url.get_secret_value(), self.sslrootcert)}
