"""What the collector keeps for one provider: its markets' places in batches, and its promises."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.exchange.asked import venue_of
from infra.exchange.counts import Counts
from infra.exchange.feed_states import FeedStates
from infra.exchange.lost import Lost, bytes_of, feed_fault, gap_fault, lost_row, right_rows
from infra.exchange.ohlcv import minutes
from infra.exchange.provider import DataProvider, Delivery, FeedReport, clock_rows
from projections.fold.kernel import TIME_MAX, VALUE_MAX
from streams.events import BACKFILL, MINUTE_NS, Candle, Clock, Gap, GapFilled, JournalEvent, Market, RowMarket
from streams.journal import JournalWriter
from streams.records import partition_of
from streams.ticks import I8, Ticks, concatenate, pack
from streams.topics import market_key


@dataclass(frozen=True)
class Processed:
    """What messages of one provider mean: rows ready for the journal, and what had to be left out.

    `rows` holds ticks by partition, where `market` is an index into `tables`, the feed's of that
    partition; `clocks` are promises (ns) by market key.
    """

    provider: str
    rows: dict[int, Ticks] = field(default_factory=dict[int, Ticks])
    tables: Mapping[int, Sequence[Market]] = field(default_factory=dict[int, Sequence[Market]])
    clocks: dict[str, int] = field(default_factory=dict[str, int])
    markets: tuple[Market, ...] = ()
    gaps: tuple[Gap | GapFilled, ...] = ()
    feeds: tuple[FeedReport, ...] = ()
    lost: tuple[Lost, ...] = ()
    first_row: int = -1
    """Of a file."""

    @property
    def candles(self) -> list[tuple[str, Candle]]:
        """OHLCV, folded when asked for: the minutes of these rows alone, with their market's key. See
        `minutes`."""
        return [
            (market.key, candle)
            for partition, rows in self.rows.items()
            for index, market in enumerate(self.tables[partition])
            for candle in minutes(market, rows.take(rows.market == index))
        ]

    @property
    def times(self) -> dict[str, int]:
        """By market, up to when its rows and promises go, backfill aside; ns."""
        times = dict(self.clocks)
        for partition, rows in self.rows.items():
            live = rows.kind & BACKFILL == 0
            for index in np.unique(rows.market[live]).tolist():
                newest = int(rows.time[live & (rows.market == index)].max())
                key = self.tables[partition][index].key
                times[key] = max(times.get(key, 0), newest)
        return times

    @property
    def parted(self) -> tuple[dict[int, Ticks], dict[int, Ticks]]:
        """Of a delivery that fills gaps, the rows that close none of their minutes, and the rest; of others
        no rows, and all."""
        filled = [gap for gap in self.gaps if isinstance(gap, GapFilled)]
        if self.first_row >= 0 or not filled:
            return {}, self.rows
        first_end: dict[str, int] = {}
        for gap in filled:
            end = (gap.start // MINUTE_NS + 1) * MINUTE_NS
            first_end[gap.market] = min(end, first_end.get(gap.market, end))
        closing = {p: self._closing(p, rows, first_end) for p, rows in self.rows.items()}
        return (
            {p: self.rows[p].take(~rest) for p, rest in closing.items() if not rest.all()},
            {p: self.rows[p].take(rest) for p, rest in closing.items() if rest.any()},
        )

    def _closing(self, partition: int, rows: Ticks, first_end: Mapping[str, int]) -> NDArray[np.bool_]:
        """Shape (n,): the first row that may close the minute `first_end` of its market, and what is behind
        it; backfill closes none."""
        ends = np.array([first_end.get(market.key, TIME_MAX) for market in self.tables[partition]])
        live = rows.kind & BACKFILL == 0
        return live & np.logical_or.accumulate(live & (rows.time >= ends[rows.market]))

    @property
    def alone(self) -> bool:
        """It keeps its place, and the rows before and after are not put to its own."""
        return bool(self.markets or self.gaps or self.feeds or self.first_row >= 0)


def merged(parts: Iterable[Processed]) -> list[Processed]:
    """Fewer, of the same rows in the same order. Some stay alone."""
    groups: list[list[Processed]] = []
    for part in parts:
        if not groups or part.alone or groups[-1][-1].alone:
            groups.append([])
        groups[-1].append(part)
    return [_one(group) for group in groups]


def _one(group: list[Processed]) -> Processed:
    if len(group) == 1:
        return group[0]
    partitions = dict.fromkeys(partition for part in group for partition in part.rows)
    return Processed(
        group[0].provider,
        rows={p: concatenate([part.rows[p] for part in group if p in part.rows]) for p in partitions},
        tables={p: table for part in group for p, table in part.tables.items()},
        clocks={key: time for part in group for key, time in part.clocks.items()},
        lost=tuple(lost for part in group for lost in part.lost),
    )


def _grown(column: I8, factor: I8) -> I8:
    """What leaves its range is wrong at any scale."""
    return np.where(np.abs(column) > VALUE_MAX // factor, VALUE_MAX + 1, column * factor)


@dataclass
class Feed:
    """A registered provider, and what has been written for it."""

    provider: DataProvider
    writer: JournalWriter
    partitions: int
    states: FeedStates
    counts: Counts
    asked: Sequence[str] = ()
    """Symbols that the provider is asked for."""
    clocks: dict[str, int] = field(default_factory=dict[str, int])
    """Promises (ns) by market key that are not written yet."""
    _places: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Market key → its partition, and its index in that partition's table, as the journal has it."""
    _arriving: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """The same as the provider has it: it may have told of a change that is not written yet."""
    _tables: dict[int, list[Market]] = field(default_factory=dict[int, list[Market]])
    _written: dict[str, int] = field(default_factory=dict[str, int])
    _told_s: dict[int, float] = field(default_factory=dict[int, float])
    """When a partition last heard of the time."""

    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Keys of markets that are not collected, and why: what comes of them is left out."""
    _factors: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """From a provider's prices and sizes to those of the journal, where their scales differ."""

    def refuse(self, key: str, reason: str) -> None:
        self.refused[key] = reason
        self._arriving.pop(key, None)

    def take(self, market: Market, taken: Market) -> None:
        """What comes from here on is at the scales of `market`; the journal has or gets it as `taken`."""
        self.refused.pop(market.key, None)
        self._arriving[market.key] = self._place(taken)
        self._places.setdefault(market.key, self._arriving[market.key])
        self._factors[market.key] = (
            10 ** (taken.price_scale - market.price_scale),
            10 ** (taken.size_scale - market.size_scale),
        )

    @property
    def keys(self) -> list[str]:
        """Of the markets that it is asked for or has."""
        asked = (market_key(venue_of(self.writer.source), symbol) for symbol in self.asked)
        return list(dict.fromkeys((*asked, *self._places)))

    @property
    def has_markets(self) -> bool:
        """Whether it has specified any."""
        return bool(self._places)

    def has(self, key: str) -> bool:
        return key in self._places

    def know(self, market: Market) -> None:
        """The journal has this specification now."""
        self._places[market.key] = self._arriving[market.key] = self._place(market)

    def _place(self, market: Market) -> tuple[int, int]:
        """A changed specification gets a new one, for its rows may have other scales."""
        partition = partition_of(market.key.encode(), self.partitions)
        table = self._tables.setdefault(partition, [])
        if market not in table:
            table.append(market)
        return partition, table.index(market)

    def read(self, delivery: Delivery, raw: Any, markets: tuple[Market, ...], latest: int) -> Processed:
        """What of a delivery can be written, and what cannot; `raw` is the message, `markets` those of
        its specifications that are new, `latest` the latest time (ns) that is taken."""
        faults = [(gap, gap_fault(gap)) for gap in delivery.gaps]
        lost = [Lost(gap.market, fault, bytes_of(raw)) for gap, fault in faults if fault]
        reports = [(report, feed_fault(report)) for report in delivery.feeds]
        lost += [Lost(report.market, fault, bytes_of(raw)) for report, fault in reports if fault]
        lost += [Lost(r.market, r.reason, r.data, venue_id=r.venue_id) for r in delivery.refused]
        known = [key for key in delivery.keys if key in self._arriving]
        unknown = set(delivery.keys) - set(known) - set(self.refused)
        lost += [Lost(key, "its specification never came", bytes_of(raw)) for key in sorted(unknown)]
        if not 0 <= delivery.clock <= TIME_MAX:
            lost.append(Lost("", f"clock {delivery.clock} is outside 0..2**62 ns", bytes_of(raw)))
            known = []
        elif delivery.clock > latest:
            reason = f"clock {delivery.clock} is ahead of the venue's: at most {latest} is taken"
            lost.append(Lost("", reason, bytes_of(raw)))
            known = []
        rows, wrong = self._sorted(delivery, latest)
        return Processed(
            self.writer.source,
            rows=rows,
            tables=self._tables,
            clocks=dict.fromkeys(known, delivery.clock) if delivery.clock else {},
            markets=markets,
            gaps=tuple(gap for gap, fault in faults if not fault and gap.market not in self.refused),
            feeds=tuple(r for r, fault in reports if not fault and r.market not in self.refused),
            lost=(*lost, *wrong),
            first_row=delivery.first_row,
        )

    def _sorted(self, delivery: Delivery, latest: int) -> tuple[dict[int, Ticks], list[Lost]]:
        """The right rows of known markets by partition, and the wrong ones."""
        if not delivery.ticks.rows:
            return {}, []
        ticks = self._scaled(delivery)
        places = np.array([self._arriving.get(key, (-1, -1)) for key in delivery.keys])
        partition, index = places[ticks.market].T
        right = right_rows(ticks) & (ticks.time <= latest)
        wrong = [
            lost_row(ticks, row, self._tables[partition[row]][index[row]], latest)
            for row in np.flatnonzero(~right & (partition >= 0)).tolist()
        ]
        ticks = ticks._replace(market=index.astype(np.uint16))
        right &= partition >= 0
        return {int(p): ticks.take(right & (partition == p)) for p in np.unique(partition[right])}, wrong

    def _scaled(self, delivery: Delivery) -> Ticks:
        """Rows at the journal's scales."""
        ticks = delivery.ticks
        factors = np.array([self._factors.get(key, (1, 1)) for key in delivery.keys], np.int64)
        if (factors == 1).all():
            return ticks
        price, size = factors[ticks.market].T
        return ticks._replace(price=_grown(ticks.price, price), size=_grown(ticks.size, size))

    def batch(self, partition: int, rows: Ticks, now_s: float, *, first_row: int) -> tuple[str, JournalEvent]:
        """Key and batch of a partition's rows, behind them the clock rows that are due."""
        indexes = set(np.unique(rows.market).tolist())
        due = [key for key in self.clocks if self._is_due(key, partition, indexes)]
        times = {key: self.clocks.pop(key) for key in due}
        self._written |= times
        places = np.array([self._places[key][1] for key in due], np.uint16)
        self._told_s[partition] = now_s
        rows = concatenate([rows, clock_rows(places, list(times.values()))])
        return self._packed(partition, rows, first_row)

    def before_filling(self, partition: int, rows: Ticks) -> tuple[str, JournalEvent]:
        """Key and batch of rows in front of the end of a gap: no clock row may close its minutes yet."""
        return self._packed(partition, rows, -1)

    def _packed(self, partition: int, rows: Ticks, first_row: int) -> tuple[str, JournalEvent]:
        used = np.unique(rows.market)
        table = [self._tables[partition][index] for index in used]
        rows = rows._replace(market=np.searchsorted(used, rows.market).astype(np.uint16))
        markets = [RowMarket(market.key, market.price_scale, market.size_scale) for market in table]
        return table[0].key, pack(markets, rows, first_row=first_row, received=time.time_ns())

    def clock_records(self, now_s: float, *, not_since_s: float) -> Iterator[tuple[str, JournalEvent]]:
        """A `Clock` for each partition with waiting promises that has not been told since
        `not_since_s`.

        It promises the earliest of them for all; later ones wait on.
        """
        waiting: dict[int, list[str]] = {}
        for key in self.clocks:
            waiting.setdefault(self._places[key][0], []).append(key)
        for partition, keys in waiting.items():
            if self._told_s.get(partition, not_since_s) <= not_since_s:
                self._told_s[partition] = now_s
                earliest = min(self.clocks[key] for key in keys)
                for key in keys:
                    self._written[key] = earliest
                    if self.clocks[key] == earliest:
                        del self.clocks[key]
                yield keys[0], Clock(time=earliest, markets=tuple(keys))

    def _is_due(self, key: str, partition: int, indexes: set[int]) -> bool:
        """A promise rides with ticks of its own market, or when it ends a candle."""
        place = self._places[key]
        if place[0] != partition:
            return False
        grace_ns = self._tables[partition][place[1]].grace_ms * 1_000_000
        before = self._written.get(key)
        return (
            place[1] in indexes
            or before is None
            or (self.clocks[key] - grace_ns) // MINUTE_NS > (before - grace_ns) // MINUTE_NS
        )
