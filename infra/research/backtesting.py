"""One backtest: a strategy over data, in a range, with costs; checked first, then run.

>>> data = recorded(log, home, "bitmex:BTC/USD:BTC", "1m")
>>> result = backtest("sma_cross", data, {"fast": 20, "slow": 100}, cash="1")
>>> result = backtest("cross.py", "bars.csv", market="any:BTC/USDT", timeframe="1h", stamp="open")
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from msgspec.structs import replace as changed

from infra.commands.given import integer_of, sizing_of
from infra.present.values import decimal_string, iso
from infra.research.holdout import Holdout, apart
from infra.research.ledger import Entry, Home, columns_of, entered, process, versions
from infra.research.result import Costs, Result
from infra.research.sources import Data
from infra.strategies.registry import Strategies, load_strategies
from projections.research.bars import Fill
from projections.research.daily import BLOCKS, blocks_of, days_of, returns_of
from projections.research.honesty import too_short
from projections.research.money import OVERFLOW
from projections.research.prepared import NotKnownError, Prepared, era_before
from projections.research.round_trips import TooLargeError
from projections.research.run import Failure, Specification
from projections.research.run import backtest as run_over
from projections.research.statistics import YEAR
from projections.strategies.base import BaseStrategy
from projections.strategies.code import PandasCode, Run, StrategyCode
from projections.strategies.parameters import StrategyParameterError
from streams.events import (
    E8,
    Market,
    OnStale,
    Params,
    ParamValue,
    Sizing,
    Timeframe,
    TrialKind,
    TrialStarted,
)

if TYPE_CHECKING:
    from pandas import DataFrame

TRIED_ROWS = 200
WORTH_A_WORD_S = 2.0


class BacktestError(ValueError):
    """What was asked for can't be tested; the message says why, and what can be."""


@dataclass(frozen=True)
class Asked:
    """How a backtest is to be run: over candles that end in (`after`, `until`], ns; `fee` and `slippage` in
    1e-8, None: the market's. `holdout`: the share of these candles, such as 0.2 or "20%", that is held out
    at their end; `look`: over these alone, warmed on those before."""

    cash: str | None = None
    sizing: str = "equity:1"
    short: bool = False
    on_stale: OnStale = "hold"
    after: int | None = None
    until: int | None = None
    cold: bool = False
    fee: int | None = None
    slippage: int | None = None
    annualise: float = YEAR
    holdout: float | str | None = None
    look: bool = False


def backtest(
    strategy: str | Path | type[BaseStrategy] | StrategyCode,
    data: "Data | DataFrame | str | Path",
    params: Mapping[str, object] | None = None,
    *,
    market: Market | str | None = None,
    timeframe: Timeframe | None = None,
    stamp: Literal["close", "open"] = "close",
    fill: Fill = "next-open",
    strategies: Strategies | None = None,
    home: Home = None,
    say: Callable[[str], None] | None = None,
    **asked: Any,
) -> Result:
    """Run a strategy over data; `asked` are the fields of `Asked`.

    `strategy`: a name, a file with one strategy, its class, or its code. `data`: a DataFrame or a file of
    bars, with `market` (its specification, or `venue:symbol`), `timeframe`, `stamp` and `fill` as
    `infra.research.files` says, also where they are not given; or `Data` made before, once for many runs.
    `home`: whose ledger the run is written into, a folder; without it the home that the settings name, if
    there is one. `say` is told how long a strategy in plain Python will take, where that is worth a word.

    Raises `BacktestError`, `BarsError`, `UnknownStrategyError`, `StrategyFileError` and
    `StrategyParameterError`, each with words for people, and `LogError` where the ledger cannot be written:
    then nothing was run.
    """
    code = code_of(strategy, strategies)
    setting = setting_of(data_of(data, market, timeframe, stamp, fill), Asked(**asked), [code])
    checked = code.check(params or {})
    trial = partial(setting.trial, "backtest", [code], columns_of([checked]), 1)
    with entered(home, trial) as entry:
        return run_entered(setting, code, checked, entry, say)


