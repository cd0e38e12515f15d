"""The backup that a recovery in place takes first: the way back.

It is a backup like any other, of the class `emergency`, incremental so that it is quick. It is proven where it was
written and not copied to the other locations here: somebody waits for the recovery, and the next scheduled run
copies what a location lacks.
"""

from flows.backup import capture_and_seal, check
from flows.progress import Board
from flows.verify import prove
from strongroom.errors import ParentUnfit, VerificationFailed
from strongroom.operations.messages import BackupReport, BeginBackup, PlanReport, WantedKind
from tasks.backup import begin_backup
from tasks.work import Work


async def take_emergency_backup(work: Work, board: Board) -> BackupReport:
    """Back up the source within backup.max_backup_duration, and prove what was stored.

    Raises what a backup raises, `CheckFailed` and `VerificationFailed` among it.
    """
    limited = work.within(work.settings.backup.max_backup_duration, "backup.max_backup_duration")
    await check(limited)
    try:
        return await _take(limited, "incremental", board)
    except (ParentUnfit, VerificationFailed):
        # The first backup of this server or timeline, or what it would build on is damaged: there is no quick one then.
        return await _take(limited, "full", board)


async def _take(work: Work, kind: WantedKind, board: Board) -> BackupReport:
    request = BeginBackup(kind=kind, backup_class="emergency")
    async with work.hold("begin_backup", request, PlanReport) as snapshot:
        plan = await work.do(begin_backup, snapshot)
        report = await snapshot.during(capture_and_seal(work, plan, board))
        await snapshot.release()
    await prove(work, report.backup, "structure", plan.location)
    return report
