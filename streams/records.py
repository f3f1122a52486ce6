"""Records of the log: their place, their value, and the partition of a key.

Why: ADR 2.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from msgspec import Struct

from streams.causes import Cause, Int
from streams.events import DeadLetter, DerivedEvent, JournalEvent


class Record(NamedTuple):
    """One record as it stands in the log. `time_ms` is UTC; headers are not part of a record's content.

    `damaged`: it is not what was appended, by its checksum; `streams.codec` decodes none such.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    damaged: bool = False

    @property
    def place(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    @property
    def time_ns(self) -> int:
        """`time_ms`, which a writer may choose freely, as a time that a door can show."""
        return time_ns(self.time_ms)


def time_ns(time_ms: int) -> int:
    """In 64 bits: what lies beyond is the edge."""
    return min(max(time_ms * 1_000_000, -(2**63)), 2**63 - 1)


class Entry(NamedTuple):
    """A record to be appended; partition None: chosen by the key."""

    topic: str
    key: bytes | None
    value: bytes
    time_ms: int
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def headers_of(pairs: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """A record's headers as every reader gives them; Kafka knows values that are null."""
    return tuple([(name, value or b"") for name, value in pairs])


class Position(NamedTuple):
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


class Input(Struct, frozen=True, array_like=True):
    """A journal record's value. `source` "" has no sequence: a command, known by its request id instead.

    Per partition and source, `sequence` counts from 0 in each `epoch`; a newer epoch is a restarted writer.
    """

    source: str
    epoch: Int
    sequence: Int
    event: JournalEvent


class Output(Struct, frozen=True, array_like=True):
    """A derived record's value: events of one topic and one market that follow from one journal record.

    `indexes` are those of the events among everything that the journal record led to, rising. A notice of the
    machinery (stream `system`, not derived) has `offset` −1.
    """

    partition: Int
    offset: Int
    indexes: tuple[Int, ...]
    events: tuple[DerivedEvent, ...]

    def causes(self) -> list[Cause]:
        return [Cause(self.partition, self.offset, index) for index in self.indexes]


KEY_SHOWN_BYTES = 500
DATA_BYTES_MAX = 64_000
"""So much of what could not be taken stands in its dead letter."""


def dead_letter(record: Record, reason: str) -> DeadLetter:
    """Of a record that could not be decoded or folded."""
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        market=(record.key or b"")[:KEY_SHOWN_BYTES].decode(errors="replace"),
        reason=reason,
        sha256=sha256(record.value).hexdigest(),
        size=len(record.value),
        data=record.value[:DATA_BYTES_MAX],
    )


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's Java client chooses it: murmur2, sign bit masked."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Austin Appleby's MurmurHash2 of 32 bits, with the seed and the byte order of Kafka's
    `org.apache.kafka.common.utils.Utils.murmur2`."""
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    whole = len(data) & ~3
    state = 0x9747B28C ^ len(data)
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * factor & mask
        word = (word ^ word >> 24) * factor & mask
        state = state * factor & mask ^ word
    if whole < len(data):
        state = (state ^ int.from_bytes(data[whole:], "little")) * factor & mask
    state = (state ^ state >> 13) * factor & mask
    return state ^ state >> 15
