"""One backtest as the product and as others do it, under one rule.

An SMA cross of 20 and 100 candles, long only, `SIZE` units a trade, 5 bp a fill. It wants to be long while
the fast average is above the slow one, flat while it is below, and keeps what it wants where they are equal;
what a close decides fills at the next open. Prices are such that every sum is exact in float64, so all see
the same crossings.

Each function prepares its data and returns what runs the backtest over it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from infra.research.backtesting import backtest
from infra.research.files import bars_of_frame
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from projections.research.account import FILL
from streams.events import Market

FAST, SLOW, SIZE, FEE, CASH = 20, 100, 1_000, 0.0005, 100_000_000


class Candles(NamedTuple):
    """int64 ends in ns, float64 prices."""

    end: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray

    def frame(self) -> Any:
        import pandas as pd

        columns = {"Open": self.open, "High": self.high, "Low": self.low, "Close": self.close, "Volume": 1.0}
        return pd.DataFrame(columns, index=pd.DatetimeIndex(self.end, name="timestamp"))


class Ran(NamedTuple):
    """Fills: the bar at whose open each was, whether it bought, its price; net profit of each closed round
    trip; the equity at the last close."""

    bars: np.ndarray
    buys: np.ndarray
    prices: np.ndarray
    profits: np.ndarray
    equity: float


def of_year(file: Any) -> Candles:
    """The candles of a Parquet file."""
    from pyarrow import parquet

    table = parquet.read_table(file)
    end = table["timestamp"].cast("int64").to_numpy() * 1_000  # of microseconds
    return Candles(end, *(table[name].to_numpy() for name in ("open", "high", "low", "close")))


def linear(price_scale: int) -> Market:
    return Market(
        venue="test", symbol="A/B:B", base="A", quote="B", settle="B", contract="linear",
        price_scale=price_scale, size_scale=0, cash_scale=8, price_step=1, size_step=1, min_size=1,
        fee=round(FEE * 10**8),
    )  # fmt: skip


def data_of(candles: Candles, market: Market) -> Data:
    """What the product makes of a frame of candles: fills at the next open."""
    return bars_of_frame(candles.frame(), market, "1m")


def product(data: Data, strategies: Strategies) -> Callable[[], Ran]:
    """`data` is of a `linear` market."""
    code, params = strategies.latest("sma_cross"), {"fast": FAST, "slow": SLOW}
    price_unit, cash_unit = 10 ** data.prepared.columns.eras[-1].price_scale, 10**8

    def run() -> Ran:
        result = backtest(code, data, params, cash=str(CASH), sizing=f"amount:{SIZE}", cold=True)
        fills = result.outcome.happened[result.outcome.happened["kind"] == FILL]
        net = result.trips["net"][result.trips["closed"] >= 0]
        equity = int(result.outcome.equity[-1]) / cash_unit
        return Ran(fills["bar"] + 1, fills["buy"] != 0, fills["price"] / price_unit, net / cash_unit, equity)

    return run


def by_hand(candles: Candles) -> Callable[[], Ran]:
    """A loop in floats, as one writes it for this strategy alone, compiled."""
    from numba import njit

    @njit
    def loop(opens: Any, closes: Any, fast: int, slow: int, size: float, fee: float, cash: float) -> Any:
        equity, filled, prices = np.empty(closes.size), np.empty(closes.size, np.int64), np.empty(closes.size)
        position = wanted = fast_sum = slow_sum = 0.0
        count = 0
        for i in range(closes.size):
            if wanted != position:
                cash -= (wanted - position) * opens[i] + size * opens[i] * fee
                position, filled[count], prices[count] = wanted, i, opens[i]
                count += 1
            fast_sum += closes[i]
            slow_sum += closes[i]
            if i >= fast:
                fast_sum -= closes[i - fast]
            if i >= slow:
                slow_sum -= closes[i - slow]
            if i >= slow - 1:
                if fast_sum / fast > slow_sum / slow:
                    wanted = size
                elif fast_sum / fast < slow_sum / slow:
                    wanted = 0.0
            equity[i] = cash + position * closes[i]
        return filled[:count], prices[:count], equity

    def run() -> Ran:
        bars, prices, equity = loop(candles.open, candles.close, FAST, SLOW, float(SIZE), FEE, float(CASH))
        buys = np.arange(len(bars)) % 2 == 0
        return Ran(bars, buys, prices, np.empty(0), float(equity[-1]))

    return run


def vectorbt(candles: Candles, engine: str) -> Callable[[], Ran]:
    """`engine`: "numba" or "rust"."""
    import vectorbt as vbt

    frame = candles.frame()

    def run() -> Ran:
        vbt.settings["engine"] = engine
        fast, slow = vbt.MA.run(frame.Close, FAST).ma, vbt.MA.run(frame.Close, SLOW).ma
        entries = (fast > slow).shift(1, fill_value=False)
        exits = (fast < slow).shift(1, fill_value=False)
        portfolio = vbt.Portfolio.from_signals(
            frame.Close, entries, exits, price=frame.Open, size=SIZE, fees=FEE, init_cash=CASH, freq="1min"
        )
        equity = float(portfolio.value().iloc[-1])
        orders, trades = portfolio.orders.values, portfolio.trades.values
        profits = trades["pnl"][trades["status"] == 1]
        return Ran(orders["idx"], orders["side"] == 0, orders["price"], profits, equity)

    return run


def backtesting_py(candles: Candles) -> Callable[[], Ran]:
    import pandas as pd
    from backtesting import Backtest, Strategy

    frame = candles.frame()

    class Cross(Strategy):
        def init(self) -> None:
            close = pd.Series(np.asarray(self.data.Close))
            slow = close.rolling(SLOW).mean().fillna(0)  # with a NaN it would begin a bar later
            fast = close.rolling(FAST).mean().fillna(0).where(close.index >= SLOW - 1, 0)
            self.fast, self.slow = self.I(fast.to_numpy), self.I(slow.to_numpy)

        def next(self) -> None:
            if self.fast[-1] > self.slow[-1]:
                if not self.position:
                    self.buy(size=SIZE)
            elif self.fast[-1] < self.slow[-1] and self.position:
                self.position.close()

    def run() -> Ran:
        told = Backtest(frame, Cross, cash=CASH, commission=FEE, finalize_trades=False).run()
        closed = told["_trades"]
        held = told["_strategy"].trades
        bars = [*closed.EntryBar, *closed.ExitBar, *(trade.entry_bar for trade in held)]
        prices = [*closed.EntryPrice, *closed.ExitPrice, *(trade.entry_price for trade in held)]
        buys = [True] * len(closed) + [False] * len(closed) + [True] * len(held)
        order = np.argsort(bars, kind="stable")
        return Ran(
            np.array(bars)[order], np.array(buys)[order], np.array(prices)[order],
            closed.PnL.to_numpy(), float(told["Equity Final [$]"]),
        )  # fmt: skip

    return run
