"""A market whose venue counts its trades from the beginning again: down, until somebody says that it begins
anew; then no trade of it is taken for one from before."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.commands.journal_view import source_state
from infra.exchange.resetting import reset
from infra.process.settings import Settings, load_settings
from streams.backends import open_log
from streams.events import Feed, IdsReset
from streams.log import Log
from tests.venues.cases import MS, at, collecting_live, short
from tests.venues.collected import (
    candles,
    collecting,
    events,
    expected,
    feeds,
    gaps,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import Jump, LeaveOut
from tests.venues.trades import Trade

SYMBOL = "BTC/USDT"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"TCPD_HOME": str(tmp_path)})


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    log = open_log(settings.log_url, partitions=1)
    yield log
    log.close()


def anew(trades: list[Trade], by: int) -> list[Trade]:
    return [replace_id(trade, int(trade.id) + by) for trade in trades]


def replace_id(trade: Trade, id: int) -> Trade:
    return trade._replace(id=str(id))


def downs(log: Log) -> int:
    """How often the market went down because of its ids."""
    found = (event for event in events(log) if isinstance(event, Feed) and event.state == "down")
    return sum(event.reason.startswith("its trade ids began anew") for event in found)


async def began_anew(venue: FakeVenue, log: Log, trades: list[Trade]) -> None:
    """Collect trades, of which the ids from the 61st on are 50 lower, until the market is down."""
    async with collecting(log, at(venue)) as collected:
        await collected.live()
        await venue.play(venue.frames(trades), script=[(60, Jump(-50))])
        await collected.until(lambda: collected.state == "down")


def test_a_venue_that_counts_anew_is_down_with_that_word(numbered: type[FakeVenue], log: Log) -> None:
    trades = short(numbered, 100)

    async def test() -> None:
        async with collecting_live(numbered, log) as (venue, collected):
            await venue.play(venue.frames(trades), script=[(60, Jump(-50))])
            await collected.until(lambda: collected.state == "down")

    asyncio.run(test())
    assert rows(log) == expected(trades[:60])
    down = next(e for e in events(log) if isinstance(e, Feed) and e.state == "down")
    assert down.reason.startswith("its trade ids began anew: 11 came after 60")


def test_after_a_reset_the_market_goes_on_with_the_new_ids_behind_a_gap(
    numbered: type[FakeVenue], log: Log, settings: Settings, strategies: Any
) -> None:
    trades = short(numbered, 200)

    async def test() -> None:
        async with numbered() as venue:
            await began_anew(venue, log, trades[:100])
            async with collecting(log, venue) as collected:
                await collected.until(lambda: downs(log) == 2)
            told = await asyncio.to_thread(
                lambda: reset(settings, log, f"{numbered.name}:{SYMBOL}", who="cli:ann", reason="maintenance")
            )
            assert told.since == trades[59].time * MS
            last = feeds(log)[-1]
            assert (last.source, last.state) == (numbered.name, "down")
            assert last.reason == "it was reset: its next start goes on with the new trade ids"
            with pytest.raises(ValueError, match="nothing says that its trade ids began anew"):
                await asyncio.to_thread(
                    lambda: reset(settings, log, f"{numbered.name}:{SYMBOL}", who="cli:ann", reason="")
                )
            async with collecting(log, venue) as collected:
                await collected.live()
                venue.publish(trades[100:150])
                await collected.until(lambda: collected.trades() == 150)
            async with collecting(log, venue) as collected:
                await collected.live()
                venue.publish(trades[150:])
                await collected.until(lambda: collected.trades() == 200)

    asyncio.run(test())
    name = numbered.name
    assert without_origin(rows(log)) == expected([*trades[:60], *anew(trades[60:], -50)])
    (gap,) = open_gaps(log)
    assert (gap.start, gap.end, gap.final) == (trades[59].time * MS - 1, trades[60].time * MS - 1, True)
    assert gap.reason == "what came between is not known: the venue's trade ids began anew"
    (event,) = [event for event in events(log) if isinstance(event, IdsReset)]
    assert (event.who, event.reason) == ("cli:ann", "maintenance")
    assert (
        sum(candle.trades for (frame, _), candle in candles(log, strategies).items() if frame == "1m") >= 180
    )
    assert source_state(log, name).source(name).reached[f"{name}:{SYMBOL}"].id == 150


def test_what_was_missing_before_is_final_and_not_asked_for_by_ids_that_mean_others_now(
    numbered: type[FakeVenue], log: Log, settings: Settings
) -> None:
    trades = short(numbered, 100)

    async def test() -> None:
        async with numbered() as venue:
            async with collecting(log, at(venue)) as collected:
                await collected.live()
                script = [(30, LeaveOut(5, rest=True)), (60, Jump(-50))]
                await venue.play(venue.frames(trades), script=script)
                await collected.until(lambda: collected.state == "down")
            await asyncio.to_thread(
                lambda: reset(settings, log, f"{numbered.name}:{SYMBOL}", who="cli:ann", reason="")
            )
            async with collecting(log, venue) as collected:
                await collected.live()
                await collected.until(lambda: len(rows(log)) == 95)

    asyncio.run(test())
    kept = [*trades[:30], *trades[35:60], *anew(trades[60:], -50)]
    assert sorted(without_origin(rows(log))) == sorted(expected(kept))
    assert all(gap.final and gap.first_id == -1 for gap in open_gaps(log))
    assert any(gap.start < trades[32].time * MS <= gap.end for gap in gaps(log).open)


def test_a_market_whose_ids_go_on_is_not_reset(
    numbered: type[FakeVenue], log: Log, settings: Settings
) -> None:
    trades = short(numbered, 10)

    async def test() -> None:
        async with collecting_live(numbered, log) as (venue, collected):
            venue.publish(trades)
            await collected.has(10)

    asyncio.run(test())
    with pytest.raises(ValueError, match="nothing says that its trade ids began anew"):
        reset(settings, log, f"{numbered.name}:{SYMBOL}", who="cli:ann", reason="")
    with pytest.raises(ValueError, match="is not in the journal"):
        reset(settings, log, f"{numbered.name}:ETH/USDT", who="cli:ann", reason="")


def test_where_ids_tell_no_order_nothing_is_reset(log: Log, settings: Settings) -> None:
    with pytest.raises(ValueError, match="the trade ids of bybit are no numbers, so they never begin anew"):
        reset(settings, log, "bybit:BTC/USDT", who="cli:ann", reason="")
