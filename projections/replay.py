"""Replay: the same fold over recorded bytes, without any machinery."""

from collections.abc import Iterator
from typing import NamedTuple

from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from projections.strategies.code import Strategies
from streams.log import Log
from streams.records import Record
from streams.topics import JOURNAL


class Replayed(NamedTuple):
    """One journal record and what followed from it."""

    record: Record
    derived: list[Derived]


def replay(pipeline: Pipeline, log: Log, stop: int | None = None) -> Iterator[Replayed]:
    """Fold the journal partition of `pipeline` from where it stands up to `stop` (None: the highwater)."""
    for record in log.read(JOURNAL, pipeline.partition, pipeline.applied + 1, stop):
        yield Replayed(record, pipeline.fold(record).derived)


def fresh(log: Log, strategies: Strategies) -> list[Pipeline]:
    """A pipeline at the beginning of each partition."""
    return [Pipeline(partition, strategies) for partition in range(log.partitions)]
