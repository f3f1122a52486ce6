"""Faust's Kafka transport: with a shorter wait in the broker, a way back to the beginning, no empty commits.

A consumer has one fetch on its way to a broker, for the partitions of which it holds no records. When
those are all quiet, the broker keeps the fetch for as long as it may, and meanwhile nothing is fetched
of a busy partition whose records run out. Faust fixes that wait to 1.5 s and has no setting for it: a
worker in a backlog stood still for three quarters of its time.

What is fetched while partitions are assigned Faust drops, and then goes back to what is committed; aiokafka
passes over a committed 0 there, so that the first records of a partition were skipped.

Of a commit Faust leaves out the partitions that have just gone to others. Where nothing is left, aiokafka
refuses it, and that ended a worker.
"""

from collections.abc import Mapping
from typing import Any, cast

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

FETCH_WAIT_MS = 100
"""Of a fetch that finds nothing; a worker without input asks so often."""


class ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = cast(Any, super()._create_worker_consumer(transport))
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        committed = await super().seek_to_committed()
        await cast(Any, self).call_thread(
            self._seek_to_beginnings, [tp for tp, at in committed.items() if at == 0]
        )
        return committed

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self.assignment().isdisjoint(offsets):
            return False
        return await super()._commit(offsets)

    async def _seek_to_beginnings(self, tps: list[TP]) -> None:
        consumer = cast(Any, self._ensure_consumer())
        for tp in tps:
            consumer.seek(tp, 0)


class Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=cast(Any, self).beacon)


class Transport(driver.Transport):
    Consumer = Consumer
