"""Kill the real engine, importer, workers and broker over real trades; nothing is lost and nothing invented.

Which of design rule 3's two equalities is meant is said in each test. *Same journal*: derived records equal
byte for byte what the pure fold gives, each cause counted once, and tables equal those rebuilt from the log.
*Same input in other batches*: equal in content, that is without causes, positions and ids made of them.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from infra.exchange.simulated import market as simulated_market
from infra.exchange.simulated import symbols
from infra.present.values import event_to_json
from infra.upkeep.rebuild import content_hash
from infra.worker.root import work
from projections.audit.recorded import recorded
from projections.strategies.code import Strategies
from streams.codec import decode_output
from streams.events import Checkpoint, Market
from streams.journal import JournalWriter
from streams.log import Log
from streams.topics import DERIVED, TRADES
from tests.crash.checks import assert_same_journal
from tests.crash.feeding import bots, feed
from tests.crash.processes import Platform, env_int
from tests.services.kafka import Kafka

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

ENGINE_KILLS = env_int("CRASH_ENGINE_KILLS", 20)
IMPORTER_KILLS = env_int("CRASH_IMPORTER_KILLS", 5)
ROWS = 501_825
RECORD_ROWS = 300
BTC = Market(
    venue="bitmex",
    symbol="BTC/USD:BTC",
    base="BTC",
    quote="USD",
    settle="BTC",
    contract="inverse",
    price_scale=1,
    size_scale=0,
    cash_scale=8,
    price_step=5,
    size_step=1,
    min_size=1,
    closed="left",
    fee=75_000,
    slippage=10_000,
)


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
    one.until(one.are_ready, "workers that are ready")  # frozen in its start it would find no broker later
    one.freeze("w1")
    feed(one.log, markets, minute, 12, writers)
    minute += 12
    one.until(one.is_folded, "the other worker takes over from the frozen one")
    one.thaw("w1")
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
