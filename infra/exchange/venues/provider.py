"""A venue as a `DataProvider`: its connections, what is fetched, and what can be vouched for.

    sockets ─► Line ─► Flow (one a market) ─► messages ─► the collector
                          ▲
    REST ───► Filler ─────┘

Everything runs in one event loop; only `parse` is called from elsewhere, and looks at its message alone.

Why: ADR 38.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from infra.exchange.provider import DataProvider, Delivery, Refused, settled
from infra.exchange.status import ProviderStatus, Trouble, skew_words
from infra.exchange.venues.client import VenueClient, opened
from infra.exchange.venues.filling import Filler
from infra.exchange.venues.flow import Flow, Message, refusal
from infra.exchange.venues.line import Line
from infra.exchange.venues.markets import Markets, UnknownSymbolError, listed, market_of
from infra.exchange.venues.overlap import OverlapSequence
from infra.exchange.venues.raw import RawFrames
from infra.exchange.venues.rest import Rest
from infra.exchange.venues.sequence import FOREVER, Part, TradeSequence
from infra.exchange.venues.venue import NumberedVenue, Venue
from infra.exchange.venues.venue_time import VenueTime, steady_ns
from infra.process.errors import named
from infra.process.spans import span
from streams.events import BACKFILL, MINUTE_NS, Market
from streams.journal import Reached
from streams.ticks import NO_ID, Ticks, wide_ids

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

GAP_WAIT_S = 1.0
BACKFILL_MAX_S = 86_400
AHEAD_S = 5.0
CACHE_TRADES = 500_000
LOOK_S = 0.05
PAUSE_LOOK_S = 0.5
MARKETS_S = 3600.0
MARKETS_AGAIN_S = 60.0
SKEW_S = 600.0


class VenueProvider(DataProvider):
    """Trades of a venue through its unmodified ccxt.pro client.

    `gap_wait_s`: so long rows wait for what is missing before them. What is older than `backfill_max_s` is
    not fetched; 0: nothing is. A trade more than `ahead_s` ahead of the venue's clock is refused.
    `cache_trades` may wait at once; what comes on top is fetched later. `connector` resolves and secures
    connections in place of the usual one. `now_s` is a clock that never goes back, `steady_ns` one that is
    never set, `wall_ns` the time of day.
    """

    def __init__(
        self,
        venue: Venue,
        *,
        proxy: str | None = None,
        gap_wait_s: float = GAP_WAIT_S,
        backfill_max_s: int = BACKFILL_MAX_S,
        ahead_s: float = AHEAD_S,
        cache_trades: int = CACHE_TRADES,
        connector: "Callable[[], aiohttp.BaseConnector] | None" = None,
        raw: RawFrames | None = None,
        now_s: Callable[[], float] = time.monotonic,
        steady_ns: Callable[[], int] = steady_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.venue, self._is_numbered = venue, isinstance(venue, NumberedVenue)
        self._proxy, self._connector, self._raw = proxy, connector, raw
        self._gap_wait_s, self._ahead_ns = gap_wait_s, int(ahead_s * 1e9)
        self._backfill_max_s, self._cache_trades = backfill_max_s, cache_trades
        self._now, self._steady, self._wall = now_s, steady_ns, wall_ns
        self._time, self._skew_told = VenueTime(steady_ns, wall_ns), ""
        self._rest = Rest(now_s)
        self._client: VenueClient | None = None
        self._tasks: list[asyncio.Future[None]] = []
        self.why_not: Mapping[str, str] = {}
        """Of the symbols that `markets` left out."""
        self.trouble: Trouble | None = None
        """What went wrong last."""
        self._begin([], {})

    def _begin(self, markets: Sequence[Market], reached: Mapping[str, Reached]) -> None:
        """Nothing is known of the markets but what the journal has."""
        now = self._now()
        self._flows = {m.symbol: self._flow(m, reached.get(m.key, Reached()), now) for m in markets}
        self._lines = [Line(self.venue, self, flows, now) for flows in self._by_line()]
        self._dirty = set(self._flows.values())
        self._held, self._looked, self._markets_read = 0, now, now
        self._aside: list[Message] = []
        self._woken, self._markets_wanted = asyncio.Event(), asyncio.Event()

    def _by_line(self) -> Iterator[list[Flow]]:
        """The flows that share a connection."""
        together: dict[str, list[Flow]] = defaultdict(list)
        for flow in self._flows.values():
            together[flow.market.contract if self.venue.is_by_contract else ""].append(flow)
        size = self.venue.symbols_max
        for flows in together.values():
            yield from (flows[start : start + size] for start in range(0, len(flows), size))

    def _flow(self, market: Market, known: Reached, now: float) -> Flow:
        gap_wait, horizon = int(self._gap_wait_s * 1e9), market.horizon_min * MINUTE_NS
        too_old = f"older than --backfill-max {span(self._backfill_max_s)}"
        since = known.time or min((g.start for g in known.gaps if not g.final), default=0)  # it began there
        if not self._is_numbered:
            sequence = OverlapSequence(
                market.key,
                gap_wait=gap_wait,
                horizon=horizon,
                reached_time=since,
                known=known.known,
                gaps=known.gaps,
                too_old=too_old,
            )
        else:
            sequence = TradeSequence(
                market.key,
                gap_wait=gap_wait,
                horizon=horizon,
                reached=known.id,
                reached_time=known.anew or since,
                anew=bool(known.anew),
                gaps=[gap for gap in known.gaps if gap.final or known.id != NO_ID],  # others are found again
                too_old=too_old,
            )
        return Flow(market, sequence, now, promised=since, latest=self._latest)

    def _latest(self) -> int:
        """Up to when a trade can be, ns; what there is room for where the venue's time is not known yet."""
        venue_now = self.venue_now
        return FOREVER - 1 if venue_now is None else venue_now + self._ahead_ns

    # ------------------------------------------------------------ what the collector calls

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        """Specifications of those of the symbols that the venue has and that can be collected; `why_not` says
        what of the others. Raises `MarketsUnreadError`, `NotServedError` and what ccxt raises."""
        why_not: dict[str, str] = {}
        found = await self._opened_markets(symbols)
        markets: list[Market] = []
        for symbol in symbols:
            try:
                markets.append(self._market(found, symbol))
            except UnknownSymbolError as error:
                why_not[symbol] = str(error)
        self.why_not = why_not
        if not markets:
            await self.close()  # nobody asks for messages
        return markets

    async def symbols(self, word: str = "") -> Sequence[str]:
        """Those that can be collected now and have a word in them. Raises as `markets`."""
        try:
            return listed(await self._opened_markets(), word)
        finally:
            await self.close()

    async def _opened_markets(self, symbols: Iterable[str] = ()) -> Markets:
        await self.close()
        connector = None if self._connector is None else self._connector()
        self._client = await opened(
            self.venue, self._rest, proxy=self._proxy, connector=connector, raw=self._raw and self._raw.put
        )
        try:
            return await self._client.markets(symbols)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End what `markets` opened; `messages` does it at its own end."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _market(self, found: Markets, symbol: str) -> Market:
        assert self._client is not None
        mode = self._client.exchange.precisionMode
        return market_of(self.venue.name, found, symbol, precision_mode=mode, grace_ms=self.venue.grace_ms)

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Message, None]:
        """Without end. Raises `NotServedError`, and what must not be."""
        assert self._client is not None, "ask for the markets first"
        client = self._client
        self._begin(markets, reached)
        filler = Filler(
            self.venue, client, list(self._flows.values()),
            is_open=self._is_open, changed=self.touch, failed=self.failed, oldest=self._oldest,
            skew=lambda: self._time.ahead, now=self._now,
        )  # fmt: skip
        working = (filler.run(), self._measure(client), self._specify(client))
        self._tasks = [asyncio.ensure_future(work) for work in working]
        self._tasks += [asyncio.ensure_future(line.run(client, self._rest)) for line in self._lines]
        try:
            while True:
                self._woken.clear()
                touched = self._dirty
                for message in list(self._due()):  # made at once: what comes meanwhile is of the next ones
                    yield message
                if any(flow.wants(self._now()) for flow in touched):
                    filler.wanted.set()
                for task in self._tasks:
                    if task.done():
                        task.result()
                for line in self._lines:
                    line.look(client, self._now(), self.venue_now)
                if self._now() - self._markets_read > MARKETS_S:
                    self._markets_wanted.set()
                await self._next_look()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.close()

    def parse(self, raw: Message) -> Delivery:
        """Backfill before live rows, as the parts have it."""
        columns: list[tuple[int, int, Part]] = []
        for place, part in raw.parts:
            columns += [(place, BACKFILL, Part(rows=part.fetched))] if part.fetched else []
            columns += [(place, 0, part)] if part.rows else []
        rows = [(place, bit, *trade[1:]) for place, bit, part in columns for trade in part.rows]
        table = np.array(rows, np.int64).reshape(-1, 6)
        place, bit, at, kind, price, size = (np.ascontiguousarray(column) for column in table.T)
        numbers = [trade.id for _, _, part in columns for trade in part.rows]
        ids = np.array(numbers, np.int64) if self._is_numbered else wide_ids(numbers)
        ticks = Ticks(place.astype(np.uint16), (kind | bit).astype(np.uint8), at, price, size, ids)
        return Delivery(
            raw.keys,
            ticks,
            clock=raw.clock,
            markets=raw.markets,
            gaps=tuple(gap for _, part in raw.parts for gap in part.gaps),
            feeds=raw.feeds,
            refused=raw.refused,
        )

    def status(self) -> ProviderStatus:
        return ProviderStatus(
            self.skew_ms,
            sum(line.reconnects for line in self._lines),
            self._rest.status(self.venue.pages_a_minute),
            self.trouble,
            {flow.market.key: flow.sequence.repeats for flow in self._flows.values()},
            None if self._raw is None else self._raw.status(),
        )

    # ------------------------------------------------------------ what its lines call

    @property
    def venue_now(self) -> int | None:
        """The venue's time in ns; None before it was measured."""
        return self._time.now

    @property
    def skew_ms(self) -> float | None:
        """How far the time of day here is ahead of the venue's; None before that was measured."""
        skew = self._time.skew
        return None if skew is None else skew / 1e6

    @property
    def gap_wait_s(self) -> float:
        return self._gap_wait_s

    def now(self) -> float:
        return self._now()

    def steady_ns(self) -> int:
        return self._steady()

    def arrived(self, line: Line, told: Mapping[str, Any]) -> None:
        """A trade came by a line."""
        flow = self._flows.get(str(told.get("symbol")))
        if flow is None:
            self.refuse(refusal("", told, f"unknown symbol {told.get('symbol')!r}"))
            return
        if flow.ended:
            return
        self.touch(flow)
        if self._held >= self._cache_trades:
            flow.doubt()
            return
        now = self._now()
        trade = flow.arrive(told, now)
        if trade is not None:
            line.watch.traded(trade.time, now)
            self._held += 1
        elif flow.is_too_fine:
            self.specify()

    def failed(self, what: str) -> None:
        """Something went wrong, and is tried again."""
        self.trouble = Trouble(what, self._wall())
        logger.warning("%s: %s", self.venue.name, what)

    def refuse(self, refused: Refused) -> None:
        """Something came that is of no market."""
        self._aside.append(Message((), refused=(refused,)))
        self._woken.set()

    def specify(self) -> None:
        """The venue's list of markets may have changed."""
        self._markets_wanted.set()

    def apart(self, line: Line) -> None:
        assert self._client is not None
        self._lines.append(line)
        self._tasks.append(asyncio.ensure_future(line.run(self._client, self._rest)))

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def touch(self, flow: Flow) -> None:
        """Something may be due of a flow."""
        self._dirty.add(flow)
        self._woken.set()
        if flow.is_too_fine:
            self._markets_wanted.set()

    def _oldest(self) -> int | None:
        """What is older (ns of the venue) is not fetched; None while its time is not known."""
        if not self._backfill_max_s:
            return FOREVER
        now = self.venue_now or max((line.watch.proven for line in self._lines), default=0)
        return now - self._backfill_max_s * 10**9 if now else None

    def _is_open(self, flow: Flow) -> bool:
        return any(line.watch.subscribed for line in self._lines if flow in line.flows)

    # ------------------------------------------------------------ what is due

    async def _next_look(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._woken.wait()
        except TimeoutError:
            return

    def _due(self) -> Iterator[Message]:
        """What can be told now. Markets of a line that miss nothing are told together."""
        aside, self._aside = self._aside, []
        yield from aside
        dirty, self._dirty = self._dirty, set()
        now = self._now()
        all_are_due = now - self._looked >= LOOK_S
        self._looked = now if all_are_due else self._looked
        for line in self._lines:
            flows = line.flows if all_are_due else [flow for flow in line.flows if flow in dirty]
            yield from self._due_of(line, flows, now)
        self._dirty |= {flow for flow in dirty if not flow.is_sure or flow.sequence.holes}
        self._held = sum(len(flow.sequence) for flow in self._dirty)

    def _due_of(self, line: Line, flows: Iterable[Flow], now: float) -> Iterator[Message]:
        watch = line.watch
        minute = watch.minute(watch.proven)
        keys: list[str] = []
        parts: list[tuple[int, Part]] = []
        for flow in flows:
            key = flow.market.key
            due = flow.due(now)
            if flow.ends_anew():
                logger.error("%s: %s; nothing more of it is taken", key, flow.ended)
            report = line.report(flow, now)
            if report is not None or flow.refused:
                yield Message((key,), feeds=(report,) if report else (), refused=tuple(flow.refused))
                flow.refused = []
            if len(due) > 1 or any(part.gaps for part in due) or not flow.is_sure:
                for part in due:
                    yield Message((key,), ((0, part),))
                due = []
            if flow.is_sure and (due or minute > watch.minute(flow.promised)):
                parts += [(len(keys), part) for part in due]
                keys.append(key)
                flow.promised = max(flow.promised, watch.proven)
        if keys:
            yield Message(tuple(keys), tuple(parts), clock=watch.proven)

    # ------------------------------------------------------------ what it asks for by and by

    async def _measure(self, client: VenueClient) -> None:
        """The venue's time."""
        while True:
            try:
                await self._time.measure(client.time_ms)
                words = skew_words(self.venue.name, self.skew_ms)
                if words and not self._skew_told:
                    logger.warning("%s", words)
                self._skew_told = words
                wait_s = SKEW_S
            except Exception as error:  # noqa: BLE001 - without it quiet minutes stay open, until it succeeds
                self.failed(f"its time could not be asked for: {named(error)}")
                wait_s = MARKETS_AGAIN_S
            await self.pause(wait_s)

    async def pause(self, seconds: float) -> None:
        """By the clock that was handed in."""
        until = self._now() + seconds
        while (left := until - self._now()) > 0:
            await asyncio.sleep(min(left, PAUSE_LOOK_S))

    async def _specify(self, client: VenueClient) -> None:
        """Read the list of markets every hour, and when a trade is finer than its market's scales."""
        while True:
            await self._markets_wanted.wait()
            self._markets_wanted.clear()
            self._markets_read = self._now()
            try:
                found = await client.markets([s for s, f in self._flows.items() if not f.ended], again=True)
            except Exception as error:  # noqa: BLE001 - what is known stays, and it is tried again
                self.failed(f"its markets could not be read again: {named(error)}")
                await self.pause(MARKETS_AGAIN_S)
                self._markets_wanted.set()
                continue
            for flow in self._flows.values():
                self._specified(flow, found)
            await self.pause(MARKETS_AGAIN_S if self._markets_wanted.is_set() else 0)

    def _specified(self, flow: Flow, found: Markets) -> None:
        """What the venue says of a market now. One that is gone ends, the others go on."""
        try:
            market = settled(self._market(found, flow.market.symbol), flow.market)
        except ValueError as error:
            if not flow.ended:
                flow.ended = str(error)
                logger.error("%s ends: %s", flow.market.key, error)
            return
        if flow.is_gone:
            next(line for line in self._lines if flow in line.flows).back(flow)
        if market != flow.market:
            self._aside.append(Message((market.key,), markets=(market,)))
        if market != flow.market or flow.is_too_fine:
            flow.specified(market, self._now())
        self.touch(flow)
