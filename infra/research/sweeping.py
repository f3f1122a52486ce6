"""Many sets of parameters over the same data: each is run as `backtest` runs it, and is a row.

>>> frame = sweep("sma_cross", data, {"fast": range(5, 65, 5), "slow": range(20, 250, 10)})
>>> frame.sort_values("sharpe", ascending=False).head()
>>> with joblib.parallel_config("loky"):
...     frame = sweep("cross.py", data, {"fast": [5, 10]}, n_jobs=2)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from infra.present.values import iso
from infra.research.backtesting import (
    Asked,
    BacktestError,
    Setting,
    code_of,
    data_of,
    kernels,
    setting_of,
)
from infra.research.grid import sets_of
from infra.research.over_sets import Done, Row, over_sets
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from projections.research.bars import Fill
from projections.research.statistics import DEFINITIONS, Number, Unit
from projections.strategies.base import BaseStrategy
from projections.strategies.code import CompiledCode, StrategyCode, StrategyCompileError
from projections.strategies.parameters import StrategyParameterError
from streams.events import Market, Params, Timeframe

if TYPE_CHECKING:
    from pandas import DataFrame

Strategy: TypeAlias = str | Path | type[BaseStrategy] | StrategyCode

TOGETHER: Final = 16
"""Sets that a worker runs before it answers."""

Told: TypeAlias = Callable[[Sequence[tuple[Params, Row]], int], None]
"""Is given what is done since the last call, and how many sets there are in all."""


def sweep(
    strategy: Strategy,
    data: "Data | DataFrame | str | Path",
    grid: Mapping[str, Iterable[object]],
    *,
    market: Market | str | None = None,
    timeframe: Timeframe | None = None,
    stamp: Literal["close", "open"] = "close",
    fill: Fill = "next-open",
    strategies: Strategies | None = None,
    chosen: int | None = None,
    seed: int = 0,
    n_jobs: int | None = -1,
    told: Told | None = None,
    **asked: Any,
) -> "DataFrame":
    """One row for each set of the grid that the strategy takes: its parameters, all metrics, and `error`.

    `strategy`, `data` and `asked` are as for `backtest`, whose numbers each row has. Money is in the settle
    currency, ratios are shares, and what is not defined is missing. `grid` maps parameters to their values;
    `chosen` of its sets by chance are taken where that is given. Sets that the strategy refuses are left out
    and counted in `frame.attrs["invalid"]`; `attrs["notes"]` says what they were run over. joblib runs it in
    threads unless its `parallel_config` says otherwise; `n_jobs` is joblib's: −1 is all cores, None what
    `parallel_config` says.

    Raises as `backtest`, and `GridError`.
    """
    code = code_of(strategy, strategies)
    valid, invalid = sets_of(code, grid, chosen, seed)
    setting = setting_of(data_of(data, market, timeframe, stamp, fill), Asked(**asked))
    carried = Carried(code, strategies)
    rows = run_all(setting, [(carried, params) for params in valid], n_jobs, told)
    frame = frame_of(setting, valid, rows)
    frame.attrs["invalid"] = invalid
    return frame


def backtest_strategy_batch(
    data: "Data | DataFrame | str | Path",
    params: Mapping[str, object] | Sequence[Mapping[str, object]],
    *,
    strategy: Strategy = "sma_cross",
    market: Market | str | None = None,
    timeframe: Timeframe | None = None,
    stamp: Literal["close", "open"] = "close",
    fill: Fill = "next-open",
    strategies: Strategies | None = None,
    n_jobs: int | None = 1,
    **asked: Any,
) -> "DataFrame":
    """One row for each of these sets, in their order, as `sweep` makes them, behind the name of its strategy.

    A set may name its own `strategy`. One that the strategy refuses is a row with words in `error`.
    """
    sets = [params] if isinstance(params, Mapping) else list(params)
    if not sets:
        raise BacktestError("there is no set of parameters to run: give at least one, if only {}")
    code = cache(lambda named: Carried(code_of(named, strategies), strategies))
    setting = setting_of(data_of(data, market, timeframe, stamp, fill), Asked(**asked))
    runs: list[tuple[Carried, Params]] = []
    refused: dict[int, str] = {}
    shown: list[dict[str, object]] = []
    for number, given in enumerate(sets):
        named, own = named_apart(given, strategy)
        carried = code(named)
        try:
            checked = carried.code.check(own)
        except StrategyParameterError as error:
            refused[number] = str(error)
            shown.append({"strategy": carried.code.name, **own})
        else:
            runs.append((carried, checked))
            shown.append({"strategy": carried.code.name, **checked})
    done = iter(run_all(setting, runs, n_jobs, None))
    rows = [Row({}, refused[number]) if number in refused else next(done) for number in range(len(sets))]
    return frame_of(setting, shown, rows)


def run_parallel_backtest(
    data: "Data | DataFrame | str | Path",
    strategy_params: Mapping[str, object] | Sequence[Mapping[str, object]],
    n_jobs: int | None = 4,
    **how: Any,
) -> "DataFrame":
    """`backtest_strategy_batch` by several workers at once; `n_jobs` is joblib's."""
    return backtest_strategy_batch(data, strategy_params, n_jobs=n_jobs, **how)


def named_apart(params: Mapping[str, object], strategy: Strategy) -> tuple[Strategy, dict[str, object]]:
    """The strategy that a set names, or else this one; and its parameters."""
    own = dict(params)
    named: Any = own.pop("strategy", strategy)
    return named, own


