"""What lies before a range of a journal: where each market's part of it begins, and the candles before that.

A bot of a range is warmed on the candles that closed before it. For the fold to take them, and for the first
candles of the range to be whole, the copy begins a little earlier: with the newest candle of the coarsest
timeframe in use that has trades.

Why: ADR 25.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from projections.history import WIDTH, Rows, row_of
from projections.strategies.code import Strategies
from streams.codec import UndecodableError, decode_output, encode, input_of
from streams.events import (
    TIMEFRAMES_NS,
    Candle,
    Clock,
    CreateBot,
    JournalEvent,
    Market,
    ReconfigureBot,
    StartBot,
    TickBatch,
    Timeframe,
    WarmedCommand,
)
from streams.journal import TYPE_HEADER, event_tag
from streams.log import Log
from streams.records import Input, Record
from streams.ticks import I8, Ticks, is_trade, pack, unpack
from streams.topics import CANDLES, JOURNAL

Frames = Mapping[str, set[Timeframe]]
"""Timeframes of the bots of each market."""
Mask = npt.NDArray[np.bool_]
_BEGINS = {b"", *(event_tag(kind).encode() for kind in (CreateBot, StartBot, ReconfigureBot))}


class Range(NamedTuple):
    """Event times in ns: `after` exclusive, `until` inclusive; None: no bound."""

    after: int | None = None
    until: int | None = None

    def holds(self, time_ns: int) -> bool:
        return (self.after is None or time_ns > self.after) and (self.until is None or time_ns <= self.until)

    def holds_each(self, times_ns: I8) -> Mask:
        inside = np.ones(len(times_ns), np.bool_)
        if self.after is not None:
            inside &= times_ns > self.after
        if self.until is not None:
            inside &= times_ns <= self.until
        return inside


WHOLE = Range()


class Edge(NamedTuple):
    """Where a market's part of a range begins: at its first row within, in the journal record `offset`.

    Rows with times above `since` are copied. `market` is the specification there, `candles` those of
    revision 0 that closed before that row, by the timeframes of the market's bots.
    """

    offset: int
    since: int
    market: Market
    candles: Mapping[str, Rows]


class Before(NamedTuple):
    """What a partition holds before a range.

    `edges` by market: of those that have bots and rows within, where the range has a beginning. `seen`: by
    the offset of a command that lets a strategy begin, how many candles had closed of each timeframe.
    `markets`: their first specifications. `traded`: those with trades within, of what was read. `above`: by
    bot, the higher timeframes that its strategy reads.
    """

    edges: Mapping[str, Edge] = {}
    seen: Mapping[int, Mapping[str, int]] = {}
    markets: Mapping[str, Market] = {}
    traded: Collection[str] = ()
    above: Mapping[int, Collection[Timeframe]] = {}


class Sources:
    """Which records of a journal partition the fold takes, by what each source numbered."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[int, int]] = {}

    def is_new(self, entry: Input) -> bool:
        """False for what the fold ignores."""
        if not entry.source:
            return True
        place = (entry.epoch, entry.sequence)
        if place < self._due.get(entry.source, (-1, 0)):
            return False
        self._due[entry.source] = (entry.epoch, entry.sequence + 1)
        return True


def frames_of(
    log: Log, partition: int, strategies: Strategies
) -> tuple[Frames, Mapping[int, set[Timeframe]]]:
    """The timeframes of the recorded bots, by market; and by bot those above its own that it ever read."""
    frames: defaultdict[str, set[Timeframe]] = defaultdict(set)
    above: defaultdict[int, set[Timeframe]] = defaultdict(set)
    created: dict[int, CreateBot] = {}
    for record in log.read(JOURNAL, partition, log.earliest(JOURNAL, partition)):
        event = _event(record) if dict(record.headers).get(TYPE_HEADER, b"") in _BEGINS else None
        if isinstance(event, CreateBot):
            created[event.bot_id] = event
            frames[event.market].add(event.timeframe)
        if isinstance(event, CreateBot | StartBot | ReconfigureBot) and event.bot_id in created:
            bot = created[event.bot_id]
            code = strategies.get(bot.strategy, event.code_hash or bot.code_hash)
            above[event.bot_id].update(code.higher if code else ())
            frames[bot.market] |= above[event.bot_id]
    return frames, above


def look_before(
    log: Log,
    partition: int,
    span: Range,
    frames: Frames,
    pipeline: Pipeline | None,
    progress: Callable[[int], None],
) -> Before:
    """Read a partition as far as needed. `pipeline` folds the candles before the range; None: there are none.

    `progress` is told how many records were read.
    """
    look = _Look(span, frames, pipeline)
    for record in log.read(JOURNAL, partition, 0, log.highwater(JOURNAL, partition)):
        look.take(record)
        progress(record.offset)
        if look.is_done:
            break
    return look.before


def first_within(batch: TickBatch, ticks: Ticks, span: Range) -> dict[str, int]:
    """The number of the first row within a range, by market."""
    inside = span.holds_each(ticks.time)
    rows = {
        market.key: np.flatnonzero(inside & (ticks.market == n)) for n, market in enumerate(batch.markets)
    }
    return {key: int(found[0]) for key, found in rows.items() if len(found)}


