"""WebSockets: a snapshot or what follows `since`, then every message of a channel, and heartbeats.

Each path is one channel, with its `seq`. Frames are JSON text, from here to the reader only:

    {"type": "snapshot", "seq": …, "messages": […]}   first, unless `since` was given
    {"seq": …, "type": "candle.v1", …}                as on the channel: dense, but for forming candles
    {"type": "heartbeat", "seq": …, "timestamp": …}   every five seconds; `seq`: the last counted and sent

`?since=SEQ` goes on behind SEQ, 0 from the beginning. A snapshot in answer to it, or on the way, is a new
beginning: SEQ was of another database.
"""

import re
from collections.abc import Callable

from fastapi import APIRouter, WebSocket

from api.http.failures import ApiError, close_of
from api.http.hub import until_first
from api.http.security import Caller, unauthenticated
from api.http.services import INT64_MAX, Services, check_bot
from api.http.wire import wire_of
from infra.channels.messages import SYSTEM_EVENTS, bot_status_channel, market_channel, portfolio_channel
from infra.commands.journal_view import view
from infra.process.telemetry import SOCKET_READERS

router = APIRouter()


@router.websocket("/ws/market/{symbol:path}")
async def market(socket: WebSocket, symbol: str) -> None:
    """Candles of a symbol, of every venue and timeframe, and the forming ones of a minute."""
    await _run(socket, lambda services: _market_channel(services, symbol))


@router.websocket("/ws/bot/{bot_id}/status")
async def bot_status(socket: WebSocket, bot_id: str) -> None:
    """Changes of a bot, its signals, orders and fills."""
    await _run(socket, lambda services: bot_status_channel(_bot(services, bot_id)))


@router.websocket("/ws/portfolio/{bot_id}")
async def portfolio(socket: WebSocket, bot_id: str) -> None:
    """Fills of a bot and its marks."""
    await _run(socket, lambda services: portfolio_channel(_bot(services, bot_id)))


@router.websocket("/ws/system")
async def system(socket: WebSocket) -> None:
    """Changes of all bots, dead letters, holes of sources, starts and stops of workers."""
    await _run(socket, lambda _: SYSTEM_EVENTS)


async def _run(socket: WebSocket, channel: Callable[[Services], str]) -> None:
    """From the handshake to the close; the channel is asked for in a thread and may raise `ApiError`."""
    services: Services = socket.app.state.services
    wire, caller = wire_of(socket.scope), socket.state.caller
    await socket.accept()  # first, since a page sees the code of a close, but not why a handshake failed
    try:
        since = _since(socket.query_params.get("since"))
        name = await services.hub.look_up(lambda: channel(services))
        with SOCKET_READERS.track_inprogress():
            await until_first(
                services.hub.serve(name, wire, since, lambda: _check(services, caller)), _listen(socket)
            )
    except Exception as error:  # noqa: BLE001 - whatever happened, the reader is told a code
        wire.end(*close_of(error))


async def _listen(socket: WebSocket) -> None:
    """Until the reader closes. Raises `ApiError` when it sends something."""
    if (await socket.receive())["type"] == "websocket.receive":
        raise ApiError(405, "read_only", "nothing is taken from a reader; send nothing", "Only listen.")


def _check(services: Services, caller: Caller) -> None:
    if not services.tokens.is_valid(caller.token):
        raise unauthenticated()


def _since(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,19}", text, re.ASCII) or int(text) > INT64_MAX:
        raise ApiError(
            422, "invalid_request", "since is no sequence number: give the last seq, or 0", "As in ?since=17."
        )
    return int(text)


def _bot(services: Services, bot_id: str) -> int:
    if not re.fullmatch(r"\d{1,19}", bot_id, re.ASCII) or int(bot_id) > INT64_MAX:
        raise ApiError(404, "unknown_bot", "a bot's id is a number", "GET /api/bots lists them.")
    check_bot(services, int(bot_id))
    return int(bot_id)


def _market_channel(services: Services, symbol: str) -> str:
    """The channel is known once it has a candle; until then the journal knows the market."""
    name = market_channel(symbol)
    if services.hub.counted(name) > 0:
        return name
    for partition in range(services.log.partitions):
        if any(one.symbol == symbol for one in view(services.log, partition).markets.values()):
            return name
    raise ApiError(404, "unknown_market", f"there is no market of {symbol}", "GET /api/markets lists them.")
