"""Candles of recorded trades against candles that others made of them."""

import gzip
import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from projections.aggregate import aggregate_to_timeframe
from projections.fold.candles import TIMEFRAMES, CandleBook
from streams.events import BACKFILL, MINUTE_NS, TIMEFRAMES_NS, CandleFlag, RowKind

LENGTHS = list(TIMEFRAMES_NS.values())
DAY = LENGTHS[-1]


def fold(time, price, size, closed, end):
    """All candles up to `end` of trades as integers."""
    book = CandleBook(closed=closed, grace_ns=0, horizon_ns=0)
    clock = np.array([end])
    trades = book.fold(time, price, size, np.ones(len(time), np.uint8), 0)
    assert len(trades.late) == len(trades.revising) == 0
    last = book.fold(clock, clock, clock, np.array([RowKind.CLOCK], np.uint8), 1)
    return np.concatenate([trades.closed, last.closed])


def of(candles, timeframe):
    return candles[candles["timeframe"] == TIMEFRAMES.index(timeframe)]


@pytest.fixture(scope="module")
def bitmex(shared_data):
    trades = pd.read_parquet(shared_data / "bitmex_XBTUSD_trades_20180101_20180102.parquet")
    time = trades["timestamp"].to_numpy() * 1_000_000
    return time, np.rint(trades["price"] * 2).to_numpy(np.int64), trades["size"].abs().to_numpy(np.int64)


@pytest.fixture(scope="module")
def bitmex_bins(shared_data):
    bins = pd.read_parquet(shared_data / "bitmex_XBTUSD_own1m_20180101_20180102.parquet")
    bins["end"] = bins["timestamp"].dt.as_unit("ns").astype("int64")
    return bins


@pytest.fixture(scope="module")
def bitmex_left(bitmex, bitmex_bins):
    return fold(*bitmex, "left", int(bitmex_bins["end"].iloc[-1]))


def test_bitmex_own_minutes_are_equal_in_all_2880(bitmex_left, bitmex_bins):
    ones = of(bitmex_left, "1m")
    assert len(ones) == len(bitmex_bins) == 2880
    assert (ones["end"] == bitmex_bins["end"]).all()
    for name, unit in (("high", 2), ("low", 2), ("close", 2), ("volume", 1), ("trades", 1)):
        assert (ones[name] == bitmex_bins[name] * unit).sum() == 2880, name


