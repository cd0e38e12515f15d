"""Judge the rows that a recovery in place has staged, before anything live is touched.

Imports Great Expectations, which takes seconds and 240 MB: meant for a child process.
"""

from strongroom.config import Settings
from strongroom.integrity.judge_recovery import judge_staged
from strongroom.operations.context import Context
from strongroom.operations.judge_restore import judging_terms
from strongroom.operations.messages import IntegrityReport
from strongroom.operations.recovery_messages import JudgeStaging
from strongroom.recovery.sessions import live_conninfo
from strongroom.repository.opening import open_repository


def judge_staging(settings: Settings, request: JudgeStaging, context: Context) -> IntegrityReport:
    """Run the integrity suites, and the user's own, on the staging tables. May run again, and needs no recovery key.

    The caller decides what a failed report stops (`strongroom.integrity.judge.require_passed`).
    """
    plan = request.plan
    manifest = open_repository(settings).read_manifest(plan.backup)
    terms = judging_terms(settings, request.data_docs, context)
    return judge_staged(live_conninfo(settings, plan), manifest, plan, terms)
