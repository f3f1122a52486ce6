"""What a run is worth as numbers, each with its definition, and with words where there is none."""

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from projections.research.daily import DAILY, DAY_NS, DRAWDOWN, RETURN, daily, days_of
from projections.research.holding import Held, worth
from projections.research.round_trips import Fills, Trips
from streams.events import Market
from streams.ticks import I8

YEAR: Final = 365
"""Days of a year: markets here do not close."""

Unit: TypeAlias = Literal["ratio", "number", "count", "money", "time", "duration"]
"""A ratio is shown in percent; money is in units of 10**-cash_scale; times and durations are in ns."""
Number: TypeAlias = int | float | None


class Metric(NamedTuple):
    """A number of a run: what it is called, in what it is told, and what it is."""

    title: str
    unit: Unit
    definition: str


class Curve(NamedTuple):
    """A run bar by bar: `ends` i8[n] ns UTC, `closes` i8[n], and `equity` i8[n] and `position` i8[n] there,
    each at one scale.

    `initial`: the cash that it began with; `begin`: when, ns UTC, the end of the bar before the first.
    """

    ends: I8
    closes: I8
    equity: I8
    position: I8
    initial: int
    begin: int


class Metrics(NamedTuple):
    """`values` in the order of `DEFINITIONS`; what is None there stands in `why`, with words. Never NaN."""

    values: dict[str, Number]
    why: dict[str, str]


class Draw(NamedTuple):
    """The deepest fall as a share (≤ 0), with the bars of its peak, bottom and recovery: −1 is before the
    first bar, n is not yet. `under_water`: ns of the longest time below an earlier equity. `exposed`: bars
    with a position."""

    depth: float
    peak: int
    bottom: int
    recovery: int
    under_water: int
    exposed: int


_DAYS = "Returns are those of UTC days, from one midnight to the next, whatever the bars"
DEFINITIONS: Final[Mapping[str, Metric]] = {
    "days": Metric("UTC days", "count", "Days from the first bar to the last, each counted whole."),
    "initial": Metric("Initial cash", "money", "What the run began with."),
    "final": Metric("Final equity", "money", "Cash, entry value and unrealised profit at the last close."),
    "return": Metric("Return", "ratio", "Final equity over initial cash, less one."),
    "hold_return": Metric(
        "Buy and hold",
        "ratio",
        "Return of buying the same contract with all the cash, at the first price at which the run could "
        "have traded, with its fee and slippage, and never selling.",
    ),
    "hold_drawdown": Metric(
        "Drawdown of buy and hold",
        "ratio",
        "Its deepest fall from an earlier height, at the ends of UTC days.",
    ),
    "cagr": Metric(
        "CAGR",
        "ratio",
        "The yearly growth that gives this return: (final / initial) ** (days of a year / days) − 1.",
    ),
    "volatility": Metric(
        "Volatility",
        "ratio",
        f"Standard deviation (n − 1) of the returns × √(days of a year). {_DAYS}.",
    ),
    "sharpe": Metric(
        "Sharpe",
        "number",
        "Mean of the returns of UTC days over their standard deviation (n − 1), × √(days of a year); nothing "
        "is risk-free.",
    ),
    "sortino": Metric(
        "Sortino",
        "number",
        "Mean of the returns of UTC days over the root of the mean square of the losing ones (others count "
        "as 0), × √(days of a year).",
    ),
    "calmar": Metric("Calmar", "number", "CAGR over the deepest fall at the ends of UTC days."),
    "max_drawdown": Metric(
        "Max. drawdown",
        "ratio",
        "Deepest fall of the equity from its highest before, initial cash included, at the close of any bar.",
    ),
    "max_drawdown_days": Metric(
        "Max. drawdown of days", "ratio", "The same at the ends of UTC days alone: what Calmar divides by."
    ),
    "drawdown_start": Metric("Drawdown from", "time", "Close of the last bar at the height it fell from."),
    "drawdown_bottom": Metric("Drawdown bottom", "time", "Close of the bar at which it was deepest."),
    "drawdown_recovery": Metric(
        "Drawdown recovered", "time", "First close at that height or above it again."
    ),
    "under_water": Metric(
        "Longest time under water",
        "duration",
        "Longest time from a height of the equity to the first close at it or above, or to the end.",
    ),
    "exposure": Metric("Exposure", "ratio", "Share of all bars at whose close there was a position."),
    "trades": Metric(
        "Trades", "count", "Closed round trips, from no position to none, or to the other side."
    ),
    "open_trades": Metric("Open trades", "count", "Round trips that had not ended with the last bar."),
    "win_rate": Metric("Win rate", "ratio", "Share of the trades that made money after fees."),
    "profit_factor": Metric(
        "Profit factor", "number", "What the winning trades made over what the losing ones lost, after fees."
    ),
    "expectancy": Metric("Expectancy", "money", "Mean result of a trade after fees, rounded down."),
    "average_trade": Metric(
        "Average trade", "ratio", "Mean over the trades of result after fees / value that was entered."
    ),
    "worst_trade": Metric("Worst trade", "ratio", "The lowest of these."),
    "turnover": Metric("Turnover", "number", "Value of all fills over the initial cash."),
    "fees": Metric("Fees", "money", "Fees of all fills."),
}


