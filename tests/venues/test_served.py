"""Fakes in a process of their own, reached by configuration alone: a proxy and the file of an authority."""

import asyncio
import ssl
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path

import aiohttp
import pytest

from tests.venues.client import client_by, watching
from tests.venues.faults import Cut, Refuse
from tests.venues.serve import VENUES, Served, _endless, stepped
from tests.venues.trades import made


def test_a_client_reaches_them_by_proxy_and_authority_and_loses_what_the_fault_says(tmp_path: Path) -> None:
    async def run(settings: dict[str, str]) -> list[str]:
        proxy = {"httpsProxy": settings["TCPD_PROXY"], "wssProxy": settings["TCPD_PROXY"]}
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=settings["SSL_CERT_FILE"]))
        async with client_by(connector, "binance", **proxy) as client, watching(client, "BTC/USDT") as kept:
            await kept.reach(50)
            return kept.ids

    trades = made("BTCUSDT", 60)
    frames = VENUES["binance"]().frames(trades)
    with Served("binance", "bybit") as served:
        played = served.start("binance", "play", frames, script=[(30, Cut(away=10))])
        seen = asyncio.run(run(served.environment(tmp_path)))
        played()
        assert served.call("binance", "published") == trades
        assert [request.kind for request in served.call("binance", "requests")] == [
            "markets",
            "socket",
            "socket",
        ]
        assert served.call("bybit", "requests") == []
    assert seen == [trade.id for trade in trades[:30] + trades[40:]]


def test_the_proxy_refuses_every_other_name_and_says_when_a_venue_is_down(tmp_path: Path) -> None:
    async def ask(url: str, settings: dict[str, str]) -> int:
        context = ssl.create_default_context(cafile=settings["SSL_CERT_FILE"])
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            try:
                return (await session.get(url, proxy=settings["TCPD_PROXY"])).status
            except aiohttp.ClientHttpProxyError as error:
                return error.status

    with Served("okx") as served:
        settings = served.environment(tmp_path)
        assert asyncio.run(ask("https://example.org/", settings)) == 403
        assert served.call("okx", "refused_names") == ["example.org"]
        served.call("okx", "strike", Refuse(("time",), status=451))
        assert asyncio.run(ask("https://www.okx.com/api/v5/public/time", settings)) == 451
        served.call("okx", "down")
        assert asyncio.run(ask("https://www.okx.com/api/v5/public/time", settings)) == 502


def test_by_hand_each_market_walks_on_from_minute_to_minute() -> None:
    venue = VENUES["binance"]()
    frames = islice(_endless(venue), 1_300 * len(venue.listing))
    trades = [trade for frame in frames for trade in frame.trades if trade.market == "BTCUSDT"]
    assert [int(trade.id) for trade in trades] == list(range(1, 1_301))
    cents = [int(trade.price.replace(".", "")) for trade in trades]
    assert max(abs(a - b) for a, b in pairwise(cents)) <= 5
    assert cents[:600] != cents[600:1_200]


def test_what_fails_there_is_raised_here() -> None:
    with Served("binance") as served, pytest.raises(KeyError, match="nowhere"):
        served.call("nowhere", "published")


@pytest.mark.parametrize("name", VENUES)
def test_trades_that_are_made_by_hand_are_at_the_steps_of_their_markets(name: str) -> None:
    venue = VENUES[name]()
    for market, row in venue.listing.items():
        steps = [Decimal(step) for step in venue.steps(row)]
        for trade in made(market, 50):
            at = stepped(venue, trade)
            values = Decimal(at.price), Decimal(at.size)
            assert all(value > 0 and value % step == 0 for value, step in zip(values, steps, strict=True))