# ------------------------------------------------------------------ workers


class Carried:
    """A strategy's code; to another process go its name and hash, by which the archive of the home has it."""

    def __init__(self, code: StrategyCode, strategies: Strategies | None) -> None:
        self._code: StrategyCode | None = code
        self._kept = (strategies.kernels_dir if strategies else kernels(), code.name, code.code_hash)

    @property
    def code(self) -> StrategyCode:
        """Raises `BacktestError` where the archive does not have it."""
        if self._code is None:
            self._code = _unarchived(*self._kept)
        return self._code

    def __getstate__(self) -> dict[str, object]:
        return {"_code": None, "_kept": self._kept}


@cache
def _unarchived(folder: Path, name: str, code_hash: str) -> StrategyCode:
    code = Strategies(folder).get(name, code_hash)
    if code is None:
        raise BacktestError(
            f"a worker finds no code {code_hash[:12]} of strategy {name} in {folder}: carry it there by"
            " `tcpdashboard strategies --archive FILE` and `--import FILE`"
        )
    return code


def run_all(
    setting: Setting, runs: Sequence[tuple[Carried, Params]], n_jobs: int | None, told: Told | None
) -> list[Row]:
    """A row for each, in their order. Raises `BacktestError` for code that does not compile."""
    rows = [Row({})] * len(runs)
    for numbers, done in batches_of(setting, runs, n_jobs):
        for number, row in zip(numbers, done.rows, strict=True):
            rows[number] = row
        if told is not None:
            told([(runs[number][1], rows[number]) for number in numbers], len(runs))
    return rows


def batches_of(
    setting: Setting, runs: Sequence[tuple[Carried, Params]], n_jobs: int | None
) -> Iterator[tuple[list[int], Done]]:
    """The runs batch by batch as they are done: the numbers of some, all of one strategy, and what became of
    them. Raises as `run_all`."""
    import joblib  # noqa: PLC0415 - a fifth of a second

    by_code: dict[int, list[int]] = {}
    for number, (carried, _) in enumerate(runs):
        by_code.setdefault(id(carried), []).append(number)
    for numbers in by_code.values():
        _compile(runs[numbers[0]][0].code)
    workers: int = joblib.effective_n_jobs(n_jobs)  # pyright: ignore[reportArgumentType] - None is one
    size = max(1, min(TOGETHER, len(runs) // (4 * workers)))
    # in other processes bars are mapped copy-on-write: compiled loops take no read-only arrays
    parallel: Any = joblib.Parallel(
        n_jobs=n_jobs, prefer="threads", return_as="generator_unordered", mmap_mode="c"
    )
    yield from parallel(
        joblib.delayed(_batch)(setting, runs[batch[0]][0], [runs[number][1] for number in batch], batch)
        for numbers in by_code.values()
        for batch in (numbers[first : first + size] for first in range(0, len(numbers), size))
    )


def _compile(code: StrategyCode) -> None:
    """Before workers would do so all at once."""
    try:
        _ = code.loops if isinstance(code, CompiledCode) else None
    except StrategyCompileError as error:
        raise BacktestError(f"strategy {code.name} does not compile: {error}") from error


def _batch(
    setting: Setting, carried: Carried, sets: Sequence[Params], numbers: list[int]
) -> tuple[list[int], Done]:
    return numbers, over_sets(setting, carried.code, sets)


# ------------------------------------------------------------------ for people


def frame_of(setting: Setting, sets: Sequence[Mapping[str, object]], rows: Sequence[Row]) -> "DataFrame":
    """A parameter that is called as a metric is, has an underscore behind its name."""
    import pandas as pd  # noqa: PLC0415 - a third of a second, for those who look at frames

    prepared = setting.data.prepared
    market = prepared.columns.eras[int(prepared.bars["era"][setting.last - 1])]
    names = dict.fromkeys(name for params in sets for name in params)
    columns: dict[str, Any] = {
        f"{name}_" if name in DEFINITIONS or name == "error" else name: [params.get(name) for params in sets]
        for name in names
    }
    for name, metric in DEFINITIONS.items():
        columns[name] = _column([row.values.get(name) for row in rows], metric.unit, market.cash_scale)
    columns["error"] = [row.error for row in rows]
    frame = pd.DataFrame(columns)
    frame.attrs = {"cash_scale": market.cash_scale, "settle": market.settle, "notes": _notes(setting)}
    return frame


def _notes(setting: Setting) -> list[str]:
    """What the sets were run over, with which costs, and what was assumed."""
    data, columns = setting.data, setting.data.prepared.columns
    ends = [iso(int(data.prepared.ends[bar])) for bar in (setting.first, setting.last - 1)]
    return [
        f"{columns.market} {columns.timeframe}, {ends[0]} to {ends[1]},"
        f" {setting.last - setting.first:,} candles. {data.words}. {setting.costs.words}.",
        *data.notes,
    ]


def _column(values: Sequence[Number], unit: Unit, scale: int) -> Any:
    import pandas as pd  # noqa: PLC0415 - as above

    match unit:
        case "count":
            return pd.array(list(values), "Int64")
        case "time":
            return pd.to_datetime(pd.array(list(values), "Int64"), unit="ns", utc=True)
        case "duration":
            return pd.to_timedelta(pd.array(list(values), "Int64"), unit="ns")
        case "money":
            amounts = [None if value is None else value / 10**scale for value in values]
            return pd.array(amounts, "float64")
        case _:
            return pd.array(list(values), "float64")
