"""Round trips: what a bot does between two moments without a position, made of its fills."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streams.events import Market
from streams.ticks import I8

Fills = npt.NDArray[np.void]
"""Structured int64: time, buy, price, size, fee, realised, position, cost, cash, opens, closes, era."""
Trips = npt.NDArray[np.void]

TRIP: Final = np.dtype(
    [
        (name, np.int64)
        for name in (
            "opened",  # ns UTC; these two are the times of the fills
            "closed",  # −1 while it is open
            "side",  # +1 long, −1 short
            "size",  # the largest
            "entry",  # value of all that opened it
            "entry_price",  # of the first fill
            "exit_price",  # of the last; −1 while it is open
            "realised",  # gross of fees
            "fees",
            "net",  # realised − fees
            "fills",
        )
    ]
)


class TooLargeError(OverflowError):
    """Amounts that do not fit 64 bits at the scale at which they are told; the message names them."""


def rescaled(fills: Fills, eras: Sequence[Market]) -> Fills:
    """The fills at the scales of the last era. Raises TooLargeError where an amount does not fit there."""
    fills = fills.copy()
    prices, sizes, cashes = scales_of(eras)
    for names, scales in (
        (("price",), prices),
        (("size", "position"), sizes),
        (("fee", "realised", "cost", "cash"), cashes),
    ):
        for name in names:
            fills[name] = grown(fills[name], fills["era"], scales, f"the {name} of a fill")
    return fills


def scales_of(eras: Sequence[Market]) -> tuple[list[int], list[int], list[int]]:
    """Of prices, of sizes and of cash, era by era."""
    return (
        [era.price_scale for era in eras],
        [era.size_scale for era in eras],
        [era.cash_scale for era in eras],
    )


def grown(amounts: I8, era: I8, scales: Sequence[int], what: str) -> I8:
    """Amounts of their eras at the scale of the last. Raises TooLargeError where one does not fit there."""
    if scales[0] == scales[-1]:
        return amounts
    factors = np.array([10 ** (scales[-1] - scale) for scale in scales], np.int64)[era]
    if (np.abs(amounts) > np.iinfo(np.int64).max // factors).any():
        raise TooLargeError(f"{what} exceeds 64 bits at the market's last scale: take less cash")
    return amounts * factors


def round_trips(fills: Fills) -> Trips:
    """The trips of fills in their order, all at one scale; the last may be open. One that was begun before
    the first fill is left out.

    The fee of a fill that turns the position is shared by size; the part that closes is rounded up. Raises
    TooLargeError where the amounts do not fit 64 bits together.
    """
    money = sum(float(np.abs(fills[name]).sum(dtype=np.float64)) for name in ("realised", "fee", "cost"))
    if money >= 2.0**63:
        raise TooLargeError("the amounts of these fills together exceed 64 bits: take less cash")
    opening = np.flatnonzero(fills["opens"])
    trips = np.zeros(len(opening), TRIP)
    if not len(opening):
        return trips
    closing = np.flatnonzero(fills["closes"])
    closing = closing[fills["closes"][closing] >= fills["opens"][opening[0]]]
    done = len(closing)
    ends = np.append(closing, len(fills) - 1)[: len(opening)]
    to_close = _closing_fees(fills)
    trips["opened"], trips["closed"] = fills["time"][opening], fills["time"][ends]
    trips["side"] = np.sign(fills["position"][opening])
    trips["size"] = np.maximum.reduceat(np.abs(fills["position"]), opening)
    trips["entry_price"], trips["exit_price"] = fills["price"][opening], fills["price"][ends]
    trips["closed"][done:] = trips["exit_price"][done:] = -1
    trips["fills"] = ends - opening + 1
    trips["entry"] = fills["cost"][opening] + _between(_added(fills), opening, ends)
    trips["realised"] = _between(fills["realised"], opening, ends)
    paid_before = fills["fee"][opening] - to_close[opening]
    paid_beyond = np.where(np.arange(len(ends)) < done, fills["fee"][ends] - to_close[ends], 0)
    trips["fees"] = paid_before + _between(fills["fee"], opening, ends) - paid_beyond
    trips["net"] = trips["realised"] - trips["fees"]
    return trips


def _between(amounts: I8, after: I8, to: I8) -> I8:
    """Sums of the amounts behind each `after` up to each `to`."""
    sums = np.cumsum(amounts)
    return sums[to] - sums[after]


def _added(fills: Fills) -> I8:
    """By how much each fill raised the entry value of the trip that it goes on with."""
    raised = np.maximum(np.diff(fills["cost"], prepend=0), 0)
    return np.where(fills["opens"] > 0, 0, raised)


def _closing_fees(fills: Fills) -> I8:
    """The part of each fee that was paid for closing a trip: of a fill that also opens one, by size."""
    fees: Any = np.where(fills["closes"] > 0, fills["fee"], 0)
    turns = np.flatnonzero((fills["closes"] > 0) & (fills["opens"] > 0))
    fee, size = fills["fee"][turns], fills["size"][turns]
    closed = size - np.abs(fills["position"][turns])
    if len(turns) and float(np.abs(fee).max()) * float(size.max()) >= 2.0**63:
        fee, size, closed = (column.astype(object) for column in (fee, size, closed))
    fees[turns] = -(-fee * closed // size)
    return fees
