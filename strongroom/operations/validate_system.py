"""Validate a recovered system: whether the database answers as the application needs it."""

from strongroom.config import Settings
from strongroom.format.documents import Finding
from strongroom.operations.context import Context
from strongroom.operations.messages import Check
from strongroom.operations.recovery_messages import ValidateSystem, ValidationReport
from strongroom.postgres.connection import connect
from strongroom.recovery.validation import check_health, check_roles, check_smoke


def validate_system(settings: Settings, request: ValidateSystem, context: Context) -> ValidationReport:
    """Ask as each API role, the configured SQL checks, and the configured addresses. May run again.

    The caller decides what a failed report stops. Raises `SourceUnavailable` (transient) if the connection is cut, and
    `DeadlineExceeded`: then nothing is known.
    """
    recovery = settings.recovery
    is_source = request.destination == "source"
    conninfo = settings.conninfo() if is_source else settings.destination_conninfo()
    checks: list[Check] = []
    with connect(conninfo, context.deadline, application_name="strongroom validation") as connection:
        checks += check_roles(connection, context.deadline)
        checks += check_smoke(connection, recovery.smoke_checks, context.deadline)
    for url in recovery.health_urls:
        context.deadline.check()
        checks.append(check_health(url, min(recovery.health_timeout, context.deadline.remaining())))
    return ValidationReport(
        passed=all(check.passed for check in checks if check.severity == "error"),
        checks=tuple(checks),
        findings=tuple(_findings(settings)),
    )


def _findings(settings: Settings) -> list[Finding]:
    """Say what was not asked because nothing is configured."""
    recovery = settings.recovery
    if recovery.smoke_checks or recovery.health_urls:
        return []
    return [
        Finding(
            severity="info",
            code="validation-of-roles-only",
            object="recovery.smoke_checks, recovery.health_urls",
            observed="neither is set",
            advice="Name what your application needs, so that a recovery proves it.",
        )
    ]
