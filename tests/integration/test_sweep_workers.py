"""A sweep by other processes, and by those of a cluster, is that by threads."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from joblib.externals.loky import get_reusable_executor

import projections.research
from infra.research import sweep
from infra.research.backtesting import Asked, BacktestError, data_of, setting_of
from infra.research.identity import product_hash
from infra.research.ledger import opened
from infra.research.sources import Data
from infra.research.trials import trials_of
from infra.research.workers import Shared
from infra.strategies.registry import load_strategies
from tests.programs import KERNELS
from tests.research import walked
from tests.several import several
from tests.unit.test_sweeps import frame_of

GRID = {"fast": [3, 5], "slow": [5, 8, 20]}
MINE = """
from projections.strategies import BaseStrategy, param
from shares import share

class Mine(BaseStrategy):
    above: float = param(100.0, low=0, high=1e6)

    @staticmethod
    def signal(bar, x, p, pos):
        return share if bar.close > p.above else 0.0
"""


@pytest.fixture(scope="module")
def data() -> Data:
    """As much as joblib maps into memory, from where arrays come back read-only if they may."""
    return Data(walked(12_000), "journal", "Fills at the tick")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of workers: it holds no code."""
    home = tmp_path_factory.mktemp("worker")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TCPD_KERNELS", str(home / "kernels"))
        yield home
    get_reusable_executor().shutdown()  # they would wait for more work


@pytest.fixture(scope="module")
def cluster(home: Path) -> Iterator[Client]:
    """Two real workers, each a process."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
            local_directory=str(home),
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


@pytest.fixture(params=["loky", "dask"])
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "dask":
        request.getfixturevalue("cluster")
    return request.param


def compiled(*folders: Path) -> dict[Path, int]:
    """The machine code that numba keeps there, and when it was written."""
    return {file: file.stat().st_mtime_ns for one in folders for file in one.rglob("*.nbc")}


def test_other_processes_give_the_same_table_and_compile_nothing_that_is_there(
    data: Data, backend: str, tmp_path: Path
) -> None:
    strategies = load_strategies(KERNELS)
    strategies.latest("sma_cross").compile()
    here = sweep("sma_cross", data, GRID, strategies=strategies, n_jobs=2, short=True)
    research = [Path(folder) for folder in projections.research.__path__]
    ours, shared = compiled(KERNELS), compiled(*research)
    with joblib.parallel_config(backend):
        there = sweep("sma_cross", data, GRID, strategies=strategies, n_jobs=2, short=True, home=tmp_path)
    pd.testing.assert_frame_equal(here, there, check_exact=True)
    with opened(tmp_path) as ledger:
        assert ledger is not None
        (trial,) = trials_of(ledger).known.values()
    assert [values["sharpe"] for _, (values, _) in trial.rows()] == there["sharpe"].tolist()
    assert len(here) == 5 and (here["trades"] > 100).all()
    assert compiled(KERNELS) == ours
    assert shared.items() <= compiled(*research).items(), "other tests may add to it meanwhile"


def test_a_process_without_the_code_ends_the_sweep_with_words(tmp_path: Path, backend: str) -> None:
    strategies = load_strategies(tmp_path / "kernels")
    code, data = strategies.latest("sma_cross"), Data(walked(600), "journal", "Fills at the tick")
    sweep(code, data, GRID, strategies=strategies, n_jobs=1)  # compiles it here
    code.compile()
    (tmp_path / "kernels").rename(tmp_path / "elsewhere")
    with joblib.parallel_config(backend), pytest.raises(BacktestError, match="a worker finds no code"):
        sweep(code, data, GRID, strategies=strategies, n_jobs=2)


def test_an_edited_import_changes_hash_and_result_in_a_worker_too(
    tmp_path: Path, data: Data, backend: str
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    hashes: list[str] = []
    tables: list[pd.DataFrame] = []
    for share in ("1.0", "0.25"):
        (tmp_path / "shares.py").write_text(f"share = {share}\n")
        strategies = load_strategies(tmp_path / "kernels", [tmp_path / "mine.py"])
        hashes.append(strategies.latest("mine").code_hash)
        grid = {"above": [400.0, 500.0]}
        tables.append(sweep("mine", data, grid, strategies=strategies, n_jobs=1))
        with joblib.parallel_config(backend):
            there = sweep("mine", data, grid, strategies=strategies, n_jobs=2)
        pd.testing.assert_frame_equal(tables[-1], there, check_exact=True)
    assert hashes[0] != hashes[1]
    assert (tables[0]["final"] != tables[1]["final"]).all()


def test_a_strategy_of_several_timeframes_goes_to_workers_with_all_that_it_reads(
    tmp_path: Path, backend: str
) -> None:
    strategies, grid = several(KERNELS, tmp_path), {"near": [2, 5], "far": [1, 3]}
    data = data_of(frame_of(2_000))
    here = sweep("trend", data, grid, strategies=strategies, n_jobs=1, short=True)
    with joblib.parallel_config(backend):
        there = sweep("trend", data, grid, strategies=strategies, n_jobs=2, short=True)
    pd.testing.assert_frame_equal(here, there, check_exact=True)
    assert (here["trades"] > 10).all()


def test_a_worker_on_this_machine_maps_the_bars(data: Data) -> None:
    shared = Shared(setting_of(data, Asked()))
    with joblib.parallel_config("loky"):
        ours: Callable[[Shared], bool] = _maps
        assert joblib.Parallel(n_jobs=2, mmap_mode="c")([joblib.delayed(ours)(shared)] * 2) == [True] * 2
    assert sys.getsizeof(shared) > data.prepared.bars.nbytes


def _maps(shared: Shared) -> bool:
    return isinstance(shared.setting.data.prepared.bars, np.memmap)


def test_bars_of_a_file_go_to_workers_of_this_machine_by_name(tmp_path: Path) -> None:
    frame_of(60_000).reset_index().to_parquet(tmp_path / "bars.parquet")
    data = data_of(tmp_path / "bars.parquet")
    names: Callable[[Shared], str] = _named
    with joblib.parallel_config("loky"):
        there = joblib.Parallel(n_jobs=2, mmap_mode="c")(
            [joblib.delayed(names)(Shared(setting_of(data, Asked())))]
        )
    assert there == [str(data.prepared.bars.base.filename)]  # pyright: ignore - a memmap's


def _named(shared: Shared) -> str:
    return str(shared.setting.data.prepared.bars.filename)  # pyright: ignore - a memmap's


def test_a_sweep_over_a_file_is_the_same_in_workers(tmp_path: Path, backend: str) -> None:
    frame_of(2_000).reset_index().to_parquet(tmp_path / "bars.parquet")
    grid = {"fast": [5, 10], "slow": [20, 40]}
    tables = [sweep("sma_cross", data_of(frame_of(2_000)), grid, n_jobs=1, short=True)]
    with joblib.parallel_config(backend):
        tables.append(sweep("sma_cross", tmp_path / "bars.parquet", grid, n_jobs=2, short=True))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_every_process_knows_its_version(cluster: Client) -> None:
    assert set(cluster.run(product_hash).values()) == {product_hash()}
