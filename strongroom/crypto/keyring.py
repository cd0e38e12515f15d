"""The keyring: the keys that this process holds, and the errors for those that it does not. Pure.

Reading key files is `strongroom.keys`. Example:

    operator = keyring.require_operator()
"""

from dataclasses import dataclass

from strongroom.crypto.operator_key import OperatorKey
from strongroom.crypto.recovery_keys import RecoveryPrivateKey, RecoveryPublicKey
from strongroom.crypto.signing_key import SigningKey, SigningPublicKey
from strongroom.errors import MissingKey

_COPY_BACK = (
    "Copy {file} into the key directory from where `strongroom init` made it, or from your safe copy."
)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by their role; None, or an empty tuple, for what was not loaded."""

    operator: OperatorKey | None = None
    signing: SigningKey | None = None
    signing_public: SigningPublicKey | None = None
    recovery_public: tuple[RecoveryPublicKey, ...] = ()
    recovery_private: RecoveryPrivateKey | None = None
    further_private: tuple[RecoveryPrivateKey, ...] = ()
    """More recovery private keys, where one after a rotation is there beside the one before it."""

    @property
    def can_read_rows(self) -> bool:
        """Tell whether the recovery private key is here, so that chunks can be opened."""
        return self.recovery_private is not None

    def require_operator(self) -> OperatorKey:
        """Return the key that opens manifests, table documents and row maps."""
        if self.operator is None:
            raise _missing("operator.key", "it opens manifests, table documents and row maps")
        return self.operator

    def require_signing(self) -> SigningKey:
        """Return the key that signs manifests."""
        if self.signing is None:
            raise _missing("signing.key", "it signs what a backup writes")
        return self.signing

    def require_signing_public(self) -> SigningPublicKey:
        """Return the key that tells true manifests from forged ones."""
        if self.signing_public is None:
            raise _missing("signing.pub", "it tells true backups from forged ones")
        return self.signing_public

    def require_recovery_public(self) -> tuple[RecoveryPublicKey, ...]:
        """Return the keys that data keys are sealed to, at least one."""
        if not self.recovery_public:
            raise _missing("recovery.pub", "without it nobody could read the backup")
        return self.recovery_public

    def require_recovery_private(self) -> RecoveryPrivateKey:
        """Return the key that opens data keys, and with them rows."""
        if self.recovery_private is None:
            remedy = (
                "Fetch recovery.pem from its safe place, put it into the key directory of the machine that "
                "restores, and give its passphrase at the prompt or in STRONGROOM_RECOVERY_PASSPHRASE. "
                "Backups and structural verification work without it."
            )
            raise MissingKey(file="recovery.pem", purpose="only it opens rows", remedy=remedy)
        return self.recovery_private

    def recovery_privates(self) -> tuple[RecoveryPrivateKey, ...]:
        """Return every recovery private key that is here, at least one; raise `MissingKey`."""
        return (self.require_recovery_private(), *self.further_private)


def _missing(file: str, purpose: str) -> MissingKey:
    return MissingKey(file=file, purpose=purpose, remedy=_COPY_BACK.format(file=file))
