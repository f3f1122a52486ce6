"""What derived events mean as rows: collected in memory for a batch of records, without a database.

Most tables only grow: an event is a row, a tuple in the order of the table's columns. Where that is the
order of the event's fields, `astuple` makes it, several times faster than picking them by name; a test
compares them. Three tables hold the newest state (`bots`, `orders`, `bot_positions`): here their changes are
collected, and `merge_orders` and `merge_positions` apply them to the rows that the database already holds.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import asdict, astuple
from sqlalchemy import Table

from infra.db import tables
from infra.present.values import event_to_json
from streams.events import (
    BotChanged,
    Candle,
    Checkpoint,
    DeadLetter,
    Equity,
    Fill,
    LateTick,
    Order,
    OrderClosed,
    Signal,
    SourceHole,
    WorkerStarted,
    WorkerStopped,
)
from streams.journal import event_tag
from streams.records import Output, Record

CauseKey = tuple[int, int, int]
OrderKey = tuple[int, int, int, int]
"""bot_id and the order's cause."""
Row = dict[str, Any]

SYSTEM_EVENTS = (DeadLetter, SourceHole, WorkerStarted, WorkerStopped)
"""Events about the machinery; with `Checkpoint` the only ones that need no market."""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Changes:
    """What a batch of records does to the tables."""

    def __init__(self) -> None:
        self.inserts: defaultdict[Table, list[tuple[Any, ...]]] = defaultdict(list)
        self.markets: set[str] = set()
        """Markets of which anything was derived."""
        self.bots: dict[int, tuple[Any, ...]] = {}
        self.orders: dict[OrderKey, Row] = {}
        """Orders made in this batch; those made earlier are the caller's to load."""
        self.fills: list[tuple[str, Fill, CauseKey]] = []
        self.closed: list[OrderClosed] = []
        self._add: dict[type, Callable[[str, Any, CauseKey], None]] = {
            Candle: self._candle,
            LateTick: self._late_tick,
            Signal: self._signal,
            Order: self._order,
            Fill: self._filled,
            OrderClosed: self._order_closed,
            BotChanged: self._bot_changed,
            Equity: self._equity,
            Checkpoint: self._checkpoint,
        }

    def add(self, market: str, output: Output, first: int, record: Record) -> None:
        """Add the output's events from number `first` on; `record` is the one that holds it."""
        partition, offset = output.partition, output.offset
        handlers = self._add
        for place in range(first, len(output.events)):
            event = output.events[place]
            cause = (partition, offset, output.indexes[place])
            add = handlers.get(type(event))
            if add is None:
                self.add_system(market, event, cause, record, place)
            else:
                add(market, event, cause)

    def add_system(self, market: str, event: Any, cause: CauseKey, record: Record, place: int = 0) -> None:
        where = (record.topic, record.partition, record.offset, place, record.time_ms * 1_000_000)
        body = _json(event_to_json(event))
        self.inserts[tables.system_events].append((*where, market, event_tag(event), body, *cause))

    def order_keys(self) -> set[OrderKey]:
        """Orders of earlier batches that this one changes."""
        changes: list[Fill | OrderClosed] = [fill for _, fill, _ in self.fills]
        return {order_key(change) for change in (*changes, *self.closed)} - self.orders.keys()

    def _candle(self, market: str, event: Candle, cause: CauseKey) -> None:
        self.inserts[tables.candles].append((market, *astuple(event), *cause))

    def _late_tick(self, market: str, event: LateTick, cause: CauseKey) -> None:
        self.inserts[tables.late_ticks].append((market, *astuple(event), *cause))

    def _signal(self, market: str, event: Signal, cause: CauseKey) -> None:
        head = (market, event.bot_id, event.time, event.timeframe, event.target, event.previous)
        price = (_json(event.values), event.price, event.price_scale)
        decision = (event.decision, event.code, event.origin)
        self.inserts[tables.signals].append((*head, *price, *decision, *cause))

    def _order(self, market: str, event: Order, cause: CauseKey) -> None:
        row = asdict(event)
        signal = row.pop("signal")
        row["time_ns"] = row.pop("time")
        for part in ("partition", "offset", "index"):
            row[f"signal_{part}"] = getattr(signal, part, None)
        row.update(zip(tables.CAUSE, cause, strict=True))
        row.update(market=market, status="pending", code="", filled=0, updated_ns=event.time)
        self.orders[(event.bot_id, *cause)] = row

    def _filled(self, market: str, event: Fill, cause: CauseKey) -> None:
        bot_id, time, order, *rest = astuple(event)
        self.inserts[tables.fills].append((market, bot_id, time, *astuple(order), *rest, *cause))
        self.fills.append((market, event, cause))

    def _order_closed(self, _market: str, event: OrderClosed, _cause: CauseKey) -> None:
        self.closed.append(event)

    def _bot_changed(self, _market: str, event: BotChanged, cause: CauseKey) -> None:
        sizing = event.sizing
        spec = (event.timeframe, event.strategy, event.code_hash, _json(event.params))
        money = (event.short, event.initial_cash, event.cash_scale, event.currency)
        words, who = (text.replace("\0", "\ufffd") for text in (event.words, event.who))
        state = (event.status, event.code, words, who)
        head = (event.bot_id, event.time, event.market)
        self.bots[event.bot_id] = (
            *(*head, *spec, sizing.mode, sizing.value, sizing.scale),
            *(*money, *state, *cause),
        )

    def _equity(self, market: str, event: Equity, cause: CauseKey) -> None:
        time, scales = event.time, (event.cash_scale, event.size_scale)
        marks = zip(event.bot_id, event.cash, event.position, event.equity, strict=True)
        self.inserts[tables.equity].extend(
            (market, bot, time, cash, position, equity, *scales, *cause)
            for bot, cash, position, equity in marks
        )

    def _checkpoint(self, _market: str, event: Checkpoint, cause: CauseKey) -> None:
        self.inserts[tables.checkpoints].append((event.journal_sha256, event.state_sha256, *cause))


