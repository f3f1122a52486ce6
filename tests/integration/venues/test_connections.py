"""Connections that are cut, deaf, refused and dialled anew; and no promise that nobody can keep."""

import asyncio
import gc
import time
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from infra.exchange.venues.client import opened
from infra.exchange.venues.known import VENUES
from infra.exchange.venues.rest import Rest
from streams.events import Feed
from streams.log import Log
from tests.venues.binance import Binance
from tests.venues.cases import ETH, MINUTE, MS, START, at, collecting_live, short
from tests.venues.collected import (
    candles,
    clock,
    collecting,
    events,
    expected,
    gaps,
    open_gaps,
    rows,
    states,
    without_origin,
)
from tests.venues.connection import Connection
from tests.venues.fake import FakeVenue
from tests.venues.faults import (
    Cut,
    HalfOpen,
    Heal,
    Refuse,
)
from tests.venues.okx import Okx
from tests.venues.proxy import Proxy


def test_a_collection_of_garbage_does_not_look_through_what_the_client_brings(log: Log) -> None:
    async def test() -> None:
        async with collecting_live(Binance, log):
            assert gc.get_freeze_count() > 100_000

    asyncio.run(test())


def test_a_venue_is_asked_no_more_often_than_ccxt_allows(kind: type[FakeVenue]) -> None:
    async def test() -> None:
        async with kind() as venue:
            client = await opened(VENUES[kind.name], Rest(time.monotonic), connector=venue.connector())
            assert client.exchange.enableRateLimit is True
            await client.close()

    asyncio.run(test())


def test_a_deaf_connection_is_found_out_and_what_it_missed_is_fetched(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 100)

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            venue.publish(trades[:1])
            await collected.has(1)
            venue.publish(trades[1:50])
            await collected.has(50)
            await venue.strike(Refuse(("trades",), None, 503))
            await collected.goes_deaf()
            venue.publish(trades[50:])
            await collected.until(lambda: collected.state == "catching_up")
            await venue.strike(Heal())
            collected.pass_by(60)
            await collected.has(100)
            await collected.until(lambda: collected.state == "live")

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert states(log) == ["catching_up", "live", "stale", "catching_up", "live", "down"]
    stale = next(e for e in events(log) if isinstance(e, Feed) and e.state == "stale")
    assert "no answer to a ping" in stale.reason and stale.since == trades[49].time * MS - 1


def test_after_a_cut_no_minute_closes_before_the_venue_said_what_was_missed(
    numbered: type[FakeVenue], log: Log
) -> None:
    trades, other = short(numbered, 3), short(numbered, 3, "ETH")

    async def test() -> None:
        async with collecting_live(numbered, log, ["BTC/USDT", ETH]) as (venue, collected):
            venue.publish([trades[0], *other[:2]])
            await collected.has(1)
            await collected.has(2, ETH)
            await venue.strike(Refuse(("trades",), None, 503))
            await venue.strike(Cut())
            venue.publish(trades[1:])
            await collected.until(lambda: len(venue.asked("socket")) == 2)
            await venue.watched(numbered.pair("ETH"))
            at(venue, START + 2 * MINUTE + 600)
            venue.publish(other[2:])
            await collected.until(lambda: clock(log, ETH) >= (START + 2 * MINUTE) * MS)
            assert clock(log) <= trades[1].time * MS  # to which a ping before the cut may have proven it
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(3)
            await collected.until(lambda: clock(log) >= (START + 2 * MINUTE) * MS)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)


def test_a_trade_confirms_a_subscription_for_which_the_venue_has_no_word(
    kind: type[FakeVenue], log: Log
) -> None:
    class Wordless(kind):
        async def heard(self, connection: Connection, text: str) -> None:
            connection.deaf = "subscribe" in text.lower()
            await super().heard(connection, text)
            connection.deaf = False
            await self._notify()

    trades, other = short(kind, 9), short(kind, 9, "ETH")

    async def test() -> None:
        async with Wordless() as venue, collecting(log, at(venue, START), ["BTC/USDT", ETH]) as collected:
            for begin, end in ((0, 3), (3, 6)):
                await venue.watched(kind.pair("ETH"))
                for trade in (*trades[begin:end], *other[begin:end]):
                    venue.publish([trade])
                await collected.has(end)
                await collected.has(end, ETH)
                await collected.until(
                    lambda: states(log, "BTC/USDT")[-1:] == states(log, ETH)[-1:] == ["live"]
                )
                await venue.strike(Cut())
            await venue.watched(kind.pair("ETH"))

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades[:6])
    assert without_origin(rows(log, ETH)) == expected(other[:6])
    assert not gaps(log).known and not gaps(log, ETH).known


def test_a_trade_of_one_market_confirms_no_other_where_the_venue_confirms_each(log: Log) -> None:
    class OneWord(Okx):
        async def subscribe(self, connection: Connection, channels: Mapping[str, str]) -> None:
            connection.deaf = True  # behind the first confirmation
            await super().subscribe(connection, channels)

    trades = short(Okx, 3)

    async def test() -> None:
        async with OneWord() as venue, collecting(log, at(venue, START), ["BTC/USDT", ETH]) as collected:
            await collected.until(lambda: venue.asked("socket") and venue.connections[0].channels)
            venue.connections[0].deaf = False
            venue.publish(trades)
            await collected.until(lambda: collected.waiting() == 3)
            assert collected.is_lost
            venue.publish(short(Okx, 1, "ETH"))
            await collected.until(lambda: not collected.is_lost)
            await collected.has(3)

    asyncio.run(test())


