"""The records of recoveries in the repository: one when a run begins, one when it ends. The newest of a run counts.

A recovery at three in the morning does not fail because its record cannot be stored: that is a finding, as loud as
the place allows.
"""

import datetime as dt
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, RepositoryError, StoreError
from strongroom.findings import finding_of
from strongroom.format.documents import FORMAT, Finding
from strongroom.format.records import RecoveryOutcome, RecoveryRecord
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.identity import current_user
from strongroom.operations.context import Context
from strongroom.repository import layout
from strongroom.repository.locations import open_locations
from strongroom.repository.opening import open_repository
from strongroom.repository.records import write_everywhere

T = TypeVar("T")

_LATER = dt.timedelta(milliseconds=1)
_NOT_DONE = (StoreError, RepositoryError, KeyringError, FormatError)


def new_record(plan: RecoveryPlan, outcome: RecoveryOutcome, context: Context) -> RecoveryRecord:
    """Return a record of what is true of a run now; who makes it says the rest with `msgspec.structs.replace`."""
    return RecoveryRecord(format=FORMAT, at=context.clock(), plan=plan, outcome=outcome, by=current_user())


def newest_records(
    settings: Settings, context: Context, run: str = ""
) -> tuple[tuple[RecoveryRecord, ...], tuple[Finding, ...]]:
    """Return the newest record of each run (or of one), the newest last, and a finding for what cannot be read."""
    findings: list[Finding] = []

    def read() -> Iterable[RecoveryRecord]:
        repository = open_repository(settings, deadline=context.deadline)
        newest: dict[str, str] = {}
        for name in repository.record_names(f"{layout.RECOVERIES}{run}/" if run else layout.RECOVERIES):
            newest[name.split("/")[1]] = name
        for name in newest.values():
            record = _attempt(partial(repository.read_record, RecoveryRecord, name), name, findings)
            if record is not None:
                yield record

    records = _attempt(lambda: tuple(read()), "the records of recoveries", findings) or ()
    return tuple(sorted(records, key=lambda record: record.at)), tuple(findings)


def store_once(settings: Settings, context: Context, record: RecoveryRecord) -> tuple[Finding, ...]:
    """Store a record at every location, unless the newest of its run says the same; return what went wrong."""
    earlier, findings = newest_records(settings, context, record.plan.id)
    if earlier and earlier[-1].outcome == record.outcome:
        return findings
    # The last word counts, and must come last though it be said on a machine whose clock is behind.
    at = max([record.at, *(one.at + _LATER for one in earlier)])
    missed: list[Finding] = list(findings)

    def write() -> tuple[Finding, ...]:
        repository = open_repository(settings, deadline=context.deadline)
        written, passed_over = write_everywhere(
            open_locations(settings, context.deadline),
            repository.keyring,
            replace(record, at=at),
            context.random,
        )
        return passed_over if written else (*passed_over, _stored_nowhere(record))

    missed += _attempt(write, f"the record of recovery {record.plan.id}", missed) or ()
    return tuple(missed)


def _stored_nowhere(record: RecoveryRecord) -> Finding:
    return Finding(
        severity="warning",
        code="record-not-stored",
        object=f"the record of recovery {record.plan.id}",
        expected="at least one location that can be written to",
        observed="every location is read-only",
        advice="Note down what was done: `strongroom recover status` does not know of it.",
    )


def _attempt(work: Callable[[], T], name: str, findings: list[Finding]) -> T | None:
    """Do something with the repository, or add a finding that says why not."""
    try:
        return work()
    except _NOT_DONE as error:
        findings.append(finding_of(error, name, "warning"))
    return None
