"""What the numbers of a run are made of, folded bar by bar, fill by fill and trade by trade, compiled.

A backtest folds a curve and its fills, a sweep each of its sets as it goes on: the same steps, so the same
bits. A tally does not grow with the bars.
"""

from typing import Any, Final, TypeAlias

import numpy as np
from numba import from_dtype, njit, types

from projections.research.account import HAPPENED
from projections.research.money import (
    BOOL,
    FLOAT,
    INLINED,
    INT,
    OPTIONS,
    OVERFLOW,
    U8,
    VECTOR,
    WORDS,
    share,
)
from streams.ticks import I8

Record: TypeAlias = Any
"""One of an array, changed in place."""
Rows: TypeAlias = Any
"""An array of them: numba knows the fields, a type checker does not."""

MONEY_SHA256: Final = "dca03d11ac7b1aaa1a46a0f1005c1637750f37a95a06f7b93bbf6d8ce8b17d70"
"""As in `projections.research.decide`: numba's cache on disk looks at this file alone."""

TALLY: Final = np.dtype(
    [
        (name, np.int64)
        for name in (
            "bars", "last", "exposed",
            "peak", "peak_end", "low", "start", "bottom", "recovered", "falling", "longest", "beyond",
            "opened", "trades", "wins", "won", "lost", "net", "worthless",
        )
    ]
    + [
        (name, np.float64)
        for name in ("depth", "shares", "shares_carry", "worst", "traded", "traded_carry", "money")
    ]
)  # fmt: skip
"""Of the bars: how many, and how many `exposed`, with a position at their close. `last` is the newest equity,
`peak` the height at which it stood last at `peak_end`, `low` the lowest since, `longest` the ns under water
until the newest height. The deepest fall is `depth` ≤ 0, from the bar that ended at `start` to that of
`bottom`, and was made good at `recovered` (−1: not yet; `falling` while it is the newest fall). `beyond`: the
end of the first bar at which the equity did not fit 64 bits, −1 for none.

Of the trades: how many were `opened`; of those that are closed how many there are and how many won, the sums
of what they made, and of the shares of result and entry, the lowest of which is `worst`; `worthless` counts
those with an entry of 0. Of the fills: what they `traded`, as floats, and the sum of their `amounts`. Each
`carry` holds the rounding errors of its sum."""

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
            "cost",  # the entry value of the account after the last of them
        )
    ]
)
"""A round trip: what a bot does between two moments without a position."""

_TALLY, _TRIP, _FILL = from_dtype(TALLY), from_dtype(TRIP), from_dtype(HAPPENED)


@njit(types.void(_TALLY, INT, INT), **INLINED)
def begin(t: Record, initial: int, end: int) -> None:
    """A run that begins with `initial` at the time `end`; the tally is all zeros."""
    t.last = t.peak = t.low = initial
    t.peak_end, t.start, t.bottom, t.recovered, t.beyond = end, -1, -1, -1, -1
    t.worst = np.inf


@njit(types.void(_TALLY, INT, INT), **INLINED)
def mark(t: Record, now: int, end: int) -> None:
    """The equity at the close of a bar that ends at `end`. Heights are compared as integers."""
    t.last = now
    if now >= t.peak:
        if t.low < t.peak:
            t.longest = max(t.longest, end - t.peak_end)
            if t.falling != 0:
                t.recovered, t.falling = end, 0
        t.peak, t.peak_end, t.low = now, end, now
    elif now < t.low:
        t.low = now
        if now == OVERFLOW and t.beyond < 0:
            t.beyond = end
        fallen = now / t.peak - 1.0
        if fallen < t.depth:
            t.depth, t.start, t.bottom, t.recovered, t.falling = fallen, t.peak_end, end, -1, 1


@njit(types.UniTuple(FLOAT, 2)(FLOAT, FLOAT, FLOAT), **INLINED)
def added(total: float, carry: float, value: float) -> tuple[float, float]:
    """A sum, with `carry` holding its rounding errors (Neumaier 1974)."""
    new = total + value
    if abs(total) >= abs(value):
        return new, carry + ((total - new) + value)
    return new, carry + ((value - new) + total)


@njit(types.void(_TALLY, INT, INT), **INLINED)
def trade(t: Record, net: int, entry: int) -> None:
    """A trade that is closed made `net` of what it entered with."""
    t.trades += 1
    t.net += net
    t.wins += net > 0
    t.won += max(net, 0)
    t.lost += min(net, 0)
    if entry == 0:
        t.worthless += 1
        return
    share = net / entry
    t.worst = min(t.worst, share)
    t.shares, t.shares_carry = added(t.shares, t.shares_carry, share)


