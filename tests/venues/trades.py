"""Trades and frames, whatever the venue: what a fake plays."""

import random
from collections.abc import Iterable
from typing import NamedTuple


class Trade(NamedTuple):
    market: str
    """The venue's own id: `BTCUSDT`, `BTC-USDT`."""
    id: str
    time: int
    """The exchange's, in ms."""
    price: str
    size: str
    side: str
    """The taker's: `buy` or `sell`."""


def number(trade: Trade) -> int:
    return int(trade.id)


class Frame:
    """Trades of one market that a venue sends together. `recorded` is the text that once came for them."""

    __slots__ = ("market", "recorded", "trades", "wire")

    def __init__(self, trades: Iterable[Trade], recorded: str = "", market: str = "") -> None:
        self.trades = tuple(trades)
        self.recorded = recorded
        self.market = market or self.trades[0].market
        """Whose subscribers get it: that of the trades, where these tell the truth."""
        self.wire: dict[str, bytes] = {}
        """What goes over the socket, by channel: made once for all connections."""

    @property
    def time(self) -> int:
        return self.trades[-1].time


def made(
    market: str,
    count: int,
    *,
    start: int = 1_700_000_000_000,
    every_ms: int = 100,
    first_id: int = 1,
    seed: int = 1,
    cents: int = 6_000_000,
) -> list[Trade]:
    """A walk of the price by cents, with ids that are dense."""
    chance = random.Random(f"{market} {seed}")
    trades: list[Trade] = []
    for n in range(count):
        cents = max(1, cents + chance.randint(-5, 5))
        price, size = f"{cents // 100}.{cents % 100:02}", f"0.{chance.randint(1, 99_999):05}"
        side = chance.choice(("buy", "sell"))
        trades.append(Trade(market, str(first_id + n), start + n * every_ms, price, size, side))
    return trades
