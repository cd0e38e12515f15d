"""What happens to the golden repository after its backups: keys are rotated, records are written.

The rotation is one that was cut off, so that everything can be seen at once: the second recovery key was added; a
retention run then deleted some of the superseded forms; retiring the first key got as far as one data key. Both
recovery keys still open everything.
"""

import datetime as dt
from collections.abc import Callable

from strongroom.format.documents import FORMAT, Finding
from strongroom.format.records import (
    AcceptanceRecord,
    DrillRecord,
    GarbageRecord,
    HoldAction,
    HoldRecord,
    Record,
    RecoveryRecord,
    Unreached,
    VerificationRecord,
)
from strongroom.repository.data_keys import superseded_forms
from strongroom.repository.repository import Repository
from strongroom.repository.rotation import execute_rotation
from strongroom.repository.rotation_plan import plan_rotation
from tests.golden.recoveries import write_recoveries

RECORDS: tuple[type[Record], ...] = (
    HoldRecord,
    AcceptanceRecord,
    VerificationRecord,
    GarbageRecord,
    RecoveryRecord,
    DrillRecord,
)

ADDED_AT = dt.datetime(2026, 1, 3, 9, 0, 0, 123_456, tzinfo=dt.UTC)
RETIRED_AT = ADDED_AT + dt.timedelta(days=1)
RECORDS_AT = RETIRED_AT + dt.timedelta(hours=2)
_MINUTE = dt.timedelta(minutes=1)

_EARLIER_FORMS_DELETED = 3


class _CutOff(Exception):
    """The rotation ends here."""


def happen_afterwards(repository: Repository, random: Callable[[int], bytes]) -> None:
    """Rotate keys and write records, all at instants that are fixed."""
    first, second = (key.public() for key in repository.keyring.recovery_privates())
    plan = plan_rotation([repository], [first, second], retire=False)
    execute_rotation(plan, [repository], ADDED_AT)
    for form in superseded_forms(repository.data_keys)[:_EARLIER_FORMS_DELETED]:
        repository.store.delete(form.name)
    plan = plan_rotation([repository], [second], retire=True)
    try:
        # The set, and the first data key.
        execute_rotation(plan, [repository], RETIRED_AT, check=_after(2))
    except _CutOff:
        _write_records(repository, random)
        write_recoveries(repository, RECORDS_AT + dt.timedelta(days=1), random)


def _after(allowed: int) -> Callable[[], None]:
    left = [allowed]

    def check() -> None:
        if left[0] == 0:
            raise _CutOff
        left[0] -= 1

    return check


def _write_records(repository: Repository, random: Callable[[int], bytes]) -> None:
    full, incremental = repository.backup_ids()
    at = RECORDS_AT
    said: tuple[tuple[HoldAction, str, dt.datetime | None], ...] = (
        ("hold", "the auditors ask for it", None),
        ("release", "they have seen it", None),
        ("hold", "they want to see it again", at + dt.timedelta(days=90)),
    )
    for action, reason, until in said:
        record = HoldRecord(
            format=FORMAT, backup=full, action=action, at=at, until=until, reason=reason, by="ada (uid 1000)"
        )
        repository.put_record(record, random)
        at += _MINUTE
    accepted = AcceptanceRecord(
        format=FORMAT,
        source="quantforge",
        backup=incremental,
        at=at,
        reason="old ticks were archived",
        by="ada (uid 1000)",
    )
    repository.put_record(accepted, random)
    repository.put_record(_verification(full, at + _MINUTE), random)
    finding = Finding(severity="critical", code="SR-0602", object="packs/00/00", observed="it was not there")
    repository.put_record(_verification(incremental, at + 2 * _MINUTE, finding), random)
    repository.put_record(GarbageRecord(format=FORMAT, at=at + 3 * _MINUTE, location="local"), random)
    unreachable = (
        Unreached(name="packs/00/00", since=at - dt.timedelta(days=7)),
        Unreached(name="packs/00/01", since=at),
    )
    garbage = GarbageRecord(format=FORMAT, at=at + 4 * _MINUTE, location="local", unreachable=unreachable)
    repository.put_record(garbage, random)


def _verification(backup: str, at: dt.datetime, *findings: Finding) -> VerificationRecord:
    return VerificationRecord(
        format=FORMAT,
        backup=backup,
        level="content" if findings else "structure",
        passed=not findings,
        score=90 if findings else 100,
        at=at,
        seconds=1.25,
        objects_checked=20,
        bytes_checked=123_456,
        rows_checked=17_000 if findings else 0,
        location="local",
        findings=findings,
    )
