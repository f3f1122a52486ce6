"""Where bars are cut into pieces changes nothing: not what is read of a file, nor what is run over it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.exchange import readers, text_rows
from infra.research import backtest, sweep
from infra.research.backtesting import data_of
from infra.research.files import bars_of_file, bars_of_frame
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from projections.research import arrays, bars, sets
from projections.research.bars import BarsError, Fill
from tests.unit.test_sweeps import frame_of

KEY = "any:BTC/USDT"
COUNT = 500


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PIECE_ROWS", 37)
    monkeypatch.setattr(text_rows, "PIECE_BYTES", 2_500)
    for module in (arrays, bars):
        monkeypatch.setattr(module, "STRETCH", 41)
    monkeypatch.setattr(sets, "PIECE", 23)


def table(seed: int = 5) -> pd.DataFrame:
    """Minutes of which the prices get finer, and in which some are missing."""
    chance = np.random.default_rng(seed)
    close = 1_000.0 + np.cumsum(chance.integers(-9, 10, COUNT))
    close[300:] += np.round(chance.random(COUNT - 300), 2)
    frame = pd.DataFrame({"open": np.append(1_000.0, close[:-1]), "close": close})
    frame["high"], frame["low"] = frame.max(axis=1) + 1, frame.min(axis=1) - 1
    frame["volume"] = chance.integers(0, 5, COUNT).astype(float)
    frame.loc[450:, "volume"] += 0.125
    frame.insert(
        0, "timestamp", pd.Timestamp("2019-01-01", tz="UTC") + pd.to_timedelta(range(COUNT), unit="min")
    )
    return frame.drop(index=[7, 200, 201, 333]).reset_index(drop=True)


def changed(**cells: tuple[int, Any]) -> pd.DataFrame:
    frame = table()
    for name, (row, value) in cells.items():
        frame[name] = frame[name].astype(object)
        frame.loc[row, name] = value
    return frame


TABLES = {
    "as it is": table(),
    "newest first": table()[::-1].reset_index(drop=True),
    "volumes of many decimals": changed(volume=(400, 0.1234567891)),
    "bars that open outside": changed(open=(390, 5.0)),
    "ends of 59.999": table().assign(timestamp=table()["timestamp"] - pd.Timedelta("1ms")),
    "trades": table().assign(trades=range(COUNT - 4)),
    "without volume": table().drop(columns="volume"),
}  # fmt: skip
WRONG = {
    "a late double": changed(timestamp=(400, table()["timestamp"][399])),
    "a late word": changed(close=(400, "much")),
    "no late price": changed(low=(400, None)),
    "a low above the high": changed(low=(400, 99_999.0)),
    "a price too large for the decimals that come": changed(high=(10, 9e14)),
    "a price of too many decimals": changed(high=(400, "1000.0000000000001")),
    "a volume below 0": changed(volume=(400, -1.0)),
    "no late volume": changed(volume=(400, None)),
    "a late time off the minutes": changed(timestamp=(450, table()["timestamp"][450] + pd.Timedelta("30s"))),
}  # fmt: skip


def text_of(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "bars.csv", index=False)
    return folder / "bars.csv"


def told(data: Data) -> tuple[Any, ...]:
    prepared, columns = data.prepared, data.prepared.columns
    made = (
        *columns[3:7],
        prepared.ends,
        prepared.closes,
        prepared.steps,
        prepared.values,
        prepared.incomplete,
    )
    higher = data.above(["5m", "1h"]) if data.above and columns.timeframe == "1m" else []
    prepared.add(higher)
    return (
        [(array.dtype, array.tobytes()) for array in made], [one.bars.tobytes() for one in higher],
        prepared.digest(len(prepared.ends), tuple(one.timeframe for one in higher)), prepared.digest(77),
        data.notes, columns.eras,
    )  # fmt: skip


@pytest.mark.parametrize("fill", ["next-open", "next-mid", "worst"])
@pytest.mark.parametrize("timeframe", ["1m", "15m"])
@pytest.mark.parametrize("case", TABLES)
def test_a_file_in_pieces_is_the_table_at_once(
    tmp_path: Path, request: pytest.FixtureRequest, case: str, timeframe: Any, fill: Fill
) -> None:
    texts = pd.read_csv(text_of(TABLES[case], tmp_path), dtype=str)
    whole = told(bars_of_frame(texts, KEY, timeframe, fill=fill))
    request.getfixturevalue("small_pieces")
    assert told(bars_of_file(tmp_path / "bars.csv", KEY, timeframe, fill=fill)) == whole
    TABLES[case].to_parquet(tmp_path / "bars.parquet")
    assert told(bars_of_file(tmp_path / "bars.parquet", KEY, timeframe, fill=fill)) == whole


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_behind_the_first_piece_is_refused_in_the_same_words(
    tmp_path: Path, request: pytest.FixtureRequest, case: str
) -> None:
    texts = pd.read_csv(text_of(WRONG[case], tmp_path), dtype=str)
    with pytest.raises(BarsError) as whole:
        bars_of_frame(texts, KEY, "1m")
    request.getfixturevalue("small_pieces")
    with pytest.raises(BarsError) as refused:
        bars_of_file(tmp_path / "bars.csv", KEY, "1m")
    said = str(whole.value).removeprefix("the frame")
    assert str(refused.value).removeprefix(str(tmp_path / "bars.csv")) == said


def test_runs_over_pieces_are_those_over_the_whole(
    tmp_path: Path, request: pytest.FixtureRequest, strategies: Strategies
) -> None:
    def run() -> tuple[pd.DataFrame, Any]:
        data = data_of(tmp_path / "bars.parquet", KEY, "1m")
        rows = sweep("sma_cross", data, {"fast": [3, 5], "slow": [9, 20]}, strategies=strategies, short=True)
        result = backtest("sma_cross", data, {"fast": 3, "slow": 9}, strategies=strategies)
        return rows, (
            result.found,
            result.honesty,
            result.fills.to_dict(),
            result.equity.tolist(),
            result.notes,
        )

    frame_of(2_000).reset_index().to_parquet(tmp_path / "bars.parquet")
    whole, one = run()
    request.getfixturevalue("small_pieces")
    cut, again = run()
    pd.testing.assert_frame_equal(whole, cut, check_exact=True)
    assert one == again and (whole["trades"] > 20).all()
