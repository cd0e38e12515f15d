"""Judge a restored database by the baseline in its backup's manifest.

Imports Great Expectations, which takes seconds and 240 MB: meant for a child process.
"""

from pathlib import Path

from strongroom.config import Settings
from strongroom.errors import ConfigMissing, MissingKey
from strongroom.format.documents import Manifest
from strongroom.integrity.judge import Terms, judge_restored
from strongroom.operations.context import Context
from strongroom.operations.messages import IntegrityReport, JudgeRestore
from strongroom.repository.collections import SCHEMA, read_collection
from strongroom.repository.opening import open_repository
from strongroom.repository.repository import Repository


def judge_restore(settings: Settings, request: JudgeRestore, context: Context) -> IntegrityReport:
    """Run the integrity suites on the destination, the user's own included.

    Needs no recovery key, since a baseline holds no rows; where there is one, policies are compared as well. The
    caller decides what a failed report stops (`strongroom.integrity.judge.require_passed`).
    """
    repository, may_read = _open(settings)
    manifest = repository.read_manifest(request.backup)
    return judge_restored(
        settings.destination_conninfo(),
        manifest,
        judging_terms(settings, request.data_docs, context),
        _archive(repository, manifest) if may_read else b"",
    )


def judging_terms(settings: Settings, data_docs: str, context: Context) -> Terms:
    """Return the terms of a judgement as the settings have them."""
    return Terms(
        deadline=context.deadline,
        max_data_loss_percent=settings.recovery.max_data_loss_percent,
        data_docs=Path(data_docs) if data_docs else None,
        expectations=settings.recovery.expectations,
    )


def _open(settings: Settings) -> tuple[Repository, bool]:
    """Open the repository with the recovery key if it is at hand, and tell whether it was."""
    try:
        return open_repository(settings, to_read_rows=True), True
    except (ConfigMissing, MissingKey):
        # Whatever else is wrong with keys or settings is raised by this.
        return open_repository(settings), False


def _archive(repository: Repository, manifest: Manifest) -> bytes:
    """Return the schema archive of a backup."""
    return b"".join(read_collection(repository, manifest, SCHEMA))
