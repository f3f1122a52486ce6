"""Sets of parameters a second over a year of minutes, by as many workers as asked; a loop written by hand
beside it, and the memory of ten thousand sets.

Run by `python -m tests.bench.bench_sweep [FILE] [JOBS]`, where FILE is a Parquet of bars; else prices walk.
Each strategy has a first sweep that is not timed, which compiles. *By hand* is what a researcher would write
in numba for `sma_cross` on one market: floats, one size, drawdown and sums of returns at every bar.

`setup` is for yardsticks that time processes in turn, each with its own packages.
"""

import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import joblib
import numpy as np
from numba import njit

from infra.research import sweep
from infra.research.backtesting import data_of
from infra.research.sources import Data
from tests import peers
from tests.bench.bench_backtest import walk
from tests.bench.timing import in_fresh_process, load

GRIDS: dict[str, dict[str, Any]] = {
    "sma_cross": {"fast": range(5, 55), "slow": range(60, 260, 10)},
    "rsi_reversion": {"n": range(5, 55, 5), "low": range(20, 40, 2), "high": [70, 80]},
    "macd_cross": {"fast": range(5, 25, 4), "slow": range(26, 66, 5), "signal": range(5, 15, 2)},
    "bollinger_breakout": {"n": range(10, 110, 5), "width": [1.0, 1.5, 2.0, 2.5, 3.0]},
}
MANY = {"fast": range(5, 105), "slow": range(110, 1110, 10)}
SIZE, FEE = 1_000.0, 0.0005


def bars(file: Path | None) -> Data:
    if file is not None:
        return data_of(file, "bitmex:BTC/USD:BTC", "1m")
    import pandas as pd

    candles = walk()
    prices = {name: getattr(candles, name) for name in ("open", "high", "low", "close")}
    frame = pd.DataFrame(prices, index=pd.to_datetime(candles.end, utc=True))
    return data_of(frame, "bitmex:BTC/USD:BTC", "1m")


@njit(nogil=True)
def _by_hand(closes: Any, opens: Any, pairs: Any, found: Any) -> None:
    for k in range(len(pairs)):
        fast, slow = pairs[k]
        cash, held, wanted, peak, depth, before = 1e8, 0.0, 0.0, 1e8, 0.0, 1e8
        short = long = returns = squares = 0.0
        for i in range(len(closes)):
            if wanted != held:
                cash -= (wanted - held) * opens[i] + SIZE * opens[i] * FEE
                held = wanted
            short += closes[i]
            long += closes[i]
            if i >= fast:
                short -= closes[i - fast]
            if i >= slow:
                long -= closes[i - slow]
            if i >= slow - 1:
                if short * slow > long * fast:
                    wanted = SIZE
                elif short * slow < long * fast:
                    wanted = 0.0
            equity = cash + held * closes[i]
            change = equity / before - 1.0
            returns += change
            squares += change * change
            before = equity
            if equity > peak:
                peak = equity
            elif 1.0 - equity / peak > depth:
                depth = 1.0 - equity / peak
        found[k] = (before, depth, returns, squares)


def by_hand(data: Data, jobs: int) -> int:
    """The same pairs; how many."""
    closes, opens = (np.ascontiguousarray(data.prepared.values[:, k]) for k in (3, 0))
    grid = GRIDS["sma_cross"]
    pairs = np.array([(fast, slow) for fast in grid["fast"] for slow in grid["slow"]], np.int64)
    found = np.empty((len(pairs), 4))
    joblib.Parallel(n_jobs=jobs, prefer="threads")(
        joblib.delayed(_by_hand)(closes, opens, pairs[part], found[part])
        for part in (slice(k, k + 25) for k in range(0, len(pairs), 25))
    )
    return len(pairs)


def main(file: Path | None, jobs: int) -> None:
    data = bars(file)
    print(f"{len(data.prepared.bars):,} bars, {jobs} jobs; load {load():.1f}")
    print(f"{'':24s} {'sets':>6s} {'s':>7s} {'sets/s':>8s} {'sets/s of a core':>17s}")
    for strategy, grid in GRIDS.items():
        sweep(strategy, data, {name: list(values)[:1] for name, values in grid.items()}, n_jobs=jobs)
        show(strategy, lambda: len(sweep(strategy, data, grid, n_jobs=jobs, short=True)))  # noqa: B023 - called at once
    alike: dict[str, Any] = {"sizing": "amount:1000", "fee": 50_000, "n_jobs": jobs}
    show("sma_cross as by hand", lambda: len(sweep("sma_cross", data, GRIDS["sma_cross"], **alike)))
    by_hand(data, jobs)
    show("by hand", lambda: by_hand(data, jobs))
    sets, more = in_fresh_process(memory, file, jobs)
    print(f"{sets:,} sets take {more:.1f} MB more than one; load {load():.1f}")


def show(what: str, run: Callable[[], int]) -> None:
    """The better of two rounds."""
    rounds: list[tuple[float, float, int]] = []
    for _ in range(2):
        began, used = perf_counter(), process_time()
        done = run()
        rounds.append((perf_counter() - began, process_time() - used, done))
    taken, busy, done = min(rounds)
    print(f"{what:24s} {done:6,} {taken:7.2f} {done / taken:8.1f} {done / busy:17.1f}", flush=True)


def memory(file: Path | None, jobs: int) -> tuple[int, float]:
    """Sets of a large sweep, and how many MB more it takes than one of a single set, behind a first one that
    lets go of what reading the data took."""
    data = bars(file)
    taken: list[float] = []
    one: dict[str, Any] = {"fast": [5], "slow": [60]}
    for grid in (one, one, MANY):
        Path("/proc/self/clear_refs").write_text("5")  # the highest is from now on
        sets = len(sweep("sma_cross", data, grid, n_jobs=jobs))
        status = Path("/proc/self/status").read_text()
        taken.append(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024)
    return sets, taken[-1] - taken[-2]


def setup(opt: Namespace) -> Callable[[], dict[str, str]]:
    import gen  # pyright: ignore[reportMissingImports]  # the yardstick's own

    candles = gen.candles(opt.n, path=opt.data)
    columns = (candles[name][: opt.n] for name in ("ts_ns", "open", "high", "low", "close"))
    data = peers.data_of(peers.Candles(*columns), peers.linear(6))
    grid = GRIDS["sma_cross"] if opt.pairs == 1_000 else MANY
    asked: dict[str, Any] = {"cash": str(peers.CASH), "sizing": f"amount:{peers.SIZE}", "cold": True}

    def told() -> dict[str, str]:
        sets = sweep("sma_cross", data, grid, n_jobs=2, **asked)
        fills = 2 * sets.trades.sum() + sets.open_trades.sum()
        return {"check": f"{sets.final.sum():.2f} {fills}"}

    return told


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else None, int(given[1]) if len(given) > 1 else 2)
