"""The AsyncAPI 3.0 document of the channels on Redis and of the WebSockets. Pure, no I/O.

What a channel carries and how its messages look is not written here: example events are published by
`infra.channels.messages`, and where they come out says which messages a channel has; `infra.channels.schema`
says their form. An event without an example, or on a channel without a place in `DOORS`, fails the tests.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from api.http.asyncapi_text import DESCRIPTION, READ_REDIS, READ_SOCKET
from api.http.failures import CLOSES
from api.http.security import COOKIE
from infra.channels import schema as schemas
from infra.channels.messages import (
    Publication,
    Snapshot,
    forming_body,
    gap_body,
    lost_body,
    message,
    publications,
)
from infra.channels.messages import snapshot_key as key_of
from infra.db.rows import SYSTEM_EVENTS
from streams.causes import Cause
from streams.events import (
    MINUTE_NS,
    BotChanged,
    Candle,
    Checkpoint,
    DeadLetter,
    DerivedEvent,
    Equity,
    Fill,
    IdsReused,
    LateTick,
    Order,
    OrderClosed,
    Repeats,
    Signal,
    Sizing,
    SourceHole,
    WorkerStarted,
    WorkerStopped,
)
from streams.journal import event_tag
from streams.topics import CANDLES

Json = dict[str, Any]

REDIS = "redis://127.0.0.1:6379/0"
"""Named where no Redis is known."""


class Door(NamedTuple):
    """A channel of Redis, and the socket that serves the same messages."""

    title: str
    description: str
    parameter: str | None = None
    socket: str | None = None
    path: str | None = None


DOORS = {
    "market_data": Door(
        "Candles of a symbol",
        "Closed candles of every timeframe and their revisions, of all venues that have the symbol, and the"
        " forming 1m candles at most ten times a second each; without Redis there are none of these.",
        "symbol", "market_socket", "/ws/market/{symbol}",
    ),
    "bot_signals": Door("Signals of a bot", "Signals, executed or refused.", "bot_id"),
    "trade_updates": Door("Orders of a bot", "Orders, fills, orders that ended otherwise.", "bot_id"),
    "bot_status": Door(
        "All that a bot does",
        "Changes of the bot, its signals, its orders, its fills, and orders that ended otherwise.",
        "bot_id", "bot_status_socket", "/ws/bot/{bot_id}/status",
    ),
    "portfolio": Door(
        "Portfolio of a bot", "Fills of the bot and its marks.", "bot_id", "portfolio_socket",
        "/ws/portfolio/{bot_id}",
    ),
    "system_events": Door(
        "What happens to the whole",
        "Changes of all bots, dead letters, holes of sources, starts and stops of workers.",
        socket="system_socket", path="/ws/system",
    ),
}  # fmt: skip
"""By the first part of the channel's name; the parameter follows a colon."""
PARAMETERS = {
    "symbol": {
        "description": "Unified symbol. In a path its slash stands as it is or as `%2F`.",
        "examples": ["BTC/USDT", "BTC/USD:BTC"],
    },
    "bot_id": {"description": "Bot id, counted from 1.", "examples": ["1"]},
}

