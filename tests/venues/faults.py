"""What goes wrong at an exchange. A fault strikes once; it concerns what comes next.

Those of the stream count trades. `away` is how many trades happen before anybody can have come back: at full
speed exactly these are lost to the socket; the play then stands until its market is watched again. Those of
REST answer in the venue's place, `times` requests (None: until `Heal`) of the kinds in `on`.
"""

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from tests.venues.connection import text_frame
from tests.venues.trades import Trade

if TYPE_CHECKING:
    from tests.venues.fake import FakeVenue

REST = ("markets", "trades", "time")
HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Fault(ABC):
    @abstractmethod
    async def strike(self, venue: "FakeVenue") -> None: ...


# Connections


@dataclass(frozen=True)
class Cut(Fault):
    """Each connection ends in the middle of a frame."""

    away: int = 0

    async def strike(self, venue: "FakeVenue") -> None:
        for connection in venue.connections:
            connection.cut(text_frame(f"a frame of {venue.name} that nobody reads to its end"))
        venue.pending.away = self.away


@dataclass(frozen=True)
class Close(Fault):
    """Each connection is closed as the protocol has it, with a code or without."""

    code: int | None = None
    away: int = 0

    async def strike(self, venue: "FakeVenue") -> None:
        for connection in venue.connections:
            connection.close(self.code)
        venue.pending.away = self.away


@dataclass(frozen=True)
class HalfOpen(Fault):
    """Each connection stays, and no byte comes by it any more, no pong either."""

    away: int = 0

    async def strike(self, venue: "FakeVenue") -> None:
        for connection in venue.connections:
            connection.deaf = True
        venue.pending.away = self.away


@dataclass(frozen=True)
class Malformed(Fault):
    """Each connection gets a frame that is no JSON; what follows on it is as before."""

    text: str = '{"stream":"btcusdt@trade","data":{"e":"trade","E":172316'
    away: int = 0

    async def strike(self, venue: "FakeVenue") -> None:
        for connection in venue.connections:
            connection.say(self.text)
            connection.broken = True
        venue.pending.away = self.away


@dataclass(frozen=True)
class Restart(Fault):
    """The server goes, and is back at its address after `away` trades; `Down` and `Up` are its halves."""

    away: int = 0

    async def strike(self, venue: "FakeVenue") -> None:
        await venue.down()
        await venue.up()
        venue.pending.away = self.away


@dataclass(frozen=True)
class Down(Fault):
    async def strike(self, venue: "FakeVenue") -> None:
        await venue.down()


@dataclass(frozen=True)
class Up(Fault):
    async def strike(self, venue: "FakeVenue") -> None:
        await venue.up()


@dataclass(frozen=True)
class Snapshot(Fault):
    """From now on who subscribes gets the newest trades first."""

    trades: int = 50

    async def strike(self, venue: "FakeVenue") -> None:
        venue.snapshot = self.trades


# The stream of trades


@dataclass(frozen=True)
class LeaveOut(Fault):
    """The next trades go to no socket; with `rest`, REST does not have them either."""

    trades: int = 1
    rest: bool = False

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.unsent = self.trades
        if self.rest:
            venue.pending.unasked = self.trades


@dataclass(frozen=True)
class Repeat(Fault):
    """Each connection is sent again the last frames that it was sent."""

    frames: int = 100

    async def strike(self, venue: "FakeVenue") -> None:
        for connection in venue.connections:
            connection.repeat(self.frames)


@dataclass(frozen=True)
class Swap(Fault):
    """The next two frames of a market come in the other order."""

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.swap = True


@dataclass(frozen=True)
class Late(Fault):
    """The next trades come when the venue's time is `by_ms` further; those after them are in time."""

    trades: int = 1
    by_ms: int = 3_000

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.late, venue.pending.late_ms = self.trades, self.by_ms


@dataclass(frozen=True)
class Altered(Fault):
    """The socket shows the next trade with another value in a field of `Trade`; REST has the true one."""

    field: str
    value: str

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.alterations.append({self.field: self.value})


@dataclass(frozen=True)
class Ahead(Fault):
    """The socket shows the next trade with a time that is later."""

    by_ms: int = 60_000

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.alterations.append({"later_ms": self.by_ms})


@dataclass(frozen=True)
class Jump(Fault):
    """Ids go on `by` further, or back: a venue that began anew, whose REST knows nothing from before."""

    by: int

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.id_shift += self.by
        if self.by < 0:
            venue.public.clear()


