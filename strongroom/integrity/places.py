"""Where the rows of tables are while a recovery in place is under way, as FROM takes it. Pure.

Before the commit, the rows that come in are in staging tables; what a table is going to hold is made of those and of
the live rows that stay. For example:

    places = Places(RUN_SCHEMA, "exact", tables, roots, equality)
    places.staged(mapped)                             # the rows that come in
    places.after("public", "robots", ["id"])          # what public.robots will hold after the commit

`roots` names, for each root of partitions, the partitions in scope.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from strongroom.format.documents import Column, ForeignKey, TableFacts
from strongroom.format.recovery_plans import Strategy
from strongroom.integrity.measurements import Equality, identifier, relation
from strongroom.recovery.mapping import MappedTable, condition_sql
from strongroom.recovery.staging_names import staged_rows

TableName = tuple[str, str]


@dataclass(frozen=True)
class Places:
    """The tables in scope of a plan, and in which schema their wanted rows are."""

    schema: str
    strategy: Strategy
    tables: Sequence[MappedTable]
    roots: Mapping[TableName, Sequence[MappedTable]] = field(default_factory=dict)
    equality: Equality = field(default_factory=dict)

    def mapped(self, schema: str, name: str) -> MappedTable | None:
        """Return a table, if it is in scope."""
        return next((m for m in self.tables if (m.facts.schema, m.facts.name) == (schema, name)), None)

    def staged(self, mapped: MappedTable) -> str:
        """Return where the rows are that come into a table."""
        return staged_rows(self.schema, mapped.number)

    def staged_table(self, mapped: MappedTable) -> TableName:
        """Return schema and name of that place."""
        return self.schema, self.staged(mapped).rpartition(".")[2].strip('"')

    def after(self, schema: str, name: str, columns: Sequence[str] | None = None) -> str:
        """Return where all rows are that a table will hold: of these columns, or of those that are recovered.

        A table out of scope stays as it is; of a root of partitions, those in scope do not.
        """
        mapped = self.mapped(schema, name)
        if mapped is not None:
            return self._after(mapped, columns or mapped.columns)
        leaves = self.roots.get((schema, name), ())
        if not leaves:
            return relation(schema, name)
        wanted = columns or [c for c in leaves[0].columns if all(c in leaf.columns for leaf in leaves)]
        oids = ", ".join(str(leaf.live.oid) for leaf in leaves)
        others = f"SELECT {_listed('t', wanted)} FROM {relation(schema, name)} AS t WHERE t.tableoid NOT IN ({oids})"
        parts = [f"SELECT {_listed('l', wanted)} FROM {self._after(leaf, wanted)} AS l" for leaf in leaves]
        return f"({' UNION ALL '.join([others, *parts])})"

    def _after(self, mapped: MappedTable, columns: Sequence[str]) -> str:
        """Join the rows that come in with the live rows that stay, as the strategy says."""
        staged, live = self.staged(mapped), live_rows(mapped)
        come, stay = f"SELECT {_listed('s', columns)} FROM {staged} AS s", _of_live(columns, live)
        if self.strategy == "exact":
            if not mapped.where:
                return staged
            return f"({come} UNION ALL {stay} WHERE {condition_sql(mapped.where)} IS NOT TRUE)"
        same = self._same(mapped)
        if same and self.strategy == "merge_missing":
            come += f" WHERE NOT EXISTS (SELECT FROM {live} AS t WHERE {same})"
        elif same:
            stay += f" WHERE NOT EXISTS (SELECT FROM {staged} AS s WHERE {same})"
        return f"({come} UNION ALL {stay})"

    def _same(self, mapped: MappedTable) -> str:
        """Return when a staged row `s` and a live row `t` are the same one; empty if rows have no key."""
        terms = []
        for name in mapped.key:
            schema = self.equality.get((mapped.live.schema, mapped.live.name, name))
            equals = f"OPERATOR({identifier(schema)}.=)" if schema else "="
            terms.append(f"s.{identifier(name)} {equals} t.{identifier(name)}")
        return " AND ".join(terms)

    def referred(self, table: TableFacts) -> dict[ForeignKey, str]:
        """Return, for each foreign key that may lead to rows in scope, where the rows are that it leads to."""
        return {
            key: self.after(key.to_schema, key.to_table, key.to_columns)
            for key in table.foreign_keys
            if self.mapped(key.to_schema, key.to_table) or (key.to_schema, key.to_table) in self.roots
        }


def live_rows(mapped: MappedTable) -> str:
    """Return where a table's own live rows are."""
    return f"ONLY {relation(mapped.live.schema, mapped.live.name)}"


def live_part(mapped: MappedTable) -> str:
    """Return where those live rows are that meet the table's condition, if it has one."""
    if not mapped.where:
        return live_rows(mapped)
    return f"(SELECT * FROM {live_rows(mapped)} AS t WHERE {condition_sql(mapped.where)})"


def recovered_facts(mapped: MappedTable) -> TableFacts:
    """Return the facts of a backup's table cut down to what is recovered of it, in the types that live has."""
    live = {column.name: column for column in mapped.live.columns}
    columns = tuple(
        Column(
            name=column.name,
            number=column.number,
            type=live[column.name].type,
            type_oid=live[column.name].type_oid,
            type_modifier=live[column.name].type_modifier,
            not_null=column.not_null or live[column.name].not_null,
        )
        for column in mapped.facts.columns
        if column.name in mapped.columns
    )
    present = set(mapped.columns)
    return TableFacts(
        oid=mapped.facts.oid,
        schema=mapped.facts.schema,
        name=mapped.facts.name,
        file_node=mapped.facts.file_node,
        persistence=mapped.facts.persistence,
        access_method=mapped.facts.access_method,
        columns=columns,
        unique_keys=tuple(key for key in mapped.facts.unique_keys if present >= set(key.columns)),
        foreign_keys=tuple(key for key in mapped.facts.foreign_keys if present >= set(key.columns)),
        managed=mapped.facts.managed,
    )


def absent_columns(mapped: MappedTable) -> frozenset[str]:
    """Return the live columns that staged rows lack: generated ones, and those that the backup does not have."""
    return frozenset(column.name for column in mapped.live.columns) - set(mapped.columns)


def _listed(alias: str, columns: Iterable[str]) -> str:
    return ", ".join(f"{alias}.{identifier(name)}" for name in columns)


def _of_live(columns: Iterable[str], live: str) -> str:
    return f"SELECT {_listed('t', columns)} FROM {live} AS t"
