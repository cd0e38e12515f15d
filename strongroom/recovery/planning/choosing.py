"""Which recovery point, and why. Pure.

    choice = choose_point(catalog, "quantforge", Wishes(), policy, now)
    choice.why      # "It is the newest proven backup: proven … at the level content, and 2 h old when …"

Chosen is the newest proven one that fits what was asked for. An emergency backup holds what a recovery was about to
repair, so that it is taken only by its name. What is unproven or too old is taken with force only, and said aloud.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.errors import NoRecoveryPoint, OnlyUnverified, RecoveryPointTooOld
from strongroom.format.documents import Finding
from strongroom.operations.recovery_messages import Wishes
from strongroom.recovery.planning.facts import RecoveryPoint, RecoveryPolicy
from strongroom.recovery.planning.wording import counted, instant, span

LATEST = "latest"


@dataclass(frozen=True)
class Choice:
    """A recovery point, why it is this one, and what somebody should know about it."""

    point: RecoveryPoint
    why: str
    findings: tuple[Finding, ...] = ()


def choose_point(
    catalog: Sequence[RecoveryPoint], source: str, wishes: Wishes, policy: RecoveryPolicy, now: dt.datetime
) -> Choice:
    """Choose the recovery point.

    Raises `NoRecoveryPoint`, and without force `OnlyUnverified` and `RecoveryPointTooOld`.
    """
    fitting = _fitting(catalog, source, wishes)
    proven = [point for point in fitting if point.proven]
    if not proven and not wishes.force:
        raise OnlyUnverified(count=len(fitting), backup=fitting[-1].backup)
    chosen = (proven or fitting)[-1]
    age = max(now - chosen.at, dt.timedelta())
    if age > policy.min_recovery_point_age and not wishes.force:
        limit = span(policy.min_recovery_point_age)
        raise RecoveryPointTooOld(backup=chosen.backup, age=span(age), limit=limit)
    findings = (
        *_doubts(chosen, age, policy),
        *_newer_ones(chosen, fitting, catalog, source, wishes),
    )
    return Choice(chosen, _why(chosen, wishes, age), findings)


def _fitting(catalog: Sequence[RecoveryPoint], source: str, wishes: Wishes) -> list[RecoveryPoint]:
    """Return the recovery points that fit what was asked for, oldest first; raise `NoRecoveryPoint`."""
    own = sorted((p for p in catalog if p.source == source), key=lambda point: (point.at, point.backup))
    in_time = [point for point in own if wishes.before is None or point.at <= wishes.before]
    if wishes.backup == LATEST:
        found = in_time[-1:]
    elif wishes.backup:
        found = [point for point in in_time if point.backup == wishes.backup]
    else:
        found = [point for point in in_time if point.backup_class != "emergency"]
    if not found:
        raise NoRecoveryPoint(source=source, wanted=_wanted(wishes, in_time))
    return found


def _wanted(wishes: Wishes, in_time: Sequence[RecoveryPoint]) -> str:
    until = f" and was taken at or before {instant(wishes.before)}" if wishes.before else ""
    if wishes.backup and wishes.backup != LATEST:
        return f"is called {wishes.backup}{until}"
    if in_time:
        newest = in_time[-1].backup
        return f"but emergency ones is listed{until}; they are taken by name only, and {newest} is the newest"
    return f"is listed{until}"


def _why(chosen: RecoveryPoint, wishes: Wishes, age: dt.timedelta) -> str:
    proof = "not proven by any verification"
    if chosen.proven:
        when = f" {instant(chosen.proven_at)}" if chosen.proven_at else ""
        proof = f"proven{when} at the level {chosen.proven}"
    until = f" taken at or before {instant(wishes.before)}" if wishes.before else ""
    what = "the newest proven backup" if chosen.proven else "the newest backup"
    if wishes.backup == LATEST:
        what = "the newest listed backup"
    elif wishes.backup:
        what, until = "the backup that was asked for", ""
    return f"It is {what}{until}: {proof}, and {span(age)} old when this plan was made."


def _doubts(chosen: RecoveryPoint, age: dt.timedelta, policy: RecoveryPolicy) -> list[Finding]:
    findings = []
    if not chosen.proven:
        findings.append(
            Finding(
                severity="error",
                code="recovery-point-unproven",
                object=chosen.backup,
                expected="a verification that passed, and none that failed since",
                observed="none, and it is taken by force",
                advice=f"Run `strongroom verify {chosen.backup}` before the recovery.",
            )
        )
    if age > policy.min_recovery_point_age:
        findings.append(
            Finding(
                severity="warning",
                code="recovery-point-old",
                object=chosen.backup,
                expected=f"not older than {span(policy.min_recovery_point_age)}",
                observed=f"{span(age)} old, and taken by force",
                advice="Everything written since then is not in it.",
            )
        )
    return findings


def _newer_ones(
    chosen: RecoveryPoint,
    fitting: Sequence[RecoveryPoint],
    catalog: Sequence[RecoveryPoint],
    source: str,
    wishes: Wishes,
) -> list[Finding]:
    """Name what is newer and was passed over."""
    findings = []
    passed_over = [point for point in fitting if point.at > chosen.at]
    if passed_over:
        newest = passed_over[-1]
        findings.append(
            Finding(
                severity="warning",
                code="newer-backups-unproven",
                object=newest.backup,
                observed=f"{counted(len(passed_over), 'newer backup')} fit and are not proven, the newest "
                f"was taken {instant(newest.at)}",
                advice=f"Run `strongroom verify {newest.backup}`, then plan again to lose less.",
            )
        )
    emergency = [
        point
        for point in catalog
        if point.source == source and point.backup_class == "emergency" and point.at > chosen.at
        if wishes.before is None or point.at <= wishes.before
    ]
    if emergency and not wishes.backup:
        newest = max(emergency, key=lambda point: (point.at, point.backup))
        findings.append(
            Finding(
                severity="info",
                code="newer-emergency-backup",
                object=newest.backup,
                observed=f"it was taken {instant(newest.at)}, before an earlier recovery, and holds what that one "
                "was to repair",
                advice=f"Name it with --backup {newest.backup} if that state is wanted.",
            )
        )
    return findings
