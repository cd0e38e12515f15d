"""Expectations and metrics of our own for Great Expectations. Imports it: import this module late.

Great Expectations' own column and key expectations read whole rows of a query asset into the client to
learn its columns. These do not: what concerns the rows is an aggregate that joins the one SELECT of the
batch, everything else is a statement that returns counts or catalog facts.

A metric that could not be computed is None, and None never fulfils an expectation.
"""

from typing import Any, ClassVar

from great_expectations.compatibility.sqlalchemy import sqlalchemy as sa
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.core import ExpectTableRowCountToBeBetween, ExpectTableRowCountToEqual
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_partial, metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

from strongroom.integrity.suites import PlannedExpectation, Question, markup, position

_aggregate = metric_partial(
    engine=SqlAlchemyExecutionEngine,
    partial_fn_type=MetricPartialFunctionTypes.AGGREGATE_FN,
    domain_type=MetricDomainTypes.TABLE,
)
_answer = metric_value(engine=SqlAlchemyExecutionEngine)


class TableDigestMetric(TableMetricProvider):
    """The sum of the batch's row digests, as decimal text: a number would become a float on the way."""

    metric_name = "strongroom.table_digest"

    @_aggregate
    def _sqlalchemy(cls, metric_domain_kwargs: dict[str, Any], **_: Any) -> tuple[Any, ...]:  # noqa: N805 - GX makes it a class method
        total = sa.func.coalesce(sa.func.sum(sa.column("digest")), 0)
        return sa.cast(total, sa.Text), metric_domain_kwargs, {}


