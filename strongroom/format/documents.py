"""The persisted documents: one frozen type for each, in the words of the glossary. Pure.

Everything here is part of the repository format (`docs/format.md`): a change of a field is a change of
`FORMAT`. Documents are JSON, compressed and sealed; sizes are bytes, instants are aware and in UTC, digests
are lower-case hex. References to other objects are indices into the lists that the same document carries,
so that a name stands in it once.
"""

import datetime as dt
from typing import Literal, dataclass_transform

import msgspec

FORMAT = 3
"""The version that this code writes, and the newest that it reads; it reads every earlier one, too."""

Kind = Literal["full", "differential", "incremental"]
BackupClass = Literal["scheduled", "emergency"]
Severity = Literal["info", "warning", "error", "critical"]
Encoding = Literal["copy-text", "bytes"]


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all persisted types: unknown fields are refused, defaults are not written."""


# ------------------------------------------------------------------------------------------ parts


class ObjectRef(Document):
    """A stored object: its name in the store, its size in bytes, the SHA-256 of its stored bytes."""

    name: str
    size: int
    sha256: str


class PackRef(ObjectRef):
    """A pack, and the id of the data key that opens it."""

    data_key: str


class Finding(Document):
    """One thing that somebody should know: `code` is stable, the rest is for people. Holds no rows."""

    severity: Severity
    code: str
    object: str
    expected: str = ""
    observed: str = ""
    advice: str = ""


class RowMapSlot(Document):
    """Where the row map of a chunk is: the index of the object, and the place within it."""

    object: int
    slot: int


class Chunk(Document):
    """The rows of one extent read at one time: where its sealed bytes are and what they hold.

    `pack` is an index into the carrying document's packs, `index` the chunk's number within the pack (its
    nonce), `offset` and `stored` where the sealed bytes lie, `raw` the length of the payload before
    compression. `row_map` is absent where the encoding has no rows.
    """

    pack: int
    index: int
    offset: int
    stored: int
    raw: int
    rows: int = 0
    encoding: Encoding = "copy-text"
    row_map: RowMapSlot | None = None


class Layer(Document):
    """A chunk and which of its rows are dead: gaps between their positions, see `format.liveness`."""

    chunk: Chunk
    dead: bytes = b""
    dead_rows: int = 0


class Extent(Document):
    """A run of heap pages from `page` on: live rows, their digest (decimal, order-free), their layers."""

    page: int
    live: int
    digest: str
    layers: tuple[Layer, ...] = ()


class TablePart(Document):
    """Consecutive extents of one table, each `pages_per_extent` wide; the last of the table is open."""

    table_oid: int
    pages_per_extent: int
    extents: tuple[Extent, ...]


class Collection(Document):
    """Bytes that are no table's rows: the schema archive, large objects, vault secrets, catalog facts."""

    name: str
    chunks: tuple[Chunk, ...]


class UnitDocument(Document):
    """What one unit of a capture produced. Readable by workers; stored under `tables/<backup id>/`."""

    format: int
    backup: str
    unit: int
    packs: tuple[PackRef, ...]
    row_maps: tuple[ObjectRef, ...] = ()
    parts: tuple[TablePart, ...] = ()
    collections: tuple[Collection, ...] = ()


# ------------------------------------------------------------------------------------ source facts


class Column(Document):
    """A column as the catalog names it; `generated` is '', 's' (stored) or 'v' (virtual); `identity` '', 'a', 'd'."""

    name: str
    number: int
    type: str
    type_oid: int
    type_modifier: int
    not_null: bool = False
    generated: str = ""
    identity: str = ""


class UniqueKey(Document):
    """A primary key, unique constraint or plain unique index over columns (no expression, no predicate)."""

    name: str
    columns: tuple[str, ...]
    primary: bool = False
    nulls_not_distinct: bool = False
    deferrable: bool = False


class ForeignKey(Document):
    """A foreign key of a table: `columns` reference `to_columns` of `to_schema`.`to_table`."""

    name: str
    columns: tuple[str, ...]
    to_schema: str
    to_table: str
    to_columns: tuple[str, ...]


