"""The SQL that digests a row: quoting, and which columns go in as text. Values are a database's matter."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.format.documents import Column
from strongroom.postgres.digest import captured_columns, quote_identifier, quote_literal, row_digest
from strongroom.postgres.extents import Bounds, copy_query, qualified
from tests.documents import column, table

# Postgres allows any character but NUL in a name.
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)

ODD = [
    'a"b',
    '"',
    '""',
    "select",
    "Mixed Case",
    "tab\there",
    "line\nfeed",
    "semi;colon",
    "--",
    "naïve",
    "a.b",
    "%s",
]


def unquoted(sql: str) -> tuple[str, str]:
    """Read a quoted identifier as Postgres does, and return it with what follows."""
    assert sql.startswith('"')
    name, at = "", 1
    while True:
        end = sql.index('"', at)
        name += sql[at:end]
        if sql[end + 1 : end + 2] != '"':
            return name, sql[end + 1 :]
        name += '"'
        at = end + 2


@settings(deadline=None, max_examples=60)
@given(NAMES)
@example('"; DROP TABLE users; --')
def test_a_quoted_name_is_read_as_that_name(name: str) -> None:
    """No name ends its quotes early, so that nothing of it is ever taken for SQL."""
    assert (name, "") == unquoted(quote_identifier(name))


@settings(deadline=None, max_examples=60)
@given(NAMES)
@example("it's")
@example("back\\slash'")
def test_a_quoted_literal_is_read_as_that_text(text: str) -> None:
    """A literal means the same whatever standard_conforming_strings says."""
    quoted = quote_literal(text).strip() if "\\" in text else quote_literal(text)
    if quoted.startswith("E"):
        body = quoted[2:-1].replace("''", "'").replace("\\\\", "\\")
    else:
        body = quoted[1:-1].replace("''", "'")
        assert "\\" not in body
    assert text == body


@settings(deadline=None, max_examples=60)
@given(st.lists(NAMES, min_size=1, max_size=5))
@example(ODD)
def test_odd_column_names(names: list[str]) -> None:
    """Every column is in the digest, in its order, under exactly its name."""
    sql = row_digest([column(name, 20) for name in names])
    assert sql.startswith("hash_record_extended(ROW(")
    rest, found = sql.removeprefix("hash_record_extended(ROW("), []
    while rest != "), 0)":
        name, rest = unquoted(rest.removeprefix(", ").removeprefix("t."))
        found.append(name)
    assert names == found


@pytest.mark.parametrize(
    ("type_oid", "expected"),
    [
        pytest.param(20, 't."a"', id="int8"),
        pytest.param(2950, 't."a"', id="uuid"),
        pytest.param(1184, 't."a"', id="timestamptz"),
        pytest.param(17, 't."a"', id="bytea"),
        pytest.param(25, 't."a"::text COLLATE pg_catalog."C"', id="text"),
        pytest.param(1043, 't."a"::text COLLATE pg_catalog."C"', id="varchar"),
        pytest.param(1042, 't."a"::text COLLATE pg_catalog."C"', id="char(n)"),
        pytest.param(1700, 't."a"::text COLLATE pg_catalog."C"', id="numeric"),
        pytest.param(701, 't."a"::text COLLATE pg_catalog."C"', id="float8"),
        pytest.param(1186, 't."a"::text COLLATE pg_catalog."C"', id="interval"),
        pytest.param(3802, 't."a"::text COLLATE pg_catalog."C"', id="jsonb"),
        pytest.param(1007, 't."a"::text COLLATE pg_catalog."C"', id="int4[]"),
        pytest.param(2205, 't."a"::text COLLATE pg_catalog."C"', id="regclass"),
        pytest.param(99_999, 't."a"::text COLLATE pg_catalog."C"', id="an enum"),
    ],
)
def test_which_types_go_in_as_text(type_oid: int, expected: str) -> None:
    """A column goes in as it is only where its hash covers every bit of its text, in every cluster alike."""
    assert f"hash_record_extended(ROW({expected}), 0)" == row_digest([column("a", type_oid)])


def test_generated_columns_are_left_out() -> None:
    """They are neither read nor digested: the destination makes them anew."""
    columns: list[Column] = [
        column("a"),
        column("b", number=2, generated="s"),
        column("c", number=3, generated="v"),
        column("d", number=4),
    ]
    assert ["a", "d"] == [kept.name for kept in captured_columns(columns)]
    assert row_digest(columns) == row_digest([columns[0], columns[3]])


def test_no_columns() -> None:
    """A table without columns has rows, and thus a digest."""
    assert row_digest([]) == "hash_record_extended(ROW(), 0)"


def test_the_copy_of_an_odd_table() -> None:
    """Names of schema, table and columns are quoted; the last extent has no end."""
    odd = table(schema='s"', name="t;", columns=(column('a"'), column("b", generated="s")))
    assert '"s"""."t;"' == qualified(odd)
    assert (
        'COPY (SELECT t."a""" FROM ONLY "s"""."t;" AS t'
        " WHERE t.ctid >= '(8,0)'::tid AND t.ctid < '(16,0)'::tid) TO STDOUT"
    ) == copy_query(odd, Bounds(8, 16))
    assert copy_query(odd, Bounds(8, None), newer_than=(1 << 32) + 7).endswith(
        "t.ctid < '(4294967295,0)'::tid AND age(t.xmin) <= age('7'::xid)) TO STDOUT"
    )
