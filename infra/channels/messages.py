"""The channels: which events each carries, and how its messages and snapshots look. Pure, no I/O.

    market_data:{symbol}     closed candles of every timeframe and their revisions, of all venues
    bot_signals:{bot_id}     signals, executed or refused
    trade_updates:{bot_id}   orders, fills, orders that ended otherwise
    bot_status:{bot_id}      changes of the bot, its signals, orders, fills, orders that ended otherwise
    portfolio:{bot_id}       fills and marks of the bot: of an `Equity`, its own row alone, columns as values
    system_events            changes of bots, dead letters, holes of sources, starts and stops of workers

An event may be on several channels, and is counted on each of them by itself. A *message* is a JSON object:
`seq`, the event's `type`, its `venue` and `symbol`, its fields as all doors show them, and its `cause`. `seq`
counts the messages of a channel from 1 without a hole. A *snapshot* is `{"seq": …, "messages": […]}`: the
last `seq`, and the newest message of each kind: of candles the last of each venue and timeframe, else the
last of each type. A forming candle has the `seq` before it, and `"forming": true`.

What a channel carries is never changed, since `seq` is counted again where old messages are read from the
log: a new kind of message gets a channel of its own.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from infra.present.fields import per_row
from infra.present.values import event_to_json
from streams.causes import Cause
from streams.events import (
    BotChanged,
    Candle,
    DeadLetter,
    Equity,
    Event,
    Fill,
    IdsReused,
    Order,
    OrderClosed,
    Signal,
    SourceHole,
    WorkerStarted,
    WorkerStopped,
)
from streams.journal import event_tag

SYSTEM_EVENTS = "system_events"
GAP = "gap"
_TRADE_UPDATES = (Order, Fill, OrderClosed)
_SYSTEM = (BotChanged, DeadLetter, SourceHole, IdsReused, WorkerStarted, WorkerStopped)
_MARK = per_row(Equity)
_CANDLE = event_tag(Candle)
_json = msgspec.json.Encoder()


class Publication(NamedTuple):
    """One event on one channel, before it has its `seq`."""

    channel: str
    kind: str
    """It replaces the message of its kind in the snapshot, unless that one ranks higher."""
    rank: str
    """Of candles their timestamp, which sorts as text; else empty."""
    body: bytes
    """The message without its head, see `message`."""


class Snapshot(Struct):
    """The newest of a channel. `newest`: by kind, rank and message."""

    seq: int = 0
    newest: dict[str, tuple[str, bytes]] = msgspec.field(default_factory=dict)

    def add(self, publication: Publication) -> bytes:
        """Count the publication; returns its message."""
        self.seq += 1
        text = message(self.seq, publication.body)
        self._put(publication.kind, publication.rank, text)
        return text

    def replay(self, seq: int, text: bytes) -> None:
        """Add a message that was counted before; gaps add nothing."""
        self.seq = seq
        head = _head.decode(text)
        if head.type != GAP:
            rank = head.timestamp if head.type == _CANDLE else ""
            self._put(_kind(head.type, head.venue, head.timeframe), rank, text)

    def _put(self, kind: str, rank: str, text: bytes) -> None:
        former = self.newest.get(kind)
        if former is None or former[0] <= rank:
            self.newest[kind] = (rank, text)

    def encode(self) -> bytes:
        messages = b",".join(text for _, text in self.newest.values())
        return b'{"seq":%d,"messages":[%b]}' % (self.seq, messages)

    @classmethod
    def decode(cls, text: bytes | str) -> "Snapshot":
        """Raises `msgspec.DecodeError` for what is no snapshot."""
        wire = _snapshot.decode(text)
        snapshot = cls()
        for raw in wire.messages:
            snapshot.replay(wire.seq, bytes(raw))
        snapshot.seq = wire.seq
        return snapshot


class _Wire(Struct):
    seq: int
    messages: list[Raw]


class _Head(Struct):
    """What the kind and rank of a message follow from."""

    type: str
    venue: str = ""
    timeframe: str = ""
    timestamp: str = ""


_snapshot = msgspec.json.Decoder(_Wire)
_head = msgspec.json.Decoder(_Head)


def snapshot_key(channel: str) -> str:
    return f"{channel}:snapshot"


def market_channel(symbol: str) -> str:
    return f"market_data:{symbol}"


def message(seq: int, body: bytes) -> bytes:
    return b'{"seq":%d,%b' % (seq, body)


def bot_status_channel(bot_id: int) -> str:
    return f"bot_status:{bot_id}"


def portfolio_channel(bot_id: int) -> str:
    return f"portfolio:{bot_id}"


def publications(
    market: str, event: Event, cause: Cause | None, only: str | None = None
) -> list[Publication]:
    """The event on each of its channels, or on the channel `only`; most have one or none."""
    venue, _, symbol = market.partition(":")
    if isinstance(event, Equity):
        return _marks(venue, symbol, event, cause, only)
    channels = [one for one in _channels(symbol, event) if only is None or one == only]
    if not channels:
        return []
    kind, rank = event_tag(event), ""
    fields = event_to_json(event)
    if isinstance(event, Candle):
        kind, rank = _kind(kind, venue, event.timeframe), fields["timestamp"]
        fields["forming"] = False
    fields["cause"] = None if cause is None else str(cause)
    body = _body(event, venue, symbol, fields)
    return [Publication(channel, kind, rank, body) for channel in channels]


def _marks(
    venue: str, symbol: str, event: Equity, cause: Cause | None, only: str | None
) -> list[Publication]:
    channels = [portfolio_channel(bot_id) for bot_id in event.bot_id]
    rows = range(len(channels)) if only is None else [n for n, one in enumerate(channels) if one == only]
    wanted = {name: tuple(getattr(event, name)[row] for row in rows) for name in _MARK}
    fields = event_to_json(msgspec.structs.replace(event, **wanted))
    fields["cause"] = None if cause is None else str(cause)
    found: list[Publication] = []
    for place, row in enumerate(rows):
        mark = fields | {name: fields[name][place] for name in _MARK}
        found.append(Publication(channels[row], event_tag(event), "", _body(event, venue, symbol, mark)))
    return found


def forming_body(market: str, candle: Candle) -> bytes:
    """The open candle of a market, for `message` with the channel's last `seq`."""
    venue, _, symbol = market.partition(":")
    fields = event_to_json(candle, content_only=True)
    return _body(candle, venue, symbol, fields | {"forming": True, "cause": None})


