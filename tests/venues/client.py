"""A bare ccxt.pro client of a fake, with a cache that keeps every trade."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt
import ccxt.pro

from tests.venues.fake import FakeVenue


class Kept(list[dict[str, Any]]):
    """Where ccxt puts the trades of a symbol; `count` more can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def append(self, trade: dict[str, Any]) -> None:
        super().append(trade)
        self._more.set()

    def getLimit(self, symbol: str, limit: int | None) -> int | None:  # noqa: N802 - ccxt's name
        return limit

    async def reach(self, count: int) -> None:
        while len(self) < count:
            self._more.clear()
            await self._more.wait()

    @property
    def ids(self) -> list[str]:
        return [trade["id"] for trade in self]


@asynccontextmanager
async def client_of(venue: FakeVenue, types: Sequence[str] = ("spot",), **config: Any) -> AsyncIterator[Any]:
    """ccxt's own class, unmodified, for the venue's names alone."""
    async with client_by(venue.connector(), venue.name, types, **config) as client:
        yield client


@asynccontextmanager
async def client_by(
    connector: aiohttp.TCPConnector, name: str, types: Sequence[str] = ("spot",), **config: Any
) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession(connector=connector) as session:
        client = getattr(ccxt.pro, name)(
            {"session": session, "number": str, "enableRateLimit": False, **config}
        )
        client.options["fetchMarkets"] = {"types": list(types)}
        client.timeout_on_exit = 0
        try:
            yield client
        finally:
            await client.close()


def give_up(client: Any) -> None:
    """What a watchdog does: the sockets count as lost, and who watches is told."""
    for socket in list(client.clients.values()):
        socket.on_error(ccxt.NetworkError("given up"))


async def watch_once(client: Any, symbol: str) -> None:
    """The next trades, by the channel that has every one of them. OKX's is public; ccxt logs in for it, which
    needs a key, so it is asked for below that."""
    if client.id != "okx":
        await client.watch_trades(symbol)
        return
    market = (await client.load_markets())[symbol]["id"]
    asked = {"op": "subscribe", "args": [{"channel": "trades-all", "instId": market}]}
    hashes = [f"trades-all:{symbol}"]
    await client.watch_multiple(client.get_url("trades-all", "business"), hashes, asked, hashes)


@asynccontextmanager
async def watching(
    client: Any, symbol: str, watch: Callable[[Any, str], Awaitable[object]] = watch_once
) -> AsyncIterator[Kept]:
    """The trades of a symbol as they come, dialled again after every error that ccxt raises."""
    kept = client.trades[symbol] = Kept()

    async def watch_on() -> None:
        while True:
            try:
                await watch(client, symbol)
            except ccxt.NetworkError:
                client.trades[symbol] = kept

    task = asyncio.create_task(watch_on())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.wait([task])
