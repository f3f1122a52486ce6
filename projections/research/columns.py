"""What of a market's journal a strategy over one timeframe can meet: its candles, each with the trade that
fills whatever its close decides, and the commands between them.

A paper order fills at the first trade behind the row that decided it, so for a decision at a close it is the
journal that says which trade that is, not the strategy. `projections.research.gather` makes these columns in
one pass over the ticks; a loop over bars then has the fills of a live bot.

*Place*: a running number over the market's journal. Each folded row has one, and so has each record that is
an event of the market, and each change of who vouches for its data, before the rows that change it. An order
whose trade stands before the place of something was filled before it happened; one whose trade stands at the
place of a bar was not, since a row closes candles before it fills.

Why: ADR 31.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from projections.research.arrays import IN_MEMORY, Zeros, stretches
from streams.events import Bars, Command, Market

I8 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Table = npt.NDArray[np.void]

NONE_YET = -1
"""No such trade yet."""
NOT_KEPT = -2
"""There may be such a trade."""

BAR = np.dtype(
    [
        (name, np.int64)
        for name in (
            "end",  # ns UTC
            *("open", "high", "low", "close"),  # at the price scale of its era
            *("volume", "trades"),
            "flags",  # `CandleFlag`
            *("first_offset", "last_offset"),  # in the journal
            "place",  # of the row that closed it
            "now",  # that row's time, ns
            "offset",  # of that row's record in the journal
            "era",
            "live",  # whether somebody vouched for the market's data then
            "trade",  # the first that may fill what this close decides, or `NONE_YET`
        )
    ]
)
"""A candle as it closed, which is its revision 0."""

TRADE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "time",  # ns UTC
            *("price", "size"),  # at the scales of its era
            "sell",  # the price of a sale where another is assumed, else 0
            *("place", "offset"),
            "row",  # its number in the journal record, as `Fill.row`
            "live",
            "era",
            "next",  # the first trade behind it that is not older, `NONE_YET` or `NOT_KEPT`
        )
    ]
)
"""A trade that may fill something: no backfill, and of a minute that was open."""


class Vouched(Struct, frozen=True):
    """From here on somebody vouches for the market's data, or nobody does."""

    live: bool


Happening: TypeAlias = Command | Bars | Market | Vouched


class At(NamedTuple):
    """Something that happens between rows. `watermark`: the market's before the record (ns, −1: none), the
    time by which it decides. `close`: the last before it, at the scale before it; 0 before the first.
    `trade`: the first that may fill what it decides. `bar`: how many bars are before it."""

    place: int
    offset: int
    event: Happening
    watermark: int
    close: int
    trade: int
    bar: int


class Columns(NamedTuple):
    """One market and timeframe, over the journal records `first` … `last` of its partition.

    `eras`: the market's specifications in turn. `bars` BAR[L], `final` BAR[L]: the same candles in their last
    revision (prices, volume, trades, flags, offsets, and the era of these), of which `revisions` int64[L] is
    the number. `trades` TRADE[T], by place. `chain`: the hash chain over the records, hexadecimal, "" for
    bars of another source. `assumed`: by which rule fills are assumed, "" where the journal knows them.
    """

    market: str
    timeframe: str
    eras: tuple[Market, ...]
    bars: Table
    final: Table
    revisions: I8
    trades: Table
    events: tuple[At, ...]
    first: int
    last: int
    chain: str
    assumed: str = ""


def values_of(columns: Columns, *, final: bool = False, zeros: Zeros = IN_MEMORY) -> Floats:
    """Open, high, low, close, volume, float64 [L, 5]: bit for bit what a live bot sees."""
    bars = columns.final if final else columns.bars
    values = zeros((len(bars), 5), np.float64)
    for rows in stretches(len(bars)):
        part, found = bars[rows], values[rows]
        for number, era in enumerate(columns.eras):
            of_era = part["era"] == number
            if not of_era.any():
                continue
            for column, name in enumerate(("open", "high", "low", "close", "volume")):
                scale = era.size_scale if name == "volume" else era.price_scale
                found[of_era, column] = _divided(part[name][of_era], scale)
    return values


def _divided(integers: I8, scale: int) -> Floats:
    """As Python divides integers: rounded once, also where one does not fit a float."""
    if len(integers) and int(integers.max()) > 2**53:
        return np.array([value / 10**scale for value in integers.tolist()])
    return integers / 10.0**scale
