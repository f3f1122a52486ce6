"""`StrategyCode`: how the engine runs a strategy, compiled or pandas, for all bots of a group at once."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from projections.strategies.base import LOOKBACK_MAX, BaseStrategy, Signal
from projections.strategies.blocks import COLUMNS, TIMEFRAMES, Timeframe
from projections.strategies.generated import Kernels, Loops, Sharing
from projections.strategies.histories import Floats, History, Ints, New, Run
from projections.strategies.parameters import Parameter, StrategyParameterError, Value, packed

Answer = TypeVar("Answer")


class Lanes(NamedTuple):
    """Bots of one strategy side by side, B rows of C-contiguous arrays.

    `seen` i8[B] counts the candles of each bot, `params` f8[B, P] and `state` f8[B, S] are its own, `target`
    f8[B] and `values` f8[B, K] what its last step gave.
    """

    seen: Ints
    params: Floats
    state: Floats
    target: Floats
    values: Floats


class StepFailure(NamedTuple):
    """The bot (index in its group) whose strategy failed, and why. Those before it are done, no others."""

    bot: int
    message: str


@dataclass
class Midway:
    """A bot in the middle of a history: candles seen, its target, and its state, f8[S]."""

    seen: int
    target: float
    state: Floats


class Strategies(Protocol):
    """The registry that the fold is handed."""

    def get(self, name: str, code_hash: str) -> "StrategyCode | None":
        """The strategy with exactly this code, or None."""
        ...

    def latest(self, name: str) -> "StrategyCode":
        """The strategy as it stands now. Raises LookupError naming those that exist."""
        ...


class StrategyCompileError(Exception):
    """A `signal` that numba cannot compile; names the line in the author's file."""


class _UnreadableError(Exception):
    """What a strategy returned is no signal; the message says why."""


class StrategyRunError(RuntimeError):
    """A strategy that failed within a run over a history."""


