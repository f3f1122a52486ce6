"""What an exchange's provider tells of itself: the clock, cuts, pages, repeats, and what went wrong last."""

import asyncio

import pytest

from infra.exchange.status import MarketStatus, ProviderStatus
from infra.exchange.venues import provider as module
from streams.log import Log
from tests.venues.binance import Binance
from tests.venues.cases import MINUTE, MS, START, at, collecting_live, short
from tests.venues.collected import Collected, clock, collecting, expected, letters, rows
from tests.venues.faults import Close, LeaveOut, Refuse, Repeat, Skew
from tests.venues.trades import made

BTC, KEY = "BTCUSDT", "binance:BTC/USDT"
TRADES = made(BTC, 100, start=START, every_ms=1_000)


def status(collected: Collected) -> ProviderStatus:
    (source,) = collected.collector.standings()
    assert source.provider is not None
    return source.provider


def market(collected: Collected) -> MarketStatus:
    (source,) = collected.collector.standings()
    return next(one for one in source.markets if one.market == KEY)


def test_cuts_repeats_pages_and_the_last_error_are_told(log: Log) -> None:
    async def test() -> None:
        async with collecting_live(Binance, log) as (venue, collected):
            assert status(collected).trouble is None
            await venue.play(venue.frames(TRADES[:50]), script=[(40, Repeat(7))])
            await collected.has(50)
            told = status(collected)
            assert (told.reconnects, told.repeats, told.rest.pages_max) == (0, {KEY: 7}, 120)
            await venue.play(venue.frames(TRADES[50:]), script=[(10, Close(1012, away=5))])
            await collected.has(100)
            told = status(collected)
            assert told.reconnects == 1 and told.rest.pages > 0
            assert told.trouble is not None and told.trouble.what.startswith("connection lost: ")
            assert START <= told.trouble.at // MS <= TRADES[-1].time
            collected.pass_by(61)
            assert status(collected).rest.pages < told.rest.pages

    asyncio.run(test())


def test_a_connection_that_is_refused_again_and_again_is_the_last_error_by_its_status(log: Log) -> None:
    async def test() -> None:
        async with collecting_live(Binance, log) as (venue, collected):
            await venue.strike(Refuse(("socket",), None, 503))
            await venue.strike(Close())
            await collected.until(lambda: "connecting failed: 503" in str(status(collected).trouble))

    asyncio.run(test())


def test_what_rest_refuses_is_the_last_error_by_its_market(log: Log) -> None:
    async def test() -> None:
        async with collecting_live(Binance, log) as (venue, collected):
            venue.publish(TRADES[:1])
            await collected.has(1)
            await venue.strike(Refuse(("trades",), 1, 503))
            await venue.play(venue.frames(TRADES[1:]), script=[(59, Close(away=5))])
            collected.pass_by(60)
            await collected.has(100)
            trouble = status(collected).trouble
            assert trouble is not None and trouble.what.startswith("asking for trades of BTC/USDT failed: ")
            assert "failed: OperationFailed: binance {" in trouble.what

    asyncio.run(test())


def test_a_deaf_market_is_stale_and_live_again_as_the_journal_has_it(log: Log) -> None:
    """The venue has banned us meanwhile, so nobody dials before the time is over."""

    async def test() -> None:
        async with collecting_live(Binance, log) as (venue, collected):
            venue.publish(TRADES[:1])
            await collected.has(1)
            await venue.strike(Refuse(("trades",), 1, 418, retry_after=600))
            await venue.play(venue.frames(TRADES[1:50]), script=[(39, LeaveOut(1))])
            await collected.until(lambda: status(collected).trouble)
            assert market(collected).state == "live"
            await collected.goes_deaf()
            await collected.until(lambda: market(collected).state == "stale")
            assert "no answer to a ping" in market(collected).reason
            venue.publish(TRADES[50:])
            collected.pass_by(600)
            await collected.has(100)
            await collected.until(lambda: market(collected).state == "live")

    asyncio.run(test())


def test_a_clock_that_is_wrong_is_warned_of_once_until_it_was_right(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SKEW_S", 0.0)
    warnings = [
        f"the clock here is {ms} ms ahead of that of binance: have it set by NTP" for ms in (700, 900)
    ]

    async def shows(collected: Collected, ms: int) -> None:
        await collected.until(lambda: status(collected).skew_ms == ms)

    async def test() -> None:
        async with Binance() as venue, collecting(log, at(venue)) as collected:
            for ms in (-499, -700, -800, 0, -900):
                await venue.strike(Skew(ms))
                await shows(collected, -ms)

    asyncio.run(test())
    assert [record.message for record in caplog.records if "clock here" in record.message] == warnings


def test_a_clock_here_that_is_set_is_shown_at_once_and_costs_no_trade_and_no_promise(log: Log) -> None:
    trades, set_by_ms = short(Binance, 180), 0

    async def test() -> None:
        nonlocal set_by_ms
        async with Binance() as venue:

            def wall_ns() -> int:
                return venue.wall_ns() + set_by_ms * MS

            async with collecting(log, at(venue), wall_ns=wall_ns) as collected:
                await collected.live()
                for minute, set_by_ms in enumerate((0, 3_600_000, -3_600_000)):
                    assert status(collected).skew_ms == set_by_ms
                    venue.publish(trades[60 * minute : 60 * (minute + 1)])
                    await collected.has(60 * (minute + 1))
                    venue.clock.reach(START + (minute + 1) * MINUTE + 500)
                    await collected.until(lambda: clock(log) >= venue.wall_ns())
                    assert clock(log) == venue.wall_ns()

    asyncio.run(test())
    assert rows(log) == expected(trades) and not letters(log)
