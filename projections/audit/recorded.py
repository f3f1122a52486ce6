"""Derived streams as they are recorded, repeats (`streams.causes`) marked."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from streams.causes import Int, Seen
from streams.log import Log
from streams.records import Record

RECENT_MAX = 65_536
"""Repeats come within the snapshot interval of a crash, at most 10,000 journal records: so many outputs are
compared with their repeats. One that repeats none of them is a conflict too."""


class OutputHead(msgspec.Struct, frozen=True, array_like=True):
    """The front of an `Output`, decoded without its events."""

    partition: Int
    offset: Int
    indexes: tuple[Int, ...]


_head = msgspec.msgpack.Decoder(OutputHead)


class Recorded(NamedTuple):
    """A derived record; `head` None where its bytes are not an output; `repeat` of an earlier one.

    `conflict`: a repeat that is not, byte for byte and of the same time, what was first recorded; no honest
    worker writes one.
    """

    record: Record
    head: OutputHead | None
    repeat: bool
    conflict: bool = False


def head_of(value: bytes) -> OutputHead | None:
    try:
        return _head.decode(value)
    except Exception:  # noqa: BLE001 - bytes may be wrong in more ways than a DecodeError
        return None


def recorded(
    log: Log, topic: str, partition: int, start: int = 0, stop: int | None = None, seen: Seen | None = None
) -> Iterator[Recorded]:
    """Records of a derived topic in order, those that repeat a cause marked; `seen` moves with them."""
    seen = Seen() if seen is None else seen
    recent: dict[tuple[bytes | None, int, tuple[int, ...]], int] = {}
    for record in log.read(topic, partition, start, stop):
        head = head_of(record.value)
        if head is None or not head.indexes or head.offset < 0:
            yield Recorded(record, head, repeat=False)
            continue
        market = (record.key or b"").decode(errors="replace")
        repeat = seen.repeats(market, head.offset, head.indexes) == len(head.indexes)
        identity, content = (record.key, head.offset, head.indexes), hash((record.value, record.time_ms))
        if repeat:
            yield Recorded(record, head, repeat, conflict=recent.get(identity) != content)
            continue
        recent[identity] = content
        if len(recent) > RECENT_MAX:
            del recent[next(iter(recent))]
        yield Recorded(record, head, repeat)
