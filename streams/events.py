"""Every event of the system, frozen, with its version in its tag.

Two families. *Journal events* are what arrives from outside: `Market`, `TickBatch`, `Clock`, `Gap`,
`GapFilled` and the bot commands. *Derived events* are what the fold makes of them: `Candle`, `LateTick`,
`Signal`, `Order`, `Fill`, `OrderClosed`, `BotChanged`, `Equity`, `Checkpoint`. The events of the `system`
stream are about the machinery.

Money, prices and sizes are integers; the decimal scale stands in a field of the same event, so that an
event can be read alone. `Unit` says, field by field, how a door prints the integer and whether the field
is *content* (design rule 3: causes, positions and journal ranges are not).

A change of form is a new tag and an upcaster in `streams.codec`; a recorded event is never rewritten.
"""

from enum import IntEnum, IntFlag
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from streams.causes import Cause

MINUTE_NS = 60_000_000_000
TIMEFRAMES_NS: dict[str, int] = {
    "1m": MINUTE_NS,
    "5m": 5 * MINUTE_NS,
    "15m": 15 * MINUTE_NS,
    "1h": 60 * MINUTE_NS,
    "4h": 240 * MINUTE_NS,
    "1d": 1440 * MINUTE_NS,
}
E8 = 100_000_000
"""Rates (fees, slippage) are in units of 1e-8: one basis point is 10,000."""

Time = Annotated[int, Meta(description="ns since 1970-01-01 UTC", extra={"unit": "time"})]
Price = Annotated[int, Meta(description="in 10**-price_scale", extra={"unit": "price"})]
Size = Annotated[int, Meta(description="in 10**-size_scale", extra={"unit": "size"})]
Cash = Annotated[int, Meta(description="in 10**-cash_scale of settle", extra={"unit": "cash"})]
Rate = Annotated[int, Meta(description="in 1e-8 of the value", extra={"unit": "rate"})]
Offset = Annotated[int, Meta(description="journal offset; not content", extra={"content": False})]
Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]
Contract = Literal["spot", "linear", "inverse"]
Closed = Literal["right", "left"]
BotStatus = Literal["stopped", "running", "halted"]


CauseField = Annotated[Cause, Meta(description="a cause; not content", extra={"content": False})]


