"""What a provider can vouch for is written where it changes, before any row behind it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from infra.commands.journal_view import source_state, view
from infra.exchange.collector import DataCollector, Message
from infra.exchange.provider import DataProvider, Delivery, FeedReport
from infra.exchange.simulated import START_NS, market
from streams import codec
from streams.backends import open_log
from streams.events import DeadLetter, Feed, Market, RowKind, TickBatch
from streams.journal import Reached
from streams.log import Log
from streams.records import partition_of
from streams.ticks import Ticks
from streams.topics import JOURNAL, SYSTEM

BTC = market("BTC/USDT")
SECOND_NS = 10**9


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log")
    yield log
    log.close()


def trade(second: int) -> Ticks:
    """One trade so many seconds after the start."""
    time = np.array([START_NS + second * SECOND_NS])
    ones = np.ones(1, np.int64)
    return Ticks(np.zeros(1, np.uint16), np.array([RowKind.BUY], np.uint8), time, ones, ones, None)


def delivery(second: int, *reports: FeedReport) -> Delivery:
    return Delivery((BTC.key,), trade(second), feeds=reports)


def report(state: str, since: int = 0, reason: str = "") -> FeedReport:
    return FeedReport(BTC.key, state, START_NS + since * SECOND_NS, reason)  # type: ignore[arg-type] - some are wrong


class Given(DataProvider):
    """A provider of deliveries; `forever`: it waits behind the last."""

    def __init__(self, *deliveries: Delivery, forever: bool = False) -> None:
        self._deliveries, self._forever = deliveries, forever

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        return [BTC]

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Delivery, None]:
        for given in self._deliveries:
            yield given
        if self._forever:
            await asyncio.Event().wait()

    def parse(self, raw: Delivery) -> Delivery:
        return raw


def collector_of(log: Log, provider: Given) -> DataCollector:
    collector = DataCollector(log, source_state(log, "venue"), linger_ms=0)
    collector.register_provider("venue", provider)
    return collector


def collect(log: Log, *deliveries: Delivery) -> None:
    asyncio.run(collector_of(log, Given(*deliveries)).start_collection(["BTC/USDT"]))


def crash_after(log: Log, *deliveries: Delivery) -> None:
    """As a process that is killed behind its last delivery: it writes nothing more."""
    collector = collector_of(log, Given())
    asyncio.run(collector._specified("venue", [BTC]))
    for given in deliveries:
        collector.send_signal_to_bots(collector.process_raw_data(Message("venue", given, 0)))


def written(log: Log) -> list[tuple[str, int] | str]:
    """Of words their state and since, in seconds after the start; of batches that they are."""
    partition = partition_of(BTC.key.encode(), log.partitions)
    said: list[tuple[str, int] | str] = []
    for record in log.read(JOURNAL, partition, 1):
        event = codec.decode_input(record.value).event
        if isinstance(event, Feed):
            assert event.source == "venue"
            said.append((event.state, (event.since - START_NS) // SECOND_NS))
        elif isinstance(event, TickBatch):
            said.append("rows")
    return said


def test_a_change_is_written_before_the_rows_of_its_message_and_no_repeat(log: Log) -> None:
    collect(
        log,
        delivery(1, report("live")),
        delivery(2, report("live", 2)),
        delivery(3, report("stale", 2, "no heartbeat")),
        delivery(4),
    )
    assert written(log) == [("live", 0), "rows", "rows", ("stale", 2), "rows", "rows", ("down", 4)]


def test_a_provider_that_reports_nothing_is_given_no_word(log: Log) -> None:
    collect(log, delivery(1), delivery(2))
    assert set(written(log)) == {"rows"}
    assert view(log, partition_of(BTC.key.encode(), log.partitions)).feeds == {}


def test_a_cancelled_collector_says_that_the_feed_is_down(log: Log) -> None:
    async def stopped() -> None:
        collector = collector_of(log, Given(delivery(1, report("live")), forever=True))
        task = asyncio.ensure_future(collector.start_collection(["BTC/USDT"]))
        while "rows" not in written(log):
            await asyncio.sleep(0)
        task.cancel()
        await task

    with suppress(asyncio.CancelledError):
        asyncio.run(stopped())
    assert written(log) == [("live", 0), "rows", ("down", 1)]


def test_after_a_kill_the_next_epoch_begins_with_down_since_the_last_row(log: Log) -> None:
    collect(log)
    crash_after(log, delivery(1, report("live")), delivery(7))
    collect(log, delivery(20, report("live", 20)))
    assert written(log) == [("live", 0), "rows", "rows", ("down", 7), ("live", 20), "rows", ("down", 20)]
    collect(log, delivery(30, report("live", 30)))
    assert written(log)[7:] == [("live", 30), "rows", ("down", 30)]


def test_what_is_no_state_costs_its_word_alone(log: Log) -> None:
    collect(log, delivery(1, report("sleepy"), report("live", -(10**18))), delivery(2))
    assert set(written(log)) == {"rows"}
    partition = partition_of(BTC.key.encode(), log.partitions)
    letters = [codec.decode_output(r.value).events[0] for r in log.read(SYSTEM, partition)]
    reasons = [letter.reason for letter in letters if isinstance(letter, DeadLetter)]
    assert all(reason.startswith("feed: ") for reason in reasons)
    assert len(reasons) == 2


def test_the_word_that_counts_is_seen_by_who_looks_at_the_journal(log: Log) -> None:
    collect(log)
    crash_after(log, delivery(1, report("stale", 1, "no heartbeat")))
    feeds = view(log, partition_of(BTC.key.encode(), log.partitions)).feeds[BTC.key]
    assert feeds.counting is not None
    assert (feeds.counting.state, feeds.counting.reason) == ("stale", "no heartbeat")
    state = source_state(log, "venue").feeds[BTC.key].known["venue"]
    assert state.last == START_NS + SECOND_NS
