"""The four kinds of answer that a preflight gives: held, warned, refused, not asked."""

from typing import Literal, TypeAlias

from strongroom.errors import StrongroomError, Transient
from strongroom.operations.messages import Check

Severity: TypeAlias = Literal["warning", "error"]


def refused(name: str, error: StrongroomError, severity: Severity = "error") -> Check:
    """Return the failed check that stands for a coded error."""
    return Check(
        name=name,
        passed=False,
        observed=_sentence(error.render()),
        remedy=error.advice(),
        severity=severity,
        code=error.code,
        transient=isinstance(error, Transient),
    )


def _sentence(text: str) -> str:
    """End what may end with another program's words with a full stop."""
    return text if text.endswith(".") else f"{text}."


def held(name: str, observed: str) -> Check:
    """Return a check that passed."""
    return Check(name=name, passed=True, observed=observed)


def warned(name: str, observed: str, remedy: str) -> Check:
    """Return a check that failed without making a backup impossible."""
    return Check(name=name, passed=False, observed=observed, remedy=remedy, severity="warning")


def not_asked(name: str, reason: str) -> Check:
    """Return a check that could not be asked, which is never a pass."""
    return Check(
        name=name,
        passed=False,
        observed=f"Not asked, because {reason}.",
        remedy="Correct what failed before it, then check again.",
    )
