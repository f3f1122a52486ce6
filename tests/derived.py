"""Derived streams built by hand: what an engine might have written, crashes and repeats included."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from streams.causes import Cause
from streams.codec import encode
from streams.embedded.log import EmbeddedLog
from streams.events import (
    MINUTE_NS,
    BotChanged,
    Candle,
    Checkpoint,
    DeadLetter,
    DerivedEvent,
    Equity,
    Fill,
    IdsReused,
    LateTick,
    Order,
    OrderClosed,
    Repeats,
    Signal,
    Sizing,
    SourceHole,
    WorkerStarted,
)
from streams.records import Entry, Output, Record
from streams.topics import BOTS, CANDLES, PROJECTED, SIGNALS, SYSTEM, TRADES

START_NS = 1_514_764_800_000_000_000
CASH = 10_000_00000000

Emitted = tuple[str, str, DerivedEvent]
"""Topic, market and event."""


def candle(minute: int = 0, **changes: Any) -> Candle:
    """The 1m candle of a minute, counted from the beginning; `close` moves its prices."""
    close, offset = changes.pop("close", 13_000_5), changes.pop("offset", 0)
    fields: dict[str, Any] = {
        "timeframe": "1m", "timestamp": START_NS + (minute + 1) * MINUTE_NS, "revision": 0,
        "open": close - 5, "high": close + 10, "low": close - 20, "close": close, "volume": 1_234,
        "trades": 7, "price_scale": 1, "size_scale": 0, "empty": False, "incomplete": minute % 5 == 0,
        "first_offset": offset, "last_offset": offset,
    }  # fmt: skip
    return Candle(**(fields | changes))


def late_tick(**changes: Any) -> LateTick:
    fields: dict[str, Any] = {
        "timestamp": START_NS, "price": 5, "size": 6, "price_scale": 1, "size_scale": 0,
    }  # fmt: skip
    return LateTick(**(fields | changes))


def signal(bot_id: int = 1, **changes: Any) -> Signal:
    fields: dict[str, Any] = {
        "bot_id": bot_id, "timestamp": START_NS, "timeframe": "1m", "target": 1.0, "previous": 0.0,
        "values": {"fast": 0.1, "slow": 0.25}, "price": 130_005, "price_scale": 1, "decision": "executed",
        "code": "",
    }  # fmt: skip
    return Signal(**(fields | changes))


def order(bot_id: int = 1, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "bot_id": bot_id, "timestamp": START_NS, "side": "buy", "size": 20, "price": 130_005,
        "price_scale": 1, "size_scale": 0, "reason": "signal",
    }  # fmt: skip
    return Order(**(fields | changes))


def fill(bot_id: int = 1, **changes: Any) -> Fill:
    fields: dict[str, Any] = {
        "bot_id": bot_id, "timestamp": START_NS, "order_id": Cause(1, 5, 0), "side": "buy", "price": 130_010,
        "size": 20, "fee": 250, "fee_currency": "BTC", "realised_pnl": 0, "position": 20, "cost": 153_800,
        "cash": CASH - 154_050, "price_scale": 1, "size_scale": 0, "cash_scale": 8, "row": 17,
    }  # fmt: skip
    return Fill(**(fields | changes))


def order_closed(bot_id: int = 1, **changes: Any) -> OrderClosed:
    fields: dict[str, Any] = {
        "bot_id": bot_id, "timestamp": START_NS, "order_id": Cause(1, 5, 0), "status": "cancelled",
        "code": "new_signal",
    }  # fmt: skip
    return OrderClosed(**(fields | changes))


def equity(*bots: int, **changes: Any) -> Equity:
    """Marks of bots; a column that is given as one number holds it for each."""
    columns: dict[str, Any] = {
        "cash": CASH, "position": 0, "equity": CASH, "unrealised_pnl": 0, "peak": CASH,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "timestamp": START_NS, "mark_price": 130_005, "price_scale": 1, "size_scale": 0, "cash_scale": 8,
    }  # fmt: skip
    fields |= columns | changes
    fields |= {name: (fields[name],) * len(bots) for name in columns if isinstance(fields[name], int)}
    return Equity(bot_id=bots, **fields)


def bot_changed(bot_id: int = 1, market: str = "sim:M0/USD:X", **changes: Any) -> BotChanged:
    fields: dict[str, Any] = {
        "bot_id": bot_id, "timestamp": START_NS, "market": market, "timeframe": "1m", "strategy": "sma_cross",
        "code_hash": "c0de", "params": {"fast": 7, "slow": 31}, "sizing": Sizing("equity", 5, 1),
        "short": True, "initial_cash": CASH, "cash_scale": 8, "currency": "BTC", "status": "running",
        "code": "", "message": "", "who": "tests", "steps": True, "since": Cause(0, 0, 0),
    }  # fmt: skip
    return BotChanged(**(fields | changes))


def checkpoint(**changes: Any) -> Checkpoint:
    fields: dict[str, Any] = {"journal_sha256": "1" * 64, "state_sha256": "0" * 64, "state_version": 1}
    return Checkpoint(**(fields | changes))


def dead_letter(data: bytes = b"?", **changes: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "topic": "journal", "partition": 1, "offset": 3, "market": "sim:M0/USD:X", "reason": "no event",
        "sha256": sha256(data).hexdigest(), "size": len(data), "data": data,
    }  # fmt: skip
    return DeadLetter(**(fields | changes))


def record(topic: str, key: str, offset: int, output: Output, *, time_ms: int = 0) -> Record:
    return Record(topic, output.partition, offset, time_ms, key.encode(), encode(output))


class Trader:
    """One bot of one market: signals, orders that fill wholly or in two parts, or are cancelled."""

    def __init__(self, bot_id: int, market: str, rng: Random) -> None:
        self.bot_id, self.market, self.rng = bot_id, market, rng
        self.position = self.cost = 0
        self.cash = CASH
        self.waiting: tuple[Cause, int] | None = None

    def decide(self, time: int, cause: Cause) -> Iterator[Emitted]:
        target = self.rng.choice((-1.0, 0.0, 1.0))
        refused = self.rng.random() < 0.3
        decision, code = ("refused", "too_small") if refused else ("executed", "")
        values = {"fast": self.rng.random(), "slow": 1 / 3}
        given = {"timestamp": time, "target": target, "values": values, "decision": decision, "code": code}
        yield SIGNALS, self.market, signal(self.bot_id, **given)
        if not refused and self.waiting is None:
            size = self.rng.randint(2, 50)
            self.waiting = (Cause(cause.partition, cause.offset, cause.index + 1), size)
            side = self.rng.choice(("buy", "sell"))
            yield TRADES, self.market, order(self.bot_id, timestamp=time, side=side, size=size, signal=cause)

    def trade(self, time: int) -> Iterator[Emitted]:
        assert self.waiting is not None
        order_id, size = self.waiting
        part = size if self.rng.random() < 0.6 else size // 2
        fee, realised = self.rng.randint(1, 900), self.rng.randint(-5_000, 5_000)
        self.position += part
        self.cash += realised - fee
        state = {"position": self.position, "cost": self.cost, "cash": self.cash, "row": 3}
        money = {"size": part, "fee": fee, "realised_pnl": realised, **state}
        yield TRADES, self.market, fill(self.bot_id, timestamp=time, order_id=order_id, **money)
        self.waiting = None if part == size else (order_id, size - part)
        if self.waiting and self.rng.random() < 0.5:
            self.waiting = None
            yield TRADES, self.market, order_closed(self.bot_id, timestamp=time, order_id=order_id)


def outputs(seed: int, partition: int, journal_records: int) -> list[list[tuple[str, str, Output]]]:
    """For each journal record, the (topic, market, output) that an engine derives from it, in order."""
    rng = Random(f"{seed}:{partition}")
    markets = [f"sim:M{partition}{n}/USD:X" for n in range(2)]
    traders = [Trader(10 * partition + n + 1, markets[n % 2], rng) for n in range(4)]
    return [_one(rng, partition, offset, markets, traders) for offset in range(journal_records)]


def _one(
    rng: Random, partition: int, offset: int, markets: list[str], traders: list[Trader]
) -> list[tuple[str, str, Output]]:
    boxes: dict[tuple[str, str], tuple[list[int], list[DerivedEvent]]] = {}
    count = 0

    def emit(topic: str, market: str, event: DerivedEvent) -> None:
        nonlocal count
        indexes, events = boxes.setdefault((topic, market), ([], []))
        indexes.append(count)
        events.append(event)
        count += 1

    time = START_NS + (offset + 1) * MINUTE_NS
    if offset == 0:
        for trader in traders:
            emit(BOTS, trader.market, bot_changed(trader.bot_id, trader.market))
    for market in rng.sample(markets, 2):
        emit(CANDLES, market, candle(offset, close=rng.randint(100_000, 200_000), offset=offset))
        if offset and rng.random() < 0.2:
            emit(CANDLES, market, candle(offset - 1, revision=offset, offset=offset))
        if rng.random() < 0.1:
            emit(CANDLES, market, late_tick(timestamp=time))
    for trader in rng.sample(traders, 4):
        if trader.waiting:
            emitted = trader.trade(time)
        else:
            emitted = trader.decide(time, Cause(partition, offset, count))
        for topic, market, event in emitted:
            emit(topic, market, event)
        mark = {"cash": trader.cash, "position": trader.position, "equity": 7}
        emit(BOTS, trader.market, equity(trader.bot_id, timestamp=time, **mark))
    if rng.random() < 0.1:
        emit(BOTS, markets[0], bot_changed(traders[0].bot_id, markets[0], status="stopped", timestamp=time))
        emit(SYSTEM, markets[0], SourceHole(source="file", epoch=1, expected=offset, got=offset + 1))
        emit(SYSTEM, markets[0], IdsReused(trades=2, venue_id=str(offset), timestamp=time))
        emit(SYSTEM, markets[0], Repeats(trades=offset + 1))
    if offset % 8 == 7:
        emit(BOTS, markets[1], checkpoint(journal_sha256=f"{offset:064x}"))
    return [
        (topic, market, Output(partition, offset, tuple(indexes), tuple(events)))
        for (topic, market), (indexes, events) in boxes.items()
    ]


def recorded(
    seed: int, *, partitions: int = 2, journal_records: int = 20, crashes: bool = True
) -> list[Record]:
    """Derived records as they stand in the log, by topic and partition, in order.

    With `crashes` the engine now and then ended in the middle of a journal record's outputs and folded again
    from some records before; its notices and a record of garbage stand between.
    """
    log: dict[tuple[str, int], list[Record]] = {}

    def write(topic: str, partition: int, key: str, value: bytes) -> None:
        records = log.setdefault((topic, partition), [])
        time_ms = START_NS // 1_000_000 + len(records)
        records.append(Record(topic, partition, len(records), time_ms, key.encode(), value))

    for partition in range(partitions):
        rng = Random(f"crashes {seed}:{partition}")
        derived = outputs(seed, partition, journal_records)
        place = 0
        while place < len(derived):
            crashed = crashes and rng.random() < 0.2
            sent = rng.randint(0, len(derived[place])) if crashed else len(derived[place])
            for topic, market, output in derived[place][:sent]:
                write(topic, partition, market, encode(output))
            place = max(0, place - rng.randint(0, 3)) if crashed else place + 1
            if crashed:
                started = Output(partition, -1, (0,), (WorkerStarted(worker="w1", epoch=place, at=START_NS),))
                write(SYSTEM, partition, "", encode(started))
                write(CANDLES, partition, "sim:M0/USD:X", b"garbage")
    return [
        record
        for topic in PROJECTED
        for place, records in log.items()
        if place[0] == topic
        for record in records
    ]


def as_log(records: list[Record], folder: Path, *, partitions: int = 2) -> EmbeddedLog:
    """A real log that holds the records."""
    log = EmbeddedLog(f"embedded://{folder}", partitions=partitions)
    log.append(
        [
            Entry(record.topic, record.key, record.value, record.time_ms, record.partition)
            for record in records
        ],
        sync=False,
    )
    return log