@njit(types.void(_TALLY, _FILL, FLOAT, BOOL), **INLINED)
def fill(t: Record, f: Record, unit: float, inverse: bool) -> None:
    """A fill; `unit` is what a size of 1 is worth at a price of 1."""
    worth = f.size * unit
    worth = worth / f.price if inverse else worth * f.price
    t.traded, t.traded_carry = added(t.traded, t.traded_carry, worth)


@njit(FLOAT(_TRIP, _FILL), **INLINED)
def amounts(trip: Record, f: Record) -> float:
    """What a fill adds to sums of money, to see whether they fit; infinite where the entry of the trip that
    it goes on with does not."""
    goes_on = f.opens == 0 and f.closes == 0
    if goes_on and float(trip.entry) + max(float(f.cost) - float(trip.cost), 0.0) >= 2.0**63:
        return np.inf
    return abs(float(f.realised)) + float(f.fee)


@njit(INT(_FILL, WORDS), **INLINED)
def to_close(f: Record, w: U8) -> int:
    """The part of its fee that is paid for closing: of a fill that turns the position by size, rounded up."""
    if f.closes == 0 or f.position == 0:
        return f.fee if f.closes != 0 else 0
    return share(w, f.fee, f.size - abs(f.position), f.size, True)


@njit(BOOL(_TRIP, _FILL, INT), **INLINED)
def leaves(trip: Record, f: Record, paid: int) -> bool:
    """Whether a fill closes the trip, which then is complete; one without fills is none. `paid`: what of the
    fee is for closing."""
    if f.closes == 0 or trip.fills == 0:
        return False
    trip.closed, trip.exit_price = f.time, f.price
    trip.realised += f.realised
    trip.fees += paid
    trip.net = trip.realised - trip.fees
    trip.fills += 1
    return True


@njit(types.void(_TRIP, _FILL, INT), **INLINED)
def enters(trip: Record, f: Record, paid: int) -> None:
    """A fill that may have closed a trip begins another, or goes on with the one that is open."""
    if f.opens > 0:
        trip.opened, trip.closed, trip.entry_price, trip.exit_price = f.time, -1, f.price, -1
        trip.side = 1 if f.position > 0 else -1
        trip.size, trip.entry, trip.realised = abs(f.position), f.cost, 0
        trip.fees, trip.fills = f.fee - paid, 1
    elif f.closes > 0:
        trip.fills = 0
    elif trip.fills > 0:
        trip.size = max(trip.size, abs(f.position))
        trip.entry += max(f.cost - trip.cost, 0)
        trip.realised += f.realised
        trip.fees += f.fee
        trip.fills += 1
    trip.cost = f.cost
    trip.net = trip.realised - trip.fees


# ------------------------------------------------------------------ of a run that is over


@njit(types.void(_TALLY[::1], VECTOR, VECTOR, VECTOR, INT, INT), **OPTIONS)
def over_bars(row: Rows, ends: I8, equity: I8, position: I8, initial: int, end: int) -> None:
    """The bars of a run, with `equity` and `position` i8[n] at each, into a row of zeros."""
    t = row[0]
    begin(t, initial, end)
    for i in range(ends.shape[0]):
        mark(t, equity[i], ends[i])
        t.bars += 1
        t.exposed += position[i] != 0


@njit(types.void(_TALLY[::1], _TRIP[::1], _FILL[::1], FLOAT, BOOL), **OPTIONS)
def over_trades(row: Rows, trips: Rows, fills: Rows, unit: float, inverse: bool) -> None:
    """Its fills and its trips, which `travelled` makes of them."""
    t = row[0]
    for i in range(fills.shape[0]):
        fill(t, fills[i], unit, inverse)
    for i in range(trips.shape[0]):
        t.opened += 1
        if trips[i].closed >= 0:
            trade(t, trips[i].net, trips[i].entry)


@njit(types.Tuple((INT, FLOAT))(_FILL[::1], _TRIP[::1], _TRIP[::1], WORDS), **OPTIONS)
def travelled(fills: Rows, trips: Rows, open_: Rows, w: U8) -> tuple[int, float]:
    """How many `trips` these fills make, and the sum of their `amounts`; `open_` is a row of zeros."""
    count, money = 0, 0.0
    trip = open_[0]
    for i in range(fills.shape[0]):
        money += amounts(trip, fills[i])
        paid = to_close(fills[i], w)
        if leaves(trip, fills[i], paid):
            trips[count] = trip
            count += 1
        enters(trip, fills[i], paid)
    if trip.fills > 0:
        trips[count] = trip
        count += 1
    return count, money
