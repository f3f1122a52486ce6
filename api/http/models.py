"""What the API takes and gives. Money, prices and sizes are decimal strings, times ISO 8601 with `Z`."""

from inspect import cleandoc
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from api.http.services import SYMBOL, VENUE
from infra.commands.warming import Warm
from infra.present import fields as forms
from infra.process.tokens import Scope
from projections.fold.warm import CANDLES_MAX
from streams import events
from streams.events import Timeframe

Money = Annotated[str, Field(pattern=r"^-?\d+(\.\d+)?$", examples=["100000.00000000"])]
Time = Annotated[str, Field(description="ISO 8601 UTC.", examples=["2026-01-01T00:05:00Z"])]
CauseId = Annotated[str, Field(description="partition:offset:index in the journal.", examples=["2:17:0"])]
Amount = Annotated[str, Field(pattern=r"^\d{1,40}(\.\d{1,40})?$", examples=["100000"])]
_SIZING = r"^(amount|cash|equity):\d{1,40}(\.\d{1,40})?$"
Sizing = Annotated[
    str, Field(pattern=_SIZING, description="amount:X, cash:X or equity:F.", examples=["equity:1"])
]
Value = bool | int | Annotated[float, Field(allow_inf_nan=False)] | Annotated[str, Field(max_length=200)]
Params = Annotated[
    dict[Annotated[str, Field(max_length=100)], Value], Field(max_length=100, examples=[{"fast": 5}])
]
Name = Annotated[str, Field(pattern=r"^\w{1,100}$", examples=["sma_cross"])]


class Asked(BaseModel):
    """A request's body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


_HINTS: dict[forms.Form, Any] = {
    "time": Time, "decimal": Money, "cause": CauseId, "sizing": Sizing, "bytes": str,
}  # fmt: skip


def described(kind: type[events.Event], description: str | None = None) -> type[BaseModel]:
    """A model of the fields that doors show of a kind of event."""
    shown = {one.name: (_hint(one), ...) for one in forms.door_fields(kind)}
    return create_model(kind.__name__, __doc__=description or cleandoc(kind.__doc__ or ""), **shown)  # type: ignore[call-overload] - fields by name


def _hint(field: forms.Field) -> Any:
    hint = _HINTS.get(field.form, forms.bare(field.hint))
    if hint == dict[str, float]:
        hint = dict[str, float | None]  # null until it is warm
    return hint | None if field.optional else hint


class Problem(BaseModel):
    """Every error."""

    code: str = Field(examples=["unknown_bot"])
    message: str = Field(examples=["there is no bot 7 in the database"])
    hint: str = Field(examples=["GET /api/bots lists them."])


# ------------------------------------------------------------------ markets


class Market(described(events.Market)):
    """A market's newest specification; `newest` and `price` are the close of its newest 1m candle."""

    market: str = Field(examples=["sim:BTC/USDT"])
    simulated: bool = Field(description="The venue is the simulated exchange.", examples=[True])
    feed: events.FeedState = Field(description="What the source of its last row can vouch for.")
    feed_source: str = Field(description="That source; one that says nothing is live.", examples=["sim"])
    feed_since: Time | None
    feed_reason: str
    newest: Time | None
    price: Money | None


class Markets(BaseModel):
    items: list[Market]


class Gap(BaseModel):
    """Trades of (`start`, `end`] may be missing, those of the ids `first_id` to `last_id` where the source
    tells them; `final`: they can't be had any more."""

    market: str = Field(examples=["sim:BTC/USDT"])
    start: Time
    end: Time
    first_id: int | None = Field(examples=[3412500001])
    last_id: int | None = Field(examples=[3412500250])
    reason: str = Field(examples=["disconnected"])
    final: bool
    filled: bool = Field(description="They were filled in afterwards.")


class Gaps(BaseModel):
    items: list[Gap]


class Candle(described(events.Candle)):
    """A closed candle, labelled with its end. Revision 0 is what strategies saw."""


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


