"""Whatever a strategy's code raises halts its bot, with its true words; nothing of it leaves the fold."""

from pathlib import Path

import numpy as np
import pytest

from infra.strategies.registry import Strategies, load_strategies
from projections.fold.pipeline import Pipeline
from projections.strategies import StrategyParameterError
from projections.strategies.code import CompiledCode, History, StrategyRunError
from streams.events import BotChanged, Candle, DeadLetter
from tests.journal import batch, create, fold, of, records, spot
from tests.programs import KERNELS

BTC = spot()
RAISED = {
    "KeyboardInterrupt": "KeyboardInterrupt",
    "GeneratorExit": "GeneratorExit",
    "SystemExit(3)": "SystemExit",
    "asyncio.CancelledError": "CancelledError",
    "Own": "Own",
    "Unsayable": "Unsayable",
}
HEAD = """import asyncio
from projections.strategies import BaseStrategy, Signal, param, sma

class Own(BaseException):
    pass

class Unsayable(BaseException):
    def __str__(self):
        raise SystemExit(4)

"""
PANDAS = """class Failing(BaseStrategy):
    n: int = param(1)
    value_names = ("v",)
{check}
    def process_data(self, df):
        {process_data}
        return {returned}

    def get_indicators(self):
        {get_indicators}
        return {{}}
"""
NOTHING = {"check": "", "process_data": "pass", "returned": "Signal(1.0)", "get_indicators": "pass"}
COMPILED = """from numba import objmode

def fail():
    raise {raised}

class Failing(BaseStrategy):
    average = sma("close", 1)

    @staticmethod
    def signal(bar, x, p, pos):
        if bar.close > 100.5:
            with objmode():
                fail()
        return 1.0
"""


def load(tmp_path: Path, text: str) -> Strategies:
    file = tmp_path / "failing.py"
    file.write_text(HEAD + text, encoding="utf-8")
    return load_strategies(KERNELS, [file])


def line_of(text: str, part: str) -> int:
    return (HEAD + text).rpartition(part)[0].count("\n") + 1


def told(strategies: Strategies) -> list[BotChanged]:
    """What becomes of a failing bot beside one that goes on, over three minutes."""
    failing = create(BTC, 1, strategy="failing", code_hash=strategies.latest("failing").code_hash)
    sound = create(BTC, 2, code_hash=strategies.latest("sma_cross").code_hash)
    rows = [(key, batch(BTC, [(60 * key, 100 + key, 1)])) for key in range(4)]
    made = [(BTC.key, event) for event in (BTC, failing, sound, *(b for _, b in rows))]
    derived = fold(Pipeline(0, strategies), records(made))
    assert of(derived, DeadLetter) == []
    assert [c.timeframe for c in of(derived, Candle)].count("1m") == 3
    changes = of(derived, BotChanged)
    assert [(c.bot_id, c.status) for c in changes if c.bot_id == 2] == [(2, "running")]
    return [c for c in changes if c.bot_id == 1]


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize("where", ["process_data", "get_indicators"])
def test_what_a_step_on_frames_raises_halts_its_bot(tmp_path: Path, raised: str, where: str) -> None:
    text = PANDAS.format(**NOTHING | {where: f"raise {raised}"})
    last = told(load(tmp_path, text))[-1]
    line = line_of(text, "raise ")
    words = f"{RAISED[raised]} raised in line {line} of the strategy's file"
    assert (last.status, last.code, last.message) == ("halted", "strategy_error", words)


@pytest.mark.parametrize("returned", ["Signal(Odd())", "Signal(1.0, Odd())", "Odd()"])
def test_what_a_returned_thing_raises_halts_its_bot(tmp_path: Path, returned: str) -> None:
    odd = """
class Odd(Signal):
    def __init__(self):
        pass
    @property
    def target(self):
        raise KeyboardInterrupt
    @property
    def values(self):
        return {}
    def __float__(self):
        raise KeyboardInterrupt
    def keys(self):
        raise KeyboardInterrupt

"""
    last = told(load(tmp_path, odd + PANDAS.format(**NOTHING | {"returned": returned})))[-1]
    assert (last.status, last.code) == ("halted", "strategy_error")
    assert last.message.startswith("KeyboardInterrupt raised in line ")


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_what_a_compiled_step_raises_halts_its_bot(tmp_path: Path, raised: str) -> None:
    strategies = load(tmp_path, COMPILED.format(raised=raised))
    last = told(strategies)[-1]
    assert (last.status, last.code, last.message) == ("halted", "strategy_error", raised)
    code = strategies.latest("failing")
    assert isinstance(code, CompiledCode)
    rising = [[100.0] * 5, [101.0] * 5]
    with pytest.raises(StrategyRunError, match=f"failing at candle 1: {raised}"):
        code.run(History(np.array([1, 2]), np.array(rising)), {})


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize(
    "method",
    ["def check(self)", "def __init__(self, parameters=None)", "@property\n    def window(self)"],
    ids=["check", "init", "window"],
)
def test_what_a_class_raises_of_its_parameters_refuses_them(tmp_path: Path, raised: str, method: str) -> None:
    text = PANDAS.format(**NOTHING | {"check": f"    {method}:\n        raise {raised}\n"})
    strategies = load(tmp_path, text)
    words = f"{RAISED[raised]} raised in line {line_of(text, 'raise ')} of the strategy's file"
    with pytest.raises(StrategyParameterError, match=rf"^strategy failing \(n=1\): {words}"):
        strategies.latest("failing").check({"n": 1})
    (change,) = told(strategies)
    assert (change.status, change.code) == ("halted", "bad_parameters")
    assert change.message.startswith("strategy failing (")
    assert change.message.endswith(words)


@pytest.mark.parametrize("raised", RAISED)
def test_what_a_file_raises_when_it_is_loaded_costs_that_file(tmp_path: Path, raised: str) -> None:
    text = f"raise {raised}\n" + PANDAS.format(**NOTHING)
    strategies = load(tmp_path, text)
    (broken,) = strategies.broken
    assert broken.line == line_of(text, "raise ")
    assert broken.reason.partition(":")[0] == RAISED[raised]
    assert strategies.latest("sma_cross").name == "sma_cross"
