"""What an author's own block is held against before a strategy with it is taken.

Nothing holds a compiled function back from the next candle. So a block is run in plain Python over a random
walk, and at many candles asked again with all rows taken away or changed that it must not read: those that
have not closed, those from before the bot's first, and those further back than it declares. It must give the
same bits, as many numbers as it declares, and after as many candles as it needs those of a bot that began
earlier.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from projections.strategies.base import Spec
from projections.strategies.blocks import Indicator, length
from projections.strategies.code import Floats, Ints, error_text
from projections.strategies.parameters import StrategyDefinitionError, Value
from projections.strategies.plain import given, outcome

ASKED = 20
"""So many candles are asked again at the beginning of a sample, in it, and at its end."""
EARLIER = 25
"""So many candles before began the bot that saw more."""
MARGIN = 8


class _Step(NamedTuple):
    """A bot at a row: candles seen with it, the state before it, and what its block gave."""

    i: int
    seen: int
    state: tuple[float, ...]
    got: tuple[float, ...]


class _Sample(NamedTuple):
    """A block and the history that it is tried on: rows before `first` are from before the bot's first."""

    indicator: Indicator
    parameters: Mapping[str, Value]
    depth: int
    first: int
    values: Floats
    ends: Ints

    def wrong(self, reason: str) -> StrategyDefinitionError:
        return StrategyDefinitionError(f"own block {self.indicator.block.name} {reason}")

    def step(self, i: int, seen: int, state: tuple[float, ...], values: Floats) -> tuple[float, ...]:
        block = self.indicator.block
        numbers = given(self.indicator, self.parameters, self.ends, i)
        try:
            got = [float(x) for x in outcome(block.function(values, i, seen, *numbers, *state))]
        except Exception as error:  # noqa: BLE001 - an author's code may raise anything
            raise self.wrong(f"failed at its candle {seen}: {error_text(error)}") from None
        own = len(block.outputs) or 1
        if len(got) != own + block.state_size:
            raise self.wrong(
                f"returned {len(got)} numbers; it declares {own} (outputs=) and {block.state_size} of its"
                " state (arguments that are 0.0 at first): return all of them, in this order"
            )
        return tuple(got)

    def run(self, first: int, last: int) -> list[_Step]:
        """A bot that begins at row `first`."""
        steps: list[_Step] = []
        state: tuple[float, ...] = (0.0,) * self.indicator.block.state_size
        for i in range(first, last):
            got = self.step(i, i - first + 1, state, self.values)
            steps.append(_Step(i, i - first + 1, state, got))
            state = got[len(got) - len(state) :]
        return steps

    def differs(self, step: _Step, rows: Ints) -> bool:
        """Whether these rows, taken away or changed, change what it gives."""
        for factor in (np.nan, -1.0):
            values = self.values.copy()
            values[rows] *= factor
            values.flags.writeable = False
            try:
                again = self.step(step.i, step.seen, step.state, values)
            except StrategyDefinitionError:
                return True
            if not np.array_equal(again, step.got, equal_nan=True):
                return True
        return False


def check_own_blocks(spec: Spec) -> None:
    """Raises StrategyDefinitionError naming the block, what it does, and what to do, with the parameters'
    defaults."""
    parameters = {p.name: p.default for p in spec.parameters}
    chains = (one for indicator in spec.indicators.values() for one in indicator.chain())
    for one in dict.fromkeys(one for one in chains if one.block.own):
        columns = tuple("close" if isinstance(a, Indicator) else a for a in one.arguments)
        _check(replace(one, arguments=columns, output=""), parameters)


def _check(indicator: Indicator, parameters: Mapping[str, Value]) -> None:
    windows, more = indicator.reads
    depth, need = length(windows, parameters) + more, indicator.need(parameters)
    first = depth + MARGIN
    last = first + max(depth + 3 * ASKED, EARLIER + need + ASKED)
    rows = last + depth + MARGIN
    sample = _Sample(indicator, parameters, depth, first, *_walk(rows))
    steps = sample.run(first, last)
    for step in _spread(steps[: depth + 3 * ASKED]):
        _check_reads(sample, step)
    later = sample.run(first + EARLIER, last)[need - 1 :]
    for step, whole in zip(later, steps[EARLIER + need - 1 :], strict=True):
        if not np.array_equal(step.got, whole.got, equal_nan=True):
            raise sample.wrong(
                f"depends on candles before the last {need}, which are all that it says that it needs:"
                " declare more (needs=)"
            )


def _check_reads(sample: _Sample, step: _Step) -> None:
    rows = np.arange(len(sample.values))
    allowed = (rows <= step.i) & (rows > step.i - min(sample.depth, step.seen))
    hidden = rows[~allowed]
    if not sample.differs(step, hidden):
        return
    ahead, behind = hidden[hidden > step.i], hidden[hidden < step.i][::-1]
    row = next((row for row in (*ahead, *behind) if sample.differs(step, np.array([row]))), hidden[-1])
    if row > step.i:
        raise sample.wrong(
            f"reads row i + {row - step.i}, a candle that has not closed yet: read row i and those before it"
        )
    back = step.i - row
    if back < step.seen:
        raise sample.wrong(
            f"reads row i - {back}, so {back + 1} candles with the current one, and declares {sample.depth}:"
            " declare more (reads=)"
        )
    raise sample.wrong(
        f"reads row i - {back} at its candle {step.seen}: give NaN until seen is more than {back}"
    )


def _walk(rows: int) -> tuple[Floats, Ints]:
    """Candles of a minute, which are always the same."""
    chance = np.random.default_rng(1)
    walk = np.cumsum(chance.integers(-50, 51, rows)) / 100
    close = 1_000.0 + walk - walk.min()
    before = np.concatenate([close[:1], close[:-1]])
    up, down = chance.integers(0, 30, (2, rows)) / 100
    volume = chance.integers(1, 10_000, rows) / 100
    values = [before, np.maximum(close, before) + up, np.minimum(close, before) - down, close, volume]
    history = np.ascontiguousarray(np.stack(values, axis=1))
    history.flags.writeable = False  # other bots read it too
    return history, 60_000_000_000 * np.arange(1, rows + 1)


def _spread(steps: list[_Step]) -> list[_Step]:
    """The first, the last, and some between."""
    return [*steps[:ASKED], *steps[ASKED : -ASKED : max(len(steps) // ASKED, 1)], *steps[-ASKED:]]
