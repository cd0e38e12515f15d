"""Operations that stand for the engine's in the tests of flows: `tests.flows.fake_backup:<operation>`.

They answer as the engine would for a source of three units. What else they do is said by a script, a JSON
file in the repository's folder: operation → word ("transient 2", "lasting", "last", "stubborn", "refuse",
"die", "unproven", "unequal", "held", "denied", "empty", "broken", "hopeless"). Each call leaves a mark there,
`<number>.<operation>.<pid>.pid`; an operation on one location is called `<operation> at <location>`.
"""

import datetime as dt
import json
import os
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from strongroom.config import Settings
from strongroom.errors import (
    EmptyPolicy,
    LeaseHeld,
    SourceUnavailable,
    StoreDenied,
    StrongroomError,
    UnknownBackup,
)
from strongroom.format.documents import CaptureTotals, Finding, ObjectRef
from strongroom.operations.context import Context, Progress
from strongroom.operations.location_messages import (
    CollectGarbage,
    CollectionReport,
    CopyObjects,
    CopyReport,
    ExpireBackups,
    ExpiringBackup,
    ExpiryReport,
    KeptBackup,
    Mend,
    PlaceCopied,
    PlanRepair,
    PlanRetention,
    Repair,
    RepairPlanReport,
    RepairReport,
    Replicate,
    ReplicationReport,
    RetentionPlanReport,
    ShredKeys,
)
from strongroom.operations.messages import (
    BackupReport,
    BeginBackup,
    BeginRestore,
    CaptureCatalog,
    CaptureUnit,
    Check,
    CheckReport,
    CheckSource,
    IntegrityReport,
    JudgeRestore,
    PlanReport,
    RestoreAfterRows,
    RestoreBeforeRows,
    RestorePlanReport,
    RestoreStepReport,
    RestoreUnit,
    SealBackup,
    SuiteResult,
    UnitBrief,
    UnitReport,
    VerificationReport,
    VerifyBackup,
)

ROOM = "tests.flows.fake_backup:"
INSTANT = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
BACKUP = "20261101T120000Z-fake"
OLD = "20261001T120000Z-fake"
_UNITS = tuple(UnitBrief(number=n, label=f"public.t{n}", estimated_bytes=1000 * n) for n in (1, 2, 3))


def folder_of(settings: Settings) -> Path:
    """Return the folder where the script is and the marks go."""
    return Path(urlsplit(settings.repository.locations[0].url).path)


def calls(folder: Path) -> list[str]:
    """Return the operations in the order in which they began."""
    marks = sorted(folder.glob("*.pid"), key=lambda path: int(path.name.split(".")[0]))
    return [path.name.split(".")[1] for path in marks]


def pids(folder: Path) -> list[int]:
    """Return the processes that have run an operation."""
    return [int(path.name.split(".")[2]) for path in folder.glob("*.pid")]


def _begin(settings: Settings, operation: str, context: Context) -> str:
    """Leave a mark, do what the script says, and return its word."""
    folder = folder_of(settings)
    earlier = _mark(folder, operation)
    script = folder / "script.json"
    word, _, detail = (
        json.loads(script.read_text()).get(operation, "") if script.exists() else ""
    ).partition(" ")
    if word == "transient" and earlier < int(detail):
        raise SourceUnavailable(detail="the line was cut")
    if word in _ERRORS:
        raise _ERRORS[word]
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if word in {"last", "stubborn"}:
        time.sleep(600)
    if word == "query":
        with psycopg.connect(**settings.conninfo(), autocommit=True, application_name=detail) as connection:  # type: ignore[arg-type]
            connection.execute("SELECT pg_sleep(600)")
    return str(word)


_ERRORS: dict[str, StrongroomError] = {
    "lasting": UnknownBackup(backup="b1"),
    "denied": StoreDenied(store="the bucket", name="packs/ab/abc", reason="the key may only read"),
    "held": LeaseHeld(what="copying", holder="another run", until="13:00"),
    "empty": EmptyPolicy(location="local"),
}
"""Word -> the error that an operation ends with."""


def _mark(folder: Path, operation: str) -> int:
    """Leave a mark with the next free number, and return how many the operation had before."""
    while True:
        marks = list(folder.glob("*.pid"))
        name = f"{len(marks)}.{operation}.{os.getpid()}.pid"
        try:
            # A number is taken by whoever makes its folder first.
            (folder / f"{len(marks)}.taken").mkdir()
        except FileExistsError:
            time.sleep(0.01)
            continue
        (folder / name).touch()
        return sum(mark.name.split(".")[1] == operation for mark in marks)


