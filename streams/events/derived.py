"""Derived events: what the fold makes of the journal; and those of the machinery, of the stream `system`."""

from enum import IntFlag
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from streams.events.base import (
    BotStatus,
    Cash,
    Cashes,
    CauseField,
    Ends,
    Event,
    Int,
    Offset,
    OnStale,
    Params,
    Price,
    Raw,
    Scale,
    Size,
    Sizes,
    Sizing,
    Time,
    Timeframe,
    check_params,
)


class CandleFlag(IntFlag):
    EMPTY = 1
    INCOMPLETE = 2


class Candle(Event, frozen=True, kw_only=True, tag="candle.v1"):
    """A closed candle; `timestamp` is its end. Revision 0 is what strategies saw."""

    timestamp: Time
    timeframe: Timeframe
    revision: Int
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Size
    trades: Int
    price_scale: Scale
    size_scale: Scale
    empty: bool
    incomplete: bool
    first_offset: Offset
    last_offset: Offset


class LateTick(Event, frozen=True, kw_only=True, tag="late_tick.v1"):
    """A trade older than the horizon, or than everything known: recorded, changes nothing."""

    timestamp: Time
    price: Price
    size: Size
    price_scale: Scale
    size_scale: Scale


class Signal(Event, frozen=True, kw_only=True, tag="signal.v1"):
    """A change of the target position, executed or refused; `code`: see `projections.fold.decide.WORDS`.

    `values` are the indicators that made it, in the strategy's order. `price` is the close of the candle, and
    `candle` the cause of that candle's event; None where no candle made the signal. `resumed`: the target did
    not change, but it is not what is held, which `previous` then is.
    """

    bot_id: Int
    timestamp: Time
    timeframe: Timeframe
    target: float
    previous: float
    values: dict[str, float]
    price: Price
    price_scale: Scale
    decision: Literal["executed", "refused"]
    code: str
    origin: Literal["strategy", "external", "resumed"] = "strategy"
    candle: CauseField | None = None


class Order(Event, frozen=True, kw_only=True, tag="order.v1"):
    """A paper market order. Its id is its cause; `signal` is the cause of the signal behind it, if any."""

    bot_id: Int
    timestamp: Time
    side: Literal["buy", "sell"]
    size: Size
    price: Price
    price_scale: Scale
    size_scale: Scale
    reason: str
    signal: CauseField | None = None


class Fill(Event, frozen=True, kw_only=True, tag="fill.v1"):
    """What an order did to its bot; position, cost and cash are those after it.

    `cost` is the entry value of the position in the settle currency; cash + cost is what the bot has without
    unrealised profit. `realised_pnl` is gross of fees. A round trip is what lies between two moments without
    a position; a bot's are numbered from 1: `opens` is the one that this fill opens, `closes` the one that it
    closes, 0 for none.
    """

    bot_id: Int
    timestamp: Time
    order_id: CauseField
    side: Literal["buy", "sell"]
    price: Price
    size: Size
    fee: Cash
    fee_currency: str
    realised_pnl: Cash
    position: Size
    cost: Cash
    cash: Cash
    price_scale: Scale
    size_scale: Scale
    cash_scale: Scale
    row: Annotated[Int, Meta(description="row in the journal record; not content", extra={"content": False})]
    opens: Int = 0
    closes: Int = 0


class OrderClosed(Event, frozen=True, kw_only=True, tag="order_closed.v1"):
    """An order that ended without a fill, or with less than its size."""

    bot_id: Int
    timestamp: Time
    order_id: CauseField
    status: Literal["cancelled", "rejected"]
    code: str


class BotChanged(Event, frozen=True, kw_only=True, tag="bot_changed.v1"):
    """The whole specification and status of a bot after a command or a failure, with who and why.

    `steps`: whether its strategy steps with each candle; `since`: the cause of the change from which on its
    indicators count; `warmed`: so many candles before it they are warmed on.
    """

    bot_id: Int
    timestamp: Time
    market: str
    timeframe: Timeframe
    strategy: str
    code_hash: str
    params: Params
    sizing: Sizing
    short: bool
    initial_cash: Cash
    cash_scale: Scale
    currency: str
    status: BotStatus
    code: str
    message: str
    who: str
    steps: bool
    since: CauseField
    name: str = ""
    tags: tuple[str, ...] = ()
    on_stale: OnStale = "hold"
    warmed: Int = 0

    def __post_init__(self) -> None:
        check_params(self.params)


