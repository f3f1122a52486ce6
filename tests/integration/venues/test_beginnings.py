"""Where a market begins that had no trade yet: what is missed before its first is fetched, or in a gap."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from infra.exchange.venues import filling
from streams.events import Gap, Market
from streams.journal import JournalWriter, next_epoch
from streams.log import Log
from tests.venues.bybit import Bybit, identified
from tests.venues.cases import MINUTE, MS, START, at, collecting_live
from tests.venues.collected import (
    Collected,
    candles,
    clock,
    collecting,
    events,
    expected,
    gaps,
    letters,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import Altered, Cut, Empty, Heal, LeaveOut, PageHoled, Refuse, RestFault, Swap
from tests.venues.okx import CHANNELS, Okx
from tests.venues.trades import Frame, Trade, made


def first_trades(kind: type[FakeVenue], count: int, first_id: int = 1) -> list[Trade]:
    """Of a market, ten a second, from a second after `START` on."""
    trades = made(kind.pair(), count, start=START + 1_000, first_id=first_id)
    return list(map(identified, trades)) if kind is Bybit else trades


def check(log: Log, kind: type[FakeVenue], trades: list[Trade]) -> None:
    """Each is in the journal, once and in order. Where trades are numbered no gap is open; at another venue
    nothing tells that none came before its first ones, which a final gap says."""
    assert without_origin(rows(log)) == expected(trades)
    if kind is not Bybit:
        assert not open_gaps(log)
        return
    (gap,) = open_gaps(log)
    assert gap.final and START * MS - 500 * MS - 1 <= gap.start < gap.end <= trades[0].time * MS


def test_the_first_trades_of_a_market_that_come_during_a_cut_are_fetched(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = first_trades(kind, 60)

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            await venue.strike(Cut())
            venue.publish(trades[:50])
            await venue.asked_since_watched(kind.pair())
            await collected.until(lambda: collected.trades() == 50)
            venue.publish(trades[50:])
            await collected.until(lambda: collected.trades() == 60)

    asyncio.run(test())
    check(log, kind, trades)


@asynccontextmanager
async def cut_at_the_beginning(
    kind: type[FakeVenue], log: Log, older: Sequence[Trade], missed: Sequence[Trade]
) -> AsyncIterator[tuple[FakeVenue, Collected]]:
    """REST fails since the start; the market's first trades are missed by a cut, and it is dialled again."""
    async with kind() as venue:
        venue.publish(older)
        await venue.strike(Refuse(("trades",), None, 503))
        async with collecting(log, at(venue)) as collected:
            await venue.watched(kind.pair())
            await collected.until(lambda: not collected.is_lost)
            await venue.strike(Cut())
            venue.publish(missed)
            await collected.until(lambda: collected.reconnects == 1 and not collected.is_lost)
            yield venue, collected


def test_a_market_that_was_cut_before_the_venue_told_of_its_trades_begins_where_it_was_subscribed_to(
    kind: type[FakeVenue], log: Log
) -> None:
    older, trades = made(kind.pair(), 5, start=START - 5_000), first_trades(kind, 60, first_id=6)

    async def test() -> None:
        async with cut_at_the_beginning(kind, log, older, trades[:50]) as (venue, collected):
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.until(lambda: collected.trades() == 50)
            venue.publish(trades[50:])
            await collected.until(lambda: collected.trades() == 60)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not open_gaps(log)


def test_an_empty_page_promises_nothing_of_the_first_trades_that_a_cut_cost(
    numbered: type[FakeVenue], log: Log
) -> None:
    older, trades = made(numbered.pair(), 5, start=START - 5_000), first_trades(numbered, 20, first_id=6)

    async def test() -> None:
        async with cut_at_the_beginning(numbered, log, older, trades) as (venue, collected):
            at(venue, START + 2 * MINUTE + 600)
            venue.rest_faults.clear()
            await venue.strike(Empty(("trades",), times=1))
            collected.pass_by(60)
            await collected.until(lambda: clock(log) >= (START + 2 * MINUTE) * MS)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not open_gaps(log)


