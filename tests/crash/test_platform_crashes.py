"""Kill the real engine, importer, workers and broker over real trades; nothing is lost and nothing invented.

Which of design rule 3's two equalities is meant is said in each test. *Same journal*: derived records equal
byte for byte what the pure fold gives, each cause counted once, and tables equal those rebuilt from the log.
*Same input in other batches*: equal in content, that is without causes, positions and ids made of them.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from infra.db.projector import DatabaseSink
from infra.db.rebuild import content_hash, rebuild
from infra.db.schema import migrate
from infra.exchange.simulated import market as simulated_market
from infra.exchange.simulated import symbols
from infra.exchange.simulated import ticks as simulated_ticks
from infra.present import event_to_json
from infra.settings import Settings, load_settings
from infra.worker import work
from projections.audit.recorded import recorded
from projections.audit.verify import verify
from projections.strategies.code import Strategies
from streams.app import FAILED
from streams.codec import decode_output
from streams.events import MINUTE_NS, Checkpoint, CreateBot, Market, RowMarket, Sizing
from streams.journal import JournalWriter
from streams.log import Log, open_log
from streams.snapshots import latest
from streams.ticks import pack
from streams.topics import DERIVED, JOURNAL, SIGNALS, SYSTEM, TRADES
from tests.crash.processes import ROOT, env_int
from tests.services.kafka import Kafka

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

ENGINE_KILLS = env_int("CRASH_ENGINE_KILLS", 20)
IMPORTER_KILLS = env_int("CRASH_IMPORTER_KILLS", 5)
ROWS = 501_825
RECORD_ROWS = 300
BTC = Market(
    "bitmex", "BTC/USD:BTC", "BTC", "USD", "BTC", "inverse", price_scale=1, size_scale=0, cash_scale=8,
    price_step=5, size_step=1, min_size=1, closed="left", fee=75_000, slippage=10_000,
)  # fmt: skip


class Platform:
    """Real processes on one log and one database."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("TCPD_")}
        self.environment |= {"TCPD_HOME": str(folder)} | {f"TCPD_{k.upper()}": v for k, v in settings.items()}
        self.settings: Settings = load_settings(self.environment)
        self.log: Log = open_log(self.settings.log_url, partitions=self.settings.partitions)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[str, ...]] = {}

    def start(self, name: str, *command: str) -> None:
        self._commands[name] = command
        with (self.folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.platform", *command], cwd=ROOT,
                env=self.environment | {"TCPD_WORKER": name}, stdout=output, stderr=output,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        """End a process in order; its exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes.pop(name).wait(90)

    def wait(self, name: str) -> int:
        return self.processes.pop(name).wait(240)

    def ended(self) -> list[str]:
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def until(self, condition: Callable[[], bool], what: str, deadline_s: float = 120) -> None:
        """Wait for a condition on the log; a worker that ended itself is started again."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            for name in self.ended():
                assert self.processes[name].returncode == FAILED, self.tails()
                self.start(name, *self._commands[name])
            places = [(t, p) for t in (JOURNAL, *DERIVED) for p in range(self.log.partitions)]
            ends = {place: self.log.highwater(*place) for place in places}
            if not self.log.wait(ends, 0.2) and time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {deadline_s} s; {self.tails()}")

    def outputs(self) -> int:
        return sum(self.log.highwater(t, p) for t in DERIVED for p in range(self.log.partitions))

    def journal(self) -> int:
        return sum(self.log.highwater(JOURNAL, p) for p in range(self.log.partitions))

    def is_folded(self) -> bool:
        """Whether the snapshots of all partitions stand at their journals' ends."""
        for p in range(self.log.partitions):
            snapshot = latest(self.log, p, print)
            if self.log.highwater(JOURNAL, p) - 1 > (snapshot.applied if snapshot else -1):
                return False
        return True

    def tails(self) -> str:
        return "\n".join(
            f"{f.name}: {f.read_text(errors='replace')[-3000:]}" for f in self.folder.glob("*.log")
        )

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        self.log.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    made: list[Platform] = []

    def make(name: str, **settings: str) -> Platform:
        (tmp_path / name).mkdir()
        made.append(Platform(tmp_path / name, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def trades(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded trades, all of them."""
    file = tmp_path_factory.mktemp("trades") / "trades.parquet"
    pd.read_parquet(shared_data / "bitmex_XBTUSD_trades_20180101_20180102.parquet").iloc[:ROWS].to_parquet(
        file
    )
    return file


def bots(log: Log, strategies: Strategies, market: Market, first: int = 1) -> None:
    """A market and two bots that trade often, as its first records."""
    writer = JournalWriter(log, f"specification:{market.key}", 1)
    writer.append(market, key=market.key)
    params = {"sma_cross": {"fast": 2, "slow": 5}, "rsi_reversion": {"n": 3, "low": 40.0, "high": 60.0}}
    for bot_id, (name, chosen) in enumerate(params.items(), first):
        command = CreateBot(
            f"create-{bot_id}", "test", 0, bot_id, market.key, "1m", name, strategies.latest(name).code_hash,
            chosen, Sizing("equity", 5, 1), True, 10 ** (market.cash_scale + 3), market.cash_scale, True,
        )  # fmt: skip
        writer.append(command, key=market.key)


def assert_same_journal(one: Platform, strategies: Strategies) -> None:
    """Every derived byte, every state and every table row is what the journal gives."""

    def stored(partition: int) -> tuple[int, bytes] | None:
        snapshot = latest(one.log, partition, print)
        return (snapshot.applied, snapshot.state) if snapshot and snapshot.state else None

    result = verify(one.log, strategies, stored)
    assert result.difference is None
    assert result.behind == 0
    assert result.compared[SIGNALS] > 100
    assert result.compared[TRADES] > 100
    project_the_rest(one)
    fresh = f"sqlite:///{one.folder}/rebuilt.db"
    migrate(fresh)
    rebuild(one.log, fresh)
    assert content_hash(one.settings.database_url) == content_hash(fresh)


def project_the_rest(one: Platform) -> None:
    """A worker's notice that it stopped comes after its projector; the next one would project it."""
    sink = DatabaseSink(one.settings.database_url)
    for (topic, partition), offset in sink.positions().items():
        assert topic == SYSTEM or one.log.highwater(topic, partition) == offset + 1
        sink.apply(list(one.log.read(topic, partition, offset + 1)))
    sink.close()


def content(log: Log) -> dict[tuple[str, bytes], list[object]]:
    """Derived events by topic and market, repeats hidden, without what is no content."""
    found: dict[tuple[str, bytes], list[object]] = {}
    for topic in DERIVED:
        for partition in range(log.partitions):
            for item in recorded(log, topic, partition):
                if not item.repeat:
                    for event in decode_output(item.record.value).events:
                        line = event_to_json(event, content_only=True)
                        if not isinstance(event, Checkpoint):
                            found.setdefault((topic, item.record.key or b""), []).append(line)
    return found


def test_an_import_with_the_engine_and_the_importer_killed_equals_an_undisturbed_one(
    platform: Callable[..., Platform],
    strategies: Strategies,
    trades: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Same journal for what the engine did; same input in other batches against the undisturbed import."""
    chance = random.Random(7)
    killed = platform("killed", partitions="2")
    bots(killed.log, strategies, BTC)
    command = ("import", str(trades), msgspec.json.encode(BTC).decode(), str(RECORD_ROWS))
    records = ROWS // RECORD_ROWS
    for number in range(IMPORTER_KILLS):
        killed.start("importer", *command)
        goal = killed.journal() + chance.randint(1, records // (4 * IMPORTER_KILLS))
        killed.until(lambda goal=goal: killed.journal() >= goal, f"importer run {number}")
        killed.kill("importer")
    killed.start("importer", *command)
    assert killed.wait("importer") == 0, killed.tails()
    share = 3 * records // (2 * ENGINE_KILLS)
    for number in range(ENGINE_KILLS):
        killed.start("engine", "work")
        goal = killed.outputs() + chance.randint(1, share)
        killed.until(lambda goal=goal: killed.outputs() >= goal or killed.is_folded(), f"engine run {number}")
        killed.kill("engine")
    killed.start("engine", "work", "--until-caught-up")
    assert killed.wait("engine") == 0, killed.tails()
    assert_same_journal(killed, strategies)

    undisturbed = platform("undisturbed", partitions="2")
    bots(undisturbed.log, strategies, BTC)
    undisturbed.start("importer", "import", *command[1:3], "5000")
    assert undisturbed.wait("importer") == 0, undisturbed.tails()
    undisturbed.start("engine", "work", "--until-caught-up")
    assert undisturbed.wait("engine") == 0, undisturbed.tails()
    assert_same_journal(undisturbed, strategies)
    assert content(killed.log) == content(undisturbed.log)
    urls = (killed.settings.database_url, undisturbed.settings.database_url)
    assert content_hash(urls[0], content=True) == content_hash(urls[1], content=True)


def feed(
    log: Log, markets: list[Market], start_minute: int, minutes: int, writers: dict[str, JournalWriter]
) -> None:
    """Simulated trades of some minutes, a record per market and ten seconds, then a clock row."""
    step = MINUTE_NS // 6
    for number in range(minutes * 6):
        start = FEED_START + start_minute * MINUTE_NS + number * step
        for market in markets:
            rows = simulated_ticks(market.symbol, start, start + step, seed=5)
            if rows.rows:
                table = [RowMarket(market.key, market.price_scale, market.size_scale)]
                writers[market.key].append(pack(table, rows), key=market.key)


FEED_START = 1_767_225_600_000_000_000


@pytest.mark.kafka
def test_kafka_workers_killed_frozen_and_a_broker_killed_equal_an_undisturbed_run(
    platform: Callable[..., Platform], kafka: Kafka, strategies: Strategies
) -> None:
    """Same journal: bytes, states and tables. Eight markets in four partitions, two workers."""
    one = platform("kafka", log_url=f"kafka://{kafka.bootstrap}/platform", partitions="4")
    markets = [simulated_market(symbol) for symbol in symbols(8)]
    writers = {market.key: JournalWriter(one.log, f"feed:{market.key}", 1) for market in markets}
    for number, market in enumerate(markets):
        bots(one.log, strategies, market, 2 * number + 1)
    chance = random.Random(11)
    one.start("w1", "work")
    one.start("w2", "work")
    minute = 0
    for _ in range(5):
        before = one.outputs()
        feed(one.log, markets, minute, 12, writers)
        minute += 12
        one.until(lambda before=before: one.outputs() > before + chance.randint(1, 200), "outputs")
        name = chance.choice(["w1", "w2"])
        one.kill(name)
        one.start(name, "work")
    one.until(one.is_folded, "everything folded after the kills")
    one.processes["w1"].send_signal(signal.SIGSTOP)
    feed(one.log, markets, minute, 12, writers)
    minute += 12
    one.until(one.is_folded, "the other worker takes over from the frozen one")
    one.processes["w1"].send_signal(signal.SIGCONT)
    feed(one.log, markets, minute, 12, writers)
    minute += 12
    kafka.kill9()
    kafka.start()
    feed(one.log, markets, minute, 12, writers)
    one.until(one.is_folded, "everything folded after the broker came back", 180)
    for name in ("w1", "w2"):
        assert one.stop(name) == 0, one.tails()
    work(one.settings, until=lambda progress: progress.caught_up)
    assert_same_journal(one, strategies)
    ours = [r.value for p in range(4) for r in one.log.read(TRADES, p)]
    theirs = kafka.console_consumer("platform.trades", "--max-messages", str(len(ours)))
    assert sorted(theirs.removesuffix(b"\n").split(b"\n")) == sorted(b"\n".join(ours).split(b"\n"))
