"""What a pass over a journal has found so far, in tables that grow, and the columns that they make.

`projections.research.waiting` writes them.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from projections.fold.by_market import MarketRows
from projections.fold.candles import CLOSED, TIMEFRAMES
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

    def __init__(self, timeframes: list[str]) -> None:
        self._wanted = sum(1 << _number(timeframe) for timeframe in {*timeframes})
        self._head = np.zeros(4, np.int64)
        self._told, self._met = np.zeros(_ROWS, CLOSED), np.zeros(_ROWS, MET)
        self._trades, self._waiting = np.zeros(_ROWS, TRADE), np.zeros(_ROWS, WAIT)
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
            self._events = _grown(self._events, number + 1)
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
        told, met = self._told[:told_rows], self._met[:told_rows]
        of_frame = told["timeframe"] == _number(timeframe)
        told, met = told[of_frame], met[of_frame]
        closed = told["revision"] == 0
        bars = _bars(told[closed], met[closed])
        decided = self._events[:events]
        trades, numbers = _used(self._trades[:trade_rows], [bars["trade"], decided])
        bars["trade"] = numbers[np.minimum(bars["trade"], trade_rows)]
        final, revisions = _final(bars, told[~closed], met[~closed])
        return Parts(bars, final, revisions, trades, numbers[np.minimum(decided, trade_rows)])

    def _make_room(self, closed: int) -> None:
        """For one record that closes so many candles."""
        told, trades, waiting, _ = self._head.tolist()
        more = 2 * (waiting + closed) + 1
        if told + closed > len(self._told):
            self._told, self._met = _grown(self._told, told + closed), _grown(self._met, told + closed)
        if trades + more > len(self._trades):
            self._trades = _grown(self._trades, trades + more)
        if waiting + more > len(self._waiting):
            self._waiting = _grown(self._waiting, waiting + more)


def _number(timeframe: str) -> int:
    """Raises `ValueError` for none of ours."""
    return TIMEFRAMES.index(timeframe)  # type: ignore[arg-type] - any other is refused by it


def _grown(table: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    larger = np.zeros(max(2 * len(table), rows), table.dtype)
    larger[: len(table)] = table
    return larger


def _bars(told: V, met: V) -> V:
    bars = np.empty(len(told), BAR)
    for name in BAR.names or ():
        bars[name] = (told if name in _CANDLE else met)[name]
    return bars


def _final(bars: V, told: V, met: V) -> tuple[V, I8]:
    """The bars in their last revision, and its number; `told` are the revisions in turn."""
    final, revisions = bars.copy(), np.zeros(len(bars), np.int64)
    _, last = np.unique(told["end"][::-1], return_index=True)
    last = len(told) - 1 - last
    at = np.searchsorted(bars["end"], told["end"][last])
    for name in _CANDLE:
        final[name][at] = told[name][last]
    final["era"][at] = met["era"][last]
    revisions[at] = told["revision"][last]
    return final, revisions


def _used(trades: V, filling: list[I8]) -> tuple[V, I8]:
    """The trades that fill, each with the next one; and by former number the new one, behind them
    `NONE_YET`."""
    count = len(trades)
    fills = np.zeros(count + 1, np.bool_)
    for numbers in filling:
        fills[np.minimum(numbers, count)] = True
    fills[count] = False
    following = np.minimum(trades["next"], count)
    used = fills.copy()
    used[following[fills[:count]]] = True
    used[count] = False
    number = np.full(count + 1, NONE_YET)
    number[used] = np.arange(np.count_nonzero(used))
    kept = trades[used[:count]]
    kept["next"] = np.where(fills[:count], number[following], NOT_KEPT)[used[:count]]
    return kept, number
