"""The commands of production on Kafka, PostgreSQL and Redis, each server killed in turn under a live feed."""

import os
import random
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from infra.channels.reader import messages_since
from infra.channels.store import ChannelStore
from infra.db.schema import migrate
from infra.exchange.simulated import symbols
from infra.exchange.simulated import ticks as simulated_ticks
from infra.upkeep.rebuild import content_hash
from infra.worker.root import come_to
from projections.strategies.code import Strategies
from streams.backends import backend_of
from streams.codec import decode_input
from streams.events import RowKind, TickBatch
from streams.log import Log, LogError
from streams.ticks import unpack
from streams.topics import JOURNAL
from tests import derived
from tests.crash.checks import assert_complete, assert_same_journal, is_projected
from tests.crash.processes import Platform, env_int
from tests.integration.command_line import CommandLine
from tests.mirroring import mirroring
from tests.programs import COMMAND, run
from tests.services.kafka import Kafka
from tests.services.postgres import Postgres
from tests.services.redis import Redis
from tests.services.server import free_ports
from tests.socket_reader import SocketReader
from tests.subscriber import Subscriber

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

ROUNDS = env_int("CRASH_PRODUCTION_ROUNDS", 2)
SPEED = "240"
"""Four minutes of the venue in a second."""
MARKETS = symbols(3)
BOTS = {"sma_cross": {"fast": 2, "slow": 5}, "rsi_reversion": {"n": 3, "low": 40, "high": 60}}
"""They trade often; each market has both."""
STRETCH = 100
"""Derived records between two steps."""
ASK_S = 0.1
ANSWERS = {
    "/api/bots": "database_unavailable",
    "/api/log/journal?limit=1": "log_unavailable",
    "/health/ready": "not_ready",
}
"""Routes that are asked, and what each says while what it needs is away."""


