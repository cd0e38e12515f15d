"""Measure a drilled database: rows and digest of every table, beside the baseline in the backup's manifest.

Apart from the integrity suites on purpose: a drill's verdict hangs on two ways of looking, of which this one knows
nothing of Great Expectations.
"""

import time

from strongroom.config import Settings
from strongroom.errors import StrongroomError, Transient
from strongroom.findings import finding_of
from strongroom.format.documents import Finding, TableEntry
from strongroom.format.records import DrillTable
from strongroom.operations.context import Context, Progress
from strongroom.operations.drill_messages import DrillMeasures, MeasureDrill
from strongroom.postgres.connection import Connection, connect, translated
from strongroom.postgres.digest import quote_identifier, row_digest
from strongroom.repository.opening import open_repository


def measure_drill(settings: Settings, request: MeasureDrill, context: Context) -> DrillMeasures:
    """Count and digest every table of the backup in the destination.

    A table that cannot be measured is in the report with -1 rows and a finding: it is not equal. Raises what
    connecting raises, what may pass, and `DeadlineExceeded`.
    """
    started = time.monotonic()
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(request.backup)
    findings: list[Finding] = []
    tables = []
    conninfo = settings.destination_conninfo()
    with connect(conninfo, context.deadline, application_name="strongroom drill") as connection:
        for number, entry in enumerate(manifest.tables, 1):
            context.deadline.check()
            tables.append(_measured(connection, entry, findings))
            context.progress(Progress(number, len(manifest.tables), "tables", tables[-1].table))
        version = connection.info.server_version
    return DrillMeasures(
        server_version=version,
        tables=tuple(tables),
        seconds=round(time.monotonic() - started, 3),
        findings=tuple(findings),
    )


def _measured(connection: Connection, entry: TableEntry, findings: list[Finding]) -> DrillTable:
    """Look at one table, without the rows of its children, which are tables of their own."""
    label = f"{entry.facts.schema}.{entry.facts.name}"
    relation = f"{quote_identifier(entry.facts.schema)}.{quote_identifier(entry.facts.name)}"
    query = f"SELECT count(*), coalesce(sum({row_digest(entry.facts.columns)}), 0)::text FROM ONLY {relation} AS t"
    rows, digest = -1, ""
    try:
        with translated(label):
            row = connection.execute(query).fetchone()
        rows, digest = row or (-1, "")
    except StrongroomError as error:
        if isinstance(error, Transient):
            raise
        findings.append(finding_of(error, label, "critical", "could not be measured: "))
    return DrillTable(
        table=label, rows=rows, rows_expected=entry.rows, digest=digest, digest_expected=entry.digest
    )
