"""A strategy that knows what comes is found out, with its bar; one that does not is left alone."""

from collections.abc import Mapping
from textwrap import indent

import numpy as np
import pytest

from infra.strategies.registry import Strategies, load_strategies
from projections.research.tripwire import BLIND, Peek, Tripwire, tripwire
from projections.strategies.code import History, Run
from tests.programs import KERNELS
from tests.research import MINUTE, START

HEAD = """
import sys

import numpy as np

from projections.strategies import BaseStrategy, Signal, atr, bollinger, ema, macd, param, rsi, sma
from projections.strategies import kernels
from projections.strategies.blocks import Block, Indicator

KEPT = {}


def memory(df):
    # what lies under the frame, as a run over a history may have it, and what of it is behind the present
    column = df["close"].to_numpy()
    whole = column
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    whole = whole if whole.ndim == 1 else whole[3]
    return whole, whole[(column.ctypes.data - whole.ctypes.data) // 8 + len(df) :]
"""
NEXT_BAR = """
class NextBar(BaseStrategy):
    ahead = Indicator(Block(kernels.sma, ("column", "n"), (), (), 2, ((), 1), (1, (), 0)), ("close", -1))

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.ahead > 0.0 else -1.0
"""
CHEATS = {
    "next_candle": """
_, ahead = memory(df)
return Signal(float(np.sign(ahead[0] - df["close"].iloc[-1])) if len(ahead) else 0.0)
""",
    "whole_maximum": """
whole, _ = memory(df)
return Signal(1.0 if df["close"].iloc[-1] > 0.9 * whole.max() else -1.0)
""",
    "unfinished_bar": """
_, ahead = memory(df)
done = (df["timestamp"].iloc[-1].value - FIRST) // MINUTE % 5 + 1
bar = [*df["close"].iloc[-done:], *ahead[: 5 - done]]
return Signal(1.0 if bar[-1] > bar[0] else -1.0)
""",
    "up_the_stack": """
history = sys._getframe(3).f_locals.get("history") or sys._getframe(4).f_locals["history"]
at = int(np.searchsorted(history.ends, df["timestamp"].iloc[-1].value))
return Signal(1.0 if history.values[at + 1 :, 3].max(initial=0.0) > df["close"].iloc[-1] else -1.0)
""",
    "kept_between_steps": """
KEPT["high"] = max(KEPT.get("high", 0.0), df["close"].iloc[-1])
return Signal(1.0 if df["close"].iloc[-1] > 0.9 * KEPT["high"] else -1.0)
""",
}
RARE = {
    "one_in_5000": """
_, ahead = memory(df)
now = (df["timestamp"].iloc[-1].value - FIRST) // MINUTE % 5_000 == 4_321
return Signal(1.0 if now and ahead[0] > df["close"].iloc[-1] else self.position)
""",
}
HONEST = {
    "highest": 'return Signal(1.0 if df["close"].iloc[-1] >= df["high"].max() else -1.0)',
    "window_mean": 'return Signal(float(np.sign(df["close"].iloc[-1] - df["close"].mean())))',
    "finished_bars": """
bars = df.set_index("timestamp")["close"].resample("5min", label="right", closed="right").last()
done = bars[bars.index <= df["timestamp"].iloc[-1]]
return Signal(1.0 if len(done) > 1 and done.iloc[-1] > done.iloc[-2] else -1.0)
""",
    "holds": 'return Signal(self.position or (1.0 if df["volume"].iloc[-1] > 3 else 0.0))',
}
"""Bodies of `process_data`."""
COMPILED = {
    ("sma_cross", 5, 20): {"fast": 5, "slow": 20},
    ("sma_cross", 20, 100): {"fast": 20, "slow": 100},
    ("sma_cross", 1, 2): {"fast": 1, "slow": 2},
    ("rsi_reversion", 14): {},
    ("rsi_reversion", 3): {"n": 3},
    ("bollinger_breakout", 20): {},
    ("bollinger_breakout", 5): {"n": 5, "width": 1.0},
    ("bollinger_breakout", 100): {"n": 100, "width": 0.5},
    ("macd_cross", 12): {},
    ("macd_cross", 3): {"fast": 3, "slow": 8, "signal": 4},
}
"""With their parameters; of the built-in strategies, which are compiled."""
OWN = """
class Always(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0


class Turning(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return -1.0 if pos > 0.0 else 1.0


class Candle(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if bar.close > bar.open else -1.0 if bar.close < bar.open else pos


class Quiet(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return 0.0


class Trend(BaseStrategy):
    average = ema("close", 30)
    range_ = atr(14)

    @staticmethod
    def signal(bar, x, p, pos):
        if bar.close > x.average + x.range_:
            return 1.0
        return -1.0 if bar.close < x.average - x.range_ else pos


class Half(BaseStrategy):
    strength = rsi("close", 10)

    @staticmethod
    def signal(bar, x, p, pos):
        return 0.5 if x.strength > 55.0 else -0.25 if x.strength < 45.0 else pos
"""
CLASS = """
FIRST, MINUTE = {first}, {minute}


class {name}(BaseStrategy):
    name = {word!r}
    window = {window}

    def process_data(self, df):
{body}
"""


