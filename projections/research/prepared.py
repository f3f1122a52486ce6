"""Columns as loops read them, and beside them the candles of higher timeframes."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from hashlib import sha256

import numpy as np

from projections.research.account import STEP
from projections.research.arrays import IN_MEMORY, Zeros, stretches
from projections.research.columns import I8, Columns, Table, values_of
from projections.research.money import constants
from projections.strategies.histories import Floats, Higher, History, beside
from streams.events import TIMEFRAMES_NS, CandleFlag, Market

FILLING = ("time", "price", "size", "sell", "live", "era")
"""Of a trade what a fill by it depends on."""


class NotKnownError(Exception):
    """What a bot needs is not in the columns or not at hand; the message says what, and the way out."""


class Prepared:
    """Columns with what loops read at each bar beside them: `values` f8[L, 5], `ends` and `closes`
    int64[L], `steps` STEP[L]. `higher`: the candles of timeframes above, as far as they are at hand, and
    `revised` f8[M, 5] in their other revision. What is as long as the bars is made by `zeros`, also by who
    runs over them."""

    def __init__(
        self,
        columns: Columns,
        *,
        final: bool = False,
        higher: Iterable[Columns] = (),
        zeros: Zeros = IN_MEMORY,
    ) -> None:
        self.columns, self.is_final, self.zeros = columns, final, zeros
        self.higher: dict[str, History] = {}
        self.revised: dict[str, Floats] = {}
        self.add(higher)
        self.bars = columns.final if final else columns.bars
        count = len(self.bars)
        self.ends: I8 = zeros(count, np.int64)
        self.closes: I8 = zeros(count, np.int64)
        self.steps, self.incomplete = zeros(count, STEP), zeros(count, np.bool_)
        for rows in stretches(count):
            part, steps = self.bars[rows], self.steps[rows]
            self.ends[rows], self.closes[rows] = part["end"], part["close"]
            for name in STEP.fields or ():
                steps[name] = part[name]
            self.incomplete[rows] = (part["flags"] & int(CandleFlag.INCOMPLETE)) != 0
        self.values = values_of(columns, final=final, zeros=zeros)
        self.constants = [constants(market) for market in columns.eras]
        self._digests: dict[tuple[int, tuple[str, ...]], str] = {}

    def digest(self, last: int, above: tuple[str, ...] = ()) -> str:
        """SHA-256 over what a run that ends with the bar `last` − 1 may see: its bars, the trades that fill
        what the closes before its last decide, and the candles of timeframes `above`. Specifications stand
        apart, see `under`."""
        if (last, above) not in self._digests:
            digest = sha256(self.ends[:last].data)
            digest.update(self.values[:last].data)
            for name in ("flags", "live", "era"):
                for rows in stretches(last):
                    digest.update(np.ascontiguousarray(self.bars[name][rows]).data)
            for name in FILLING:
                for rows in stretches(last - 1):
                    fills = self.bars["trade"][rows]
                    digest.update(self.columns.trades[name][fills[fills >= 0]].data)
            for timeframe in above:
                closed = self.closed_before(timeframe, last)
                digest.update(self.of(timeframe).ends[:closed].data)
                digest.update(self.of(timeframe).values[:closed].data)
            self._digests[last, above] = digest.hexdigest()
        return self._digests[last, above]

    def begin(self, first: int) -> int:
        """The end of the bar before `first`, ns UTC, also where there is none."""
        return int(self.ends[first - 1] if first else self.ends[0] - TIMEFRAMES_NS[self.columns.timeframe])

    def add(self, higher: Iterable[Columns]) -> None:
        """Candles of more timeframes."""
        for one in higher:
            self.higher[one.timeframe] = _closed(one, self.zeros, final=self.is_final)
            self.revised[one.timeframe] = values_of(one, final=not self.is_final, zeros=self.zeros)

    def history(self, first: int, last: int, warm: int, needs: Mapping[str, int]) -> History:
        """What a strategy reads over the bars `first` … `last` − 1, which is warmed on the `warm` bars
        before, and on as many candles of timeframes above as it `needs`. Raises `NotKnownError`."""
        ends, values = self.ends[first - warm : last], self.values[first - warm : last]
        higher = [
            self._beside(
                ends,
                self.of(timeframe).head(self.closed_before(timeframe, last)),
                max(self.closed_before(timeframe, first) - need, 0),
            )
            for timeframe, need in needs.items()
        ]
        return History(ends, values, tuple(higher))

    def _beside(self, ends: I8, of: History, known: int) -> Higher:
        """As `beside` of histories, a stretch after another."""
        upto: I8 = self.zeros(len(ends) + 1, np.int64)
        upto[:1] = known
        for rows in stretches(len(ends)):
            upto[rows.start + 1 : rows.stop + 1] = beside(ends[rows], of, known).upto[1:]
        return Higher(of.ends, of.values, upto)

    def closed_before(self, timeframe: str, bar: int) -> int:
        """How many candles of a timeframe above have closed before a bar. Raises `NotKnownError`."""
        ends = self.of(timeframe).ends
        return int(np.searchsorted(ends, int(self.ends[bar - 1]), side="right")) if bar else 0

    def shown(self, timeframes: Iterable[str], first: int, last: int, warm: int) -> dict[str, int]:
        """How many candles of timeframes above a run over the bars `first` … `last` − 1 is shown at most."""
        return {
            timeframe: self.closed_before(timeframe, last)
            - (0 if warm else self.closed_before(timeframe, first))
            for timeframe in timeframes
        }

    def of(self, timeframe: str) -> History:
        """The candles of a timeframe above. Raises `NotKnownError`."""
        if timeframe not in self.higher:
            raise NotKnownError(f"candles of {timeframe} are not at hand, and the strategy reads them")
        return self.higher[timeframe]

    def under(self, eras: Sequence[Market]) -> "Prepared":
        """The same bars with specifications of other costs."""
        other = copy(self)
        other.columns = self.columns._replace(eras=tuple(eras))
        other.constants = [constants(market) for market in eras]
        return other


def era_before(prepared: Prepared, first: int) -> int:
    """The era in which a bot begins that is created before the bar `first`."""
    return int(prepared.bars["era"][first - 1]) if first else 0


def _closed(columns: Columns, zeros: Zeros, *, final: bool) -> History:
    bars: Table = columns.final if final else columns.bars
    ends: I8 = zeros(len(bars), np.int64)
    for rows in stretches(len(bars)):
        ends[rows] = bars["end"][rows]
    return History(ends, values_of(columns, final=final, zeros=zeros))
