"""What the API takes and gives. Money, prices and sizes are decimal strings, times ISO 8601 with `Z`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.http.services import SYMBOL, VENUE
from infra.process.tokens import Scope
from streams.events import Timeframe

Money = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$", examples=["100000.00000000"])]
Time = Annotated[str, Field(description="ISO 8601 UTC.", examples=["2026-01-01T00:05:00Z"])]
CauseId = Annotated[str, Field(description="partition:offset:index in the journal.", examples=["2:17:0"])]
Amount = Annotated[str, Field(pattern=r"^\d{1,40}(\.\d{1,40})?$", examples=["100000"])]
Size = Annotated[
    str,
    Field(
        pattern=r"^(amount|cash|equity):\d{1,40}(\.\d{1,40})?$",
        description="amount:X, cash:X or equity:F.",
        examples=["equity:1"],
    ),
]
Side = Literal["buy", "sell"]
Status = Literal["stopped", "running", "halted"]
Value = bool | int | Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(max_length=200)]
Params = Annotated[
    dict[Annotated[str, Field(max_length=100)], Value], Field(max_length=100, examples=[{"fast": 5}])
]
Name = Annotated[str, Field(pattern=r"^\w{1,100}$", examples=["sma_cross"])]


class Asked(BaseModel):
    """A request's body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Every error."""

    code: str = Field(examples=["unknown_bot"])
    message: str = Field(examples=["there is no bot 7 in the database"])
    hint: str = Field(examples=["GET /api/bots lists them."])


# ------------------------------------------------------------------ markets


class Market(BaseModel):
    """A market's newest specification; `newest` and `price` are the close of its newest 1m candle."""

    market: str = Field(examples=["sim:BTC/USDT"])
    venue: str = Field(examples=["sim"])
    simulated: bool = Field(description="The venue is the simulated exchange.", examples=[True])
    symbol: str = Field(examples=["BTC/USDT"])
    base: str
    quote: str
    settle: str
    contract: Literal["spot", "linear", "inverse"]
    price_step: Money
    size_step: Money
    min_size: Money
    multiplier: Money
    closed: Literal["right", "left"]
    fee: Money
    slippage: Money
    newest: Time | None
    price: Money | None


class Markets(BaseModel):
    items: list[Market]


class Candle(BaseModel):
    """A closed candle, labelled with its end. Revision 0 is what strategies saw."""

    timestamp: Time
    open: Money
    high: Money
    low: Money
    close: Money
    volume: Money
    trades: int
    revision: int
    empty: bool
    incomplete: bool


class Paged(BaseModel):
    """`next` is the cursor of the page that follows; null at the end."""

    next: str | None = Field(examples=["1767225900000000000:0"])


class Candles(Paged):
    items: list[Candle]


# ------------------------------------------------------------------ strategies


class Indicator(BaseModel):
    """Numbers that are drawn together: over the candles, in a pane of their own, or nobody said where."""

    name: str = Field(examples=["bands"])
    values: list[str] = Field(examples=[["bands.middle", "bands.upper", "bands.lower"]])
    pane: Literal["price", "own"] | None


class Strategy(BaseModel):
    strategy: str = Field(examples=["sma_cross"])
    code_hash: str
    values: list[str] = Field(description="Names of its indicators' numbers.")
    indicators: list[Indicator]
    parameters: dict[str, Any] = Field(
        description="JSON Schema (2020-12) of `params`.",
        examples=[{"type": "object", "properties": {"fast": {"type": "integer", "default": 20}}}],
    )


class Strategies(BaseModel):
    items: list[Strategy]
    broken: list[str] = Field(description="Files that cannot be used, with line and reason.")


# ------------------------------------------------------------------ bots


class Bot(BaseModel):
    """Specification, status, holdings and newest mark; `pnl` is equity less initial cash."""

    bot_id: int = Field(examples=[1])
    venue: str
    symbol: str
    timeframe: Timeframe
    strategy: str
    params: dict[str, Any]
    sizing: str = Field(examples=["equity:1"])
    short: bool
    initial_cash: Money
    currency: str = Field(examples=["USDT"])
    status: Status
    code: str
    words: str
    who: str = Field(examples=["api:local"])
    changed: Time
    code_hash: str
    position: Money
    cost: Money
    cash: Money
    realised_pnl: Money
    fees: Money
    equity: Money
    pnl: Money
    marked: Time | None
    traded: Time | None
    cause: CauseId


class Bots(Paged):
    items: list[Bot]


class CreateBot(Asked):
    strategy: Name
    venue: str = Field(pattern=VENUE, examples=["sim"])
    symbol: str = Field(pattern=SYMBOL, examples=["BTC/USDT"])
    timeframe: Timeframe
    cash: Amount
    params: Params = {}
    size: Size = "equity:1"
    short: bool = False
    start: bool = False


class StopBot(Asked):
    flatten: bool = Field(False, description="Close the position at the next trade.")


class HaltBot(Asked):
    reason: str = Field(default="halted by command", min_length=1, max_length=500)


class ReconfigureBot(Asked):
    """What is not given stays."""

    params: Params | None = None
    size: Size | None = None
    short: bool | None = None


class GiveSignal(Asked):
    target: float = Field(ge=-1, le=1, allow_inf_nan=False, description="Share of the bot's size.")


