"""How the loading of staging tables is cut into units. Pure: the same plan and backup give the same units everywhere.

cut = cut_to_scope(manifest, plan)                 # tables in the plan's order, and only the documents they need
units = plan_restore_units(cut, documents)         # a slice's `table` is a `MappedTable.number`
mark = fingerprint(plan, tables, units)
"""

import hashlib
from collections.abc import Sequence

import msgspec

from strongroom.errors import NothingInScope
from strongroom.format.documents import Manifest, PartRef, TableEntry
from strongroom.format.recovery_plans import RecoveryPlan
from strongroom.recovery.mapping import MappedTable
from strongroom.recovery.units import RestoreUnitPlan


def cut_to_scope(manifest: Manifest, plan: RecoveryPlan) -> Manifest:
    """Return the manifest with the plan's tables only, in the plan's order, and the documents that they are in.

    Raises `NothingInScope` if the backup does not have one of the tables.
    """
    entries = {(entry.facts.schema, entry.facts.name): entry for entry in manifest.tables}
    wanted: list[TableEntry] = []
    for table in plan.tables:
        entry = entries.get((table.schema, table.name))
        if entry is None:
            raise NothingInScope(backup=manifest.id, object=f"table {table.label}")
        wanted.append(entry)
    needed = sorted({place.document for entry in wanted for place in entry.parts})
    numbers = {document: number for number, document in enumerate(needed)}
    return msgspec.structs.replace(
        manifest,
        tables=tuple(
            msgspec.structs.replace(
                entry,
                parts=tuple(PartRef(document=numbers[p.document], part=p.part) for p in entry.parts),
            )
            for entry in wanted
        ),
        documents=tuple(manifest.documents[document] for document in needed),
    )


def fingerprint(plan: RecoveryPlan, tables: Sequence[MappedTable], units: Sequence[RestoreUnitPlan]) -> str:
    """Return what differs as soon as rows would be loaded otherwise: another cut, other columns, types, conditions."""
    shapes = [
        (
            table.label,
            table.live.oid,
            table.where,
            [(c.name, c.type) for c in table.live.columns],
            table.columns,
        )
        for table in tables
    ]
    return hashlib.sha256(repr((plan.id, plan.backup, shapes, units)).encode()).hexdigest()
