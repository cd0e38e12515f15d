"""The evidence of a drill: what makes it pass, what makes it fail, and the page that tells it."""

import datetime as dt
import re
from collections.abc import Callable
from html.parser import HTMLParser

import msgspec
import pytest

from strongroom.drill.evidence import (
    INTERRUPTED,
    Observed,
    detection_percent,
    evidence_of,
    failed_only_to_notice,
    reasons,
    undetected,
)
from strongroom.drill.page import render_page
from strongroom.format.documents import Finding
from strongroom.format.records import DamageOutcome, DrillStep, DrillTable
from strongroom.operations.drill_messages import DamageReport, DrillMeasures
from strongroom.operations.hold_drill_server import fitting_major
from strongroom.operations.messages import IntegrityReport, SuiteResult, VerificationReport
from tests.golden.recoveries import loss_plan

NOW = dt.datetime(2026, 11, 2, 4, tzinfo=dt.UTC)
BACKUP = "20261102-030000000-0123456789"
DRILL = "20261102-040000000-abcdef0123"


def tried(name: str, noticed_by: str = "verify structure: SR-0603", level: str = "structure") -> DamageReport:
    """Return what became of one damage."""
    outcome = DamageOutcome(damage=name, noticed_by=noticed_by, observed="a bit was flipped")
    return DamageReport(outcome=outcome, level=level)


def judged(*, passed: bool = True) -> IntegrityReport:
    """Return what two suites said."""
    suites = (
        SuiteResult(suite="public.robots", passed=passed, expectations=9, failed=0 if passed else 1),
        SuiteResult(suite="sequences", passed=True, expectations=2, failed=0),
    )
    return IntegrityReport(
        backup=BACKUP, passed=passed, suites=suites, rows_expected=3, rows_observed=3, data_loss_percent=0.0
    )


def verified(*, passed: bool = True) -> VerificationReport:
    """Return what verifying the stored bytes said."""
    return VerificationReport(
        backup=BACKUP,
        level="structure",
        passed=passed,
        score=100 if passed else 60,
        started_at=NOW,
        seconds=0.5,
        objects_checked=12,
        bytes_checked=4096,
        rows_checked=0,
    )


def table(name: str = "public.robots", rows: int = 3, digest: str = "42") -> DrillTable:
    """Return a table whose baseline is 3 rows and the digest 42."""
    return DrillTable(table=name, rows=rows, rows_expected=3, digest=digest, digest_expected="42")


def good_drill() -> Observed:
    """Return all that a mutation drill which passes has seen."""
    plan = msgspec.structs.replace(
        loss_plan(DRILL, BACKUP, NOW), source="quantforge", recovery_point=NOW - dt.timedelta(hours=1)
    )
    return Observed(
        drill=DRILL,
        plan=plan,
        begun=NOW,
        lag_objective=6 * 3600.0,
        duration_objective=1800.0,
        wants_damage=True,
        server_version=180001,
        recovery_seconds=12.0,
        bytes_moved=1 << 20,
        verification=verified(),
        integrity=judged(),
        measures=DrillMeasures(server_version=180001, tables=(table(),)),
        control=tried("control", "verify content: passed", "content"),
        damages=[tried("flipped-pack"), tried("wrong-key", "verify content: SR-0514", "content")],
        steps=[DrillStep(name="restore", seconds=9.5)],
    )


def test_a_drill_in_which_all_was_proven_passes() -> None:
    """It has no verdict against it, keeps its objectives, and 100 % of the damage was noticed."""
    record = evidence_of(good_drill(), NOW, "ada@bench")
    assert (True, "", 100.0) == (record.passed, reasons(record), detection_percent(record))
    assert (3600.0, 12.0) == (record.recovery_lag_seconds, record.recovery_duration_seconds)
    assert (2, 2, 11) == (record.suites, record.suites_passed, record.expectations)
    assert () == record.findings


def _interrupt(observed: Observed) -> None:
    observed.findings.append(
        Finding(severity="critical", code=INTERRUPTED, object="the drill", observed="SR-1")
    )


def _too_slow(observed: Observed) -> None:
    observed.recovery_seconds = 1800.5


def _not_verified(observed: Observed) -> None:
    observed.verification = None


def _bytes_wrong(observed: Observed) -> None:
    observed.verification = verified(passed=False)


def _not_judged(observed: Observed) -> None:
    observed.integrity = None


def _suites_failed(observed: Observed) -> None:
    observed.integrity = judged(passed=False)


def _no_suites(observed: Observed) -> None:
    observed.integrity = msgspec.structs.replace(judged(), suites=())


def _not_measured(observed: Observed) -> None:
    observed.measures = None


def _row_lost(observed: Observed) -> None:
    observed.measures = DrillMeasures(server_version=180001, tables=(table(rows=2),))


def _row_changed(observed: Observed) -> None:
    observed.measures = DrillMeasures(server_version=180001, tables=(table(), table("x.y", digest="43")))


def _table_unmeasured(observed: Observed) -> None:
    observed.measures = DrillMeasures(server_version=180001, tables=(table(rows=-1, digest=""),))


def _no_control(observed: Observed) -> None:
    observed.control = None


def _control_failed(observed: Observed) -> None:
    observed.control = tried("control", "", "content")


def _no_damage(observed: Observed) -> None:
    observed.damages = []


def _nothing_to_damage(observed: Observed) -> None:
    observed.damages = [tried("dropped-policy", "", "")]


