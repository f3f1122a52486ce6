"""Trades that are missing are fetched, and what cannot be had is a gap that says so."""

import asyncio
from typing import Any

import pytest

from infra.exchange.venues import filling
from infra.exchange.venues.known import VENUES
from streams.log import Log
from tests.venues.cases import ETH, MINUTE, MS, START, collecting_live, short
from tests.venues.collected import (
    candles,
    clock,
    expected,
    gaps,
    open_gaps,
    rows,
    states,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import (
    Cut,
    Empty,
    LeaveOut,
    Refuse,
)
from tests.venues.okx import Okx


def test_what_the_venue_does_not_have_any_more_is_a_final_gap_and_nothing_else_is(
    numbered: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(numbered, 300)

    async def test() -> None:
        async with collecting_live(numbered, log) as (venue, collected):
            await venue.play(venue.frames(trades), script=[(70, LeaveOut(5, rest=True))])
            await collected.until(lambda: collected.trades() == 295)

    asyncio.run(test())
    assert rows(log) == expected(trades[:70] + trades[75:])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[69].time * MS - 1, trades[75].time * MS)
    assert (gap.first_id, gap.last_id, gap.reason) == (71, 75, "these trades are nowhere to be had")
    incomplete = [candle.timestamp for candle in candles(log, strategies).values() if candle.incomplete]
    assert set(incomplete) == {(START + 2 * MINUTE) * MS}


def test_no_more_trades_are_asked_for_than_are_missing(numbered: type[FakeVenue], log: Log) -> None:
    trades = short(numbered, 300)

    async def test() -> None:
        async with collecting_live(numbered, log) as (venue, collected):
            venue.publish(trades[:1])
            await collected.has(1)
            before = len(venue.asked("trades"))
            await venue.play(venue.frames(trades[1:]), script=[(69, LeaveOut(5))])
            await collected.has(300)
            assert {request.query["limit"] for request in venue.asked("trades")[before:]} == {"5"}

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)


def test_a_long_hole_takes_no_more_pages_than_a_venue_may_be_asked_for(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VENUES["okx"], "pages_a_minute", 600)
    monkeypatch.setattr(filling, "BURST", 3 / 600)
    trades, others, now_s = short(Okx, 2_050), short(Okx, 100, "ETH"), 1_000.0
    older = [t._replace(id="0", time=t.time - 1_000) for t in (trades[0], others[0])]

    async def test() -> None:
        nonlocal now_s
        async with collecting_live(Okx, log, ["BTC/USDT", ETH], older=older, now_s=lambda: now_s) as (
            venue,
            collected,
        ):
            now_s += 60
            venue.publish([*trades[:10], others[0]])
            await collected.has(10)
            before = len(venue.asked("trades"))
            await venue.strike(LeaveOut(2_000))
            venue.publish(trades[10:])
            await collected.until(lambda: collected.waiting() == 40)
            now_s += 0.2
            for count in range(1, 100):
                venue.publish([others[count]])
                await collected.has(count + 1, ETH)
            assert len(venue.asked("trades")) - before <= 5, "three at once, and ten a second"
            while collected.trades() < 2_050:
                asked, now_s = len(venue.asked("trades")), now_s + 60
                await collected.until(
                    lambda asked=asked: len(venue.asked("trades")) > asked or collected.trades() == 2_050
                )

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not open_gaps(log)


def test_live_rows_do_not_wait_longer_than_they_should_and_the_hole_is_filled_behind_them(
    numbered: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(numbered, 200)

    async def test() -> None:
        async with collecting_live(numbered, log, gap_wait_s=0.0) as (venue, collected):
            venue.publish(trades[:1])
            await collected.has(1)
            await venue.strike(Refuse(("trades",), None, 503))
            await venue.play(venue.frames(trades[1:]), script=[(69, LeaveOut(5))])
            await collected.until(lambda: collected.trades() == 194)
            (gap,) = open_gaps(log)
            assert not gap.final and (gap.first_id, gap.last_id) == (71, 76), "76 may share its moment"
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(200)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades[:70] + trades[76:] + trades[70:76])
    assert [row.id for row in rows(log) if row.fetched] == [71, 72, 73, 74, 75, 76]
    found = candles(log, strategies)
    assert not any(candle.incomplete for candle in found.values())
    assert {candle.timestamp for candle in found.values() if candle.revision} == {(START + 2 * MINUTE) * MS}


