"""Building blocks as a strategy names them: `slow_average = sma("close", "slow")`.

A window or width is a number, or the name of a parameter of the strategy. In the place of a column may stand
another indicator: `smooth = sma(rsi("close", 14), 5)`, `ema(macd("close", 12, 26, 9).histogram, "n")`. With
`timeframe` it is of the market's candles of that higher timeframe, as they were closed then:
`ema("close", 50, timeframe="1h")`. What a block computes stands in `kernels.py` and `kernels_of_bars.py`, in
a function of the same name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast, get_args

from projections.strategies import kernels, kernels_of_bars

SHORT = 8
"""Averages that fade need as many candles with a shorter window: at standstill they agree later."""
COLUMNS = ("open", "high", "low", "close", "volume")
Timeframe: TypeAlias = Literal["1m", "5m", "15m", "1h", "4h", "1d"]
TIMEFRAMES: tuple[Timeframe, ...] = get_args(Timeframe)
"""Each divides those behind it."""
Number: TypeAlias = str | int | float
"""A number, or the name of the parameter that holds it."""
Argument: TypeAlias = "Number | Indicator"
Column: TypeAlias = "str | Indicator"


@dataclass(frozen=True)
class Block:
    """A function of the kernels: its arguments, its outputs (none named: one number), the size of its state.

    `windows` are the arguments that count candles. The arguments `column` and `end` are no numbers of the
    author's: a column of the candle, and when it ended, ns UTC. A step reads back as many candles, the
    current one included, as the windows named in `reads` are long together, and the number beside them more.

    `settles`: after so many times these windows together, and the last number more, its numbers are bit for
    bit those of a block that saw all candles before, too. Sums are exact and depend on their window alone.
    Averages that fade depend on everything: they agree by rounding, which was measured, also where 95 % of
    the candles repeat the one before. With n from 8 on, exponential ones agreed after 16 n, the last of
    84,000 after 24 n; Wilder's after 30 n, the last after 63 n; a MACD after 17 times slow + signal, the last
    after 21; an ADX, Wilder's average over Wilder's averages, after 40 n, the last of 37,500 after 81 n.
    """

    function: Callable[..., Any]
    arguments: tuple[str, ...]
    windows: tuple[str, ...]
    outputs: tuple[str, ...]
    state_size: int
    reads: tuple[tuple[str, ...], int]
    settles: tuple[int, tuple[str, ...], int]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def own(self) -> bool:
        """Whether an author wrote it."""
        return self.function.__module__ not in (kernels.__name__, kernels_of_bars.__name__)

    @property
    def fades(self) -> bool:
        """Whether its numbers depend on all candles before, though ever less."""
        return self.settles[0] > 1


@dataclass(frozen=True)
class Indicator:
    """A block with its arguments: a column of the candle, numbers, names of parameters.

    In the place of a column may stand another indicator, its `inner`; of a block with several numbers that is
    one of them, `macd("close", 12, 26, 9).histogram`, whose name is the `output`. `timeframe`: as it was
    given, "" for none.
    """

    block: Block
    arguments: tuple[Argument, ...]
    output: str = ""
    timeframe: str = ""

    def __getattr__(self, name: str) -> "Indicator":
        block = self.__dict__.get("block")
        if block is None or name not in block.outputs or self.output:
            known = f"; it has {', '.join(self.outputs)}" if block and self.outputs else ""
            raise AttributeError(f"{block.name if block else 'an indicator'} has no number {name!r}{known}")
        return replace(self, output=name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its numbers; none where it is one number."""
        return () if self.output else self.block.outputs

    @property
    def inner(self) -> "Indicator | None":
        return next((a for a in self.arguments if isinstance(a, Indicator)), None)

    def chain(self) -> Iterator["Indicator"]:
        """What it is made of, the innermost first, itself last."""
        if self.inner is not None:
            yield from self.inner.chain()
        yield self

    @property
    def frame(self) -> str:
        """The higher timeframe of whose candles all of it is, "" for that of the bot."""
        return next((one.timeframe for one in self.chain() if one.timeframe), "")

    @property
    def timed(self) -> bool:
        """Whether a block in it is told when candles end."""
        return any("end" in one.block.arguments for one in self.chain())

    @property
    def state_size(self) -> int:
        """Floats. Over another indicator, a block keeps the state of that before the last values of it, and,
        if it fades, its own and the count of the values that it has seen."""
        if self.inner is None:
            return self.block.state_size
        return self.inner.state_size + (1 + self.block.state_size if self.block.fades else 0)

    def windows(self, names: tuple[str, ...]) -> tuple[Number, ...]:
        """What these arguments of its block are."""
        given = dict(zip(self.block.arguments, self.arguments, strict=True))
        return tuple(cast(Number, given[name]) for name in names)

    @property
    def rows(self) -> tuple[tuple[Number, ...], int]:
        """So many values of its inner indicator decide its next one: windows and a number more."""
        _, windows, more = self.block.settles
        windows, more = self.block.reads if self.block.fades else (windows, more)
        return self.windows(windows), more

    @property
    def reads(self) -> tuple[tuple[Number, ...], int]:
        """So many candles does a step read, the current one included."""
        if self.inner is None:
            windows, more = self.block.reads
            return self.windows(windows), more
        (inner, least), (windows, more) = self.inner.reads, self.rows
        return (*inner, *windows), least + more - 1

    def need(self, parameters: Mapping[str, Any]) -> int:
        """After so many candles its numbers are, bit for bit, those of one that saw all before them too."""
        times, windows, more = self.block.settles
        total = length(self.windows(windows), parameters)
        own = times * (max(total, SHORT) if self.block.fades else total) + more
        return own + (self.inner.need(parameters) if self.inner else 0)