_MARKET = "sim:BTC/USDT"
_CAUSE = Cause(2, 17, 0)
_TIME = 1_767_225_900_000_000_000
_ORDER = Cause(2, 17, 2)
_CANDLE = Candle(
    timeframe="1m",
    timestamp=_TIME,
    revision=0,
    open=6_000_010,
    high=6_000_950,
    low=5_999_900,
    close=6_000_500,
    volume=1_250,
    trades=42,
    price_scale=2,
    size_scale=3,
    empty=False,
    incomplete=False,
    first_offset=16,
    last_offset=17,
)
EXAMPLES: tuple[DerivedEvent, ...] = (
    _CANDLE,
    LateTick(timestamp=_TIME, price=6_000_010, size=5, price_scale=2, size_scale=3),
    Signal(
        bot_id=1, timestamp=_TIME, timeframe="1m", target=1.0, previous=0.0,
        values={"fast_average": 60_004.5, "slow_average": 60_001.25}, price=6_000_500, price_scale=2,
        decision="executed", code="ok", candle=_CAUSE,
    ),
    Order(
        bot_id=1, timestamp=_TIME, side="buy", size=1_664, price=6_000_500, price_scale=2, size_scale=3,
        reason="signal", signal=Cause(2, 17, 1),
    ),
    Fill(
        bot_id=1, timestamp=_TIME + 125_000_000, order_id=_ORDER, side="buy", price=6_000_510, size=1_664,
        fee=9_984_848_640, fee_currency="USDT", realised_pnl=0, position=1_664, cost=9_984_848_640_000,
        cash=5_166_511_360, price_scale=2, size_scale=3, cash_scale=8, row=4, opens=1,
    ),
    OrderClosed(bot_id=1, timestamp=_TIME, order_id=_ORDER, status="cancelled", code="superseded"),
    BotChanged(
        bot_id=1, timestamp=_TIME, market=_MARKET, timeframe="1m", strategy="sma_cross",
        code_hash="5d41402abc4b2a76", params={"fast": 7, "slow": 31}, sizing=Sizing("equity", 10, 1),
        short=True, initial_cash=10_000_000_000_000, cash_scale=8, currency="USDT", status="running",
        code="started", message="started", who="api:ann", steps=True, since=_CAUSE, name="first",
        tags=("trend",),
    ),
    Equity(
        timestamp=_TIME, mark_price=6_000_500, bot_id=(1,), cash=(5_166_511_360,), position=(1_664,),
        equity=(9_989_998_511_360,), unrealised_pnl=(-16_640_000,), peak=(10_000_000_000_000,),
        price_scale=2, size_scale=3, cash_scale=8,
    ),
    Checkpoint(journal_sha256="0" * 64, state_sha256="0" * 64, state_version=1),
    DeadLetter(
        topic="journal", partition=2, offset=18, source="bitmex", sequence=7, market=_MARKET,
        reason="not an event record: truncated", sha256="0" * 64, size=14, data=b"\x94bitmex\x01 ...",
    ),
    SourceHole(source="file", epoch=1, expected=7, got=9),
    IdsReused(trades=2, venue_id="812345", timestamp=_TIME),
    Repeats(trades=2),
    WorkerStarted(worker="worker-1", epoch=1_767_225_600_000, at=_TIME),
    WorkerStopped(worker="worker-1", epoch=1_767_225_600_000, at=_TIME + MINUTE_NS, reason="stopped"),
)  # fmt: skip
"""One of each derived event; some have no channel."""


class _Message(NamedTuple):
    title: str
    payload: Json
    example: Json


def document(version: str, api: str, *, secure: bool, redis_url: str | None) -> Json:
    """The document of the server at `api` (HOST:PORT). Of `redis_url` no credentials are told."""
    messages, carried = _messages()
    channels: Json = {}
    for name, door in DOORS.items():
        channels |= _channels(name, door, carried[name])
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "TCPDashboard", "version": version, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"api": _api_server(api, secure), "redis": _redis_server(redis_url or REDIS)},
        "channels": channels,
        "operations": {f"send_{name}": _operation(name, channel) for name, channel in channels.items()},
        "components": _components(messages, carried),
    }


def _published() -> Iterator[tuple[DerivedEvent, Publication]]:
    for event in EXAMPLES:
        market, cause = ("", None) if isinstance(event, SYSTEM_EVENTS) else (_MARKET, _CAUSE)
        yield from ((event, made) for made in publications(market, event, cause))


def _messages() -> tuple[dict[str, _Message], dict[str, list[str]]]:
    """Every message by name, and by channel the names of those that it counts."""
    found: dict[str, _Message] = {}
    carried: dict[str, list[str]] = {name: [] for name in DOORS}
    newest = {name: Snapshot(seq=41) for name in DOORS}
    for event, made in _published():
        tag, channel = event_tag(event), made.channel.partition(":")[0]
        carried[channel].append(tag)
        example = _decoded(newest[channel].add(made))
        found[tag] = _Message(type(event).__name__, schemas.event_schema(type(event)), example)
    forming = _decoded(message(42, forming_body(_MARKET, _CANDLE)))
    found["candle.v1.forming"] = _Message("Forming candle", schemas.forming_schema(), forming)
    found["gap"] = _Message("Gap", schemas.gap_schema(), _decoded(message(40, gap_body(1, 40))))
    lost = _decoded(message(42, lost_body(CANDLES, 2, 0, 999)))
    found["lost"] = _Message("Records lost before they were counted", schemas.lost_schema(), lost)
    beat = {"type": "heartbeat", "seq": 42, "timestamp": "2026-01-01T00:05:03Z"}
    found["heartbeat"] = _Message("Heartbeat", schemas.heartbeat_schema(), beat)
    for name, door in DOORS.items():
        if door.path is not None:
            payload = schemas.snapshot_schema(carried[name], on_socket=True)
            example = {"type": "snapshot"} | _decoded(newest[name].encode())
            found[f"snapshot.{name}"] = _Message(f"Snapshot: {door.title}", payload, example)
    return found, carried