class NullCountMetric(TableMetricProvider):
    """How many rows of the batch have a flag set."""

    metric_name = "strongroom.null_count"
    value_keys = ("flag",)

    @_aggregate
    def _sqlalchemy(
        cls,  # noqa: N805 - GX makes it a class method
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> tuple[Any, ...]:
        flag = sa.column(metric_value_kwargs["flag"], sa.Boolean)
        return sa.func.count().filter(flag), metric_domain_kwargs, {}


class AnswerMetric(TableMetricProvider):
    """The rows that a statement returns: counts and catalog facts."""

    metric_name = "strongroom.answer"
    value_keys = ("sql",)

    @_answer
    def _sqlalchemy(
        cls,  # noqa: N805 - GX makes it a class method
        execution_engine: Any,
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> list[list[Any]]:
        rows = execution_engine.execute_query(sa.text(metric_value_kwargs["sql"])).fetchall()
        return [list(row) for row in rows]


class CountMetric(TableMetricProvider):
    """The one number that a query returns. The query may hold a user's own words: nothing in it is a parameter."""

    metric_name = "strongroom.count"
    value_keys = ("sql",)

    @_answer
    def _sqlalchemy(
        cls,  # noqa: N805 - GX makes it a class method
        execution_engine: Any,
        metric_value_kwargs: dict[str, Any],
        **_: Any,
    ) -> Any:
        # The line end keeps a comment at the end of a user's query from taking the parenthesis with it.
        query = sa.select(sa.literal_column(f"({metric_value_kwargs['sql']}\n)").label("counted"))
        return execution_engine.execute_query(query).scalar()


class ExpectTableDigestToEqual(BatchExpectation):
    """Expect the sum of the row digests to equal the baseline's."""

    value: str

    metric_dependencies: ClassVar[tuple[str, ...]] = ("strongroom.table_digest",)
    success_keys: ClassVar[tuple[str, ...]] = ("value",)
    args_keys: ClassVar[tuple[str, ...]] = ("value",)

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        observed = metrics.get("strongroom.table_digest")
        return {"success": observed == self.value, "result": {"observed_value": observed}}


class ExpectColumnWithoutNulls(BatchExpectation):
    """Expect no row of the batch to have the flag of a not-null column set."""

    flag: str

    metric_dependencies: ClassVar[tuple[str, ...]] = ("strongroom.null_count",)
    success_keys: ClassVar[tuple[str, ...]] = ("flag",)
    args_keys: ClassVar[tuple[str, ...]] = ("flag",)

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        observed = metrics.get("strongroom.null_count")
        return {"success": observed == 0, "result": {"observed_value": observed}}


class AnsweredExpectation(BatchExpectation):
    """Base of the expectations about the answer to a statement."""

    sql: str

    metric_dependencies: ClassVar[tuple[str, ...]] = ("strongroom.answer",)
    success_keys: ClassVar[tuple[str, ...]] = ("sql",)
    args_keys: ClassVar[tuple[str, ...]] = ("sql",)

    def _judge(self, answer: list[list[Any]]) -> tuple[bool, Any]:
        """Return whether the answer is as expected, and what to show of it."""
        raise NotImplementedError

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        answer = metrics.get("strongroom.answer")
        success, observed = (False, None) if answer is None else self._judge(answer)
        return {"success": success, "result": {"observed_value": observed}}


class CountedExpectation(BatchExpectation):
    """Base of the expectations about one number that a query returns."""

    sql: str

    metric_dependencies: ClassVar[tuple[str, ...]] = ("strongroom.count",)
    success_keys: ClassVar[tuple[str, ...]] = ("sql",)
    args_keys: ClassVar[tuple[str, ...]] = ("sql",)

    def _holds(self, count: int) -> bool:
        """Return whether the number is as expected."""
        raise NotImplementedError

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        count = metrics.get("strongroom.count")
        # True is an int to Python, and a query that asks whether, not how many, is a mistake.
        if not isinstance(count, int) or isinstance(count, bool):
            return {"success": False, "result": {"observed_value": None}}
        return {"success": self._holds(count), "result": {"observed_value": count}}


class ExpectCountToBeZero(CountedExpectation):
    """Base of the expectations that count what must not exist."""

    def _holds(self, count: int) -> bool:
        return count == 0


class ExpectCountToReach(CountedExpectation):
    """Expect at least so many rows."""

    least: int

    def _holds(self, count: int) -> bool:
        return count >= self.least


class ExpectNoNulls(ExpectCountToBeZero):
    """Expect no row to have a null, where the rows are not those of the batch."""


class StrongroomRowsHold(ExpectCountToBeZero):
    """Expect a query of the user's to count no row: see `docs/expectations.md`.

    In JSON its type is `strongroom_rows_hold`. `after_commit` says that it cannot be asked of staged rows.
    """

    after_commit: bool = False


class ExpectUniqueKeyToHold(ExpectCountToBeZero):
    """Expect no two rows to have the same key."""


class ExpectForeignKeyToHold(ExpectCountToBeZero):
    """Expect every row to refer to one that exists."""


class ExpectSequenceToBeAhead(ExpectCountToBeZero):
    """Expect the next value of a sequence to be beyond the values of its column."""


class ExpectOrderedColumnsToEqual(AnsweredExpectation):
    """Expect the columns of the table to be these, in this order."""

    columns: list[str]

    def _judge(self, answer: list[list[Any]]) -> tuple[bool, Any]:
        names = [name for name, _ in answer]
        return names == self.columns, markup(", ".join(names))


class ExpectColumnTypesToEqual(AnsweredExpectation):
    """Expect the columns of the table to be of these types, in this order."""

    types: list[str]

    def _judge(self, answer: list[list[Any]]) -> tuple[bool, Any]:
        types = [type_name for _, type_name in answer]
        return types == self.types, markup(", ".join(types))


class ExpectSequencePositionToEqual(AnsweredExpectation):
    """Expect a sequence to stand where it stood."""

    last_value: int
    is_called: bool

    def _judge(self, answer: list[list[Any]]) -> tuple[bool, Any]:
        observed = position(answer[0][0], is_called=answer[0][1]) if answer else None
        return answer == [[self.last_value, self.is_called]], observed


class ExpectAnswerToEqual(AnsweredExpectation):
    """Expect the rows of an answer to be these, in any order; `is_all` unless there may be more."""

    expected: list[list[str]]
    is_all: bool = True

    def _judge(self, answer: list[list[Any]]) -> tuple[bool, Any]:
        missing = [row for row in self.expected if row not in answer]
        surplus = [row for row in answer if row not in self.expected] if self.is_all else []
        differing = [f"lacks {row[0]}" for row in missing] + [f"has {row[0]}" for row in surplus]
        return not differing, markup("; ".join(differing) or "as expected")


KINDS: dict[Question, type[Any]] = {
    "row-count": ExpectTableRowCountToEqual,
    "data-loss": ExpectTableRowCountToBeBetween,
    "digest": ExpectTableDigestToEqual,
    "columns": ExpectOrderedColumnsToEqual,
    "column-types": ExpectColumnTypesToEqual,
    "not-null": ExpectColumnWithoutNulls,
    "unique-key": ExpectUniqueKeyToHold,
    "foreign-key": ExpectForeignKeyToHold,
    "sequence-position": ExpectSequencePositionToEqual,
    "sequence-ahead": ExpectSequenceToBeAhead,
    "rows-kept": ExpectCountToReach,
    "rows-lost": ExpectCountToReach,
    "row-security": ExpectAnswerToEqual,
    "policy-expressions": ExpectAnswerToEqual,
}
"""Which expectation answers which question."""


def build(planned: PlannedExpectation, number: int) -> Any:
    """Make the expectation for a plan; `number` is found again in the result's metadata."""
    if planned.own is not None:
        # What the user wrote into `meta` and `notes` stays in the user's file.
        changes = {
            "meta": {"number": number},
            "notes": None,
            "id": None,
            "description": markup(planned.sentence),
        }
        return planned.own.copy(update={**planned.parameters, **changes})
    kind = ExpectNoNulls if planned.question == "not-null" and "sql" in planned.parameters else None
    return (kind or KINDS[planned.question])(
        **planned.parameters,
        severity=planned.severity,
        description=markup(planned.sentence),
        meta={"number": number},
    )
