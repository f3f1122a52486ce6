"""Strategies over several timeframes: what is refused, and what research makes of them."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from infra.research import backtest, backtest_strategy_batch, calculate_signals_vectorized, sweep
from infra.research.backtesting import BacktestError, data_of
from infra.research.recorded_bars import recorded_bars
from infra.research.sources import recorded
from infra.strategies.registry import Strategies, load_strategies
from infra.upkeep.fresh_home import fold_home
from projections.research.arrays import IN_MEMORY
from projections.research.bars import above
from projections.research.columns import values_of
from projections.research.tripwire import tripwire
from projections.strategies.blocks import TIMEFRAMES
from projections.strategies.code import CompiledCode, Run
from projections.strategies.histories import Higher, History, beside
from projections.strategies.parameters import StrategyParameterError
from streams.backends import open_log
from streams.events import TIMEFRAMES_NS, BotChanged
from streams.journal import JournalWriter
from streams.log import Log
from tests.journal import START, batch, create, of, spot
from tests.programs import KERNELS
from tests.several import several
from tests.unit.test_sweeps import as_row, as_told, frame_of
from tests.warming import Live, wander

BTC = spot()
MINUTES = 4_500
SHOWN = ["average", "trend", "bands.middle", "bands.upper", "bands.lower", "fading", "smooth"]


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    return several(KERNELS, tmp_path_factory.mktemp("several"))


def own(length: str) -> int:
    return TIMEFRAMES_NS[length]


def test_the_timeframes_are_those_of_the_log_and_each_divides_the_next() -> None:
    lengths = [TIMEFRAMES_NS[timeframe] for timeframe in TIMEFRAMES]
    assert tuple(TIMEFRAMES_NS) == TIMEFRAMES
    assert not any(longer % shorter for shorter, longer in pairwise(lengths))


# ------------------------------------------------------------------ what is refused


BROKEN = {
    "there is no higher timeframe '2h'; there are 5m, 15m, 1h, 4h, 1d": 'a = sma("close", 3, timeframe="2h")',
    "there is no higher timeframe '1m'": 'a = sma("close", 3, timeframe="1m")',
    "sma of 1h over ema of 5m: blocks over each other are of one timeframe": (
        'a = sma(ema("close", 3, timeframe="5m"), 2, timeframe="1h")'
    ),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_timeframe_that_none_is_above_is_refused(tmp_path: Path, words: str) -> None:
    lines = [
        "from projections.strategies import BaseStrategy, ema, sma",
        "class Bad(BaseStrategy):",
        BROKEN[words],
    ]
    text = "\n".join(
        [lines[0], lines[1], f"    {lines[2]}", "    signal = staticmethod(lambda a, b, c, d: 0.0)"]
    )
    (tmp_path / "bad.py").write_text(text)
    (broken,) = load_strategies(tmp_path / "kernels", [tmp_path / "bad.py"]).broken
    assert words in str(broken)


def test_a_strategy_on_frames_has_no_other_timeframe(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from projections.strategies import BaseStrategy, Signal, sma\n"
        "class Bad(BaseStrategy):\n"
        "    a = sma('close', 3, timeframe='1h')\n"
        "    def process_data(self, df):\n"
        "        return Signal(0.0)\n"
    )
    (broken,) = load_strategies(tmp_path / "kernels", [tmp_path / "bad.py"]).broken
    assert "works on frames, which hold candles of one timeframe" in str(broken)


def test_process_data_of_one_that_reads_several_says_why_it_cannot(strategies: Strategies) -> None:
    with pytest.raises(ValueError, match="trend reads candles of 5m and 15m too, and a frame holds those of"):
        strategies.latest("trend").strategy().process_data(frame_of(30))


def test_a_bot_is_below_all_that_it_reads(strategies: Strategies) -> None:
    words = "trend reads candles of 5m and 15m: a bot of 5m is not below them; choose 1m"
    code = strategies.latest("trend")
    with pytest.raises(StrategyParameterError, match=words):
        code.check_timeframe("5m")
    live = Live(BTC, strategies)
    given = create(BTC, strategy="trend", code_hash=code.code_hash, timeframe="5m")
    (change,) = of(live.give(given), BotChanged)
    assert (change.status, change.code) == ("halted", "bad_parameters") and words in change.message
    with pytest.raises(StrategyParameterError, match=words):
        backtest("trend", frame_of(400, "5min"), strategies=strategies)
    with pytest.raises(StrategyParameterError, match=words):
        sweep("trend", frame_of(400, "5min"), {"near": [2, 3]}, strategies=strategies)
    frame = backtest_strategy_batch(
        frame_of(400, "5min"), [{"strategy": "trend"}, {"fast": 3, "slow": 9}], strategies=strategies
    )
    assert words in frame["error"][0] and frame["error"][1] == ""


# ------------------------------------------------------------------ bars


def expected(bars: pd.DataFrame, strategies: Strategies) -> pd.DataFrame:
    """By pandas: each timeframe alone, and of the higher ones at each bar what has ended by then."""
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    found = pd.DataFrame(index=bars.index)
    for rule, name in (("1min", "own"), ("5min", "of5m"), ("15min", "of15m")):
        grouped = bars.resample(rule, label="right", closed="right").agg(how).dropna()
        code = strategies.latest(name)
        assert isinstance(code, CompiledCode)
        history = History(np.arange(len(grouped)), np.ascontiguousarray(grouped.to_numpy(float)))
        values = pd.DataFrame(
            code.run(history, {}).values, index=grouped.index, columns=list(code.value_names)
        )
        found = found.join(values[values.index <= bars.index[-1]].reindex(bars.index, method="ffill"))
    return found[SHOWN]


@pytest.mark.parametrize("holes", [False, True])
def test_a_backtest_over_bars_reads_what_these_bars_make(strategies: Strategies, holes: bool) -> None:
    bars = frame_of(MINUTES)[3:]
    if holes:
        chance = np.random.default_rng(1)
        bars = bars[chance.random(len(bars)) < 0.8]
    result = backtest("trend", bars, timeframe="1m", short=True, strategies=strategies)
    due = expected(bars, strategies)
    np.testing.assert_array_equal(result.indicators[SHOWN].to_numpy(), due.to_numpy())
    assert result.indicators["target"].nunique() == 3
    targets = calculate_signals_vectorized(bars, {"strategy": "trend"}, strategies=strategies)
    np.testing.assert_array_equal(targets.to_numpy(), result.indicators["target"].to_numpy())


def test_a_row_of_a_sweep_is_the_backtest_of_its_set(strategies: Strategies) -> None:
    data = data_of(frame_of(MINUTES))
    asked: dict[str, Any] = {"short": True, "fee": 75_000, "strategies": strategies}
    frame = sweep("trend", data, {"near": [2, 5], "far": [1, 3]}, n_jobs=2, **asked)
    assert len(frame) == 4 and frame["trades"].sum() > 20
    for row in frame.to_dict("records"):
        tested = backtest("trend", data, {name: row[name] for name in ("near", "far")}, **asked)
        assert as_row(row) == as_told(tested)


def test_a_range_is_warmed_on_the_candles_before_it(strategies: Strategies) -> None:
    data = data_of(frame_of(MINUTES))
    after = int(data.prepared.ends[500])
    whole = backtest("trend", data, strategies=strategies).indicators[SHOWN]
    part = backtest("trend", data, strategies=strategies, after=after).indicators[SHOWN]
    settled = [name for name in SHOWN if name != "fading"]
    np.testing.assert_array_equal(part[settled].to_numpy(), whole[settled][501:].to_numpy())
    cold = backtest("trend", data, strategies=strategies, after=after, cold=True).indicators[SHOWN]
    assert cold["trend"].isna().sum() == 24  # from 08:21 to 08:44, behind the second that ends there
    with pytest.raises(BacktestError, match=r"needs 600 candles of 15m until its .* there are 300:"):
        backtest("trend", data, {"far": 20}, strategies=strategies)


def test_prices_without_times_make_no_higher_candle(strategies: Strategies) -> None:
    bars = frame_of(100)
    for prices, words in [
        (bars["close"].to_numpy(), "give prices with an index of times"),
        (bars.reset_index(drop=True), "give prices with an index of times"),
        (bars[::-1], "must rise"),
        (bars.set_index(bars.index + pd.Timedelta("7s")), "are no ends of 1m, 5m"),
    ]:
        with pytest.raises(BacktestError, match=words):
            calculate_signals_vectorized(prices, {"strategy": "trend"}, strategies=strategies)


# ------------------------------------------------------------------ what the fold makes


@pytest.fixture
def log(tmp_path: Path, strategies: Strategies) -> Iterator[Log]:
    """Some hours with quiet minutes and late trades, folded."""
    opened = open_log(f"embedded://{tmp_path / 'log'}", partitions=1)
    writer = JournalWriter(opened, "feed", 1)
    writer.append(BTC, key=BTC.key)
    prices = wander(3, MINUTES)
    for at in range(0, MINUTES, 10):
        rows = [(60 * n + 5, prices[n], 1 + n % 7) for n in range(at, at + 10) if n % 13 > 2]
        if at % 70 == 30:
            rows.append((60 * at - 200.5, prices[at] + 40, 3, "backfill"))
        writer.append(batch(BTC, rows), key=BTC.key)
    fold_home(opened, strategies)
    yield opened
    opened.close()


@pytest.mark.parametrize("final", [False, True])
def test_recorded_candles_give_the_indicators_of_the_journal(
    log: Log, tmp_path: Path, strategies: Strategies, final: bool
) -> None:
    """The higher ones hold late trades that the minutes, when they closed, did not."""
    ticks = recorded(log, tmp_path, BTC.key, "1m", final=final)
    bars = recorded_bars(log, BTC.key, "1m", final=final)
    shown = [backtest("trend", one, strategies=strategies).indicators[SHOWN] for one in (ticks, bars)]
    np.testing.assert_array_equal(shown[0].to_numpy(), shown[1].to_numpy())
    assert not shown[0].isna().all().any()
    minutes = values_of(above(ticks.prepared.columns, "15m", IN_MEMORY))
    assert (minutes != ticks.prepared.higher["15m"].values).any()


def test_minutes_are_merged_as_the_fold_merges_them(strategies: Strategies) -> None:
    """Also those in which nothing is traded."""
    live = Live(BTC, strategies)
    prices = wander(8, 700)
    chance = np.random.default_rng(2)
    for at in range(0, 700, 7):
        minutes = [n for n in range(at, at + 7) if chance.random() < 0.3]
        if minutes:
            live.give(batch(BTC, [(60 * n + 5, prices[n], 1 + n % 7) for n in minutes]))
    from projections.research.gather import gather

    minutes_, *higher = gather(live.journal, BTC.key, ["1m", "5m", "15m", "1h"])
    for one in higher:
        mine = above(minutes_, one.timeframe, IN_MEMORY)
        assert mine.bars["end"].tolist() == one.bars["end"].tolist()
        assert values_of(mine).tobytes() == values_of(one).tobytes()


# ------------------------------------------------------------------ looking ahead


def walk(bars: int = 400) -> History:
    chance = np.random.default_rng(11)
    close = 1_000.0 + np.cumsum(chance.integers(-4, 5, bars))
    values = np.column_stack([close, close + 1, close - 1, close, np.ones(bars)])
    return History(START + own("1m") * np.arange(1, bars + 1, dtype=np.int64), values)


def joined(history: History, shift: int) -> History:
    """With candles of 5m and 15m, which count `shift` ns before they end."""
    higher: list[Higher] = []
    for timeframe in ("5m", "15m"):
        ends, first = np.unique(-(-history.ends // own(timeframe)) * own(timeframe), return_index=True)
        values = history.values[np.append(first[1:], len(history.ends)) - 1]
        one = beside(history.ends + shift, History(ends, values))
        higher.append(one)
    return history._replace(higher=tuple(higher))


@pytest.mark.parametrize("name", ["trend", "talks"])
@pytest.mark.parametrize("shift", [0, 1, 4])
def test_a_join_that_hands_out_a_candle_before_its_end_is_found_out(
    strategies: Strategies, name: str, shift: int
) -> None:
    """As where a higher frame is joined by the start of its bars."""
    code, history = strategies.latest(name), joined(walk(), shift * own("1m"))
    run = Run(np.empty(400), np.empty((400, len(code.value_names))))
    assert code.over(code.fresh(), history, 0, 400, code.pack({}), run) is None
    found = tripwire(code, code.check({}), history, 0, run)
    assert (found.peek is None) == (shift == 0)
    if found.peek is not None:
        assert found.peek.what != "average"


PEEKS = """
from projections.strategies import BaseStrategy, day_vwap, kernels
from projections.strategies.blocks import Block, Indicator


