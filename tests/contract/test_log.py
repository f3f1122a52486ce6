"""What every home of the log promises."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from streams import topics
from streams.backends import open_bare_log
from streams.embedded.log import EmbeddedLog
from streams.kafka.topics import address_of
from streams.log import Log, LogError, Tail
from streams.records import Entry, Position, Record, partition_of
from tests.programs import piped

WRITER = Path(__file__).with_name("writer.py")
KEYS = [f"sim:{name}/USDT".encode() for name in ("BTC", "ETH", "SOL", "XRP", "ADA", "DOT")]


def entry(
    value: bytes, partition: int | None = 0, key: bytes | None = b"sim:BTC/USDT", time_ms: int = 1
) -> Entry:
    return Entry(topics.CANDLES, key, value, time_ms, partition)


def values(log: Log, partition: int = 0, start: int = 0, stop: int | None = None) -> list[bytes]:
    return [record.value for record in log.read(topics.CANDLES, partition, start, stop)]


def writing(url: str, name: str, count: int) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    """A process that appends `NAME:0` … one by one, printing each number once acknowledged."""
    return piped(sys.executable, WRITER, url, name, count)


def test_records_come_back_as_they_were_in_the_order_of_appending(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    headers = (("epoch", b"7"), ("code", b"\x00\xff"))
    wanted = [
        Entry(topics.CANDLES, b"k", b"first", 1_700_000_000_001, 1, headers),
        Entry(topics.CANDLES, None, b"", 1_700_000_000_002, 1),
        Entry(topics.CANDLES, b"k", b"third", 1_700_000_000_003, 1),
    ]
    log.append(wanted)
    records = list(log.read(topics.CANDLES, 1))
    assert [record.offset for record in records] == [0, 1, 2]
    for got, sent in zip(records, wanted, strict=True):
        assert (got.topic, got.partition) == (topics.CANDLES, 1)
        assert (got.key, got.value, got.time_ms, got.headers) == (
            sent.key,
            sent.value,
            sent.time_ms,
            sent.headers,
        )
    log.close()


def test_offsets_are_contiguous_in_each_partition_and_returned_in_order(
    log_home: Callable[[], str],
):
    log = open_bare_log(log_home())
    positions: list[Position] = []
    for turn in range(3):
        positions += log.append([entry(b"%d" % turn, partition) for partition in (0, 3, 0)])
    assert [p.offset for p in positions if p.partition == 0] == [0, 1, 2, 3, 4, 5]
    assert [p.offset for p in positions if p.partition == 3] == [0, 1, 2]
    assert {p.topic for p in positions} == {topics.CANDLES}
    assert log.highwater(topics.CANDLES, 0) == 6
    assert log.highwater(topics.SIGNALS, 0) == 0
    assert log.ends([(topics.CANDLES, 0), (topics.SIGNALS, 0)]) == {
        (topics.CANDLES, 0): 6,
        (topics.SIGNALS, 0): 0,
    }
    log.close()


def test_a_log_tells_what_a_consumer_has_committed(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    assert log.committed(topics.GROUP) == {}
    wanted = {(topics.JOURNAL, 1): 3, (topics.CANDLES, 0): 5}
    if isinstance(log, EmbeddedLog):
        assert log.stage_commits(topics.GROUP, wanted)
        log.commit()
    else:
        asyncio.run(commit_on_kafka(log.url, wanted))
    assert log.committed(topics.GROUP) == wanted
    assert log.committed("another") == {}
    log.close()


async def commit_on_kafka(url: str, offsets: dict[tuple[str, int], int]) -> None:
    """As a worker's consumer does."""
    address = address_of(url)
    places = {TopicPartition(address.topic(topic), p): at for (topic, p), at in offsets.items()}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=",".join(address.servers), group_id=address.topic(topics.GROUP),
        enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    try:
        consumer.assign(list(places))
        await consumer.commit(places)
    finally:
        await consumer.stop()


