"""Candles before a command: what is kept of them, what is refused, and what the bot makes of them."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from infra.strategies.registry import Strategies, load_strategies
from projections.fold import warm
from streams.events import BotChanged, DeadLetter, ReconfigureBot, Signal, StartBot
from tests.journal import MINUTE, START, create, of, spot
from tests.programs import KERNELS
from tests.warming import Live, candles_in, last_end

BTC = spot()
FRAGILE = """
from projections.strategies import BaseStrategy, Signal

class Fragile(BaseStrategy):
    def process_data(self, df):
        if len(df) == 4:
            raise RuntimeError("four are too many")
        return Signal(1.0)
"""
FRAMES = """
from projections.strategies import BaseStrategy, Signal

class Frames(BaseStrategy):
    window = 4
    value_names = ("rows", "last")

    def process_data(self, df):
        return Signal(1.0, {"rows": len(df), "last": df["close"].iloc[-1]})
"""
RISING = range(100, 140)
PARAMS = {"fast": 2, "slow": 5}


@pytest.fixture
def live(strategies: Strategies) -> Live:
    live = Live(BTC, strategies)
    live.trade(RISING)
    return live


def command(live: Live, bars, number: int = 1, strategy: str = "sma_cross", **changes):
    code_hash = live.strategies.latest(strategy).code_hash
    made = create(BTC, number, strategy=strategy, params=PARAMS, code_hash=code_hash, short=True)
    return replace(made, warm_up=bars[0].warm_up, warm_candles=candles_in(bars), **changes)


def refusals(derived) -> list[str]:
    return [letter.reason for letter in of(derived, DeadLetter)]


def test_the_first_candle_gives_a_signal_that_says_it_is_resumed(live: Live) -> None:
    bars = live.bars("1m", 5, "w")
    told = of(live.give(*bars, command(live, bars)), BotChanged)
    assert [(change.warmed, change.steps) for change in told] == [(5, True)]
    (signal,) = of(live.trade([140, 141]), Signal)
    assert (signal.target, signal.previous, signal.origin, signal.code) == (1.0, 0.0, "resumed", "ok")


def test_a_cold_bot_waits_for_as_many_candles_as_its_averages_need(live: Live) -> None:
    code_hash = live.strategies.latest("sma_cross").code_hash
    live.give(create(BTC, params=PARAMS, code_hash=code_hash))
    assert not of(live.trade([140, 141, 142, 143]), Signal)
    (signal,) = of(live.trade([144, 145]), Signal)
    assert signal.origin == "strategy"


def test_a_stopped_bot_is_warm_when_it_starts(live: Live) -> None:
    bars = live.bars("1m", 5, "w")
    live.give(*bars, command(live, bars, start=False))
    assert not of(live.trade([140, 141]), Signal)
    live.give(StartBot(request="s", who="ann", at=START, bot_id=1))
    (signal,) = of(live.trade([142]), Signal)
    assert signal.origin == "resumed"


def test_a_bot_that_begins_anew_takes_the_target_that_its_warm_up_leaves(live: Live) -> None:
    bars = live.bars("1m", 5, "w")
    live.give(*bars, command(live, bars))
    live.trade([140, 141, 142])
    live.trade(range(142, 120, -1))
    again = live.bars("1m", 5, "again")
    anew = ReconfigureBot(
        request="r", who="ann", at=START, bot_id=1, params={"fast": 3, "slow": 5},
        warm_up="again", warm_candles=candles_in(again),
    )  # fmt: skip
    (change,) = of(live.give(*again, anew), BotChanged)
    assert change.warmed == 5
    assert live.lane(1)[1] == -1.0


def test_a_start_that_goes_on_drops_its_candles(live: Live) -> None:
    bars = live.bars("1m", 5, "w")
    live.give(*bars, command(live, bars))
    live.trade([140])
    before = live.lane(1)
    again = live.bars("1m", None, "again")
    live.give(
        *again,
        StartBot(request="s", who="ann", at=START, bot_id=1, warm_up="again", warm_candles=candles_in(again)),
    )
    assert live.lane(1) == before
    assert not live.pipeline._tapes[BTC.key].bots.warmings


def test_several_bots_warm_at_once_each_on_its_own(live: Live) -> None:
    bars = {n: live.bars("1m", 4 + n, f"w{n}", size=3) for n in (1, 2, 3)}
    for part in range(3):
        live.give(*(bars[n][part] for n in bars if part < len(bars[n])))
        live.trade([150 + part])
    told = [of(live.give(command(live, bars[n], n)), BotChanged)[0].warmed for n in (3, 1, 2)]
    # besides its own, each takes what closed behind the first records
    assert told == [7 + 3, 5 + 3, 6 + 3]


def test_a_bot_of_a_higher_timeframe_warms_on_its_candles(live: Live) -> None:
    bars = live.bars("5m", None, "w")
    (change,) = of(live.give(*bars, command(live, bars, timeframe="5m")), BotChanged)
    assert change.warmed == candles_in(bars) == 7


def test_a_market_without_candles_warms_on_those_that_close_before_the_command(
    strategies: Strategies,
) -> None:
    live = Live(BTC, strategies)
    bars = live.bars("1m", None, "w")
    assert [one.timestamp for one in bars] == [()]
    live.give(*bars)
    live.trade([100, 101, 102])
    (change,) = of(live.give(command(live, bars)), BotChanged)
    assert change.warmed == 2


def test_prices_of_a_smaller_scale_warm_alike(live: Live) -> None:
    fine = live.bars("1m", 8, "fine")
    coarse = [
        replace(one, warm_up="coarse", price_scale=0, **{
            name: tuple(value // 100 for value in getattr(one, name))
            for name in ("open", "high", "low", "close")
        })
        for one in fine
    ]  # fmt: skip
    live.give(*fine, command(live, fine, 1), *coarse, command(live, coarse, 2))
    live.trade([141])
    assert live.lane(1) == live.lane(2)


BAD = {
    "a hole": lambda one: replace(
        one, **{name: getattr(one, name)[:2] + getattr(one, name)[3:] for name in COLUMNS}
    ),
    "a column too short": lambda one: replace(one, close=one.close[1:]),
    "a low above the high": lambda one: replace(one, low=tuple(high + 1 for high in one.high)),
    "no price": lambda one: replace(one, low=(0, *one.low[1:])),
    "a number of 64 bits": lambda one: replace(one, volume=(2**63, *one.volume[1:])),
    "a volume below 0": lambda one: replace(one, volume=(-1, *one.volume[1:])),
    "a scale beyond the market's": lambda one: replace(one, price_scale=BTC.price_scale + 1),
    "a scale of 10**9": lambda one: replace(one, size_scale=10**9),
    "times off the minute": lambda one: replace(one, timestamp=tuple(t + 1 for t in one.timestamp)),
    "candles to come": lambda one: replace(one, timestamp=tuple(t + 90 * MINUTE for t in one.timestamp)),
    "those of a venue": lambda one: replace(one, origin="venue"),
    "another market": lambda one: replace(one, market="test:NO/SUCH"),
}  # fmt: skip
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")


@pytest.mark.parametrize("what", BAD)
def test_bad_candles_are_a_dead_letter_and_so_is_their_command(live: Live, what: str) -> None:
    bars = live.bars("1m", 6, "w")
    asked = command(live, bars)
    assert len(refusals(live.give(BAD[what](bars[0])))) == 1
    (reason,) = refusals(live.give(asked))
    assert "6 candles of 1m should stand before the command as bars w, there are none" in reason
    assert last_end(live.candles("1m")) < last_end((live.trade([140, 141]), live.candles("1m"))[1])


def test_a_part_that_is_missing_refuses_the_command(live: Live) -> None:
    bars = live.bars("1m", 9, "w", size=3)
    asked = command(live, bars)
    (reason,) = refusals(live.give(bars[0], bars[2]))
    assert "does not follow" in reason
    (reason,) = refusals(live.give(asked))
    assert "there are 3 of 1m: give it again" in reason


def test_candles_that_end_before_the_newest_refuse_the_command(live: Live) -> None:
    old = live.bars("1m", 6, "w")
    live.trade([140])
    (reason,) = refusals(live.give(*old, command(live, old)))
    assert "do not reach without a hole" in reason


def test_a_repeated_record_of_candles_counts_once(live: Live) -> None:
    bars = live.bars("1m", 6, "w")
    assert len(refusals(live.give(*bars, *bars))) == 1
    (change,) = of(live.give(command(live, bars)), BotChanged)
    assert change.warmed == 6


def test_a_repeated_command_changes_nothing(live: Live) -> None:
    bars = live.bars("1m", 6, "w")
    asked = command(live, bars)
    live.give(*bars, asked)
    assert not live.give(asked)
    assert not live.pipeline._tapes[BTC.key].bots.warmings


def test_a_strategy_that_fails_while_it_warms_is_halted(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    live = Live(BTC, load_strategies(KERNELS, [tmp_path / "fragile.py"]))
    live.trade(RISING)
    bars = live.bars("1m", 6, "w")
    asked = command(live, bars, strategy="fragile", params={})
    first, second = of(live.give(*bars, asked), BotChanged)
    assert (first.code, first.steps, first.warmed) == ("created", True, 6)
    assert (second.code, second.steps, second.status) == ("strategy_error", False, "halted")
    assert not refusals(live.trade([150, 151]))


def test_parameters_that_are_refused_halt_as_they_do_without_candles(live: Live) -> None:
    bars = live.bars("1m", 6, "w")
    asked = command(live, bars, params={"fast": 9, "slow": 3})
    changes = of(live.give(*bars, asked), BotChanged)
    assert [(one.status, one.code) for one in changes] == [("halted", "bad_parameters")]


def test_a_strategy_on_frames_warms_on_its_window(tmp_path: Path) -> None:
    (tmp_path / "frames.py").write_text(FRAMES)
    live = Live(BTC, load_strategies(KERNELS, [tmp_path / "frames.py"]))
    code = live.strategies.latest("frames")
    assert code.need({}) == 4
    live.give(create(BTC, 1, strategy="frames", params={}, code_hash=code.code_hash))
    live.trade(RISING)
    bars = live.bars("1m", 4, "w")
    asked = command(live, bars, 2, strategy="frames", params={})
    live.give(*bars, asked)
    live.trade([150])
    assert live.lane(1) == live.lane(2)
    assert np.frombuffer(live.lane(2)[0]).tolist() == [4.0, 139.0]


def test_candles_without_their_command_are_bounded(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "WARMINGS_MAX", 3)
    monkeypatch.setattr(warm, "CANDLES_MAX", 20)
    monkeypatch.setattr(warm, "MEANWHILE_MAX", 5)
    book = live.pipeline._tapes[BTC.key].bots
    for n in range(5):
        live.give(*live.bars("1m", 2, f"w{n}"))
    assert list(book.warmings) == ["w2", "w3", "w4"]
    live.give(*live.bars("1m", 17, "large"))
    assert list(book.warmings) == ["w4", "large"]
    (reason,) = refusals(live.give(*live.bars("1m", 21, "larger")))
    assert "more than 20 candles" in reason
    live.trade(range(140, 148))
    assert not live.pipeline._tapes[BTC.key].bots.warmings
