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
from projections.research.sets import Account, ColumnError, Sets, groups, walkable
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
    warmed = np.array([*warm.values()], np.int64)
    how = Account(setting.sizing, setting.asked.short, setting.cash, setting.asked.on_stale)
    whole, numbered = _whole(setting), np.array([*warm])
    for group in groups(code, packed, warmed):
        try:
            walked = Sets(code, packed[group], prepared, first, warmed[group], how)
            walked.over(last)
        except ColumnError:
            for number in numbered[group].tolist():
                _alone(setting, code, sets[number], number, done)
            continue
        for s, number in enumerate(numbered[group].tolist()):
            try:
                done.rows[number] = _row(setting, walked, s, whole)
                done.returns[number] = returns_of(walked.days[s], setting.cash)
            except (BacktestError, TooLargeError) as error:
                done.rows[number] = Row({}, str(error))


def _whole(setting: Setting) -> Whole:
    """What all sets have in common."""
    prepared, first, last = setting.data.prepared, setting.first, setting.last
    days = days_of(prepared.ends[first:last])
    market = prepared.columns.eras[int(prepared.bars["era"][last - 1])]
    held = held_over(prepared, first, last, setting.cash)
    hold = holding(held, market, days.last, prepared.closes[first + days.last])
    return Whole(days.ends, np.empty(0, np.int64), int(prepared.ends[last - 1]), setting.cash, 0, hold)


def _row(setting: Setting, walked: Sets, s: int, whole: Whole) -> Row:
    """Raises `BacktestError` and `TooLargeError`."""
    failure, row = walked.failures.get(s), walked.tallies[s]
    if walked.bots["lost"][s]:
        raise BacktestError(LOST)
    check_outcome(setting, walked.code.name, failure, int(row["beyond"]))
    check_money(row["money"])
    whole = whole._replace(equity=walked.days[s], fees=int(walked.accounts[s, FEES]))
    found = numbers(row, whole, setting.asked.annualise)
    return Row(found.values, failure.words if failure else "")
