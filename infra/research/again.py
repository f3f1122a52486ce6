"""A trial of the ledger once more, from what stands there."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from msgspec import structs

from infra.research.backtesting import Asked, BacktestError, Setting, setting_of, timeframes_of
from infra.research.files import Stamp, bars_of_file
from infra.research.grid import sets_of
from infra.research.ledger import Entry, Ledger, ends_of, entered, sets_of_columns, versions
from infra.research.recorded_bars import recorded_bars
from infra.research.sources import Data, recorded
from infra.research.swept import Rows
from infra.research.trials import Trial, same_bytes
from infra.research.workers import Carried, batches_of
from infra.strategies.registry import Strategies
from projections.research.bars import Fill
from projections.research.daily import blocks_of
from projections.strategies.code import StrategyCode
from streams.events import Params, TrialStarted

STRATEGY = "strategy"


class Again(NamedTuple):
    """A trial that was run again: its new entry, whether every byte of its results is the same (None: there
    was nothing to compare with), and which versions are others now."""

    entry: Entry
    same: bool | None
    versions: dict[str, tuple[str, str]]


def again(ledger: Ledger, trial: Trial, strategies: Strategies, n_jobs: int | None = -1) -> Again:
    """Run a trial again: with the code of its hashes, over the same bars, with the same of everything.

    It is a trial of its own. Raises `BacktestError` where its code or its bars are not at hand or are others
    now, and as the run does.
    """
    started = trial.started
    named = started.strategies.items()
    codes = {name: Carried(_code(strategies, name, code_hash), strategies) for name, code_hash in named}
    setting = _setting(ledger, started, [carried.code for carried in codes.values()])
    runs = _runs(started, codes)
    told = [{STRATEGY: carried.code.name, **params} for carried, params in runs]
    sets = told if STRATEGY in started.parameters else [params for _, params in runs]

    def begun(who: str) -> TrialStarted:
        codes_of = [one.code for one in codes.values()]
        how = {"chosen": started.chosen, "seed": started.seed}
        new = setting.trial(started.kind, codes_of, started.parameters, started.sets, who, **how)
        return structs.replace(new, holdout=started.holdout, look=started.look)

    with entered(ledger, begun) as entry:
        rows = Rows(len(runs))
        for batch, done in batches_of(setting, runs, n_jobs):
            rows.put(batch, done.rows, blocks_of(done.returns))
        entry.ended(sets, rows.row, rows.blocks, setting.market)
    made = list(ends_of(trial.id, sets, rows.row, rows.blocks, setting.market))
    then = started.versions
    others = {name: (then.get(name, ""), now) for name, now in versions().items() if then.get(name) != now}
    return Again(entry, same_bytes(trial.parts, made) if trial.is_whole else None, others)


def _code(strategies: Strategies, name: str, code_hash: str) -> StrategyCode:
    code = strategies.get(name, code_hash)
    if code is None:
        raise BacktestError(
            f"code {code_hash[:12]} of strategy {name} is neither today's nor in the archive"
            f" {strategies.kernels_dir}: carry it there by `tcpdashboard strategies --archive FILE` and"
            " `--import FILE`"
        )
    return code


def _runs(started: TrialStarted, codes: dict[str, Carried]) -> list[tuple[Carried, Params]]:
    """Of each set its code and its checked parameters."""
    if started.kind == "sweep":
        (carried,) = codes.values()
        valid = sets_of(carried.code, started.parameters, started.chosen, started.seed).valid
        return [(carried, params) for params in valid]
    only = next(iter(codes.values()))
    sets = sets_of_columns(started.parameters) or [{} for _ in range(started.sets)]
    return [
        (carried, carried.code.check(params))
        for params in sets
        for carried in [codes.get(str(params.pop(STRATEGY, "")), only)]
    ]


def _setting(ledger: Ledger, started: TrialStarted, codes: Sequence[StrategyCode]) -> Setting:
    """Raises `BacktestError` where the bars are not those of then."""
    asked = Asked(
        cash=started.cash, sizing=started.sizing, short=started.short, on_stale=started.on_stale,
        after=started.after, until=started.until, cold=started.cold, fee=started.fee,
        slippage=started.slippage, annualise=started.annualise,
    )  # fmt: skip
    setting = setting_of(_data(ledger, started), asked, codes)
    digest = setting.data.prepared.digest(setting.last, timeframes_of(codes))
    now = (setting.last - setting.first, digest)
    if now != (started.candles, started.sha256):
        raise BacktestError(
            f"the bars are others now: {now[0]:,} candles in the range, where {started.candles:,} were, and"
            f" the hash of all up to its end is {now[1][:12]}, not {started.sha256[:12]}"
        )
    return setting


def _data(ledger: Ledger, started: TrialStarted) -> Data:
    """What it was run over, read again. Raises `BacktestError`, and as the reading does."""
    origin, final = started.origin, started.origin.get("revision") == "last"
    fill = cast(Fill, origin.get("fill", "next-open"))
    match origin.get("source"):
        case "journal":
            return recorded(ledger.log, ledger.folder, started.market, started.timeframe, final=final)
        case "candles":
            return recorded_bars(ledger.log, started.market, started.timeframe, fill=fill, final=final)
        case "file":
            stamp, file = cast(Stamp, origin["stamp"]), Path(origin["file"])
            return bars_of_file(file, started.specification, started.timeframe, stamp=stamp, fill=fill)
        case _:
            raise BacktestError("its bars were given by a program, and only that can run it again")
