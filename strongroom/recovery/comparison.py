"""The SQL that finds which rows of a live table differ from the staged ones. Pure.

Rows are matched by the live table's key, or, without one, by a digest of all that is in them. What is found is one
row for each row that differs, in a table `differences_<n>`:

| column | holds |
|---|---|
| `kind` | `i` insert, `u` update, `r` replace (delete and insert), `d` delete, `k` differs, and the strategy keeps it |
| `live_tid`, `staged_tid` | where the row lies in the live and in the staging table, null where there is none |
| `live_birth` | the transaction that wrote the live row: with `live_tid` the name of this version and of no other |
| `since` | of what is deleted: whether the live row is newer than the backup |
| `k1`, `k2`, … | the key's values in the live table's types; without a key the two halves of the digest |

For example:

    matched = Matched(mapped, staged_rows(schema, mapped.number), "exact")
    connection.execute(f"CREATE UNLOGGED TABLE … AS {find_differences(matched)}")

No hash decides whether two rows with the same key differ. Their images are compared first, because that is quick
and sameness is certain; where the images differ, the texts of the columns decide.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from strongroom.errors import PlanUnfit
from strongroom.format.recovery_plans import Strategy
from strongroom.postgres.digest import exact_value, has_exact_value, quote_identifier
from strongroom.postgres.extents import qualified
from strongroom.recovery.mapping import LiveColumn, MappedTable, condition_sql

EQUALS = "OPERATOR(pg_catalog.=)"
DIGEST_COLUMNS = 2

_CIRCLE = 0xFFFFFFFF
_HALF = 0x80000000


@dataclass(frozen=True)
class Matched:
    """A table in scope, and how its rows are matched and judged. `staged` is the staging table as quoted SQL.

    `operators` are the equality operators of the key's columns, by default those of the built-in types. A row that
    differs in one of the `colliding` columns is replaced, not updated. `backup_xmin` is the oldest transaction that
    was running when the backup's snapshot was taken, if its ids mean anything here. `stand_in` is what is compared
    instead of the live table, as quoted SQL, and has the columns that are compared. `whole` is a table of all rows of
    the backup, as quoted SQL, where a condition leaves some of them out of `staged`, and others would be deleted.
    """

    mapped: MappedTable
    staged: str
    strategy: Strategy
    operators: tuple[str, ...] = ()
    colliding: frozenset[str] = frozenset()
    backup_xmin: int | None = None
    stand_in: str = ""
    whole: str = ""

    @property
    def live(self) -> str:
        """The live table, or what stands in for it, as quoted SQL."""
        return self.stand_in or qualified(self.mapped.facts)

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the differences that a row is known by."""
        return key_columns(self.mapped)

    @property
    def condition(self) -> str:
        """The condition over the alias `t`, always true where the whole table is in scope."""
        return condition_sql(self.mapped.where) if self.mapped.where else "true"


def key_columns(mapped: MappedTable) -> tuple[str, ...]:
    """Return the names of the key's columns in a table of differences."""
    return tuple(f"k{place + 1}" for place in range(len(mapped.key) or DIGEST_COLUMNS))


def written_columns(mapped: MappedTable) -> tuple[LiveColumn, ...]:
    """Return the columns that are compared and written, as live has them."""
    live = {column.name: column for column in mapped.live.columns}
    return tuple(live[name] for name in mapped.columns)


def find_differences(matched: Matched, only: str = "") -> str:
    """Return the query; `only` is a relation, as quoted SQL, of the keys that are looked at, each once.

    Raises `PlanUnfit` if there is a condition as well: what it leaves out of the staging table is not missing.
    """
    if only and matched.mapped.where:
        raise PlanUnfit(plan="", reason=f"{matched.mapped.label} has both a condition and a list of rows")
    if not matched.mapped.key:
        return _by_digest(matched, only)
    if only:
        return _by_listed_key(matched, only)
    if matched.mapped.where:
        return _by_key_and_condition(matched)
    return _by_key(matched)


def pull_wanted(matched: Matched) -> str:
    """Return the statement that stages, of the rows that a condition left out, those whose live row meets it now.

    They have come to meet it since, and go back to what they were: else `exact` would delete what the backup has. For
    tables with a key; without one nobody knows what a row was.
    """
    columns = ", ".join(f"w.{quote_identifier(name)}" for name in matched.mapped.columns)
    keys = ", ".join(f"t.{quote_identifier(name)}" for name in matched.mapped.key)
    listed = ", ".join(quote_identifier(name) for name in matched.mapped.columns)
    return (
        f"INSERT INTO {matched.staged} ({listed}) SELECT {columns} FROM {matched.whole} AS w"
        f" JOIN (SELECT {keys} FROM ONLY {matched.live} AS t WHERE {matched.condition}) AS l"
        f" ON {same_key(matched, 'l', 'w')}"
        f" WHERE NOT EXISTS (SELECT FROM {matched.staged} AS s WHERE {same_key(matched, 's', 'w')})"
    )


