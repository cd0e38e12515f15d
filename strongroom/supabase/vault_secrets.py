"""Vault secrets: read in clear through `vault.decrypted_secrets`, and made again by `vault.create_secret`.

The destination has a key of its own, so the ciphertext would be of no use there. What is read here is for
sealing at once: it never reaches a disk, a log or a finding. For example:

    captured = read_vault_secrets(connection)
    findings = create_vault_secrets(destination, captured.content)
"""

from dataclasses import dataclass

import msgspec
import psycopg
from psycopg import errors as pg

from strongroom.decoding import decode_as
from strongroom.errors import CollectionUnreadable, LimitError, StrongroomError, Transient
from strongroom.format.documents import Finding
from strongroom.postgres.connection import Connection, translate, translated

_READ = """
SELECT id::text, coalesce(name, ''), coalesce(description, ''), decrypted_secret
FROM vault.decrypted_secrets ORDER BY created_at, id
"""
_HAS_CREATE = """
SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('vault') AND proname = 'create_secret'
"""
_SAME = """
SELECT count(*) FROM vault.decrypted_secrets
WHERE coalesce(name, '') = %s AND coalesce(description, '') = %s AND decrypted_secret = %s
"""


class VaultSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret in clear."""

    id: str
    name: str
    description: str
    secret: str

    def __repr__(self) -> str:
        """Keep the secret out of tracebacks and logs."""
        return f"VaultSecret(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class CapturedSecrets:
    """The secrets, serialised for sealing (empty if there are none), and what could not be read."""

    content: bytes
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        """Keep the secrets out of tracebacks and logs."""
        return f"CapturedSecrets({len(self.content)} bytes)"


def read_vault_secrets(connection: Connection) -> CapturedSecrets:
    """Read all vault secrets; where there is no vault there are none."""
    with translated("the vault"):
        row = connection.execute("SELECT to_regclass('vault.decrypted_secrets') IS NOT NULL").fetchone()
        if not row or not row[0]:
            return CapturedSecrets(b"")
        try:
            # In a transaction this is a savepoint, so that a refusal does not end the snapshot.
            with connection.transaction():
                rows = connection.execute(_READ).fetchall()
        except pg.InsufficientPrivilege:
            return CapturedSecrets(
                b"",
                (
                    Finding(
                        severity="error",
                        code="vault-not-readable",
                        object="vault.decrypted_secrets",
                        observed="the role may not read it, so vault secrets are not in the backup",
                        advice="Connect as `postgres`, or grant the role SELECT on vault.decrypted_secrets.",
                    ),
                ),
            )
    secrets = [VaultSecret(id=i, name=n, description=d, secret=s) for i, n, d, s in rows if s is not None]
    return CapturedSecrets(msgspec.json.encode(secrets) if secrets else b"")


def create_vault_secrets(connection: Connection, content: bytes) -> tuple[Finding, ...]:
    """Make the secrets that are not there yet; name those that got a new id or were refused."""
    secrets = _decode(content)
    if not secrets:
        return ()
    with translated("the vault"):
        row = connection.execute(_HAS_CREATE).fetchone()
    if not row or not row[0]:
        return tuple(_refused(secret, "the destination has no vault") for secret in secrets)
    return tuple(finding for secret in secrets if (finding := _create(connection, secret)) is not None)


def _decode(content: bytes) -> list[VaultSecret]:
    if not content:
        return []
    try:
        return decode_as(list[VaultSecret], content)
    except msgspec.MsgspecError:
        # The decoder's message could quote a secret, so it is not chained.
        raise CollectionUnreadable(collection="vault secrets", detail="they are damaged") from None


def _create(connection: Connection, secret: VaultSecret) -> Finding | None:
    try:
        row = connection.execute(_SAME, [secret.name, secret.description, secret.secret]).fetchone()
        if row and row[0]:
            return None
        connection.execute(
            "SELECT vault.create_secret(%s, %s, %s)", [secret.secret, secret.name or None, secret.description]
        )
    except psycopg.Error as error:
        problem = translate(error, "the vault")
        if _passes(problem):
            raise problem from None
        return _refused(secret, f"the destination refused it [{error.sqlstate}]")
    return Finding(
        severity="info",
        code="vault-secret-new-id",
        object=f"vault secret {secret.name or secret.id}",
        expected=f"id {secret.id}",
        observed="made again under a new id, since the vault chooses ids itself",
        advice="Look it up by name; where an id was stored, store the new one.",
    )


def _passes(problem: StrongroomError) -> bool:
    return isinstance(problem, Transient | LimitError)


def _refused(secret: VaultSecret, reason: str) -> Finding:
    return Finding(
        severity="error",
        code="vault-secret-not-restored",
        object=f"vault secret {secret.name or secret.id}",
        observed=reason,
        advice="Make it by hand with vault.create_secret(secret, name, description).",
    )
