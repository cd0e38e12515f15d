"""Plans: what the golden cases do not show, such as texts, the policy's defaults and the last self-check."""

import datetime as dt
import pickle
from dataclasses import replace

import numpy as np
import pytest

from strongroom.errors import LastGoodThreatened
from strongroom.retention.facts import BackupFacts, Hold, RetentionCatalog
from strongroom.retention.plan import Expiry, RetentionPlan, plan_retention, refuse_loss_of_last_good
from strongroom.retention.policy import LocationPolicy, RetentionPolicy, Rules, default_rules
from strongroom.retention.reasons import Reason, kept_on_request, span
from tests.documents import NOON

DAY = dt.timedelta(days=1)


def backup(name: str, days_ago: float, *locations: str, **more: object) -> BackupFacts:
    """Return a proven scheduled full that holds the one object of the table."""
    given: dict[str, object] = {"proven": "structure", "reach": np.array([0], np.int32)} | more
    taken_at = NOON - days_ago * DAY
    return BackupFacts(name, "full", "scheduled", "main", taken_at, locations or ("disk",), **given)  # type: ignore[arg-type]


def catalog(*backups: BackupFacts) -> RetentionCatalog:
    """Return a catalog over one object of 100 bytes."""
    return RetentionCatalog.of(backups, np.array([100], np.int64))


def policy(**rules: object) -> RetentionPolicy:
    """Return a policy of the locations `disk` and `s3`, both with these rules."""
    own = Rules(**rules)  # type: ignore[arg-type]
    return RetentionPolicy((LocationPolicy("disk", "local", own), LocationPolicy("s3", "archive", own)))


def test_the_roles_have_the_rules_of_the_design() -> None:
    """Local a day, edge a week, archive by calendar; emergencies as long as the rest, a month at the archive."""
    assert Rules(keep_within=DAY, emergency=DAY) == default_rules("local")
    assert Rules(keep_within=7 * DAY, emergency=7 * DAY) == default_rules("edge")
    archive = Rules(daily=7, weekly=4, monthly=12, emergency=30 * DAY)
    assert archive == default_rules("archive")
    assert Rules(DAY, 7, 4, 12, 30 * DAY) == default_rules("local", is_last=True)


def test_the_last_location_gets_the_archives_rules_only_where_none_is_an_archive() -> None:
    """The order of locations does not make one an archive where another is."""
    with_archive = RetentionPolicy.by_default([("s3", "archive"), ("disk", "local")])
    without = RetentionPolicy.by_default([("disk", "local"), ("nas", "edge")])
    assert default_rules("local") == with_archive.locations[1].rules
    assert [0, 7] == [location.rules.daily for location in without.locations]


def test_a_location_named_twice_is_refused() -> None:
    """The second entry would silently take the place of the first."""
    with pytest.raises(ValueError, match="twice"):
        RetentionPolicy.by_default([("disk", "local"), ("disk", "archive")])


def test_reasons_are_sentences_and_data() -> None:
    """A keep carries every rule that keeps it, what it speaks of, and the words for people."""
    plan = plan_retention(catalog(backup("a", 0.1, "disk", "s3")), policy(daily=1, keep_within=DAY), NOON)
    assert [
        Reason("within", "", "younger than 24 h"),
        Reason("daily", "2026-11-23", "the newest of day 2026-11-23"),
        Reason("newest", "", "the newest at this location"),
        Reason("newest-full", "", "the newest full at this location"),
        Reason("last-good", "structure", "the newest proven at level structure"),
    ] == [reason for keep in plan.keeps if keep.location == "s3" for reason in keep.reasons]


def test_holds_say_until_when_and_why() -> None:
    """Who reads the plan need not look the hold up."""
    found = kept_on_request([Hold("a", NOON + DAY, "audit"), Hold("a")], frozenset({"b"}), NOON)
    assert ["held for ever", "held until 2026-11-24 12:00:00 UTC: audit"] == [r.text for r in found["a"]]
    assert ["a running attempt reuses from it"] == [r.text for r in found["b"]]


@pytest.mark.parametrize(
    ("length", "said"),
    [(DAY, "24 h"), (30 * DAY, "30 days"), (DAY / 2, "12 h"), (DAY / 16, "90 min"), (0 * DAY, "0 h")],
)
def test_spans_are_said_as_people_say_them(length: dt.timedelta, said: str) -> None:
    """A day is 24 hours here, since that is what it is counted as."""
    assert said == span(length)


def test_a_plan_travels() -> None:
    """A plan is made in one process and carried out in another."""
    plan = plan_retention(catalog(backup("a", 3), backup("b", 0)), policy(daily=1), NOON)
    assert plan == pickle.loads(pickle.dumps(plan))  # noqa: S301 - our own bytes
    assert NOON + DAY == plan.collectable_from


def test_now_may_be_of_any_zone() -> None:
    """The plan is made in UTC whatever the caller's clock shows."""
    east = NOON.astimezone(dt.timezone(dt.timedelta(hours=13)))
    seen = catalog(backup("a", 3), backup("b", 0.6), backup("c", 0))
    assert plan_retention(seen, policy(daily=2), NOON) == plan_retention(seen, policy(daily=2), east)


def test_bytes_are_summed_by_location() -> None:
    """An object that is at two locations is freed twice."""
    shared = backup("a", 3, "disk", "s3")
    seen = catalog(shared, replace(backup("b", 0, "disk", "s3"), reach=np.empty(0, np.int32)))
    plan = plan_retention(seen, policy(daily=1), NOON)
    assert (200, 100, 100) == (plan.bytes_freed(), plan.bytes_freed("disk"), plan.bytes_freed("s3"))


GOING = Reason("expired", "", "for the test")


def doctored(*places: tuple[str, str]) -> RetentionPlan:
    """Return a plan that expires these."""
    expiries = tuple(Expiry(name, "main", location, GOING, 0, 0) for name, location in places)
    return RetentionPlan(NOON, (), expiries, (), (), NOON)


@pytest.mark.parametrize(
    ("backups", "places"),
    [
        pytest.param(
            [backup("a", 1, "disk", "s3"), backup("b", 0, "disk", "s3", proven="")],
            [("a", "disk")],
            id="one copy of the newest proven (I8)",
        ),
        pytest.param(
            [backup("a", 1, proven=""), backup("b", 0, proven="")],
            [("a", "disk")],
            id="where nothing is proven",
        ),
        pytest.param(
            [backup("a", 1, "s3"), backup("b", 0, "disk")], [("a", "s3")], id="all that a location has"
        ),
        pytest.param(
            [backup("a", 2, "s3"), backup("b", 1, "s3", proven=""), backup("c", 0, "disk")],
            [("a", "s3")],
            id="the only good one of a location",
        ),
    ],
)
def test_the_last_good_backup_is_looked_after_twice(
    backups: list[BackupFacts], places: list[tuple[str, str]]
) -> None:
    """A plan that would lose it is refused, whatever made it so, and an honest plan of the same passes."""
    with pytest.raises(LastGoodThreatened):
        refuse_loss_of_last_good(catalog(*backups), doctored(*places))
    plan_retention(catalog(*backups), policy(keep_within=DAY / 24), NOON)
