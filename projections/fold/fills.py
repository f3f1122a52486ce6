"""What a paper order gets at a trade: price, size and fee. Which trade that is, `orders` decides."""

from typing import NamedTuple

from msgspec import Struct

from projections.fold.money import Account, MoneyOverflowError, Traded, affordable, closing, slipped, trade
from streams.causes import Cause
from streams.events import Market


class Waiting(Struct):
    """A market order that waits for its trade.

    `decided` is the time of the row that decided it, ns; `row` that row's index in the journal record being
    folded, −1 in later records; `target` what the position will stand for.
    """

    order: Cause
    buy: bool
    size: int
    decided: int
    row: int
    reason: str
    target: float = 0.0


class Result(NamedTuple):
    """What became of an order: the trade at `price`, if any, and why not all of it, if not."""

    traded: Traded | None
    price: int
    size: int
    rejected: str | None


def fill(market: Market, account: Account, order: Waiting, price: int, *, holds: bool = False) -> Result:
    """Fill `order` at a trade's `price`, with slippage and fee; only what is affordable there, and where its
    bot `holds`, what closes."""
    at = slipped(market, price, buy=order.buy)
    wanted = closing(account, order.size, buy=order.buy) if holds else order.size
    if wanted == 0:
        return Result(None, at, 0, "stale_data")
    try:
        size = affordable(market, account, wanted, at, buy=order.buy)
        if size == 0:
            return Result(None, at, 0, "insufficient_cash")
        traded = trade(market, account, size, at, buy=order.buy)
    except MoneyOverflowError:
        return Result(None, at, 0, "overflow")
    cut = "stale_data" if wanted < order.size else "cut_to_cash" if size < wanted else None
    return Result(traded, at, size, cut)
