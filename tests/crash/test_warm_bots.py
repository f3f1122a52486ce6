"""Bots made on a running market, by commands beside a real worker that is killed, are those that were always
there: bit for bit, in what the worker recorded."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.commands import BotManager
from infra.commands.manager import BotSpec
from infra.db.pages import Window
from infra.db.schema import open_database
from infra.exchange.simulated import market as simulated_market
from infra.strategies.indicators import Indicators
from infra.strategies.lives import BotHistory
from projections.strategies.code import Strategies
from streams.events import BotChanged, DeadLetter
from streams.journal import JournalWriter
from streams.topics import BOTS, SYSTEM
from tests.crash.checks import assert_same_journal
from tests.crash.feeding import feed
from tests.crash.processes import Platform
from tests.journal import of

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

MARKET = simulated_market("BTC/USDT")
SETUPS = {
    "sma_cross": {"fast": 2, "slow": 5},
    "rsi_reversion": {"n": 3, "low": 40.0, "high": 60.0},
    "macd_cross": {"fast": 2, "slow": 3, "signal": 2},
    "bollinger_breakout": {"n": 5, "width": 1.0},
}
MINUTES = 520
"""More than the longest of their warm-ups, 480 candles."""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    one = Platform(tmp_path, partitions="1")
    yield one
    one.close()


def test_bots_made_beside_a_worker_that_is_killed_are_those_that_were_always_there(
    platform: Platform, strategies: Strategies
) -> None:
    chance = random.Random(3)
    writers = {MARKET.key: JournalWriter(platform.log, "feed", 1)}
    writers[MARKET.key].append(MARKET, key=MARKET.key)
    manager = BotManager(platform.log, strategies, "test")

    def specification(name: str) -> BotSpec:
        return BotSpec(name, MARKET.venue, MARKET.symbol, "1m", "1000", SETUPS[name], short=True)

    always = {name: manager.create_bot(specification(name), start=True).bot_id for name in SETUPS}
    feed(platform.log, [MARKET], 0, MINUTES, writers)
    warm: dict[str, list[int]] = {name: [] for name in SETUPS}
    platform.start("w", "work")
    for number, name in enumerate(SETUPS):
        goal = platform.outputs() + chance.randint(1, 150)
        platform.until(lambda goal=goal: platform.outputs() >= goal or platform.is_folded(), "outputs")
        for choice in (None, "all"):
            begun = manager.create_bot(specification(name), start=True, warm=choice)
            warm[name].append(begun.bot_id)
            assert begun.warm_up.candles >= begun.warm_up.needed
        platform.kill("w")
        feed(platform.log, [MARKET], MINUTES + 5 * number, 5, writers)
        platform.start("w", "work")
    platform.until(platform.is_folded, "everything folded")
    assert platform.stop("w") == 0, platform.tails()
    assert_same_journal(platform, strategies)
    assert not of(platform.log.read(SYSTEM, 0), DeadLetter)
    changes = {change.bot_id: change for change in of(platform.log.read(BOTS, 0), BotChanged)}
    database = open_database(platform.settings.database_url)
    indicators, lives = Indicators(database, strategies), BotHistory(platform.log)
    for name, made in warm.items():
        newest = Window(5, newest=True)
        ours = indicators.page(lives.lives(always[name], MARKET.key), MARKET.key, newest)
        assert not changes[always[name]].warmed
        for bot_id in made:
            assert indicators.page(lives.lives(bot_id, MARKET.key), MARKET.key, newest) == ours
            assert changes[bot_id].warmed >= MINUTES - 1 or bot_id == made[0]
    database.dispose()
