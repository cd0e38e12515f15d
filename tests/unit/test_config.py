"""Facts about settings: where they come from, what they accept, and how wrong ones are named."""

import json
import tomllib
from pathlib import Path

import pytest

from strongroom.config import DestinationSettings, Settings, load_settings
from strongroom.errors import (
    ConfigInvalid,
    ConfigMissing,
    ConfigUnknown,
    ConfigUnreadable,
    CredentialsMissing,
    EmptyPolicy,
    StrongroomError,
    UsageError,
)
from strongroom.operations.retention_policy import policy_of
from strongroom.repository.locations import open_locations, options_of
from strongroom.setting_errors import SHORT_VARIABLES, example, variable

PASSWORD = "correct-horse-battery"
ADDRESS = f"postgresql://postgres:{PASSWORD}@db.example.com:5432/postgres?sslmode=verify-full"
MINIMAL = """
[source]
name = "quantforge"
[repository]
locations = [{ name = "local", role = "local", url = "file:///var/lib/strongroom" }]
"""


def load(text: str, folder: Path, environ: dict[str, str] | None = None) -> Settings:
    """Load settings from a file with this text."""
    path = folder / "strongroom.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, environ or {})


def with_line(section: str, line: str) -> str:
    """Put a line under a section of the smallest configuration."""
    head = f"[{section}]\n"
    return MINIMAL.replace(head, head + line + "\n") if head in MINIMAL else MINIMAL + head + line


def test_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    """Whatever is not configured has the value of the table in section 11 of the design."""
    settings = load(MINIMAL, tmp_path)
    expected = {
        "backup": {
            "schedule_interval": 6 * 3600,
            "retention_days": 30,
            "max_backup_size": 50 * 1024 * 1024,
            "max_retries": 3,
            "retry_delay": 5,
            "max_backup_duration": 600,
            "compression_threshold": 1024 * 1024,
            "parallelism": 2,
        },
        "recovery": {
            "max_recovery_time": 1800,
            "verification_timeout": 300,
            "rollback_timeout": 600,
            "max_data_loss_percent": 5,
            "min_recovery_point_age": 86400,
        },
        "verification": {"interval": 7200, "timeout": 300, "report_retention_days": 7},
        "alerts": {
            "consecutive_failures": 3,
            "backup_age": 86400,
            "corruption_rate": 5,
            "verification_failure_rate": 10,
        },
    }
    shown = settings.model_dump(include={section: set(values) for section, values in expected.items()})
    assert expected == shown


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("retry_delay = 7", 7.0),
        ('retry_delay = "500 ms"', 0.5),
        ('retry_delay = "10 min"', 600.0),
        ('retry_delay = "1 h 30 min"', 5400.0),
        ('retry_delay = "30 days"', 2_592_000.0),
        ('retry_delay = "600"', 600.0),
    ],
)
def test_durations_become_seconds(tmp_path: Path, line: str, expected: float) -> None:
    """A duration may be a number of seconds or text with units."""
    assert expected == load(with_line("backup", line), tmp_path).backup.retry_delay


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max_backup_size = 0", 0),
        ('max_backup_size = "50 MiB"', 52_428_800),
        ('max_backup_size = "50 MB"', 50_000_000),
        ('max_backup_size = "1.5 GiB"', 1_610_612_736),
        ('max_backup_size = "17 bytes"', 17),
    ],
)
def test_sizes_become_bytes(tmp_path: Path, line: str, expected: int) -> None:
    """A size may be a number of bytes or text with a unit, of 1000s or of 1024s."""
    assert expected == load(with_line("backup", line), tmp_path).backup.max_backup_size


