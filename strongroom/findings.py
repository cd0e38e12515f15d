"""Findings of coded errors: what went wrong is reported where it is no reason to stop. Pure.

findings.append(finding_of(error, f"location {name}", "warning"))
"""

from strongroom.errors import StrongroomError
from strongroom.format.documents import Finding, Severity


def finding_of(
    error: StrongroomError, subject: str, severity: Severity = "error", preface: str = ""
) -> Finding:
    """Return the finding that an error makes about `subject`: its code, its sentence behind `preface`, its hint."""
    return Finding(
        severity=severity,
        code=error.code,
        object=subject,
        observed=preface + error.render(),
        advice=error.advice(),
    )
