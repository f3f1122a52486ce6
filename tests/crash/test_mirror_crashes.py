"""Kill Redis and the worker again and again while markets move and bots trade: every `seq` stays dense."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.channel_log import messages_since
from infra.db.channels import ChannelStore
from infra.db.schema import migrate
from infra.exchange.simulated import market as simulated_market
from infra.exchange.simulated import symbols
from infra.exchange.simulated import ticks as simulated_ticks
from projections.strategies.code import Strategies
from streams.events import MINUTE_NS, CreateBot, Market, RowMarket, Sizing
from streams.journal import JournalWriter
from streams.log import Log, open_log
from streams.ticks import pack
from tests.crash.processes import ROOT, env_int
from tests.services.redis import Redis
from tests.subscriber import Subscriber

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

RESTARTS = env_int("CRASH_MIRROR_RESTARTS", 10)
START_NS = 1_767_225_600_000_000_000
MINUTES = 30
"""Of trades, between two restarts."""


class Worker:
    """The real worker as a process, and its log."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.database = f"sqlite:///{folder}/projections.db"
        settings = {"HOME": str(folder), "DATABASE_URL": self.database, "REDIS_URL": redis_url}
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("TCPD_")}
        self._environment |= {f"TCPD_{name}": value for name, value in settings.items()}
        self._output = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.log: Log = open_log(f"embedded://{folder}/log", partitions=2)
        migrate(self.database)

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.crash.platform", "work"]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=output, stderr=output
            )

    def end(self) -> None:
        """End it in order: what is in the log is folded, counted and published."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0, self._output.read_text()[-3000:]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def worker(tmp_path: Path, redis_server: Redis) -> Iterator[Worker]:
    worker = Worker(tmp_path, redis_server.url)
    worker.start()
    yield worker
    worker.kill()
    worker.log.close()


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
        head = ("create-1", "tests", 0, 1, self.market.key, "1m", "rsi_reversion", code, params)
        command = CreateBot(*head, Sizing("equity", 5, 1), True, cash, scale, True)
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
    worker: Worker, redis_server: Redis, strategies: Strategies
) -> None:
    source, chance = Source(worker.log, strategies), random.Random(4)
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
            restarts = [redis_server.kill9, worker.kill]
            chance.shuffle(restarts)
            restarts[0]()
            source.write()
            if chance.random() < 0.5:
                restarts[1]()
            redis_server.restart()
            worker.kill()
            worker.start()
        before = prices.last
        source.write()
        prices.wait_for(lambda: prices.last > before + MINUTES, 60)
        worker.end()
        assert_complete(worker.log, worker.database, subscribers, RESTARTS)


def assert_complete(log: Log, database: str, subscribers: dict[str, Subscriber], restarts: int) -> None:
    """Each saw its channel to the end, densely after each snapshot, and each `seq` with one content."""
    store = ChannelStore(database)
    for name, subscriber in subscribers.items():
        subscriber.wait_for(lambda s=subscriber, n=name: s.last == store.snapshot(n).seq, 60)
        assert len(subscriber.sessions) > restarts
        broken = [s for s in subscriber.sessions if not s.is_dense()]
        assert not broken, (name, [(s.seq, [m["seq"] for m in s.counted]) for s in broken])
        again = [msgspec.json.decode(m.text) for m in messages_since(log, store, name, 0)]
        assert [m["seq"] for m in again] == list(range(1, subscriber.last + 1))
        assert all(again[m["seq"] - 1] == m for m in subscriber.counted), name
        assert not any(m["type"] == "gap" for m in again)
    store.close()
