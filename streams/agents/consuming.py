"""What the Faust agents `engine` and `projector` share.

Nothing raises out of an agent, since Faust would acknowledge the record: whatever goes wrong there
ends the process (`streams.agents.app.end_process`) before the acknowledgement, and a restart mends it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from faust.transport.consumer import Consumer
from faust.types import TP, EventT, StreamT

from streams.agents.app import App
from streams.records import Record, headers_of

SETTLE_S = 3.0
"""Handing over a partition may take so long; the session, 6 s, is longer."""


def unacknowledged(stream: StreamT[Any]) -> AsyncIterator[EventT[Any]]:
    """The events of a stream; who takes them acknowledges them."""
    return cast(Any, stream).noack().events()


async def resume_behind(app: App, applied: Mapping[TP, int]) -> None:
    """Make Faust continue after these offsets: it goes to what is committed once all have taken over.

    A commit that fails for a rebalance is followed by another assignment.
    """
    after = {tp: offset + 1 for tp, offset in applied.items()}
    if after:
        await cast(Consumer, app.consumer)._commit(after)  # pyright: ignore[reportPrivateUsage] - commits without acknowledged records have no other door


def assigned(app: App, topics: Sequence[str]) -> list[TP]:
    """The partitions of these topics that this worker has."""
    return sorted(tp for tp in app.consumer.assignment() if app.stream_of(tp.topic) in topics)


def record_of(app: App, event: EventT[Any]) -> Record:
    """The event as any reader of the log gets it."""
    message = event.message
    stream, time_ms = app.stream_of(message.topic), round(message.timestamp * 1000)
    value = message.value or b""
    headers = headers_of(cast(list[tuple[str, bytes | None]], message.headers or ()))
    damaged = message.checksum == b""  # so says the embedded log's transport
    return Record(stream, message.partition, message.offset, time_ms, message.key, value, headers, damaged)


def hole(who: str, record: Record, applied: int) -> str:
    """The message about a record that does not follow `applied`."""
    return (
        f"{who}: {record.topic}:{record.partition} goes from offset {applied} to {record.offset}:"
        " records were skipped; a restart reads them again"
    )
