"""A venue's list of markets: what it does not have, what changes in it, and what cannot be read of it."""

import asyncio

import pytest

from streams.events import Market
from streams.log import Log
from tests.venues.cases import ETH, START, at, collecting_live, short
from tests.venues.collected import (
    collecting,
    events,
    expected,
    feeds,
    letters,
    open_gaps,
    rows,
    states,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import (
    Cut,
    Delisted,
    Empty,
    Fault,
    Html,
    Refuse,
    Steps,
    Truncated,
)


def test_a_step_that_became_finer_is_told_before_the_trade_that_needs_it(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 20)
    fine = [trade._replace(price=f"{trade.price}5") for trade in short(kind, 40)[20:]]

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            venue.publish(trades)
            await collected.has(20)
            await venue.strike(Steps(kind.pair(), "0.001", "0.00001"))
            venue.publish(fine)
            await collected.has(40)

    asyncio.run(test())
    assert [event.price_scale for event in events(log) if isinstance(event, Market)] == [2, 3]
    assert without_origin(rows(log)) == expected(trades) + expected(fine, price_scale=3)
    assert not letters(log) and not open_gaps(log)


def test_a_symbol_that_is_gone_stops_its_market_alone_and_says_so(kind: type[FakeVenue], log: Log) -> None:
    gone = f"symbol 'ETH/USDT' does not exist at {kind.name}"

    async def test() -> None:
        async with collecting_live(kind, log, ["BTC/USDT", ETH]) as (venue, collected):
            venue.publish(short(kind, 10))
            await collected.has(10)
            await venue.strike(Delisted(kind.pair("ETH")))
            collected.pass_by(3_601)
            await collected.until(lambda: any(gone in feed.reason for feed in feeds(log)))
            venue.publish(short(kind, 20)[10:])
            await collected.has(20)
        async with kind() as venue:
            await venue.strike(Delisted(kind.pair("ETH")))
            at(venue, START).publish(short(kind, 20))
            asked = [f"{kind.name}:ETH/USDT", f"{kind.name}:BTC/USDT"]
            async with collecting(log, venue, asked) as collected:
                await collected.live()

    asyncio.run(test())
    told = {(feed.market, feed.state) for feed in feeds(log) if gone in feed.reason}
    assert told == {(f"{kind.name}:ETH/USDT", "down")}


def test_a_symbol_that_is_listed_again_goes_on_where_it_ended_and_cuts_no_other(
    kind: type[FakeVenue], log: Log
) -> None:
    trades, its = short(kind, 40), short(kind, 40, "ETH")
    gone = f"symbol 'ETH/USDT' does not exist at {kind.name}"

    async def test() -> None:
        async with collecting_live(kind, log, ["BTC/USDT", ETH]) as (venue, collected):
            venue.publish([*trades[:10], *its[:10]])
            await collected.has(10)
            await collected.has(10, ETH)
            row = venue.listing[kind.pair("ETH")]
            await venue.strike(Delisted(kind.pair("ETH")))
            collected.pass_by(3_601)
            await collected.until(lambda: any(gone in feed.reason for feed in feeds(log)))
            venue.listing[kind.pair("ETH")] = row
            venue.publish([*trades[10:20], *its[10:20]])
            collected.pass_by(3_601)
            await collected.has(20, ETH)
            await collected.until(lambda: states(log, ETH)[-1] == "live")
            venue.publish([*trades[20:], *its[20:]])
            await collected.has(40)
            await collected.has(40, ETH)
            assert collected.reconnects == 0

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert without_origin(rows(log, ETH)) == expected(its)
    assert not open_gaps(log) and not open_gaps(log, ETH)


def test_a_symbol_that_is_gone_keeps_no_other_from_being_dialled_again(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 20)

    async def test() -> None:
        async with collecting_live(kind, log, ["BTC/USDT", ETH]) as (venue, collected):
            venue.publish(trades[:10])
            await collected.has(10)
            await venue.strike(Delisted(kind.pair("ETH")))
            await venue.strike(Cut())
            venue.publish(trades[10:15])
            await collected.has(15)
            collected.pass_by(3_601)
            await collected.until(lambda: "down" in states(log))
            await venue.strike(Cut())
            venue.publish(trades[15:])
            await collected.has(20)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("BTC/USTD", r"'BTC/USTD' does not exist .*; near are BTC/USDT"),
        ("BTC/USD:BTC-331230-50000-C", r":BTC/USD:BTC-331230-50000-C: is an option"),
    ],
)
def test_a_symbol_that_never_was_or_is_an_option_is_refused(
    kind: type[FakeVenue], log: Log, symbol: str, words: str
) -> None:
    async def test() -> None:
        async with kind() as venue, collecting(log, venue, [f"{kind.name}:{symbol}"]) as collected:
            assert collected.task is not None
            await asyncio.wait({collected.task})
            with pytest.raises(ValueError, match=words):
                collected.task.result()

    asyncio.run(test())


@pytest.mark.parametrize(
    "fault", [Html(("markets",)), Truncated(), Empty(("markets",)), Refuse(("markets",))]
)
def test_a_list_of_markets_that_cannot_be_read_is_asked_for_again(
    kind: type[FakeVenue], log: Log, fault: Fault
) -> None:
    async def test() -> None:
        async with kind() as venue:
            await venue.strike(fault)
            async with collecting(log, at(venue, START)) as collected:
                await collected.live()
                venue.publish(short(kind, 5))
                await collected.has(5)
        assert [bool(failing) for _, failing in collected.told] == [True, False]
        assert "does not exist" not in collected.told[0][1]

    asyncio.run(test())


def test_a_market_is_collected_though_the_venue_has_none_of_another_kind(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 5)

    async def test() -> None:
        listing = [row for row in kind().listing.values() if kind().id_of(row) == kind.pair()]
        async with kind(listing) as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades)
            await collected.has(5)

    asyncio.run(test())
    assert rows(log) == expected(trades)
