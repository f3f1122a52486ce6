"""The best set beside its neighbours: a height that they share is none that a sweep found by chance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from infra.research.backtesting import Asked, data_of
from infra.research.over_sets import Row
from infra.research.spike import CELLS, around, axes_of, heat_of
from infra.research.sweeping import begun
from infra.research.swept import Swept
from infra.strategies.registry import Strategies, load_strategies
from projections.research.statistics import DEFINITIONS
from streams.events import Params
from tests.programs import KERNELS
from tests.unit.test_sweeps import frame_of

FAST, SLOW = range(2, 7), range(10, 60, 10)
KINDS = """
from projections.strategies import BaseStrategy, Signal, param

class Kinds(BaseStrategy):
    kind: str = param("a", choices=("a", "b", "c"))
    n: int = param(1, low=1, high=500)
    on: bool = param(True)

    def process_data(self, df):
        return Signal(0.0)
"""


def filled(swept: Swept, height: Callable[[Params], float | None], metric: str = "sharpe") -> Swept:
    """The sweep as if it were done, each set so high."""
    rows = [Row(dict.fromkeys(DEFINITIONS) | {metric: height(params)}) for params in swept.sets]
    swept.rows.put(range(len(rows)), rows)
    return swept


@pytest.fixture
def swept(strategies: Strategies) -> Swept:
    grid = {"fast": FAST, "slow": SLOW}
    return begun("sma_cross", data_of(frame_of(300)), grid, None, 0, strategies, Asked())


def is_best(params: Params) -> bool:
    return (params["fast"], params["slow"]) == (4, 30)


def steps_away(params: Params) -> float:
    return max(abs(int(params["fast"]) - 4), abs(int(params["slow"]) - 30) / 10)


def test_a_height_that_the_neighbours_do_not_share_is_a_spike(swept: Swept) -> None:
    found = around(
        filled(swept, lambda params: 3.0 if is_best(params) else steps_away(params) / 10), "sharpe"
    )
    assert found is not None and found.spike is True
    assert is_best(swept.sets[found.best])
    beside = {(p["fast"], p["slow"]) for p in (swept.sets[number] for number in found.neighbours)}
    assert beside == {(f, s) for f in (3, 4, 5) for s in (20, 30, 40)} - {(4, 30)}
    assert found.words.startswith(
        "The best set is a spike: Sharpe 3.00; its 8 direct neighbours have 0.10 in the median,"
        " all sets 0.20."
    )


def test_a_height_that_falls_off_slowly_is_none(swept: Swept) -> None:
    found = around(filled(swept, lambda params: -steps_away(params)), "sharpe")
    assert found is not None and (found.spike, len(found.neighbours)) == (False, 8)
    found = around(filled(swept, lambda params: -(steps_away(params) ** 3)), "sharpe")
    assert found is not None and found.spike is False
    assert found.words == (
        "The best set is no spike: Sharpe 0.00; its 8 direct neighbours have -1.00 in the median,"
        " all sets -8.00."
    )


def test_a_corner_has_fewer_neighbours_and_those_without_the_number_do_not_count(swept: Swept) -> None:
    found = around(filled(swept, lambda params: float(params["fast"] + params["slow"])), "sharpe")
    assert found is not None and len(found.neighbours) == 3 and found.spike is False
    swept.rows.known["sharpe"][found.neighbours[:2]] = False
    found = around(swept, "sharpe")
    assert found is not None and found.spike is None
    assert found.words == (
        "Whether the best set is a spike cannot be said: at least 2 direct neighbours with a Sharpe are"
        " needed, it has 1."
    )


def test_where_no_set_has_the_number_there_is_no_best(swept: Swept) -> None:
    assert around(filled(swept, lambda params: None), "sharpe") is None
    heat = heat_of(swept, "sharpe")
    assert heat is not None and (heat.cells == -1).all()


def test_money_is_told_as_money(swept: Swept) -> None:
    found = around(filled(swept, lambda params: 10**8 * (5 if is_best(params) else 2), "final"), "final")
    assert found is not None and "Final equity 5.00000000 QUOTE; " in found.words


@pytest.fixture
def kinds(tmp_path: Any) -> Callable[[dict[str, Any]], Swept]:
    (tmp_path / "kinds.py").write_text(KINDS)
    strategies = load_strategies(KERNELS, [tmp_path / "kinds.py"])
    data = data_of(frame_of(300))
    return lambda grid: begun("kinds", data, grid, None, 0, strategies, Asked())


def test_what_has_no_order_has_no_steps(kinds: Callable[[dict[str, Any]], Swept]) -> None:
    swept = kinds({"kind": ["a", "b", "c"], "n": [1, 2, 3, 4], "on": [True, False]})
    filled(swept, lambda params: 9.0 if params == {"kind": "b", "n": 2, "on": True} else 1.0)
    found = around(swept, "sharpe")
    assert found is not None and found.spike is True
    beside = [swept.sets[number] for number in found.neighbours]
    assert beside == [{"kind": "b", "n": 1, "on": True}, {"kind": "b", "n": 3, "on": True}]


def test_a_heat_map_has_the_two_parameters_with_the_most_values_and_the_best_over_the_others(
    kinds: Callable[[dict[str, Any]], Swept],
) -> None:
    swept = kinds({"kind": ["a", "b", "c"], "n": [1, 2, 3, 4], "on": [True, False]})
    filled(swept, lambda params: params["n"] + (0.5 if params["on"] == (params["n"] > 2) else 0.0))
    heat = heat_of(swept, "sharpe")
    assert heat is not None
    assert (heat.across, heat.columns, heat.down, heat.rows) == (
        "n", ["1", "2", "3", "4"], "kind", ["a", "b", "c"],
    )  # fmt: skip
    for row, kind in enumerate("abc"):
        cells = [swept.sets[number] for number in heat.cells[row].tolist()]
        assert cells == [{"kind": kind, "n": n, "on": n > 2} for n in (1, 2, 3, 4)]


def test_a_heat_map_of_one_parameter_is_a_row_and_many_values_share_its_cells(
    kinds: Callable[[dict[str, Any]], Swept],
) -> None:
    swept = filled(kinds({"n": range(1, 301)}), lambda params: float(params["n"] % 7))
    heat = heat_of(swept, "sharpe")
    assert heat is not None and heat.down == "" and heat.cells.shape == (1, CELLS)
    assert heat.columns[:2] == ["1", "6"] and heat.columns[-1] == "296"
    best = [swept.rows.values["sharpe"][number] for number in heat.cells[0]]
    assert best == [max(n % 7 for n in range(5 * cell + 1, 5 * cell + 6)) for cell in range(CELLS)]
    assert heat_of(filled(kinds({"n": [5]}), lambda params: 1.0), "sharpe") is None


def test_places_are_among_the_tested_values() -> None:
    sets: list[Params] = [{"a": 1, "b": 2.5}, {"a": 1, "b": 0.5}, {"a": 1, "b": 2.5}]
    (axis,) = axes_of(sets)
    assert (axis.name, axis.values) == ("b", [0.5, 2.5])
    assert np.array_equal(axis.places, [1, 0, 1])
