"""Pages of the API are the same in every database, however small they are."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Row, insert, select

from infra.db import pages, queries, tables
from infra.db.pages import Page, Window, every
from infra.db.schema import migrate, open_database
from infra.present import facts
from infra.present.values import iso
from infra.process.settings import load_settings
from infra.strategies.indicators import Indicators
from infra.strategies.lives import BotHistory
from infra.strategies.registry import Strategies
from infra.upkeep.fresh_home import fold_home
from infra.upkeep.rebuild import rebuild
from streams.backends import open_log
from streams.journal import lost_entry
from streams.log import Log
from streams.records import Entry
from streams.topics import BOTS, JOURNAL, TRADES
from tests.contract.conftest import NewDatabase
from tests.contract.database_rows import marks, signals
from tests.integration.api.conftest import MINUTES, record

MARKET = "test:A/USDT"
Read = Callable[[Engine, Window], Page]
LISTS: dict[str, Read] = {
    "candles": lambda engine, window: queries.candles(engine, MARKET, "5m", window, revisions=False),
    "revisions": lambda engine, window: queries.candles(engine, MARKET, "5m", window, revisions=True),
    "signals": lambda engine, window: queries.signals(engine, 1, window),
    "orders": lambda engine, window: queries.orders(engine, 1, window),
    "fills": lambda engine, window: queries.fills(engine, 1, window),
    "equity": lambda engine, window: queries.equity(engine, 1, window),
    "bots": queries.bots,
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, strategies: Strategies) -> Iterator[Log]:
    settings = load_settings({"TCPD_HOME": str(tmp_path_factory.mktemp("pages"))})
    record(settings, strategies)
    log = open_log(settings.log_url)
    yield log
    log.close()


@pytest.fixture
def engine(log: Log, new_database: NewDatabase) -> Iterator[Engine]:
    url = new_database()
    migrate(url)
    rebuild(log, url)
    engine = open_database(url)
    yield engine
    engine.dispose()


def walked(read: Read, engine: Engine, window: Window) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    while True:
        page = read(engine, window)
        rows += page.rows
        if page.next is None:
            return rows
        assert len(page.rows) == window.limit
        window = window._replace(cursor=page.next)


def test_small_pages_make_the_whole_in_both_directions(engine: Engine) -> None:
    for name, read in LISTS.items():
        whole = read(engine, Window(100_000)).rows
        assert len(whole) > 1, name
        assert walked(read, engine, Window(7)) == whole, name
        assert walked(read, engine, Window(5, newest=True)) == whole[::-1], name


@pytest.mark.parametrize("newest", [False, True])
def test_a_candle_that_is_revised_between_two_pages_comes_once(engine: Engine, newest: bool) -> None:
    read, window = LISTS["candles"], Window(3, newest=newest)
    first = read(engine, window)
    assert first.next is not None
    candle = tables.candles.c
    with engine.begin() as connection:
        mine = (candle.market == MARKET, candle.timeframe == "5m", candle.timestamp == first.next[0])
        row = connection.execute(select(tables.candles).where(*mine)).mappings().first()
        assert row is not None
        connection.execute(insert(tables.candles), {**row, "revision": row["revision"] + 1})
    second = read(engine, window._replace(cursor=first.next))
    assert not {row.timestamp for row in first.rows} & {row.timestamp for row in second.rows}


def test_dead_letters_come_by_time_whatever_stream_they_are_of(
    tmp_path: Path, strategies: Strategies, new_database: NewDatabase
) -> None:
    settings = load_settings({"TCPD_HOME": str(tmp_path)})
    log, url = open_log(settings.log_url), new_database()
    bad = [(stream, second) for second in range(3) for stream in (BOTS, JOURNAL, TRADES, JOURNAL)]
    log.append([Entry(stream, b"test:A/USDT", b"?", 1_000 * second, 1) for stream, second in bad])
    log.append([lost_entry("no event", b"test:A/USDT", 1)])
    fold_home(log, strategies)
    migrate(url)
    rebuild(log, url)
    engine = open_database(url)
    whole = queries.letters(engine, Window(1_000)).rows
    shown = [facts.letter(row) for row in whole]
    found = [(letter["topic"], letter["offset"]) for letter in shown]
    # four of each second: both of the journal, and what stands at one place of two streams
    by_second = [
        {(BOTS, second), (TRADES, second), (JOURNAL, 2 * second + 1), (JOURNAL, 2 * second + 2)}
        for second in range(3)
    ]
    assert [set(found[first : first + 4]) for first in (0, 4, 8)] == by_second
    assert found[12:] == [(JOURNAL, -1)]
    assert queries.count_letters(engine) == len(whole) == len({letter["id"] for letter in shown})
    for limit in (1, 3):
        assert walked(queries.letters, engine, Window(limit)) == whole
        assert walked(queries.letters, engine, Window(limit, newest=True)) == whole[::-1]
    engine.dispose()
    log.close()


def test_all_rows_are_those_of_a_page_that_holds_them_all(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "ROWS_PER_PAGE", 7)
    for name, read in LISTS.items():
        found = list(every(lambda window, read=read: read(engine, window), Window()))
        assert found == read(engine, Window(100_000)).rows, name


def test_a_bots_mark_is_its_newest(engine: Engine) -> None:
    for row in queries.bots(engine, Window(10)).rows:
        bot, newest = facts.bot(row), marks(engine, row.bot_id)[-1]
        for name in ("equity", "unrealised_pnl", "peak"):
            assert bot[name] == newest[name]
        assert bot["marked"] == newest["timestamp"]


def test_the_peak_of_a_mark_is_the_highest_equity_up_to_it(engine: Engine) -> None:
    found = marks(engine, 1)
    highest = [max(Decimal(mark["equity"]) for mark in found[: n + 1]) for n in range(len(found))]
    assert [Decimal(mark["peak"]) for mark in found] == highest
    assert len(set(highest)) > 1


def test_indicators_are_those_of_the_signals(engine: Engine, log: Log, strategies: Strategies) -> None:
    lives = BotHistory(log).lives(1, MARKET)
    found = Indicators(engine, strategies).page(lives, MARKET, Window(100_000))
    values = {iso(end): shown for end, shown in found}
    assert len(values) == 2 * MINUTES  # the first part of the trades was before the bot
    for signal in signals(engine, 1):
        assert signal["values"] == values[signal["timestamp"]]


def test_what_health_asks_is_answered(engine: Engine) -> None:
    assert queries.has_market(engine, MARKET)
    assert not queries.has_market(engine, "test:Z/USDT")
    assert set(queries.newest(engine)) == {MARKET, "test:B/USD:B"}
    assert queries.count_letters(engine) == 0
    assert queries.refusal(engine, 0, 0) is None
    assert {topic for topic, _ in queries.reached(engine)} >= {"candles", "bots"}
