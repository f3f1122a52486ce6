"""What derived events mean as rows: collected in memory for a batch of records, without a database.

Most tables only grow: an event is a row, which `infra.present.rows` makes of it by the names of the table's
columns. Three tables hold the newest state (`bots`, `orders`, `bot_positions`): here their changes are
collected, and `merge_orders` and `merge_positions` apply them to the rows that the database already holds.
"""

from collections import defaultdict
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Table

from infra.db import tables
from infra.present.fields import fields
from infra.present.rows import columns, names_of, row_of
from infra.present.values import event_to_json
from streams.events import (
    BotChanged,
    Candle,
    Checkpoint,
    DeadLetter,
    Equity,
    Event,
    Fill,
    IdsReused,
    LateTick,
    Order,
    OrderClosed,
    Repeats,
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

SYSTEM_EVENTS = (DeadLetter, SourceHole, IdsReused, Repeats, WorkerStarted, WorkerStopped)
"""Events about the machinery; with `Checkpoint` the only ones that need no market."""


GROWS: dict[type[Event], Table] = {
    Candle: tables.candles,
    LateTick: tables.late_ticks,
    Signal: tables.signals,
    Fill: tables.fills,
    Checkpoint: tables.checkpoints,
}
"""Events that are a row of their own for ever."""
_ROW = {kind: row_of(kind, names_of(table.columns)) for kind, table in GROWS.items()}
_MARKS = row_of(Equity, names_of(tables.equity.columns))
_BOT = row_of(BotChanged, names_of(tables.bots.columns))
_ORDER_NAMES = ("market", *names_of(columns(Order)), *tables.CAUSE)
_ORDER = row_of(Order, _ORDER_NAMES)


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
        self._grow = {kind: (self.inserts[table].append, _ROW[kind]) for kind, table in GROWS.items()}

    def add(self, market: str, output: Output, first: int, record: Record) -> None:
        """Add the output's events from number `first` on; `record` is the one that holds it."""
        partition, offset = output.partition, output.offset
        grow = self._grow
        for place in range(first, len(output.events)):
            event, index = output.events[place], output.indexes[place]
            grows = grow.get(type(event))
            if grows is not None:
                append, row = grows
                append(row(market, event, partition, offset, index))
                if type(event) is Fill:
                    self.fills.append((market, event, (partition, offset, index)))
            elif isinstance(event, Equity):
                self.inserts[tables.equity].extend(_MARKS(market, event, partition, offset, index))
            elif isinstance(event, Order):
                row = _ORDER(market, event, partition, offset, index)
                ordered = dict(zip(_ORDER_NAMES, row, strict=True))
                ordered.update(status="pending", code="", filled=0, updated=event.timestamp)
                self.orders[event.bot_id, partition, offset, index] = ordered
            elif isinstance(event, OrderClosed):
                self.closed.append(event)
            elif isinstance(event, BotChanged):
                self.bots[event.bot_id] = _BOT(market, _without_nul(event), partition, offset, index)
            else:
                self.add_system(market, event, (partition, offset, index), record, place)

    def add_system(self, market: str, event: Any, cause: CauseKey, record: Record, place: int = 0) -> None:
        where = (record.topic, record.partition, record.offset, place, record.time_ns)
        body = msgspec.json.encode(event_to_json(event)).decode()
        self.inserts[tables.system_events].append((*where, market, event_tag(event), body, *cause))

    def order_keys(self) -> set[OrderKey]:
        """Orders of earlier batches that this one changes."""
        changes: list[Fill | OrderClosed] = [fill for _, fill, _ in self.fills]
        return {order_key(change) for change in (*changes, *self.closed)} - self.orders.keys()


def _without_nul(event: BotChanged) -> BotChanged:
    """People write into a bot's texts what PostgreSQL does not store."""
    texts = ((one.name, getattr(event, one.name)) for one in fields(BotChanged) if one.form == "text")
    return replace(event, **{name: text.replace("\0", "\ufffd") for name, text in texts if "\0" in text})


def order_key(change: Fill | OrderClosed) -> OrderKey:
    order = change.order_id
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
            row["updated"] = fill.timestamp
    for closed in changes.closed:
        row = orders.get(order_key(closed))
        if row is not None:
            row.update(status=closed.status, code=closed.code, updated=closed.timestamp)
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
                "realised_pnl": 0,
                "fees": 0,
                "cash_scale": fill.cash_scale,
            },
        )
        _grow(row, "cash_scale", fill.cash_scale, ("realised_pnl", "fees"))
        row["realised_pnl"] += fill.realised_pnl
        row["fees"] += fill.fee
        row.update(timestamp=fill.timestamp, position=fill.position, cost=fill.cost, cash=fill.cash)
        row.update(
            fee_currency=fill.fee_currency,
            size_scale=fill.size_scale,
            **dict(zip(tables.CAUSE, cause, strict=True)),
        )
    return list(rows.values())


def _grow(row: Row, scale: str, to: int, columns: tuple[str, ...]) -> None:
    """Rescale columns exactly when the market's scale has grown since the row was written."""
    if to > row[scale]:
        for column in columns:
            row[column] *= 10 ** (to - row[scale])
        row[scale] = to
