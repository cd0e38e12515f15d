"""Staging tables: the wanted rows in the live database, out of everybody's sight, before anything is compared.

A table's rows lie in `rows_<number>`: the columns that are written, in the types and collations that live has, and
no constraint. The tables are unlogged, and so is the journal of the units that are in: a crash of the server empties
both alike, so that what the journal says is loaded is there. For example, in transactions of the caller's:

    make_staging(connection, plan, tables, units, mark)
    if take_unit(connection, plan, number, mark):       # its entry stays locked until the rows are committed
        …
        enter_unit(connection, plan, number, {table: Loaded(sent=10, kept=3)})
    prove_table(connection, plan, entry, mapped)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from strongroom.errors import ConditionInvalid, PlanChanged, SchemaDrifted, StagingIncomplete
from strongroom.format.documents import TableEntry
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier, row_digest
from strongroom.postgres.extents import qualified
from strongroom.recovery.mapping import MappedTable, condition_sql
from strongroom.recovery.staging_names import needs_whole, schema_of, staged_rows, whole_rows
from strongroom.recovery.units import RestoreUnitPlan

_HEADER = 0
"""The entry that is there though there be no units: it carries the mark of the whole cut."""


@dataclass(frozen=True)
class Loaded:
    """What a unit has loaded of one table: rows sent, and those of them that met the condition."""

    sent: int
    kept: int


def _journal(plan: RecoveryPlan, name: str) -> str:
    return f"{quote_identifier(schema_of(plan))}.{name}"


# ---------------------------------------------------------------- making


def make_staging(
    connection: Connection,
    plan: RecoveryPlan,
    tables: Sequence[MappedTable],
    units: Sequence[RestoreUnitPlan],
    mark: str,
) -> bool:
    """Make the staging tables and enter the units, unless an earlier attempt has, for the very same cut.

    Tells whether they were made anew.
    """
    with translated("the staging tables"):
        if _entries(connection, plan) == {_HEADER: mark, **{unit.number: mark for unit in units}}:
            return False
        old = connection.execute(
            "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname = %s AND tablename ~ '^((rows|whole)_[0-9]+|units|unit_rows)$'",
            [schema_of(plan)],
        ).fetchall()
        if old:
            connection.execute(f"DROP TABLE {', '.join(name for (name,) in old)}")
        connection.execute(f"DELETE FROM {_journal(plan, 'staged')}")
        for table in tables:
            connection.execute(_create(plan, table))
        connection.execute(
            f"CREATE UNLOGGED TABLE {_journal(plan, 'units')}"
            " (number int PRIMARY KEY, mark text NOT NULL, is_loaded bool NOT NULL)"
        )
        connection.execute(
            f"CREATE UNLOGGED TABLE {_journal(plan, 'unit_rows')} (unit int, place int,"
            " sent int8 NOT NULL, kept int8 NOT NULL, PRIMARY KEY (unit, place))"
        )
        connection.execute(
            f"INSERT INTO {_journal(plan, 'units')} SELECT n, %s, n = %s FROM unnest(%s::int[]) n",
            [mark, _HEADER, [_HEADER, *(unit.number for unit in units)]],
        )
    return True


def _create(plan: RecoveryPlan, mapped: MappedTable) -> str:
    """Return the making of a staging table: types and collations are those of the live columns."""
    columns = ", ".join(f"t.{quote_identifier(name)}" for name in mapped.columns)
    return (
        f"CREATE UNLOGGED TABLE {staged_rows(schema_of(plan), mapped.number)} WITH (autovacuum_enabled = off)"
        f" AS SELECT {columns} FROM ONLY {qualified(mapped.facts)} AS t WITH NO DATA"
    )


def _entries(connection: Connection, plan: RecoveryPlan) -> dict[int, str]:
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [_journal(plan, "units")]).fetchone()
    if there != (True,):
        return {}
    return dict(connection.execute(f"SELECT number, mark FROM {_journal(plan, 'units')}").fetchall())


# ---------------------------------------------------------------- loading


def take_unit(connection: Connection, plan: RecoveryPlan, number: int, mark: str) -> bool:
    """Lock a unit's entry until the end of the transaction; tell whether its rows have yet to be loaded.

    Whoever loads the same unit at the same time is waited for. Raises `PlanChanged` if the unit is not of this cut.
    """
    with translated("the staging tables"):
        try:
            row = connection.execute(
                f"SELECT is_loaded FROM {_journal(plan, 'units')} WHERE (number, mark) = (%s, %s) FOR UPDATE",
                [number, mark],
            ).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise PlanChanged(backup=plan.backup, unit=number) from error
    if row is None or number == _HEADER:
        raise PlanChanged(backup=plan.backup, unit=number)
    return not row[0]


def enter_unit(connection: Connection, plan: RecoveryPlan, number: int, loaded: Mapping[int, Loaded]) -> None:
    """Enter a unit, in the transaction that loaded its rows; `loaded` is by the table's number."""
    with translated("the staging tables"):
        for place, counts in loaded.items():
            connection.execute(
                f"INSERT INTO {_journal(plan, 'unit_rows')} VALUES (%s, %s, %s, %s)",
                [number, place, counts.sent, counts.kept],
            )
        connection.execute(
            f"UPDATE {_journal(plan, 'units')} SET is_loaded = true WHERE number = %s", [number]
        )


def unfinished_units(connection: Connection, plan: RecoveryPlan) -> int:
    """Return how many units are not in."""
    with translated("the staging tables"):
        row = connection.execute(
            f"SELECT count(*) FROM {_journal(plan, 'units')} WHERE NOT is_loaded"
        ).fetchone()
    return int(row[0]) if row else 0