class Production(Platform):
    """`tcpdashboard worker`, `collect` and `serve` as an operator starts them."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.starts: dict[str, int] = {}
        (port,) = free_ports(1)
        self.api = f"http://127.0.0.1:{port}"

    def command(self, name: str, *words: str) -> tuple[list[str], Mapping[str, str]]:
        self.starts[name] = self.starts.get(name, 0) + 1
        return [str(COMMAND), *words], self.environment | {"TCPD_WORKER": name}

    def work(self) -> None:
        self.start("worker", "worker", "--probe-port", "0")

    def collect(self, markets: int) -> None:
        self.start("collect", "collect", "--speed", SPEED, "--markets", str(markets), "--probe-port", "0")

    def serve(self) -> None:
        self.start("serve", "serve", "--port", self.api.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.folder / 'token').read_text().strip()}"}

    def items(self, path: str) -> list[Any]:
        """Of a list of the API; none while it does not answer with success."""
        try:
            answer = httpx.get(self.api + path, headers=self.headers, timeout=60)
        except (OSError, httpx.TransportError):
            return []
        return answer.json()["items"] if answer.status_code == 200 else []

    def create_bots(self) -> None:
        """Over the API, again where it says so; each is folded when this returns."""
        common = {"venue": "sim", "timeframe": "1m", "cash": "1000", "sizing": "equity:0.5", "short": True}
        for symbol in MARKETS:
            for strategy, params in BOTS.items():
                bot = {**common, "symbol": symbol, "strategy": strategy, "params": params, "start": True}
                self.until(lambda bot=bot: self.is_created(bot), f"{strategy} on {symbol}")

    def is_created(self, bot: dict[str, Any]) -> bool:
        headers = self.headers | {"Idempotency-Key": f"{bot['strategy']}-{bot['symbol']}"}
        answer = httpx.post(f"{self.api}/api/bots?wait=applied", headers=headers, json=bot, timeout=60)
        assert answer.status_code in (200, 202, 503), answer.text
        return answer.status_code == 200


class Asked:
    """One route of the API, asked again and again. `answers`: status and error; `refused`: not even that."""

    def __init__(self, platform: Production, path: str) -> None:
        self.path = path
        self.answers: list[tuple[int, Any]] = []
        self.refused = self._marked = 0
        self._platform = platform
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Asked":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        headers = self._platform.headers
        with httpx.Client(base_url=self._platform.api, headers=headers, timeout=60) as client:
            while not self._ended.wait(ASK_S):
                try:
                    answer = client.get(self.path)
                except httpx.TransportError:
                    self.refused += 1
                    continue
                with self._changed:
                    told = None if answer.status_code == 200 else answer.json()
                    self.answers.append((answer.status_code, told))
                    self._changed.notify_all()

    def mark(self) -> None:
        self._marked = len(self.answers)

    def wait_for(self, status: int) -> None:
        """Until it is answered so, after the mark; a success may have been on its way then, and is not it."""
        first = self._marked + (status == 200)
        with self._changed:
            done = self._changed.wait_for(lambda: status in [a[0] for a in self.answers[first:]], 60)
        assert done, f"{self.path}: no {status} in {self.answers[-3:]}; {self._platform.tails()}"

    def assert_clear(self) -> None:
        """It was answered all the time: with success, or with the error that it should tell."""
        assert {200, 503} == {status for status, _ in self.answers}
        for _, told in self.answers:
            if told is not None:
                assert set(told) == {"code", "message", "hint"}
                assert told["code"] == ANSWERS[self.path]


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    url = postgres.fresh()
    yield url.replace("tcpd@", "tcpd:secret@")
    postgres.give_back(url)


@pytest.fixture
def platform(kafka: Kafka, database: str, redis_server: Redis, tmp_path: Path) -> Iterator[Production]:
    urls = {"log_url": f"kafka://{kafka.bootstrap}/production", "database_url": database}
    made = Production(tmp_path, partitions="2", redis_url=redis_server.url, **urls)
    yield made
    made.close()
    kafka.delete_topics("production")


def go_on(platform: Platform, what: str, records: int = STRETCH) -> None:
    """Until so many more derived records are there."""
    goal = platform.outputs() + records
    platform.until(lambda: platform.outputs() >= goal, what)


@contextmanager
def frozen(redis: Redis) -> Generator[None]:
    """It takes connections and never answers."""
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(redis.pid, signal.SIGCONT)


@pytest.mark.kafka
def test_three_commands_survive_kafka_postgresql_and_redis_killed_in_turn(
    platform: Production, kafka: Kafka, postgres: Postgres, redis_server: Redis, strategies: Strategies
) -> None:
    platform.serve()
    platform.work()
    platform.collect(len(MARKETS))
    platform.until(lambda: len(platform.items("/api/markets")) == len(MARKETS), "the markets")
    platform.create_bots()
    kinds = {"market_data": MARKETS[0], "bot_signals": "1", "trade_updates": "2"}
    names = [*(f"{kind}:{of}" for kind, of in kinds.items()), "system_events"]
    with ExitStack() as stack:
        seen = {name: stack.enter_context(Subscriber(redis_server.url, name)) for name in names}
        asked = {path: stack.enter_context(Asked(platform, path)) for path in ANSWERS}
        reader = stack.enter_context(
            SocketReader(platform.api, f"/ws/market/{MARKETS[0]}", platform.headers["Authorization"])
        )
        services, chance = [postgres, redis_server, kafka], random.Random(3)
        needed = {
            "/api/bots": [postgres],
            "/api/log/journal?limit=1": [kafka],
            "/health/ready": [postgres, kafka],
        }
        for service in [one for _ in range(ROUNDS) for one in chance.sample(services, 3)]:
            last = reader.last
            with service.away():
                mark(asked)
                if service is not kafka:
                    go_on(platform, "folding while a service is away")
                if service is redis_server:
                    reader.wait_for(lambda last=last: reader.last > last, 90)
                for path, one in asked.items():
                    one.wait_for(503 if service in needed[path] else 200)
            mark(asked)
            for follower in (seen[names[0]], reader):
                last = follower.last
                follower.wait_for(lambda last=last, f=follower: f.last > last, 90)
            for one in asked.values():
                one.wait_for(200)
        with frozen(redis_server):
            go_on(platform, "folding while Redis hangs")
        with pytest.raises(LogError, match="'worker' runs already"):
            backend_of(platform.log.url).check_folding("worker", platform.settings.faust)
        for one in asked.values():
            assert one.refused == 0
            one.assert_clear()
        restart_serve(platform, reader)
        assert platform.stop("collect") == 0, platform.tails()
        platform.until(platform.is_folded, "everything folded")
        platform.until(lambda: is_projected(platform), "everything projected")
        assert platform.stop("worker") == 0, platform.tails()
        assert_complete(platform.log, platform.settings.database_url, seen, ROUNDS)
        assert_read_all(platform, reader, names[0])
    assert platform.stop("serve") == 0, platform.tails()
    assert platform.starts == {"worker": 1, "collect": 1, "serve": 2}, "none ended by itself"
    assert "Traceback" not in (platform.folder / "serve.log").read_text()
    assert_nothing_lost(platform.log, platform.settings.sim_seed)
    assert_same_journal(platform, strategies)
    assert_commands_agree(platform)


def mark(asked: dict[str, Asked]) -> None:
    for one in asked.values():
        one.mark()


def restart_serve(platform: Production, reader: SocketReader) -> None:
    """The reader goes on at the new one."""
    assert platform.stop("serve") == 0, platform.tails()
    last = reader.last
    platform.serve()
    reader.wait_for(lambda: reader.last > last, 90)


def assert_read_all(platform: Production, reader: SocketReader, channel: str) -> None:
    """It had one snapshot, and each message after it once, in order, as it stands in the log."""
    store = ChannelStore(platform.settings.database_url)
    reader.wait_for(lambda: reader.last == store.snapshot(channel).seq, 60)
    first = reader.snapshot["seq"] + 1
    again = [msgspec.json.decode(m.text) for m in messages_since(platform.log, store, channel, first - 1)]
    store.close()
    assert [m["seq"] for m in reader.counted] == list(range(first, reader.last + 1))
    assert reader.counted == again


def assert_nothing_lost(log: Log, seed: int) -> None:
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
        made = simulated_ticks(key.partition(":")[2], 0, end, seed=seed)
        np.testing.assert_array_equal(np.concatenate(found), made.id)


def assert_commands_agree(platform: Platform) -> None:
    """`verify` exits 0, and the tables are those that `rebuild` makes in their place."""
    before = content_hash(platform.settings.database_url)
    for command in ("verify", "rebuild"):
        done = run(command, environment=platform.environment)
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
        mirror = stack.enter_context(mirroring(log, database, redis_server.url))
        for goal in (200, 1_000, 2_000):
            seen[names[0]].wait_for(lambda goal=goal: seen[names[0]].last >= goal, 60)
            assert any(at + 1 < log.highwater(*place) for place, at in mirror.applied.items())
            with postgres.away():
                pass
        ends = {place: log.highwater(*place) for place in mirror.applied}
        assert come_to(ends, lambda: mirror.applied, 60)
        assert_complete(log, database, seen, 0)
    log.close()


def test_a_worker_ends_in_order_while_redis_hangs(redis_server: Redis, tmp_path: Path) -> None:
    platform = Production(tmp_path, redis_url=redis_server.url)
    platform.work()
    platform.collect(1)
    try:
        with Subscriber(redis_server.url, f"market_data:{MARKETS[0]}") as prices:
            prices.wait_for(lambda: prices.last > 0, 60)
            with frozen(redis_server):
                go_on(platform, "folding while Redis hangs", 20)
                assert platform.stop("collect") == 0, platform.tails()
                assert platform.stop("worker") == 0, platform.tails()
    finally:
        platform.close()


def test_a_second_worker_of_a_name_is_refused_with_the_way_out(tmp_path: Path) -> None:
    url = "kafka://127.0.0.1:1"
    cli = CommandLine(tmp_path, {"TCPD_LOG_URL": url, "TCPD_WORKER": "one/of us"})
    with backend_of(url).folding("one/of us", tmp_path / "faust"):
        for command in ("worker", "up"):
            told = cli.run(command)
            assert told.returncode == 1
            assert "worker 'one/of us' runs already" in told.stderr
            assert "TCPD_WORKER" in told.stderr
