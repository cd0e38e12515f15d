"""Judge a restored database by the baseline in its backup's manifest.

Imports Great Expectations, which takes seconds and 240 MB: meant for a child process.
"""

from pathlib import Path

from strongroom.config import Settings
from strongroom.integrity.judge import judge
from strongroom.operations.context import Context
from strongroom.operations.messages import IntegrityReport, JudgeRestore
from strongroom.repository.opening import open_repository


def judge_restore(settings: Settings, request: JudgeRestore, context: Context) -> IntegrityReport:
    """Run the integrity suites on the destination. Needs no recovery key: a baseline holds no rows.

    The caller decides what a failed report stops (`strongroom.integrity.judge.require_passed`).
    """
    manifest = open_repository(settings).read_manifest(request.backup)
    return judge(
        settings.destination_conninfo(),
        manifest.id,
        manifest.tables,
        manifest.sequences,
        deadline=context.deadline,
        max_data_loss_percent=settings.recovery.max_data_loss_percent,
        data_docs=Path(request.data_docs) if request.data_docs else None,
    )
