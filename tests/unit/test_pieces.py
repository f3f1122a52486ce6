"""What a sweep keeps in a home: pieces that are whole or do not count, of this sweep and no other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from infra.research import sweep
from infra.research.backtesting import Asked, data_of
from infra.research.identity import data_hash
from infra.research.over_sets import Row, over_sets
from infra.research.pieces import PiecesError, keeping, opened, sealed
from infra.research.sources import Data
from infra.research.sweeping import begun
from infra.research.swept import Rows
from infra.research.workers import FIRST, MOST, Pace
from infra.strategies.registry import Strategies
from projections.research.daily import blocks_of
from projections.research.statistics import DEFINITIONS
from streams.events import Params
from tests.research import walked
from tests.unit.test_sweeps import frame_of

GRID = {"fast": range(2, 8), "slow": range(6, 14)}


class Told:
    """How many sets were told of in each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, done: Sequence[tuple[Params, Row]], total: int) -> None:
        self.calls.append(len(done))


@pytest.fixture(scope="module")
def data() -> Data:
    return data_of(frame_of(3_000))


def pieces(home: Path) -> list[Path]:
    return sorted(home.glob("research/sweeps/*/piece-*.parquet"))


def swept(strategies: Strategies, data: Data, home: Path | None, **how: Any) -> tuple[pd.DataFrame, Told]:
    told = Told()
    frame = sweep("sma_cross", data, GRID, strategies=strategies, home=home, told=told, n_jobs=2, **how)
    return frame, told


def test_a_piece_has_all_that_a_row_says_and_the_returns_of_its_days(
    strategies: Strategies, data: Data, tmp_path: Path
) -> None:
    frame, _ = swept(strategies, data, tmp_path)
    kept = pd.concat(pd.read_parquet(file) for file in pieces(tmp_path)).sort_values("set")
    assert list(kept["set"]) == list(range(len(frame))) and len(frame) > 20
    assert [params["slow"] for params in kept["params"]] == list(frame["slow"])
    assert np.array_equal(kept["sharpe"], frame["sharpe"], equal_nan=True)
    assert list(kept["final"]) == [round(value * 10**8) for value in frame["final"]]
    one = begun("sma_cross", data, {"fast": [2], "slow": [6]}, None, 0, strategies, Asked())
    rows, returns = over_sets(one.setting, one.code, one.sets)
    assert np.array_equal(kept["returns"].iloc[0], returns[0].astype(np.float32))
    assert kept["returns"].iloc[0].dtype == np.float32
    assert np.array_equal(kept["blocks"].iloc[0].reshape(16, 3), blocks_of(returns)[0])
    assert kept["trades"].iloc[0] == rows[0].values["trades"]


def test_a_whole_sweep_is_read_again_and_not_run(strategies: Strategies, data: Data, tmp_path: Path) -> None:
    alone, _ = swept(strategies, data, None)
    frame, _ = swept(strategies, data, tmp_path)
    again, told = swept(strategies, data, tmp_path, resume=True)
    assert told.calls == [len(frame)]
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    pd.testing.assert_frame_equal(frame, alone, check_exact=True)


