"""What a reader should know before believing a run: each as a sentence, in a fixed order."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from projections.research.arrays import stretches
from projections.research.columns import I8, Table
from projections.research.round_trips import Trips
from projections.research.tripwire import Tripwire
from projections.strategies.code import Floats, StrategyCode
from streams.events import CandleFlag, Market

TRADES_MIN: Final = 30
DAYS_MIN: Final = 60
"""Below either, a ratio says more about chance than about the strategy."""

About: TypeAlias = Literal[
    "sample", "look_ahead", "warm_up", "candles", "gaps", "revisions", "signals", "left_out"
]


class Line(NamedTuple):
    """A sentence about a run; `warns` where it is a reason to doubt the numbers."""

    about: About
    warns: bool
    text: str


class Evidence(NamedTuple):
    """What the sentences are made of.

    `bars` BAR[n] are those of the run, each `step` ns long; the amounts of `trips` stand at the scales of
    `market`. `needed`, `warmed`: bars that the indicators need, and that the strategy stepped through before
    the first. `revised`: bars that were revised after they had closed, and `changed`: at how many bars their
    last revisions would give another signal, None where nobody looked. `refused`: how many of the `signals`
    were, by the code that says why.
    """

    days: int
    trades: int
    tripwire: Tripwire
    needed: int
    warmed: int
    bars: Table
    step: int
    trips: Trips
    market: Market
    revised: int = 0
    changed: int | None = None
    signals: int = 0
    refused: Mapping[str, int] = MappingProxyType({})


def lines(evidence: Evidence) -> tuple[Line, ...]:
    """All sentences; that a run is too short to tell anything comes first."""
    return (
        _sample(evidence.trades, evidence.days),
        _look_ahead(evidence),
        _warm_up(evidence),
        _candles(evidence.bars),
        _gaps(evidence),
        _revisions(evidence),
        _signals(evidence),
        Line("left_out", False, "Funding, borrowing and liquidation are left out."),
    )


def too_short(
    code: StrategyCode,
    params: Mapping[str, object],
    before: int,
    bars: int,
    above: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """Why a range of so many bars, with so many before it, is refused; "" where it is long enough. `above`:
    how many candles of each higher timeframe it is shown."""
    for timeframe, candles in above.items():
        if candles < code.need(params, timeframe):
            return (
                f"strategy {code.name} needs {code.need(params, timeframe):,} candles of {timeframe} until"
                f" its indicators are those of a bot that saw all before, and there are {candles:,}: take a"
                " longer range, or shorter windows"
            )
    missing = code.need(params) - before - bars
    if missing <= 0:
        return ""
    shown = ", ".join(f"{name}={value}" for name, value in code.check(params).items())
    return (
        f"strategy {code.name} ({shown}) needs {_count(code.need(params), 'bar')} until its indicators are "
        f"those of a bot that saw all before, and the range has {bars:,}, with {before:,} before it: "
        f"{missing:,} are missing; take a longer range, or shorter windows"
    )


def other_signals(known: Floats, final: Floats) -> int:
    """At how many bars one of two runs, targets f8[n] each, gave a signal that the other did not."""
    count, before = 0, (0.0, 0.0)
    for rows in stretches(len(known)):
        both = known[rows], final[rows]
        one, other = (np.diff(part, prepend=last) != 0.0 for part, last in zip(both, before, strict=True))
        count += int(np.count_nonzero((one | other) & ((both[0] != both[1]) | (one != other))))
        before = float(both[0][-1]), float(both[1][-1])
    return count


def _sample(trades: int, days: int) -> Line:
    text = f"{_count(trades, 'closed trade')} in {_count(days, 'day')}"
    if trades >= TRADES_MIN and days >= DAYS_MIN:
        return Line("sample", False, f"The run has {text}.")
    return Line(
        "sample",
        True,
        f"The run is short, {text}: with fewer than {TRADES_MIN} trades or {DAYS_MIN} days, luck alone can "
        "make any of its numbers.",
    )


def _look_ahead(evidence: Evidence) -> Line:
    points, changed, peek = evidence.tripwire
    if points == 0:
        return Line("look_ahead", True, "Whether the strategy looks ahead is not known: it made no step.")
    if peek is None:
        return Line(
            "look_ahead",
            False,
            f"The strategy does not look ahead: asked again at {_count(points, 'bar')}, with {changed}, it "
            "gave the same. What it reads from files of its own is not covered.",
        )
    at = _time(int(evidence.bars["end"][peek.bar]))
    again = "failed" if peek.again is None else f"was {_number(peek.again)}"
    return Line(
        "look_ahead",
        True,
        f"The strategy looks ahead, or goes by something that it is not given: at the bar {at} its "
        f"{peek.what} was {_number(peek.given)}; asked again with {changed}, it {again}. "
        "No live bot can do that: these numbers are worth nothing.",
    )


def _warm_up(evidence: Evidence) -> Line:
    needed, warmed = evidence.needed, evidence.warmed
    text = f"The strategy stepped through {_count(warmed, 'bar')} before the first"
    if warmed >= needed:
        return Line("warm_up", False, f"{text}; its indicators need {needed}.")
    missing = needed - warmed
    until = f"until {_time(int(evidence.bars['end'][missing - 1]))} " if missing <= len(evidence.bars) else ""
    return Line(
        "warm_up",
        True,
        f"{text}; its indicators need {needed}, so {until}they are not those of a bot that was always there.",
    )


def _candles(bars: Table) -> Line:
    empty, incomplete = (
        sum(int(np.count_nonzero(bars["flags"][rows] & int(flag))) for rows in stretches(len(bars)))
        for flag in (CandleFlag.EMPTY, CandleFlag.INCOMPLETE)
    )
    return Line(
        "candles",
        incomplete > 0,
        f"Of {_count(len(bars), 'bar')} {_share(empty, len(bars))} had no trade in them, and "
        f"{_share(incomplete, len(bars))} lay over a gap in the data.",
    )


def _gaps(evidence: Evidence) -> Line:
    starts, stops = gaps(evidence.bars, evidence.step)
    if not len(starts):
        return Line("gaps", False, "There is no gap in the data.")
    count = "is 1 gap" if len(starts) == 1 else f"are {len(starts):,} gaps"
    first = f"{_time(int(starts[0]))} to {_time(int(stops[0]))}"
    text = f"There {count} in the data, the first from {first}"
    across = _across(evidence.trips, starts, stops, int(evidence.bars["end"][-1]))
    if not across.any():
        return Line("gaps", False, f"{text}; no trade was open across one.")
    net, market = evidence.trips["net"], evidence.market
    made, all_made = (_money(int(amounts.sum()), market) for amounts in (net[across], net))
    trades = int(np.count_nonzero(across))
    return Line(
        "gaps",
        True,
        f"{text}; {_count(trades, 'trade')} {_were(trades)} open across one and made {made} "
        f"of {all_made} {market.settle}.",
    )


def _across(trips: Trips, starts: I8, stops: I8, last: int) -> npt.NDArray[np.bool_]:
    """Which trips were open in a gap; one that has not ended is until `last`."""
    closed = np.where(trips["closed"] >= 0, trips["closed"], last)
    gap = np.searchsorted(stops, trips["opened"], side="right")  # the first that ends behind the opening
    return (gap < len(starts)) & (starts[np.minimum(gap, len(starts) - 1)] < closed)


def gaps(bars: Table, step: int) -> tuple[I8, I8]:
    """Where nothing is known, ns UTC from and to: bars that are missing, or flagged incomplete."""
    starts = stops = np.empty(0, np.int64)
    before: I8 = bars["end"][:1] - step
    for rows in stretches(len(bars)):
        ends, flagged = bars["end"][rows], (bars["flags"][rows] & int(CandleFlag.INCOMPLETE)) != 0
        begins = np.append(before, ends[:-1])
        broken = flagged | (ends - begins > step)
        starts = np.concatenate([starts, begins[broken]])
        stops = np.concatenate([stops, np.where(flagged, ends, ends - step)[broken]])
        before = ends[-1:]
    apart = starts[1:] != stops[:-1]
    first, last = np.append(True, apart), np.append(apart, True)
    return starts[first[: len(starts)]], stops[last[: len(stops)]]


def _revisions(evidence: Evidence) -> Line:
    if not evidence.revised:
        return Line("revisions", False, "No bar was revised after it had closed.")
    text = f"{_count(evidence.revised, 'bar')} {_were(evidence.revised)} revised after closing"
    if evidence.changed is None:
        return Line("revisions", False, f"{text}; what that does to signals tells `--as-known --final`.")
    others = _count(evidence.changed, "signal")
    return Line("revisions", evidence.changed > 0, f"{text}; {others} would differ by the last revisions.")


def _signals(evidence: Evidence) -> Line:
    refused = sum(evidence.refused.values())
    text = f"The strategy gave {_count(evidence.signals, 'signal')}"
    if not refused:
        return Line("signals", False, f"{text}; none was refused.")
    reasons = ", ".join(f"{count:,} as {code}" for code, count in evidence.refused.items())
    text = f"{text}; {refused:,} {_were(refused)} refused, {reasons}."
    return Line("signals", refused == evidence.signals, text)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _share(part: int, whole: int) -> str:
    """In percent, and never 0 for something."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.3g} %" if part == 0 or share >= 0.01 else "less than 0.01 %"


def _number(number: float) -> str:
    return "no number" if np.isnan(number) else f"{number:.12g}"


def _time(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns').astype('datetime64[s]')}Z"


def _money(amount: int, market: Market) -> str:
    sign, digits = "-" if amount < 0 else "", str(abs(amount)).rjust(market.cash_scale + 1, "0")
    whole, part = digits[: len(digits) - market.cash_scale], digits[len(digits) - market.cash_scale :]
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"