def test_percentages_may_carry_their_sign(tmp_path: Path) -> None:
    """Five and "5 %" are the same rate."""
    settings = load(with_line("alerts", 'corruption_rate = "2.5 %"\nverification_failure_rate = 7'), tmp_path)
    assert (2.5, 7.0) == (settings.alerts.corruption_rate, settings.alerts.verification_failure_rate)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A variable overrides what the file says, setting by setting; an empty one is no variable."""
    environ = {
        "STRONGROOM_BACKUP_MAX_RETRIES": "9",
        "STRONGROOM_BACKUP_RETENTION_DAYS": "",
        "STRONGROOM_KEYS_DIRECTORY": "/mnt/keys",
    }
    settings = load(with_line("backup", "max_retries = 1\nretention_days = 4"), tmp_path, environ)
    assert (9, 4, Path("/mnt/keys")) == (
        settings.backup.max_retries,
        settings.backup.retention_days,
        settings.keys.directory,
    )


def test_no_file_is_needed() -> None:
    """The environment alone is enough, with a single location given by its URL."""
    environ = {
        "STRONGROOM_SOURCE_NAME": "quantforge",
        "STRONGROOM_DATABASE_URL": ADDRESS,
        "STRONGROOM_REPOSITORY_LOCATIONS": "file:///srv/backups",
    }
    settings = load_settings(None, environ)
    assert [("local", "local", "file:///srv/backups")] == [
        (location.name, location.role, location.url) for location in settings.repository.locations
    ]


def test_locations_in_a_variable_are_written_as_in_the_file() -> None:
    """A variable that starts with a bracket holds the same list that the file would."""
    text = '[{ name = "far", role = "archive", url = "file:///far" }]'
    environ = {"STRONGROOM_SOURCE_NAME": "quantforge", "STRONGROOM_REPOSITORY_LOCATIONS": text}
    assert "far" == load_settings(None, environ).repository.locations[0].name


def test_a_secret_in_a_variable_wins_over_its_file(tmp_path: Path) -> None:
    """The file of a secret and the secret exclude each other, and the variable is the one that counts."""
    text = with_line("source", 'database_url_file = "url"') + '[keys]\npassphrase_file = "passphrase"\n'
    environ = {"STRONGROOM_DATABASE_URL": ADDRESS, "STRONGROOM_RECOVERY_PASSPHRASE": PASSWORD}
    settings = load(text, tmp_path, environ)
    assert (PASSWORD, PASSWORD.encode()) == (settings.conninfo()["password"], settings.keys.read_passphrase())


def test_the_passphrase_may_lie_in_a_file(tmp_path: Path) -> None:
    """It is read without its line end; that there is none anywhere is named when it is asked for."""
    (tmp_path / "passphrase").write_text(PASSWORD + "\n")
    environ = {"STRONGROOM_RECOVERY_PASSPHRASE_FILE": "passphrase"}
    assert PASSWORD.encode() == load(MINIMAL, tmp_path, environ).keys.read_passphrase()
    with pytest.raises(ConfigMissing, match=r"keys\.passphrase") as caught:
        load(MINIMAL, tmp_path).keys.read_passphrase()
    assert "STRONGROOM_RECOVERY_PASSPHRASE" in caught.value.advice()


def test_paths_are_relative_to_the_file_and_home_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path belongs to the folder of the file that holds it, `~` to the user."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert Path("/home/someone/.config/strongroom/keys") == load(MINIMAL, tmp_path).keys.directory
    assert tmp_path / "keys" == load(with_line("keys", 'directory = "keys"'), tmp_path).keys.directory


# ------------------------------------------------------------------------------------ connecting


def test_conninfo_is_what_the_address_says(tmp_path: Path) -> None:
    """User, password, host, port, database and options of the URL reach libpq by name."""
    settings = load(MINIMAL, tmp_path, {"STRONGROOM_DATABASE_URL": ADDRESS})
    expected = {
        "user": "postgres",
        "password": PASSWORD,
        "host": "db.example.com",
        "port": "5432",
        "dbname": "postgres",
        "sslmode": "verify-full",
    }
    assert expected == settings.conninfo()


def test_the_destination_has_an_address_of_its_own(tmp_path: Path) -> None:
    """It comes from its section, its variable, or a copy of the settings, by the rules of the source."""
    environ = {"STRONGROOM_DESTINATION_URL": "postgresql://new.example.com/postgres", "PGPASSWORD": PASSWORD}
    settings = load(MINIMAL, tmp_path, environ)
    expected = {"host": "new.example.com", "dbname": "postgres", "password": PASSWORD}
    assert expected == settings.destination_conninfo()
    other = DestinationSettings.model_validate({"database_url": "host=other"})
    assert "other" == settings.model_copy(update={"destination": other}).destination_conninfo()["host"]
    with pytest.raises(ConfigMissing, match=r"destination\.database_url"):
        load(MINIMAL, tmp_path).destination_conninfo()


def test_conninfo_takes_what_is_open_from_the_environment(tmp_path: Path) -> None:
    """PG variables fill in what the address leaves open, and never override it."""
    environ = {
        "STRONGROOM_DATABASE_URL": "postgresql://db.example.com/postgres?sslmode=require",
        "PGPASSWORD": PASSWORD,
        "PGUSER": "postgres",
        "PGSSLMODE": "disable",
        "PGSSLROOTCERT": "~/ca.crt",
        "HOME": "/nonexistent",
    }
    expected = {
        "host": "db.example.com",
        "dbname": "postgres",
        "user": "postgres",
        "password": PASSWORD,
        "sslmode": "require",
        "sslrootcert": str(Path("~/ca.crt").expanduser()),
    }
    assert expected == load(MINIMAL, tmp_path, environ).conninfo()


def test_the_address_and_the_password_may_lie_in_files(tmp_path: Path) -> None:
    """Both files are read without the line end that editors add, and win over PGPASSWORD."""
    (tmp_path / "url").write_text("postgresql://postgres@db.example.com/postgres\n")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    text = with_line("source", 'database_url_file = "url"\npassword_file = "password"')
    conninfo = load(text, tmp_path, {"PGPASSWORD": "another"}).conninfo()
    assert ("db.example.com", PASSWORD) == (conninfo["host"], conninfo["password"])


def test_a_source_without_an_address_can_be_loaded(tmp_path: Path) -> None:
    """Listing, verifying and restoring need no source: its absence is named when it is asked for."""
    settings = load(MINIMAL, tmp_path)
    with pytest.raises(ConfigMissing, match=r"source\.database_url") as caught:
        settings.conninfo()
    assert "STRONGROOM_DATABASE_URL" in caught.value.advice()


@pytest.mark.parametrize(
    "address", [f"postgresql+psycopg://u:{PASSWORD}@h/d", f"host=h pass word={PASSWORD}"]
)
def test_a_malformed_address_is_refused_without_being_repeated(tmp_path: Path, address: str) -> None:
    """The error names the setting and holds nothing of the address."""
    settings = load(MINIMAL, tmp_path, {"STRONGROOM_DATABASE_URL": address})
    with pytest.raises(ConfigInvalid, match=r"source\.database_url is not a Postgres address") as caught:
        settings.conninfo()
    assert PASSWORD not in json.dumps(caught.value.document())


def test_a_password_given_twice_is_refused(tmp_path: Path) -> None:
    """Strongroom does not guess which of two passwords is meant."""
    (tmp_path / "password").write_text("other")
    text = with_line("source", f'database_url = "{ADDRESS}"\npassword_file = "password"')
    with pytest.raises(ConfigInvalid, match="beside a password in the address"):
        load(text, tmp_path).conninfo()


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    """A file of a secret that is not there is a coded error with its path and setting."""
    settings = load(with_line("source", 'database_url_file = "nowhere"'), tmp_path)
    with pytest.raises(ConfigUnreadable, match=r"nowhere, given by source\.database_url_file"):
        settings.conninfo()


def test_secrets_show_in_no_repr(tmp_path: Path) -> None:
    """Printing the settings or a section of them shows no password, wherever it came from."""
    environ = {
        "STRONGROOM_DATABASE_URL": ADDRESS,
        "STRONGROOM_DESTINATION_URL": ADDRESS,
        "STRONGROOM_RECOVERY_PASSPHRASE": PASSWORD,
        "PGPASSWORD": PASSWORD,
    }
    settings = load(MINIMAL, tmp_path, environ)
    shown = f"{settings!r} {settings} {settings.source!r} {settings.keys} {settings.model_dump_json()}"
    assert "quantforge" in shown
    assert PASSWORD not in shown


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    """What `to_child` writes, `from_child` reads back whole, secrets and PG variables included."""
    environ = {
        "STRONGROOM_DATABASE_URL": "postgresql://db.example.com/x",
        "STRONGROOM_RECOVERY_PASSPHRASE": "another",
        "PGPASSWORD": PASSWORD,
    }
    settings = load(with_line("backup", 'retry_delay = "500 ms"'), tmp_path, environ)
    copy = Settings.from_child(settings.to_child())
    assert settings == copy
    assert (PASSWORD, b"another") == (copy.conninfo()["password"], copy.keys.read_passphrase())


# ------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("section", "line", "kind", "message"),
    [
        ("backup", "max_retrys = 3", ConfigUnknown, "There is no setting backup.max_retrys."),
        ("backup", 'max_retries = "many"', ConfigInvalid, "The setting backup.max_retries should be"),
        ("backup", "max_retries = true", ConfigInvalid, "The setting backup.max_retries is not a number."),
        ("backup", "max_retries = -1", ConfigInvalid, "The setting backup.max_retries should be"),
        (
            "backup",
            'retry_delay = "soon"',
            ConfigInvalid,
            "The setting backup.retry_delay is not a duration.",
        ),
        ("backup", 'retry_delay = "6 parsecs"', ConfigInvalid, "The setting backup.retry_delay uses a unit"),
        ("backup", "retry_delay = -1", ConfigInvalid, "The setting backup.retry_delay is negative."),
        ("backup", "retry_delay = nan", ConfigInvalid, "The setting backup.retry_delay is not a finite"),
        ("backup", "schedule_interval = 0", ConfigInvalid, "The setting backup.schedule_interval should be"),
        (
            "backup",
            'max_backup_size = "big"',
            ConfigInvalid,
            "The setting backup.max_backup_size is not a size.",
        ),
        (
            "backup",
            "max_backup_size = 1.5",
            ConfigInvalid,
            "The setting backup.max_backup_size is not a whole",
        ),
        ("alerts", "corruption_rate = 101", ConfigInvalid, "The setting alerts.corruption_rate is more than"),
        ("keys", "directory = 4", ConfigInvalid, "The setting keys.directory"),
    ],
)
def test_a_wrong_setting_is_named(
    tmp_path: Path, section: str, line: str, kind: type[UsageError], message: str
) -> None:
    """Whatever is wrong ends in a coded error that starts with the setting's name."""
    with pytest.raises(kind) as caught:
        load(with_line(section, line), tmp_path)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", ConfigMissing, "The setting source.name is missing."),
        ('[source]\nname = "x"', ConfigMissing, "The setting repository.locations is missing."),
        (MINIMAL + "[bakcup]", ConfigUnknown, "There is no setting bakcup."),
        ("backup = 3" + MINIMAL, ConfigInvalid, "The setting backup is not a table."),
        (
            MINIMAL.replace('"local", url', '"lokal", url'),
            ConfigInvalid,
            "The setting repository.locations[0].role",
        ),
        (
            MINIMAL.replace("file:///", "/"),
            ConfigInvalid,
            "The setting repository.locations[0].url is not a URL.",
        ),
        (
            MINIMAL.replace("file:///", "s3://a:b@"),
            ConfigInvalid,
            "The setting repository.locations[0].url holds a password",
        ),
        (
            MINIMAL.replace("url =", "uri ="),
            ConfigUnknown,
            "There is no setting repository.locations[0].uri.",
        ),
        (MINIMAL.replace("quantforge", "Quant Forge"), ConfigInvalid, "The setting source.name should match"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, kind: type[UsageError], message: str) -> None:
    """Missing, misspelt and misshapen tables are named like settings."""
    with pytest.raises(kind) as caught:
        load(text, tmp_path)
    assert str(caught.value).startswith(message)