def check_source(settings: Settings, request: CheckSource, context: Context) -> CheckReport:
    """Answer two questions."""
    refuses = _begin(settings, "check_source", context) == "refuse"
    checks = (
        Check(name="server version", passed=True, observed="18.4"),
        Check(name="clock", passed=not refuses, observed="4 h away", remedy="Set the clock."),
    )
    return CheckReport(passed=not refuses, checks=checks)


def begin_backup(settings: Settings, request: BeginBackup, context: Context) -> PlanReport:
    """Announce a plan of three units, and hold."""
    _begin(settings, "begin_backup", context)
    report = PlanReport(
        backup=BACKUP,
        kind="full",
        reason="there is none yet",
        snapshot="00000003-1B-1",
        units=_UNITS,
        tables=3,
        estimated_bytes=6000,
        location=settings.repository.locations[0].name,
    )
    context.announce(report)
    context.wait_for_release()
    (folder_of(settings) / "released").touch()
    return report


def capture_catalog(settings: Settings, request: CaptureCatalog, context: Context) -> UnitReport:
    """Capture nothing."""
    _begin(settings, "capture_catalog", context)
    return UnitReport(backup=request.backup, unit=0, document=_object("catalog"), totals=CaptureTotals())


def capture_unit(settings: Settings, request: CaptureUnit, context: Context) -> UnitReport:
    """Count to its estimated bytes."""
    _begin(settings, "capture_unit", context)
    context.progress(Progress(done=5, total=10, unit="bytes", label="t"))
    totals = CaptureTotals(tables=1, rows=10 * request.unit, bytes_raw=4096, bytes_stored=1024)
    return UnitReport(
        backup=request.backup, unit=request.unit, document=_object(f"u{request.unit}"), totals=totals
    )


def seal_backup(settings: Settings, request: SealBackup, context: Context) -> BackupReport:
    """Add the units up."""
    _begin(settings, "seal_backup", context)
    totals = CaptureTotals(
        tables=3,
        rows=sum(unit.totals.rows for unit in request.units),
        bytes_raw=sum(unit.totals.bytes_raw for unit in request.units),
        bytes_stored=sum(unit.totals.bytes_stored for unit in request.units),
    )
    return BackupReport(
        backup=request.backup,
        kind="full",
        backup_class="scheduled",
        reason="there is none yet",
        parent="",
        base="",
        started_at=INSTANT,
        finished_at=INSTANT,
        snapshot_at=INSTANT,
        totals=totals,
    )


def verify_backup(settings: Settings, request: VerifyBackup, context: Context) -> VerificationReport:
    """Find everything in order, or a pack missing."""
    unproven = _begin(settings, "verify_backup", context) == "unproven"
    missing = Finding(severity="critical", code="SR-0601", object="packs/ab/abc", expected="present")
    return VerificationReport(
        backup=BACKUP if request.backup == "latest" else request.backup,
        level=request.level,
        passed=not unproven,
        score=40 if unproven else 100,
        started_at=INSTANT,
        seconds=0.5,
        objects_checked=7,
        bytes_checked=3072,
        rows_checked=0,
        findings=(missing,) if unproven else (),
    )


def begin_restore(settings: Settings, request: BeginRestore, context: Context) -> RestorePlanReport:
    """Plan three units."""
    _begin(settings, "begin_restore", context)
    return RestorePlanReport(
        backup=BACKUP,
        destination="db.example.com/postgres",
        tables=3,
        rows=60,
        units=_UNITS,
        snapshot_at=INSTANT,
    )


def restore_before_rows(
    settings: Settings, request: RestoreBeforeRows, context: Context
) -> RestoreStepReport:
    """Make nothing."""
    _begin(settings, "restore_before_rows", context)
    return RestoreStepReport(step="before rows")


def restore_unit(settings: Settings, request: RestoreUnit, context: Context) -> RestoreStepReport:
    """Copy nothing."""
    _begin(settings, "restore_unit", context)
    return RestoreStepReport(step=f"unit {request.unit}", rows=10 * request.unit, bytes_moved=1024)


def restore_after_rows(settings: Settings, request: RestoreAfterRows, context: Context) -> RestoreStepReport:
    """Make nothing."""
    _begin(settings, "restore_after_rows", context)
    return RestoreStepReport(step="after rows")


