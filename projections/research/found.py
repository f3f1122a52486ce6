"""What a pass over a journal has found so far, in tables that grow, and the columns that they make.

`projections.research.waiting` writes them.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from projections.fold.by_market import MarketRows
from projections.fold.candles import CLOSED, TIMEFRAMES
from projections.research.arrays import Zeros, stretches
from projections.research.columns import BAR, NONE_YET, NOT_KEPT, TRADE
from projections.research.waiting import BY_EVENT, CLOSE, MET, WAIT, WAITING, wait, walk
from streams.ticks import I8

V = npt.NDArray[np.void]

_CANDLE = ("end", "open", "high", "low", "close", "volume", "trades", "flags", "first_offset", "last_offset")
_NO_NUMBERS = np.empty(0, np.int64)
_EVENTS = 64
_ROWS = 1024


class Parts(NamedTuple):
    """Of a timeframe, as in `Columns`; `filling` int64[E] is the trade of each event."""

    bars: V
    final: V
    revisions: I8
    trades: V
    filling: I8


class Found:
    """`mark` and `back` take back what a record led to: nothing before it is touched for good."""

    def __init__(self, timeframes: list[str], zeros: Zeros) -> None:
        self._zeros = zeros
        self._wanted = sum(1 << _number(timeframe) for timeframe in {*timeframes})
        self._head = np.zeros(4, np.int64)
        self._told, self._met = zeros(_ROWS, CLOSED), zeros(_ROWS, MET)
        self._trades, self._waiting = zeros(_ROWS, TRADE), zeros(_ROWS, WAIT)
        self._events = np.zeros(_EVENTS, np.int64)

    @property
    def close(self) -> int:
        """The market's last, 0 before the first."""
        return int(self._head[CLOSE])

    @property
    def waits(self) -> bool:
        return bool(self._head[WAITING])

    def rescale(self, factor: int) -> None:
        self._head[CLOSE] *= factor

    def mark(self) -> I8:
        return self._head.copy()

    def back(self, mark: I8) -> None:
        """As it was at `mark`; nothing may be found behind it any more."""
        self._head[:] = mark

    def event(self, number: int, decided: int) -> None:
        """What happened waits for its trade."""
        if number == len(self._events):
            self._events = self._grown(self._events, number + 1)
        self._events[number] = NONE_YET
        self._make_room(0)
        wait(self._head, self._waiting, decided, BY_EVENT, number, number + 1)

    def rows(self, closed: V, rows: MarketRows, record: I8) -> None:
        """See `waiting.walk`."""
        self._make_room(len(closed))
        number = _NO_NUMBERS if rows.row is None else rows.row
        walk(
            self._head, closed, rows.time, rows.price, rows.size, rows.kind, number, record, self._wanted,
            self._told, self._met, self._events, self._trades, self._waiting,
        )  # fmt: skip

    def parts(self, timeframe: str, events: int) -> Parts:
        """Of a timeframe, with so many events."""
        told_rows, trade_rows, _, _ = self._head.tolist()
        bars, revised = self._bars(_number(timeframe), told_rows)
        decided = self._events[:events]
        trades, numbers = self._used(self._trades[:trade_rows], bars, decided)
        for rows in stretches(len(bars)):
            bars["trade"][rows] = numbers[np.minimum(bars["trade"][rows], trade_rows)]
        final, revisions = self._final(bars, *revised)
        return Parts(bars, final, revisions, trades, numbers[np.minimum(decided, trade_rows)])

    def _bars(self, timeframe: int, count: int) -> tuple[V, tuple[V, V]]:
        """The candles of a timeframe as they closed, and their revisions in turn, told and met."""
        told, met = self._told[:count], self._met[:count]
        closed = 0
        for rows in stretches(count):
            part = told[rows]
            closed += np.count_nonzero((part["timeframe"] == timeframe) & (part["revision"] == 0))
        bars, done = self._zeros(int(closed), BAR), 0
        revised = [np.empty(0, np.intp)]
        for rows in stretches(count):
            part, of_frame = told[rows], told["timeframe"][rows] == timeframe
            first = of_frame & (part["revision"] == 0)
            to = slice(done, done + int(np.count_nonzero(first)))
            for name in BAR.names or ():
                bars[name][to] = (told if name in _CANDLE else met)[name][rows][first]
            done = to.stop
            revised.append(rows.start + np.flatnonzero(of_frame & ~first))
        which = np.concatenate(revised)
        return bars, (told[which], met[which])

    def _final(self, bars: V, told: V, met: V) -> tuple[V, I8]:
        """The bars in their last revision, and its number; `told` are the revisions in turn."""
        revisions: I8 = self._zeros(len(bars), np.int64)
        if not len(told):
            return bars, revisions
        final = self._zeros(len(bars), BAR)
        for rows in stretches(len(bars)):
            final[rows] = bars[rows]
        _, last = np.unique(told["end"][::-1], return_index=True)
        last = len(told) - 1 - last
        at = np.searchsorted(bars["end"], told["end"][last])
        for name in _CANDLE:
            final[name][at] = told[name][last]
        final["era"][at] = met["era"][last]
        revisions[at] = told["revision"][last]
        return final, revisions

    def _used(self, trades: V, bars: V, decided: I8) -> tuple[V, I8]:
        """The trades that fill, each with the next one; and by former number the new one, behind them
        `NONE_YET`."""
        count = len(trades)
        fills, used = (self._zeros(count + 1, np.bool_) for _ in range(2))
        fills[np.minimum(decided, count)] = True
        for rows in stretches(len(bars)):
            fills[np.minimum(bars["trade"][rows], count)] = True
        fills[count] = False
        for rows in stretches(count):
            used[np.minimum(trades["next"][rows], count)[fills[rows]]] = True
        used[count] = False
        number: I8 = self._zeros(count + 1, np.int64)
        kept = 0
        for rows in stretches(count + 1):
            used[rows] |= fills[rows]
            here = used[rows]
            number[rows] = np.where(here, kept + np.cumsum(here) - 1, NONE_YET)
            kept += int(np.count_nonzero(here))
        found, done = self._zeros(kept, TRADE), 0
        for rows in stretches(count):
            here, part = used[rows], trades[rows]
            following = np.where(fills[rows], number[np.minimum(part["next"], count)], NOT_KEPT)
            to = slice(done, done + int(np.count_nonzero(here)))
            found[to] = part[here]
            found["next"][to] = following[here]
            done = to.stop
        return found, number

    def _make_room(self, closed: int) -> None:
        """For one record that closes so many candles."""
        told, trades, waiting, _ = self._head.tolist()
        more = 2 * (waiting + closed) + 1
        if told + closed > len(self._told):
            self._told, self._met = (
                self._grown(self._told, told + closed),
                self._grown(self._met, told + closed),
            )
        if trades + more > len(self._trades):
            self._trades = self._grown(self._trades, trades + more)
        if waiting + more > len(self._waiting):
            self._waiting = self._grown(self._waiting, waiting + more)

    def _grown(self, table: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
        larger = self._zeros(max(2 * len(table), rows), table.dtype)
        for part in stretches(len(table)):
            larger[part] = table[part]
        return larger


def _number(timeframe: str) -> int:
    """Raises `ValueError` for none of ours."""
    return TIMEFRAMES.index(timeframe)  # type: ignore[arg-type] - any other is refused by it
