"""The accounts of many sets of parameters over the bars, compiled: from one event to the next.

What happens at a bar is done by the very functions that do it for one bot (`projections.research.account`),
and only at bars where something may happen: a target changes, an order waits, data is incomplete, a day ends.
Between them cash, position and entry value stand still, and the equity rises or falls with the price. So
closes within those of which it is known are not looked at: there it is below its last height, and not below
the lowest since.
"""

from typing import Final

import numpy as np
from numba import from_dtype, njit, types

from projections.research import tally
from projections.research.account import (
    BOT,
    FILL,
    HAPPENED,
    MARK,
    NO_ORDER,
    RUNNING,
    STEP,
    Record,
    Records,
    Words,
    at_bar,
    fill_before,
    mark,
    vouched,
)
from projections.research.columns import TRADE, Floats
from projections.research.money import (
    BOOL,
    CASH,
    COST,
    FLOAT,
    INLINED,
    INT,
    OPTIONS,
    POSITION,
    VECTOR,
    WORDS,
    equity,
    rises,
)
from projections.research.tally import TALLY, TRIP
from streams.ticks import I8

ACCOUNT_SHA256: Final = "a427d59498eeed26db7e1e569f21b67165829bac10bd2d0d4607ca3d91cac4d2"
TALLY_SHA256: Final = "9cbdefb35c6d7014955ae98fc73a8882620af3e373d08efbe54888e5968aef37"
"""As in `projections.research.decide`: numba's cache on disk looks at this file alone."""

WALK: Final = np.dtype([(name, np.int64) for name in ("low", "high", "day")])
"""A set on its way over a piece: between the closes `low` and `high` nothing is to be noted; `day` is the
next of the days that end."""

_BOT, _HAPPENED, _WALK = from_dtype(BOT), from_dtype(HAPPENED), from_dtype(WALK)
_TALLY, _TRIP, _MARKS = from_dtype(TALLY), from_dtype(TRIP), from_dtype(MARK)[::1]
_STEPS = types.Array(from_dtype(STEP), 1, "C", readonly=True)
_TRADES = types.Array(from_dtype(TRADE), 1, "C", readonly=True)
_OUT = _HAPPENED[::1]
STRIDE = 8
PRICE_MAX = 2.0**53
_NONE_LOW, _NONE_HIGH = 2**62, -(2**62)


@njit(BOOL(_BOT, _TALLY, _TRIP, WORDS, _OUT, FLOAT, BOOL), **INLINED)
def _told(b: Record, t: Record, trip: Record, w: Words, out: Records, unit: float, inverse: bool) -> bool:
    """Count what has happened; whether something was filled."""
    filled = False
    for k in range(b.told):
        if out[k].kind == FILL:
            filled = True
            tally.fill(t, out[k], unit, inverse)
            t.money += tally.amounts(trip, out[k])
            to_close = tally.to_close(out[k], w)
            if tally.leaves(trip, out[k], to_close):
                tally.trade(t, trip.net, trip.entry)
            tally.enters(trip, out[k], to_close)
            t.opened += out[k].opens > 0
    b.told = b.changed = 0
    return filled


@njit(types.void(_TALLY, _WALK, INT, INT, INT, INT, INT, VECTOR, VECTOR), **INLINED)
def _note(
    t: Record, v: Record, worth: int, i: int, end: int, close: int, position: int, day_bars: I8, days: I8
) -> None:
    """The equity at the close of bar `i`."""
    tally.mark(t, worth, end)
    t.bars += 1
    t.exposed += position != 0
    while v.day < day_bars.shape[0] and day_bars[v.day] == i:
        days[v.day] = worth
        v.day += 1
    if t.peak_end == end or worth <= 0:
        v.low, v.high = _NONE_LOW, _NONE_HIGH
    else:
        v.low, v.high = min(v.low, close), max(v.high, close)


@njit(types.void(_TALLY, _WALK, INT, INT, INT, VECTOR, VECTOR, VECTOR), **INLINED)
def _rest(t: Record, v: Record, cash: int, first: int, last: int, ends: I8, day_bars: I8, days: I8) -> None:
    """Bars `first` … `last` − 1 of a set that holds nothing."""
    tally.mark(t, cash, ends[first])
    if t.peak_end == ends[first]:
        t.peak_end = ends[last - 1]
    t.bars += last - first
    while v.day < day_bars.shape[0] and day_bars[v.day] < last:
        days[v.day] = cash
        v.day += 1