@dataclass(frozen=True)
class StrategyCode(ABC):
    """A strategy with exactly one code; equal hash, equal bits.

    `value_names` are its indicators' numbers (K of them), `state_size` (S) the floats of one bot's state:
    zeros for a fresh bot. `file` is the author's, as tracebacks name it. Every BaseException of the author's
    code is its failure; `foreign` goes around that code, and raises at its end what ends the program instead.
    """

    strategy: type[BaseStrategy] = field(repr=False)
    code_hash: str
    name: str
    parameters: tuple[Parameter, ...]
    value_names: tuple[str, ...]
    state_size: int
    file: str = field(repr=False)
    foreign: Callable[[], AbstractContextManager[None]] = field(repr=False)

    @property
    def higher(self) -> tuple[Timeframe, ...]:
        """The higher timeframes that it reads, the lowest first."""
        return self.strategy.spec.higher

    def check_timeframe(self, timeframe: str) -> None:
        """Raises StrategyParameterError for a bot that is not below all that it reads."""
        lower = TIMEFRAMES[: TIMEFRAMES.index(self.higher[0])] if self.higher else TIMEFRAMES
        if timeframe not in lower:
            raise StrategyParameterError(
                f"strategy {self.name} reads candles of {' and '.join(self.higher)}: a bot of {timeframe} is"
                f" not below them; choose {' or '.join(lower)}"
            )

    def check(self, params: Mapping[str, object]) -> dict[str, Value]:
        """All parameters in their own types, with defaults, sorted by name. Raises StrategyParameterError."""
        checked = self.asked(params, lambda strategy: strategy.parameters)
        needed = self.lookback(checked)
        if needed > LOOKBACK_MAX:
            shown = ", ".join(f"{k}={v}" for k, v in checked.items())
            raise StrategyParameterError(
                f"strategy {self.name} ({shown}) reads {needed} candles back; at most {LOOKBACK_MAX} are kept"
            )
        return checked

    def pack(self, params: Mapping[str, object]) -> Floats:
        """Parameters as f8[P], the form in which `Lanes` hold them."""
        return packed(self.parameters, self.check(params))

    def lanes(self, params: Sequence[Mapping[str, object]] = ()) -> Lanes:
        """Fresh bots with these parameters."""
        count = len(params)
        return Lanes(
            np.zeros(count, np.int64),
            np.array([self.pack(given) for given in params]).reshape(count, len(self.parameters)),
            np.zeros((count, self.state_size)),
            np.zeros(count),
            np.zeros((count, len(self.value_names))),
        )

    def asked(self, params: Mapping[str, object], ask: Callable[[BaseStrategy], Answer]) -> Answer:
        """What the author's class says of itself with these parameters.

        Raises StrategyParameterError, whatever the class raises.
        """
        with self.foreign():
            try:
                return ask(self.strategy(params))
            except StrategyParameterError:
                raise
            except BaseException as error:  # noqa: BLE001 - an author's code may raise anything
                shown = ", ".join(f"{k}={v}" for k, v in params.items())
                reason = f"strategy {self.name} ({shown}): {_where(error, self.file)}"
                raise StrategyParameterError(reason) from None

    @abstractmethod
    def compile(self) -> None:
        """Get ready to step. Raises StrategyCompileError; otherwise the first step would fail with it."""

    @abstractmethod
    def lookback(self, params: Mapping[str, object]) -> int:
        """Candles of history that a step may read with these parameters, the current one included."""

    @abstractmethod
    def need(self, params: Mapping[str, object], timeframe: str = "") -> int:
        """Candles of its own or a higher timeframe to warm on, after which its indicators are those of a bot
        that was always there."""

    @abstractmethod
    def step(
        self, history: History, i: int, first: int, lanes: Lanes, new: Sequence[New] = ()
    ) -> StepFailure | None:
        """One candle's step for the bots first … B−1; row `i` of the history has just closed, and of each
        higher timeframe those that are `new`.

        `seen` counts this candle already; `state`, `target` and `values` are written. A strategy that raises,
        or whose target is no number in −1 … 1, is a StepFailure: nothing of that bot is written, and the
        caller goes on with `first` behind it.
        """

    @abstractmethod
    def over(
        self, bot: Midway, history: History, first: int, last: int, params: Floats, run: Run
    ) -> StepFailure | None:
        """The steps of one bot on the rows `first` … `last` − 1, each as `step` would make it.

        `params` f8[P] are packed. `run` is as long as the history and is written there; the bot is moved
        behind them. A StepFailure names the row at which it failed: up to there `run` is written, and the bot
        is of no more use.
        """

    def fresh(self, target: float = 0.0) -> Midway:
        """A bot that has seen nothing."""
        return Midway(0, target, np.zeros(self.state_size))


