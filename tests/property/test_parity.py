"""The backtest does what the fold does: every decision, order, fill and mark of every bot, in integers."""

from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from infra.strategies.registry import Strategies
from projections.research import account, decide
from streams.events import DeadLetter
from tests.golden.bot_life import INPUTS, PROBED, Life, _candles, _inputs, search
from tests.journal import records
from tests.parity import compared
from tests.programs import KERNELS
from tests.property import test_life
from tests.property.month import Month, with_others
from tests.property.worlds import World

WORLDS = 150


def test_the_backtest_of_every_recorded_bot_is_what_is_recorded(strategies: Strategies) -> None:
    counts: Counter[str] = Counter()
    for seed in range(WORLDS):
        world = World(seed, strategies, Counter())
        world.live()
        for bot_id, one in compared(world.journal, strategies, world.derived).items():
            assert one.differs is None, f"world {seed}, bot {bot_id}: {one.differs}"
            counts.update(one.counts)
    assert all(counts[kind] > WORLDS for kind in counts), counts


@settings(max_examples=80, deadline=None)
@given(test_life.STEPS)
def test_so_it_is_after_any_commands_in_any_order(strategies: Strategies, steps: list[Any]) -> None:
    journal = test_life.journal(steps, strategies.latest("sma_cross").code_hash)
    for bot_id, one in compared(journal, strategies).items():
        assert one.differs is None, f"bot {bot_id}: {one.differs}"


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(tmp_path_factory.mktemp("life"))


def test_so_it_is_after_every_input_in_every_situation_of_a_bot(life: Life) -> None:
    checked = 0
    for situation, bot in search(life, life.give(life.begin(), "candle: nothing")[1]).items():
        for name in _inputs(bot):
            said, after = life.give(bot, name)
            if any(isinstance(event, DeadLetter) for event in said):
                continue  # refused: nothing happened
            journal = (*after.journal, (after.journal[0][0], _candles(after.now, PROBED)))
            for one in compared(records(journal), life.strategies).values():
                assert one.differs is None, f"{situation}, {name}: {one.differs}"
                checked += 1
    assert checked > 10 * len(INPUTS)


def test_so_it_is_on_a_long_day_for_bots_of_all_strategies(tmp_path: Path) -> None:
    day = Month(1, with_others(KERNELS, tmp_path), 1)
    day.live()
    assert day.checked()["fills"] > 300


def test_the_compiled_account_is_made_anew_when_decisions_change() -> None:
    assert sha256(Path(decide.__file__).read_bytes()).hexdigest() == account.DECIDE_SHA256