def length(windows: tuple[Number, ...], parameters: Mapping[str, Any]) -> int:
    """Of these windows together."""
    return sum(int(parameters[w] if isinstance(w, str) else w) for w in windows)


N = ("n",)
COLUMN_N = ("column", "n")
BANDS = ("middle", "upper", "lower")

SMA = Block(kernels.sma, COLUMN_N, N, (), 2, (N, 1), (1, N, 0))
EMA = Block(kernels.ema, COLUMN_N, N, (), 1, ((), 1), (30, N, 0))
WMA = Block(kernels.wma, COLUMN_N, N, (), 4, (N, 1), (1, N, 0))
RSI = Block(kernels.rsi, COLUMN_N, N, (), 2, ((), 2), (60, N, 0))
ROC = Block(kernels.roc, COLUMN_N, N, (), 0, (N, 1), (1, N, 1))
LOWEST = Block(kernels.lowest, COLUMN_N, N, (), 0, (N, 0), (1, N, 0))
HIGHEST = Block(kernels.highest, COLUMN_N, N, (), 0, (N, 0), (1, N, 0))
STDEV = Block(kernels.stdev, COLUMN_N, N, (), 6, (N, 1), (1, N, 0))
ZSCORE = Block(kernels.zscore, COLUMN_N, N, (), 6, (N, 1), (1, N, 0))
BOLLINGER = Block(kernels.bollinger, ("column", "n", "width"), N, BANDS, 6, (N, 1), (1, N, 0))
MACD = Block(
    kernels.macd,
    ("column", "fast", "slow", "signal"),
    ("fast", "slow", "signal"),
    ("line", "signal", "histogram"),
    3,
    ((), 1),
    (30, ("slow", "signal"), 0),
)
ATR = Block(kernels.atr, N, N, (), 1, ((), 2), (60, N, 0))
ADX = Block(kernels_of_bars.adx, N, N, ("adx", "plus", "minus"), 4, ((), 2), (120, N, 0))
STOCHASTIC = Block(
    kernels_of_bars.stochastic, ("n", "d"), ("n", "d"), ("k", "d"), 2, (("n", "d"), 0), (1, ("n", "d"), 0)
)
DONCHIAN = Block(kernels_of_bars.donchian, N, N, BANDS, 0, (N, 0), (1, N, 0))
KELTNER = Block(kernels_of_bars.keltner, ("n", "width"), N, BANDS, 2, ((), 2), (60, N, 0))
CCI = Block(kernels_of_bars.cci, N, N, (), 0, (N, 0), (1, N, 0))
VWAP = Block(kernels_of_bars.vwap, N, N, (), 4, (N, 1), (1, N, 0))
DAY_VWAP = Block(kernels_of_bars.day_vwap, ("end",), (), (), 4, ((), 1), (1, (), 24 * 60 + 1))
OBV = Block(kernels_of_bars.obv, N, N, (), 2, (N, 2), (1, N, 1))


