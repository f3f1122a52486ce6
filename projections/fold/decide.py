"""From a target position to a decision: executed with an order, or refused by a rule.

Codes are part of the recorded events; `WORDS` says each in a sentence.
"""

from typing import NamedTuple

from projections.fold.bots import Standing
from projections.fold.money import (
    Account,
    MoneyOverflowError,
    affordable,
    closing,
    equity,
    fitting,
    floor_to_step,
    size_for,
    slipped,
    value,
)
from streams.events import Market, Sizing

WORDS = {
    "ok": "an order was made as decided",
    "in_position": "the position is already the target; no order was needed",
    "closed_only": "the position was closed; the opposite side could not be opened",
    "bot_stopped": "the bot is stopped",
    "bot_halted": "the bot is halted",
    "bankrupt": "the bot's equity is used up",
    "stale_data": "nobody vouches for the market's data, so nothing is opened",
    "short_not_allowed": "the bot may not go short",
    "insufficient_cash": "the value and its fee exceed the free cash",
    "too_small": "the size is below the market's minimum or step",
    "overflow": "the amount does not fit 64 bits",
    "superseded": "a newer signal replaced the order",
    "reconfigured": "the bot was reconfigured",
    "cut_to_cash": "only a part of the size was affordable at the price of the fill",
}


class Decision(NamedTuple):
    """`size` is the signed size of the order, 0 for none."""

    executed: bool
    code: str
    size: int = 0


class Rules(NamedTuple):
    """What of a bot decides."""

    standing: Standing
    sizing: Sizing
    short: bool
    holds: bool = False
    """Opens nothing now."""


def decide(market: Market, rules: Rules, account: Account, target: float, price: int) -> Decision:
    """The decision on a changed `target` (−1 … 1, share of the sizing) at the candle's close `price`."""
    if rules.standing != "running":
        return Decision(False, "bankrupt" if rules.standing == "bankrupt" else f"bot_{rules.standing}")
    held = account.position
    if target == 0:
        return Decision(True, "ok", -held) if held else Decision(True, "in_position")
    if target < 0 and not rules.short:
        return _close_or_refuse(held, target, "short_not_allowed")
    try:
        decision = _sized(market, rules, account, target, price)
    except MoneyOverflowError:
        return _close_or_refuse(held, target, "overflow")
    if rules.holds and abs(decision.size) > closing(account, abs(decision.size), buy=decision.size > 0):
        return _close_or_refuse(held, target, "stale_data")
    return decision


def _sized(market: Market, rules: Rules, account: Account, target: float, price: int) -> Decision:
    held = account.position
    if equity(market, account, price) <= 0:
        return _close_or_refuse(held, target, "bankrupt")
    desired = _desired(market, rules.sizing, account, target, price)
    if abs(desired) < max(market.min_size, 1):
        return _close_or_refuse(held, target, "too_small")
    size = fitting(desired - held, "size")
    if size == 0:
        return Decision(True, "in_position")
    if abs(size) < market.min_size:
        return Decision(False, "too_small")
    return _afford(market, rules, account, target, size, price)


def _afford(market: Market, rules: Rules, account: Account, target: float, size: int, price: int) -> Decision:
    buy, held = size > 0, account.position
    at = slipped(market, price, buy=buy)
    value(market, abs(size), at, up=True)  # fits: its fee is taken of it
    fits = affordable(market, account, abs(size), at, buy=buy)
    if fits < abs(size) and rules.sizing.mode != "equity":
        return _close_or_refuse(held, target, "insufficient_cash")
    opened = fits - (abs(held) if held and (held > 0) != buy else 0)
    if 0 <= opened < max(market.min_size, 1):
        return _close_or_refuse(held, target, "insufficient_cash" if opened == 0 else "too_small")
    return Decision(True, "ok", fits if buy else -fits)


def _close_or_refuse(held: int, target: float, code: str) -> Decision:
    """Where the new side can't be opened, a position on the other side is still closed."""
    if held and (held > 0) != (target > 0):
        return Decision(True, "closed_only", -held)
    return Decision(False, code)


def _desired(market: Market, sizing: Sizing, account: Account, target: float, price: int) -> int:
    """The signed size that `target` asks for, rounded down to the step. The product is exact."""
    numerator, denominator = abs(target).as_integer_ratio()
    unit = 10**sizing.scale
    if sizing.mode == "amount":
        size = sizing.value * numerator * 10**market.size_scale // (denominator * unit)
        size = floor_to_step(size, market.size_step)
    else:
        if sizing.mode == "cash":
            whole = sizing.value * 10**market.cash_scale
        else:
            whole = sizing.value * equity(market, account, price)
        notional = fitting(whole * numerator // (denominator * unit), "value")
        size = size_for(market, notional, slipped(market, price, buy=target > 0))
    return size if target > 0 else -size
