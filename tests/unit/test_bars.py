"""Bars of files and frames: what is refused, what is told of them, and where they fill."""

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from infra.exchange.pieces import FileReadError
from infra.research.backtesting import BacktestError, backtest
from infra.research.files import bars_of_file, bars_of_frame
from infra.research.sources import Data
from infra.strategies.registry import Strategies
from projections.research.bars import BarsError
from projections.research.columns import values_of
from streams.events import MINUTE_NS, CandleFlag

KEY = "file:BTC/USD:BTC"
HEADER = ("timestamp", "open", "high", "low", "close", "volume")
START = "2019-01-01T00:00:00Z"
HOUR = 60


def rows(count: int, step: int = 1, seed: int = 3) -> list[list[Any]]:
    """Bars of `step` minutes by a walk of half a unit, without gaps, as texts of a file."""
    random = np.random.default_rng(seed)
    made, close = [], 4_000.0
    for n in range(1, count + 1):
        open_, close = close + random.integers(-2, 3) / 2, close + random.integers(-20, 21) / 2
        high, low = max(open_, close) + 1.5, min(open_, close) - 1.0
        time = pd.Timestamp(START) + pd.Timedelta(minutes=n * step)
        made.append([time.strftime("%Y-%m-%dT%H:%M:%SZ"), open_, high, low, close, 100 + n])
    return made


def written(folder: Path, table: list[list[Any]], header: tuple[str, ...] = HEADER) -> Path:
    file = folder / "bars.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([header, *table])
    return file


def read(folder: Path, table: list[list[Any]], timeframe: Any = "1m", **how: Any) -> Data:
    return bars_of_file(written(folder, table), KEY, timeframe, **how)


def with_cell(row: int, column: str, value: Any) -> list[list[Any]]:
    table = rows(40)
    table[row - 1][HEADER.index(column)] = value
    return table


def without(*numbers: int) -> list[list[Any]]:
    return [row for n, row in enumerate(rows(40), 1) if n not in numbers]