def metrics(
    curve: Curve,
    fills: Fills,
    trips: Trips,
    market: Market,
    held: Held | None = None,
    annualise: float = YEAR,
) -> Metrics:
    """All numbers of a run, its amounts at the scales of `market`. Raises ValueError for annualise ≤ 0."""
    if not annualise > 0 or not math.isfinite(annualise):
        raise ValueError(f"annualise by {annualise}: it must be a number of days above 0")
    found = _Found({}, {})
    empty = not len(curve.ends)
    found.put("days", len(days_of(curve.ends).ends))
    found.put("initial", curve.initial)
    found.put("final", curve.initial if empty else int(curve.equity[-1]))
    _of_days(found, curve, annualise)
    _of_bars(found, curve)
    _of_holding(found, curve, market, held)
    _of_trips(found, trips)
    paid = sum(fills["fee"].tolist())
    found.put("turnover", _ratio(_traded(fills, market), curve.initial), "there was no cash to begin with")
    found.put("fees", paid)
    return Metrics({name: found.values[name] for name in DEFINITIONS}, found.why)


class _Found(NamedTuple):
    values: dict[str, Number]
    why: dict[str, str]

    def put(self, name: str, value: Number, otherwise: str = "") -> None:
        """What is no finite number becomes None, with the words."""
        if value is None or not math.isfinite(value):
            self.values[name] = None
            self.why[name] = otherwise
        else:
            self.values[name] = value


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _of_days(found: _Found, curve: Curve, annualise: float) -> None:
    days = days_of(curve.ends)
    equity = curve.equity[days.last]
    row = np.empty(len(DAILY))
    daily(equity, curve.initial, float(annualise), row)
    none = _why_not(curve, equity)
    alone = none or ("the run is one UTC day, two are needed" if len(equity) < 2 else "")
    ended = "the account ended at nothing or less" if len(equity) and equity[-1] <= 0 else ""
    broke = alone or _broke(days.ends, equity)
    never_fell = "the equity was never below an earlier one at the end of a day"
    words = {
        "return": none,
        "cagr": none or ended or "it is too large for a number",
        "volatility": broke,
        "sharpe": broke or "the returns of all days are the same",
        "sortino": broke or "no day lost money",
        "calmar": none or (never_fell if row[-1] == 0.0 else ended or "CAGR is too large for a number"),
        "max_drawdown_days": none,
    }
    for name, value in zip(DAILY, row.tolist(), strict=True):
        found.put(name, value, words[name])


def _why_not(curve: Curve, days: npt.NDArray[np.int64]) -> str:
    if curve.initial <= 0:
        return "there was no cash to begin with"
    return "" if len(days) else "there is no bar"


def _broke(ends: I8, equity: I8) -> str:
    """Words where a day began with nothing to have a return on."""
    at = np.flatnonzero(equity[:-1] <= 0)
    if not len(at):
        return ""
    day = np.datetime64(int(ends[at[0]]) - DAY_NS, "ns").astype("datetime64[D]")
    return f"the account was at nothing or less at the end of {day}, of which there is no return"


