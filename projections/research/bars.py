"""Bars alone, without the trades that they were made of: merged, and filled by an assumption.

A journal knows which trade fills what a close decides; bars do not. So one of four rules is assumed, all of
which fill within the next bar that has trades in it, and every result says which.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from projections.research.arrays import STRETCH, Zeros, stretches
from projections.research.columns import BAR, I8, NONE_YET, TRADE, Columns, Floats, Table
from streams.events import TIMEFRAMES_NS, CandleFlag, Market, Timeframe

Fill: TypeAlias = Literal["next-open", "next-close", "next-mid", "worst"]
FILLS: Final[dict[Fill, str]] = {
    "next-open": "fills at the next bar's open, an assumption",
    "next-close": "fills at the next bar's close, an assumption",
    "next-mid": "fills halfway between the next bar's high and low, an assumption",
    "worst": "buys fill at the next bar's high and sales at its low, an assumption",
}
PRICE_MAX: Final = 2**53
"""At its scale; larger ones have no exact float."""
OPEN, HIGH, LOW, CLOSE = range(4)
NAMES = ("open", "high", "low", "close")


class BarsError(ValueError):
    """Bars that nothing can be tested on; the message names the row, the value and the way out."""


class Bars(NamedTuple):
    """Of one market, oldest first: `ends` int64[L] ns UTC, `prices` int64[L, 4] open, high, low, close,
    `volume` int64[L], at these scales. `flags` int64[L]: `CandleFlag`. `rows`: where each stands in its
    source, from 1; none for bars that were merged."""

    ends: I8
    prices: I8
    volume: I8
    flags: I8
    rows: range
    price_scale: int
    size_scale: int

    def take(self, which: slice) -> "Bars":
        return self._replace(
            ends=self.ends[which],
            prices=self.prices[which],
            volume=self.volume[which],
            flags=self.flags[which],
            rows=self.rows[which],
        )

    def parts(self, beyond: int = 0) -> "Iterator[Bars]":
        """Stretch by stretch, each with so many bars beyond it."""
        return map(self.take, stretches(len(self.ends), beyond))


def longer(ends: I8, length: int) -> int:
    """How many bars of `length` ns these are merged to."""
    return 1 + sum(
        int(np.count_nonzero(np.diff(-(-ends[rows] // length)))) for rows in stretches(len(ends), 1)
    )


def undivided(ends: I8, length: int) -> Iterator[slice]:
    """Stretches of bars that divide none of `length` ns."""
    cuts = [0]
    while cuts[-1] < len(ends):
        newest = int(ends[min(cuts[-1] + STRETCH, len(ends)) - 1])
        cut = int(np.searchsorted(ends, newest // length * length, side="right"))
        if cut <= cuts[-1]:
            cut = int(np.searchsorted(ends, -(-newest // length) * length, side="right"))
        cuts.append(cut)
    return (slice(*cut) for cut in pairwise(cuts))


def merged(bars: Bars, length: int) -> tuple[Bars, I8]:
    """Bars of `length` ns, and of how many each is made: as the fold merges minutes, so that those which
    stand still without a trade give no price, unless there are no others."""
    still = (bars.flags & int(CandleFlag.EMPTY) != 0) & (bars.prices == bars.prices[:, :1]).all(axis=1)
    ends, first, whose, counts = _in_turn(bars.ends, length)
    priced = ~still | np.bitwise_and.reduceat(still, first)[whose]
    prices = _prices(bars.prices[priced], np.searchsorted(whose[priced], np.arange(len(ends))))
    volume, flags = np.add.reduceat(bars.volume, first), np.bitwise_and.reduceat(bars.flags, first)
    return Bars(ends, prices, volume, flags, range(0), bars.price_scale, bars.size_scale), counts


def merged_values(ends: I8, values: Floats, length: int) -> tuple[I8, Floats]:
    """The same of open, high, low, close, volume f8[L, 5], none of which stands still."""
    ends, first, _, _ = _in_turn(ends, length)
    return ends, np.column_stack([_prices(values[:, :4], first), np.add.reduceat(values[:, 4], first)])


def _in_turn(ends: I8, length: int) -> tuple[I8, I8, I8, I8]:
    """The ends of the longer bars; the first bar of each, whose each bar is, and how many each has."""
    return np.unique(-(-ends // length) * length, return_index=True, return_inverse=True, return_counts=True)


def _prices(prices: npt.NDArray[Any], first: I8) -> npt.NDArray[Any]:
    """Open, high, low, close of stretches [n, 4] that begin with these rows."""
    return np.column_stack(
        [
            prices[first, OPEN],
            np.maximum.reduceat(prices[:, HIGH], first),
            np.minimum.reduceat(prices[:, LOW], first),
            prices[np.append(first[1:], len(prices)) - 1, CLOSE],
        ]
    )


# ------------------------------------------------------------------ columns


def columns_of(
    bars: Bars, market: Market, timeframe: Timeframe, fill: Fill, zeros: Zeros, final: Bars | None = None
) -> Columns:
    """Columns that a backtest runs over; bars and market at the same scales. `final`: the same bars in their
    last revision.

    Raises `BarsError` where prices do not fit the decimal more that "next-mid" needs: then they are made
    finer in place.
    """
    if fill == "next-mid" and any(
        ((part.prices[:, HIGH] + part.prices[:, LOW]) % 2).any() for part in bars.parts()
    ):
        bars, final = finer(bars), None if final is None else finer(final)
        market = grown(market, bars.price_scale, bars.size_scale)
    count = len(bars.ends)
    filled = sum(int(np.count_nonzero(_filling(bars.flags, rows))) for rows in stretches(count))
    table, trades, revisions = zeros(count, BAR), zeros(filled, TRADE), zeros(count, np.int64)
    last = table if final is None else zeros(count, BAR)
    done = 0
    for rows in stretches(count):
        part, filling = bars.take(rows), _filling(bars.flags, rows)
        _put(table[rows], part, rows.start)
        following = done + np.cumsum(filling)
        table["trade"][rows] = np.where(following < filled, following, NONE_YET)
        numbers = np.flatnonzero(filling)
        made = trades[done : done + len(numbers)]
        _put_trades(made, part, numbers, timeframe, fill)
        made["place"] += 2 * rows.start
        made["next"] = np.arange(done + 1, done + len(numbers) + 1)
        done += len(numbers)
        if final is not None:
            revised = final.take(rows)
            _put(last[rows], revised, rows.start)
            last["trade"][rows] = table["trade"][rows]
            revisions[rows] = (part.prices != revised.prices).any(axis=1) | (part.volume != revised.volume)
    trades["next"][-1:] = NONE_YET
    return Columns(
        market.key, timeframe, (market,), table, last, revisions, trades, (), -1, -1, "", FILLS[fill]
    )


def above(columns: Columns, timeframe: Timeframe, zeros: Zeros) -> Columns:
    """The candles of a higher timeframe that its bars make, as the fold merges minutes: the first of what
    there is, and the last only where its end is reached."""
    bars, market, length = columns.bars, columns.eras[0], TIMEFRAMES_NS[timeframe]
    ends: I8 = bars["end"]
    table, done = zeros(longer(ends, length) if len(ends) else 0, BAR), 0
    for rows in undivided(ends, length):
        part, of = bars[rows], range(rows.start, rows.stop)
        prices = np.column_stack([part[name] for name in NAMES])
        own = Bars(
            part["end"], prices, part["volume"], part["flags"], of, market.price_scale, market.size_scale
        )
        made, _ = merged(own, length)
        _put(table[done : done + len(made.ends)], made, done)
        done += len(made.ends)
    if done and table["end"][-1] > ends[-1]:
        table = table[:-1]
    return columns._replace(timeframe=timeframe, bars=table, final=table, trades=columns.trades[:0])


def finer(bars: Bars) -> Bars:
    """With a decimal more for prices, in place."""
    if any(int(part.prices.max()) > PRICE_MAX // 10 for part in bars.parts()):
        raise BarsError("the middle of its prices needs a decimal more than fits: choose another fill")
    for part in bars.parts():
        np.multiply(part.prices, 10, out=part.prices)
    return bars._replace(price_scale=bars.price_scale + 1)


def grown(market: Market, price_scale: int, size_scale: int) -> Market:
    """The market at scales that are at least these; every amount of it stays what it is."""
    price, size = max(price_scale - market.price_scale, 0), max(size_scale - market.size_scale, 0)
    return replace(
        market,
        price_scale=market.price_scale + price,
        price_step=market.price_step * 10**price,
        size_scale=market.size_scale + size,
        size_step=market.size_step * 10**size,
        min_size=market.min_size * 10**size,
    )


def _put(table: Table, bars: Bars, first: int) -> None:
    """These bars, which begin with the bar `first`."""
    table["end"], table["volume"], table["flags"] = bars.ends, bars.volume, bars.flags
    for column, name in enumerate(NAMES):
        table[name] = bars.prices[:, column]
    table["place"] = 2 * np.arange(first, first + len(table)) + 1
    table["now"], table["live"] = bars.ends, 1
    for name in ("first_offset", "last_offset", "offset"):
        table[name] = -1


def _filling(flags: I8, rows: slice) -> npt.NDArray[np.bool_]:
    """Which of these bars have a trade that fills; the first bar of all follows no close."""
    filling = (flags[rows] & int(CandleFlag.EMPTY)) == 0
    if rows.start == 0:
        filling[:1] = False
    return filling


def _put_trades(trades: Table, bars: Bars, which: I8, timeframe: Timeframe, fill: Fill) -> None:
    """One before the close of each of those bars with these numbers."""
    open_, high, low, close = bars.prices[which].T
    length = TIMEFRAMES_NS[timeframe]
    price, age = {
        "next-open": (open_, length),
        "next-close": (close, 0),
        "next-mid": ((high + low) // 2, length // 2),
        "worst": (high, 0),
    }[fill]
    trades["time"], trades["price"], trades["size"] = bars.ends[which] - age, price, bars.volume[which]
    trades["sell"] = low if fill == "worst" else 0
    trades["place"], trades["live"] = 2 * which, 1
    trades["offset"], trades["row"] = -1, -1
