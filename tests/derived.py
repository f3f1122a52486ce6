"""Derived streams built by hand: what an engine might have written, crashes and repeats included."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from streams.causes import Cause
from streams.codec import encode
from streams.embedded.log import EmbeddedLog
from streams.events import (
    MINUTE_NS,
    BotChanged,
    Candle,
    Checkpoint,
    DerivedEvent,
    Equity,
    Fill,
    LateTick,
    Order,
    OrderClosed,
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


def candle(
    minute: int, *, revision: int = 0, close: int = 13_000_5, price_scale: int = 1, offset: int = 0
) -> Candle:
    end = START_NS + (minute + 1) * MINUTE_NS
    prices = (close - 5, close + 10, close - 20, close)
    return Candle(
        "1m", end, revision, *prices, 1_234, 7, price_scale, 0, False, minute % 5 == 0, offset, offset
    )


def bot_changed(bot_id: int, market: str, status: str = "running", *, time: int = START_NS) -> BotChanged:
    return BotChanged(
        *(
            bot_id,
            time,
            market,
            "1m",
            "sma_cross",
            "c0de",
            {"fast": 7, "slow": 31},
            Sizing("equity", 5, 1),
            True,
        ),
        *(CASH, 8, "BTC", status, "", "", "tests"),
    )


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
        decision = ("refused", "too_small") if refused else ("executed", "")
        values = {"fast": self.rng.random(), "slow": 1 / 3}
        head = (self.bot_id, time, "1m", target, 0.0, values, 130_005, 1)
        yield SIGNALS, self.market, Signal(*head, *decision)
        if not refused and self.waiting is None:
            size = self.rng.randint(2, 50)
            self.waiting = (Cause(cause.partition, cause.offset, cause.index + 1), size)
            side = self.rng.choice(("buy", "sell"))
            yield TRADES, self.market, Order(self.bot_id, time, side, size, 130_005, 1, 0, "signal", cause)

    def trade(self, time: int) -> Iterator[Emitted]:
        assert self.waiting is not None
        order, size = self.waiting
        part = size if self.rng.random() < 0.6 else size // 2
        fee, realised = self.rng.randint(1, 900), self.rng.randint(-5_000, 5_000)
        self.position += part
        self.cash += realised - fee
        ending = (fee, realised, self.position, self.cost, self.cash, "BTC", 1, 0, 8, 3)
        yield TRADES, self.market, Fill(self.bot_id, time, order, "buy", 130_010, part, *ending)
        self.waiting = None if part == size else (order, size - part)
        if self.waiting and self.rng.random() < 0.5:
            self.waiting = None
            yield TRADES, self.market, OrderClosed(self.bot_id, time, order, "cancelled", "new_signal")


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
            emit(CANDLES, market, LateTick(time, 5, 6, 1, 0))
    for trader in rng.sample(traders, 4):
        if trader.waiting:
            emitted = trader.trade(time)
        else:
            emitted = trader.decide(time, Cause(partition, offset, count))
        for topic, market, event in emitted:
            emit(topic, market, event)
        emit(
            BOTS,
            trader.market,
            Equity(time, (trader.bot_id,), (trader.cash,), (trader.position,), (7,), 8, 0),
        )
    if rng.random() < 0.1:
        emit(BOTS, markets[0], bot_changed(traders[0].bot_id, markets[0], "stopped", time=time))
        emit(SYSTEM, markets[0], SourceHole("file", 1, offset, offset + 1))
    if offset % 8 == 7:
        emit(BOTS, markets[1], Checkpoint(f"{offset:064x}", "0" * 64))
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
                started = Output(partition, -1, (0,), (WorkerStarted("w1", place, START_NS),))
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
