"""Read recoveries: what is under way in the database, and how earlier ones ended."""

from contextlib import closing

from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.findings import finding_of
from strongroom.format.records import RecoveryRecord
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import (
    ReadRecoveries,
    RecoveriesReport,
    RecoveryBrief,
    RunReport,
)
from strongroom.recovery.run_journal import Run, is_right_taken, read_run
from strongroom.recovery.run_records import newest_records
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging_names import RUN_SCHEMA


def read_recoveries(settings: Settings, request: ReadRecoveries, context: Context) -> RecoveriesReport:  # noqa: ARG001  (as all operations)
    """Report both halves; the half that does not answer is a finding, so that the other one can be read."""
    records, findings = newest_records(settings, context)
    run: Run | None = None
    is_held = False
    try:
        with closing(connect_live(settings, None, context.deadline)) as connection:
            run, is_held = read_run(connection, RUN_SCHEMA), is_right_taken(connection)
    except StrongroomError as error:
        words = "whether a recovery is under way there is not known: "
        findings = (*findings, finding_of(error, "the live database", "warning", words))
    return RecoveriesReport(
        under_way=None if run is None else _report(run),
        plan=None if run is None else run.plan,
        is_held=is_held,
        earlier=tuple(_brief(record) for record in records),
        findings=findings,
    )


def _report(run: Run) -> RunReport:
    # Not the owner: whoever has it may commit.
    return RunReport(run=run.id, state=run.state, resumed=True, emergency_backup=run.emergency_backup)


def _brief(record: RecoveryRecord) -> RecoveryBrief:
    return RecoveryBrief(
        run=record.plan.id,
        at=record.at,
        outcome=record.outcome,
        scenario=record.plan.scenario,
        backup=record.plan.backup,
        strategy=record.plan.strategy,
        emergency_backup=record.emergency_backup,
        by=record.by,
        rows=sum(table.inserts + table.changes + table.deletes for table in record.tables),
        seconds=record.seconds,
    )