@pytest.mark.parametrize("timeframe", TIMEFRAMES[1:])
def test_bitmex_higher_timeframes_equal_the_roll_up_of_its_own_minutes(bitmex_left, bitmex_bins, timeframe):
    length = TIMEFRAMES_NS[timeframe]
    bins = bitmex_bins.groupby((bitmex_bins["end"] - 1) // length * length + length)
    expected = bins.agg(
        {"high": "max", "low": "min", "close": "last", "volume": "sum", "trades": "sum", "open": "size"}
    )
    candles = of(bitmex_left, timeframe)
    assert (candles["end"] == expected.index).all()
    for name, unit in (("high", 2), ("low", 2), ("close", 2), ("volume", 1), ("trades", 1)):
        assert (candles[name] == expected[name] * unit).all(), name


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
@pytest.mark.parametrize("closed", ["right", "left"])
def test_both_conventions_equal_what_pandas_resamples(bitmex, timeframe, closed):
    time, price, size = bitmex
    trades = pd.DataFrame({"price": price, "size": size}, index=pd.DatetimeIndex(time))
    bins = trades.resample(pd.Timedelta(TIMEFRAMES_NS[timeframe]), closed=closed, label="right")
    expected = bins["price"].ohlc().assign(volume=bins["size"].sum(), trades=bins["price"].count())
    candles = of(fold(time, price, size, closed, int(time[-1]) // DAY * DAY + DAY), timeframe)
    candles = candles[: len(expected)]
    assert (candles["end"] == expected.index.as_unit("ns").asi8).all()
    traded = (expected["trades"] > 0).to_numpy()
    assert ((candles["flags"] & CandleFlag.EMPTY) == ~traded).all()
    for name in ("open", "high", "low", "close", "volume", "trades"):
        assert (candles[name][traded] == expected[name][traded]).all(), name


@pytest.fixture(scope="module", params=["right", "left"])
def delayed(request, bitmex):
    """Some of the trades, a tenth of them late or backfilled, in records of 50 rows: what pandas is given,
    and the newest revision of each candle."""
    time, price, size = (column[::400] for column in bitmex)
    random = np.random.default_rng(5)
    late = random.random(len(time)) < 0.1
    order = np.argsort(np.arange(len(time)) + late * random.integers(1, 100, len(time)), kind="stable")
    kind = np.where(late & (random.random(len(time)) < 0.5), 1 | BACKFILL, 1).astype(np.uint8)
    rows = [column[order] for column in (time, price, size, kind)]
    book = CandleBook(closed=request.param, grace_ns=0, horizon_ns=2 * DAY)
    told = [book.fold(*(c[at : at + 50] for c in rows), 0).closed for at in range(0, len(time), 50)]
    end = np.array([int(time[-1]) // DAY * DAY + DAY])
    told.append(book.fold(end, end, end, np.array([RowKind.CLOCK], np.uint8), 1).closed)
    newest = {(int(c["timeframe"]), int(c["end"])): c for part in told for c in part}
    assert sum(c["revision"] > 0 for c in newest.values()) > 500
    frame = pd.DataFrame({"price": rows[1], "size": rows[2]}, index=pd.DatetimeIndex(rows[0]))
    return frame.sort_index(kind="stable"), request.param, newest


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_late_trades_give_in_the_end_what_pandas_makes_of_all(delayed, timeframe):
    """Empty minutes, too, have the close of the last trade before them, wherever that came from."""
    trades, closed, newest = delayed
    bins = trades.resample(pd.Timedelta(TIMEFRAMES_NS[timeframe]), closed=closed, label="right")
    expected = bins["price"].ohlc().assign(volume=bins["size"].sum(), trades=bins["price"].count())
    close = expected["close"].ffill()
    expected = expected.fillna(dict.fromkeys(("open", "high", "low", "close"), close))
    assert timeframe not in ("1m", "5m") or (expected["trades"] == 0).any()
    for end, candle in zip(expected.index.as_unit("ns").asi8, expected.to_dict("records"), strict=True):
        told = newest[TIMEFRAMES.index(timeframe), end]
        assert {name: told[name] for name in candle} == candle, (end, told)


@pytest.fixture(scope="module")
def binance(shared_data, tmp_path_factory):
    """ETH/BTC candles of Binance by (timeframe, end in ns); prices and volumes as integers."""
    file: Path = tmp_path_factory.mktemp("binance") / "candles.sqlite"
    packed = shared_data / "candles_multi_tf" / "octobot_binance_ETHBTC_15tf_20200517.sqlite.gz"
    file.write_bytes(gzip.decompress(packed.read_bytes()))
    connection = sqlite3.connect(file)
    rows = connection.execute("select time_frame, timestamp, candle from ohlcv order by timestamp").fetchall()
    connection.close()
    candles = {}
    for timeframe, end, candle in rows:
        values = [round(value * 1_000_000) for value in json.loads(candle)[1:5]]
        candles[timeframe, end * 1_000_000_000] = (*values, round(json.loads(candle)[5] * 1000))
    return candles


def as_trades(candles, length):
    """Four trades for each candle (end, open, high, low, close, volume): its prices, within its time."""
    time, price, size = [], [], []
    for end, first, high, low, last, volume in candles:
        start = end - length
        time += [start, start + 1, start + 2, end - 1]
        price += [first, high, low, last]
        size += [volume - 3, 1, 1, 1]
    return np.array(time), np.array(price), np.array(size)


@pytest.mark.parametrize(
    ("fine", "coarse"), [("1m", "5m"), ("1m", "15m"), ("5m", "1h"), ("15m", "4h"), ("1h", "1d"), ("4h", "1d")]
)
def test_candles_of_binance_roll_up_to_its_own_longer_ones(binance, fine, coarse):
    parts = [(end, *values) for (timeframe, end), values in binance.items() if timeframe == fine]
    parts = [part for part in parts[:-1] if part[-1] > 3]  # the last was still open when it was recorded
    begin, stop = parts[0][0], parts[-1][0]
    rolled = of(fold(*as_trades(parts, TIMEFRAMES_NS[fine]), "left", stop), coarse)
    compared = 0
    for candle in rolled:
        end = int(candle["end"])
        if end - TIMEFRAMES_NS[coarse] < begin - TIMEFRAMES_NS[fine] or (coarse, end) not in binance:
            continue
        assert tuple(candle[["open", "high", "low", "close", "volume"]].tolist()) == binance[coarse, end]
        compared += 1
    assert compared >= 19


def test_binance_candles_made_by_another_program_of_the_same_trades_are_equal(shared_data):
    trades = pd.read_feather(shared_data / "trades_ids" / "XRP_ETH-trades.feather")
    expected = pd.read_feather(shared_data / "trades_ids" / "XRP_ETH-1m.feather").set_index("date")
    candles = pd.DataFrame(aggregate_to_timeframe(trades, "1m", closed="left")).set_index("timestamp")
    candles.index = candles.index - pd.Timedelta(MINUTE_NS)
    shared = expected.index.intersection(candles.index)
    assert len(shared) > 2400
    assert candles.loc[shared][["open", "high", "low", "close"]].equals(
        expected.loc[shared][["open", "high", "low", "close"]]
    )
    assert np.allclose(candles.loc[shared]["volume"], expected.loc[shared]["volume"], rtol=1e-12)
    assert (candles.drop(shared)["volume"] == 0).all()
