"""Indicators over a history in plain Python, without generated code: the oracle of the compiled step."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from projections.strategies.blocks import COLUMNS, Argument, Indicator, length
from projections.strategies.kernels import Values
from projections.strategies.parameters import Value


def computed(indicator: Indicator, parameters: Mapping[str, Value], values: Values, ends: Any) -> Values:
    """Its numbers f8[L, K] for a bot that sees all L rows of `values`; `ends` i8[L] are theirs."""
    inner = indicator.inner
    if inner is None:
        rows = _stepped(indicator, parameters, values, ends)
    else:
        series = computed(inner, parameters, values, ends)
        first = int(np.argmin(np.isnan(np.append(series[:, 0], 0.0))))
        rows = np.full((len(values), len(indicator.block.outputs) or 1), np.nan)
        rows[first:] = _over(indicator, parameters, series[first:], ends)
    return rows[:, [indicator.block.outputs.index(indicator.output)]] if indicator.output else rows


def _over(indicator: Indicator, parameters: Mapping[str, Value], series: Values, ends: Any) -> Values:
    """Of a block over numbers f8[L, 1]: where it fades, it goes over all of them, else over each window."""
    if indicator.block.fades:
        return _stepped(indicator, parameters, series, ends)
    windows, more = indicator.rows
    count = length(windows, parameters) + more
    rows = np.empty((len(series), len(indicator.block.outputs) or 1))
    for i in range(len(series)):
        rows[i] = _stepped(indicator, parameters, series[max(i + 1 - count, 0) : i + 1], ends)[-1]
    return rows


def _stepped(indicator: Indicator, parameters: Mapping[str, Value], values: Values, ends: Any) -> Values:
    """The numbers of its block f8[L, K], stepping over all rows."""
    block = indicator.block
    state: tuple[float, ...] = (0.0,) * block.state_size
    rows = np.empty((len(values), len(block.outputs) or 1))
    for i in range(len(values)):
        numbers = given(indicator, parameters, ends, i)
        got = outcome(block.function(values, i, i + 1, *numbers, *state))
        rows[i], state = got[: rows.shape[1]], got[rows.shape[1] :]
    return rows


def outcome(got: Any) -> tuple[float, ...]:
    """What a block gave, which is a number where it has one output and no state."""
    return cast("tuple[float, ...]", got if isinstance(got, tuple) else (got,))


def given(indicator: Indicator, parameters: Mapping[str, Value], ends: Any, i: int) -> list[object]:
    """What its block is given at row `i` between the candles and the state."""

    def value(kind: str, given: Argument) -> object:
        if isinstance(given, Indicator):
            return 0
        if kind == "column":
            return COLUMNS.index(cast(str, given))
        if kind == "end":
            return int(ends[i])
        return parameters[given] if isinstance(given, str) else given

    return [value(*pair) for pair in zip(indicator.block.arguments, indicator.arguments, strict=True)]
