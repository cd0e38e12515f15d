"""What is planned from a manifest, and how results are paired with the plan."""

from typing import Any

import pytest

from strongroom.deadline import Deadline
from strongroom.errors import SuitesNotEvaluated
from strongroom.format.documents import Column, ForeignKey, SequenceState, TableEntry, TableFacts, UniqueKey
from strongroom.integrity.data_docs import _offline
from strongroom.integrity.evaluation import _collect, _raised
from strongroom.integrity.judge import judge
from strongroom.integrity.suites import PlannedSuite, Policy, plan_suites


def entry(name: str = "t", *, rows: int = 100, managed: bool = False) -> TableEntry:
    """Make a table with a key, a foreign key to a partitioned table, and two not-null columns."""
    columns = tuple(
        Column(name=n, number=i, type="integer", type_oid=23, type_modifier=-1, not_null=i < 3)
        for i, n in enumerate("abc", 1)
    )
    facts = TableFacts(
        oid=1,
        schema="public",
        name=name,
        file_node=1,
        persistence="p",
        access_method="heap",
        columns=columns,
        unique_keys=(UniqueKey(name="k", columns=("a",), primary=True),),
        foreign_keys=(
            ForeignKey(name="f", columns=("b",), to_schema="public", to_table="root", to_columns=("id",)),
        ),
        managed=managed,
    )
    return TableEntry(facts=facts, rows=rows, digest="42", parts=())


def sequence(*, managed: bool = False, table: str = "t") -> SequenceState:
    """Make the sequence of column `a`."""
    return SequenceState(
        schema="public", name="q", last_value=7, is_called=True, table=table, column="a", managed=managed
    )


def severities(suite: PlannedSuite) -> dict[str, str]:
    """Return how bad the failure of each question is."""
    return {planned.question: planned.severity for planned in suite.expectations}


def test_every_fact_becomes_an_expectation() -> None:
    """A table's suite asks for rows, digest, columns, every not-null column, and every key."""
    (suite,) = plan_suites([entry()], (), Policy())
    assert [planned.question for planned in suite.expectations] == [
        "row-count",
        "data-loss",
        "digest",
        "columns",
        "column-types",
        "not-null",
        "not-null",
        "unique-key",
        "foreign-key",
    ]


def test_exact_judgements_know_no_warnings_about_rows() -> None:
    """Exact: any difference in rows is critical. Otherwise only loss beyond the limit is."""
    (exact,) = plan_suites([entry()], (), Policy(exact=True))
    (lenient,) = plan_suites([entry()], (), Policy(exact=False))
    assert set(severities(exact).values()) == {"critical"}
    assert {q for q, s in severities(lenient).items() if s == "warning"} == {"row-count", "digest"}


def test_shape_of_managed_tables_is_the_platforms() -> None:
    """Columns of managed tables and positions of managed sequences are warnings, their rows are critical."""
    table, sequences = plan_suites([entry(managed=True)], [sequence(managed=True)], Policy())
    assert {q for q, s in severities(table).items() if s == "warning"} == {"columns", "column-types"}
    assert severities(sequences) == {"sequence-position": "warning", "sequence-ahead": "warning"}


@pytest.mark.parametrize(("percent", "least"), [(0, 100), (5, 95), (100, 0), (0.5, 100)])
def test_loss_limit_is_rounded_for_the_data(percent: float, least: int) -> None:
    """A fraction of a row may not be lost."""
    (suite,) = plan_suites([entry(rows=100)], (), Policy(max_data_loss_percent=percent))
    (loss,) = (planned for planned in suite.expectations if planned.question == "data-loss")
    assert loss.parameters == {"min_value": least}


def test_sequences_of_unknown_columns_are_judged_by_position() -> None:
    """Where the owning column is not in the manifest, only the position is compared."""
    _, sequences = plan_suites([entry()], [sequence(table="elsewhere")], Policy())
    assert [planned.question for planned in sequences.expectations] == ["sequence-position"]


