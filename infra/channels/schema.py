"""JSON Schema (draft-07, which AsyncAPI speaks) of the messages of the channels. Pure, no I/O.

A message is made of its event's annotations (`infra.present.fields`) and of what
`infra.channels.messages` puts around it, and so is its schema: the two cannot drift apart. References
point into `#/components/schemas/`.
"""

from collections.abc import Iterable
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from infra.channels.messages import GAP
from infra.db.rows import SYSTEM_EVENTS
from infra.present.fields import fields, per_row
from infra.present.values import SHOWN_BYTES
from streams.causes import Cause
from streams.events import Candle, Equity, Event, Sizing, WorkerStarted, WorkerStopped
from streams.journal import event_tag

Schema = dict[str, Any]

SHOWN_MAX = 4 * SHOWN_BYTES
"""A byte that is no text is shown as four characters."""
_DECIMAL = r"^-?[0-9]+(\.[0-9]+)?$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.([0-9]{3}){1,3})?Z$"


def _decimal(description: str) -> Schema:
    return {"type": "string", "pattern": _DECIMAL, "description": f"A decimal string {description}."}


def _object(properties: Schema, optional: Iterable[str] = ()) -> Schema:
    """An object that has these properties, all but the optional ones, and no other."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


PARTS: dict[str, Schema] = {
    "Time": {
        "type": "string",
        "format": "date-time",
        "pattern": _TIME,
        "description": "ISO 8601 UTC with as many of 0, 3, 6 or 9 decimals as it needs.",
    },
    "Price": _decimal("with `price_scale` decimals"),
    "Size": _decimal("with `size_scale` decimals, in base units or contracts"),
    "Cash": _decimal("with `cash_scale` decimals, in the settle currency"),
    "Cause": {
        "type": "string",
        "pattern": "^[0-9]+:[0-9]+:[0-9]+$",
        "description": "`partition:offset:index` in the journal: the identity of an event.",
    },
    "Sizing": {
        "type": "string",
        "pattern": r"^(amount|cash|equity):[0-9]+(\.[0-9]+)?$",
        "description": "How a target of ±1 becomes a size: amount:X, cash:X or equity:F.",
    },
    "Data": {"type": "string", "maxLength": SHOWN_MAX, "description": "The first bytes, as text."},
}
"""What the schemas of several messages refer to."""
_UNITS = {"time": "Time", "price": "Price", "size": "Size", "cash": "Cash", "bytes": "Data"}
_STRUCTS = {Cause: "Cause", Sizing: "Sizing"}
_DESCRIPTIONS: dict[type[Event], str] = {
    Equity: "The bot's mark at a candle's close; sent only when it has changed.",
    WorkerStarted: "A worker has begun to fold.",
    WorkerStopped: "A worker has ended in an orderly way.",
}
"""Of events whose docstring speaks of the log's form, or that need none there."""
_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", NoneType: "null"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def event_schema(kind: type[Event]) -> Schema:
    """The counted message of a kind of event."""
    shown = {field.name: _schema(field.hint, field.unit) for field in fields(kind)}
    if kind is Candle:
        shown["forming"] = {"const": False}
    for name in per_row(kind):  # of a column a message has its bot's value
        shown[name] = shown[name]["items"]
    # what is about the machinery has no market where it concerns none, and no cause where it is no fold's
    machinery = kind in SYSTEM_EVENTS
    cause = {"anyOf": [ref("Cause"), {"type": "null"}]} if machinery else ref("Cause")
    schema = _message(event_tag(kind), shown | {"cause": cause}, ("venue", "symbol") if machinery else ())
    if machinery:
        schema["dependencies"] = {"venue": ["symbol"], "symbol": ["venue"]}
    return schema | {"description": _DESCRIPTIONS.get(kind) or cleandoc(kind.__doc__ or "")}


def forming_schema() -> Schema:
    """The open candle of a market: outside the count, without what is not content."""
    shown = {one.name: _schema(one.hint, one.unit) for one in fields(Candle) if one.content}
    shown |= {"forming": {"const": True}, "cause": {"type": "null"}}
    schema = _message(event_tag(Candle), shown)
    schema["properties"]["seq"] = _uncounted("The channel's last `seq`: a forming candle is not counted.")
    return schema


def gap_schema() -> Schema:
    description = "The first `seq` that is left out; the last is `seq` itself."
    return _object(
        {
            "seq": _counted(),
            "type": {"const": GAP},
            "first": {"type": "integer", "minimum": 1, "description": description},
            "last": {"type": "integer", "minimum": 1},
        }
    )


def lost_schema() -> Schema:
    offset = {"type": "integer", "minimum": 0}
    properties = {"seq": _uncounted("The channel's last `seq`."), "type": {"const": GAP}}
    properties |= {"topic": {"type": "string"}, "partition": offset}
    return _object(properties | {"first_offset": offset, "last_offset": offset})


def heartbeat_schema() -> Schema:
    seq = _uncounted("The last `seq` that was sent on this socket.")
    return _object({"type": {"const": "heartbeat"}, "seq": seq, "timestamp": ref("Time")})


def snapshot_schema(messages: Iterable[str], *, on_socket: bool) -> Schema:
    """The newest of a channel that carries `messages`; on a socket it says its type, as all there do."""
    head = {"type": {"const": "snapshot"}} if on_socket else {}
    seq = _uncounted("The last `seq`; 0 where the channel has none yet.")
    newest = {"type": "array", "items": {"oneOf": [ref(name) for name in messages]}}
    return _object(head | {"seq": seq, "messages": newest})


def _message(tag: str, shown: Schema, optional: tuple[str, ...] = ()) -> Schema:
    text = {"type": "string"}
    return _object(
        {"seq": _counted(), "type": {"const": tag}, "venue": text, "symbol": text} | shown, optional
    )


def _counted() -> Schema:
    return {"type": "integer", "minimum": 1, "description": "Counts the channel's messages from 1, dense."}


def _uncounted(description: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description}


def _schema(hint: Any, unit: str = "") -> Schema:
    """The schema of an annotation, whose integers are of the unit."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _schema(parts[0], unit)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin is tuple:
        return {"type": "array", "items": _schema(parts[0], unit)}
    if origin is dict:
        # JSON has no NaN, which an indicator is until it is warm
        values = {"type": ["number", "null"]} if parts[1] is float else _schema(parts[1], unit)
        return {"type": "object", "additionalProperties": values}
    if origin in (Union, UnionType):
        return {"anyOf": [_schema(part, unit) for part in parts]}
    if hint in (int, bytes) and unit:
        return ref(_UNITS[unit])
    return ref(_STRUCTS[hint]) if hint in _STRUCTS else {"type": _TYPES[hint]}