def with_location(entry: str, role: str = "archive") -> str:
    """Add a second location to the smallest configuration."""
    return MINIMAL.replace('strongroom" }]', f'strongroom" }}, {{ name = "far", role = "{role}", {entry} }}]')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            with_location('url = "file:///far", region = "eu"'),
            "locations[1] has region, which means nothing for",
        ),
        (
            with_location('url = "file:///far", object_lock = { days = 3 }'),
            "locations[1] has object_lock, which",
        ),
        (
            with_location('url = "gs://b/x", path_style = false'),
            "locations[1] has path_style, which means noth",
        ),
        (
            with_location('url = "supabase://b/x", tiers = [{ storage_class = "A", after = 1 }]'),
            "locations[1] has t",
        ),
        (
            with_location('url = "file:///var/lib/strongroom/"'),
            "locations has two locations at one place, which",
        ),
        (
            with_location('url = "file:///far"').replace('"far"', '"local"'),
            "locations names two locations alike.",
        ),
        (
            with_location('url = "s3://b", secret_key = "a", secret_key_file = "b"'),
            "locations[1] has both secret",
        ),
        (with_location('url = "s3://k:PASSWORD@b/x"'), "locations[1].url holds a password"),
        (
            with_location(
                'url = "s3://b", tiers = [{ storage_class = "GLACIER", after = "30 days" }, '
                '{ storage_class = "STANDARD_IA", after = "3 days" }]'
            ),
            "locations[1] has tiers that are not in the order of their ages.",
        ),
        (
            with_location(
                'url = "s3://b", tiers = [{ storage_class = "A", after = 1 }, { storage_class = "B", after = 1 }]'
            ),
            "locations[1] has tiers that are not in the order of their ages.",
        ),
        (
            with_location('url = "s3://b", object_lock = { days = 0 }'),
            "locations[1].object_lock.days should be",
        ),
        (with_location('url = "s3://b", encryption = "rot13"'), "locations[1].encryption should"),
        (
            with_location('url = "file:///far", retention = { daily = -1 }'),
            "locations[1].retention.daily should be",
        ),
        (with_location('url = "file:///far"', role="cellar"), "locations[1].role should be"),
    ],
)
def test_a_wrong_location_is_named(tmp_path: Path, text: str, message: str) -> None:
    """What does not fit a location is refused with its place in the list, and with nothing of a secret."""
    with pytest.raises(ConfigInvalid) as caught:
        load(text.replace("PASSWORD", PASSWORD), tmp_path)
    assert str(caught.value).startswith(f"The setting repository.{message}")
    assert PASSWORD not in json.dumps(caught.value.document())


