"""Damage: records that are not what was appended, by their checksums, and offsets that are gone."""

from collections.abc import Callable, Iterator

from msgspec import Struct

from streams.codec import DAMAGED
from streams.log import Log
from streams.records import Record
from streams.topics import ALL, RESEARCH, SNAPSHOTS


class Damage(Struct, frozen=True):
    topic: str
    partition: int
    offset: int
    why: str


def damage(log: Log, note: Callable[[Record], None] = lambda record: None) -> Iterator[Damage]:
    """Read all that the log holds but the ledger of trials, which proves nothing of it, and name what is
    damaged; `note` is given each record."""
    for topic in ALL:
        if topic == RESEARCH:
            continue
        for partition in range(log.partitions):
            due = 0
            for record in log.read(topic, partition):
                if record.offset > due and topic != SNAPSHOTS:
                    yield Damage(topic, partition, due, _gone(record.offset - due))
                if record.damaged:
                    yield Damage(topic, partition, record.offset, DAMAGED)
                note(record)
                due = record.offset + 1


def _gone(records: int) -> str:
    count = "the record is" if records == 1 else f"{records} records from here on are"
    return f"{count} gone, and later ones are there; restore them from a copy of the log"
