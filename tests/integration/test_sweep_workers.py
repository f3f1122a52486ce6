"""A sweep by other processes is that by threads."""

from collections.abc import Iterator
from pathlib import Path

import joblib
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor

from infra.research import sweep
from infra.research.backtesting import BacktestError
from infra.research.sources import Data
from infra.strategies.registry import load_strategies
from tests.programs import KERNELS
from tests.research import walked

GRID = {"fast": [3, 5], "slow": [5, 8, 20]}


@pytest.fixture(autouse=True)
def processes_end() -> Iterator[None]:
    """They would wait for more work."""
    yield
    get_reusable_executor().shutdown()


def test_other_processes_give_the_same_table() -> None:
    strategies = load_strategies(KERNELS)
    # as much as joblib maps into memory, from where arrays come back read-only if they may
    data = Data(walked(12_000), "journal", "Fills at the tick")
    here = sweep("sma_cross", data, GRID, strategies=strategies, n_jobs=2, short=True)
    with joblib.parallel_config("loky"):
        there = sweep("sma_cross", data, GRID, strategies=strategies, n_jobs=2, short=True)
    pd.testing.assert_frame_equal(here, there)
    assert len(here) == 5 and (here["trades"] > 100).all()


def test_a_process_without_the_code_ends_the_sweep_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCPD_KERNELS", str(tmp_path / "its own"))
    strategies = load_strategies(tmp_path / "kernels")
    code, data = strategies.latest("sma_cross"), Data(walked(600), "journal", "Fills at the tick")
    sweep(code, data, GRID, strategies=strategies, n_jobs=1)  # compiles it here
    (tmp_path / "kernels").rename(tmp_path / "elsewhere")
    with joblib.parallel_config("loky"), pytest.raises(BacktestError, match="a worker finds no code"):
        sweep(code, data, GRID, strategies=strategies, n_jobs=2)
