"""The journal of a run, in the live database itself: one row that says which plan, how far, and whose it is.

    run = open_run(connection, plan, owner, "somebody@somewhere")
    with connection.transaction():
        run = require_owner(connection, plan, owner)      # its row stays locked until the end of the transaction
        …
        set_state(connection, plan, "committed")

Whoever holds the session lock `ADVISORY_KEY` has the right to recover; the `owner` is what the operations that it
orders show. A holder whose connection was cut off without noticing cannot commit: the next one has put another owner
into the row, and waited there for a commit that was under way.

The row is an ordinary one and outlives a crash of the server. The staging tables, and the note in `staged` that they
were proven, are unlogged: after a crash both are empty. Therefore a run counts as `staged` only as long as that note
is there; it falls back to `begun` by itself, and staging begins anew.

Rows of auth.users will lie in this schema: nobody but its owner may look into it.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import psycopg

from strongroom.errors import PlanUnfit, RecoveryInterrupted, RecoveryOwnerLost
from strongroom.format.codec import decode_json
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.operations.recovery_messages import RunState
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier
from strongroom.recovery.staging_names import SCHEMAS, schema_of

ADVISORY_KEY = 0x5374726F6E67726D
"""The session lock of the one process that may recover a database: "Strongrm" as eight bytes."""

_PATIENCE_SECONDS = 2

_HELD = """
SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND classid::int8 = %s AND objid::int8 = %s
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid {whose})
"""

_COLUMNS = "id, plan, owner, state, emergency_backup, begun_at, by"

_GRANTEES = """
SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
WHERE n.nspname = %s AND a.grantee <> n.nspowner
"""


@dataclass(frozen=True)
class Run:
    """A run as its journal says."""

    id: str
    plan: RecoveryPlan
    owner: str
    state: RunState
    emergency_backup: str
    begun_at: dt.datetime
    by: str
    is_staged: bool
    """Whether the staging tables hold what was proven to be the backup's rows; False again after a server crash."""


# ---------------------------------------------------------------- the right


def take_right(connection: Connection) -> bool:
    """Take the right to recover this database for as long as the session lasts; False if another session has it.

    A holder that was just killed still has it until the server notices, so this waits a moment.
    """
    with translated("the right to recover"):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE_SECONDS}s'")
                connection.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_KEY])
        except psycopg.errors.LockNotAvailable:
            return False
    return True


def give_up_right(connection: Connection) -> None:
    """Let the next one have the right at once; the server may take a moment to notice that a session has ended."""
    with translated("the right to recover"):
        connection.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_KEY])


def has_right(connection: Connection) -> bool:
    """Tell whether this very session has the right to recover the database."""
    return _is_held(connection, "= pg_backend_pid()")


def is_right_taken(connection: Connection) -> bool:
    """Tell whether any session has it."""
    return _is_held(connection, "IS NOT NULL")


def _is_held(connection: Connection, whose: str) -> bool:
    high, low = ADVISORY_KEY >> 32, ADVISORY_KEY & 0xFFFFFFFF
    with translated("the right to recover"):
        row = connection.execute(_HELD.format(whose=whose), [high, low]).fetchone()
    return row == (True,)


# ---------------------------------------------------------------- the row


def open_run(connection: Connection, plan: RecoveryPlan, owner: str, by: str) -> tuple[Run, bool]:
    """Make the run's schema and journal, or take over the journal of the same plan; tell whether it was there.

    Waits for a commit of the run that is under way. Raises `RecoveryInterrupted` if another plan's run is there, and
    `PlanUnfit` if the plan has become another one under the same name.
    """
    schema = schema_of(plan)
    quoted = quote_identifier(schema)
    with translated("the recovery's journal"), connection.transaction():
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        make_private(connection, schema)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {quoted}.run (id text PRIMARY KEY, plan text NOT NULL,"
            " owner text NOT NULL, state text NOT NULL, emergency_backup text NOT NULL,"
            " begun_at timestamptz NOT NULL, by text NOT NULL)"
        )
        connection.execute(f"CREATE UNLOGGED TABLE IF NOT EXISTS {quoted}.staged (plan text PRIMARY KEY)")
        was_there = _locked(connection, schema)
        if was_there and was_there.id != plan.id:
            raise RecoveryInterrupted(run=was_there.id, state=was_there.state)
        if was_there and _work_of(was_there.plan) != _work_of(plan):
            reason = "it was begun with other tables, conditions, or another strategy, backup, or destination"
            raise PlanUnfit(plan=plan.id, reason=reason)
        connection.execute(
            f"INSERT INTO {quoted}.run ({_COLUMNS}) VALUES (%s, %s, %s, 'begun', '', clock_timestamp(), %s)"
            " ON CONFLICT (id) DO UPDATE SET owner = excluded.owner",
            [plan.id, _encode(plan), owner, by],
        )
        run = _locked(connection, schema)
    if run is None:  # pragma: no cover - it was written in the same transaction
        raise RecoveryOwnerLost(run=plan.id)
    return run, was_there is not None


