"""Recoveries in place, driven in this process operation by operation: for tests.

recoveries = Recoveries.make(database.dsn(), tmp_path, keys, monkeypatch)
backup = recoveries.backups.back_up("full")
recoveries.execute("UPDATE public.trades SET volume = 1")
plan = recoveries.plan("public.trades", strategy="exact")
with recoveries.hold(plan) as run:
    recoveries.stage(plan, run.owner)
recoveries.carry_out(plan)                # the whole chain but the emergency backup
"""

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import sql

from strongroom.deadline import Deadline
from strongroom.format.documents import FORMAT
from strongroom.format.records import RecoveryRecord
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable, Strategy
from strongroom.operations.messages import Message, RestoreStepReport
from strongroom.operations.recovery_messages import (
    ApplyRecovery,
    ApplyReport,
    CompareLive,
    ConfirmRecovery,
    ConfirmReport,
    DifferencesReport,
    FinishRecovery,
    FinishStaging,
    HoldRecovery,
    Outcome,
    PrepareStaging,
    RunReport,
    StageUnit,
    StagingReport,
)
from strongroom.recovery.sessions import connect_live
from strongroom.recovery.staging_names import schema_of, staged_rows
from strongroom.runners import InThisProcess
from tests.row_backups import Keys, RowBackups

Answer = TypeVar("Answer", bound=Message)

_numbers = itertools.count(1)


@dataclass
class Recoveries:
    """A source, its backups, and plans to recover it."""

    backups: RowBackups
    dsn: str

    @classmethod
    def make(cls, dsn: str, folder: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> "Recoveries":
        """Make a repository in memory for the database at `dsn`."""
        return cls(RowBackups.make(dsn, folder, keys, monkeypatch), dsn)

    # ------------------------------------------------------------------------------ the database

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement as the user, in a session of its own, and return its rows, if it has any."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def rows(self, table: str, columns: str = "*") -> Counter[bytes]:
        """Return the rows of a table, given as quoted SQL, as COPY text: read by other means than the engine's."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("SET search_path = ''; SET extra_float_digits = 3; SET TimeZone = 'UTC'")
            query = f"COPY (SELECT {columns} FROM ONLY {table}) TO STDOUT".encode()
            with connection.cursor() as cursor, cursor.copy(query) as copy:
                return Counter(bytes(row) for row in copy)

    def staged(self, plan: RecoveryPlan, number: int = 0, columns: str = "*") -> Counter[bytes]:
        """Return the rows of a staging table as COPY text."""
        return self.rows(staged_rows(schema_of(plan), number), columns)

    # ------------------------------------------------------------------------------ the plan

    def plan(
        self,
        *tables: str,
        strategy: Strategy = "exact",
        where: Mapping[str, str] | str = "",
        backup: str = "",
        undoes: str = "",
    ) -> RecoveryPlan:
        """Plan to recover tables, named with their schemas, from a backup (by default the newest).

        `where` is the condition of all of them, or of each that it names.
        """
        chosen = backup or self.backups.listed()[-1]
        now = dt.datetime.now(dt.UTC)
        return RecoveryPlan(
            format=FORMAT,
            id=f"run-{next(_numbers)}",
            made_at=now,
            scenario="custom",
            source=self.backups.settings.source.name,
            backup=chosen,
            recovery_point=self.backups.manifest(chosen).snapshot.taken_at,
            why="The test says so.",
            destination="source",
            strategy=strategy,
            tables=tuple(
                ScopedTable(
                    schema=name.partition(".")[0],
                    name=name.partition(".")[2],
                    where=where if isinstance(where, str) else where.get(name, ""),
                )
                for name in tables
            ),
            steps=(),
            undoes=undoes,
        )

    # ------------------------------------------------------------------------------ operations

    @property
    def runner(self) -> InThisProcess:
        """A runner with two minutes left."""
        return InThisProcess(self.backups.settings, Deadline.after(120, "test"), clock=self.backups.clock)

    def run(self, operation: str, request: Message, answer: type[Answer]) -> Answer:
        """Run one operation."""
        return self.runner.run(operation, request, answer)

    def hold(self, plan: RecoveryPlan) -> AbstractContextManager[RunReport]:
        """Hold the right to recover, and the run's journal."""
        return self.runner.hold("hold_recovery", HoldRecovery(plan=plan), RunReport)

    def load(self, plan: RecoveryPlan, owner: str) -> StagingReport:
        """Make the staging tables and load every unit."""
        report = self.run("prepare_staging", PrepareStaging(plan=plan, owner=owner), StagingReport)
        for unit in report.units:
            self.run("stage_unit", StageUnit(plan=plan, unit=unit.number), RestoreStepReport)
        return report

    def stage(self, plan: RecoveryPlan, owner: str) -> StagingReport:
        """Load every unit, and prove that they are in."""
        report = self.load(plan, owner)
        self.run("finish_staging", FinishStaging(plan=plan, owner=owner), RestoreStepReport)
        return report

    def compare(self, plan: RecoveryPlan, owner: str) -> DifferencesReport:
        """Stage, and find what differs."""
        self.stage(plan, owner)
        return self.run("compare_live", CompareLive(plan=plan, owner=owner), DifferencesReport)

    def apply(self, plan: RecoveryPlan, owner: str) -> ApplyReport:
        """Make live agree with what was compared."""
        return self.run("apply_recovery", ApplyRecovery(plan=plan, owner=owner), ApplyReport)

    def confirm(self, plan: RecoveryPlan) -> ConfirmReport:
        """Compare once more after the commit."""
        return self.run("confirm_recovery", ConfirmRecovery(plan=plan), ConfirmReport)

    def finish(
        self, plan: RecoveryPlan, owner: str, outcome: Outcome, applied: ApplyReport | None = None
    ) -> RunReport:
        """End a run."""
        request = FinishRecovery(plan=plan, owner=owner, outcome=outcome, seconds=1.0, applied=applied)
        return self.run("finish_recovery", request, RunReport)

    def carry_out(self, plan: RecoveryPlan) -> ApplyReport:
        """Hold, stage, compare, apply, confirm, finish; no emergency backup, no suites."""
        with self.hold(plan) as run:
            self.compare(plan, run.owner)
            applied = self.apply(plan, run.owner)
            confirmed = self.confirm(plan)
            assert confirmed.passed, confirmed
            self.finish(plan, run.owner, "rolled-back" if plan.undoes else "recovered", applied)
        return applied

    # ------------------------------------------------------------------------------ what is left

    def schemas(self) -> list[str]:
        """Return the schemas of recoveries that are in the database."""
        found = self.execute(
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^strongroom_' ORDER BY 1"
        )
        return [name for (name,) in found]

    def records(self, run: str) -> list[RecoveryRecord]:
        """Return the records of a run, the newest last."""
        return list(self.backups.repository().read_records(RecoveryRecord, run))

    def session(self, plan: RecoveryPlan | None = None) -> psycopg.Connection[tuple[Any, ...]]:
        """Open a session as the operations do."""
        return connect_live(self.backups.settings, plan, Deadline.after(120, "test"))


def quoted(table: str) -> str:
    """Return "schema.name" as quoted SQL."""
    schema, _, name = table.partition(".")
    return sql.Identifier(schema, name).as_string()
