"""Pages of the API are the same in every database, however small they are."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from infra.db import pages, queries, tables
from infra.db.pages import Page, Window
from infra.db.schema import migrate, open_database
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
from tests.integration.api.conftest import MINUTES, record

MARKET = "test:A/USDT"
Read = Callable[[Engine, Window], Page]
LISTS: dict[str, Read] = {
    "candles": lambda engine, window: pages.candles(engine, MARKET, "5m", window, revisions=False),
    "revisions": lambda engine, window: pages.candles(engine, MARKET, "5m", window, revisions=True),
    "signals": lambda engine, window: pages.signals(engine, 1, window),
    "orders": lambda engine, window: pages.orders(engine, 1, window),
    "fills": lambda engine, window: pages.fills(engine, 1, window),
    "equity": lambda engine, window: pages.equity(engine, 1, window),
    "bots": pages.bots,
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


def walked(read: Read, engine: Engine, window: Window) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
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
        mine = (candle.market == MARKET, candle.timeframe == "5m", candle.end_ns == first.next[0])
        row = connection.execute(select(tables.candles).where(*mine)).mappings().first()
        assert row is not None
        connection.execute(insert(tables.candles), {**row, "revision": row["revision"] + 1})
    second = read(engine, window._replace(cursor=first.next))
    assert not {row["timestamp"] for row in first.rows} & {row["timestamp"] for row in second.rows}


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
    whole = pages.letters(engine, Window(1_000)).rows
    found = [(row["stream"], row["offset"]) for row in whole]
    # four of each second: both of the journal, and what stands at one place of two streams
    by_second = [
        {(BOTS, second), (TRADES, second), (JOURNAL, 2 * second), (JOURNAL, 2 * second + 1)}
        for second in range(3)
    ]
    assert [set(found[first : first + 4]) for first in (0, 4, 8)] == by_second
    assert found[12:] == [(JOURNAL, None)]
    assert pages.dead_letters(engine) == len(whole) == len({row["notice"] for row in whole})
    for limit in (1, 3):
        assert walked(pages.letters, engine, Window(limit)) == whole
        assert walked(pages.letters, engine, Window(limit, newest=True)) == whole[::-1]
    engine.dispose()
    log.close()


def test_rows_are_those_of_the_streams_of_the_command_line(engine: Engine) -> None:
    everything = Window(100_000)
    assert pages.candles(engine, MARKET, "5m", everything, revisions=False).rows == list(
        queries.candles(engine, MARKET, "5m")
    )
    for mine, known in (
        (pages.fills(engine, 1, everything), queries.trades(engine, 1)),
        (pages.signals(engine, 1, everything), queries.signals(engine, 1)),
        (pages.equity(engine, 1, everything), queries.equity(engine, 1)),
        (pages.bots(engine, everything), queries.bots(engine)),
    ):
        for row, expected in zip(mine.rows, known, strict=True):
            assert {name: row[name] for name in expected} == expected


def test_a_bots_mark_is_its_newest(engine: Engine) -> None:
    for bot in pages.bots(engine, Window(10)).rows:
        (newest,) = pages.equity(engine, int(bot["bot_id"]), Window(1, newest=True)).rows
        assert (bot["equity"], bot["marked"]) == (newest["equity"], newest["time"])


def test_the_highest_equity_is_found_across_scales_of_cash(engine: Engine) -> None:
    mark = tables.equity.c
    with engine.begin() as connection:
        first, *_ = connection.execute(select(tables.equity).where(mark.bot_id == 1)).mappings()
        scale = first["cash_scale"]
        for cause_index, equity, cash_scale in ((1_001, 5_000, scale), (1_002, 4_000_00, scale + 2)):
            row = {
                **first,
                "cause_index": cause_index,
                "cash_scale": cash_scale,
                "equity": equity * 10**scale,
            }
            connection.execute(insert(tables.equity).values(row))
    highest = pages.peak(engine, 1, first["time_ns"])
    assert highest is not None
    assert Decimal(highest) == 5_000


def test_indicators_are_those_of_the_signals(engine: Engine, log: Log, strategies: Strategies) -> None:
    lives = BotHistory(log).lives(1, MARKET)
    found = Indicators(engine, strategies).page(lives, MARKET, Window(100_000))
    values = {iso(end): shown for end, shown in found}
    assert len(values) == 2 * MINUTES  # the first part of the trades was before the bot
    for signal in pages.signals(engine, 1, Window(1000)).rows:
        assert signal["values"] == values[signal["time"]]


def test_what_health_asks_is_answered(engine: Engine) -> None:
    assert pages.has_market(engine, MARKET)
    assert not pages.has_market(engine, "test:Z/USDT")
    assert set(pages.newest(engine)) == {MARKET, "test:B/USD:B"}
    assert pages.dead_letters(engine) == 0
    assert pages.refusal(engine, 0, 0) is None
    assert {topic for topic, _ in pages.reached(engine)} >= {"candles", "bots"}
