"""Parity: what is recorded of a bot, beside what a backtest over the same journal gives.

`projections.research` never calls the fold, so the two are independent: where they are equal in every integer
and every bit of an indicator, the backtest does what the live bot did. Not compared are the index within a
cause and the words of a message.

Why: ADR 32.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from projections.research import account as of
from projections.research.account import CODES
from projections.research.columns import Columns
from projections.research.run import Outcome, Stretch
from streams.causes import Cause
from streams.events import (
    BotChanged,
    Candle,
    CandleFlag,
    DerivedEvent,
    Equity,
    Fill,
    Order,
    OrderClosed,
    Signal,
)

Row: TypeAlias = Mapping[str, object]
"""One fact by field: integers, words, and floats as the hexadecimal of their bits."""

CANDLES = "candles"
KINDS = ("signals", "orders", "order ends", "fills", "equity marks", "changes")
ENDS = {of.CANCELLED: "cancelled", of.REJECTED: "rejected"}
SIDES = ("sell", "buy")


class Differs(NamedTuple):
    """The first fact that is not alike: the `number`-th of its kind, as it is `recorded` and as the backtest
    gives it (`tested`), None where one of them has no more. `time` is ns."""

    kind: str
    number: int
    time: int
    recorded: Row | None
    tested: Row | None


class Compared(NamedTuple):
    """How many facts of each kind were compared, and the first that differs in time."""

    counts: dict[str, int]
    differs: Differs | None

    def joined(self, other: "Compared") -> "Compared":
        """Both; of two that differ at one time, the first of this one."""
        found = [one for one in (self.differs, other.differs) if one is not None]
        kinds = self.counts | other.counts
        counts = {kind: self.counts.get(kind, 0) + other.counts.get(kind, 0) for kind in kinds}
        return Compared(counts, min(found, key=lambda one: one.time, default=None))


class Beside(NamedTuple):
    """What stands beside a fact that differs: the bar at or before its time, of which `bar` is the number, as
    it is recorded and as the backtest reads it, and the indicators behind it by the bits of their floats,
    recorded where the bot made a signal there. None: there is none."""

    bar: int
    recorded_bar: Row | None
    tested_bar: Row
    recorded_values: Row | None
    tested_values: Row | None


def compare(
    columns: Columns,
    outcome: Outcome,
    recorded: Iterable[tuple[Cause, DerivedEvent]],
    bot_id: int,
    *,
    after: int | None = None,
    until: int | None = None,
) -> Compared:
    """What is recorded of a bot, its events in turn, beside the outcome; of event times (after, until] ns."""
    facts, tests = facts_of(recorded, bot_id), tests_of(columns, outcome)
    counts: dict[str, int] = {}
    found: list[Differs] = []
    for kind in KINDS:
        pairs = zip_longest(_within(facts[kind], after, until), _within(tests[kind], after, until))
        counts[kind] = 0
        for number, (fact, test) in enumerate(pairs):
            if fact != test:
                time = min(int(str(one["time"])) for one in (fact, test) if one is not None)
                found.append(Differs(kind, number, time, fact, test))
                break
            counts[kind] += 1
    return Compared(counts, min(found, key=lambda one: (one.time, KINDS.index(one.kind)), default=None))


def _within(rows: Iterable[Row], after: int | None, until: int | None) -> Iterator[Row]:
    for row in rows:
        time = int(str(row["time"]))
        if (after is None or time > after) and (until is None or time <= until):
            yield row


def compare_candles(
    columns: Columns,
    recorded: Iterable[tuple[Cause, Candle]],
    *,
    after: int | None = None,
    until: int | None = None,
) -> Compared:
    """The recorded candles of the market and timeframe, in turn, beside those that the backtest reads."""
    facts = (_candle(cause, event) for cause, event in recorded if event.revision == 0)
    tests = (_tested_candle(columns, bar) for bar in range(len(columns.bars)))
    pairs = zip_longest(_within(facts, after, until), _within(tests, after, until))
    count = 0
    for fact, test in pairs:
        if fact != test:
            time = min(int(str(one["time"])) for one in (fact, test) if one is not None)
            return Compared({CANDLES: count}, Differs(CANDLES, count, time, fact, test))
        count += 1
    return Compared({CANDLES: count}, None)


def beside(
    columns: Columns,
    outcome: Outcome,
    recorded: Iterable[tuple[Cause, DerivedEvent]],
    bot_id: int,
    time: int,
) -> Beside | None:
    """What stands beside a difference at a time; None before the first bar. `recorded`: the candles of the
    timeframe too."""
    bar = int(np.searchsorted(columns.bars["end"], time, side="right")) - 1
    if bar < 0:
        return None
    end = int(columns.bars["end"][bar])
    candle = values = None
    for cause, event in recorded:
        if isinstance(event, Candle) and event.timestamp == end and event.revision == 0:
            candle = _candle(cause, event)
        elif isinstance(event, Signal) and event.bot_id == bot_id and event.candle and event.timestamp == end:
            values = _named(event.values)
    tested = _values(outcome.stretches, bar) or None
    return Beside(bar, candle, _tested_candle(columns, bar), values, tested)


# ------------------------------------------------------------------ what is recorded


def facts_of(recorded: Iterable[tuple[Cause, DerivedEvent]], bot_id: int) -> dict[str, list[Row]]:
    """The facts of a bot by kind, in turn."""
    facts: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    orders: dict[Cause, int] = {}
    for cause, event in recorded:
        match event:
            case Signal(bot_id=one) if one == bot_id:
                facts["signals"].append(_signal(cause, event))
            case Order(bot_id=one) if one == bot_id:
                orders[cause] = len(orders) + 1
                facts["orders"].append(_order(event))
            case OrderClosed(bot_id=one) if one == bot_id:
                facts["order ends"].append(
                    {"time": event.timestamp, "order": orders.get(event.order_id), "status": event.status}
                    | {"code": event.code}
                )
            case Fill(bot_id=one) if one == bot_id:
                facts["fills"].append(_fill(cause, event, orders))
            case Equity() if bot_id in event.bot_id:
                facts["equity marks"].append(_mark(cause, event, event.bot_id.index(bot_id)))
            case BotChanged(bot_id=one) if one == bot_id:
                facts["changes"].append({"time": event.timestamp, "status": event.status, "code": event.code})
            case _:
                pass
    return facts


def _signal(cause: Cause, event: Signal) -> Row:
    return {
        "time": event.timestamp,
        "offset": cause.offset,
        "target": _bits(event.target),
        "previous": _bits(event.previous),
        "values": _named(event.values),
        "price": event.price,
        "decision": event.decision,
        "code": event.code,
        "origin": event.origin,
    }


def _order(event: Order) -> Row:
    return {
        "time": event.timestamp,
        "side": event.side,
        "size": event.size,
        "price": event.price,
        "reason": event.reason,
    }


def _fill(cause: Cause, event: Fill, orders: dict[Cause, int]) -> Row:
    names = (
        "side", "price", "size", "fee", "realised_pnl", "position", "cost", "cash", "opens", "closes",
        "price_scale", "size_scale", "cash_scale", "row",
    )  # fmt: skip
    head: Row = {"time": event.timestamp, "offset": cause.offset, "order": orders.get(event.order_id)}
    return {**head, **{name: getattr(event, name) for name in names}}


def _mark(cause: Cause, event: Equity, at: int) -> Row:
    return {
        "time": event.timestamp,
        "offset": cause.offset,
        "mark_price": event.mark_price,
        "cash": event.cash[at],
        "position": event.position[at],
        "equity": event.equity[at],
        "unrealised_pnl": event.unrealised_pnl[at],
        "peak": event.peak[at],
    }


def _candle(cause: Cause, event: Candle) -> Row:
    names = ("open", "high", "low", "close", "volume", "trades", "price_scale", "size_scale")
    more = ("empty", "incomplete", "first_offset", "last_offset")
    head: Row = {"timeframe": event.timeframe, "time": event.timestamp, "offset": cause.offset}
    return {**head, **{name: getattr(event, name) for name in names + more}}


def _named(values: Mapping[str, float]) -> dict[str, str]:
    return {name: _bits(value) for name, value in values.items()}


def _bits(value: float) -> str:
    return np.float64(value).tobytes()[::-1].hex()


# ------------------------------------------------------------------ what the backtest gives


def tests_of(columns: Columns, outcome: Outcome) -> dict[str, list[Row]]:
    """The same facts from a backtest."""
    tests: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for one in cast(Iterable[of.Record], outcome.happened):
        kind = int(one["kind"])
        if kind == of.SIGNAL:
            tests["signals"].append(_tested_signal(columns, outcome, one))
        elif kind == of.ORDER:
            tests["orders"].append(
                {"time": int(one["time"]), "side": SIDES[int(one["buy"])], "size": int(one["size"])}
                | {"price": int(one["price"]), "reason": of.REASONS[int(one["status"])]}
            )
        elif kind == of.CLOSED:
            tests["order ends"].append(
                {"time": int(one["time"]), "order": int(one["order"]), "status": ENDS[int(one["status"])]}
                | {"code": CODES[int(one["code"])]}
            )
        elif kind == of.FILL:
            tests["fills"].append(_tested_fill(columns, one))
    tests["equity marks"] = [_tested_mark(columns, one) for one in outcome.marks]
    tests["changes"] = [
        {"time": change.time, "status": change.status, "code": change.code} for change in outcome.changes
    ]
    return tests


def _tested_candle(columns: Columns, at: int) -> Row:
    bar = columns.bars[at]
    market, flags = columns.eras[int(bar["era"])], int(bar["flags"])
    names = ("open", "high", "low", "close", "volume", "trades")
    head: Row = {"timeframe": columns.timeframe, "time": int(bar["end"]), "offset": int(bar["offset"])}
    return {
        **head,
        **{name: int(bar[name]) for name in names},
        "price_scale": market.price_scale,
        "size_scale": market.size_scale,
        "empty": bool(flags & CandleFlag.EMPTY),
        "incomplete": bool(flags & CandleFlag.INCOMPLETE),
        "first_offset": int(bar["first_offset"]),
        "last_offset": int(bar["last_offset"]),
    }


def _tested_signal(columns: Columns, outcome: Outcome, one: of.Record) -> Row:
    bar = int(one["bar"])
    return {
        "time": int(one["time"]),
        "offset": int(columns.bars[bar]["offset"]) if bar >= 0 else int(one["at"]),
        "target": _bits(float(one["target"])),
        "previous": _bits(float(one["previous"])),
        "values": _values(outcome.stretches, bar),
        "price": int(one["price"]),
        "decision": "executed" if one["status"] else "refused",
        "code": CODES[int(one["code"])],
        "origin": of.ORIGINS[int(one["order"])],
    }


def _values(stretches: tuple[Stretch, ...], bar: int) -> dict[str, str]:
    for stretch in stretches:
        if stretch.first <= bar < stretch.last:
            row = stretch.values[bar - stretch.first].tolist()
            return _named(dict(zip(stretch.code.value_names, row, strict=True)))
    return {}


def _tested_fill(columns: Columns, one: of.Record) -> Row:
    trade, market = columns.trades[int(one["trade"])], columns.eras[int(one["era"])]
    head: Row = {"time": int(one["time"]), "offset": int(trade["offset"]), "order": int(one["order"])}
    names = {"realised": "realised_pnl"}
    money: Row = {
        names.get(name, name): int(one[name])
        for name in ("price", "size", "fee", "realised", "position", "cost", "cash", "opens", "closes")
    }
    scales: Row = {name: getattr(market, name) for name in ("price_scale", "size_scale", "cash_scale")}
    return {**head, "side": SIDES[int(one["buy"])], **money, **scales, "row": int(trade["row"])}


def _tested_mark(columns: Columns, one: of.Record) -> Row:
    bar = columns.bars[one["bar"]]
    return {
        "time": int(bar["end"]),
        "offset": int(bar["offset"]),
        "mark_price": int(bar["close"]),
        "cash": int(one["cash"]),
        "position": int(one["position"]),
        "equity": int(one["equity"]),
        "unrealised_pnl": int(one["equity"]) - int(one["cash"]) - int(one["cost"]),
        "peak": int(one["peak"]),
    }
