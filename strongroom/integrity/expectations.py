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


class ExpectCountToBeZero(AnsweredExpectation):
    """Base of the expectations that count what must not exist."""

    def _judge(self, answer: list[list[Any]]) -> tuple[bool, Any]:
        return answer == [[0]], answer[0][0] if answer else None


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
}
"""Which expectation answers which question."""


def build(planned: PlannedExpectation, number: int) -> Any:
    """Make the expectation for a plan; `number` is found again in the result's metadata."""
    return KINDS[planned.question](
        **planned.parameters,
        severity=planned.severity,
        description=markup(planned.sentence),
        meta={"number": number},
    )
