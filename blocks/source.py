"""The block of a source: the Supabase project that is protected."""

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.addresses import with_root_certificate


class SupabaseSource(Block):
    """The Supabase project to back up: its name and the address of its database.

    Example:
        Load a source:
        ```python
        from blocks import SupabaseSource

        source = SupabaseSource.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Strongroom Source"
    _block_type_slug = "strongroom-source"
    _description = "The Supabase project that Strongroom backs up."
    _documentation_url = "https://supabase.com/docs/guides/database/connecting-to-postgres"  # type: ignore[assignment]

    name: str = Field(
        description="The name of the source in the repository, in lower case; backups are listed under it.",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
    )
    database_url: SecretStr = Field(
        description="The connection string: the direct host, or the session pooler on port 5432."
    )
    sslrootcert: str | None = Field(
        None, description="The path of the CA file that the server's certificate is checked with."
    )

    def section(self) -> dict[str, object]:
        """Return the `[source]` section of the settings, its address in the clear."""
        url = with_root_certificate(self.database_url.get_secret_value(), self.sslrootcert)
        return {"name": self.name, "database_url": url}
