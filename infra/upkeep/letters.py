"""Dead letters with all of their bytes, read from the log by the id that the doors show."""

from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Engine

from infra.db.projector import check_output
from infra.db.queries import why_refused
from streams.codec import UndecodableError, output_of
from streams.events import DeadLetter, Event
from streams.journal import event_tag
from streams.log import Log
from streams.records import Record, dead_letter
from streams.topics import JOURNAL, PROJECTED, SYSTEM


class LetterError(LookupError):
    """There is no such dead letter; the message says what stands there."""


class Letter(NamedTuple):
    """A dead letter, when the log was told of it, and its bytes: all of them where the log has them."""

    event: DeadLetter
    time_ns: int
    data: bytes

    @property
    def cut(self) -> bool:
        """Whether bytes are missing: of what never became a record, the log keeps the beginning."""
        return len(self.data) < self.event.size


def find_letter(log: Log, database: Engine, id_: str) -> Letter:
    """`id_` is `partition:offset:index` in the stream `system`; another stream has its name in front, and the
    database says why its record could not be projected.

    Raises `LetterError`.
    """
    stream, partition, offset, index = _place(id_)
    record = _record(log, stream, partition, offset)
    if record is None:
        raise LetterError(f"there is no record {stream}:{partition}:{offset}; `dead-letters` lists them")
    reason = None if stream == SYSTEM else why_refused(database, stream, partition, offset)
    event = _event(record, index) if reason is None else dead_letter(record, reason)
    if not isinstance(event, DeadLetter):
        kind = "nothing" if event is None else event_tag(event)
        raise LetterError(f"{id_} is no dead letter but {kind}; `dead-letters` lists them")
    return Letter(event, record.time_ns, _data(log, event))


def _place(id_: str) -> tuple[str, int, int, int]:
    parts = id_.split(":")
    stream = SYSTEM if parts[0].isdecimal() else parts.pop(0)
    numbers = [int(part) for part in parts if part.isdecimal()]
    if stream not in PROJECTED or len(numbers) != len(parts) or len(numbers) not in (2, 3):
        raise LetterError(f"dead letter {id_!r}: write PARTITION:OFFSET:INDEX, as `dead-letters` lists them")
    return (stream, numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 0)


def _record(log: Log, topic: str, partition: int, offset: int) -> Record | None:
    if topic not in (JOURNAL, *PROJECTED) or not 0 <= partition < log.partitions:
        return None
    return next(log.read(topic, partition, offset, offset + 1), None)


def _event(record: Record, index: int) -> Event | None:
    """The event of this number, or the dead letter that the projector makes of what it cannot read."""
    try:
        output = output_of(record)
        check_output(record, output, (record.key or b"").decode(errors="replace"))
    except UndecodableError as error:
        return dead_letter(record, str(error))
    return output.events[index] if index < len(output.events) else None


def _data(log: Log, event: DeadLetter) -> bytes:
    record = _record(log, event.topic, event.partition, event.offset) if event.offset >= 0 else None
    if record is not None and sha256(record.value).hexdigest() == event.sha256:
        return record.value
    return event.data