def order_key(change: Fill | OrderClosed) -> OrderKey:
    order = change.order
    return (change.bot_id, order.partition, order.offset, order.index)


def merge_orders(changes: Changes, stored: dict[OrderKey, Row]) -> list[Row]:
    """Rows of all orders that a batch made or changed; `stored` holds those of `changes.order_keys()`.

    An order that is neither made here nor stored stood before the beginning of the log; it stays unknown,
    and its fills speak for themselves.
    """
    orders = stored | changes.orders
    for _, fill, _ in changes.fills:
        row = orders.get(order_key(fill))
        if row is not None:
            _grow(row, "size_scale", fill.size_scale, ("size", "filled"))
            row["filled"] += fill.size * 10 ** (row["size_scale"] - fill.size_scale)
            if row["status"] in ("pending", "partial"):
                row["status"] = "filled" if row["filled"] >= row["size"] else "partial"
            row["updated_ns"] = fill.time
    for closed in changes.closed:
        row = orders.get(order_key(closed))
        if row is not None:
            row.update(status=closed.status, code=closed.code, updated_ns=closed.time)
    return list(orders.values())


def merge_positions(changes: Changes, stored: dict[int, Row]) -> list[Row]:
    """Rows of the bots that a batch's fills touched; `stored` holds their rows before it, by bot id."""
    rows = dict(stored)
    for market, fill, cause in changes.fills:
        row = rows.setdefault(
            fill.bot_id,
            {
                "bot_id": fill.bot_id,
                "market": market,
                "realised": 0,
                "fees": 0,
                "cash_scale": fill.cash_scale,
            },
        )
        _grow(row, "cash_scale", fill.cash_scale, ("realised", "fees"))
        row["realised"] += fill.realised
        row["fees"] += fill.fee
        row.update(time_ns=fill.time, position=fill.position, cost=fill.cost, cash=fill.cash)
        row.update(
            currency=fill.currency, size_scale=fill.size_scale, **dict(zip(tables.CAUSE, cause, strict=True))
        )
    return list(rows.values())


def _grow(row: Row, scale: str, to: int, columns: tuple[str, ...]) -> None:
    """Rescale columns exactly when the market's scale has grown since the row was written."""
    if to > row[scale]:
        for column in columns:
            row[column] *= 10 ** (to - row[scale])
        row[scale] = to
