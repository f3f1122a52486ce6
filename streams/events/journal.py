"""Journal events: what arrives from outside."""

from enum import IntEnum
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from streams.events.base import (
    Cash,
    Event,
    Int,
    OnStale,
    Params,
    Price,
    Prices,
    Rate,
    Scale,
    Size,
    Sizes,
    Sizing,
    Time,
    Timeframe,
    TradeId,
    check_params,
)
from streams.topics import SYMBOL, VENUE

Contract = Literal["spot", "linear", "inverse"]
Closed = Literal["right", "left"]
MarketStatus = Literal["trading", "halted", "delisted"]
FeedState = Literal["live", "catching_up", "stale", "down", "halted"]


_END = r"(?![\s\S])"
Venue = Annotated[str, Meta(pattern=f"^{VENUE}{_END}")]
Symbol = Annotated[str, Meta(pattern=f"^{SYMBOL}{_END}")]


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
    price_scale: Scale
    size_scale: Scale


class Genesis(Event, frozen=True, kw_only=True, tag="genesis.v1"):
    """Record 0 of a journal partition. Of several the first counts; partition 0's `home` is the home's.

    `home`: 128 bits, hexadecimal. `rules`: number of the fold's rules that the journal begins with. A copy
    names the home that it was copied from, and the chain of the source's partition where the copy ends.
    `sha256` is that of the other fields (`streams.genesis`), so that damage is known for what it is.
    """

    home: str
    partitions: Int
    rules: Int
    source_home: str = ""
    source_sha256: str = ""
    sha256: str


class Rules(Event, frozen=True, kw_only=True, tag="rules.v1"):
    """From here on the journal is folded by rules `number`; `sha256` is that of the number's digits."""

    number: Int
    sha256: str


class Market(Event, frozen=True, kw_only=True, tag="market.v1"):
    """Specification of a market, or a change of it; scales may only grow.

    The value of a position is, in the settle currency: spot and linear `size × price × multiplier`,
    inverse `size × multiplier / price` (BitMEX: "XBT value = contracts / price"). `venue_id` is the venue's
    own name of it.
    """

    venue: Venue
    symbol: Symbol
    base: str
    quote: str
    settle: str
    contract: Contract
    price_scale: Scale
    size_scale: Scale
    cash_scale: Scale
    price_step: Price
    size_step: Size
    min_size: Size
    multiplier: Annotated[Int, Meta(extra={"unit": "multiplier"})] = 1
    multiplier_scale: Scale = 0
    closed: Closed = "right"
    grace_ms: Int = 0
    horizon_min: Int = 180
    """A late tick revises candles whose minute ended less than this many minutes before the watermark."""
    fee: Rate = 0
    slippage: Rate = 0
    status: MarketStatus = "trading"
    venue_id: str = ""

    @property
    def key(self) -> str:
        return f"{self.venue}:{self.symbol}"


class TickBatch(Event, frozen=True, kw_only=True, tag="ticks.v1"):
    """Rows that arrived together, as little-endian columns of equal length, in their order of arrival.

    `market`: uint16 index into `markets`, empty when there is one market. `kind`: uint8 `RowKind`, with the
    bit `BACKFILL`. `time`: int64 ns of the venue. `price`, `size`: int64 at the market's scales (0 in clock
    rows). `id`: venue trade ids of `id_bits` 64 (int64, −1 where a row has none) or 128 (two uint64, the low
    one first; all ones where a row has none), empty when none has. `first_row` is the number of the first row
    in the file it came from, −1 for other sources. `received`: ns when the rows were received, 0 where that
    means nothing.

    A clock row promises that its source has delivered everything of its market up to its time.
    """

    markets: tuple[RowMarket, ...]
    rows: Int
    kind: bytes
    time: bytes
    price: bytes
    size: bytes
    market: bytes = b""
    id: bytes = b""
    id_bits: Literal[64, 128] = 64
    first_row: Int = -1
    received: Time = 0


class Clock(Event, frozen=True, kw_only=True, tag="clock.v1"):
    """A clock row without ticks, for several markets."""

    time: Time
    markets: tuple[str, ...]


class Gap(Event, frozen=True, kw_only=True, tag="gap.v1"):
    """The source says that trades of (start, end] may be missing; candles over it are `incomplete`.

    `final`: they can't be had from the source any more. Where the source's ids tell which are missing,
    it is those from `first_id` to `last_id`.
    """

    market: str
    start: Time
    end: Time
    reason: str
    final: bool = False
    first_id: TradeId = -1
    last_id: TradeId = -1


class GapFilled(Event, frozen=True, kw_only=True, tag="gap_filled.v1"):
    """The backfill of (start, end] is complete."""

    market: str
    start: Time
    end: Time


