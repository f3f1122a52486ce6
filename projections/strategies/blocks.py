"""Building blocks as a strategy names them: `slow_average = sma("close", "slow")`.

A window or width is a number, or the name of a parameter of the strategy. What a block computes stands in
`kernels.py`, in a function of the same name.
"""

from dataclasses import dataclass
from typing import TypeAlias

COLUMNS = ("open", "high", "low", "close", "volume")
Argument: TypeAlias = str | int | float


@dataclass(frozen=True)
class Block:
    """A function of `kernels.py`: its arguments, its outputs (none named: one number), the size of its state.

    `windows` are the arguments that count candles. A step reads back as many candles, the current one
    included, as the window named in `reads` is long, and the number beside it more.
    """

    name: str
    arguments: tuple[str, ...]
    windows: tuple[str, ...]
    outputs: tuple[str, ...]
    state_size: int
    reads: tuple[str, int]


@dataclass(frozen=True)
class Indicator:
    """A block with its arguments: a column of the candle, numbers, names of parameters."""

    block: Block
    arguments: tuple[Argument, ...]


SMA = Block("sma", ("column", "n"), ("n",), (), 2, ("n", 1))
EMA = Block("ema", ("column", "n"), ("n",), (), 1, ("", 1))
RSI = Block("rsi", ("column", "n"), ("n",), (), 2, ("", 2))
ATR = Block("atr", ("n",), ("n",), (), 1, ("", 2))
BOLLINGER = Block("bollinger", ("column", "n", "width"), ("n",), ("middle", "upper", "lower"), 4, ("n", 1))
MACD = Block(
    "macd",
    ("column", "fast", "slow", "signal"),
    ("fast", "slow", "signal"),
    ("line", "signal", "histogram"),
    3,
    ("", 1),
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