def read_run(connection: Connection, schema: str) -> Run | None:
    """Return the run whose journal is in `schema`, or None if there is none."""
    with translated("the recovery's journal"):
        return _read(connection, schema, "")


def lock_run(connection: Connection, schema: str) -> Run | None:
    """Return the run, its row locked until the end of the caller's transaction: a commit under way is waited for."""
    with translated("the recovery's journal"):
        return _locked(connection, schema)


def require_owner(connection: Connection, plan: RecoveryPlan, owner: str) -> Run:
    """Lock the run's row in the caller's transaction and return the run; raise `RecoveryOwnerLost` if it is another's.

    As long as that transaction lasts, nobody else can take the run over.
    """
    run = lock_run(connection, schema_of(plan))
    if run is None or (run.id, run.owner) != (plan.id, owner):
        raise RecoveryOwnerLost(run=plan.id)
    return run


def set_state(connection: Connection, plan: RecoveryPlan, state: RunState) -> None:
    """Write down how far the run has come, in the caller's transaction."""
    set_state_of(connection, schema_of(plan), plan.id, state)


def set_state_of(connection: Connection, schema: str, run: str, state: RunState) -> None:
    """Write down how far the run whose journal is in `schema` has come."""
    with translated("the recovery's journal"):
        connection.execute(
            f"UPDATE {quote_identifier(schema)}.run SET state = %s WHERE id = %s", [state, run]
        )


def set_owner_of(connection: Connection, schema: str, run: str, owner: str) -> None:
    """Hand the run whose journal is in `schema` over: what was ordered with the former owner is refused from now on."""
    with translated("the recovery's journal"):
        connection.execute(
            f"UPDATE {quote_identifier(schema)}.run SET owner = %s WHERE id = %s", [owner, run]
        )


def set_emergency_backup(connection: Connection, plan: RecoveryPlan, backup: str) -> None:
    """Write down what the run can be rolled back to, in the caller's transaction."""
    with translated("the recovery's journal"):
        connection.execute(
            f"UPDATE {quote_identifier(schema_of(plan))}.run SET emergency_backup = %s WHERE id = %s",
            [backup, plan.id],
        )


def note_staged(connection: Connection, plan: RecoveryPlan) -> None:
    """Note that the staging tables were proven, where the note shares their fate."""
    with translated("the recovery's journal"):
        connection.execute(
            f"INSERT INTO {quote_identifier(schema_of(plan))}.staged VALUES (%s) ON CONFLICT DO NOTHING",
            [plan.id],
        )


# ---------------------------------------------------------------- the schemas


def make_private(connection: Connection, schema: str) -> None:
    """Take away from everybody but its owner the right to look into a schema, whatever default privileges gave."""
    quoted = quote_identifier(schema)
    grantees = {"PUBLIC", *(name for (name,) in connection.execute(_GRANTEES, [schema]))}
    connection.execute(f"REVOKE ALL ON SCHEMA {quoted} FROM {', '.join(sorted(grantees))} CASCADE")


def present_schemas(connection: Connection, schemas: Iterable[str] = SCHEMAS) -> tuple[str, ...]:
    """Return those of the recovery's schemas that are there."""
    with translated("the catalog"):
        rows = connection.execute(
            "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY (%s) ORDER BY 1 DESC", [list(schemas)]
        ).fetchall()
    return tuple(name for (name,) in rows)


def drop_schemas(connection: Connection, schemas: Iterable[str]) -> None:
    """Remove schemas with all that is in them, at once or not at all."""
    names = ", ".join(quote_identifier(schema) for schema in schemas)
    if names:
        with translated("the staging tables"):
            connection.execute(f"DROP SCHEMA IF EXISTS {names} CASCADE")


# ---------------------------------------------------------------- reading


def _locked(connection: Connection, schema: str) -> Run | None:
    return _read(connection, schema, "FOR UPDATE OF r")


def _read(connection: Connection, schema: str, lock: str) -> Run | None:
    quoted = quote_identifier(schema)
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{quoted}.run"]).fetchone()
    if there != (True,):
        return None
    row = connection.execute(
        f"SELECT {_COLUMNS}, EXISTS (SELECT FROM {quoted}.staged s WHERE s.plan = r.id)"
        f" FROM {quoted}.run r LIMIT 1 {lock}"
    ).fetchone()
    if row is None:
        return None
    run, plan, owner, state, emergency_backup, begun_at, by, is_staged = row
    return Run(
        id=run,
        plan=decode_json(RecoveryPlan, plan.encode(), f"the journal of recovery {run}"),
        owner=owner,
        state="begun" if state == "staged" and not is_staged else state,
        emergency_backup=emergency_backup,
        begun_at=begun_at,
        by=by,
        is_staged=is_staged,
    )


def _work_of(plan: RecoveryPlan) -> tuple[object, ...]:
    """Return what decides which rows a plan changes, and into what."""
    return plan.backup, plan.destination, plan.strategy, plan.tables, plan.undoes


def _encode(plan: RecoveryPlan) -> str:
    return msgspec.json.encode(plan).decode()
