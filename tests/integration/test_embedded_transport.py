"""A Faust app on the embedded log, in a process of its own."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import faust
import pytest
from faust.exceptions import ProducerSendError
from faust.types import TP

from streams import topics
from streams.embedded.log import EmbeddedLog
from streams.records import Entry
from tests.programs import piped

APP = Path(__file__).with_name("tiny_app.py")
KEYS = [f"sim:{name}/USDT".encode() for name in ("BTC", "ETH", "SOL", "XRP", "ADA", "DOT", "BNB", "LTC")]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"embedded://{tmp_path}/log"


Ran = tuple[EmbeddedLog, list[list[str]]]


def fill(log: EmbeddedLog, start: int, stop: int) -> None:
    log.append(
        [
            Entry(topics.JOURNAL, key, b"%d" % i, 1_700_000_000_000 + i)
            for i in range(start, stop)
            for key in KEYS
        ]
    )


def run_app(url: str, count: int, *arguments: str) -> list[list[str]]:
    """The words of each line that the app printed."""
    ended = subprocess.run(
        [sys.executable, str(APP), url, str(count), *arguments], capture_output=True, timeout=60, check=False
    )
    lines = [line.split() for line in ended.stdout.decode().splitlines()]
    assert ["committed"] in lines, ended.stderr.decode()
    return lines


def offsets(lines: list[list[str]], word: str) -> dict[int, list[int]]:
    """Offsets by partition, in the order in which they were printed."""
    found: dict[int, list[int]] = {}
    for line in lines:
        if line[0] == word:
            found.setdefault(int(line[1]), []).append(int(line[2]))
    return found


def log_offsets(log: EmbeddedLog, topic: str) -> dict[int, list[int]]:
    highwaters = {p: log.highwater(topic, p) for p in range(log.partitions)}
    return {p: list(range(end)) for p, end in highwaters.items() if end}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """A log of 240 journal records that an app has copied, and what the app printed."""
    url = f"embedded://{tmp_path_factory.mktemp('ran')}/log"
    log = EmbeddedLog(url)
    fill(log, 0, 30)
    yield log, run_app(url, 240)
    log.close()


def test_an_app_reads_and_writes_every_partition_in_order(ran: Ran):
    log, lines = ran
    assert offsets(lines, "journal") == log_offsets(log, topics.JOURNAL)
    assert offsets(lines, "candles") == log_offsets(log, topics.CANDLES)
    assert len(log_offsets(log, topics.CANDLES)) > 1
    for partition in range(log.partitions):
        journal = [r[3:6] for r in log.read(topics.JOURNAL, partition)]
        copied = list(log.read(topics.CANDLES, partition))
        assert [r[3:6] for r in copied] == journal
        assert {r.headers for r in copied} <= {(("from", b"journal"),)}


def test_the_futures_of_the_producer_resolve_with_the_right_offsets(ran: Ran):
    log, lines = ran
    assert offsets(lines, "sent") == log_offsets(log, topics.CANDLES)


def test_a_rebalance_calls_back_in_the_order_of_kafka(ran: Ran):
    _, lines = ran
    words = [line[0] for line in lines if line[0] in ("revoked", "assigned", "complete", "journal")]
    assert words[:4] == ["revoked", "assigned", "complete", "journal"]
    assert ["assigned", "8"] in lines
    assert ["complete", "1", "8"] in lines


def test_what_an_app_has_read_is_committed_when_it_stops(ran: Ran):
    log, _ = ran
    read = {(t, p): len(o) for t in (topics.JOURNAL, topics.CANDLES) for p, o in log_offsets(log, t).items()}
    assert log.committed("tiny") == read


def test_records_carry_key_value_time_and_headers(url: str):
    log = EmbeddedLog(url)
    log.append([Entry(topics.JOURNAL, b"k", b"v", 1_700_000_000_123, 2, (("epoch", b"7"),))])
    lines = run_app(url, 1)
    assert ["journal", "2", "0", "k", "v", "1700000000123", "{'epoch':", "b'7'}"] in lines
    log.close()


@pytest.mark.crash
@pytest.mark.parametrize("end", ["", "kill"])
def test_a_restarted_app_continues_after_what_it_acknowledged(url: str, end: str):
    log = EmbeddedLog(url)
    fill(log, 0, 20)
    first = run_app(url, 160, "5", end)
    assert offsets(first, "journal") == log_offsets(log, topics.JOURNAL)
    committed = log.committed("tiny")
    journal = log_offsets(log, topics.JOURNAL)
    assert {p: committed[topics.JOURNAL, p] for p in journal} == dict.fromkeys(journal, 5)
    fill(log, 20, 21)
    unread = {p: o[5:] for p, o in log_offsets(log, topics.JOURNAL).items()}
    left = sum(map(len, unread.values()))
    again = run_app(url, left)
    assert offsets(again, "journal") == unread
    log.close()


def test_an_app_without_a_commit_reads_from_the_begin(url: str):
    log = EmbeddedLog(url)
    fill(log, 0, 3)
    run_app(url, 24, "0")
    assert all(topic != topics.JOURNAL for topic, _ in log.committed("tiny"))
    again = run_app(url, 24, "0")
    assert offsets(again, "journal") == log_offsets(log, topics.JOURNAL)
    log.close()


def test_what_another_process_appends_reaches_a_running_app(url: str):
    log = EmbeddedLog(url)
    fill(log, 0, 1)
    with piped(sys.executable, APP, url, 16) as running:
        assert running.stdout is not None
        while not running.stdout.readline().startswith(b"journal"):
            assert running.poll() is None
        fill(log, 1, 2)
        rest = running.stdout.read().decode().split("\n")
    assert "committed" in rest
    log.close()


def make_app(url: str) -> faust.App:
    return faust.App("sender", broker=url, store="memory://", web_enabled=False)


def test_a_producer_keeps_order_and_partitions_over_pipelined_sends(url: str):
    async def send() -> list[tuple[int, int]]:
        producer = make_app(url).producer
        async with producer:
            futures = [
                await producer.send(topics.TRADES, key, b"%d" % i, None, 1.5, None)
                for i in range(50)
                for key in KEYS
            ]
            await producer.flush()
            assert all(future.done() for future in futures)
            assert producer.key_partition(topics.TRADES, KEYS[0]) == TP(*futures[0].result()[:2])
            return [future.result()[1:2] + future.result()[3:4] for future in futures]

    sent = asyncio.run(send())
    log = EmbeddedLog(url)
    found = {
        (record.partition, record.offset): (record.key, record.value, record.time_ms)
        for partition in range(log.partitions)
        for record in log.read(topics.TRADES, partition)
    }
    assert [found[position] for position in sent] == [
        (key, b"%d" % i, 1500) for i in range(50) for key in KEYS
    ]
    log.close()


def test_an_illegal_record_is_refused_at_its_send_and_hurts_no_other(url: str):
    async def send() -> None:
        producer = make_app(url).producer
        async with producer:
            with pytest.raises(ProducerSendError, match="900000"):
                await producer.send(topics.TRADES, b"k", bytes(900_001), None, None, None)
            with pytest.raises(ProducerSendError, match="without a value"):
                await producer.send(topics.TRADES, b"k", None, None, None, None)
            with pytest.raises(ProducerSendError, match="no topic 'traids'"):
                await producer.send("traids", b"k", b"", None, None, None)
            assert (await producer.send_and_wait(topics.TRADES, b"k", b"", 3, None, None)).offset == 0

    asyncio.run(send())


def test_a_failed_append_fails_its_futures_and_every_later_send(url: str):
    async def send() -> None:
        app = make_app(url)
        producer = app.producer
        await producer.start()
        await producer.send_and_wait(topics.TRADES, b"k", b"fits", 0, None, None)
        producer._opened.log._writer.execute("PRAGMA max_page_count = 1")
        futures = [await producer.send(topics.TRADES, b"k", bytes(99_999), 0, None, None) for _ in range(3)]
        for future in futures:
            with pytest.raises(ProducerSendError, match="the disk is full"):
                await future
        with pytest.raises(ProducerSendError, match="an earlier append has failed"):
            await producer.send(topics.TRADES, b"k", b"fits", 0, None, None)
        await producer.stop()
        assert re.search("the disk is full", str(producer.crash_reason))

    asyncio.run(send())
    log = EmbeddedLog(url)
    assert [record.value for record in log.read(topics.TRADES, 0)] == [b"fits"]
    log.close()
