"""How events, times and money look at the doors (JSON, CSV, REST): pure functions, no I/O.

Inside, money is an integer with a scale and a time is an integer of nanoseconds; at the doors money is a
decimal string and a time is ISO 8601 with `Z`. `infra.present.fields` says which integer is what.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from infra.present.fields import SCALES, fields
from streams.causes import Cause
from streams.events import BACKFILL, Event, RowKind, Sizing, TickBatch
from streams.ticks import NO_ID, NO_WIDE_ID, Ids, unpack

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_NS = 1_000_000_000
RATE_SCALE = 8
SHOWN_BYTES = 500
"""So much of what could not be taken is shown; `tcpdashboard dead-letters` has the rest."""
_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d{1,9})(?=Z|z|[+-]|$)")


def decimal_string(value: int, scale: int) -> str:
    """`value × 10**-scale` with exactly `scale` decimals: (−5, 2) → "-0.05"."""
    if scale <= 0:
        return str(value * 10**-scale)
    digits = str(value)
    if value > 0 and len(digits) > scale:
        return f"{digits[:-scale]}.{digits[-scale:]}"
    digits = str(abs(value)).rjust(scale + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


def iso(time_ns: int) -> str:
    """ISO 8601 UTC with `Z` and as many of 0, 3, 6 or 9 decimals as the time needs."""
    seconds, fraction = divmod(time_ns, _SECOND_NS)
    day, second = divmod(seconds, 86_400)
    text = f"{_date(day)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    if not fraction:
        return f"{text}Z"
    if fraction % 1_000_000 == 0:
        return f"{text}.{fraction // 1_000_000:03d}Z"
    if fraction % 1_000 == 0:
        return f"{text}.{fraction // 1_000:06d}Z"
    return f"{text}.{fraction:09d}Z"


@lru_cache(maxsize=4_096)
def _date(day: int) -> str:
    """Of a day since 1970."""
    return (_EPOCH + timedelta(days=day)).date().isoformat()


def parse_time(text: str) -> int:
    """ns UTC of an ISO 8601 date or time with up to 9 decimals; without an offset it is UTC.

    Raises `ValueError` for anything else.
    """
    found = _FRACTION.search(text)
    fraction = int(found.group(1).ljust(9, "0")) if found else 0
    try:
        whole = datetime.fromisoformat(_FRACTION.sub("", text))
    except ValueError:
        raise ValueError(f"time {text!r} is not ISO 8601; write it as 2018-01-01T09:05:00Z") from None
    if whole.microsecond:
        raise ValueError(f"time {text!r} has more than 9 decimals; times are whole nanoseconds")
    since = (whole if whole.tzinfo else whole.replace(tzinfo=UTC)) - _EPOCH
    time_ns = (since.days * 86_400 + since.seconds) * _SECOND_NS + fraction
    if not -(2**63) <= time_ns < 2**63:
        raise ValueError(f"time {text!r} is outside 1677 to 2262, the years that 64-bit nanoseconds hold")
    return time_ns


def _tick_rows(batch: TickBatch) -> list[dict[str, Any]]:
    ticks = unpack(batch)
    ids = [None] * ticks.rows if ticks.id is None else trade_ids(ticks.id)
    columns = (ticks.market, ticks.kind, ticks.time, ticks.price, ticks.size)
    rows: list[dict[str, Any]] = []
    for index, bits, time, price, size, trade in zip(*(c.tolist() for c in columns), ids, strict=True):
        market = batch.markets[index]
        kind = RowKind(bits & ~BACKFILL)
        row: dict[str, Any] = {"market": market.key, "kind": kind.name.lower(), "time": iso(time)}
        if kind is not RowKind.CLOCK:
            row["price"] = decimal_string(price, market.price_scale)
            row["size"] = decimal_string(size, market.size_scale)
            row["id"] = trade
            row["backfill"] = bool(bits & BACKFILL)
        rows.append(row)
    return rows


def trade_ids(ids: Ids) -> list[int | str | None]:
    """Of 64 bits as numbers, of 128 bits as 32 hexadecimal digits; None where a row has none."""
    if ids.ndim == 2:
        return [None if row.tobytes() == NO_WIDE_ID else f"{row[1]:016x}{row[0]:016x}" for row in ids]
    return [None if value == NO_ID else value for value in ids.tolist()]


def text_of(data: bytes) -> str:
    """The beginning of bytes that may be no text."""
    return data[:SHOWN_BYTES].decode("utf-8", errors="backslashreplace")


def event_to_json(event: Event, content_only: bool = False) -> dict[str, Any]:
    """The event's fields as JSON values for people, in their order; without the tag.

    `content_only` leaves out what differs between two runs over the same input in other batches: causes,
    offsets and journal ranges. The columns of a `TickBatch` become a list of rows.
    """
    if isinstance(event, TickBatch):
        received = iso(event.received) if event.received else None
        return {"rows": _tick_rows(event), "first_row": event.first_row, "received": received}
    return {
        name: show(getattr(event, name), event)
        for name, content, show in _shown(type(event))
        if content or not content_only
    }


_Show = Callable[[Any, Event], Any]


@cache
def _shown(kind: type[Event]) -> list[tuple[str, bool, _Show]]:
    """(name, is content, how to show it) of each field of a kind of event."""
    return [(field.name, field.content, _UNITS[field.unit]) for field in fields(kind)]


def _plain(value: Any, event: Event) -> Any:
    if isinstance(value, Cause):
        return str(value)
    if isinstance(value, Sizing):
        return f"{value.mode}:{decimal_string(value.value, value.scale)}"
    if isinstance(value, Struct):
        return msgspec.to_builtins(value)
    return list(value) if isinstance(value, tuple) else value


def _each(show: Callable[[int, Any], str]) -> _Show:
    def shown(value: Any, event: Event) -> Any:
        if value is None:
            return None
        return [show(v, event) for v in value] if isinstance(value, tuple) else show(value, event)

    return shown


def _scaled(scale: str) -> _Show:
    return _each(lambda value, event: decimal_string(value, getattr(event, scale)))


_UNITS: dict[str, _Show] = {
    "": _plain,
    "time": _each(lambda value, _: iso(value)),
    **{unit: _scaled(scale) for unit, scale in SCALES.items()},
    "rate": _each(lambda value, _: decimal_string(value, RATE_SCALE)),
    "id": lambda value, _: None if value == NO_ID else value,
    "bytes": lambda value, _: text_of(value),
    "floats": lambda value, _: memoryview(value).cast("d").tolist(),
}
