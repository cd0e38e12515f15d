"""Judge the live tables in scope after a recovery in place has committed.

Imports Great Expectations, which takes seconds and 240 MB: meant for a child process.
"""

from strongroom.config import Settings
from strongroom.integrity.judge_recovery import judge_recovered
from strongroom.operations.context import Context
from strongroom.operations.judge_restore import judging_terms
from strongroom.operations.messages import IntegrityReport
from strongroom.operations.recovery_messages import JudgeLive
from strongroom.recovery.sessions import live_conninfo
from strongroom.repository.opening import open_repository


def judge_live(settings: Settings, request: JudgeLive, context: Context) -> IntegrityReport:
    """Run the integrity suites, and the user's own, on the live tables in scope, while the staging tables are there.

    The application writes again, so that what differs from the backup's counts is a warning; broken keys are not. May
    run again, and needs no recovery key.
    """
    plan = request.plan
    manifest = open_repository(settings).read_manifest(plan.backup)
    terms = judging_terms(settings, request.data_docs, context)
    return judge_recovered(live_conninfo(settings, plan), manifest, plan, terms)
