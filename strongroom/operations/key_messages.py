"""What the operations on keys are asked and what they answer: ids, counts and findings, never a key."""

from typing import Literal

from strongroom.format.documents import Finding
from strongroom.operations.messages import Message

KeyStatus = Literal["current", "retired", "unknown"]


class RotateKeys(Message):
    """Seal every data key anew, for other recovery keys.

    `to` names public keys, by file or by id; empty stands for those of the key directory. They are added to the
    present ones, or with `retire` take their place, and then the old ones open nothing any more.
    """

    to: tuple[str, ...] = ()
    retire: bool = False


class RotationReport(Message):
    """What a rotation did. `passed` is false if a data key or a location was left behind."""

    passed: bool
    number: int
    """The number of the set of recovery keys that counts now; 0 is the one of `repository.json`."""
    recovery_keys: tuple[str, ...]
    retired: tuple[str, ...]
    data_keys: int
    resealed: int
    proven: tuple[str, ...]
    """The recovery keys whose private halves were here, so that every data key was opened with them afterwards."""
    forms_deleted: int
    locations: tuple[str, ...]
    seconds: float
    findings: tuple[Finding, ...] = ()


class ListKeys(Message):
    """List the recovery keys of the key directory and of the repository. No passphrase is asked for."""


class RecoveryKeyBrief(Message):
    """A recovery key in a line: `public_files` and `private_files` are names in the key directory."""

    id: str
    status: KeyStatus
    public_files: tuple[str, ...]
    private_files: tuple[str, ...]
    data_keys: int
    """How many data keys are sealed to it, by the sealed form that counts."""


class KeysReport(Message):
    """The recovery keys, and what is sealed to them."""

    location: str
    operator_key: str
    signing_key: str
    number: int
    """The number of the set of recovery keys that counts; 0 if keys were never rotated."""
    recovery_keys: tuple[RecoveryKeyBrief, ...]
    data_keys: int
    openable: int
    """How many data keys a private key file of the key directory fits, if its passphrase is known."""
    locked: tuple[str, ...]
    """The ids of the others: with what is in the key directory alone, what they sealed cannot be read."""
    superseded: int
    """How many older sealed forms there still are."""
    findings: tuple[Finding, ...] = ()
