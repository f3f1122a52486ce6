"""Faust on the embedded log: the transport behind `broker="embedded:///FOLDER"`.

One process consumes every partition of what it subscribes to, so a rebalance is a subscription and
nothing else. What takes microseconds (staging a transaction, reading a chunk) is done on the event
loop, since a thread beside a busy loop waits for the interpreter's lock at each row; waiting for the
disk is done in a thread, while the loop goes on.

Two differences from the Kafka driver: a partition without a committed offset is read from its begin
after *every* rebalance, and a failed append fails its futures, every later send, and the app.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, ClassVar, TypeVar, cast
from urllib.parse import quote

from faust.exceptions import ProducerSendError
from faust.transport import base
from faust.types import TP, ConsumerMessage, HeadersArg, RecordMetadata
from faust.types.transports import ConsumerT, ProducerT, TransportT
from mode import Service

from streams import topics
from streams.embedded.log import BUSY_S, BUSY_STEP_S, EmbeddedLog
from streams.embedded.tail import POLL_S
from streams.log import LogError
from streams.records import Entry, Position, Record, partition_of

UNSYNCED = frozenset({topics.CANDLES, topics.SIGNALS, topics.SYSTEM, topics.SNAPSHOTS})
"""After a loss of power these are folded again; the other topics reach the disk before their futures."""

LINGER_S = 0.001
"""Between two transactions: sends after a pause wait for nothing."""
QUIET_S = 2.0
POLL_QUIET_S = 0.005
"""Polling each millisecond costs 7 % of a core, which is too much while nothing arrives."""
FETCH_ROWS_MAX = 100
FETCH_BYTES = 2 << 20

T = TypeVar("T")


class OpenedLog:
    """An embedded log and the thread that waits for its disk."""

    def __init__(self, transport: TransportT) -> None:
        self.log = EmbeddedLog("embedded://" + quote(transport.url[0].path))
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="log")

    async def write(self, stage: Callable[[], T | None]) -> T:
        """Stage as soon as no other writer is at work, then commit. Raises `LogError`."""
        deadline = time.monotonic() + BUSY_S
        while (staged := stage()) is None:
            if time.monotonic() >= deadline:
                raise LogError(f"log {self.log.url}: other writers held it for {BUSY_S:g} s")
            await asyncio.sleep(BUSY_STEP_S)
        await asyncio.get_running_loop().run_in_executor(self._disk, self.log.commit)
        return staged

    def create_topic(self, service: Service, topic: str, partitions: int) -> None:
        if partitions != self.log.partitions:
            service.log.info(
                "Topic %r gets the log's %d partitions, not %d",
                topic,
                self.log.partitions,
                partitions,
            )
        self.log.add_topic(topic)

    def close(self) -> None:
        self._disk.shutdown()
        self.log.close()


class Consumer(base.Consumer):
    """Reads the log from positions of its own; they are reset to the commits at each rebalance."""

    _opened: OpenedLog
    _generation = 0

    async def on_start(self) -> None:
        self._opened = OpenedLog(self.transport)
        self._assignment: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._highwaters: dict[TP, int] = {}
        self._version = -1
        self._last_records_s = 0.0

    async def on_shutdown(self) -> None:
        self._opened.close()

    # ------------------------------------------------------------ assignment

    async def subscribe(self, topics: Iterable[str]) -> None:
        """The rebalance runs in the background: it waits for what the caller does next."""
        cast(Any, self).add_future(self._rebalance(set(topics)))

    async def _rebalance(self, names: set[str]) -> None:
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(set(self._assignment))
        for name in names:
            self._opened.log.add_topic(name)
        partitions = range(self._opened.log.partitions)
        self._assignment = {TP(name, partition) for name in names for partition in partitions}
        self._positions = dict(await self.seek_to_committed())
        self._generation += 1
        self.app.consumer_generation_id = self._generation
        await self.on_partitions_assigned(set(self._assignment), self._generation)

    def assignment(self) -> set[TP]:
        return set(self._assignment)

    # ------------------------------------------------------------ positions

    async def seek_to_committed(self) -> Mapping[TP, int]:
        committed = self._opened.log.committed(self.app.conf.id)
        for tp in self._assignment:
            self._move(tp, committed.get(tp, None))
        return dict(self._positions)

    def _move(self, tp: TP, offset: int | None) -> None:
        if offset is None and self.app.conf.consumer_auto_offset_reset == "latest":
            offset = self._opened.log.highwater(*tp)
        self._positions[tp] = self._opened.log.earliest(*tp) if offset is None else offset
        self._version = -1

    async def _seek(self, partition: TP, offset: int) -> None:
        self._move(TP(*partition), offset)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            await self.seek(tp, offset)

    async def position(self, tp: TP) -> int | None:
        return self._positions.get(tp)

    def highwater(self, tp: TP) -> int:
        """As of the last fetch: Faust asks at every record."""
        return self._highwaters.get(tp, 0)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._opened.log.highwater(*tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._opened.log.earliest(*tp) for tp in partitions}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        wanted = {(topic, partition): offset for (topic, partition), offset in offsets.items()}

        def stage() -> bool | None:
            return self._opened.log.stage_commits(self.app.conf.id, wanted) or None

        return await self._opened.write(stage)

    # ------------------------------------------------------------ records

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Record]]:
        """What is new in the active partitions, or nothing after `timeout` seconds."""
        deadline_s = time.monotonic() + timeout
        while self.flow_active:
            version = self._opened.log.version()
            if version != self._version:
                self._version = version
                self._highwaters = {tp: self._opened.log.highwater(*tp) for tp in self._assignment}
            active = self._assignment if active_partitions is None else active_partitions
            records = {tp: self._fetch(tp) for tp in active if self._is_behind(tp)}
            if records:
                self._last_records_s = time.monotonic()
                return records
            now_s = time.monotonic()
            if now_s >= deadline_s:
                break
            quiet = now_s - self._last_records_s > QUIET_S
            await asyncio.sleep(POLL_QUIET_S if quiet else POLL_S)
        return {}

    def _is_behind(self, tp: TP) -> bool:
        return self._positions[tp] < self._highwaters[tp]

    def _fetch(self, tp: TP) -> list[Record]:
        records: list[Record] = []
        size_bytes = 0
        reading = self._opened.log.read(*tp, self._positions[tp], self._highwaters[tp])
        for record in islice(reading, FETCH_ROWS_MAX):
            records.append(record)
            size_bytes += len(record.value)
            if size_bytes >= FETCH_BYTES:
                break
        self._positions[tp] = records[-1].offset + 1
        return records

    def _to_message(self, tp: TP, record: Record) -> ConsumerMessage:
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.offset,
            record.time_ms / 1000,
            0,
            list(record.headers),
            record.key,
            record.value,
            b"" if record.damaged else None,  # in the place of the checksum, which does not fit
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    # ------------------------------------------------------------ topics

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def topic_partitions(self, topic: str) -> int | None:
        return self._opened.log.partitions

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        if partition is not None or key is None:
            return partition
        return partition_of(key, self._opened.log.partitions)

    async def create_topic(self, topic: str, partitions: int, replication: int, **settings: Any) -> None:
        self._opened.create_topic(self, topic, partitions)


class Producer(base.Producer):
    """Appends in the order of the sends; dense ones share a transaction."""

    _opened: OpenedLog
    _failure: LogError | None = None
    _last: "asyncio.Future[RecordMetadata] | None" = None

    async def on_start(self) -> None:
        await super().on_start()
        self._opened = OpenedLog(self.transport)
        self._waiting: list[tuple[Entry, asyncio.Future[RecordMetadata]]] = []
        self._wake = asyncio.Event()

    async def on_stop(self) -> None:
        await self.flush()

    async def on_shutdown(self) -> None:
        self._opened.close()

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Queue a record; the future resolves once it is in the log. `timestamp` in seconds UTC.

        Raises `ProducerSendError` when an earlier append has failed or the record is not a legal one.
        """
        if self._failure is not None:
            raise ProducerSendError(f"an earlier append has failed: {self._failure}")
        if value is None:
            raise ProducerSendError(f"a record for {topic!r} without a value: the log has no tombstones")
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        time_ms = int((time.time() if timestamp is None else timestamp) * 1000)
        entry = Entry(topic, key, value, time_ms, partition, tuple(pairs))
        try:
            self._opened.log.check(entry)
        except LogError as error:
            raise ProducerSendError(str(error)) from error
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        self._last = future
        self._wake.set()
        return future

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    async def flush(self) -> None:
        """Return when all that was sent is in the log, or has failed."""
        await self.buffer.flush()
        if self._last is not None and not self._last.done():
            await asyncio.wait([self._last])

    @Service.task
    async def _append_waiting(self) -> None:
        while True:
            rested_s = time.monotonic() + LINGER_S
            await self._wake.wait()
            await asyncio.sleep(max(0.0, rested_s - time.monotonic()))
            self._wake.clear()
            sent, self._waiting = self._waiting, []
            try:
                await self._append(sent)
            except LogError as error:
                self._failure = error
                for _, future in sent + self._waiting:
                    _fail(future, ProducerSendError(str(error)))
                raise

    async def _append(self, sent: list[tuple[Entry, "asyncio.Future[RecordMetadata]"]]) -> None:
        entries = [entry for entry, _ in sent]
        sync = any(entry.topic not in UNSYNCED for entry in entries)

        def stage() -> list[Position] | None:
            return self._opened.log.stage(entries, sync=sync)

        positions = await self._opened.write(stage)
        for (entry, future), (topic, partition, offset) in zip(sent, positions, strict=True):
            if not future.done():
                tp = TP(topic, partition)
                future.set_result(RecordMetadata(topic, partition, tp, offset, entry.time_ms / 1000, 0))

    def key_partition(self, topic: str, key: bytes) -> TP:
        return TP(topic, partition_of(key, self._opened.log.partitions))

    async def create_topic(self, topic: str, partitions: int, replication: int, **settings: Any) -> None:
        self._opened.create_topic(self, topic, partitions)

    def supports_headers(self) -> bool:
        return True


def _fail(future: "asyncio.Future[RecordMetadata]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


class Transport(base.Transport):
    """Finds its log by the broker URL; Faust makes one for the consumer and one for the producer."""

    Consumer: ClassVar[type[ConsumerT]] = Consumer
    Producer: ClassVar[type[ProducerT]] = Producer
    default_port = 0
    driver_version = "embedded"
