"""The kinds of damage that a mutation drill does to the database that it restored, and what has to notice each.

They stand for a backup that was emptied before it was taken, and for a restore that lost a definition: nothing in the
repository is wrong then, and only the integrity suites can tell. A kind is one entry of `DATABASE_DAMAGES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from strongroom.drill.damage import Trace
from strongroom.format.documents import Finding, Manifest
from strongroom.postgres.connection import Connection, translated
from strongroom.postgres.digest import quote_identifier

_GRAVE = frozenset({"error", "critical"})

_POLICIES = """
SELECT schemaname, tablename, policyname FROM pg_catalog.pg_policies ORDER BY 1, 2, 3
"""


@dataclass(frozen=True)
class DatabaseDamage:
    """A kind of damage; `do` returns None where the database has nothing that could be damaged so."""

    name: str
    sentence: str
    do: Callable[[Connection, Manifest, Callable[[int], bytes]], Trace | None]
    noticed_as: frozenset[str]


def notice_in_database(
    damage: DatabaseDamage, trace: Trace, known: Sequence[Finding], findings: Sequence[Finding]
) -> str:
    """Say which expectation noticed the damage for what it is; empty if none did.

    Only a finding counts that was not there before, is grave, and is about the very object.
    """
    before = {(finding.code, finding.object, finding.observed) for finding in known}
    for finding in findings:
        is_new = (finding.code, finding.object, finding.observed) not in before
        is_right = finding.code in damage.noticed_as and finding.object == trace.object
        if is_new and is_right and finding.severity in _GRAVE:
            return f"integrity suites: {finding.code}"
    return ""


def _empty_table(connection: Connection, manifest: Manifest, random: Callable[[int], bytes]) -> Trace | None:
    """Empty a table of the user's that has rows; one that no other refers to, if there is one."""
    filled = [entry for entry in manifest.tables if entry.rows and not entry.facts.managed]
    referred = {
        (key.to_schema, key.to_table)
        for entry in manifest.tables
        for key in entry.facts.foreign_keys
        if (key.to_schema, key.to_table) != (entry.facts.schema, entry.facts.name)
    }
    free = [entry for entry in filled if (entry.facts.schema, entry.facts.name) not in referred]
    choice = free or filled
    if not choice:
        return None
    entry = choice[int.from_bytes(random(4), "big") % len(choice)]
    label = f"{entry.facts.schema}.{entry.facts.name}"
    relation = f"{quote_identifier(entry.facts.schema)}.{quote_identifier(entry.facts.name)}"
    with translated(label):
        connection.execute(f"TRUNCATE ONLY {relation}" + ("" if free else " CASCADE"))
    return Trace(label, f"{label} was emptied of its {entry.rows} rows")


def _drop_policy(connection: Connection, manifest: Manifest, random: Callable[[int], bytes]) -> Trace | None:
    """Drop a policy of a table of the user's."""
    users = {(entry.facts.schema, entry.facts.name) for entry in manifest.tables if not entry.facts.managed}
    with translated("policies"):
        policies = [row for row in connection.execute(_POLICIES).fetchall() if (row[0], row[1]) in users]
    if not policies:
        return None
    schema, table, policy = policies[int.from_bytes(random(4), "big") % len(policies)]
    label = f"{schema}.{table}"
    with translated(label):
        connection.execute(
            f"DROP POLICY {quote_identifier(policy)} ON {quote_identifier(schema)}.{quote_identifier(table)}"
        )
    return Trace(label, f"the policy {policy!r} of {label} was dropped")


DATABASE_DAMAGES: tuple[DatabaseDamage, ...] = (
    DatabaseDamage(
        "emptied-table",
        "A table in the backup is empty.",
        _empty_table,
        frozenset({"integrity-row-count", "integrity-data-loss", "integrity-digest"}),
    ),
    DatabaseDamage(
        "dropped-policy",
        "A row-security policy is gone.",
        _drop_policy,
        frozenset({"integrity-row-security", "integrity-policy-expressions"}),
    ),
)
"""Every kind of damage to a restored database, in the order in which they are done; none is undone."""


def find_database_damage(name: str) -> DatabaseDamage:
    """Return the kind of damage of this name."""
    return next(damage for damage in DATABASE_DAMAGES if damage.name == name)
