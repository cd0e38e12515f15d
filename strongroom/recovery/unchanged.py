"""Whether a table is still what it was in an earlier snapshot: asked under a lock that keeps writers away.

A row version is named by where it lies and by the transaction that wrote it; it never changes in place, and what a
finished transaction wrote grows no more. Let X be the oldest transaction that was running at the snapshot. Versions
from before X can only vanish since: if as many are there as at the snapshot, all are. Versions from X on may have
vanished and appeared, and are few: their names are digested. (Which of them the snapshot saw cannot be told from the
snapshot, which does not list the subtransactions of those that were running.) Together the two say that a table holds
the very same versions, whatever was inserted, updated, deleted, rolled back, or vacuumed; that it was not rewritten is
said by its file node, with which its columns go.

Transaction ids go round in a circle: very old, frozen versions may seem to be from X on. They are then digested too.
"""

from dataclasses import dataclass

from strongroom.errors import TableChanged
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.comparison import Matched

UNCOUNTED = -1
_CIRCLE = 0xFFFFFFFF


@dataclass(frozen=True)
class Witness:
    """What a table looked like: its file, versions from before X, versions from X on, and the digest of the latter."""

    file_node: int
    old_rows: int
    recent_rows: int
    recent_digest: str

    @property
    def is_counted(self) -> bool:
        """Whether rows were counted; if not, they have to be compared again."""
        return self.old_rows != UNCOUNTED


def observe(connection: Connection, table: Matched, xmin: int) -> Witness:
    """Look at a table in the caller's transaction, which has an id already; `xmin` is X of the snapshot."""
    age = age_of(connection, xmin)
    recent = f"FILTER (WHERE age(t.xmin) <= {age})"
    with translated(table.mapped.label):
        row = connection.execute(
            f"SELECT count(*) FILTER (WHERE age(t.xmin) > {age}), count(*) {recent},"
            f" coalesce(sum(hash_record_extended(ROW(t.ctid, t.xmin), 0)) {recent}, 0)::text"
            f" FROM ONLY {table.live} AS t"
        ).fetchone()
    old, new, digest = row or (0, 0, "0")
    return Witness(file_node_of(connection, table), old, new, digest)


def age_of(connection: Connection, xid: int) -> int:
    """Return the age of a transaction, as `age(xmin)` counts in this transaction."""
    with translated("the transaction's id"):
        row = connection.execute(f"SELECT age('{xid & _CIRCLE}'::xid)").fetchone()
    return int(row[0]) if row else 0


# Columns that change their names, or types that need no rewriting, leave the file as it is.
_FILE_AND_COLUMNS = """
SELECT hashtextextended(c.relfilenode::text || coalesce(string_agg(
           format('%%s %%I %%s %%s %%s %%s', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation,
                  a.attgenerated), ', ' ORDER BY a.attnum) FILTER (WHERE a.attnum IS NOT NULL), ''), 0)
FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = to_regclass(%s) AND c.oid = %s
GROUP BY c.relfilenode
"""


def file_node_of(connection: Connection, table: Matched) -> int:
    """Return what stands for the table's file and its columns now. Raises `TableChanged` if the table is gone."""
    with translated(table.mapped.label):
        row = connection.execute(_FILE_AND_COLUMNS, [table.live, table.mapped.live.oid]).fetchone()
    if row is None:
        raise TableChanged(object=table.mapped.label, detail="it was dropped or renamed")
    return int(row[0])


# A transaction's own snapshot does not list the subtransactions of others, each of which has a lock on its id.
_RUNNING = """
SELECT concat_ws(':', x.least, x.next, coalesce((
    SELECT string_agg(u.xid::text, ',' ORDER BY u.xid) FROM (
        SELECT pg_snapshot_xip(s)::text::int8 UNION
        SELECT x.next - ((x.next - l.transactionid::text::int8) & 4294967295) FROM pg_locks l
        WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
    ) u (xid) WHERE u.xid >= x.least AND u.xid < x.next), ''))
FROM pg_current_snapshot() s CROSS JOIN LATERAL
     (SELECT pg_snapshot_xmin(s)::text::int8, pg_snapshot_xmax(s)::text::int8) x (least, next)
"""


def running_now(connection: Connection) -> str:
    """Return a snapshot's text in which all that may still write is running, open subtransactions included."""
    with translated("the snapshot"):
        row = connection.execute(_RUNNING).fetchone()
    assert row is not None  # noqa: S101 - a query of one function's result has one row
    return str(row[0])


def is_quiet(connection: Connection, snapshot: str, own: frozenset[int]) -> bool:
    """Tell whether no transaction but our `own` has had an id since a snapshot, nor was running then.

    Then nothing can have changed anywhere in the cluster.
    """
    with translated("the snapshot"):
        row = connection.execute(
            "SELECT pg_snapshot_xmin(s.former)::text::int8, pg_snapshot_xmax(s.former)::text::int8,"
            " pg_snapshot_xmax(s.present)::text::int8"
            f" FROM (SELECT '{snapshot}'::pg_snapshot AS former, pg_current_snapshot() AS present) s"
        ).fetchone()
    if row is None:
        return False
    xmin, since, until = row
    return xmin == since and all(xid in own for xid in range(since, min(until, since + len(own) + 1)))
