"""What of a provider's message cannot be written, and why: wrong rows, promises, gaps, or all of it.

Why: ADR 20.
"""

from typing import Any, NamedTuple

import msgspec
import numpy as np

from infra.exchange.provider import FeedReport
from infra.present.values import decimal_string, trade_ids
from projections.fold.kernel import TIME_MAX, VALUE_MAX
from streams import codec
from streams.events import BACKFILL, Feed, Gap, GapFilled, JournalEvent, Market, RowKind
from streams.records import Input
from streams.ticks import KIND_MASK, Ticks

_SIDES = {RowKind.BUY: "buy", RowKind.SELL: "sell"}


class Lost(NamedTuple):
    """Something that is left out. `market` is its key, "" where that is not known; `data` is what came, `row`
    its number in the message and `venue_id` the venue's own, where it has them."""

    market: str
    reason: str
    data: bytes
    row: int = -1
    venue_id: str = ""


def bytes_of(raw: Any) -> bytes:
    """A message as it came, or as it can be shown."""
    if isinstance(raw, bytes | bytearray | memoryview):
        return bytes(raw)
    return (raw if isinstance(raw, str) else repr(raw)).encode(errors="backslashreplace")


def right_rows(ticks: Ticks) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which rows the fold takes, shape (n,): one that it refuses would cost it the whole record."""
    kind = ticks.kind & KIND_MASK
    values = (ticks.price > 0) & (ticks.price <= VALUE_MAX) & (ticks.size > 0) & (ticks.size <= VALUE_MAX)
    times = (ticks.time >= 0) & (ticks.time <= TIME_MAX)
    return times & ((kind == RowKind.CLOCK) | (values & (kind < RowKind.CLOCK)))


def lost_row(ticks: Ticks, row: int, market: Market, latest: int = TIME_MAX) -> Lost:
    """A row that is not right, or later than `latest`."""
    kind, time = int(ticks.kind[row]), int(ticks.time[row])
    fault = _fault(kind, time, int(ticks.price[row]), int(ticks.size[row]), latest)
    return Lost(market.key, fault, line_of(ticks, row, market), row, _venue_id(ticks, row))


def line_of(ticks: Ticks, row: int, market: Market) -> bytes:
    """A row as a line of a file that `import` reads, once it is mended."""
    line: dict[str, Any] = {
        "time": int(ticks.time[row]),
        "price": decimal_string(int(ticks.price[row]), market.price_scale),
        "size": decimal_string(int(ticks.size[row]), market.size_scale),
    }
    if side := _SIDES.get(RowKind(int(ticks.kind[row]) & 3)):
        line["side"] = side
    if venue_id := _venue_id(ticks, row):
        line["id"] = venue_id
    return msgspec.json.encode(line)


def _venue_id(ticks: Ticks, row: int) -> str:
    return "" if ticks.id is None else str(trade_ids(ticks.id[row : row + 1])[0] or "")


def _fault(kind: int, time: int, price: int, size: int, latest: int) -> str:
    if kind & ~BACKFILL > RowKind.CLOCK:
        return f"kind {kind} is none of RowKind, with or without BACKFILL"
    if not 0 <= time <= TIME_MAX:
        return f"time {time} is outside 0..2**62 ns"
    if time > latest:
        return f"time {time} is ahead of the venue's clock: at most {latest} is taken"
    name, value = ("size", size) if 0 < price <= VALUE_MAX else ("price", price)
    return f"{name} {value} is not positive" if value <= 0 else f"{name} {value} is beyond 2**53"


def gap_fault(gap: Gap | GapFilled) -> str | None:
    """Why a gap cannot be written or folded; None where it can."""
    try:
        check_form(gap)
    except (ValueError, OverflowError) as error:
        return f"gap: {error}"
    if not 0 <= gap.start < gap.end <= TIME_MAX:
        return f"gap ({gap.start}, {gap.end}] is no range of times in ns: the start must be before the end"
    return None


def feed_fault(report: FeedReport) -> str | None:
    """Why what a provider says of its feed cannot be written; None where it can."""
    try:
        check_form(Feed(source="", **report._asdict()))
    except (ValueError, OverflowError) as error:
        return f"feed: {error}"
    return None if 0 <= report.since <= TIME_MAX else f"feed: since {report.since} is outside 0..2**62 ns"


def check_form(event: JournalEvent) -> None:
    """Raises `ValueError` or `OverflowError` for an event that the log would not give back, as one with a
    float for a time."""
    codec.decode_input(codec.encode(Input("", 0, 0, event)))
