"""What operations are asked and what they answer: ids, digests, counts and findings.

These values cross process borders and Prefect may persist them, so none holds rows, keys, passwords or
connection strings. Requests are named after their operation, reports end in `Report`.
"""

import datetime as dt
from typing import Literal, dataclass_transform

import msgspec

from strongroom.format.documents import BackupClass, CaptureTotals, Finding, Kind, ObjectRef, SnapshotFacts

Level = Literal["structure", "content"]
WantedKind = Literal["auto", "full", "differential", "incremental"]


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of requests and reports."""


# ------------------------------------------------------------------------------------------- making


class InitRepository(Message):
    """Make the keys, and the repository at every location: whatever of these is not there."""


class InitReport(Message):
    """What was made. `take_away` is the file for a safe place, empty if it is there already.

    `stay` are the files that a backup worker needs.
    """

    repository: str
    location: str
    keys: str
    keys_made: bool
    take_away: str
    stay: tuple[str, ...]
    locations: tuple[str, ...] = ()
    """The names of the locations that hold the repository now."""
    findings: tuple[Finding, ...] = ()
    joined: tuple[str, ...] = ()
    """Those of them where it was made just now."""


# ---------------------------------------------------------------------------------------- preflight


class CheckSource(Message):
    """Ask whether the source, the keys and the locations allow a backup."""


class CheckLocation(Message):
    """Try on a location everything that a store has to promise, below a scratch prefix."""

    location: str


class Check(Message):
    """One preflight question: what was asked, whether it holds, and what to do if not."""

    name: str
    passed: bool
    observed: str
    remedy: str = ""
    severity: Literal["warning", "error"] = "error"
    code: str = ""
    """The code of the error that a backup would meet, where there is one."""
    transient: bool = False
    """Whether asking again may bring another answer."""


class CheckReport(Message):
    """The answers of a preflight; `passed` is true if no check of severity error failed."""

    passed: bool
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks of severity error that failed."""
        return tuple(check for check in self.checks if not check.passed and check.severity == "error")

    @property
    def may_pass(self) -> bool:
        """Whether the preflight failed for nothing but what may be over in a moment."""
        return bool(self.failed) and all(check.transient for check in self.failed)


# ------------------------------------------------------------------------------------------- backup


class BeginBackup(Message):
    """Open the snapshot, plan the backup, store the plan, and hold the snapshot until released."""

    kind: WantedKind = "auto"
    backup_class: BackupClass = "scheduled"


class UnitBrief(Message):
    """A planned unit in a line: its number, a label for people, and its estimated bytes."""

    number: int
    label: str
    estimated_bytes: int


class PlanReport(Message):
    """A stored backup plan in brief. `snapshot` is the name that other sessions import."""

    backup: str
    kind: Kind
    reason: str
    snapshot: str
    units: tuple[UnitBrief, ...]
    tables: int
    estimated_bytes: int
    parent: str = ""
    resumes: str = ""
    location: str = ""
    """The location that the backup is written to; empty stands for the first one."""
    findings: tuple[Finding, ...] = ()


class CaptureCatalog(Message):
    """Capture everything that is not a table's rows: schema archive, facts, large objects, secrets."""

    backup: str
    snapshot: str
    location: str = ""


class CaptureUnit(Message):
    """Capture one unit of a stored plan inside the held snapshot."""

    backup: str
    unit: int
    snapshot: str
    location: str = ""


class UnitReport(Message):
    """What a captured unit produced: its sealed document and what it cost."""

    backup: str
    unit: int
    document: ObjectRef | None
    totals: CaptureTotals
    findings: tuple[Finding, ...] = ()


class SealBackup(Message):
    """Write the manifest of a backup whose units are all captured."""

    backup: str
    units: tuple[UnitReport, ...]
    location: str = ""


class BackupReport(Message):
    """A listed backup in brief."""

    backup: str
    kind: Kind
    backup_class: BackupClass
    reason: str
    parent: str
    base: str
    started_at: dt.datetime
    finished_at: dt.datetime
    snapshot_at: dt.datetime
    totals: CaptureTotals
    findings: tuple[Finding, ...] = ()
    locations: tuple[str, ...] = ()
    """The names of the locations that list it, once it was copied; empty before that."""


# ------------------------------------------------------------------------------------------ looking


class ListBackups(Message):
    """List all backups of the repository, or those of one location."""

    location: str = ""