def test_options_reach_the_store(tmp_path: Path) -> None:
    """What fits a scheme is read: sizes, durations, files relative to the configuration, rules, a lock, tiers."""
    entry = (
        'url = "s3://b/x", region = "eu", access_key = "id", secret_key_file = "secret", path_style = true, '
        'bandwidth_limit = "20 MiB", storage_class = "STANDARD_IA", read_only = true, '
        'object_lock = { mode = "compliance", days = 7 }, tiers = [{ storage_class = "GLACIER", after = "30 days" }], '
        'retention = { keep_within = "2 days", monthly = 3 }'
    )
    far = load(with_location(entry), tmp_path).repository.locations[1]
    assert (20 * 1024**2, tmp_path / "secret", True) == (
        far.bandwidth_limit,
        far.secret_key_file,
        far.read_only,
    )
    assert far.object_lock is not None
    assert ("compliance", 7) == (far.object_lock.mode, far.object_lock.days)
    assert [("GLACIER", 30 * 86400.0)] == [(tier.storage_class, tier.after) for tier in far.tiers]
    assert (2 * 86400.0, None, 3) == (far.retention.keep_within, far.retention.daily, far.retention.monthly)


def test_a_missing_secret_of_a_location_is_named(tmp_path: Path) -> None:
    """The file is read when the location is opened, and its absence names the location and the setting."""
    settings = load(with_location('url = "s3://b/x", secret_key_file = "nowhere"'), tmp_path)
    with pytest.raises(CredentialsMissing) as caught:
        options_of(settings.repository.locations[1])
    assert "secret_key_file of location far" in caught.value.advice()