REFUSED = {
    "no bar": ([], "there is no bar in it"),
    "a missing price": (with_cell(5, "close", ""), "row 5: close is missing: it is no number; mend"),
    "NaN": (with_cell(5, "open", "nan"), "row 5: open is 'nan': it is no number"),
    "infinite": (with_cell(5, "high", "inf"), "row 5: high is 'inf': it is no number"),
    "a word": (with_cell(5, "low", "low"), "row 5: low is 'low': it is no number"),
    "negative": (with_cell(7, "low", "-3.5"), "row 7: low -3.5: it must be above 0"),
    "zero": (with_cell(7, "open", "0"), "row 7: open 0.0: it must be above 0"),
    "too large": (with_cell(7, "high", "1e15"), "row 7: high 1000000000000000.0: it is beyond 2^53"),
    "too fine": (with_cell(7, "high", "4000.1234567890123"), "row 7: high is '4000.1234567890123': it does"),
    "a high below the low": (with_cell(9, "high", "100"), "row 9: high 100.0 (low "),
    "a close outside": (with_cell(9, "close", "9000"), "row 9: close 9000.0 (low "),
    "a negative volume": (with_cell(9, "volume", "-1"), "row 9: volume -1: it must not be below 0"),
    "no volume in a row": (with_cell(9, "volume", ""), "row 9: volume is missing"),
    "a word for a time": (with_cell(3, "timestamp", "noon"), "row 3: time is 'noon': it is no time from"),
    "unordered": (
        with_cell(5, "timestamp", "2019-01-01T00:02:30Z"),
        "row 5: its time 2019-01-01T00:02:30Z is before that of row 4; sort the rows by time",
    ),
    "a double": (
        with_cell(5, "timestamp", "2019-01-01T00:04:00Z"),
        "row 5: its time 2019-01-01T00:04:00Z is the same as that of row 4; keep one of them",
    ),
    "a step that is finer": (
        with_cell(5, "timestamp", "2019-01-01T00:04:30Z"),
        "row 5: its time 2019-01-01T00:04:30Z is none of bars of 1m, which end at whole ones of UTC",
    ),
    "longer bars": (rows(40, 5), "its bars are 5m long, longer than 1m: choose 5m or 15m or 1h or 4h or 1d"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bars_that_nothing_can_be_tested_on_are_refused_with_row_and_value(tmp_path: Path, case: str) -> None:
    table, said = REFUSED[case]
    with pytest.raises(BarsError) as refused:
        read(tmp_path, table)
    assert str(refused.value).startswith(f"{tmp_path}/bars.csv: {said}"), refused.value


def test_other_lengths_than_ours_make_no_timeframe_that_they_do_not_divide(tmp_path: Path) -> None:
    with pytest.raises(
        BarsError, match="bars are 3m long, of which none of 5m is made: choose 15m or 1h or 4h"
    ):
        read(tmp_path, rows(40, 3), "5m")
    assert len(read(tmp_path, rows(40, 3), "15m").prepared.bars) == 8
    with pytest.raises(BarsError, match="no bar of 4h lies whole in it"):
        read(tmp_path, rows(40), "4h")


def test_columns_that_are_not_known_are_asked_for(tmp_path: Path) -> None:
    names = ("when", *HEADER[1:])
    with pytest.raises(BarsError, match="has no column known as time: call it so; it has when, open"):
        bars_of_file(written(tmp_path, rows(5), names), KEY, "1m")
    twice = ("timestamp", "open", "high", "low", "close", "close")
    with pytest.raises(BarsError, match="has several columns 'close'; rename all but one"):
        bars_of_file(written(tmp_path, rows(5), twice), KEY, "1m")
    numbers = [[1_546_300_800_000 + 60_000 * n, *row[1:]] for n, row in enumerate(rows(5))]
    with pytest.raises(BarsError, match="has no column known as time: call it so; it has 1546300800000"):
        bars_of_file(written(tmp_path, numbers[1:], tuple(map(str, numbers[0]))), KEY, "1m")
    with pytest.raises(FileReadError, match="no such file"):
        bars_of_file(tmp_path / "nowhere.csv", KEY, "1m")


def test_a_file_of_several_markets_is_refused(tmp_path: Path) -> None:
    table = [[*row, "XBTUSD" if n % 2 else "ETHUSD"] for n, row in enumerate(rows(6))]
    with pytest.raises(BarsError, match=r"holds 2 markets \(ETHUSD, XBTUSD\): a backtest has one"):
        bars_of_file(written(tmp_path, table, (*HEADER, "symbol")), KEY, "1m")


def test_times_are_ends_and_starts_where_that_is_said(tmp_path: Path) -> None:
    first = int(pd.Timestamp(START).value) + MINUTE_NS
    assert read(tmp_path, rows(5)).prepared.ends[0] == first
    assert read(tmp_path, rows(5), stamp="open").prepared.ends[0] == first + MINUTE_NS
    named = written(tmp_path, rows(5), ("open_time", *HEADER[1:]))
    with pytest.raises(
        BarsError, match="the times in open_time are starts of bars by their name: say --stamp open"
    ):
        bars_of_file(named, KEY, "1m")
    late = [[int(pd.Timestamp(row[0]).value) // 10**6 - 1, *row[1:]] for row in rows(5)]
    data = read(tmp_path, late)
    assert data.prepared.ends[0] == first
    assert "Its times end 1ms before the bar does: they are taken as the bar's end." in data.notes


def test_what_can_be_lived_with_is_told_with_its_row(tmp_path: Path) -> None:
    data = read(tmp_path, without(5, 6, 20))
    assert (
        "3 bars are missing in 2 places, first behind row 4 (2019-01-01T00:04:00Z): nothing is put there."
        in data.notes
    )
    outside = read(tmp_path, with_cell(9, "open", "3000"))
    assert "In 1 of 40 bars the open lies outside of low … high, first in row 9 (3000.0)" in outside.notes[1]
    newest_first = read(tmp_path, rows(40)[::-1])
    assert newest_first.notes[1] == "The newest bar stands first: they are read from the end."
    assert (newest_first.prepared.values == read(tmp_path, rows(40)).prepared.values).all()
    bare = bars_of_file(written(tmp_path, [row[:5] for row in rows(5)], HEADER[:5]), KEY, "1m")
    assert bare.notes[0] == "It has no volume: strategies see 0."
    assert not bare.prepared.bars["flags"].any()
    fine = read(tmp_path, with_cell(9, "volume", "0.12345678901"))
    assert fine.notes[0] == "Its volumes are rounded to 8 decimals."
    assert fine.prepared.values[8, 4] == 0.12345679


def test_bars_that_open_at_the_close_before_are_named_with_what_to_do(tmp_path: Path) -> None:
    table = rows(40)
    for before, row in pairwise(table):
        row[1] = before[4]
    words = (
        "In 39 of 39 bars the open is the close before, so the next open is the price of the decision itself"
    )
    assert words in read(tmp_path, table).notes[-1]
    assert words not in read(tmp_path, table, fill="next-close").notes[-1]
    assert words not in "".join(read(tmp_path, rows(40)).notes)


FORMS = ["csv", "parquet", "feather", "frame", "indexed frame"]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_floats_and_exact_integers(tmp_path: Path, form: str) -> None:
    table = with_cell(9, "high", 4_100.125)
    frame = pd.DataFrame(table, columns=list(HEADER))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"])
    numbers = frame[list(HEADER[1:])].to_numpy(float)
    if "frame" in form:
        data = bars_of_frame(frame.set_index("timestamp") if "indexed" in form else frame, KEY, "1m")
    else:
        file = tmp_path / f"bars.{form}"
        if form == "parquet":
            pq.write_table(pa.Table.from_pandas(frame), file)
        elif form == "feather":
            pyarrow.feather.write_feather(frame, file)
        else:
            file = written(tmp_path, table)
        data = bars_of_file(file, KEY, "1m")
    columns = data.prepared.columns
    assert values_of(columns).tobytes() == numbers.tobytes()
    assert columns.eras[0].price_scale == 3
    assert columns.bars["high"][8] == 4_100_125
    assert (columns.chain, columns.assumed) == ("", "fills at the next bar's open, an assumption")
    assert data.words == "Bars only: fills at the next bar's open, an assumption"


def test_a_frame_with_levels_of_columns_is_refused() -> None:
    frame = pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_tuples([("open", "BTC"), ("close", "BTC")]))
    with pytest.raises(BarsError, match="several levels of columns: take those of one market"):
        bars_of_frame(frame, KEY, "1m")


def test_finer_bars_are_rolled_up_as_pandas_does(tmp_path: Path) -> None:
    table = rows(3 * HOUR + 7)[3:]
    data = read(tmp_path, table, "5m")
    frame = pd.DataFrame(table, columns=list(HEADER))
    frame.index = pd.to_datetime(frame.pop("timestamp"))
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    theirs = frame.resample("5min", label="right", closed="right").agg(how).iloc[1:-1]
    assert (data.prepared.values == theirs.to_numpy(float)).all()
    assert data.prepared.ends.tolist() == theirs.index.as_unit("ns").astype(np.int64).tolist()
    assert "Its bars of 1m are rolled up to 5m." in data.notes
    assert "2 of these at its ends are not whole, and are left out." in data.notes


PEAKS = """
from projections.strategies import BaseStrategy

class Flips(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if pos <= 0.0 else -1.0
"""


@pytest.mark.parametrize("fill", ["next-open", "next-close", "next-mid", "worst"])
def test_an_order_fills_in_the_next_bar_with_trades_by_the_rule_that_is_said(
    tmp_path: Path, strategies: Strategies, fill: Any
) -> None:
    (tmp_path / "flips.py").write_text(PEAKS)
    table = rows(40)
    for quiet in (7, 8, 20):
        table[quiet][5] = 0
    data = read(tmp_path, table, fill=fill)
    assert (data.prepared.bars["flags"] == int(CandleFlag.EMPTY)).sum() == 3
    result = backtest(tmp_path / "flips.py", data, short=True, cold=True, cash="1", sizing="amount:1")
    fills = result.fills
    # behind one quiet bar nothing fills, since what the bar before it wanted, it took back itself
    traded = [row for n, row in enumerate(table) if n not in (0, 7, 8, 20, 21)]
    low, high = (np.array([row[at] for row in traded]) for at in (3, 2))
    buys = fills["side"].to_numpy() == "buy"
    expected = {
        "next-open": [row[1] for row in traded],
        "next-close": [row[4] for row in traded],
        # to a whole step of 0.1, against the bot
        "next-mid": np.where(buys, np.ceil(5 * (low + high)), np.floor(5 * (low + high))) / 10,
        "worst": np.where(buys, high, low),
    }[fill]
    assert fills["price"].tolist() == list(expected)
    assert len(set(fills["side"])) == 2
    times = pd.DatetimeIndex([pd.Timestamp(row[0]) for row in traded])
    ago = {"next-open": 60, "next-mid": 30}.get(fill, 0)
    assert fills.index.tolist() == (times - pd.Timedelta(seconds=ago)).tolist()


def test_constant_prices_make_no_trade_and_no_trouble(tmp_path: Path, strategies: Strategies) -> None:
    table = [[row[0], 100, 100, 100, 100, 5] for row in rows(200)]
    result = backtest("sma_cross", read(tmp_path, table), {"fast": 2, "slow": 5}, strategies=strategies)
    assert (len(result.fills), result.metrics["trades"], result.metrics["sharpe"]) == (0, 0, None)


def test_one_bar_is_read_and_is_too_little_to_test_on(tmp_path: Path, strategies: Strategies) -> None:
    data = read(tmp_path, rows(1))
    assert len(data.prepared.bars) == 1
    with pytest.raises(
        BacktestError, match=r"needs 3 bars .* and the range has 1, with 0 before it: 2 are missing"
    ):
        backtest("sma_cross", data, {"fast": 2, "slow": 3}, strategies=strategies)
