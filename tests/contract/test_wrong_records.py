"""Records that are no events, in every stream of a log: a worker takes each for a dead letter and goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import ColumnElement, func, select

from infra.commands.journal_view import source_state, view
from infra.db import tables
from infra.db.schema import open_database
from infra.process.settings import Settings, load_settings
from infra.worker.root import work
from streams.backends import open_log
from streams.codec import encode
from streams.events import Clock, Gap, Market, TickBatch
from streams.journal import JournalWriter
from streams.log import Log
from streams.records import Entry, Input, partition_of
from streams.topics import BOTS, CANDLES, JOURNAL, SIGNALS, SYSTEM, TRADES
from tests.contract.conftest import LogHome
from tests.journal import START, batch, spot
from tests.services.redis import bundled_redis

BTC = spot()
DEEP = b"\x91" * 50_000
NO_UTF8 = encode(Input("feed", 1, 5, Clock(time=START, markets=("x",)))).replace(
    b"clock.v1", b"clock\xff\xfe1"
)
NO_TEXT = encode(Input("feed", 1, 5, Clock(time=START, markets=("x",)))).replace(b"\xa8clock.v1", b"\x91\x01")
MANY_ROWS = encode(
    Input("", 0, 0, TickBatch(markets=(), rows=10**15, kind=b"", time=b"", price=b"", size=b""))
)
UNKNOWN = encode(Input("", 0, 0, Gap(market="nobody:knows", start=1, end=2, reason="")))
WRONG = [b"", b"\xc1", b"\x94", b"\x94\x00\x00\x00", DEEP, NO_UTF8, NO_TEXT, MANY_ROWS, UNKNOWN]
KEYS = [None, b"", b"\xff" * 400, BTC.key.encode()]
DERIVED = (CANDLES, SIGNALS, TRADES, BOTS, SYSTEM)


@pytest.fixture
def settings(log_home: LogHome, url: str, tmp_path: Path) -> Iterator[Settings]:
    with bundled_redis() as server:
        yield load_settings(
            {
                "TCPD_HOME": str(tmp_path / "home"),
                "TCPD_LOG_URL": log_home(),
                "TCPD_DATABASE_URL": url,
                "TCPD_REDIS_URL": server.url,
            }
        )


def write_wrong(log: Log) -> int:
    """Each wrong value in each stream, with each kind of key; returns how many."""
    place = partition_of(BTC.key.encode(), log.partitions)
    headers = (("type", b"\xff\xfe"), ("source", b""))
    entries = [
        Entry(
            topic, KEYS[number % len(KEYS)], value, START // 1_000_000, place, headers if number % 2 else ()
        )
        for topic in (JOURNAL, *DERIVED)
        for number, value in enumerate(WRONG)
    ]
    log.append(entries)
    return len(entries)


def count(settings: Settings, condition: ColumnElement[bool]) -> int:
    """Rows of the condition's table in the database."""
    database = open_database(settings.database_url)
    with database.connect() as connection:
        found = connection.execute(select(func.count()).where(condition)).scalar_one()
    database.dispose()
    return found


def test_wrong_records_in_every_stream_cost_themselves_at_each_start(settings: Settings) -> None:
    log = open_log(settings.log_url, partitions=2)
    written = 0
    for start in range(2):
        feed = JournalWriter(log, "feed", start)
        feed.append(BTC, key=BTC.key)
        feed.append(batch(BTC, [(600 * start + 1, 100, 5)]), key=BTC.key)
        written += write_wrong(log)
        feed.append(batch(BTC, [(600 * start + 301, 101, 5)]), key=BTC.key)
        work(settings, until=lambda progress: progress.caught_up)
        assert count(settings, tables.system_events.c.type == "dead_letter.v1") == written
        known: Market = view(log, partition_of(BTC.key.encode(), 2)).markets[BTC.key]
        assert known == BTC
        assert source_state(log, "feed").source("feed").epoch == start
    log.close()
    assert count(settings, tables.candles.c.timeframe == "1m") == 15
