"""`repository.locations`: where copies are kept, how each place is reached, and how long it keeps what.

    [[repository.locations]]
    name = "archive"
    role = "archive"
    url = "s3://quantforge-backups/strongroom"
    region = "eu-central-1"
    storage_class = "STANDARD_IA"
    retention = { daily = 14, monthly = 24 }

What is left out comes from the role (retention) or from where the service's own tools look (credentials).
"""

import posixpath
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from strongroom.setting_types import Count, Duration, LocalPath, Name, Section, Size

Role = Literal["local", "edge", "archive"]

_SCHEMES = frozenset({"file", "s3", "gs", "supabase"})
_ENDPOINT = frozenset({"s3", "gs", "supabase"})
_BUCKETS = frozenset({"s3", "gs"})
OPTIONS: dict[str, frozenset[str]] = {
    "endpoint": _ENDPOINT,
    "region": frozenset({"s3"}),
    "path_style": frozenset({"s3"}),
    "access_key": frozenset({"s3"}),
    "secret_key": frozenset({"s3", "supabase"}),
    "secret_key_file": frozenset({"s3", "supabase"}),
    "session_token": frozenset({"s3"}),
    "credentials_file": frozenset({"gs"}),
    "ca_file": _ENDPOINT,
    "storage_class": _BUCKETS,
    "encryption": _BUCKETS,
    "conditional_put": frozenset({"s3"}),
    "object_lock": _BUCKETS,
    "tiers": _BUCKETS,
}
"""Option -> the schemes that it means something for."""


class RetentionRules(Section):
    """`retention` of a location: what is kept there. What is left out comes from the location's role."""

    keep_within: Duration | None = Field(None, ge=0, examples=["24 h"])
    daily: Count | None = Field(None, ge=0, examples=[7])
    weekly: Count | None = Field(None, ge=0, examples=[4])
    monthly: Count | None = Field(None, ge=0, examples=[12])
    emergency_days: Count | None = Field(None, ge=0, examples=[30])


class ObjectLockSettings(Section):
    """`object_lock` of a location: for how many days nobody can delete what was written."""

    mode: Literal["governance", "compliance"] = Field("governance", examples=["governance"])
    days: Count = Field(ge=1, examples=[30])


class TierSettings(Section):
    """One entry of `tiers`: the storage class that the bucket's lifecycle moves packs to, and when."""

    storage_class: str = Field(examples=["GLACIER"])
    after: Duration = Field(ge=0, examples=["30 days"])


class LocationSettings(Section):
    """One entry of `repository.locations`: a store, the part that it plays, and its own retention."""

    name: Name = Field(examples=["local"])
    role: Role = Field(examples=["local"])
    url: str = Field(examples=["file:///var/lib/strongroom"])
    endpoint: str | None = Field(None, examples=["https://s3.eu-central-1.amazonaws.com"])
    region: str | None = Field(None, examples=["eu-central-1"])
    path_style: bool | None = Field(None, examples=[True])
    access_key: str | None = Field(None, examples=["the id of the key"])
    secret_key: SecretStr | None = Field(None, examples=["better in a file"])
    secret_key_file: LocalPath | None = Field(None, examples=["~/.config/strongroom/archive.secret"])
    session_token: SecretStr | None = Field(None, examples=["of temporary credentials"])
    credentials_file: LocalPath | None = Field(None, examples=["~/.config/strongroom/google.json"])
    ca_file: LocalPath | None = Field(None, examples=["~/.config/strongroom/ca.crt"])
    storage_class: str | None = Field(None, examples=["STANDARD_IA"])
    encryption: str | None = Field(None, pattern=r"^(AES256|aws:kms(:.+)?|projects/.+)$", examples=["AES256"])
    conditional_put: bool | None = Field(None, examples=[False])
    object_lock: ObjectLockSettings | None = Field(None, examples=[{"mode": "governance", "days": 30}])
    tiers: tuple[TierSettings, ...] = Field((), examples=[[{"storage_class": "GLACIER", "after": "30 days"}]])
    bandwidth_limit: Size = Field(0, ge=0, examples=["20 MiB"])
    read_only: bool = Field(default=False, examples=[True])
    retention: RetentionRules = Field(default_factory=RetentionRules, examples=[{"keep_within": "24 h"}])

    @property
    def scheme(self) -> str:
        """The kind of store."""
        return urlsplit(self.url).scheme.lower()

    @property
    def place(self) -> str:
        """What is the same for two locations at one place, however their URLs are written."""
        parts = urlsplit(self.url)
        path = posixpath.normpath(unquote(parts.path) or "/")
        folder = str(Path(path).resolve()) if self.scheme == "file" else path
        return f"{self.scheme}://{parts.netloc}{folder} {(self.endpoint or '').rstrip('/')}"

    @field_validator("url")
    @classmethod
    def _url_without_password(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            password = parts.password
        except ValueError:
            raise ValueError("is not a URL") from None
        if not parts.scheme or "://" not in url:
            raise ValueError("is not a URL")
        if password is not None:
            raise ValueError("holds a password, which belongs in the environment")
        return url

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        for option, schemes in OPTIONS.items():
            given = getattr(self, option) not in {None, ()}
            # A scheme that nobody knows is refused where the store is opened, by its own error.
            if given and self.scheme in _SCHEMES and self.scheme not in schemes:
                raise ValueError(f"has {option}, which means nothing for {self.scheme}:// locations")
        if self.secret_key is not None and self.secret_key_file is not None:
            raise ValueError("has both secret_key and secret_key_file")
        ages = [tier.after for tier in self.tiers]
        if ages != sorted(set(ages)):
            raise ValueError("has tiers that are not in the order of their ages")
        return self
