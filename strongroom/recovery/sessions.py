"""Sessions of a recovery in the live database: nothing that the user attached to tables acts in them.

As a *replica*, a session fires neither triggers nor rules nor event triggers (but for those that somebody enabled
ALWAYS or for replicas), and foreign keys neither check nor cascade. Where the role may not be one, the session is an
ordinary one, and `triggers_are_off` says so:

    with connect_live(settings, plan, deadline) as connection:
        mode = "replica" if triggers_are_off(connection) else "disabled"
"""

from collections.abc import Mapping
from contextlib import suppress

import psycopg

from strongroom.config import Settings
from strongroom.deadline import Deadline
from strongroom.errors import DestinationReadOnly
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.postgres.connection import Connection, connect, translated

APPLICATION = "strongroom recovery"

_STATE = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::bool"


def connect_live(
    settings: Settings,
    plan: RecoveryPlan | None,
    deadline: Deadline,
    *,
    application_name: str = APPLICATION,
) -> Connection:
    """Open a session in the database that a plan recovers (without a plan: the source), with triggers off if it may.

    Raises what `strongroom.postgres.connection.connect` raises.
    """
    connection = connect(live_conninfo(settings, plan), deadline, application_name=application_name)
    try:
        with translated("the session"):
            # A role may prefer another one, in which what is committed meanwhile stays out of sight.
            connection.execute("SET default_transaction_isolation = 'read committed'")
            _silence_triggers(connection)
            _end_with_its_client(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def live_conninfo(settings: Settings, plan: RecoveryPlan | None) -> Mapping[str, str]:
    """Return the parameters of the database that a plan recovers; without a plan, those of the source."""
    if plan is None or plan.destination == "source":
        return settings.conninfo()
    return settings.destination_conninfo()


def triggers_are_off(connection: Connection) -> bool:
    """Tell whether the session is a replica, in which triggers and foreign keys do not act."""
    with translated("session_replication_role"):
        row = connection.execute("SELECT current_setting('session_replication_role')").fetchone()
    return row == ("replica",)


def require_writable(connection: Connection) -> None:
    """Raise `DestinationReadOnly` for a standby, or where sessions are read-only."""
    with translated("the live database"):
        row = connection.execute(_STATE).fetchone()
    is_standby, is_read_only = row or (False, False)
    if is_standby:
        raise DestinationReadOnly(detail="it is a standby")
    if is_read_only:
        raise DestinationReadOnly(detail="its sessions are read-only")


def _silence_triggers(connection: Connection) -> None:
    try:
        connection.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        # On hosted Supabase `postgres` may. Elsewhere triggers are disabled table by table, which needs ownership.
        return


def _end_with_its_client(connection: Connection) -> None:
    """Have the server give up what it does for a process that was killed: the next one waits for its locks."""
    # Not every system that Postgres runs on can tell.
    with suppress(psycopg.errors.InvalidParameterValue):
        connection.execute("SET client_connection_check_interval = '2s'")