@dataclass(frozen=True)
class Burst(Fault):
    """The next trades happen at once."""

    trades: int = 5_000

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.burst = self.trades


# What the venue tells by REST


@dataclass(frozen=True)
class RestFault(Fault):
    on: tuple[str, ...] = REST
    times: int | None = 1

    async def strike(self, venue: "FakeVenue") -> None:
        venue.rest_faults[self] = self.times

    def response(self, venue: "FakeVenue", kind: str) -> web.Response | None:
        """What is answered in the venue's place."""
        return None

    def page(self, page: list[Trade], older: list[Trade]) -> list[Trade] | None:
        """What a page of trades becomes; `older` are those before it."""
        return None


@dataclass(frozen=True)
class Refuse(RestFault):
    """A status: 503 in maintenance, 429, 418 and 403 with `Retry-After`, 451. With `socket` among
    `on` no handshake succeeds."""

    status: int = 503
    retry_after: int | None = None

    def response(self, venue: "FakeVenue", kind: str) -> web.Response | None:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return web.json_response(venue.refusal(self.status), status=self.status, headers=headers)


@dataclass(frozen=True)
class Html(RestFault):
    """A page for people, with the status of a good answer."""

    status: int = 200

    def response(self, venue: "FakeVenue", kind: str) -> web.Response | None:
        return web.Response(text=HTML, content_type="text/html", status=self.status)


@dataclass(frozen=True)
class Truncated(RestFault):
    """An answer that ends in its middle."""

    on: tuple[str, ...] = ("markets",)

    def response(self, venue: "FakeVenue", kind: str) -> web.Response | None:
        return web.Response(text='{"symbols":[{"symbol":"BTCUSDT","sta', content_type="application/json")


@dataclass(frozen=True)
class Empty(RestFault):
    """A good answer with nothing in it."""

    def response(self, venue: "FakeVenue", kind: str) -> web.Response | None:
        return web.json_response(venue.empty(kind))


@dataclass(frozen=True)
class PageShuffled(RestFault):
    on: tuple[str, ...] = ("trades",)
    seed: int = 1

    def page(self, page: list[Trade], older: list[Trade]) -> list[Trade] | None:
        return random.Random(self.seed).sample(page, len(page))


@dataclass(frozen=True)
class PageOverlapping(RestFault):
    """It begins with some trades from before the page, and ends the sooner."""

    on: tuple[str, ...] = ("trades",)
    trades: int = 5

    def page(self, page: list[Trade], older: list[Trade]) -> list[Trade] | None:
        overlap = min(self.trades, len(page) - 1)
        return [*older[len(older) - overlap :], *page][: len(page)] if page else None


@dataclass(frozen=True)
class PageHoled(RestFault):
    """Without the trade in its middle."""

    on: tuple[str, ...] = ("trades",)

    def page(self, page: list[Trade], older: list[Trade]) -> list[Trade] | None:
        middle = len(page) // 2
        return page[:middle] + page[middle + 1 :]


@dataclass(frozen=True)
class Heal(Fault):
    """No fault of REST any more."""

    async def strike(self, venue: "FakeVenue") -> None:
        venue.rest_faults.clear()


@dataclass(frozen=True)
class Skew(Fault):
    """The time that the venue tells is ahead of its trades by so much, or behind."""

    ms: int

    async def strike(self, venue: "FakeVenue") -> None:
        venue.skew_ms = self.ms


@dataclass(frozen=True)
class Delisted(Fault):
    """The market is gone: from the listing, from REST, and for who subscribes."""

    market: str

    async def strike(self, venue: "FakeVenue") -> None:
        venue.listing.pop(self.market, None)


@dataclass(frozen=True)
class Suspended(Fault):
    """The listing says that the market does not trade now."""

    market: str

    async def strike(self, venue: "FakeVenue") -> None:
        venue.suspend(venue.listing[self.market])


@dataclass(frozen=True)
class Steps(Fault):
    """The listing has other steps of price and size."""

    market: str
    price: str
    size: str

    async def strike(self, venue: "FakeVenue") -> None:
        venue.set_steps(venue.listing[self.market], self.price, self.size)


@dataclass(frozen=True)
class Finer(Fault):
    """Once: from now on prices have a digit more than the listing said, which says it too."""

    price: str = "0.001"
    size: str = "0.00001"

    async def strike(self, venue: "FakeVenue") -> None:
        venue.pending.is_finer = True
        for row in venue.listing.values():
            venue.set_steps(row, self.price, self.size)
