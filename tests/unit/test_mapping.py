"""How a table of a backup and the live one fit together: column by column, type by type, and by which key."""

import pytest

from strongroom.errors import SchemaDrifted
from strongroom.format.documents import Column, TableFacts
from strongroom.recovery.mapping import (
    LiveColumn,
    LiveIndex,
    LiveTable,
    MappedTable,
    condition_sql,
    keeps_values,
    map_table,
)


def backed_up(*columns: Column) -> TableFacts:
    """Return the facts of a table `public.t` with these columns."""
    return TableFacts(
        oid=1,
        schema="public",
        name="t",
        file_node=1,
        persistence="p",
        access_method="heap",
        columns=columns,
    )


def was(name: str, type_name: str = "integer", *, generated: str = "") -> Column:
    """Return a column as the backup has it."""
    return Column(name=name, number=1, type=type_name, type_oid=23, type_modifier=-1, generated=generated)


def now(
    name: str,
    type_name: str = "integer",
    *,
    not_null: bool = False,
    has_default: bool = False,
    generated: str = "",
    identity: str = "",
) -> LiveColumn:
    """Return a column as live has it."""
    return LiveColumn(
        name=name,
        number=1,
        type=type_name,
        type_oid=23,
        type_modifier=-1,
        not_null=not_null,
        has_default=has_default,
        generated=generated,
        identity=identity,
    )


def key(name: str, *columns: str, primary: bool = False, is_key: bool = True) -> LiveIndex:
    """Return a unique index."""
    return LiveIndex(name=name, columns=columns, primary=primary, is_key=is_key, has_expression=False)


def live(*columns: LiveColumn, indexes: tuple[LiveIndex, ...] = (), kind: str = "r") -> LiveTable:
    """Return the live table `public.t`."""
    return LiveTable(
        oid=1,
        schema="public",
        name="t",
        kind=kind,
        file_node=1,
        is_owner=True,
        columns=columns,
        indexes=indexes,
        user_triggers=(),
        always_triggers=(),
    )


def mapped(facts: TableFacts, table: LiveTable) -> MappedTable:
    """Map the two, as the first table of a plan without a condition."""
    return map_table(0, facts, "", table)


def drift(facts: TableFacts, table: LiveTable) -> str:
    """Return what is said of a table whose rows do not fit any more."""
    with pytest.raises(SchemaDrifted) as caught:
        mapped(facts, table)
    return caught.value.render()


# ---------------------------------------------------------------- columns


def test_columns_are_matched_by_name_in_the_order_of_the_backup() -> None:
    """COPY text comes in the backup's order, wherever live has the columns by now."""
    found = mapped(backed_up(was("a"), was("b")), live(now("b"), now("a")))
    assert (("a", "b"), (), ()) == (found.columns, found.left_out, found.kept)
    assert found.is_unchanged


def test_a_column_that_was_dropped_is_left_out() -> None:
    """Its values have nowhere to go; the others do."""
    found = mapped(backed_up(was("a"), was("b")), live(now("a")))
    assert (("a",), ("b",), ()) == (found.columns, found.left_out, found.kept)
    assert not found.is_unchanged


@pytest.mark.parametrize(
    "column",
    [
        now("new"),
        now("new", has_default=True),
        now("new", not_null=True, has_default=True),
        now("new", not_null=True, identity="a"),
    ],
    ids=["nullable", "default", "not null with default", "identity"],
)
def test_a_column_that_was_added_is_kept(column: LiveColumn) -> None:
    """Rows that are changed keep its value, and rows that are inserted get one without being told."""
    found = mapped(backed_up(was("a")), live(now("a"), column))
    assert (("a",), (), ("new",)) == (found.columns, found.left_out, found.kept)


def test_a_new_column_that_wants_a_value_is_refused() -> None:
    """Nobody knows what a row of the backup should have in it."""
    said = drift(backed_up(was("a")), live(now("a"), now("new", not_null=True)))
    assert "The rows of public.t do not fit the live table: column new is new, must not be null" in said


def test_what_live_computes_now_is_not_written() -> None:
    """A column that was plain and is generated now cannot be written to, and is told about as left out."""
    found = mapped(backed_up(was("a"), was("b")), live(now("a"), now("b", generated="s")))
    assert (("a",), ("b",), ()) == (found.columns, found.left_out, found.kept)


def test_what_both_compute_is_nobodys_business() -> None:
    """It was not captured, and is not written; nothing is missing."""
    facts = backed_up(was("a"), was("b", generated="s"))
    found = mapped(facts, live(now("a"), now("b", generated="s")))
    assert (("a",), (), ()) == (found.columns, found.left_out, found.kept)
    assert found.is_unchanged


