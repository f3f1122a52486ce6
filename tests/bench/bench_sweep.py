"""Sets of parameters a second over a year of minutes, by as many workers as asked.

Run by `python -m tests.bench.bench_sweep [FILE] [JOBS]`, where FILE is a Parquet of bars; else prices walk.
Each strategy has a first sweep that is not timed, which compiles.
"""

import sys
from pathlib import Path
from time import perf_counter, process_time

from infra.research import sweep
from infra.research.backtesting import data_of
from infra.research.sources import Data
from tests.bench.bench_backtest import walk
from tests.bench.timing import load

GRIDS = {
    "sma_cross": {"fast": range(5, 65, 5), "slow": range(80, 250, 10)},
    "rsi_reversion": {"n": range(5, 55, 5), "low": range(20, 40, 2), "high": [70, 80]},
    "macd_cross": {"fast": range(5, 25, 4), "slow": range(26, 66, 5), "signal": range(5, 15, 2)},
    "bollinger_breakout": {"n": range(10, 110, 10), "width": [1.0, 1.5, 2.0, 2.5, 3.0]},
}


def bars(file: Path | None) -> Data:
    if file is not None:
        return data_of(file, "bitmex:BTC/USD:BTC", "1m")
    import pandas as pd

    candles = walk()
    prices = {name: getattr(candles, name) for name in ("open", "high", "low", "close")}
    frame = pd.DataFrame(prices, index=pd.to_datetime(candles.end, utc=True))
    return data_of(frame, "bitmex:BTC/USD:BTC", "1m")


def main(file: Path | None, jobs: int) -> None:
    data = bars(file)
    print(f"{len(data.prepared.bars):,} bars, {jobs} jobs; load {load():.1f}")
    print(f"{'':20s} {'sets':>6s} {'s':>7s} {'sets/s':>8s} {'sets/s of a core':>17s}")
    for strategy, grid in GRIDS.items():
        sweep(strategy, data, {name: list(values)[:1] for name, values in grid.items()}, n_jobs=jobs)
        began, used = perf_counter(), process_time()
        done = len(sweep(strategy, data, grid, n_jobs=jobs, short=True))
        taken, busy = perf_counter() - began, process_time() - used
        print(f"{strategy:20s} {done:6,} {taken:7.2f} {done / taken:8.1f} {done / busy:17.1f}")
    print(f"load {load():.1f}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else None, int(given[1]) if len(given) > 1 else 2)