def _of_bars(found: _Found, curve: Curve) -> None:
    none = _why_not(curve, curve.ends)
    draw = drawdown(curve)
    found.put("max_drawdown", draw.depth if not none else None, none)
    never = none or "the equity was never below an earlier one"
    fell = not none and draw.depth < 0.0
    times = [curve.begin, *(int(curve.ends[i]) for i in (draw.peak, draw.bottom) if i >= 0)] if fell else []
    found.put("drawdown_start", times[int(draw.peak >= 0)] if fell else None, never)
    found.put("drawdown_bottom", times[-1] if fell else None, never)
    again = fell and draw.recovery < len(curve.ends)
    found.put(
        "drawdown_recovery",
        int(curve.ends[draw.recovery]) if again else None,
        "it has not recovered by the last bar" if fell else never,
    )
    found.put("under_water", draw.under_water if not none else None, none)
    found.put("exposure", _ratio(draw.exposed, len(curve.ends)), "there is no bar")


def drawdown(curve: Curve) -> Draw:
    """The falls of a run's equity, at every bar. None, of depth 0, where it began with nothing."""
    marks = np.zeros(len(Draw._fields) - 1, np.int64)
    depth = (
        _falls(curve.ends, curve.equity, curve.position, curve.initial, curve.begin, marks)
        if curve.initial > 0
        else 0.0
    )
    return Draw(depth, *marks.tolist())


@njit(nogil=True, error_model="numpy", fastmath=False, cache=True)
def _falls(ends: I8, equity: I8, position: I8, initial: int, begin: int, marks: I8) -> float:
    """`marks` i8[5] as `Draw` names them; heights are compared as integers. Returns the depth."""
    peak, peak_at, peak_end, low = initial, -1, begin, initial
    depth, from_, bottom, recovery = 0.0, -1, -1, len(equity)
    longest, exposed, open_ = 0, 0, False
    for i in range(len(equity)):
        now = equity[i]
        exposed += position[i] != 0
        if now >= peak:
            if low < peak:
                longest = max(longest, ends[i] - peak_end)
                if open_:
                    recovery, open_ = i, False
            peak, peak_at, peak_end, low = now, i, ends[i], now
        elif now < low:
            low = now
            fallen = now / peak - 1.0
            if fallen < depth:
                depth, from_, bottom, recovery, open_ = fallen, peak_at, i, len(equity), True
    if low < peak:
        longest = max(longest, ends[-1] - peak_end)
    marks[0], marks[1], marks[2], marks[3], marks[4] = from_, bottom, recovery, longest, exposed
    return depth


def _of_holding(found: _Found, curve: Curve, market: Market, held: Held | None) -> None:
    none = _why_not(curve, curve.ends) or (
        "there was no price to buy at, not the cash for the smallest size, or an amount exceeds 64 bits"
    )
    row = np.full(len(DAILY), np.nan)
    last = days_of(curve.ends).last
    equity = worth(held, market, last, curve.closes[last]) if held is not None and len(last) else None
    if held is not None and equity is not None:
        daily(equity, held.initial, YEAR, row)
    found.put("hold_return", float(row[RETURN]), none)
    found.put("hold_drawdown", float(row[DRAWDOWN]), none)


def _of_trips(found: _Found, trips: Trips) -> None:
    closed = trips["closed"] >= 0
    results, entries = trips["net"][closed], trips["entry"][closed]
    count, won, lost = len(results), results > 0, results < 0
    none = "" if count else "there is no closed trade"
    found.put("trades", count)
    found.put("open_trades", len(trips) - count)
    found.put("win_rate", _ratio(int(won.sum()), count), none)
    factor = _ratio(int(results[won].sum()), -int(results[lost].sum()))
    found.put("profit_factor", factor, none or "no trade lost money")
    found.put("expectancy", int(results.sum()) // count if count else None, none)
    worthless = none or "a trade's entry value is less than the smallest unit of money"
    shares: list[float] = (results / entries).tolist() if entries.all() else []
    found.put("average_trade", _ratio(math.fsum(shares), len(shares)), worthless)
    found.put("worst_trade", min(shares) if shares else None, worthless)


def _traded(fills: Fills, market: Market) -> float:
    """Value of all fills in units of cash, as `value` of the contract without its rounding."""
    price, size = (fills[name].astype(np.float64) for name in ("price", "size"))
    multiplier = market.multiplier / 10**market.multiplier_scale
    size *= 10.0 ** (market.cash_scale - market.size_scale) * multiplier
    if market.contract == "inverse":
        return math.fsum((size / price).tolist()) * 10.0**market.price_scale
    return math.fsum((size * price).tolist()) / 10.0**market.price_scale
