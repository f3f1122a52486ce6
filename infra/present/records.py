"""Records of the log as the doors show them: pure, no I/O."""

from typing import Any

from infra.present.values import event_to_json, text_of
from streams.codec import input_of, output_of, research_of
from streams.events import Clock, Event, Market, TickBatch
from streams.journal import event_tag
from streams.records import Record
from streams.topics import JOURNAL, RESEARCH

UNDECODABLE = "undecodable"


def decoded(record: Record, *, content: bool = False) -> list[tuple[str | None, str, dict[str, Any]]]:
    """(cause, type, event) of each event of a record; the market is added where an event does not name it.

    Of an event that has nothing but positions, such as a checkpoint, nothing is content.
    """
    try:
        return _lines(record, content)
    except ValueError as error:  # of the decoder, or of columns whose lengths differ
        return [(None, UNDECODABLE, {"reason": str(error), "data": text_of(record.value)})]


def _lines(record: Record, content: bool) -> list[tuple[str | None, str, dict[str, Any]]]:
    if record.topic == JOURNAL:
        event = input_of(record).event
        return [(None, event_tag(event), _shown(event, record, content))]
    if record.topic == RESEARCH:
        event = research_of(record)
        return [(None, event_tag(event), event_to_json(event, content_only=content))]
    output = output_of(record)
    causes = [str(cause) if output.offset >= 0 else None for cause in output.causes()]
    shown = (_shown(event, record, content) for event in output.events)
    tags = map(event_tag, output.events)
    return [line for line in zip(causes, tags, shown, strict=True) if line[2] or not content]


def _shown(event: Event, record: Record, content: bool) -> dict[str, Any]:
    fields = event_to_json(event, content_only=content)
    names_it = "market" in fields or isinstance(event, Market | TickBatch | Clock)
    if not fields or names_it or b":" not in (record.key or b""):
        return fields
    return {"market": (record.key or b"").decode(errors="replace"), **fields}
