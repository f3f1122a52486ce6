"""The channels: which events each carries, and how its messages and snapshots look. Pure, no I/O.

    market_data:{symbol}     closed candles of every timeframe and their revisions, of all venues
    bot_signals:{bot_id}     signals, executed or refused
    trade_updates:{bot_id}   orders, fills, orders that ended otherwise
    system_events            changes of bots, dead letters, holes of sources, starts and stops of workers

A *message* is a JSON object: `seq`, the event's `type`, its `venue` and `symbol`, its fields as all doors
show them, and its `cause`. `seq` counts the messages of a channel from 1 without a hole. A *snapshot* is
`{"seq": …, "messages": […]}`: the last `seq`, and the newest message of each kind: of candles the last of
each venue and timeframe, else the last of each type. A forming candle has the `seq` before it, and
`"forming": true`.

What a channel carries is never changed, since `seq` is counted again where old messages are read from the
log: a new kind of message gets a channel of its own.
"""

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from infra.present import event_to_json
from streams.events import (
    BotChanged,
    Candle,
    Cause,
    DeadLetter,
    Event,
    Fill,
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
_SYSTEM = (BotChanged, DeadLetter, SourceHole, WorkerStarted, WorkerStopped)
_json = msgspec.json.Encoder()


class Publication(NamedTuple):
    """One event on one channel, before it has its `seq`."""

    channel: str
    kind: str
    """What it replaces in the snapshot,"""
    rank: str
    """unless the one there ranks higher: of candles the later end, which sorts as text."""
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
            self._put(_kind(head.type, head.venue, head.timeframe), head.end, text)

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
    end: str = ""


_snapshot = msgspec.json.Decoder(_Wire)
_head = msgspec.json.Decoder(_Head)


def snapshot_key(channel: str) -> str:
    return f"{channel}:snapshot"


def market_channel(symbol: str) -> str:
    return f"market_data:{symbol}"


def message(seq: int, body: bytes) -> bytes:
    return b'{"seq":%d,%b' % (seq, body)


def publication(market: str, event: Event, cause: Cause | None) -> Publication | None:
    """The event on its channel, or None for one that has none."""
    venue, _, symbol = market.partition(":")
    channel = _channel(symbol, event)
    if channel is None:
        return None
    kind, rank = event_tag(event), ""
    fields = event_to_json(event)
    if isinstance(event, Candle):
        kind, rank = _kind(kind, venue, event.timeframe), fields["end"]
        fields["forming"] = False
    fields["cause"] = None if cause is None else str(cause)
    return Publication(channel, kind, rank, _body(event, venue, symbol, fields))


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


def _channel(symbol: str, event: Event) -> str | None:
    if isinstance(event, Candle):
        return market_channel(symbol)
    if isinstance(event, Signal):
        return f"bot_signals:{event.bot_id}"
    if isinstance(event, _TRADE_UPDATES):
        return f"trade_updates:{event.bot_id}"
    return SYSTEM_EVENTS if isinstance(event, _SYSTEM) else None


def _kind(tag: str, venue: str, timeframe: str) -> str:
    return f"{tag} {venue} {timeframe}" if timeframe and tag == event_tag(Candle) else tag
