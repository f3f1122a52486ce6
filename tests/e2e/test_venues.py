"""The page on exchanges: a venue that goes stale and comes back, and two venues of one symbol."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from playwright.sync_api import expect

from infra.exchange.in_hand import in_hand, tell_status
from infra.process.settings import load_settings
from streams.backends import open_log
from tests.e2e.browser import Open, Site, site, table, wait_for
from tests.e2e.conftest import Home
from tests.programs import Program
from tests.services.redis import Redis
from tests.socket_reader import SocketReader
from tests.venues.binance import Binance
from tests.venues.collected import collecting
from tests.venues.faults import Close, LeaveOut, Refuse
from tests.venues.serve import Served
from tests.venues.trades import Trade, made

T = TypeVar("T")
BTC, KEY = "BTCUSDT", "binance:BTC/USDT"
START = 2_000_000_040_000
"""In ms; a whole minute."""
BOT = (
    "--strategy", "sma_cross", "--timeframe", "1m", "--param", "fast=2", "--param", "slow=5",
    "--cash", "1000", "--start",
)  # fmt: skip
READER = Path(__file__).with_name("node_reader.mjs")


def trades(count: int) -> list[Trade]:
    """A trade a second."""
    return made(BTC, count, start=START, every_ms=1_000)


class AtHand:
    """A venue and its collector in a thread of this process; its clock is moved by hand, and its home is told
    how it stands, as by any collector."""

    def __init__(self, home: Home) -> None:
        self._settings = load_settings(home.environment)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._opened = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self._begin())
        return self

    def __exit__(self, *error: object) -> None:
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    async def _begin(self) -> None:
        enter = self._opened.enter_context
        log = enter(closing(open_log(self._settings.log_url, partitions=1)))
        enter(in_hand(self._settings.home, "binance", ["BTC/USDT", "ETH/USDT"]))
        self.venue = await self._opened.enter_async_context(Binance())
        self.venue.stand_at(START)
        symbols = ("BTC/USDT", "ETH/USDT")
        self.collected = await self._opened.enter_async_context(collecting(log, self.venue, symbols))
        self._telling = asyncio.create_task(self._tell())
        await self.collected.live(BTC)

    async def _tell(self) -> None:
        while True:
            for status in self.collected.collector.standings():
                tell_status(self._settings.home, status)
            await asyncio.sleep(0.1)

    async def _end(self) -> None:
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)
        await self._opened.aclose()

    async def grows_stale(self) -> None:
        """The connection is deaf, and the venue lets nobody dial for ten minutes."""
        first, *others = trades(50)
        self.venue.publish([first])
        await self.collected.has(1)
        await self.venue.strike(Refuse(("trades",), 1, 418, retry_after=600))
        await self.venue.play(self.venue.frames(others), script=[(39, LeaveOut(1))])
        await self.collected.until(lambda: self.collected.provider.trouble)
        await self.collected.goes_deaf()

    async def comes_back(self) -> None:
        self.venue.publish(trades(100)[50:])
        self.collected.pass_by(600)


def test_the_view_of_sources_follows_a_venue_that_goes_stale_and_comes_back(
    home: Home, redis: Redis, visit: Open
) -> None:
    home.environment |= {"TCPD_REDIS_URL": redis.url, "TCPD_PARTITIONS": "1"}
    with AtHand(home) as at, site(home) as shown:
        one = visit(shown)
        one.open("sources")
        page, source = one.page, one.page.locator("tr[data-key='binance']")
        row = page.locator(f"tr[data-key='binance {KEY}']")
        badge, why = row.locator(".badge"), row.locator("td[data-title='Why']")
        live = page.locator(".tiles dd").first
        expect(badge).to_have_text("live")
        expect(live).to_have_text("2 of 2")
        expect(row.locator("td[data-title='Age']")).to_have_text("–")

        at.do(at.grows_stale())
        expect(badge).to_have_text("stale")
        expect(why).to_contain_text("no answer to a ping")
        expect(row.locator("td[data-title='Age']")).not_to_have_text("–")
        expect(row.locator("td[data-title='Open gaps']")).to_have_text("1")
        expect(live).to_have_text("0 of 2")
        expect(source.locator("td[data-title='Cuts']")).to_have_text("1")
        expect(source).to_contain_text("connection lost: silent for")

        at.do(at.comes_back())
        expect(badge).to_have_text("live")
        expect(why).to_have_text("")
        expect(row.locator("td[data-title='Open gaps']")).to_have_text("0")
        expect(live).to_have_text("2 of 2")
        assert one.errors == []


@pytest.fixture
def served() -> Iterator[Served]:
    with Served("binance", "bybit") as served:
        served.call("binance", "stand_at", START)
        served.call("bybit", "stand_at", START)
        yield served


def dear(count: int) -> list[Trade]:
    """The same trades at prices that the other venue does not have."""
    return [trade._replace(price=f"1{trade.price}") for trade in trades(count)]


def said(shown: Site, venue: str) -> list[list[str]]:
    """Close time and prices of a venue's candles, oldest first."""
    items = shown.get(f"/api/candles/{venue}/BTC/USDT")["items"]
    names = ("open", "high", "low", "close")
    return [[one["timestamp"][:19].replace("T", " "), *(one[name] for name in names)] for one in items]


