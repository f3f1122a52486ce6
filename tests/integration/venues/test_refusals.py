"""A market that a venue lists and refuses costs itself alone, says so, and is tried again by and by."""

import asyncio

from streams.log import Log
from tests.venues.cases import ETH, at, short
from tests.venues.collected import collecting, expected, feeds, open_gaps, rows, states, without_origin
from tests.venues.fake import FakeVenue
from tests.venues.faults import Cut, Delisted

BTC, SOL = "BTC/USDT", "SOL/USDT"
HOUR_S = 3_601


def is_(log: Log, symbol: str, state: str) -> bool:
    """Whether that is how the feed of a symbol stands."""
    return states(log, symbol)[-1:] == [state]


def test_a_symbol_that_is_listed_and_refused_is_down_with_words_and_the_others_go_on(
    kind: type[FakeVenue], log: Log
) -> None:
    trades, other = short(kind, 20), short(kind, 10, "ETH")

    async def test() -> None:
        async with kind() as venue:
            venue.refused.add(kind.pair("ETH"))
            async with collecting(log, at(venue), [BTC, ETH]) as collected:
                await collected.until(lambda: is_(log, BTC, "live") and is_(log, ETH, "down"))
                venue.publish(trades[:10])
                await collected.until(lambda: collected.trades() == 10)
                cuts, venue.refused = collected.reconnects, set()
                collected.pass_by(HOUR_S)
                await collected.until(lambda: is_(log, ETH, "live"))
                venue.publish([*trades[10:], *other])
                await collected.until(lambda: collected.trades() == 20 and collected.trades(ETH) == 10)
                assert collected.reconnects == cuts == 0, "no connection that served was cut"
                assert set(states(log, BTC)) <= {"catching_up", "live"}

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert without_origin(rows(log, ETH)) == expected(other)
    down = next(feed for feed in feeds(log, ETH) if feed.state == "down")
    assert down.reason.startswith("the venue refuses it: ")


def test_a_symbol_that_is_refused_after_a_cut_is_tried_again_and_what_it_missed_is_fetched(
    kind: type[FakeVenue], log: Log
) -> None:
    trades, other = short(kind, 20), short(kind, 20, "ETH")

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue), [BTC, ETH, SOL]) as collected:
            await collected.until(lambda: is_(log, BTC, "live") and is_(log, ETH, "live"))
            venue.publish([*trades[:10], *other[:10]])
            await collected.until(lambda: collected.trades() == 10 and collected.trades(ETH) == 10)
            venue.refused = {kind.pair("ETH"), kind.pair("SOL")}
            await venue.strike(Cut())
            venue.publish([*trades[10:], *other[10:15]])
            await collected.until(lambda: collected.trades() == 20 and is_(log, ETH, "down"))
            venue.refused = set()
            collected.pass_by(HOUR_S)
            await collected.until(lambda: collected.trades(ETH) == 15 and is_(log, SOL, "live"))
            venue.publish(other[15:])
            await collected.until(lambda: collected.trades(ETH) == 20)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not open_gaps(log)
    assert without_origin(rows(log, ETH)) == expected(other) and not open_gaps(log, ETH)


def test_all_symbols_of_a_connection_may_be_refused_and_be_let_in_again(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 10)

    async def test() -> None:
        async with kind() as venue:
            venue.refused = {kind.pair("BTC"), kind.pair("ETH")}
            async with collecting(log, at(venue), [BTC, ETH]) as collected:
                await collected.until(lambda: is_(log, BTC, "down") and is_(log, ETH, "down"))
                venue.refused = set()
                collected.pass_by(HOUR_S)
                await collected.until(lambda: is_(log, BTC, "live") and is_(log, ETH, "live"))
                venue.publish(trades)
                await collected.until(lambda: collected.trades() == 10)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)


def test_one_that_is_refused_and_gone_from_the_list_ends_with_that_word(
    kind: type[FakeVenue], log: Log
) -> None:
    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue), [BTC, ETH]) as collected:
            await collected.until(lambda: is_(log, BTC, "live") and is_(log, ETH, "live"))
            await venue.strike(Delisted(kind.pair("ETH")))
            await venue.strike(Cut())
            collected.pass_by(HOUR_S)
            await collected.until(lambda: "does not exist" in feeds(log, ETH)[-1].reason)
            venue.publish(short(kind, 10))
            await collected.until(lambda: collected.trades() == 10)

    asyncio.run(test())
    assert is_(log, ETH, "down")
