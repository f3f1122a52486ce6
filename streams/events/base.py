"""What all events share: their base, and the units of their fields.

Money, prices and sizes are integers; the decimal scale stands in a field of the same event, so that an event
can be read alone. The metadata of a field says how a door prints its integer (`unit`) and whether it is
*content* (design rule 3: causes, positions and journal ranges are not).

Why: ADR 16.
"""

from math import isfinite
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from streams.causes import Cause, Int

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

Scale = Annotated[int, Meta(ge=0, le=18, description="decimals")]

Time = Annotated[Int, Meta(description="ns since 1970-01-01 UTC", extra={"unit": "time"})]
Price = Annotated[Int, Meta(description="in 10**-price_scale", extra={"unit": "price"})]
Size = Annotated[Int, Meta(description="in 10**-size_scale", extra={"unit": "size"})]
Cash = Annotated[Int, Meta(description="in 10**-cash_scale of settle", extra={"unit": "cash"})]
Prices = Annotated[tuple[Int, ...], Meta(description="in 10**-price_scale", extra={"unit": "price"})]
Sizes = Annotated[tuple[Int, ...], Meta(description="in 10**-size_scale", extra={"unit": "size"})]
Cashes = Annotated[tuple[Int, ...], Meta(description="in 10**-cash_scale of settle", extra={"unit": "cash"})]
TradeId = Annotated[Int, Meta(description="a venue's id of 64 bits; -1: none", extra={"unit": "id"})]
Rate = Annotated[Int, Meta(description="in 1e-8 of the value", extra={"unit": "rate"})]
Offset = Annotated[Int, Meta(description="journal offset; not content", extra={"content": False})]
CauseField = Annotated[Cause, Meta(description="a cause; not content", extra={"content": False})]
Ends = Annotated[
    dict[str, Int],
    Meta(description="the next offset, by stream:partition; not content", extra={"content": False}),
]
Raw = Annotated[bytes, Meta(description="bytes as they came", extra={"unit": "bytes"})]
Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]
BotStatus = Literal["stopped", "running", "halted"]
OnStale = Literal["hold", "flatten", "ignore"]
"""What a bot does while nobody vouches for its market's data."""
Params: TypeAlias = dict[str, Int | float | bool | str]


def check_params(params: Params) -> None:
    """Raises ValueError naming the parameter that is not finite: no strategy has it, and no door shows it."""
    for name, value in params.items():
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"the parameter {name} is {value}")


class Event(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", forbid_unknown_fields=True
):
    """Base of all events; the tag is the wire name and version.

    Every event is `kw_only`, which a class does not inherit, and does not write what is at its default: a
    later field with a default leaves the bytes of older events as they are. msgspec tells a default by
    identity, so a default is None, a bool, empty, an integer below 257, or a word of a `Literal`.
    """


class Sizing(Struct, frozen=True):
    """How a target of ±1 becomes a size.

    amount: `value` in 10**-scale base units or contracts; cash: in 10**-scale of the settle currency;
    equity: fraction of equity in 10**-scale.
    """

    mode: Literal["amount", "cash", "equity"]
    value: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    scale: Scale
