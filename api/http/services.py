"""What the routes work with, opened once a process, and the parameters that many of them share."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Depends, Header, Path, Query, Request
from sqlalchemy import Engine, Row
from starlette.responses import Response

from api.http.failures import ApiError
from api.http.hub import Hub
from infra.commands import BotManager
from infra.commands.journal_view import view
from infra.commands.requests import Requests
from infra.db import queries
from infra.db.pages import Page, Window
from infra.present import facts
from infra.present.values import parse_time
from infra.process.settings import Settings
from infra.process.tokens import TokenFile
from infra.strategies.indicators import Indicators
from infra.strategies.lives import BotHistory
from infra.strategies.registry import Strategies
from projections.fold.money import INT64_MAX
from streams import topics
from streams.log import Log
from streams.records import partition_of
from streams.snapshots import latest
from streams.topics import market_key

logger = logging.getLogger(__name__)

LIMIT, LIMIT_MAX = 500, 5_000
_CURSOR = re.compile(r"\d{1,19}(:-?\d{1,19}){0,4}")


@dataclass(frozen=True)
class Services:
    """`tokens` and `requests` lie in the home folder; the rest is what `up` and the commands work on."""

    settings: Settings
    log: Log
    database: Engine
    strategies: Strategies
    tokens: TokenFile
    requests: Requests
    histories: BotHistory
    indicators: Indicators
    hub: Hub

    def manager(self, who: str) -> BotManager:
        return BotManager(self.log, self.strategies, who, self.database)


def services_of(request: Request) -> Services:
    return request.app.state.services


Served = Annotated[Services, Depends(services_of)]

BotId = Annotated[int, Path(ge=1, le=INT64_MAX, description="Bot id.", examples=[1])]
VENUE = f"^{topics.VENUE}$"
SYMBOL = f"^{topics.SYMBOL}$"
Venue = Annotated[str, Path(pattern=VENUE, description="Exchange.", examples=["sim"])]
Symbol = Annotated[
    str,
    Path(
        pattern=SYMBOL,
        description="Unified symbol; it stands last in the path, its slash as it is or as %2F.",
        examples=["BTC/USDT"],
    ),
]
Partition = Annotated[int, Query(ge=0, le=4095, description="Partition of the log.", examples=[0])]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="So many at most.", examples=[LIMIT])]
Cursor = Annotated[
    str | None,
    Query(description="`next` of the page before; the other parameters must stay.", pattern=_CURSOR.pattern),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,128}$",
        description="A repeat with the same key writes nothing and answers as the first.",
        examples=["1c7a0b1e"],
    ),
]
Wait = Annotated[
    Literal["applied"] | None,
    Query(description="`applied`: answer 200 when the database shows the effect, at most 30 s later."),
]


def time_ns(text: str | None, name: str) -> int | None:
    """ns of an ISO 8601 time. Raises `ApiError`."""
    if text is None:
        return None
    try:
        found = parse_time(text)
    except (ValueError, OverflowError) as error:
        raise _bad(name, str(error), "Write it as 2018-01-01T09:05:00Z.") from None
    if not 0 <= found <= INT64_MAX:
        raise _bad(name, f"{text} lies outside 1970 to 2262", "Write it as 2018-01-01T09:05:00Z.")
    return found


def window(
    after: Annotated[
        str | None,
        Query(
            alias="from",
            description="After this event time, exclusive.",
            examples=["2026-01-01T00:00:00Z"],
        ),
    ] = None,
    until: Annotated[
        str | None,
        Query(alias="to", description="Up to this event time, inclusive.", examples=["2026-01-02T00:00:00Z"]),
    ] = None,
    order: Annotated[Literal["oldest", "newest"], Query(description="What comes first.")] = "oldest",
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Window:
    """The rows that a request asks for. Raises `ApiError`."""
    return Window(limit, time_ns(after, "from"), time_ns(until, "to"), numbers(cursor), order == "newest")


Rows = Annotated[Window, Depends(window)]


def numbers(cursor: str | None) -> tuple[int, ...] | None:
    """Raises `ApiError` for a cursor that no page gave."""
    if cursor is None:
        return None
    found = tuple(int(part) for part in cursor.split(":")) if _CURSOR.fullmatch(cursor) else ()
    if not found or max(map(abs, found)) > INT64_MAX:
        raise _bad("cursor", f"{cursor[:100]!r} is no cursor", "Give `next` of the page before, unchanged.")
    return found


def fitting(window: Window, parts: int) -> Window:
    """The same window, whose cursor must have so many parts. Raises `ApiError`."""
    if window.cursor is not None and len(window.cursor) != parts:
        raise _bad("cursor", "it is of another list", "Give `next` of a page of this list, unchanged.")
    return window


def paged(page: Page, shown: Callable[[Any], facts.Json]) -> dict[str, object]:
    """A page, its rows as one of `infra.present.facts` shows them."""
    following = None if page.next is None else ":".join(map(str, page.next))
    return {"items": [shown(row) for row in page.rows], "next": following}


def as_json(content: dict[str, object]) -> Response:
    """An answer of rows whose form follows from the description of their models: to check each against its
    model again would take as long as to read them."""
    return Response(msgspec.json.encode(content), media_type="application/json")


def check_market(services: Services, venue: str, symbol: str) -> str:
    """The market's key. Raises `ApiError` 404 where neither database nor journal knows it."""
    key = market_key(venue, symbol)
    if queries.has_market(services.database, key):
        return key
    if key in view(services.log, partition_of(key.encode(), services.log.partitions)).markets:
        return key
    raise ApiError(404, "unknown_market", f"there is no market {key}", "GET /api/markets lists them.")


def check_bot(services: Services, bot_id: int) -> Row[Any]:
    """The bot's row. Raises `ApiError` 404."""
    row = queries.bot(services.database, bot_id)
    if row is None:
        raise ApiError(
            404,
            "unknown_bot",
            f"there is no bot {bot_id} in the database",
            "GET /api/bots lists them; one that was created just now appears when the worker has folded it.",
        )
    return row


def folded(log: Log, partition: int) -> int | None:
    """The last journal record whose outputs are in the log; None where nobody has folded yet."""
    snapshot = latest(log, partition, logger.warning)
    return None if snapshot is None else snapshot.sent


def _bad(name: str, message: str, hint: str) -> ApiError:
    return ApiError(422, "invalid_request", f"query.{name}: {message}", hint)
