"""Whether a manifest, its unit documents and their row maps agree with each other. Pure.

Every number that one of them gives about another is compared, and every index is looked at before it is
followed: a document that was written wrongly becomes findings, never a crash.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from strongroom.errors import MalformedDocument
from strongroom.format.documents import (
    Chunk,
    Extent,
    Finding,
    Manifest,
    ObjectRef,
    PartRef,
    TableEntry,
    TablePart,
    UnitDocument,
)
from strongroom.format.liveness import decode_dead

Documents = Mapping[int, UnitDocument]
RowMapLengths = Mapping[str, Sequence[int]]


def disagreement(name: str, expected: object, observed: object) -> Finding:
    """Return the finding that what is observed at `name` is not what was said of it."""
    return Finding(
        severity="critical",
        code="disagreement",
        object=name,
        expected=str(expected),
        observed=str(observed),
        advice="The manifest and what it names do not fit together; use another backup.",
    )


def find_disagreements(
    manifest: Manifest, documents: Documents, row_map_lengths: RowMapLengths
) -> Iterator[Finding]:
    """Yield what does not fit together.

    `documents` are those that could be read, by their place in the manifest; `row_map_lengths` says how many
    tuple ids the slots of each object of row maps have. What is missing was found by whoever read it.
    """
    yield from _keys(manifest)
    for place, document in documents.items():
        yield from _objects(manifest, manifest.documents[place].name, document)
        for chunk in chunks_of(document):
            yield from _chunk(manifest.documents[place].name, chunk, document, row_map_lengths)
    if len(documents) == len(manifest.documents):
        yield from _collections(manifest, documents)
        yield from _named_once(manifest, documents)
        for entry in manifest.tables:
            yield from _table(entry, documents)


def chunks_of(document: UnitDocument) -> Iterator[Chunk]:
    """Yield every chunk that a unit document names."""
    for part in document.parts:
        for extent in part.extents:
            for layer in extent.layers:
                yield layer.chunk
    for collection in document.collections:
        yield from collection.chunks


# ---------------------------------------------------------------------------- objects


def _keys(manifest: Manifest) -> Iterator[Finding]:
    """Every pack's data key must be one that the manifest names (I2)."""
    for pack in manifest.packs:
        if pack.data_key not in manifest.data_keys:
            yield disagreement(pack.name, "a data key that the manifest names", pack.data_key)


def _objects(manifest: Manifest, name: str, document: UnitDocument) -> Iterator[Finding]:
    """Whatever a unit document names, its manifest must name too, and say the same of it (I2)."""
    said: dict[str, ObjectRef] = {ref.name: ref for ref in (*manifest.packs, *manifest.row_maps)}
    for used in (*document.packs, *document.row_maps):
        if used.name not in said:
            yield disagreement(name, "objects that the manifest names", used.name)
        elif used != said[used.name]:
            yield disagreement(name, f"what the manifest says of {used.name}", "something else")


def _chunk(
    name: str, chunk: Chunk, document: UnitDocument, row_map_lengths: RowMapLengths
) -> Iterator[Finding]:
    """Require that a chunk lies in a pack of its document, and has a row map of its length if it has rows."""
    label = f"chunk {chunk.index}"
    if not 0 <= chunk.pack < len(document.packs):
        yield disagreement(name, f"{label} in one of {len(document.packs)} packs", f"pack {chunk.pack}")
    else:
        end = chunk.offset + chunk.stored
        if min(chunk.index, chunk.offset, chunk.stored) < 0 or end > document.packs[chunk.pack].size:
            yield disagreement(name, f"{label} within its pack", "it lies outside")
    if chunk.encoding == "copy-text":
        yield from _row_map(name, chunk, document, row_map_lengths)


def _row_map(
    name: str, chunk: Chunk, document: UnitDocument, row_map_lengths: RowMapLengths
) -> Iterator[Finding]:
    slot = chunk.row_map
    if slot is None or not 0 <= slot.object < len(document.row_maps):
        yield disagreement(name, f"a row map for chunk {chunk.index}", "none")
        return
    lengths = row_map_lengths.get(document.row_maps[slot.object].name)
    if lengths is None:
        return
    length = lengths[slot.slot] if 0 <= slot.slot < len(lengths) else None
    if length != chunk.rows:
        observed = "none" if length is None else f"{length} tuple ids"
        yield disagreement(name, f"a row map of {chunk.rows} rows for chunk {chunk.index}", observed)


# ----------------------------------------------------------------- tables, collections


def _collections(manifest: Manifest, documents: Documents) -> Iterator[Finding]:
    for reference in manifest.collections:
        document = documents.get(reference.document)
        held = document.collections if document else ()
        if not 0 <= reference.index < len(held) or held[reference.index].name != reference.name:
            yield disagreement(reference.name, "a collection of this name", "none where the manifest says")


def _named_once(manifest: Manifest, documents: Documents) -> Iterator[Finding]:
    """Each part of each document must belong to exactly one table, or its rows were lost or came twice."""
    named = Counter((ref.document, ref.part) for entry in manifest.tables for ref in entry.parts)
    for place, document in documents.items():
        for number in range(len(document.parts)):
            if named[place, number] != 1:
                name = manifest.documents[place].name
                yield disagreement(name, f"part {number} in one table", f"it is in {named[place, number]}")


def _table(entry: TableEntry, documents: Documents) -> Iterator[Finding]:
    """Parts must be the table's, in page order; rows and digests must add up to its baseline."""
    name = f"{entry.facts.schema}.{entry.facts.name}"
    found = [_part(reference, documents) for reference in entry.parts]
    parts = [part for part in found if part is not None]
    if len(parts) != len(found):
        yield disagreement(name, "its parts", "a part that is not there")
        return
    for part in parts:
        if part.table_oid != entry.facts.oid:
            yield disagreement(name, f"parts of table {entry.facts.oid}", f"a part of {part.table_oid}")
    extents = [(extent, part.pages_per_extent) for part in parts for extent in part.extents]
    if [extent.page for extent, _ in extents] != [place * width for place, (_, width) in enumerate(extents)]:
        yield disagreement(name, "every extent once, in page order", "other pages")
    yield from _sums(name, entry, [extent for extent, _ in extents])
    for extent, _ in extents:
        yield from _liveness(f"{name} page {extent.page}", extent)


def _part(reference: PartRef, documents: Documents) -> TablePart | None:
    document = documents.get(reference.document)
    if document is None or not 0 <= reference.part < len(document.parts):
        return None
    return document.parts[reference.part]


def _sums(name: str, entry: TableEntry, extents: list[Extent]) -> Iterator[Finding]:
    live = sum(extent.live for extent in extents)
    try:
        digest = str(sum(int(extent.digest) for extent in extents))
    except ValueError:
        digest = "of an extent that is no number"
    if (live, digest) != (entry.rows, entry.digest):
        yield disagreement(name, f"{entry.rows} rows, digest {entry.digest}", f"{live} rows, digest {digest}")


def _liveness(name: str, extent: Extent) -> Iterator[Finding]:
    """Count the living rows of the layers, which must be those of the extent."""
    alive = 0
    for layer in extent.layers:
        try:
            dead = len(decode_dead(layer.dead, layer.chunk.rows))
        except MalformedDocument as error:
            yield disagreement(name, "dead rows within their chunk", error.render())
            return
        if dead != layer.dead_rows:
            yield disagreement(name, f"{layer.dead_rows} dead rows", dead)
        alive += layer.chunk.rows - dead
    if alive != extent.live:
        yield disagreement(name, f"{extent.live} living rows", alive)