def test_a_key_goes_where_kafkas_clients_send_it(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    choose = DefaultPartitioner()
    every = list(range(log.partitions))
    positions = log.append([entry(b"", None, key) for key in KEYS])
    assert [p.partition for p in positions] == [choose(key, every, every) for key in KEYS]
    assert [p.partition for p in positions] == [partition_of(key, log.partitions) for key in KEYS]
    log.close()


def test_records_of_every_size_up_to_the_limit_come_back(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    sent = [os.urandom(size) for size in (1, 4_095, 4_096, 20_000, 400_000, 899_000)]
    for value in sent:
        log.append([entry(value)])
    assert values(log) == sent
    assert values(log, start=4) == sent[4:]
    log.close()


def test_a_record_over_the_limit_is_refused_and_nothing_beside_it_is_appended(
    log_home: Callable[[], str],
):
    log = open_bare_log(log_home())
    with pytest.raises(LogError, match="900000"):
        log.append([entry(b"small"), entry(bytes(topics.RECORD_BYTES_MAX + 1))])
    assert log.highwater(topics.CANDLES, 0) == 0
    log.close()


def test_a_range_of_offsets_is_read_without_its_end(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    sent = [b"%d" % i for i in range(3_000)]
    log.append([entry(value) for value in sent])
    assert values(log, start=1_500) == sent[1_500:]
    assert values(log, start=10, stop=12) == [b"10", b"11"]
    assert values(log, start=2_999) == [b"2999"]
    assert values(log, start=3_000) == []
    assert values(log, start=5, stop=5) == []
    log.close()


def test_a_read_ends_at_the_highwater_of_its_call(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    log.append([entry(b"before")])
    reading = log.read(topics.CANDLES, 0)
    log.append([entry(b"after")])
    assert [record.value for record in reading] == [b"before"]
    log.close()


def test_a_time_finds_the_first_record_at_or_after_it(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    times_ms = [100, 500, 150, 300, 300, 250, 200, 400, 600]
    log.append([entry(b"", time_ms=time_ms) for time_ms in times_ms])
    for wanted_ms in range(50, 650, 25):
        first = next((i for i, t in enumerate(times_ms) if t >= wanted_ms), len(times_ms))
        assert log.offset_at(topics.CANDLES, 0, wanted_ms) == first
    assert log.offset_at(topics.CANDLES, 1, 100) == 0
    log.close()


def test_an_empty_partition_begins_and_ends_at_zero(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    for topic in topics.ALL:
        assert (log.earliest(topic, 3), log.highwater(topic, 3)) == (0, 0)
        assert list(log.read(topic, 3)) == []
    log.append([entry(b"", 3)])
    assert (log.earliest(topics.CANDLES, 3), log.highwater(topics.CANDLES, 3)) == (0, 1)
    log.close()


def test_waiting_ends_with_the_append_of_another_writer(log_home: Callable[[], str]):
    url = log_home()
    log, other = open_bare_log(url), open_bare_log(url)
    log.append([entry(b"known")])
    waited: list[bool] = []
    after = {(topics.CANDLES, 0): 1, (topics.SIGNALS, 2): 0}
    waiting = threading.Thread(target=lambda: waited.append(log.wait(after, 30)))
    waiting.start()
    other.append([entry(b"elsewhere", partition=1)])
    other.append([Entry(topics.SIGNALS, b"k", b"awaited", 1, 2)])
    waiting.join(30)
    assert waited == [True]
    log.close()
    other.close()


def test_waiting_for_nothing_new_ends_with_the_time(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    log.append([entry(b"known")])
    assert log.wait({(topics.CANDLES, 0): 0}, 5) is True
    assert log.wait({(topics.CANDLES, 0): 1}, 0.01) is False
    log.close()


def tailed(tail: Tail, count: int) -> list[Record]:
    """The next `count` records; waits for them."""
    records: list[Record] = []
    for _ in range(600):
        if len(records) >= count:
            return records
        records += tail.read(0.1)
    raise AssertionError(f"{len(records)} records came of {count}")


def test_a_tail_gives_each_partition_from_its_offset_on_as_records_come(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    log.append([entry(b"%d" % n, n % 2) for n in range(6)])
    tail = log.tail({(topics.CANDLES, 0): 1, (topics.CANDLES, 1): 0, (topics.SIGNALS, 0): 0})
    found = tailed(tail, 5)
    other = open_bare_log(log.url)
    waiting = threading.Timer(0, other.append, [[entry(b"6", 0), Entry(topics.SIGNALS, b"k", b"7", 1, 0)]])
    waiting.start()
    found += tailed(tail, 2)
    waiting.join()
    by_place: dict[tuple[str, int], list[bytes]] = {}
    for record in found:
        by_place.setdefault((record.topic, record.partition), []).append(record.value)
    assert by_place == {
        (topics.CANDLES, 0): [b"2", b"4", b"6"],
        (topics.CANDLES, 1): [b"1", b"3", b"5"],
        (topics.SIGNALS, 0): [b"7"],
    }
    assert tail.read(0.01) == []
    tail.close()
    other.close()
    log.close()


def test_a_tail_that_is_longer_than_one_read_comes_whole(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    log.append([entry(b"%d" % n) for n in range(5_000)], sync=False)
    tail = log.tail({(topics.CANDLES, 0): 0})
    assert [int(record.value) for record in tailed(tail, 5_000)] == list(range(5_000))
    tail.close()
    log.close()


def test_a_reopened_log_continues_where_it_was(log_home: Callable[[], str]):
    url = log_home()
    first = open_bare_log(url, partitions=3)
    first.append([entry(b"one"), entry(b"two", 2)])
    first.close()
    again = open_bare_log(url)
    assert again.partitions == 3
    assert again.append([entry(b"three")]) == [Position(topics.CANDLES, 0, 1)]
    assert values(again) == [b"one", b"three"]
    again.close()


def test_another_count_of_partitions_is_refused(log_home: Callable[[], str]):
    url = log_home()
    open_bare_log(url, partitions=3).close()
    with pytest.raises(LogError, match="3 partitions"):
        open_bare_log(url, partitions=4)
    open_bare_log(url, partitions=3).close()


def test_a_partition_that_is_not_there_is_refused(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    with pytest.raises(LogError, match="4"):
        log.append([entry(b"", 4)])
    log.close()


def test_threads_share_a_log(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    seen: list[list[bytes]] = []

    def work(name: int) -> None:
        for turn in range(20):
            log.append([entry(b"%d:%d" % (name, turn))], sync=False)
        seen.append(values(log))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = values(log)
    assert len(seen) == 4
    assert all(part == everything[: len(part)] for part in seen)
    for name in range(4):
        own = [value for value in everything if value.startswith(b"%d:" % name)]
        assert own == [b"%d:%d" % (name, turn) for turn in range(20)]
    log.close()


def test_what_is_appended_together_stands_together_in_its_partition(log_home: Callable[[], str]):
    log = open_bare_log(log_home())
    together, size = threading.Barrier(12), topics.RECORD_BYTES_MAX // 5

    def work(name: int) -> None:
        together.wait()
        for turn in range(5):
            group = [b"%d:%d:%d" % (name, turn, n) for n in range(6)]
            log.append([entry(value.ljust(size), n % 2) for n, value in enumerate(group)], sync=False)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for partition in (0, 1):
        written = [value.split(b":") for value in values(log, partition)]
        groups = [written[n : n + 3] for n in range(0, len(written), 3)]
        assert len(groups) == 60
        for group in groups:
            (name, turn, _), order = group[0], [int(n) for *_, n in group]
            assert all(record[:2] == [name, turn] for record in group)
            assert order == [partition, partition + 2, partition + 4]
    log.close()


def test_processes_append_at_once_and_each_keeps_its_order(log_home: Callable[[], str]):
    url = log_home()
    log = open_bare_log(url)
    with writing(url, "a", 150) as a, writing(url, "b", 150) as b:
        for writer in (a, b):
            writer.communicate(timeout=120)
            assert writer.returncode == 0
    records = list(log.read(topics.CANDLES, 0))
    assert [record.offset for record in records] == list(range(300))
    for name in ("a", "b"):
        own = [r.value for r in records if r.value.startswith(name.encode())]
        assert own == [f"{name}:{i}".encode() for i in range(150)]
    log.close()


@pytest.mark.crash
@pytest.mark.parametrize("acknowledged", [1, 40])
def test_a_killed_writer_loses_nothing_that_was_acknowledged(log_home: Callable[[], str], acknowledged: int):
    url = log_home()
    log = open_bare_log(url)
    with writing(url, "w", 1_000_000) as writer:
        assert writer.stdout is not None
        last = 0
        while last < acknowledged:
            last = int(writer.stdout.readline())
        writer.kill()
        last = int((writer.stdout.read().split() or [last])[-1])
    log.append([entry(b"after")])
    records = list(log.read(topics.CANDLES, 0))
    assert [record.offset for record in records] == list(range(len(records)))
    own = [record.value for record in records[:-1]]
    assert own == [f"w:{i}".encode() for i in range(len(own))]
    assert last < len(own) <= last + 2
    assert records[-1].value == b"after"
    log.close()
