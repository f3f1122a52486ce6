"""`BaseStrategy`: what a strategy's author writes.

A compiled strategy declares parameters, indicators and one function of one candle:

    class SmaCross(BaseStrategy):
        fast: int = param(20, low=1, high=1000)
        slow: int = param(100, low=2, high=1000)
        fast_average = sma("close", "fast")
        slow_average = sma("close", "slow")

        @staticmethod
        def signal(bar, x, p, pos):
            return 1.0 if x.fast_average > x.slow_average else -1.0

`bar` has open, high, low, close, volume; `x` the indicators (NaN until warm, a block with several outputs as
`x.bands.upper`); `p` the parameters; `pos` the previous target. The result is the new target, −1 … 1 of the
size that the bot is given. numba compiles it, together with its indicators, into one step (`generate.py`).

A pandas strategy overrides `process_data(df)` instead, and gets the last `window` candles, slower.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import numpy as np

from projections.strategies.blocks import COLUMNS, TIMEFRAMES, Indicator, Timeframe, length
from projections.strategies.parameters import (
    Parameter,
    StrategyDefinitionError,
    StrategyParameterError,
    Value,
    checked,
    declared_parameters,
)
from projections.strategies.plain import computed

if TYPE_CHECKING:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs] - it has none

LOOKBACK_MAX = 5000
"""No strategy reads further back than this many candles, so that the history kept for it is bounded."""
DEPTH_MAX = 8
"""A block over another steps that anew for each value of its window, so that depth multiplies."""


class Bar(Protocol):
    """The candle that just closed, as `signal` sees it."""

    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Signal:
    """What a strategy makes of the candles up to now: a target position, −1 … 1, and what it was made of."""

    target: float
    values: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Spec:
    """What a strategy class declares. `value_names` are the names of its indicators' numbers, in order."""

    name: str
    compiled: bool
    parameters: tuple[Parameter, ...]
    indicators: Mapping[str, Indicator]
    value_names: tuple[str, ...]

    @property
    def own(self) -> Mapping[str, Callable[..., Any]]:
        """The functions of its author's own blocks, by name."""
        blocks = (one.block for i in self.indicators.values() for one in i.chain())
        return {block.name: block.function for block in blocks if block.own}

    @cached_property
    def timed(self) -> bool:
        """Whether an indicator is told when candles of the bot's timeframe end."""
        return any(i.timed for i in self.indicators.values() if not i.frame)

    @cached_property
    def higher(self) -> tuple[Timeframe, ...]:
        """The higher timeframes that it reads, the lowest first."""
        read = {indicator.frame for indicator in self.indicators.values()}
        return tuple(timeframe for timeframe in TIMEFRAMES if timeframe in read)

    @property
    def state_size(self) -> int:
        """Of each higher timeframe there are also the count of its candles, and what they gave last."""
        above = [i for i in self.indicators.values() if i.frame]
        kept = sum(len(output_names("", i)) for i in above) + len(self.higher)
        return sum(i.state_size for i in self.indicators.values()) + kept

    def lookback(self, parameters: Mapping[str, Value]) -> int:
        """Candles of history that a step reads with these parameters, the current one included, of whichever
        timeframe."""
        reads = (indicator.reads for indicator in self.indicators.values())
        return max([1, *(length(windows, parameters) + more for windows, more in reads)])

    def need(self, parameters: Mapping[str, Value], timeframe: str = "") -> int:
        """Candles of its own or a higher timeframe, after which its indicators of that are, bit for bit,
        those of one that saw all before them too."""
        return max([1, *(i.need(parameters) for i in self.indicators.values() if i.frame == timeframe)])


