"""Facts about column types on which the meaning of stored COPY text depends.

Renaming an enum label or a table changes the text of rows without touching a row. Each table therefore
carries the facts that its column types rest on; rows of an earlier backup are reused only where all of
them still hold. Adding an enum label adds a fact and breaks none.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from strongroom.postgres.connection import Connection

_REG_LISTINGS = {
    24: ("regproc", "SELECT oid, oid::regproc FROM pg_proc WHERE oid >= 16384"),
    1033: ("aclitem", "SELECT oid, rolname FROM pg_roles"),
    2202: ("regprocedure", "SELECT oid, oid::regprocedure FROM pg_proc WHERE oid >= 16384"),
    2203: ("regoper", "SELECT oid, oid::regoper FROM pg_operator WHERE oid >= 16384"),
    2204: ("regoperator", "SELECT oid, oid::regoperator FROM pg_operator WHERE oid >= 16384"),
    2205: ("regclass", "SELECT oid, oid::regclass FROM pg_class WHERE oid >= 16384"),
    2206: ("regtype", "SELECT oid, oid::regtype FROM pg_type WHERE oid >= 16384"),
    3734: ("regconfig", "SELECT oid, oid::regconfig FROM pg_ts_config WHERE oid >= 16384"),
    3769: ("regdictionary", "SELECT oid, oid::regdictionary FROM pg_ts_dict WHERE oid >= 16384"),
    4089: ("regnamespace", "SELECT oid, nspname FROM pg_namespace"),
    4096: ("regrole", "SELECT oid, rolname FROM pg_roles"),
    4191: ("regcollation", "SELECT oid, oid::regcollation FROM pg_collation WHERE oid >= 16384"),
}
"""Types whose text is the name of a catalog object: a fact is the digest of all names of that catalog."""


@dataclass
class TypeCatalog:
    """The types of one database at one snapshot, and the facts about each, found once and kept."""

    connection: Connection
    components: dict[int, set[int]] = field(default_factory=dict)
    statements: dict[int, set[str]] = field(default_factory=dict)
    _reg_digests: dict[int, str] = field(default_factory=dict)

    def load(self) -> None:
        """Read what types are made of, the labels of enums and the attributes of composites."""
        for oid, *parts in self.connection.execute(
            "SELECT t.oid, CASE WHEN t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc"
            " THEN t.typelem ELSE 0 END, t.typbasetype, coalesce(r.rngsubtype, m.rngtypid, 0)"
            " FROM pg_type t LEFT JOIN pg_range r ON r.rngtypid = t.oid"
            " LEFT JOIN pg_range m ON m.rngmultitypid = t.oid"
        ):
            self.components[oid] = {part for part in parts if part}
        for oid, label_oid, label in self.connection.execute(
            "SELECT enumtypid, oid, enumlabel FROM pg_enum ORDER BY oid"
        ):
            self.statements.setdefault(oid, set()).add(f"enum {oid}: label {label_oid} is {label}")
        for oid, attributes, types in self.connection.execute(
            "SELECT c.reltype,"
            " string_agg(format('%s %s %s', a.attnum, a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum),"
            " array_agg(a.atttypid) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped AND c.oid >= 16384 GROUP BY 1"
        ):
            self.statements.setdefault(oid, set()).add(f"composite {oid}: {attributes}")
            self.components.setdefault(oid, set()).update(types)

    def facts(self, types: Iterable[int]) -> tuple[str, ...]:
        """Return the facts that the text of columns of these types rests on, sorted."""
        found: set[str] = set()
        seen: set[int] = set()
        pending = list(types)
        while pending:
            oid = pending.pop()
            if oid in seen:
                continue
            seen.add(oid)
            found |= self.statements.get(oid, set())
            if oid in _REG_LISTINGS:
                found.add(self._reg_fact(oid))
            pending += self.components.get(oid, set())
        return tuple(sorted(found))

    def _reg_fact(self, oid: int) -> str:
        if oid not in self._reg_digests:
            name, listing = _REG_LISTINGS[oid]
            row = self.connection.execute(
                "SELECT coalesce(md5(string_agg(o || ' ' || n::text, ',' ORDER BY o)), '')"
                f" FROM ({listing}) AS l (o, n)"
            ).fetchone()
            self._reg_digests[oid] = f"names behind {name}: {row[0] if row else ''}"
        return self._reg_digests[oid]
