"""From a target position to an order, and from an order and a trade to a fill, compiled.

A second writing of what the fold decides, held to it by `tests/property/test_research_money.py`. Words are
numbers here: a code is a place in `CODES`, a standing one in `STANDINGS`, a mode of sizing one in `MODES`.
"""

from math import frexp
from typing import Final

import numpy as np
from numba import njit, types

from projections.research.money import (
    BOOL,
    CASH,
    CASH_UNIT,
    COST,
    FLOAT,
    INLINED,
    INT,
    MIN_SIZE,
    OPTIONS,
    OVERFLOW,
    POSITION,
    SIZE_UNIT,
    U8,
    VECTOR,
    WORDS,
    affordable,
    closing,
    equity,
    fits,
    in_steps,
    quotient,
    share,
    size_for,
    slipped,
    summed,
    trade,
    value,
)
from streams.ticks import I8

MONEY_SHA256: Final = "dca03d11ac7b1aaa1a46a0f1005c1637750f37a95a06f7b93bbf6d8ce8b17d70"
"""Of the file of `projections.research.money`: a change there must be a change here, since numba's cache on
disk looks at this file alone."""

CODES = (
    "ok", "in_position", "closed_only", "bot_stopped", "bot_halted", "bankrupt", "stale_data",
    "short_not_allowed", "insufficient_cash", "too_small", "overflow", "superseded", "reconfigured",
    "cut_to_cash",
)  # fmt: skip
(
    OK, IN_POSITION, CLOSED_ONLY, BOT_STOPPED, BOT_HALTED, BANKRUPT, STALE_DATA, SHORT_NOT_ALLOWED,
    INSUFFICIENT_CASH, TOO_SMALL, OVERFLOWS, SUPERSEDED, RECONFIGURED, CUT_TO_CASH,
) = range(14)  # fmt: skip
NO_CODE: Final = -1
STANDINGS = ("running", "stopped", "halted", "bankrupt")
RUNNING, STOPPED, HALTED, BROKE = range(4)
MODES = ("amount", "cash", "equity")
AMOUNT, IN_CASH, OF_EQUITY = range(3)

_POWERS = np.array([10**scale for scale in range(19)], np.int64)

DECISION = types.Tuple((BOOL, INT, INT))
Decision = tuple[bool, int, int]
"""Executed; code; signed size of the order, 0 for none."""


@njit(DECISION(INT, FLOAT, INT), **INLINED)
def close_or_refuse(held: int, target: float, code: int) -> Decision:
    """Where the new side can't be opened, a position on the other side is still closed."""
    if held != 0 and (held > 0) != (target > 0.0):
        return True, CLOSED_ONLY, -held
    return False, code, 0


@njit(INT(WORDS, INT, INT, INT, FLOAT), **OPTIONS)
def part_of(w: U8, amount: int, whole: int, unit: int, target: float) -> int:
    """amount × whole / unit × |target|, rounded down; the target is taken exactly, as an integer over a power
    of two."""
    mantissa, exponent = frexp(abs(target))
    above, halvings = int(mantissa * 2.0**53), 53 - exponent
    even = frexp(float(above & -above))[1] - 1
    above, halvings = above >> even, halvings - even
    if halvings > 186:  # of a product below 2**179
        return 0
    first = min(halvings, 62)
    second = min(halvings - first, 62)
    third = halvings - first - second
    return quotient(w, amount, whole, above, 1, unit, 1 << first, 1 << second, 1 << third, False)


@njit(INT(VECTOR, WORDS, INT, INT, INT, INT, FLOAT, INT), **INLINED)
def desired(
    m: I8, w: U8, worth: int, mode: int, sizing_value: int, sizing_scale: int, target: float, price: int
) -> int:
    """The signed size that `target` asks for of a bot with an equity of `worth`, rounded down to the step."""
    unit = _POWERS[sizing_scale]
    whole = worth if mode == OF_EQUITY else m[CASH_UNIT] if mode == IN_CASH else m[SIZE_UNIT]
    if abs(target) == 1.0:
        wanted = share(w, sizing_value, whole, unit, False)
    else:
        wanted = part_of(w, sizing_value, whole, unit, target)
    if wanted == OVERFLOW:
        return OVERFLOW
    if mode == AMOUNT:
        size = in_steps(m, wanted)
    else:
        size = size_for(m, w, wanted, slipped(m, w, price, target > 0.0))
    return -size if size != OVERFLOW and target < 0.0 else size


