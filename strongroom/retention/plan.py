"""The plan: which backup stays and which expires, at each location, with every reason and the bytes freed. Pure.

A manifest is complete in itself, so expiring a parent breaks no child: an object goes only with the last manifest
at its location that reaches it (I3). For example:

    plan = plan_retention(catalog, RetentionPolicy.by_default([("s3", "archive")]), now, last_seen=seen)
    [(expiry.backup, expiry.reason.text, expiry.bytes_freed) for expiry in plan.expiries]
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from strongroom.errors import LastGoodThreatened
from strongroom.format.documents import Finding
from strongroom.retention.doubts import refuse_doubtful_clock
from strongroom.retention.facts import BackupFacts, Hold, LastSeen, RetentionCatalog
from strongroom.retention.guard import guard_findings
from strongroom.retention.policy import RetentionPolicy, Rules
from strongroom.retention.reasons import Reason, Reasons, kept_always, kept_by_rules, kept_on_request, span


@dataclass(frozen=True, slots=True)
class Keep:
    """A backup that stays at a location, and all reasons why."""

    backup: str
    source: str
    location: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Expiry:
    """A backup that goes from a location, and what is reached by no other manifest there once it is gone.

    Expiries are carried out in the plan's order; each frees what its predecessors left.
    """

    backup: str
    source: str
    location: str
    reason: Reason
    objects_freed: int
    bytes_freed: int


@dataclass(frozen=True)
class GuardHold:
    """A source of which nothing expires, because it looks damaged, and the signs of that."""

    source: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class RetentionPlan:
    """What a retention run does, decided at `now`: by location in the policy's order, oldest backup first.

    The bytes may be collected from `collectable_from` on. `findings` are what somebody should know, without
    those of `held_by`.
    """

    now: dt.datetime
    keeps: tuple[Keep, ...]
    expiries: tuple[Expiry, ...]
    findings: tuple[Finding, ...]
    held_by: tuple[GuardHold, ...]
    collectable_from: dt.datetime

    def bytes_freed(self, location: str | None = None) -> int:
        """Return the bytes that all expiries free, at one location or at all."""
        return sum(e.bytes_freed for e in self.expiries if location is None or e.location == location)


def plan_retention(
    catalog: RetentionCatalog,
    policy: RetentionPolicy,
    now: dt.datetime,
    *,
    holds: Iterable[Hold] = (),
    last_seen: LastSeen | None = None,
    in_use: frozenset[str] = frozenset(),
    accepted: Mapping[str, str] | None = None,
) -> RetentionPlan:
    """Decide what expires. The same arguments give the same plan; sources do not depend on each other.

    `in_use` are backups that running attempts reuse from; `accepted` names, for each source, the backup that
    somebody last found to be as it should be. A location that the policy does not name is left alone.
    Raises `EmptyPolicy`, `ClockWentBackwards`, `ClockJumped`, `BackupFromFuture`; and `LastGoodThreatened`, which
    would be a fault of this function.
    """
    now = now.astimezone(dt.UTC)
    rules = policy.rules_in_force()
    refuse_doubtful_clock(catalog, now, last_seen, policy.max_silence)
    requests = kept_on_request(holds, in_use, now)
    chosen = [
        _SourcePlan(source, backups, rules, requests, now) for source, backups in catalog.by_source().items()
    ]
    held_by = []
    for part in chosen:
        signs = guard_findings(part.backups, policy.guard, now, (accepted or {}).get(part.source, ""))
        if signs:
            held_by.append(GuardHold(part.source, signs))
            part.keep_everything(Reason("guard", "", "the source looks damaged"))
    kept = {place: reasons for part in chosen for place, reasons in part.reasons.items()}
    plan = RetentionPlan(
        now=now,
        keeps=tuple(_keeps(catalog, rules, kept)),
        expiries=tuple(_expiries(catalog, rules, kept)),
        findings=tuple(finding for part in chosen for finding in part.findings),
        held_by=tuple(held_by),
        collectable_from=now + policy.grace,
    )
    refuse_loss_of_last_good(catalog, plan)
    return plan


Place = tuple[str, str]
"""A backup id and a location."""


class _SourcePlan:
    """The reasons to keep the backups of one source, by backup and location."""

    def __init__(
        self,
        source: str,
        backups: tuple[BackupFacts, ...],
        rules: Mapping[str, Rules],
        requests: Reasons,
        now: dt.datetime,
    ) -> None:
        self.source = source
        self.backups = backups
        self.reasons: dict[Place, list[Reason]] = defaultdict(list)
        self.findings: list[Finding] = []
        self._locations = tuple(rules)
        wanted = {name: kept_by_rules(backups, name, own, now) for name, own in rules.items()}
        for name, own in rules.items():
            here = [backup for backup in backups if name in backup.locations]
            for kept_for in (kept_by_rules(here, name, own, now), requests):
                for backup in here:
                    self.reasons[backup.id, name] += kept_for.get(backup.id, ())
            for backup, reason in kept_always(backups, here, name):
                self.reasons[backup.id, name].append(reason)
        self._keep_what_is_missing_elsewhere(wanted)
        self._keep_all_where_nothing_is_proven()
        self._name_unknown_locations()

    def keep_everything(self, reason: Reason) -> None:
        """Add a reason to every backup at every location."""
        for backup in self.backups:
            for name in self._locations:
                if name in backup.locations:
                    self.reasons[backup.id, name].append(reason)

    def _keep_what_is_missing_elsewhere(self, wanted: Mapping[str, Reasons]) -> None:
        """Keep each backup until every location whose rules want it has a good copy."""
        for name, reasons in wanted.items():
            missing = [b for b in self.backups if b.id in reasons and not b.is_good_at(name)]
            for backup in missing:
                for other in self._locations:
                    if other != name and other in backup.locations:
                        self.reasons[backup.id, other].append(
                            Reason("not-yet-at", name, f"not yet at {name}, which is to keep it")
                        )
            if missing:
                self.findings.append(
                    Finding(
                        severity="warning",
                        code="copies-missing",
                        object=f"{self.source} at {name}",
                        expected=f"good copies of {len(reasons)} backups",
                        observed=f"missing or damaged: {len(missing)}, the oldest {missing[0].id}",
                        advice="Replicate them; the other locations keep theirs until then.",
                    )
                )

    def _keep_all_where_nothing_is_proven(self) -> None:
        if any(backup.is_proven() for backup in self.backups):
            return
        self.keep_everything(Reason("unproven", "", "no backup of the source is known to be good"))
        self.findings.append(
            Finding(
                severity="error",
                code="nothing-proven",
                object=self.source,
                expected="a verified backup",
                observed=f"none of {len(self.backups)}",
                advice="Verify the newest backup. Nothing of the source expires until one is known to be good.",
            )
        )

    def _name_unknown_locations(self) -> None:
        unknown = {name for backup in self.backups for name in backup.locations} - set(self._locations)
        self.findings += [
            Finding(
                severity="info",
                code="location-without-rules",
                object=f"{self.source} at {name}",
                advice="The policy does not name this location, so nothing expires there.",
            )
            for name in sorted(unknown)
        ]


# ------------------------------------------------------------------------------------- the two lists


def _keeps(
    catalog: RetentionCatalog, rules: Mapping[str, Rules], kept: Mapping[Place, list[Reason]]
) -> Iterator[Keep]:
    for name in rules:
        for backup in catalog.backups:
            reasons = kept.get((backup.id, name))
            if reasons:
                yield Keep(backup.id, backup.source, name, tuple(dict.fromkeys(reasons)))


def _expiries(
    catalog: RetentionCatalog, rules: Mapping[str, Rules], kept: Mapping[Place, list[Reason]]
) -> Iterator[Expiry]:
    """Yield what no reason keeps. An object goes with the newest of the expiring backups that reach it."""
    for name, own in rules.items():
        reached = np.zeros(len(catalog.sizes), np.bool_)
        going = []
        for backup in catalog.backups:
            if name not in backup.locations:
                continue
            if kept.get((backup.id, name)):
                reached[backup.reach] = True
            else:
                going.append(backup)
        freed: list[Expiry] = []
        for backup in reversed(going):
            objects = backup.reach[~reached[backup.reach]]
            reached[objects] = True
            bytes_freed = int(catalog.sizes[objects].sum())
            reason = _why_not(backup, name, own)
            freed.append(Expiry(backup.id, backup.source, name, reason, len(objects), bytes_freed))
        yield from reversed(freed)


def _why_not(backup: BackupFacts, location: str, rules: Rules) -> Reason:
    """Say which rules of the location a backup has outlived."""
    if backup.backup_class == "emergency":
        outlived = f"an emergency backup, not younger than {span(rules.emergency)}"
    else:
        periods = [
            p for p, n in (("day", rules.daily), ("week", rules.weekly), ("month", rules.monthly)) if n
        ]
        said = [f"not younger than {span(rules.keep_within)}"] if rules.keep_within else []
        said += [f"not the newest of a {_either(periods)} that counts"] if periods else []
        outlived = ", ".join(said)
    return Reason("expired", "", f"no rule of {location} keeps it: {outlived}")


def _either(words: list[str]) -> str:
    """Write "day, week or month"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


