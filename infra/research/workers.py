"""Sets of parameters in batches over joblib's workers: what goes to each, and how large a batch is."""

import math
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from infra.research.backtesting import BacktestError, Setting, kernels
from infra.research.identity import product_hash
from infra.research.over_sets import Done, over_sets, shares
from infra.strategies.registry import Strategies
from projections.strategies.code import CompiledCode, StrategyCode, StrategyCompileError
from streams.events import Params

AIM_S: Final = 2.0
"""Seconds that a batch shall take: what a killed process loses, and how often who looks on is told."""
FIRST: Final = 128
"""Sets of a batch before anybody knows how long one takes; in plain Python it may take minutes, so 1."""
GROWTH: Final = 4
MOST: Final = 512
TAIL: Final = 4
"""Towards the end batches become so much smaller, that all workers end together."""


class Carried:
    """A strategy's code; to another process go its name and hash, by which the archive of the home has it."""

    def __init__(self, code: StrategyCode, strategies: Strategies | None) -> None:
        self._code: StrategyCode | None = code
        self._kept = (strategies.kernels_dir if strategies else kernels(), code.name, code.code_hash)
        self._product = product_hash()

    @property
    def code(self) -> StrategyCode:
        """Raises `BacktestError` where the archive does not have it, and in a process of another version."""
        if self._code is None:
            if self._product != product_hash():
                raise BacktestError(
                    "a worker has another version of tcpdashboard, numba or numpy than who started the sweep:"
                    " install the same there"
                )
            self._code = _unarchived(*self._kept)
        return self._code

    def __getstate__(self) -> dict[str, object]:
        return {"_code": None, "_kept": self._kept, "_product": self._product}


@cache
def _unarchived(folder: Path, name: str, code_hash: str) -> StrategyCode:
    here = folder if folder.is_dir() else kernels()
    code = Strategies(here).get(name, code_hash)
    if code is None:
        raise BacktestError(
            f"a worker finds no code {code_hash[:12]} of strategy {name} in {here}: carry it there by"
            " `tcpdashboard strategies --archive FILE` and `--import FILE`"
        )
    return code


class Shared:
    """What all runs share. It tells its size, by which Dask's joblib knows to send it to a worker once."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def __sizeof__(self) -> int:
        prepared = self.setting.data.prepared
        return prepared.bars.nbytes + prepared.columns.trades.nbytes + prepared.values.nbytes


class Pace:
    """How large the next batch is: so that it takes about `AIM_S`, and smaller towards the end."""

    def __init__(self, runs: int, workers: int, *, compiled: bool) -> None:
        self._workers = workers
        self.size = max(1, min(FIRST, runs // (4 * workers))) if compiled else 1

    def next(self, left: int) -> int:
        return max(1, self.size // TAIL, min(self.size, left // (2 * self._workers)))

    def took(self, sets: int, seconds: float) -> None:
        right = math.floor(sets * AIM_S / max(seconds, 1e-6))
        self.size = max(1, min(right, GROWTH * sets, MOST))


def batches_of(
    setting: Setting, runs: Sequence[tuple[Carried, Params]], n_jobs: int | None
) -> Iterator[tuple[list[int], Done]]:
    """The runs batch by batch as they are done: the numbers of some, all of one strategy and neighbours in
    the order given, and what became of them. Raises `BacktestError` for code that does not compile."""
    import joblib  # noqa: PLC0415 - a fifth of a second

    by_code: dict[int, list[int]] = {}
    for number, (carried, _) in enumerate(runs):
        by_code.setdefault(id(carried), []).append(number)
    codes = [runs[numbers[0]][0].code for numbers in by_code.values()]
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    for code in codes:
        _compile(setting, code, elsewhere=not getattr(backend, "supports_sharedmem", False))
    if n_jobs is not None:
        n_jobs = min(n_jobs, max(1, len(runs)))
    workers: int = joblib.effective_n_jobs(n_jobs)  # pyright: ignore[reportArgumentType] - None is one
    compiled = all(isinstance(code, CompiledCode) for code in codes)
    pace, shared = Pace(len(runs), workers, compiled=compiled), Shared(setting)
    # in other processes bars are mapped copy-on-write: compiled loops take no read-only arrays
    how: dict[str, Any] = {"prefer": "threads", "mmap_mode": "c", "batch_size": 1}
    parallel: Any = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", **how)
    done = parallel(
        joblib.delayed(_batch)(shared, runs[batch[0]][0], [runs[number][1] for number in batch], batch)
        for numbers in by_code.values()
        for batch in _cut(numbers, pace)
    )
    for batch, found, seconds in done:
        pace.took(len(batch), seconds)
        yield batch, found


def _compile(setting: Setting, code: StrategyCode, *, elsewhere: bool) -> None:
    """Before workers would do so all at once; those in other processes load the step as well."""
    try:
        if not shares(setting, code) and isinstance(code, CompiledCode):
            _ = code.loops
        if elsewhere:
            code.compile()
    except StrategyCompileError as error:
        raise BacktestError(f"strategy {code.name} does not compile: {error}") from error


def _cut(numbers: list[int], pace: Pace) -> Iterator[list[int]]:
    at = 0
    while at < len(numbers):
        batch = numbers[at : at + pace.next(len(numbers) - at)]
        at += len(batch)
        yield batch


def _batch(
    shared: Shared, carried: Carried, sets: Sequence[Params], numbers: list[int]
) -> tuple[list[int], Done, float]:
    began = time.perf_counter()
    done = over_sets(shared.setting, carried.code, sets)
    return numbers, done, time.perf_counter() - began
