"""Bots of one market: what a bot is, and groups of bots that step together."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from projections.fold.fills import Waiting
from projections.fold.money import Account
from projections.fold.turn import Progress
from projections.strategies.code import Lanes, StrategyCode
from projections.strategies.histories import History, New
from streams.causes import Cause
from streams.events import BotStatus, Candle, OnStale, Params, Sizing, Timeframe

Standing = BotStatus | Literal["bankrupt"]


class Bot(Struct):
    """A bot's specification and money. Its target and indicator state live in its `Group`."""

    bot_id: int
    timeframe: Timeframe
    strategy: str
    code_hash: str
    params: Params
    sizing: Sizing
    short: bool
    initial_cash: int
    account: Account
    status: BotStatus = "stopped"
    code: str = "created"
    message: str = "created, not started"
    who: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    on_stale: OnStale = "hold"
    order: Waiting | None = None
    share: float = 0.0
    """The target that its position stands for: 0 without one, else of the position's sign."""
    resumes: bool = False
    """Whether a target that differs from `share` is a signal again at the next candle."""
    mark: tuple[int, int, int] | None = None
    """Cash, position and equity as last marked."""
    peak: int = 0
    """The highest equity at any mark."""
    trips: int = 0
    """Round trips begun."""
    steps: bool = False
    """Whether it is in a group."""
    since: Cause | None = None
    """The change from which on `steps` is what it is; None where that change is not told yet."""
    warmed: int = 0
    """Candles before that change that it stepped through."""

    @property
    def standing(self) -> Standing:
        """Its status, or that it is bankrupt, which is halted for good."""
        return "bankrupt" if self.code == "bankrupt" else self.status


class CodeMissingError(LookupError):
    """Folding on needs strategy code that this process has not: the machine's fault, not the record's."""


class GroupKey(NamedTuple):
    timeframe: str
    strategy: str
    code_hash: str


class Step(NamedTuple):
    """A bot whose target changed or is to be told again, or whose strategy failed (`failure` says how)."""

    bot_id: int
    previous: float
    target: float
    values: dict[str, float]
    failure: str | None = None
    origin: Literal["strategy", "external", "resumed"] = "strategy"


