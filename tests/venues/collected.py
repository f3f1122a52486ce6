"""The product's provider of a fake venue, through the collector into a log; its clock is moved by hand."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from infra.exchange.collector import DataCollector
from infra.exchange.venues.provider import VenueProvider
from infra.exchange.venues.watching import PONG_S
from projections.fold.pipeline import Pipeline
from streams import codec
from streams.events import BACKFILL, Candle, DeadLetter, Feed, Gap, GapFilled, JournalEvent, Market, TickBatch
from streams.gaps import Gaps, KnownGap
from streams.journal import Reached, scan
from streams.log import Log
from streams.ticks import is_trade, unpack
from streams.topics import JOURNAL, SYSTEM
from tests.journal import emitted, fold
from tests.venues.fake import FakeVenue
from tests.venues.faults import HalfOpen
from tests.venues.trades import Trade
from tests.venues.unlimited import unlimited

PATIENT_S = 3_600.0
"""Rows wait for a hole as long as the machine takes to fill it."""
TICK_S = 0.005


class Row(NamedTuple):
    id: int
    time: int
    price: int
    size: int
    kind: int
    fetched: bool


class Collected:
    """A collector at work. What is waited for comes, or the test runs into its time limit.

    Its clock goes on with the event loop, as real time where the machine is idle: where this process has to
    wait for the machine, its clock waits too, and nothing is late.
    """

    def __init__(self, log: Log, venue: FakeVenue, **options: Any) -> None:
        self.venue, self.log, self._now_s = venue, log, 0.0
        self.told: list[tuple[str, str]] = []
        clocks = {"now_s": self.now_s, "steady_ns": venue.wall_ns, "wall_ns": venue.wall_ns}
        given = {"connector": venue.connector, "gap_wait_s": PATIENT_S} | clocks | options
        self.provider = VenueProvider(unlimited(venue.name), **given)
        self.collector = DataCollector(
            log,
            scan(log, range(log.partitions)),
            told=lambda *told: self.told.append(told),
            now_s=given["now_s"],
        )
        self.collector.register_provider(venue.name, self.provider)
        self.task: asyncio.Task[None] | None = None
        self._read = 0
        self._trades: Counter[str] = Counter()
        self._gaps: dict[str, Gaps] = defaultdict(Gaps)
        self._state = ""

    def now_s(self) -> float:
        return self._now_s

    def pass_by(self, seconds: float) -> None:
        """The collector's clock goes on."""
        self._now_s += seconds

    async def go_on(self) -> None:
        """The collector's clock goes on until this is cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.pass_by(TICK_S)

    async def until(self, condition: Callable[[], Any]) -> None:
        assert self.task is not None
        while not condition():
            if self.task.done():
                self.task.result()
                raise AssertionError("the collector ended")
            await asyncio.sleep(TICK_S)

    async def live(self, market: str = "") -> None:
        """Until a market, or BTC/USDT, is subscribed, its beginning is known, and so is the venue's time."""
        await self.venue.watched(market or self.venue.pair())
        await self.until(lambda: self.provider.skew_ms is not None and self.state == "live")

    async def goes_deaf(self) -> None:
        """The connection is half-open from now on, and is given up for its silence."""
        await self.until(lambda: not self.is_asking)  # that answer would come behind the clock
        await self.venue.strike(HalfOpen())
        self.pass_by(self.provider.venue.silence_s)
        await self.until(lambda: self.is_asking)
        self.pass_by(PONG_S + 1)

    @property
    def state(self) -> str:
        """The newest that was told of any market."""
        self._look()
        return self._state

    @property
    def is_asking(self) -> bool:
        """Whether a ping is out."""
        return self.provider._lines[0].watch.is_asking

    @property
    def is_lost(self) -> bool:
        """Whether there is no connection that is subscribed."""
        return not any(line.watch.subscribed for line in self.provider._lines)

    @property
    def reconnects(self) -> int:
        """How often a connection that was subscribed has ended."""
        return self.provider.status().reconnects

    @property
    def barred_s(self) -> float:
        """For how long the venue may not be asked."""
        return self.provider.status().rest.wait_s

    def settled(self, symbol: str = "BTC/USDT") -> bool:
        """Whether the venue need not be asked for anything."""
        return not self.provider._flows[symbol].wants(self.now_s())

    def waiting(self, symbol: str = "BTC/USDT") -> int:
        """How many trades wait for others."""
        return len(self.provider._flows[symbol].sequence)

    def trades(self, symbol: str = "BTC/USDT") -> int:
        """How many are in the log."""
        self._look()
        return self._trades[self._key(symbol)]

    async def has(self, count: int, symbol: str = "BTC/USDT") -> None:
        """Until so many trades are in the log, and no hole is left."""
        gaps = self._gaps[self._key(symbol)]
        await self.until(lambda: self.trades(symbol) >= count and not gaps.open)

    def _key(self, symbol: str) -> str:
        """Also of a key."""
        return f"{self.venue.name}:{symbol.removeprefix(f'{self.venue.name}:')}"

    def _look(self) -> None:
        """Read on in the log."""
        for record in self.log.read(JOURNAL, 0, self._read):
            self._read = record.offset + 1
            match codec.decode_input(record.value).event:
                case TickBatch() as batch:
                    ticks = unpack(batch)
                    for index in ticks.market[is_trade(ticks.kind)].tolist():
                        self._trades[batch.markets[index].key] += 1
                case Gap() | GapFilled() as gap:
                    self._gaps[gap.market].note(gap)
                case Feed() as feed:
                    self._state = feed.state
                case _:
                    pass


