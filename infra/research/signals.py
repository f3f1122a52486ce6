"""A strategy's targets over prices alone: no market, no money, no orders."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from infra.research.backtesting import BacktestError, code_of
from infra.research.sweeping import Strategy, named_apart
from infra.strategies.registry import Strategies
from projections.research.bars import merged_values
from projections.strategies.blocks import COLUMNS
from projections.strategies.code import Run, StrategyCode
from projections.strategies.histories import Floats, History, beside
from streams.events import TIMEFRAMES_NS

PRICES = COLUMNS[:4]


def calculate_signals_vectorized(
    prices: Any,
    parameters: Mapping[str, object] | Sequence[Mapping[str, object]],
    *,
    strategy: Strategy = "sma_cross",
    strategies: Strategies | None = None,
) -> Any:
    """The target position, −1 … 1, that a strategy asks for at each price: what a bot that began with the
    first one would.

    `prices`: a DataFrame with a column `close`, or with open, high, low and close, and with volume if there
    is; a Series or an array [n] of closes, which are then taken for open, high and low too. `parameters`: a
    set, or several; one may name its own `strategy`. A set gives a Series of the same index, several a
    DataFrame with a column each; an array gives float64 [n], or [n, sets].

    A strategy that reads higher timeframes needs an index of times, the ends of the prices' bars, of which
    the higher candles are then made.

    Raises `BacktestError`, and as `backtest` for a strategy or a parameter that there is not.
    """
    # strategies are not shown times: any that rise will do
    history = History(np.arange(1, len(prices) + 1, dtype=np.int64), _values(prices))
    code = cache(lambda named: code_of(named, strategies))
    sets = [parameters] if isinstance(parameters, Mapping) else list(parameters)
    targets = np.empty((len(history.ends), len(sets)), order="F")
    for number, given in enumerate(sets):
        named, own = named_apart(given, strategy)
        read = _with_higher(history, prices, code(named)) if code(named).higher else history
        targets[:, number] = _targets(code(named), read, own)
    shown = targets[:, 0] if isinstance(parameters, Mapping) else targets
    if not hasattr(prices, "iloc"):
        return shown
    import pandas as pd  # noqa: PLC0415 - whoever gives a frame has it

    if shown.ndim == 1:
        return pd.Series(shown, index=prices.index, name="target")
    return pd.DataFrame(shown, index=prices.index)


def _targets(code: StrategyCode, history: History, given: Mapping[str, object]) -> Floats:
    rows = len(history.ends)
    run = Run(np.empty(rows), np.empty((rows, len(code.value_names))))
    failure = code.over(code.fresh(), history, 0, rows, code.pack(given), run)
    if failure is not None:
        raise BacktestError(f"strategy {code.name} failed at row {failure.bot + 1}: {failure.message}")
    return run.targets


def _with_higher(history: History, prices: Any, code: StrategyCode) -> History:
    """With the higher candles that these prices make."""
    read = f"strategy {code.name} reads candles of {' and '.join(code.higher)}"
    times = getattr(getattr(prices, "index", None), "as_unit", None)
    if times is None:
        raise BacktestError(f"{read}: give prices with an index of times, the ends of their bars")
    ends = np.array(times("ns").asi8, np.int64)
    steps = np.diff(ends)
    if len(steps) and steps.min() <= 0:
        raise BacktestError(f"{read}: the times of the prices must rise; sort them, and keep each once")
    step = int(steps.min()) if len(steps) else TIMEFRAMES_NS["1m"]
    named = next((name for name, length in TIMEFRAMES_NS.items() if length == step), None)
    if named is None or (ends % step).any():
        raise BacktestError(f"{read}: the times of the prices are no ends of {', '.join(TIMEFRAMES_NS)} bars")
    code.check_timeframe(named)
    higher = [merged_values(ends, history.values, TIMEFRAMES_NS[timeframe]) for timeframe in code.higher]
    return History(ends, history.values, tuple(beside(ends, History(*one)) for one in higher))


def _values(prices: Any) -> Floats:
    """Open, high, low, close, volume: float64 [n, 5]."""
    values = np.zeros((len(prices), len(COLUMNS)))
    if hasattr(prices, "columns"):
        given = {str(name).lower(): name for name in prices.columns}
        there = [name for name in PRICES if name in given]
        if there not in (["close"], list(PRICES)):
            raise BacktestError(
                f"prices have the columns {', '.join(map(str, given))}: give close, or open, high, low and"
                " close"
            )
        for column, name in enumerate(PRICES):
            values[:, column] = prices[given.get(name, given["close"])]
        if "volume" in given:
            values[:, -1] = prices[given["volume"]]
    else:
        closes = np.asarray(prices, np.float64)
        if closes.ndim != 1:
            raise BacktestError(f"prices of shape {closes.shape} are no row of closes: give one dimension")
        values[:, :4] = closes[:, None]
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(wrong):
        raise BacktestError(f"row {wrong[0] + 1} of the prices has no number: fill it, or leave it out")
    return values