def in_order_of_place(found: str) -> str:
    """Return the query of differences sorted by where the rows lie, so that they are touched page by page."""
    return f"SELECT f.* FROM ({found}) AS f ORDER BY f.live_tid, f.staged_tid"


def rows_differ(columns: Sequence[LiveColumn], left: str = "l", right: str = "s") -> str:
    """Return the SQL condition that two rows differ in the text of any of these columns, nulls included."""
    if not columns:
        return "false"
    names = [quote_identifier(column.name) for column in columns]
    images = " OPERATOR(pg_catalog.*<>) ".join(
        f"ROW({', '.join(f'{side}.{name}' for name in names)})::record" for side in (left, right)
    )
    texts = " OR ".join(column_differs(column, left, right) for column in columns)
    return f"({images} AND ({texts}))"


def column_differs(column: LiveColumn, left: str = "l", right: str = "s") -> str:
    """Return the SQL condition that two rows differ in the text of one column."""
    name = quote_identifier(column.name)
    return " IS DISTINCT FROM ".join(_exact(f"{side}.{name}", column.type_oid) for side in (left, right))


def _exact(value: str, type_oid: int) -> str:
    """Return SQL that is equal for two values only if COPY would write the same of them.

    A cast to text does not do: it takes the blanks off a `bpchar`, and may be one of the user's own.
    """
    if has_exact_value(type_oid):
        return exact_value(value, type_oid)
    return f"format('%L', {value}) COLLATE pg_catalog.\"C\""


def _digest(matched: Matched, seed: int) -> str:
    """Return SQL of a digest of all that is in a row of the alias `t`; of the backup's own digests it is none."""
    terms = (_exact(f"t.{quote_identifier(c.name)}", c.type_oid) for c in written_columns(matched.mapped))
    return f"hash_record_extended(ROW({', '.join(terms)}), {seed})"


def same_key(matched: Matched, left: str, right: str) -> str:
    """Return the SQL condition that the rows of two aliases have the same key, both in the live table's columns."""
    return _joined(matched, _named(matched, left), _named(matched, right))


def listed_key(matched: Matched, listed: str, side: str) -> str:
    """Return the SQL condition that a row of a list of keys (`k1`, …) names the row of the alias `side`."""
    return _joined(matched, [f"{listed}.{name}" for name in matched.keys], _named(matched, side))


def same_listed(matched: Matched, left: str, right: str) -> str:
    """Return the SQL condition that two lists of keys (`k1`, …) name the same row."""
    return _joined(matched, *([f"{side}.{name}" for name in matched.keys] for side in (left, right)))


def digested_rows(matched: Matched, table: str, condition: str = "true", *, only: str = "") -> str:
    """Return a query of a table's rows with their digests, numbered where digests are equal, the oldest first."""
    listed = f" WHERE EXISTS (SELECT FROM {only} AS o WHERE o.k1 = r.k1 AND o.k2 = r.k2)" if only else ""
    return (
        "SELECT r.tid, r.birth, r.k1, r.k2,"
        " row_number() OVER (PARTITION BY r.k1, r.k2 ORDER BY age(r.birth) DESC, r.tid) AS place"
        f" FROM (SELECT t.ctid AS tid, t.xmin AS birth, {_digest(matched, 0)} AS k1, {_digest(matched, 1)} AS k2"
        f" FROM {table} AS t WHERE {condition}) AS r{listed}"
    )


# ------------------------------------------------------------------------------------------- by key


def _by_key(matched: Matched) -> str:
    return (
        f"SELECT {_found(matched, 'l.ctid', 'l.xmin', 's.ctid')}"
        f" FROM ONLY {matched.live} AS l FULL JOIN {matched.staged} AS s ON {same_key(matched, 'l', 's')}"
        f" WHERE l.ctid IS NULL OR s.ctid IS NULL OR {_differ(matched)}"
    )


def _by_key_and_condition(matched: Matched) -> str:
    """Match what is staged by key, whatever live has made of it, then look for what meets the condition besides.

    What the backup has is not deleted, though it met the condition then less than now (see `pull_wanted`).
    """
    surplus = _kind_of_surplus(matched)
    if matched.whole:
        same = same_key(matched, "l", "w")
        surplus = (
            f"CASE WHEN EXISTS (SELECT FROM {matched.whole} AS w WHERE {same}) THEN 'k' ELSE {surplus} END"
        )
    keys = ", ".join(f"t.{quote_identifier(name)}" for name in matched.mapped.key)
    return (
        f"SELECT {_found(matched, 'l.ctid', 'l.xmin', 's.ctid')}"
        f" FROM {matched.staged} AS s LEFT JOIN ONLY {matched.live} AS l ON {same_key(matched, 'l', 's')}"
        f" WHERE l.ctid IS NULL OR {_differ(matched)}"
        f" UNION ALL SELECT {surplus}, l.tid, l.birth, NULL::tid, {_since(matched, 'l.birth')},"
        f" {', '.join(_named(matched, 'l'))}"
        f" FROM (SELECT t.ctid AS tid, t.xmin AS birth, {keys} FROM ONLY {matched.live} AS t"
        f" WHERE {matched.condition}) AS l"
        f" WHERE NOT EXISTS (SELECT FROM {matched.staged} AS s WHERE {same_key(matched, 'l', 's')})"
    )