def run_entered(
    setting: "Setting",
    code: StrategyCode,
    params: Params,
    entry: Entry,
    say: Callable[[str], None] | None = None,
) -> Result:
    """`run`, and what became of it in the ledger."""
    market = setting.market
    try:
        result = replace(run(setting, code, params, say), entry=entry)
        row = (result.found.values, result.outcome.stretches[0].failure)
    except (BacktestError, StrategyParameterError, TooLargeError) as error:
        words = str(error)
        entry.ended([params], lambda _: ({}, words), np.zeros((1, BLOCKS, 3)), market)
        raise
    days = days_of(result.curve.ends)
    returns = returns_of(result.curve.equity[days.last], result.curve.initial)
    entry.ended([params], lambda _: row, blocks_of(returns[None]), market)
    return result


@dataclass(frozen=True)
class Setting:
    """What all runs over the bars `first` … `last` − 1 share: `cash` in units of the cash scale there."""

    data: Data
    asked: Asked
    first: int
    last: int
    sizing: Sizing
    cash: int
    cash_scale: int
    costs: Costs
    holdout: Holdout | None = None

    @property
    def market(self) -> Market:
        """As it stands at the last bar."""
        prepared = self.data.prepared
        return prepared.columns.eras[int(prepared.bars["era"][self.last - 1])]

    def trial(
        self,
        kind: TrialKind,
        codes: Iterable[StrategyCode],
        parameters: Mapping[str, tuple[ParamValue, ...]],
        sets: int,
        who: str,
        **further: Any,
    ) -> TrialStarted:
        """What the ledger holds of a run of so many sets before it begins."""
        prepared, asked, held = self.data.prepared, self.asked, self.holdout
        codes = list(codes)
        read = timeframes_of(codes)
        return TrialStarted(
            at=time.time_ns(),
            kind=kind,
            market=prepared.columns.market,
            timeframe=cast(Timeframe, prepared.columns.timeframe),
            after=prepared.begin(self.first),
            until=int(prepared.ends[self.last - 1]),
            candles=self.last - self.first,
            origin=dict(self.data.origin),
            sha256=prepared.digest(self.last, read),
            specification=prepared.columns.eras[era_before(prepared, self.first)],
            strategies={code.name: code.code_hash for code in codes},
            sets=sets,
            parameters=dict(parameters),
            cash=decimal_string(self.cash, self.cash_scale),
            sizing=asked.sizing,
            annualise=float(asked.annualise),
            who=who,
            process=process(),
            versions=versions(),
            short=asked.short,
            on_stale=asked.on_stale,
            cold=asked.cold,
            fee=asked.fee,
            slippage=asked.slippage,
            holdout=held.share if held else "",
            look=bool(held and held.look),
            **further,
        )


def timeframes_of(codes: Iterable[StrategyCode]) -> tuple[str, ...]:
    """The timeframes above their own that these strategies read."""
    return tuple(sorted({timeframe for code in codes for timeframe in code.higher}))


def setting_of(data: Data, asked: Asked, codes: Iterable[StrategyCode] = ()) -> Setting:
    """For runs of these strategies. Raises `BacktestError`, `HoldoutError`, and `ValueError` for cash or
    sizing that is none."""
    if not 0 < asked.annualise < float("inf"):
        raise BacktestError(f"annualise by {asked.annualise}: give a number of days above 0, such as 365")
    data = data.read_by(codes)
    fee, slippage = _rate("fee", asked.fee), _rate("slippage", asked.slippage)
    asked = replace(asked, fee=fee, slippage=slippage)
    prepared = with_costs(data.prepared, fee, slippage)
    first, last = range_of(prepared, asked.after, asked.until)
    first, last, held = apart(prepared, first, last, asked.holdout, look=asked.look)
    begun = prepared.columns.eras[era_before(prepared, first)]
    cash = integer_of(asked.cash or default_cash(begun.contract), begun.cash_scale, "cash")
    costs = Costs(begun.fee, begun.slippage, asked.fee is not None, asked.slippage is not None)
    data = replace(data, prepared=prepared, notes=(*data.notes, *([held.words] if held else [])))
    return Setting(data, asked, first, last, sizing_of(asked.sizing), cash, begun.cash_scale, costs, held)