class BaseStrategy:
    """A strategy with its parameters. Raises StrategyParameterError for those that it does not take."""

    name: ClassVar[str]
    """Registry name; the class name in snake_case unless given."""
    value_names: ClassVar[tuple[str, ...]] = ()
    """A pandas strategy names the values that its signals carry."""
    window = 500
    """How many candles a pandas strategy sees at most."""
    spec: ClassVar[Spec]
    position = 0.0
    """A pandas strategy's previous target."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.spec = specification(cls)

    def __init__(self, parameters: Mapping[str, object] | None = None) -> None:
        spec = type(self).spec
        self.parameters: dict[str, Value] = checked(spec.name, spec.parameters, parameters or {})
        for parameter in spec.parameters:
            setattr(self, parameter.attribute, self.parameters[parameter.name])
        self._values: Mapping[str, float] = {}
        try:
            self.check()
        except ValueError as error:
            shown = ", ".join(f"{k}={v}" for k, v in self.parameters.items())
            raise StrategyParameterError(f"strategy {spec.name} ({shown}): {error}") from None

    def check(self) -> None:
        """Raise ValueError, with a message, where parameters do not fit each other."""

    def process_data(self, df: "pd.DataFrame") -> Signal:
        """The signal after the last row of `df`, stepping from a fresh state through all of its rows.

        Columns open, high, low, close, volume, and timestamp (the candle's end) where an indicator asks for
        it; oldest first. This is the compiled step run as plain Python: the same bits, some microseconds a
        row. An empty frame raises ValueError, and so do a missing timestamp and a strategy that reads higher
        timeframes.
        """
        if self.spec.higher:
            raise ValueError(
                f"{self.spec.name} reads candles of {' and '.join(self.spec.higher)} too, and a frame holds"
                " those of one timeframe: run it by backtest()"
            )
        if not len(df):
            raise ValueError("process_data needs at least one candle, the frame is empty")
        values = np.ascontiguousarray(cast(Any, df)[list(COLUMNS)].to_numpy(dtype=np.float64))
        ends = self._ends(df) if self.spec.timed else None
        rows = [computed(i, self.parameters, values, ends) for i in self.spec.indicators.values()]
        signal = Signal(0.0)
        for i, candle in enumerate(values):
            signal = self._decided(candle, [row[i].tolist() for row in rows], signal.target)
        self._values = signal.values
        return signal

    def get_indicators(self) -> dict[str, float]:
        """The indicator values behind the last signal, by name."""
        return dict(self._values)

    def _ends(self, df: "pd.DataFrame") -> Any:
        if "timestamp" not in df:
            raise ValueError(f"{self.spec.name} asks when candles end: the frame needs a column timestamp")
        return cast(Any, df)["timestamp"].dt.as_unit("ns").astype("int64").to_numpy()

    def _decided(self, candle: Any, rows: list[list[float]], position: float) -> Signal:
        """What `signal` makes of a candle and the numbers of each indicator."""
        values: dict[str, float] = {}
        shown: dict[str, object] = {}
        for (name, indicator), row in zip(self.spec.indicators.items(), rows, strict=True):
            values.update(zip(output_names(name, indicator), row, strict=True))
            outputs = indicator.outputs
            shown[name] = SimpleNamespace(**dict(zip(outputs, row, strict=True))) if outputs else row[0]
        bar = SimpleNamespace(**dict(zip(COLUMNS, candle, strict=True)))
        signal = cast(Any, type(self)).signal
        return Signal(
            float(signal(bar, SimpleNamespace(**shown), SimpleNamespace(**self.parameters), position)), values
        )


def output_names(name: str, indicator: Indicator) -> tuple[str, ...]:
    """Names of an indicator's numbers: `average`, or `bands.upper`, `bands.lower`, …"""
    outputs = indicator.outputs
    return tuple(f"{name}.{output}" for output in outputs) if outputs else (name,)


def specification(cls: type[BaseStrategy]) -> Spec:
    """What the class declares. Raises StrategyDefinitionError, naming the attribute, where that is wrong."""
    compiled = hasattr(cls, "signal")
    if compiled and cls.process_data is not BaseStrategy.process_data:
        raise StrategyDefinitionError(
            f"{cls.__name__} has both signal (compiled) and process_data (pandas): keep one of them"
        )
    if compiled:
        _check_signature(cls)
    parameters = declared_parameters(cls)
    indicators: dict[str, Indicator] = {}
    for base in reversed(cls.__mro__):
        indicators |= {k: v for k, v in base.__dict__.items() if isinstance(v, Indicator)}
    name = cls.__dict__.get("name", snake_case(cls.__name__))
    if not isinstance(name, str) or not name.isidentifier():
        raise StrategyDefinitionError(f"{cls.__name__}.name is {name!r}: it must be a word such as sma_cross")
    if not compiled and any(indicator.frame for indicator in indicators.values()):
        raise StrategyDefinitionError(
            f"{cls.__name__} works on frames, which hold candles of one timeframe: timeframe= is for a class"
            " with signal"
        )
    for attribute, indicator in indicators.items():
        _check_indicator(f"{cls.__name__}.{attribute}", indicator, {p.name: p for p in parameters})
    own: dict[str, object] = {}
    for block in (one.block for i in indicators.values() for one in i.chain() if one.block.own):
        if own.setdefault(block.name, block.function) is not block.function:
            raise StrategyDefinitionError(f"{cls.__name__} has two own blocks named {block.name}")
    names = [output for attribute, i in indicators.items() for output in output_names(attribute, i)]
    return Spec(
        name=name,
        compiled=compiled,
        parameters=parameters,
        indicators=indicators,
        value_names=tuple(names) if compiled else tuple(cls.value_names),
    )


def _check_signature(cls: type[BaseStrategy]) -> None:
    function = cast(Any, cls).signal
    if not isinstance(function, FunctionType) or function.__code__.co_argcount != 4:
        raise StrategyDefinitionError(
            f"{cls.__name__}.signal must be a static method of four arguments: signal(bar, x, p, pos)"
        )


def _check_indicator(where: str, indicator: Indicator, parameters: dict[str, Parameter]) -> None:
    block = indicator.block
    if where.rpartition(".")[2].startswith("_"):
        raise StrategyDefinitionError(f"{where}: the name of an indicator cannot begin with an underscore")
    if indicator.timeframe not in ("", *TIMEFRAMES[1:]):
        raise StrategyDefinitionError(
            f"{where}: there is no higher timeframe {indicator.timeframe!r}; there are"
            f" {', '.join(TIMEFRAMES[1:])}"
        )
    for kind, given in zip(block.arguments, indicator.arguments, strict=True):
        window = kind in block.windows
        if isinstance(given, Indicator):
            _check_inner(where, indicator, given)
            _check_indicator(where, given, parameters)
        elif kind == "column":
            if given not in COLUMNS:
                raise StrategyDefinitionError(
                    f"{where}: {block.name} has no column {given!r}; columns are {', '.join(COLUMNS)}"
                )
        elif kind == "end":
            pass
        elif isinstance(given, str):
            p = parameters.get(given)
            if p is None or p.type not in ((int,) if window else (int, float)):
                raise StrategyDefinitionError(
                    f"{where}: {kind} of {block.name} must name a parameter of type "
                    f"{'int' if window else 'int or float'}, and {given!r} is none"
                )
            if window and (p.low is None or p.low < 1):
                raise StrategyDefinitionError(
                    f"{where}: parameter {given} is a window of {block.name}: declare it with low=1 or more"
                )
        elif window and (not isinstance(given, int) or given < 1):
            raise StrategyDefinitionError(
                f"{where}: {kind}={given!r} of {block.name} must be a whole number from 1"
            )


def _check_inner(where: str, indicator: Indicator, inner: Indicator) -> None:
    if inner.outputs:
        names = " or ".join(f"{inner.block.name}(…).{output}" for output in inner.outputs)
        raise StrategyDefinitionError(f"{where}: {indicator.block.name} is over one number: {names}")
    if indicator.timeframe and inner.frame not in ("", indicator.timeframe):
        raise StrategyDefinitionError(
            f"{where}: {indicator.block.name} of {indicator.timeframe} over {inner.block.name} of"
            f" {inner.frame}: blocks over each other are of one timeframe"
        )
    if len(list(indicator.chain())) > DEPTH_MAX:
        raise StrategyDefinitionError(f"{where}: more than {DEPTH_MAX} blocks stand over each other")


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
