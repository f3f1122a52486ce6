"""The one place where events become bytes and bytes become events.

Journal records hold one `Input`, derived records one `Output`, those of the ledger one research event, all
MessagePack. A tag that is no longer
written is kept readable by an upcaster: a function from the old fields to the new event, registered under
the old tag, with a golden sample of its bytes in `tests/golden`.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast, get_args

import msgspec

from streams.events import DerivedEvent, Event, JournalEvent, ResearchEvent
from streams.records import Input, Output, Record

UPCASTERS: dict[str, Callable[[dict[str, Any]], Event]] = {}
"""Old tag → function that makes today's event of the old fields."""

DAMAGED = "changed since it was appended, by its checksum; restore the log from a copy"

T = TypeVar("T", Input, Output)

_encoder = msgspec.msgpack.Encoder()
_input = msgspec.msgpack.Decoder(Input)
_output = msgspec.msgpack.Decoder(Output)
_research: msgspec.msgpack.Decoder[ResearchEvent] = msgspec.msgpack.Decoder(ResearchEvent)


class UndecodableError(ValueError):
    """Bytes that are no event of ours; the message says where and why."""


def encode(value: Input | Output | ResearchEvent) -> bytes:
    return _encoder.encode(value)


def input_of(record: Record) -> Input:
    """What a journal record holds. Raises `UndecodableError`."""
    return decode_input(_whole(record))


def output_of(record: Record) -> Output:
    """What a derived record holds. Raises `UndecodableError`."""
    return decode_output(_whole(record))


def research_of(record: Record) -> ResearchEvent:
    """What a record of the ledger holds. Raises `UndecodableError`."""
    value = _whole(record)
    try:
        return _research.decode(value)
    except Exception as error:  # noqa: BLE001 - as below
        return _old_research(value, error)


def _whole(record: Record) -> bytes:
    if record.damaged:
        raise UndecodableError(DAMAGED)
    return record.value


def decode_input(value: bytes) -> Input:
    """Raises `UndecodableError`."""
    try:
        return _input.decode(value)
    except Exception as error:  # noqa: BLE001 - bad UTF-8, nesting and tags of other kinds are not DecodeErrors
        return _old_input(value, error)


def decode_output(value: bytes) -> Output:
    """Raises `UndecodableError`."""
    try:
        return _output.decode(value)
    except Exception as error:  # noqa: BLE001 - as above
        return _old_output(value, error)


def _old_input(value: bytes, error: Exception) -> Input:
    source, epoch, sequence, event = _parts(value, 4, error)
    return _converted([source, epoch, sequence, _upcast(event, error)], Input)


def _old_output(value: bytes, error: Exception) -> Output:
    partition, offset, indexes, events = _parts(value, 4, error)
    if not isinstance(events, list):
        raise UndecodableError(f"not an event record: {error}") from error
    upcast = [_upcast(event, error) for event in cast(list[Any], events)]
    return _converted([partition, offset, indexes, upcast], Output)


def _old_research(value: bytes, error: Exception) -> ResearchEvent:
    try:
        return msgspec.convert(_upcast(msgspec.msgpack.decode(value), error), ResearchEvent)
    except UndecodableError:
        raise
    except Exception:  # noqa: BLE001 - as above
        raise UndecodableError(f"not an event of the ledger: {error}") from error


def _converted(parts: list[Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(parts, kind)
    except Exception as error:
        raise UndecodableError(f"not an event record: {error}") from error


def _parts(value: bytes, count: int, error: Exception) -> list[Any]:
    try:
        parts: object = msgspec.msgpack.decode(value)
    except Exception:  # noqa: BLE001 - as above
        parts = None
    if not isinstance(parts, list) or len(cast(list[Any], parts)) != count:
        raise UndecodableError(f"not an event record: {error}") from error
    return cast(list[Any], parts)


def _upcast(event: Any, error: Exception) -> Any:
    fields = cast(dict[str, Any], event) if isinstance(event, dict) else {}
    tag = fields.get("type")
    if not isinstance(tag, str) or tag not in TAGS.keys() | UPCASTERS.keys():
        raise UndecodableError(f"unknown event {tag!r}: {error}") from error
    return msgspec.to_builtins(UPCASTERS[tag](fields)) if tag in UPCASTERS else fields


def _tag(event: type[Event]) -> str:
    return str(event.__struct_config__.tag)


JOURNAL_EVENTS: dict[str, type[Event]] = {_tag(e): e for e in get_args(JournalEvent)}
DERIVED_EVENTS: dict[str, type[Event]] = {_tag(e): e for e in get_args(DerivedEvent)}
RESEARCH_EVENTS: dict[str, type[Event]] = {_tag(e): e for e in get_args(ResearchEvent)}
TAGS: dict[str, type[Event]] = JOURNAL_EVENTS | DERIVED_EVENTS | RESEARCH_EVENTS


def schemas() -> dict[str, Any]:
    """JSON Schema (2020-12) of every event by tag, as `log --format json` prints it before decimals."""
    events, definitions = msgspec.json.schema_components(list(TAGS.values()), ref_template="#/$defs/{name}")
    return {"$defs": definitions, "events": dict(zip(TAGS, events, strict=True))}
