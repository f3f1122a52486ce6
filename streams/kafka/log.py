"""The Kafka backend of the log: `kafka://host:port[,host:port][/prefix]`.

aiokafka runs on an event loop in a thread of its own; callers block on it. With a prefix, the stream
`journal` is the topic `prefix.journal`, so that several installations share a cluster; callers of this
module always say `journal`.
"""

# aiokafka ships no types
# pyright: reportMissingTypeStubs=false

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    ProducerClosed,
)

from streams import topics
from streams.kafka import logging as kafka_logging
from streams.kafka.topics import address_of, committed_offsets, ensure_topics
from streams.log import LogError
from streams.records import Entry, Position, Record, headers_of, partition_of

ANSWER_S = 60.0
"""A broker that was killed and restarted is back well before; longer silence is a `LogError`."""
CLOSE_S = 5.0
WAIT_STEP_S = 0.01
FETCH_STEP_MS = 100
FETCH_BYTES = 4 << 20
READ_WAIT_MS = 10
"""A reader stops below the highwater; its fetch beyond must not keep the connection busy for long."""
TAIL_WAIT_MS = 200
TAIL_RECORDS_MAX = 2_000

Result = TypeVar("Result")


class KafkaLog:
    """A `streams.log.Log` on a Kafka cluster. `answer_s`: silence of the cluster that is an error."""

    def __init__(self, url: str, partitions: int | None = None, *, answer_s: float | None = None) -> None:
        """Opens the log; missing topics are created with `partitions` (default 4). Raises `LogError`."""
        if partitions is not None and partitions < 1:
            raise LogError(f"log {url}: {partitions} partitions: choose 1 or more")
        self.url = url
        self._address = address_of(url)
        self._answer_s = ANSWER_S if answer_s is None else answer_s
        self._closed = False
        self._close_lock = threading.Lock()
        self._idle_readers: list[Any] = []
        self._clients: list[Any] = []
        self._producer: Any = None
        """None after an append that failed, until the next."""
        kafka_logging.quieten()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kafka-log", daemon=True)
        self._thread.start()
        try:
            self.partitions = self._call("open", self._open(partitions))
        except BaseException:
            self.close()
            raise

    async def _open(self, partitions: int | None) -> int:
        count = await ensure_topics(self._address, partitions, ANSWER_S)
        self._opening = asyncio.Lock()
        await self._open_producer()
        self._asker = await self._consumer()
        return count

    async def _open_producer(self) -> Any:
        """The producer, which is made where there is none."""
        async with self._opening:
            if self._producer is None:
                self._producer = await self._started(self._new_producer())
            return self._producer

    def _new_producer(self) -> Any:
        return AIOKafkaProducer(
            bootstrap_servers=",".join(self._address.servers),
            request_timeout_ms=int(self._answer_s * 1000),
            enable_idempotence=True,
            acks="all",
            compression_type="zstd",  # columns of ticks shrink to a third, at the speed of none
            max_batch_size=topics.RECORD_BYTES_MAX,
        )

    async def _consumer(self, wait_ms: int = READ_WAIT_MS) -> Any:
        """A consumer without a group: offsets are asked of it, or partitions are assigned to it.

        `wait_ms`: so long the brokers hold a fetch that finds nothing.
        """
        consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=",".join(self._address.servers),
            request_timeout_ms=int(self._answer_s * 1000),
            enable_auto_commit=False,
            auto_offset_reset="none",
            check_crcs=True,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=wait_ms,
        )
        return await self._started(consumer)

    async def _started(self, client: Any) -> Any:
        self._clients.append(client)
        try:
            async with asyncio.timeout(self._answer_s):
                await client.start()
        except BaseException:
            self._clients.remove(client)
            await client.stop()
            raise
        return client

    # ------------------------------------------------------------ appending

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
        """Append in order; returns when all are acknowledged by all in-sync replicas. Raises `LogError`.

        Records of one partition go in one batch, which the brokers take whole or not at all; more than
        `RECORD_BYTES_MAX` in several.
        A record that cannot be appended is refused before anything is sent. When the cluster fails on the
        way, what became of the records is unknown: a writer whose order counts must not go on then.
        """
        del sync  # Kafka acknowledges from its replicas, one way or the other
        checked = [(self._checked(entry), entry) for entry in entries]
        return self._call("append", self._append(checked)) if checked else []

    def _checked(self, entry: Entry) -> TopicPartition:
        size = len(entry.value) + len(entry.key or b"")
        size += sum(len(name.encode()) + len(value) for name, value in entry.headers)
        if size > topics.RECORD_BYTES_MAX:
            raise LogError(
                f"log {self.url}: a record for {entry.topic!r} has {size} bytes, more than"
                f" {topics.RECORD_BYTES_MAX}: split it"
            )
        if entry.time_ms < 0:
            raise LogError(f"log {self.url}: a record for {entry.topic!r} is of time {entry.time_ms} ms")
        partition = entry.partition
        if partition is None:
            if entry.key is None:
                raise LogError(f"log {self.url}: a record for {entry.topic!r} needs a key or a partition")
            partition = partition_of(entry.key, self.partitions)
        return self._partition(entry.topic, partition)

    async def _append(self, entries: list[tuple[TopicPartition, Entry]]) -> list[Position]:
        async with asyncio.timeout(self._answer_s):  # one may wait for another's attempt
            producer = await self._open_producer()
        sent: list[asyncio.Future[Any]] = []
        offsets: dict[int, int] = {}
        try:
            # aiokafka retries an idempotent batch for ever; the limit is on the time without progress
            async with asyncio.timeout(None) as limit:
                batches = _batched(producer, entries)
                for target, batch, _ in batches:
                    limit.reschedule(self._loop.time() + self._answer_s)
                    sent.append(await producer.send_batch(batch, target.topic, partition=target.partition))
                for (_, _, places), future in zip(batches, sent, strict=True):
                    limit.reschedule(self._loop.time() + self._answer_s)
                    offsets |= zip(places, count((await future).offset))
        except BaseException:
            for future in sent:  # their errors are this one; asyncio would log each as never retrieved
                if not future.cancel() and not future.cancelled():
                    future.exception()
            if self._producer is producer:  # its next batch could overtake this one
                self._producer = None
                self._clients.remove(producer)
                await _ended(producer)
            raise
        return [
            Position(entry.topic, target.partition, offsets[place])
            for place, (target, entry) in enumerate(entries)
        ]

    # ------------------------------------------------------------ reading

    def read(self, topic: str, partition: int, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        end = self.highwater(topic, partition)
        if stop is not None:
            end = min(stop, end)
        return self._records(topic, self._partition(topic, partition), max(start, 0), end)

    def _records(self, topic: str, source: TopicPartition, start: int, end: int) -> Iterator[Record]:
        if start >= end:
            return
        reader = self._call("read", self._reader(source, start))
        try:
            while start < end:
                records, start = self._call("read", self._fetch(reader, source, start, end))
                for r in records:
                    if r.offset >= end:
                        return
                    yield Record(
                        topic,
                        source.partition,
                        r.offset,
                        r.timestamp,
                        r.key,
                        r.value,
                        headers_of(r.headers),
                    )
        finally:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._release, reader)

    async def _reader(self, source: TopicPartition, start: int) -> Any:
        reader = self._idle_readers.pop() if self._idle_readers else await self._consumer()
        reader.assign([source])
        reader.seek(source, start)
        return reader

    def _release(self, reader: Any) -> None:
        reader.pause(*reader.assignment())
        self._idle_readers.append(reader)

    async def _fetch(
        self, reader: Any, source: TopicPartition, start: int, end: int
    ) -> tuple[list[Any], int]:
        """The next records and the position after them, past what compaction took away."""
        async with asyncio.timeout(self._answer_s):
            while True:
                try:
                    got = await reader.getmany(source, timeout_ms=FETCH_STEP_MS)
                except CorruptRecordException as error:
                    raise LogError(
                        f"log {self.url}: {source.topic}:{source.partition}:{start} or a record behind it was"
                        f" changed after it was appended: {error}; restore the partition from a replica"
                    ) from error
                except OffsetOutOfRangeError as error:
                    first = (await self._asker.beginning_offsets([source]))[source]
                    raise LogError(
                        f"log {self.url}: topic {source.topic!r} partition {source.partition}"
                        f" begins at {first}, what was before is gone: read from there, or restore it"
                    ) from error
                position = await reader.position(source)
                if position >= end:
                    # Before the next fetch leaves: at the end of the log the broker would hold it,
                    # and with it the connection, until something comes.
                    reader.pause(source)
                if position > start:
                    return got.get(source, []), position

    def earliest(self, topic: str, partition: int) -> int:
        source = self._partition(topic, partition)
        return self._call("read", self._asker.beginning_offsets([source]))[source]

    def highwater(self, topic: str, partition: int) -> int:
        source = self._partition(topic, partition)
        return self._call("read", self._asker.end_offsets([source]))[source]

    def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        sources = {place: self._partition(*place) for place in places}
        ends = self._call("read", self._asker.end_offsets(list(sources.values())))
        return {place: ends[source] for place, source in sources.items()}

    def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        source = self._partition(topic, partition)
        asked = self._asker.offsets_for_times({source: max(time_ms, 0)})
        found = self._call("read", asked)[source]
        return self.highwater(topic, partition) if found is None else found.offset

    def committed(self, consumer: str) -> dict[tuple[str, int], int]:
        return self._call("read", self._committed(consumer))

    async def _committed(self, consumer: str) -> dict[tuple[str, int], int]:
        found = await committed_offsets(self._address, consumer, self._answer_s)
        places = {self._address.topic(name): name for name in topics.ALL}
        return {(places[tp.topic], tp.partition): at for tp, at in found.items() if tp.topic in places}

    def wait(self, after: Mapping[tuple[str, int], int], timeout_s: float) -> bool:
        seen = {self._partition(*where): offset for where, offset in after.items()}
        return self._call("wait", self._wait(seen, timeout_s))

    async def _wait(self, seen: dict[TopicPartition, int], timeout_s: float) -> bool:
        deadline = self._loop.time() + timeout_s
        step_s = 0.001
        while True:
            ends = await self._asker.end_offsets(list(seen))
            if any(ends[source] > offset for source, offset in seen.items()):
                return True
            left_s = deadline - self._loop.time()
            if left_s <= 0:
                return False
            await asyncio.sleep(min(step_s, left_s))
            step_s = min(2 * step_s, WAIT_STEP_S)

    def tail(self, after: Mapping[tuple[str, int], int]) -> "KafkaTail":
        streams = {self._partition(*place): place[0] for place in after}
        starts = dict(zip(streams, after.values(), strict=True))
        consumer = self._call("follow", self._following(starts))

        def fetch(timeout_s: float) -> Mapping[TopicPartition, list[Any]]:
            return self._call("follow", self._followed(consumer, timeout_s))

        def close() -> None:
            if not self._closed:
                self._call("follow", self._left(consumer))

        return KafkaTail(self.url, streams, starts, fetch, close)

    async def _following(self, after: Mapping[TopicPartition, int]) -> Any:
        consumer = await self._consumer(TAIL_WAIT_MS)
        consumer.assign(list(after))
        for source, offset in after.items():
            consumer.seek(source, offset)
        return consumer

    async def _followed(self, consumer: Any, timeout_s: float) -> Any:
        try:
            return await consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=TAIL_RECORDS_MAX)
        except OffsetOutOfRangeError as error:
            places = ", ".join(f"{source.topic}:{source.partition}" for source in error.args[0])
            raise LogError(f"log {self.url}: what follows in {places} is gone") from error

    async def _left(self, consumer: Any) -> None:
        self._clients.remove(consumer)
        await consumer.stop()

    def _partition(self, topic: str, partition: int) -> TopicPartition:
        if topic not in topics.ALL:
            raise LogError(f"log {self.url} has no topic {topic!r}; it has {', '.join(topics.ALL)}")
        if not 0 <= partition < self.partitions:
            raise LogError(
                f"log {self.url}: {topic!r} has partitions 0 to {self.partitions - 1}, not {partition}"
            )
        return TopicPartition(self._address.topic(topic), partition)

    # ------------------------------------------------------------ the thread

    def _call(self, doing: str, work: Coroutine[Any, Any, Result]) -> Result:
        if self._closed:
            work.close()
            raise LogError(f"log {self.url} is closed; open it again")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError as error:
            raise LogError(f"log {self.url} was closed while it was at work ({doing})") from error
        except (KafkaError, OSError) as error:
            raise LogError(self._message(doing, error)) from error
        except BaseException:  # Ctrl-C in the caller's thread: the work must not go on behind its back
            future.cancel()
            raise

    def _message(self, doing: str, error: Exception) -> str:
        what = str(error) or type(error).__name__
        if isinstance(error, TimeoutError | KafkaTimeoutError):
            what = f"no answer in {self._answer_s:g} s"
        servers = ", ".join(self._address.servers)
        return f"log {self.url}: {doing}: {what}; look whether the Kafka brokers at {servers} run"

    def close(self) -> None:
        """Closes after what other threads are appending; later calls of other methods raise `LogError`."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _shut(self) -> None:
        for client in self._clients:
            if client is self._producer:
                await asyncio.wait([asyncio.ensure_future(client.flush())], timeout=CLOSE_S)
                await _ended(client)
            else:
                await client.stop()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


class KafkaTail:
    """A `streams.log.Tail`: one consumer of all its partitions, whose fetch waits at the brokers."""

    def __init__(
        self,
        url: str,
        streams: Mapping[TopicPartition, str],
        after: Mapping[TopicPartition, int],
        fetch: Callable[[float], Mapping[TopicPartition, list[Any]]],
        close: Callable[[], None],
    ) -> None:
        self.close = close
        self._url, self._streams, self._fetch = url, streams, fetch
        self._next = dict(after)

    def read(self, timeout_s: float) -> list[Record]:
        records: list[Record] = []
        for source, got in self._fetch(timeout_s).items():
            stream = self._streams[source]
            for r in got:
                if r.offset != self._next[source]:
                    place = f"{stream}:{source.partition}: offset {self._next[source]}"
                    raise LogError(f"log {self._url}: {place} is gone")
                self._next[source] = r.offset + 1
                records.append(
                    Record(
                        stream, source.partition, r.offset, r.timestamp, r.key, r.value, headers_of(r.headers)
                    )
                )
        return records


def _batched(
    producer: Any, entries: Iterable[tuple[TopicPartition, Entry]]
) -> list[tuple[TopicPartition, Any, list[int]]]:
    """Batches of aiokafka, closed to others' records, each with the places of its entries."""
    batches: list[tuple[TopicPartition, Any, list[int]]] = []
    filling: dict[TopicPartition, tuple[Any, list[int]]] = {}
    for place, (target, entry) in enumerate(entries):
        record = {
            "timestamp": entry.time_ms,
            "key": entry.key,
            "value": entry.value,
            "headers": list(entry.headers),
        }
        if target not in filling or filling[target][0].append(**record) is None:
            filling[target] = producer.create_batch(), []
            filling[target][0].append(**record)
            batches.append((target, *filling[target]))
        filling[target][1].append(place)
    for _, batch, _ in batches:
        batch.close()
    return batches


async def _ended(producer: Any) -> None:
    """Stop without delivering what is still under way; `stop` alone would wait for the brokers for ever."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await producer._sender.close()
    producer._message_accumulator.fail_all(ProducerClosed())
    await producer.stop()
