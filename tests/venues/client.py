"""A bare ccxt.pro client of a fake, with a cache that keeps every trade."""

import asyncio
from collections.abc import AsyncIterator
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

    def getLimit(self, symbol: str, limit: int | None) -> int | None:  # noqa: N802  ccxt's name
        return limit

    async def reach(self, count: int) -> None:
        while len(self) < count:
            self._more.clear()
            await self._more.wait()

    @property
    def ids(self) -> list[str]:
        return [trade["id"] for trade in self]


@asynccontextmanager
async def client_of(venue: FakeVenue, **config: Any) -> AsyncIterator[Any]:
    """ccxt's own class, unmodified, for the venue's names alone."""
    async with aiohttp.ClientSession(connector=venue.connector()) as session:
        client = getattr(ccxt.pro, venue.name)({"session": session, "number": str, **config})
        client.options["fetchMarkets"] = {"types": ["spot"]}
        client.timeout_on_exit = 0
        try:
            yield client
        finally:
            await client.close()


def give_up(client: Any) -> None:
    """What a watchdog does: the sockets count as lost, and who watches is told."""
    for socket in list(client.clients.values()):
        socket.on_error(ccxt.NetworkError("given up"))


@asynccontextmanager
async def watching(client: Any, symbol: str, **params: Any) -> AsyncIterator[Kept]:
    """The trades of a symbol as they come, dialled again after every error that ccxt raises."""
    kept = client.trades[symbol] = Kept()

    async def watch() -> None:
        while True:
            try:
                await client.watch_trades(symbol, params=params)
            except ccxt.NetworkError:
                client.trades[symbol] = kept

    task = asyncio.create_task(watch())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.wait([task])
