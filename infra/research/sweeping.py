"""Many sets of parameters over the same data: each is run as `backtest` runs it, and is a row.

>>> frame = sweep("sma_cross", data, {"fast": range(5, 65, 5), "slow": range(20, 250, 10)})
>>> frame.sort_values("sharpe", ascending=False).head()
>>> with joblib.parallel_config("loky"):
...     frame = sweep("cross.py", data, {"fast": [5, 10]}, n_jobs=2)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from infra.research.backtesting import Asked, BacktestError, code_of, data_of, setting_of
from infra.research.grid import axes_of, sets_of
from infra.research.ledger import Home, Ledger, columns_of, entered
from infra.research.over_sets import Row
from infra.research.pieces import keeping
from infra.research.sources import Data
from infra.research.swept import Rows, Swept, frame_of
from infra.research.workers import Carried, batches_of
from infra.strategies.registry import Strategies
from projections.research.bars import Fill
from projections.research.daily import blocks_of
from projections.strategies.base import BaseStrategy
from projections.strategies.code import StrategyCode
from projections.strategies.parameters import StrategyParameterError
from streams.events import Market, Params, Timeframe

if TYPE_CHECKING:
    from pandas import DataFrame

Strategy: TypeAlias = str | Path | type[BaseStrategy] | StrategyCode

Told: TypeAlias = Callable[[Sequence[tuple[Params, Row]], int], None]
"""Is given what is done since the last call, at first what was kept, and how many sets there are in all."""


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
    home: Home = None,
    resume: bool = False,
    **asked: Any,
) -> "DataFrame":
    """One row for each set of the grid that the strategy takes: its parameters, all metrics, and `error`.

    `strategy`, `data` and `asked` are as for `backtest`, whose numbers each row has. Money is in the settle
    currency, ratios are shares, and what is not defined is missing. `grid` maps parameters to their values;
    `chosen` of its sets by chance are taken where that is given. Sets that the strategy refuses are left out
    and counted in `frame.attrs["invalid"]`; `attrs["notes"]` says what they were run over. joblib runs it in
    threads unless its `parallel_config` says otherwise; `n_jobs` is joblib's: −1 is all cores, None what
    `parallel_config` says. In a `home` the rows are kept while they come in, and with `resume` those of a
    sweep that was broken off are taken from there. A sweep is one trial in the ledger, as `backtest` says,
    and stays that one when it is resumed; `attrs` have its number as `trial`, and as `tried` how many sets
    the ledger counts on this market.

    Raises as `backtest`, `GridError` and `PiecesError`.
    """
    swept = begun(
        strategy,
        data_of(data, market, timeframe, stamp, fill),
        grid,
        chosen,
        seed,
        strategies,
        Asked(**asked),
    )
    folder = home.folder if isinstance(home, Ledger) else home
    run(swept, strategies, n_jobs, told, home=folder, ledger=home, resume=resume)
    return swept.frame


def begun(
    strategy: Strategy,
    data: Data,
    grid: Mapping[str, Iterable[object]],
    chosen: int | None,
    seed: int,
    strategies: Strategies | None,
    asked: Asked,
) -> Swept:
    """A sweep whose sets are known and of which nothing is done. Raises as `sweep`."""
    code = code_of(strategy, strategies)
    axes = axes_of(code, grid)
    valid, invalid = sets_of(code, axes, chosen, seed)
    code.check_timeframe(data.prepared.columns.timeframe)
    return Swept(setting_of(data, asked, [code]), code, valid, invalid, axes, chosen, seed)


def run(
    swept: Swept,
    strategies: Strategies | None,
    n_jobs: int | None,
    told: Told | None,
    *,
    home: str | Path | None,
    ledger: Home,
    resume: bool,
) -> None:
    """Run what is not done yet. What is done stays in `swept` and in the home, also where this is broken off.

    Raises as `sweep`.
    """
    with ExitStack() as held:
        pieces = None
        if home is not None:
            pieces = held.enter_context(keeping(Path(home), swept, resume=resume))
        resumes = None if pieces is None else pieces.trial
        swept.entry = held.enter_context(entered(ledger, partial(swept.trial, resumes=resumes)))
        if pieces is not None:
            swept.folder = pieces.folder
            pieces.begin(swept)
            for found in pieces.found():
                swept.rows.put(*found)
        if told is not None:
            told(list(swept.done()), len(swept.sets))
        carried, left = Carried(swept.code, strategies), swept.left
        for batch, done in batches_of(swept.setting, [(carried, swept.sets[one]) for one in left], n_jobs):
            numbers, blocks = [left[one] for one in batch], blocks_of(done.returns)
            swept.rows.put(numbers, done.rows, blocks)
            if pieces is not None:
                pieces.add(numbers, done, blocks)
            if told is not None:
                sets = [swept.sets[number] for number in numbers]
                told(list(zip(sets, done.rows, strict=True)), len(swept.sets))
        swept.entry.ended(swept.sets, swept.rows.row, swept.rows.blocks, swept.market)


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
    home: Home = None,
    **asked: Any,
) -> "DataFrame":
    """One row for each of these sets, in their order, as `sweep` makes them, behind the name of its strategy.

    A set may name its own `strategy`. One that the strategy refuses is a row with words in `error`, and no
    trial; all others together are one in the ledger, as `backtest` says.
    """
    sets = [params] if isinstance(params, Mapping) else list(params)
    if not sets:
        raise BacktestError("there is no set of parameters to run: give at least one, if only {}")
    code = cache(lambda named: Carried(code_of(named, strategies), strategies))
    known = data_of(data, market, timeframe, stamp, fill)
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
    setting = setting_of(known, Asked(**asked), [carried.code for carried, _ in runs])
    rows, numbers = Rows(len(sets)), [number for number in range(len(sets)) if number not in refused]
    rows.put(list(refused), [Row({}, words) for words in refused.values()])
    tried = [shown[number] for number in numbers]
    codes = [carried.code for carried, _ in runs]
    with entered(home, partial(setting.trial, "batch", codes, columns_of(tried), len(tried))) as entry:
        for batch, done in batches_of(setting, runs, n_jobs):
            rows.put([numbers[one] for one in batch], done.rows, blocks_of(done.returns))
        entry.ended(tried, lambda one: rows.row(numbers[one]), rows.blocks[numbers], setting.market)
    return frame_of(setting, shown, rows, entry)


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
