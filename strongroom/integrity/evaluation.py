"""The border to Great Expectations: planned suites in, outcomes out.

A context that lives in memory, one data source over the session that it is handed, a query asset and a
batch definition for each suite, validation definitions, and one checkpoint. Nothing is sent anywhere,
printed, or written, except the Data Docs. What Great Expectations loses on the way (it drops what it does
not know, and an empty suite passes) is found by counting: `evaluate` returns an outcome for every planned
expectation or raises `SuitesNotEvaluated`.
"""

import html
import logging
import os
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strongroom.errors import StrongroomError, SuitesNotEvaluated
from strongroom.integrity.destination import DestinationSession
from strongroom.integrity.suites import PlannedExpectation, PlannedSuite
from strongroom.postgres.connection import translated

RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 0}
"""Counts and observed values only: no row values in results or pages."""


_COUNTS = frozenset(
    {"element_count", "unexpected_count", "unexpected_percent", "missing_count", "missing_percent"}
)
_OBSERVE_COUNTS = frozenset(
    {
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "strongroom_rows_hold",
    }
)
"""Types that observe a number of things, and no value."""


# Enums and domains are found out by SQLAlchemy itself; arrays are called by their elements.
_TYPES = """
SELECT pg_catalog.format_type(t.oid, NULL) FROM pg_catalog.pg_type AS t
WHERE t.typtype IN ('b', 'c', 'r', 'm') AND t.typcategory <> 'A'
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one planned expectation; `raised` if it could not be evaluated."""

    planned: PlannedExpectation
    passed: bool
    observed: object = None
    raised: bool = False


@dataclass(frozen=True)
class SuiteOutcome:
    """The outcomes of one suite, in the order of its plan."""

    suite: PlannedSuite
    outcomes: tuple[Outcome, ...]


def evaluate(
    session: DestinationSession, suites: Sequence[PlannedSuite], data_docs: Path | None = None
) -> tuple[SuiteOutcome, ...]:
    """Evaluate all suites in one checkpoint and write the Data Docs into the given folder."""
    with quiet(), _coded(session):
        context = _open_context()
        source = _open_source(context, session)
        if any(suite.table is not None for suite in suites):
            _name_types(source, session)
        definitions = [_define(context, source, suite) for suite in suites]
        results = _run(context, definitions, {suite.name for suite in suites if suite.table is not None})
        session.raise_what_is_no_verdict()
        outcomes = _collect(suites, results)
        if data_docs is not None:
            from strongroom.integrity.data_docs import write_data_docs

            write_data_docs(context, outcomes, data_docs)
    return outcomes


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Great Expectations from phoning home, logging its tracebacks, and warning about itself.

    Warnings are process-wide: judging runs in a process of its own.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    logger = logging.getLogger("great_expectations")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextmanager
def _coded(session: DestinationSession) -> Iterator[None]:
    """Turn what escapes Great Expectations into a coded error; a lost session explains everything else."""
    try:
        yield
    except StrongroomError:
        raise
    except Exception as error:
        session.raise_what_is_no_verdict()
        raise SuitesNotEvaluated(reason=f"Great Expectations raised {type(error).__name__}") from error


def _open_context() -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _open_source(context: Any, session: DestinationSession) -> Any:
    """Make the data source over the session. The URL is a dummy: credentials stay with the session."""
    from sqlalchemy import event
    from sqlalchemy.pool import StaticPool

    source = context.data_sources.add_postgres(
        "destination",
        connection_string="postgresql+psycopg://nobody@destination/destination",
        kwargs={
            "creator": lambda: session.connection,
            "poolclass": StaticPool,
            "hide_parameters": True,
        },
    )
    engine = source.get_execution_engine().engine
    event.listen(engine, "before_cursor_execute", session.before_statement)
    event.listen(engine, "handle_error", session.on_error)
    return source


def _name_types(source: Any, session: DestinationSession) -> None:
    """Have SQLAlchemy know every type by name: a column of one that it does not know spoils its whole table."""
    from sqlalchemy.types import UserDefinedType

    class OtherType(UserDefinedType[Any]):
        """A type that is only called by its name here."""

        cache_ok = True

        def __init__(self, *_: object, **__: object) -> None:
            """Take whatever modifiers the type has."""

        def get_col_spec(self, **_: object) -> str:
            """Return a type that everything can be written as."""
            return "text"

    dialect = source.get_execution_engine().engine.dialect
    with translated("the types"):
        names = [name.lower() for (name,) in session.connection.execute(_TYPES)]
    dialect.ischema_names = {**dict.fromkeys(names, OtherType), **dialect.ischema_names}