@dataclass(frozen=True)
class CompiledCode(StrategyCode):
    """A strategy with a compiled `signal`.

    `load` gives its generated module, `load_loops` the second one, for histories, `load_sharing` the third,
    for sweeps, None where its step is of another form; the first call of each compiles it, and may raise
    StrategyCompileError.
    """

    load: Callable[[], Kernels] = field(repr=False)
    load_loops: Callable[[], Loops] = field(repr=False)
    load_sharing: Callable[[], Sharing | None] = field(repr=False)
    reads: Callable[[Mapping[str, Value]], int] = field(repr=False)

    @cached_property
    def _kernels(self) -> Kernels:
        """Kept, since each candle asks for them; a failure is raised each time."""
        return self.load()

    @cached_property
    def loops(self) -> Loops:
        """What runs it over a history. Raises StrategyCompileError."""
        return self.load_loops()

    @cached_property
    def sharing(self) -> Sharing | None:
        """What its sets share in a sweep. Raises StrategyCompileError."""
        return self.load_sharing()

    def compile(self) -> None:
        _ = self._kernels

    def lookback(self, params: Mapping[str, object]) -> int:
        return self.reads(self.asked(params, lambda strategy: strategy.parameters))

    def need(self, params: Mapping[str, object], timeframe: str = "") -> int:
        return self.strategy.spec.need(self.strategy(params).parameters, timeframe)

    def step(
        self, history: History, i: int, first: int, lanes: Lanes, new: Sequence[New] = ()
    ) -> StepFailure | None:
        fault = np.array([first, 0.0])
        try:
            kernels = self._kernels
        except StrategyCompileError as error:
            return StepFailure(first, error_text(error))
        with self.foreign():
            try:
                done = kernels.live(*self._candles(history), i, first, *chain(*new), *lanes, fault)
            except BaseException as error:  # noqa: BLE001 - an author's code may raise anything
                return StepFailure(int(fault[0]), error_text(error))
        return None if done == len(lanes.target) else StepFailure(done, error_text(no_position(fault[1])))

    def over(
        self, bot: Midway, history: History, first: int, last: int, params: Floats, run: Run
    ) -> StepFailure | None:
        fault = np.array([first, 0.0])
        try:
            loop = self.loops.loop
        except StrategyCompileError as error:
            return StepFailure(first, error_text(error))
        with self.foreign():
            try:
                done = loop(
                    *self._candles(history), first, last, bot.seen, *history.joined, params, bot.state,
                    bot.target, run.targets, run.values, fault,
                )  # fmt: skip
            except BaseException as error:  # noqa: BLE001 - an author's code may raise anything
                return StepFailure(int(fault[0]), error_text(error))
        if done < last:
            return StepFailure(done, error_text(no_position(fault[1])))
        if last > first:
            bot.seen, bot.target = bot.seen + last - first, float(run.targets[last - 1])
        return None

    def _candles(self, history: History) -> tuple[Floats] | tuple[Floats, Ints]:
        """What its modules are given of a history."""
        return (history.values, history.ends) if self.strategy.spec.timed else (history.values,)

    def run(self, history: History, params: Mapping[str, object]) -> Run:
        """A fresh bot over the whole history. Raises StrategyRunError with the candle's number."""
        return self.go_on(self.fresh(), history, 0, params)

    def go_on(self, bot: Midway, history: History, first: int, params: Mapping[str, object]) -> Run:
        """The bot over the rows from `first` on, after which it is moved behind them.

        Of the rows before it may read as many as `lookback` says, less one. The rows of the `Run` before
        `first` hold nothing. Raises StrategyRunError with the candle's number among all that the bot saw; the
        bot is then of no more use.
        """
        length = len(history.values)
        run = Run(np.empty(length), np.empty((length, len(self.value_names))))
        unseen = first - bot.seen
        try:
            _ = self.loops
        except StrategyCompileError as error:
            raise StrategyRunError(f"{self.name}: {error_text(error)}") from error
        failure = self.over(bot, history, first, length, self.pack(params), run)
        if failure is not None:
            raise StrategyRunError(f"{self.name} at candle {failure.bot - unseen}: {failure.message}")
        return run