def filters_while_loading(connection: Connection, plan: RecoveryPlan, mapped: MappedTable) -> bool:
    """Tell whether only what is wanted comes in: unless all is needed, or the server does not take the condition.

    In COPY it allows neither subqueries nor the alias `t`. Asked by copying nothing, and undone.
    """
    if needs_whole(plan, mapped):
        return False
    copying = (
        f"COPY {staged_rows(schema_of(plan), mapped.number)} FROM STDIN WHERE {condition_sql(mapped.where)}"
    )
    with translated(mapped.label):
        try:
            with (
                connection.transaction(force_rollback=True),
                connection.cursor() as cursor,
                cursor.copy(copying),
            ):
                return True
        except (psycopg.ProgrammingError, psycopg.NotSupportedError):
            return False


# ---------------------------------------------------------------- proving


def drop_unwanted(connection: Connection, plan: RecoveryPlan, mapped: MappedTable) -> int:
    """Remove the rows that do not meet a condition which COPY could not test; return how many there were."""
    staged = staged_rows(schema_of(plan), mapped.number)
    return _test(
        connection, mapped, f"DELETE FROM {staged} AS t WHERE {condition_sql(mapped.where)} IS NOT TRUE"
    )


def set_wanted_apart(connection: Connection, plan: RecoveryPlan, mapped: MappedTable) -> int:
    """Keep all rows in a table of their own, and stage those that meet the condition; return how many do."""
    staged, whole = (name(schema_of(plan), mapped.number) for name in (staged_rows, whole_rows))
    with translated(mapped.label):
        connection.execute(f"ALTER TABLE {staged} RENAME TO whole_{mapped.number}")
        connection.execute(f"CREATE UNLOGGED TABLE {staged} (LIKE {whole}) WITH (autovacuum_enabled = off)")
    wanted = _test(
        connection,
        mapped,
        f"INSERT INTO {staged} SELECT t.* FROM {whole} AS t WHERE {condition_sql(mapped.where)}",
    )
    with translated(mapped.label):
        if mapped.key:
            # Not a unique one: a row that is not wanted may be there twice, and is nobody's business.
            connection.execute(f"CREATE INDEX ON {whole} ({', '.join(map(quote_identifier, mapped.key))})")
        connection.execute(f"ANALYZE {whole}")
    return wanted


def _test(connection: Connection, mapped: MappedTable, statement: str) -> int:
    """Run a statement that tests the table's condition row by row; return how many rows it was about."""
    with translated(mapped.label):
        try:
            return connection.execute(statement, binary=True).rowcount
        except (psycopg.DataError, psycopg.NotSupportedError, psycopg.ProgrammingError) as error:
            # What the server says of a value may be a row's: only the kind of failure is told.
            raise ConditionInvalid(object=mapped.label, detail=f"{type(error).__name__}.") from error


def prove_table(connection: Connection, plan: RecoveryPlan, entry: TableEntry, mapped: MappedTable) -> int:
    """Compare a staging table with what the backup says and the units reported; return how many rows it holds.

    To be called before `drop_unwanted`. If all rows are in, the digest is compared as well, where the columns are what
    they were. Raises `StagingIncomplete`.
    """
    with translated(mapped.label):
        row = connection.execute(
            "SELECT coalesce(sum(sent), 0)::int8, coalesce(sum(kept), 0)::int8"
            f" FROM {_journal(plan, 'unit_rows')} WHERE place = %s",
            [mapped.number],
        ).fetchone()
        sent, kept = row or (0, 0)
        is_digested = mapped.is_unchanged and (not mapped.where or needs_whole(plan, mapped))
        digest = f"coalesce(sum({row_digest(entry.facts.columns)}), 0)::text" if is_digested else "''"
        found = connection.execute(
            f"SELECT count(*), {digest} FROM {staged_rows(schema_of(plan), mapped.number)} AS t"
        ).fetchone()
    rows, digest = found or (0, "")
    if sent != entry.rows:
        raise _incomplete(plan, mapped, f"{sent} rows that were sent", f"{entry.rows}")
    if rows != (kept if mapped.where else entry.rows):
        raise _incomplete(plan, mapped, f"{rows} rows", f"{kept if mapped.where else entry.rows}")
    if is_digested and digest != entry.digest:
        raise _incomplete(plan, mapped, f"rows of the digest {digest}", entry.digest)
    return int(rows)


def index_table(connection: Connection, plan: RecoveryPlan, mapped: MappedTable) -> None:
    """Index a staging table by the key that rows are matched by, and take statistics.

    Raises `SchemaDrifted` if two rows of the backup have the same key: live has made it one since.
    """
    table = staged_rows(schema_of(plan), mapped.number)
    if mapped.key:
        columns = ", ".join(quote_identifier(name) for name in mapped.key)
        with translated(mapped.label):
            try:
                connection.execute(f"CREATE UNIQUE INDEX ON {table} ({columns})")
            except psycopg.errors.UniqueViolation as error:
                detail = f"rows that have the same {', '.join(mapped.key)} are in it, which is a key now"
                raise SchemaDrifted(object=mapped.label, detail=detail) from error
    with translated(mapped.label):
        connection.execute(f"ANALYZE {table}")


def _incomplete(plan: RecoveryPlan, mapped: MappedTable, observed: str, expected: str) -> StagingIncomplete:
    return StagingIncomplete(object=mapped.label, observed=observed, expected=expected, backup=plan.backup)
