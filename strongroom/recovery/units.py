"""How a restore of rows is cut into units. Pure: the same manifest gives the same units in every process."""

from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.format.documents import Manifest, TableEntry, UnitDocument

UNIT_RAW_BYTES = 64 << 20
"""The least COPY text that makes a unit of its own: small, so that the last units end together."""

MOST_UNITS = 200
"""Above this many units they grow instead."""

_TABLE_OVERHEAD = 64 << 10


@dataclass(frozen=True)
class RestoreSlice:
    """Consecutive parts of one table (index into the manifest's tables), or some extents of one part."""

    table: int
    part: int
    first_extent: int
    extents: int
    raw: int


@dataclass(frozen=True)
class RestoreUnitPlan:
    """Slices that one process copies in, in one transaction."""

    number: int
    slices: tuple[RestoreSlice, ...]
    raw: int


def plan_restore_units(manifest: Manifest, documents: Sequence[UnitDocument]) -> tuple[RestoreUnitPlan, ...]:
    """Cut the rows of a backup into units, large tables into several. Numbers start at 1."""
    units: list[RestoreUnitPlan] = []
    held: list[RestoreSlice] = []
    size = 0
    target = max(UNIT_RAW_BYTES, _raw_bytes(manifest, documents) // MOST_UNITS)
    for index, entry in enumerate(manifest.tables):
        for piece in _slices(index, entry, documents, target):
            if held and size + piece.raw > target:
                units.append(RestoreUnitPlan(len(units) + 1, tuple(held), size))
                held, size = [], 0
            held.append(piece)
            size += piece.raw
    if held:
        units.append(RestoreUnitPlan(len(units) + 1, tuple(held), size))
    return tuple(units)


def _raw_bytes(manifest: Manifest, documents: Sequence[UnitDocument]) -> int:
    """Return how much COPY text all layers of the manifest's tables hold, dead rows included."""
    places = (place for entry in manifest.tables for place in entry.parts)
    extents = (extent for place in places for extent in documents[place.document].parts[place.part].extents)
    return sum(layer.chunk.raw for extent in extents for layer in extent.layers)


def _slices(
    index: int, entry: TableEntry, documents: Sequence[UnitDocument], target: int
) -> list[RestoreSlice]:
    """Cut one table at extents, so that no slice holds much more than a unit's worth."""
    found: list[RestoreSlice] = []
    for place, reference in enumerate(entry.parts):
        first = raw = 0
        extents = documents[reference.document].parts[reference.part].extents
        for number, extent in enumerate(extents):
            size = sum(layer.chunk.raw for layer in extent.layers)
            if raw and raw + size > target:
                found.append(RestoreSlice(index, place, first, number - first, raw))
                first, raw = number, 0
            raw += size
        if raw:
            found.append(RestoreSlice(index, place, first, len(extents) - first, raw + _TABLE_OVERHEAD))
    return found
