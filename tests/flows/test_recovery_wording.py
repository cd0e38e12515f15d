"""Facts about what a recovery's flow reads from a form, and what it says loudly. No flow is run."""

import pytest
from msgspec.structs import replace

from flows.recovery_run import loud_findings
from flows.recovery_wishes import scoped_tables
from strongroom.errors import CommandMisused
from strongroom.format.recovery_plans import ScopedTable
from strongroom.recovery.planning.scope import read_scoped_table
from tests.flows.fake_recovery import make_plan


def test_only_what_somebody_left_out_is_loud() -> None:
    """An empty destination needs no way back, so that a plan without one is nothing to shout about."""
    careless = replace(make_plan(), emergency_backup=False, rollback_on_error=False)
    in_place = [finding.code for finding in loud_findings(careless)]
    assert ["option-no-emergency-backup", "option-no-rollback"] == in_place
    empty = replace(careless, destination="environment", strategy="empty")
    assert [] == loud_findings(empty)
    skipped = replace(empty, force=True, skip_verification=True)
    assert ["option-force", "option-skip-verification"] == [one.code for one in loud_findings(skipped)]


@pytest.mark.parametrize(
    ("words", "table"),
    [
        ("trades", ScopedTable(schema="public", name="trades")),
        ("Public.Trades", ScopedTable(schema="Public", name="Trades")),
        ('"my.schema"."a ""b"""', ScopedTable(schema="my.schema", name='a "b"')),
        ("public.trades WHERE id = 7", ScopedTable(schema="public", name="trades", where="id = 7")),
    ],
)
def test_a_form_reads_tables_as_the_command_line_does(words: str, table: ScopedTable) -> None:
    """Names are taken as they are written; nothing is folded."""
    assert (table,) == scoped_tables((words,))
    assert table == read_scoped_table(words)


@pytest.mark.parametrize("words", ["", "a.b.c", "public.trades where "])
def test_what_is_no_table_is_refused(words: str) -> None:
    """With the words that were given."""
    with pytest.raises(CommandMisused, match="is not a table such as"):
        scoped_tables((words,))
