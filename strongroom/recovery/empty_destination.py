"""Restoring everything but rows into an empty destination: what comes before the rows, and what after.

Before: neutral default privileges, roles, schemas, extensions, types, functions, tables. After: indexes,
constraints, triggers, policies, sequences, large objects, owners, exact privileges, materialised views,
what the user attached to the platform's objects, publications, secrets, settings.

Each half may run again after it failed. What pg_restore makes before the rows is one transaction, so it is
there as a whole or not at all (unless it is more than the server has locks for: then a failure asks for a
new destination); afterwards, what is there already is left out. Until the privileges are
made, nobody but the owner can see what is being restored. For example:

    findings = restore_before_rows(conninfo, archive, facts, deadline)
    …rows…
    findings += restore_after_rows(conninfo, archive, facts, manifest.sequences, deadline, jobs=2)
"""

from collections.abc import Iterable, Mapping, Sequence

from strongroom.deadline import Deadline
from strongroom.errors import DestinationNotEmpty, StatementRefused
from strongroom.format.documents import Finding, SequenceState, Severity
from strongroom.postgres.access_reading import read_access, read_default_access
from strongroom.postgres.archive_selection import (
    Decision,
    identity,
    is_remade_safely,
    select_entries,
    stages_of_indexes,
)
from strongroom.postgres.archive_toc import Section, entry_name, read_toc
from strongroom.postgres.connection import Connection, connect, translated
from strongroom.postgres.database_facts import DatabaseFacts
from strongroom.postgres.default_privileges import default_statements, neutral_statements
from strongroom.postgres.large_objects import write_large_objects
from strongroom.postgres.ownership import (
    OWNED_IN_ORDER,
    admission_statements,
    other_ownership_statements,
    ownership_statements,
)
from strongroom.postgres.present_objects import present_objects
from strongroom.postgres.privileges import access_statements, managed_statements
from strongroom.postgres.roles import (
    belong_to_owners,
    restore_memberships,
    restore_roles,
    restore_settings,
    role_names,
)
from strongroom.postgres.schema_archive import replay
from strongroom.postgres.sequences_in import set_sequences
from strongroom.postgres.statements import Statement, attempt_all, run_all
from strongroom.recovery.extensions import make_queues, make_schemas_and_extensions
from strongroom.recovery.publications import publication_statements
from strongroom.supabase.vault_secrets import create_vault_secrets

_INVALID_INDEXES = """
SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relkind = 'I' AND NOT i.indisvalid
  AND (SELECT count(*) FROM pg_inherits h WHERE h.inhparent = i.indrelid)
      = (SELECT count(*) FROM pg_inherits h JOIN pg_index x ON x.indexrelid = h.inhrelid
         WHERE h.inhparent = i.indexrelid AND x.indisvalid)
ORDER BY 1
"""

_LOCKS = """
SELECT current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int
"""
_LOCKS_PER_OBJECT = 5


def restore_before_rows(
    conninfo: Mapping[str, str], archive: bytes, facts: DatabaseFacts, deadline: Deadline
) -> tuple[Finding, ...]:
    """Make what rows need. Raises `StatementRefused`, `SchemaRestoreFailed`, `DestinationNotEmpty`."""
    entries = read_toc(archive)
    with connect(conninfo, deadline) as connection:
        connection.execute("SET check_function_bodies = off")
        # Extensions make objects too, so nothing comes before this.
        _make_defaults_neutral(connection)
        findings = restore_roles(connection, facts)
        findings += make_schemas_and_extensions(connection, facts)
        findings += make_queues(connection, facts)
        decisions = select_entries(entries, facts, present_objects(connection))
        missing = _not_made_yet(connection, decisions)
        fits = _fits_one_transaction(connection, missing)
        replay(conninfo, archive, [d.entry for d in missing], deadline, in_one_transaction=fits)
        findings += _attempt(connection, decisions, "pre-data")
    return findings


