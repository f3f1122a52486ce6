"""What is a venue's own; everything else is shared."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

Control = Literal["subscribed", "pong", "known", "unknown"]
"""Of a frame without trades: a subscription is confirmed; a ping is answered; one of the protocol's; of no
known form."""
FLAW = "flaw"
"""Of a trade that ccxt read where there is none: why there is none."""
Page = Sequence[Mapping[str, Any]]
"""Trades in ccxt's form, in whatever order the venue gave them."""


class Venue(Protocol):
    """`name` is its own among our venues, `ccxt_id` its among ccxt's."""

    name: str
    ccxt_id: str
    ids: Literal["rising", "any"]
    """Those of a market's trades rise by one, or only tell one trade from another."""
    kinds: Sequence[str]
    """Of ccxt's kinds of markets, those that its list must have some of."""
    options: Mapping[str, Any]
    """What its ccxt client is made with."""
    grace_ms: int
    """So late are trades of a minute that has ended."""
    silence_s: float
    """A connection that says nothing for so long is pinged."""
    page: int
    """Trades that it gives at once."""
    pages_a_minute: int
    """Of backfill: half of what it allows."""
    symbols_max: int
    """Symbols on one connection."""
    is_by_contract: bool
    """A connection has markets of one kind of contract alone."""

    def prepare(self, exchange: Any) -> None:
        """What its ccxt client needs besides its options."""
        ...

    async def watch(self, exchange: Any, symbols: Sequence[str]) -> None:
        """Dial and subscribe, by one call of ccxt. Raises what ccxt raises."""
        ...

    def confirmations(self, symbols: int) -> int:
        """By how many frames it confirms a subscription to so many symbols."""
        ...

    def ping_text(self, token: bytes) -> str | None:
        """A ping of the venue's own; None where it answers those of WebSocket. Its pongs come in the order of
        the pings, and ccxt's own pings must be off."""
        ...

    def control(self, text: str) -> Control:
        """What a frame is that brought no trade. Raises `ValueError` for one that cannot be decoded."""
        ...

    def flaw(self, told: Mapping[str, Any]) -> str:
        """Why what the venue told, a row of a frame or of a page, is no single trade of a known id, though
        ccxt reads it as one; "" where it is one."""
        ...

    async def newest(self, exchange: Any, symbol: str) -> Page:
        """The newest trades. Raises what ccxt raises, as the next two."""
        ...

    async def trades_from(self, exchange: Any, symbol: str, first: int, stop: int) -> Page:
        """Those of the ids first ≤ id < stop, a page of them; there may be others among them."""
        ...

    async def trades_behind(self, exchange: Any, symbol: str, last: int) -> tuple[Page, bool]:
        """The trade of the id `last` and those that came behind it, and whether the newest is among them."""
        ...


class NotServedError(RuntimeError):
    """A venue refuses whoever asks from here: HTTP 451 or 403."""