def _decoded(text: bytes) -> Json:
    return msgspec.json.decode(text)


def _channels(name: str, door: Door, counted: list[str]) -> Json:
    """The channel on Redis, and its socket where it has one."""
    address = name if door.parameter is None else f"{name}:{{{door.parameter}}}"
    others = {"market_data": ["candle.v1.forming"], "system_events": ["lost"]}.get(name, [])
    live = [*counted, *others, "gap"]
    description = f"{door.description}\n\n{READ_REDIS}"
    both = {name: _channel(door, address, "redis", live, description)}
    both[name]["x-snapshot"] = {"key": key_of(address), "schema": schemas.ref(f"snapshot.{name}.redis")}
    if door.path is not None and door.socket is not None:
        sent = [f"snapshot.{name}", *live, "heartbeat"]
        description = (
            f"{door.description} It is the channel `{address}`, with the same `seq`.\n\n{READ_SOCKET}"
        )
        both[door.socket] = _channel(door, door.path, "api", sent, description) | {"bindings": {"ws": _WS}}
    return both


_WS = {
    "method": "GET",
    "query": {
        "type": "object",
        "properties": {
            "since": {
                "type": "integer",
                "minimum": 0,
                "description": "The last `seq` that the client has; 0: from the beginning.",
            }
        },
    },
    "bindingVersion": "0.1.0",
}


def _channel(door: Door, address: str, server: str, messages: list[str], description: str) -> Json:
    channel: Json = {
        "address": address,
        "title": door.title,
        "description": description,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if door.parameter is not None:
        channel["parameters"] = {door.parameter: {"$ref": f"#/components/parameters/{door.parameter}"}}
    return channel


def _operation(name: str, channel: Json) -> Json:
    return {
        "action": "send",
        "summary": f"{channel['title']}, sent by this application.",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{one}"} for one in channel["messages"]],
    }


def _api_server(host: str, secure: bool) -> Json:
    codes = {1012: ["The server ends: reconnect with `since`."]}
    for code, description in dict.fromkeys(CLOSES.values()):
        codes.setdefault(code, []).append(description)
    said = {str(code): " ".join(codes[code]) for code in sorted(codes)}
    listed = "\n".join(f"* {code}: {description}" for code, description in said.items())
    return {
        "host": host,
        "protocol": "wss" if secure else "ws",
        "title": "The API's WebSockets",
        "description": f"Close codes, each with a reason in description:\n\n{listed}",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("token", "session")],
        "x-close-codes": said,
    }


def _redis_server(url: str) -> Json:
    parts = urlsplit(url)
    return {
        "host": parts.netloc.rpartition("@")[2] or "localhost",
        "pathname": parts.path or "/0",
        "protocol": parts.scheme,
        "title": "Redis",
        "description": "A mirror of what is in the log: it may be emptied or restarted at any time.",
    }


def _components(messages: dict[str, _Message], carried: dict[str, list[str]]) -> Json:
    kept = {f"snapshot.{n}.redis": schemas.snapshot_schema(c, on_socket=False) for n, c in carried.items()}
    return {
        "messages": {
            name: {
                "name": name,
                "title": one.title,
                "payload": schemas.ref(name),
                "examples": [{"payload": one.example}],
            }
            for name, one in messages.items()
        },
        "schemas": schemas.PARTS | {name: one.payload for name, one in messages.items()} | kept,
        "parameters": PARAMETERS,
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "`Authorization: Bearer TOKEN`, of any scope. A token never stands in a URL.",
            },
            "session": {
                "type": "httpApiKey",
                "in": "cookie",
                "name": COOKIE,
                "description": "The cookie of `POST /auth/login`, for browsers.",
            },
        },
    }
