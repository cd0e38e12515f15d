"""The block of the keys: where they lie, and what opens the recovery key."""

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class RepositoryKeys(Block):
    """The folder with the keys of a repository. A worker that only backs up needs no recovery key in it.

    Example:
        Load keys:
        ```python
        from blocks import RepositoryKeys

        keys = RepositoryKeys.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Strongroom Keys"
    _block_type_slug = "strongroom-keys"
    _description = "The folder of the keys that backups are sealed with."
    _documentation_url = "https://docs.prefect.io/v3/concepts/blocks"  # type: ignore[assignment]

    directory: str = Field(
        "~/.config/strongroom/keys",
        description="The folder with operator.key, signing.key, recovery.pub and, to recover, recovery.pem.",
    )
    passphrase: SecretStr | None = Field(
        None, description="What opens recovery.pem; leave it empty where rows are never read."
    )

    def section(self) -> dict[str, object]:
        """Return the `[keys]` section of the settings, the passphrase in the clear."""
        section: dict[str, object] = {"directory": self.directory}
        if self.passphrase is not None:
            section["passphrase"] = self.passphrase.get_secret_value()
        return section
