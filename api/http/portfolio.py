"""Positions and sums over several bots."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.http import models
from api.http.failures import ApiError
from api.http.services import INT64_MAX, LIMIT_MAX, Served, Services
from infra.db import queries
from infra.db.pages import Window
from infra.present import facts

router = APIRouter(prefix="/api", tags=["portfolio"])

BOTS_NAMED_MAX = 500
Ids = Annotated[
    list[Annotated[int, Query(ge=1, le=INT64_MAX)]] | None,
    Query(alias="bot", description="Bot ids, repeated; all bots unless given.", max_length=BOTS_NAMED_MAX),
]
SUMMED = ("initial_cash", "cash", "cost", "realised_pnl", "fees", "equity", "pnl")


@router.get("/portfolio", response_model=models.Portfolio)
def portfolio(services: Served, bot: Ids = None) -> dict[str, Any]:
    """Sums per settle currency and open positions, over the bots named or all."""
    sums: defaultdict[str, dict[str, Decimal]] = defaultdict(lambda: dict.fromkeys(SUMMED, Decimal(0)))
    counts: defaultdict[str, int] = defaultdict(int)
    held: list[dict[str, Any]] = []
    marks: list[str] = []
    for row in _bots(services, bot):
        counts[row["currency"]] += 1
        total = sums[row["currency"]]
        for name in SUMMED:
            total[name] += Decimal(row[name])
        if row["marked"]:
            marks.append(row["marked"])
        if Decimal(row["position"]):
            held.append(row)
    totals = [
        {
            "currency": currency,
            "bots": counts[currency],
            **{name: f"{value:f}" for name, value in total.items()},
        }
        for currency, total in sorted(sums.items())
    ]
    return {"totals": totals, "positions": held, "marked": min(marks, default=None)}


@router.get("/positions", response_model=models.Holdings)
def positions(services: Served, bot: Ids = None) -> dict[str, Any]:
    """Open positions, by bot."""
    return {"items": [row for row in _bots(services, bot) if Decimal(row["position"])]}


def _bots(services: Services, ids: list[int] | None) -> Iterator[dict[str, Any]]:
    """Raises `ApiError` 404 for a bot that is named and not there."""
    missing = set(ids or ())
    window = Window(LIMIT_MAX)
    while True:
        page = queries.bots(services.database, window, ids=ids)
        yield from map(facts.bot, page.rows)
        missing -= {row.bot_id for row in page.rows}
        if page.next is None:
            break
        window = window._replace(cursor=page.next)
    if missing:
        names = ", ".join(map(str, sorted(missing)))
        raise ApiError(404, "unknown_bot", f"there is no bot {names}", "GET /api/bots lists them.")