class TableFacts(Document):
    """What names a table and its physical storage; compared with the parent's before anything is reused.

    `type_facts` are statements about the column types (labels of enums, attributes of composites, names
    behind reg* values) that must all still hold for old COPY text to mean the same; see `postgres.types`.
    """

    oid: int
    schema: str
    name: str
    file_node: int
    persistence: str
    access_method: str
    columns: tuple[Column, ...]
    type_facts: tuple[str, ...] = ()
    unique_keys: tuple[UniqueKey, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    managed: bool = False
    size: int = 0


class SequenceState(Document):
    """A sequence at the snapshot; `table` and `column` name what owns it, if anything does."""

    schema: str
    name: str
    last_value: int
    is_called: bool
    increment: int = 1
    table: str = ""
    column: str = ""
    managed: bool = False


class SnapshotFacts(Document):
    """What identifies the instant and the history it belongs to. Transaction ids are 64 bit."""

    system_identifier: str
    timeline: int
    database_oid: int
    database: str
    server_version: int
    xmin: int
    xmax: int
    wal_lsn: str
    taken_at: dt.datetime


# --------------------------------------------------------------------------------------- documents


class TableSlice(Document):
    """The extents of one planned table that a unit reads: `table` is an index into the plan's tables."""

    table: int
    first_extent: int
    extents: int


class PlannedTable(Document):
    """A table in scope: how it is cut, and what its rows are compared with (empty reason: with the parent)."""

    facts: TableFacts
    pages_per_extent: int
    extents: int
    scratch_reason: str = ""


class PlannedUnit(Document):
    """A unit of capture, safe to run twice: slices of tables, and about how many bytes they hold."""

    number: int
    slices: tuple[TableSlice, ...]
    estimated_bytes: int


class BackupPlan(Document):
    """What a backup is going to do, stored before it starts so that a later run can take over its work.

    `resumes` names an interrupted attempt whose units are reused as if they were the parent's.
    """

    format: int
    id: str
    kind: Kind
    backup_class: BackupClass
    reason: str
    source: str
    started_at: dt.datetime
    snapshot: SnapshotFacts
    tables: tuple[PlannedTable, ...]
    units: tuple[PlannedUnit, ...]
    sequences: tuple[SequenceState, ...] = ()
    parent: str = ""
    base: str = ""
    resumes: str = ""
    compress: bool = True
    findings: tuple[Finding, ...] = ()


class PartRef(Document):
    """Where a part of a table is described: index of the unit document, and of the part within it."""

    document: int
    part: int


class CollectionRef(Document):
    """Where a collection is described: index of the unit document, and of the collection within it."""

    name: str
    document: int
    index: int


class TableEntry(Document):
    """A table in a backup: its facts, the quality baseline (rows, digest), and where its extents are."""

    facts: TableFacts
    rows: int
    digest: str
    parts: tuple[PartRef, ...]
    scratch_reason: str = ""


class CaptureTotals(Document):
    """What a capture cost and kept: bytes as read on the server (heap), moved to the worker, stored sealed."""

    tables: int = 0
    rows: int = 0
    rows_read: int = 0
    extents: int = 0
    extents_reused: int = 0
    bytes_scanned: int = 0
    bytes_moved: int = 0
    bytes_raw: int = 0
    bytes_stored: int = 0
    packs: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


class Manifest(Document):
    """The document whose existence makes a backup exist. Complete in itself: restore follows no chain.

    `data_keys` are the ids of all data keys that its packs need. `packs`, `row_maps` and `documents` are
    everything that the backup reaches (invariants I1 to I3).
    """

    format: int
    id: str
    kind: Kind
    backup_class: BackupClass
    reason: str
    source: str
    started_at: dt.datetime
    finished_at: dt.datetime
    snapshot: SnapshotFacts
    tables: tuple[TableEntry, ...]
    sequences: tuple[SequenceState, ...]
    collections: tuple[CollectionRef, ...]
    documents: tuple[ObjectRef, ...]
    packs: tuple[PackRef, ...]
    row_maps: tuple[ObjectRef, ...]
    data_keys: tuple[str, ...]
    totals: CaptureTotals
    parent: str = ""
    base: str = ""
    findings: tuple[Finding, ...] = ()


class RepositoryInfo(Document):
    """`repository.json`: what a repository is and which public keys it was made for. Signed, not sealed."""

    format: int
    id: str
    created_at: dt.datetime
    operator_key: str
    signing_key: str
    recovery_keys: tuple[str, ...]


class RecoveryKeySet(Document):
    """The recovery keys that a repository seals to from `made_at` on, and those that it has let go.

    Stored under `recovery-keys/<number>` when keys are rotated, signed, not sealed; the highest number counts, and
    number 0 is what `repository.json` says. Since version 2.
    """

    format: int
    number: int
    made_at: dt.datetime
    recovery_keys: tuple[str, ...]
    retired: tuple[str, ...] = ()
