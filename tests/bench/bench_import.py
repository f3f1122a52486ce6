"""A year of daily files as one import, and what it takes beyond reading them.

Run by `python -m tests.bench.bench_import`. The files are read by the same readers without anything being
written; the import is the command, fold and database included.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from infra.exchange.forms import FileOptions
from infra.exchange.paths import trade_files
from infra.exchange.specification import inferred
from infra.exchange.strays import without_strays
from tests.programs import COMMAND, environment

DAYS, TRADES = 365, 5_000
START_MS, DAY_MS = 1_704_067_200_000, 86_400_000
NAME = ("--venue", "v", "--symbol", "BTC/USDT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--trades", type=int, default=TRADES, help="in each day")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "days").mkdir()
        for day in range(given.days):
            _write(folder / "days", day, given.trades)
        reading_s, rows = _read(folder / "days")
        began = time.perf_counter()
        command = [COMMAND, "import", str(folder / "days"), *NAME]
        done = subprocess.run(
            command, env=environment(folder / "home", {}), capture_output=True, text=True, check=True
        )
        import_s = time.perf_counter() - began
    print(done.stderr.strip())
    print(f"{given.days} files, {rows:,} rows: reading {reading_s:.1f} s, import {import_s:.1f} s, ", end="")
    print(f"{import_s - reading_s:.1f} s more")


def _write(folder: Path, day: int, trades: int) -> None:
    rng = np.random.default_rng(day)
    table = pa.table(
        {
            "id": day * trades + np.arange(trades),
            "timestamp": START_MS + day * DAY_MS + np.sort(rng.integers(0, DAY_MS, trades)),
            "price": 40_000 + rng.integers(0, 10_000, trades) / 100,
            "volume": rng.integers(1, 1_000, trades) / 1000,
            "side": rng.choice(["buy", "sell"], trades),
            "rpi": np.zeros(trades, np.int64),
        }
    )
    day_of = np.datetime64(START_MS + day * DAY_MS, "ms").astype("datetime64[D]")
    with pa.CompressedOutputStream(str(folder / f"BTCUSDT_{day_of}.csv.gz"), "gzip") as sink:
        pa_csv.write_csv(table, sink)


def _read(folder: Path) -> tuple[float, int]:
    began, rows = time.perf_counter(), 0
    files = trade_files([folder], FileOptions(), print)
    market, _ = inferred("v", "BTC/USDT", files[0].sample.decimals)
    for file in files:
        for _, found in without_strays(file, market):
            rows += len(found.ticks.kind)  # type: ignore[union-attr] - all rows are good
    return time.perf_counter() - began, rows


if __name__ == "__main__":
    main()
