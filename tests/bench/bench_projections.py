"""Rows a second from derived records to SQLite and to PostgreSQL, decoding included.

Run by `python -m tests.bench.bench_projections`. The yardsticks are what nothing written in Python can pass:
sqlite3's own `executemany`, and COPY of ready text.
"""

import csv
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import psycopg2

from infra.db import tables
from infra.db.bulk import write
from infra.db.connect import database_at, writing
from infra.db.projector import DatabaseSink
from infra.db.schema import migrate
from infra.present.rows import names_of, row_of
from infra.upkeep.rebuild import rebuild
from streams.causes import Cause
from streams.codec import decode_output
from streams.events import Candle, DerivedEvent
from streams.records import Output, Record
from streams.topics import BOTS, CANDLES, SIGNALS, TRADES
from tests.derived import START_NS, as_log, candle, equity, fill, order, record, signal
from tests.services.postgres import Postgres, PostgresMissingError

ROUNDS = 3
BATCH_RECORDS = 500
"""As many as the projector's agent takes at once."""
BATCH_ROWS = 5 * BATCH_RECORDS
"""As many candles as these records hold."""
MARKETS = [f"sim:M{n}/USD:X" for n in range(8)]


def candles(events: int) -> list[Record]:
    """Candles of 8 markets, 5 a record."""
    return [_derived(CANDLES, n, *(candle(n * 5 + i) for i in range(5))) for n in range(events // 5)]


def marks(events: int) -> list[Record]:
    """Equity of 100 bots a record."""
    bots = tuple(range(1, 101))
    mark = {"cash": bots, "position": bots, "equity": bots}
    return [_derived(BOTS, n, equity(*bots, timestamp=START_NS + n, **mark)) for n in range(events // 100)]


def signals(events: int) -> list[Record]:
    """Signals of 100 bots, 10 a record."""
    return [
        _derived(SIGNALS, n, *(signal(n % 10 * 10 + i, timestamp=START_NS + n) for i in range(10)))
        for n in range(events // 10)
    ]


def _derived(topic: str, n: int, *events: DerivedEvent) -> Record:
    return record(topic, MARKETS[n % 8], n, Output(0, n, tuple(range(len(events))), events))


def trades(events: int) -> list[Record]:
    """Orders, and their fills one journal record later: 4 rows written for both."""
    records = [_derived(TRADES, 0)]
    for n in range(1, events // 20):
        bots = range(n % 10 * 10, n % 10 * 10 + 10)
        orders = [order(bot, timestamp=START_NS + n) for bot in bots]
        fills = [
            fill((bot - 10) % 100, timestamp=START_NS + n, order_id=Cause(0, n - 1, 10 + i))
            for i, bot in enumerate(bots)
        ]
        records.append(_derived(TRADES, n, *fills, *orders))
    return records


class Databases:
    """Fresh databases, in files or on a server."""

    def __init__(self, server: Postgres | None = None) -> None:
        self._server = server
        self.name = "postgresql" if server else "sqlite"

    @contextmanager
    def fresh(self) -> Iterator[str]:
        if self._server is None:
            with TemporaryDirectory() as folder:
                yield f"sqlite:///{folder}/state.db"
        else:
            url = self._server.fresh()
            yield url
            self._server.give_back(url)


def rate(databases: Databases, make: Callable[[int], list[Record]], rows: int) -> float:
    """The best of some rounds, each into a fresh database."""
    records = make(rows)
    best = 0.0
    for _ in range(ROUNDS):
        with databases.fresh() as url:
            migrate(url)
            sink = DatabaseSink(url)
            start = perf_counter()
            for place in range(0, len(records), BATCH_RECORDS):
                sink.apply(records[place : place + BATCH_RECORDS])
            best = max(best, rows / (perf_counter() - start))
            sink.close()
    return best


def upsert_rate(databases: Databases, rows: int) -> float:
    """Ready rows of candles, every other one of which stands already, in the same transactions."""
    ready = candle_rows(rows)
    best = 0.0
    for _ in range(ROUNDS):
        with databases.fresh() as url:
            migrate(url)
            engine = writing(database_at(url))
            with engine.begin() as connection:
                write(connection, tables.candles, ready[::2])
            start = perf_counter()
            for place in range(0, rows, BATCH_ROWS):
                with engine.begin() as connection:
                    write(connection, tables.candles, ready[place : place + BATCH_ROWS], replace=True)
            best = max(best, rows / (perf_counter() - start))
            engine.dispose()
    return best


def candle_rows(rows: int) -> list[tuple[object, ...]]:
    row = row_of(Candle, names_of(tables.candles.columns))
    return [
        row((r.key or b"").decode(), event, 0, r.offset, i)
        for r in candles(rows)
        for i, event in enumerate(decode_output(r.value).events)
    ]


def rebuild_rate(databases: Databases, rows: int) -> float:
    """Candles from the embedded log."""
    records = candles(rows)
    with TemporaryDirectory() as folder, databases.fresh() as url:
        log = as_log(records, Path(folder) / "log", partitions=1)
        start = perf_counter()
        rebuild(log, url)
        seconds = perf_counter() - start
        log.close()
    return rows / seconds


def sqlite_yardstick(rows: int) -> float:
    """sqlite3's executemany of ready candle tuples, in the same transactions."""
    ready = candle_rows(rows)
    statement = f"INSERT INTO candles VALUES ({', '.join('?' * len(ready[0]))})"  # noqa: S608 - question marks
    best = 0.0
    for _ in range(ROUNDS):
        with TemporaryDirectory() as folder:
            migrate(f"sqlite:///{folder}/state.db")
            connection = sqlite3.connect(f"{folder}/state.db")
            connection.execute("PRAGMA synchronous=NORMAL")
            start = perf_counter()
            for place in range(0, rows, BATCH_ROWS):
                with connection:
                    connection.executemany(statement, ready[place : place + BATCH_ROWS])
            best = max(best, rows / (perf_counter() - start))
            connection.close()
    return best


def postgres_yardstick(server: Postgres, rows: int) -> float:
    """COPY of candles that are CSV already, in the same transactions."""
    ready = candle_rows(rows)
    texts = []
    for place in range(0, rows, BATCH_ROWS):
        text = StringIO()
        csv.writer(text).writerows(ready[place : place + BATCH_ROWS])
        texts.append(text)
    best = 0.0
    for _ in range(ROUNDS):
        url = server.fresh()
        migrate(url)
        connection = psycopg2.connect(url.replace("+psycopg2", ""))
        start = perf_counter()
        for text in texts:
            text.seek(0)
            with connection, connection.cursor() as cursor:
                cursor.copy_expert("COPY candles FROM STDIN CSV", text)
        best = max(best, rows / (perf_counter() - start))
        connection.close()
        server.give_back(url)
    return best


def show(database: str, name: str, rows_per_s: float, what: str | None) -> None:
    print(f"{database:>10} {name:>10} {rows_per_s:>10,.0f} rows/s  {what}", flush=True)


def measure(databases: Databases, rows: int) -> None:
    for make in (candles, marks, signals, trades):
        show(databases.name, make.__name__, rate(databases, make, rows), make.__doc__)
    show(databases.name, "upserts", upsert_rate(databases, rows), upsert_rate.__doc__)
    show(databases.name, "rebuild", rebuild_rate(databases, rows), rebuild_rate.__doc__)


def main() -> None:
    measure(Databases(), rows := 200_000)
    show("sqlite", "yardstick", sqlite_yardstick(rows), sqlite_yardstick.__doc__)
    try:
        server = Postgres()
    except PostgresMissingError as error:
        print(f"PostgreSQL is not measured: {error}")
        return
    try:
        server.start()
        measure(Databases(server), rows := 100_000)
        show("postgresql", "yardstick", postgres_yardstick(server, rows), postgres_yardstick.__doc__)
    finally:
        server.close()


if __name__ == "__main__":
    main()
