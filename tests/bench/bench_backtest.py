"""One backtest of a year of minutes, beside what others take for the same.

Run by `python -m tests.bench.bench_backtest [FILE]`, where FILE is a Parquet of candles with multiples of 1/2
as prices; else prices walk. The rule is that of `tests.peers`, and all are seen to make as many fills and the
same last equity. They take turns in one process, after a first run each, which compiles. The product keeps
exact money and the equity of each bar; nobody's figure holds reading the file or making statistics.

Then the command from its start to its end, in fresh processes: the first compiles everything, the best of
three others finds it compiled. They read the file, make the statistics and look for what looks ahead.

`setup` is for yardsticks that time processes in turn, each with its own packages.
"""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from infra.process.settings import load_settings
from infra.strategies.registry import Strategies, load_strategies
from streams.events import MINUTE_NS
from tests import peers
from tests.bench.timing import load
from tests.peers import Candles, Ran

BARS = 525_600
ROUNDS = 5


def walk() -> Candles:
    chance = np.random.default_rng(11)
    close = 8_000 + np.cumsum(chance.integers(-4, 5, BARS)) / 2
    open_ = np.concatenate([[8_000.0], close[:-1]])
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return Candles(MINUTE_NS * np.arange(1, BARS + 1), open_, high, low, close)


def in_turn(candles: Candles) -> None:
    runs: dict[str, Callable[[], Ran]] = {
        "loop by hand, floats": peers.by_hand(candles),
        "this": peers.product(peers.data_of(candles, peers.linear(1)), _strategies()),
        "vectorbt, Rust": peers.vectorbt(candles, "rust"),
        "vectorbt, numba": peers.vectorbt(candles, "numba"),
        "backtesting.py": peers.backtesting_py(candles),
    }
    checks = {f"{ran.equity:.2f} {len(ran.bars)}" for ran in (run() for run in runs.values())}
    assert len(checks) == 1, f"they differ: {checks}"
    taken: dict[str, list[float]] = {name: [] for name in runs}
    print(f"{len(candles.end):,} bars; equity and fills {checks.pop()}; load {load():.1f}")
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = perf_counter()
            run()
            taken[name].append(perf_counter() - began)
    print(f"{'':24s} {'median s':>9s} {'best s':>9s} {'× this':>7s}")
    for name, times in taken.items():
        ratio = median(times) / median(taken["this"])
        print(f"{name:24s} {median(times):9.4f} {min(times):9.4f} {ratio:7.1f}")
    print(f"load {load():.1f}")


def in_fresh_processes(candles: Candles) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "bars.parquet"
        candles.frame().to_parquet(file)
        environment = {**os.environ, "TCPD_HOME": f"{folder}/home", "NUMBA_CACHE_DIR": f"{folder}/numba"}
        words = f"backtest sma_cross --data {file} --venue test --symbol A/B:B --timeframe 1m --json"
        command = [
            sys.executable,
            "-c",
            "import sys; from api.cli import main; sys.exit(main())",
            *words.split(),
        ]

        def run() -> tuple[float, float]:
            """Wall and processor seconds."""
            before, began = os.times(), perf_counter()
            subprocess.run(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
            )
            wall, after = perf_counter() - began, os.times()
            parts = (
                after.children_user - before.children_user,
                after.children_system - before.children_system,
            )
            return wall, sum(parts)

        for name, (wall, cpu) in {
            "nothing compiled": run(),
            "compiled": min(run() for _ in range(3)),
        }.items():
            print(
                f"fresh process, {name:18s} {wall:6.2f} s, {cpu:6.2f} s of processor time; load {load():.1f}"
            )


def setup(opt: Namespace) -> Callable[[], dict[str, str]]:
    import gen  # pyright: ignore[reportMissingImports]  # the yardstick's own

    data = gen.candles(opt.n, path=opt.data)
    columns = (data[name][: opt.n] for name in ("ts_ns", "open", "high", "low", "close"))
    run = peers.product(peers.data_of(Candles(*columns), peers.linear(6)), _strategies())

    def told() -> dict[str, str]:
        ran = run()
        return {"check": f"{ran.equity:.2f} {len(ran.bars)}"}

    return told


def _strategies() -> Strategies:
    return load_strategies(load_settings().kernels)


if __name__ == "__main__":
    year = peers.of_year(Path(sys.argv[1])) if len(sys.argv) > 1 else walk()
    in_turn(year)
    in_fresh_processes(year)
