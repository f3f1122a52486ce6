"""Long silences in pieces: no record brings a market so far that it closes more candles than a fold does in
a moment.

Why: ADR 26.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from streams.events import BACKFILL, TIMEFRAMES_NS, Clock, JournalEvent, TickBatch
from streams.ticks import I8, U2, Ticks, part, unpack

DAY_NS = TIMEFRAMES_NS["1d"]
RECORD_NS = 6 * DAY_NS
"""Rows that follow each other within a day may bring a market so far in one record."""
SILENCE_MAX_NS = 5 * 366 * DAY_NS
"""What comes later has a wrong time: it is written as it is, and the fold refuses it."""


class Pace:
    """How far the markets are that one writer appends to; one that is not known begins with its first
    row that is no backfill, or with an earlier one before it.

    `newest`: of markets that the journal holds, by key, in ns.
    """

    def __init__(self, newest: Mapping[str, int]) -> None:
        self._newest = dict(newest)

    def pieces(self, key: str, event: JournalEvent) -> Iterator[tuple[str, JournalEvent]]:
        """What is to be appended for an event: its rows in several batches where they bring a market far, and
        before what follows a silence of more than a day clock records of a day each."""
        if isinstance(event, TickBatch):
            try:
                ticks = unpack(event)
            except ValueError:  # the fold's to report
                yield key, event
            else:
                yield from self._batch(key, event, ticks)
            return
        if isinstance(event, Clock):
            for market in event.markets:
                yield from self._silence(market, event.time)
        yield key, event

    def _silence(self, market: str, time: int) -> Iterator[tuple[str, Clock]]:
        """A market's clock records up to a day before `time`, which it then has reached."""
        known = self._newest.get(market, time)
        if time - known < SILENCE_MAX_NS:
            for day in range(known + DAY_NS, time, DAY_NS):
                yield market, Clock(time=day, markets=(market,))
            self._newest[market] = max(known, time)

    def _batch(self, key: str, batch: TickBatch, ticks: Ticks) -> Iterator[tuple[str, JournalEvent]]:
        keys = [market.key for market in batch.markets]
        live = ticks.kind < BACKFILL
        for index, market in enumerate(keys):
            mine = np.flatnonzero(ticks.market == index)
            if market not in self._newest and len(mine):
                first = int(np.argmax(live[mine])) if live[mine].any() else len(mine)
                self._newest[market] = int(ticks.time[mine[: first + 1]].min())
        newest = self._further(keys, ticks.market[live], ticks.time[live])
        if all(time - self._newest[market] <= DAY_NS for market, time in newest.items()):
            self._newest |= newest
            yield key, batch
            return
        start, base = 0, dict(self._newest)
        for row in np.flatnonzero(live).tolist():
            market, time = keys[int(ticks.market[row])], int(ticks.time[row])
            silence = time - self._newest[market]
            if silence >= SILENCE_MAX_NS:
                continue
            if start < row and (silence > DAY_NS or time - base[market] > RECORD_NS):
                yield key, part(batch, ticks, start, row)
                start, base = row, dict(self._newest)
            yield from self._silence(market, time)
        yield key, part(batch, ticks, start, ticks.rows) if start else batch

    def _further(self, keys: Sequence[str], market: U2, time: I8) -> dict[str, int]:
        """How far rows bring their markets."""
        newest = np.full(len(keys), -1, np.int64)
        np.maximum.at(newest, market, time)
        further = zip(keys, newest.tolist(), strict=True)
        return {key: max(time, self._newest[key]) for key, time in further if time >= 0}