def test_a_location_without_its_secret_keeps_no_other_from_working(tmp_path: Path) -> None:
    """Opening all locations works; the one that lacks its secret says so when it is asked."""
    settings = load(with_location('url = "s3://b/x", secret_key_file = "nowhere"'), tmp_path)
    local, far = open_locations(settings)
    assert not local.store.capabilities.is_remote
    with pytest.raises(CredentialsMissing):
        list(far.store.list())
    with pytest.raises(CredentialsMissing):
        far.store.get("repository.json")


def test_copies_are_asked_for_within_reason(tmp_path: Path) -> None:
    """min_copies may be as many as there are locations, and no more; copying has defaults of its own."""
    text = with_location('url = "file:///far"').replace("[repository]", "[repository]\nmin_copies = 2")
    repository = load(text, tmp_path).repository
    assert (2, 4, 1800.0) == (
        repository.min_copies,
        repository.parallel_copies,
        repository.replication_timeout,
    )
    with pytest.raises(ConfigInvalid, match="min_copies above the number of locations"):
        load(text.replace("min_copies = 2", "min_copies = 3"), tmp_path)


def test_retention_has_its_defaults_and_limits(tmp_path: Path) -> None:
    """A day of grace and the guard's limits hold where nothing is said; less than an hour of grace is refused."""
    retention = load(MINIMAL, tmp_path).retention
    assert (86400.0, 3600.0, 7 * 86400.0) == (retention.grace, retention.timeout, retention.max_silence)
    assert (50.0, 2.0, 3 * 86400.0) == (
        retention.guard_rows_percent,
        retention.guard_compression_factor,
        retention.guard_silence,
    )
    for line in (
        'grace = "59 min"',
        "guard_compression_factor = 1",
        "max_silence = 0",
        "guard_rows_percent = 0",
    ):
        with pytest.raises(ConfigInvalid, match=rf"retention\.{line.split()[0]}"):
            load(with_line("retention", line), tmp_path)


def test_a_policy_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    """Rules that keep nothing at a location are an error of their own, when the policy is made."""
    text = with_location('url = "file:///far", retention = { daily = 0, weekly = 0, monthly = 0 }')
    with pytest.raises(EmptyPolicy, match="location far keeps nothing"):
        policy_of(load(text, tmp_path)).rules_in_force()