class Bot(described(events.BotChanged)):
    """The newest change of a bot, what it holds and its newest mark.

    `pnl` is equity less initial cash; `traded` and `marked` are the times of the newest fill and mark.
    """

    venue: str
    symbol: str
    position: Money
    cost: Money
    cash: Money
    realised_pnl: Money
    fees: Money
    traded: Time | None
    equity: Money
    unrealised_pnl: Money
    peak: Money
    marked: Time | None
    pnl: Money
    cause: CauseId


class Bots(Paged):
    items: list[Bot]


class Warmed(Asked):
    warm: Literal["all"] | Annotated[int, Field(ge=1, le=CANDLES_MAX)] | None = Field(
        None,
        description="Candles before it that its strategy steps through first: as many as its indicators need,"
        " unless given.",
    )
    cold: bool = Field(False, description="It begins without the candles before it.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.cold and self.warm is not None:
            raise ValueError("warm and cold contradict each other")
        return self

    @property
    def asked_warm(self) -> Warm:
        return 0 if self.cold else self.warm


class CreateBot(Warmed):
    strategy: Name
    venue: str = Field(pattern=VENUE, examples=["sim"])
    symbol: str = Field(pattern=SYMBOL, examples=["BTC/USDT"])
    timeframe: Timeframe
    cash: Amount
    params: Params = {}
    sizing: Sizing = "equity:1"
    short: bool = False
    on_stale: events.OnStale = Field("hold", description="While the market's feed is not live.")
    start: bool = False
    name: str = Field("", max_length=100, examples=["my first"])
    tags: list[Annotated[str, Field(min_length=1, max_length=50)]] = Field([], max_length=20)


class StartBot(Warmed):
    """Where the bot goes on, with the code that it has, it is not warmed."""


class StopBot(Asked):
    flatten: bool = Field(False, description="Close the position at the next trade.")


class HaltBot(Asked):
    reason: str = Field(default="halted by command", min_length=1, max_length=500)


class ReconfigureBot(Warmed):
    """What is not given stays."""

    params: Params | None = None
    sizing: Sizing | None = None
    short: bool | None = None
    on_stale: events.OnStale | None = None


class GiveSignal(Asked):
    target: float = Field(ge=-1, le=1, allow_inf_nan=False, description="Share of the bot's size.")


class Accepted(BaseModel):
    """Commands stand in the journal, durably, at these positions; `applied`: the database shows it."""

    positions: list[str] = Field(examples=[["journal:2:17"]])
    bot_id: int | None = Field(None, examples=[1])
    warmed: int | None = Field(None, description="Candles that the bot steps through first.")
    needed: int | None = Field(None, description="Candles that its indicators need for that.")
    applied: bool


# ------------------------------------------------------------------ what bots did


class Signal(described(events.Signal)):
    """A change of the target, executed or refused, with the indicator values that made it."""

    message: str = Field(description="What the code means.")
    cause: CauseId


class Signals(Paged):
    items: list[Signal]


class Order(described(events.Order)):
    """An order with what became of it."""

    order_id: CauseId
    status: Literal["pending", "partial", "filled", "cancelled", "rejected"]
    code: str
    filled: Money
    updated: Time
    cause: CauseId


class Orders(Paged):
    items: list[Order]


class Fill(described(events.Fill)):
    """What an order did to its bot; position, cost and cash are those after it, P&L is gross of fees."""

    cause: CauseId


class Fills(Paged):
    items: list[Fill]


class Mark(described(events.Equity)):
    """A bot at a candle's close, where its mark changed; `peak` is its highest equity so far."""

    cause: CauseId


class Marks(Paged):
    items: list[Mark]


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
    topic: str = Field(examples=["journal"])
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

    topic: str
    partition: int
    offset: int
    timestamp: Time = Field(description="When it was recorded.")
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


class DeadLetter(described(events.DeadLetter)):
    """What could not be read or folded: where it stands or where it came from, why, and how it begins."""

    id: str = Field(description="Where the log tells of it, in stream `system`.", examples=["2:5:0"])
    timestamp: Time = Field(description="When the log was told.")
    offset: int = Field(description="-1 for what never became a record.", examples=[18])
    cause: CauseId | None


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