def test_what_was_computed_when_it_was_backed_up_is_kept() -> None:
    """Its values were not captured, so live's stay; where rows cannot be inserted without one, it is refused."""
    facts = backed_up(was("a"), was("b", generated="s"))
    assert ("b",) == mapped(facts, live(now("a"), now("b"))).kept
    assert "column b is new" in drift(facts, live(now("a"), now("b", not_null=True)))


def test_a_table_of_other_columns_is_refused() -> None:
    """Rows of nothing would come out."""
    assert "none of the columns" in drift(backed_up(was("a")), live(now("z")))


def test_a_table_without_columns_fits_itself() -> None:
    """Rows without columns are counted, like any others."""
    assert () == mapped(backed_up(), live()).columns


def test_a_table_that_was_partitioned_since_is_refused() -> None:
    """It has no rows of its own any more."""
    assert "partitioned table" in drift(backed_up(was("a")), live(now("a"), kind="p"))


# ---------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("public.mood", "public.mood"),
        ("smallint", "integer"),
        ("smallint", "bigint"),
        ("integer", "bigint"),
        ("integer", "numeric"),
        ("character varying(10)", "character varying(11)"),
        ("character varying(10)", "character varying"),
        ("character varying(10)", "text"),
        ("character varying", "text"),
        ("text", "character varying"),
        ("character(3)", "character(4)"),
        ("numeric(10,2)", "numeric"),
        ("numeric(10,2)", "numeric(12,2)"),
        ("numeric(10,2)", "numeric(12,4)"),
        ("numeric(10,-2)", "numeric(12,0)"),
    ],
)
def test_a_wider_type_takes_the_rows(before: str, after: str) -> None:
    """Every value has the same text in both, and the text is the same value."""
    assert keeps_values(before, after)
    found = mapped(backed_up(was("a", before)), live(now("a", after)))
    assert (("a",), before == after) == (found.columns, found.is_unchanged)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("bigint", "integer"),
        ("integer", "smallint"),
        ("integer", "text"),
        ("integer", "numeric(3,0)"),
        ("character varying(10)", "character varying(9)"),
        ("character varying", "character varying(9)"),
        ("text", "character varying(9)"),
        ("character(3)", "character(2)"),
        ("character(3)", "text"),
        ("character(3)", "character varying(3)"),
        ("numeric", "numeric(10,2)"),
        ("numeric(10,2)", "numeric(10,3)"),
        ("numeric(10,2)", "numeric(10,1)"),
        ("numeric(10,2)", "numeric(9,2)"),
        ("real", "double precision"),
        ("json", "jsonb"),
        ("date", "timestamp without time zone"),
        ("timestamp without time zone", "timestamp with time zone"),
        ("uuid", "text"),
        ("public.mood", "text"),
        ("public.mood", "private.mood"),
        ("integer[]", "bigint[]"),
    ],
)
def test_any_other_type_is_refused(before: str, after: str) -> None:
    """What would be cut, rounded, filled up or read otherwise is refused, with both types and the column."""
    assert not keeps_values(before, after)
    said = drift(backed_up(was("a", before)), live(now("a", after)))
    assert f"column a was {before} and is {after} now" in said


# ---------------------------------------------------------------- keys


def test_rows_are_matched_by_the_primary_key() -> None:
    """Wherever it stands among the indexes."""
    indexes = (key("t_b_key", "b"), key("t_pkey", "a", primary=True))
    assert ("a",) == mapped(backed_up(was("a"), was("b")), live(now("a"), now("b"), indexes=indexes)).key


def test_rows_are_matched_by_another_key_where_the_primary_one_is_not_in_the_backup() -> None:
    """An id that was added later says nothing of the backup's rows."""
    indexes = (key("t_pkey", "id", primary=True), key("t_a_b_key", "a", "b"))
    table = live(
        now("id", not_null=True, identity="d"),
        now("a", not_null=True),
        now("b", not_null=True),
        indexes=indexes,
    )
    assert ("a", "b") == mapped(backed_up(was("a"), was("b")), table).key


def test_what_is_no_key_matches_nothing() -> None:
    """A partial index, or one over columns that may be null, does not tell rows apart."""
    indexes = (key("t_a_idx", "a", is_key=False),)
    assert () == mapped(backed_up(was("a")), live(now("a"), indexes=indexes)).key


def test_a_comment_at_the_end_of_a_condition_swallows_nothing() -> None:
    """The parenthesis behind it is on a line of its own."""
    assert "(\na = 1 -- the first\n)" == condition_sql("a = 1 -- the first")
