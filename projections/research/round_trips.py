"""Round trips: what a bot does between two moments without a position, made of its fills."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from projections.research.account import HAPPENED
from projections.research.money import SCRATCH
from projections.research.tally import TRIP, travelled
from streams.events import Market
from streams.ticks import I8

Fills = npt.NDArray[np.void]
"""Structured int64: time, buy, price, size, fee, realised, position, cost, cash, opens, closes, era."""
Trips = npt.NDArray[np.void]
"""TRIP, in turn."""

MOVED: Final = (
    "time", "price", "size", "fee", "realised", "position", "cost", "opens", "closes",
)  # fmt: skip


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
    rows = as_happened(fills)
    trips = np.zeros(int(np.count_nonzero(rows["opens"])), TRIP)
    count, money = travelled(rows, trips, np.zeros(1, TRIP), np.zeros(SCRATCH, np.uint64))
    check_money(money)
    return trips[:count]


def as_happened(fills: Fills) -> Fills:
    """The same as HAPPENED."""
    if fills.dtype == HAPPENED:
        return fills
    rows = np.zeros(len(fills), HAPPENED)
    for name in MOVED:
        rows[name] = fills[name]
    return rows


def check_money(money: float) -> None:
    """Raises TooLargeError where the amounts of all fills, summed up, may not fit 64 bits."""
    if money >= 2.0**63:
        raise TooLargeError("the amounts of these fills together exceed 64 bits: take less cash")
