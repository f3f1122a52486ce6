"""How the measurements are taken and shown.

The machine is shared: each figure is the best of some rounds, beside the processor time of that round and the
load average before it. A wall time well above its processor time says that the round had to wait.
"""

import gc
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple, TypeVar

ROUNDS = 5

T = TypeVar("T")


class Timed(NamedTuple):
    """Wall and processor seconds of the best round; the load average before it."""

    wall_s: float
    cpu_s: float
    load: float


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return os.getloadavg()[0]


def timed(run: Callable[[], Any]) -> Timed:
    gc.collect()
    waiting, cpu, wall = load(), process_time(), perf_counter()
    run()
    return Timed(perf_counter() - wall, process_time() - cpu, waiting)


def best(run: Callable[[], Any], rounds: int = ROUNDS) -> Timed:
    """After a warm-up, which compiles."""
    run()
    return min(timed(run) for _ in range(rounds))


def headline(text: str) -> None:
    print(text)
    print(f"{'':46s} {'M ticks/s':>10s} {'a core':>8s} {'wall s':>8s} {'cpu s':>8s} {'load':>5s}")


def show(name: str, ticks: int, taken: Timed, more: str = "") -> None:
    """`a core`: ticks by processor time."""
    rates = f"{ticks / taken.wall_s / 1e6:10.2f} {ticks / taken.cpu_s / 1e6:8.2f}"
    print(f"{name:46s} {rates} {taken.wall_s:8.3f} {taken.cpu_s:8.3f} {taken.load:5.1f}  {more}", flush=True)


def in_fresh_process(run: Callable[..., T], *arguments: object) -> T:
    """What `run` returns in a process of its own, in its main thread."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def peak_mb() -> float:
    """Of this process so far. `ru_maxrss` would begin at the parent's peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
