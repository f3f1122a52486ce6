"""The best set of a sweep among those beside it: a heat map of two parameters, and whether it stands alone.

*Direct neighbours* of a set differ from it by at most one step in every parameter that is a number, from one
tested value to the next. The best set is a *spike* where the median of its direct neighbours is nearer to the
median of all sets than to the best.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from infra.research.result import in_words
from infra.research.swept import Swept
from projections.research.columns import I8
from projections.research.statistics import DEFINITIONS
from streams.events import Params

CELLS: Final = 60
"""Of a heat map in each direction; where there are more values, some share a cell, named by the first."""
NEIGHBOURS_MIN: Final = 2


class Axis(NamedTuple):
    """A parameter that has more than one value: these, rising, and the place i8[S] of each set's among
    them."""

    name: str
    values: list[Any]
    places: I8

    @property
    def ordered(self) -> bool:
        return not isinstance(self.values[0], bool | str)


def axes_of(sets: Sequence[Params]) -> list[Axis]:
    """Those with the most values first."""
    axes: list[Axis] = []
    for name in sets[0]:
        values = sorted({params[name] for params in sets})
        place = {value: number for number, value in enumerate(values)}
        if len(values) > 1:
            axes.append(Axis(name, values, np.array([place[params[name]] for params in sets])))
    return sorted(axes, key=lambda axis: -len(axis.values))


class Around(NamedTuple):
    """The best set's number, those of its direct neighbours, whether it is a spike, None where that cannot be
    said, and all of it in words."""

    best: int
    neighbours: list[int]
    spike: bool | None
    words: str


def around(swept: Swept, metric: str) -> Around | None:
    """None where no set has the number."""
    rows, title = swept.rows, DEFINITIONS[metric].title
    known = rows.known[metric]
    if not known.any():
        return None
    best = swept.best_first(metric)[0]
    beside = rows.done.copy()
    for axis in axes_of(swept.sets):
        beside &= abs(axis.places - axis.places[best]) <= int(axis.ordered)
    beside[best] = False
    neighbours = np.flatnonzero(beside).tolist()
    values = rows.values[metric][beside & known]
    if len(values) < NEIGHBOURS_MIN:
        few = f"at least {NEIGHBOURS_MIN} direct neighbours with a {title} are needed, it has {len(values)}"
        return Around(best, neighbours, None, f"Whether the best set is a spike cannot be said: {few}.")
    highest, near, far = (
        float(value)
        for value in (rows.values[metric][best], np.median(values), np.median(rows.values[metric][known]))
    )
    spike = near - far < highest - near
    told = [in_words(metric, _told(metric, value), *_money(swept)) for value in (highest, near, far)]
    beside_it = f"its {len(values)} direct neighbours have {told[1]} in the median"
    words = f"{title} {told[0]}; {beside_it}, all sets {told[2]}"
    verdict = (
        f"The best set is a spike: {words}. A height that its neighbours do not share is mostly chance."
        if spike
        else f"The best set is no spike: {words}."
    )
    return Around(best, neighbours, spike, verdict)


def _money(swept: Swept) -> tuple[int, str]:
    return swept.market.cash_scale, swept.market.settle


def _told(metric: str, value: float) -> float:
    return value if DEFINITIONS[metric].unit in ("ratio", "number") else int(value)


class Heat(NamedTuple):
    """`cells` i8[rows, columns]: the number of the best set with these values, −1 for none. `down` is empty
    where one parameter alone has values."""

    across: str
    down: str
    columns: list[str]
    rows: list[str]
    cells: I8


def heat_of(swept: Swept, metric: str) -> Heat | None:
    """Of the two parameters with the most values, over the others the best; None where each has one value."""
    axes = axes_of(swept.sets)[:2]
    if not axes:
        return None
    across, columns = _cells(axes[0])
    down, rows = _cells(axes[1]) if len(axes) > 1 else (np.zeros_like(across), [""])
    cells = np.full((len(rows), len(columns)), -1)
    for number in reversed(swept.best_first(metric)):
        if swept.rows.known[metric][number]:
            cells[down[number], across[number]] = number
    return Heat(axes[0].name, axes[1].name if len(axes) > 1 else "", columns, rows, cells)


def _cells(axis: Axis) -> tuple[I8, list[str]]:
    """The cell of each set, and what stands beside each cell."""
    count = min(len(axis.values), CELLS)
    cell_of = np.arange(len(axis.values)) * count // len(axis.values)
    firsts = np.searchsorted(cell_of, np.arange(count))
    return cell_of[axis.places], [str(axis.values[first]) for first in firsts.tolist()]
