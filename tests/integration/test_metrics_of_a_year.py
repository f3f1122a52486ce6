"""The numbers of four strategies over a year of minutes are those of pandas and empyrical."""

import empyrical
import numpy as np
import pandas as pd
import pytest

from infra.research.backtesting import backtest
from infra.research.result import Result
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from tests import peers

CASH = 1_000_000
CASES = {
    "sma_cross": {"fast": 200, "slow": 1_000},
    "rsi_reversion": {"n": 60},
    "bollinger_breakout": {"n": 500, "width": 2.5},
    "macd_cross": {"fast": 480, "slow": 1_040, "signal": 360},
}


@pytest.fixture(scope="module")
def year(shared_data) -> Data:
    file = shared_data / "bitmex_XBTUSD_own1m_2019.parquet"
    return peers.data_of(peers.of_year(file), peers.linear(1))


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, year: Data, strategies: Strategies) -> Result:
    code = strategies.latest(request.param)
    return backtest(code, year, CASES[request.param], cash=str(CASH), sizing="equity:0.5", short=True)


def returns_of_days(equity: pd.Series) -> pd.Series:
    days = equity.groupby((equity.index - pd.Timedelta("1ns")).floor("D")).last()
    levels = np.concatenate([[CASH], days.to_numpy()])
    return pd.Series(levels[1:] / levels[:-1] - 1.0, index=days.index)


def test_ratios_are_those_of_empyrical(run: Result) -> None:
    returns = returns_of_days(run.equity)
    assert len(returns) == run.metrics["days"] == 365
    expected = {
        "return": empyrical.cum_returns_final(returns),
        "cagr": empyrical.annual_return(returns, annualization=365),
        "volatility": empyrical.annual_volatility(returns, annualization=365),
        "sharpe": empyrical.sharpe_ratio(returns, annualization=365),
        "sortino": empyrical.sortino_ratio(returns, annualization=365),
        "calmar": empyrical.calmar_ratio(returns, annualization=365),
        "max_drawdown_days": empyrical.max_drawdown(returns),
    }
    assert {name: run.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_the_deepest_fall_is_that_of_every_bar(run: Result) -> None:
    equity = pd.concat(
        [pd.Series([float(CASH)], index=[run.equity.index[0] - pd.Timedelta("1min")]), run.equity]
    )
    heights = equity.cummax()
    falls = equity / heights - 1.0
    bottom = falls.idxmin()
    assert run.metrics["max_drawdown"] == pytest.approx(falls.min(), rel=1e-12)
    assert pd.Timestamp(run.metrics["drawdown_bottom"]) == bottom
    start = equity[:bottom][::-1].idxmax()  # the last of its heights
    assert pd.Timestamp(run.metrics["drawdown_start"]) == start
    again = equity[bottom:][equity[bottom:] >= equity[start]]
    recovered = run.metrics["drawdown_recovery"]
    assert (None if recovered is None else pd.Timestamp(recovered)) == (
        again.index[0] if len(again) else None
    )
    high = equity[equity >= heights].index.append(equity.index[-1:])
    assert run.metrics["under_water"] == max(np.diff(high).astype("timedelta64[s]").astype(int))


def test_numbers_of_trades_are_those_of_their_table(run: Result) -> None:
    closed = run.trades[run.trades["closed"].notna()]
    won, lost = closed["pnl"][closed["pnl"] > 0].sum(), -closed["pnl"][closed["pnl"] < 0].sum()
    metrics = run.metrics
    assert metrics["trades"] == len(closed) > 100
    assert metrics["win_rate"] == (closed["pnl"] > 0).mean()
    assert metrics["profit_factor"] == pytest.approx(won / lost)
    assert float(metrics["expectancy"]) == pytest.approx(closed["pnl"].mean(), abs=1e-7)
    entered = closed["size"] * closed["entry_price"]
    assert metrics["average_trade"] == pytest.approx((closed["pnl"] / entered).mean())
    assert metrics["worst_trade"] == pytest.approx((closed["pnl"] / entered).min())
    assert metrics["exposure"] == pytest.approx((run.position != 0).mean())
    assert metrics["turnover"] == pytest.approx((run.fills["price"] * run.fills["size"]).sum() / CASH)
    assert float(metrics["fees"]) == pytest.approx(run.fills["fee"].sum())
    unrealised = float(metrics["final"]) - CASH - run.trades["pnl"].sum()
    assert unrealised == pytest.approx(
        (run.position * run.curve.closes / 10).iloc[-1] - _open_value(run), abs=1e-3
    )


def _open_value(run: Result) -> float:
    """Signed entry value of what is held at the end."""
    last = run.trades.iloc[-1]
    return (
        last["size"] * last["entry_price"] * (1 if last["side"] == "long" else -1)
        if pd.isna(last["closed"])
        else 0.0
    )


def test_every_sentence_of_honesty_is_quiet_on_a_year_of_trades(run: Result) -> None:
    assert {line.about for line in run.honesty if line.warns} <= {"warm_up"}
