"""A sweep that is cut by its sets or by markets gives the same bytes as one that is not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.research import backtest_strategy_batch, sweep
from infra.research.backtesting import Asked, data_of, setting_of
from infra.research.grid import sets_of
from infra.research.over_sets import over_sets
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from projections.research.gather import gather
from projections.research.run import Prepared
from streams.events import JournalEvent, Market
from tests.journal import batch, records, spot
from tests.unit.test_sweeps import GRIDS, frame_of

HALVES: dict[str, str] = {
    "sma_cross": "slow",
    "rsi_reversion": "n",
    "macd_cross": "fast",
    "bollinger_breakout": "width",
}
"""The axis that is cut."""


@pytest.fixture(scope="module")
def bars() -> Data:
    return data_of(frame_of(3_000))


@pytest.mark.parametrize("name", GRIDS)
def test_halves_of_a_grid_are_the_whole(strategies: Strategies, bars: Data, name: str) -> None:
    grid, cut = GRIDS[name], HALVES[name]
    whole = sweep(name, bars, grid, strategies=strategies, short=True)
    halves = [
        sweep(name, bars, grid | {cut: [value]}, strategies=strategies, short=True) for value in grid[cut]
    ]
    names = list(grid)
    both = pd.concat(halves).sort_values(names, ignore_index=True)
    pd.testing.assert_frame_equal(both, whole.sort_values(names, ignore_index=True), check_exact=True)
    assert len(whole) > 1 and whole["trades"].sum() > 20


@pytest.mark.parametrize("name", GRIDS)
def test_sets_are_dealt_to_workers_as_one_likes(strategies: Strategies, bars: Data, name: str) -> None:
    code, setting = strategies.latest(name), setting_of(bars, Asked(short=True))
    sets = [*sets_of(code, GRIDS[name]).valid, code.check({})]
    rows, returns = over_sets(setting, code, sets)
    for batches in ([[one] for one in range(len(sets))], [list(reversed(range(len(sets))))]):
        for numbers in batches:
            done = over_sets(setting, code, [sets[number] for number in numbers])
            assert done.rows == [rows[number] for number in numbers]
            assert done.returns.tobytes() == returns[numbers].tobytes()


def test_strategies_in_one_table_are_those_in_tables_of_their_own(strategies: Strategies, bars: Data) -> None:
    sets: list[dict[str, Any]] = [
        {"strategy": name, **{axis: values[0] for axis, values in grid.items()}}
        for name, grid in GRIDS.items()
    ]
    whole = backtest_strategy_batch(bars, sets, strategies=strategies, n_jobs=2)
    for row, one in enumerate(sets):
        alone = backtest_strategy_batch(bars, one, strategies=strategies)
        pd.testing.assert_frame_equal(
            whole.iloc[[row]][list(alone)].reset_index(drop=True), alone, check_exact=True, check_dtype=False
        )


def test_a_market_beside_another_is_the_market_alone(strategies: Strategies) -> None:
    chance = np.random.default_rng(9)
    markets = [spot(), spot("ETH/USDT")]
    hours: list[tuple[str, JournalEvent]] = [(market.key, market) for market in markets]
    for hour in range(24):
        for market in markets:
            prices = (500 + np.cumsum(chance.integers(-2, 3, 240))).tolist()
            ticks = [(3_600 * hour + 15 * i + 7, price, 1_000) for i, price in enumerate(prices)]
            hours.append((market.key, batch(market, ticks)))
    for market in markets:
        alone = [event for event in hours if event[0] == market.key]
        tables = [
            sweep("sma_cross", _gathered(journal, market), GRIDS["sma_cross"], strategies=strategies)
            for journal in (hours, alone)
        ]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        assert tables[0]["trades"].min() > 20


def _gathered(journal: list[tuple[str, JournalEvent]], market: Market) -> Data:
    return Data(Prepared(gather(records(journal), market.key, ["1m"], ())[0]), "journal", "Fills at the tick")
