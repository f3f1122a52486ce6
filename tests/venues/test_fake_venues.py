"""What the fakes of all venues have in common, and what is each one's own, as unmodified clients see it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ccxt
import pytest

from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit, identified
from tests.venues.client import Kept, client_of, give_up, watch_once, watching
from tests.venues.fake import FakeVenue
from tests.venues.faults import Close, Cut, Fault, HalfOpen, LeaveOut, Refuse, Restart
from tests.venues.okx import Okx
from tests.venues.trades import Trade, made

SYMBOL = "BTC/USDT"
MARKETS = {Binance: "BTCUSDT", Okx: "BTC-USDT", Bybit: "BTCUSDT"}
all_venues = pytest.mark.parametrize("kind", MARKETS, ids=lambda kind: kind.name)


def watch(kind: type[FakeVenue], test: Callable[[FakeVenue, Any, Kept], Awaitable[None]]) -> None:
    """Runs a test on a fake whose BTC/USDT is watched by a client."""

    async def run() -> None:
        async with kind() as venue, client_of(venue) as client, watching(client, SYMBOL) as kept:
            await venue.watched(MARKETS[kind])
            await test(venue, client, kept)

    asyncio.run(run())


def received(venue: FakeVenue, kept: Kept) -> list[Trade]:
    """Trades as a client has them. What it made of prices and sizes is beside; here is what came."""
    names = {"binance": ("p", "q"), "okx": ("px", "sz"), "bybit": ("p", "v")}
    price, size = names[venue.name]
    market = MARKETS[type(venue)]
    return [
        Trade(market, one["id"], one["timestamp"], one["info"][price], one["info"][size], one["side"])
        for one in kept
    ]


@pytest.mark.parametrize("kind", [Okx, Bybit], ids=lambda kind: kind.name)
def test_the_recorded_trades_come_to_the_digit_in_the_venues_own_frames(
    kind: type[FakeVenue], shared_data: Path
) -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        trades = recorded.on_market(recorded.binance_trades(shared_data), MARKETS[kind])
        await venue.play(venue.frames(trades))
        await kept.reach(len(trades))
        assert received(venue, kept) == venue.published
        assert [trade[2:] for trade in venue.published] == [trade[2:] for trade in trades]
        assert len(kept) == 19_904

    watch(kind, test)


@all_venues
@pytest.mark.parametrize(
    "fault", [Cut(away=10), Close(1000, away=10), Restart(away=10), LeaveOut(10)], ids=repr
)
def test_ten_trades_are_lost_at_a_fault_and_all_others_come(kind: type[FakeVenue], fault: Fault) -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        await venue.play(venue.frames(made(MARKETS[kind], 60)), script=[(30, fault)])
        await kept.reach(50)
        assert received(venue, kept) == venue.published[:30] + venue.published[40:]

    watch(kind, test)


@all_venues
def test_a_half_open_connection_brings_no_trade_and_answers_no_ping(kind: type[FakeVenue]) -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        (socket,) = client.clients.values()
        await venue.strike(HalfOpen())
        venue.publish(made(MARKETS[kind], 30))
        await ping(socket)
        for _ in range(2):  # what had been sent would be here by then
            await client.fetch_time()
        give_up(client)
        await venue.play(venue.frames(made(MARKETS[kind], 30, first_id=31)))
        await kept.reach(30)
        assert received(venue, kept) == venue.published[30:]
        assert socket.lastPong is None

    watch(kind, test)


@all_venues
def test_a_ping_is_answered_in_the_venues_own_form(kind: type[FakeVenue]) -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        (socket,) = client.clients.values()
        await ping(socket)
        other = MARKETS[kind].replace("BTC", "ETH")
        # what is asked for on the same socket after the ping comes after the pong
        async with watching(client, "ETH/USDT", asked_on(socket) if kind is Binance else watch_once) as after:
            await venue.watched(other)
            venue.publish(made(other, 1))
            await after.reach(1)
        assert socket.lastPong is not None

    watch(kind, test)


def asked_on(socket: Any) -> Callable[[Any, str], Awaitable[object]]:
    """ccxt takes another socket of Binance for each symbol; this takes the one given."""

    async def watch(client: Any, symbol: str) -> None:
        stream = client.market(symbol)["lowercaseId"] + "@trade"
        await socket.send({"method": "SUBSCRIBE", "params": [stream], "id": 99})
        await asyncio.Event().wait()

    return watch


async def ping(socket: Any) -> None:
    """As ccxt's own loop does it: a frame of the venue's own where it has one."""
    if socket.ping:
        await socket.send(socket.ping(socket))
    else:
        await socket.connection.ping()


@all_venues
def test_an_instrument_that_the_venue_does_not_have_is_refused(kind: type[FakeVenue]) -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        del venue.listing[MARKETS[kind].replace("BTC", "ETH")]
        with pytest.raises(ccxt.ExchangeError):
            await client.fetch_trades("ETH/USDT", params={"fetchTradesMethod": "publicGetHistoricalTrades"})
        if kind is not Binance:  # which is silent about an unknown stream
            with pytest.raises(ccxt.ExchangeError):
                await watch_once(client, "ETH/USDT")

    watch(kind, test)


@all_venues
@pytest.mark.parametrize("status", [418, 429, 451, 503])
def test_a_refusal_has_its_status(kind: type[FakeVenue], status: int) -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        await venue.strike(Refuse(("time",), status=status, retry_after=7))
        with pytest.raises(ccxt.BaseError):
            await client.fetch_time()
        assert client.last_response_headers["Retry-After"] == "7"
        assert abs(await client.fetch_time() - venue.told_time()) <= 60_000
        assert [request.status for request in venue.asked("time")] == [status, 200]

    watch(kind, test)


def test_okx_as_it_was_recorded(shared_data: Path) -> None:
    async def run() -> tuple[list[str], list[str], int]:
        async with Okx(recorded.okx_listing(shared_data)) as venue:
            frames = recorded.okx_frames(venue, shared_data)
            async with client_of(venue, types=("spot", "swap", "future")) as client:
                ids = dict.fromkeys(frame.market for frame in frames)
                markets = {market["id"]: symbol for symbol, market in (await client.load_markets()).items()}
                symbols = [markets[market] for market in ids]
                kept = client.trades = {symbol: Kept() for symbol in symbols}
                task = asyncio.ensure_future(client.watch_trades_for_symbols(symbols))
                for market in ids:
                    await venue.watched(market)
                await venue.play(frames)
                for frame in frames:
                    await kept[markets[frame.market]].reach(1)
                await asyncio.gather(
                    *(kept[markets[m]].reach(sum(f.market == m for f in frames)) for m in ids), task
                )
                came = [client.json(trade["info"]) for symbol in symbols for trade in kept[symbol]]
                sent = [frame.recorded for market in ids for frame in frames if frame.market == market]
                return came, sent, len(symbols)

    came, sent, instruments = asyncio.run(run())
    assert [trade in text for trade, text in zip(came, sent, strict=True)] == [True] * 74
    assert instruments == 3


def test_okx_pages_backwards_by_id_a_hundred_at_a_time() -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        venue.publish(made("BTC-USDT", 300))

        async def page(**asked: object) -> list[int]:
            params = {"instId": "BTC-USDT", "limit": 500, **asked}
            return [
                int(row["tradeId"]) for row in (await client.publicGetMarketHistoryTrades(params))["data"]
            ]

        assert await page() == list(range(300, 200, -1))
        assert await page(after=201) == list(range(200, 100, -1))
        assert await page(after=11) == list(range(10, 0, -1))
        assert await page(before=290) == list(range(300, 290, -1))

    watch(Okx, test)


def test_okx_has_every_trade_on_the_business_socket_alone_and_knows_no_key() -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        (url,) = client.clients
        assert url.endswith("/business")
        wrong = {"op": "subscribe", "args": [{"channel": "trades-all", "instId": "BTC-USDT"}]}
        with pytest.raises(ccxt.ExchangeError, match="60018"):
            await client.watch(client.get_url("trades", "public"), "any", wrong, "any")
        client.apiKey = client.secret = client.password = "any"  # noqa: S105 - no key
        with pytest.raises(ccxt.AuthenticationError, match="60005"):
            await client.authenticate({"access": "business"})

    watch(Okx, test)


def test_bybit_sends_the_trades_of_a_millisecond_together_and_has_uuids() -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        trades = made("BTCUSDT", 5, every_ms=0) + made("BTCUSDT", 3, start=1_800_000_000_000, first_id=6)
        frames = venue.frames(trades)
        assert [len(frame.trades) for frame in frames] == [5, 1, 1, 1]
        await venue.play(frames)
        await kept.reach(8)
        assert received(venue, kept) == [identified(trade) for trade in trades]
        assert len({trade["id"] for trade in kept}) == 8
        assert all(len(trade["id"]) == 36 for trade in kept)

    watch(Bybit, test)


def test_bybit_has_the_newest_sixty_trades_of_spot() -> None:
    async def test(venue: FakeVenue, client: Any, kept: Kept) -> None:
        venue.publish(made("BTCUSDT", 100))
        page = await client.fetch_trades(SYMBOL, limit=1_000)
        assert [trade["id"] for trade in page] == [trade.id for trade in venue.published[40:]]

    watch(Bybit, test)
