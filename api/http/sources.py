"""How each market that is collected stands."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.http.models import Time
from api.http.services import Served
from infra.exchange.sources import facts_of, sources
from streams.events import FeedState

router = APIRouter(prefix="/api", tags=["markets"])


class Source(BaseModel):
    """A market of a source. What a collector of this home alone knows is null where none is at work, as are
    `skew_ms` to `raw_dropped` of a provider that tells nothing of itself."""

    market: str = Field(examples=["binance:BTC/USDT"])
    venue: str = Field(examples=["binance"])
    symbol: str = Field(examples=["BTC/USDT"])
    source: str = Field(description="Its name in the journal.", examples=["binance"])
    collector: str | None = Field(examples=["pid 4711, since 2026-01-01T00:00:00Z"])
    state: FeedState
    reason: str = Field(examples=["silent for 12 s, and no answer to a ping"])
    since: Time | None
    age_s: float | None = Field(description="Since a trade came live; null before the first.", examples=[0.2])
    trades_s: float | None = Field(description="Live trades a second, over the last minute.", examples=[12.5])
    gaps_open: int = Field(description="That nothing has filled in.", examples=[1])
    gaps_final: int = Field(description="Of those, what can't be had any more.", examples=[0])
    gaps_filled: int = Field(examples=[3])
    repeats: int | None = Field(description="Trades that came once more.", examples=[0])
    refused: int | None = Field(description="Rows that became dead letters.", examples=[0])
    refused_messages: int | None = Field(description="Of the source, of no known market.", examples=[0])
    skew_ms: float | None = Field(
        description="The clock here is so far ahead of the venue's.", examples=[-3.1]
    )
    warning: str = Field(
        description="What is to be said of that clock, from 500 ms on, and of `--raw`.", examples=[""]
    )
    reconnects: int | None = Field(description="Connections that ended.", examples=[1])
    rest_pages: int | None = Field(description="Asked for in the last minute.", examples=[4])
    rest_pages_max: int | None = Field(description="That may be, in a minute.", examples=[120])
    raw_dropped: int | None = Field(
        description="Frames that `--raw` could not keep; null without it.", examples=[0]
    )
    last_error: str | None = Field(description="Of the source.", examples=["connection lost: it closed"])
    last_error_at: Time | None
    mb_day: float | None = Field(description="That the source writes into the journal.", examples=[412.5])
    days_left: float | None = Field(
        description="The disk lasts, as the whole log grows; null while too little is known.",
        examples=[87.5],
    )


class Sources(BaseModel):
    items: list[Source]


@router.get("/sources", response_model=Sources)
def list_(services: Served) -> dict[str, Any]:
    """Markets by source: the numbers of this home's collectors, and the journal's account of the others."""
    return {"items": [facts_of(row) for row in sources(services.settings, services.log)]}
