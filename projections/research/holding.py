"""Buy and hold: what the same cash had become in the same contract, in integers."""

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from projections.research.money import (
    CASH,
    COST,
    OVERFLOW,
    POSITION,
    SCRATCH,
    U8,
    affordable,
    constants,
    equity,
    size_for,
    slipped,
    trade,
)
from streams.events import Market
from streams.ticks import I8

MONEY_SHA256: Final = "dca03d11ac7b1aaa1a46a0f1005c1637750f37a95a06f7b93bbf6d8ce8b17d70"
"""As in `projections.research.decide`: numba's cache on disk looks at this file alone."""


class Held(NamedTuple):
    """Who bought `size` at `price`, slippage in it, and held from before the close of bar `bar` on.

    `cash`, `position` and `cost` are those after the purchase; `initial` what there was before. All at the
    scales of the market that it was bought for.
    """

    initial: int
    cash: int
    position: int
    cost: int
    price: int
    bar: int


def bought(market: Market, cash: int, price: int, bar: int) -> Held | None:
    """As much as `cash` buys at a trade's `price`, with slippage and fee; None where that is nothing."""
    m, w = constants(market), np.zeros(SCRATCH, np.uint64)
    account = np.array([cash, 0, 0, 0, 0], np.int64)
    at = slipped(m, w, price, True)
    size = size_for(m, w, cash, at)
    if size != OVERFLOW:
        size = affordable(m, w, account, size, at, True)
    if size < max(market.min_size, 1) or not trade(m, w, account, size, at, True)[0]:
        return None
    return Held(cash, int(account[CASH]), int(account[POSITION]), int(account[COST]), at, bar)


def rescaled(held: Held, old: Market, new: Market) -> Held | None:
    """The same at the scales that a market has later; None where it does not fit there."""
    cash, size = 10 ** (new.cash_scale - old.cash_scale), 10 ** (new.size_scale - old.size_scale)
    price = 10 ** (new.price_scale - old.price_scale)
    grown = Held(
        held.initial * cash,
        held.cash * cash,
        held.position * size,
        held.cost * cash,
        held.price * price,
        held.bar,
    )
    return grown if max(grown) <= np.iinfo(np.int64).max else None


def worth(held: Held, market: Market, bars: I8, closes: I8) -> I8 | None:
    """Its equity i8[k] at these bars' `closes` i8[k]; None where it does not fit 64 bits."""
    equities = np.full(len(bars), held.initial, np.int64)
    since = int(np.searchsorted(bars, held.bar))
    w = np.zeros(SCRATCH, np.uint64)
    fits = _worth(constants(market), w, held.cash, held.position, held.cost, closes[since:], equities[since:])
    return equities if fits else None


@njit(nogil=True, error_model="numpy", fastmath=False, cache=True)
def _worth(m: I8, w: U8, cash: int, position: int, cost: int, closes: I8, equities: I8) -> bool:
    for i in range(len(closes)):
        equities[i] = equity(m, w, cash, position, cost, closes[i])
        if equities[i] == OVERFLOW:
            return False
    return True
