"""Capture everything that is not a table's rows: definitions, catalog facts, large objects, secrets.

One unit of its own (number 0), small, and captured anew each time: what it reads carries no row versions that
could tell what changed.
"""

import time
from collections.abc import Iterable, Iterator

from strongroom.config import Settings
from strongroom.format.documents import CaptureTotals, Chunk, Collection, Finding
from strongroom.operations.context import Context
from strongroom.operations.messages import CaptureCatalog, UnitReport
from strongroom.postgres.connection import connect, snapshot_transaction
from strongroom.postgres.database_facts import encode_facts
from strongroom.postgres.facts_reading import read_facts
from strongroom.postgres.large_objects import read_large_objects
from strongroom.postgres.schema_archive import dump_schema
from strongroom.repository.collections import FACTS, LARGE_OBJECTS, SCHEMA, SECRETS
from strongroom.repository.opening import open_repository_at
from strongroom.repository.unit_writer import UnitWriter
from strongroom.supabase.vault_secrets import read_vault_secrets

CATALOG_UNIT = 0
_PIECE = 8 << 20


def capture_catalog(settings: Settings, request: CaptureCatalog, context: Context) -> UnitReport:
    """Capture the collections of a backup inside the held snapshot and return their unit's report."""
    started = (time.monotonic(), time.process_time())
    repository = open_repository_at(settings, request.location, deadline=context.deadline)
    plan = repository.read_plan(request.backup)
    writer = UnitWriter(
        repository,
        plan.id,
        CATALOG_UNIT,
        context.random,
        compress=plan.compress,
        stored_limit=settings.backup.max_backup_size,
    )
    conninfo = settings.conninfo()
    archive = dump_schema(
        conninfo, request.snapshot, context.deadline, server_major=plan.snapshot.server_version // 10000
    )
    findings: list[Finding] = list(archive.findings)
    collections = [_collect(writer, SCHEMA, [archive.content])]
    with (
        connect(conninfo, context.deadline, application_name="strongroom catalog") as connection,
        snapshot_transaction(connection, request.snapshot),
    ):
        facts = read_facts(connection)
        findings += facts.findings
        collections.append(_collect(writer, FACTS, [encode_facts(facts)]))
        collections.append(_collect(writer, LARGE_OBJECTS, read_large_objects(connection, findings)))
        secrets = read_vault_secrets(connection)
        findings += secrets.findings
        collections.append(_collect(writer, SECRETS, [secrets.content]))
    document = writer.finish((), tuple(collections))
    totals = CaptureTotals(
        bytes_moved=writer.bytes_raw,
        bytes_raw=writer.bytes_raw,
        bytes_stored=writer.bytes_stored,
        packs=writer.packs_written,
        cpu_seconds=round(time.process_time() - started[1], 3),
        wall_seconds=round(time.monotonic() - started[0], 3),
    )
    return UnitReport(
        backup=plan.id, unit=CATALOG_UNIT, document=document, totals=totals, findings=tuple(findings)
    )


def _collect(writer: UnitWriter, name: str, content: Iterable[bytes]) -> Collection:
    """Write content of any length as chunks of a bounded one."""
    return Collection(name=name, chunks=tuple(_chunks(writer, content)))


def _chunks(writer: UnitWriter, content: Iterable[bytes]) -> Iterator[Chunk]:
    held = bytearray()
    for piece in content:
        held += piece
        while len(held) >= _PIECE:
            yield writer.add_bytes(bytes(held[:_PIECE]))
            del held[:_PIECE]
    if held:
        yield writer.add_bytes(bytes(held))
