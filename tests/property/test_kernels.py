"""A strategy's one step: live, looped, in plain Python, restored, beside others: always the same bits."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.strategies.registry import Strategies, load_strategies
from projections.strategies.code import CompiledCode, History, Run
from tests.programs import KERNELS
from tests.property.blocks import ALL_BLOCKS, OVER_BLOCKS, OWN_BLOCKS

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[2]
HOUR_NS = 3_600_000_000_000
PARAMETERS = {
    "sma_cross": {"fast": 3, "slow": 8},
    "rsi_reversion": {"n": 5, "low": 40, "high": 60},
    "bollinger_breakout": {"n": 6, "width": 1.2},
    "macd_cross": {"fast": 3, "slow": 7, "signal": 4},
    "all_blocks": {"n": 4, "slow": 9},
    "over_blocks": {"n": 5, "m": 3},
    "own_blocks": {"n": 5},
}
FILES = {"all_blocks": ALL_BLOCKS, "over_blocks": OVER_BLOCKS, "own_blocks": OWN_BLOCKS}


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    folder = tmp_path_factory.mktemp("strategies")
    loaded = load_strategies(KERNELS, written(folder))
    assert not loaded.broken
    return loaded


def written(folder: Path) -> list[Path]:
    """The strategies that are not built in."""
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    return [folder / f"{name}.py" for name in FILES]


@pytest.fixture(scope="module")
def minutes(shared_data: Path) -> Floats:
    """BitMEX's own XBTUSD minutes of the second half of 2018."""
    table = pq.read_table(shared_data / "bitmex_XBTUSD_own1m_2018H2.parquet")
    close = table["close"].to_numpy().astype(np.float64)
    columns = [
        close,
        *(table[name].to_numpy().astype(np.float64) for name in ("high", "low", "close", "volume")),
    ]
    return np.ascontiguousarray(np.stack(columns, axis=1))


def compiled(strategies: Strategies, name: str) -> CompiledCode:
    code = strategies.latest(name)
    assert isinstance(code, CompiledCode)
    return code


def history(values: Floats) -> History:
    return History(HOUR_NS * np.arange(1, len(values) + 1, dtype=np.int64), values)


def walk(seed: int, length: int, ticks: int) -> Floats:
    """Candles whose closes walk by whole ticks, so that equal and turning prices occur."""
    steps = np.random.default_rng(seed).integers(-ticks, ticks, length, endpoint=True)
    close = 1000.0 + np.cumsum(steps) * 0.5
    high, low = close + 0.5 * (np.arange(len(close)) % 3), close - 0.5 * (np.arange(len(close)) % 2)
    volume = steps * steps * 0.1  # none where the price stands still
    return np.ascontiguousarray(np.stack([close, high, low, close, volume], axis=1))


walks = st.builds(walk, st.integers(0, 2**32), st.integers(1, 120), st.integers(0, 4))
each = pytest.mark.parametrize("name", PARAMETERS)


class Bots:
    """A group of bots of one strategy, stepped as the engine does."""

    def __init__(self, code: CompiledCode, params: list[dict[str, object]]) -> None:
        self.code, self.lanes = code, code.lanes(params)
        self.lanes.values[:] = np.nan

    def step(self, at: History, i: int) -> None:
        self.lanes.seen[:] += 1
        assert self.code.step(at, i, 0, self.lanes) is None

    def run(self, values: Floats) -> Iterator[tuple[Floats, Floats]]:
        known = np.full_like(values, np.nan)
        for i in range(len(values)):
            known[i] = values[i]  # what is to come does not exist yet
            self.step(history(known), i)
            yield self.lanes.target.copy(), self.lanes.values.copy()


def live(code: CompiledCode, params: dict[str, object], values: Floats) -> Run:
    rows = list(Bots(code, [params]).run(values))
    return Run(np.array([t[0] for t, _ in rows]), np.array([v[0] for _, v in rows]))


def same_bits(a: Run, b: Run) -> bool:
    return a.targets.tobytes() == b.targets.tobytes() and a.values.tobytes() == b.values.tobytes()