class Group:
    """Bots of one strategy on one timeframe; arrays with one row a bot, stepped by one compiled call.

    `code` None: the recorded code is not at hand, so that the group can be looked at, but not step. `higher`:
    the timeframes above its own that it reads.
    """

    def __init__(self, key: GroupKey, code: StrategyCode | None) -> None:
        self.key = key
        self.code = code
        self.higher = code.higher if code else ()
        self.rows: dict[int, int] = {}
        none = np.zeros((0, 0))
        self._lanes = code.lanes() if code else Lanes(np.zeros(0, np.int64), none, none, np.zeros(0), none)
        self._used: Lanes | None = None
        self.lookback = 1

    def add(self, bot_id: int, params: Params, target: float) -> None:
        """A bot that has seen nothing yet. Raises the strategy's error for bad parameters, and for a
        timeframe that is not below those that it reads."""
        row = len(self.rows)
        code = self._code()
        code.check_timeframe(self.key.timeframe)
        packed = code.pack(params)
        self.lookback = max(self.lookback, code.lookback(params))
        if row == len(self._lanes.seen):
            self._grow()
        lanes = self._lanes
        lanes.seen[row], lanes.params[row], lanes.state[row], lanes.target[row] = 0, packed, 0.0, target
        self.rows[bot_id] = row
        self._used = None

    def remove(self, bot_id: int) -> None:
        """Take a bot out; those behind it move up, so that rows stay in the order of joining."""
        gone = self.rows.pop(bot_id)
        self._used = None
        for array in self._lanes:
            array[gone:-1] = array[gone + 1 :].copy()
        self.rows = {bot: row - (row > gone) for bot, row in self.rows.items()}

    def target(self, bot_id: int) -> float:
        return float(self._lanes.target[self.rows[bot_id]])

    def aim(self, bot_id: int, target: float) -> None:
        self._lanes.target[self.rows[bot_id]] = target

    def resumed(self, bot_id: int, share: float) -> Step:
        """What the last step left, as a signal to a bot whose position stands for `share`."""
        row = self.rows[bot_id]
        values = self._named(self._lanes.values[row])
        return Step(bot_id, share, self.target(bot_id), values, origin="resumed")

    def warm(self, bot_id: int, candles: History, progress: Progress) -> str | None:
        """Let a bot that has seen nothing step through candles; returns how its strategy failed."""
        code, row = self._code(), self.rows[bot_id]
        lane = Lanes._make(array[row : row + 1] for array in self._lanes)
        for i in range(len(candles.ends)):
            progress.steps += 1
            lane.seen[0] += 1
            failure = code.step(candles, i, 0, lane, candles.new(i))
            if failure is not None:
                return failure.message
        return None

    def step(self, history: History, i: int, new: Sequence[New] = ()) -> list[Step]:
        """Step every bot on row `i` of `history`, and on what is `new` of higher timeframes; what changed, in
        the order of joining."""
        code = self._code()
        lanes = self._used or self._in_use()
        seen, target = lanes.seen, lanes.target
        seen += 1
        before = target.tobytes()
        failures: dict[int, str] = {}
        failure = code.step(history, i, 0, lanes, new)
        while failure is not None:
            failures[failure.bot] = failure.message
            first = failure.bot + 1
            failure = None
            if first < len(seen):
                failure = code.step(history, i, first, lanes, new)
        if not failures and target.tobytes() == before:
            return []
        return self._changes(np.frombuffer(before), failures)

    def _changes(self, previous: npt.NDArray[np.float64], failures: dict[int, str]) -> list[Step]:
        ids = list(self.rows)
        changed = np.flatnonzero(self._lanes.target[: len(ids)] != previous).tolist()
        return [
            Step(
                ids[row],
                float(previous[row]),
                float(self._lanes.target[row]),
                self._named(self._lanes.values[row]),
                failures.get(row),
            )
            for row in sorted({*changed, *failures})
        ]

    def _in_use(self) -> Lanes:
        """The rows in use, kept between steps: slicing them anew costs more than a step."""
        self._used = Lanes._make(array[: len(self.rows)] for array in self._lanes)
        return self._used

    def state(self) -> list[Any]:
        """What `restore` needs; the same history gives the same."""
        *kept, _ = self._in_use()  # the values are of the last step
        return [list(self.rows), self.lookback, *(array.tobytes() for array in kept)]

    def restore(self, state: list[Any]) -> None:
        ids, self.lookback, seen, params, rows, target = state
        count = len(ids)
        self.rows = {bot: row for row, bot in enumerate(ids)}
        if count:
            self._lanes = Lanes(
                np.frombuffer(seen, np.int64).copy(),
                np.frombuffer(params).reshape(count, -1).copy(),
                np.frombuffer(rows).reshape(count, -1).copy(),
                np.frombuffer(target).copy(),
                np.zeros((count, self._lanes.values.shape[1])),
            )
        self._used = None

    def _named(self, values: npt.NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self._code().value_names, values.tolist(), strict=True))

    def _code(self) -> StrategyCode:
        if self.code is None:
            raise CodeMissingError(
                f"the code of strategy {self.key.strategy!r} with hash {self.key.code_hash} is not at hand,"
                " but bots are recorded with it: put its file back, or the archive folder that kept it;"
                " or carry it here from another machine: `tcpdashboard strategies --archive FILE` there,"
                " `--import FILE` here"
            )
        return self.code

    def _grow(self) -> None:
        double = 2 * len(self._lanes.seen) + 4

        def grown(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            wider = np.zeros((double, *array.shape[1:]), array.dtype)
            wider[: len(array)] = array
            return wider

        self._lanes = Lanes._make(grown(array) for array in self._lanes)


Row: TypeAlias = tuple[float, float, float, float, float]
"""Open, high, low, close, volume."""


def row_of(candle: Candle) -> Row:
    """A candle as strategies see it."""
    unit, lot = 10**candle.price_scale, 10**candle.size_scale
    return (
        candle.open / unit,
        candle.high / unit,
        candle.low / unit,
        candle.close / unit,
        candle.volume / lot,
    )


class Warming(Struct):
    """Candles that wait for the command that lets a bot step through them.

    `bars` of them came in records, the last ends at `end`: columns `ends` int64 and `values` float64 (n, 5),
    a record each. `meanwhile` closed after the first record, with their ends.
    """

    timeframe: Timeframe
    bars: int = 0
    end: int = 0
    ends: list[bytes] = field(default_factory=list[bytes])
    values: list[bytes] = field(default_factory=list[bytes])
    meanwhile: list[tuple[int, Row]] = field(default_factory=list[tuple[int, Row]])


class CandleHistory:
    """The last closed candles of one timeframe as floats, oldest first, for the blocks to read back in.

    `ends` int64 (n,), `values` float64 (n, 5): open, high, low, close, volume. Row `last` is the newest.
    `held` of the rows belong to the state: those that a restart brings back.
    """

    def __init__(self) -> None:
        self.ends = np.zeros(64, np.int64)
        self.values = np.full((64, 5), np.nan)
        self.count = 0
        self.held = 0

    @property
    def last(self) -> int:
        return self.count - 1

    def append(self, end: int, row: Row, keep: int) -> None:
        """Add a candle; at least the newest `keep` are held."""
        if self.count == len(self.ends):
            self._shift(keep)
        self.ends[self.count] = end
        self.values[self.count] = row
        self.count += 1
        self.held = min(self.held + 1, keep)

    def precede(self, candles: History, keep: int) -> None:
        """Put what `candles` know before the held ones, until `keep` are held. Both end with the candle that
        closed last, unless no bot has stepped here since: then the held ones are of no more use."""
        held = self.held if self.count and self.ends[self.last] == candles.ends[-1] else 0
        before = slice(max(len(candles.ends) - keep, 0), len(candles.ends) - held)
        if before.start >= before.stop:
            return
        mine = slice(self.count - held, self.count)
        ends = np.concatenate([candles.ends[before], self.ends[mine]])
        values = np.concatenate([candles.values[before], self.values[mine]])
        self._hold(ends, values)

    def state(self) -> list[bytes]:
        first = self.count - self.held
        return [self.ends[first : self.count].tobytes(), self.values[first : self.count].tobytes()]

    def restore(self, state: list[bytes]) -> None:
        self._hold(np.frombuffer(state[0], np.int64), np.frombuffer(state[1]).reshape(-1, 5))

    def _hold(self, ends: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> None:
        self.count = self.held = len(ends)
        size = 2 * self.count + 64
        self.ends = np.zeros(size, np.int64)
        self.values = np.full((size, 5), np.nan)
        self.ends[: self.count] = ends
        self.values[: self.count] = values

    def _shift(self, keep: int) -> None:
        held = min(keep, self.count)
        size = max(2 * held, 64)
        ends, values = np.zeros(size, np.int64), np.full((size, 5), np.nan)
        ends[:held] = self.ends[self.count - held : self.count]
        values[:held] = self.values[self.count - held : self.count]
        self.ends, self.values, self.count = ends, values, held
