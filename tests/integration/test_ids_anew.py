"""A market whose venue counts its trades from the beginning again: down, until somebody says that it begins
anew; then no trade of it is taken for one from before."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

from infra.commands.journal_view import source_state
from infra.exchange.resetting import reset
from infra.process.settings import Settings, load_settings
from streams.backends import open_log
from streams.events import Feed, IdsReset
from streams.log import Log
from tests.venues.binance import Binance
from tests.venues.collected import (
    candles,
    collecting,
    events,
    expected,
    gaps,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.faults import Jump, LeaveOut
from tests.venues.trades import Trade, made

BTC, KEY = "BTCUSDT", "binance:BTC/USDT"
MS = 1_000_000
START = 1_700_000_040_000
"""In ms; a whole minute."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"TCPD_HOME": str(tmp_path)})


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    log = open_log(settings.log_url, partitions=1)
    yield log
    log.close()


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    """What failed is tried again at once."""
    with stamina.set_testing(True, attempts=1_000):
        yield


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def anew(trades: list[Trade], by: int) -> list[Trade]:
    return [replace_id(trade, int(trade.id) + by) for trade in trades]


def replace_id(trade: Trade, id: int) -> Trade:
    return trade._replace(id=str(id))


def downs(log: Log) -> int:
    """How often the market went down because of its ids."""
    found = (event for event in events(log) if isinstance(event, Feed) and event.state == "down")
    return sum(event.reason.startswith("its trade ids began anew") for event in found)


async def began_anew(venue: Binance, log: Log, trades: list[Trade]) -> None:
    """Collect trades, of which the ids from the 61st on are 50 lower, until the market is down."""
    venue.clock.go(0.0, START)
    async with collecting(log, venue) as collected:
        await collected.live(BTC)
        await venue.play(venue.frames(trades), script=[(60, Jump(-50))])
        await collected.until(lambda: collected.state == "down")


def test_after_a_reset_the_market_goes_on_with_the_new_ids_behind_a_gap(
    log: Log, settings: Settings, strategies: Any
) -> None:
    trades = made(BTC, 200, start=START, every_ms=1_000)

    async def test() -> None:
        async with Binance() as venue:
            await began_anew(venue, log, trades[:100])
            async with collecting(log, venue) as collected:
                await collected.until(lambda: downs(log) == 2)
            told = await asyncio.to_thread(
                lambda: reset(settings, log, KEY, who="cli:ann", reason="maintenance")
            )
            assert told.since == trades[59].time * MS
            async with collecting(log, venue) as collected:
                await collected.live(BTC)
                venue.publish(trades[100:150])
                await collected.until(lambda: collected.trades() == 150)
            async with collecting(log, venue) as collected:
                await collected.live(BTC)
                venue.publish(trades[150:])
                await collected.until(lambda: collected.trades() == 200)

    run(test())
    assert without_origin(rows(log)) == expected([*trades[:60], *anew(trades[60:], -50)])
    (gap,) = open_gaps(log)
    assert (gap.start, gap.end, gap.final) == (trades[59].time * MS - 1, trades[60].time * MS - 1, True)
    assert gap.reason == "what came between is not known: the venue's trade ids began anew"
    (event,) = [event for event in events(log) if isinstance(event, IdsReset)]
    assert (event.who, event.reason) == ("cli:ann", "maintenance")
    assert (
        sum(candle.trades for (frame, _), candle in candles(log, strategies).items() if frame == "1m") >= 180
    )
    assert source_state(log, "binance").source("binance").reached[KEY].id == 150


def test_what_was_missing_before_is_final_and_not_asked_for_by_ids_that_mean_others_now(
    log: Log, settings: Settings
) -> None:
    trades = made(BTC, 100, start=START, every_ms=1_000)

    async def test() -> None:
        async with Binance() as venue:
            venue.clock.go(0.0, START)
            async with collecting(log, venue) as collected:
                await collected.live(BTC)
                script = [(30, LeaveOut(5, rest=True)), (60, Jump(-50))]
                await venue.play(venue.frames(trades), script=script)
                await collected.until(lambda: collected.state == "down")
            await asyncio.to_thread(lambda: reset(settings, log, KEY, who="cli:ann", reason=""))
            async with collecting(log, venue) as collected:
                await collected.live(BTC)
                await collected.until(lambda: len(rows(log)) == 95)

    run(test())
    kept = [*trades[:30], *trades[35:60], *anew(trades[60:], -50)]
    assert sorted(without_origin(rows(log))) == sorted(expected(kept))
    assert all(gap.final and gap.first_id == -1 for gap in open_gaps(log))
    assert any(gap.start < trades[32].time * MS <= gap.end for gap in gaps(log).open)


def test_a_market_whose_ids_go_on_is_not_reset(log: Log, settings: Settings) -> None:
    trades = made(BTC, 10, start=START, every_ms=1_000)

    async def test() -> None:
        async with Binance() as venue:
            venue.clock.go(0.0, START)
            async with collecting(log, venue) as collected:
                await collected.live(BTC)
                venue.publish(trades)
                await collected.has(10)

    run(test())
    with pytest.raises(ValueError, match="nothing says that its trade ids began anew"):
        reset(settings, log, KEY, who="cli:ann", reason="")
    with pytest.raises(ValueError, match="is not in the journal"):
        reset(settings, log, "binance:ETH/USDT", who="cli:ann", reason="")
