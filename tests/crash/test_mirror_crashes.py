"""Kill Redis and the worker again and again while markets move and bots trade: every `seq` stays dense."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from infra.db.schema import migrate
from infra.exchange.simulated import market as simulated_market
from infra.exchange.simulated import symbols
from infra.exchange.simulated import ticks as simulated_ticks
from projections.fold.commands import code_check
from projections.strategies.code import Strategies
from streams.events import MINUTE_NS, CreateBot, Market, RowMarket, Sizing
from streams.journal import JournalWriter
from streams.log import Log
from streams.ticks import pack
from tests.crash.checks import assert_complete
from tests.crash.processes import Platform, env_int
from tests.services.redis import Redis
from tests.subscriber import Subscriber

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

RESTARTS = env_int("CRASH_MIRROR_RESTARTS", 10)
START_NS = 1_767_225_600_000_000_000
MINUTES = 30
"""Of trades, between two restarts."""


@pytest.fixture
def platform(tmp_path: Path, redis_server: Redis) -> Iterator[Platform]:
    made = Platform(tmp_path, partitions="2", redis_url=redis_server.url)
    migrate(made.settings.database_url)
    made.start("worker", "work")
    yield made
    made.close()


class Source:
    """A market of the simulated exchange with a bot that trades often."""

    def __init__(self, log: Log, strategies: Strategies) -> None:
        self.market: Market = simulated_market(symbols(1)[0])
        self._minute = 0
        self._writer = JournalWriter(log, "sim", 1)
        self._writer.append(self.market, key=self.market.key)
        code = strategies.latest("rsi_reversion").code_hash
        params: dict[str, Any] = {"n": 2, "low": 45.0, "high": 55.0}
        cash, scale = 10 ** (self.market.cash_scale + 6), self.market.cash_scale
        command = CreateBot(
            request="create-1",
            who="tests",
            at=0,
            bot_id=1,
            market=self.market.key,
            timeframe="1m",
            strategy="rsi_reversion",
            code_hash=code,
            code_check=code_check("rsi_reversion", code),
            params=params,
            sizing=Sizing("equity", 5, 1),
            short=True,
            cash=cash,
            cash_scale=scale,
            start=True,
        )
        self._writer.append(command, key=self.market.key)

    def write(self) -> None:
        """The trades of the next minutes, a record each."""
        table = (RowMarket(self.market.key, self.market.price_scale, self.market.size_scale),)
        for _ in range(MINUTES):
            start = START_NS + self._minute * MINUTE_NS
            rows = simulated_ticks(self.market.symbol, start, start + MINUTE_NS)
            self._writer.append(pack(table, rows), key=self.market.key)
            self._minute += 1


def test_every_subscriber_sees_a_dense_seq_through_restarts_of_redis_and_of_the_worker(
    platform: Platform, redis_server: Redis, strategies: Strategies
) -> None:
    source, chance = Source(platform.log, strategies), random.Random(4)
    names = (f"market_data:{source.market.symbol}", "bot_signals:1", "trade_updates:1", "system_events")
    source.write()
    with ExitStack() as stack:
        subscribers = {name: stack.enter_context(Subscriber(redis_server.url, name)) for name in names}
        prices = subscribers[names[0]]
        for _ in range(RESTARTS):
            goal = prices.last + chance.randint(1, 2 * MINUTES)
            source.write()
            source.write()
            prices.wait_for(lambda goal=goal: prices.last >= goal, 60)
            restarts = [redis_server.kill9, lambda: platform.kill("worker")]
            chance.shuffle(restarts)
            restarts[0]()
            source.write()
            if chance.random() < 0.5:
                restarts[1]()
            redis_server.restart()
            platform.kill("worker")
            platform.start("worker", "work")
        before = prices.last
        source.write()
        prices.wait_for(lambda: prices.last > before + MINUTES, 60)
        assert platform.stop("worker") == 0, platform.tails()
        assert_complete(platform.log, platform.settings.database_url, subscribers, RESTARTS)
