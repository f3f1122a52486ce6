"""Many sets of parameters of one strategy over the same bars: what becomes of each."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from infra.research.backtesting import BacktestError, Setting, run
from projections.research.daily import days_of, returns_of
from projections.research.round_trips import TooLargeError
from projections.research.statistics import Number
from projections.strategies.code import StrategyCode
from projections.strategies.parameters import StrategyParameterError
from streams.events import Params

F8 = npt.NDArray[np.float64]


class Row(NamedTuple):
    """What became of a set: `values` as `Metrics` has them, none where it could not be run; `error`: why, or
    how its strategy failed."""

    values: Mapping[str, Number]
    error: str = ""


class Done(NamedTuple):
    """`rows`, one a set. `returns` f8[S, D]: each set's returns of the UTC days of the range, NaN where a day
    began with nothing, or the set could not be run."""

    rows: list[Row]
    returns: F8


def over_sets(setting: Setting, code: StrategyCode, sets: Sequence[Params]) -> Done:
    """Each set as `run` runs it alone, in every number; one that cannot be run is a row with its words."""
    days = days_of(setting.data.prepared.ends[setting.first : setting.last])
    rows: list[Row] = []
    returns = np.full((len(sets), len(days.ends)), np.nan)
    for number, params in enumerate(sets):
        try:
            result = run(setting, code, params)
            rows.append(Row(result.found.values, result.outcome.stretches[0].failure))
            returns[number] = returns_of(result.curve.equity[days.last], result.curve.initial)
        except (BacktestError, StrategyParameterError, TooLargeError) as error:
            rows.append(Row({}, str(error)))
    return Done(rows, returns)
