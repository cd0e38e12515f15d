"""Staging tables made by hand, and recoveries on top of them without a repository: for tests of reconciling.

What is live at the moment is the recovery point; it is copied into staging tables as the operations would do it.

    point = Staged.take(connection, settings, ["app.robots"], strategy="exact")
    …damage…
    point.compare()
    report = point.apply()
"""

import datetime as dt
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

from strongroom.clock import system_clock
from strongroom.deadline import Deadline
from strongroom.format.documents import FORMAT, CaptureTotals, Manifest, TableEntry
from strongroom.format.recovery_plans import RecoveryPlan, ScopedTable, Strategy
from strongroom.operations.context import Context
from strongroom.operations.recovery_messages import ApplyReport
from strongroom.postgres.connection import Connection
from strongroom.postgres.digest import quote_identifier
from strongroom.postgres.introspection import list_sequences, list_tables, read_snapshot_facts
from strongroom.recovery import applying
from strongroom.recovery.applied import read_applied
from strongroom.recovery.applying import Applying
from strongroom.recovery.comparing import Compared, compare_tables, match_tables
from strongroom.recovery.comparison import Matched
from strongroom.recovery.confirming import Confirmed, confirm_tables
from strongroom.recovery.run_journal import drop_schemas, note_staged, open_run, set_state
from strongroom.recovery.staging_names import SCHEMAS, schema_of, staged_rows
from strongroom.recovery_settings import RecoverySettings

OWNER = "the tests"
_NOW = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
_numbers = itertools.count(1)


@dataclass
class Staged:
    """A recovery point in staging tables, and the session of who recovers."""

    connection: Connection
    plan: RecoveryPlan
    manifest: Manifest
    limits: RecoverySettings = field(default_factory=RecoverySettings)

    @classmethod
    def take(
        cls,
        connection: Connection,
        tables: Sequence[str],
        *,
        strategy: Strategy = "exact",
        where: Mapping[str, str] | None = None,
        undoes: str = "",
    ) -> "Staged":
        """Make what is live the recovery point of a plan for these tables, with conditions by table."""
        conditions = where or {}
        plan = _plan(tables, strategy, conditions, undoes)
        manifest = _manifest(connection)
        if not undoes:
            drop_schemas(connection, SCHEMAS)
        open_run(connection, plan, OWNER, "tests")
        staged = cls(connection, plan, manifest)
        for table in staged.matched():
            staged._copy(table)
        note_staged(connection, plan)
        set_state(connection, plan, "staged")
        return staged

    def matched(self) -> tuple[Matched, ...]:
        """Match the tables as they are now."""
        return match_tables(self.connection, self.manifest, self.plan)

    def compare(self) -> dict[str, Compared]:
        """Compare, and return what was found by the tables' names."""
        tables = self.matched()
        found = compare_tables(
            self.connection, self.plan, OWNER, tables, lock_timeout=self.limits.lock_timeout
        )
        return {table.mapped.label: one for table, one in zip(tables, found, strict=True)}

    def apply(self) -> ApplyReport:
        """Make live agree."""
        return self.applying().run()

    def applying(self) -> Applying:
        """Return what makes live agree, before it does."""
        context = Context(Deadline.after(60, "test"), clock=system_clock, random=os.urandom)
        return Applying(
            self.connection, self.plan, OWNER, self.manifest, self.matched(), self.limits, context
        )

    def confirm(self) -> dict[str, Confirmed]:
        """Compare once more after the commit."""
        applied = read_applied(self.connection, self.plan)
        assert applied is not None
        found = confirm_tables(self.connection, self.plan, self.matched(), applied, lock_timeout=1.0)
        return {one.label: one for one in found}

    def _copy(self, table: Matched) -> None:
        columns = ", ".join(f"t.{quote_identifier(name)}" for name in table.mapped.columns)
        name = staged_rows(schema_of(self.plan), table.mapped.number)
        self.connection.execute(
            f"CREATE UNLOGGED TABLE {name} AS SELECT {columns} FROM ONLY {table.live} AS t WHERE {table.condition}"
        )
        if table.whole:
            self.connection.execute(
                f"CREATE UNLOGGED TABLE {table.whole} AS SELECT {columns} FROM ONLY {table.live} AS t"
            )
        if table.mapped.key:
            keys = ", ".join(map(quote_identifier, table.mapped.key))
            self.connection.execute(f"CREATE UNIQUE INDEX ON {name} ({keys})")
        self.connection.execute(f"ANALYZE {name}")


def tables_first(patch: pytest.MonkeyPatch) -> None:
    """Have the tables locked before their rows are touched, as if something had always changed."""

    def refuse(*_: object) -> NoReturn:
        raise applying._LockFirst

    patch.setattr(applying.Applying, "_touch_first", refuse)


def note_ways(patch: pytest.MonkeyPatch, ways: list[str]) -> None:
    """Note which ways are gone from here on: `_touch_first`, `_lock_first`."""
    for way in ("_touch_first", "_lock_first"):
        act = getattr(applying.Applying, way)

        def and_note(*arguments: Any, _act: Any = act, _way: str = way, **named: Any) -> Any:
            ways.append(_way)
            return _act(*arguments, **named)

        patch.setattr(applying.Applying, way, and_note)


def _plan(tables: Sequence[str], strategy: Strategy, where: Mapping[str, str], undoes: str) -> RecoveryPlan:
    return RecoveryPlan(
        format=FORMAT,
        id=f"staged-{next(_numbers)}",
        made_at=_NOW,
        scenario="custom",
        source="tests",
        backup="a-backup",
        recovery_point=_NOW,
        why="The test says so.",
        destination="source",
        strategy=strategy,
        tables=tuple(
            ScopedTable(schema=name.partition(".")[0], name=name.partition(".")[2], where=where.get(name, ""))
            for name in tables
        ),
        steps=(),
        undoes=undoes,
    )


def _manifest(connection: Connection) -> Manifest:
    """Return a manifest of what is live now, which no pack stands behind."""
    with connection.transaction():
        tables = list_tables(connection).tables
        sequences = list_sequences(connection)
        snapshot = read_snapshot_facts(connection)
    return Manifest(
        format=FORMAT,
        id="a-backup",
        kind="full",
        backup_class="scheduled",
        reason="",
        source="tests",
        started_at=_NOW,
        finished_at=_NOW,
        snapshot=snapshot,
        tables=tuple(TableEntry(facts=facts, rows=0, digest="0", parts=()) for facts in tables),
        sequences=sequences,
        collections=(),
        documents=(),
        packs=(),
        row_maps=(),
        data_keys=(),
        totals=CaptureTotals(),
    )
