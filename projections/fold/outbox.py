"""What follows from one journal record: its events with their causes, and an account of what was done.

Why: ADR 2, 18.
"""

from typing import NamedTuple

from msgspec import Struct, field

from projections.fold.turn import Account, CommandError
from streams.causes import Cause
from streams.codec import encode
from streams.events import BotChanged, DeadLetter, DerivedEvent
from streams.gaps import KnownGap
from streams.records import Output, Record
from streams.ticks import U1, trades
from streams.topics import BOTS, RECORD_BYTES_MAX, SYSTEM


class Derived(NamedTuple):
    """A record to be appended to a derived stream; `time_ms` is its cause's."""

    topic: str
    key: bytes
    value: bytes
    time_ms: int


class Report(Struct):
    """What the fold of a record did. `kinds`: of the rows that it brought, see `RowKind`. By market that it
    touched: the watermark (ns) and, where there are any, the open gaps."""

    account: Account = field(default_factory=Account)
    kinds: U1 | None = None
    watermarks: dict[str, int] = field(default_factory=dict[str, int])
    gaps: dict[str, list[KnownGap]] = field(default_factory=dict[str, list[KnownGap]])
    dead_letters: list[DeadLetter] = field(default_factory=list[DeadLetter])
    bots: list[BotChanged] = field(default_factory=list[BotChanged])

    @property
    def ticks(self) -> int:
        """How many of the rows are trades."""
        return 0 if self.kinds is None else trades(self.kinds)


class Outbox:
    """Collects the events of one record and gives each its cause.

    `source`: whose the record is.

    Within a market the indexes rise in the order of emission; `streams.causes` says what readers make of it.
    """

    def __init__(self, record: Record, count: int = 0) -> None:
        self.record = record
        self.key = record.key or b""
        self.source = ""
        self.count = count
        self.report = Report()
        self._boxes: dict[tuple[str, bytes], tuple[list[int], list[DerivedEvent]]] = {}

    def emit(self, topic: str, event: DerivedEvent) -> Cause:
        box = self._boxes.get((topic, self.key))
        if box is None:
            box = self._boxes[topic, self.key] = ([], [])
        indexes, emitted = box
        index = self.count
        self.count += 1
        indexes.append(index)
        emitted.append(event)
        if topic == BOTS and isinstance(event, BotChanged):
            self.report.bots.append(event)
        elif topic == SYSTEM and isinstance(event, DeadLetter):
            self.report.dead_letters.append(event)
        return Cause(self.record.partition, self.record.offset, index)

    def next_cause(self) -> Cause:
        return Cause(self.record.partition, self.record.offset, self.count)

    def derived(self) -> list[Derived]:
        return [
            Derived(topic, key, value, self.record.time_ms)
            for (topic, key), (indexes, emitted) in self._boxes.items()
            for value in self._encoded(tuple(indexes), tuple(emitted))
        ]

    def _encoded(self, indexes: tuple[int, ...], emitted: tuple[DerivedEvent, ...]) -> list[bytes]:
        value = encode(Output(self.record.partition, self.record.offset, indexes, emitted))
        if len(value) <= RECORD_BYTES_MAX:
            return [value]
        if len(emitted) == 1:
            raise CommandError(
                f"an event of {len(value)} bytes follows from it; at most {RECORD_BYTES_MAX} may"
            )
        half = len(emitted) // 2
        return self._encoded(indexes[:half], emitted[:half]) + self._encoded(indexes[half:], emitted[half:])
