"""How far back what was missed of an exchange is fetched, and that the journal says what was not."""

import asyncio
from typing import Any

from streams.log import Log
from tests.venues.bybit import Bybit
from tests.venues.cases import MS, START, at, collecting_live, short
from tests.venues.collected import candles, clock, collecting, expected, gaps, open_gaps, rows, without_origin
from tests.venues.fake import FakeVenue
from tests.venues.faults import LeaveOut
from tests.venues.trades import Trade, made


def stopped(
    kind: type[FakeVenue], log: Log, trades: list[Trade], *, back_at: int, backfill_max_s: int
) -> None:
    """Collect 10 trades, stop, and start again at a time (ms) at which the venue has all but the last; then
    the last comes live."""

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue)) as collected:
                await collected.live()
                venue.publish(trades[:10])
                await collected.has(10)
            venue.publish(trades[10:-1])
            async with collecting(log, at(venue, back_at), backfill_max_s=backfill_max_s) as collected:
                await collected.live()
                venue.publish(trades[-1:])
                (last,) = expected(trades[-1:])
                await collected.until(lambda: rows(log)[-1].id == last.id)

    asyncio.run(test())


def test_after_a_long_stop_what_is_too_old_is_a_final_gap_and_the_rest_is_there_before_live_rows(
    numbered: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = made(numbered.pair(), 2_800, start=START, every_ms=2_500)
    stopped(numbered, log, trades, back_at=START + 7_000_000, backfill_max_s=3_600)
    late = [trade for trade in trades if trade.time >= START + 3_400_000]
    assert without_origin(rows(log)) == expected(trades[:10] + late)
    (gap,) = open_gaps(log)
    assert (gap.first_id, gap.last_id, gap.final) == (11, int(late[0].id) - 1, True)
    assert gap.reason == "older than --backfill-max 1h"
    assert (gap.start, gap.end) == (trades[9].time * MS - 1, late[0].time * MS - 1)
    ends = {end for (frame, end), candle in candles(log, strategies).items() if candle.incomplete}
    assert all(end - 86_400 * 10**9 < gap.end for end in ends)


def test_what_is_too_old_of_the_only_page_that_a_venue_has_is_a_final_gap_too(log: Log) -> None:
    walk = short(Bybit, 51)
    trades = [trade._replace(time=START + 60_000 * n) for n, trade in enumerate(walk)]
    stopped(Bybit, log, trades, back_at=trades[49].time + 1, backfill_max_s=1_200)
    assert without_origin(rows(log)) == expected(trades[:10] + trades[30:])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[9].time * MS - 1, trades[30].time * MS)
    assert gap.reason == "older than --backfill-max 20m"


def test_with_0_nothing_is_fetched_after_a_stop(kind: type[FakeVenue], log: Log) -> None:
    trades = short(kind, 50)
    stopped(kind, log, trades, back_at=START + 100_000, backfill_max_s=0)
    assert rows(log) == expected([*trades[:10], trades[-1]])
    (gap,) = open_gaps(log)
    assert gap.final and gap.start == trades[9].time * MS - 1
    assert trades[48].time * MS <= gap.end <= trades[49].time * MS
    assert gap.reason == "older than --backfill-max 0"
    if kind.numbered:
        assert (gap.first_id, gap.last_id) == (11, 49)


def test_a_hole_in_what_comes_is_not_fetched_with_0_either(numbered: type[FakeVenue], log: Log) -> None:
    trades = short(numbered, 100)

    async def test() -> None:
        async with collecting_live(numbered, log, backfill_max_s=0) as (venue, collected):
            await venue.play(venue.frames(trades), script=[(70, LeaveOut(5))])
            await collected.until(lambda: collected.trades() == 95)

    asyncio.run(test())
    assert rows(log) == expected(trades[:70] + trades[75:])
    assert [(gap.first_id, gap.last_id) for gap in open_gaps(log)] == [(71, 75)]


def test_a_market_that_was_promised_without_a_trade_goes_on_with_the_first_one_since(
    numbered: type[FakeVenue], log: Log
) -> None:
    trades, times = made(numbered.pair(), 3_000, start=START - 1_000_000, every_ms=1_000), list[int]()

    async def test() -> None:
        async with numbered() as venue:
            venue.clock.go(0.0, START + 600)
            async with collecting(log, venue) as collected:
                await collected.live()
                venue.clock.go(0.0, START + 60_600)
                await collected.until(lambda: clock(log) >= (START + 60_000) * MS)
            times.append(clock(log))
            venue.publish(trades[:-1])
            venue.clock.go(0.0, trades[-1].time)
            async with collecting(log, venue) as collected:
                await collected.live()
                venue.publish(trades[-1:])
                await collected.until(lambda: rows(log) and rows(log)[-1].id == 3_000)

    asyncio.run(test())
    since = [trade for trade in trades if trade.time * MS > times[0]]
    assert without_origin(rows(log)) == expected(since) and not gaps(log).open
