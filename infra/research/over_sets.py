"""Many sets of parameters of one strategy over the same bars: what becomes of each."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from infra.research.backtesting import BacktestError, Setting, check_outcome, run, warmth
from infra.research.result import held_over
from projections.research.daily import days_of, returns_of
from projections.research.money import FEES
from projections.research.round_trips import TooLargeError, check_money
from projections.research.run import LOST
from projections.research.sets import Account, Sets, walkable
from projections.research.statistics import Number, Whole, holding, numbers
from projections.strategies.code import CompiledCode, StrategyCode
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
    done = Done([Row({})] * len(sets), np.full((len(sets), len(days.ends)), np.nan))
    warm: dict[int, int] = {}
    for number, params in enumerate(sets):
        try:
            warm[number] = warmth(setting, code, params)
        except (BacktestError, StrategyParameterError) as error:
            done.rows[number] = Row({}, str(error))
    if warm and isinstance(code, CompiledCode) and shares(setting, code):
        _together(setting, code, sets, warm, done)
    else:
        for number in warm:
            _alone(setting, code, sets[number], number, done)
    return done


def shares(setting: Setting, code: StrategyCode) -> bool:
    """Whether sets of this strategy are run together; else one after the other, which takes longer. Raises
    StrategyCompileError."""
    walks = walkable(setting.data.prepared, setting.first, setting.last)
    return walks and isinstance(code, CompiledCode) and code.sharing is not None


def _alone(setting: Setting, code: StrategyCode, params: Params, number: int, done: Done) -> None:
    days = days_of(setting.data.prepared.ends[setting.first : setting.last])
    try:
        result = run(setting, code, params)
        done.rows[number] = Row(result.found.values, result.outcome.stretches[0].failure)
        done.returns[number] = returns_of(result.curve.equity[days.last], result.curve.initial)
    except (BacktestError, StrategyParameterError, TooLargeError) as error:
        done.rows[number] = Row({}, str(error))


def _together(
    setting: Setting, code: CompiledCode, sets: Sequence[Params], warm: Mapping[int, int], done: Done
) -> None:
    """Those sets that have a number of bars to be warmed on."""
    prepared, first, last = setting.data.prepared, setting.first, setting.last
    packed = np.array([code.pack(sets[number]) for number in warm])
    how = Account(setting.sizing, setting.asked.short, setting.cash, setting.asked.on_stale)
    walked = Sets(code, packed, prepared, first, np.array([*warm.values()], np.int64), how)
    walked.over(prepared, last)
    market = prepared.columns.eras[int(prepared.bars["era"][last - 1])]
    held = held_over(prepared, first, last, setting.cash)
    bars = first + days_of(prepared.ends[first:last]).last
    whole = Whole(
        walked.ends,
        np.empty(0, np.int64),
        int(prepared.ends[last - 1]),
        setting.cash,
        0,
        holding(held, market, bars - first, prepared.closes[bars]),
    )
    for s, number in enumerate(warm):
        failed = walked.failures.get(s, (last, ""))
        try:
            if walked.bots["lost"][s]:
                raise BacktestError(LOST)
            check_outcome(code.name, failed, int(walked.tallies["beyond"][s]), setting)
            check_money(walked.tallies["money"][s])
        except (BacktestError, TooLargeError) as error:
            done.rows[number] = Row({}, str(error))
            continue
        own = whole._replace(equity=walked.days[s], fees=int(walked.accounts[s, FEES]))
        found = numbers(walked.tallies[s], own, setting.asked.annualise)
        done.rows[number] = Row(found.values, failed[1])
        done.returns[number] = returns_of(walked.days[s], setting.cash)