@asynccontextmanager
async def collecting(
    log: Log, venue: FakeVenue, symbols: Sequence[str] = ("BTC/USDT",), **options: Any
) -> AsyncIterator[Collected]:
    collected = Collected(log, venue, **options)
    collected.task = asyncio.create_task(collected.collector.start_collection(symbols))
    going_on = asyncio.create_task(collected.go_on())
    try:
        yield collected
    finally:
        for task in (collected.task, going_on):
            task.cancel()
        await asyncio.gather(collected.task, going_on, return_exceptions=True)


def events(log: Log, partition: int = 0) -> list[JournalEvent]:
    return [codec.decode_input(record.value).event for record in log.read(JOURNAL, partition)]


def key_of(log: Log, symbol: str) -> str:
    """The market of a symbol, or of a key; the journal has one venue's."""
    markets = (event for event in events(log) if isinstance(event, Market))
    return next(market.key for market in markets if symbol in {market.symbol, market.key})


def rows(log: Log, symbol: str = "BTC/USDT") -> list[Row]:
    """The trades of a market as the journal has them."""
    found: list[Row] = []
    key = key_of(log, symbol)
    for event in events(log):
        if isinstance(event, TickBatch) and key in (keys := [market.key for market in event.markets]):
            ticks = unpack(event)
            mine = ticks.take((ticks.market == keys.index(key)) & is_trade(ticks.kind))
            assert mine.id is not None
            ids = (
                [low | high << 64 for low, high in mine.id.tolist()] if mine.id.ndim > 1 else mine.id.tolist()
            )
            columns = (mine.time, mine.price, mine.size, mine.kind)
            for id, at, price, size, kind in zip(ids, *(c.tolist() for c in columns), strict=True):
                found.append(Row(id, at, price, size, kind & ~BACKFILL, bool(kind & BACKFILL)))
    return found


def clock(log: Log, symbol: str = "BTC/USDT") -> int:
    """Up to when everything of a market is promised, ns."""
    key = key_of(log, symbol)
    return scan(log, [0]).source(key.partition(":")[0]).reached.get(key, Reached()).time


def gaps(log: Log, symbol: str = "BTC/USDT") -> Gaps:
    found, key = Gaps(), key_of(log, symbol)
    for event in events(log):
        if isinstance(event, Gap | GapFilled) and event.market == key:
            found.note(event)
    return found


def open_gaps(log: Log, symbol: str = "BTC/USDT") -> list[KnownGap]:
    return gaps(log, symbol).open


def feeds(log: Log, symbol: str = "") -> list[Feed]:
    """What was told of them, or of that of a symbol."""
    told = (event for event in events(log) if isinstance(event, Feed))
    return [feed for feed in told if symbol in {"", feed.market.partition(":")[2]}]


def states(log: Log, symbol: str = "") -> list[str]:
    """Of feeds, as they were told."""
    return [feed.state for feed in feeds(log, symbol)]


def letters(log: Log) -> list[DeadLetter]:
    found = (event for r in log.read(SYSTEM, 0) for event in codec.decode_output(r.value).events)
    return [event for event in found if isinstance(event, DeadLetter)]


def expected(trades: Sequence[Trade], price_scale: int = 2, size_scale: int = 5) -> list[Row]:
    """What trades are in a journal, had they all come live."""
    kinds = {"buy": 1, "sell": 2}
    return [
        Row(
            int(trade.id) if trade.id.isdecimal() else UUID(trade.id).int,
            trade.time * 1_000_000,
            int(Decimal(trade.price).scaleb(price_scale)),
            int(Decimal(trade.size).scaleb(size_scale)),
            kinds[trade.side],
            False,
        )
        for trade in trades
    ]


def without_origin(found: Sequence[Row]) -> list[Row]:
    return [row._replace(fetched=False) for row in found]


def candles(log: Log, strategies: Any) -> dict[tuple[str, int], Candle]:
    """The newest candles of a journal by timeframe and end; its fold has nothing to complain of."""
    pipeline = Pipeline(0, strategies)
    found: dict[tuple[str, int], Candle] = {}
    for item in fold(pipeline, log.read(JOURNAL, 0)):
        assert item.topic != SYSTEM, emitted([item])
        for _, event in emitted([item], Candle):
            assert isinstance(event, Candle)
            found[event.timeframe, event.timestamp] = event
    return found
