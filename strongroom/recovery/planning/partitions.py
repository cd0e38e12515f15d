"""Partitioned tables that are asked for by the name of the whole. Pure.

Such a table has no rows of its own, and the backup lists its partitions, each a table. Which they were is told by the
schema archive: also those that live does not have any more, which somebody may be about to recover.

    tables = with_partitions(wishes.tables, manifest, read_toc(archive))
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from strongroom.format.documents import Manifest
from strongroom.format.recovery_plans import ScopedTable
from strongroom.postgres.archive_toc import TocEntry

Name: TypeAlias = tuple[str, str]


def has_unknown(tables: Iterable[ScopedTable], manifest: Manifest) -> bool:
    """Tell whether a table is asked for that the backup does not list: it may be a partitioned one."""
    return any((table.schema, table.name) not in _known(manifest) for table in tables)


def with_partitions(
    tables: Iterable[ScopedTable], manifest: Manifest, entries: Sequence[TocEntry]
) -> tuple[ScopedTable, ...]:
    """Return the tables with each partitioned one replaced by its partitions, of which its condition holds too.

    Partitions of partitions are followed down to those with rows. What else the backup does not list stays as it is.
    """
    known, children = _known(manifest), _children(entries)
    found: list[ScopedTable] = []
    for table in tables:
        name = (table.schema, table.name)
        leaves = [] if name in known else [leaf for leaf in _below(name, children) if leaf in known]
        found += [ScopedTable(schema=leaf[0], name=leaf[1], where=table.where) for leaf in leaves] or [table]
    return tuple(found)


def _known(manifest: Manifest) -> frozenset[Name]:
    return frozenset((entry.facts.schema, entry.facts.name) for entry in manifest.tables)


def _children(entries: Sequence[TocEntry]) -> Mapping[Name, list[Name]]:
    """Return the partitions of each partitioned table: the archive attaches each to the table that it depends on."""
    tables = {entry.dump_id: (entry.schema, entry.tag) for entry in entries if entry.description == "TABLE"}
    children: defaultdict[Name, list[Name]] = defaultdict(list)
    for entry in entries:
        if entry.description == "TABLE ATTACH":
            child = (entry.schema, entry.tag)
            parents = {tables[number] for number in entry.depends_on if number in tables} - {child}
            for parent in sorted(parents):
                children[parent].append(child)
    return children


def _below(name: Name, children: Mapping[Name, list[Name]]) -> list[Name]:
    """Return all partitions of a table and of its partitions, in the archive's order."""
    found: dict[Name, None] = {}
    waiting = [name]
    while waiting:
        below = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found |= dict.fromkeys(below)
        waiting += below
    return list(found)
