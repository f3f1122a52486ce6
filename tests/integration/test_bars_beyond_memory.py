"""Bars of which the columns are several times the memory that a run may take: the numbers are the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infra.research import backtest, sweep
from infra.research.backtesting import data_of
from infra.research.disk import FOLDER
from tests.conftest import resize
from tests.programs import COMMAND, ROOT, environment

BARS = 1_000_000
ROOM = 64 * 2**20
"""Bytes that a run may take in memory which no file stands behind."""
GRID = {"fast": [20, 50], "slow": [300, 900]}
PARAMS = {"fast": 50, "slow": 900}
LIMITED = """
import json, pathlib, resource, sys
import pandas as pd
from infra.research import backtest, sweep

def rows_and_numbers(data):
    rows = sweep("sma_cross", data, GRID, n_jobs=1, short=True)
    result = backtest("sma_cross", data, PARAMS)
    return rows, dict(result.found.values), [line._asdict() for line in result.honesty]

file, out = map(pathlib.Path, sys.argv[1:])
rows_and_numbers(pd.read_parquet(file.with_name("few.parquet")))  # all is loaded and compiled
status = pathlib.Path("/proc/self/status").read_text()
taken = 1024 * int(status.split("VmData:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_DATA, (taken + ROOM, taken + ROOM))
try:
    bytearray(2 * ROOM)
except MemoryError:
    rows, numbers, honesty = rows_and_numbers(file)
    rows.to_parquet(out)
    print(json.dumps([numbers, honesty]))
"""


def write(count: int, file: Path) -> None:
    chance = np.random.default_rng(3)
    close = 8_000 + np.cumsum(chance.integers(-3, 4, count)) / 2
    open_ = np.append(8_000.0, close[:-1]) + chance.integers(-1, 2, count) / 2
    frame = pd.DataFrame({"open": open_, "close": close})
    frame["high"], frame["low"] = frame.max(axis=1) + 1, frame.min(axis=1) - 1
    frame["volume"] = chance.integers(1, 1_000, count)
    frame.insert(
        0, "timestamp", pd.Timestamp("2019-01-01", tz="UTC") + pd.to_timedelta(range(count), unit="min")
    )
    frame.to_parquet(file, index=False)


def test_sweep_and_backtest_take_no_more_memory_than_they_have(tmp_path: Path) -> None:
    file, out = tmp_path / "many.parquet", tmp_path / "rows.parquet"
    write(BARS, file)
    write(10_000, tmp_path / "few.parquet")
    home = tmp_path / "home"
    home.mkdir()
    program = LIMITED.replace("GRID", repr(GRID)).replace("PARAMS", repr(PARAMS)).replace("ROOM", str(ROOM))
    ran = subprocess.run(
        [sys.executable, "-c", program, str(file), str(out)],
        cwd=ROOT, env=environment(home), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0 and ran.stdout, ran.stderr
    in_memory = data_of(pd.read_parquet(file))
    rows: Any = sweep("sma_cross", in_memory, GRID, n_jobs=1, short=True)
    pd.testing.assert_frame_equal(pd.read_parquet(out), rows, check_exact=True)
    result = backtest("sma_cross", in_memory, PARAMS)
    numbers, honesty = json.loads(ran.stdout)
    assert numbers == dict(result.found.values)
    assert honesty == [line._asdict() for line in result.honesty]
    columns = result.data.prepared.columns
    assert columns.bars.nbytes + columns.trades.nbytes > 3 * ROOM
    assert list((home / FOLDER).iterdir()) == []


def test_a_full_disk_is_told_without_a_traceback_and_nothing_is_left(
    small_disk: Path, tmp_path: Path
) -> None:
    write(50_000, tmp_path / "bars.parquet")
    asked = ["sweep", "sma_cross", "--venue", "any", "--symbol", "A/B", "--timeframe", "1m"]
    asked += ["--data", str(tmp_path / "bars.parquet"), "--grid", "fast=20,50", "--grid", "slow=300"]
    home = small_disk / "home"
    home.mkdir()

    def typed() -> "subprocess.CompletedProcess[str]":
        words = [str(COMMAND), *asked]
        return subprocess.run(words, env=environment(home), capture_output=True, text=True, check=False)

    full = typed()
    assert full.returncode == 1 and "Traceback" not in full.stderr
    assert "the disk is full: " in full.stderr and "bytes of bars" in full.stderr
    assert list((home / FOLDER).iterdir()) == []
    resize(small_disk, "40m")
    assert typed().returncode == 0
