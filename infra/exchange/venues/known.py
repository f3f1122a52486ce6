"""The venues that can be collected, by name."""

import difflib
from collections.abc import Sequence

from infra.exchange.asked import parted
from infra.exchange.venues.binance import Binance
from infra.exchange.venues.bybit import Bybit
from infra.exchange.venues.okx import Okx
from infra.exchange.venues.venue import Venue

SEVERAL = {",", ";", " "}
"""In no symbol: whoever writes one of these means several feeds."""
VENUES: dict[str, Venue] = {venue.name: venue for venue in (Binance(), Okx(), Bybit())}


class UnknownVenueError(ValueError):
    """A venue that there is none of, or a feed that names none."""


def venue(name: str) -> Venue:
    """Raises `UnknownVenueError` with those that there are."""
    if name not in VENUES:
        near = difflib.get_close_matches(name.lower(), VENUES, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise UnknownVenueError(f"venue {name!r} is not known{hint}; there are: {', '.join(VENUES)}")
    return VENUES[name]


def by_venue(feeds: Sequence[str]) -> dict[str, list[str]]:
    """`VENUE:SYMBOL` … as symbols by venue. Raises `UnknownVenueError`."""
    found: dict[str, list[str]] = {}
    for feed in feeds:
        name, symbol = parted(feed)
        if not name or not symbol or SEVERAL & set(feed):
            raise UnknownVenueError(f"feed {feed!r}: write VENUE:SYMBOL, one each, such as binance:BTC/USDT")
        symbols = found.setdefault(venue(name).name, [])
        symbols += [symbol] if symbol not in symbols else []
    return found
