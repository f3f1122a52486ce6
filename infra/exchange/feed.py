"""What the collector keeps for one provider: its markets' places, its promises, its candles."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infra.exchange.provider import DataProvider, Delivery, clock_rows
from projections.fold.candles import CandleBook
from projections.fold.tape import TIMEFRAMES
from streams.events import (
    MINUTE_NS,
    Candle,
    CandleFlag,
    Clock,
    Gap,
    GapFilled,
    JournalEvent,
    Market,
    RowMarket,
)
from streams.journal import JournalWriter
from streams.records import partition_of
from streams.ticks import Ticks, concatenate, pack


@dataclass(frozen=True)
class Processed:
    """What messages of one provider mean: rows ready for the journal, and the candles they close.

    `rows` holds ticks by partition, where `market` is an index into the feed's table of that
    partition; `clocks` are promises (ns) by market key; `candles` stand with their market's key.
    """

    provider: str
    rows: dict[int, Ticks] = field(default_factory=dict[int, Ticks])
    clocks: dict[str, int] = field(default_factory=dict[str, int])
    markets: tuple[Market, ...] = ()
    gaps: tuple[Gap | GapFilled, ...] = ()
    candles: tuple[tuple[str, Candle], ...] = ()
    first_row: int = -1
    """Of a file."""

    @property
    def alone(self) -> bool:
        """It keeps its place, and the rows before and after are not put to its own."""
        return bool(self.markets or self.gaps or self.first_row >= 0)


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
        clocks={key: time for part in group for key, time in part.clocks.items()},
        candles=tuple(candle for part in group for candle in part.candles),
    )


@dataclass
class Feed:
    """A registered provider, and what has been written for it."""

    provider: DataProvider
    writer: JournalWriter
    partitions: int
    clocks: dict[str, int] = field(default_factory=dict[str, int])
    """Promises (ns) by market key that are not written yet."""
    _markets: dict[str, Market] = field(default_factory=dict[str, Market])
    _places: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Market key → its partition, and its index in that partition's table."""
    _tables: dict[int, list[RowMarket]] = field(default_factory=dict[int, list[RowMarket]])
    _books: dict[str, CandleBook] = field(default_factory=dict[str, CandleBook])
    _written: dict[str, int] = field(default_factory=dict[str, int])
    _told_s: dict[int, float] = field(default_factory=dict[int, float])
    """When a partition last heard of the time."""

    def know(self, market: Market) -> None:
        """Give a market its place; rows at new scales get a new one, and candles that begin
        anew."""
        partition = partition_of(market.key.encode(), self.partitions)
        table = self._tables.setdefault(partition, [])
        row = RowMarket(market.key, market.price_scale, market.size_scale)
        if row not in table:
            table.append(row)
        if market != self._markets.get(market.key):
            self._books[market.key] = _book(market)
        self._markets[market.key] = market
        self._places[market.key] = (partition, table.index(row))

    def by_partition(self, delivery: Delivery) -> dict[int, Ticks]:
        """The rows of a delivery by partition. Raises `ValueError` for a market that is not
        known."""
        if unknown := [key for key in delivery.keys if key not in self._places]:
            raise ValueError(f"{unknown[0]} is delivered, whose specification never was")
        ticks = delivery.ticks
        if not ticks.rows:
            return {}
        if int(ticks.market.max()) >= len(delivery.keys):
            raise ValueError(f"a row has market {int(ticks.market.max())} of {len(delivery.keys)}")
        places = np.array([self._places[key] for key in delivery.keys])
        partition, index = places[ticks.market].T
        ticks = ticks._replace(market=index.astype(np.uint16))
        return {int(p): ticks.take(partition == p) for p in np.unique(partition)}

    def fold(self, delivery: Delivery) -> tuple[tuple[str, Candle], ...]:
        """The candles that a delivery closes. Raises `ValueError` for rows that cannot be
        folded."""
        closed: list[tuple[str, Candle]] = []
        for index, key in enumerate(delivery.keys):
            rows = delivery.ticks.take(delivery.ticks.market == index)
            if delivery.clock:
                rows = concatenate([rows, clock_rows(np.zeros(1, np.uint16), delivery.clock)])
            try:
                folded = self._books[key].fold(rows.time, rows.price, rows.size, rows.kind, -1)
            except (ValueError, OverflowError) as error:
                self._books[key] = _book(self._markets[key])
                raise ValueError(f"{key}: {error}") from error
            closed += [(key, _candle(row, self._markets[key])) for row in folded.closed]
        return tuple(closed)

    def batch(self, partition: int, rows: Ticks, now_s: float, *, first_row: int) -> tuple[str, JournalEvent]:
        """Key and batch of a partition's rows, behind them the clock rows that are due."""
        indexes = set(np.unique(rows.market).tolist())
        clocks: list[Ticks] = []
        for key in [k for k in self.clocks if self._is_due(k, partition, indexes)]:
            self._written[key] = self.clocks.pop(key)
            place = np.array([self._places[key][1]], np.uint16)
            clocks.append(clock_rows(place, self._written[key]))
        self._told_s[partition] = now_s
        rows = concatenate([rows, *clocks])
        used = np.unique(rows.market)
        table = [self._tables[partition][index] for index in used]
        rows = rows._replace(market=np.searchsorted(used, rows.market).astype(np.uint16))
        return table[0].key, pack(table, rows, first_row=first_row)

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
                yield keys[0], Clock(earliest, tuple(keys))

    def _is_due(self, key: str, partition: int, indexes: set[int]) -> bool:
        """A promise rides with ticks of its own market, or when it ends a candle."""
        place = self._places[key]
        if place[0] != partition:
            return False
        grace_ns = self._markets[key].grace_ms * 1_000_000
        before = self._written.get(key)
        return (
            place[1] in indexes
            or before is None
            or (self.clocks[key] - grace_ns) // MINUTE_NS > (before - grace_ns) // MINUTE_NS
        )


def _book(market: Market) -> CandleBook:
    return CandleBook(
        closed=market.closed,
        grace_ns=market.grace_ms * 1_000_000,
        horizon_ns=market.horizon_min * MINUTE_NS,
    )


def _candle(row: Any, market: Market) -> Candle:
    flags = int(row["flags"])
    prices = {name: int(row[name]) for name in ("open", "high", "low", "close", "volume", "trades")}
    return Candle(
        TIMEFRAMES[int(row["timeframe"])], int(row["end"]), int(row["revision"]), **prices,
        price_scale=market.price_scale, size_scale=market.size_scale,
        empty=bool(flags & CandleFlag.EMPTY), incomplete=bool(flags & CandleFlag.INCOMPLETE),
        first_offset=-1, last_offset=-1,
    )  # fmt: skip
