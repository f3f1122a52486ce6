"""What a report draws: a run thinned to so many slots of time that its lowest and highest points stay.

Without need nothing is thinned: a slot is a bar. Else a slot holds some bars in turn, a candle of it all of
them; of each line two slots together get the lowest and the highest value in them, in their order. The last
bar has a slot of its own, so that what is written beside a line is where it ended.
"""

from typing import Any, NamedTuple

import numpy as np

from projections.research.columns import I8, Floats
from projections.research.daily import days_of
from projections.research.holding import Held, worth
from projections.research.round_trips import Fills, Trips
from projections.research.statistics import Curve
from streams.events import Market

SLOTS = 4_000
"""About as many as a large screen has dots from left to right."""
BINS = 24


class Slots(NamedTuple):
    """`starts` int64[s]: the first bar of each slot, over `bars` bars."""

    starts: I8
    bars: int

    @property
    def last(self) -> I8:
        """The last bar of each."""
        return np.append(self.starts[1:], self.bars) - 1


def slots_of(bars: int, most: int = SLOTS) -> Slots:
    """As many as there are bars, or `most`, an even number, and that of the last bar."""
    if bars <= most:
        return Slots(np.arange(bars), bars)
    starts = np.linspace(0, bars - 1, most, endpoint=False).astype(np.int64)
    return Slots(np.append(starts, bars - 1), bars)


def candles(slots: Slots, values: Floats) -> Floats:
    """Open, high, low, close f8[s, 4] of values f8[bars, ≥ 4]."""
    return np.column_stack(
        [
            values[slots.starts, 0],
            np.maximum.reduceat(values[:, 1], slots.starts),
            np.minimum.reduceat(values[:, 2], slots.starts),
            values[slots.last, 3],
        ]
    )


def line(slots: Slots, values: Floats) -> Floats:
    """A value f8[s] for each slot."""
    if len(slots.starts) == slots.bars:
        return values
    thinned = values[slots.last].copy()
    ends = np.append(slots.starts[1:], slots.bars)
    for first in range(0, len(slots.starts) - 2, 2):
        bars = values[slots.starts[first] : ends[first + 1]]
        low, high = int(bars.argmin()), int(bars.argmax())
        thinned[first : first + 2] = bars[sorted((low, high))]
    return thinned


def fallen(equity: Floats, initial: float) -> Floats:
    """How far each value lies below the highest before it, in percent."""
    heights = np.maximum(np.maximum.accumulate(equity), initial)
    return 100.0 * (equity / heights - 1.0)


class Drawn(NamedTuple):
    """A run to be drawn; `values` f8[n, ≥ 4] are open, high, low and close of its bars, and all amounts stand
    at the scales of `market`."""

    market: Market
    curve: Curve
    values: Floats
    fills: Fills
    held: Held | None


def drawing(run: Drawn) -> dict[str, Any]:
    """Everything that is drawn, slot by slot: `times` in seconds UTC of their ends, `candles`, `equity`,
    `hold` (empty where nothing could be bought), `drawdown` in percent; `buys`, `sells`: slots with fills.
    """
    market, curve, values, fills, bought = run
    unit = 10.0**market.cash_scale
    slots = slots_of(len(curve.ends))
    times = curve.ends[slots.last]
    held = worth(bought, market, np.arange(len(curve.ends)), curve.closes) if bought is not None else None
    return {
        "times": (times // 1_000_000_000).tolist(),
        "candles": candles(slots, values).tolist(),
        "equity": _short(line(slots, curve.equity / unit)),
        "hold": _short(line(slots, held / unit)) if held is not None else [],
        "drawdown": _short(line(slots, fallen(curve.equity / unit, curve.initial / unit))),
        "buys": _filled(fills["time"][fills["buy"] != 0], times),
        "sells": _filled(fills["time"][fills["buy"] == 0], times),
        "digits": market.price_scale,
    }


def _filled(filled: I8, times: I8) -> list[int]:
    """The slots in which these times lie; one behind the last lies in the last."""
    return np.unique(np.minimum(np.searchsorted(times, filled), len(times) - 1)).tolist()


def _short(values: Floats) -> list[float]:
    """As many digits as can be seen."""
    return [float(f"{value:.8g}") for value in values.tolist()]


class Month(NamedTuple):
    """Returns by month, from 1; None where there was none, or nothing to have it on."""

    year: int
    months: dict[int, float | None]
    whole: float | None


def months(curve: Curve) -> list[Month]:
    """By year, of the UTC days in each; the first month is measured from the initial cash."""
    days = days_of(curve.ends)
    dates = (days.ends - 1).astype("datetime64[ns]").astype("datetime64[M]")
    equity = curve.equity[days.last]
    last = np.flatnonzero(np.append(dates[1:] != dates[:-1], True))
    found: dict[int, dict[int, float | None]] = {}
    years: dict[int, tuple[int, int]] = {}
    before = curve.initial
    for date, now in zip(dates[last].astype(int).tolist(), equity[last].tolist(), strict=True):
        year, month = 1970 + date // 12, date % 12 + 1
        found.setdefault(year, {})[month] = _return(before, now)
        years[year] = (years.get(year, (before, 0))[0], now)
        before = now
    return [Month(year, of_year, _return(*years[year])) for year, of_year in found.items()]


def _return(before: int, now: int) -> float | None:
    return now / before - 1.0 if before > 0 else None


class Bin(NamedTuple):
    """Trades whose result after fees, as a share of what was entered, lies in [low, high)."""

    low: float
    high: float
    trades: int


def distribution(trips: Trips) -> list[Bin]:
    """Closed trades in some `BINS` bins of one width, of which 0 is an edge; the outer ones hold what lies
    beyond them, a hundredth of all each."""
    closed = (trips["closed"] >= 0) & (trips["entry"] > 0)
    if not closed.any():
        return []
    shares = trips["net"][closed] / trips["entry"][closed]
    low, high = np.quantile(shares, [0.01, 0.99])
    bins = min(BINS, 2 * int(len(shares) ** 0.5) + 1)
    width = max((high - low) / bins, 1e-6)
    edges = width * np.arange(np.floor(low / width), np.floor(high / width) + 2)
    counts, _ = np.histogram(np.clip(shares, low, high), edges)
    return [Bin(*one) for one in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)]
