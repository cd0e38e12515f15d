"""Store the evidence of a drill: signed in the repository, and as two files for people.

A drill that passed also proves its backup at the level `restore`, which lists and retention go by.
"""

from pathlib import Path

import msgspec

from strongroom.config import Settings
from strongroom.crypto.keyring import Keyring
from strongroom.drill.page import render_page
from strongroom.errors import DataDocsNotWritten, StrongroomError
from strongroom.findings import finding_of
from strongroom.format.documents import FORMAT, Finding
from strongroom.format.records import DrillRecord, VerificationRecord
from strongroom.keys import load_keyring
from strongroom.operations.context import Context
from strongroom.operations.drill_messages import DrillReport, StoreDrill
from strongroom.repository.locations import Location, open_locations
from strongroom.repository.records import write_everywhere

DOCUMENT = "evidence.json"
PAGE = "evidence.html"


def store_drill(settings: Settings, request: StoreDrill, context: Context) -> DrillReport:
    """Write the evidence everywhere; return where it is.

    Raises `MissingKey` without the signing key, and what the stores raise if no location took it. Files that cannot
    be written are a finding: the evidence is in the repository all the same.
    """
    record = msgspec.structs.replace(request.evidence, page=render_page(request.evidence))
    keyring = load_keyring(settings.keys.directory)
    locations = open_locations(settings, context.deadline)
    written, findings = write_everywhere(locations, keyring, record, context.random)
    if record.passed:
        findings = (*findings, *_prove(locations, keyring, request, context))
    page = document = ""
    try:
        page, document = _write_files(record, request.folder)
    except DataDocsNotWritten as error:
        findings = (*findings, finding_of(error, "the files of the drill", "warning"))
    return DrillReport(
        evidence=request.evidence, locations=written, page=page, document=document, findings=findings
    )


def _prove(
    locations: tuple[Location, ...], keyring: Keyring, request: StoreDrill, context: Context
) -> tuple[Finding, ...]:
    """Write down that the backup was restored, and that what came out was right."""
    evidence = request.evidence
    proof = VerificationRecord(
        format=FORMAT,
        at=context.clock(),
        backup=evidence.backup,
        level="restore",
        passed=True,
        score=100,
        seconds=evidence.recovery_duration_seconds,
        objects_checked=request.objects_checked,
        bytes_checked=request.bytes_checked,
        rows_checked=sum(table.rows for table in evidence.tables),
        location=request.location,
    )
    try:
        _, findings = write_everywhere(locations, keyring, proof, context.random)
    except StrongroomError as error:
        return (finding_of(error, "the record of this proof", "warning"),)
    return findings


def _write_files(record: DrillRecord, folder: str) -> tuple[str, str]:
    """Write page and document into the folder; return their paths, empty ones if there is no folder."""
    if not folder:
        return "", ""
    place = Path(folder).expanduser()
    document = msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(record, page="")), indent=2)
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / PAGE).write_text(record.page, encoding="utf-8")
        (place / DOCUMENT).write_bytes(document + b"\n")
    except OSError as error:
        raise DataDocsNotWritten(folder=place, reason=error.strerror or "the system refused") from error
    return str(place / PAGE), str(place / DOCUMENT)
