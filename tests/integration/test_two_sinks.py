"""Two workers at one PostgreSQL: what one has begun the other waits for, but not for ever."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine, text

from infra.db import connect as opening
from infra.db.connect import writing
from infra.db.projector import BotState, DatabaseSink, project, write_bot_state
from infra.db.schema import migrate, open_database
from streams.agents.sinks import SinkUnreachableError
from streams.topics import BOTS, CANDLES
from tests.contract.database_rows import MARKET, one
from tests.derived import bot_changed, candle
from tests.services.postgres import Postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    made = postgres.fresh()
    migrate(made)
    yield made
    postgres.give_back(made)


def wait_for_a_lock(engine: Engine) -> None:
    """Until somebody at this database waits for another's lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity, pg_sleep(0.01)"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.execute(waiting).scalar():
            pass


def test_the_first_records_of_a_partition_are_applied_once(url: str) -> None:
    engine, sink = open_database(url), DatabaseSink(url)
    records = [one(CANDLES, 0, candle(0)), one(CANDLES, 1, candle(1))]
    with ThreadPoolExecutor() as pool:
        with writing(engine).begin() as first:
            project(first, records)
            second = pool.submit(sink.apply, [*records, one(CANDLES, 2, candle(2))])
            wait_for_a_lock(engine)
        assert second.result(60) == (1, 2, 0, 0)
    assert list(sink.positions().values()) == [2]
    sink.close()
    engine.dispose()


def test_a_worker_that_hangs_in_a_transaction_loses_it_and_goes_on_behind_the_other(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "ABANDONED_S", 1)
    hanging, go_on = threading.Event(), threading.Event()

    def hang(bot_id: int, state: BotState, connection: Connection) -> None:
        hanging.set()
        go_on.wait(60)
        write_bot_state(bot_id, state, connection)

    records = [one(BOTS, 0, bot_changed(1, MARKET))]
    frozen, other = DatabaseSink(url, hang), DatabaseSink(url)
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(frozen.apply, records)
        assert hanging.wait(60)
        assert other.apply(records) == (1, 0, 0, 0)
        go_on.set()
        with pytest.raises(SinkUnreachableError, match="server closed the connection"):
            lost.result(60)
    assert frozen.apply(records) == (0, 1, 0, 0)
    frozen.close()
    other.close()
