"""From what became of a bot to what a reader is told of it: its numbers, its trades and the sentences."""

from typing import NamedTuple

import numpy as np

from projections.research import holding
from projections.research.account import FILL
from projections.research.columns import NONE_YET, Floats, values_of
from projections.research.holding import Held, bought
from projections.research.honesty import Evidence, Line, lines, other_signals
from projections.research.round_trips import Fills, Trips, grown, rescaled, round_trips, scales_of
from projections.research.run import Outcome, Prepared, Specification
from projections.research.statistics import YEAR, Curve, Metrics, metrics
from projections.research.tripwire import Tripwire, tripwire
from projections.strategies.code import CompiledCode, History, Run
from streams.events import TIMEFRAMES_NS, Market


class Summary(NamedTuple):
    """A run as it is told; all amounts stand at the scales of `market`, that of the last bar."""

    market: Market
    curve: Curve
    fills: Fills
    trips: Trips
    held: Held | None
    numbers: Metrics
    lines: tuple[Line, ...]


def summary(
    prepared: Prepared, spec: Specification, outcome: Outcome, warmed: int, annualise: float = YEAR
) -> Summary:
    """What is told of `outcome`, the bot of `spec` over `prepared`, warmed on so many bars before.

    Raises OverflowError where an amount does not fit 64 bits at the market's last scales, and ValueError for
    a range without a bar.
    """
    if outcome.first == outcome.last:
        raise ValueError("there is no bar in the range")
    bars = prepared.bars[outcome.first : outcome.last]
    eras = prepared.columns.eras[: int(bars["era"][-1]) + 1]
    market = eras[-1]
    curve = _curve(prepared, outcome, eras)
    fills = rescaled(outcome.happened[outcome.happened["kind"] == FILL], eras)
    trips = round_trips(fills)
    held = _held(prepared, outcome, eras, spec.cash)
    numbers = metrics(curve, fills, trips, market, held, annualise)
    revised = int(np.count_nonzero(prepared.columns.revisions[outcome.first : outcome.last]))
    evidence = Evidence(
        days=int(numbers.values["days"] or 0),
        trades=int(numbers.values["trades"] or 0),
        tripwire=_tripwire(prepared, spec, outcome, warmed),
        needed=spec.code.need(spec.params),
        warmed=warmed,
        bars=bars,
        step=TIMEFRAMES_NS[prepared.columns.timeframe],
        trips=trips,
        market=market,
        revised=revised,
        changed=_changed(prepared, spec, outcome, warmed) if revised else None,
    )
    return Summary(market, curve, fills, trips, held, numbers, lines(evidence))


def _curve(prepared: Prepared, outcome: Outcome, eras: tuple[Market, ...]) -> Curve:
    bars = prepared.bars[outcome.first : outcome.last]
    prices, sizes, cashes = scales_of(eras)
    ends, era = np.ascontiguousarray(bars["end"]), bars["era"]
    return Curve(
        ends,
        np.ascontiguousarray(grown(bars["close"], era, prices, "a close")),
        grown(outcome.equity, era, cashes, "the equity of a bar"),
        grown(outcome.position, era, sizes, "the position at a bar"),
        outcome.initial_cash,
        int(ends[0]) - TIMEFRAMES_NS[prepared.columns.timeframe],
    )


def _held(prepared: Prepared, outcome: Outcome, eras: tuple[Market, ...], cash: int) -> Held | None:
    """Bought at the trade behind the first close, which is the first that can fill anything."""
    bars, trades = prepared.bars[outcome.first : outcome.last], prepared.columns.trades
    trade = int(bars["trade"][0])
    if trade == NONE_YET:
        return None
    price, place, era = (int(trades[name][trade]) for name in ("price", "place", "era"))
    if era >= len(eras):
        return None
    first = int(bars["era"][0])
    cash *= 10 ** (eras[era].cash_scale - eras[first].cash_scale)
    # a bar closes before its row fills anything
    held = bought(eras[era], cash, price, int(np.searchsorted(bars["place"], place, side="right")))
    return None if held is None else holding.rescaled(held, eras[era], eras[-1])


def _history(prepared: Prepared, outcome: Outcome, warmed: int, values: Floats) -> tuple[History, Run]:
    """What the strategy saw, the bars before its run among it, and what it made of it."""
    stretch = outcome.stretches[0]
    rows = slice(outcome.first - warmed, stretch.last)
    targets, rest = np.zeros(warmed), np.zeros((warmed, stretch.values.shape[1]))
    run = Run(np.append(targets, stretch.targets), np.concatenate([rest, stretch.values]))
    return History(prepared.ends[rows], values[rows]), run


def _tripwire(prepared: Prepared, spec: Specification, outcome: Outcome, warmed: int) -> Tripwire:
    history, run = _history(prepared, outcome, warmed, prepared.values)
    return tripwire(spec.code, spec.code.check(spec.params), history, warmed, run)


def _changed(prepared: Prepared, spec: Specification, outcome: Outcome, warmed: int) -> int | None:
    """At how many bars the other revisions would give another signal. A strategy in plain Python is too slow
    to be asked."""
    if not isinstance(spec.code, CompiledCode):
        return None
    final = prepared.bars is not prepared.columns.final
    history, run = _history(prepared, outcome, warmed, values_of(prepared.columns, final=final))
    other = Run(np.empty_like(run.targets), np.empty_like(run.values))
    failure = spec.code.over(
        spec.code.fresh(), history, 0, len(history.ends), spec.code.pack(spec.params), other
    )
    if failure is not None:
        return None
    return other_signals(run.targets[warmed:], other.targets[warmed:])