@each
@settings(max_examples=50, deadline=None)
@given(values=walks)
def test_the_live_step_without_a_future_gives_the_bits_of_the_loop(
    strategies: Strategies, name: str, values: Floats
) -> None:
    code = compiled(strategies, name)
    assert same_bits(live(code, PARAMETERS[name], values), code.run(history(values), PARAMETERS[name]))


@each
def test_the_live_step_gives_the_bits_of_the_loop_on_recorded_minutes(
    strategies: Strategies, minutes: Floats, name: str
) -> None:
    code = compiled(strategies, name)
    run = code.run(history(minutes), {})
    assert same_bits(live(code, {}, minutes[:20_000].copy()), Run(run.targets[:20_000], run.values[:20_000]))
    assert len(np.unique(run.targets)) == 3


@each
@settings(max_examples=20, deadline=None)
@given(values=walks, part=st.floats(0, 1))
def test_state_saved_and_restored_anywhere_continues_with_the_same_bits(
    strategies: Strategies, name: str, values: Floats, part: float
) -> None:
    code = compiled(strategies, name)
    cut = round(part * len(values))
    bots = Bots(code, [PARAMETERS[name]])
    before = list(bots.run(values[:cut]))
    saved = [a.tobytes() for a in (bots.lanes.seen, bots.lanes.state, bots.lanes.target)]
    other = Bots(code, [PARAMETERS[name]])
    other.lanes = other.lanes._replace(
        seen=np.frombuffer(saved[0], np.int64).copy(),
        state=np.frombuffer(saved[1]).reshape(1, -1).copy(),
        target=np.frombuffer(saved[2]).copy(),
    )
    # only the last rows are held over a restart: as many as the strategy says that it reads
    held = values.copy()
    held[: max(cut + 1 - code.lookback(PARAMETERS[name]), 0)] = np.nan
    for i in range(cut, len(values)):
        other.step(history(held), i)
        before.append((other.lanes.target.copy(), other.lanes.values.copy()))
    run = Run(np.array([t[0] for t, _ in before]), np.array([v[0] for _, v in before]))
    assert same_bits(run, code.run(history(values), PARAMETERS[name]))


@settings(max_examples=30, deadline=None)
@given(
    values=walks,
    windows=st.lists(st.tuples(st.integers(1, 9), st.integers(10, 20)), min_size=1, max_size=5),
    late=st.integers(0, 10),
)
def test_a_group_of_bots_steps_like_each_of_them_alone(
    strategies: Strategies, values: Floats, windows: list[tuple[int, int]], late: int
) -> None:
    code = compiled(strategies, "sma_cross")
    params = [{"fast": fast, "slow": slow} for fast, slow in windows]
    group = Bots(code, params)
    alone = [Bots(code, [p]) for p in params]
    for i in range(min(late, len(values) - 1), len(values)):  # bots that begin in the middle of the history
        for bots in (group, *alone):
            bots.step(history(values), i)
        assert group.lanes.target.tobytes() == b"".join(b.lanes.target.tobytes() for b in alone)
        assert group.lanes.values.tobytes() == b"".join(b.lanes.values.tobytes() for b in alone)


@each
@settings(max_examples=20, deadline=None)
@given(values=walks)
def test_plain_python_without_generated_code_gives_the_same_bits(
    strategies: Strategies, name: str, values: Floats
) -> None:
    import pandas as pd

    code = compiled(strategies, name)
    strategy = code.strategy(PARAMETERS[name])
    frame = pd.DataFrame(values, columns=["open", "high", "low", "close", "volume"])
    frame["timestamp"] = pd.to_datetime(history(values).ends, utc=True)
    signal = strategy.process_data(frame)
    run = code.run(history(values), PARAMETERS[name])
    assert signal.target == run.targets[-1]
    assert np.array(list(strategy.get_indicators().values())).tobytes() == run.values[-1].tobytes()


PURE_PYTHON = """
import hashlib, sys
from pathlib import Path
import numpy as np
from infra.strategies.registry import load_strategies
from projections.strategies.code import History

values = np.load(sys.argv[2])
for code in load_strategies(Path(sys.argv[1]), map(Path, sys.argv[3:])):
    run = code.run(History(np.arange(len(values)) * 60_000_000_000, values), {})
    print(code.name, hashlib.sha256(run.targets.tobytes() + run.values.tobytes()).hexdigest())
"""


