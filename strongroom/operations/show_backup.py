"""Show one backup: its facts, totals, tables and findings. Needs no recovery key."""

from collections.abc import Iterator, Mapping

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError, StoreError, Transient
from strongroom.findings import finding_of
from strongroom.format.documents import Finding, Layer, Manifest, TableEntry, UnitDocument
from strongroom.operations.context import Context
from strongroom.operations.list_backups import brief_of
from strongroom.operations.messages import ShowBackup, ShowReport, TableBrief
from strongroom.repository.opening import newest_backup, open_repository
from strongroom.repository.repository import Repository


def show_backup(settings: Settings, request: ShowBackup, context: Context) -> ShowReport:
    """Return everything about a backup. Raises `UnknownBackup`, `NoBackupYet`, and what its manifest raises.

    A unit document that cannot be read becomes a finding: the manifest still tells most.
    """
    repository = open_repository(settings)
    backup = newest_backup(repository) if request.backup == "latest" else request.backup
    manifest = repository.read_manifest(backup)
    documents, findings = _read_documents(repository, manifest, context)
    stored = (*manifest.documents, *manifest.packs, *manifest.row_maps)
    return ShowReport(
        brief=brief_of(manifest),
        base=manifest.base,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        snapshot=manifest.snapshot,
        totals=manifest.totals,
        tables=tuple(_table(manifest, entry, documents) for entry in manifest.tables),
        sequences=len(manifest.sequences),
        collections=tuple(collection.name for collection in manifest.collections),
        objects=1 + len(stored) + len(manifest.data_keys),
        bytes_reached=sum(reference.size for reference in stored),
        data_keys=manifest.data_keys,
        findings=(*manifest.findings, *findings),
    )


def _read_documents(
    repository: Repository, manifest: Manifest, context: Context
) -> tuple[dict[int, UnitDocument], list[Finding]]:
    documents: dict[int, UnitDocument] = {}
    findings: list[Finding] = []
    for number, reference in enumerate(manifest.documents):
        context.deadline.check()
        try:
            documents[number] = repository.read_unit_document(reference)
        except (FormatError, KeyringError, StoreError) as error:
            if isinstance(error, Transient):
                raise
            findings.append(finding_of(error, reference.name, "critical"))
    return documents, findings


def _table(manifest: Manifest, entry: TableEntry, documents: Mapping[int, UnitDocument]) -> TableBrief:
    known = all(part.document in documents for part in entry.parts)
    return TableBrief(
        table=f"{entry.facts.schema}.{entry.facts.name}",
        rows=entry.rows,
        rows_reused=sum(_reused_rows(manifest, entry, documents)) if known else None,
        digest=entry.digest,
        managed=entry.facts.managed,
        scratch_reason=entry.scratch_reason,
    )


def _reused_rows(
    manifest: Manifest, entry: TableEntry, documents: Mapping[int, UnitDocument]
) -> Iterator[int]:
    """Yield the living rows of each layer whose pack an earlier backup, or attempt, has written."""
    for place in entry.parts:
        document = documents[place.document]
        for extent in document.parts[place.part].extents:
            for layer in extent.layers:
                if not _is_own(manifest, document, layer):
                    yield layer.chunk.rows - layer.dead_rows


def _is_own(manifest: Manifest, document: UnitDocument, layer: Layer) -> bool:
    # The id of a data key begins with the id of the backup whose process made it.
    return document.packs[layer.chunk.pack].data_key.startswith(manifest.id)
