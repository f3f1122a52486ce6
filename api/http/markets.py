"""Markets and their candles.

Why: ADR 11.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from api.http import formats, models
from api.http.services import (
    Rows,
    Served,
    Services,
    Symbol,
    Venue,
    as_json,
    check_market,
    fitting,
    paged,
)
from infra.commands import journal_view
from infra.commands.journal_view import view
from infra.db import queries
from infra.db.pages import Page, Window, pages
from infra.exchange import simulated
from infra.present import facts
from infra.present.values import decimal_string, event_to_json, iso
from streams import events
from streams.events import Timeframe
from streams.feeds import Feeds
from streams.topics import market_key

router = APIRouter(prefix="/api", tags=["markets"])

STREAMED = {
    "text/csv": {"schema": {"type": "string"}},
    formats.ARROW: {"schema": {"type": "string", "format": "binary"}},
}


@router.get("/markets", response_model=models.Markets)
def markets(services: Served) -> dict[str, Any]:
    """Every market in the journal, by key."""
    found = _known(services)
    newest = queries.newest(services.database)
    return {"items": [_shown(*found[key], newest) for key in sorted(found)]}


@router.get("/markets/{venue}/{symbol:path}", response_model=models.Market)
def market(services: Served, venue: Venue, symbol: Symbol) -> dict[str, Any]:
    """One market."""
    check_market(services, venue, symbol)
    key = market_key(venue, symbol)
    return _shown(*_known(services)[key], queries.newest(services.database))


@router.get("/gaps", response_model=models.Gaps)
def gaps(
    services: Served,
    only_open: Annotated[
        bool, Query(alias="open", description="Only those that nothing has filled in.")
    ] = False,
) -> dict[str, Any]:
    """Where trades may be missing, by market and time: of each market the newest."""
    found = journal_view.gaps(services.log, only_open=only_open)
    return {"items": [facts.gap(*one) for one in found]}


@router.get(
    "/candles/{venue}/{symbol:path}", response_model=models.Candles, responses={200: {"content": STREAMED}}
)
def candles(
    services: Served,
    venue: Venue,
    symbol: Symbol,
    rows: Rows,
    timeframe: Annotated[Timeframe, Query(description="Length of the candles.")] = "1m",
    revisions: Annotated[bool, Query(description="Every revision, not only the newest.")] = False,
    form: Annotated[
        Literal["json", "csv", "arrow"],
        Query(alias="format", description="csv and arrow (an IPC stream) hold all rows, not a page."),
    ] = "json",
) -> Any:
    """Closed candles by close time."""
    key = check_market(services, venue, symbol)

    def read(window: Window) -> Page:
        return queries.candles(services.database, key, timeframe, window, revisions=revisions)

    window = fitting(rows, len(queries.CANDLE_KEY))
    if form == "json":
        return as_json(paged(read(window), facts.candle))
    return _streamed(form, pages(read, window))


def _streamed(form: str, chunks: formats.Chunks) -> Response:
    if form == "csv":
        return StreamingResponse(formats.csv_of(chunks), media_type="text/csv")
    return StreamingResponse(formats.arrow_of(chunks), media_type=formats.ARROW)


def _known(services: Services) -> dict[str, tuple[events.Market, Feeds]]:
    """Specifications and feeds by market."""
    return {
        key: (market, seen.feeds.get(key, Feeds()))
        for seen in (view(services.log, partition) for partition in range(services.log.partitions))
        for key, market in seen.markets.items()
    }


def _shown(market: events.Market, feeds: Feeds, newest: Mapping[str, Any]) -> dict[str, Any]:
    last = newest.get(market.key)
    return {
        **event_to_json(market),
        "market": market.key,
        "simulated": market.venue == simulated.VENUE,
        "newest": None if last is None else iso(last.timestamp),
        **facts.feed(feeds),
        "price": None if last is None else decimal_string(last.close, last.price_scale),
    }