def test_a_hole_at_the_tail_is_found_by_asking_a_venue_that_went_quiet(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            await venue.play(venue.frames(trades), script=[(55, LeaveOut(5))])
            await collected.until(lambda: collected.trades() == 55)
            collected.pass_by(301)
            await collected.has(60)
            assert len(venue.asked("socket")) == 1, "a quiet market is never dialled again"

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    (gap,) = gaps(log).known
    assert (gap.start, gap.end, gap.filled) == (trades[54].time * MS - 1, trades[59].time * MS, True)


def test_after_a_cut_the_venue_is_asked_at_once_for_what_a_quiet_market_missed(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            venue.publish(trades[:50])
            await collected.has(50)
            await venue.strike(Cut())
            venue.publish(trades[50:])
            await collected.has(60)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert [row.id for row in rows(log) if row.fetched] == [row.id for row in expected(trades[50:])]
    assert states(log) == ["catching_up", "live", "down"], "nobody could have acted in so short a time"


def test_more_than_may_wait_is_fetched_later_and_takes_no_memory(numbered: type[FakeVenue], log: Log) -> None:
    trades = short(numbered, 2_000)

    async def test() -> None:
        async with collecting_live(numbered, log, cache_trades=300) as (venue, collected):
            venue.publish(trades[:1])
            await collected.has(1)
            await venue.strike(Refuse(("trades",), None, 503))
            await venue.play(venue.frames(trades[1:]), script=[(49, LeaveOut(1))])
            await collected.until(lambda: collected.waiting() == 300)
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(2_000)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)


def test_what_waits_of_one_market_lets_no_other_wait(numbered: type[FakeVenue], log: Log) -> None:
    one, other = short(numbered, 100), short(numbered, 100, "ETH")

    async def test() -> None:
        async with collecting_live(numbered, log, ["BTC/USDT", ETH]) as (venue, collected):
            venue.publish([one[0], other[0]])
            await collected.has(1)
            await collected.has(1, ETH)
            await venue.strike(Refuse(("trades",), None, 503))
            venue.publish(one[1:50])
            await venue.strike(LeaveOut(1))
            venue.publish(one[50:])
            venue.publish(other[1:])
            await collected.until(lambda: collected.trades(ETH) == 100)
            assert len(rows(log)) == 50
            assert clock(log, ETH) > clock(log)
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(100)

    asyncio.run(test())
    assert rows(log, ETH) == expected(other)
    assert without_origin(rows(log)) == expected(one)


def test_a_venue_that_answers_with_nothing_is_asked_again_thrice_and_then_the_gap_is_final(
    numbered: type[FakeVenue], log: Log
) -> None:
    trades = short(numbered, 60)

    async def test() -> None:
        async with collecting_live(numbered, log) as (venue, collected):
            venue.publish(trades[:30])
            await collected.has(30)
            await venue.strike(Empty(("trades",), None))
            asked = len(venue.asked("trades"))
            await venue.play(venue.frames(trades[30:]), script=[(0, LeaveOut(5))])
            await collected.until(lambda: collected.trades() == 55)
            assert len(venue.asked("trades")) - asked == 4

    asyncio.run(test())
    assert rows(log) == expected(trades[:30] + trades[35:])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[29].time * MS - 1, trades[35].time * MS)


def test_a_venue_that_denies_its_last_trade_is_asked_again_for_what_came_behind_it(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            venue.publish(trades[:50])
            await collected.has(50)
            await venue.strike(Empty(("trades",), 2))
            await venue.strike(Cut())
            venue.publish(trades[50:])
            await collected.has(60)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