def restore_after_rows(
    conninfo: Mapping[str, str],
    archive: bytes,
    facts: DatabaseFacts,
    sequences: Sequence[SequenceState],
    deadline: Deadline,
    *,
    jobs: int = 2,
    large_objects: Iterable[bytes] = (),
    secrets: bytes = b"",
) -> tuple[Finding, ...]:
    """Make what comes after the rows, and everything exact. Raises `StatementRefused`, `SchemaRestoreFailed`.

    `large_objects` and `secrets` are what `read_large_objects` and `read_vault_secrets` delivered.
    """
    entries = read_toc(archive)
    with connect(conninfo, deadline) as connection:
        connection.execute("SET check_function_bodies = off")
        present = present_objects(connection)
        decisions = select_entries(entries, facts, present)
        wanted = [
            d.entry
            for d in decisions
            if d.action == "restore"
            and d.entry.phase == "post-data"
            and (identity(d.entry) not in present or is_remade_safely(d.entry))
        ]
        before, attached, after = stages_of_indexes(wanted)
        replay(conninfo, archive, before, deadline, jobs=jobs)
        replay(conninfo, archive, attached, deadline)
        replay(conninfo, archive, after, deadline, jobs=jobs)
        user, _ = _session(connection)
        findings = set_sequences(connection, sequences)
        findings += find_invalid_indexes(connection)
        write_large_objects(connection, large_objects, deadline)
        findings += _restore_access(connection, facts, decisions)
        findings += _refresh_views(connection, facts)
        findings += _attempt(connection, decisions, "post-data", without="EVENT TRIGGER")
        findings += attempt_all(
            connection, publication_statements(decisions, present, user), code="publication-not-restored"
        )
        findings += create_vault_secrets(connection, secrets)
        findings += _restore_defaults(connection, facts)
        findings += restore_settings(connection, facts)
        findings += restore_memberships(connection, facts)
        # Last, so that the user's event triggers do not watch the restore.
        findings += _attempt(connection, decisions, "post-data", only="EVENT TRIGGER")
    return findings


def find_invalid_indexes(connection: Connection) -> tuple[Finding, ...]:
    """Return a finding for each index of a partitioned table that is not valid though all its parts are.

    No key of another table could refer to it, and no row be upserted by it.
    """
    with translated("the indexes"):
        names = [name for (name,) in connection.execute(_INVALID_INDEXES).fetchall()]
    return tuple(
        Finding(
            severity="error",
            code="index-not-valid",
            object=f"index {name}",
            expected="valid, as the indexes of all partitions are",
            observed="not valid",
            advice="Drop it and create it again.",
        )
        for name in names
    )


# ---------------------------------------------------------------- before


def _make_defaults_neutral(connection: Connection) -> None:
    """Let nobody but the owner into what is made from now on."""
    user, _ = _session(connection)
    with translated("default privileges"):
        current = read_default_access(connection)
    run_all(connection, neutral_statements(current, user, destination_major=_major(connection)))


def _not_made_yet(connection: Connection, decisions: Sequence[Decision]) -> list[Decision]:
    """Return what is to be made before the rows: all of it, or nothing if it is all there.

    Raises `DestinationNotEmpty` if some of it is there: a restore of ours does not leave that behind.
    """
    present = present_objects(connection)
    wanted = [d for d in decisions if d.action == "restore" and d.entry.phase == "pre-data"]
    made = [d for d in wanted if (name := identity(d.entry)) is not None and name in present]
    if not made:
        return wanted
    if all(identity(d.entry) is None or identity(d.entry) in present for d in wanted):
        return []
    names = ", ".join(entry_name(d.entry) for d in made[:5])
    raise DestinationNotEmpty(destination=connection.info.dbname, objects=names)


def _fits_one_transaction(connection: Connection, decisions: Sequence[Decision]) -> bool:
    """Tell whether the server has room for the locks of all new objects at once.

    A table takes a handful of them (itself, its TOAST table and index, its type).
    """
    with translated("the server's settings"):
        row = connection.execute(_LOCKS).fetchone()
    return len(decisions) * _LOCKS_PER_OBJECT < (row[0] if row else 0)


def _attempt(
    connection: Connection,
    decisions: Iterable[Decision],
    phase: Section,
    *,
    without: str = "",
    only: str = "",
) -> tuple[Finding, ...]:
    """Try each statement on the platform's objects apart."""
    statements = [
        Statement(entry_name(d.entry), d.entry.definition.strip().rstrip(";"))
        for d in decisions
        if d.action == "attempt"
        and d.entry.phase == phase
        and d.entry.description != without
        and (not only or d.entry.description == only)
    ]
    return attempt_all(connection, statements, code="refused-by-platform")


