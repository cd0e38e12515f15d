"""Restore, before the rows: roles, schemas, extensions, types, functions, tables; and the journal."""

import time

from strongroom.config import Settings
from strongroom.format.documents import Manifest
from strongroom.operations.context import Context
from strongroom.operations.messages import RestoreBeforeRows, RestoreStepReport
from strongroom.postgres.connection import Connection, connect, translated
from strongroom.postgres.copy_in import load_without_triggers
from strongroom.postgres.database_facts import decode_facts
from strongroom.postgres.extents import qualified
from strongroom.recovery.empty_destination import restore_before_rows as make_definitions
from strongroom.recovery.journal import has_units, open_journal
from strongroom.repository.collections import FACTS, SCHEMA, read_collection
from strongroom.repository.opening import open_repository


def restore_before_rows(
    settings: Settings, request: RestoreBeforeRows, context: Context
) -> RestoreStepReport:
    """Make what rows need, and empty the platform's tables that are about to be filled. May run again."""
    started = time.monotonic()
    repository = open_repository(settings, to_read_rows=True)
    manifest = repository.read_manifest(request.backup)
    archive = b"".join(read_collection(repository, manifest, SCHEMA))
    facts = decode_facts(b"".join(read_collection(repository, manifest, FACTS)))
    conninfo = settings.destination_conninfo()
    with connect(conninfo, context.deadline, application_name="strongroom restore") as connection:
        open_journal(connection, manifest.id)
        findings = make_definitions(conninfo, archive, facts, context.deadline)
        _empty_managed_tables(connection, manifest)
    return RestoreStepReport(
        step="definitions", seconds=round(time.monotonic() - started, 3), findings=tuple(findings)
    )


def _empty_managed_tables(connection: Connection, manifest: Manifest) -> None:
    """Remove what the platform put into its tables by itself: the backup has rows of the same keys.

    The destination was checked to be empty of the user's rows. Triggers are off, so nothing cascades. Not
    once units are in: then it was done before.
    """
    load_without_triggers(connection)
    if has_units(connection, manifest.id):
        return
    for entry in manifest.tables:
        if entry.facts.managed and entry.rows:
            with translated(f"{entry.facts.schema}.{entry.facts.name}"):
                connection.execute(f"DELETE FROM ONLY {qualified(entry.facts)}")
