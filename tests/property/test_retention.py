"""No policy, clock or set of backups lets retention lose what is to stay: plans are carried out on a model."""

import datetime as dt
from collections import defaultdict
from dataclasses import replace
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strongroom.format.documents import BackupClass, Kind
from strongroom.retention.facts import BackupFacts, Hold, Proof, RetentionCatalog
from strongroom.retention.guard import GuardLimits
from strongroom.retention.plan import RetentionPlan, plan_retention
from strongroom.retention.policy import LocationPolicy, RetentionPolicy, Role, Rules
from tests.documents import NOON

LOCATIONS = ("disk", "nas", "s3")
SIZES = np.array([3**n for n in range(14)], np.int64)
"""Powers, so that a sum of bytes tells which objects were freed."""
YEARS = dt.timedelta(days=3650)

PARTS = st.sets(st.integers(0, len(SIZES) - 1)).map(lambda found: np.array(sorted(found), np.int32))
SPANS = st.sampled_from([0, 1, 24, 26, 168, 720]).map(lambda hours: dt.timedelta(hours=hours))
COUNTS = st.integers(0, 3)


@st.composite
def backups(draw: st.DrawFn) -> list[BackupFacts]:
    """Draw up to twelve backups of two sources in the last sixty days, some of them at the same instant."""
    found = []
    for number in range(draw(st.integers(0, 12))):
        places = draw(st.sets(st.sampled_from((*LOCATIONS, "elsewhere")), min_size=1))
        damaged = draw(st.one_of(st.just(set[str]()), st.sets(st.sampled_from(sorted(places)))))
        found.append(
            BackupFacts(
                id=f"b{number:02}",
                kind=draw(st.sampled_from(cast("list[Kind]", ["full", "differential", "incremental"]))),
                backup_class=draw(st.sampled_from(cast("list[BackupClass]", ["scheduled", "emergency"]))),
                source=draw(st.sampled_from(["alpha", "beta"])),
                taken_at=NOON - draw(st.integers(0, 240)) * dt.timedelta(hours=6),
                locations=tuple(sorted(places)),
                reach=draw(PARTS),
                proven=draw(st.sampled_from(cast("list[Proof]", ["", "structure", "content", "restore"]))),
                damaged_at=tuple(sorted(damaged)),
                rows=draw(st.sampled_from([0, 900, 1000, 2000])),
                rows_read=draw(st.integers(0, 1)),
            )
        )
    return found


@st.composite
def policies(draw: st.DrawFn) -> RetentionPolicy:
    """Draw a policy that keeps something at one to three locations, with the guard awake or asleep."""
    rules = st.builds(Rules, SPANS, COUNTS, COUNTS, COUNTS, SPANS).filter(Rules.keep_something)
    named = LOCATIONS[: draw(st.integers(1, 3))]
    role: Role = "archive"
    asleep = GuardLimits(least_rows=10**9, quiet=dt.timedelta(0))
    return RetentionPolicy(
        tuple(LocationPolicy(name, role, draw(rules)) for name in named),
        retention_days=draw(st.integers(1, 40)),
        guard=draw(st.sampled_from([asleep, asleep, GuardLimits()])),
        max_silence=YEARS,
    )


HELD = st.lists(
    st.builds(Hold, st.sampled_from(["b00", "b01", "b02"]), st.sampled_from([None, NOON, NOON + YEARS]))
)
IN_USE = st.frozensets(st.sampled_from(["b03", "b04"]))


def carried_out(listed: list[BackupFacts], plan: RetentionPlan) -> list[BackupFacts]:
    """Carry a plan out on stores of sets, manifest first (I4), and return what is listed afterwards.

    Fails where a kept backup misses an object at a location, or where other bytes are freed than planned.
    """
    manifests: dict[str, dict[str, set[int]]] = defaultdict(dict)
    for backup in listed:
        for name in backup.locations:
            manifests[name][backup.id] = set(backup.reach.tolist())
    objects = {name: set[int]().union(*there.values()) for name, there in manifests.items()}
    for expiry in plan.expiries:
        there = manifests[expiry.location]
        del there[expiry.backup]
        garbage = objects[expiry.location] - set[int]().union(*there.values())
        assert (len(garbage), sum(SIZES[list(garbage)])) == (expiry.objects_freed, expiry.bytes_freed)
        objects[expiry.location] -= garbage
    for name, there in manifests.items():
        assert all(reach <= objects[name] for reach in there.values())
    after = [replace(b, locations=tuple(n for n in b.locations if b.id in manifests[n])) for b in listed]
    return [
        replace(b, damaged_at=tuple(n for n in b.damaged_at if n in b.locations))
        for b in after
        if b.locations
    ]


