"""Verify one backup to a level, and report what was found. Could not verify is a failure."""

from collections.abc import Sequence

from strongroom.config import Settings
from strongroom.errors import FormatError, KeyringError
from strongroom.format.documents import Finding
from strongroom.operations.context import Context, Progress
from strongroom.operations.messages import VerificationReport, VerifyBackup
from strongroom.repository import layout
from strongroom.repository.opening import newest_backup, open_repository
from strongroom.repository.repository import Repository
from strongroom.verification.verification import Verification


def verify_backup(settings: Settings, request: VerifyBackup, context: Context) -> VerificationReport:
    """Verify a backup and return the report; damage is in the report, not raised.

    Raises `UnknownBackup`, `NoBackupYet`, and what makes verifying impossible: a store out of reach, no key.
    """
    started = context.clock()
    repository = open_repository(settings, to_read_rows=request.level == "content")
    backup = newest_backup(repository) if request.backup == "latest" else request.backup
    findings, work = _verify(repository, backup, request, context)
    return VerificationReport(
        backup=backup,
        level=request.level,
        passed=not any(finding.severity in {"error", "critical"} for finding in findings),
        score=_score(findings, work.objects_named if work else 1),
        started_at=started,
        seconds=round((context.clock() - started).total_seconds(), 3),
        objects_checked=work.objects_checked if work else 0,
        bytes_checked=work.bytes_checked if work else 0,
        rows_checked=work.rows_checked if work else 0,
        findings=tuple(findings),
    )


def _verify(
    repository: Repository, backup: str, request: VerifyBackup, context: Context
) -> tuple[Sequence[Finding], Verification | None]:
    """Look at everything; a manifest that does not open is the only finding there can be."""
    try:
        manifest = repository.read_manifest(backup)
    except (FormatError, KeyringError) as error:
        return [
            Finding(
                severity="critical",
                code=error.code,
                object=layout.manifest_name(backup),
                observed=error.render(),
                advice=error.advice(),
            )
        ], None

    def progress(done: int, total: int) -> None:
        context.progress(Progress(done, total, "objects", backup))

    work = Verification(repository, manifest, context.deadline, progress)
    work.check_structure()
    if request.level == "content":
        work.check_content()
    return work.findings, work


def _score(findings: Sequence[Finding], objects: int) -> int:
    """Return 100 for no finding of weight; each object that is wrong takes its share and at least one point."""
    wrong = len({f.object for f in findings if f.severity in {"error", "critical"}})
    if wrong == 0:
        return 100
    return max(0, min(99, round(100 * (1 - wrong / max(objects, wrong)))))
