"""Verify one backup to a level at one location, and report what was found. Could not verify is a failure.

What is damaged there and whole at another location is mended on the way, and proven again: it stays in the report
as a warning. The outcome is written down as a record, which retention goes by (I8).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from strongroom.config import Settings
from strongroom.crypto.keyring import Keyring
from strongroom.errors import (
    CopyDamaged,
    FormatError,
    KeyringError,
    LeaseHeld,
    NoBackupYet,
    ObjectMissing,
    StoreError,
    StrongroomError,
    Transient,
    UnknownBackup,
)
from strongroom.findings import finding_of
from strongroom.format.documents import FORMAT, Finding, Manifest
from strongroom.format.records import VerificationRecord
from strongroom.ids import new_backup_id
from strongroom.keys import load_keyring
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import VerificationReport, VerifyBackup
from strongroom.repository import layout
from strongroom.repository.leases import Lease
from strongroom.repository.locations import Location, by_nearness, find_location, nearest, open_locations
from strongroom.repository.reach import reached_objects
from strongroom.repository.records import write_everywhere
from strongroom.repository.repair import Fault, Repairing, newest_form
from strongroom.repository.repository import Repository
from strongroom.repository.writing import COPY_RIGHT
from strongroom.stores.protocol import Store
from strongroom.verification.verification import Verification

_GRAVE = frozenset({"error", "critical"})


def verify_backup(settings: Settings, request: VerifyBackup, context: Context) -> VerificationReport:
    """Verify a backup and return the report; damage is in the report, not raised.

    Raises `UnknownBackup`, `NoBackupYet`, and what makes verifying impossible: a store out of reach, no key.
    """
    started = context.clock()
    place = _open(settings, request, context)
    findings, work = _verify(place, request, context)
    mended = _mend(place, findings, work.manifest if work else None, context)
    if mended:
        again, work = _verify(place, request, context)
        findings = [*again, *mended]
    report = VerificationReport(
        backup=place.backup,
        level=request.level,
        passed=not any(finding.severity in _GRAVE for finding in findings),
        score=_score(findings, work.objects_named if work else 1),
        started_at=started,
        seconds=round((context.clock() - started).total_seconds(), 3),
        objects_checked=work.objects_checked if work else 0,
        bytes_checked=work.bytes_checked if work else 0,
        rows_checked=work.rows_checked if work else 0,
        location=place.location.name,
        findings=tuple(findings),
    )
    report = _recorded(place, report, context)
    if place.unseen:
        # What was recorded is true of this copy. That it is the newest backup is what nobody knows.
        report = msgspec.structs.replace(report, passed=False, findings=(*report.findings, *place.unseen))
    return report


@dataclass(frozen=True)
class _Place:
    """The copy that is verified: which backup, where, and the other locations that may have a good one."""

    backup: str
    location: Location
    repository: Repository
    others: tuple[Location, ...]
    unseen: tuple[Finding, ...] = ()
    """Locations that did not answer when the latest backup was asked for: a newer one may be there."""


def _open(settings: Settings, request: VerifyBackup, context: Context) -> _Place:
    """Open the location asked for, or the nearest that lists the backup and answers."""
    to_read_rows = request.level == "content"
    keyring = load_keyring(
        settings.keys.directory, passphrase=settings.keys.read_passphrase if to_read_rows else None
    )
    if to_read_rows:
        keyring.require_recovery_private()
    locations = open_locations(settings, context.deadline)
    if request.location:
        find_location(settings, request.location)
    asked = [one for one in by_nearness(locations) if request.location in {"", one.name}]
    last: StrongroomError | None = None
    backup = request.backup
    unseen: tuple[Finding, ...] = ()
    if backup == "latest":
        backup, unseen = _latest(asked, keyring)
    for location in asked:
        try:
            repository = Repository.open(location.store, keyring)
            location.store.stat(layout.manifest_name(backup))
        except StrongroomError as error:
            if len(locations) == 1 and not isinstance(error, StoreError):
                raise
            last = error if last is None or isinstance(error, Transient) else last
            continue
        others = tuple(one for one in locations if one.name != location.name)
        return _Place(backup, location, repository, others, unseen)
    if last is not None and not isinstance(last, ObjectMissing):
        # Where it is may be the location that does not answer.
        raise last
    raise UnknownBackup(backup=backup)


def _latest(locations: Sequence[Location], keyring: Keyring) -> tuple[str, tuple[Finding, ...]]:
    """Return the newest backup that any location lists, and a finding for each location that did not answer.

    Raises `NoBackupYet`, and what listing raises if no location answers.
    """
    Repository.open(nearest(locations), keyring)
    newest = ""
    failed: list[tuple[Location, StoreError]] = []
    for location in locations:
        try:
            listed = [layout.backup_of(stored.name) for stored in location.store.list(layout.MANIFESTS)]
        except StoreError as error:
            failed.append((location, error))
        else:
            newest = max((newest, *listed))
    if not newest:
        raise failed[0][1] if failed else NoBackupYet
    return newest, tuple(
        finding_of(error, f"location {location.name}", preface="a newer backup may be there: ")
        for location, error in failed
    )


def _verify(
    place: _Place, request: VerifyBackup, context: Context
) -> tuple[list[Finding], Verification | None]:
    """Look at everything; a manifest that does not open is the only finding there can be."""
    try:
        manifest = place.repository.read_manifest(place.backup)
    except (FormatError, KeyringError) as error:
        return [finding_of(error, layout.manifest_name(place.backup), "critical")], None

    def progress(done: int, total: int) -> None:
        context.progress(Progress(done, total, "objects", place.backup))

    work = Verification(place.repository, manifest, context.deadline, progress)
    work.check_structure()
    if request.level == "content":
        work.check_content()
    return work.findings, work


def _mend(
    place: _Place, findings: Sequence[Finding], manifest: Manifest | None, context: Context
) -> list[Finding]:
    """Fetch good copies of what was found damaged or missing; return a warning for each that was mended."""
    faults = [] if not place.others else _faults(findings, manifest, place.location.store)
    if not faults or place.location.settings.read_only:
        return []
    mended = []
    token = new_backup_id(context.clock(), context.random(5))
    repairing = Repairing(nearest(place.others), place.location, place.repository.keyring)
    try:
        with Lease(place.location.store, COPY_RIGHT, token, context.clock):
            for fault in faults:
                try:
                    repairing.mend(fault)
                except CopyDamaged:
                    continue
                mended.append(_mended(place, fault))
    except (LeaseHeld, StoreError, FormatError):
        # What was found stays found; the next verification, or `repair`, tries again.
        return mended
    return mended


def _faults(findings: Sequence[Finding], manifest: Manifest | None, store: Store) -> list[Fault]:
    grave = {finding.object.split(" ")[0] for finding in findings if finding.severity in _GRAVE}
    known = {reference.name: reference for reference in reached_objects(manifest)} if manifest else {}
    faults = []
    for name in sorted(grave):
        if name in known:
            faults.append(Fault(name, known[name].size, known[name].sha256, "damaged"))
        elif name.startswith((layout.KEYS, layout.MANIFESTS)):
            # Of a data key the newest form is what was looked at, and what goes.
            with suppress(ObjectMissing):
                name = newest_form(store, name)  # noqa: PLW2901  (the same object by its full name)
            faults.append(Fault(name, 0, "", "damaged"))
    return faults


def _mended(place: _Place, fault: Fault) -> Finding:
    return Finding(
        severity="warning",
        code="repaired",
        object=fault.name,
        observed=f"it was damaged or missing at {place.location.name}, and was copied from another location",
        advice="Look for what damages objects there: the disk, the network, or somebody who can write to it.",
    )


def _recorded(place: _Place, report: VerificationReport, context: Context) -> VerificationReport:
    """Write the outcome down; a record that cannot be written is a finding, for the outcome is true all the same."""
    if place.repository.keyring.signing is None:
        return report
    record = VerificationRecord(
        format=FORMAT,
        at=context.clock(),
        backup=report.backup,
        level=report.level,
        passed=report.passed,
        score=report.score,
        seconds=report.seconds,
        objects_checked=report.objects_checked,
        bytes_checked=report.bytes_checked,
        rows_checked=report.rows_checked,
        location=report.location,
        findings=report.findings,
    )
    try:
        _, unwritten = write_everywhere(
            [place.location, *place.others], place.repository.keyring, record, context.random
        )
    except StrongroomError as error:
        unwritten = (finding_of(error, "the record of this verification", "warning"),)
    return msgspec.structs.replace(report, findings=(*report.findings, *unwritten))


def _score(findings: Sequence[Finding], objects: int) -> int:
    """Return 100 for no finding of weight; each object that is wrong takes its share and at least one point."""
    wrong = len({f.object for f in findings if f.severity in _GRAVE})
    if wrong == 0:
        return 100
    return max(0, min(99, round(100 * (1 - wrong / max(objects, wrong)))))
