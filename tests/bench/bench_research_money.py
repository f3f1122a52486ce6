"""Nanoseconds of an amount, a decision and a fill: the compiled money of research beside the fold's.

Run by `python -m tests.bench.bench_research_money`. *narrow*: an inverse market as BitMEX's, where nearly
all products fit 63 bits; *wide*: a linear one with 18 decimals of size, where they do not. Each compiled
figure is a loop of calls within compiled code, over prices that differ; the fold's is called from Python, as
it is in a bot. Then what an import costs in a process without a cache: all of both modules is compiled.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numba import njit

from projections.fold import money as fold_money
from projections.fold.decide import Rules
from projections.fold.decide import decide as fold_decide
from projections.fold.fills import Waiting
from projections.fold.fills import fill as fold_fill
from projections.research import decide, money
from streams.causes import Cause
from streams.events import Market, Sizing
from tests.bench.timing import best, load

CALLS = 200_000
FOLD_CALLS = 5_000

_exact = njit(nogil=True, error_model="numpy", fastmath=False)


def market(contract: Any, cash_scale: int, size_scale: int) -> Market:
    return Market(
        venue="bench", symbol="A/B", base="A", quote="B", settle="B", contract=contract, price_scale=1,
        size_scale=size_scale, cash_scale=cash_scale, price_step=5, size_step=1, min_size=1, fee=75_000,
        slippage=20_000,
    )  # fmt: skip


@_exact
def values(m: Any, w: Any, account: Any, prices: Any, size: int) -> int:
    total = 0
    for price in prices:
        total += money.value(m, w, size, price, True)
    return total


@_exact
def equities(m: Any, w: Any, account: Any, prices: Any, size: int) -> int:
    total = 0
    for price in prices:
        total += money.equity(m, w, account[0], size, account[0], price)
    return total


@_exact
def decisions(m: Any, w: Any, account: Any, prices: Any, size: int) -> int:
    total = 0
    for price in prices:
        total += decide.decide(m, w, account, 0, False, True, 2, 1, 0, 1.0, price)[2]
    return total


@_exact
def fills(m: Any, w: Any, account: Any, prices: Any, size: int) -> int:
    """Every second one opens, the next closes."""
    total = 0
    buy = True
    for price in prices:
        total += decide.fill(m, w, account, buy, size, price, False)[2]
        buy = not buy
    return total


def folds(m: Market, cash: int, prices: list[int], size: int) -> dict[str, Callable[[], object]]:
    account = fold_money.Account(cash)
    held = fold_money.Account(cash, size, cash)
    rules = Rules("running", Sizing("equity", 1, 0), True)
    order = Waiting(Cause(0, 0, 0), True, size, 0, 0, "signal")
    return {
        "value": lambda: [fold_money.value(m, size, price, up=True) for price in prices],
        "equity": lambda: [fold_money.equity(m, held, price) for price in prices],
        "decide": lambda: [fold_decide(m, rules, account, 1.0, price) for price in prices],
        "fill": lambda: [fold_fill(m, account, order, price) for price in prices],
    }


def show(name: str, m: Market, cash: int, size: int) -> None:
    prices = np.random.default_rng(1).integers(30_000, 120_000, CALLS)
    made, w = money.constants(m), np.zeros(money.SCRATCH, np.uint64)
    slow = folds(m, cash, prices[:FOLD_CALLS].tolist(), size)
    for what, loop in {"value": values, "equity": equities, "decide": decisions, "fill": fills}.items():
        account = np.array([cash, 0, 0, 0, 0], np.int64)
        fast = best(lambda: loop(made, w, account.copy(), prices, size))  # noqa: B023 - it is called before the next turn
        fold = best(slow[what])
        print(
            f"{name:8s} {what:8s} {fast.wall_s / CALLS * 1e9:9.1f} {fold.wall_s / FOLD_CALLS * 1e9:12.0f}"
            f" {fast.load:6.1f}",
            flush=True,
        )


def first_import() -> float:
    """Processor seconds until all is compiled, by a process that has numba at hand."""
    script = (
        "import time, numba; began = time.process_time();"
        "import projections.research.decide; print(time.process_time() - began)"
    )
    with TemporaryDirectory() as empty:
        environment = {**os.environ, "NUMBA_CACHE_DIR": empty}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def main() -> None:
    print(f"{'':17s} {'ns':>9s} {'ns, fold':>12s} {'load':>6s}")
    show("narrow", market("inverse", 8, 0), 10**12, 1_000)
    show("wide", market("linear", 8, 18), 10**12, 10**15)
    print(f"import without a cache: {first_import():.2f} s of processor time, load {load():.1f}")


if __name__ == "__main__":
    main()
