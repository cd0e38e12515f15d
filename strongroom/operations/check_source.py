"""Ask whether the source, the keys and the locations allow a backup: the preflight, in a few seconds.

Every answer says what was seen and what to do. A failed connection is an answer too: what would have been
asked over it counts as not asked, and the report as failed.
"""

from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.operations.context import Context
from strongroom.operations.messages import Check, CheckReport, CheckSource
from strongroom.postgres.preflight import DatabaseAnswers, check_database, unreachable
from strongroom.repository.preflight import check_keys, check_locations


def check_source(settings: Settings, request: CheckSource, context: Context) -> CheckReport:  # noqa: ARG001 - it asks for nothing in particular
    """Ask everything that decides whether a backup can be taken. Raises `DeadlineExceeded` only."""
    database = _check_database(settings, context)
    context.deadline.check()
    keyring, keys = check_keys(settings.keys.directory)
    locations = check_locations(
        settings.repository.locations, keyring, database.estimated_bytes, context.random
    )
    checks: tuple[Check, ...] = (*database.checks, *keys, *locations)
    passed = not any(not check.passed and check.severity == "error" for check in checks)
    return CheckReport(passed=passed, checks=checks)


def _check_database(settings: Settings, context: Context) -> DatabaseAnswers:
    try:
        conninfo = settings.conninfo()
    except StrongroomError as error:
        return unreachable(error)
    return check_database(
        conninfo,
        context.deadline,
        context.clock,
        parallelism=settings.backup.parallelism,
        size_limit=settings.backup.max_backup_size,
    )
