"""What QuantForge expects of its market data: the same checks on every table of candles and ticks.

`public.ticks` is the root of partitions; what is said of it is asked of all of them at once, on live tables.
"""

# ruff: noqa: INP001 - a folder of suites, which is no package

from typing import Any

import great_expectations.expectations as gxe

from strongroom.integrity.expectations import StrongroomRowsHold


def suites() -> dict[str, list[Any]]:
    """Return the expectations of each table, by its name."""
    return {
        "public.candles": [
            *(_positive(column) for column in "ohlc"),
            StrongroomRowsHold(
                sql="SELECT count(*) FROM {table} AS t WHERE t.h < t.l",
                description="The high of a candle is not below its low.",
            ),
        ],
        "public.ticks": [
            _positive("bid"),
            _positive("ask"),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="ask",
                column_B="bid",
                or_equal=True,
                severity="warning",
                description="Nobody sells below what somebody else would pay.",
            ),
        ],
    }


def _positive(column: str) -> Any:
    """Expect the prices in a column to be positive."""
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=0, strict_min=True, description=f"Prices in {column} are positive."
    )