def _by_listed_key(matched: Matched, only: str) -> str:
    return (
        f"SELECT {_found(matched, 'l.ctid', 'l.xmin', 's.ctid')} FROM {only} AS o"
        f" LEFT JOIN {matched.staged} AS s ON {listed_key(matched, 'o', 's')}"
        f" LEFT JOIN ONLY {matched.live} AS l ON {listed_key(matched, 'o', 'l')}"
        " WHERE (l.ctid IS NOT NULL OR s.ctid IS NOT NULL)"
        f" AND (l.ctid IS NULL OR s.ctid IS NULL OR {_differ(matched)})"
    )


def _by_digest(matched: Matched, only: str) -> str:
    live = digested_rows(matched, f"ONLY {matched.live}", matched.condition, only=only)
    staged = digested_rows(matched, matched.staged, only=only)
    kept = ""
    if matched.whole:
        # Of rows that are alike either all have met the condition or none: these meet it only now.
        was_there, was_wanted = (
            f"(l.k1, l.k2) IN (SELECT {_digest(matched, 0)}, {_digest(matched, 1)} FROM {table} AS t)"
            for table in (matched.whole, matched.staged)
        )
        kept = f" WHEN {was_there} AND NOT {was_wanted} THEN 'k'::\"char\""
    return (
        f"SELECT CASE WHEN l.tid IS NULL THEN 'i'::\"char\"{kept} ELSE {_kind_of_surplus(matched)} END AS kind,"
        f" l.tid AS live_tid, l.birth AS live_birth, s.tid AS staged_tid, {_since(matched, 'l.birth')} AS since,"
        " coalesce(s.k1, l.k1) AS k1, coalesce(s.k2, l.k2) AS k2"
        f" FROM ({live}) AS l FULL JOIN ({staged}) AS s ON l.k1 = s.k1 AND l.k2 = s.k2 AND l.place = s.place"
        " WHERE l.tid IS NULL OR s.tid IS NULL"
    )


# ------------------------------------------------------------------------------------------- parts


def _found(matched: Matched, live: str, birth: str, staged: str) -> str:
    """Return the columns of a table of differences."""
    change = "'k'::\"char\""
    if matched.strategy != "merge_missing":
        columns = [c for c in written_columns(matched.mapped) if c.name in matched.colliding]
        change = f"CASE WHEN {rows_differ(columns)} THEN 'r'::\"char\" ELSE 'u'::\"char\" END"
    keys = ", ".join(
        f"coalesce(s.{quote_identifier(name)}, l.{quote_identifier(name)}) AS {key}"
        for name, key in zip(matched.mapped.key, matched.keys, strict=True)
    )
    return (
        f"CASE WHEN {live} IS NULL THEN 'i'::\"char\" WHEN {staged} IS NULL THEN {_kind_of_surplus(matched)}"
        f" ELSE {change} END AS kind, {live} AS live_tid, {birth} AS live_birth, {staged} AS staged_tid,"
        f" {staged} IS NULL AND {_since(matched, birth)} AS since, {keys}"
    )


def _kind_of_surplus(matched: Matched) -> str:
    """Return the kind of a row that only live has."""
    return "'d'::\"char\"" if matched.strategy == "exact" else "'k'::\"char\""


def _since(matched: Matched, birth: str) -> str:
    """Return the SQL condition that a row's transaction was running, or to come, when the backup was taken.

    Transaction ids go round in a circle, of which one half is the past; ids below 3 are always the past.
    """
    if matched.backup_xmin is None:
        return "false"
    number = f"{birth}::text::int8"
    distance = f"(({number} - {matched.backup_xmin & _CIRCLE}) & {_CIRCLE})"
    return f"coalesce({number} > 2 AND {distance} < {_HALF}, false)"


def _differ(matched: Matched) -> str:
    return rows_differ(written_columns(matched.mapped))


def _named(matched: Matched, side: str) -> list[str]:
    if not matched.mapped.key:
        return [f"{side}.{name}" for name in matched.keys]
    return [f"{side}.{quote_identifier(name)}" for name in matched.mapped.key]


def _joined(matched: Matched, left: Iterable[str], right: Iterable[str]) -> str:
    operators = matched.operators or (EQUALS,) * len(matched.keys)
    return " AND ".join(f"{a} {o} {b}" for a, o, b in zip(left, operators, right, strict=True))
