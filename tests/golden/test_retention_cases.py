"""The golden retention cases: today's code plans each of them as the file says, and in any order of its backups."""

import pytest

from strongroom.errors import RetentionError
from tests.golden import make_retention
from tests.golden.make_retention import FOLDER, Case, cases_in, planned_lines, written

FILES = sorted(FOLDER.glob("*.txt"))
CASES = [
    pytest.param(case, id=f"{path.stem}: {case.title}".translate({ord(sign): None for sign in "[]"}))
    for path in FILES
    for case in cases_in(path)
]


@pytest.mark.parametrize("case", CASES)
def test_a_case_is_planned_as_it_says(case: Case) -> None:
    """What stays, what expires and what is refused is what the file says."""
    assert case.planned == planned_lines(case)


@pytest.mark.parametrize("case", CASES)
def test_the_order_in_which_backups_come_does_not_matter(case: Case) -> None:
    """A listing of a store has an order of its own."""
    case.backups.reverse()
    assert case.planned == planned_lines(case)


def test_there_are_enough_cases() -> None:
    """The files are found, so that the tests above cannot pass for want of cases; no title stands twice."""
    titles = [case.title for path in FILES for case in cases_in(path)]
    assert len(titles) >= 60
    assert len(set(titles)) == len(titles)


def test_files_are_as_the_script_writes_them() -> None:
    """Writing the files anew changes no byte of them."""
    assert [] == [path.name for path in FILES if path.read_text(encoding="utf-8") != written(cases_in(path))]
    assert [] == make_retention.verify()


def test_every_backup_is_kept_or_expires() -> None:
    """At each location of the policy each backup that is there stands in exactly one of the two lists."""
    for path in FILES:
        for case in cases_in(path):
            try:
                plan = case.plan()
            except RetentionError:
                continue
            places = [(keep.backup, keep.location) for keep in plan.keeps]
            places += [(expiry.backup, expiry.location) for expiry in plan.expiries]
            named = {location.name for location in case.policy.locations}
            there = [(b.id, name) for b in case.backups for name in b.locations if name in named]
            assert sorted(there) == sorted(places), case.title