def sma(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """Simple moving average of `n` candles; warm after n."""
    return Indicator(SMA, (column, n), timeframe=timeframe)


def ema(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """Exponential moving average of weight 2/(n+1), seeded with the mean of the first n; warm after n."""
    return Indicator(EMA, (column, n), timeframe=timeframe)


def rsi(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """Wilder's relative strength index, 0..100; warm after n + 1 candles."""
    return Indicator(RSI, (column, n), timeframe=timeframe)


def atr(n: int | str, *, timeframe: str = "") -> Indicator:
    """Wilder's average true range; warm after n + 1 candles."""
    return Indicator(ATR, (n,), timeframe=timeframe)


def bollinger(column: Column, n: int | str, width: float | str, *, timeframe: str = "") -> Indicator:
    """Bands `.middle`, `.upper`, `.lower`: mean ± width × population standard deviation; warm after n."""
    return Indicator(BOLLINGER, (column, n, width), timeframe=timeframe)


def macd(
    column: Column, fast: int | str, slow: int | str, signal: int | str, *, timeframe: str = ""
) -> Indicator:
    """`.line` = EMA(fast) − EMA(slow), `.signal` its EMA, `.histogram` the rest; warm after slow + signal."""
    return Indicator(MACD, (column, fast, slow, signal), timeframe=timeframe)


def wma(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """Mean of `n` candles with the weights 1 … n, the newest with the most; warm after n."""
    return Indicator(WMA, (column, n), timeframe=timeframe)


def roc(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """Rate of change over `n` candles, in percent; warm after n + 1."""
    return Indicator(ROC, (column, n), timeframe=timeframe)


def lowest(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """The least of the last `n` candles, the current one included; warm after n."""
    return Indicator(LOWEST, (column, n), timeframe=timeframe)


def highest(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """The greatest of the last `n` candles, the current one included; warm after n."""
    return Indicator(HIGHEST, (column, n), timeframe=timeframe)


def stdev(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """Population standard deviation of the last `n` candles; warm after n."""
    return Indicator(STDEV, (column, n), timeframe=timeframe)


def zscore(column: Column, n: int | str, *, timeframe: str = "") -> Indicator:
    """Distance from the mean of the last `n` candles in standard deviations; warm after n."""
    return Indicator(ZSCORE, (column, n), timeframe=timeframe)


def adx(n: int | str, *, timeframe: str = "") -> Indicator:
    """Wilder's directional index `.adx`, +DI `.plus`, −DI `.minus`, 0..100; warm after 2 n, DI n + 1."""
    return Indicator(ADX, (n,), timeframe=timeframe)


def stochastic(n: int | str, d: int | str, *, timeframe: str = "") -> Indicator:
    """`.k`: the close within the range of `n` candles, 0..100, 50 at standstill; `.d`: mean of the last
    `d` of it; warm after n + d − 1."""
    return Indicator(STOCHASTIC, (n, d), timeframe=timeframe)


def donchian(n: int | str, *, timeframe: str = "") -> Indicator:
    """`.upper` and `.lower`: highest high, lowest low of `n` candles, the current one included; `.middle`."""
    return Indicator(DONCHIAN, (n,), timeframe=timeframe)


def keltner(n: int | str, width: float | str, *, timeframe: str = "") -> Indicator:
    """Bands `.middle`, `.upper`, `.lower`: EMA of closes ± width × ATR, both of `n`; warm after n + 1."""
    return Indicator(KELTNER, (n, width), timeframe=timeframe)


def cci(n: int | str, *, timeframe: str = "") -> Indicator:
    """Commodity channel index of `n` candles, 0 at standstill; warm after n."""
    return Indicator(CCI, (n,), timeframe=timeframe)


def vwap(n: int | str, *, timeframe: str = "") -> Indicator:
    """Mean of (high + low + close) / 3 of `n` candles, weighted with volume; the last one where there was
    none; warm after n."""
    return Indicator(VWAP, (n,), timeframe=timeframe)


def day_vwap(*, timeframe: str = "") -> Indicator:
    """The same of all candles since midnight UTC; warm from the first midnight that it sees."""
    return Indicator(DAY_VWAP, ("end",), timeframe=timeframe)


def obv(n: int | str, *, timeframe: str = "") -> Indicator:
    """On-balance volume of `n` candles: of those that closed higher, less of those that closed lower; warm
    after n + 1. A sum since ever would depend on where a bot began."""
    return Indicator(OBV, (n,), timeframe=timeframe)
