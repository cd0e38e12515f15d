"""Facts about the SQL that finds differences: what is asked, before any server is."""

import pytest

from strongroom.errors import PlanUnfit
from strongroom.format.documents import Column, TableFacts
from strongroom.format.recovery_plans import Strategy
from strongroom.recovery.comparison import (
    Matched,
    column_differs,
    find_differences,
    key_columns,
    rows_differ,
)
from strongroom.recovery.mapping import LiveColumn, LiveTable, MappedTable
from strongroom.recovery.reconciling import carry_kept, delete_rows, insert_replaced, insert_rows, update_rows

_TYPES = {"bigint": 20, "text": 25, "numeric": 1700, "json": 114}


def column(name: str, kind: str = "text", identity: str = "") -> LiveColumn:
    """Make a live column."""
    return LiveColumn(
        name=name,
        number=1,
        type=kind,
        type_oid=_TYPES[kind],
        type_modifier=-1,
        not_null=False,
        has_default=False,
        identity=identity,
    )


def matched(
    *columns: LiveColumn,
    key: tuple[str, ...] = ("id",),
    strategy: Strategy = "exact",
    where: str = "",
    kept: tuple[str, ...] = (),
    backup_xmin: int | None = None,
) -> Matched:
    """Match a table `app.things` of these columns."""
    facts = TableFacts(
        oid=1,
        schema="app",
        name="things",
        file_node=1,
        persistence="p",
        access_method="heap",
        columns=tuple(
            Column(name=c.name, number=c.number, type=c.type, type_oid=c.type_oid, type_modifier=-1)
            for c in columns
        ),
    )
    live = LiveTable(
        oid=1,
        schema="app",
        name="things",
        kind="r",
        file_node=1,
        is_owner=True,
        columns=columns,
        indexes=(),
        user_triggers=(),
        always_triggers=(),
    )
    names = tuple(c.name for c in columns if c.name not in kept)
    mapped = MappedTable(
        number=0, facts=facts, where=where, live=live, columns=names, left_out=(), kept=kept, key=key
    )
    return Matched(mapped, '"s".rows_0', strategy, backup_xmin=backup_xmin)


ID, NAME = column("id", "bigint"), column("name")
_AS_WRITTEN = " IS DISTINCT FROM ".join(
    f'format(\'%L\', {side}."c") COLLATE pg_catalog."C"' for side in ("l", "s")
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bigint", 'l."c" IS DISTINCT FROM s."c"'),
        ("text", 'l."c"::text COLLATE pg_catalog."C" IS DISTINCT FROM s."c"::text COLLATE pg_catalog."C"'),
        ("numeric", _AS_WRITTEN),
        ("json", _AS_WRITTEN),
    ],
)
def test_a_column_differs_by_its_text(kind: str, expected: str) -> None:
    """Where equality is coarser than the text, or is missing, the text decides, byte by byte."""
    assert expected == column_differs(column("c", kind))


def test_images_are_only_a_short_cut() -> None:
    """Equal images end it; different ones leave the decision to the texts."""
    sql = rows_differ([ID])
    assert (
        '(ROW(l."id")::record OPERATOR(pg_catalog.*<>) ROW(s."id")::record AND (l."id" IS DISTINCT FROM s."id"))'
        == sql
    )


def test_rows_without_columns_never_differ() -> None:
    """A table may have no column at all."""
    assert "false" == rows_differ([])


def test_names_are_quoted() -> None:
    """A quote in a column's name stays in the name."""
    assert 'l."a""b" IS DISTINCT FROM s."a""b"' == column_differs(column('a"b', "bigint"))


@pytest.mark.parametrize(
    ("strategy", "surplus", "change"),
    [("exact", "'d'", "'u'"), ("merge_overwrite", "'k'", "'u'"), ("merge_missing", "'k'", "'k'")],
)
def test_a_strategy_says_what_becomes_of_a_row(strategy: Strategy, surplus: str, change: str) -> None:
    """Only `exact` deletes, and `merge_missing` does nothing but insert."""
    sql = find_differences(matched(ID, NAME, strategy=strategy))
    assert f'WHEN s.ctid IS NULL THEN {surplus}::"char"' in sql
    assert f'{change}::"char" END' in sql
    assert ("'d'::\"char\"" in sql) == (strategy == "exact")


def test_a_condition_is_asked_of_live_and_matched_by_key() -> None:
    """Rows whose condition was damaged are found by their key; the others by the condition."""
    sql = find_differences(matched(ID, NAME, where="name = 'x' -- mine"))
    assert 'FROM "s".rows_0 AS s LEFT JOIN ONLY "app"."things" AS l' in sql
    assert "WHERE (\nname = 'x' -- mine\n)" in sql
    assert "FULL JOIN" not in sql


def test_a_list_of_keys_takes_no_condition() -> None:
    """What a condition leaves out of the staging table is not missing."""
    with pytest.raises(PlanUnfit):
        find_differences(matched(ID, NAME, where="true"), "keys")


def test_without_a_key_rows_are_matched_by_two_digests() -> None:
    """64 bits are too few to call rows the same; 128 are not."""
    table = matched(ID, NAME, key=())
    sql = find_differences(table)
    assert ("k1", "k2") == key_columns(table.mapped)
    assert "l.k1 = s.k1 AND l.k2 = s.k2 AND l.place = s.place" in sql
    assert 2 == sql.count(", 0) AS k1") == sql.count(", 1) AS k2")


@pytest.mark.parametrize("xmin", [5, 2**32 + 5, 7 * 2**32 + 5])
def test_transaction_ids_go_round(xmin: int) -> None:
    """What a row shows are the lower 32 bits, so these are compared, along the circle."""
    sql = find_differences(matched(ID, NAME, backup_xmin=xmin))
    assert "((l.xmin::text::int8 - 5) & 4294967295) < 2147483648" in sql


def test_of_another_cluster_ids_mean_nothing() -> None:
    """Then no row counts as newer than the backup."""
    assert "s.ctid IS NULL AND false AS since" in find_differences(matched(ID, NAME))


def test_an_identity_is_not_updated() -> None:
    """The server refuses it; it is inserted over the server's will."""
    table = matched(column("id", "bigint", identity="a"), NAME)
    assert 'SET "name" = s."name" FROM' in update_rows(table, "d")
    assert 'INSERT INTO "app"."things" ("id", "name") OVERRIDING SYSTEM VALUE SELECT' in insert_rows(
        table, "d"
    )


def test_a_replaced_row_keeps_what_the_backup_does_not_know() -> None:
    """Columns that are new in live are carried over the deletion."""
    table = matched(ID, NAME, column("added"), kept=("added",))
    assert 'SELECT d.staged_tid, l."added" FROM' in carry_kept(table, "d", "c")
    assert (
        '("id", "name", "added") OVERRIDING SYSTEM VALUE SELECT s."id", s."name", c."added"'
        in insert_replaced(table, "d", "c")
    )
    assert "added" not in insert_rows(table, "d")


def test_only_the_named_table_is_touched() -> None:
    """Children by inheritance are tables of their own."""
    table = matched(ID, NAME)
    assert delete_rows(table, "d").startswith('DELETE FROM ONLY "app"."things" AS l')
    assert update_rows(table, "d").startswith('UPDATE ONLY "app"."things" AS l')


def test_a_table_without_columns_can_be_filled() -> None:
    """Its rows are only counted."""
    table = matched(key=())
    assert insert_rows(table, "d").startswith('INSERT INTO "app"."things" SELECT  FROM')
