"""Closed candles as strategies read them back: those of the bot's timeframe, and of higher ones beside them.

A higher candle counts from the candle of the bot's on that ends with it or behind it: a row closes both, the
lower one first.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class New(NamedTuple):
    """Candles of a higher timeframe, `values` f8[M, 5] and `ends` i8[M], of which the rows `first` …
    `last` − 1 are new."""

    values: Floats
    ends: Ints
    first: int
    last: int


class Higher(NamedTuple):
    """Candles of a higher timeframe beside a history of L rows: `ends` i8[M] and `values` f8[M, 5], oldest
    first. With row i those of `upto[i]` … `upto[i + 1]` − 1 are new, i8[L + 1]."""

    ends: Ints
    values: Floats
    upto: Ints


class History(NamedTuple):
    """Closed candles, oldest first: `ends` i8[L] in ns UTC, `values` f8[L, 5] open, high, low, close, volume.

    Both C-contiguous. Rows after the one that is stepped are never read. `higher`: the same of each higher
    timeframe that the strategy reads, the lowest first.
    """

    ends: Ints
    values: Floats
    higher: tuple[Higher, ...] = ()

    @property
    def joined(self) -> Iterator[Floats | Ints]:
        """What a compiled loop takes of higher timeframes."""
        for one in self.higher:
            yield from (one.values, one.ends, one.upto)

    def head(self, rows: int) -> "History":
        """Its first rows."""
        higher = tuple(one._replace(upto=one.upto[: rows + 1]) for one in self.higher)
        return History(self.ends[:rows], self.values[:rows], higher)

    def new(self, i: int) -> tuple[New, ...]:
        """What has closed of higher timeframes with row `i`, or since the row before it."""
        return tuple(New(one.values, one.ends, int(one.upto[i]), int(one.upto[i + 1])) for one in self.higher)


class Run(NamedTuple):
    """A strategy over a history: `targets` f8[L] and `values` f8[L, K], each row as after that candle."""

    targets: Floats
    values: Floats


def beside(ends: Ints, of: History, known: int = 0) -> Higher:
    """Candles of a higher timeframe beside rows with these ends; the first `known` of them count for none."""
    closed = np.searchsorted(of.ends, ends, side="right")
    return Higher(of.ends, of.values, np.append(known, np.maximum(closed, known)).astype(np.int64))