def before_first(batch: TickBatch, ticks: Ticks, first: Mapping[str, int]) -> Mask:
    """The rows of the markets in `first` that come before the row that it says."""
    bounds = np.array([first.get(market.key, 0) for market in batch.markets])
    return np.arange(ticks.rows) < bounds[ticks.market]


class _Look:
    """Goes through the records of a partition, in order."""

    def __init__(self, span: Range, frames: Frames, pipeline: Pipeline | None) -> None:
        self._span, self._frames, self._pipeline = span, frames, pipeline
        self._sources = Sources()
        self._markets: dict[str, Market] = {}
        """Their newest specifications."""
        self._bots: dict[int, str] = {}
        """Their markets."""
        self._candles: defaultdict[tuple[str, str], array[int]] = defaultdict(lambda: array("q"))
        self._traded: dict[tuple[str, str], int] = {}
        """The end of the newest candle that has trades."""
        self._edges: dict[str, Edge] = {}
        self._seen: dict[int, dict[str, int]] = {}
        self._first: dict[str, Market] = {}
        self._within: set[str] = set()
        self.before = Before(self._edges, self._seen, self._first, self._within)

    @property
    def is_done(self) -> bool:
        begun = self._span.after is None or self._edges.keys() >= self._frames.keys()
        return begun and bool(self._within) and self._within >= self._frames.keys()

    def take(self, record: Record) -> None:
        try:
            entry = input_of(record)
            ticks = unpack(entry.event) if isinstance(entry.event, TickBatch) else None
        except ValueError:
            self._fold(record)
            return
        if not self._sources.is_new(entry):
            return
        event = entry.event
        if isinstance(event, Market):
            self._markets[event.key] = event
            self._first.setdefault(event.key, event)
        if isinstance(event, CreateBot):
            self._bots[event.bot_id] = event.market
        if isinstance(event, WarmedCommand) and event.bot_id in self._bots:
            key = self._bots[event.bot_id]
            self._seen[record.offset] = {
                t: len(self._candles[key, t]) // WIDTH for t in self._frames.get(key, ())
            }
        if isinstance(event, TickBatch) and ticks is not None:
            self._rows(record, entry, event, ticks)
            return
        if isinstance(event, Clock) and self._span.holds(event.time):
            self._begin(event.markets, record.offset)
        self._fold(record)

    def _rows(self, record: Record, entry: Input, batch: TickBatch, ticks: Ticks) -> None:
        traded = np.unique(ticks.market[self._span.holds_each(ticks.time) & is_trade(ticks.kind)])
        self._within.update(batch.markets[n].key for n in traded.tolist())
        first = first_within(batch, ticks, self._span)
        first = {key: row for key, row in first.items() if key in self._frames and key not in self._edges}
        if not first or self._span.after is None:
            self._fold(record)
            return
        early = before_first(batch, ticks, first)
        self._fold(record, replace(entry, event=pack(batch.markets, ticks.take(early))))
        self._begin(first, record.offset)
        self._fold(record, Input("", 0, 0, pack(batch.markets, ticks.take(~early))))

    def _begin(self, markets: Iterable[str], offset: int) -> None:
        for key in markets if self._span.after is not None else ():
            if key in self._frames and key in self._markets and key not in self._edges:
                candles = {t: self._of(key, t) for t in self._frames[key]}
                self._edges[key] = Edge(offset, self._since(key), self._markets[key], candles)

    def _of(self, key: str, timeframe: Timeframe) -> Rows:
        return np.array(self._candles[key, timeframe], np.int64).reshape(-1, WIDTH)

    def _since(self, key: str) -> int:
        if self._pipeline is None:
            assert self._span.after is not None
            return self._span.after
        coarsest = max(self._frames[key], key=TIMEFRAMES_NS.__getitem__)
        end = self._traded.get((key, coarsest))
        # a candle that is closed on the left holds the nanosecond at which it begins
        return -1 if end is None else end - TIMEFRAMES_NS[coarsest] - (self._markets[key].closed == "left")

    def _fold(self, record: Record, entry: Input | None = None) -> None:
        if self._pipeline is None or self._edges.keys() >= self._frames.keys():
            return
        value = record.value if entry is None else encode(entry)
        place = self._pipeline.applied + 1
        for item in self._pipeline.fold(record._replace(offset=place, value=value)).derived:
            if item.topic == CANDLES:
                self._keep(item)

    def _keep(self, item: Derived) -> None:
        key = item.key.decode()
        for candle in decode_output(item.value).events:
            if not isinstance(candle, Candle) or candle.revision:
                continue
            if candle.timeframe not in self._frames.get(key, ()):
                continue
            if not candle.empty:
                self._traded[key, candle.timeframe] = candle.timestamp
            self._candles[key, candle.timeframe].extend(row_of(candle))


def _event(record: Record) -> JournalEvent | None:
    try:
        return input_of(record).event
    except UndecodableError:
        return None