class Equity(Event, frozen=True, kw_only=True, tag="equity.v1"):
    """Marks of the bots of one market at a candle's close, as columns; only bots whose mark changed.

    `mark_price` is that close. `peak`: the highest equity of the bot at any mark so far.
    """

    timestamp: Time
    mark_price: Price
    bot_id: tuple[Int, ...]
    cash: Cashes
    position: Sizes
    equity: Cashes
    unrealised_pnl: Cashes
    peak: Cashes
    price_scale: Scale
    size_scale: Scale
    cash_scale: Scale

    def __post_init__(self) -> None:
        columns = (self.bot_id, self.cash, self.position, self.equity, self.unrealised_pnl, self.peak)
        if len(set(map(len, columns))) > 1:
            raise ValueError(f"marks of {len(self.bot_id)} bots in columns of {[len(c) for c in columns]}")


class Checkpoint(Event, frozen=True, kw_only=True, tag="checkpoint.v1"):
    """Chained SHA-256 of the journal partition's records up to its cause, and of the fold's state there.

    `state_version` is the form of that state.
    """

    journal_sha256: Annotated[str, Meta(extra={"content": False})]
    state_sha256: Annotated[str, Meta(extra={"content": False})]
    state_version: Annotated[int, Meta(ge=1, le=2**63 - 1, extra={"content": False})]


class DeadLetter(Event, frozen=True, kw_only=True, tag="dead_letter.v1"):
    """A record that could not be decoded or folded, or a row or message that never became one.

    `topic`, `partition` and `offset` name a record; where there is none, offset is −1, and `source` and
    `sequence` (a row of a file, or a count) say where it came from. `venue_id`: the venue's own id of the
    row. `size` bytes with this `sha256`, of which `data` are the first 64 kB.
    """

    topic: str
    partition: Int
    offset: Offset = -1
    source: str = ""
    sequence: Int = -1
    market: str = ""
    venue_id: str = ""
    reason: str
    sha256: str
    size: Int
    data: Raw


class SourceHole(Event, frozen=True, kw_only=True, tag="source_hole.v1"):
    """Records of a source that never arrived: `expected` was due, `got` came."""

    source: str
    epoch: Int
    expected: Int
    got: Int


class IdsReused(Event, frozen=True, kw_only=True, tag="ids_reused.v1"):
    """So many `trades` of a record have ids that other trades of their market have: all are kept. `venue_id`
    and `timestamp` are those of the first. Not content: in other records the same trades are told otherwise.
    """

    trades: Annotated[Int, Meta(extra={"content": False})]
    venue_id: Annotated[str, Meta(extra={"content": False})]
    timestamp: Annotated[Int, Meta(extra={"unit": "time", "content": False})]


class Repeats(Event, frozen=True, kw_only=True, tag="repeats.v1"):
    """So many `trades` of a record were folded before, and count for nothing. Not content: in other records
    the same trades are told otherwise."""

    trades: Annotated[Int, Meta(extra={"content": False})]


class WorkerStarted(Event, frozen=True, kw_only=True, tag="worker_started.v1"):
    """`ends`: of the derived streams that held anything; behind there, workers wrote every record."""

    worker: str
    epoch: Int
    at: Time
    ends: Ends | None = None


class WorkerStopped(Event, frozen=True, kw_only=True, tag="worker_stopped.v1"):
    worker: str
    epoch: Int
    at: Time
    reason: str


DerivedEvent: TypeAlias = (
    Candle
    | LateTick
    | Signal
    | Order
    | Fill
    | OrderClosed
    | BotChanged
    | Equity
    | Checkpoint
    | DeadLetter
    | SourceHole
    | IdsReused
    | Repeats
    | WorkerStarted
    | WorkerStopped
)