class Slow(Binance):
    """Its first answer with trades is held back."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await super()._handle(request)
        if "historicalTrades" in request.path:
            await self.let_go.wait()
        return response


def test_an_answer_to_what_was_asked_before_a_cut_does_not_say_that_nothing_was_missed(log: Log) -> None:
    trades = short(Binance, 20)

    async def test() -> None:
        async with Slow() as venue:
            venue.publish(trades[:10])
            async with collecting(log, at(venue, trades[9].time + 900)) as collected:
                await collected.until(lambda: venue.asked("trades"))
                await venue.strike(Cut())
                venue.publish(trades[10:])
                await collected.until(lambda: collected.reconnects == 1 and not collected.is_lost)
                venue.let_go.set()
                at(venue, START + MINUTE + 600)
                await collected.until(lambda: clock(log) >= (START + MINUTE) * MS)
                assert collected.trades() == 10

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades[10:])


def test_a_quiet_minute_closes_by_a_ping_and_a_deaf_connection_closes_none(
    kind: type[FakeVenue], log: Log
) -> None:
    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            venue.publish(short(kind, 1))
            await collected.has(1)
            for minute in range(1, 4):
                at(venue, START + minute * MINUTE + 600)
                await collected.until(lambda end=minute: clock(log) >= (START + end * MINUTE) * MS)
            assert len(venue.asked("socket")) == 1
            await venue.strike(HalfOpen())
            at(venue, START + 5 * MINUTE)
            await collected.until(lambda: collected.is_asking)
            assert clock(log) < (START + 4 * MINUTE) * MS

    asyncio.run(test())
    assert len(rows(log)) == 1 and not gaps(log).known


def test_a_ban_is_obeyed_while_another_venue_goes_on(kind: type[FakeVenue], log: Log, other_log: Log) -> None:
    async def test() -> None:
        async with kind() as venue, kind() as other:
            await venue.strike(Refuse(("markets",), 1, 418, retry_after=120))
            async with collecting(log, at(venue, START)) as collected:
                await collected.until(lambda: collected.told)
                async with collecting(other_log, at(other, START)) as free:
                    await free.live()
                    collected.pass_by(90)
                    other.publish(short(kind, 1_000))
                    await free.has(1_000)
                assert len(venue.requests) == 1
                collected.pass_by(31)
                await collected.live()

    asyncio.run(test())


def test_a_connection_has_no_more_symbols_than_the_venue_allows_and_what_is_cut_is_filled_on_each(
    kind: type[FakeVenue], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VENUES[kind.name], "symbols_max", 2, raising=True)
    bases = ("BTC", "ETH", "SOL")
    trades = {base: short(kind, 40, base) for base in bases}

    async def test() -> None:
        async with collecting_live(kind, log, [f"{base}/USDT" for base in bases]) as (venue, collected):
            for base in bases:
                await venue.watched(kind.pair(base))
                venue.publish(trades[base][:20])
            for base in bases:
                await collected.has(20, f"{base}/USDT")
            assert sorted(len(connection.channels) for connection in venue.connections) == [1, 2]
            await venue.strike(Cut())
            for base in bases:
                venue.publish(trades[base][20:])
            for base in bases:
                await collected.has(40, f"{base}/USDT")

    asyncio.run(test())
    for base in bases:
        assert without_origin(rows(log, f"{base}/USDT")) == expected(trades[base])


@pytest.mark.parametrize("status", [451, 403])
def test_a_venue_that_does_not_serve_from_here_is_down_with_that_word(
    kind: type[FakeVenue], log: Log, status: int
) -> None:
    async def test() -> None:
        async with kind() as venue:
            await venue.strike(Refuse(("markets",), 1, status))
            async with collecting(log, at(venue, START)) as collected:
                await collected.until(lambda: collected.told)
        assert f"not served from here: HTTP {status}" in collected.told[0][1]

    asyncio.run(test())


class WithoutSockets(Proxy):
    """Lets REST through alone, as a proxy does that lets nobody out to port 9443."""

    def _port(self, host: str) -> int | None:
        return None if host.startswith("stream.") else super()._port(host)


def test_a_proxy_that_lets_no_socket_through_is_told_from_the_venue_and_without_its_password(
    log: Log,
) -> None:
    async def test() -> None:
        async with Binance() as venue, WithoutSockets([venue]) as proxy:
            by = proxy.url.replace("//", "//me:secret@")
            async with collecting(log, at(venue, START), proxy=by) as collected:
                await collected.until(lambda: collected.provider.trouble or collected.told)
                assert collected.told == []
                assert collected.provider.trouble is not None
                said = collected.provider.trouble.what
        assert said.endswith(f": 403, message='Forbidden', url='{by.replace('secret', '***')}'")

    asyncio.run(test())


def test_before_a_venue_ends_a_connection_it_is_dialled_anew_and_nothing_is_missed(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(kind, 100)

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            venue.publish(trades[:60])
            await collected.has(60)
            collected.pass_by(23 * 3_600 + 5)
            await collected.until(lambda: len(venue.asked("socket")) == 2)
            venue.publish(trades[60:])
            await collected.has(100)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert not open_gaps(log)
    assert all(candle.revision == 0 and not candle.incomplete for candle in candles(log, strategies).values())
