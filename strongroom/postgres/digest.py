"""The digest of a row: an SQL expression that the server evaluates. Pure.

`hash_record_extended` is fast, but the hash functions of many types are coarser than equality of text
(numeric 1.0 and 1.00, -0.0 and 0.0, intervals, array bounds) or depend on object ids that another cluster
does not share (enums, reg* types), or do not exist (json, xml, geometry). Columns of such types go in as
their text, which the session settings pin down; see `docs/decisions/0003`.
"""

from collections.abc import Sequence

from strongroom.format.documents import Column

_HASH_IS_EXACT = frozenset(
    {
        16,  # bool
        17,  # bytea
        18,  # "char"
        19,  # name
        20,  # int8
        21,  # int2
        23,  # int4
        25,  # text
        26,  # oid
        829,  # macaddr
        774,  # macaddr8
        1043,  # varchar
        1082,  # date
        1083,  # time
        1114,  # timestamp
        1184,  # timestamptz
        1266,  # timetz
        2950,  # uuid
        3220,  # pg_lsn
    }
)
"""Type oids (fixed in every Postgres) whose extended hash covers every bit that their text shows."""

_TEXT_LIKE = frozenset({19, 25, 1043})


def quote_identifier(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return `text` as an SQL string literal, whatever standard_conforming_strings says."""
    if "\\" in text:
        return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    return "'" + text.replace("'", "''") + "'"


def captured_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns that are read and restored: all but the generated ones."""
    return tuple(c for c in columns if not c.generated)


def row_digest(columns: Sequence[Column], seed: int = 0) -> str:
    """Return an SQL expression of type bigint over the alias `t`, never null; another seed gives another digest.

    The digest of a table is `coalesce(sum(<expression>), 0)`: order-free, so that it can be summed over
    extents and changed for those only that changed.
    """
    terms = ", ".join(_term(column) for column in captured_columns(columns))
    return f"hash_record_extended(ROW({terms}), {seed})"


def _term(column: Column) -> str:
    return exact_value("t." + quote_identifier(column.name), column.type_oid)


def has_exact_value(type_oid: int) -> bool:
    """Tell whether equal values of a type have the same text, in every encoding of it that there is."""
    return type_oid in _HASH_IS_EXACT


def exact_value(value: str, type_oid: int) -> str:
    """Return an SQL expression that is equal for two values of this type only if their texts are the same."""
    if type_oid in _HASH_IS_EXACT - _TEXT_LIKE:
        return value
    # A nondeterministic collation would make different texts equal.
    return f'{value}::text COLLATE pg_catalog."C"'
