"""Exact money of one account, compiled: value, cost, fee and profit in int64, products of any length between.

What is meant is what ADR 4 says; this is a second writing of it (ADR 30), held to the first by
`tests/property/test_research_money.py`. Every amount is refused as `OVERFLOW` where it does not fit
|x| ≤ 2**63 − 1; nothing wraps.

`m` is what `constants` makes of a market, `w` a scratch array of `SCRATCH` uint64 for products that do not
fit 63 bits: there they stand in limbs of 32 bits, lowest first. An account is int64[5]: cash, position, cost,
realised, fees. Prices are from 1 to 2**53, as the journal's.

LLVM divides 128 bits by a call that numba does not link, so the division is done by hand.
"""

from math import gcd
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit, types

from streams.events import E8, Market
from streams.ticks import I8

U8 = npt.NDArray[np.uint64]

INT64_MAX: Final = 2**63 - 1
OVERFLOW: Final = -(2**63)
"""The answer of an amount that does not fit."""
SCRATCH: Final = 40
FIRST: Final = 11
"""Where in `w` the lowest limb is; before are factors, divisors and a limb of nothing."""

INVERSE, PRICE_STEP, SIZE_STEP, MIN_SIZE, SIZE_UNIT, CASH_UNIT = range(6)
"""Where what stands in `constants`."""
FEE, FEE_BASE, SLIPPAGE, SLIPPAGE_BASE = range(6, 10)
"""Rates are reduced fractions of a base, 75,000 / 10**8 as 3 / 4,000: so most products fit 63 bits."""
ABOVE, BELOW = 10, 13
"""Three factors each."""
ABOVE_MOST, BELOW_MOST = 16, 17
"""Up to what number its product with the first of three factors is sure to fit 63 bits; −1 where another is
not 1."""
CASH, POSITION, COST, REALISED, FEES = range(5)
"""Where what stands in an account."""

_FITS: Final = 9.2e18
"""A product of floats up to this is one of integers below 2**63."""
_MASK: Final = np.uint64(2**32 - 1)
_HALF: Final = np.uint64(32)
_TOP: Final = np.uint64(63)
_ONE: Final = np.uint64(1)
_ZERO: Final = np.uint64(0)
_END: Final = np.uint64(2**32)
"""Stands below the lowest limb, which is smaller."""

INT, UINT, BOOL, FLOAT = types.int64, types.uint64, types.boolean, types.float64
VECTOR, WORDS = types.int64[::1], types.uint64[::1]
OPTIONS: Final[dict[str, Any]] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": False,
    "_nrt": False,
    "no_cfunc_wrapper": True,
}


INLINED: Final[dict[str, Any]] = {**OPTIONS, "forceinline": True}
"""A call of these costs more than what they do: an array is passed as seven words."""


