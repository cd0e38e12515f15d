"""Show some of the rows that differ, as they are and as they will be: for a terminal, and stored nowhere."""

from strongroom.config import Settings
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import RowsShown, ShowRows, TableRowsShown
from strongroom.recovery.comparing import match_tables, read_compared
from strongroom.recovery.sampling import sample_rows
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging_names import schema_of
from strongroom.repository.opening import open_repository


def show_rows(settings: Settings, request: ShowRows, context: Context) -> RowsShown:
    """Return at most `most` rows of each table that the last comparison found; tables without any are left out."""
    plan = request.plan
    schema = schema_of(plan)
    manifest = open_repository(settings, deadline=context.deadline).read_manifest(plan.backup)
    with connect_live(settings, plan, context.deadline) as connection:
        tables = match_tables(connection, manifest, plan)
        compared = read_compared(connection, schema)
        shown = [
            TableRowsShown(
                table=table.mapped.label, rows=sample_rows(connection, schema, table, request.most)
            )
            for table in tables
            if table.mapped.number in compared and compared[table.mapped.number].total
        ]
    return RowsShown(tables=tuple(shown))
