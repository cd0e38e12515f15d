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

from dataclasses import dataclass, replace

from strongroom.errors import TableChanged
from strongroom.postgres.connection import Connection, translated
from strongroom.recovery.comparison import Matched

UNCOUNTED = -1
_CIRCLE = 0xFFFFFFFF
_LISTED = 100_000
"""So many transactions since X are listed one by one, and no more than a table has pages."""


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

    def without(self, some: "Witness") -> "Witness":
        """Return what the table looks like when some of its versions have gone."""
        digest = str(int(self.recent_digest) - int(some.recent_digest))
        return Witness(
            self.file_node, self.old_rows - some.old_rows, self.recent_rows - some.recent_rows, digest
        )


def observe(connection: Connection, table: Matched, xmin: int, *, own_rows: int = 0) -> Witness:
    """Look at a table in the caller's transaction, which has an id already; `xmin` is X of the snapshot.

    `own_rows` is how many rows that are there the transaction has written itself; they are left out. What others commit
    while this is running may be taken for older than it is: it is exact in one snapshot, or under a lock.
    """
    found = _observe(
        connection, table, f"ONLY {table.live} AS v", "ctid", "xmin", _is_recent(connection, table, xmin)
    )
    return replace(found, old_rows=found.old_rows - own_rows)


def observe_touched(connection: Connection, table: Matched, xmin: int, differences: str) -> Witness:
    """Look at the live versions that a table of differences names, and of which none is left once it is applied."""
    touched = f"(SELECT * FROM {differences} WHERE kind <> 'k' AND live_tid IS NOT NULL) AS v"
    recent = f"age(v.live_birth) <= {age_of(connection, xmin)}"
    return _observe(connection, table, touched, "live_tid", "live_birth", recent)


def _observe(
    connection: Connection, table: Matched, versions: str, tid: str, birth: str, recent: str
) -> Witness:
    only = f"FILTER (WHERE {recent})"
    with translated(table.mapped.label):
        row = connection.execute(
            f"SELECT count(*), count(*) {only},"
            f" coalesce(sum(hash_record_extended(ROW(v.{tid}, v.{birth}), 0)) {only}, 0)::text FROM {versions}"
        ).fetchone()
    rows, recent_rows, digest = row or (0, 0, "0")
    return Witness(file_node_of(connection, table), rows - recent_rows, recent_rows, digest)


def _is_recent(connection: Connection, table: Matched, xmin: int) -> str:
    """Return the SQL condition that a version of the alias `v` is from X on, and not from this transaction."""
    with translated(table.mapped.label):
        row = connection.execute(
            "SELECT pg_current_xact_id()::text::int8, pg_snapshot_xmax(pg_current_snapshot())::text::int8,"
            " pg_relation_size(%s::oid) / current_setting('block_size')::int8",
            [table.mapped.live.oid],
        ).fetchone()
    own, following, pages = row or (0, 0, 0)
    if following - xmin > min(pages or 0, _LISTED):
        return f"age(v.xmin) <= {age_of(connection, xmin)} AND v.xmin <> '{own & _CIRCLE}'::xid"
    # Unlike `age`, a list of constants is looked up by several processes at once; a long one takes its time to read.
    listed = ",".join(str(xid & _CIRCLE) for xid in range(xmin, following) if xid != own)
    return f"v.xmin = ANY ('{{{listed}}}'::xid[])"


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
WITH x (s, least, next) AS (
    SELECT s, pg_snapshot_xmin(s)::text::int8, pg_snapshot_xmax(s)::text::int8 FROM pg_current_snapshot() s
), u (xid) AS (
    SELECT pg_snapshot_xip(s)::text::int8 FROM x UNION
    SELECT next - ((next - l.transactionid::text::int8) & 4294967295) FROM x, pg_locks l
    WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
), others (xid) AS (
    SELECT u.xid FROM u, x WHERE u.xid >= x.least AND u.xid < x.next AND u.xid <> pg_current_xact_id()::text::int8
)
SELECT concat_ws(':', coalesce((SELECT min(xid) FROM others), next), next,
                 coalesce((SELECT string_agg(xid::text, ',' ORDER BY xid) FROM others), '')) FROM x
"""


def running_now(connection: Connection) -> str:
    """Return a snapshot's text in which all others that may still write are running, open subtransactions included."""
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