def constants(market: Market) -> I8:
    """What the money of a market depends on.

    One unit of size at price p is worth `ABOVE` × p / `BELOW` units of cash, or `ABOVE` / (p × `BELOW`) of
    inverse contracts; both are reduced, and products of three factors below 2**63.
    """
    inverse = market.contract == "inverse"
    power = market.cash_scale - market.size_scale - market.multiplier_scale
    power += market.price_scale if inverse else -market.price_scale
    above, below = market.multiplier * 10 ** max(power, 0), 10 ** max(-power, 0)
    common = gcd(above, below)
    rates = [part // gcd(rate, E8) for rate in (market.fee, market.slippage) for part in (rate, E8)]
    factors = (_factors(above // common), _factors(below // common))
    return np.array(
        [
            inverse,
            *(market.price_step, market.size_step, market.min_size),
            *(10**market.size_scale, 10**market.cash_scale),
            *rates,
            *(*factors[0], *factors[1]),
            *(int(_FITS) // first if second == third == 1 else -1 for first, second, third in factors),
        ],
        np.int64,
    )


def _factors(number: int) -> tuple[int, int, int]:
    """Three factors below 2**63 of a number below 2**53 × 10**36, or of one that divides 10**54."""
    first = number if number <= INT64_MAX else gcd(number, 10**18)
    number //= first
    second = number if number <= INT64_MAX else gcd(number, 10**18)
    return first, second, number // second


@njit(INT(WORDS, INT, UINT), **OPTIONS)
def times(w: U8, n: int, factor: np.uint64) -> int:
    """The number of `n` limbs in `w`, times `factor`; returns how many limbs it has then."""
    low = factor & _MASK
    high = factor >> _HALF
    before = carry = _ZERO
    for i in range(FIRST, FIRST + n + 2):
        limb = w[i] if i < FIRST + n else _ZERO
        a = limb * low
        b = before * high
        total = (a & _MASK) + (b & _MASK) + carry
        w[i] = total & _MASK
        carry = (total >> _HALF) + (a >> _HALF) + (b >> _HALF)
        before = limb
    n += 2
    while n > 0 and w[FIRST + n - 1] == _ZERO:
        n -= 1
    return n


@njit(BOOL(WORDS, INT, UINT), **OPTIONS)
def over(w: U8, n: int, divisor: np.uint64) -> bool:
    """The number of `n` limbs in `w` by `divisor`, rounded down; says whether something is left over.

    Long division by two limbs, whose highest bit is set by a shift of both numbers: Knuth, The Art of
    Computer Programming 2, 4.3.1, algorithm D. By one limb the machine divides.
    """
    rest = shift = w[FIRST + n] = _ZERO
    i = FIRST + n
    if divisor <= _MASK:
        while w[i] != _END:
            limb = rest << _HALF | w[i]
            w[i] = limb // divisor
            rest = limb - w[i] * divisor
            i -= 1
        return rest != _ZERO
    while divisor >> _TOP == _ZERO:
        divisor = divisor << _ONE
        shift = shift + _ONE
    high = divisor >> _HALF
    low = divisor & _MASK
    while w[i] != _END:
        limb = (w[i] << shift | (w[i - 1] & _MASK) >> (_HALF - shift)) & _MASK
        digit = rest // high
        left = rest - digit * high
        while left <= _MASK and (digit > _MASK or digit * low > (left << _HALF | limb)):
            digit = digit - _ONE
            left = left + high
        rest = (rest << _HALF | limb) - digit * divisor
        w[i] = digit
        i -= 1
    return rest != _ZERO


@njit(INT(WORDS, BOOL), **OPTIONS)
def wide(w: U8, up: bool) -> int:
    """`quotient` of the factors that `w` begins with and, behind a 0, of the divisors up to the next 0.
    Dividing by one after another rounds as dividing once."""
    w[FIRST - 1], w[FIRST] = _END, _ONE
    n = 1
    i = 0
    while w[i] != _ZERO:
        n = times(w, n, w[i])
        i += 1
    i += 1
    left = False
    while w[i] != _ZERO:
        left = over(w, n, w[i]) or left
        i += 1
    for k in range(FIRST + 2, FIRST + n):
        if w[k] != _ZERO:
            return OVERFLOW
    result = w[FIRST + 1] << _HALF | w[FIRST]
    if up and left:
        result = result + _ONE
    return OVERFLOW if result >> _TOP != _ZERO else int(np.int64(result))


@njit(INT(INT, INT, BOOL), **INLINED)
def divided(above: int, below: int, up: bool) -> int:
    """above / below of numbers ≥ 0 and > 0, rounded up or down."""
    if below == 1:  # a division takes as long as all the rest
        return above
    whole, part = np.uint64(above), np.uint64(below)
    result = whole // part
    return int(np.int64(result)) + (up and result * part != whole)


@njit(INT(WORDS, INT, INT, INT, INT, INT, INT, INT, INT, BOOL), **INLINED)
def quotient(w: U8, a: int, b: int, c: int, d: int, p: int, q: int, r: int, s: int, up: bool) -> int:
    """a b c d / (p q r s) of numbers ≥ 0 and > 0, rounded up or down; `OVERFLOW` where it does not fit."""
    product = float(a) * float(b) * float(c) * float(d)
    if product == 0.0:
        return 0
    if product < _FITS and float(p) * float(q) * float(r) * float(s) < _FITS:
        return divided(a * b * c * d, p * q * r * s, up)
    w[0], w[1], w[2], w[3], w[4] = np.uint64(a), np.uint64(b), np.uint64(c), np.uint64(d), _ZERO
    w[5], w[6], w[7], w[8], w[9] = np.uint64(p), np.uint64(q), np.uint64(r), np.uint64(s), _ZERO
    return wide(w, up)


@njit(INT(WORDS, INT, INT, INT, BOOL), **OPTIONS)
def wide_share(w: U8, amount: int, part: int, whole: int, up: bool) -> int:
    """`share` of numbers of any length."""
    return quotient(w, amount, part, 1, 1, whole, 1, 1, 1, up)


@njit(INT(WORDS, INT, INT, INT, BOOL), **INLINED)
def share(w: U8, amount: int, part: int, whole: int, up: bool) -> int:
    """amount × part / whole of numbers ≥ 0 and > 0, rounded up or down; `OVERFLOW` where it does not fit."""
    if float(amount) * float(part) > _FITS:
        return wide_share(w, amount, part, whole, up)
    return divided(amount * part, whole, up)


@njit(INT(INT, INT, INT, INT, INT), **INLINED)
def summed(a: int, b: int, c: int, d: int, e: int) -> int:
    """a + b + c + d + e. One that wraps is off by a multiple of 2**64, which the sum of floats tells."""
    if (a ^ a >> 1 | b ^ b >> 1 | c ^ c >> 1 | d ^ d >> 1 | e ^ e >> 1) >> 60 == 0:  # all within ± 2**60
        return a + b + c + d + e
    total = int(np.int64(a) + np.int64(b) + np.int64(c) + np.int64(d) + np.int64(e))
    if abs(float(total) - (float(a) + float(b) + float(c) + float(d) + float(e))) > 1e18:
        return OVERFLOW
    return total if -INT64_MAX <= total <= INT64_MAX else OVERFLOW


@njit(BOOL(VECTOR, INT, INT), **INLINED)
def fits(m: I8, size: int, price: int) -> bool:
    """Whether a value is sure to fit, and to be a quotient of numbers of 63 bits."""
    if m[INVERSE]:
        return size <= m[ABOVE_MOST] and price <= m[BELOW_MOST]
    return float(size) * float(price) <= float(m[ABOVE_MOST]) and m[BELOW_MOST] >= 0


@njit(INT(VECTOR, WORDS, INT, INT, BOOL), **OPTIONS)
def wide_value(m: I8, w: U8, size: int, price: int, up: bool) -> int:
    """`value` of numbers of any length."""
    if m[INVERSE]:
        return quotient(w, size, m[ABOVE], m[ABOVE + 1], m[ABOVE + 2], price, m[BELOW], m[BELOW + 1], 1, up)
    return quotient(w, size, price, m[ABOVE], m[ABOVE + 1], m[BELOW], m[BELOW + 1], m[BELOW + 2], 1, up)


@njit(INT(VECTOR, WORDS, INT, INT, BOOL), **INLINED)
def value(m: I8, w: U8, size: int, price: int, up: bool) -> int:
    """Value of `size` ≥ 0 at `price`, in the settle currency, rounded up or down."""
    if not fits(m, size, price):
        return wide_value(m, w, size, price, up)
    if m[INVERSE]:
        return divided(size * m[ABOVE], price * m[BELOW], up)
    return divided(size * price * m[ABOVE], m[BELOW], up)


@njit(types.UniTuple(INT, 2)(VECTOR, WORDS, INT, INT), **INLINED)
def values(m: I8, w: U8, size: int, price: int) -> tuple[int, int]:
    """Value of `size` ≥ 0 at `price` rounded down, and rounded up, by one division."""
    if not fits(m, size, price):
        return wide_value(m, w, size, price, False), wide_value(m, w, size, price, True)
    if m[INVERSE]:
        above, below = size * m[ABOVE], price * m[BELOW]
    else:
        above, below = size * price * m[ABOVE], m[BELOW]
    down = divided(above, below, False)
    return down, down + (down * below != above)


@njit(INT(VECTOR, INT), **INLINED)
def in_steps(m: I8, size: int) -> int:
    """A size ≥ 0 rounded down to the step."""
    return size if m[SIZE_STEP] == 1 else size // m[SIZE_STEP] * m[SIZE_STEP]


@njit(INT(VECTOR, WORDS, INT, INT), **OPTIONS)
def wide_size_for(m: I8, w: U8, cash: int, price: int) -> int:
    """`size_for` of numbers of any length."""
    if m[INVERSE]:
        size = quotient(
            w, cash, price, m[BELOW], m[BELOW + 1], m[ABOVE], m[ABOVE + 1], m[ABOVE + 2], 1, False
        )
    else:
        size = quotient(
            w, cash, m[BELOW], m[BELOW + 1], m[BELOW + 2], price, m[ABOVE], m[ABOVE + 1], 1, False
        )
    return OVERFLOW if size == OVERFLOW else in_steps(m, size)


@njit(INT(VECTOR, WORDS, INT, INT), **INLINED)
def size_for(m: I8, w: U8, cash: int, price: int) -> int:
    """The largest size, in steps, whose value (rounded up) is ≤ `cash`; 0 when there is none."""
    if cash <= 0:
        return 0
    if m[INVERSE]:
        if float(cash) * float(price) <= float(m[BELOW_MOST]) and m[ABOVE_MOST] >= 0:
            return in_steps(m, divided(cash * price * m[BELOW], m[ABOVE], False))
    elif cash <= m[BELOW_MOST] and price <= m[ABOVE_MOST]:
        return in_steps(m, divided(cash * m[BELOW], price * m[ABOVE], False))
    return wide_size_for(m, w, cash, price)


@njit(INT(VECTOR, WORDS, INT), **INLINED)
def fee_of(m: I8, w: U8, amount: int) -> int:
    """Fee of a trade whose value, rounded up, is `amount`; rounded up, and `OVERFLOW` where that is."""
    if amount == OVERFLOW:
        return OVERFLOW
    return share(w, amount, m[FEE], m[FEE_BASE], True)


@njit(INT(VECTOR, WORDS, INT, INT), **INLINED)
def fee(m: I8, w: U8, size: int, price: int) -> int:
    """Fee of a trade, rounded up."""
    return fee_of(m, w, value(m, w, size, price, True))


@njit(INT(VECTOR, WORDS, INT, BOOL), **INLINED)
def slipped(m: I8, w: U8, price: int, buy: bool) -> int:
    """The price after slippage, rounded to the price step against the bot; a sell never below one step."""
    step, moved, base = m[PRICE_STEP], m[SLIPPAGE], m[SLIPPAGE_BASE]
    if moved == 0 and step == 1:
        return price
    if buy:
        return quotient(w, price, base + moved, 1, 1, base, step, 1, 1, True) * step
    return max(quotient(w, price, base - moved, 1, 1, base, step, 1, 1, False) * step, step)


@njit(BOOL(VECTOR, INT), **INLINED)
def rises(m: I8, position: int) -> bool:
    """Whether profit is exit value − entry value; elsewhere it is the reverse."""
    return (position > 0) != (m[INVERSE] != 0)


@njit(INT(INT, INT, BOOL), **INLINED)
def closing(position: int, size: int, buy: bool) -> int:
    """The part of a trade of `size` that closes what is held."""
    if position < 0 and buy:
        return min(size, -position)
    return min(size, position) if position > 0 and not buy else 0


@njit(INT(VECTOR, WORDS, INT, INT, INT, INT), **INLINED)
def equity(m: I8, w: U8, cash: int, position: int, cost: int, price: int) -> int:
    """Cash, cost and unrealised profit at `price`."""
    if position == 0:
        return cash
    up = not rises(m, position)
    worth = value(m, w, abs(position), price, up)
    if worth == OVERFLOW:
        return OVERFLOW
    return summed(cash, cost, cost, -worth, 0) if up else summed(cash, worth, 0, 0, 0)


Traded = tuple[bool, int, int, int, int, int, int, int]
"""Whether it fits; then the account, field by field; then fee and realised profit of the trade."""


@njit(types.Tuple((BOOL, *[INT] * 7))(VECTOR, WORDS, VECTOR, INT, INT, BOOL), **INLINED)
def traded(m: I8, w: U8, account: I8, size: int, price: int, buy: bool) -> Traded:
    """What a trade of `size` > 0 at `price` makes of an account, which stays as it is."""
    held, locked = account[POSITION], account[COST]
    closes = closing(held, size, buy)
    part = gain = entry = worth = 0
    if closes > 0:
        down, worth = values(m, w, closes, price)
        part = locked if closes == abs(held) else share(w, locked, closes, abs(held), False)
        if rises(m, held):
            gain = down - part if down != OVERFLOW else OVERFLOW
        else:
            gain = part - worth if worth != OVERFLOW else OVERFLOW
    if size > closes:
        down, above = values(m, w, size - closes, price)
        entry = above if rises(m, 1 if buy else -1) else down
        worth = above if closes == 0 else value(m, w, size, price, True)
    paid = fee_of(m, w, worth)
    if min(gain, entry, paid) == OVERFLOW:
        return False, 0, 0, 0, 0, 0, 0, 0
    cash = summed(account[CASH], part, gain, -entry, -paid)
    position = summed(held, size if buy else -size, 0, 0, 0)
    cost = summed(locked, -part, entry, 0, 0)
    realised = summed(account[REALISED], gain, 0, 0, 0)
    fees = summed(account[FEES], paid, 0, 0, 0)
    fits = min(cash, position, cost, realised, fees) != OVERFLOW
    return fits, cash, position, cost, realised, fees, paid, gain


@njit(types.Tuple((BOOL, INT, INT))(VECTOR, WORDS, VECTOR, INT, INT, BOOL), **INLINED)
def trade(m: I8, w: U8, account: I8, size: int, price: int, buy: bool) -> tuple[bool, int, int]:
    """Trades `size` > 0 at `price`: (True, fee, realised profit); or (False, 0, 0) where an amount does not
    fit, and the account stays as it was."""
    fits, cash, position, cost, realised, fees, paid, gain = traded(m, w, account, size, price, buy)
    if not fits:
        return False, 0, 0
    account[CASH] = cash
    account[POSITION] = position
    account[COST] = cost
    account[REALISED] = realised
    account[FEES] = fees
    return True, paid, gain


@njit(INT(VECTOR, WORDS, VECTOR, INT, INT, BOOL), **INLINED)
def affordable(m: I8, w: U8, account: I8, size: int, price: int, buy: bool) -> int:
    """The part of a market order of `size` that fits: whatever closes, and what opens without leverage.

    What opens is limited so that its value and fee fit the cash left after the close, and that the value of
    the whole position stays within equity.
    """
    closes = closing(account[POSITION], size, buy)
    cash, position, cost = account[CASH], account[POSITION], account[COST]
    if closes > 0:
        fits, cash, position, cost, _, _, _, _ = traded(m, w, account, closes, price, buy)
        if not fits:
            return OVERFLOW
    opening = size - closes
    if opening == 0:
        return closes
    room = max(cash, 0)
    if position != 0 and not rises(m, position):
        worth = value(m, w, abs(position), price, True)
        if worth == OVERFLOW:
            return OVERFLOW
        if worth > cost:  # twice, in steps that can't wrap
            room = max(room - (worth - cost), 0)
            room = max(room - (worth - cost), 0)
    worth = value(m, w, opening, price, True)
    if worth == OVERFLOW:
        return OVERFLOW
    if worth > room - fee_of(m, w, worth):
        without_fee = share(w, room, m[FEE_BASE], m[FEE_BASE] + m[FEE], False)
        most = size_for(m, w, without_fee, price)
        if most == OVERFLOW:
            return OVERFLOW
        opening = min(opening, most)  # its value is at most `without_fee`, so its fee, rounded up, fits too
    return closes + opening
