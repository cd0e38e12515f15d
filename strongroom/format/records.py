"""Records: small signed documents beside the backups, which say what somebody decided or found out. Pure.

Like everything here they are part of the repository format (`docs/format.md`, since version 2). A record is never
changed; a later one says otherwise, and the newest counts. Which folder and which kind of sealing belong to a type
stand with the type:

    holds/<backup id>/                    HoldRecord            a backup is held, or released again
    accepted/                             AcceptanceRecord      what the damage guard saw was meant
    reports/verification/<backup id>/     VerificationRecord    what a verification found
    garbage/                              GarbageRecord         since when objects have been unreachable
"""

import datetime as dt
from typing import ClassVar, Literal

import msgspec

from strongroom.format.documents import Document, Finding

HoldAction = Literal["hold", "release"]
ProvenLevel = Literal["structure", "content", "restore"]


class Record(Document):
    """Base of records. `KIND` is what it is sealed as, `FOLDER` where it is stored, with a slash at the end."""

    KIND: ClassVar[str] = ""
    FOLDER: ClassVar[str] = ""

    format: int
    at: dt.datetime

    @property
    def folder(self) -> str:
        """Return the folder of this very record."""
        return self.FOLDER


class _RecordOfBackup(Record):
    """A record about one backup, in that backup's own folder."""

    backup: str

    @property
    def folder(self) -> str:
        """Return the folder of this very record."""
        return f"{self.FOLDER}{self.backup}/"


class HoldRecord(_RecordOfBackup):
    """Somebody keeps a backup whatever the policy says, `until` an instant or for good; or lets it go again."""

    KIND: ClassVar[str] = "hold"
    FOLDER: ClassVar[str] = "holds/"

    action: HoldAction
    reason: str
    by: str
    until: dt.datetime | None = None


class AcceptanceRecord(Record):
    """Somebody said that what the damage guard saw in a backup of this source was meant."""

    KIND: ClassVar[str] = "acceptance"
    FOLDER: ClassVar[str] = "accepted/"

    source: str
    backup: str
    reason: str
    by: str


class VerificationRecord(_RecordOfBackup):
    """What a verification of one backup looked at and found, at the location of this name."""

    KIND: ClassVar[str] = "verification"
    FOLDER: ClassVar[str] = "reports/verification/"

    level: ProvenLevel
    passed: bool
    score: int
    seconds: float
    objects_checked: int
    bytes_checked: int
    rows_checked: int
    location: str
    findings: tuple[Finding, ...] = ()


class Unreached(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An object that no manifest names, and since when: an array of two, for there may be many."""

    name: str
    since: dt.datetime


class GarbageRecord(Record):
    """All objects of a location that no manifest reaches; each newer record takes the older one's place."""

    KIND: ClassVar[str] = "garbage"
    FOLDER: ClassVar[str] = "garbage/"

    location: str
    unreachable: tuple[Unreached, ...] = ()
