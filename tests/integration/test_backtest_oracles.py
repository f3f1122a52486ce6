"""A backtest over a year of minutes equals what others make of it, fill by fill and to the last unit."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from infra.research.backtesting import backtest
from infra.research.files import bars_of_file
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from projections.research.account import FILL
from tests import peers
from tests.peers import Candles, Ran

MARKET = peers.linear(1)
CASH = 10**10


@pytest.fixture(scope="module")
def file(shared_data: Path) -> Path:
    return shared_data / "bitmex_XBTUSD_own1m_2019.parquet"


@pytest.fixture(scope="module")
def year(file: Path) -> Candles:
    return peers.of_year(file)


@pytest.fixture(scope="module")
def data(file: Path) -> Data:
    return bars_of_file(file, MARKET, "1m")


@pytest.fixture(scope="module")
def ours(data: Data, strategies: Strategies) -> Ran:
    return peers.product(data, strategies)()


def vectorbt(year: Candles) -> Ran:
    return peers.vectorbt(year, "rust")()


def backtesting_py(year: Candles) -> Ran:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a trade is open at the end
        return peers.backtesting_py(year)()


@pytest.mark.parametrize("peer", [vectorbt, backtesting_py])
def test_an_sma_cross_fills_and_earns_as_with_a_peer(
    year: Candles, ours: Ran, peer: Callable[[Candles], Ran]
) -> None:
    theirs = peer(year)
    assert len(ours.bars) == 7_875
    for column in ("bars", "buys", "prices"):
        np.testing.assert_array_equal(getattr(ours, column), getattr(theirs, column))
    np.testing.assert_allclose(ours.profits, theirs.profits, rtol=0, atol=1e-6)
    assert ours.equity == pytest.approx(theirs.equity, rel=0, abs=1e-4)


# ------------------------------------------------- the four strategies as one writes them in plain Python

Prices = Sequence[int]
"""In half dollars, so that what need not be rounded is not."""


def sma_cross(closes: Prices, fast: int, slow: int) -> Iterator[float]:
    target = 0.0
    fast_sum = slow_sum = 0
    for i, close in enumerate(closes):
        fast_sum += close - (closes[i - fast] if i >= fast else 0)
        slow_sum += close - (closes[i - slow] if i >= slow else 0)
        if i >= slow - 1 and fast_sum * slow != slow_sum * fast:
            target = 1.0 if fast_sum * slow > slow_sum * fast else -1.0
        yield target


def bollinger_breakout(closes: Prices, n: int, width: int) -> Iterator[float]:
    target = 0.0
    total = squares = 0
    for i, close in enumerate(closes):
        total += close - (closes[i - n] if i >= n else 0)
        squares += close * close - (closes[i - n] ** 2 if i >= n else 0)
        away, spread = n * close - total, n * squares - total * total  # n times and n² times too large
        if i >= n - 1 and away * away > width * width * spread:
            target = 1.0 if away > 0 else -1.0
        yield target


def rsi_reversion(closes: Prices, n: int, low: float, high: float) -> Iterator[float]:
    target = gain = loss = 0.0
    yield target
    for count, (before, close) in enumerate(pairwise(closes), 1):
        up, down = max(close - before, 0), max(before - close, 0)
        gain = (gain * (n - 1) + up) / n if count > n else gain + up / n
        loss = (loss * (n - 1) + down) / n if count > n else loss + down / n
        if count >= n:
            strength = 100 - 100 / (1 + gain / loss) if loss else 100.0 if gain else 50.0
            target = 1.0 if strength < low else -1.0 if strength > high else target
        yield target


def macd_cross(closes: Prices, fast: int, slow: int, signal: int) -> Iterator[float]:
    target = 0.0
    quick = mean(closes[slow - fast : slow])
    steady = mean(closes[:slow])
    lines: list[float] = []
    smooth = 0.0
    for i, close in enumerate(closes):
        if i >= slow:
            quick += (close - quick) * 2 / (fast + 1)
            steady += (close - steady) * 2 / (slow + 1)
        if i >= slow - 1:
            line = quick - steady
            lines.append(line)
            if len(lines) == signal:
                smooth = mean(lines)
            elif len(lines) > signal:
                smooth += (line - smooth) * 2 / (signal + 1)
            if len(lines) >= signal and line != smooth:
                target = 1.0 if line > smooth else -1.0
        yield target


def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def fills_of(
    targets: Iterator[float], opens: list[int], closes: list[int], size: int
) -> tuple[list[tuple[int, int, int, int]], list[int]]:
    """(bar, signed size, price, fee) of each fill and the equity at each close, in units of 10**-8."""
    unit = 10**8 // 10
    cash, held, target = CASH * 10**8, 0, 0.0
    fills: list[tuple[int, int, int, int]] = []
    equity: list[int] = []
    for i, (open_, close, wanted) in enumerate(zip(opens, closes, targets, strict=True)):
        if target * size != held:
            traded = int(target) * size - held
            fee = -(-abs(traded) * open_ * unit * MARKET.fee // 10**8)
            cash -= traded * open_ * unit + fee
            held += traded
            fills.append((i, traded, open_, fee))
        equity.append(cash + held * close * unit)
        target = wanted
    return fills, equity


CASES = [
    (sma_cross, {"fast": 20, "slow": 100}),
    (bollinger_breakout, {"n": 20, "width": 2}),
    (rsi_reversion, {"n": 14, "low": 30.0, "high": 70.0}),
    (macd_cross, {"fast": 12, "slow": 26, "signal": 9}),
]


@pytest.mark.parametrize(("plain", "params"), CASES)
def test_a_strategy_fills_and_is_worth_at_every_bar_what_a_plain_loop_says(
    year: Candles,
    data: Data,
    strategies: Strategies,
    plain: Callable[..., Iterator[float]],
    params: dict[str, float],
) -> None:
    halves = [round(2 * close) for close in year.close.tolist()]
    opens, closes = (np.rint(column * 10).astype(int).tolist() for column in (year.open, year.close))
    fills, equity = fills_of(plain(halves, *params.values()), opens, closes, 1_000)

    result = backtest(
        strategies.latest(plain.__name__), data, params,
        cash=str(CASH), sizing="amount:1000", short=True, cold=True,
    )  # fmt: skip
    rows = result.outcome.happened[result.outcome.happened["kind"] == FILL]
    signed = np.where(rows["buy"] != 0, rows["size"], -rows["size"])
    columns = (rows["bar"] + 1, signed, rows["price"], rows["fee"])
    made = list(zip(*(column.tolist() for column in columns), strict=True))
    assert len(fills) > 1_000
    assert made == fills
    assert result.outcome.equity.tolist() == equity