def test_without_a_home_nothing_is_written(
    strategies: Strategies, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCPD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    swept(strategies, data, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [{"fee": 1_000}, {"short": True}, {"cash": "777"}, {"annualise": 252}, {"cold": True}, {"after": 1}],
    ids=str,
)
def test_what_was_kept_of_another_sweep_is_not_taken(
    strategies: Strategies, data: Data, tmp_path: Path, other: dict[str, Any]
) -> None:
    small = {"fast": [3], "slow": [9]}
    sweep("sma_cross", data, small, strategies=strategies, home=tmp_path, n_jobs=1)
    told = Told()
    sweep(
        "sma_cross", data, small, strategies=strategies, home=tmp_path, n_jobs=1, resume=True, told=told,
        **other,
    )  # fmt: skip
    assert told.calls == ([1] if other == {"after": 1} else [0, 1])


def test_bars_are_known_by_what_stands_in_them_whatever_the_costs(data: Data) -> None:
    prepared = data_of(frame_of(3_000)).prepared
    assert data_hash(prepared) == data_hash(data.prepared)
    dear = prepared.under([replace(era, fee=5, slippage=7) for era in prepared.columns.eras])
    assert data_hash(dear) == data_hash(prepared)
    prepared.bars["high"][1_000] += 1
    assert data_hash(prepared) != data_hash(data.prepared) != data_hash(walked(100))


def test_a_piece_of_which_a_byte_is_wrong_does_not_count() -> None:
    table = pa.table({"set": list(range(50)), "error": ["0" * 64] * 50})
    name, data = sealed(table, "mine", 7)
    assert opened(name, data, "mine") == table == pq.read_table(pa.BufferReader(data))
    assert opened(name, data, "other") is None
    assert opened(name.replace("7", "8", 1), sealed(table.slice(1), "mine", 8)[1], "mine") is None
    for at in range(0, len(data), 7):
        wrong = bytearray(data)
        wrong[at] ^= 1 << at % 8
        assert opened(name, bytes(wrong), "mine") is None, at
    for length in (0, 4, len(data) // 2, len(data) - 1):
        assert opened(name, data[:length], "mine") is None


def test_a_piece_that_is_damaged_or_of_another_sweep_is_told_of_and_run_again(
    strategies: Strategies, data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame, _ = swept(strategies, data, tmp_path)
    sweep("sma_cross", data, {"fast": [2]}, strategies=strategies, home=tmp_path / "other", n_jobs=1)
    first, others = pieces(tmp_path)[0], pieces(tmp_path / "other")[0]
    strange = first.with_name(others.name.replace("piece-00000", "piece-00007"))
    strange.write_bytes(others.read_bytes())
    first.write_bytes(first.read_bytes()[:-100])
    again, told = swept(strategies, data, tmp_path, resume=True)
    assert [record.args for record in caplog.records] == [
        (first,), (strange,),
    ]  # fmt: skip
    assert "damaged or of another sweep" in caplog.text
    assert told.calls[0] == 0 and sum(told.calls) == len(frame)
    pd.testing.assert_frame_equal(again, frame, check_exact=True)


def test_two_at_once_do_not_keep_the_same_sweep(strategies: Strategies, data: Data, tmp_path: Path) -> None:
    mine = begun("sma_cross", data, {"fast": [2]}, None, 0, strategies, Asked())
    with (
        keeping(tmp_path, mine, resume=False),
        pytest.raises(PiecesError, match="run already"),
        keeping(tmp_path, mine, resume=True),
    ):
        pass


def test_what_a_strategy_says_is_kept_whatever_it_is() -> None:
    rows = Rows(2)
    rows.put([1], [Row({}, "a \ud800 b")])
    rows.put([0], [Row(dict.fromkeys(DEFINITIONS, 3))])
    assert rows.row(1) == Row({}, "a \\ud800 b")
    assert rows.row(0) == Row(dict.fromkeys(DEFINITIONS, 3))


def test_sums_of_days_are_those_of_sixteen_parts_of_the_range() -> None:
    chance = np.random.default_rng(1)
    returns = chance.normal(size=(3, 365))
    returns[1, 40:60] = np.nan
    blocks = blocks_of(returns)
    parts = [returns[:, [day for day in range(365) if day * 16 // 365 == part]] for part in range(16)]
    for part, days in enumerate(parts):
        assert blocks[:, part, 0] == pytest.approx(np.nansum(days, axis=1))
        assert blocks[:, part, 1] == pytest.approx(np.nansum(days**2, axis=1))
        assert blocks[:, part, 2].tolist() == np.isfinite(days).sum(axis=1).tolist()
    assert blocks_of(returns[1:2]).tobytes() == blocks[1:2].tobytes()
    assert blocks_of(np.ones((1, 2)))[0, :, 2].sum() == 2


def test_batches_take_about_as_long_as_wanted_and_get_smaller_at_the_end() -> None:
    pace = Pace(10_000, 2, compiled=True)
    assert pace.next(10_000) == FIRST
    pace.took(FIRST, 1.0)
    assert pace.next(9_000) == 2 * FIRST
    for _ in range(5):
        pace.took(pace.size, 0.001 * pace.size)
    assert pace.next(5_000) == MOST
    assert [pace.next(left) for left in (1_000, 100, 10)] == [250, 128, 128]
    pace.took(4, 40.0)
    assert pace.next(5_000) == 1
    assert Pace(3, 8, compiled=True).next(3) == Pace(10_000, 2, compiled=False).next(10_000) == 1