class Ahead(BaseStrategy):
    ahead = Indicator(
        Block(kernels.sma, ("column", "n"), (), (), 2, ((), 1), (1, (), 0)), ("close", -1), timeframe="15m"
    )

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.ahead > 0.0 else -1.0


class Day(BaseStrategy):
    day = day_vwap(timeframe="15m")

    @staticmethod
    def signal(bar, x, p, pos):
        return pos


class DayAlone(BaseStrategy):
    day = day_vwap()

    @staticmethod
    def signal(bar, x, p, pos):
        return pos
"""


def test_a_block_that_reads_the_next_higher_candle_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "peeks.py").write_text(PEEKS)
    code = load_strategies(KERNELS, [tmp_path / "peeks.py"]).latest("ahead")
    history = joined(walk(), 0)
    history = history._replace(higher=history.higher[1:])
    run = Run(np.empty(400), np.empty((400, 1)))
    assert code.over(code.fresh(), history, 0, 400, code.pack({}), run) is None
    peek = tripwire(code, code.check({}), history, 0, run).peek
    assert peek is not None and peek.bar == 14


def test_a_block_that_asks_when_candles_end_is_told_it_of_the_higher_ones(tmp_path: Path) -> None:
    (tmp_path / "peeks.py").write_text(PEEKS)
    strategies = load_strategies(KERNELS, [tmp_path / "peeks.py"])
    both, alone = strategies.latest("day"), strategies.latest("day_alone")
    assert isinstance(both, CompiledCode) and isinstance(alone, CompiledCode)
    history = joined(walk(4_000), 0)
    history = history._replace(higher=history.higher[1:])
    mine = both.run(history, {}).values[:, 0]
    (of15m,) = history.higher
    theirs = alone.run(History(of15m.ends, of15m.values), {}).values[:, 0]
    newest = of15m.upto[1:] - 1
    np.testing.assert_array_equal(mine, np.where(newest < 0, np.nan, theirs[newest]))
    assert np.isfinite(mine).any()
