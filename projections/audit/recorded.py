"""Derived streams as they are recorded, repeats hidden.

At-least-once delivery repeats outputs after a crash. A repeat has a cause at or before the last one seen of
its partition; every reader hides it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from streams.log import Log, Record

RECENT_MAX = 4096
"""Repeats come within one commit interval of a crash; so many records are compared with their repeats."""


class OutputHead(msgspec.Struct, frozen=True, array_like=True):
    """The front of an `Output`, decoded without its events."""

    partition: int
    offset: int
    indexes: tuple[int, ...]


_head = msgspec.msgpack.Decoder(OutputHead)


class Recorded(NamedTuple):
    """A derived record; `head` None where its bytes are not an output; `repeat` of an earlier one.

    `conflict`: a repeat whose bytes differ from those first recorded, which no honest worker writes.
    """

    record: Record
    head: OutputHead | None
    repeat: bool
    conflict: bool = False


def head_of(value: bytes) -> OutputHead | None:
    try:
        return _head.decode(value)
    except msgspec.DecodeError:
        return None


def recorded(
    log: Log, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[Recorded]:
    """Records of a derived topic in order, those that repeat a cause marked."""
    last = (-1, -1)
    recent: dict[tuple[int, int], int] = {}
    for record in log.read(topic, partition, start, stop):
        head = head_of(record.value)
        if head is None or not head.indexes or head.offset < 0:
            yield Recorded(record, head, repeat=False)
            continue
        cause = (head.offset, head.indexes[-1])
        repeat = cause <= last
        conflict = repeat and recent.get(cause, hash(record.value)) != hash(record.value)
        if not repeat:
            last = cause
            recent[cause] = hash(record.value)
            if len(recent) > RECENT_MAX:
                del recent[next(iter(recent))]
        yield Recorded(record, head, repeat, conflict)
