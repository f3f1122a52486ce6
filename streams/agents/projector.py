"""The projector: the Faust agent that hands derived records to a sink, generic over what the sink is.

Simpler than the engine: the sink keeps positions and rows in one transaction.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from faust.types import EventT, StreamT

from streams.agents.app import App, end_process, ending_process, raw_topic, stop_flow
from streams.agents.consuming import SETTLE_S, assigned, hole, record_of, resume_behind, unacknowledged
from streams.agents.sinks import Sink, SinkUnreachableError, apply_when_reachable
from streams.log import Log
from streams.records import Record
from streams.topics import GROUP

logger = logging.getLogger(__name__)

BATCH_RECORDS_MAX = 500
BATCH_S = 0.02


class Projector:
    """The agent that hands derived records to a sink, in batches, one at a time.

    `applied`: by (topic, partition) assigned to this worker, the last offset in the sink; it may be
    read from any thread.
    """

    def __init__(self, app: App, log: Log, sink: Sink, topics: Sequence[str]) -> None:
        self.applied: dict[tuple[str, int], int] = {}
        self._app = app
        self._log = log
        self._sink = sink
        self._topics = tuple(topics)
        self._generation = -1
        self._taken: dict[tuple[str, int], int] = {}
        self._batch: list[tuple[Record, EventT[Any]]] = []
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._away = False
        self._room = asyncio.Event()
        self._applying = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

        async def projector(stream: StreamT[Any]) -> None:
            async for event in unacknowledged(stream):
                with ending_process("projector"):
                    await self._take(event)

        faust: Any = app  # its types are known in part
        faust.agent(raw_topic(app, *topics), name="projector")(projector)
        faust.on_rebalance_complete.connect(self._on_assigned)

    def positions(self) -> dict[tuple[str, int], int]:
        return {} if self._away else dict(self.applied)

    def is_at_end(self) -> bool:
        """Whether every partition is assigned to this worker and all its records are in the sink."""
        places = [(topic, p) for topic in self._topics for p in range(self._log.partitions)]
        return all(self.applied.get(place, -2) + 1 >= self._log.highwater(*place) for place in places)

    async def settle(self) -> None:
        """Apply what has been taken; gives up after `SETTLE_S`, which costs nothing but time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._apply(), SETTLE_S)

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        with ending_process("projector, taking over"):
            stop_flow(self._app)
            async with self._applying:
                self._empty_batch()
                self._taken = {}
                self._away = False
                self._generation = self._app.consumer_generation_id
                mine = assigned(self._app, self._topics)
                places = {tp: (self._app.stream_of(tp.topic), tp.partition) for tp in mine}
                try:
                    positions = await asyncio.to_thread(self._sink.positions)
                except SinkUnreachableError as error:
                    logger.warning("projector: from the commits, which lie before the positions: %s", error)
                    positions = await asyncio.to_thread(self._committed)
                self._taken = {place: positions.get(place, -1) for place in places.values()}
                self.applied.clear()
                self.applied.update(self._taken)
                behind = {tp: self._taken[place] for tp, place in places.items()}
                await resume_behind(self._app, behind)
            if self._task is None:
                self._task = asyncio.create_task(self._keep())

    async def _take(self, event: EventT[Any]) -> None:
        message = event.message
        place = (self._app.stream_of(message.topic), message.partition)
        if message.generation_id != self._generation or place not in self._taken:
            return
        if message.offset <= self._taken[place]:
            return
        record = record_of(self._app, event)
        if record.offset != self._taken[place] + 1:
            end_process(hole("projector", record, self._taken[place]))
        self._taken[place] = record.offset
        self._batch.append((record, event))
        self._some.set()
        if self._away:
            self._hold()
        elif len(self._batch) >= BATCH_RECORDS_MAX:
            self._full.set()
            self._room.clear()
            await self._room.wait()

    async def _keep(self) -> None:
        with ending_process("projector, applying"):
            while True:
                await self._some.wait()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), BATCH_S)
                await self._apply()

    async def _apply(self) -> None:
        async with self._applying:
            batch, generation = self._empty_batch(), self._generation
            if not batch:
                return

            def go_on() -> bool:
                self._hold()
                return generation == self._app.consumer_generation_id

            records = [record for record, _ in batch]
            if not await apply_when_reachable(self._sink, records, go_on):
                return  # another assignment waits, which reads them again
            for record, event in batch:
                self.applied[record.topic, record.partition] = record.offset
                if generation == self._app.consumer_generation_id:
                    event.ack()
            if self._away:
                self._release()

    def _hold(self) -> None:
        """Fetch no more while the sink is away, and take what was fetched already.

        Were it left in Faust's queue, a full one would keep the journal's records from the engine.
        """
        self._away = True
        self._room.set()
        for tp in assigned(self._app, self._topics):
            self._app.consumer.on_buffer_full(tp)

    def _release(self) -> None:
        self._away = False
        for tp in assigned(self._app, self._topics):
            self._app.consumer.on_buffer_drop(tp)

    def _committed(self) -> dict[tuple[str, int], int]:
        """Positions by Faust's commits, which follow the sink's; what it has already, it passes over."""
        return {place: offset - 1 for place, offset in self._log.committed(GROUP).items()}

    def _empty_batch(self) -> list[tuple[Record, EventT[Any]]]:
        batch, self._batch = self._batch, []
        self._some.clear()
        self._full.clear()
        self._room.set()
        return batch
