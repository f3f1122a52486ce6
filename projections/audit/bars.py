"""Candles that were put before a command, held against the market's own. Those without one have no effect.

A copy of a range warms its bots on candles from before the range: those are in its source, and are not
compared.
"""

import numpy as np

from projections import history
from projections.history import END, NONE, PRICE_SCALE, SIZE_SCALE, Rows
from streams.codec import UndecodableError, decode_input
from streams.events import Bars, WarmedCommand
from streams.genesis import genesis_of
from streams.log import Log
from streams.records import Record

_MARKS = (str(Bars.__struct_config__.tag).encode(), b"warm_up")
_NAMES = ("end", "open", "high", "low", "close", "volume")


class BarsCheck:
    """Compares with the recorded stream of candles. Keeps what it read last, since a year of candles is put
    into many records."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._of = ("", "")
        self._since = 0
        self._rows = NONE
        self._is_copy = False
        self._faults: dict[str, tuple[Record, str]] = {}

    def fault(self, record: Record, stop: int, *, whole: bool) -> tuple[Record, str] | None:
        """Of a command whose candles differ from those before offset `stop`: their record, and how.

        `whole`: whether these are all that closed before it.
        """
        if not record.offset:
            self._is_copy = bool(genesis_of(record).source_home)
        if not any(mark in record.value for mark in _MARKS):
            return None
        try:
            event = decode_input(record.value).event
        except UndecodableError:
            return None
        if isinstance(event, WarmedCommand):
            found = (self._faults.get(name) for name in event.warm_ups.values())
            return next(filter(None, found), None)
        if isinstance(event, Bars) and event.warm_up and event.timestamp:
            why = self._differs(event, stop, whole=whole)
            if why:
                self._faults.setdefault(event.warm_up, (record, why))
        return None

    def _differs(self, bars: Bars, stop: int, *, whole: bool) -> str:
        mine, own = _same_scale(_rows(bars), self._own(bars, stop))
        first, last = (own[0, END], own[-1, END]) if len(own) else (0, 0)
        places = np.searchsorted(own[:, END], mine[:, END])
        for row, place in zip(mine, places.tolist(), strict=True):
            if place < len(own) and (own[place] == row).all():
                continue
            if self._is_copy and row[END] < first:
                continue
            if row[END] <= last or whole:
                found = own[place : place + 1]
                return _named(bars, row, found if len(found) and found[0, END] == row[END] else NONE)
        return ""

    def _own(self, bars: Bars, stop: int) -> Rows:
        first, last, kept = bars.timestamp[0], bars.timestamp[-1], self._rows
        if (
            self._of != (bars.market, bars.timeframe)
            or not len(kept)
            or not self._since <= first <= last <= kept[-1, END]
        ):
            self._since = first
            self._of = (bars.market, bars.timeframe)
            self._rows = history.closed(self._log, *self._of, since=first, stop=stop)
        return self._rows


def _rows(bars: Bars) -> Rows:
    columns = (bars.timestamp, bars.open, bars.high, bars.low, bars.close, bars.volume)
    scales = np.full((len(bars.timestamp), 2), (bars.price_scale, bars.size_scale), np.int64)
    return np.column_stack([np.array(columns, np.int64).T, scales])


def _same_scale(mine: Rows, own: Rows) -> tuple[Rows, Rows]:
    both = history.scaled(np.concatenate([mine, own]))
    return both[: len(mine)], both[len(mine) :]


def _named(bars: Bars, row: Rows, own: Rows) -> str:
    end = int(row[END])
    at = f"bars {bars.warm_up} of {bars.market}: the candle of {bars.timeframe} that ends at {end} ns"
    if not len(own):
        return f"{at} is none of the market's"
    column = int(np.flatnonzero(own[0] != row)[0])
    scales = int(row[PRICE_SCALE]), int(row[SIZE_SCALE])
    return f"{at} has {_NAMES[column]} {row[column]}, the market's own {own[0, column]} (scales {scales})"