class IdsReset(Event, frozen=True, kw_only=True, tag="ids_reset.v1"):
    """Somebody says that the venue's trade ids began anew behind its trade of the time `since`, the last that
    is known: ids from before say nothing of those that come. `who`, when (`at`) and why are for the audit."""

    market: str
    since: Time
    who: str
    at: Time
    reason: str = ""


class Bars(Event, frozen=True, kw_only=True, tag="bars.v1"):
    """Closed candles of a market and timeframe as columns, oldest first: history that a bot warms on.

    `timestamp`: their ends. `origin`: whose they are; the market's own are those of revision 0. `warm_up`:
    the command that names it lets its bot step through them, in the order of the records that carry it.
    """

    market: str
    timeframe: Timeframe
    timestamp: Annotated[tuple[Int, ...], Meta(extra={"unit": "time"})]
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Sizes
    price_scale: Scale
    size_scale: Scale
    origin: Literal["market", "venue", "file"] = "market"
    warm_up: str = ""


class Feed(Event, frozen=True, kw_only=True, tag="feed.v1"):
    """What a source can vouch for of a market, since when, and why."""

    market: str
    source: str
    state: FeedState
    since: Time
    reason: str = ""


class Command(Event, frozen=True, kw_only=True):
    """Base of bot commands: who asked, when, and a request id which makes a repeat harmless."""

    request: str
    who: str
    at: Time


def named_above(warm_up: str, timeframe: str) -> str:
    """What the `Bars` of a timeframe above the bot's are called, in a warm-up of this name."""
    return f"{warm_up}@{timeframe}"


class WarmedCommand(Command, frozen=True, kw_only=True):
    """Base of those that let a strategy begin anew. `warm_up` names the `Bars` before it that the strategy
    steps through first, "" for none; `warm_candles` are in them. `warm_higher`: of timeframes above the bot's
    so many candles, in `Bars` named by `named_above`."""

    bot_id: Int
    warm_up: str = ""
    warm_candles: Int = 0
    warm_higher: dict[Timeframe, Int] | None = None

    @property
    def warm_ups(self) -> dict[str, str]:
        """By timeframe, how the `Bars` before it are called; those of the bot's own first, under ""."""
        above = {timeframe: named_above(self.warm_up, timeframe) for timeframe in self.warm_higher or {}}
        return {"": self.warm_up, **above} if self.warm_up else {}


class RegisterBot(Command, frozen=True, kw_only=True, tag="register_bot.v1"):
    """In partition 0 only: the n-th registration is bot n."""

    market: str


class CreateBot(WarmedCommand, frozen=True, kw_only=True, tag="create_bot.v1"):
    market: str
    timeframe: Timeframe
    strategy: str
    code_hash: str
    params: Params
    sizing: Sizing
    short: bool
    cash: Cash
    cash_scale: Scale
    start: bool = False
    name: str = ""
    tags: tuple[str, ...] = ()
    on_stale: OnStale = "hold"
    code_check: str
    """Of the strategy and its hash (`projections.fold.commands.code_check`), so that damage names no code."""

    def __post_init__(self) -> None:
        check_params(self.params)


class StartBot(WarmedCommand, frozen=True, kw_only=True, tag="start_bot.v1"):
    """`code_hash` accepts strategy code that differs from the recorded; None keeps the recorded."""

    code_hash: str | None = None
    code_check: str = ""


class StopBot(Command, frozen=True, kw_only=True, tag="stop_bot.v1"):
    """Pending orders are cancelled and the position is kept, unless `flatten` closes it at the next trade."""

    bot_id: Int
    flatten: bool = False


class HaltBot(Command, frozen=True, kw_only=True, tag="halt_bot.v1"):
    """`bot_id` None halts every bot of the partition. `code` is a short name of the reason."""

    bot_id: Int | None
    reason: str
    code: str


class ReconfigureBot(WarmedCommand, frozen=True, kw_only=True, tag="reconfigure_bot.v1"):
    """Fields that are None stay. Indicators begin anew; the position stays."""

    params: Params | None = None
    code_hash: str | None = None
    sizing: Sizing | None = None
    short: bool | None = None
    on_stale: OnStale | None = None
    code_check: str = ""

    def __post_init__(self) -> None:
        if self.params is not None:
            check_params(self.params)


class ExternalSignal(Command, frozen=True, kw_only=True, tag="external_signal.v1"):
    """A target position that a person or another program decided."""

    bot_id: Int
    target: float


JournalEvent: TypeAlias = (
    Genesis
    | Rules
    | Market
    | TickBatch
    | Clock
    | Gap
    | GapFilled
    | IdsReset
    | Bars
    | Feed
    | RegisterBot
    | CreateBot
    | StartBot
    | StopBot
    | HaltBot
    | ReconfigureBot
    | ExternalSignal
)
