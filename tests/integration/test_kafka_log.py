"""What the Kafka backend does beyond the contract: topic settings, prefixes, a cluster that is away."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams import topics
from streams.backends import open_bare_log
from streams.kafka.log import KafkaLog
from streams.kafka.topics import address_of
from streams.log import LogError
from streams.records import Entry, Position
from tests.services.kafka import Kafka

pytestmark = pytest.mark.kafka
YEAR_MS = 365 * 86_400_000
NOW_MS = 1_760_000_000_000


@pytest.fixture
def url(kafka: Kafka) -> Iterator[str]:
    """An installation of its own on the shared broker."""
    prefix = f"test-{uuid4().hex}"
    yield f"kafka://{kafka.bootstrap}/{prefix}.a"
    kafka.delete_topics(prefix)


def entry(value: bytes, partition: int | None = 0, time_ms: int = NOW_MS) -> Entry:
    return Entry(topics.JOURNAL, b"sim:BTC/USDT", value, time_ms, partition)


def delete(kafka: Kafka, topic: str) -> None:
    async def work(admin: Any) -> None:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():  # brokers hear of it a little later
            pass

    kafka.administer(work)


def settings_of(kafka: Kafka, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    responses = kafka.administer(lambda admin: admin.describe_configs([resource]))
    return {e[0]: e[1] for e in responses[0].resources[0][4]}


def test_every_stream_is_kept_for_ever_and_only_snapshots_are_compacted(kafka: Kafka, url: str):
    open_bare_log(url).close()
    for topic in topics.ALL:
        found = settings_of(kafka, address_of(url).topic(topic))
        assert found["message.timestamp.type"] == "CreateTime"
        if topic == topics.SNAPSHOTS:
            assert found["cleanup.policy"] == "compact"
        else:
            kept = (found["cleanup.policy"], found["retention.ms"], found["retention.bytes"])
            assert kept == ("delete", "-1", "-1")


def test_a_topic_with_the_default_retention_is_refused_with_the_way_out(kafka: Kafka, url: str):
    name = address_of(url).topic(topics.CANDLES)
    kafka.create_topic(name, 4)
    with pytest.raises(LogError) as refused:
        open_bare_log(url)
    message = str(refused.value)
    assert f"{name!r} has retention.ms=604800000, it must be -1" in message
    assert f"--alter --topic {name} --add-config retention.ms=-1" in message


def test_a_stream_with_another_count_of_partitions_is_refused(kafka: Kafka, url: str):
    kafka.create_topic(address_of(url).topic(topics.TRADES), 3)
    with pytest.raises(LogError, match=r"trades' has 3 partitions, not 4"):
        open_bare_log(url)


def test_the_journals_count_decides_for_streams_that_are_missing(kafka: Kafka, url: str):
    open_bare_log(url, partitions=3).close()
    delete(kafka, address_of(url).topic(topics.BOTS))
    log = open_bare_log(url)
    assert log.partitions == 3
    assert log.highwater(topics.BOTS, 2) == 0
    log.close()


def test_installations_with_different_prefixes_do_not_see_each_other(url: str):
    one, other = open_bare_log(url), open_bare_log(url.removesuffix(".a") + ".b", partitions=2)
    one.append([entry(b"mine")])
    assert (one.partitions, other.partitions) == (4, 2)
    assert other.highwater(topics.JOURNAL, 0) == 0
    one.close()
    other.close()


def test_a_stream_is_named_after_its_prefix():
    assert address_of("kafka://a:1,b:2/desk.one").topic("journal") == "desk.one.journal"
    assert address_of("kafka://a:1").topic("journal") == "journal"


@pytest.mark.parametrize(
    "wrong", ["kafka://", "kafka://host", "kafka://a:1,b", "kafka://a:1/two words", "kafka://u:p@a:1"]
)
def test_a_url_that_names_no_cluster_is_refused(wrong: str):
    with pytest.raises(LogError, match="log URL"):
        open_bare_log(wrong)


def test_times_far_from_the_brokers_clock_are_kept(url: str):
    log = open_bare_log(url)
    times_ms = [0, NOW_MS - 40 * YEAR_MS, NOW_MS + 40 * YEAR_MS]
    log.append([entry(b"", time_ms=time_ms) for time_ms in times_ms])
    assert [record.time_ms for record in log.read(topics.JOURNAL, 0)] == times_ms
    assert log.offset_at(topics.JOURNAL, 0, NOW_MS) == 2
    log.close()


def test_a_header_of_another_programs_null_is_read_as_empty(url: str):
    log = open_bare_log(url)
    asyncio.run(_send_null_header(url))
    (record,) = log.read(topics.JOURNAL, 0)
    assert record.headers == (("name", b""),)
    (followed,) = log.tail({(topics.JOURNAL, 0): 0}).read(10)
    assert followed == record
    log.close()


async def _send_null_header(url: str) -> None:
    address = address_of(url)
    producer: Any = AIOKafkaProducer(bootstrap_servers=",".join(address.servers))
    await producer.start()
    try:
        journal = address.topic(topics.JOURNAL)
        await producer.send_and_wait(journal, b"x", partition=0, headers=[("name", None)])
    finally:
        await producer.stop()


def test_a_log_that_lost_its_beginning_says_so(kafka: Kafka, url: str):
    log = open_bare_log(url)
    log.append([entry(b"%d" % i) for i in range(5)])
    lost = {TopicPartition(address_of(url).topic(topics.JOURNAL), 0): RecordsToDelete(before_offset=3)}
    kafka.administer(lambda admin: admin.delete_records(lost))
    assert log.earliest(topics.JOURNAL, 0) == 3
    with pytest.raises(LogError, match="begins at 3"):
        list(log.read(topics.JOURNAL, 0))
    assert [r.value for r in log.read(topics.JOURNAL, 0, 3)] == [b"3", b"4"]
    log.close()


def test_the_console_consumer_of_kafka_reads_a_stream(kafka: Kafka, url: str):
    log = open_bare_log(url)
    log.append([entry(b"one"), entry(b"two")])
    log.close()
    read = kafka.console_consumer(address_of(url).topic(topics.JOURNAL), "--max-messages", "2")
    assert read == b"one\ntwo\n"


def test_a_cluster_that_is_away_at_opening_is_named():
    with pytest.raises(LogError, match=r"brokers at 127\.0\.0\.1:1 run"):
        open_bare_log("kafka://127.0.0.1:1")


@pytest.mark.crash
def test_a_broker_that_stays_away_is_an_error_and_the_log_goes_on_when_it_is_back(kafka: Kafka, url: str):
    log = KafkaLog(url, answer_s=2)
    log.append([entry(b"before")])
    with kafka.away():
        with pytest.raises(LogError, match="append: no answer in 2 s"):
            log.append([entry(b"lost")])
        for ask in (lambda: log.append([entry(b"lost too")]), lambda: log.highwater(topics.JOURNAL, 0)):
            with pytest.raises(LogError, match=r"look whether the Kafka brokers at .* run"):
                ask()
    patient = open_bare_log(url)
    assert patient.append([entry(b"it is back")]) == [Position(topics.JOURNAL, 0, 1)]
    patient.close()
    assert log.append([entry(b"after")]) == [Position(topics.JOURNAL, 0, 2)]
    log.close()


@pytest.mark.crash
def test_a_broker_killed_under_an_append_keeps_each_record_once_and_in_order(kafka: Kafka, url: str):
    log = open_bare_log(url)
    sent = [b"%d" % i for i in range(4_000)]
    some = threading.Event()

    def write() -> None:
        for first in range(0, len(sent), 20):
            log.append([entry(value) for value in sent[first : first + 20]])
            some.set()

    writing = threading.Thread(target=write)
    writing.start()
    assert some.wait(30)
    kafka.kill9()
    kafka.start()
    writing.join(120)
    assert [record.value for record in log.read(topics.JOURNAL, 0)] == sent
    log.close()
