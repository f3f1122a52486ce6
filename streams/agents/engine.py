"""The engine: the Faust agent that folds the journal, generic over the fold it is given.

**The snapshot is the position.** Faust's commits only follow it, so that tools show a lag. On every
assignment the engine forgets all it has in memory, loads the snapshots of its partitions, and tells
Faust to go on behind them. A record is then folded if and only if it is the next one. Its outputs
are sent at once; later a snapshot is captured between two records, and written when all outputs
before it are acknowledged; only then are the journal's records acknowledged, in order.

So a crash anywhere repeats the outputs since the last snapshot, with the same causes and the same
bytes, and neither loses nor invents one; readers hide the repeats. The same holds for a worker that
lost its partitions without knowing it, for as long as it does not know.

Why: ADR 3.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from faust.types import EventT, StreamT

from streams.agents.app import App, end_process, ending_process, raw_topic, stop_flow
from streams.agents.consuming import SETTLE_S, assigned, hole, record_of, resume_behind, unacknowledged
from streams.codec import DAMAGED
from streams.log import Log
from streams.records import Record
from streams.snapshots import Snapshot, SnapshotWriter, latest
from streams.topics import JOURNAL, SNAPSHOTS

logger = logging.getLogger(__name__)

Sending = tuple[str, bytes, bytes, int]
"""An output to be sent: topic, key, value, record time in ms."""

SNAPSHOT_RECORDS = 50
"""A snapshot is due after so many records, or after a moment without input."""
MOMENT_S = 0.05
CAPTURE_SHARE = 10
SNAPSHOT_BYTES_PER_S = 4_000_000
"""A costly snapshot waits: for this many times the time to capture the last one, and for its bytes."""
SNAPSHOT_S_MAX = 10.0
SNAPSHOT_RECORDS_MAX = 10_000
SNAPSHOT_INPUT_BYTES_MAX = 64_000_000
"""No snapshot waits longer than this, so a crash repeats no more, and no more is held in memory."""


class Fold(Protocol):
    """A deterministic fold of one journal partition."""

    @property
    def applied(self) -> int:
        """The last offset folded, −1 for none."""
        ...

    def fold(self, record: Record) -> Sequence[Sending]:
        """Apply the record and return its outputs. Bad records are the fold's own to report."""
        ...

    def snapshot(self) -> bytes: ...


FoldFactory = Callable[[int, bytes | None], Fold]
"""Make the fold of a partition from a state, or anew from None.

Raises ValueError for a state that it does not understand, such as one of an older version: the fold
is then made anew from the journal, whose outputs are not sent again.
"""


class Partition:
    """One partition's fold during one assignment."""

    def __init__(self, fold: Fold, generation: int, writer: SnapshotWriter) -> None:
        self.fold = fold
        self.generation = generation
        self.writer = writer
        self.confirmed = fold.applied
        self.events: list[EventT[Any]] = []
        self.sends: list[Awaitable[Any]] = []
        self.input_bytes = 0
        self.half_sent = False
        """Folded, but not all of its outputs are sent: neither confirm nor capture now."""
        self.hurry = False
        self.wake = asyncio.Event()
        self.room = asyncio.Event()
        self.settled = asyncio.Event()
        self.settled.set()
        self.captured_at = self.last_at = _now()
        self.pause_s = 0.0

    def add(self, event: EventT[Any]) -> None:
        self.events.append(event)
        self.input_bytes += len(event.message.value or b"")
        self.last_at = _now()
        self.half_sent = False
        self.settled.clear()
        if self.hurry or len(self.events) in (1, SNAPSHOT_RECORDS) or self.is_full():
            self.wake.set()

    def is_full(self) -> bool:
        return len(self.events) >= SNAPSHOT_RECORDS_MAX or self.input_bytes >= SNAPSHOT_INPUT_BYTES_MAX

    def is_due(self) -> bool:
        if not self.events or self.half_sent:
            return False
        if self.hurry or self.is_full():
            return True
        enough = len(self.events) >= SNAPSHOT_RECORDS or _now() - self.last_at >= MOMENT_S
        return enough and _now() - self.captured_at >= self.pause_s

    async def wait_for_work(self) -> None:
        """Until a snapshot is due, or records folded a moment ago can be confirmed."""
        while not self.is_due():
            self.wake.clear()
            try:
                await asyncio.wait_for(self.wake.wait(), MOMENT_S if self.events else None)
            except TimeoutError:
                if self.confirmed < self.fold.applied and not self.half_sent:
                    return

    def capture(self) -> tuple[bytes, list[EventT[Any]]]:
        """The state, and the records since the last one."""
        began = _now()
        state = self.fold.snapshot()
        self.captured_at = _now()
        costly_s = CAPTURE_SHARE * (self.captured_at - began)
        self.pause_s = min(SNAPSHOT_S_MAX, max(costly_s, len(state) / SNAPSHOT_BYTES_PER_S))
        events, self.events = self.events, []
        self.input_bytes = 0
        self.room.set()
        return state, events