def test_first_trades_that_a_cut_cost_and_no_page_has_lie_in_a_final_gap(
    numbered: type[FakeVenue], log: Log
) -> None:
    older, trades = made(numbered.pair(), 5, start=START - 5_000), first_trades(numbered, 20, first_id=6)

    async def test() -> None:
        async with cut_at_the_beginning(numbered, log, older, trades[:10]) as (venue, collected):
            await venue.watched(numbered.pair())
            venue.publish(trades[10:])
            await collected.until(lambda: collected.waiting() == 10)
            venue.rest_faults.clear()
            await venue.strike(Empty(("trades",), times=None))
            collected.pass_by(60)
            await collected.until(lambda: collected.trades() == 10)

    asyncio.run(test())
    assert rows(log) == expected(trades[10:])
    (gap,) = open_gaps(log)
    assert gap.final and gap.start < trades[0].time * MS and gap.end == trades[10].time * MS


@dataclass(frozen=True)
class EmptyBefore(RestFault):
    """Once a page without a trade from `id` on has none."""

    on: tuple[str, ...] = ("trades",)
    id: int = 0

    def page(self, page: list[Trade], older: list[Trade]) -> list[Trade] | None:
        return None if not page or int(page[-1].id) >= self.id else []


def test_an_empty_page_before_first_trades_that_a_cut_cost_is_asked_for_again(
    numbered: type[FakeVenue], log: Log
) -> None:
    older, trades = made(numbered.pair(), 5, start=START - 5_000), first_trades(numbered, 1_150, first_id=6)

    async def test() -> None:
        async with cut_at_the_beginning(numbered, log, older, trades[:1_100]) as (venue, collected):
            await venue.watched(numbered.pair())
            venue.publish(trades[1_100:])
            await collected.until(lambda: collected.waiting() == 50)
            venue.rest_faults.clear()
            await venue.strike(EmptyBefore(id=int(trades[1_100].id)))
            collected.pass_by(60)
            await collected.until(lambda: collected.trades() == 1_150)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not open_gaps(log)


def test_first_trades_that_come_while_no_collector_runs_are_fetched_at_its_next_start(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = first_trades(kind, 60)

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue)) as collected:
                await collected.live()
                await collected.until(lambda: clock(log) > 0)
            venue.publish(trades[:50])
            async with collecting(log, venue) as collected:
                await collected.until(lambda: collected.trades() == 50)
                venue.publish(trades[50:])
                await collected.until(lambda: collected.trades() == 60)

    asyncio.run(test())
    check(log, kind, trades)


