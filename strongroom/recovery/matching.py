"""What the live catalog says about matching rows: the operators of keys, and columns in which two rows may collide.

operators = equality_operators(connection, tables)
colliding = find_colliding_columns(connection, tables)
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from strongroom.postgres.connection import Connection
from strongroom.recovery.mapping import MappedTable

# The key's own operator: that of an extension's type is not found by its name alone, and another one that fits the
# type by a cast may find fewer values equal.
_OPERATORS = """
SELECT i.indrelid::int8,
       array(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY k (number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place),
       array(SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
             FROM unnest(i.indclass[0:i.indnkeyatts - 1]) WITH ORDINALITY c (oid, place)
             JOIN pg_opclass f ON f.oid = c.oid
             JOIN pg_amop p ON p.amopfamily = f.opcfamily AND p.amopstrategy = 3
                  AND p.amoplefttype = f.opcintype AND p.amoprighttype = f.opcintype
             JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
             ORDER BY c.place)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = ANY (%s) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AND m.amname = 'btree'
"""

# What an index depends on is in pg_depend, the columns of its expressions and its predicate included; what belongs to
# a constraint depends on that instead. A generated column stands for the columns that it is made of.
_COLLIDING = """
WITH wanted AS (
    SELECT i.indexrelid, i.indrelid, i.indkey, k.oid AS constraint
    FROM pg_index i LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = ANY (%s) AND (i.indisunique OR i.indisexclusion) AND i.indislive
), used (indexrelid, indrelid, number) AS (
    SELECT indexrelid, indrelid, unnest(indkey)::int FROM wanted
    UNION
    SELECT w.indexrelid, w.indrelid, d.refobjsubid
    FROM wanted w JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = w.indrelid
         AND ((d.classid = 'pg_class'::regclass AND d.objid = w.indexrelid)
              OR (d.classid = 'pg_constraint'::regclass AND d.objid = w.constraint))
), base (indexrelid, indrelid, number) AS (
    SELECT * FROM used
    UNION
    SELECT u.indexrelid, u.indrelid, d.refobjsubid
    FROM used u JOIN pg_attrdef e ON e.adrelid = u.indrelid AND e.adnum = u.number
         JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
              AND d.refclassid = 'pg_class'::regclass AND d.refobjid = u.indrelid
)
SELECT b.indrelid::int8, array_agg(DISTINCT a.attname::text)
FROM base b JOIN pg_attribute a ON a.attrelid = b.indrelid AND a.attnum = b.number AND a.attnum > 0
GROUP BY b.indrelid, b.indexrelid
"""


def equality_operators(
    connection: Connection, tables: Sequence[MappedTable]
) -> Mapping[int, tuple[str, ...]]:
    """Return the operators of each table's key by the table's number; empty where those of built-in types are meant."""
    found: dict[tuple[int, tuple[str, ...]], tuple[str, ...]] = {}
    for oid, columns, operators in connection.execute(_OPERATORS, [[table.live.oid for table in tables]]):
        if len(columns) == len(operators):
            found[oid, tuple(columns)] = tuple(operators)
    return {table.number: found.get((table.live.oid, table.key), ()) for table in tables}


def find_colliding_columns(
    connection: Connection, tables: Sequence[MappedTable]
) -> Mapping[int, frozenset[str]]:
    """Return the columns by whose values a row cannot simply be updated, by the table's number.

    Those of unique indexes and exclusion constraints besides the key: two rows that swap their values collide half-way.
    And identity columns GENERATED ALWAYS, which the server does not let anybody update.
    """
    found: defaultdict[int, set[str]] = defaultdict(set)
    by_oid = {table.live.oid: table for table in tables}
    for oid, columns in connection.execute(_COLLIDING, [list(by_oid)]):
        if set(columns) != set(by_oid[oid].key):
            found[oid] |= set(columns)
    for table in tables:
        found[table.live.oid] |= {c.name for c in table.live.columns if c.identity == "a"}
    return {table.number: frozenset(found[table.live.oid]) for table in tables}