def judge_restore(settings: Settings, request: JudgeRestore, context: Context) -> IntegrityReport:
    """Find the rows equal, or some of them lost."""
    unequal = _begin(settings, "judge_restore", context) == "unequal"
    lost = Finding(severity="critical", code="rows", object="public.t1", expected="10", observed="9")
    return IntegrityReport(
        backup=request.backup,
        passed=not unequal,
        suites=(
            SuiteResult(suite="public.t1", passed=not unequal, expectations=5, failed=int(unequal)),
            SuiteResult(suite="public.t2", passed=True, expectations=5, failed=0),
        ),
        rows_expected=60,
        rows_observed=59 if unequal else 60,
        data_loss_percent=1.7 if unequal else 0.0,
        findings=(lost,) if unequal else (),
    )


# ---------------------------------------------------------------------------------------- locations


def copy_objects(settings: Settings, request: CopyObjects, context: Context) -> CopyReport:
    """Copy three objects of a KiB to every location but the first."""
    _begin(settings, "copy_objects", context)
    places = tuple(
        PlaceCopied(location=one.name, objects_copied=3, bytes_copied=3072)
        for one in settings.repository.locations[1:]
    )
    return CopyReport(bytes_read=3072, places=places, seconds=0.1)


def replicate(settings: Settings, request: Replicate, context: Context) -> ReplicationReport:
    """Have a location list the backup; the first one did before."""
    _begin(settings, f"replicate at {request.location}", context)
    is_first = request.location == settings.repository.locations[0].name
    return ReplicationReport(
        location=request.location,
        backups=() if is_first else (BACKUP,),
        listed=1,
        newest=BACKUP,
        objects_copied=0,
        objects_there=0 if is_first else 3,
        bytes_copied=0,
        bytes_read=0,
        seconds=0.1,
    )


def plan_retention(settings: Settings, request: PlanRetention, context: Context) -> RetentionPlanReport:
    """Keep the newest backup everywhere, and expire an old one at every location but the last."""
    _begin(settings, "plan_retention", context)
    names = [one.name for one in settings.repository.locations]
    reason = "accepted" if request.accept else "the newest at this location"
    return RetentionPlanReport(
        planned_at=INSTANT,
        keeps=tuple(
            KeptBackup(backup=BACKUP, location=name, reasons=(f"newest: {reason}",)) for name in names
        ),
        expiries=tuple(
            ExpiringBackup(
                backup=OLD, location=name, kind="full", reason="no rule keeps it", bytes_freed=2048
            )
            for name in names[:-1]
        ),
    )


def expire_backups(settings: Settings, request: ExpireBackups, context: Context) -> ExpiryReport:
    """Expire what the plan says, and see that it speaks of this location."""
    _begin(settings, f"expire_backups at {request.location}", context)
    assert all(expiry.location == request.location for expiry in request.expiries)
    return ExpiryReport(location=request.location, expired=tuple(one.backup for one in request.expiries))


def shred_keys(settings: Settings, request: ShredKeys, context: Context) -> CollectionReport:
    """Shred a key."""
    _begin(settings, "shred_keys", context)
    return _collected("every location", keys=1)


def collect_garbage(settings: Settings, request: CollectGarbage, context: Context) -> CollectionReport:
    """Free two KiB."""
    _begin(settings, f"collect_garbage at {request.location}", context)
    return _collected(request.location)


def _collected(location: str, keys: int = 0) -> CollectionReport:
    return CollectionReport(
        location=location, deleted=2, bytes_freed=2048, keys_shredded=keys, waiting=5, bytes_waiting=512
    )


def plan_repair(settings: Settings, request: PlanRepair, context: Context) -> RepairPlanReport:
    """Find everything whole, a pack missing that another location has, or one that no location has."""
    word = _begin(settings, "plan_repair", context)
    if word not in {"broken", "hopeless"}:
        return RepairPlanReport(mends=(), objects_looked_at=9, bytes=0)
    source = "" if word == "hopeless" else "archive"
    mend = Mend(
        location="edge", name="packs/ab/abc", size=1024, sha256="00" * 32, problem="missing", source=source
    )
    lost = Finding(
        severity="critical", code="SR-0716", object="packs/ab/abc at edge", observed="no copy is left"
    )
    return RepairPlanReport(
        mends=(mend,), objects_looked_at=9, bytes=1024, findings=() if source else (lost,)
    )


def repair(settings: Settings, request: Repair, context: Context) -> RepairReport:
    """Repair all that was asked for."""
    _begin(settings, "repair", context)
    assert all(mend.source for mend in request.mends)
    return RepairReport(repaired=request.mends, bytes_copied=sum(mend.size for mend in request.mends))


def _object(name: str) -> ObjectRef:
    return ObjectRef(name=name, size=1, sha256="00" * 32)
