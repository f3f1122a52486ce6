"""Building blocks as a strategy names them: `slow_average = sma("close", "slow")`.

A window or width is a number, or the name of a parameter of the strategy. What a block computes stands in
`kernels.py`, in a function of the same name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

SHORT = 8
"""Averages that fade need as many candles with a shorter window: at standstill they agree later."""
COLUMNS = ("open", "high", "low", "close", "volume")
Argument: TypeAlias = str | int | float


@dataclass(frozen=True)
class Block:
    """A function of `kernels.py`: its arguments, its outputs (none named: one number), the size of its state.

    `windows` are the arguments that count candles. A step reads back as many candles, the current one
    included, as the window named in `reads` is long, and the number beside it more.

    `settles`: after so many times these windows together its numbers are bit for bit those of a block that
    saw all candles before, too. Sums are exact and depend on their window alone. Averages that fade depend
    on everything: they agree by rounding, which was measured, also where 95 % of the candles repeat the one
    before. With n from 8 on, exponential ones agreed after 16 n, the last of 84,000 after 24 n; Wilder's
    after 30 n, the last after 63 n; a MACD after 17 times slow + signal, the last after 21.
    """

    name: str
    arguments: tuple[str, ...]
    windows: tuple[str, ...]
    outputs: tuple[str, ...]
    state_size: int
    reads: tuple[str, int]
    settles: tuple[int, tuple[str, ...]]

    def need(self, given: Mapping[str, int]) -> int:
        """How many candles that takes with these windows."""
        times, windows = self.settles
        total = sum(given[window] for window in windows)
        return times * (total if times == 1 else max(total, SHORT))


@dataclass(frozen=True)
class Indicator:
    """A block with its arguments: a column of the candle, numbers, names of parameters."""

    block: Block
    arguments: tuple[Argument, ...]


SMA = Block("sma", ("column", "n"), ("n",), (), 2, ("n", 1), (1, ("n",)))
EMA = Block("ema", ("column", "n"), ("n",), (), 1, ("", 1), (30, ("n",)))
RSI = Block("rsi", ("column", "n"), ("n",), (), 2, ("", 2), (60, ("n",)))
ATR = Block("atr", ("n",), ("n",), (), 1, ("", 2), (60, ("n",)))
BOLLINGER = Block(
    "bollinger", ("column", "n", "width"), ("n",), ("middle", "upper", "lower"), 6, ("n", 1), (1, ("n",))
)
MACD = Block(
    "macd",
    ("column", "fast", "slow", "signal"),
    ("fast", "slow", "signal"),
    ("line", "signal", "histogram"),
    3,
    ("", 1),
    (30, ("slow", "signal")),
)


def sma(column: str, n: int | str) -> Indicator:
    """Simple moving average of `n` candles; warm after n."""
    return Indicator(SMA, (column, n))


def ema(column: str, n: int | str) -> Indicator:
    """Exponential moving average of weight 2/(n+1), seeded with the mean of the first n; warm after n."""
    return Indicator(EMA, (column, n))


def rsi(column: str, n: int | str) -> Indicator:
    """Wilder's relative strength index, 0..100; warm after n + 1 candles."""
    return Indicator(RSI, (column, n))


def atr(n: int | str) -> Indicator:
    """Wilder's average true range; warm after n + 1 candles."""
    return Indicator(ATR, (n,))


def bollinger(column: str, n: int | str, width: float | str) -> Indicator:
    """Bands `.middle`, `.upper`, `.lower`: mean ± width × population standard deviation; warm after n."""
    return Indicator(BOLLINGER, (column, n, width))


def macd(column: str, fast: int | str, slow: int | str, signal: int | str) -> Indicator:
    """`.line` = EMA(fast) − EMA(slow), `.signal` its EMA, `.histogram` the rest; warm after slow + signal."""
    return Indicator(MACD, (column, fast, slow, signal))