def gap_body(first: int, last: int) -> bytes:
    """The message with `seq` = `last` in place of those that the log no longer holds."""
    return _json.encode({"type": GAP, "first": first, "last": last})[1:]


def lost_body(topic: str, partition: int, first: int, last: int) -> bytes:
    """Records that the log had given up before they were counted: outside the count."""
    where = {"topic": topic, "partition": partition, "first_offset": first, "last_offset": last}
    return _json.encode({"type": GAP, **where})[1:]


def _body(event: Event, venue: str, symbol: str, fields: dict[str, Any]) -> bytes:
    head = {"type": event_tag(event)}
    if symbol:
        head |= {"venue": venue, "symbol": symbol}
    return _json.encode(head | fields)[1:]


def _channels(symbol: str, event: Event) -> list[str]:
    if isinstance(event, Candle):
        return [market_channel(symbol)]
    if isinstance(event, Signal):
        return [f"bot_signals:{event.bot_id}", bot_status_channel(event.bot_id)]
    if isinstance(event, _TRADE_UPDATES):
        channels = [f"trade_updates:{event.bot_id}", bot_status_channel(event.bot_id)]
        return [*channels, portfolio_channel(event.bot_id)] if isinstance(event, Fill) else channels
    if isinstance(event, BotChanged):
        return [SYSTEM_EVENTS, bot_status_channel(event.bot_id)]
    return [SYSTEM_EVENTS] if isinstance(event, _SYSTEM) else []


def _kind(tag: str, venue: str, timeframe: str) -> str:
    return f"{tag} {venue} {timeframe}" if timeframe and tag == _CANDLE else tag
