"""Targets over prices alone are those of a bot that began with the first of them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.research import backtest, calculate_signals_vectorized
from infra.research.backtesting import BacktestError
from infra.strategies.registry import Strategies
from projections.strategies.parameters import StrategyParameterError
from tests.unit.test_sweeps import GRIDS, frame_of

SETS: list[dict[str, Any]] = [
    {"strategy": name} | {one: values[-1] for one, values in grid.items()} for name, grid in GRIDS.items()
]


def test_the_targets_are_those_of_a_backtest(strategies: Strategies) -> None:
    bars = frame_of()
    targets = calculate_signals_vectorized(bars, SETS, strategies=strategies)
    assert targets.shape == (len(bars), 4) and targets.index.equals(bars.index)
    for number, given in enumerate(SETS):
        name, *_ = given.values()
        params = {one: value for one, value in given.items() if one != "strategy"}
        tested = backtest(name, bars, params, short=True, strategies=strategies).indicators["target"]
        np.testing.assert_array_equal(targets[number].to_numpy(), tested.to_numpy())
        assert tested.nunique() > 1


def test_what_was_promised_is_enough() -> None:
    bars = frame_of()
    one = calculate_signals_vectorized(bars["close"], {"fast": 3, "slow": 8})
    assert isinstance(one, pd.Series) and one.index.equals(bars.index)
    array = calculate_signals_vectorized(bars["close"].to_numpy(), {"fast": 3, "slow": 8})
    assert array.tolist() == one.to_list()
    several = calculate_signals_vectorized(bars[["close"]], [{"fast": 3, "slow": 8}, {}])
    assert several[0].to_list() == one.to_list()
    assert calculate_signals_vectorized(bars.rename(columns=str.title), {}).shape == (len(bars),)


def test_prices_that_are_none_are_refused_with_words() -> None:
    bars = frame_of(50)
    for prices, words in [
        (bars[["open", "high", "low"]], "give close"),
        (bars[["high", "close"]], "open, high, low and close"),
        (bars.assign(close=bars["close"].where(bars["volume"] != 7)), "row 7"),
        (bars.to_numpy(), "one dimension"),
    ]:
        with pytest.raises(BacktestError, match=words):
            calculate_signals_vectorized(prices, {})
    with pytest.raises(StrategyParameterError, match="fast must be below slow"):
        calculate_signals_vectorized(bars, {"fast": 9, "slow": 3})


def test_a_list_of_closes_is_taken_for_an_array() -> None:
    closes = [float(5 + k % 7) for k in range(60)]
    targets = calculate_signals_vectorized(closes, {"fast": 2, "slow": 5})
    assert list(targets) == list(calculate_signals_vectorized(np.array(closes), {"fast": 2, "slow": 5}))
