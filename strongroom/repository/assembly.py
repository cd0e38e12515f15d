"""From the unit documents of a backup to its manifest. Pure but for its arguments: reads nothing itself."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence

from strongroom.errors import CaptureIncomplete
from strongroom.format.documents import (
    FORMAT,
    BackupPlan,
    CaptureTotals,
    CollectionRef,
    Finding,
    Manifest,
    ObjectRef,
    PartRef,
    PlannedTable,
    TableEntry,
    UnitDocument,
)


def assemble_manifest(
    plan: BackupPlan,
    documents: Sequence[tuple[ObjectRef, UnitDocument]],
    totals: CaptureTotals,
    findings: tuple[Finding, ...],
    finished_at: dt.datetime,
) -> Manifest:
    """Return the manifest of a backup; raise `CaptureIncomplete` if an extent of its plan is missing."""
    parts: dict[int, list[tuple[int, PartRef]]] = defaultdict(list)
    for number, (_, document) in enumerate(documents):
        for place, part in enumerate(document.parts):
            parts[part.table_oid].append(
                (part.extents[0].page if part.extents else 0, PartRef(document=number, part=place))
            )
    read = [document for _, document in documents]
    tables = tuple(
        _entry(planned, sorted(parts[planned.facts.oid], key=_first), read) for planned in plan.tables
    )
    packs = {pack.name: pack for document in read for pack in document.packs}
    row_maps = {row_map.name: row_map for document in read for row_map in document.row_maps}
    return Manifest(
        format=FORMAT,
        id=plan.id,
        kind=plan.kind,
        backup_class=plan.backup_class,
        reason=plan.reason,
        source=plan.source,
        started_at=plan.started_at,
        finished_at=finished_at,
        snapshot=plan.snapshot,
        tables=tables,
        sequences=plan.sequences,
        collections=_collections(read),
        documents=tuple(reference for reference, _ in documents),
        packs=tuple(packs[name] for name in sorted(packs)),
        row_maps=tuple(row_maps[name] for name in sorted(row_maps)),
        data_keys=tuple(sorted({pack.data_key for pack in packs.values()})),
        totals=totals,
        parent=plan.parent,
        base=plan.base,
        findings=findings,
    )


def sum_totals(totals: Iterable[CaptureTotals], tables: int, wall_seconds: float) -> CaptureTotals:
    """Add up what the units cost; the wall time is that of the whole, not their sum."""
    every = list(totals)
    return CaptureTotals(
        tables=tables,
        rows=sum(t.rows for t in every),
        rows_read=sum(t.rows_read for t in every),
        extents=sum(t.extents for t in every),
        extents_reused=sum(t.extents_reused for t in every),
        bytes_scanned=sum(t.bytes_scanned for t in every),
        bytes_moved=sum(t.bytes_moved for t in every),
        bytes_raw=sum(t.bytes_raw for t in every),
        bytes_stored=sum(t.bytes_stored for t in every),
        packs=sum(t.packs for t in every),
        cpu_seconds=round(sum(t.cpu_seconds for t in every), 3),
        wall_seconds=round(wall_seconds, 3),
    )


def _first(item: tuple[int, PartRef]) -> int:
    return item[0]


def _entry(
    planned: PlannedTable, parts: list[tuple[int, PartRef]], documents: list[UnitDocument]
) -> TableEntry:
    """Join the parts of one table, in page order; every planned extent must be there exactly once."""
    references = tuple(reference for _, reference in parts)
    extents = [e for r in references for e in documents[r.document].parts[r.part].extents]
    expected = [number * planned.pages_per_extent for number in range(planned.extents)]
    widths = {documents[r.document].parts[r.part].pages_per_extent for r in references}
    if [extent.page for extent in extents] != expected or not widths <= {planned.pages_per_extent}:
        name = f"{planned.facts.schema}.{planned.facts.name}"
        raise CaptureIncomplete(object=name, expected=len(expected), captured=len(extents))
    return TableEntry(
        facts=planned.facts,
        rows=sum(extent.live for extent in extents),
        digest=str(sum(int(extent.digest) for extent in extents)),
        parts=references,
        scratch_reason=planned.scratch_reason,
    )


def _collections(documents: list[UnitDocument]) -> tuple[CollectionRef, ...]:
    return tuple(
        CollectionRef(name=collection.name, document=number, index=place)
        for number, document in enumerate(documents)
        for place, collection in enumerate(document.collections)
    )
