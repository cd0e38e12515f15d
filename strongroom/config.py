"""Settings: what a person configured, read once from a TOML file and the environment, checked and frozen.

A setting comes from the file, else from its default; a variable `STRONGROOM_<SECTION>_<SETTING>` wins over
both, and so does a short one such as `STRONGROOM_DATABASE_URL` (`SHORT_VARIABLES`). Durations are seconds,
sizes bytes, percentages numbers up to 100, whatever unit they were written in. Example:

    settings = load_settings(Path("strongroom.toml"), os.environ)
    connection = psycopg.connect(**settings.conninfo())

Nothing here connects, and no secret shows in a `repr` or in an error.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from strongroom.errors import ConfigUnreadable
from strongroom.location_settings import LocationSettings
from strongroom.recovery_settings import RecoverySettings
from strongroom.setting_errors import PREFIX, SHORT_VARIABLES, invalid, missing, translate
from strongroom.setting_types import Count, Duration, LocalPath, Name, Percentage, Section, Size

DEFAULT_PATH = Path("strongroom.toml")


class DatabaseSettings(Section):
    """How a database is reached: a libpq address, whose secret parts may lie in files."""

    database_url: SecretStr | None = Field(
        None, examples=["postgresql://postgres@db.example.com:5432/postgres?sslmode=verify-full"]
    )
    database_url_file: LocalPath | None = Field(None, examples=["~/.config/strongroom/database_url"])
    password_file: LocalPath | None = Field(None, examples=["~/.config/strongroom/password"])

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.database_url is not None and self.database_url_file is not None:
            raise ValueError("has both database_url and database_url_file")
        return self


class SourceSettings(DatabaseSettings):
    """`[source]`: what is protected, and how its database is reached."""

    name: Name = Field(examples=["quantforge"])


class DestinationSettings(DatabaseSettings):
    """`[destination]`: the database that a recovery writes to, where none is said on the command line."""


class RepositorySettings(Section):
    """`[repository]`: where backups are kept, the first location being the one that is written first."""

    locations: tuple[LocationSettings, ...] = Field(
        min_length=1,
        examples=[[{"name": "local", "role": "local", "url": "file:///var/lib/strongroom"}]],
    )
    min_copies: Count = Field(1, ge=1, examples=[2])
    parallel_copies: Count = Field(4, ge=1, le=32, examples=[4])
    replication_timeout: Duration = Field(1800.0, examples=["30 min"])

    @field_validator("locations")
    @classmethod
    def _names_differ(cls, locations: tuple[LocationSettings, ...]) -> tuple[LocationSettings, ...]:
        names = [location.name for location in locations]
        if len(set(names)) < len(names):
            raise ValueError("names two locations alike")
        if len({location.place for location in locations}) < len(names):
            raise ValueError("has two locations at one place, which would count as two copies")
        return locations

    @model_validator(mode="after")
    def _copies_fit(self) -> Self:
        if self.min_copies > len(self.locations):
            raise ValueError("has min_copies above the number of locations")
        return self


class KeySettings(Section):
    """`[keys]`: the folder of the key files, see `strongroom.keys`, and what opens recovery.pem.

    The passphrase is needed to read rows, and for nothing else.
    """

    directory: LocalPath = Field(
        Path("~/.config/strongroom/keys"), validate_default=True, examples=["~/.config/strongroom/keys"]
    )
    passphrase: SecretStr | None = Field(None, examples=["correct horse battery staple"])
    passphrase_file: LocalPath | None = Field(None, examples=["~/.config/strongroom/passphrase"])

    @model_validator(mode="after")
    def _one_passphrase(self) -> Self:
        if self.passphrase is not None and self.passphrase_file is not None:
            raise ValueError("has both passphrase and passphrase_file")
        return self

    def read_passphrase(self) -> bytes:
        """Return what opens recovery.pem. Raises `ConfigMissing`, `ConfigUnreadable`."""
        if self.passphrase is not None:
            return self.passphrase.get_secret_value().encode()
        if self.passphrase_file is not None:
            return _read_secret(self.passphrase_file, "keys.passphrase_file").encode()
        raise missing(Settings, "keys.passphrase")


class BackupSettings(Section):
    """`[backup]`: how often, how much, how long."""

    schedule_interval: Duration = Field(6 * 3600.0, gt=0, examples=["6 h"])
    retention_days: Count = Field(30, ge=1, examples=[30])
    max_backup_size: Size = Field(50 * 1024**2, examples=["50 MiB"])
    max_retries: Count = Field(3, ge=0, le=20, examples=[3])
    retry_delay: Duration = Field(5.0, examples=["5 s"])
    max_backup_duration: Duration = Field(600.0, examples=["10 min"])
    compression_threshold: Size = Field(1024**2, examples=["1 MiB"])
    parallelism: Count = Field(2, ge=1, le=64, examples=[2])


class VerificationSettings(Section):
    """`[verification]`: how often stored backups are tested, and how long reports are kept."""

    interval: Duration = Field(7200.0, gt=0, examples=["2 h"])
    timeout: Duration = Field(300.0, examples=["5 min"])
    report_retention_days: Count = Field(7, ge=1, examples=[7])


class RetentionSettings(Section):
    """`[retention]`: when what no rule keeps is deleted, and what makes the damage guard hold it back.

    What each location keeps stands with the location, `backup.retention_days` caps it.
    """

    grace: Duration = Field(86400.0, ge=3600, examples=["24 h"])
    timeout: Duration = Field(3600.0, examples=["60 min"])
    max_silence: Duration = Field(7 * 86400.0, gt=0, examples=["7 days"])
    guard_rows_percent: Percentage = Field(50.0, gt=0, examples=[50])
    guard_compression_factor: float = Field(2.0, gt=1, examples=[2.0])
    guard_silence: Duration = Field(3 * 86400.0, gt=0, examples=["3 days"])


class AlertSettings(Section):
    """`[alerts]`: from where on somebody is told. The two rates are percentages."""

    consecutive_failures: Count = Field(3, ge=1, examples=[3])
    backup_age: Duration = Field(86400.0, gt=0, examples=["24 h"])
    corruption_rate: Percentage = Field(5.0, examples=["5 %"])
    verification_failure_rate: Percentage = Field(10.0, examples=["10 %"])


class Settings(Section):
    """Everything that is configured. A limit of zero means that there is none."""

    source: SourceSettings
    repository: RepositorySettings
    destination: DestinationSettings = Field(default_factory=DestinationSettings)
    keys: KeySettings = Field(default_factory=KeySettings)
    backup: BackupSettings = Field(default_factory=BackupSettings)
    recovery: RecoverySettings = Field(default_factory=RecoverySettings)
    verification: VerificationSettings = Field(default_factory=VerificationSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    _libpq_environment: dict[str, str] = PrivateAttr(default_factory=dict)

    def conninfo(self) -> dict[str, str]:
        """Return the libpq parameters of the source, password included: for connecting, not for printing.

        What the address leaves open comes from `password_file`, then from the `PG…` variables that were
        set when the settings were loaded. Raises `ConfigMissing`, `ConfigInvalid`, `ConfigUnreadable`.
        """
        return _conninfo(self.source, "source", self._libpq_environment)

    def destination_conninfo(self) -> dict[str, str]:
        """Return the libpq parameters of the destination, by the same rules."""
        return _conninfo(self.destination, "destination", self._libpq_environment)

    def to_child(self) -> bytes:
        """Return the settings as JSON with their secrets, for the standard input of a child process.

        Holds passwords in the clear: never to be logged, stored or put into an argument.
        """
        document = {"settings": self.model_dump(), "environment": self._libpq_environment}
        return json.dumps(document, default=_reveal).encode()

    @classmethod
    def from_child(cls, data: bytes) -> Self:
        """Rebuild the settings in a child process from what `to_child` returned."""
        document = json.loads(data)
        settings = cls.model_validate(document["settings"])
        settings._libpq_environment = document["environment"]  # noqa: SLF001  (our own, just made)
        return settings


def _reveal(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


# ------------------------------------------------------------------------------------------- loading


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings from the file at `path` (None: there is no file) and from `environ`.

    Relative paths in the file are relative to its folder. Raises `ConfigUnreadable` for a file that cannot
    be read, else `ConfigMissing`, `ConfigUnknown` or `ConfigInvalid` for the first setting that is wrong.
    """
    document = {} if path is None else _read_document(path)
    for section, key, value in _overrides(environ):
        content = document.setdefault(section, {})
        if isinstance(content, dict):
            # A secret in a variable wins over its file, and the other way round.
            content.pop(key.removesuffix("_file") if key.endswith("_file") else f"{key}_file", None)
            content[key] = value
    settings = parse_settings(document, Path.cwd() if path is None else path.absolute().parent)
    settings._libpq_environment = {k: v for k, v in environ.items() if k.startswith("PG")}  # noqa: SLF001  (our own, just made)
    return settings


