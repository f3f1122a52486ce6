"""The fake Binance, as an unmodified ccxt.pro client sees it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest

from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.client import Kept, client_of, give_up, watching
from tests.venues.faults import (
    Ahead,
    Altered,
    Burst,
    Close,
    Cut,
    Delisted,
    Empty,
    Fault,
    HalfOpen,
    Heal,
    Html,
    Jump,
    Late,
    LeaveOut,
    Malformed,
    PageHoled,
    PageOverlapping,
    PageShuffled,
    Refuse,
    Repeat,
    Restart,
    RestFault,
    Skew,
    Snapshot,
    Steps,
    Suspended,
    Swap,
    Truncated,
)
from tests.venues.trades import Trade, made

SYMBOL, MARKET = "BTC/USDT", "BTCUSDT"
HISTORY = {"fetchTradesMethod": "publicGetHistoricalTrades"}
TRADES = made(MARKET, 60)


def ids(*parts: range) -> list[str]:
    return [str(n) for part in parts for n in part]


def one(number: int) -> range:
    return range(number, number + 1)


def named(value: object) -> str:
    return repr(value) if isinstance(value, Fault) else ""


def watch(test: Callable[[Binance, Any, Kept], Awaitable[None]]) -> None:
    """Runs a test on a fake whose BTC/USDT is watched by a client."""

    async def run() -> None:
        async with Binance() as venue, client_of(venue) as client, watching(client, SYMBOL) as kept:
            await venue.watched(MARKET)
            await test(venue, client, kept)

    asyncio.run(run())


def ask(test: Callable[[Binance, Any], Awaitable[None]]) -> None:
    """Runs a test on a fake that has published 60 trades, asked by REST."""

    async def run() -> None:
        async with Binance() as venue, client_of(venue, apiKey="any") as client:
            venue.publish(TRADES)
            await test(venue, client)

    asyncio.run(run())


async def history(client: Any, first: int, limit: int = 1_000) -> list[str]:
    params = HISTORY | {"fromId": first}
    return [trade["id"] for trade in await client.fetch_trades(SYMBOL, None, limit, params)]


def test_the_recording_comes_to_the_digit_at_full_speed_among_all_of_binances_markets(
    shared_data: Path,
) -> None:
    async def run() -> tuple[list[Trade], int]:
        async with Binance(recorded.binance_listing(shared_data)) as venue:
            frames = recorded.binance_frames(venue, shared_data)
            async with client_of(venue) as client, watching(client, SYMBOL) as kept:
                await venue.play(frames)
                await kept.reach(len(frames))
                trades = [trade for one in kept for trade in venue.read(ccxt.Exchange.json(one["info"]))]
                return trades, len(client.markets)

    trades, markets = asyncio.run(run())
    assert trades == recorded.binance_trades(shared_data)
    assert (len(trades), markets) == (19_904, 1_695)


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Cut(away=10), ids(range(1, 31), range(41, 61))),
        (Close(away=10), ids(range(1, 31), range(41, 61))),
        (Close(1012, away=10), ids(range(1, 31), range(41, 61))),
        (Restart(away=10), ids(range(1, 31), range(41, 61))),
        (LeaveOut(10), ids(range(1, 31), range(41, 61))),
        (Repeat(10), ids(range(1, 31), range(21, 31), range(31, 61))),
        (Swap(), ids(range(1, 31), one(32), one(31), range(33, 61))),
        (Late(2, by_ms=300), ids(range(1, 31), range(33, 34), *map(one, (31, 34, 32)), range(35, 61))),
        (Jump(100), ids(range(1, 31), range(131, 161))),
        (Jump(-30), ids(range(1, 31), range(1, 31))),
    ],
    ids=named,
)
def test_what_a_fault_of_the_stream_leaves_is_what_it_says(fault: Fault, seen: list[str]) -> None:
    async def test(venue: Binance, client: Any, kept: Kept) -> None:
        await venue.play(venue.frames(TRADES), script=[(30, fault)])
        await kept.reach(len(seen))
        assert kept.ids == seen
        assert len(venue.published) == len(TRADES)

    watch(test)


def test_trades_that_are_left_out_of_rest_too_are_nowhere() -> None:
    async def test(venue: Binance, client: Any, kept: Kept) -> None:
        await venue.play(venue.frames(TRADES), script=[(30, LeaveOut(10, rest=True))])
        await kept.reach(50)
        client.apiKey = "any"
        assert await history(client, 1) == kept.ids == ids(range(1, 31), range(41, 61))
        assert (
            [trade.id for trade in venue.unsent]
            == [trade.id for trade in venue.unasked]
            == ids(range(31, 41))
        )

    watch(test)


def test_a_malformed_frame_makes_the_client_deaf_without_a_word() -> None:
    async def test(venue: Binance, client: Any, kept: Kept) -> None:
        loop, died = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: died.set())
        played = asyncio.ensure_future(venue.play(venue.frames(TRADES), script=[(30, Malformed(away=10))]))
        await died.wait()
        give_up(client)
        await played
        await kept.reach(50)
        assert kept.ids == ids(range(1, 31), range(41, 61))

    watch(test)


def test_a_burst_comes_before_its_time() -> None:
    async def test(venue: Binance, client: Any, kept: Kept) -> None:
        hours_apart = made(MARKET, 50, every_ms=3_600_000)
        await venue.play(venue.frames(hours_apart), speed=1, script=[(0, Burst(50))])
        await kept.reach(50)
        assert [trade["timestamp"] for trade in kept] == [trade.time for trade in hours_apart]

    watch(test)


@pytest.mark.parametrize(
    ("fault", "key", "shown"),
    [
        (Altered("price", "0"), "p", "0"),
        (Altered("size", "-1"), "q", "-1"),
        (Ahead(60_000), "T", TRADES[30].time + 60_000),
    ],
    ids=named,
)
def test_one_trade_is_shown_with_another_value_and_rest_has_the_true_one(
    fault: Fault, key: str, shown: object
) -> None:
    async def test(venue: Binance, client: Any, kept: Kept) -> None:
        await venue.play(venue.frames(TRADES), script=[(30, fault)])
        await kept.reach(60)
        assert kept[30]["info"][key] == shown
        assert [trade for one in kept[31:] for trade in venue.read(client.json(one["info"]))] == TRADES[31:]
        assert venue.public[MARKET] == TRADES

    watch(test)


def test_a_trade_of_a_symbol_that_nobody_knows_comes_by_the_stream_of_one_that_is_watched() -> None:
    async def test(venue: Binance, client: Any, kept: Kept) -> None:
        await venue.play(venue.frames(TRADES), script=[(30, Altered("market", "NOSUCH"))])
        await kept.reach(59)
        assert kept.ids == ids(range(1, 31), range(32, 61))
        assert [trade["id"] for trade in client.trades["NOSUCH"]] == ["31"]

    watch(test)


def test_who_subscribes_after_the_fault_gets_the_newest_trades_first() -> None:
    async def test(venue: Binance, client: Any, kept: Kept) -> None:
        await venue.play(venue.frames(TRADES[:30]), script=[(0, Snapshot(5))])
        await kept.reach(30)
        await venue.strike(Cut())
        await kept.reach(35)
        assert kept.ids == ids(range(1, 31), range(26, 31))

    watch(test)


def test_rest_has_what_was_published_and_no_more() -> None:
    async def test(venue: Binance, client: Any) -> None:
        assert await history(client, 11, 20) == ids(range(11, 31))
        assert await history(client, 61) == []
        venue.publish(made(MARKET, 1, first_id=61))
        assert await history(client, 61) == ["61"]
        assert [request.query["fromId"] for request in venue.asked("trades")] == ["11", "61", "61"]

    ask(test)


@pytest.mark.parametrize(
    ("fault", "page"),
    [
        (PageOverlapping(times=2, trades=3), ids(range(8, 28))),
        (PageHoled(times=2), ids(range(11, 21), range(22, 31))),
        (Empty(("trades",), times=2), []),
    ],
    ids=named,
)
def test_a_page_is_wrong_as_often_as_the_fault_says(fault: RestFault, page: list[str]) -> None:
    async def test(venue: Binance, client: Any) -> None:
        await venue.strike(fault)
        assert [await history(client, 11, 20) for _ in range(2)] == [page, page]
        assert await history(client, 11, 20) == ids(range(11, 31))

    ask(test)


def test_a_page_comes_out_of_order() -> None:
    async def test(venue: Binance, client: Any) -> None:
        await venue.strike(PageShuffled())
        query = {"symbol": MARKET, "fromId": 11, "limit": 20}
        rows = [row["id"] for row in await client.publicGetHistoricalTrades(query)]
        assert rows != sorted(rows, key=int)
        assert sorted(map(str, rows), key=int) == ids(range(11, 31))

    ask(test)


def test_a_refusal_has_its_status_and_says_when_to_come_back_until_it_is_healed() -> None:
    async def test(venue: Binance, client: Any) -> None:
        await venue.strike(Refuse(status=418, retry_after=120, times=None))
        for _ in range(2):
            with pytest.raises(ccxt.DDoSProtection):
                await client.fetch_time()
            assert client.last_response_headers["Retry-After"] == "120"
        await venue.strike(Heal())
        await client.fetch_time()
        first, second, healed = venue.asked("time")
        assert (first.status, second.status, healed.status) == (418, 418, 200)
        assert first.at < second.at < healed.at

    ask(test)


def test_a_venue_in_maintenance_takes_no_sockets_either() -> None:
    async def test(venue: Binance, client: Any) -> None:
        await venue.strike(Refuse(("socket",), times=None))
        await client.load_markets()
        with pytest.raises(ccxt.NetworkError):
            await client.watch_trades(SYMBOL)
        assert [request.status for request in venue.asked("socket")] == [503]

    ask(test)


@pytest.mark.parametrize("fault", [Truncated(), Empty(("markets",)), Html(("markets",))], ids=named)
def test_an_answer_without_markets_raises_nothing_in_ccxt(fault: RestFault) -> None:
    """Which is why the product must look."""

    async def test(venue: Binance, client: Any) -> None:
        await venue.strike(fault)
        assert await client.load_markets() == {}
        assert SYMBOL in await client.load_markets(True)

    ask(test)


def test_the_listing_changes_a_step_suspends_a_market_and_loses_one() -> None:
    async def test(venue: Binance, client: Any) -> None:
        for fault in (Steps("BTCUSDT", "0.001", "0.000001"), Suspended("ETHUSDT"), Delisted("SOLUSDT")):
            await venue.strike(fault)
        markets = await client.load_markets()
        assert markets[SYMBOL]["precision"]["price"] == "0.001"
        assert markets[SYMBOL]["precision"]["amount"] == "0.000001"
        assert not markets["ETH/USDT"]["active"]
        assert "SOL/USDT" not in markets

    ask(test)


def test_the_venue_tells_a_time_that_is_off() -> None:
    async def test(venue: Binance, client: Any) -> None:
        venue.stand_at(1_000_000)
        await venue.strike(Skew(700))
        assert await client.fetch_time() == 1_000_700
        assert venue.wall_ns() == 1_000_000_000_000

    ask(test)


def test_no_name_but_the_venues_resolves() -> None:
    async def run() -> None:
        async with Binance() as venue:
            async with aiohttp.ClientSession(connector=venue.connector()) as session:
                with pytest.raises(aiohttp.ClientConnectorError, match=r"asked for example\.org"):
                    await session.get("https://example.org/")
            assert venue.refused_names == ["example.org"]

    with pytest.raises(AssertionError, match="not binance's"):
        asyncio.run(run())


def test_a_client_that_trusts_other_authorities_is_not_taken_in() -> None:
    async def run() -> None:
        async with Binance() as venue, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(f"https://127.0.0.1:{venue.port}/api/v3/time")

    asyncio.run(run())


def test_a_fake_leaves_nothing_behind_when_a_test_fails_in_its_midst() -> None:
    async def run() -> set[asyncio.Task[Any]]:
        with pytest.raises(ZeroDivisionError):
            async with Binance() as venue, client_of(venue) as client, watching(client, SYMBOL):
                await venue.play(venue.frames(TRADES), script=[(30, HalfOpen(away=10**9))])
                raise ZeroDivisionError
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type] - one runs: this

    assert asyncio.run(run()) == set()
