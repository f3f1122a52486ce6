"""A set's row is its backtest, in every number; what cannot be run says why, and stops no other."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.research import backtest, backtest_strategy_batch, run_parallel_backtest, sweep
from infra.research.backtesting import BacktestError, data_of
from infra.research.grid import GridError, axis, by_chance, sets_of
from infra.research.identity import product_hash
from infra.research.result import Result
from infra.research.sources import Data
from infra.research.workers import Carried
from infra.strategies.registry import Strategies, load_strategies
from projections.research.bars import BarsError
from projections.research.statistics import DEFINITIONS
from projections.strategies.parameters import StrategyParameterError
from tests.programs import KERNELS
from tests.research import walked

MINUTES = 900
GRIDS: dict[str, dict[str, list[Any]]] = {
    "sma_cross": {"fast": [3, 9], "slow": [8, 20]},
    "rsi_reversion": {"n": [3, 7], "low": [30], "high": [70, 80]},
    "macd_cross": {"fast": [3, 5], "slow": [4, 9], "signal": [4]},
    "bollinger_breakout": {"n": [5, 20], "width": [1.5, 2.0]},
}
FAILS = """
from projections.strategies import BaseStrategy, param

class Fails(BaseStrategy):
    at: int = param(3, low=1, high=1000)

    @staticmethod
    def signal(bar, x, p, pos):
        return 2.0 if bar.volume > p.at else 1.0
