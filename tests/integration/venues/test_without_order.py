"""A venue whose ids tell no order, and whose REST has the newest page alone, through the unmodified client.

Bybit: its spot market gives 60 trades, its contracts 1,000.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.events import Feed
from streams.log import Log
from tests.venues.bybit import Bybit
from tests.venues.cases import MINUTE, MS, START, at, collecting_live, recording, short
from tests.venues.collected import (
    Row,
    candles,
    collecting,
    events,
    expected,
    gaps,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.faults import (
    Burst,
    Close,
    Cut,
    Empty,
    Fault,
    LeaveOut,
    Malformed,
    PageOverlapping,
    Refuse,
    Repeat,
    Restart,
    Snapshot,
)

BTC, KEY = "BTCUSDT", "bybit:BTC/USDT"
SWAP, SWAP_KEY = "linear:BTCUSDT", "bybit:BTC/USDT:USDT"
SYMBOLS = {BTC: "BTC/USDT", SWAP: "BTC/USDT:USDT"}


def sorted_by_time(found: list[Row]) -> list[Row]:
    return sorted(without_origin(found), key=lambda row: row.time)


FAULTS: dict[str, tuple[str, list[tuple[int, Fault]]]] = {
    "a cut": (BTC, [(8_000, Cut(away=200))]),
    "closes with a code": (SWAP, [(3_000, Close(1001, away=100)), (9_000, Close(1012, away=100))]),
    "a malformed frame": (SWAP, [(8_000, Malformed(away=50))]),
    "repeats": (BTC, [(1_500, Repeat(300))]),
    "a burst": (BTC, [(3_000, Burst(5_000))]),
    "more than a page away": (SWAP, [(4_000, Restart(away=100)), (12_000, Restart(away=2_500))]),
    "a snapshot at each subscription": (BTC, [(0, Snapshot()), (8_000, Cut(away=100))]),
    "an empty page": (SWAP, [(8_000, Empty(("trades",), 2)), (8_000, Cut(away=100))]),
    "trades left out": (SWAP, [(5_000, LeaveOut(250))]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_venue_does_at_full_speed_each_trade_is_in_the_journal_once_or_in_a_gap(
    log: Log, shared_data: Path, name: str
) -> None:
    market, script = FAULTS[name]
    (frames, true), symbol = recording(Bybit, market, shared_data), SYMBOLS[market]

    async def test() -> int:
        async with collecting_live(Bybit, log, [symbol], market=market, start=frames[0].time) as (
            venue,
            collected,
        ):
            await venue.play(frames, script=script, rest_first=True)
            await collected.until(lambda: true[-1] in without_origin(rows(log, f"bybit:{symbol}")))
            await collected.until(lambda: collected.settled(symbol))
            return len(venue.unsent)

    unsent = asyncio.run(test())
    found = without_origin(rows(log, f"bybit:{symbol}"))
    written, open_ = set(found), open_gaps(log, f"bybit:{symbol}")
    assert len(written) == len(found), "each once"
    assert written <= set(true)
    assert all(gap.final for gap in open_)
    missing = [row for row in true if row not in written]
    unseen = [row for row in missing if not any(gap.start < row.time <= gap.end for gap in open_)]
    assert len(unseen) <= unsent, "no page shows what is left out of a burst"


def test_what_a_cut_cost_is_fetched_in_the_venues_own_order_before_what_came_behind_it(
    log: Log, strategies: Any
) -> None:
    trades = short(Bybit, 300, market=SWAP, together=3)

    async def test() -> None:
        async with collecting_live(Bybit, log, ["BTC/USDT:USDT"], market=SWAP) as (venue, collected):
            script = [(90, Cut(away=30)), (210, Cut(away=9)), (240, Repeat(50))]
            await venue.play(venue.frames(trades), script=script, rest_first=True)
            await collected.has(300, SWAP_KEY)

    asyncio.run(test())
    assert without_origin(rows(log, SWAP_KEY)) == expected(trades)
    assert sum(row.fetched for row in rows(log, SWAP_KEY)) == 39
    assert len(gaps(log, SWAP_KEY).known) == 2 and not open_gaps(log, SWAP_KEY)
    assert all(not candle.incomplete and candle.revision == 0 for candle in candles(log, strategies).values())


def test_what_the_newest_page_does_not_reach_is_a_final_gap_from_the_last_trade_to_the_page(
    log: Log, strategies: Any
) -> None:
    trades = short(Bybit, 300)

    async def test() -> None:
        async with collecting_live(Bybit, log) as (venue, collected):
            await venue.play(venue.frames(trades), script=[(30, Cut(away=150))], rest_first=True)
            await collected.until(lambda: collected.trades(KEY) == 210)

    asyncio.run(test())
    assert without_origin(rows(log, KEY)) == expected(trades[:30] + trades[120:])
    (gap,) = open_gaps(log, KEY)
    assert gap.final and (gap.start, gap.end) == (trades[29].time * MS - 1, trades[120].time * MS)
    incomplete = {
        c.timestamp for (frame, _), c in candles(log, strategies).items() if c.incomplete and frame == "1m"
    }
    assert incomplete == {(START + minute * MINUTE) * MS for minute in (1, 2, 3)}


def test_what_was_left_out_of_a_connection_is_found_by_pages_and_revises(log: Log, strategies: Any) -> None:
    trades = short(Bybit, 300)

    async def test() -> None:
        async with collecting_live(Bybit, log) as (venue, collected):
            for first in range(0, 300, 30):
                await venue.play(venue.frames(trades[first : first + 30]), script=[(10, LeaveOut(2))])
                collected.pass_by(6)
                await collected.has(first + 30, KEY)

    asyncio.run(test())
    assert sorted_by_time(rows(log, KEY)) == expected(trades)
    assert [row.id for row in rows(log, KEY) if row.fetched] == [
        row.id for first in range(10, 300, 30) for row in expected(trades[first : first + 2])
    ]
    assert not any(candle.incomplete for candle in candles(log, strategies).values())


def test_a_page_that_is_behind_the_connection_is_mended_by_the_next_one(log: Log) -> None:
    trades = short(Bybit, 120)

    async def test() -> None:
        async with collecting_live(Bybit, log) as (venue, collected):
            await venue.play(
                venue.frames(trades[:90]), script=[(60, PageOverlapping(times=1)), (60, Cut(away=30))]
            )
            await collected.until(lambda: collected.trades(KEY) == 85)
            await venue.play(venue.frames(trades[90:]))
            await collected.has(120, KEY)

    asyncio.run(test())
    assert sorted_by_time(rows(log, KEY)) == expected(trades)


def test_live_rows_go_on_while_rest_answers_nothing_and_what_it_has_later_revises(
    log: Log, strategies: Any
) -> None:
    trades = short(Bybit, 100)

    async def test() -> None:
        async with collecting_live(Bybit, log, gap_wait_s=0.0) as (venue, collected):
            await venue.strike(Refuse(("trades",), None, 503))
            await venue.play(venue.frames(trades), script=[(70, Cut(away=5))])
            await collected.until(lambda: collected.trades(KEY) == 95)
            (gap,) = open_gaps(log, KEY)
            assert not gap.final and (gap.start, gap.end) == (trades[69].time * MS - 1, trades[75].time * MS)
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(100, KEY)

    asyncio.run(test())
    assert without_origin(rows(log, KEY)) == expected(trades[:70] + trades[75:] + trades[70:75])
    assert not any(candle.incomplete for candle in candles(log, strategies).values())


def test_spot_and_contracts_of_one_name_have_connections_of_their_own(log: Log) -> None:
    spot = short(Bybit, 50)
    contract = short(Bybit, 900, market=SWAP)

    async def test() -> None:
        async with Bybit() as venue:
            async with collecting(log, at(venue), ["BTC/USDT", "BTC/USDT:USDT"]) as collected:
                await collected.live(BTC)
                await venue.watched(SWAP)
                venue.publish(spot)
                await venue.play(venue.frames(contract), script=[(300, Cut(away=500))], rest_first=True)
                await collected.has(900, SWAP_KEY)
                await collected.has(50, KEY)
            assert {r.path for r in venue.asked("socket")} == {"/v5/public/spot", "/v5/public/linear"}

    asyncio.run(test())
    assert rows(log, KEY) == expected(spot)
    assert without_origin(rows(log, SWAP_KEY)) == expected(contract)
    assert [event.state for event in events(log) if isinstance(event, Feed)].count("live") >= 2