@pytest.mark.parametrize(
    "spoil",
    [
        _interrupt,
        _too_slow,
        _not_verified,
        _bytes_wrong,
        _not_judged,
        _suites_failed,
        _no_suites,
        _not_measured,
        _row_lost,
        _row_changed,
        _table_unmeasured,
        _no_control,
        _control_failed,
        _no_damage,
        _nothing_to_damage,
    ],
)
def test_what_is_wrong_or_was_not_looked_at_fails_the_drill(spoil: Callable[[Observed], None]) -> None:
    """Each alone: a drill that was cut off, is too slow, has unproven bytes, suites or tables, or proves no damage."""
    observed = good_drill()
    spoil(observed)
    record = evidence_of(observed, NOW, "ada@bench")
    assert not record.passed
    assert reasons(record)
    assert not failed_only_to_notice(record)


def test_damage_that_goes_through_fails_the_drill() -> None:
    """One of two: 50 % is under 100 %; the reason is that, and nothing else."""
    observed = good_drill()
    observed.damages[0] = tried("flipped-pack", "")
    record = evidence_of(observed, NOW, "ada@bench")
    assert (False, ("flipped-pack",), 50.0) == (record.passed, undetected(record), detection_percent(record))
    assert failed_only_to_notice(record)
    observed.integrity = None
    assert not failed_only_to_notice(evidence_of(observed, NOW, "ada@bench"))


def test_damage_that_could_not_be_done_is_named_and_not_counted() -> None:
    """A database without policies loses none: it is no share of the rate, and an info says so."""
    observed = good_drill()
    observed.damages.append(tried("dropped-policy", "", ""))
    record = evidence_of(observed, NOW, "ada@bench")
    assert (True, 2, 100.0) == (record.passed, len(record.damages), detection_percent(record))
    assert [("info", "dropped-policy")] == [(found.severity, found.object) for found in record.findings]


def test_an_old_recovery_point_is_a_warning() -> None:
    """A missed recovery lag is said, and fails nothing: the restore was proven all the same."""
    observed = good_drill()
    observed.lag_objective = 1800.0
    record = evidence_of(observed, NOW, "ada@bench")
    assert (True, [("warning", "drill-lag")]) == (
        record.passed,
        [(found.severity, found.code) for found in record.findings],
    )


def test_a_plain_drill_needs_no_damage() -> None:
    """Without --mutation neither control nor damage is asked for."""
    observed = good_drill()
    observed.wants_damage, observed.control, observed.damages = False, None, []
    record = evidence_of(observed, NOW, "ada@bench")
    assert (True, 0.0, ()) == (record.passed, detection_percent(record), record.damages)


def test_a_drill_without_objectives_passes() -> None:
    """A limit of zero means that there is none."""
    observed = good_drill()
    observed.lag_objective = observed.duration_objective = 0.0
    observed.recovery_seconds = 1e6
    assert evidence_of(observed, NOW, "ada@bench").passed


@pytest.mark.parametrize(("wanted", "major"), [(15, 16), (16, 16), (17, 18), (18, 18), (19, None)])
def test_the_server_is_of_the_same_version_or_the_next_at_hand(wanted: int, major: int | None) -> None:
    """A backup is never drilled into an older server, and into none if all at hand are older."""
    assert major == fitting_major(wanted)


# ----------------------------------------------------------------------------------------------- page


class Page(HTMLParser):
    """Reads a page: which elements and attributes it has, whether they are balanced, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note the end of one."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def test_the_page_tells_everything() -> None:
    """Verdict, backup, objectives, steps, tables and damage are all there."""
    page = Page(render_page(evidence_of(good_drill(), NOW, "ada@bench")))
    assert [] == page.open
    for words in (
        "PASSED",
        BACKUP,
        "ada@bench",
        "restore",
        "public.robots",
        "flipped-pack",
        "2 of 2 noticed: 100 %",
    ):
        assert words in page.text, words


def test_the_page_of_a_drill_that_failed_says_so() -> None:
    """What differs is shown beside what was expected, and damage that went through cannot be overlooked."""
    observed = good_drill()
    _row_lost(observed)
    observed.damages[0] = tried("flipped-pack", "")
    text = Page(render_page(evidence_of(observed, NOW, "ada@bench"))).text
    for words in ("FAILED", "DIFFERS", "2 rows, digest 42", "NOT NOTICED", "1 of 2 noticed: 50 %"):
        assert words in text, words


def test_the_page_loads_nothing() -> None:
    """It has neither script nor link nor picture, nor an address of anything."""
    text = render_page(evidence_of(good_drill(), NOW, "ada@bench"))
    page = Page(text)
    assert set() == page.tags & {"script", "link", "img", "iframe", "object", "a", "base", "form"}
    assert {"lang", "charset", "class"} >= page.attributes
    assert None is re.search(r"//|url\(|@import|https?:|data:", text)


def test_names_do_nothing_on_the_page() -> None:
    """A table, a person or a finding may be called anything: it is text."""
    observed = good_drill()
    evil = '<script>alert("x")</script>&amp;<img src=x>'
    observed.measures = DrillMeasures(server_version=180001, tables=(table(evil),))
    observed.findings.append(Finding(severity="info", code="x", object=evil, observed=evil))
    page = Page(render_page(evidence_of(observed, NOW, evil)))
    assert set() == page.tags & {"script", "img"}
    assert page.text.count(evil) == 4


def test_the_page_of_a_drill_that_ended_at_once() -> None:
    """Nothing was seen but that it was cut off, and there is a page all the same."""
    observed = Observed(
        drill=DRILL, plan=good_drill().plan, begun=NOW, lag_objective=0.0, duration_objective=0.0
    )
    _interrupt(observed)
    page = Page(render_page(evidence_of(observed, NOW, "ada@bench")))
    assert "FAILED" in page.text
    assert "no server" in page.text
