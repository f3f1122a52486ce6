"""Bots: what they are, what they did, and the commands to them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.http import models
from api.http.commands import Give, answer, begun
from api.http.failures import ApiError
from api.http.security import needs
from api.http.services import (
    LIMIT,
    BotId,
    Cursor,
    Limit,
    Rows,
    Served,
    as_json,
    check_bot,
    fitting,
    numbers,
    paged,
)
from infra.commands import BotManager
from infra.commands.given import sizing_of
from infra.commands.manager import Begun, BotSpec
from infra.commands.requests import Answer
from infra.db import queries
from infra.db.pages import Window
from infra.present import facts
from infra.present.values import iso
from infra.strategies.indicators import WarmedElsewhereError
from projections.strategies.code import StrategyCompileError, StrategyRunError
from streams.events import BotStatus

router = APIRouter(prefix="/api", tags=["bots"])
commands = APIRouter(
    prefix="/api",
    tags=["commands"],
    dependencies=[needs("trade")],
    responses={202: {"model": models.Accepted}, 409: {"model": models.Problem}},
)


@router.get("/bots", response_model=models.Bots)
def bots(
    services: Served,
    status: Annotated[BotStatus | None, Query(description="Only bots in this status.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Bots by id: specification, status, holdings and newest mark."""
    window = fitting(Window(limit, cursor=numbers(cursor)), len(queries.BOT_KEY))
    return as_json(paged(queries.bots(services.database, window, status=status), facts.bot))


@router.get("/bots/{bot_id}", response_model=models.Bot)
def bot(services: Served, bot_id: BotId) -> dict[str, Any]:
    """One bot."""
    return facts.bot(check_bot(services, bot_id))


@router.get("/bots/{bot_id}/signals", response_model=models.Signals)
def signals(services: Served, bot_id: BotId, rows: Rows) -> Response:
    """Every signal of a bot, executed or refused, in the order of the journal."""
    check_bot(services, bot_id)
    page = queries.signals(services.database, bot_id, fitting(rows, len(queries.EVENT_KEY)))
    return as_json(paged(page, facts.signal))


@router.get("/bots/{bot_id}/orders", response_model=models.Orders)
def orders(services: Served, bot_id: BotId, rows: Rows) -> Response:
    """Orders of a bot with what became of them."""
    check_bot(services, bot_id)
    page = queries.orders(services.database, bot_id, fitting(rows, len(queries.EVENT_KEY)))
    return as_json(paged(page, facts.order))


@router.get("/bots/{bot_id}/fills", response_model=models.Fills)
def fills(services: Served, bot_id: BotId, rows: Rows) -> Response:
    """Fills of a bot."""
    check_bot(services, bot_id)
    page = queries.fills(services.database, bot_id, fitting(rows, len(queries.EVENT_KEY)))
    return as_json(paged(page, facts.fill))


@router.get("/bots/{bot_id}/equity", response_model=models.Marks)
def equity(services: Served, bot_id: BotId, rows: Rows) -> Response:
    """Cash, position and equity of a bot at candle closes, with the peak that a drawdown is counted from."""
    check_bot(services, bot_id)
    page = queries.equity(services.database, bot_id, fitting(rows, len(queries.EVENT_KEY)))
    return as_json(paged(page, facts.mark))


@router.get("/bots/{bot_id}/indicators", response_model=models.IndicatorRows)
def indicators(services: Served, bot_id: BotId, rows: Rows) -> dict[str, Any]:
    """The indicators of a bot at each candle that it saw, as its signals recorded them."""
    known = check_bot(services, bot_id)
    window = fitting(rows, 1)
    if window.cursor is not None:
        limit = window.cursor[0]
        window = window._replace(until_ns=limit - 1) if window.newest else window._replace(after_ns=limit)
    lives = services.histories.lives(bot_id, known.market)
    asked = window._replace(limit=window.limit + 1)
    try:
        found = services.indicators.page(lives, known.market, asked)
    except WarmedElsewhereError as error:
        raise ApiError(409, "strategy_failed", str(error), "Ask the home that it was copied from.") from error
    except (StrategyRunError, StrategyCompileError, LookupError) as error:
        raise ApiError(
            409, "strategy_failed", str(error), "Start the bot again to accept today's code."
        ) from error
    shown = found[: window.limit]
    following = str(shown[-1][0]) if len(found) > len(shown) else None
    items = [{"timestamp": iso(end), "values": facts.numbers(values)} for end, values in shown]
    return {"items": items, "next": following}


