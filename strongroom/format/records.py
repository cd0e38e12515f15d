"""Records: small signed documents beside the backups, which say what somebody decided or found out. Pure.

Like everything here they are part of the repository format (`docs/format.md`, since version 2). A record is never
changed; a later one says otherwise, and the newest counts. Which folder and which kind of sealing belong to a type
stand with the type:

    holds/<backup id>/                    HoldRecord            a backup is held, or released again
    accepted/                             AcceptanceRecord      what the damage guard saw was meant
    reports/verification/<backup id>/     VerificationRecord    what a verification found
    garbage/                              GarbageRecord         since when objects have been unreachable
    recoveries/<run>/                     RecoveryRecord        a recovery in place, and how it ended (since version 3)
    reports/drills/<drill>/               DrillRecord           the evidence of a drill (since version 3)
"""

import datetime as dt
from typing import ClassVar, Literal

import msgspec

from strongroom.format.documents import Document, Finding
from strongroom.format.recovery_plans import RecoveryPlan

HoldAction = Literal["hold", "release"]
ProvenLevel = Literal["structure", "content", "restore"]
RecoveryOutcome = Literal["begun", "recovered", "rolled-back", "failed", "left"]


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


class RecoveredTable(Document):
    """What a recovery did to one table."""

    table: str
    inserts: int = 0
    changes: int = 0
    deletes: int = 0


class RecoveryRecord(Record):
    """A recovery in place: its plan, who ran it, and how it ended. One is written when it begins, one when it ends."""

    KIND: ClassVar[str] = "recovery"
    FOLDER: ClassVar[str] = "recoveries/"

    plan: RecoveryPlan
    outcome: RecoveryOutcome
    by: str
    emergency_backup: str = ""
    approved_by: str = ""
    tables: tuple[RecoveredTable, ...] = ()
    seconds: float = 0.0
    lock_seconds: float = 0.0
    findings: tuple[Finding, ...] = ()

    @property
    def folder(self) -> str:
        """Return the folder of this very record."""
        return f"{self.FOLDER}{self.plan.id}/"


class DrillTable(Document):
    """A table after a drill, beside the backup's baseline."""

    table: str
    rows: int
    rows_expected: int
    digest: str
    digest_expected: str


class DamageOutcome(Document):
    """One kind of damage that a mutation drill did to a copy, and what noticed it; empty if nothing did."""

    damage: str
    noticed_by: str = ""
    observed: str = ""


class DrillStep(Document):
    """A step of a drill and what it took."""

    name: str
    seconds: float


class DrillRecord(Record):
    """The evidence of a drill: what was recovered, how long it took, how it compares, beside the objectives.

    `page` is the same evidence as one HTML page that loads nothing.
    """

    KIND: ClassVar[str] = "drill"
    FOLDER: ClassVar[str] = "reports/drills/"

    drill: str
    backup: str
    source: str
    by: str
    passed: bool
    server_version: int
    recovery_point: dt.datetime
    recovery_lag_seconds: float
    recovery_lag_objective_seconds: float
    recovery_duration_seconds: float
    recovery_duration_objective_seconds: float
    bytes_moved: int = 0
    suites: int = 0
    suites_passed: int = 0
    expectations: int = 0
    tables: tuple[DrillTable, ...] = ()
    steps: tuple[DrillStep, ...] = ()
    damages: tuple[DamageOutcome, ...] = ()
    findings: tuple[Finding, ...] = ()
    page: str = ""

    @property
    def folder(self) -> str:
        """Return the folder of this very record."""
        return f"{self.FOLDER}{self.drill}/"
