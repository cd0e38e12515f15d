"""Unique and exclusion constraints that are checked late: whether the rows that a recovery has written keep them.

What is deferrable the server checks by triggers of its own, and these do not act in a replica's session: two rows could
come to have the same key, and nobody would notice before the next dump cannot be restored. For example, in the
transaction that has written, before its commit:

    require_unique(connection, tables)

What is not deferrable the index itself refuses, in any session.
"""

from collections.abc import Sequence
from typing import Any

from strongroom.errors import ValueTaken
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.comparison import Matched

_LATE = """
SELECT k.conname::text, pg_get_expr(i.indpred, i.indrelid),
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false),
       array(SELECT pg_get_indexdef(i.indexrelid, n, false) FROM generate_series(1, i.indnkeyatts) n ORDER BY n),
       CASE WHEN k.conexclop IS NULL THEN array(
           SELECT p.amopopr FROM unnest(i.indclass[0:i.indnkeyatts - 1]) WITH ORDINALITY c (oid, place)
           JOIN pg_opclass f ON f.oid = c.oid
           JOIN pg_amop p ON p.amopfamily = f.opcfamily AND p.amopstrategy = 3
                AND p.amoplefttype = f.opcintype AND p.amoprighttype = f.opcintype ORDER BY c.place)
       ELSE k.conexclop END::oid[]
FROM pg_constraint k JOIN pg_index i ON i.indexrelid = k.conindid
WHERE k.conrelid = %s AND k.contype IN ('p', 'u', 'x') AND k.condeferrable ORDER BY 1
"""

_OPERATORS = """
SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
FROM unnest(%s::oid[]) WITH ORDINALITY w (oid, place)
JOIN pg_operator o ON o.oid = w.oid JOIN pg_namespace n ON n.oid = o.oprnamespace ORDER BY w.place
"""


def require_unique(connection: Connection, tables: Sequence[Matched]) -> None:
    """Raise `ValueTaken` if a row that the caller's transaction has written is not the only one with its key."""
    for table in tables:
        with translated(table.mapped.label):
            for name, *constraint in connection.execute(_LATE, [table.mapped.live.oid]).fetchall():
                if _is_broken(connection, table, *constraint):
                    raise ValueTaken(object=table.mapped.label, constraint=name)


def _is_broken(
    connection: Connection,
    table: Matched,
    predicate: str | None,
    nulls_are_equal: bool,
    terms: list[str],
    operators: list[int],
) -> bool:
    found = [name for (name,) in connection.execute(_OPERATORS, [operators]).fetchall()]
    values = ", ".join(f"{term} AS v{place}" for place, term in enumerate(terms))
    rows = f"(SELECT ctid AS tid, xmin AS birth, {values} FROM ONLY {table.live} WHERE {predicate or 'true'})"
    same = " AND ".join(
        f"(a.v{place} {operator} b.v{place}"
        + (f" OR (num_nulls(a.v{place}, b.v{place}) = 2))" if nulls_are_equal else ")")
        for place, operator in enumerate(found)
    )
    row: tuple[Any, ...] | None = connection.execute(
        f"SELECT EXISTS (SELECT FROM {rows} AS a JOIN {rows} AS b ON a.tid <> b.tid AND {same}"
        " WHERE a.birth = pg_current_xact_id()::xid)"
    ).fetchone()
    return row == (True,)