"""


def frame_of(count: int = MINUTES, freq: str = "1min") -> pd.DataFrame:
    """Bars as most people have them, in which the volume is the number of the bar."""
    chance = np.random.default_rng(5)
    close = 4_000 + np.cumsum(chance.integers(-20, 21, count)) / 2
    open_ = np.concatenate([[4_000.0], close[:-1]]) + 0.5
    index = pd.date_range("2024-01-01", periods=count, freq=freq, tz="UTC")
    high, low = np.maximum(open_, close) + 1, np.minimum(open_, close) - 1
    volume = np.arange(1, count + 1)
    return pd.DataFrame({"open": open_, "high": high, "low": low, "close": close, "volume": volume}, index)


@pytest.fixture(scope="module", params=["journal", "bars"])
def data(request: pytest.FixtureRequest) -> Data:
    if request.param == "bars":
        return data_of(frame_of())
    return Data(walked(MINUTES), "journal", "Fills at the tick")


def as_told(result: Result) -> dict[str, Any]:
    """The numbers of a result in the form of a row."""
    cash = 10**result.market.cash_scale
    told: dict[str, Any] = {}
    for name, value in result.found.values.items():
        match DEFINITIONS[name].unit:
            case _ if value is None:
                told[name] = None
            case "money":
                told[name] = value / cash
            case "time":
                told[name] = pd.Timestamp(value, tz="UTC")
            case "duration":
                told[name] = pd.Timedelta(value)
            case _:
                told[name] = value
    return told


def as_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if pd.isna(row[name]) else row[name] for name in DEFINITIONS}


@pytest.mark.parametrize("name", GRIDS)
def test_a_row_is_the_backtest_of_its_set_in_every_number(
    strategies: Strategies, data: Data, name: str
) -> None:
    asked: dict[str, Any] = {"short": True, "fee": 75_000, "strategies": strategies}
    frame = sweep(name, data, GRIDS[name], n_jobs=2, **asked)
    assert len(frame) + frame.attrs["invalid"] == 4
    assert frame["trades"].sum() > 20
    for row in frame.to_dict("records"):
        params = {one: row[one] for one in GRIDS[name]}
        assert as_row(row) == as_told(backtest(name, data, params, **asked)), params
        assert row["error"] == ""


def test_the_promised_functions_take_what_was_promised() -> None:
    bars = frame_of()
    sets = [{"fast": 3, "slow": 8}, {"strategy": "rsi_reversion", "n": 5}]
    batch = backtest_strategy_batch(bars, sets)
    assert list(batch["strategy"]) == ["sma_cross", "rsi_reversion"]
    pd.testing.assert_frame_equal(run_parallel_backtest(bars, sets, n_jobs=4), batch)
    pd.testing.assert_frame_equal(run_parallel_backtest(bars, sets), batch)
    row = batch.iloc[1].to_dict()
    assert as_row(row) == as_told(backtest("rsi_reversion", bars, {"n": 5}))
    assert len(backtest_strategy_batch(bars, {"fast": 3, "slow": 8})) == 1


def test_bars_alone_are_taken_for_a_market_without_costs_and_as_long_as_their_steps() -> None:
    frame = backtest_strategy_batch(frame_of(60, "4h"), [{"fast": 2, "slow": 5}])
    words = " ".join(frame.attrs["notes"])
    assert "taken for 4h" in words and "any:BASE/QUOTE" in words
    assert frame["days"][0] == 11 and frame["fees"][0] == 0
    with pytest.raises(BarsError, match="7200 s apart"):
        backtest_strategy_batch(frame_of(60, "2h"), [{}])
    with pytest.raises(BarsError, match="one bar alone"):
        backtest_strategy_batch(frame_of(1), [{}])


def test_a_set_that_cannot_be_run_is_a_row_with_its_words() -> None:
    sets = [{"fast": 9, "slow": 3}, {"fast": 3, "slow": 9}, {"slow": 2_000}, {"quick": 3}]
    frame = backtest_strategy_batch(frame_of(), sets, n_jobs=2)
    assert "fast must be below slow" in frame["error"][0]
    assert frame["error"][1] == "" and frame["trades"][1] > 0
    assert "missing; take a longer range" in frame["error"][2]
    assert "no parameter 'quick'" in frame["error"][3]
    assert frame.loc[[0, 2, 3], list(DEFINITIONS)].isna().all(axis=None)


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ({"fee": 0.001}, r"fee=0\.001: give a whole number of 1e-8 .*; write fee=100_000"),
        ({"slippage": 10**8}, "slippage=100000000: give .*; or leave it out"),
        ({"fee": True}, "fee=True: give"),
        ({"slippage": "5"}, "slippage='5': give"),
    ],
)
def test_a_cost_that_is_no_rate_is_refused_with_what_to_write(
    data: Data, strategies: Strategies, costs: dict[str, object], words: str
) -> None:
    with pytest.raises(BacktestError, match=words):
        sweep("sma_cross", data, {"fast": [3]}, strategies=strategies, **costs)


def test_a_cost_may_come_out_of_an_array(data: Data, strategies: Strategies) -> None:
    rows = [
        sweep("sma_cross", data, {"fast": [3], "slow": [9]}, strategies=strategies, fee=fee)
        for fee in (50_000, np.int64(50_000))
    ]
    assert rows[0].equals(rows[1])


def test_a_strategy_that_fails_on_its_way_says_how_beside_its_numbers(
    tmp_path: Path, strategies: Strategies
) -> None:
    (tmp_path / "fails.py").write_text(FAILS)
    frame = sweep(tmp_path / "fails.py", frame_of(), {"at": [1000, 50]}, n_jobs=1)
    assert frame["error"][0] == "" and "2.0" in frame["error"][1]
    failed = backtest(tmp_path / "fails.py", frame_of(), {"at": 50})
    assert failed.incidents
    assert as_row(frame.iloc[1].to_dict()) == as_told(failed)


def test_who_looks_on_is_told_of_every_set_once(strategies: Strategies) -> None:
    seen: list[tuple[int, int, int]] = []
    frame = sweep(
        "sma_cross", frame_of(300), {"fast": range(2, 8), "slow": range(8, 16)}, strategies=strategies,
        n_jobs=2, told=lambda done, total: seen.extend((p["fast"], p["slow"], total) for p, _ in done),
    )  # fmt: skip
    assert sorted(seen) == [(fast, slow, 48) for fast in range(2, 8) for slow in range(8, 16)]
    assert list(zip(frame["fast"], frame["slow"], strict=True)) == [one[:2] for one in sorted(seen)]


def test_a_parameter_that_is_called_as_a_metric_has_an_underscore(tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(FAILS.replace("at:", "trades:").replace("p.at", "p.trades"))
    frame = sweep(tmp_path / "named.py", frame_of(), {"trades": [1000, 2000 // 2 - 1]}, n_jobs=1)
    assert list(frame["trades_"]) == [1000, 999]
    assert list(frame["trades"]) == [0, 0]


# ------------------------------------------------------------------ grids


def test_an_axis_holds_both_its_ends() -> None:
    assert axis("fast=5:60:5") == ("fast", [str(n) for n in range(5, 65, 5)])
    assert axis("fast=5:7") == ("fast", ["5", "6", "7"])
    assert axis("width=0.1:0.35:0.1") == ("width", ["0.1", "0.2", "0.3"])
    assert axis("kind=a,b") == ("kind", ["a", "b"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "is no axis"),
        ("fast=", "is no axis"),
        ("=5", "is no axis"),
        ("fast=a:b", "are numbers"),
        ("fast=1:2:3:4", "are numbers"),
        ("fast=1:5:0", "above 0"),
        ("fast=1:5:-1", "above 0"),
        ("fast=1:nan", "above 0"),
        ("fast=5:1", "0 values"),
        ("fast=1:1e9", "values"),
        ("fast=0:1e999999:1e-999999", "from 1e-18 to 1e18"),
        ("fast=1e-900000:1", "from 1e-18 to 1e18"),
    ],
)
def test_an_axis_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(GridError, match=words):
        axis(text)


def test_sets_that_the_strategy_refuses_are_counted(strategies: Strategies) -> None:
    code = strategies.latest("sma_cross")
    sets = sets_of(code, {"fast": ["5", "10", "5"], "slow": [5, 10, 20]})
    assert [tuple(params.values()) for params in sets.valid] == [(5, 10), (5, 20), (10, 20)]
    assert sets.invalid == 3


def test_random_sets_are_of_the_grid_and_the_same_again(strategies: Strategies) -> None:
    code = strategies.latest("sma_cross")
    grid = {"fast": range(1, 1_001), "slow": range(1_001, 4_000)}
    some = sets_of(code, grid, 50, seed=7)
    assert len(some.valid) == len({tuple(one.items()) for one in some.valid}) == 50
    assert sets_of(code, grid, 50, seed=7) == some != sets_of(code, grid, 50, seed=8)
    small = {"fast": [1, 2], "slow": [3, 4]}
    assert sets_of(code, small, 100) == sets_of(code, small)


def test_some_are_taken_of_a_grid_of_any_size(strategies: Strategies) -> None:
    code = strategies.latest("rsi_reversion")
    levels = [level / 100 for level in range(1, 4_001)]
    billion = {"n": range(2, 82), "low": levels, "high": [50 + level for level in levels]}
    some = sets_of(code, billion, 40, seed=1)
    assert len(some.valid) + some.invalid == 40 and some == sets_of(code, billion, 40, seed=1)
    beyond = by_chance(10**24, 100, seed=1)
    assert len({*beyond}) == 100 and all(0 <= number < 10**24 for number in beyond)
    assert beyond == by_chance(10**24, 100, seed=1)


@pytest.mark.parametrize(
    ("grid", "chosen", "error", "words"),
    [
        ({"fast": range(1, 4_000), "slow": range(2, 4_000)}, None, GridError, "at most 1,000,000"),
        ({"fast": range(1, 5_000), "slow": range(2, 5_000)}, 2_000_000, GridError, "at most 1,000,000"),
        ({"fast": [9], "slow": [3, 4]}, None, GridError, "fast must be below slow"),
        ({"fast": []}, None, GridError, "no set of the grid is valid"),
        ({"fast": 5}, None, GridError, "fast: 5 is no axis"),
        ({"fast": "345"}, None, GridError, "fast: '345' is no axis"),
        ({"fast": [3]}, 0, GridError, "at least 1"),
        ({"quick": [3]}, None, StrategyParameterError, "no parameter 'quick'"),
        ({"fast": [0, 3]}, None, StrategyParameterError, "from 1 to 4999"),
    ],
)
def test_a_grid_of_which_no_sweep_can_be_made_is_refused(
    strategies: Strategies, grid: Any, chosen: int | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        sets_of(strategies.latest("sma_cross"), grid, chosen)


def test_an_axis_may_be_an_array(strategies: Strategies) -> None:
    code = strategies.latest("rsi_reversion")
    arrays = {"n": np.arange(3, 6), "low": np.linspace(20, 30, 3)}
    assert sets_of(code, arrays) == sets_of(code, {"n": [3, 4, 5], "low": [20.0, 25.0, 30.0]})


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_a_seed_that_no_ledger_can_hold_is_refused(strategies: Strategies, seed: int) -> None:
    with pytest.raises(GridError, match=f"seed {seed}"):
        sets_of(strategies.latest("sma_cross"), {"fast": [3]}, 1, seed)


# ------------------------------------------------------------------ workers


def test_no_more_workers_begin_than_there_are_sets(data: Data, strategies: Strategies) -> None:
    rows = backtest_strategy_batch(data, {"fast": 3, "slow": 8}, strategies=strategies, n_jobs=10**6)
    assert list(rows["error"]) == [""]


def test_code_goes_to_a_worker_by_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "fails.py"
    file.write_text(FAILS)
    strategies = load_strategies(KERNELS, [file])
    code = strategies.latest("fails")
    sent = pickle.dumps(Carried(code, strategies))
    file.write_text(FAILS.replace("2.0", "0.0"))
    assert pickle.loads(sent).code.code_hash == code.code_hash  # noqa: S301 - our own


def test_a_worker_without_the_code_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCPD_KERNELS", str(tmp_path / "its own"))
    strategies = load_strategies(tmp_path / "kernels")
    carried = Carried(strategies.latest("sma_cross"), strategies)
    (tmp_path / "kernels").rename(tmp_path / "elsewhere")
    with pytest.raises(BacktestError, match=r"strategies --archive FILE"):
        _ = pickle.loads(pickle.dumps(carried)).code  # noqa: S301 - our own


def test_a_worker_finds_the_code_in_its_own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = load_strategies(tmp_path / "kernels")
    code = strategies.latest("sma_cross")
    sent = pickle.dumps(Carried(code, strategies))
    (tmp_path / "kernels").rename(tmp_path / "its own")
    monkeypatch.setenv("TCPD_KERNELS", str(tmp_path / "its own"))
    assert pickle.loads(sent).code.code_hash == code.code_hash  # noqa: S301 - our own


def test_a_worker_of_another_version_refuses(strategies: Strategies) -> None:
    sent = pickle.dumps(Carried(strategies.latest("sma_cross"), strategies))
    other = sent.replace(product_hash().encode(), b"0" * 64)
    with pytest.raises(BacktestError, match="another version of tcpdashboard"):
        _ = pickle.loads(other).code  # noqa: S301 - our own