class Engine:
    """The agent that folds the journal. `applied` may be read from any thread.

    `applied`: by journal partition assigned to this worker, the last offset whose outputs are in
    the log.
    """

    def __init__(self, app: App, log: Log, fold_factory: FoldFactory, *, epoch: int, code: str) -> None:
        """`epoch`, of this worker, and `code`, a hash, go into record headers."""
        self.applied: dict[int, int] = {}
        self._app = app
        self._log = log
        self._fold_factory = fold_factory
        self._epoch = epoch
        self._headers = [("epoch", str(epoch).encode()), ("code", code.encode())]
        self._partitions: dict[int, Partition] = {}
        self._tasks: list[asyncio.Task[None]] = []

        async def engine(stream: StreamT[Any]) -> None:
            async for event in unacknowledged(stream):
                with ending_process("engine"):
                    await self._take(event)

        faust: Any = app  # its types are known in part
        faust.agent(raw_topic(app, JOURNAL), name="engine")(engine)
        faust.on_rebalance_complete.connect(self._on_assigned)
        faust.on_partitions_revoked.connect(self._on_revoked)

    def positions(self) -> dict[tuple[str, int], int]:
        return {(JOURNAL, partition): offset for partition, offset in dict(self.applied).items()}

    def is_at_end(self) -> bool:
        """Whether every partition is assigned to this worker and folded to its end."""
        partitions = range(self._log.partitions)
        return all(self.applied.get(p, -2) + 1 >= self._log.highwater(JOURNAL, p) for p in partitions)

    async def settle(self) -> None:
        """Write snapshots of everything folded; gives up after `SETTLE_S`, which costs repeats."""
        partitions = list(self._partitions.values())
        for partition in partitions:
            partition.hurry = True
            partition.wake.set()
        with suppress(TimeoutError):
            waits = [partition.settled.wait() for partition in partitions]
            await asyncio.wait_for(asyncio.gather(*waits), SETTLE_S)

    # ------------------------------------------------------------ assignment

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        with ending_process("engine, handing over"):
            await self.settle()

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        """Awaited by Faust before it seeks to the committed offsets and resumes.

        It may have resumed already: when it had just taken over a former assignment.
        """
        with ending_process("engine, taking over"):
            stop_flow(self._app)
            self._forget()
            generation = self._app.consumer_generation_id
            places = assigned(self._app, (JOURNAL,))
            for tp in places:
                partition = await asyncio.to_thread(self._load, tp.partition, generation)
                self._partitions[tp.partition] = partition
                self._tasks.append(asyncio.create_task(self._keep(tp.partition, partition)))
            # all at once: while one is folded anew, the others may stand
            self.applied.update({p: partition.fold.applied for p, partition in self._partitions.items()})
            await resume_behind(self._app, {tp: self.applied[tp.partition] for tp in places})

    def _forget(self) -> None:
        for task in self._tasks:
            task.cancel()
        for partition in self._partitions.values():
            partition.room.set()
        self._tasks.clear()
        self._partitions.clear()
        self.applied.clear()

    def _load(self, number: int, generation: int) -> Partition:
        snapshot = latest(self._log, number, logger.warning)
        fold, sent = self._restored(number, snapshot)
        start, end = self._log.earliest(JOURNAL, number), self._log.highwater(JOURNAL, number)
        if not start <= fold.applied + 1 <= end:
            end_process(
                f"engine: partition {number} was folded up to {fold.applied}, but the journal has"
                f" [{start}, {end}): it was cut or replaced; restore it, or begin a new log"
            )
        for record in self._log.read(JOURNAL, number, fold.applied + 1, sent + 1):
            if record.damaged:
                end_process(
                    f"engine: {record.place} was folded, and is {DAMAGED}: to fold it again would make"
                    " another history. Without a copy, make a new home without this record:"
                    " `tcpdashboard replay --into DIR`"
                )
            fold.fold(record)
        logger.info("engine: partition %d goes on behind %d", number, fold.applied)
        return Partition(fold, generation, self._writer(number, snapshot))

    def _restored(self, number: int, snapshot: Snapshot | None) -> tuple[Fold, int]:
        if snapshot is None or snapshot.state is None:
            return self._fold_factory(number, None), snapshot.sent if snapshot else -1
        try:
            return self._fold_factory(number, snapshot.state), snapshot.sent
        except ValueError as error:
            logger.warning("engine: partition %d is folded anew: %s", number, error)
            return self._fold_factory(number, None), snapshot.sent

    def _writer(self, number: int, former: Snapshot | None) -> SnapshotWriter:
        async def send(key: bytes, value: bytes) -> Awaitable[Any]:
            return await self._send(SNAPSHOTS, number, key, value, None)

        return SnapshotWriter(send, epoch=self._epoch, former=former)

    # ------------------------------------------------------------ folding

    async def _take(self, event: EventT[Any]) -> None:
        message = event.message
        partition = self._partitions.get(message.partition)
        if partition is None or message.generation_id != partition.generation:
            return
        if message.offset <= partition.fold.applied:
            return
        record = record_of(self._app, event)
        if record.offset != partition.fold.applied + 1:
            end_process(hole("engine", record, partition.fold.applied))
        partition.half_sent = True
        for topic, key, value, time_ms in partition.fold.fold(record):
            partition.sends.append(await self._send(topic, record.partition, key, value, _seconds(time_ms)))
        partition.add(event)
        while partition.is_full() and self._partitions.get(record.partition) is partition:
            partition.room.clear()
            await partition.room.wait()

    async def _send(
        self, topic: str, partition: int, key: bytes, value: bytes, time_s: float | None
    ) -> Awaitable[Any]:
        name = self._app.topic_of(topic)
        return await self._app.producer.send(name, key, value, partition, time_s, self._headers)

    async def _keep(self, number: int, partition: Partition) -> None:
        """Outputs acknowledged, then the snapshot, then the acknowledgement of the records."""
        with ending_process("engine, keeping"):
            while True:
                await partition.wait_for_work()
                captured = partition.capture() if partition.is_due() else None
                applied = await self._confirm(number, partition)
                if captured is None:
                    continue
                state, events = captured
                await partition.writer.write(applied, state)
                if partition.generation == self._app.consumer_generation_id:
                    for event in events:
                        event.ack()
                if not partition.events:
                    partition.settled.set()

    async def _confirm(self, number: int, partition: Partition) -> int:
        """Wait until the outputs of all that is folded now are acknowledged; its last offset."""
        applied = partition.fold.applied
        sends, partition.sends = partition.sends, []
        for acknowledged in sends:
            await acknowledged
        partition.confirmed = applied
        if self._partitions.get(number) is partition:
            self.applied[number] = applied
        return applied


def _seconds(time_ms: int) -> float:
    """Faust counts in float seconds and its transports cut to ms: stay clear of the edge."""
    return (time_ms + 0.25) / 1000


def _now() -> float:
    return time.monotonic()
