"""Indicators over a history in plain Python, without generated code: the oracle of the compiled step."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from projections.strategies.blocks import COLUMNS, Indicator
from projections.strategies.kernels import Values
from projections.strategies.parameters import Value


def computed(indicator: Indicator, parameters: Mapping[str, Value], values: Values, ends: Any) -> Values:
    """Its outputs f8[L, K] for a bot that sees all L rows of `values`; `ends` i8[L] are theirs."""
    block = indicator.block
    state: tuple[float, ...] = (0.0,) * block.state_size
    rows = np.empty((len(values), len(block.outputs) or 1))
    for i in range(len(values)):
        given = arguments(indicator, parameters, ends, i)
        got = outcome(block.function(values, i, i + 1, *given, *state))
        rows[i], state = got[: rows.shape[1]], got[rows.shape[1] :]
    return rows


def outcome(got: Any) -> tuple[float, ...]:
    """What a block gave, which is a number where it has one output and no state."""
    return cast("tuple[float, ...]", got if isinstance(got, tuple) else (got,))


def arguments(indicator: Indicator, parameters: Mapping[str, Value], ends: Any, i: int) -> list[object]:
    """What its function is given at row `i` between the candles and the state."""

    def value(kind: str, given: str | int | float) -> object:
        if kind == "column":
            return COLUMNS.index(cast(str, given))
        if kind == "end":
            return int(ends[i])
        return parameters[given] if isinstance(given, str) else given

    return [value(*pair) for pair in zip(indicator.block.arguments, indicator.arguments, strict=True)]
