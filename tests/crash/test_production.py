"""The production set, Kafka, PostgreSQL and Redis: each killed in turn while markets move and bots trade."""

import os
import random
import signal
import subprocess
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from infra.db.rebuild import content_hash
from infra.db.schema import migrate
from infra.exchange.simulated import market as simulated_market
from infra.exchange.simulated import symbols
from infra.exchange.simulated import ticks as simulated_ticks
from infra.redis.mirror import Mirror
from infra.worker import come_to
from projections.strategies.code import Strategies
from streams.codec import decode_input
from streams.events import RowKind, TickBatch
from streams.log import Log
from streams.ticks import unpack
from streams.topics import JOURNAL
from tests import derived
from tests.crash.processes import env_int
from tests.crash.test_database_away import is_projected
from tests.crash.test_mirror_crashes import assert_complete
from tests.crash.test_platform_crashes import Platform, assert_same_journal, bots
from tests.integration.command_line import COMMAND
from tests.services.kafka import Kafka
from tests.services.postgres import Postgres
from tests.services.redis import Redis
from tests.subscriber import Subscriber

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

ROUNDS = env_int("CRASH_PRODUCTION_ROUNDS", 2)
SPEED = "240"
"""Four minutes of the venue in a second."""
MARKETS = symbols(3)
STRETCH = 100
"""Derived records between two steps."""


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    url = postgres.fresh()
    yield url.replace("tcpd@", "tcpd:secret@")
    postgres.give_back(url)


@pytest.fixture
def platform(kafka: Kafka, database: str, redis_server: Redis, tmp_path: Path) -> Iterator[Platform]:
    urls = {"log_url": f"kafka://{kafka.bootstrap}/production", "database_url": database}
    made = Platform(tmp_path, partitions="2", redis_url=redis_server.url, **urls)
    yield made
    made.close()
    kafka.delete_topics("production")


def go_on(platform: Platform, what: str, records: int = STRETCH) -> None:
    """Until so many more derived records are there."""
    goal = platform.outputs() + records
    platform.until(lambda: platform.outputs() >= goal, what)


@contextmanager
def away(service: Kafka | Postgres | Redis) -> Generator[None]:
    """Killed, and started again in any case: other tests use it too."""
    service.kill9()
    try:
        yield
    finally:
        service.start()


@contextmanager
def frozen(redis: Redis) -> Generator[None]:
    """It takes connections and never answers."""
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(redis.pid, signal.SIGCONT)


@pytest.mark.kafka
def test_a_live_feed_survives_kafka_postgresql_and_redis_killed_in_turn(
    platform: Platform, kafka: Kafka, postgres: Postgres, redis_server: Redis, strategies: Strategies
) -> None:
    for number, symbol in enumerate(MARKETS):
        bots(platform.log, strategies, simulated_market(symbol), 2 * number + 1)
    platform.start("worker", "work")
    platform.start("feed", "collect", SPEED, *MARKETS)
    go_on(platform, "outputs")
    kinds = {"market_data": MARKETS[0], "bot_signals": "1", "trade_updates": "2"}
    names = [*(f"{kind}:{of}" for kind, of in kinds.items()), "system_events"]
    with ExitStack() as stack:
        seen = {name: stack.enter_context(Subscriber(redis_server.url, name)) for name in names}
        services, chance = [postgres, redis_server, kafka], random.Random(3)
        for service in [one for _ in range(ROUNDS) for one in chance.sample(services, 3)]:
            with away(service):
                if service is not kafka:
                    go_on(platform, "folding while a service is away")
            last = seen[names[0]].last
            seen[names[0]].wait_for(lambda last=last: seen[names[0]].last > last, 90)
        with frozen(redis_server):
            go_on(platform, "folding while Redis hangs")
        assert platform.stop("feed") == 0, platform.tails()
        platform.until(platform.is_folded, "everything folded")
        platform.until(lambda: is_projected(platform), "everything projected")
        assert platform.stop("worker") == 0, platform.tails()
        assert "this worker ends" not in platform.tails()
        assert_complete(platform.log, platform.settings.database_url, seen, ROUNDS)
    assert_nothing_lost(platform.log)
    assert_same_journal(platform, strategies)
    assert_commands_agree(platform)


def assert_nothing_lost(log: Log) -> None:
    """The journal holds each trade of the feed once, in order, up to the last."""
    parts: dict[str, list[np.ndarray]] = {}
    end = 0
    for partition in range(log.partitions):
        for record in log.read(JOURNAL, partition):
            event = decode_input(record.value).event
            if isinstance(event, TickBatch):
                ticks = unpack(event)
                end = max(end, int(ticks.time.max()))
                for index, market in enumerate(event.markets):
                    mine = (ticks.market == index) & (ticks.kind != RowKind.CLOCK)
                    parts.setdefault(market.key, []).append(ticks.id[mine])  # type: ignore[index] - the simulated exchange numbers its trades
    assert sorted(parts) == sorted(f"sim:{symbol}" for symbol in MARKETS)
    for key, found in parts.items():
        made = simulated_ticks(key.partition(":")[2], 0, end)
        np.testing.assert_array_equal(np.concatenate(found), made.id)


def assert_commands_agree(platform: Platform) -> None:
    """`verify` exits 0, and the tables are those that `rebuild` makes in their place."""
    before = content_hash(platform.settings.database_url)
    for command in ("verify", "rebuild"):
        done = subprocess.run(
            [str(COMMAND), command], env=platform.environment, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
    assert content_hash(platform.settings.database_url) == before


def test_a_postgresql_killed_while_the_mirror_counts_costs_no_message(
    postgres: Postgres, database: str, redis_server: Redis, tmp_path: Path
) -> None:
    log = derived.as_log(derived.recorded(5, journal_records=3_000), tmp_path / "log")
    migrate(database)
    names = ["market_data:M00/USD:X", "bot_signals:1", "trade_updates:2", "system_events"]
    with ExitStack() as stack:
        seen = {name: stack.enter_context(Subscriber(redis_server.url, name)) for name in names}
        mirror = Mirror(log, database, redis_server.url)
        mirror.start()
        stack.callback(mirror.stop)
        for goal in (200, 1_000, 2_000):
            seen[names[0]].wait_for(lambda goal=goal: seen[names[0]].last >= goal, 60)
            assert any(at + 1 < log.highwater(*place) for place, at in mirror.applied.items())
            with away(postgres):
                pass
        ends = {place: log.highwater(*place) for place in mirror.applied}
        assert come_to(ends, lambda: mirror.applied, 60)
        assert_complete(log, database, seen, 0)
    log.close()


def test_a_worker_ends_in_order_while_redis_hangs(
    redis_server: Redis, tmp_path: Path, strategies: Strategies
) -> None:
    platform = Platform(tmp_path, redis_url=redis_server.url)
    bots(platform.log, strategies, simulated_market(MARKETS[0]))
    platform.start("worker", "work")
    platform.start("feed", "collect", SPEED, MARKETS[0])
    try:
        with Subscriber(redis_server.url, f"market_data:{MARKETS[0]}") as prices:
            prices.wait_for(lambda: prices.last > 0)
            with frozen(redis_server):
                go_on(platform, "folding while Redis hangs", 20)
                assert platform.stop("feed") == 0
                assert platform.stop("worker") == 0, platform.tails()
    finally:
        platform.close()