@njit(FLOAT(INT, INT, INT, INT, FLOAT, BOOL, BOOL), **INLINED)
def _price(worth: int, cash: int, position: int, cost: int, unit: float, inverse: bool, up: bool) -> float:
    """About the price at which the equity is `worth`; 0 where none is so low."""
    value = float(worth) - cash if up else float(cash) + 2.0 * cost - worth
    size = abs(position) * unit
    if value <= 0.0:
        return np.inf if inverse else 0.0
    return size / value if inverse else value / size


@njit(types.void(VECTOR, WORDS, VECTOR, _TALLY, _WALK, FLOAT, BOOL), **INLINED)
def _widen(m: I8, w: Words, account: I8, t: Record, v: Record, unit: float, inverse: bool) -> None:
    """Look for prices far apart between which nothing is to be noted: guessed, and kept where it is so."""
    cash, position, cost = account[CASH], account[POSITION], account[COST]
    up = rises(m, position)
    heights = _price(t.peak, cash, position, cost, unit, inverse, up)
    depths = _price(t.low, cash, position, cost, unit, inverse, up)
    high = int(min(max(heights, depths), PRICE_MAX)) - 1
    low = int(min(heights, depths, PRICE_MAX)) + 2
    if low < v.low and high > v.high:
        one = equity(m, w, cash, position, cost, low)
        other = equity(m, w, cash, position, cost, high)
        if min(one, other) >= max(t.low, 1) and max(one, other) < t.peak:
            v.low, v.high = low, high


@njit(BOOL(VECTOR, INT, INT, INT), **INLINED)
def _within(closes: I8, first: int, low: int, high: int) -> bool:
    """Whether the next `STRIDE` closes lie so; without a branch, which the processor does at once."""
    within = True
    for i in range(first, first + STRIDE):
        within &= (closes[i] >= low) & (closes[i] <= high)
    return within


@njit(
    INT(
        VECTOR, WORDS, VECTOR, _BOT, _TALLY, _WALK, FLOAT, BOOL, _STEPS, VECTOR, VECTOR, INT, INT, VECTOR,
        VECTOR, _MARKS, _OUT,
    ),
    **INLINED,
)  # fmt: skip
def _hold(
    m: I8, w: Words, account: I8, b: Record, t: Record, v: Record, unit: float, inverse: bool, bars: Records,
    closes: I8, ends: I8, first: int, last: int, day_bars: I8, days: I8, marks: Records, out: Records,
) -> int:  # fmt: skip
    """Bars from `first` on of a set that holds something, until one at which it is ruined, or `last`."""
    position = account[POSITION]
    if v.low >= v.high:
        _widen(m, w, account, t, v, unit, inverse)
    i = first
    while i < last:
        low, high, begun = v.low, v.high, i
        to = min(last, day_bars[v.day]) if v.day < day_bars.shape[0] else last
        while i + STRIDE <= to and _within(closes, i, low, high):
            i += STRIDE
        while i < to and low <= closes[i] <= high:
            i += 1
        t.bars += i - begun
        t.exposed += i - begun
        if i == last:
            break
        worth = equity(m, w, account[CASH], position, account[COST], closes[i])
        if worth <= 0:
            mark(account, b, bars[i], i, worth, marks, out)
        _note(t, v, worth, i, ends[i], closes[i], position, day_bars, days)
        i += 1
        if worth <= 0:
            break
    return i


@njit(INT(_BOT, VECTOR, INT, VECTOR, INT, INT, INT), **INLINED)
def _next(b: Record, changes: I8, change: int, incomplete: I8, gap: int, i: int, last: int) -> int:
    """The next bar from `i` on at which more may happen than a mark."""
    if b.order != NO_ORDER and b.order_trade >= 0:
        return i
    if b.steps == 0:
        return last
    if b.resumes != 0 and b.standing == RUNNING:
        return i
    if change < changes.shape[0]:
        last = min(last, changes[change])
    if gap < incomplete.shape[0]:
        last = min(last, incomplete[gap])
    return min(last, b.fails) if b.fails >= i else last


