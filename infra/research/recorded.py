"""What the engine has recorded of a partition: dead letters, checkpoints, how far it came, and events."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from projections.audit.recorded import recorded
from projections.fold.pipeline import StateHead
from streams.causes import Cause
from streams.codec import UndecodableError, decode_output
from streams.events import Checkpoint, DeadLetter
from streams.log import Log
from streams.records import Record
from streams.snapshots import Snapshot
from streams.topics import GROUP, JOURNAL, SYSTEM


def dead_letters(log: Log, partition: int, start: int, stop: int) -> Iterator[int]:
    """Offsets of the partition's journal records that the engine could not take, as the records
    start ≤ offset < stop of the stream `system` say."""
    for record in log.read(SYSTEM, partition, start, stop):
        with suppress(UndecodableError):
            for event in decode_output(record.value).events:
                if isinstance(event, DeadLetter) and (event.topic, event.partition) == (JOURNAL, partition):
                    yield event.offset


def checkpoints(records: Iterable[Record]) -> Iterator[tuple[int, str]]:
    """Journal offset and chain of each checkpoint in records of the stream `bots`."""
    for record in records:
        if record.key:
            continue
        with suppress(UndecodableError):
            output = decode_output(record.value)
            for event in output.events:
                if isinstance(event, Checkpoint):
                    yield output.offset, event.journal_sha256


def folded(log: Log, partition: int, snapshot: Snapshot | None) -> int:
    """The journal offset before which all that follows is recorded, by the workers' commit and the newest
    snapshot."""
    committed = log.committed(GROUP).get((JOURNAL, partition), 0)
    return max(committed, 0 if snapshot is None else snapshot.applied + 1)


def chain_of(snapshot: Snapshot | None) -> dict[int, str]:
    """The chain up to the last record that a snapshot's fold has taken, by its offset."""
    if snapshot is None or snapshot.state is None:
        return {}
    head = msgspec.msgpack.decode(snapshot.state, type=StateHead)
    return {head.applied: head.chain.hex()}


def events(
    log: Log, topic: str, partition: int, key: bytes, stop: int
) -> Iterator[tuple[Record, list[tuple[Cause, Any]]]]:
    """The events of a market that follow from journal records before `stop`, repeats hidden."""
    for one in recorded(log, topic, partition):
        if one.record.key != key or one.repeat or one.head is None or one.head.offset >= stop:
            continue
        try:
            output = decode_output(one.record.value)
        except UndecodableError:
            continue
        yield one.record, list(zip(output.causes(), output.events, strict=True))
