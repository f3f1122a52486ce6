"""Rows of the database as the doors show them: REST, the command line and exports. Pure, no I/O.

A row has the fields of its event under their own names (`infra.present.fields.door_fields`), and what is
added here: the event's `cause`, and what later events or other tables say of the same thing.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from infra.present.rows import CAUSE, cause_of, columns, columns_shown, shown
from infra.present.values import decimal_string, iso
from projections.fold.decide import WORDS
from streams.events import BotChanged, Candle, Equity, Event, Fill, Order, Signal
from streams.feeds import Feeds, KnownFeed
from streams.gaps import KnownGap
from streams.ticks import NO_ID

Json = dict[str, Any]

CANDLE_COLUMNS = columns_shown(Candle)
"""A candle is known by market, timeframe, end and revision: it is shown without its cause."""
HELD = (
    "position", "cost", "cash", "realised_pnl", "fees", "size_scale", "cash_scale", "timestamp",
)  # fmt: skip
"""Columns of `bot_positions` that a bot's row has, as `held_…`."""
MARKED = ("equity", "unrealised_pnl", "peak", "cash_scale", "timestamp")
"""Columns of its newest mark that a bot's row has, as `mark_…`."""


def _of(kind: type[Event]) -> Callable[..., Json]:
    """Of a whole row of the kind's table."""
    names = tuple(column.name for column in columns(kind))
    market = () if "market" in names else ("market",)
    return shown(kind, (*market, *names, *CAUSE))


_CANDLE = shown(Candle, CANDLE_COLUMNS)
_SIGNAL, _ORDER, _FILL, _MARK, _BOT = (_of(kind) for kind in (Signal, Order, Fill, Equity, BotChanged))


def candle(row: Any) -> Json:
    return _CANDLE(*row)


def signal(row: Any) -> Json:
    """`message` says what its code means."""
    return _SIGNAL(*row) | {"message": WORDS.get(row.code, row.code)}


def order(row: Any) -> Json:
    """With what became of it; its id is its cause."""
    found = _ORDER(*row)
    return {
        "order_id": found["cause"],
        **found,
        "status": row.status,
        "code": row.code,
        "filled": decimal_string(row.filled, row.size_scale),
        "updated": iso(row.updated),
    }


def fill(row: Any) -> Json:
    return _FILL(*row)


def gap(market: str, known: KnownGap) -> Json:
    """Of the journal; `filled` is false as long as it is open. Ids are null where the source tells none."""
    return {
        "market": market,
        "start": iso(known.start),
        "end": iso(known.end),
        "first_id": None if known.first_id == NO_ID else known.first_id,
        "last_id": None if known.last_id == NO_ID else known.last_id,
        "reason": known.reason,
        "final": known.final,
        "filled": known.filled,
    }


def feed(known: Feeds) -> Json:
    """The word that counts on a market's data; a source that gave none is live."""
    found = known.counting or KnownFeed(known.source, "live", 0, "")
    return {
        "feed": found.state,
        "feed_source": found.source,
        "feed_since": iso(found.since) if found.since else None,
        "feed_reason": found.reason,
    }


def feed_words(feed: Json) -> str:
    since = f" since {feed['feed_since']}" if feed["feed_since"] else ""
    reason = f": {feed['feed_reason']}" if feed["feed_reason"] else ""
    return f"the feed of {feed['feed_source']} is {feed['feed'].replace('_', ' ')}{since}{reason}"


def lineage(row: Any) -> Json:
    """What led to a fill: signal and candle by their causes, the journal records `partition:first-last` that
    the candle was made of, and the trade `partition:offset:row` that filled the order; None for none."""
    known = row.candle_timestamp is not None
    records = f"{row.cause_partition}:{row.first_offset}-{row.last_offset}"
    return {
        "signal": cause_of(row, "signal"),
        "candle": cause_of(row, "candle"),
        "candle_timestamp": iso(row.candle_timestamp) if known else None,
        "candle_records": records if known else None,
        "trade": f"{row.cause_partition}:{row.cause_offset}:{row.row}",
    }


def mark(row: Any) -> Json:
    return _MARK(*row)


def bot(row: Any) -> Json:
    """The newest change of a bot, with what it holds and its newest mark.

    `pnl` is equity less initial cash. `traded` and `marked` are the times of the newest fill and mark, None
    before the first.
    """
    initial, zero = decimal_string(row.initial_cash, row.cash_scale), decimal_string(0, row.cash_scale)
    venue, _, symbol = row.market.partition(":")
    held = {
        "position": "0",
        "cost": zero,
        "cash": initial,
        "realised_pnl": zero,
        "fees": zero,
        "traded": None,
    }
    if row.held_timestamp is not None:
        money = ("cost", "cash", "realised_pnl", "fees")
        held |= {name: decimal_string(getattr(row, f"held_{name}"), row.held_cash_scale) for name in money}
        held["position"] = decimal_string(row.held_position, row.held_size_scale)
        held["traded"] = iso(row.held_timestamp)
    marked = {"equity": initial, "unrealised_pnl": zero, "peak": initial, "marked": None}
    if row.mark_timestamp is not None:
        money = ("equity", "unrealised_pnl", "peak")
        marked = {name: decimal_string(getattr(row, f"mark_{name}"), row.mark_cash_scale) for name in money}
        marked["marked"] = iso(row.mark_timestamp)
    pnl = f"{Decimal(str(marked['equity'])) - Decimal(initial):f}"
    return {"venue": venue, "symbol": symbol, **_BOT(*row), **held, **marked, "pnl": pnl}


def letter(row: Any) -> Json:
    """A dead letter; `id` is the place of its notice in the log, `timestamp` when that was written."""
    stream = "" if row.topic == "system" else f"{row.topic}:"
    return {
        "id": f"{stream}{row.partition}:{row.offset}:{row._mapping['index']}",
        "timestamp": iso(row.timestamp),
        **msgspec.json.decode(row.event),
        "cause": cause_of(row) if row.cause_offset >= 0 else None,
    }


def numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """Indicators as JSON shows them, which has no NaN: one that is not warm yet is null."""
    return {name: value if abs(value) < float("inf") else None for name, value in values.items()}
