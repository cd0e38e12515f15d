"""The configuration file that `strongroom init` writes where there is none: commented, and without secrets."""

import json
from pathlib import Path

from strongroom.errors import ConfigUnreadable

_TEMPLATE = """\
# The configuration of Strongroom. Every setting can also come from the environment, which wins:
# STRONGROOM_<SECTION>_<SETTING>, for instance STRONGROOM_BACKUP_MAX_BACKUP_SIZE.

[source]
# The name under which backups are listed.
name = {source}
# Where the database is stands best in the environment, since it holds a password:
#   export STRONGROOM_DATABASE_URL='postgresql://postgres:…@db.<project ref>.supabase.co/postgres?sslmode=verify-full'
# or in files that only you can read:
# database_url_file = "~/.config/strongroom/database_url"
# password_file = "~/.config/strongroom/password"

[repository]
# A backup is written to the first location that takes it, and copied to the others. README shows three.
# min_copies = 1                    # fewer copies than this, and the backup's run fails
locations = [{{ name = "local", role = "local", url = {location} }}]

[keys]
# operator.key, signing.key, signing.pub and recovery.pub stay here; recovery.pem belongs in a safe place.
directory = {keys}

[backup]
# schedule_interval = "6 h"
# max_backup_size = "50 MiB"        # stored bytes of one backup; 0 lifts the limit
# max_backup_duration = "10 min"
# max_retries = 3
# retry_delay = "5 s"
# compression_threshold = "1 MiB"
# parallelism = 2

# retention_days = 30               # nothing is kept longer, except by a location's daily, weekly, monthly rules

[retention]
# grace = "24 h"                    # how long freed bytes stay, should somebody need them after all

[recovery]
# max_recovery_time = "30 min"
# max_data_loss_percent = 5

[verification]
# interval = "2 h"
# timeout = "5 min"
"""


def location_url(given: str) -> str:
    """Return the URL of a location that was given as a URL or as a folder."""
    return given if "://" in given else Path(given).expanduser().absolute().as_uri()


def write_configuration(path: Path, *, source: str, location: str, keys: Path) -> None:
    """Write the file, which must not be there yet. Raises `ConfigUnreadable`."""
    text = _TEMPLATE.format(source=_toml(source), location=_toml(location), keys=_toml(str(keys)))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        problem = error.strerror or "it cannot be written"
        raise ConfigUnreadable(path=path, setting="--config", problem=problem) from error


def _toml(text: str) -> str:
    """Return a TOML string: JSON's, but for the pairs that JSON makes of rare characters."""
    return json.dumps(text, ensure_ascii=False)
