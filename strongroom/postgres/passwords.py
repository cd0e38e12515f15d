"""Passwords kept in libpq's password file, PGPASSFILE or ~/.pgpass: `host:port:database:user:password`.

libpq itself would look there, but under the address of the TLS bridge it would find nothing.
"""

import re
import stat
from collections.abc import Mapping
from pathlib import Path

_FIELD = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)")
_PRIVATE = stat.S_IRWXG | stat.S_IRWXO


def stored_password(conninfo: Mapping[str, str]) -> str | None:
    """Return the password of the first line that fits the connection; None without one.

    A file that others may read is passed over, as libpq does.
    """
    given = conninfo.get("passfile")
    path = Path(given).expanduser() if given else Path.home() / ".pgpass"
    try:
        if not path.is_file() or path.stat().st_mode & _PRIVATE:
            return None
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    user = conninfo.get("user", "")
    host = conninfo.get("host") or conninfo.get("hostaddr") or "localhost"
    wanted = (host, conninfo.get("port") or "5432", conninfo.get("dbname") or user, user)
    return next((password for line in lines if (password := _password_for(line, wanted)) is not None), None)


def _password_for(line: str, wanted: tuple[str, str, str, str]) -> str | None:
    if line.startswith("#"):
        return None
    fields = list(_FIELD.findall(line))
    if len(fields) < 5:
        return None
    plain = [re.sub(r"\\(.)", r"\1", field) for field in fields]
    fits = all(
        raw == "*" or value == want for raw, value, want in zip(fields[:4], plain[:4], wanted, strict=True)
    )
    return plain[4] if fits else None