def test_a_location_that_is_only_read_has_no_part_in_the_policy(tmp_path: Path) -> None:
    """Nothing expires there and nobody waits for it; if it is the archive, the last other one keeps as an archive."""
    rules = policy_of(load(with_location('url = "file:///far", read_only = true'), tmp_path)).rules_in_force()
    assert ["local"] == list(rules)
    assert (7, 4, 12) == (rules["local"].daily, rules["local"].weekly, rules["local"].monthly)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        (with_line("backup", "max_retrys = 3"), "max_retries"),
        (with_line("alerts", "backup_ago = 3"), "backup_age"),
        (MINIMAL + "[verificaton]", "verification"),
        (MINIMAL.replace("url =", "uri ="), "url"),
    ],
)
def test_a_misspelt_key_gets_the_nearest_known_one(tmp_path: Path, text: str, nearest: str) -> None:
    """The hint says what was probably meant."""
    with pytest.raises(ConfigUnknown) as caught:
        load(text, tmp_path)
    assert f"Write {nearest} instead, or remove it." == caught.value.advice()


def test_a_misspelt_variable_is_named(tmp_path: Path) -> None:
    """A variable of a section's name with an unknown rest does not pass in silence."""
    with pytest.raises(ConfigUnknown, match=r"backup\.retention_day\b"):
        load(MINIMAL, tmp_path, {"STRONGROOM_BACKUP_RETENTION_DAY": "3"})


@pytest.mark.parametrize(
    "line", ["database_url = 5", 'database_url = ["PASSWORD"]', 'databas_url = "PASSWORD"']
)
def test_a_wrong_secret_is_not_repeated(tmp_path: Path, line: str) -> None:
    """The error about a misplaced or mistyped secret does not hold it."""
    with pytest.raises(UsageError) as caught:
        load(with_line("source", line.replace("PASSWORD", PASSWORD)), tmp_path)
    assert PASSWORD not in json.dumps(caught.value.document())
    assert caught.value.__suppress_context__


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A wrong --config is bad use, with the path in the message."""
    with pytest.raises(ConfigUnreadable, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml", {})


def test_broken_toml_is_named_by_its_line(tmp_path: Path) -> None:
    """The line is given, and nothing of its text."""
    with pytest.raises(ConfigUnreadable, match=r"not TOML \(at line 2\)") as caught:
        load(f'[source]\ndatabase_url = "{PASSWORD}\n', tmp_path)
    assert PASSWORD not in str(caught.value)


SETTINGS = [
    f"{section}.{key}"
    for section, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and section != "repository"
    for key in field.annotation.model_fields
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_example_in_a_hint_is_accepted(tmp_path: Path, setting: str) -> None:
    """The line that a hint offers is TOML and passes the checks."""
    line = example(Settings, setting)
    assert setting.split(".")[1:] == list(tomllib.loads(line))
    text = MINIMAL.replace('name = "quantforge"\n', "") if setting == "source.name" else MINIMAL
    section = setting.partition(".")[0]
    text = (
        text.replace("[source]", f"[source]\n{line}") if section == "source" else f"{text}[{section}]\n{line}"
    )
    assert load(text, tmp_path) is not None


@pytest.mark.parametrize("setting", ["alerts.backup_age", "backup.retry_delay", "recovery.rollback_timeout"])
def test_every_variable_in_a_hint_is_read(tmp_path: Path, setting: str) -> None:
    """The variable that a hint offers leads to the setting that the error was about."""
    settings = load(MINIMAL, tmp_path, {variable(setting): "1 min"}).model_dump()
    section, key = setting.split(".")
    assert 60.0 == settings[section][key]


@pytest.mark.parametrize("short", SHORT_VARIABLES)
def test_short_variables_are_read(tmp_path: Path, short: str) -> None:
    """So do those that are spelt in a way of their own."""
    section, key = SHORT_VARIABLES[short]
    assert short == variable(f"{section}.{key}")
    assert load(MINIMAL, tmp_path, {short: "/x"}).model_dump()[section][key] is not None


def test_all_configuration_errors_are_bad_use() -> None:
    """The command line ends with status 2 for each of them."""
    kinds: list[type[StrongroomError]] = [ConfigMissing, ConfigInvalid, ConfigUnknown, ConfigUnreadable]
    assert all(issubclass(kind, UsageError) for kind in kinds)
