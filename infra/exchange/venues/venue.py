"""What is a venue's own; everything else is shared."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

Control = Literal["subscribed", "known", "unknown"]
"""Of a frame without trades: the subscription is confirmed; one of the protocol's; of no known form."""


class Venue(Protocol):
    """A venue whose trade ids rise by one. `name` is its own among our venues, `ccxt_id` its among ccxt's."""

    name: str
    ccxt_id: str
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

    def prepare(self, exchange: Any) -> None:
        """What its ccxt client needs besides its options."""
        ...

    def control(self, frame: Any) -> Control:
        """What a decoded frame is that brought no trade."""
        ...

    async def trades_from(self, client: Any, symbol: str, first: int | None) -> Sequence[Mapping[str, Any]]:
        """A page of ccxt's trades from the id `first` on, or the newest, as the venue gave it. Raises what
        ccxt raises."""
        ...


class NotServedError(RuntimeError):
    """A venue refuses whoever asks from here: HTTP 451 or 403."""
