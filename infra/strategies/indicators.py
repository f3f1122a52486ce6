"""What a bot's indicators were: its strategy run again over the candles that it saw.

A compiled strategy must be run from its life's first candle, or from a state that such a run was in. To read
a year of candles takes seconds, to step over them milliseconds: so states are kept at intervals, and a page
goes on from the nearest one before it. Only a candle's first revision is read, which never changes.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, and_, or_, select

from infra.db import tables
from infra.db.pages import Window
from infra.present.values import iso
from infra.strategies.lives import Life
from infra.strategies.registry import Strategies
from projections.strategies.code import CompiledCode, Midway, StrategyCode, StrategyRunError
from projections.strategies.histories import Floats, Higher, History, Ints, beside
from streams.events import TIMEFRAMES_NS, Params, Timeframe

EVERY = 2_048
"""Candles between two states that are kept: so many are read at most before a page."""
KEPT_MAX = 20_000
"""States kept in all, of some hundred bytes each; those of the life that was asked for first go first."""

_CANDLE = tables.candles.c
_COLUMNS = (
    _CANDLE.timestamp, _CANDLE.open, _CANDLE.high, _CANDLE.low, _CANDLE.close, _CANDLE.volume,
    _CANDLE.price_scale, _CANDLE.size_scale,
)  # fmt: skip

Row = tuple[int, dict[str, float]]
"""Close time in ns, and values by name; NaN until warm."""


class WarmedElsewhereError(LookupError):
    """A home does not hold the candles that a bot was warmed on."""


class Kept(NamedTuple):
    """A bot behind one of its candles, of which `values` are the numbers."""

    end_ns: int
    values: bytes
    bot: Midway


class Indicators:
    """The indicators of all bots. Safe to use from several threads."""

    def __init__(self, database: Engine, strategies: Strategies, every: int = EVERY) -> None:
        self._database, self._strategies, self._every = database, strategies, every
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, dict[int, Kept]] = OrderedDict()
        """By life, and by the number of candles seen."""

    def page(self, lives: list[Life], market: str, window: Window) -> list[Row]:
        """The candles of a bot that `window` asks for.

        A strategy that works on frames steps on these candles alone, each with the whole of its window.
        Raises `LookupError` where a life's code or the candles that it was warmed on are not at hand,
        `StrategyRunError` where the strategy fails.
        """
        found: list[Row] = []
        for life in reversed(lives) if window.newest else lives:
            if len(found) >= window.limit:
                break
            code = self._strategies.get(life.change.strategy, life.change.code_hash)
            if code is None:
                raise LookupError(
                    f"strategy {life.change.strategy} with code {life.change.code_hash[:12]} is not at hand"
                )
            left = window._replace(limit=window.limit - len(found))
            with self._database.connect() as connection:
                seen = _Seen(connection, life, market)
                wanted = seen.wanted(left)
                if not len(wanted):
                    continue
                seen.check_warm_up()
                params = life.change.params
                if isinstance(code, CompiledCode):
                    values = self._run(seen, code, params, wanted)
                else:
                    values = _stepped(seen, code, params, wanted)
            named = [dict(zip(code.value_names, row, strict=True)) for row in values.tolist()]
            rows = list(zip(wanted.tolist(), named, strict=True))
            found += rows[::-1] if window.newest else rows
        return found

    def _run(self, seen: "_Seen", code: CompiledCode, params: Params, wanted: Ints) -> Floats:
        """float64 (len(wanted), K): the values behind the wanted candles, which rise."""
        key = (*seen.identity, code.code_hash, tuple(sorted(params.items())))
        lookback = code.lookback(params)
        bot, history = self._nearest(seen, code, lookback, key, int(wanted[0]))
        after_ns = int(history.ends[-1]) if len(history.ends) else None
        above = [_Above(seen.above(one, code.need(params, one)), after_ns, lookback) for one in code.higher]
        values = np.empty((len(wanted), len(code.value_names)))
        for rows in seen.chunks(after_ns, int(wanted[-1]), self._every):
            first = len(history.ends)
            history = _joined(history, _history(rows))
            higher = tuple(one.beside(history.ends) for one in above)
            run = code.go_on(bot, history._replace(higher=higher), first, params)
            here = np.flatnonzero(history.ends[first:] >= wanted[0]) + first
            values[np.searchsorted(wanted, history.ends[here])] = run.values[here]
            history = History(history.ends[-lookback:], history.values[-lookback:])
            if len(rows) == self._every:
                self._keep(key, bot, history)
        return values

    def _nearest(
        self, seen: "_Seen", code: CompiledCode, lookback: int, key: Any, before_ns: int
    ) -> tuple[Midway, History]:
        """A bot at the last state that is kept before a time, and the candles that it may read back."""
        with self._lock:
            kept = self._kept.get(key, {})
            near = max((one for one in kept.values() if one.end_ns < before_ns), default=None, key=_end)
        if near is not None:
            back = min(lookback, near.bot.seen)
            rows = seen.last(near.end_ns, back)
            history = _history(rows)
            if len(rows) == back and (rows[-1][0], history.values[-1].tobytes()) == near[:2]:
                return Midway(near.bot.seen, near.bot.target, near.bot.state.copy()), history
            with self._lock:  # the database holds other candles now
                self._kept.pop(key, None)
        return code.fresh(), _history([])

    def _keep(self, key: Any, bot: Midway, history: History) -> None:
        behind = Midway(bot.seen, bot.target, bot.state.copy())
        with self._lock:
            kept = self._kept.setdefault(key, {})
            kept[bot.seen] = Kept(int(history.ends[-1]), history.values[-1].tobytes(), behind)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > KEPT_MAX:
                self._kept.popitem(last=False)


def _end(kept: Kept) -> int:
    return kept.end_ns


def _stepped(seen: "_Seen", code: StrategyCode, params: Params, wanted: Ints) -> Floats:
    """The same of a strategy that works on frames."""
    first, last = int(wanted[0]), int(wanted[-1])
    back = seen.last(first - 1, code.lookback(params) - 1)
    history = _history([*back, *(row for rows in seen.chunks(first - 1, last, EVERY) for row in rows)])
    bot = code.lanes([params])
    values = np.full((len(wanted), len(code.value_names)), np.nan)
    for place in range(len(wanted)):
        i = len(back) + place
        bot.seen[0] = i + 1
        failure = code.step(history, i, 0, bot._replace(values=values[place : place + 1]))
        if failure is not None:
            raise StrategyRunError(f"{code.name} at {iso(int(history.ends[i]))}: {failure.message}")
    return values


class _Above:
    """The candles of a higher timeframe beside those that a bot goes on with behind a time."""

    def __init__(self, candles: "_Candles", after_ns: int | None, lookback: int) -> None:
        self._candles, self._lookback = candles, lookback
        self._known = _history([] if after_ns is None else candles.last(after_ns, lookback))

    def beside(self, ends: Ints) -> Higher:
        """Beside rows up to the last of these; of them those that are known have been stepped on."""
        known = self._known
        after_ns = int(known.ends[-1]) if len(known.ends) else None
        more = [row for rows in self._candles.chunks(after_ns, int(ends[-1]), EVERY) for row in rows]
        joined = _joined(known, _history(more))
        self._known = History(joined.ends[-self._lookback :], joined.values[-self._lookback :])
        return beside(ends, joined, len(known.ends))


# ------------------------------------------------------------------ candles


class _Candles:
    """Some of the candles of a market and timeframe as they closed, oldest first."""

    def __init__(self, connection: Connection, market: str, timeframe: Timeframe) -> None:
        self._connection = connection
        self._mine = and_(_CANDLE.market == market, _CANDLE.timeframe == timeframe, _CANDLE.revision == 0)
        self._step_ns = TIMEFRAMES_NS[timeframe]

    def narrow(self, *conditions: ColumnElement[bool]) -> None:
        self._mine = and_(self._mine, *conditions)

    def last(self, until_ns: int, count: int) -> list[Any]:
        """Rows of the last `count` up to a time."""
        read = select(*_COLUMNS).where(self._mine, _CANDLE.timestamp <= until_ns)
        rows = self._connection.execute(read.order_by(_CANDLE.timestamp.desc()).limit(count)).all()
        return list(rows[::-1])

    def chunks(self, after_ns: int | None, until_ns: int, size: int) -> Iterator[Sequence[Any]]:
        """Rows after a time up to another, `size` at once."""
        read = select(*_COLUMNS).where(self._mine, _CANDLE.timestamp <= until_ns)
        if after_ns is not None:
            read = read.where(_CANDLE.timestamp > after_ns)
        chunked = self._connection.execution_options(yield_per=size)
        yield from chunked.execute(read.order_by(_CANDLE.timestamp)).partitions()


class _Seen(_Candles):
    """The candles that a bot stepped on in one life, behind those that it was warmed on.

    Their causes rise with their ends, so that a life, which is a range of causes, is a range of ends.
    """

    def __init__(self, connection: Connection, life: Life, market: str) -> None:
        super().__init__(connection, market, life.change.timeframe)
        self.identity = (market, life.change.timeframe, life.after)
        self._market, self._warmed = market, life.change.warmed
        # asked for by ends, which are indexed; the causes too, for candles that are projected meanwhile
        self._before = self._end_of(life.after)
        within = [
            _CANDLE.timestamp > self._before - life.change.warmed * self._step_ns,
            or_(_CANDLE.timestamp <= self._before, _CANDLE.cause_offset > life.after),
        ]
        if life.until is not None:
            within += [_CANDLE.timestamp <= self._end_of(life.until), _CANDLE.cause_offset <= life.until]
        self.narrow(*within)

    def wanted(self, window: Window) -> Ints:
        """The ends of those that a window asks for: none before the life."""
        read = select(_CANDLE.timestamp).where(self._mine, _CANDLE.timestamp > self._before)
        if window.after_ns is not None:
            read = read.where(_CANDLE.timestamp > window.after_ns)
        if window.until_ns is not None:
            read = read.where(_CANDLE.timestamp <= window.until_ns)
        order = _CANDLE.timestamp.desc() if window.newest else _CANDLE.timestamp
        ends = self._connection.execute(read.order_by(order).limit(window.limit)).scalars().all()
        return np.sort(np.array(ends, np.int64))

    def above(self, timeframe: Timeframe, need: int) -> _Candles:
        """Those of a higher timeframe that it stepped on, behind so many of before if it was warmed: with
        these its bits are the same, whatever more it was warmed on."""
        step_ns, candles = TIMEFRAMES_NS[timeframe], _Candles(self._connection, self._market, timeframe)
        known = need if self._warmed else 0
        candles.narrow(_CANDLE.timestamp > (self._before // step_ns - known) * step_ns)
        return candles

    def check_warm_up(self) -> None:
        """Raises WarmedElsewhereError where some of those before the life are in another home."""
        read = select(_CANDLE.timestamp).where(self._mine).order_by(_CANDLE.timestamp).limit(1)
        first = self._connection.execute(read).scalar_one()
        if self._warmed and first > self._before - (self._warmed - 1) * self._step_ns:
            raise WarmedElsewhereError(
                f"the bot was warmed on {self._warmed} candles, and this home begins after the first of them:"
                " it is a copy of a range"
            )

    def _end_of(self, offset: int) -> int:
        """The end, to less than a candle, up to which candles have causes at or before a journal offset."""
        read = select(_CANDLE.timestamp, _CANDLE.cause_offset).where(self._mine)
        first = self._connection.execute(read.order_by(_CANDLE.timestamp).limit(1)).first()
        last = self._connection.execute(read.order_by(_CANDLE.timestamp.desc()).limit(1)).first()
        if first is None or last is None or first.cause_offset > offset:
            return -1
        low, high = first.timestamp, last.timestamp
        if last.cause_offset <= offset:
            return high
        # the candle at or before `low` is within, that at or before `high` is not
        while high - low >= self._step_ns:
            middle = (low + high) // 2
            upto = read.where(_CANDLE.timestamp <= middle).order_by(_CANDLE.timestamp.desc())
            row = self._connection.execute(upto.limit(1)).one()
            low, high = (middle, high) if row.cause_offset <= offset else (low, row.timestamp)
        return low


def _history(rows: Sequence[Any]) -> History:
    # the division that the fold makes: the same floats
    values = [(*(price / 10 ** row[6] for price in row[1:5]), row[5] / 10 ** row[7]) for row in rows]
    ends = np.array([row[0] for row in rows], np.int64)
    return History(ends, np.array(values, np.float64).reshape(-1, 5))


def _joined(one: History, other: History) -> History:
    return History(np.concatenate([one.ends, other.ends]), np.concatenate([one.values, other.values]))
