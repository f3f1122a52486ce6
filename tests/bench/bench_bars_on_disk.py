"""Memory of a sweep and of a backtest over 1, 2, 4 and 8 years of minutes: it must not grow with them.

Run by `python -m tests.bench.bench_bars_on_disk [FILE]`, where FILE is a Parquet of a year of bars, which
follows on itself; else prices walk. Each run is a process of its own. *Anonymous* is the peak of what no file
stands behind, looked at every few milliseconds: what a machine must have. The columns lie on the disk beside.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from infra.research import backtest, sweep
from tests.bench import journals
from tests.bench.bench_backtest import walk
from tests.bench.timing import in_fresh_process, load

pc: Any = pyarrow.compute
YEAR_NS = 365 * 86_400 * 10**9
YEARS = (1, 2, 4, 8)
LOOK_S = 0.005
MARKET = "bitmex:BTC/USD:BTC"
MANY: dict[str, Any] = {"fast": range(5, 55), "slow": range(60, 260, 10)}
RUNS: dict[str, Callable[[Any], object]] = {
    "sweep of 1 set": lambda data: sweep("sma_cross", data, {"fast": [20], "slow": [100]}, market=MARKET),
    "sweep of 1,000 sets": lambda data: sweep("sma_cross", data, MANY, market=MARKET),
    "backtest": lambda data: backtest("sma_cross", data, {"fast": 20, "slow": 100}, market=MARKET).honesty,
}


def bars(file: Path | None) -> pa.Table:
    if file is not None:
        table = pq.read_table(file)
        return table.set_column(0, "timestamp", table["timestamp"].cast(pa.timestamp("ns")).cast(pa.int64()))
    candles = walk()
    prices = {name: getattr(candles, name) for name in ("open", "high", "low", "close")}
    return pa.table({"timestamp": candles.end, **prices})


def write(table: pa.Table, years: int, file: Path) -> None:
    with pq.ParquetWriter(file, table.schema) as writer:
        for year in range(years):
            writer.write_table(table.set_column(0, "timestamp", pc.add(table["timestamp"], year * YEAR_NS)))


class Looking(threading.Thread):
    """At the anonymous memory of this process, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.first, self.peak, self._over = _anonymous(), 0.0, threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_S):
            self.peak = max(self.peak, _anonymous())

    def stop(self) -> None:
        self._over.set()
        self.join()


def _anonymous() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6


def measured(what: str, file: Path, home: Path) -> tuple[float, float, float]:
    """MB before the bars are read, MB at the peak, and seconds."""
    os.environ |= {"TCPD_HOME": str(home), "TCPD_KERNELS": str(journals.KERNELS)}
    # a week of them first, to load and compile what is needed
    RUNS[what](pq.ParquetFile(file).read_row_group(0).slice(0, 10_080).to_pandas())
    looking = Looking()
    looking.start()
    begun = perf_counter()
    RUNS[what](file)
    taken = perf_counter() - begun
    looking.stop()
    return looking.first, looking.peak, taken


def main(file: Path | None) -> None:
    table = bars(file)
    print(
        f"{'':20s} {'years':>5s} {'bars':>10s} {'MB before':>10s} {'MB at peak':>11s} {'s':>6s} {'load':>5s}"
    )
    with TemporaryDirectory() as folder:
        for years in YEARS:
            written = Path(folder) / "bars.parquet"
            write(table, years, written)
            for what in RUNS:
                before, peak, taken = in_fresh_process(measured, what, written, Path(folder))
                print(
                    f"{what:20s} {years:5d} {years * len(table):10,} {before:10.0f} {peak:11.0f} {taken:6.1f}"
                    f" {load():5.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
