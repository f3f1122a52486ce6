"""What tests of one market begin with: a time of the venue, and trades from then on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from streams.log import Log
from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.bybit import identified
from tests.venues.collected import Collected, Row, collecting, expected
from tests.venues.fake import FakeVenue
from tests.venues.trades import Frame, Trade, made

ETH = "ETH/USDT"
MS = 1_000_000
MINUTE = 60_000
VenueKind = TypeVar("VenueKind", bound=FakeVenue)
START = 1_700_000_040_000
"""In ms; a whole minute."""


def at(venue: FakeVenue, ms: int = START) -> FakeVenue:
    """The venue's time stands there."""
    venue.stand_at(ms)
    return venue


@asynccontextmanager
async def collecting_live(
    kind: type[VenueKind],
    log: Log,
    symbols: Sequence[str] = ("BTC/USDT",),
    *,
    market: str = "",
    start: int = START,
    older: Sequence[Trade] = (),
    **options: Any,
) -> AsyncIterator[tuple[VenueKind, Collected]]:
    """A venue whose time stands at `start`, and which has `older` trades; and a collector of it, of which
    `market` is live."""
    async with kind() as venue:
        venue.publish(older)
        async with collecting(log, at(venue, start), symbols, **options) as collected:
            await collected.live(market)
            yield venue, collected


def short(
    kind: type[FakeVenue], count: int = 60, base: str = "BTC", *, market: str = "", together: int = 1
) -> list[Trade]:
    """A trade a second, or `together` at once in so many, with ids as the venue has them."""
    walk = made(market or kind.pair(base), count, start=START, every_ms=1_000)
    trades = [trade._replace(time=walk[n // together].time) for n, trade in enumerate(walk)]
    return trades if kind.numbered else [identified(trade) for trade in trades]


@cache
def recording(kind: type[FakeVenue], market: str, shared_data: Path) -> tuple[list[Frame], list[Row]]:
    """As Binance sent it, or its 19,904 trades in another venue's frames."""
    trades = recorded.binance_trades(shared_data)
    if kind is Binance:
        return recorded.binance_frames(kind(), shared_data), expected(trades)
    mine = recorded.on_market(trades, market)
    named = mine if kind.numbered else [identified(trade) for trade in mine]
    return kind().frames(named), expected(named)