class Event(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """Base of all events; the tag is the wire name and version."""


class RowKind(IntEnum):
    """Kinds of rows in a `TickBatch`: trades by the taker's side, and clock rows."""

    TRADE = 0
    BUY = 1
    SELL = 2
    CLOCK = 3


BACKFILL = 0x80
"""Bit of a row's kind: the trade was fetched afterwards; it revises candles and never fills an order."""


class RowMarket(Struct, frozen=True, array_like=True):
    """One market of a batch's table: its key `venue:symbol` and the scales of its rows."""

    key: str
    price_scale: int
    size_scale: int


# ---------------------------------------------------------------- journal


class Market(Event, frozen=True, tag="market.v1"):
    """Specification of a market, or a change of it; scales may only grow.

    The value of a position is, in the settle currency: spot and linear `size × price × multiplier`,
    inverse `size × multiplier / price` (BitMEX: "XBT value = contracts / price").
    """

    venue: str
    symbol: str
    base: str
    quote: str
    settle: str
    contract: Contract
    price_scale: int
    size_scale: int
    cash_scale: int
    price_step: Price
    size_step: Size
    min_size: Size
    multiplier: int = 1
    multiplier_scale: int = 0
    closed: Closed = "right"
    grace_ms: int = 0
    horizon_min: int = 180
    """A late tick revises candles whose minute ended less than this many minutes before the watermark."""
    fee: Rate = 0
    slippage: Rate = 0

    @property
    def key(self) -> str:
        return f"{self.venue}:{self.symbol}"


class TickBatch(Event, frozen=True, tag="ticks.v1"):
    """Rows that arrived together, as little-endian columns of equal length, in their order of arrival.

    `market`: uint16 index into `markets`, empty when there is one market. `kind`: uint8 `RowKind`, with the
    bit `BACKFILL`. `time`: int64 ns of the venue. `price`, `size`: int64 at the market's scales (0 in clock
    rows). `id`: int64 venue trade ids, −1 where a row has none, empty when none has. `first_row` is the
    number of the first row in the file it came from, −1 for other sources.

    A clock row promises that its source has delivered everything of its market up to its time.
    """

    markets: tuple[RowMarket, ...]
    rows: int
    kind: bytes
    time: bytes
    price: bytes
    size: bytes
    market: bytes = b""
    id: bytes = b""
    first_row: int = -1


class Clock(Event, frozen=True, tag="clock.v1"):
    """A clock row without ticks, for several markets."""

    time: Time
    markets: tuple[str, ...]


class Gap(Event, frozen=True, tag="gap.v1"):
    """The source says that trades of (start, end] may be missing; candles over it are `incomplete`."""

    market: str
    start: Time
    end: Time
    reason: str


class GapFilled(Event, frozen=True, tag="gap_filled.v1"):
    """The backfill of (start, end] is complete."""

    market: str
    start: Time
    end: Time


class Sizing(Struct, frozen=True):
    """How a target of ±1 becomes a size.

    amount: `value` in 10**-scale base units or contracts; cash: in 10**-scale of the settle currency;
    equity: fraction of equity in 10**-scale.
    """

    mode: Literal["amount", "cash", "equity"]
    value: int
    scale: int


Params: TypeAlias = dict[str, int | float | bool | str]


class Command(Event, frozen=True):
    """Base of bot commands: who asked, when, and a request id which makes a repeat harmless."""

    request: str
    who: str
    at: Time


class RegisterBot(Command, frozen=True, tag="register_bot.v1"):
    """In partition 0 only: the n-th registration is bot n."""

    market: str


class CreateBot(Command, frozen=True, tag="create_bot.v1"):
    bot_id: int
    market: str
    timeframe: Timeframe
    strategy: str
    code_hash: str
    params: Params
    sizing: Sizing
    short: bool
    cash: Cash
    cash_scale: int
    start: bool = False


class StartBot(Command, frozen=True, tag="start_bot.v1"):
    """`code_hash` accepts strategy code that differs from the recorded; None keeps the recorded."""

    bot_id: int
    code_hash: str | None = None


class StopBot(Command, frozen=True, tag="stop_bot.v1"):
    """Pending orders are cancelled and the position is kept, unless `flatten` closes it at the next trade."""

    bot_id: int
    flatten: bool = False


class HaltBot(Command, frozen=True, tag="halt_bot.v1"):
    """`bot_id` None halts every bot of the partition. `code` is a short name of the reason."""

    bot_id: int | None
    reason: str
    code: str = "halted"


class ReconfigureBot(Command, frozen=True, tag="reconfigure_bot.v1"):
    """Fields that are None stay. Indicators begin anew; the position stays."""

    bot_id: int
    params: Params | None = None
    code_hash: str | None = None
    sizing: Sizing | None = None
    short: bool | None = None


class ExternalSignal(Command, frozen=True, tag="external_signal.v1"):
    """A target position that a person or another program decided."""

    bot_id: int
    target: float


JournalEvent: TypeAlias = (
    Market
    | TickBatch
    | Clock
    | Gap
    | GapFilled
    | RegisterBot
    | CreateBot
    | StartBot
    | StopBot
    | HaltBot
    | ReconfigureBot
    | ExternalSignal
)


# ---------------------------------------------------------------- derived


class CandleFlag(IntFlag):
    EMPTY = 1
    INCOMPLETE = 2


class Candle(Event, frozen=True, tag="candle.v1"):
    """A closed candle, labelled with its end. Revision 0 is what strategies saw."""

    timeframe: Timeframe
    end: Time
    revision: int
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Size
    trades: int
    price_scale: int
    size_scale: int
    empty: bool
    incomplete: bool
    first_offset: Offset
    last_offset: Offset


class LateTick(Event, frozen=True, tag="late_tick.v1"):
    """A trade older than the horizon, or than everything known: recorded, changes nothing."""

    time: Time
    price: Price
    size: Size
    price_scale: int
    size_scale: int


class Signal(Event, frozen=True, tag="signal.v1"):
    """A change of the target position, executed or refused; `code`: see `projections.fold.decide.WORDS`.

    `values` are the indicators that made it, in the strategy's order. `price` is the candle's close.
    """

    bot_id: int
    time: Time
    timeframe: str
    target: float
    previous: float
    values: dict[str, float]
    price: Price
    price_scale: int
    decision: Literal["executed", "refused"]
    code: str
    origin: Literal["strategy", "external"] = "strategy"


class Order(Event, frozen=True, tag="order.v1"):
    """A paper market order. Its id is its cause; `signal` is the cause of the signal behind it, if any."""

    bot_id: int
    time: Time
    side: Literal["buy", "sell"]
    size: Size
    price: Price
    price_scale: int
    size_scale: int
    reason: str
    signal: CauseField | None = None


class Fill(Event, frozen=True, tag="fill.v1"):
    """What an order did to its bot; position, cost and cash are those after it.

    `cost` is the entry value of the position in the settle currency; cash + cost is what the bot has without
    unrealised profit. `realised` is gross of fees.
    """

    bot_id: int
    time: Time
    order: CauseField
    side: Literal["buy", "sell"]
    price: Price
    size: Size
    fee: Cash
    realised: Cash
    position: Size
    cost: Cash
    cash: Cash
    currency: str
    price_scale: int
    size_scale: int
    cash_scale: int
    row: Annotated[int, Meta(description="row in the journal record; not content", extra={"content": False})]


class OrderClosed(Event, frozen=True, tag="order_closed.v1"):
    """An order that ended without a fill, or with less than its size."""

    bot_id: int
    time: Time
    order: CauseField
    status: Literal["cancelled", "rejected"]
    code: str


class BotChanged(Event, frozen=True, tag="bot_changed.v1"):
    """The whole specification and status of a bot after a command or a failure, with who and why."""

    bot_id: int
    time: Time
    market: str
    timeframe: Timeframe
    strategy: str
    code_hash: str
    params: Params
    sizing: Sizing
    short: bool
    initial_cash: Cash
    cash_scale: int
    currency: str
    status: BotStatus
    code: str
    words: str
    who: str


class Equity(Event, frozen=True, tag="equity.v1"):
    """Marks of the bots of one market at a candle's close, as columns; only bots whose mark changed."""

    time: Time
    bot_id: tuple[int, ...]
    cash: Annotated[tuple[int, ...], Meta(extra={"unit": "cash"})]
    position: Annotated[tuple[int, ...], Meta(extra={"unit": "size"})]
    equity: Annotated[tuple[int, ...], Meta(extra={"unit": "cash"})]
    cash_scale: int
    size_scale: int


class Checkpoint(Event, frozen=True, tag="checkpoint.v1", omit_defaults=True):
    """Chained SHA-256 of the journal partition's records up to its cause, and of the fold's state there.

    `state_version` is the form of that state; version 1 is not written, as in the checkpoints of its time.
    """

    journal_sha256: Annotated[str, Meta(extra={"content": False})]
    state_sha256: Annotated[str, Meta(extra={"content": False})]
    state_version: Annotated[int, Meta(ge=1, extra={"content": False})] = 1


class DeadLetter(Event, frozen=True, tag="dead_letter.v1"):
    """A record that could not be decoded or folded; `topic`, `partition` and `offset` name it."""

    topic: str
    partition: int
    offset: Offset
    error: str


class SourceHole(Event, frozen=True, tag="source_hole.v1"):
    """Records of a source that never arrived: `expected` was due, `got` came."""

    source: str
    epoch: int
    expected: int
    got: int


class WorkerStarted(Event, frozen=True, tag="worker_started.v1"):
    worker: str
    epoch: int
    at: Time


class WorkerStopped(Event, frozen=True, tag="worker_stopped.v1"):
    worker: str
    epoch: int
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
    | WorkerStarted
    | WorkerStopped
)