def run(
    setting: Setting, code: StrategyCode, params: Params, say: Callable[[str], None] | None = None
) -> Result:
    """One run there, with checked parameters. Raises `BacktestError`, and `StrategyParameterError` for a
    strategy that reads timeframes which are not above these bars."""
    prepared, how, first, last = setting.data.prepared, setting.asked, setting.first, setting.last
    warm = warmth(setting, code, params)
    spec = Specification(code, params, setting.sizing, how.short, setting.cash, how.on_stale)
    if say is not None and isinstance(code, PandasCode):
        _foretell(prepared, spec, first - warm, last, say)
    try:
        outcome = run_over(prepared, spec, first, last, warm)
    except NotKnownError as error:
        raise BacktestError(str(error)) from error
    stretch, beyond = outcome.stretches[0], np.flatnonzero(outcome.equity == OVERFLOW)
    at = int(prepared.ends[first + beyond[0]]) if len(beyond) else -1
    failure = (
        Failure(int(prepared.ends[stretch.last]), stretch.last > first, stretch.failure)
        if stretch.failure
        else None
    )
    check_outcome(setting, code.name, failure, at)
    return Result(setting.data, spec, outcome, warm, setting.costs, how.annualise)


def warmth(setting: Setting, code: StrategyCode, params: Params) -> int:
    """How many bars before the first a bot is warmed on. Raises `BacktestError` where the range is too short
    for its indicators, and `StrategyParameterError` where it reads timeframes that are not above these."""
    cold, first, prepared = setting.asked.cold, setting.first, setting.data.prepared
    code.check_timeframe(prepared.columns.timeframe)
    warm = 0 if cold else min(code.need(params), first)
    try:
        above = prepared.shown(code.higher, first, setting.last, warm)
    except NotKnownError as error:
        raise BacktestError(str(error)) from error
    if words := too_short(code, params, warm, setting.last - first, above):
        way_out = f"; or leave cold out: {first:,} bars lie before it" if cold and first else ""
        raise BacktestError(words + way_out)
    return warm


def check_outcome(setting: Setting, name: str, failure: Failure | None, beyond: int) -> None:
    """Raises `BacktestError` for a strategy that failed before it gave a target, and for an equity that did
    not fit, first at the bar that ends at `beyond`, −1 for none."""
    if failure is not None and not failure.begun:
        raise BacktestError(
            f"strategy {name} failed at the bar {iso(failure.end)}, before it gave a target, so nothing was"
            f" tested: {failure.words}"
        )
    if beyond >= 0:
        raise BacktestError(
            f"at {iso(beyond)} the equity exceeds 64 bits at {setting.cash_scale} decimals: take less cash"
        )


def data_of(
    bars: "Data | DataFrame | str | Path",
    market: Market | str | None = None,
    timeframe: Timeframe | None = None,
    stamp: Literal["close", "open"] = "close",
    fill: Fill = "next-open",
) -> Data:
    """What `backtest` takes, read once for many runs. Raises `BarsError`."""
    if isinstance(bars, Data):
        return bars
    from infra.research.files import ASSUMED, bars_of_file, bars_of_frame  # noqa: PLC0415 - it brings Arrow

    whose = ASSUMED if market is None else market
    if isinstance(bars, str | Path):
        return bars_of_file(Path(bars), whose, timeframe, stamp=stamp, fill=fill)
    return bars_of_frame(bars, whose, timeframe, stamp=stamp, fill=fill)


def _foretell(
    prepared: Prepared, spec: Specification, first: int, last: int, say: Callable[[str], None]
) -> None:
    """Say how long a strategy in plain Python will take, after its first steps."""
    rows, code = min(TRIED_ROWS, last - first), spec.code
    history = prepared.history(first, first + rows, 0, {})
    run = Run(np.empty(rows), np.empty((rows, len(code.value_names))))
    code.over(code.fresh(), history, 0, 1, code.pack(spec.params), run)  # loads what it needs
    began = time.perf_counter()
    code.over(code.fresh(), history, 0, rows, code.pack(spec.params), run)
    seconds = (time.perf_counter() - began) / rows * (last - first)
    if seconds >= WORTH_A_WORD_S:
        say(f"{code.name} is plain Python: its {last - first:,} steps will take about {seconds:.0f} s")