# ------------------------------------------------------------------ commands


@commands.post("/bots", response_model=models.Accepted, status_code=202)
async def create(give: Give, asked: models.CreateBot) -> models.Accepted:
    """Create a bot; it is stopped unless `start`."""

    def command(manager: BotManager, named: str | None) -> Answer:
        spec = BotSpec(
            asked.strategy, asked.venue, asked.symbol, asked.timeframe, asked.cash, asked.params,
            sizing_of(asked.sizing), asked.short, asked.name, tuple(asked.tags), asked.on_stale,
        )  # fmt: skip
        return begun(manager.create_bot(spec, start=asked.start, warm=asked.asked_warm, request=named))

    return await give(command)


@commands.post("/bots/halt", response_model=models.Accepted, status_code=202)
async def halt_all(give: Give, asked: models.HaltBot | None = None) -> models.Accepted:
    """Halt every bot, with a reason."""
    reason = (asked or models.HaltBot()).reason
    return await give(lambda manager, named: answer(*manager.halt_all(reason, request=named)))


@commands.post("/bots/{bot_id}/start", response_model=models.Accepted, status_code=202)
async def start(give: Give, bot_id: BotId, asked: models.StartBot | None = None) -> models.Accepted:
    """Start a bot, with today's code of its strategy; where that is other code, it begins anew."""
    warm = None if asked is None else asked.asked_warm
    return await give.to(bot_id, lambda manager, named: manager.start_bot(bot_id, warm=warm, request=named))


@commands.post("/bots/{bot_id}/stop", response_model=models.Accepted, status_code=202)
async def stop(give: Give, bot_id: BotId, asked: models.StopBot | None = None) -> models.Accepted:
    """Stop a bot: what is pending is cancelled, its position is kept unless `flatten` closes it."""
    flatten = asked is not None and asked.flatten
    return await give.to(
        bot_id, lambda manager, named: manager.stop_bot(bot_id, flatten=flatten, request=named)
    )


@commands.post("/bots/{bot_id}/halt", response_model=models.Accepted, status_code=202)
async def halt(give: Give, bot_id: BotId, asked: models.HaltBot | None = None) -> models.Accepted:
    """Halt a bot, with a reason."""
    reason = (asked or models.HaltBot()).reason
    return await give.to(bot_id, lambda manager, named: manager.halt_bot(bot_id, reason, request=named))


@commands.patch("/bots/{bot_id}", response_model=models.Accepted, status_code=202)
async def reconfigure(give: Give, bot_id: BotId, asked: models.ReconfigureBot) -> models.Accepted:
    """Change parameters, sizing, `short` or `on_stale`; what is not given stays, indicators begin anew."""
    if asked.params is None and asked.sizing is None and asked.short is None and asked.on_stale is None:
        hint = "Give params, sizing, short or on_stale."
        raise ApiError(422, "nothing_to_change", "nothing to change", hint)
    sizing = None if asked.sizing is None else sizing_of(asked.sizing)

    def command(manager: BotManager, named: str | None) -> Begun:
        return manager.reconfigure_bot(
            bot_id, asked.params, sizing, asked.short, asked.on_stale, warm=asked.asked_warm, request=named
        )

    return await give.to(bot_id, command)


@commands.post("/bots/{bot_id}/signals", response_model=models.Accepted, status_code=202)
async def signal(give: Give, bot_id: BotId, asked: models.GiveSignal) -> models.Accepted:
    """Give a bot a target by hand; the engine decides on it as on its strategy's own."""
    return await give.to(
        bot_id, lambda manager, named: manager.process_signal(bot_id, asked.target, request=named)
    )