def lines(file: Path) -> list[dict[str, Any]]:
    """What a reader has written whole."""
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]] if file.exists() else []


def test_two_venues_of_one_symbol_are_one_channel_and_told_apart_by_their_venue(
    served: Served, home: Home, redis: Redis, visit: Open, node: str, tmp_path: Path
) -> None:
    home.environment |= served.environment(tmp_path) | {"TCPD_REDIS_URL": redis.url, "TCPD_PARTITIONS": "1"}
    home.environment["TCPD_AHEAD_S"] = "86400"
    taken = tmp_path / "taken.jsonl"
    with ExitStack() as stack:
        stack.enter_context(home.start("up", "--feed", KEY, "--feed", "bybit:BTC/USDT"))
        shown = stack.enter_context(site(home))
        for venue in ("binance", "bybit"):
            served.call(venue, "watched", BTC)
        wait_for(lambda: [one["state"] for one in shown.get("/api/sources")["items"]] == ["live", "live"])
        served.call("binance", "publish", dear(200))
        served.call("bybit", "publish", trades(200))
        wait_for(lambda: [len(said(shown, venue)) for venue in ("binance", "bybit")] == [3, 3])
        reader = SocketReader(shown.url, "/ws/market/BTC%2FUSDT", f"Bearer {shown.token}")
        stack.enter_context(reader)
        words = ("--experimental-websocket", READER, shown.url, home.folder / "token", "BTC/USDT", taken)
        stack.enter_context(Program(node, *words))
        wait_for(lambda: bool(lines(taken)))

        one = visit(shown)
        page = one.page
        rows = page.locator(".candles tbody tr")
        one.open("markets/binance/BTC/USDT")
        page.get_by_text("Closed candles as a table").click()
        expect(rows).to_have_count(3)
        expect(page.locator(".list tbody td:first-child")).to_have_text(
            ["BTC/USDT binance", "BTC/USDT bybit"]
        )
        served.call("bybit", "publish", trades(400)[200:])
        reader.wait_for(lambda: len(closed(reader, "bybit")) == 3)
        served.call("binance", "publish", dear(400)[200:])
        expect(rows).to_have_count(6)
        assert [row[:5] for row in table(page)] == said(shown, "binance")
        assert all(float(row[1]) > 100_000 for row in table(page))
        one.open("markets/bybit/BTC/USDT")
        page.get_by_text("Closed candles as a table").click()
        expect(rows).to_have_count(6)
        assert [row[:5] for row in table(page)] == said(shown, "bybit")
        assert all(float(row[1]) < 100_000 for row in table(page))

        reader.wait_for(lambda: len(closed(reader, "binance")) == 3)
        wait_for(lambda: any(message["seq"] >= reader.last for message in lines(taken)))

        home.run("bots", "create", *BOT, "--venue", "bybit", "--symbol", "BTC/USDT")
        one.open("bots/1")
        expect(page.locator(".badge").first).to_have_text("running")
        expect(page.locator(".held")).to_be_hidden()
        served.call("bybit", "strike", Refuse(("socket",), None, 503))
        served.call("bybit", "strike", Close())
        expect(page.locator(".held")).to_contain_text("It opens nothing: the feed of bybit is down: ")
    newest = {(told["venue"], told["timeframe"]): told["close"] for told in reader.snapshot["messages"]}
    assert float(newest["binance", "1m"]) > 100_000 > float(newest["bybit", "1m"])
    first = reader.snapshot["seq"] + 1
    assert [told["seq"] for told in reader.counted] == list(range(first, first + len(reader.counted)))
    assert {told["venue"] for told in lines(taken)[1:]} == {"binance", "bybit"}


def closed(reader: SocketReader, venue: str) -> list[dict[str, Any]]:
    """Minutes of a venue that have ended."""
    return [one for one in reader.of(venue) if one["type"] == "candle.v1" and one["timeframe"] == "1m"]