def planned(
    listed: list[BackupFacts],
    policy: RetentionPolicy,
    now: dt.datetime,
    holds: list[Hold],
    in_use: frozenset[str],
) -> RetentionPlan:
    """Plan with what was drawn."""
    return plan_retention(RetentionCatalog.of(listed, SIZES), policy, now, holds=holds, in_use=in_use)


@given(backups(), policies(), HELD, IN_USE)
def test_what_is_kept_restores_and_the_last_good_stays(
    listed: list[BackupFacts], policy: RetentionPolicy, holds: list[Hold], in_use: frozenset[str]
) -> None:
    """After any plan every kept backup has all its objects (I3), and I8 holds for each source."""
    plan = planned(listed, policy, NOON, holds, in_use)
    after = {backup.id: backup for backup in carried_out(listed, plan)}
    for source in {backup.source for backup in listed}:
        own = [backup for backup in listed if backup.source == source]
        proven = [backup for backup in own if backup.is_proven()]
        best = max(proven, key=lambda b: (b.taken_at, b.id), default=None)
        safe = [best] if best else own
        assert [backup.locations for backup in safe] == [after[backup.id].locations for backup in safe]
        left = [backup for backup in after.values() if backup.source == source]
        assert {n for b in own for n in b.locations} == {n for b in left for n in b.locations}
        newest = max(own, key=lambda b: (b.taken_at, b.id))
        assert newest.locations == after[newest.id].locations
    for name in in_use | {hold.backup for hold in holds if hold.lasts(NOON)}:
        before = [backup.locations for backup in listed if backup.id == name]
        assert before == [after[name].locations for _ in before]


@given(backups(), policies(), HELD, IN_USE)
def test_planning_again_at_once_finds_nothing_to_do(
    listed: list[BackupFacts], policy: RetentionPolicy, holds: list[Hold], in_use: frozenset[str]
) -> None:
    """What was decided with more backups in view holds with those that are left."""
    after = carried_out(listed, planned(listed, policy, NOON, holds, in_use))
    assert () == planned(after, policy, NOON, holds, in_use).expiries


@given(backups(), policies(), HELD, IN_USE)
def test_the_same_facts_give_the_same_plan(
    listed: list[BackupFacts], policy: RetentionPolicy, holds: list[Hold], in_use: frozenset[str]
) -> None:
    """In whatever order backups and holds come."""
    plan = planned(listed, policy, NOON, holds, in_use)
    assert plan == planned(listed[::-1], policy, NOON, holds[::-1], in_use)


@given(backups(), policies(), HELD, IN_USE, st.integers(0, 2000))
def test_what_expires_now_expires_later(
    listed: list[BackupFacts], policy: RetentionPolicy, holds: list[Hold], in_use: frozenset[str], hours: int
) -> None:
    """With the same backups no passing of time brings an expired one back, unless the guard holds its source."""
    early = planned(listed, policy, NOON, holds, in_use)
    late = planned(listed, policy, NOON + hours * dt.timedelta(hours=1), holds, in_use)
    held = {hold.source for hold in late.held_by}
    gone = {(e.backup, e.location) for e in late.expiries}
    assert {(e.backup, e.location) for e in early.expiries if e.source not in held} <= gone


@given(backups(), policies(), HELD, IN_USE)
def test_a_source_does_not_feel_another(
    listed: list[BackupFacts], policy: RetentionPolicy, holds: list[Hold], in_use: frozenset[str]
) -> None:
    """What expires of one source is the same without the other; only freed bytes may differ."""
    both = planned(listed, policy, NOON, holds, in_use)
    alone = planned([b for b in listed if b.source == "alpha"], policy, NOON, holds, in_use)
    assert [(e.backup, e.location) for e in alone.expiries] == [
        (e.backup, e.location) for e in both.expiries if e.source == "alpha"
    ]


@given(backups(), policies())
def test_no_last_copy_goes_while_a_location_wants_it(
    listed: list[BackupFacts], policy: RetentionPolicy
) -> None:
    """What the rules of any location would keep, had it all backups, has a copy somewhere afterwards."""
    listed = [replace(backup, damaged_at=()) for backup in listed]
    ideal = planned([replace(b, locations=LOCATIONS) for b in listed], policy, NOON, [], frozenset())
    rules = {"within", "daily", "weekly", "monthly", "emergency"}
    wanted = {keep.backup for keep in ideal.keeps if rules & {reason.rule for reason in keep.reasons}}
    after = carried_out(listed, planned(listed, policy, NOON, [], frozenset()))
    assert set() == wanted - {backup.id for backup in after}
