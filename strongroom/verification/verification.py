"""Verification of one backup: what is checked at each level, and what becomes a finding.

`structure` needs no recovery key: every object that the manifest names is there, has its size and SHA-256,
and the unit documents agree with the manifest. `content` also opens every chunk, counts its rows and
decodes its payload. Whatever could not be checked is a finding; nothing is skipped silently.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from strongroom.deadline import Deadline
from strongroom.errors import (
    FormatError,
    KeyringError,
    ObjectMissing,
    RepositoryError,
    StoreError,
    StrongroomError,
    Transient,
)
from strongroom.findings import finding_of
from strongroom.format.documents import Chunk, Finding, Manifest, ObjectRef, PackRef, UnitDocument
from strongroom.format.packs import read_header
from strongroom.repository import layout
from strongroom.repository.chunks import ChunkReader, line_ends
from strongroom.repository.repository import Repository
from strongroom.verification.agreement import chunks_of, disagreement, find_disagreements

_WRONG = (FormatError, KeyringError, RepositoryError, StoreError)


@dataclass
class Verification:
    """A verification that is under way: what was checked so far, and the findings."""

    repository: Repository
    manifest: Manifest
    deadline: Deadline
    progress: Callable[[int, int], None]
    findings: list[Finding] = field(default_factory=list)
    objects_checked: int = 0
    bytes_checked: int = 0
    rows_checked: int = 0
    _row_map_lengths: dict[str, list[int]] = field(default_factory=dict)

    @property
    def objects_named(self) -> int:
        """How many objects the backup reaches, its sealed data keys and its manifest among them."""
        m = self.manifest
        return 1 + len(m.documents) + len(m.row_maps) + len(m.packs) + len(m.data_keys)

    def check_structure(self) -> None:
        """Read every object that the manifest names and compare it."""
        self.objects_checked += 1
        for key in self.manifest.data_keys:
            self._check(layout.key_name(key), lambda key=key: self._read_key(key))  # type: ignore[misc]
        for row_map in self.manifest.row_maps:
            self._check(row_map.name, lambda r=row_map: self._read_row_map(r))  # type: ignore[misc]
        for pack in self.manifest.packs:
            self._check(pack.name, lambda p=pack: self._read_pack(p))  # type: ignore[misc]
        documents: dict[int, UnitDocument] = {}
        for number, reference in enumerate(self.manifest.documents):
            read = self._check(reference.name, lambda r=reference: self._read_document(r))  # type: ignore[misc]
            if isinstance(read, UnitDocument):
                documents[number] = read
        self.findings += find_disagreements(self.manifest, documents, self._row_map_lengths)
        self._check_plan()

    def check_content(self) -> None:
        """Open every chunk that the backup reaches, once, and count its rows."""
        reader = ChunkReader(self.repository)
        chunks: dict[str, list[tuple[Chunk, UnitDocument]]] = defaultdict(list)
        seen: set[tuple[object, ...]] = set()
        for document in self._documents():
            for chunk in chunks_of(document):
                if not 0 <= chunk.pack < len(document.packs):
                    # Found by the structure already: nobody can say which pack it is in.
                    continue
                name = document.packs[chunk.pack].name
                said = (name, chunk.index, chunk.offset, chunk.stored, chunk.raw, chunk.rows, chunk.encoding)
                if said not in seen:
                    seen.add(said)
                    chunks[name].append((chunk, document))
        for done, name in enumerate(sorted(chunks)):
            self.progress(done, len(chunks))
            for chunk, document in chunks[name]:
                self._check(
                    f"{name} chunk {chunk.index}",
                    lambda c=chunk, d=document: self._open_chunk(reader, c, d),  # type: ignore[misc]
                )

    def _check_plan(self) -> None:
        """Look at the plan, which a listed backup does not need any more: damage to it is worth a warning."""
        try:
            self.repository.read_plan(self.manifest.id)
        except ObjectMissing:
            return
        except (FormatError, KeyringError) as error:
            self.findings.append(
                Finding(
                    severity="warning",
                    code=error.code,
                    object=layout.attempt_name(self.manifest.id),
                    observed=error.render(),
                    advice="The backup restores without it. Something damages objects at this location, though.",
                )
            )

    # ------------------------------------------------------------------ single objects

    def _check(self, name: str, look: Callable[[], object]) -> object:
        """Run one look at one object; an error of ours becomes a finding that names the object."""
        self.deadline.check()
        try:
            found = look()
        except _WRONG as error:
            if isinstance(error, Transient):
                raise
            self._report(name, error)
            return None
        self.objects_checked += 1
        self.progress(self.objects_checked, self.objects_named)
        return found

    def _report(self, name: str, error: StrongroomError) -> None:
        self.findings.append(finding_of(error, name, "critical"))

    def _find(self, name: str, expected: object, observed: object) -> None:
        self.findings.append(disagreement(name, expected, observed))

    def _read_key(self, key: str) -> None:
        self.bytes_checked += sum(
            len(sealed) for sealed in self.repository.sealed_data_key(key).recipients.values()
        )

    def _read_row_map(self, reference: ObjectRef) -> None:
        maps = self.repository.read_row_maps(reference)
        self._row_map_lengths[reference.name] = [len(ids) for ids in maps]
        self.bytes_checked += reference.size

    def _read_pack(self, reference: PackRef) -> None:
        data = self.repository.read_object(reference)
        self.bytes_checked += len(data)
        if len(data) != reference.size:
            self._find(reference.name, f"{reference.size} bytes", len(data))
        key, _ = read_header(data, reference.name)
        if key != reference.data_key:
            self._find(reference.name, reference.data_key, key)

    def _read_document(self, reference: ObjectRef) -> UnitDocument:
        document = self.repository.read_unit_document(reference)
        self.bytes_checked += reference.size
        return document

    def _open_chunk(self, reader: ChunkReader, chunk: Chunk, document: UnitDocument) -> None:
        payload = reader.payload(chunk, document)
        if chunk.encoding == "copy-text":
            rows = len(line_ends(payload))
            self.rows_checked += rows
            if rows != chunk.rows:
                self._find(f"{document.packs[chunk.pack].name} chunk {chunk.index}", chunk.rows, rows)
            elif payload and not payload.endswith(b"\n"):
                name = f"{document.packs[chunk.pack].name} chunk {chunk.index}"
                self._find(name, "whole rows", "half a row behind the last one")

    def _documents(self) -> Iterator[UnitDocument]:
        for reference in self.manifest.documents:
            try:
                yield self.repository.read_unit_document(reference)
            except _WRONG as error:
                if isinstance(error, Transient):
                    raise
                if not any(finding.object == reference.name for finding in self.findings):
                    self._report(reference.name, error)