class Accepted(BaseModel):
    """Commands stand in the journal, durably, at these positions; `applied`: the database shows it."""

    positions: list[str] = Field(examples=[["journal:2:17"]])
    bot_id: int | None = Field(None, examples=[1])
    applied: bool


# ------------------------------------------------------------------ what bots did


class Signal(BaseModel):
    """A change of the target, executed or refused, with the indicator values that made it."""

    time: Time
    bot_id: int
    timeframe: str
    target: float
    previous: float
    values: dict[str, float | None]
    price: Money
    decision: Literal["executed", "refused"]
    code: str
    words: str
    origin: Literal["strategy", "external"]
    cause: CauseId


class Signals(Paged):
    items: list[Signal]


class Order(BaseModel):
    time: Time
    bot_id: int
    order_id: CauseId
    side: Side
    size: Money
    price: Money
    reason: str
    status: Literal["pending", "partial", "filled", "cancelled", "rejected"]
    code: str
    filled: Money
    updated: Time
    signal: CauseId | None


class Orders(Paged):
    items: list[Order]


class Fill(BaseModel):
    """`position` and `cash` are those after it; P&L is gross of fees."""

    time: Time
    bot_id: int
    order_id: CauseId
    side: Side
    price: Money
    size: Money
    fee: Money
    fee_currency: str
    realised_pnl: Money
    position: Money
    cash: Money
    cause: CauseId


class Fills(Paged):
    items: list[Fill]


class Mark(BaseModel):
    time: Time
    bot_id: int
    cash: Money
    position: Money
    equity: Money
    cause: CauseId


class Marks(Paged):
    items: list[Mark]
    peak: Money | None = Field(description="The highest equity up to `from`; null without one.")


class IndicatorRow(BaseModel):
    """Values of the strategy's indicators at a candle's close; null until warm."""

    timestamp: Time
    values: dict[str, float | None] = Field(examples=[{"fast_average": 20000.5}])


class IndicatorRows(Paged):
    items: list[IndicatorRow]


# ------------------------------------------------------------------ portfolio


class Holding(BaseModel):
    """A bot's open position."""

    bot_id: int
    venue: str
    symbol: str
    position: Money
    cost: Money
    currency: str


class Holdings(BaseModel):
    items: list[Holding]


class Total(BaseModel):
    """Sums over the bots of one settle currency."""

    currency: str
    bots: int
    initial_cash: Money
    cash: Money
    cost: Money
    realised_pnl: Money
    fees: Money
    equity: Money
    pnl: Money


class Portfolio(BaseModel):
    """`marked` is the oldest of the marks that the sums were made of."""

    totals: list[Total]
    positions: list[Holding]
    marked: Time | None


# ------------------------------------------------------------------ log and health


class Stream(BaseModel):
    stream: str = Field(examples=["journal"])
    partition: int
    earliest: int
    highwater: int


class Streams(BaseModel):
    items: list[Stream]


class LoggedEvent(BaseModel):
    cause: CauseId | None
    type: str = Field(examples=["candle.v1"])
    event: dict[str, Any]


class LogRecord(BaseModel):
    """A record as it stands in the log; repeats after a crash are not hidden here."""

    stream: str
    partition: int
    offset: int
    time: Time
    key: str
    events: list[LoggedEvent]


class LogRecords(BaseModel):
    """`next` is the offset to go on with; null where the log ends."""

    items: list[LogRecord]
    next: int | None


class Up(BaseModel):
    status: Literal["ok"] = "ok"


class PartitionHealth(BaseModel):
    """`lag`: journal records that are not folded; `projection_lag`: derived records not in the database."""

    partition: int
    highwater: int
    folded: int | None
    lag: int
    projection_lag: int
    recorded: Time | None = Field(description="When the newest journal record was written.")
    recorded_age_s: float | None


class MarketHealth(BaseModel):
    market: str
    newest: Time
    age_s: float = Field(description="Behind this machine's clock; 0 where the venue's runs ahead of it.")


class Versions(BaseModel):
    tcpdashboard: str
    fold: str = Field(description="SHA-256 of the sources that decide the bytes of derived records.")
    database: str
    python: str


class Health(BaseModel):
    partitions: list[PartitionHealth]
    markets: list[MarketHealth]
    bots: dict[str, int] = Field(examples=[{"running": 4}])
    dead_letters: int
    versions: Versions


class DeadLetter(BaseModel):
    """A record that could not be read or folded: where it stands, and why."""

    time: Time
    stream: str = Field(examples=["journal"])
    partition: int = Field(examples=[2])
    offset: int | None = Field(
        description="null for a message that was no event, and so came into no stream.", examples=[18]
    )
    key: str = Field(description="The record's key, mostly its market.", examples=["sim:BTC/USDT"])
    error: str = Field(examples=["not an event record: truncated"])
    notice: str = Field(description="Where the log tells of it.", examples=["system:2:5"])


class DeadLetters(Paged):
    items: list[DeadLetter]


# ------------------------------------------------------------------ tokens


class Login(Asked):
    token: str = Field(min_length=1, max_length=200)


class Me(BaseModel):
    name: str
    scope: Scope
    expires: Time | None


class TokenShown(BaseModel):
    name: str
    scope: Scope
    created: Time
    expires: Time | None
    state: Literal["valid", "expired", "revoked"]


class Tokens(BaseModel):
    items: list[TokenShown]