@njit(DECISION(VECTOR, WORDS, VECTOR, INT, FLOAT, INT, INT), **INLINED)
def afford(m: I8, w: U8, account: I8, mode: int, target: float, size: int, price: int) -> Decision:
    """The decision on an order of the signed `size`."""
    buy = size > 0
    held = account[POSITION]
    at = slipped(m, w, price, buy)
    if not fits(m, abs(size), at) and value(m, w, abs(size), at, True) == OVERFLOW:
        return close_or_refuse(held, target, OVERFLOWS)
    most = affordable(m, w, account, abs(size), at, buy)
    if most == OVERFLOW:
        return close_or_refuse(held, target, OVERFLOWS)
    if most < abs(size) and mode != OF_EQUITY:
        return close_or_refuse(held, target, INSUFFICIENT_CASH)
    opened = most - (abs(held) if held != 0 and (held > 0) != buy else 0)
    if 0 <= opened < max(m[MIN_SIZE], 1):
        return close_or_refuse(held, target, INSUFFICIENT_CASH if opened == 0 else TOO_SMALL)
    return True, OK, most if buy else -most


@njit(DECISION(VECTOR, WORDS, VECTOR, INT, BOOL, BOOL, INT, INT, INT, FLOAT, INT, INT), **INLINED)
def decided(
    m: I8, w: U8, account: I8, standing: int, holds: bool, short: bool,
    mode: int, sizing_value: int, sizing_scale: int, target: float, price: int, worth: int,
) -> Decision:  # fmt: skip
    """The decision of a bot with an equity of `worth`."""
    held = account[POSITION]
    if standing != RUNNING:
        return False, BANKRUPT if standing == BROKE else BOT_STOPPED if standing == STOPPED else BOT_HALTED, 0
    if target == 0.0:
        return True, OK if held != 0 else IN_POSITION, -held
    if target < 0.0 and not short:
        return close_or_refuse(held, target, SHORT_NOT_ALLOWED)
    if worth == OVERFLOW:
        return close_or_refuse(held, target, OVERFLOWS)
    if worth <= 0:
        return close_or_refuse(held, target, BANKRUPT)
    wanted = desired(m, w, worth, mode, sizing_value, sizing_scale, target, price)
    if wanted == OVERFLOW:
        return close_or_refuse(held, target, OVERFLOWS)
    if abs(wanted) < max(m[MIN_SIZE], 1):
        return close_or_refuse(held, target, TOO_SMALL)
    size = summed(wanted, -held, 0, 0, 0)
    if size == OVERFLOW:
        return close_or_refuse(held, target, OVERFLOWS)
    if size == 0:
        return True, IN_POSITION, 0
    if abs(size) < m[MIN_SIZE]:
        return False, TOO_SMALL, 0
    executed, code, size = afford(m, w, account, mode, target, size, price)
    if holds and abs(size) > closing(held, abs(size), size > 0):
        return close_or_refuse(held, target, STALE_DATA)
    return executed, code, size


@njit(DECISION(VECTOR, WORDS, VECTOR, INT, BOOL, BOOL, INT, INT, INT, FLOAT, INT), **INLINED)
def decide(
    m: I8, w: U8, account: I8, standing: int, holds: bool, short: bool,
    mode: int, sizing_value: int, sizing_scale: int, target: float, price: int,
) -> Decision:  # fmt: skip
    """The decision on a changed `target` (−1 … 1, share of the sizing) at the candle's close `price`.

    `holds`: opens nothing now. `short`: may go short.
    """
    worth = equity(m, w, account[CASH], account[POSITION], account[COST], price)
    return decided(
        m, w, account, standing, holds, short, mode, sizing_value, sizing_scale, target, price, worth
    )


@njit(types.Tuple((BOOL, INT, INT, INT, INT, INT))(VECTOR, WORDS, VECTOR, BOOL, INT, INT, BOOL), **INLINED)
def fill(
    m: I8, w: U8, account: I8, buy: bool, size: int, price: int, holds: bool
) -> tuple[bool, int, int, int, int, int]:
    """Fills an order of `size` at a trade's `price`: traded or not, price, size, fee, realised profit, and a
    code, or −1, that says why not all of it. Changes the account where something is traded.

    Only what is affordable is traded, and where its bot `holds`, what closes.
    """
    at = slipped(m, w, price, buy)
    wanted = closing(account[POSITION], size, buy) if holds else size
    if wanted == 0:
        return False, at, 0, 0, 0, STALE_DATA
    opens = wanted > closing(account[POSITION], wanted, buy)
    most = affordable(m, w, account, wanted, at, buy) if opens else wanted
    if most == OVERFLOW:
        return False, at, 0, 0, 0, OVERFLOWS
    if most == 0:
        return False, at, 0, 0, 0, INSUFFICIENT_CASH
    done, paid, gain = trade(m, w, account, most, at, buy)
    if not done:
        return False, at, 0, 0, 0, OVERFLOWS
    code = STALE_DATA if wanted < size else CUT_TO_CASH if most < wanted else NO_CODE
    return True, at, most, paid, gain, code
