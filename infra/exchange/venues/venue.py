"""What is a venue's own; everything else is shared."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

Control = Literal["subscribed", "pong", "known", "unknown"]
"""Of a frame without trades: a subscription is confirmed; a ping is answered; one of the protocol's; of no
known form."""
FLAW = "flaw"
"""Of a trade that ccxt read where there is none: why there is none."""
Page = Sequence[Mapping[str, Any]]
"""Trades in ccxt's form, in whatever order the venue gave them."""


class Refusal(NamedTuple):
    """What a venue says that does not subscribe some markets, by its own ids of them."""

    ids: Sequence[str]
    words: str


class Venue(Protocol):
    """`name` is its own among our venues, `ccxt_id` its among ccxt's. Ids tell one trade from another;
    those of a `NumberedVenue` tell more."""

    name: str
    ccxt_id: str
    kinds: Sequence[str]
    """Of ccxt's kinds of markets, those that it has."""
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
    confirms_each: bool
    """Each symbol of a subscription is confirmed or refused by a frame of its own; else all are by one. A
    trade confirms as well."""
    is_by_contract: bool
    """A connection has markets of one kind of contract alone."""

    def prepare(self, exchange: Any) -> None:
        """What its ccxt client needs besides its options."""
        ...

    async def watch(self, exchange: Any, symbols: Sequence[str]) -> None:
        """Dial and subscribe, by one call of ccxt. Raises what ccxt raises."""
        ...

    def refusal(self, text: str) -> Refusal | None:
        """Whether a frame refuses to subscribe markets that it names. Raises `ValueError` for one that cannot
        be decoded."""
        ...

    def ping_text(self, token: bytes) -> str | None:
        """A ping of the venue's own; None where it answers those of WebSocket. Its pongs come in the order of
        the pings, and ccxt's own pings must be off."""
        ...

    def control(self, text: str) -> Control:
        """What a frame is that brought no trade. Raises `ValueError` for one that cannot be decoded."""
        ...

    def confirmed(self, text: str) -> str:
        """The venue's id of the market that a confirmation is of; "" where it is of all of a subscription."""
        ...

    def flaw(self, told: Mapping[str, Any]) -> str:
        """Why what the venue told, a row of a frame or of a page, is no single trade of a known id, though
        ccxt reads it as one; "" where it is one."""
        ...

    async def newest(self, exchange: Any, symbol: str) -> Page:
        """The newest trades. Raises what ccxt raises."""
        ...


@runtime_checkable
class NumberedVenue(Venue, Protocol):
    """The ids of a market's trades rise by one, and it can be asked by them. Raises what ccxt raises."""

    async def trades_from(self, exchange: Any, symbol: str, first: int, stop: int) -> Page:
        """Those of the ids first ≤ id < stop, a page of them; there may be others among them."""
        ...

    async def trades_behind(self, exchange: Any, symbol: str, last: int) -> tuple[Page, bool]:
        """The trade of the id `last` and those that came behind it, and whether the newest is among them."""
        ...


class Socket:
    """What is told of one connection; each method is called between two frames."""

    def trade(self, trade: Mapping[str, Any]) -> None:
        """A trade came, in ccxt's form."""

    def frame(self) -> None:
        """A frame came, of whatever kind."""

    def pong(self, token: bytes) -> None:
        """An answer to a ping."""

    def subscribed(self) -> None:
        """The venue confirmed that it sends."""

    def refused(self, symbol: str, words: str) -> None:
        """The venue does not subscribe a symbol."""

    def unreadable(self, frame: str, reason: str) -> None:
        """A frame means nothing; the connection ends."""


class NotServedError(RuntimeError):
    """A venue refuses whoever asks from here: HTTP 451 or 403."""
