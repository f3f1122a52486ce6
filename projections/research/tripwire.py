"""Does a strategy know what comes? It is asked again, with all that lies behind a bar taken away or changed.

A compiled step reads candles by their number, and nothing holds it back from the next one but that its blocks
are honest. So the rows behind a bar are made NaN, bar after bar: one that read there hands on other bits, in
its indicators at the latest, which are compared too. Candles of higher timeframes that end behind the bar are
taken away with it, whatever the join says that handed them out.

A strategy in plain Python is handed a frame that ends at the present. It may still find the future: in the
memory under that frame, on the stack, in what it kept of an earlier step. So its step is made again with
nothing behind but one candle, doubled and then halved. What it reads from elsewhere stays unseen.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from projections.research.arrays import IN_MEMORY, Zeros, stretches
from projections.strategies.code import CompiledCode, Floats, History, Ints, Midway, Run, StrategyCode
from projections.strategies.parameters import Value

POINTS: Final = 64
"""So many bars, beside those with a signal, of a strategy in plain Python, whose steps are dear."""
BLIND: Final = 1_024
"""So many of a compiled one, which reads alike at every bar."""
_GOLDEN: Final = (5**0.5 - 1) / 2
"""The fractions of its multiples lie evenly, and in no rhythm that a strategy may have."""


class Peek(NamedTuple):
    """The first bar, counted from the run's first, at which a strategy was found out.

    Its `what`, the target or an indicator, was `given`, and asked again it was `again`; None: it failed.
    """

    bar: int
    what: str
    given: float
    again: float | None


class Tripwire(NamedTuple):
    """At how many bars a strategy was asked again, with what changed, and what was found."""

    points: int
    changed: str
    peek: Peek | None


def tripwire(
    code: StrategyCode,
    params: Mapping[str, Value],
    history: History,
    warmed: int,
    run: Run,
    zeros: Zeros = IN_MEMORY,
) -> Tripwire:
    """Ask a strategy again that gave `run` over the whole of `history`, of which the first `warmed` rows lie
    before the run and are not looked at."""
    if len(run.targets) <= warmed:
        return Tripwire(0, "nothing", None)
    asked = _Asked(code, code.pack(params), code.lookback(params), history, warmed, run)
    if isinstance(code, CompiledCode):
        points = warmed + _spread(len(run.targets) - warmed, BLIND)
        return Tripwire(len(points), "all bars behind taken away", _blind(asked, points, zeros))
    signals = changes(run.targets[warmed:])
    points = warmed + np.union1d(_spread(len(run.targets) - warmed, POINTS), signals)
    # what lay before the first bar is not known, and behind the last there is nothing to change
    points = points[(points < len(history.ends) - 1) & ((points > warmed) | (warmed == 0))]
    peeks = (_peek(asked, point, factor) for point in points.tolist() for factor in (2.0, 0.5))
    return Tripwire(len(points), "the bars behind changed", next((peek for peek in peeks if peek), None))


class _Asked(NamedTuple):
    code: StrategyCode
    packed: Floats
    window: int
    history: History
    warmed: int
    run: Run

    def differs(self, again: Run, start: int, first: int, last: int) -> Peek | None:
        """The first of the rows first … last − 1 that differs. `again` begins with row `start`."""
        names = ("target", *self.code.value_names)
        for part in stretches(last - first):
            rows = slice(first + part.start, first + part.stop)
            given = np.column_stack([self.run.targets[rows], self.run.values[rows]])
            rows = slice(rows.start - start, rows.stop - start)
            then = np.column_stack([again.targets[rows], again.values[rows]])
            for row, column in np.argwhere(given.view(np.int64) != then.view(np.int64))[:1].tolist():
                bar = first + part.start + row - self.warmed
                return Peek(bar, names[column], float(given[row, column]), float(then[row, column]))
        return None

    def failed(self, row: int) -> Peek:
        return Peek(row - self.warmed, "target", float(self.run.targets[row]), None)


def changes(targets: Floats) -> Ints:
    """The bars at which a target f8[n] is another than before, at first than 0."""
    found = [np.flatnonzero(targets[:1])]
    found += [rows.start + 1 + np.flatnonzero(np.diff(targets[rows])) for rows in stretches(len(targets), 1)]
    return np.concatenate(found)


def _spread(bars: int, count: int) -> Ints:
    """At most so many of the bars, rising and evenly spread, and the last."""
    spread = (np.arange(1, count) * _GOLDEN % 1.0 * bars).astype(np.int64)
    return np.unique(np.append(spread, bars - 1)) if bars else spread[:0]


def _blind(asked: _Asked, points: Ints, zeros: Zeros) -> Peek | None:
    """Step from the beginning; up to each point, only what is not behind it is there."""
    code, history = asked.code, asked.history
    above = tuple(one._replace(values=_nothing(one.values, zeros)) for one in history.higher)
    shown = History(history.ends, _nothing(history.values, zeros), above)
    again = Run(*(zeros(of.shape, of.dtype) for of in asked.run))
    bot, at = code.fresh(), 0
    for point in points.tolist():
        shown.values[at : point + 1] = history.values[at : point + 1]
        for one, whole in zip(above, history.higher, strict=True):
            known, closed = np.searchsorted(whole.ends, history.ends[[at - 1, point]], side="right")
            one.values[known if at else 0 : closed] = whole.values[known if at else 0 : closed]
        failure = code.over(bot, shown, at, point + 1, asked.packed, again)
        if failure is not None:
            return asked.differs(again, 0, asked.warmed, failure.bot) or asked.failed(failure.bot)
        at = point + 1
    return asked.differs(again, 0, asked.warmed, at)


def _nothing(values: Floats, zeros: Zeros) -> Floats:
    """As many of them, and each unknown."""
    unknown: Floats = zeros(values.shape, np.float64)
    for rows in stretches(len(values)):
        unknown[rows] = np.nan
    return unknown


def _peek(asked: _Asked, point: int, factor: float) -> Peek | None:
    """Make one step again. All that a strategy in plain Python knows of its past is its target."""
    start = max(point + 1 - asked.window, 0)
    rows, seen = slice(start, point + 2), point - start
    shown = History(asked.history.ends[rows], asked.history.values[rows].copy())
    shown.values[-1] *= factor
    again = Run(np.empty(seen + 2), np.empty((seen + 2, len(asked.code.value_names))))
    before = float(asked.run.targets[point - 1]) if point else 0.0
    bot = Midway(seen, before, np.zeros(asked.code.state_size))
    failure = asked.code.over(bot, shown, seen, seen + 2, asked.packed, again)
    if failure is not None and failure.bot == seen:
        return asked.failed(point)
    return asked.differs(again, start, point, point + 1)
