"""What is missing is fetched by REST: by pages, the markets in turn, at half of the venue's limit."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from infra.exchange.venues.client import VenueClient
from infra.exchange.venues.flow import Flow
from infra.exchange.venues.holes import ASKED_AGAIN, MS_NS, ms_before
from infra.exchange.venues.overlap import OverlapSequence
from infra.exchange.venues.searching import Search
from infra.exchange.venues.sequence import Hole, Trade, TradeSequence
from infra.exchange.venues.venue import NotServedError, Venue
from infra.process.errors import named
from streams.ticks import NO_ID

LOOK_S = 0.25
"""At most so long it takes until a market that went quiet is noticed."""
AGAIN_S = 0.25
"""Before a venue is asked again for what it should have; then twice as long."""
LEFT_OUT_S = 10.0
"""Before it is asked again for what came behind a trade that could not be let in."""
FAILED_S, FAILED_S_MAX = 0.5, 60.0
BURST = 1 / 6
"""Of the pages of a minute, how many may be asked for at once."""


class Allowance:
    """Pages that may still be asked for; never more than `pages_a_minute` in one."""

    def __init__(self, pages_a_minute: int, now: float) -> None:
        self._most = pages_a_minute * BURST
        self._a_second = (pages_a_minute - self._most) / 60
        self._left, self._at = self._most, now

    def take(self, now: float) -> float:
        """Take one, or say for how many seconds there is none."""
        self._left = min(self._most, self._left + (now - self._at) * self._a_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._a_second
        self._left -= 1
        return 0.0


class Filler:
    """Asks the venue for what the flows miss. `is_open` says whether a flow's connection is subscribed: what
    came behind the newest trade is asked for only then. Trades before `oldest` (ns of the venue) are not
    asked for, and nothing is while it is None. `skew` says how far, in ns, the clock here is ahead of the
    venue's; None: that is not known yet. `failed` hears of what is asked again. `now` is a clock in
    seconds that never goes back."""

    def __init__(
        self,
        venue: Venue,
        client: VenueClient,
        flows: Sequence[Flow],
        *,
        is_open: Callable[[Flow], bool],
        changed: Callable[[Flow], None],
        failed: Callable[[str], None],
        oldest: Callable[[], int | None],
        skew: Callable[[], int | None],
        now: Callable[[], float],
    ) -> None:
        self._venue, self._client, self._flows = venue, client, flows
        self._is_open, self._changed, self._failed, self._now = is_open, changed, failed, now
        self._oldest, self._skew = oldest, skew
        self._allowance = Allowance(venue.pages_a_minute, now())
        self._failures = 0
        self.wanted = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled. Raises `NotServedError`."""
        while True:
            self.wanted.clear()
            flow, hole = self._next()
            if flow is None:
                await self._rest(LOOK_S)
            elif wait_s := self._allowance.take(self._now()):
                await asyncio.sleep(wait_s)
            else:
                self._client.rest.pages.add(1, self._now())
                await self._ask(flow, hole)

    async def _one_more(self) -> None:
        """Wait until another page may be asked for."""
        while wait_s := self._allowance.take(self._now()):
            await asyncio.sleep(wait_s)
        self._client.rest.pages.add(1, self._now())

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.wanted.wait()
        except TimeoutError:
            return

    def _next(self) -> tuple[Flow | None, Hole | None]:
        """The flow that waited longest among the most urgent, and what of it is asked for. Most urgent is
        where rows wait, then where a promise waits."""
        now, best = self._now(), (9, 0.0)
        found: tuple[Flow | None, Hole | None] = None, None
        if (oldest := self._oldest()) is None:
            return found
        for flow in self._flows:
            flow.sequence.limit(oldest)
            urgency, hole = self._urgency(flow, now)
            if (urgency, flow.asked) < best:
                best, found = (urgency, flow.asked), (flow, hole)
        return found

    def _urgency(self, flow: Flow, now: float) -> tuple[int, Hole | None]:
        """0 comes first; 9: nothing is to be asked."""
        sequence = flow.sequence
        if now < flow.ask_at or flow.ended:
            return 9, None
        if isinstance(sequence, OverlapSequence):
            return self._urgency_of_newest(flow, sequence, now), None
        if sequence.hole is not None:
            return (0, sequence.hole) if sequence.hole.wanted else (9, None)
        if sequence.doubtful and now >= flow.ask_behind_at and self._is_open(flow):
            return 0 if sequence.holds else 1, None
        if hole := next((hole for hole in sequence.open if hole.wanted), None):
            return 2, hole
        return (3, None) if flow.is_quiet(now) and self._is_open(flow) else (9, None)

    def _urgency_of_newest(self, flow: Flow, sequence: OverlapSequence, now: float) -> int:
        """The same where the newest page is all that can be asked for."""
        if sequence.compares or flow.is_too_fine or not self._is_open(flow):
            return 9
        if sequence.doubtful and not sequence.awaits_next:
            return 0 if sequence.holds else 1
        if flow.wants(now):
            return 2
        return 3 if flow.is_quiet(now) else 9

    async def _ask(self, flow: Flow, hole: Hole | None) -> None:
        sequence = flow.sequence
        try:
            if isinstance(sequence, OverlapSequence):
                await self._compare(flow, sequence)
            elif hole is not None:
                await self._fill(flow, sequence, hole)
            elif sequence.next_id == NO_ID:
                await self._begin(flow, sequence)
            else:
                await self._continue(flow, sequence)
            self._failures = 0
            if flow.denials:
                flow.denials, flow.denied = 0, ""
        except NotServedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a venue answers, it is asked again
            self._failed(f"asking for trades of {flow.market.symbol} failed: {named(error)}")
            self._put_off(flow, error)
        flow.asked = self._now()
        self._changed(flow)

    def _put_off(self, flow: Flow, error: Exception) -> None:
        """What was refused of a flow costs no other; where the venue failed, nothing is asked for now."""
        if self._client.denies(error):
            flow.deny(str(error))
            concerned, failures = [flow], flow.denials
            flow.denials += 1
        else:
            concerned, failures = self._flows, self._failures
            self._failures += 1
        until = self._now() + min(FAILED_S * 2**failures, FAILED_S_MAX)
        for each in concerned:
            each.ask_at = max(each.ask_at, until)

    def _since(self, flow: Flow) -> int | None:
        """Before its first trade: up to when (ns) nothing of a market is asked for; None: later."""
        began = flow.began(self._skew())
        if began is None:
            flow.ask_at = self._now() + AGAIN_S
            return None
        return ms_before(began - self._venue.grace_ms * MS_NS)

    async def _compare(self, flow: Flow, sequence: OverlapSequence) -> None:
        """The newest page."""
        if sequence.asks_where:
            if (since := self._since(flow)) is None:
                return
            sequence.begin(since)
        asked = sequence.asked()

        def sent() -> None:
            nonlocal asked
            asked = sequence.asked()

        page = flow.page(await self._client.newest(flow.market.symbol, sent))
        if page is None:
            return
        if vain := sequence.answered(page, asked, int(self._now() * 1e9)):
            flow.ask_at = self._now() + AGAIN_S * 2 ** (vain - 1)

    async def _fill(self, flow: Flow, sequence: TradeSequence, hole: Hole) -> None:
        """A page of what a hole misses."""
        assert hole.wanted is not None
        first, stop = hole.wanted
        asked = first - 1 if sequence.starting and first > 0 else first
        page = flow.fetched(await self._client.trades_from(flow.market.symbol, asked, stop), asked)
        tries = hole.answered(first, page)
        sequence.answered(page, int(self._now() * 1e9))
        if tries:
            flow.ask_at = self._now() + AGAIN_S * 2 ** (tries - 1)

    async def _continue(self, flow: Flow, sequence: TradeSequence) -> None:
        """The last trade, as the venue has it, and a page of what came behind it; where that is not all, the
        newest too, so that it is known how much is missing."""
        doubts = sequence.doubts
        last = sequence.next_id - 1
        page, is_newest = await self._client.trades_behind(flow.market.symbol, last)
        newest: Sequence[Mapping[str, Any]] = ()
        if not is_newest:
            await self._one_more()
            newest = await self._client.newest(flow.market.symbol)
            is_newest = bool(newest)
        elif not page:
            await self._one_more()
            sequence.answered_nothing(flow.fetched(await self._client.newest(flow.market.symbol)))
        trades = flow.fetched(page, last)  # both at once: scales may grow in between
        left_out = flow.left_out
        trades += [trade for trade in flow.fetched(newest) if not trades or trade.id > trades[-1].id]
        left_out += flow.left_out
        sequence.answered(trades, int(self._now() * 1e9))
        flow.vain = 0 if trades else flow.vain + 1
        if 0 < flow.vain <= ASKED_AGAIN:
            flow.ask_at = self._now() + AGAIN_S * 2 ** (flow.vain - 1)
        elif left_out:
            flow.ask_behind_at = self._now() + LEFT_OUT_S
        elif is_newest and doubts == sequence.doubts and not left_out:
            sequence.trust()

    async def _begin(self, flow: Flow, sequence: TradeSequence) -> None:
        """Where a market begins: with the first trade since it was subscribed to, or since the end of what
        the journal promises. Where the venue knows of none, it is asked again once one came."""
        doubts, lowest = sequence.doubts, sequence.lowest
        if (since := sequence.begins_anew or self._since(flow)) is None:
            return
        if lowest is None or sequence.begins_anew:
            page, lowest = flow.fetched(await self._client.newest(flow.market.symbol)), None
        else:
            first = max(lowest.id + 1 - self._venue.page, 0)
            page = flow.fetched(await self._client.trades_from(flow.market.symbol, first, lowest.id + 1))
        if sequence.next_id != NO_ID:
            return  # it began meanwhile with what came
        known, market = [trade for trade in page if trade.time > sequence.begins_anew], flow.market
        if known:
            begin = self._begin_anew if sequence.begins_anew else self._begin_since
            await begin(flow, sequence, page, since)
        elif flow.empty_pages < ASKED_AGAIN:
            flow.empty_pages += 1
            flow.ask_at = self._now() + AGAIN_S * 2 ** (flow.empty_pages - 1)
            return
        else:
            sequence.begin_with_what_came(0 if flow.is_whole or sequence.begins_anew else since)
        if lowest is None and doubts == sequence.doubts and flow.market is market:
            sequence.trust()

    async def _begin_since(self, flow: Flow, sequence: TradeSequence, page: list[Trade], since: int) -> None:
        """With the first trade later than `since` (ns), which is in the page or before it."""
        market = flow.market
        before = list(takewhile(lambda trade: trade.time <= since, page))
        last = before[-1] if before else None
        if last is None:
            first = await self._first_since(flow, page[0], since)
            last = page[0]._replace(id=first - 1, time=since)
        if sequence.next_id != NO_ID or flow.market is not market:
            return  # it began meanwhile; or its page may be at other scales, and is asked for again
        sequence.begin(last)
        sequence.answered(page[len(before) :], int(self._now() * 1e9))

    async def _begin_anew(self, flow: Flow, sequence: TradeSequence, page: list[Trade], since: int) -> None:
        """With the first trade behind the last one, of `since` (ns), of which the ids say nothing."""
        market = flow.market
        later = [trade for trade in page if trade.time > since]
        if later[0] is page[0]:
            first = await self._first_since(flow, page[0], since)
            if first < page[0].id:
                later = await self._another(flow, first)
        if flow.market is market and later:  # as above
            sequence.begin_anew(later[0])
            sequence.answered(page, int(self._now() * 1e9))

    async def _first_since(self, flow: Flow, known: Trade, since: int) -> int:
        """The id of the first trade after a time (ns), where `known` is one: back in steps that double, then
        between the last two."""
        first, step = known.id, self._venue.page
        while first > 0:
            page = await self._before(flow, first, max(first - step, 0))
            if not page:
                break
            if page[0].time <= since:
                search = Search(page[0].id, first, since + 1)
                search.seen(page)
                while (asks := search.asks) is not None:
                    search.answered(asks, await self._another(flow, asks))
                return search.begins
            first, step = page[0].id, 2 * step
        return first

    async def _before(self, flow: Flow, known: int, first: int) -> list[Trade]:
        """The page from the id `first` on, which begins before `known`. A venue that has none is asked again;
        then `known` is the first of all."""
        for tries in range(ASKED_AGAIN + 1):
            if tries:
                await asyncio.sleep(AGAIN_S * 2 ** (tries - 1))
            page = await self._another(flow, first)
            if page and page[0].id < known:
                return page
        return []

    async def _another(self, flow: Flow, first: int) -> list[Trade]:
        """A further page."""
        await self._one_more()
        stop = first + self._venue.page
        return flow.fetched(await self._client.trades_from(flow.market.symbol, first, stop), first)