# --------------------------------------------------------------------------------------- self-check


def refuse_loss_of_last_good(catalog: RetentionCatalog, plan: RetentionPlan) -> None:
    """Look at a plan without regard to how it was made. Raises `LastGoodThreatened`.

    For each source: the newest proven backup loses no copy (I8); a location that had a good copy of a proven
    backup keeps one; a location that had any backup keeps one; and where nothing is proven nothing goes.
    """
    going = {(expiry.backup, expiry.location) for expiry in plan.expiries}
    for source, backups in catalog.by_source().items():
        proven = [backup for backup in backups if backup.is_proven()]
        vital = [(proven[-1], name) for name in proven[-1].locations] if proven else []
        if not proven:
            vital = [(backup, name) for backup in backups for name in backup.locations]
        for name in sorted({name for backup in backups for name in backup.locations}):
            here = [backup for backup in backups if name in backup.locations]
            good = [backup for backup in here if backup.is_proven() and backup.is_good_at(name)]
            vital += [(some[-1], name) for some in (here, good) if some and _all_go(some, name, going)]
        for backup, name in vital:
            if (backup.id, name) in going:
                raise LastGoodThreatened(backup=backup.id, source=source)


def _all_go(backups: Iterable[BackupFacts], location: str, going: set[Place]) -> bool:
    return all((backup.id, location) in going for backup in backups)
