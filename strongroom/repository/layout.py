"""The names of the objects of a repository. Pure; `docs/format.md` says what each holds."""

import datetime as dt
import re
from dataclasses import dataclass

from strongroom.format.records import (
    AcceptanceRecord,
    DrillRecord,
    GarbageRecord,
    HoldRecord,
    RecoveryRecord,
    VerificationRecord,
)
from strongroom.ids import BackupId, PackId

REPOSITORY = "repository.json"
KEYS = "keys/"
PACKS = "packs/"
UNIT_DOCUMENTS = "tables/"
ROW_MAPS = "rowmaps/"
MANIFESTS = "manifests/"
ATTEMPTS = "attempts/"
LEASES = "leases/"
RECOVERY_KEYS = "recovery-keys/"
HOLDS = HoldRecord.FOLDER
ACCEPTED = AcceptanceRecord.FOLDER
VERIFICATIONS = VerificationRecord.FOLDER
GARBAGE = GarbageRecord.FOLDER
RECOVERIES = RecoveryRecord.FOLDER
DRILLS = DrillRecord.FOLDER

_KEY_FORM = re.compile(r"keys/([a-z0-9_-]+)(?:\.([0-9]{4}))?")
_RECORD = re.compile(r"[0-9]{8}-[0-9]{9}-[0-9a-f]{8}")
_KEY_SET = re.compile(r"recovery-keys/([0-9]{4})")


@dataclass(frozen=True, slots=True, order=True)
class KeyForm:
    """A sealed form of a data key: 0 is the one that its maker stored, higher numbers were sealed anew."""

    data_key: str
    number: int

    @property
    def name(self) -> str:
        """The name of the object."""
        return KEYS + self.data_key + (f".{self.number:04d}" if self.number else "")


def key_name(data_key: str) -> str:
    """Name the first sealed form of a data key."""
    return KEYS + data_key


def key_form(name: str) -> KeyForm | None:
    """Return the sealed form that an object below `keys/` holds; None for a name that is none of this version's."""
    match = _KEY_FORM.fullmatch(name)
    # Number 0 is written without one, so that no form has two names.
    return None if match is None or match[2] == "0000" else KeyForm(match[1], int(match[2] or 0))


def key_set_name(number: int) -> str:
    """Name a set of recovery keys."""
    return f"{RECOVERY_KEYS}{number:04d}"


def key_set_number(name: str) -> int:
    """Return the number in the name of a set of recovery keys, 0 if the name is none of this version's."""
    match = _KEY_SET.fullmatch(name)
    return int(match[1]) if match else 0


def stamp(at: dt.datetime) -> str:
    """Return the instant (aware) as names carry it: in UTC, to the millisecond, sorting by time."""
    utc = at.astimezone(dt.UTC)
    return f"{utc:%Y%m%d-%H%M%S}{utc.microsecond // 1000:03}"


def record_name(folder: str, at: dt.datetime, token: str) -> str:
    """Name a record in its folder (which ends in a slash) by its instant and 8 random hex digits."""
    return f"{folder}{stamp(at)}-{token}"


def pack_name(pack: PackId) -> str:
    """Name a pack: spread over 256 folders, as some media slow down in large ones."""
    return f"{PACKS}{pack[:2]}/{pack}"


def unit_document_name(backup: str, sha256: str) -> str:
    """Name a unit document by the SHA-256 of its stored bytes."""
    return f"{UNIT_DOCUMENTS}{backup}/{sha256}"


def row_maps_name(backup: str, sha256: str) -> str:
    """Name an object of row maps by the SHA-256 of its stored bytes."""
    return f"{ROW_MAPS}{backup}/{sha256}"


def manifest_name(backup: str) -> str:
    """Name a manifest."""
    return MANIFESTS + backup


def attempt_name(backup: str) -> str:
    """Name the stored plan of a backup, finished or not."""
    return ATTEMPTS + backup


def backup_of(name: str) -> BackupId:
    """Return the backup that the name of a manifest, attempt, unit document or row map belongs to."""
    return BackupId(name.split("/")[1])


def is_record_name(name: str) -> bool:
    """Tell whether an object has the name of a record: its last part is an instant and 8 hex digits."""
    return _RECORD.fullmatch(name.rpartition("/")[2]) is not None


def stamp_of(name: str) -> str:
    """Return the stamp in the name of a record."""
    return name.rpartition("/")[2].rpartition("-")[0]
