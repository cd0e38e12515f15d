"""What a store needs to know besides its URL: where the service is, who we are, and what it shall do with objects.

Everything is optional; each backend says in its docstring what it reads. Secrets never show in a `repr`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from strongroom.stores.capabilities import ObjectLock, Tier


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Options of one location. Credentials that are left out are looked for where the service's own tools look."""

    endpoint: str = ""
    """URL of the service where it is not the provider's own; for `supabase://` that of the project."""
    region: str = ""
    path_style: bool | None = None
    """Whether the bucket stands in the path and not in the host name; None: if there is an endpoint."""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    credentials_file: Path | None = None
    ca_file: Path | None = None
    """Authorities that the service's certificate is checked with, instead of the system's."""
    storage_class: str = ""
    """The class that packs are written in; everything else is small, read often, and stays in the default."""
    encryption: str = ""
    """`AES256`, `aws:kms`, or `aws:kms:<key id>`."""
    conditional_put: bool | None = None
    """Whether the service refuses to replace where asked to; None: find out before the first write."""
    lock: ObjectLock | None = None
    tiers: tuple[Tier, ...] = ()
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    connections: int = 16
