"""Restore, after the rows: everything that is not rows and not needed by them, and the planner's statistics."""

import time

from strongroom.config import Settings
from strongroom.operations.context import Context
from strongroom.operations.messages import RestoreAfterRows, RestoreStepReport
from strongroom.postgres.connection import connect, translated
from strongroom.postgres.database_facts import decode_facts
from strongroom.recovery.empty_destination import restore_after_rows as make_the_rest
from strongroom.recovery.journal import close_journal
from strongroom.repository.collections import FACTS, LARGE_OBJECTS, SCHEMA, SECRETS, read_collection
from strongroom.repository.opening import open_repository


def restore_after_rows(settings: Settings, request: RestoreAfterRows, context: Context) -> RestoreStepReport:
    """Make indexes, constraints, triggers, privileges and the rest exact. May run again."""
    started = time.monotonic()
    repository = open_repository(settings, to_read_rows=True)
    manifest = repository.read_manifest(request.backup)
    conninfo = settings.destination_conninfo()
    findings = make_the_rest(
        conninfo,
        b"".join(read_collection(repository, manifest, SCHEMA)),
        decode_facts(b"".join(read_collection(repository, manifest, FACTS))),
        manifest.sequences,
        context.deadline,
        jobs=settings.backup.parallelism,
        large_objects=read_collection(repository, manifest, LARGE_OBJECTS),
        secrets=b"".join(read_collection(repository, manifest, SECRETS)),
    )
    with connect(conninfo, context.deadline, application_name="strongroom restore") as connection:
        # Without statistics the first queries after a recovery are planned blindly.
        with translated("ANALYZE"):
            connection.execute("ANALYZE")
        close_journal(connection)
    return RestoreStepReport(
        step="indexes, constraints, privileges",
        seconds=round(time.monotonic() - started, 3),
        findings=tuple(findings),
    )
