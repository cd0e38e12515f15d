"""Proving that what was compared still holds, in the transaction that is about to make use of it.

    proof = Proof(connection, plan, tables, own)
    compared, again = proof.make_sure(in_question, may_wait=True)       # under a lock, before anything is touched

or, where rows are touched first:

    expected = proof.expect(in_question, compared)                      # before anything is touched
    proof.require_unchanged(in_question, compared, expected)            # under a lock, when all is touched

The cheapest proof that holds is taken: that nobody has done anything at all, that each table holds the very versions
that it held (see `unchanged`), or that comparing again finds the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.postgres.connection import Connection
from strongroom.recovery.catching_up import catch_up, is_costly, xmin_of
from strongroom.recovery.comparing import (
    Compared,
    compare_table,
    finds_the_same,
    read_compared,
    touched_rows,
)
from strongroom.recovery.comparison import Matched
from strongroom.recovery.staging_names import found_differences, schema_of
from strongroom.recovery.unchanged import Witness, is_quiet, observe, observe_touched


class CompareAgain(Exception):
    """So much has changed that it is compared again without the lock."""


class HasChanged(Exception):
    """Something else than what was touched has changed."""


@dataclass
class Proof:
    """What is asked of tables in scope; `own` are transaction ids of this process, and grow."""

    connection: Connection
    plan: RecoveryPlan
    tables: Sequence[Matched]
    own: set[int]

    @property
    def schema(self) -> str:
        """The schema of the run."""
        return schema_of(self.plan)

    # ---------------------------------------------------------------------------------- the lock first

    def make_sure(
        self, tables: Sequence[Matched], *, may_wait: bool
    ) -> tuple[dict[int, Compared], tuple[str, ...]]:
        """Make sure that what was compared still holds; compare what was written to again.

        Raises `CompareAgain` if that would take long and `may_wait`.
        """
        compared = read_compared(self.connection, self.schema)
        if self._is_quiet(tables, compared):
            return compared, ()
        only = self._touched_rows()
        again = []
        for table in tables:
            number = table.mapped.number
            found = self._still(table, compared[number], only.get(number, ""), may_wait=may_wait)
            if found is not compared[number]:
                same = replace(found, snapshot="", xid=0, witness=compared[number].witness) == replace(
                    compared[number], snapshot="", xid=0
                )
                if compared[number].witness.is_counted or not same:
                    again.append(table.mapped.label)
                compared[number] = found
        return compared, tuple(again)

    def _still(self, table: Matched, compared: Compared, only: str, *, may_wait: bool) -> Compared:
        if not compared.witness.is_counted:
            return compare_table(self.connection, self.schema, table, only)
        now = observe(self.connection, table, xmin_of(compared.snapshot))
        if now == compared.witness:
            return compared
        is_partial = bool(only or table.mapped.where or not table.mapped.key)
        if may_wait and (is_partial or is_costly(compared, now)):
            raise CompareAgain
        if is_partial:
            return compare_table(self.connection, self.schema, table, only)
        return catch_up(self.connection, self.schema, table, compared, now)

    # ---------------------------------------------------------------------------------- the rows first

    def expect(self, tables: Sequence[Matched], compared: Mapping[int, Compared]) -> dict[int, Witness]:
        """Return what the tables will look like without the rows that are touched, if nothing else changes.

        Of tables whose rows were not counted nothing is expected. Raises `HasChanged` if something has changed already.
        """
        if not self._is_quiet(tables, compared):
            only = self._touched_rows()
            for table in tables:
                number = table.mapped.number
                if not self._holds(table, compared[number], only.get(number, "")):
                    raise HasChanged
        expected = {}
        for table in tables:
            number = table.mapped.number
            found, differences = compared[number], found_differences(self.schema, number)
            if found.witness.is_counted:
                touched = observe_touched(self.connection, table, xmin_of(found.snapshot), differences)
                expected[number] = found.witness.without(touched)
        return expected

    def require_unchanged(
        self, tables: Sequence[Matched], compared: Mapping[int, Compared], expected: Mapping[int, Witness]
    ) -> None:
        """Prove, under the lock, that the tables hold what was compared and what we have written; or `HasChanged`."""
        if self._is_quiet(tables, compared):
            return
        only = self._touched_rows()
        for table in tables:
            number = table.mapped.number
            if number in expected:
                found = compared[number]
                ours = found.inserts + found.updates + found.replacements
                now = observe(self.connection, table, xmin_of(found.snapshot), own_rows=ours)
                is_unchanged = now == expected[number]
            else:
                is_unchanged = finds_the_same(
                    self.connection, self.schema, table, only.get(number, ""), is_applied=True
                )
            if not is_unchanged:
                raise HasChanged

    def _holds(self, table: Matched, found: Compared, only: str) -> bool:
        """Tell whether what was compared still holds, before anything is touched."""
        if found.witness.is_counted:
            return observe(self.connection, table, xmin_of(found.snapshot)) == found.witness
        return finds_the_same(self.connection, self.schema, table, only)

    # ---------------------------------------------------------------------------------- both

    def _is_quiet(self, tables: Sequence[Matched], compared: Mapping[int, Compared]) -> bool:
        """Tell whether nobody but us can have changed anything since the tables were compared."""
        snapshots = {compared[table.mapped.number].snapshot for table in tables}
        return all(is_quiet(self.connection, snapshot, frozenset(self.own)) for snapshot in snapshots)

    def _touched_rows(self) -> Mapping[int, str]:
        return touched_rows(self.connection, self.plan, [table.mapped for table in self.tables])