def test_file_names_differ_even_if_titles_look_alike() -> None:
    """Names that differ only in characters that no file name has still have suites of their own."""
    suites = plan_suites([entry("a/b"), entry("a:b"), entry("é" * 200)], (), Policy())
    assert [suite.name for suite in suites] == ["0001-public-a-b", "0002-public-a-b", "0003-public"]


def test_nothing_to_judge_by_is_an_error() -> None:
    """A backup without tables cannot be judged, and nothing is connected to."""
    with pytest.raises(SuitesNotEvaluated):
        judge({}, "b", (), (), deadline=Deadline.never(), max_data_loss_percent=5, data_docs=None)


def result(number: int, *, success: bool = True) -> dict[str, Any]:
    """Make the result of an expectation as Great Expectations documents it."""
    return {
        "success": success,
        "result": {"observed_value": 1},
        "expectation_config": {"meta": {"number": number}},
        "exception_info": {"raised_exception": False},
    }


def results(suite: PlannedSuite, numbers: list[int]) -> dict[str, Any]:
    """Make a suite's results with these numbers."""
    return {suite.name: {"results": [result(number) for number in numbers]}}


def test_results_are_paired_by_number() -> None:
    """The order in which results come does not matter."""
    (suite,) = plan_suites([entry()], (), Policy())
    numbers = list(range(len(suite.expectations)))
    shuffled = results(suite, numbers[::-1])
    shuffled[suite.name]["results"][0]["success"] = False
    (outcome,) = _collect([suite], shuffled)
    assert [o.planned for o in outcome.outcomes] == list(suite.expectations)
    assert [o.passed for o in outcome.outcomes] == [True] * (len(numbers) - 1) + [False]


@pytest.mark.parametrize("change", ["dropped", "doubled", "swapped", "emptied"])
def test_missing_results_are_an_error(change: str) -> None:
    """An expectation without exactly one result makes the whole judgement an error."""
    (suite,) = plan_suites([entry()], (), Policy())
    numbers = list(range(len(suite.expectations)))
    changed = {
        "dropped": numbers[1:],
        "doubled": [*numbers, 0],
        "swapped": [*numbers[1:], 99],
        "emptied": [],
    }[change]
    with pytest.raises(SuitesNotEvaluated, match=r"public\.t"):
        _collect([suite], results(suite, changed))


def test_missing_suites_are_an_error() -> None:
    """A suite without a result, and a suite without an expectation, are errors."""
    (suite,) = plan_suites([entry()], (), Policy())
    with pytest.raises(SuitesNotEvaluated, match="1 suites were planned and 0"):
        _collect([suite], {})
    empty = PlannedSuite("empty", "empty", "SELECT 1", ())
    with pytest.raises(SuitesNotEvaluated, match="0 expectations were planned"):
        _collect([empty], {"empty": {"results": []}})


def test_exceptions_are_seen_in_both_forms() -> None:
    """Great Expectations tells an expectation's exception flatly, and a metric's under the metric's name."""
    assert _raised({"raised_exception": True})
    assert _raised({"MetricConfigurationID(…)": {"raised_exception": True}})
    assert not _raised({"raised_exception": False, "exception_message": None})


def test_pages_lose_what_a_browser_would_fetch() -> None:
    """Scripts, links to styles, images and outward links go; text and inward links stay."""
    page = (
        '<head><link rel="stylesheet" href="https://cdn.example/x.css"/><script src="https://cdn.example/x.js">'
        "</script></head><body><img\n src='//logo.example/l.png'><a href=\"https://out.example\">out</a>"
        '<a href="in.html">0001-public-t</a><i style="background: url(\'https://bg.example/b.png\')"></i></body>'
    )
    offline = _offline(page, {"0001-public-t": "public.<t>"})
    assert "example" not in offline
    assert 'out<a href="in.html">public.&lt;t&gt;</a>' in offline
