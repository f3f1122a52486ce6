"""What a run is worth as numbers, each with its definition, and with words where there is none."""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from projections.research.daily import DAILY, DAY_NS, DRAWDOWN, RETURN, daily, days_of
from projections.research.holding import Held, worth
from projections.research.round_trips import Fills, Trips, as_happened
from projections.research.tally import TALLY, Record, over_bars, over_trades
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


class Whole(NamedTuple):
    """What the numbers of a run are taken of, but for its tally: `days` i8[D] the midnights at which its days
    end, and the `equity` i8[D] there; when its last bar `end`s, ns UTC; the cash that it began with, and all
    its `fees`; return and drawdown of buy and hold, NaN where there is none."""

    days: I8
    equity: I8
    end: int
    initial: int
    fees: int
    held: tuple[float, float]


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
    days = days_of(curve.ends)
    whole = Whole(
        days.ends,
        curve.equity[days.last],
        int(curve.ends[-1]) if len(curve.ends) else curve.begin,
        curve.initial,
        sum(fills["fee"].tolist()),
        holding(held, market, days.last, curve.closes[days.last]),
    )
    return numbers(tally_of(curve, fills, trips, market), whole, annualise)


def tally_of(curve: Curve, fills: Fills, trips: Trips, market: Market) -> Record:
    """TALLY of a run."""
    row = np.zeros(1, TALLY)
    over_bars(row, curve.ends, curve.equity, curve.position, curve.initial, curve.begin)
    over_trades(row, trips, as_happened(fills), unit_of(market), market.contract == "inverse")
    return row[0]


def unit_of(market: Market) -> float:
    """What a size of 1 is worth at a price of 1, in units of cash without rounding."""
    multiplier = market.multiplier / 10**market.multiplier_scale
    scale = market.cash_scale - market.size_scale
    scale += market.price_scale if market.contract == "inverse" else -market.price_scale
    return 10.0**scale * multiplier


def numbers(row: Record, whole: Whole, annualise: float = YEAR) -> Metrics:
    """All numbers of a run, from its TALLY. Raises ValueError for annualise ≤ 0."""
    if not annualise > 0 or not math.isfinite(annualise):
        raise ValueError(f"annualise by {annualise}: it must be a number of days above 0")
    found, sums = _Found({}, {}), dict(zip(TALLY.names or (), row.item(), strict=True))
    found.put("days", len(whole.days))
    found.put("initial", whole.initial)
    found.put("final", sums["last"])
    _of_days(found, whole, annualise)
    _of_bars(found, whole, sums)
    none = _why_not(whole) or (
        "there was no price to buy at, not the cash for the smallest size, or an amount exceeds 64 bits"
    )
    found.put("hold_return", whole.held[0], none)
    found.put("hold_drawdown", whole.held[1], none)
    _of_trades(found, sums)
    traded = sums["traded"] + sums["traded_carry"]
    found.put("turnover", _ratio(traded, whole.initial), "there was no cash to begin with")
    found.put("fees", whole.fees)
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


def _of_days(found: _Found, whole: Whole, annualise: float) -> None:
    equity = whole.equity
    row = np.empty(len(DAILY))
    daily(equity, whole.initial, float(annualise), row)
    none = _why_not(whole)
    alone = none or ("the run is one UTC day, two are needed" if len(equity) < 2 else "")
    ended = "the account ended at nothing or less" if len(equity) and equity[-1] <= 0 else ""
    broke = alone or _broke(whole.days, equity)
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


def _why_not(whole: Whole) -> str:
    if whole.initial <= 0:
        return "there was no cash to begin with"
    return "" if len(whole.days) else "there is no bar"


def _broke(ends: I8, equity: I8) -> str:
    """Words where a day began with nothing to have a return on."""
    at = np.flatnonzero(equity[:-1] <= 0)
    if not len(at):
        return ""
    day = np.datetime64(int(ends[at[0]]) - DAY_NS, "ns").astype("datetime64[D]")
    return f"the account was at nothing or less at the end of {day}, of which there is no return"


def _of_bars(found: _Found, whole: Whole, sums: Mapping[str, Any]) -> None:
    none = _why_not(whole)
    found.put("max_drawdown", sums["depth"] if not none else None, none)
    never = none or "the equity was never below an earlier one"
    fell = not none and sums["depth"] < 0.0
    found.put("drawdown_start", sums["start"] if fell else None, never)
    found.put("drawdown_bottom", sums["bottom"] if fell else None, never)
    found.put(
        "drawdown_recovery",
        sums["recovered"] if fell and sums["recovered"] >= 0 else None,
        "it has not recovered by the last bar" if fell else never,
    )
    still = whole.end - sums["peak_end"] if sums["low"] < sums["peak"] else 0
    found.put("under_water", max(sums["longest"], still) if not none else None, none)
    found.put("exposure", _ratio(sums["exposed"], sums["bars"]), "there is no bar")


def holding(held: Held | None, market: Market, last: I8, closes: I8) -> tuple[float, float]:
    """Return and drawdown of buy and hold, by the `closes` i8[D] of the bars `last` i8[D], with which days
    end; NaN for none."""
    equity = worth(held, market, last, closes) if held is not None and len(last) else None
    row = np.full(len(DAILY), np.nan)
    if held is not None and equity is not None:
        daily(equity, held.initial, YEAR, row)
    return float(row[RETURN]), float(row[DRAWDOWN])


def _of_trades(found: _Found, sums: Mapping[str, Any]) -> None:
    none = "" if sums["trades"] else "there is no closed trade"
    found.put("trades", sums["trades"])
    found.put("open_trades", sums["opened"] - sums["trades"])
    found.put("win_rate", _ratio(sums["wins"], sums["trades"]), none)
    found.put("profit_factor", _ratio(sums["won"], -sums["lost"]), none or "no trade lost money")
    found.put("expectancy", sums["net"] // sums["trades"] if sums["trades"] else None, none)
    worthless = none or "a trade's entry value is less than the smallest unit of money"
    told = sums["trades"] and not sums["worthless"]
    average = (sums["shares"] + sums["shares_carry"]) / sums["trades"] if told else None
    found.put("average_trade", average, worthless)
    found.put("worst_trade", sums["worst"] if told else None, worthless)
