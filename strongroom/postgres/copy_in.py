"""COPY … FROM STDIN: rows into a destination, by column name, without firing triggers."""

from collections.abc import Iterable, Sequence

from strongroom.errors import DestinationLacksTable
from strongroom.format.documents import Finding, TableFacts
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import captured_columns, quote_identifier
from strongroom.postgres.extents import qualified


class TableFiller:
    """Fills one table of a destination with COPY text that was captured with `table`'s columns.

    Columns are matched by name. A column that only the backup has is left out, which is a finding;
    one that only the destination has keeps its default. `into` names, as quoted SQL, another table than the one of
    the same name; it has `columns`, and takes only rows that meet the condition `where`, if any is given.
    """

    def __init__(
        self,
        connection: Connection,
        table: TableFacts,
        *,
        into: str = "",
        columns: Sequence[str] = (),
        where: str = "",
    ) -> None:
        self._connection = connection
        self.table = table
        self.label = f"{table.schema}.{table.name}"
        self.rows_kept = 0
        """How many rows the destination has taken so far."""
        self._into = into or qualified(table)
        self._where = f" WHERE {where}" if where else ""
        captured = [column.name for column in captured_columns(table.columns)]
        present = set(columns) if into else _columns_of(connection, table)
        self._kept = [place for place, name in enumerate(captured) if name in present]
        self._names = [captured[place] for place in self._kept]
        self.missing = [name for name in captured if name not in present]
        self._is_whole = not self.missing

    def findings(self) -> list[Finding]:
        """Return what was left out."""
        return [
            Finding(
                severity="warning",
                code="column-left-out",
                object=f"{self.label}.{name}",
                expected="the column of the backup",
                observed="the destination's table does not have it",
                advice="The platform of the destination is of another version; its values were not restored.",
            )
            for name in self.missing
        ]

    def fill(self, blocks: Iterable[bytes]) -> int:
        """Copy blocks of whole rows in and return how many bytes were sent."""
        columns = ", ".join(quote_identifier(name) for name in self._names)
        listed = f" ({columns})" if columns else ""
        sent = 0
        with translated(self.label), self._connection.cursor() as cursor:
            with cursor.copy(f"COPY {self._into}{listed} FROM STDIN{self._where}") as copy:
                for block in blocks:
                    data = block if self._is_whole else _only(block, self._kept)
                    copy.write(data)
                    sent += len(data)
            self.rows_kept += cursor.rowcount
        return sent


def load_without_triggers(connection: Connection) -> None:
    """Make the session a replica, so that neither triggers nor foreign keys act on what is copied in."""
    with translated("session_replication_role"):
        connection.execute("SET session_replication_role = replica")


def _columns_of(connection: Connection, table: TableFacts) -> set[str]:
    with translated(f"{table.schema}.{table.name}"):
        rows = connection.execute(
            "SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped"
            " AND a.attgenerated = ''",
            [table.schema, table.name],
        ).fetchall()
        known = connection.execute(
            "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'r'",
            [table.schema, table.name],
        ).fetchone()
    if known is None:
        raise DestinationLacksTable(object=f"{table.schema}.{table.name}")
    return {name for (name,) in rows}


def _only(block: bytes, kept: Sequence[int]) -> bytes:
    """Return the rows with some of their columns: COPY text escapes tabs, so each one parts two columns."""
    rows = (row.split(b"\t") for row in block.split(b"\n")[:-1])
    return b"".join(b"\t".join([row[place] for place in kept]) + b"\n" for row in rows)
