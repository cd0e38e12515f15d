"""What a Postgres program's last words mean: its stderr translated into coded errors.

Rows may stand in stderr (DETAIL, CONTEXT, the statement that failed), so only lines of known kinds go on.
"""

import re

from strongroom.errors import (
    LoginRefused,
    MissingRight,
    ProgramFailed,
    ServerNewerThanProgram,
    SourceUnavailable,
    StrongroomError,
    TlsRefused,
)
from strongroom.postgres.programs import Program

_SPEAKS = re.compile(
    r"^(?:pg_dump|pg_restore|pg_dumpall|psql)(?::[^:]*:\d+)?: (?:error: |fatal: |warning: )?(.*)$"
)
_VERSIONS = re.compile(r"server version: [^;]*; \w+ version: .*")
_SERVER_SPEAKS = re.compile(r"(?:ERROR|FATAL|PANIC): +(.*)$")
_SHOWN_LINES = 12
_SHOWN_CHARACTERS = 300

_LOGIN = (
    "authentication failed",
    "no password supplied",
    "no such user",
    "user not found",
    "not permitted to log in",
)
_TLS = ("certificate", "ssl", "no pg_hba.conf entry", "no encryption")
_CUT = ("server closed the connection", "connection to server was lost", "terminating connection")
_AWAY = (
    *_CUT,
    "could not connect",
    "connection refused",
    "could not translate host name",
    "timeout expired",
    "too many clients",
    "remaining connection slots",
    "the database system is",
    "no such file or directory",
)


def translate_failure(program: Program, status: int, stderr: str, secret: str = "") -> StrongroomError:
    """Return the coded error for a program that ended with `status`; `secret` is blotted out."""
    lines = telling_lines(stderr, secret)
    detail = next((line for line in lines if line), "it said nothing")
    lowered = "\n".join(lines).lower()
    versions = _VERSIONS.search(stderr)
    if versions is not None:
        return ServerNewerThanProgram(program=program.name, major=program.major, detail=versions.group())
    if "permission denied" in lowered:
        return MissingRight(object=program.name, detail=detail)
    if "connection to server" in lowered:
        return _connection_failure(detail, lowered)
    if any(words in lowered for words in _CUT):
        return SourceUnavailable(detail=detail)
    log = "\n".join(lines[-_SHOWN_LINES:])
    return ProgramFailed(program=program.name, status=status, detail=detail, log=log)


def telling_lines(stderr: str, secret: str = "") -> list[str]:
    """Return what the program and the server said, without rows, statements and secrets."""
    lines = []
    for line in stderr.splitlines():
        found = _SPEAKS.match(line) or _SERVER_SPEAKS.search(line)
        if found is None or found.group(1).startswith(("detail:", "Command was:")):
            continue
        text = found.group(1)[:_SHOWN_CHARACTERS]
        lines.append(text.replace(secret, "***") if secret else text)
    return lines


def _connection_failure(detail: str, lowered: str) -> StrongroomError:
    if any(words in lowered for words in _LOGIN):
        return LoginRefused(detail=detail)
    if any(words in lowered for words in _AWAY):
        return SourceUnavailable(detail=detail)
    if "does not exist" in lowered:
        return LoginRefused(detail=detail)
    if any(words in lowered for words in _TLS):
        return TlsRefused(detail=detail)
    return SourceUnavailable(detail=detail)
