"""Sets over the same bars: rows in their order, and the days from which their ratios are taken."""

import numpy as np
import pytest

from infra.research import backtest
from infra.research.backtesting import Asked, setting_of
from infra.research.over_sets import over_sets
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from projections.research.daily import returns_of
from tests.research import walked


def test_returns_are_those_of_the_days_from_which_a_row_takes_its_ratios(strategies: Strategies) -> None:
    data = Data(walked(4_000), "journal", "Fills at the tick")
    code = strategies.latest("sma_cross")
    setting = setting_of(data, Asked(short=True))
    sets = [code.check(one) for one in ({"fast": 3, "slow": 9}, {"slow": 4_990}, {"fast": 5, "slow": 20})]
    rows, returns = over_sets(setting, code, sets)
    assert returns.shape == (3, rows[0].values["days"])
    assert np.isnan(returns[1]).all() and "take a longer range" in rows[1].error
    for number in (0, 2):
        days, values = returns[number], rows[number].values
        assert values["sharpe"] == pytest.approx(days.mean() / days.std(ddof=1) * 365**0.5, rel=1e-12)
        assert np.prod(1 + days) - 1 == pytest.approx(values["return"], rel=1e-9)
        curve = backtest("sma_cross", data, sets[number], short=True, strategies=strategies).equity
        last = curve.groupby((curve.index - np.timedelta64(1, "ns")).floor("D")).last()
        assert days[1:] == pytest.approx((last / last.shift(1) - 1).to_numpy()[1:], rel=1e-12)


def test_a_day_that_begins_with_nothing_has_no_return() -> None:
    days = returns_of(np.array([150, 0, 20, -5, 7]), 100)
    assert days == pytest.approx([0.5, -1.0, np.nan, -1.25, np.nan], nan_ok=True)
    assert np.isnan(returns_of(np.array([5]), 0)).all()