def parse_settings(document: Mapping[str, object], folder: Path) -> Settings:
    """Check settings that are already a document, its relative paths relative to `folder`.

    Raises `ConfigMissing`, `ConfigUnknown` or `ConfigInvalid`.
    """
    # Without these, pydantic would name the missing section and not the setting to write.
    complete = {"source": {}, "repository": {}, **document}
    try:
        return Settings.model_validate(complete, context={"folder": folder})
    except ValidationError as error:
        raise translate(Settings, error) from None


def _read_document(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_read_text(path, "--config"))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line \d+|at end of document", str(error))
        problem = f"it is not TOML ({place.group()})" if place else "it is not TOML"
        raise ConfigUnreadable(path=path, setting="--config", problem=problem) from None


def _read_text(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        problem = error.strerror or "it cannot be opened"
    except UnicodeDecodeError:
        problem = "it is not UTF-8 text"
    raise ConfigUnreadable(path=path, setting=setting, problem=problem)


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    """Yield section, key and value of every variable that names a setting."""
    for variable, value in environ.items():
        if not value:
            continue  # As with libpq, an empty variable is an unset one.
        if variable in SHORT_VARIABLES:
            yield *SHORT_VARIABLES[variable], value
        elif variable == "STRONGROOM_REPOSITORY_LOCATIONS":
            yield "repository", "locations", _locations_from_text(value)
        elif variable.startswith(PREFIX):
            section, _, key = variable.removeprefix(PREFIX).lower().partition("_")
            if key and section in Settings.model_fields:
                yield section, key, value


def _locations_from_text(text: str) -> object:
    """Read locations as they stand in the file, or the URL of a single one."""
    if not text.lstrip().startswith("["):
        return [{"name": "local", "role": "local", "url": text}]
    try:
        return tomllib.loads(f"locations = {text}")["locations"]
    except tomllib.TOMLDecodeError:
        raise invalid(Settings, "repository.locations", "is not a list of tables") from None


# ---------------------------------------------------------------------------------------- connecting


def _conninfo(section: DatabaseSettings, name: str, environ: Mapping[str, str]) -> dict[str, str]:
    parameters = _parse_address(section, name)
    if section.password_file is not None:
        setting = f"{name}.password_file"
        if "password" in parameters:
            raise invalid(Settings, setting, "is given beside a password in the address")
        parameters["password"] = _read_secret(section.password_file, setting)
    parameters = _from_environment(environ) | parameters
    certificate = parameters.get("sslrootcert", "system")
    if certificate != "system":
        parameters["sslrootcert"] = str(Path(certificate).expanduser())
    return parameters


def _parse_address(section: DatabaseSettings, name: str) -> dict[str, str]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    setting, address = f"{name}.database_url", ""
    if section.database_url is not None:
        address = section.database_url.get_secret_value()
    elif section.database_url_file is not None:
        setting = f"{name}.database_url_file"
        address = _read_secret(section.database_url_file, setting)
    if not address:
        raise missing(Settings, setting)
    try:
        parameters = conninfo_to_dict(address)
    except psycopg.Error:
        # What libpq says about it can repeat a part of the password.
        raise invalid(Settings, setting, "is not a Postgres address") from None
    return {keyword: str(value) for keyword, value in parameters.items() if value is not None}


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that libpq itself would take from these variables."""
    from psycopg.pq import Conninfo

    variables = {
        option.keyword.decode(): option.envvar.decode()
        for option in Conninfo.get_defaults()
        if option.envvar is not None
    }
    return {keyword: environ[name] for keyword, name in variables.items() if environ.get(name)}


def _read_secret(path: Path, setting: str) -> str:
    """Return what a file holds, without the line end that editors add."""
    text = _read_text(path, setting).rstrip("\r\n")
    if not text:
        raise ConfigUnreadable(path=path, setting=setting, problem="it is empty")
    return text
