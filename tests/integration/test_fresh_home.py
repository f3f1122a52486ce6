"""A journal copied into a fresh home, whole or a range of it, with what is amiss in it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.commands import BotManager
from infra.commands.manager import BotSpec
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import Range, copy_journal, fold_home, plan_copy
from projections.fold.pipeline import Pipeline
from streams.backends import open_bare_log
from streams.events import RowMarket, TickBatch
from streams.journal import JournalWriter, begin, genesis_at
from streams.log import Log
from streams.records import Entry, partition_of
from streams.topics import JOURNAL, SYSTEM
from tests.journal import START, batch, spot, trades_in_candles

MARKET = spot("A/USDT")
PART = partition_of(MARKET.key.encode(), 4)
BROKEN = TickBatch(
    markets=(RowMarket(MARKET.key, 2, 3),), rows=2, kind=b"\0\0", time=b"x", price=b"x", size=b"x"
)
FIRST_MINUTES = Range(None, START + 130 * 10**9)
SPEC = BotSpec("sma_cross", "test", "A/USDT", "1m", "1000", {"fast": "1", "slow": 2})

NewLog = Callable[[str], Log]


@pytest.fixture
def new_log(tmp_path: Path) -> Iterator[NewLog]:
    made: list[Log] = []

    def make(name: str) -> Log:
        made.append(open_bare_log(f"embedded://{tmp_path}/{name}", partitions=4))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def log(new_log: NewLog) -> Log:
    """A market, three trades, a batch that is none and a record that nobody can decode, a fourth trade."""
    log = new_log("log")
    begin(log)
    writer = JournalWriter(log, "feed", 1)
    for event in (MARKET, batch(MARKET, [(1, 100, 5), (61, 101, 5), (121, 102, 5)]), BROKEN):
        writer.append(event, key=MARKET.key)
    log.append([Entry(JOURNAL, MARKET.key.encode(), b"\xc1 not an event", 5, PART)])
    writer.append(batch(MARKET, [(122, 103, 5)]), key=MARKET.key)
    return log


def test_a_whole_copy_holds_what_nobody_can_decode_too(
    log: Log, new_log: NewLog, strategies: Strategies
) -> None:
    copy = new_log("copy")
    assert copy_journal(log, copy, plan_copy(log, strategies)) == (5, 4, 0)
    assert list(copy.read(JOURNAL, PART, 1)) == list(log.read(JOURNAL, PART, 1))
    begun, source = genesis_at(copy, PART), genesis_at(log, PART)
    assert (begun.source_home, begun.home == source.home) == (source.home, False)
    chain = Pipeline(PART, strategies)
    for record in log.read(JOURNAL, PART):
        chain.fold(record)
    assert begun.source_sha256 == chain.journal_sha256
    fold_home(copy, strategies)
    assert copy.highwater(SYSTEM, PART) == 2


def test_a_range_leaves_out_what_nobody_can_decode_and_counts_it(
    log: Log, new_log: NewLog, strategies: Strategies
) -> None:
    copy = new_log("copy")
    assert copy_journal(log, copy, plan_copy(log, strategies, FIRST_MINUTES)) == (5, 4, 2)
    assert trades_in_candles(copy, strategies) == {MARKET.key: 4}


def test_a_range_of_a_journal_with_repeats_counts_each_trade_once(
    log: Log, new_log: NewLog, strategies: Strategies
) -> None:
    for record in [*log.read(JOURNAL, PART)][2:3]:
        log.append([Entry(*record[:1], record.key, record.value, record.time_ms, PART)])
    JournalWriter(log, "feed", 0).append(batch(MARKET, [(123, 104, 5)]), key=MARKET.key)
    copy = new_log("copy")
    copy_journal(log, copy, plan_copy(log, strategies, FIRST_MINUTES))
    assert trades_in_candles(copy, strategies) == {MARKET.key: 4}


def test_a_bot_created_in_a_home_made_of_a_range_gets_an_id_that_none_has(
    log: Log, new_log: NewLog, strategies: Strategies
) -> None:
    manager = BotManager(log, strategies, "test")
    created = [manager.create_bot(SPEC).bot_id for _ in range(3)]
    JournalWriter(log, "later", 1).append(batch(MARKET, [(125, 100, 5)]), key=MARKET.key)
    copy = new_log("copy")
    copy_journal(log, copy, plan_copy(log, strategies, FIRST_MINUTES))
    bots = fold_home(copy, strategies)[PART].view().markets[MARKET.key].bots
    assert list(bots) == created == [1, 2, 3]
    assert BotManager(copy, strategies, "test").create_bot(SPEC).bot_id == 4