def code_of(
    strategy: str | Path | type[BaseStrategy] | StrategyCode, strategies: Strategies | None = None
) -> StrategyCode:
    """The code of a strategy, compiled. Raises as `backtest` says."""
    if isinstance(strategy, StrategyCode):
        return strategy
    known = strategies or load_strategies(kernels())
    if isinstance(strategy, str) and not strategy.endswith(".py"):
        return known.latest(strategy)
    file = Path(strategy) if isinstance(strategy, str | Path) else _file_of(strategy)
    found = _of_file(known, file)
    if not found:
        broken = len(known.broken)
        known.add(file)
        if len(known.broken) > broken:
            raise known.broken[-1]
        found = _of_file(known, file)
    if isinstance(strategy, type):
        found = [code for code in found if code.strategy.__name__ == strategy.__name__]
    if len(found) != 1:
        names = ", ".join(code.name for code in found) or "none"
        raise BacktestError(
            f"{file} has the strategies {names}: name the file in TCPD_STRATEGIES, and test one by name"
        )
    return found[0]


def _of_file(known: Strategies, file: Path) -> list[StrategyCode]:
    """The strategies that were read from a file."""
    sources = [(code, known.sources(code)) for code in known]
    return [code for code, read in sources if Path(read.origins[read.main]).resolve() == file.resolve()]


def _rate(name: str, rate: object) -> int | None:
    """Raises `BacktestError` for what is no rate in 1e-8."""
    if rate is None:
        return None
    if isinstance(rate, int | np.integer) and not isinstance(rate, bool) and 0 <= rate < E8:
        return int(rate)
    meant = f"write {name}={round(rate * E8):_}" if isinstance(rate, float) and 0 < rate < 1 else ""
    raise BacktestError(
        f"{name}={rate!r}: give a whole number of 1e-8 of the value from 0 to below {E8:_}, such as 50_000"
        f" for 5 basis points; {meant or 'or leave it out for that of the market'}"
    )


def with_costs(prepared: Prepared, fee: int | None, slippage: int | None) -> Prepared:
    """The same columns with other costs of the market."""
    given = {name: rate for name, rate in (("fee", fee), ("slippage", slippage)) if rate is not None}
    return prepared.under([changed(era, **given) for era in prepared.columns.eras]) if given else prepared


def range_of(prepared: Prepared, after: int | None, until: int | None) -> tuple[int, int]:
    """The bars first … last − 1 that end in (after, until]. Raises `BacktestError` where there is none."""
    ends, key = prepared.ends, f"{prepared.columns.market} {prepared.columns.timeframe}"
    if not len(ends):
        raise BacktestError(f"{key}: no candle has closed yet, so there is nothing to test")
    first = 0 if after is None else int(np.searchsorted(ends, after, side="right"))
    last = len(ends) if until is None else int(np.searchsorted(ends, until, side="right"))
    if first >= last:
        raise BacktestError(
            f"{key}: no candle ends after {'the first' if after is None else iso(after)} and up to"
            f" {'the last' if until is None else iso(until)}; there are {len(ends):,}, from"
            f" {iso(int(ends[0]))} to {iso(int(ends[-1]))}"
        )
    return first, last


def default_cash(contract: str) -> str:
    """Whole units of the settle currency: a coin of an inverse contract is worth thousands of others."""
    return "1" if contract == "inverse" else "10000"


def kernels() -> Path:
    from infra.process.settings import load_settings  # noqa: PLC0415 - a caller with strategies needs none

    return load_settings().kernels


def _file_of(strategy: type) -> Path:
    import inspect  # noqa: PLC0415 - for classes alone

    try:
        return Path(inspect.getfile(strategy))
    except (OSError, TypeError):
        raise BacktestError(
            f"the class {strategy.__name__} stands in no file: write it into one, so that its code has a hash"
        ) from None
