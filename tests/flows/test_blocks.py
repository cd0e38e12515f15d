"""Blocks: Prefect's own standards, and that they open as the settings that the engine takes."""

import asyncio
from pathlib import Path

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr

import blocks
from blocks import (
    BackupRepository,
    DestinationDatabase,
    RepositoryKeys,
    StrongroomSettings,
    SupabaseSource,
    load_settings_for,
    load_settings_of,
)
from blocks.repository import Location, Retention
from strongroom.config import BackupSettings, Settings
from strongroom.errors import BlockUnknown, ConfigInvalid, ConfigUnreadable
from tests.flows.conftest import write_configuration

ADDRESS = "postgresql://postgres:hunter2secret@db.example.com:5432/postgres"


class TestStandards(BlockStandardTestSuite):
    """Every block keeps Prefect's standards for blocks."""

    @pytest.fixture(params=blocks.ALL, ids=lambda kind: str(kind.__name__))
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        """Return the block type in turn."""
        kind: type[Block] = request.param
        return kind

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """We have no logo: this would be fetched from the internet by whoever opens the page."""
        assert block._logo_url is None


def settings_block(**source: str) -> StrongroomSettings:
    """Make a block that nests the others."""
    return StrongroomSettings(
        source=SupabaseSource(name="quantforge", database_url=SecretStr(ADDRESS), **source),
        repository=BackupRepository(locations=[Location(url="file:///var/lib/strongroom")]),
        repository_keys=RepositoryKeys(directory="/keys", passphrase=SecretStr("open sesame")),
        backup=BackupSettings.model_validate({"max_backup_duration": "7 min", "max_retries": 1}),
    )


def test_a_saved_block_opens_as_settings(prefect_server: None) -> None:
    """Nested blocks, saved and loaded by name, give the engine's settings with their secrets."""

    async def story() -> Settings:
        block = settings_block(sslrootcert="/etc/ca.pem")
        await block.source.save("quant-source")
        await block.repository.save("quant-repository")
        await block.repository_keys.save("quant-keys")
        await block.save("quant")
        return await load_settings_of("block:quant")

    settings = asyncio.run(story())
    assert settings.source.name == "quantforge"
    assert settings.keys.directory == Path("/keys")
    assert settings.keys.read_passphrase() == b"open sesame"
    assert settings.backup.max_backup_duration == 420
    assert settings.backup.max_retries == 1
    assert settings.backup.max_backup_size == 50 * 1024**2
    conninfo = settings.conninfo()
    assert (conninfo["password"], conninfo["sslmode"]) == ("hunter2secret", "verify-full")
    assert conninfo["sslrootcert"] == "/etc/ca.pem"


def test_locations_of_a_block_open_with_options_and_rules() -> None:
    """What a location's form says reaches the settings, its secret too; what is left empty stays the role's."""
    block = settings_block()
    block.repository = BackupRepository(
        locations=[
            Location(url="file:///var/lib/strongroom"),
            Location(
                name="archive",
                role="archive",
                url="s3://bucket/strongroom",
                region="eu-central-1",
                access_key="AKIA1",
                secret_key=SecretStr("hunter2secret"),
                retention=Retention(daily=14, keep_within="2 days"),
            ),
        ],
        min_copies=2,
    )
    settings = block.settings()
    archive = settings.repository.locations[1]
    assert (archive.region, archive.access_key) == ("eu-central-1", "AKIA1")
    assert archive.secret_key is not None
    assert archive.secret_key.get_secret_value() == "hunter2secret"
    assert (archive.retention.daily, archive.retention.keep_within, archive.retention.monthly) == (
        14,
        172800.0,
        None,
    )
    assert settings.repository.min_copies == 2
    assert "hunter2secret" not in repr(block) + repr(settings)


def test_a_block_shows_no_secret() -> None:
    """Neither repr nor the settings made of a block show a password."""
    block = settings_block()
    assert "hunter2secret" not in repr(block) + str(block) + repr(block.settings())
    assert "open sesame" not in repr(block) + str(block) + repr(block.settings())


def test_what_the_address_says_of_tls_wins() -> None:
    """An address that names its own sslmode keeps it."""
    source = SupabaseSource(
        name="q", database_url=SecretStr(ADDRESS + "?sslmode=require"), sslrootcert="/etc/ca.pem"
    )
    assert source.section()["database_url"] == f"{ADDRESS}?sslmode=require&sslrootcert=/etc/ca.pem"


def test_a_wrong_block_is_named_by_its_setting() -> None:
    """A location with a password in its URL is refused with the name of the setting, not with the value."""
    block = settings_block()
    block.repository.locations[0].url = "s3://key:hunter3@bucket/x"
    with pytest.raises(ConfigInvalid, match=r"repository.locations") as caught:
        block.settings()
    assert "hunter3" not in str(caught.value)


def test_an_unknown_block_is_a_coded_error(prefect_server: None) -> None:
    """A name that no block has is refused with what was looked for."""
    with pytest.raises(BlockUnknown, match="strongroom-settings block named 'nobody'"):
        asyncio.run(load_settings_of("block:nobody"))


def test_a_configuration_may_be_a_file(tmp_path: Path) -> None:
    """A path is read as a configuration file, and a missing one is a coded error."""
    path = write_configuration(tmp_path, tmp_path, backup_max_backup_duration="3 min")
    assert asyncio.run(load_settings_of(str(path))).backup.max_backup_duration == 180
    with pytest.raises(ConfigUnreadable):
        asyncio.run(load_settings_of(str(tmp_path / "none.toml")))


def test_a_destination_is_a_block_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    """The destination of a recovery comes from a block or a variable; any other word is refused."""
    path = str(write_configuration(tmp_path, tmp_path))

    async def from_block() -> Settings:
        block = DestinationDatabase(database_url=SecretStr(ADDRESS.replace("db.", "new.")))
        await block.save("empty")
        return await load_settings_for(path, "block:empty")

    assert asyncio.run(from_block()).destination_conninfo()["host"] == "new.example.com"
    monkeypatch.setenv("STRONGROOM_DESTINATION_URL", "postgresql://postgres@other/postgres")
    settings = asyncio.run(load_settings_for(path, "environment"))
    assert settings.destination_conninfo()["host"] == "other"
    with pytest.raises(BlockUnknown) as caught:
        asyncio.run(load_settings_for(path, ADDRESS))
    assert "hunter2secret" not in str(caught.value.document())
