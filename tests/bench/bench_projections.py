"""Rows a second from derived records to SQLite, decoding included.

Run by `python -m tests.bench.bench_projections`. The yardstick is sqlite3's own `executemany`, which nothing
written in Python can pass.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from msgspec.structs import astuple

from infra.db.projector import DatabaseSink
from infra.db.rebuild import rebuild
from infra.db.schema import migrate
from streams.codec import decode_output
from streams.events import Cause, DerivedEvent, Equity, Fill, Order, Output, Signal
from streams.log import Record
from streams.topics import BOTS, CANDLES, SIGNALS, TRADES
from tests.derived import CASH, START_NS, as_log, candle, record

ROUNDS = 3
BATCH_RECORDS = 500
"""As many as the projector's agent takes at once."""
MARKETS = [f"sim:M{n}/USD:X" for n in range(8)]


def candles(events: int) -> list[Record]:
    """Candles of 8 markets, 5 a record."""
    return [_derived(CANDLES, n, *(candle(n * 5 + i) for i in range(5))) for n in range(events // 5)]


def marks(events: int) -> list[Record]:
    """Equity of 100 bots a record."""
    bots = tuple(range(1, 101))
    return [
        _derived(BOTS, n, Equity(START_NS + n, bots, bots, bots, bots, 8, 0)) for n in range(events // 100)
    ]


def signals(events: int) -> list[Record]:
    """Signals of 100 bots, 10 a record."""
    rest = ("1m", 1.0, 0.0, {"fast": 0.1, "slow": 1 / 3}, 130_005, 1, "executed", "")
    return [
        _derived(SIGNALS, n, *(Signal(n % 10 * 10 + i, START_NS + n, *rest) for i in range(10)))
        for n in range(events // 10)
    ]


def _derived(topic: str, n: int, *events: DerivedEvent) -> Record:
    return record(topic, MARKETS[n % 8], n, Output(0, n, tuple(range(len(events))), events))


def trades(events: int) -> list[Record]:
    """Orders, and their fills one journal record later: 4 rows written for both."""
    ending = (250, 7, 20, 153_800, CASH, "BTC", 1, 0, 8, 17)
    records = [_derived(TRADES, 0)]
    for n in range(1, events // 20):
        bots = range(n % 10 * 10, n % 10 * 10 + 10)
        orders = [Order(bot, START_NS + n, "buy", 20, 130_005, 1, 0, "signal") for bot in bots]
        fills = [
            Fill((bot - 10) % 100, START_NS + n, Cause(0, n - 1, 10 + i), "buy", 130_010, 20, *ending)
            for i, bot in enumerate(bots)
        ]
        records.append(_derived(TRADES, n, *fills, *orders))
    return records


def rate(make: Callable[[int], list[Record]], rows: int) -> float:
    """The best of some rounds, each into a fresh database."""
    records = make(rows)
    best = 0.0
    for _ in range(ROUNDS):
        with TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/state.db"
            migrate(url)
            sink = DatabaseSink(url)
            start = perf_counter()
            for place in range(0, len(records), BATCH_RECORDS):
                sink.apply(records[place : place + BATCH_RECORDS])
            best = max(best, rows / (perf_counter() - start))
            sink.close()
    return best


def rebuild_rate(rows: int) -> float:
    records = candles(rows)
    with TemporaryDirectory() as folder:
        log = as_log(records, Path(folder) / "log", partitions=1)
        start = perf_counter()
        rebuild(log, f"sqlite:///{folder}/fresh.db")
        seconds = perf_counter() - start
        log.close()
    return rows / seconds


def yardstick(rows: int) -> float:
    """sqlite3's executemany of ready candle tuples, in the same transactions."""
    ready = [
        ((r.key or b"").decode(), *astuple(event), 0, r.offset, i)
        for r in candles(rows)
        for i, event in enumerate(decode_output(r.value).events)
    ]
    statement = f"INSERT INTO candles VALUES ({', '.join('?' * len(ready[0]))})"  # noqa: S608 - question marks
    best = 0.0
    for _ in range(ROUNDS):
        with TemporaryDirectory() as folder:
            migrate(f"sqlite:///{folder}/state.db")
            connection = sqlite3.connect(f"{folder}/state.db")
            connection.execute("PRAGMA synchronous=NORMAL")
            start = perf_counter()
            for place in range(0, rows, BATCH_RECORDS * 5):
                with connection:
                    connection.executemany(statement, ready[place : place + BATCH_RECORDS * 5])
            best = max(best, rows / (perf_counter() - start))
            connection.close()
    return best


def show(name: str, rows_per_s: float, what: str | None) -> None:
    print(f"{name:>10} {rows_per_s:>10,.0f} rows/s  {what}")


def main() -> None:
    rows = 200_000
    for make in (candles, marks, signals, trades):
        show(make.__name__, rate(make, rows), make.__doc__)
    show("rebuild", rebuild_rate(rows), "Candles from the embedded log.")
    show("yardstick", yardstick(rows), yardstick.__doc__)


if __name__ == "__main__":
    main()