@dataclass(frozen=True)
class PandasCode(StrategyCode):
    """A strategy with `process_data` only. Each step is a new instance: what it keeps in itself is gone."""

    def compile(self) -> None:
        """Nothing to do: it is plain Python."""

    def lookback(self, params: Mapping[str, object]) -> int:
        return self.asked(params, lambda strategy: int(strategy.window))

    def need(self, params: Mapping[str, object], timeframe: str = "") -> int:
        return self.lookback(params)

    def step(
        self, history: History, i: int, first: int, lanes: Lanes, new: Sequence[New] = ()
    ) -> StepFailure | None:
        made: dict[int, Any] = {}

        def upto(i: int, rows: int) -> Any:
            if rows not in made:
                made[rows] = _frame(history, i + 1 - rows, i + 1)
            return made[rows].copy(deep=False)

        for b in range(first, len(lanes.target)):
            failure = self._stepped(i, b, lanes, upto)
            if failure is not None:
                return failure
        return None

    def over(
        self, bot: Midway, history: History, first: int, last: int, params: Floats, run: Run
    ) -> StepFailure | None:
        lanes = Lanes(
            np.array([bot.seen]), params[None], bot.state[None], np.array([bot.target]),
            np.empty((1, len(self.value_names))),
        )  # fmt: skip
        start = max(first - bot.seen, 0)
        whole = _frame(history, start, last)

        def upto(i: int, rows: int) -> Any:
            frame = whole.iloc[i + 1 - rows - start : i + 1 - start]
            frame.index = _numbers(rows)
            return frame

        for i in range(first, last):
            lanes.seen[0] += 1
            failure = self._stepped(i, 0, lanes, upto)
            if failure is not None:
                return failure._replace(bot=i)
            run.targets[i], run.values[i] = lanes.target[0], lanes.values[0]
        bot.seen, bot.target = int(lanes.seen[0]), float(lanes.target[0])
        return None

    def _stepped(self, i: int, b: int, lanes: Lanes, upto: "_Upto") -> StepFailure | None:
        with self.foreign():
            try:
                lanes.target[b], lanes.values[b] = self._decided(i, b, lanes, upto)
            except _UnreadableError as error:
                return StepFailure(b, str(error))
            except BaseException as error:  # noqa: BLE001 - an author's code may raise anything
                return StepFailure(b, _where(error, self.file))
        return None

    def _decided(self, i: int, b: int, lanes: Lanes, upto: "_Upto") -> tuple[float, list[float]]:
        """The target and the values of bot `b` at row `i`."""
        strategy = self.strategy(self._unpacked(lanes.params[b]))
        strategy.position = float(lanes.target[b])
        rows = min(int(lanes.seen[b]), int(strategy.window))
        signal = strategy.process_data(upto(i, rows))
        indicators = strategy.get_indicators()
        try:
            return self._read(signal, indicators)
        except (TypeError, ValueError) as error:
            raise _UnreadableError(error_text(error)) from None

    def _unpacked(self, row: Floats) -> dict[str, Value]:
        return {
            p.name: p.choices[int(v)] if p.choices else p.type(v)
            for p, v in zip(self.parameters, row, strict=True)
        }

    def _read(self, signal: object, indicators: Mapping[str, float]) -> tuple[float, list[float]]:
        if not isinstance(signal, Signal):
            raise TypeError(f"process_data returned {type(signal).__name__}, it must return a Signal")
        target = float(signal.target)
        if not abs(target) <= 1.0:
            raise no_position(target)
        found = {**indicators, **signal.values}
        unknown = sorted(set(found) - set(self.value_names))
        if unknown:
            raise ValueError(
                f"the signal carries {', '.join(unknown)}, which the class does not declare in value_names"
            )
        return target, [float(found.get(name, np.nan)) for name in self.value_names]


_Upto = Callable[[int, int], Any]
"""The frame of so many rows that ends with row i, numbered from 0. pandas copies on write, so nobody sees
what another one does to it."""


def _frame(history: History, start: int, stop: int) -> Any:
    pd = _pandas()
    ends = pd.to_datetime(history.ends[start:stop].copy(), unit="ns", utc=True)
    columns = history.values[start:stop]
    return pd.DataFrame({"timestamp": ends, **{c: columns[:, k].copy() for k, c in enumerate(COLUMNS)}})


@cache
def _numbers(rows: int) -> Any:
    return _pandas().RangeIndex(rows)


def _pandas() -> Any:
    import pandas  # noqa: PLC0415 - a third of a second, for those who use it  # pyright: ignore[reportMissingTypeStubs] - it has none

    return pandas


def no_position(target: float) -> ValueError:
    """A target that is none."""
    return ValueError(f"the target is {float(target)!r}, it must be a number from -1 to 1")


def _where(error: BaseException, file: str) -> str:
    """Type and line of what an author's code raised.

    Not its text: that may hold a set, a path or an address, and would make one journal give different bytes.
    """
    line = 0
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == file:
            line = frame.tb_lineno
        frame = frame.tb_next
    name = type(error).__name__
    return (
        f"{name} raised in line {line} of the strategy's file" if line else f"{name} raised by the strategy"
    )


def error_text(error: BaseException) -> str:
    """An exception on one line, with its type, and alike wherever it is raised."""
    try:
        said = str(error)
    except BaseException:  # noqa: BLE001 - an author's exception may raise in its own text
        said = ""
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(said.split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