def test_a_gap_before_a_first_trade_in_which_the_collector_was_killed_is_fetched_once(
    numbered: type[FakeVenue], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, trades = made(numbered.pair(), 3, start=START - 5_000), first_trades(numbered, 20, first_id=4)
    monkeypatch.setattr(filling, "AGAIN_S", 3_600.0)

    async def test() -> None:
        async with numbered() as venue:
            venue.publish(older)
            async with collecting(log, at(venue)) as collected:
                await collected.live()
                await collected.until(lambda: clock(log) > 0)
                await venue.strike(PageHoled(times=None))  # it lacks one of them
                await venue.strike(LeaveOut(3))
                venue.publish(trades[:4])
                await collected.until(lambda: open_gaps(log))
            assert not rows(log)
            await venue.strike(Heal())
            async with collecting(log, venue) as collected:
                await collected.has(4)
                venue.publish(trades[4:])
                await collected.has(20)

    asyncio.run(test())
    check(log, numbered, trades)


def test_a_market_whose_collector_was_killed_before_it_promised_anything_begins_with_its_gap(
    kind: type[FakeVenue], log: Log
) -> None:
    older, trades = made(kind.pair(), 3, start=START - 5_000), first_trades(kind, 20, first_id=4)
    ids = {"first_id": 4, "last_id": 6} if kind.numbered else {}
    key = f"{kind.name}:BTC/USDT"
    gap = Gap(market=key, start=START * MS - 1, end=trades[3].time * MS, reason="not there yet", **ids)

    async def test() -> None:
        async with kind() as venue:
            venue.publish(older)
            await venue.strike(Refuse(("socket",), None, 503))
            async with collecting(log, at(venue)) as collected:
                await collected.until(lambda: any(isinstance(event, Market) for event in events(log)))
            JournalWriter(log, kind.name, next_epoch(0)).append(gap, key=key)
            venue.publish(trades[:10])
            await venue.strike(Heal())
            async with collecting(log, venue) as collected:
                await collected.has(10)
                venue.publish(trades[10:])
                await collected.has(20)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not open_gaps(log)


def test_a_first_trade_that_cannot_be_let_in_is_fetched(kind: type[FakeVenue], log: Log) -> None:
    trades = first_trades(kind, 20)

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            await venue.strike(Altered("price", "0"))
            venue.publish(trades[:10])
            await collected.until(lambda: collected.trades() == 10)
            venue.publish(trades[10:])
            await collected.until(lambda: collected.trades() == 20)

    asyncio.run(test())
    assert len(letters(log)) == 1
    check(log, kind, trades)


def test_a_market_that_stays_without_a_trade_through_a_cut_has_no_gap(
    kind: type[FakeVenue], log: Log
) -> None:
    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            await venue.strike(Cut())
            await collected.until(lambda: collected.reconnects == 1 and not collected.is_lost)
            venue.clock.reach(START + 2 * MINUTE)
            await collected.until(lambda: clock(log) >= (START + MINUTE) * MS)

    asyncio.run(test())
    assert not gaps(log).known


@pytest.mark.parametrize("are_older", [False, True], ids=["its very first", "others before"])
def test_first_trades_that_swap_are_in_order(numbered: type[FakeVenue], log: Log, are_older: bool) -> None:
    older, trades = made(numbered.pair(), 5, start=START - 5_000), first_trades(numbered, 20, first_id=6)

    async def test() -> None:
        async with numbered() as venue:
            venue.publish(older if are_older else [])
            async with collecting(log, at(venue)) as collected:
                await venue.watched(numbered.pair())
                await venue.strike(Swap())
                venue.publish(trades[:10])
                await collected.until(lambda: collected.trades() == 10)
                venue.publish(trades[10:])
                await collected.until(lambda: collected.trades() == 20)

    asyncio.run(test())
    check(log, numbered, trades)


def test_a_market_begins_with_what_came_where_the_venue_fails_to_say_where(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = first_trades(kind, 20, first_id=6)

    async def test() -> None:
        async with kind() as venue:
            await venue.strike(Refuse(("trades",), None, 503))
            async with collecting(log, at(venue)) as collected:
                await venue.watched(kind.pair())
                if kind.numbered:
                    await venue.strike(Swap())
                venue.publish(trades[:10])
                await collected.until(lambda: collected.waiting() == 10 or not kind.numbered)
                collected.pass_by(5)
                await collected.until(lambda: collected.trades() == 10)
                venue.publish(trades[10:])
                await collected.until(lambda: collected.trades() == 20)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert not open_gaps(log)


def test_where_a_busy_market_begins_is_told_by_one_page_however_much_came_since(
    numbered: type[FakeVenue], log: Log
) -> None:
    older = made(numbered.pair(), 3_000, start=START - 600_000)
    trades = first_trades(numbered, 1_500, first_id=3_001)

    async def test() -> None:
        async with numbered() as venue:
            venue.publish(older)
            await venue.strike(Refuse(("trades",), None, 503))
            async with collecting(log, at(venue)) as collected:
                await venue.watched(numbered.pair())
                venue.publish(trades)
                await collected.until(lambda: collected.waiting() == len(trades))
                await venue.strike(Heal())
                await collected.until(lambda: collected.trades() == len(trades))
                assert sum(request.is_true for request in venue.asked("trades")) <= 1

    asyncio.run(test())
    check(log, numbered, trades)


def test_the_first_trade_of_all_of_a_market_is_known_by_the_page_that_ends_with_it(
    numbered: type[FakeVenue], log: Log
) -> None:
    trades = first_trades(numbered, 1, first_id=5_001)

    async def test() -> None:
        async with collecting_live(numbered, log) as (venue, collected):
            await collected.until(collected.settled)
            before = len(venue.asked("trades"))
            venue.publish(trades)
            await collected.has(1)
            assert len(venue.asked("trades")) - before == 5, "a page with it, and four times one before it"

    asyncio.run(test())
    check(log, numbered, trades)


def test_a_market_waits_for_its_first_trades_that_a_cut_may_have_cost_while_the_venue_fails_to_answer(
    numbered: type[FakeVenue], log: Log
) -> None:
    trades = first_trades(numbered, 20)

    async def test() -> None:
        async with numbered() as venue:
            await venue.strike(Refuse(("trades",), None, 503))
            async with collecting(log, at(venue)) as collected:
                await collected.until(lambda: venue.asked("trades"))  # it is subscribed to
                await venue.strike(Cut())
                venue.publish(trades[:10])
                await venue.watched(numbered.pair())
                venue.publish(trades[10:])
                for count in range(len(venue.asked("trades")), len(venue.asked("trades")) + 5):
                    collected.pass_by(60)
                    await collected.until(lambda count=count: len(venue.asked("trades")) > count)
                assert not collected.trades()
                await venue.strike(Heal())
                collected.pass_by(60)
                await collected.until(lambda: collected.trades() == 20)

    asyncio.run(test())
    check(log, numbered, trades)


def newest_first(venue: FakeVenue, trades: list[Trade]) -> Frame:
    """All in one text of OKX, which is silent of their order."""
    channel = CHANNELS["/ws/v5/business"]
    texts = [json.loads(text) for trade in trades for text in venue.texts(Frame([trade]), channel)]
    rows = [row for text in reversed(texts) for row in text["data"]]
    return Frame(trades, json.dumps(texts[0] | {"data": rows}, separators=(",", ":")))


def test_first_trades_of_one_frame_whose_newest_is_first_are_in_order(log: Log) -> None:
    trades = first_trades(Okx, 20)

    async def test() -> None:
        async with collecting_live(Okx, log) as (venue, collected):
            venue.emit(newest_first(venue, trades[:10]))
            venue.flush()
            await collected.until(lambda: collected.trades() == 10)
            venue.publish(trades[10:])
            await collected.until(lambda: collected.trades() == 20)

    asyncio.run(test())
    check(log, Okx, trades)


def test_very_first_trades_that_are_left_out_are_fetched_though_their_minute_was_promised(
    numbered: type[FakeVenue], log: Log, strategies: Any
) -> None:
    early, late = first_trades(numbered, 3), made(numbered.pair(), 20, start=START + 2 * MINUTE, first_id=4)

    async def test() -> None:
        async with collecting_live(numbered, log) as (venue, collected):
            await venue.strike(LeaveOut(3))
            venue.publish(early)
            venue.clock.reach(START + 2 * MINUTE)
            await collected.until(lambda: clock(log) >= (START + MINUTE) * MS)
            venue.publish(late)
            await collected.until(lambda: collected.trades() == 23)

    asyncio.run(test())
    check(log, numbered, [*early, *late])
    first = candles(log, strategies)["1m", (START + MINUTE) * MS]
    assert not first.incomplete and first.volume == sum(row.size for row in expected(early))


def test_a_market_begins_though_the_venue_does_not_say_what_time_it_is(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = first_trades(kind, 60)

    async def test() -> None:
        async with kind() as venue:
            await venue.strike(Refuse(("time",), None, 503))
            async with collecting(log, at(venue, START)) as collected:
                await venue.watched(kind.pair())
                venue.publish(trades)
                await collected.until(lambda: collected.waiting() == 60 or collected.trades() == 60)
                collected.pass_by(6)
                await collected.has(60)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not gaps(log).known