class BackupBrief(Message):
    """A listed backup in a line."""

    id: str
    kind: Kind
    backup_class: BackupClass
    source: str
    snapshot_at: dt.datetime
    bytes_stored: int
    tables: int
    rows: int
    parent: str
    reason: str
    locations: tuple[str, ...] = ()
    """The names of the locations that list it, the nearest first."""
    held: str = ""
    """Why it is held, and until when; empty if it is not."""


class ListReport(Message):
    """The listed backups, newest last, and a finding for each manifest that cannot be believed."""

    location: str
    backups: tuple[BackupBrief, ...]
    findings: tuple[Finding, ...] = ()


class ShowBackup(Message):
    """Tell everything about one backup (an id or `latest`) that can be told without the recovery key."""

    backup: str = "latest"


class TableBrief(Message):
    """A table in a backup. `rows_reused` come from earlier backups; it is absent if that cannot be read."""

    table: str
    rows: int
    rows_reused: int | None
    digest: str
    managed: bool
    scratch_reason: str


class ShowReport(Message):
    """Everything about a backup. `bytes_reached` is what a restore needs, reused packs included."""

    brief: BackupBrief
    base: str
    started_at: dt.datetime
    finished_at: dt.datetime
    snapshot: SnapshotFacts
    totals: CaptureTotals
    tables: tuple[TableBrief, ...]
    sequences: int
    collections: tuple[str, ...]
    objects: int
    bytes_reached: int
    data_keys: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


# ------------------------------------------------------------------------------------- verification


class VerifyBackup(Message):
    """Verify one backup (an id or `latest`) to a level."""

    backup: str = "latest"
    level: Level = "structure"
    location: str = ""
    """The location whose copy is verified; empty for the nearest one that lists the backup."""


class VerificationReport(Message):
    """What a verification found. `passed` is false if anything at all could not be proven."""

    backup: str
    level: Level
    passed: bool
    score: int
    started_at: dt.datetime
    seconds: float
    objects_checked: int
    bytes_checked: int
    rows_checked: int
    location: str = ""
    findings: tuple[Finding, ...] = ()


# ------------------------------------------------------------------------------------------ restore


class BeginRestore(Message):
    """Check the destination and cut the restore of a backup (an id or `latest`) into units."""

    backup: str = "latest"


class RestorePlanReport(Message):
    """What a restore is going to write, in units that may run in parallel and in any order."""

    backup: str
    destination: str
    """Host and database of the destination, without credentials."""
    tables: int
    rows: int
    units: tuple[UnitBrief, ...]
    snapshot_at: dt.datetime | None = None
    """The instant that the restore goes back to, from which the recovery lag is measured."""
    findings: tuple[Finding, ...] = ()


class RestoreBeforeRows(Message):
    """Make roles, schemas, types, functions and tables."""

    backup: str


class RestoreUnit(Message):
    """Copy one unit's rows in. Safe to run twice: it empties what it fills first."""

    backup: str
    unit: int


class RestoreAfterRows(Message):
    """Make indexes, constraints, triggers, policies; set sequences and exact privileges."""

    backup: str


class RestoreStepReport(Message):
    """What a step of a restore wrote."""

    step: str
    rows: int = 0
    bytes_moved: int = 0
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()


class JudgeRestore(Message):
    """Run the integrity suites on the destination against the backup's baseline."""

    backup: str
    data_docs: str = ""
    """The folder for Data Docs; empty to write none."""


class SuiteResult(Message):
    """One suite's outcome."""

    suite: str
    passed: bool
    expectations: int
    failed: int
    worst: Literal["", "info", "warning", "critical"] = ""


class IntegrityReport(Message):
    """The suites' outcome. `passed` is false if an expectation of severity critical failed or could not run."""

    backup: str
    passed: bool
    suites: tuple[SuiteResult, ...]
    rows_expected: int
    rows_observed: int
    data_loss_percent: float
    data_docs: str = ""
    findings: tuple[Finding, ...] = ()


class RecoveryReport(Message):
    """A whole recovery in brief."""

    backup: str
    destination: str
    passed: bool
    tables: int
    rows: int
    recovery_lag_seconds: float
    recovery_duration_seconds: float
    steps: tuple[RestoreStepReport, ...]
    integrity: IntegrityReport | None = None
    findings: tuple[Finding, ...] = ()
