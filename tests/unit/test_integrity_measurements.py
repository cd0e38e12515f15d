"""The SQL of the integrity suites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.format.documents import Column, ForeignKey, SequenceState, TableFacts, UniqueKey
from strongroom.integrity.measurements import (
    duplicated_keys,
    identifier,
    inert,
    literal,
    measured_rows,
    orphaned_rows,
    sequence_behind,
)


def column(name: str, number: int, *, not_null: bool = False, generated: str = "") -> Column:
    """Make an integer column."""
    return Column(
        name=name,
        number=number,
        type="integer",
        type_oid=23,
        type_modifier=-1,
        not_null=not_null,
        generated=generated,
    )


def table(*columns: Column) -> TableFacts:
    """Make the facts of `s.t`."""
    return TableFacts(
        oid=1, schema="s", name="t", file_node=1, persistence="p", access_method="heap", columns=columns
    )


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", '"plain"'),
        ("Mixed Case", '"Mixed Case"'),
        ("üñí_列", '"üñí_列"'),
        ('a"b', 'U&"a\\0022b"'),
        ("a\\b", 'U&"a\\005Cb"'),
        ("a :b", 'U&"a \\003Ab"'),
        ("100%", 'U&"100\\0025"'),
        ("a\nb", 'U&"a\\000Ab"'),
        ("<b>", 'U&"\\003Cb\\003E"'),
        ("🤖", 'U&"\\+01F916"'),
    ],
)
def test_identifiers_are_inert(name: str, written: str) -> None:
    """Whatever SQLAlchemy, a format or a browser would read in a name is written as an escape."""
    assert identifier(name) == written


@given(st.text(min_size=1))
def test_nothing_active_is_left(name: str) -> None:
    """No name leaves a quote, colon, percent sign, dollar, brace, angle or line end in the SQL."""
    active = set("'\":%$<>&{}\n\r;")
    assert active & set(identifier(name).removeprefix("U&")[1:-1]) == set()
    assert active & set(literal(name).removeprefix("E")[1:-1]) == set()


def test_literals_escape_what_is_not_plain() -> None:
    """Literals use escape strings, which mean the same under every standard_conforming_strings."""
    assert [literal("public"), literal("it's"), literal("🤖")] == [
        "'public'",
        "E'it\\u0027s'",
        "E'\\U0001F916'",
    ]


def test_expressions_of_others_are_made_inert() -> None:
    """Identifiers within an expression are rewritten, doubled quotes read as one."""
    assert inert('ROW(t."a :b", t."c""d"::text)') == 'ROW(t.U&"a \\003Ab", t.U&"c\\0022d"::text)'


def test_batches_have_digest_and_flags() -> None:
    """A table's batch has one digest and a flag for each not-null column, and reads ONLY the table."""
    assert measured_rows(table(column("a", 1, not_null=True), column("b", 3))) == (
        'SELECT hash_record_extended(ROW(t."a", t."b"), 0) AS digest,'
        ' t."a" IS NOT DISTINCT FROM NULL AS null_1 FROM ONLY "s"."t" AS t'
    )


def test_keys_with_nulls_collide_only_if_they_say_so() -> None:
    """Rows with a null in the key are left out, unless nulls are not distinct."""
    facts = table(column("a", 1))
    distinct = duplicated_keys(facts, UniqueKey(name="k", columns=("a",)))
    same = duplicated_keys(facts, UniqueKey(name="k", columns=("a",), nulls_not_distinct=True))
    assert 'WHERE t."a" IS DISTINCT FROM NULL' in distinct
    assert "WHERE" not in same


def test_orphans_compare_by_the_right_operator() -> None:
    """Columns whose `=` is outside pg_catalog are compared by the operator of that schema."""
    key = ForeignKey(name="f", columns=("a", "b"), to_schema="s", to_table="r", to_columns=("x", "y"))
    query = orphaned_rows(
        table(column("a", 1), column("b", 2)),
        key,
        partitioned=True,
        equality={("s", "r", "y"): "extensions"},
    )
    assert query.endswith('FROM "s"."r" AS r WHERE r."x" = t."a" AND r."y" OPERATOR("extensions".=) t."b")')


def test_falling_sequences_look_at_the_smallest_value() -> None:
    """A sequence that counts down lags behind if its next value is not below the smallest."""
    sequence = SequenceState(
        schema="s", name="q", last_value=-5, is_called=True, increment=-2, table="t", column="a"
    )
    assert ">= (SELECT min(" in sequence_behind(sequence)