def python(bodies: Mapping[str, str], window: int) -> str:
    return "".join(
        CLASS.format(
            name=word.title().replace("_", ""),
            word=word,
            window=window,
            body=indent(body.strip(), " " * 8),
            first=START + MINUTE,
            minute=MINUTE,
        )
        for word, body in bodies.items()
    )


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    folder = tmp_path_factory.mktemp("tripwire")
    file = folder / "many.py"
    file.write_text(HEAD + NEXT_BAR + OWN + python(CHEATS | RARE, 30) + python(HONEST, 20))
    loaded = load_strategies(KERNELS, [file])
    assert not loaded.broken
    return loaded


def history(bars: int) -> History:
    """A walk; a row beyond it is there, for whoever reads there."""
    chance = np.random.default_rng(11)
    close = 1_000.0 + np.cumsum(chance.integers(-4, 5, bars + 1))
    open_ = np.roll(close, 1)
    high, low = np.maximum(open_, close) + 1, np.minimum(open_, close) - 1
    values = np.column_stack([open_, high, low, close, chance.integers(0, 9, bars + 1)])
    return History(START + MINUTE * np.arange(1, bars + 1, dtype=np.int64), values[:bars])


def asked(
    strategies: Strategies, name: str, bars: int, params: Mapping[str, object] | None = None, warmed: int = 0
) -> tuple[Tripwire, Run]:
    code, given = strategies.latest(name), history(bars)
    run = Run(np.empty(bars), np.empty((bars, len(code.value_names))))
    failure = code.over(code.fresh(), given, 0, bars, code.pack(params or {}), run)
    assert failure is None, failure
    return tripwire(code, code.check(params or {}), given, warmed, run), run


@pytest.mark.parametrize("name", ["next_bar", *CHEATS])
def test_a_cheat_is_found_out_at_a_bar_at_which_it_cheated(strategies: Strategies, name: str) -> None:
    wire, run = asked(strategies, name, 500)
    assert wire.peek is not None
    assert wire.peek.bar < 100, "long before the end, where nothing is left to be seen"
    assert wire.peek.given in [run.targets[wire.peek.bar], *run.values[wire.peek.bar]]
    assert wire.peek.given != wire.peek.again


def test_one_peek_in_thousands_of_bars_is_found_at_that_bar(strategies: Strategies) -> None:
    wire, run = asked(strategies, "one_in_5000", 6_000)
    assert np.flatnonzero(np.diff(run.targets, prepend=0.0)).tolist() == [4_321]
    assert wire.peek == Peek(4_321, "target", 1.0, 0.0)


@pytest.mark.parametrize("key", COMPILED, ids=str)
def test_a_compiled_strategy_that_is_honest_is_left_alone(
    strategies: Strategies, key: tuple[str, int]
) -> None:
    wire, _ = asked(strategies, key[0], 3_000, COMPILED[key])
    assert wire.peek is None
    assert BLIND / 2 < wire.points <= BLIND


@pytest.mark.parametrize("name", ["always", "turning", "candle", "quiet", "trend", "half", *HONEST])
def test_an_authors_strategy_that_is_honest_is_left_alone(strategies: Strategies, name: str) -> None:
    wire, run = asked(strategies, name, 400)
    assert wire.peek is None
    assert wire.points >= 50
    if strategies.latest(name).name in HONEST:
        assert wire.points >= np.count_nonzero(np.diff(run.targets[:-1], prepend=0.0))


def test_bars_before_the_run_are_not_looked_at(strategies: Strategies) -> None:
    wire, run = asked(strategies, "sma_cross", 500, {"fast": 5, "slow": 20}, warmed=100)
    assert wire.peek is None
    run.targets[:100] = 7.0
    code = strategies.latest("sma_cross")
    again = tripwire(code, code.check({"fast": 5, "slow": 20}), history(500), 100, run)
    assert again.peek is None
    run.values[150, 0] += 1.0
    found = tripwire(code, code.check({"fast": 5, "slow": 20}), history(500), 100, run).peek
    assert found is not None
    assert (found.bar, found.what) == (50, "fast_average")


def test_a_run_of_no_bars_is_asked_nothing(strategies: Strategies) -> None:
    assert asked(strategies, "sma_cross", 0)[0].points == 0
    assert asked(strategies, "highest", 0)[0].points == 0