def test_the_generated_module_without_numba_gives_the_same_bits(tmp_path: Path, minutes: Floats) -> None:
    np.save(tmp_path / "values.npy", minutes[:3000])
    files = map(str, [tmp_path / "kernels", tmp_path / "values.npy", *written(tmp_path)])
    arguments = [sys.executable, "-c", PURE_PYTHON, *files]

    def run(**environment: str) -> str:
        done = subprocess.run(
            arguments, env=os.environ | environment, cwd=ROOT, check=True, capture_output=True, text=True
        )
        return done.stdout

    plain = run(NUMBA_DISABLE_JIT="1")
    assert len(plain.splitlines()) == len(PARAMETERS)
    assert run(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_BOUNDSCHECK="1") == plain


# ---------------------------------------------------------------- against TA-Lib and numpy


def assert_close(ours: Floats, theirs: Floats, warm: int, within: float = 1e-9) -> None:
    assert np.isnan(ours[: warm - 1]).all()
    assert not np.isnan(ours[warm - 1 :]).any()
    np.testing.assert_allclose(ours[warm - 1 :], theirs[warm - 1 :], rtol=within, atol=within)


@pytest.mark.parametrize(("n", "slow"), [(2, 5), (14, 30), (100, 260)])
def test_blocks_equal_ta_lib(strategies: Strategies, minutes: Floats, n: int, slow: int) -> None:
    values = minutes[:30_000].copy()
    _, high, low, close, _ = (np.ascontiguousarray(column) for column in values.T)
    code = compiled(strategies, "all_blocks")
    run = code.run(history(values), {"n": n, "slow": slow})
    ours = dict(zip(code.value_names, run.values.T, strict=True))
    assert_close(ours["average"], talib.SMA(close, n), n)
    assert_close(ours["smooth"], talib.EMA(close, n), n)
    assert_close(ours["strength"], talib.RSI(close, n), n + 1)
    assert_close(ours["range"], talib.ATR(high, low, close, n), n + 1)
    line, signal, histogram = talib.MACD(close, n, slow, 9)
    warm = slow + 8
    np.testing.assert_allclose(ours["momentum.line"][warm:], line[warm:], rtol=1e-9, atol=1e-9)
    assert_close(ours["momentum.signal"], signal, warm)
    assert_close(ours["momentum.histogram"], histogram, warm)


@pytest.mark.parametrize("n", [2, 20, 100])
def test_bollinger_bands_equal_ta_lib_and_the_deviation_of_each_window(
    strategies: Strategies, minutes: Floats, n: int
) -> None:
    code = compiled(strategies, "bollinger_breakout")
    run = code.run(history(minutes), {"n": n, "width": 2.0})
    close = minutes[:, 3]
    # TA-Lib takes differences of squares of prices: centre them, or it is the less exact one
    centre = close[:5000].mean()
    upper, middle, lower = talib.BBANDS(close[:5000] - centre, n, 2.0, 2.0)
    for ours, theirs in zip(run.values[:5000].T, (middle, upper, lower), strict=True):
        assert_close(ours - centre, theirs, n, within=1e-6)
    windows = np.lib.stride_tricks.sliding_window_view(close, n)[-5000:]
    np.testing.assert_allclose(run.values[-5000:, 0], windows.mean(axis=1), rtol=1e-14)
    spread = run.values[-5000:, 1] - run.values[-5000:, 0]
    np.testing.assert_allclose(spread, 2.0 * windows.std(axis=1), rtol=1e-9, atol=1e-9)


def test_running_sums_do_not_drift(strategies: Strategies) -> None:
    rng = np.random.default_rng(7)
    close = np.exp(rng.normal(size=300_000).cumsum() * 0.02)
    close = close.clip(1e-3, 1e9)
    values = np.ascontiguousarray(np.stack([close] * 5, axis=1))
    run = compiled(strategies, "sma_cross").run(history(values), {"fast": 7, "slow": 50})
    exact = np.lib.stride_tricks.sliding_window_view(close, 50)[-1000:].mean(axis=1)
    np.testing.assert_allclose(run.values[-1000:, 1], exact, rtol=1e-12)