# ---------------------------------------------------------------- after


def _restore_access(
    connection: Connection, facts: DatabaseFacts, decisions: Iterable[Decision]
) -> tuple[Finding, ...]:
    """Hand objects to their owners, then make privileges exact."""
    findings = _restore_owners(connection, facts)
    restored = [d.entry for d in decisions if d.action == "restore"]
    user, database = _session(connection)
    others = other_ownership_statements(restored, user)
    findings += attempt_all(connection, others, code="owner-not-restored")
    roles = role_names(connection)
    for columns in (False, True):
        _run_or_attempt(connection, _planned_access(connection, facts, roles, columns=columns))
    attempt_all(
        connection, _planned_managed(connection, facts, roles, database), code="privilege-not-restored"
    )
    # A GRANT without the right to it is no error to Postgres, so what was reached is read again.
    lacking = [
        s for columns in (False, True) for s in _planned_access(connection, facts, roles, columns=columns)
    ]
    findings += tuple(_not_granted(statement, "error") for statement in lacking)
    lacking = _planned_managed(connection, facts, roles, database)
    return findings + tuple(_not_granted(statement, "warning") for statement in lacking)


def _run_or_attempt(connection: Connection, statements: Sequence[Statement]) -> None:
    """Run all statements at once; if one is refused, the rest must still be done."""
    try:
        run_all(connection, statements)
    except StatementRefused:
        attempt_all(connection, statements, code="privilege-not-restored")


def _planned_access(
    connection: Connection, facts: DatabaseFacts, roles: frozenset[str], *, columns: bool
) -> list[Statement]:
    with translated("privileges"):
        current = read_access(connection)
    return access_statements(
        facts, current, destination_major=_major(connection), roles=roles, columns=columns
    )


def _planned_managed(
    connection: Connection, facts: DatabaseFacts, roles: frozenset[str], database: str
) -> list[Statement]:
    with translated("privileges"):
        current = read_access(connection)
    return managed_statements(facts, current, roles=roles, database=database)


def _not_granted(statement: Statement, severity: Severity) -> Finding:
    return Finding(
        severity=severity,
        code="privilege-not-restored",
        object=statement.object,
        expected="as in the backup",
        observed="the restoring role has no right to change it",
        advice=f"Run as the owner: {statement.sql}",
    )


def _restore_owners(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Hand objects to their owners; sequences of columns follow their tables, so they come later."""
    belong_to_owners(connection, facts)
    findings: tuple[Finding, ...] = ()
    for kinds in OWNED_IN_ORDER:
        with translated("owners"):
            current = read_access(connection)
        statements = ownership_statements(facts, current, kinds=kinds)
        if statements:
            # Whether a new owner may own there is what the statements tell; exact privileges follow.
            attempt_all(connection, admission_statements(facts), code="owner-not-restored")
        findings += attempt_all(connection, statements, code="owner-not-restored")
    return findings


def _refresh_views(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    """Fill the materialised views that were filled, those first that others read."""
    statements = [
        Statement(f"materialised view {view.identity}", f"REFRESH MATERIALIZED VIEW {view.identity}")
        for view in facts.materialized_views
        if view.populated
    ]
    # Their queries may call functions whose bodies count on the role's own search path.
    connection.execute("RESET search_path")
    findings = attempt_all(connection, statements, code="view-not-refreshed", severity="error")
    connection.execute("SET search_path = ''")
    return findings


def _restore_defaults(connection: Connection, facts: DatabaseFacts) -> tuple[Finding, ...]:
    user, _ = _session(connection)
    with translated("default privileges"):
        current = read_default_access(connection)
    statements, findings = default_statements(
        facts,
        current,
        restoring_role=user,
        destination_major=_major(connection),
        roles=role_names(connection),
    )
    return findings + attempt_all(connection, statements, code="default-privileges-differ")


def _session(connection: Connection) -> tuple[str, str]:
    """Return the role and the database as the server calls them: a pooler has other names for roles."""
    with translated("the session"):
        row = connection.execute("SELECT current_user::text, current_database()::text").fetchone()
    return (str(row[0]), str(row[1])) if row else ("", "")


def _major(connection: Connection) -> int:
    return connection.info.server_version // 10000