def _define(context: Any, source: Any, suite: PlannedSuite) -> Any:
    """Make asset, batch definition, suite and validation definition for a planned suite."""
    import great_expectations as gx

    from strongroom.integrity.expectations import build

    batch = _add_asset(source, suite).add_batch_definition("all rows")
    expectations = [build(planned, number) for number, planned in enumerate(suite.expectations)]
    built = context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=expectations))
    return context.validation_definitions.add(
        gx.ValidationDefinition(name=suite.name, data=batch, suite=built)
    )


def _add_asset(source: Any, suite: PlannedSuite) -> Any:
    """Make the asset. Expectations of the user's need the columns of a table, which a query does not tell."""
    if suite.table is None:
        return source.add_query_asset(name=suite.name, query=suite.query)
    from sqlalchemy.sql import quoted_name

    schema, name = suite.table
    # Great Expectations leaves a name alone that comes in quotes.
    return source.add_table_asset(
        name=suite.name, table_name=f'"{name}"', schema_name=quoted_name(schema, quote=True)
    )


def _run(context: Any, definitions: list[Any], own: Collection[str]) -> dict[str, Any]:
    """Run the checkpoint; return each suite's result by its name, and leave no traceback in the store.

    `own` are the suites of the user's, whose results may hold values of rows: only counts of them are kept.
    """
    import great_expectations as gx

    if not definitions:
        raise SuitesNotEvaluated(reason="there is no suite")
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(name="restore", validation_definitions=definitions, result_format=RESULT_FORMAT)
    )
    results = {}
    for key, result in checkpoint.run().run_results.items():
        is_own = result.suite_name in own
        if is_own:
            _forget_values(result)
        document = result.to_json_dict()
        results[document["suite_name"]] = document
        if _forget_tracebacks(result) or is_own:
            context.validation_results_store.set(key, result)
    return results


def _forget_values(result: Any) -> None:
    """Keep the counts of a result only: what was observed may be a value of a row."""
    for evaluated in result.results:
        kept = {name: value for name, value in evaluated.result.items() if name in _COUNTS}
        observed = evaluated.result.get("observed_value")
        if evaluated.expectation_config.type in _OBSERVE_COUNTS and isinstance(observed, int):
            kept["observed_value"] = observed
        evaluated.result = {**kept, "partial_unexpected_list": []}


def _forget_tracebacks(result: Any) -> bool:
    """Take the tracebacks out of a result: pages show them, and they may quote what a server said."""
    touched = False
    for evaluated in result.results:
        if _raised(evaluated.exception_info):
            touched = True
            evaluated.exception_info = {
                "raised_exception": True,
                "exception_traceback": "",
                "exception_message": "This expectation could not be evaluated.",
            }
    return touched


def _raised(information: dict[str, Any]) -> bool:
    """Tell whether an expectation raised; its own failure is told flatly, one of a metric under its name."""
    if "raised_exception" in information:
        return bool(information["raised_exception"])
    return any(
        isinstance(entry, dict) and entry.get("raised_exception", True) for entry in information.values()
    )


def _collect(suites: Sequence[PlannedSuite], results: dict[str, Any]) -> tuple[SuiteOutcome, ...]:
    """Pair every planned expectation with its result; anything missing or too many is an error."""
    if set(results) != {suite.name for suite in suites}:
        raise SuitesNotEvaluated(reason=f"{len(suites)} suites were planned and {len(results)} have a result")
    return tuple(SuiteOutcome(suite, _outcomes(suite, results[suite.name]["results"])) for suite in suites)


def _outcomes(suite: PlannedSuite, results: list[dict[str, Any]]) -> tuple[Outcome, ...]:
    by_number = {result["expectation_config"]["meta"].get("number"): result for result in results}
    if (
        not suite.expectations
        or len(results) != len(suite.expectations)
        or set(by_number) != set(range(len(suite.expectations)))
    ):
        raise SuitesNotEvaluated(
            reason=f"{len(suite.expectations)} expectations were planned for {suite.title} "
            f"and {len(results)} have a result"
        )
    return tuple(_outcome(planned, by_number[number]) for number, planned in enumerate(suite.expectations))


def _outcome(planned: PlannedExpectation, result: dict[str, Any]) -> Outcome:
    raised = _raised(result["exception_info"])
    observed = result["result"].get("observed_value")
    if isinstance(observed, str):
        observed = html.unescape(observed)
    if observed is None and planned.own is not None:
        observed = _shortfall(result["result"])
    return Outcome(planned, bool(result["success"]) and not raised, observed, raised)


def _shortfall(counts: dict[str, Any]) -> str:
    """Say how many rows are not as the user expects, where Great Expectations counted them."""
    if "unexpected_count" in counts:
        return f"{counts['unexpected_count']} of {counts.get('element_count', '?')} rows are not so"
    return "it does not hold"
