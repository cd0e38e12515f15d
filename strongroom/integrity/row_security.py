"""Row security as the backup's schema archive says it was: which tables have it on, and each of their policies. Pure.

A policy is compared by name, command, roles, and whether it is restrictive; its expressions as the server prints
them, which differs between major versions now and then, so that they are a warning if the versions differ. Policies on
the platform's own tables (`storage.objects`), which a hosted project may refuse to take, are warnings. How many rows
a role sees has no baseline in a backup and is not compared. Example:

    suites = plan_row_security(archive, same_version=True)
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from strongroom.errors import ArchiveUnreadable
from strongroom.integrity.measurements import literal
from strongroom.integrity.suites import PlannedExpectation, PlannedSuite, Weight
from strongroom.postgres.archive_toc import TocEntry, read_toc
from strongroom.supabase.scope import is_managed_schema

_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^\s",.()]+)'
_POLICY = re.compile(
    rf"\s*CREATE POLICY (?P<name>{_IDENTIFIER}) ON (?P<schema>{_IDENTIFIER})\.(?P<table>{_IDENTIFIER})"
    r"(?P<restrictive> AS RESTRICTIVE)?(?: FOR (?P<command>SELECT|INSERT|UPDATE|DELETE))?"
    rf"(?: TO (?P<roles>{_IDENTIFIER}(?:, {_IDENTIFIER})*))?(?P<rest>(?: USING \(| WITH CHECK \().*|)\s*;\s*",
    re.DOTALL,
)
_SWITCHED_ON = re.compile(
    rf"\s*ALTER TABLE (?:ONLY )?(?P<schema>{_IDENTIFIER})\.(?P<table>{_IDENTIFIER}) ENABLE ROW LEVEL SECURITY;\s*"
)
_FORCED = re.compile(r"^ALTER TABLE ONLY \S.* FORCE ROW LEVEL SECURITY;$", re.MULTILINE)

_OIDS = "SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.relkind = 'r'"


@dataclass(frozen=True)
class Policy:
    """A policy: `command` is ALL or one of the four, `roles` are sorted, `expressions` as pg_dump prints them."""

    name: str
    restrictive: bool
    command: str
    roles: tuple[str, ...]
    expressions: str

    @property
    def row(self) -> list[str]:
        """Return what the destination is asked for."""
        kind = "restrictive" if self.restrictive else "permissive"
        return [f"policy {self.name}", kind, self.command, ", ".join(self.roles)]


@dataclass
class TableSecurity:
    """The row security of one table, as the archive has it."""

    schema: str
    name: str
    is_on: bool = False
    is_forced: bool = False
    policies: list[Policy] = field(default_factory=list)


def plan_row_security(archive: bytes, *, same_version: bool) -> tuple[PlannedSuite, ...]:
    """Plan the suite of row security; none if the backup has none at all. Raises `ArchiveUnreadable`.

    `same_version` tells that source and destination print expressions alike.
    """
    tables = read_row_security(read_toc(archive))
    # Whether the platform's own tables have it on is the platform's.
    compared = [table for table in tables if table.policies or not is_managed_schema(table.schema)]
    planned = tuple(e for table in compared for e in _expectations(table, same_version=same_version))
    return (PlannedSuite("row-security", "row security", _OIDS, planned),) if planned else ()


def read_row_security(entries: Iterable[TocEntry]) -> tuple[TableSecurity, ...]:
    """Return the tables that have row security or policies. Raises `ArchiveUnreadable`."""
    found: dict[tuple[str, str], TableSecurity] = {}
    forced = defaultdict(bool)
    for entry in entries:
        if entry.description == "TABLE":
            forced[entry.schema, entry.tag] = _FORCED.search(entry.definition) is not None
        elif entry.description == "ROW SECURITY":
            match = _parsed(_SWITCHED_ON, entry)
            _table(found, match).is_on = True
        elif entry.description == "POLICY":
            match = _parsed(_POLICY, entry)
            _table(found, match).policies.append(_policy(match))
    for (schema, name), table in found.items():
        table.is_forced = forced[schema, name]
    return tuple(found[place] for place in sorted(found))


def _parsed(pattern: re.Pattern[str], entry: TocEntry) -> re.Match[str]:
    match = pattern.fullmatch(entry.definition)
    if match is None:
        # What cannot be read cannot be compared, and must not look as if it had been.
        raise ArchiveUnreadable(detail=f"it has a {entry.description} that is written in an unknown way")
    return match


def _table(found: dict[tuple[str, str], TableSecurity], match: re.Match[str]) -> TableSecurity:
    place = _unquoted(match["schema"]), _unquoted(match["table"])
    return found.setdefault(place, TableSecurity(*place))


def _policy(match: re.Match[str]) -> Policy:
    roles = re.findall(_IDENTIFIER, match["roles"] or "public")
    return Policy(
        name=_unquoted(match["name"]),
        restrictive=match["restrictive"] is not None,
        command=match["command"] or "ALL",
        roles=tuple(sorted(map(_unquoted, roles))),
        expressions=match["rest"],
    )


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _expectations(table: TableSecurity, *, same_version: bool) -> list[PlannedExpectation]:
    """Plan what must hold of one table."""
    subject = f"{table.schema}.{table.name}"
    managed = is_managed_schema(table.schema)
    weight: Weight = "warning" if managed else "critical"
    rows = [policy.row for policy in table.policies]
    if not managed:
        switches = ["on" if table.is_on else "off", "forced" if table.is_forced else "not forced", ""]
        rows.append([f"row security {switches[0]}, {switches[1]}", *switches])
    texts = [[f"policy {p.name}", p.expressions] for p in table.policies]
    names = ", ".join(policy.name for policy in table.policies) or "none"
    planned = [
        PlannedExpectation(
            "row-security",
            subject,
            f"{subject} has row security and the policies of the backup: {names}.",
            f"row security {'on' if table.is_on else 'off'}; policies: {names}",
            # The platform may have policies of its own on its tables.
            {"sql": _switches_and_policies(table, managed=managed), "expected": rows, "is_all": not managed},
            weight,
        )
    ]
    if texts:
        planned.append(
            PlannedExpectation(
                "policy-expressions",
                subject,
                f"The policies of {subject} let in the rows that they let in at the backup.",
                "the expressions of the backup",
                {"sql": _texts(table), "expected": texts, "is_all": False},
                weight if same_version else "warning",
            )
        )
    return planned


def _place(table: TableSecurity) -> str:
    return f"n.nspname = {literal(table.schema)} AND c.relname = {literal(table.name)}"


_OF_TABLE = (
    " FROM pg_catalog.pg_policy AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid"
    " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE "
)


def _switches_and_policies(table: TableSecurity, *, managed: bool) -> str:
    """Return a query for a row of each policy and, on the user's tables, one of the switches."""
    policies = (
        "SELECT 'policy ' || p.polname AS what,"
        " CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END AS kind,"
        " CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'"
        " WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command,"
        " CASE WHEN p.polroles = ARRAY[0::pg_catalog.oid] THEN 'public' ELSE (SELECT"
        " string_agg(r.rolname, ', ' ORDER BY r.rolname COLLATE pg_catalog.\"C\")"
        " FROM pg_catalog.pg_roles AS r WHERE r.oid = ANY (p.polroles)) END AS roles"
        + _OF_TABLE
        + _place(table)
    )
    if managed:
        return policies
    on = "CASE WHEN c.relrowsecurity THEN 'on' ELSE 'off' END"
    forced = "CASE WHEN c.relforcerowsecurity THEN 'forced' ELSE 'not forced' END"
    return (
        f"{policies} UNION ALL SELECT 'row security ' || {on} || ', ' || {forced}, {on}, {forced}, ''"
        " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE {_place(table)}"
    )


def _texts(table: TableSecurity) -> str:
    """Return a query for the expressions of each policy, put together as pg_dump does."""
    return (
        "SELECT 'policy ' || p.polname AS what,"
        " coalesce(' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', '')"
        " || coalesce(' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') AS texts"
        + _OF_TABLE
        + _place(table)
    )