@njit(
    types.void(
        VECTOR, WORDS, VECTOR, _BOT, _TALLY, _TRIP, _WALK, FLOAT, BOOL, _STEPS, _TRADES, VECTOR, VECTOR,
        VECTOR, INT, INT, VECTOR, types.float64[::1], VECTOR, VECTOR, _MARKS, _OUT,
    ),
    **INLINED,
)  # fmt: skip
def _over(
    m: I8, w: Words, account: I8, b: Record, t: Record, trip: Record, v: Record, unit: float, inverse: bool,
    bars: Records, trades: Records, closes: I8, ends: I8, incomplete: I8, first: int, last: int,
    changes: I8, targets: Floats, day_bars: I8, days: I8, marks: Records, out: Records,
) -> None:  # fmt: skip
    change = gap = 0
    i = first
    while i < last and b.lost == 0:
        to = _next(b, changes, change, incomplete, gap, i, last)
        if to > i and b.unmarked == 0:
            _rest(t, v, account[CASH], i, to, ends, day_bars, days)
            i = to
        elif to > i and account[POSITION] != 0:
            i = _hold(
                m, w, account, b, t, v, unit, inverse, bars, closes, ends, i, to, day_bars, days, marks, out
            )
            b.told = b.changed = 0
        else:
            target = b.target
            if change < changes.shape[0] and changes[change] == i:
                target = targets[change]
                change += 1
            lacks = gap < incomplete.shape[0] and incomplete[gap] == i
            gap += lacks
            waits = b.order != NO_ORDER
            worth = at_bar(m, w, account, b, bars[i], trades, i, target, lacks, marks, out)
            if not waits:
                b.told = b.changed = 0
            elif _told(b, t, trip, w, out, unit, inverse):
                v.low, v.high = _NONE_LOW, _NONE_HIGH
            _note(t, v, worth, i, ends[i], closes[i], account[POSITION], day_bars, days)
            i += 1


@njit(INT(_STEPS, _TRADES, INT, INT), **INLINED)
def _read(bars: Records, trades: Records, first: int, last: int) -> int:
    """Bars and their trades in order, so that memory sends many at once; sets then find them in the cache,
    and would else wait for each alone."""
    read = 0
    for i in range(first, last):
        if bars[i].trade >= 0:
            one = trades[bars[i].trade]
            read |= one.place | one.next
    return read


@njit(
    types.void(
        VECTOR, WORDS, types.int64[:, ::1], _BOT[::1], _TALLY[::1], _TRIP[::1], FLOAT, BOOL, _STEPS, _TRADES,
        VECTOR, VECTOR, VECTOR, INT, INT, VECTOR, types.float64[::1], VECTOR, VECTOR, types.int64[:, ::1],
        INT, _WALK[::1], _MARKS, _OUT,
    ),
    **OPTIONS,
)  # fmt: skip
def over_changes(
    m: I8, w: Words, accounts: I8, bots: Records, tallies: Records, trips: Records, unit: float,
    inverse: bool, bars: Records, trades: Records, closes: I8, ends: I8, incomplete: I8, first: int,
    last: int, changes: I8, targets: Floats, rows: I8, day_bars: I8, days: I8, day: int, walk: Records,
    marks: Records, out: Records,
) -> None:  # fmt: skip
    """Bars `first` … `last` − 1 of each of S sets.

    `changes` i8[C] are the bars at which its target becomes that of `targets` f8[C], from `rows[s]` to before
    `rows[s + 1]` of set `s`; `incomplete` those of the piece that are; `day_bars` i8[D] those at whose close
    UTC days end, of which `day` is the first here, and `days` i8[S, D] the equity there. `walk`, `marks`
    (without rows) and `out` are room to work in.
    """
    walk[0].low = _read(bars, trades, first, last)  # or the compiler leaves it out
    for s in range(bots.shape[0]):
        v, own = walk[0], slice(rows[s], rows[s + 1])
        v.low, v.high, v.day = _NONE_LOW, _NONE_HIGH, day
        _over(
            m, w, accounts[s], bots[s], tallies[s], trips[s], v, unit, inverse, bars, trades, closes, ends,
            incomplete, first, last, changes[own], targets[own], day_bars, days[s], marks, out,
        )  # fmt: skip


@njit(
    types.void(
        VECTOR, WORDS, types.int64[:, ::1], _BOT[::1], _TALLY[::1], _TRIP[::1], FLOAT, BOOL, _TRADES, INT,
        _OUT,
    ),
    **OPTIONS,
)  # fmt: skip
def fill_up_to(
    m: I8, w: Words, accounts: I8, bots: Records, tallies: Records, trips: Records, unit: float,
    inverse: bool, trades: Records, place: int, out: Records,
) -> None:  # fmt: skip
    """What waits is filled by trades before `place`."""
    for s in range(bots.shape[0]):
        fill_before(m, w, accounts[s], bots[s], trades, out, place)
        _told(bots[s], tallies[s], trips[s], w, out, unit, inverse)


@njit(types.void(types.int64[:, ::1], _BOT[::1], BOOL, INT, INT, INT, _OUT), **OPTIONS)
def vouch(accounts: I8, bots: Records, live: bool, time: int, price: int, trade: int, out: Records) -> None:
    """From here on somebody vouches for the market's data, or nobody does."""
    for s in range(bots.shape[0]):
        vouched(bots[s], accounts[s], out, live, time, price, trade)
        bots[s].told = 0
