"""Days of an equity curve, and the statistics that are taken of them: the same for bars of any length.

A day is one of UTC, (midnight, midnight], as candles are: the bar that ends at midnight is the last of the
day before. Its equity is that of its last bar; one without a bar keeps the equity of the day before, and
counts as a day. The first is measured from the cash that the run began with.

Definitions as those of empyrical-reloaded (Apache-2.0), `empyrical/stats.py`, with nothing risk-free.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from streams.ticks import I8

F8 = npt.NDArray[np.float64]

BLOCKS: Final = 16
"""Parts of a range whose days are summed apart."""
DAY_NS: Final = 86_400_000_000_000
DAILY: Final = ("return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown_days")
"""The fields of a row of `daily`."""
RETURN, CAGR, VOLATILITY, SHARPE, SORTINO, CALMAR, DRAWDOWN = range(len(DAILY))


class Days(NamedTuple):
    """`ends` i8[D]: the midnights at which the days end, ns UTC, without a hole. `last` i8[D]: each one's
    last bar, or that of the days before."""

    ends: I8
    last: I8


def days_of(ends: I8) -> Days:
    """The days of bars that end at `ends` i8[n], ns UTC, rising. None for no bars."""
    if not len(ends):
        return Days(np.empty(0, np.int64), np.empty(0, np.int64))
    first, last = (int(ends[i] - 1) // DAY_NS for i in (0, -1))
    midnights = np.arange(first + 1, last + 2, dtype=np.int64) * DAY_NS
    return Days(midnights, np.searchsorted(ends, midnights, side="right").astype(np.int64) - 1)


def returns_of(equity: I8, initial: int) -> F8:
    """The return f8[D] of each day of equity i8[D], as `daily` takes it; NaN where it began with nothing."""
    before = np.concatenate([np.array([initial], np.int64), equity[:-1]])
    return np.divide(equity, before, out=np.full(len(equity), np.nan), where=before > 0) - 1.0


@njit(nogil=True, error_model="numpy", fastmath=False, cache=True)
def blocks_of(returns: F8) -> F8:
    """Sum, sum of squares and count of the days in each of 16 parts of the range, f8[S, 16, 3], of returns
    f8[S, D]; a day without one counts in none."""
    sets, days = returns.shape
    blocks = np.zeros((sets, BLOCKS, 3))
    for row in range(sets):
        for day in range(days):
            change = returns[row, day]
            if not np.isnan(change):
                block = blocks[row, day * BLOCKS // days]
                block[0] += change
                block[1] += change * change
                block[2] += 1.0
    return blocks


@njit(nogil=True, error_model="numpy", fastmath=False, cache=True)
def daily(equity: I8, initial: int, annualise: float, row: F8) -> None:
    """Statistics of the equity i8[D] at each day's end into `row` f8[7], in the order of `DAILY`; NaN where
    there is nothing to divide by. `initial`: what was there before the first day; `annualise`: the days of a
    year.

    Sums are taken from the first day to the last, so that equal input gives equal bits.
    """
    row[:] = np.nan
    days = len(equity)
    if days == 0 or initial <= 0:
        return
    peak, depth = initial, 0.0
    before, defined = initial, True
    total = fallen = 0.0
    low, high = np.inf, -np.inf
    for now in equity:
        peak = max(peak, now)
        depth = min(depth, now / peak - 1.0)
        if before <= 0:
            defined = False
        else:
            change = now / before - 1.0
            total += change
            low, high = min(low, change), max(high, change)
            if change < 0.0:
                fallen += change * change
        before = now
    row[RETURN] = before / initial - 1.0
    row[DRAWDOWN] = depth
    if before > 0:
        grown = (before / initial) ** (annualise / days) - 1.0
        if np.isfinite(grown):
            row[CAGR] = grown
            if depth < 0.0:
                row[CALMAR] = grown / -depth
    if not defined or days < 2:
        return
    mean = total / days
    squares = 0.0
    before = initial
    for now in equity:
        apart = (now / before - 1.0) - mean
        squares += apart * apart
        before = now
    deviation = np.sqrt(squares / (days - 1)) if low < high else 0.0
    row[VOLATILITY] = deviation * np.sqrt(annualise)
    if deviation > 0.0:
        row[SHARPE] = mean / deviation * np.sqrt(annualise)
    if fallen > 0.0:
        row[SORTINO] = mean / np.sqrt(fallen / days) * np.sqrt(annualise)
