"""The main job on real trades, through the installed commands, against BitMEX's own candles."""

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from streams.events import TIMEFRAMES_NS
from tests.e2e.conftest import BITMEX, SPECIFICATION, Home

TRADES = "bitmex_XBTUSD_trades_20180101_20180102.parquet"
COLUMNS = ["high", "low", "close", "volume", "trades"]


def candles(home: Home, timeframe: str) -> pd.DataFrame:
    text = home.run("candles", *BITMEX, "--timeframe", timeframe, "--format", "csv")
    frame = pd.read_csv(StringIO(text), parse_dates=["timestamp"])
    return frame.set_index("timestamp")


def own_bins(shared_data: Path) -> pd.DataFrame:
    """BitMEX's own minutes, by their end."""
    frame = pd.read_parquet(shared_data / "bitmex_XBTUSD_own1m_20180101_20180102.parquet")
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True)
    return frame.set_index("timestamp")[COLUMNS].sort_index()


def times(trades: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(trades["timestamp"], unit="ms", utc=True)


def rolled_up(minutes: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    rule = pd.Timedelta(TIMEFRAMES_NS[timeframe])
    return minutes.resample(rule, closed="right", label="right").agg(
        {"high": "max", "low": "min", "close": "last", "volume": "sum", "trades": "sum"}
    )


def equal(ours: pd.DataFrame, theirs: pd.DataFrame) -> int:
    """How many rows are equal in every column; both have the same index."""
    assert list(ours.index) == list(theirs.index)
    return int((ours[COLUMNS].to_numpy(float) == theirs[COLUMNS].to_numpy(float)).all(axis=1).sum())


def test_left_closed_candles_equal_the_exchanges_own_in_every_minute_and_every_roll_up(
    home: Home, shared_data: Path
) -> None:
    done = home.json("import", shared_data / TRADES, *SPECIFICATION, "--closed", "left")
    assert (done["ticks"], done["rows"]) == (501_825, 501_825)
    bins = own_bins(shared_data)
    assert equal(candles(home, "1m"), bins) == len(bins) == 2_880
    for timeframe in ("5m", "15m", "1h", "4h", "1d"):
        theirs = rolled_up(bins, timeframe)
        assert (
            equal(candles(home, timeframe), theirs)
            == len(theirs)
            == 2_880 * TIMEFRAMES_NS["1m"] // TIMEFRAMES_NS[timeframe]
        )
    again = home.json("import", shared_data / TRADES, *SPECIFICATION, "--closed", "left")
    assert (again["ticks"], again["rows"]) == (0, 501_825)


def test_right_closed_candles_equal_a_pandas_recomputation(home: Home, shared_data: Path) -> None:
    home.json("import", shared_data / TRADES, *SPECIFICATION)
    trades = pd.read_parquet(shared_data / TRADES)
    trades["timestamp"] = times(trades)
    trades["size"] = trades["size"].abs()
    groups = trades.set_index("timestamp").resample("1min", closed="right", label="right")
    theirs = groups["price"].ohlc()
    theirs["volume"], theirs["trades"] = groups["size"].sum(), groups["size"].count()
    theirs["close"] = theirs["close"].ffill()
    for column in ("open", "high", "low"):
        theirs[column] = theirs[column].fillna(theirs["close"])
    ours = candles(home, "1m")
    assert equal(ours, theirs.loc[: ours.index[-1]]) == len(ours)
    assert (ours["open"].to_numpy() == theirs.loc[: ours.index[-1], "open"].to_numpy()).all()
    assert len(theirs) - len(ours) <= 1, "only the last minute may still be open"


PANDAS_ONLY = '''
from projections.strategies import BaseStrategy, Signal, param


class LastMove(BaseStrategy):
    """Follows the last close, by pandas alone."""

    name = "last_move"
    window = 50
    n: int = param(30, low=2, high=50, description="candles")

    def process_data(self, df):
        mean = df["close"].rolling(self.n).mean().iloc[-1]
        if mean != mean:
            return Signal(0.0)
        return Signal(1.0 if df["close"].iloc[-1] > mean else 0.0)
'''


@pytest.fixture
def with_bots(tmp_path: Path, shared_data: Path) -> Home:
    """Three bots, one of them pandas only, on the first 60,000 trades."""
    file = tmp_path / "mine.py"
    file.write_text(PANDAS_ONLY)
    home = Home(tmp_path / "home", TCPD_STRATEGIES=str(file))
    trades = pd.read_parquet(shared_data / TRADES)
    early = times(trades) < pd.Timestamp("2018-01-01T00:05Z")
    trades[early].to_parquet(tmp_path / "first.parquet")
    trades[~early].iloc[:60_000].to_parquet(tmp_path / "rest.parquet")
    home.json("import", tmp_path / "first.parquet", *SPECIFICATION, "--closed", "left")
    bot = ["bots", "create", *BITMEX, "--timeframe", "1m", "--cash", "10", "--start", "--strategy"]
    created = [
        home.json(*bot, "sma_cross", "--param", "fast=7", "--param", "slow=31", "--short"),
        home.json(*bot, "rsi_reversion", "--param", "n=14"),
        home.json(*bot, "last_move", "--param", "n=20"),
    ]
    assert [c["bot_id"] for c in created] == [1, 2, 3]
    assert all(c["position"].startswith("journal:") for c in created)
    home.json("import", tmp_path / "rest.parquet", *SPECIFICATION, "--closed", "left")
    return home


def test_bots_signal_trade_and_are_marked_and_verify_agrees(with_bots: Home) -> None:
    for bot in (1, 2, 3):
        signals = with_bots.lines("signals", bot)
        fills = with_bots.lines("trades", bot)
        marks = with_bots.lines("equity", bot)
        assert {s["decision"] for s in signals} <= {"executed", "refused"}
        assert len(signals) > 1
        assert len(fills) > 1
        assert marks[0]["equity"] == marks[0]["cash"] == "10.00000000"
    result = with_bots.json("verify")
    assert result["equal"] is True
    assert result["compared"]["signals"] > 3
